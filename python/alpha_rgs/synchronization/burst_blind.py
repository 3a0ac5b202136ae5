# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel of a burst of OFDM of which no training field is seen, from powers that take the alphabet away: E[(g·c)^M] =
g^M·E[c^M], M = 2 for BPSK, else 4, carrier by carrier, while each symbol's phase follows from all carriers."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..signals.wifi import CARRIERS

Array = np.ndarray[Any, Any]

_BINARY = 0.85          # of what noise leaves of the coherence of squares, from which carriers are BPSK
_ROUNDS = 5             # of phases and powers
_ORDER = 7              # of the polynomial of a channel's logarithm
_SMOOTH = 2             # carriers to either side over which fourth powers are averaged
_SLOPES = 2048          # slopes of a phase over the carriers that are looked at


def blind(u: Array, use: Array, noise: float) -> tuple[Array, Array, bool]:
    """(channel up to the alphabet's symmetry, complex [56]; phase of each symbol, rad [symbols]; whether carriers are BPSK), of
    carriers u, complex [symbols, 56]. use: carriers that tell, bool [56]; noise: variance, of a carrier's power."""
    scaled = u / np.maximum(np.mean(abs(u), 0), 1e-12)
    power = scaled
    for order in (2, 4):
        power, phase = power * power, np.zeros((len(u), 1))
        for _ in range(_ROUNDS):
            lifted = power * np.exp(-1j * order * phase)
            phase = phase + np.angle(lifted[:, use] @ lifted[:, use].mean(0).conj())[:, None] / order
        lifted = power * np.exp(-1j * order * phase)
        mean = lifted.mean(0)
        if np.median(abs(mean[use]) / np.mean(abs(lifted), 0)[use]) > _BINARY / (1 + noise):
            break
    if order == 4:
        mean = -mean                            # E[c⁴] < 0 for QPSK and square QAM
    size = np.sqrt(np.maximum(np.mean(abs(u) ** 2, 0) * (1 - noise / (1 + noise)), 1e-30))
    if order == 4:                              # amplitudes play into powers: neighbours help
        size = np.exp(np.polyval(np.polyfit(CARRIERS[use] / 32, np.log(size[use]), _ORDER), CARRIERS / 32))
    angle = _unwrapped(mean, use, _SMOOTH if order == 4 else 0) / order
    return size * np.exp(1j * angle), np.unwrap(order * phase[:, 0]) / order, order == 2


def _unwrapped(g: Array, use: Array, smooth: int) -> Array:
    """The phase of g, rad [56], as smooth as can be: unwrapped over the carriers `use` (each with `smooth` neighbours on either
    side), interpolated on the others."""
    k, z = CARRIERS[use].astype(float), g[use] / np.maximum(abs(g[use]), 1e-30)
    seen = np.zeros(_SLOPES, complex)
    seen[CARRIERS[use]] = z
    place = int(np.argmax(abs(np.fft.fft(seen))))
    slope = 2 * np.pi * (place / _SLOPES - round(place / _SLOPES))
    z = np.convolve(z * np.exp(-1j * slope * k), np.ones(2 * smooth + 1), "same")
    return np.asarray(np.interp(CARRIERS, k, np.unwrap(np.angle(z))) + slope * CARRIERS)
