# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands what keyed_search.py holds to its sweep in machine code (keyed_kernel.py), where Numba is installed and tensors are on
the CPU."""
from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..native import kernels

_KERNEL = "alpha_rgs.separators.keyed_kernel"


@functools.cache
def _words(levels: int, long: int, modulus: int, half_turns: float) -> Any:
    module: Any = kernels(_KERNEL, torch.empty(0))
    return module.words(levels, long, modulus, half_turns)


class Native:
    """The sweep of a Search in machine code; what of the Search is constant is laid out once."""

    def __init__(self, module: ModuleType, search: Any) -> None:
        linear, signal = search.linear, search.signal
        self.module = module
        each = (linear.columns, linear.match, linear.start)
        alike = all(v.stride(0) == 0 for v in each)     # one window, of which all rows are guesses
        columns, match, start = (v[:1] if alike else v for v in each)
        rows = len(search.y)
        pulse = search.pulse[:, :1] if search.pulse.stride(1) == 0 else search.pulse
        energy = linear.weight[:len(columns), :, None]
        matched = torch.allclose(match * energy, columns.conj(), rtol=1e-4, atol=1e-6)
        self.layout = module.Layout(
            _array(columns.conj()), _array(match), _array(start), np.zeros(rows, np.int64) if alike else np.arange(rows),
            _array(search.scaled), _array(search.noise), _array(search.low), _array(search.head), _array(search.tail),
            _array(pulse), _array(linear.points), linear.amplitude, matched)
        modulus = 0 if signal.drift else signal.index.denominator
        self.words = _words(signal.levels, search.long, modulus, signal.half_turns)

    def sweep(self, search: Any, temperature: float, likely: Tensor, least: Tensor, chance: Tensor) -> None:
        """Draw moves of all rows at positions that are likely. least: as in Search.sweep; chance: uniform variates, float32
        [chains, positions]."""
        for name in ("symbols", "s", "r", "c", "z"):        # changed where they are
            setattr(search, name, getattr(search, name).contiguous())
        state = self.module.State(*(v.numpy() for v in (search.symbols, search.s, search.r, search.c, search.z, least)))
        self.module.sweep(self.layout, state, self.words, likely.numpy(), chance.numpy(), temperature)


def _array(x: Tensor) -> Any:
    return x.resolve_conj().contiguous().numpy()


def native(search: Any) -> Native | None:
    """Of a Search; None where it has to be swept by torch."""
    module = kernels(_KERNEL, search.y)
    return None if module is None else Native(module, search)
