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
    share = np.cumsum(density) / density.sum()
    low, high = int(np.searchsorted(share, _OUTSIDE)), int(np.searchsorted(share, 1 - _OUTSIDE))
    return low / _BINS - 0.5, (high + 1) / _BINS - 0.5
