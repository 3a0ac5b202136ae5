# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel of an OFDM burst as a filter of a few taps: what is seen on some carriers says what it is on all."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..signals.wifi import CARRIERS, FFT_SIZE

Array = np.ndarray[Any, Any]

_REACH = 8, 14          # samples before and after the place where a symbol was found: the taps that are looked for
# where a channel's strongest tap may lie, samples from there; the power of a tap over that of the one before, or, of those that
# come earlier, the one after; and of any at least, of the strongest: what filters leave
_PLACES, _DECAYS, _RISE, _FLOOR = range(-4, 6), (0.15, 0.45), 0.1, 1e-4
_STRONG = 0.1           # of the strongest tap's power: the first such tap is where symbols begin
DELAYS = np.arange(-_REACH[0], _REACH[1] + 1)


def _amplitudes(place: int, decay: float) -> Array:
    """Square roots of the taps' mean powers, which add up to one, [taps]."""
    away = DELAYS - place
    power = np.maximum(np.where(away >= 0, decay ** np.maximum(away, 0), _RISE ** np.maximum(-away, 0)), _FLOOR)
    return np.asarray((power / power.sum()) ** 0.5)


# of each kind of channel: where its taps lie, and how fast they fall
AMPLITUDES = np.stack([_amplitudes(place, decay) for place in _PLACES for decay in _DECAYS])
WAVES = np.exp(-2j * np.pi * np.outer(CARRIERS, DELAYS) / FFT_SIZE)    # responses of the taps on all carriers, [56, taps]
_KINDS = WAVES * AMPLITUDES[:, None]


def shapes(information: Array, precision: Array, power: float) -> Array:
    """How much likelier each kind of channel (where its taps lie, how fast they fall) makes what is seen than nothing's being
    there, nats [kinds]; arguments as of `response`."""
    whitening, volume = _whitened(precision, power)
    return np.asarray((abs(whitening @ information) ** 2).sum(1) - volume)


def _whitened(precision: Array, power: float) -> tuple[Array, Array]:
    """Of each kind: what makes of information, complex [56], taps whose energy is its evidence, [kinds, taps, 56]; and the nats
    that these taps cost, [kinds]."""
    waves = power ** 0.5 * _KINDS
    root = np.linalg.cholesky(waves.conj().transpose(0, 2, 1) @ (precision[:, None] * waves) + np.eye(len(DELAYS)))
    volume = 2 * np.log(np.einsum("ndd->nd", root).real).sum(1)
    return np.linalg.solve(root, waves.conj().transpose(0, 2, 1)), volume


def response(information: Array, precision: Array, power: float, kind: int) -> tuple[Array, Array, Array]:
    """(mean complex [56], variance [56]; power of each tap) of the channel on all carriers, of `power` on average. Given of each:
    precision, 1 over the variance of an estimate, 0 where nothing is seen, and information, the estimate times that.
    kind: a place in what `shapes` gives."""
    waves = _KINDS[kind] * max(power, 1e-30) ** 0.5
    seen = waves.conj().T @ (precision[:, None] * waves) + np.eye(len(DELAYS))
    cov = np.linalg.inv(seen)
    taps = cov @ (waves.conj().T @ information)
    size = abs(taps * waves[0]) ** 2
    return waves @ taps, np.einsum("kd,de,ke->k", waves, cov, waves.conj()).real, size


def first_strong(size: Array) -> int:
    """Samples from where a symbol was found to where it begins, by the powers of a channel's taps."""
    return int(DELAYS[np.argmax(size >= _STRONG * size.max())])


def echoes(size: Array, begin: int, length: int) -> Array:
    """What reaches each sample of a symbol of so many of its neighbours, and is missing of its own, power [length], by those of
    taps; begin: samples from where the symbol was found to where it begins."""
    out, delays = np.zeros(length), DELAYS - begin
    for j in range(min(delays.max(), length)):
        out[j] += 2 * size[delays > j].sum()
    for j in range(min(-delays.min(), length)):
        out[length - 1 - j] += 2 * size[delays < -j].sum()
    return out


def evidence(z: Array, use: Array, noise: float, power: float) -> Array:
    """By how many nats carriers z, complex [symbols, 56], those that are seen being `use`, bool [56], are likelier a channel of
    `power` in noise of a variance than without one carrier's saying anything of another, [symbols]."""
    whitening, volume = _whitened(use / noise, power)
    told = np.where(use, z, 0)
    fit = (abs(whitening @ (told.T / noise)) ** 2).sum(1) - volume[:, None]
    apart = use.sum() * np.log1p(power / noise) - (abs(told) ** 2).sum(1) / noise * power / (power + noise)
    return np.asarray(fit.max(0) - np.log(len(fit)) + apart)
