# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulses and carriers on the samples of many symbols: symbols whose pulses lie alike between the samples share one."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ALIKE = 1e-9           # samples


def sampled(pulse: Callable[[Any], Any], first: Tensor, width: int) -> Tensor:
    """pulse(τ) on `width` samples from τ = first on, float64 of any shape: one dimension more. pulse: of an array of numpy's."""
    places, which = torch.unique(torch.round(first / _ALIKE), return_inverse=True)
    return torch.as_tensor(pulse(places.numpy()[:, None] * _ALIKE + np.arange(width)))[which]


def carried(frequency: Any, start: Tensor, width: int, phase: Any = 0.0) -> Tensor:
    """exp(j·(phase + 2π·frequency·n)) on `width` samples from n = start on, int64 [rows, symbols]: complex128 [rows, symbols,
    width]. frequency (cycles per sample), phase: numbers, or one for each row."""
    frequency, phase = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1) for v in (frequency, phase))
    first, step = phase + 2 * torch.pi * frequency * start, 2 * torch.pi * frequency * torch.arange(width)
    each = [torch.polar(torch.ones_like(angle), angle) for angle in (first, step)]
    return each[0][..., None] * each[1][:, None]
