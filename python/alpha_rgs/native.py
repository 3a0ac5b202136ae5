# SPDX-License-Identifier: GPL-3.0-or-later
"""Native kernels beside the torch code that they repeat.

A kernel module is compiled by numba when it is first used, and kept on disk then. The torch code is the reference: it runs on
every device, and where numba is not installed.
"""
from __future__ import annotations

import functools
import importlib
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
    except (ImportError, RuntimeError):         # RuntimeError: there is no place for compiled code
        return None
