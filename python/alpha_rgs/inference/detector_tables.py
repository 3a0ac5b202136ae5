# SPDX-License-Identifier: GPL-3.0-or-later
"""What the native detector (native/src) is told of a linear modulation under OFDM: filters and products of a frame.

All in units of the linear modulation's gain. H are the pulses in a frame, A the carriers times the interference's amplitude.
Most carriers are decided by one linear filter, in which all else is Gaussian; A of those left, the *near* ones, and H are what
expectation propagation works on.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..signals.framing import frame_pulses
from ..signals.ofdm import ofdm_matrix

Array = np.ndarray[Any, Any]

# (distance to a decision's threshold)² over the noise's variance there, above which a filter decides: wrong once in 10^9
_DECIDED = 36.0
# standard deviations of the energy left in one, two and three frames above which they are searched, of strong symbols and of weak
# ones, whose wrong decisions leave little: errors that went unsearched left 2.2 or more of them (QPSK at 6 dB under OFDM, 10 dB
# SNR). Without noise, the share of a frame's energy in floor noise that a right decision leaves
_DEVIATIONS, _WEAK_DEVIATIONS = (3.9, 3.6, 3.3), (1.8, 2.0, 2.0)
_STRONG = 2.5e-3        # 1/(Es/N0), 26 dB: as joint's
_FITS = 0.1
_ROUNDING = 4e-6        # of the energy in a frame: what single precision may leave of it
_REACHES = 1e-12        # of a pulse
_CENTRES = 4            # of a symbol, by which it is decided which carriers are clean


@dataclass(frozen=True)
class Levels:
    """ratio: amplitude of the interference; noise: variance that is allowed for; sent: the noise's own variance."""

    ratio: float
    noise: float
    sent: float


