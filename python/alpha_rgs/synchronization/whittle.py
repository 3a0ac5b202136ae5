# SPDX-License-Identifier: GPL-3.0-or-later
"""Powers of spectra that add up to a periodogram, by maximum likelihood.

The periodogram is modelled as exponential with mean Σ p_k·S_k(f) (Whittle's likelihood), and the powers p_k move by
multiplicative steps (Févotte, Bertin and Durrieu, 2009), which keep them positive.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_BINS = 256             # of the periodogram: fewer err less, more resolve null carriers
_LEAST = 1e-9           # of the power, added to the model: no bin is empty


class BinnedPeriodogram:
    """Periodogram of windows x, complex [batch, samples], under Hann's taper, averaged in at most 256 bins.

    density: float64 [batch, bins], mean squared magnitude per sample. Averaging needs eight samples per bin.
    """

    def __init__(self, x: npt.NDArray[np.complex128]) -> None:
        samples = x.shape[1]
        self._edges = np.linspace(0, samples, min(_BINS, max(samples // 8, 1)) + 1).astype(int)
        taper = np.hanning(samples + 2)[1:-1]
        self.density = self.binned(abs(np.fft.fft(x * taper)) ** 2 / np.sum(taper ** 2))

    def binned(self, density: Array) -> Array:
        """Mean of a density [..., samples] in each bin, [..., bins]."""
        return np.add.reduceat(density, self._edges[:-1], -1) / np.diff(self._edges)


def fit_powers(density: Array, columns: Array, start: Array, given: Sequence[Array | float | None], steps: int) -> Array:
    """Powers, float64 [batch, k], after so many steps.

    density: [batch or 1, bins]; columns: [batch or 1, k, bins], densities at power 1; start: [batch, k]; given: k powers,
    numbers or [batch], that stay, None where the power is free.
    """
    values = start.astype(float)
    free = [k for k, power in enumerate(given) if power is None]
    for k, power in enumerate(given):
        if power is not None:
            values[:, k] = power
    floor = _LEAST * density.mean(1, keepdims=True) + 1e-300
    for _ in range(steps):
        fit = np.einsum("ok,okb->ob", values, columns) + floor
        up, down = (np.einsum("okb,ob->ok", columns, v) for v in (density / fit / fit, 1 / fit))
        values[:, free] *= up[:, free] / down[:, free]
    return values
