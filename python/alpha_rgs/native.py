# SPDX-License-Identifier: GPL-3.0-or-later
"""Native kernels beside the torch code that they repeat.

A kernel module is compiled by numba when it is first used, and kept on disk then. The torch code is the reference: it runs on
every device, and where numba is not installed; a warning says so then, once.
"""
from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

from torch import Tensor


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
