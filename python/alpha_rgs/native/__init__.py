# SPDX-License-Identifier: GPL-3.0-or-later
"""Native kernels beside the torch code that they repeat.

A kernel module is compiled by numba when it is first used, and kept on disk then; the extension `_kernels`, C++ of src, is
compiled when the package is installed. The torch code is the reference: it runs on every device, and where there is neither;
a warning says so where numba is missing, once. ALPHA_RGS_NATIVE=0 in the environment forces the torch code in place of the
extension, the name of an instruction set (see instruction_sets) that one.
"""
from __future__ import annotations

import functools
import importlib
import os
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError

VARIABLE = "ALPHA_RGS_NATIVE"


def kernels(module: str, tensor: Tensor) -> ModuleType | None:
    """The kernel module of that full name for work on that tensor; None where the torch code has to do it."""
    return _imported(module) if tensor.device.type == "cpu" else None


@functools.cache
def _imported(module: str) -> ModuleType | None:
    try:
        importlib.import_module("numba")
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:    # RuntimeError: there is no place for compiled code
        _warn(str(error))
        return None


@functools.cache
def _warn(reason: str) -> None:
    warnings.warn(f"alpha_rgs: the compiled kernels cannot be used ({reason}); torch does their work, and FSK and GMSK take four "
                  "to eight times as long. Install numba, or set NUMBA_CACHE_DIR to a folder that can be written",
                  RuntimeWarning, stacklevel=2)


@functools.cache
def _extension() -> Any:
    try:
        return importlib.import_module(f"{__name__}._kernels")
    except ImportError:         # not compiled
        return None


def extension() -> Any:
    """The extension module; None where it was not compiled, or the environment asks for torch."""
    return None if os.environ.get(VARIABLE) == "0" else _extension()


def built() -> bool:
    """Whether the extension is there."""
    return _extension() is not None


def instruction_sets() -> list[str]:
    """Names of the instruction sets for which the extension has code that this machine can run, the fastest last; [] without
    it."""
    module = extension()
    return list(module.instruction_sets()) if module is not None else []


def instructions() -> str | None:
    """The name of the instruction set that the extension uses; None where torch does its work. Raises ParameterError where
    the environment names one that this machine has not."""
    known, asked = instruction_sets(), os.environ.get(VARIABLE, "")
    if not known:
        return None
    if asked in ("", "1"):
        return known[-1]
    if asked not in known:
        raise ParameterError(f"{VARIABLE}: {asked!r} must be 0 or one of {', '.join(known)}")
    return asked


def threads_to_use() -> int:
    """How many of the extension's threads a call may use: torch's number, by which engines share a machine out."""
    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1))
