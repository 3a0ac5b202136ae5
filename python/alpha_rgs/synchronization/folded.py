# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation of Gaussian symbols that lie on a circle, in stationary noise. In frequency the symbols' transform sees the
noise folded to the symbol rate, so evidence and estimates cost a few transforms."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..signals.folding import fold
from .evidence import TIMINGS, peak


def pulse_spectra(signal: Any, offsets: np.ndarray, samples: int) -> np.ndarray:
    """Transforms of a LinearModulation signal's pulse centred on sample 0, moved by each carrier offset, cycles per sample:
    complex128 [offsets, samples]."""
    reach = int(np.ceil(signal.half_length)) + 1
    taps = np.arange(-reach, reach + 1)
    pulses = np.zeros((len(offsets), samples), complex)
    np.add.at(pulses.T, taps % samples, (signal.pulse_at(taps) * np.exp(2j * np.pi * offsets[:, None] * taps)).T)
    return np.fft.fft(pulses)


class Folded:
    """One hypothesis of the carrier offset: x, pulse: transforms [n]; noise: density [n]; power: of the SOI."""

    def __init__(self, x: np.ndarray, pulse: np.ndarray, noise: np.ndarray, power: float, sps: float) -> None:
        weight = pulse.conj() / noise
        self.symbols = round(len(x) / sps)
        self.noise, self.sps, self.n, self.power, self.matched = noise, sps, len(x), power, x * weight
        self.gram = self._fold((pulse * weight).real)                     # eigenvalues of HᴴN⁻¹H, symbols a circle

    def _fold(self, v: np.ndarray) -> np.ndarray:
        return fold(v, self.symbols) / self.sps

    def seen(self, timing: float) -> np.ndarray:
        """Transform of the whitened matched filter's outputs at the symbols' centres."""
        return self._fold(self.matched * np.exp(2j * np.pi * np.fft.fftfreq(self.n) * timing))

    def evidence(self, timing: float) -> float:
        """log p(x | timing) but for a constant."""
        gain = self.power / (1 + self.power * self.gram)
        return (np.sum(abs(self.seen(timing)) ** 2 * gain) / self.symbols - np.sum(np.log1p(self.power * self.gram)))

    def peak(self, count: int = TIMINGS) -> tuple[float, float]:
        """(timing, evidence there) of so many timings, see evidence.timings."""
        table = np.array([self.evidence(k * self.sps / count) for k in range(count)])
        timing, score = peak(table)
        return float(timing) * self.sps, float(score)

    def cavity(self, timing: float) -> tuple[np.ndarray, np.ndarray]:
        """(mean, variance) of each symbol times the gain, the others integrated out, its own prior too: [symbols]."""
        gain = self.power / (1 + self.power * self.gram)
        mean, var = np.fft.ifft(self.seen(timing) * gain), np.mean(gain)
        precision = max(1 / var - 1 / self.power, 1e-9)
        return mean / var / precision, np.full(len(mean), 1 / precision)
