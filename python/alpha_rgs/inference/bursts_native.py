# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes of expectation propagation on symbols under bursts of OFDM, and the dynamic program that lays bursts out, by the
extension (native/src/burst*.h, in double precision). The torch code of separators/joint_bursts.py and the Python code of
synchronization/burst_layout.py are the reference, and do the work elsewhere."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import native
from ..signals.constellations import Constellation
from .sites import Sites


@dataclass(frozen=True)
class Tiled:
    """Tiles with equally many open carriers d, K symbols reaching each. received, noise: [tiles, samples]; waves: [tiles,
    samples, d]; pulses: [tiles, samples, K]; alphabet: [tiles, d], numbers of alphabets, negative: Gaussian."""

    received: Tensor
    noise: Tensor
    waves: Tensor
    pulses: Tensor
    alphabet: Tensor


@dataclass(frozen=True)
class Pauses:
    """Of a linear modulation. gone, back: chance per symbol that it pauses, and goes on; rest: power of a pause's symbols; stray:
    share of symbols that are there and fit no point; sure: nats that one may say of a pause; cool: factor on the noise from
    which down pauses are looked for."""

    gone: float
    back: float
    rest: float
    stray: float
    sure: float
    cool: float


@dataclass(frozen=True)
class Chained:
    """The symbols of windows. window, first: of each tile, in order: its window, and its first symbol there; exists: which
    symbols there are, bool [windows, symbols]; alphabet: theirs."""

    window: Tensor
    first: Tensor
    exists: Tensor
    alphabet: Constellation
    pauses: Pauses


@dataclass(frozen=True)
class Passed:
    """cavities: (mean, variance) of the symbols without their sites, after each pass; posterior: (mean, variance, probability of
    a pause), [windows, symbols] each; shifts: of the carriers' sites, one [tiles, d] for each Tiled; inverses: of the carriers'
    precision in the last pass, [tiles, d, d], where they were asked for."""

    cavities: list[tuple[Tensor, Tensor]]
    posterior: tuple[Tensor, Tensor, Tensor]
    shifts: list[Tensor]
    inverses: list[Tensor]


def passed(tiled: Sequence[Tiled], chained: Chained, alphabets: Sequence[Any], heats: Sequence[float], damping: float,
           inverses: bool = False) -> Passed | None:
    """So many passes as there are heats, factors on the noise, from sites that know nothing. alphabets: of carriers, by number.
    None where torch has to do it."""
    chosen, known = native.instructions(), [*alphabets, chained.alphabet]
    if chosen is None or chained.exists.device.type != "cpu" or not all(isinstance(a, Constellation) for a in known):
        return None
    shape = len(heats), *chained.exists.shape
    real, half = (np.empty(shape), np.empty(shape, complex))
    families = [_family(each, inverses) for each in tiled]
    job = {"windows": shape[1], "total": shape[2], "length": tiled[0].noise.shape[1], "symbols": tiled[0].pulses.shape[2],
           "heat": np.array(heats, float), "damping": damping, "alphabets": [_alphabet(a) for a in alphabets],
           "symbol": _alphabet(chained.alphabet), "families": families, "window": _array(chained.window, np.int64),
           "first": _array(chained.first, np.int64), "exists": _array(chained.exists, bool),
           "limits": np.array([Sites.least_var, Sites.least_site, Sites.least_cavity, Sites.least_posterior]),
           "pauses": np.array([getattr(chained.pauses, f.name) for f in fields(Pauses)]),
           "soft": half, "var": real, "mean": np.empty_like(half[0]), "spread": np.empty_like(real[0]),
           "away": np.empty_like(real[0])}
    native.extension().burst_passes(job, chosen, native.threads_to_use())
    soft, var, *posterior = (torch.from_numpy(job[name]) for name in ("soft", "var", "mean", "spread", "away"))
    shifts, inverted = ([torch.from_numpy(f[name]) for f in families if f[name] is not None] for name in ("shift", "inverse"))
    return Passed(list(zip(soft, var)), (posterior[0], posterior[1], posterior[2]), shifts, inverted)


def laid_out(gap: np.ndarray, lengths: Sequence[int], worth: Sequence[np.ndarray], begin: float,
             change: float) -> list[tuple[int, int]] | None:
    """The best layout of symbols, (first sample, number of its length) each: see synchronization/burst_layout.py. gap, worth: of
    each sample in a gap, and of a symbol of each length that begins there. None where Python has to do it."""
    extension = native.extension()
    return None if extension is None else extension.burst_layout(gap, list(lengths), list(worth), begin, change)


def _array(value: Tensor, kind: Any) -> Any:
    return np.ascontiguousarray(value.detach().numpy().astype(kind, copy=False))


def _family(tiled: Tiled, inverse: bool) -> dict[str, Any]:
    count, d = tiled.alphabet.shape
    return {"tiles": count, "carriers": d, "noise": _array(tiled.noise, float), "alphabet": _array(tiled.alphabet, np.int64),
            **{name: _array(getattr(tiled, name), complex) for name in ("received", "waves", "pulses")},
            "shift": np.empty((count, d), complex), "inverse": np.empty((count, d, d), complex) if inverse else None}


def _alphabet(alphabet: Constellation) -> dict[str, Any]:
    """Its points, and the levels of real and imaginary parts where each goes with each."""
    points = alphabet.points.numpy().astype(complex)
    real, imag = np.unique(points.real), np.unique(points.imag)
    if len(real) * len(imag) != len(points):
        real = imag = real[:0]
    elif len(points) == 4:          # as closed forms have it, which single precision has not
        real, imag = (np.sign(levels) * 0.5 ** 0.5 for levels in (real, imag))
    return {"size": len(points), "points": points, "real": real, "imag": imag}
