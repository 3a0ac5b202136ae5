# SPDX-License-Identifier: GPL-3.0-or-later
"""Which points carriers of OFDM bursts are likely to be, and how likely an alphabet makes them.

The alphabets of IEEE 802.11 are products of amplitudes on two axes, so each axis is looked at by itself.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..signals.constellations import points_of
from ..signals.wifi import ALPHABETS, PILOTS

Array = np.ndarray[Any, Any]

LEVELS: dict[str, tuple[Array, Array]] = {
    name: tuple(np.unique(np.round(part, 9)) for part in (points.real, points.imag))
    for name, points in ((name, points_of(name).numpy().astype(complex)) for name in ALPHABETS)}
FAINT = 1e-6           # of |gain|² over noise at least: a carrier in a channel's notch says nothing


@dataclass(frozen=True)
class Likely:
    """Of carriers z = c + noise, [symbols, carriers]: mean, E[c | z], complex; power, E[|c|² | z]; evidence [symbols]: log of the
    likelihood, less what is the same for all alphabets."""

    mean: Array
    power: Array
    evidence: Array


def likely(z: Array, snr: Array, name: str) -> Likely:
    """What carriers z, complex [symbols, 56], equalised, are likely to be as points of an alphabet, pilots of BPSK; snr: 1 over
    the variance of z's noise, [56] or like z; carriers whose snr is 0 do not count."""
    mean, power, evidence = by_axes(z, np.broadcast_to(snr, z.shape), name)
    if name != "bpsk":
        pilots = by_axes(z[:, PILOTS], np.broadcast_to(snr, z.shape)[:, PILOTS], "bpsk")
        for all_of, own in zip((mean, power, evidence), pilots):
            all_of[:, PILOTS] = own
    return Likely(mean, power, evidence.sum(1))


def nearest(z: Array, name: str) -> Array:
    """The points of an alphabet, pilots of BPSK, nearest to the carriers z of a symbol, complex [56]."""
    def on(x: Array, levels: Array) -> Array:
        return np.asarray(levels[abs(x[:, None] - levels).argmin(1)])

    data, pilots = (on(z.real, LEVELS[own][0]) + 1j * on(z.imag, LEVELS[own][1]) for own in (name, "bpsk"))
    return np.where(PILOTS, pilots, data)


def unknown(z: Array, snr: Array) -> Array:
    """The evidence of Gaussian carriers, [symbols], as that of `likely`."""
    snr = np.maximum(np.broadcast_to(snr, z.shape), 0)
    return np.asarray((abs(z) ** 2 * -snr / (1 + snr) - np.log1p(snr)).sum(1))


def by_axes(z: Array, snr: Array, name: str) -> tuple[Array, Array, Array]:
    """(mean, power, evidence of each carrier), all like z."""
    parts = []
    for x, levels in zip((z.real, z.imag), LEVELS[name]):
        distance = snr[..., None] * (x[..., None] - levels) ** 2
        least = distance.min(-1)
        weight = np.exp(least[..., None] - distance)
        total = weight.sum(-1)
        parts.append((weight @ levels / total, weight @ levels ** 2 / total, np.log(total / len(levels)) - least))
    (a, a2, own), (b, b2, other) = parts
    return a + 1j * b, a2 + b2, np.where(snr > FAINT, own + other, 0.0)