class DetectorTables:
    """Tables of a pair. Frames are classed by their centre: the sample, from a frame's first, on which the first symbol that
    reaches it is centred.

    pulse_key: (linear modulation, how many of its symbols reach a frame); matrix_key: (OFDM, channel); delta: carrier offset
    between the two, cycles per sample; frequency: of the OFDM. near, clean: carriers, of which a filter decides the second.
    """

    def __init__(self, pulse_key: tuple[Any, int], matrix_key: tuple[Any, tuple[complex, ...]], levels: Levels, delta: float,
                 frequency: float) -> None:
        self.signal, self.count = self.pulse_key = pulse_key
        self.ofdm, channel = matrix_key
        self.levels, self.delta, self.frequency = levels, delta, frequency
        self.period, self.size = self.ofdm.frame_length, self.ofdm.fft_size
        self.carriers = levels.ratio * ofdm_matrix(matrix_key)                          # A [P, carriers]
        self.bins = self.ofdm.carriers % self.size
        self.waves = levels.ratio * self.ofdm.gains(channel) / math.sqrt(len(self.bins))
        sps = float(self.signal.samples_per_symbol)
        gains = [self._filter(self._pulses(sps * k / _CENTRES - self.signal.half_length))[3] for k in range(_CENTRES)]
        sinr = np.min([gain / (1 - gain) for gain in gains], 0)
        margin = self.ofdm.alphabet.least_distance ** 2 * sinr / 2
        self.clean, self.near = np.flatnonzero(margin >= _DECIDED), np.flatnonzero(margin < _DECIDED)
        self._classes: dict[float, dict[str, Any]] = {}

    def _pulses(self, centre: float) -> Array:
        return frame_pulses(self.pulse_key, (centre, 0, self.count, self.delta), self.period)

    def _folded(self, x: Array) -> Array:
        """Columns of samples of a frame, the prefix averaged with what it is a copy of."""
        prefix = self.ofdm.cyclic_prefix
        body = x[prefix:].copy()
        if prefix:
            body[-prefix:] = (body[-prefix:] + x[:prefix]) / 2
        return body

    def _filter(self, pulses: Array) -> tuple[Array, Array, Array, Array]:
        """Of all carriers, from folded samples x and their transform X: c = direct·X[bin] - leak·(soft·x), unbiased; and which
        share of itself that the biased linear estimate has, which gives its error: (direct, leak, soft, gain)."""
        size, prefix = self.size, self.ofdm.cyclic_prefix
        noise = self.levels.noise * (1 - prefix / (2 * size))
        folded = self._folded(pulses)
        spectrum = np.full(size, noise)
        spectrum[self.bins] += size * abs(self.waves) ** 2
        seen = np.fft.fft(folded, axis=0)                                               # [N, K]
        whitened = np.fft.ifft(seen / spectrum[:, None], axis=0)
        soft = np.linalg.solve(np.eye(self.count) + folded.conj().T @ whitened, whitened.conj().T)
        direct = self.waves.conj() / spectrum[self.bins]
        leak = direct[:, None] * seen[self.bins]
        columns = self.waves * np.exp(2j * np.pi * np.outer(np.arange(size), self.bins) / size)
        gain = (direct * size * self.waves - (leak * (soft @ columns).T).sum(1)).real.clip(1e-9, 1 - 1e-9)
        return direct / gain, leak / gain[:, None], soft, gain

    def mapping(self, centres: Sequence[float]) -> dict[str, Any]:
        """What the extension's Detector takes, for these classes of frames."""
        levels, near, clean = self.levels, self.near, self.clean
        noise = levels.noise
        open_carriers = self.carriers[:, near]
        radix, twiddles = transform_tables(self.size)
        own_turn = np.exp(2j * np.pi * self.frequency * np.arange(self.period))
        return {
            "frame": self.period, "prefix": self.ofdm.cyclic_prefix, "symbols": self.count, "near": len(near),
            "clean": len(clean), "noise": noise, "shrink": self.levels.ratio ** 2 / (self.levels.ratio ** 2 + self.levels.sent),
            "symbol": alphabet_table(self.signal.alphabet), "carrier": alphabet_table(self.ofdm.alphabet),
            "stages": len(radix), "radix": np.array(radix, np.int32), "twiddles": twiddles, "twiddles_size": len(twiddles),
            "near_bin": self.bins[near].astype(np.int32), "clean_bin": self.bins[clean].astype(np.int32),
            "near_wave": _single(self.waves[near]), "clean_wave": _single(self.waves[clean]),
            "bin": self.bins[np.r_[near, clean]].astype(np.int32), "wave": _single(self.waves[np.r_[near, clean]]),
            "gram": _single(open_carriers.conj().T @ open_carriers / noise),
            "frequency": self.frequency, "turn": _single(own_turn),
            "search_order": int(levels.ratio ** 2 * self.period <= 2 * len(self.bins) * float(self.signal.samples_per_symbol)),
            "threshold": self._thresholds(), "classes": [self._class(centre) for centre in centres],
        }

    def _class(self, centre: float) -> dict[str, Any]:
        """The tables of frames of one class, kept."""
        if centre not in self._classes:
            self._classes[centre] = self._made(centre)
        return self._classes[centre]

    def _made(self, centre: float) -> dict[str, Any]:
        pulses, noise = self._pulses(centre), self.levels.noise
        direct, leak, soft, _ = self._filter(pulses)
        there = abs(pulses) > _REACHES
        low = np.where(there.any(0), there.argmax(0), 0)
        high = np.where(there.any(0), self.period - there[::-1].argmax(0), 0)
        early = centre + self.signal.samples_per_symbol * np.arange(self.count) - self.signal.half_length
        return {
            "pulses": _single(pulses.T), "reach": np.stack([low, high], 1).astype(np.int32),
            "direct": _single(direct[self.clean]), "soft": _single(soft), "leak": _single(leak[self.clean]),
            "cross": _single(self.carriers[:, self.near].conj().T @ pulses / noise),
            "own": _single(pulses.conj().T @ pulses / noise), "before": int((early <= -1 + 1e-9).sum()),
        }

    def _thresholds(self) -> Array:
        """Energy, over the noise allowed for, that is left in one, two and three frames and gives them away."""
        share = min(self.levels.sent / self.levels.noise, 1.0)
        power = self.period * (1 + self.levels.ratio ** 2 * len(self.near) / len(self.bins)) / self.levels.noise
        n = np.arange(1, 4) * self.period
        strong = self.levels.noise / self.signal.samples_per_symbol < _STRONG
        of_noise = share * (n + np.array(_DEVIATIONS if strong else _WEAK_DEVIATIONS) * np.sqrt(n))
        return (of_noise + (1 - share) * _FITS * self.period + _ROUNDING * power).astype(np.float32)


def _single(x: Array) -> Array:
    return np.ascontiguousarray(x, np.complex64)


def alphabet_table(alphabet: Any) -> dict[str, Any]:
    """The points of a Constellation, and the levels of their real and imaginary parts, where each goes with each."""
    points = alphabet.points.numpy()
    real, imag = (np.unique(np.round(part, 6)) for part in (points.real, points.imag))
    product = len(real) * len(imag) == len(points)
    parts = [part.astype(np.float32) if product else np.zeros(0, np.float32) for part in (real[::-1], imag[::-1])]
    signs = product and all(len(part) == 1 and part[0] == 0 or len(part) == 2 and part.sum() == 0 for part in parts)
    return {"size": len(points), "points": _single(points), "real": parts[0], "imag": parts[1], "real_levels": len(parts[0]),
            "imag_levels": len(parts[1]), "signs": bool(signs)}


def transform_tables(size: int) -> tuple[list[int], Array]:
    """(radices, twiddles) of Stockham's transform: of each stage e^(-2πik/r), k = 0 ... r-1, and its m·(r-1) twiddles."""
    radix: list[int] = []
    rest = size
    for r in (4, 2, 3, 5, *range(7, size + 1, 2)):
        while rest % r == 0:
            radix.append(r)
            rest //= r
    twiddles, n = [np.zeros(0)], size
    for r in radix:
        m = n // r
        twiddles += [np.exp(-2j * np.pi * np.arange(r) / r),
                     np.exp(-2j * np.pi * np.outer(np.arange(m), np.arange(1, r)) / n).ravel()]
        n = m
    return radix, _single(np.concatenate(twiddles))
