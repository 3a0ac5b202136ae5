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
FLOOR = 1e-9            # of the mean density, added to the model: no bin is empty


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


def fit_powers(density: Array, columns: Array, start: Array, given: Sequence[Array | float | None], steps: int,
               floors: Sequence[float] = (FLOOR,)) -> Array:
    """Powers, float64 [batch, k], after so many steps.

    density: [batch or 1, bins]; columns: [batch or 1, k, bins], densities at power 1; start: [batch, k]; given: k powers,
    numbers or [batch], that stay, None where the power is free. floors: of the model where it weighs what each of the k powers
    is read from, relative to the mean density; one for all, or k.
    """
    values = start.astype(float)
    free = [k for k, power in enumerate(given) if power is None]
    for k, power in enumerate(given):
        if power is not None:
            values[:, k] = power
    for _ in range(steps):
        fit, weight = _weights(density, columns, values, floors)
        up, down = (np.einsum("okb,okb->ok", columns, weight * v[:, None]) for v in (density, fit))
        values[:, free] *= up[:, free] / (down[:, free] + 1e-300)
    return values


def power_deviations(density: Array, columns: Array, powers: Array, free: Sequence[int], floors: Sequence[float],
                     correlated: float = 1.0) -> Array:
    """Standard deviations, float64 [batch, k], of powers that `fit_powers` found, 0 where not `free`. By the bins' own scatter
    about the model (the sandwich estimator of White, 1980), `correlated` neighbouring bins erring as one."""
    errors = np.zeros_like(powers)
    if not free:
        return errors
    fit, weight = _weights(density, columns, powers, floors)
    slopes = np.broadcast_to(columns * weight, (len(fit), *columns.shape[1:]))[:, free]
    inverse = np.linalg.pinv(slopes @ columns[:, free].swapaxes(1, 2))
    terms = inverse @ slopes * (density - fit)[:, None]
    errors[:, free] = np.sqrt(correlated * (terms ** 2).sum(2))
    return errors


def _weights(density: Array, columns: Array, powers: Array, floors: Sequence[float]) -> tuple[Array, Array]:
    """(model [batch, bins], inverse squares of it over its floors [batch, k or 1, bins])."""
    fit = np.einsum("ok,okb->ob", powers, columns)
    floor = np.asarray(floors)[None, :, None] * density.mean(1)[:, None, None] + 1e-150
    return fit, 1 / (fit[:, None] + floor) ** 2
