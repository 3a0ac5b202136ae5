# SPDX-License-Identifier: GPL-3.0-or-later
"""The band that a source takes."""
from __future__ import annotations

import numpy as np

from ..errors import CapabilityError
from .base import Source

_BINS = 1024
_OUTSIDE = 5e-3     # of the power that may lie outside the band on each side: more would take in the sidelobes of OFDM


def occupied(source: Source) -> tuple[float, float]:
    """The band that holds all but 0.5 % of its power on each side, (low, high) in cycles per sample, by its density seen around
    its carrier; (nan, nan) where it has none."""
    parts = source.parts
    if len(parts) > 1:
        bands = [occupied(part) for part in parts]
        return min(low for low, _ in bands), max(high for _, high in bands)
    try:
        density = np.fft.fftshift(source.psd(_BINS))
    except CapabilityError:
        return float("nan"), float("nan")
    density = np.append(density, density[0])        # half of what lies at ±0.5 cycles per sample is on each side
    density[[0, -1]] /= 2
    least = _OUTSIDE * density.sum()
    low, high = (int(np.searchsorted(np.cumsum(side), least)) for side in (density, density[::-1]))
    return max((low - 0.5) / _BINS - 0.5, -0.5), min(0.5 - (high - 0.5) / _BINS, 0.5)
