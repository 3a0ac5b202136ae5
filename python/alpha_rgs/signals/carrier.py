# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers and the shapes in which nuisances are kept."""
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import CapabilityError


def column(value: Any, like: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """A nuisance as a tensor [batch, 1] or [1, 1] beside `like`."""
    return torch.as_tensor(value, dtype=dtype, device=like.device).reshape(-1, 1)


def rotation(frequency: Any, lags: Any) -> npt.NDArray[np.complex128]:
    """exp(j*2*pi*frequency*l): what a carrier offset (cycles per sample) does to an autocorrelation, complex128 like lags."""
    frequency = torch.as_tensor(frequency, dtype=torch.float64).reshape(-1)
    if bool((frequency != frequency[0]).any()):
        raise CapabilityError("carrier_offset: differs from window to window, but a stationary covariance is one for all of them")
    return np.exp(2j * np.pi * float(frequency[0]) * np.asarray(lags))


def carrier(phase: Any, frequency: Any, like: Tensor) -> Tensor:
    """exp(j*(phase + 2*pi*frequency*n)), complex64, broadcastable to like [batch, samples]; frequency None (unknown) means 0."""
    angle = column(phase, like)
    if frequency is None:
        frequency = 0.0
    if torch.is_tensor(frequency) or frequency != 0:        # most sources have none: one factor per window will do
        n = torch.arange(like.shape[-1], dtype=torch.float64, device=like.device)
        angle = angle + 2 * torch.pi * column(frequency, like) * n
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
