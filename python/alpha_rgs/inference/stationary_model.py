# SPDX-License-Identifier: GPL-3.0-or-later
"""A stationary Gaussian source as a linear map of independent unknowns: white ones through a filter that gives its density."""
from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from ..signals import constellation
from .linear_model import LinearModel

_ALIASED = 0.02         # of the power, at most, beyond the band that unknowns some samples apart can fill
_CUT = 1e-3             # of the filter's energy that its ends may lose


def stationary_model(density: np.ndarray, samples: int) -> LinearModel:
    """The LinearModel of windows of that many samples. density: of unit mean, float64 [n] at frequencies k/n in FFT order, n at
    least the filter's length. Unknowns lie as many samples apart as the density's band allows."""
    step = _apart(density)
    taps = np.fft.fftshift(np.fft.ifft(np.sqrt(density))) * step ** 0.5
    centre, energy = len(taps) // 2, np.abs(taps) ** 2
    lost = energy.sum() - np.array([energy[centre - k:centre + k + 1].sum() for k in range(centre)])
    half = int(np.argmax(lost < _CUT * energy.sum())) if bool((lost < _CUT * energy.sum()).any()) else centre - 1
    column = torch.from_numpy(taps[centre - half:centre + half + 1].astype(np.complex128))
    start = torch.arange(-half, samples + half, step) - half
    return LinearModel(start[None], column.expand(1, len(start), -1), cast(Any, constellation("gaussian")),
                       torch.ones(1, len(start), dtype=torch.bool), None)


def _apart(density: np.ndarray) -> int:
    """Samples between unknowns."""
    frequency = np.abs(np.fft.fftfreq(len(density)))
    step = 1
    while density[frequency > 0.5 / (step + 1)].sum() < _ALIASED * density.sum():
        step += 1
    return step
