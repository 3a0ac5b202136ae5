# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of a continuous-phase source that has no linear model, and of a linear one.

A few rounds of soft cancellation give a first guess: the linear source's unknowns are read one by one in noise that counts what
of the other one's error falls on each, and the other by its trellis, in noise as strong as the linear source's error within its
band. keyed_search.py then searches the symbols of both together.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ..signals.carrier import carrier
from ..sources.base import Source
from ..sources.cpm_synchronizer import REACH
from ..sources.trellis import Trellis, detected
from ..synchronization.powers import densities
from .joint_general import NOISE_FLOOR, Part, denoised
from .keyed_chains import BRIEF, CHAINS, THOROUGH, means
from .keyed_search import Columns, Search, columns

_PASSES = 3             # of soft cancellation; more change nothing that the search does not
_BINS = 512
_DOUBTED = 0.002        # cycles per sample by which a carrier offset that was found may be wrong
_CHUNK = 4              # windows at once: about 100 MB


def keyed_pair(sources: Sequence[Source], shape: Sequence[int]) -> tuple[int, int] | None:
    """(continuous-phase source without a linear model, linear source whose unknowns are nearly orthogonal) of two sources; None
    of others. shape: [batch, samples] of the windows."""
    if len(sources) != 2 or sources[0].keyed == sources[1].keyed or not any(source.linear for source in sources):
        return None
    pair = (0, 1) if sources[0].keyed else (1, 0)
    keyed, other = (sources[k] for k in pair)
    return None if keyed.unknown or not separable(other, shape) else pair


def separable(source: Source, shape: Sequence[int]) -> bool:
    """Whether the unknowns of a source are nearly orthogonal, so that they are read one by one once the other source is known.
    shape: [batch, samples] of the windows."""
    model = source.linear_model(shape)
    one = torch.ones(1, dtype=torch.float64)
    return model is not None and columns(model.select(slice(1)), one, 1e-3 * one, shape[1]) is not None


def by_keyed(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise: Tensor, pair: tuple[int, int],
             last: bool) -> list[Part]:
    """The Parts of both sources, whose nuisances are known. last: with a thorough search."""
    noise = torch.maximum(noise, NOISE_FLOOR * torch.stack([g.square() for g in gains]).amin(0))
    rows = torch.arange(len(y)).split(_CHUNK)
    found = [_some(y[k], [s.select(k) for s in sources], [g[k] for g in gains], noise[k], pair, last) for k in rows]
    return [Part(torch.cat([part.waveform for part in own]), torch.cat([part.variance for part in own])) for own in zip(*found)]


def undecided(y: Tensor, other: Source, keyed: Source, gains: tuple[Tensor, Tensor],
              noise: Tensor) -> tuple[Tensor, Tensor] | None:
    """(mean of a linear source, complex64 [batch, samples], as far as it can be told under a continuous-phase one whose symbols
    nobody knows; density of its error, float64 [batch, samples]). gains: of both. None where its unknowns are not nearly
    orthogonal."""
    model = other.linear_model(y.shape)
    linear = None if model is None else columns(model, gains[0], noise, y.shape[1])
    if linear is None:
        return None
    share = shared(linear, keyed, len(y))
    level = noise[:, None] + gains[1].square()[:, None] * share
    mean, square = linear.means(linear.seen(y)[1], linear.weight / level.float())
    spectra = torch.fft.fft(linear.columns, _BINS, dim=2).abs().square().double()
    error = ((square - mean.abs().square()).clamp_min(0).double()[..., None] * spectra).sum(1) / y.shape[1]
    places = (torch.arange(y.shape[1]) * _BINS) // y.shape[1]
    return linear.waveform(mean), error[:, places]


def shared(linear: Columns, keyed: Source, batch: int) -> Tensor:
    """Density of the continuous-phase source where each unknown of the linear one has its energy, float64 [batch, n]."""
    spectra = torch.fft.fft(linear.columns, _BINS, dim=2).abs().square().double()
    unknown = "carrier_offset" in keyed.unknown
    density = densities(keyed, batch, _BINS).expand(batch, -1)
    reach = math.ceil((REACH if unknown else _DOUBTED) * _BINS)
    density = torch.stack([density.roll(k, 1) for k in range(-reach, reach + 1)]).amax(0)       # wherever it may be
    return (spectra @ density[..., None])[..., 0] / spectra.sum(2).clamp_min(1e-9)


def _some(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise: Tensor, pair: tuple[int, int],
          last: bool) -> list[Part]:
    keyed, other = (cast(Any, sources[k]) for k in pair)
    gain, scale = gains[pair[0]], gains[pair[1]]
    model = other.linear_model(y.shape)
    linear = columns(model, scale, noise, y.shape[1])
    if linear is None:
        return [denoised(s, y, g, noise) for s, g in zip(sources, gains)]
    share = shared(linear, keyed, len(y))
    on, keyed = keyed.while_on(y.shape[1]), keyed.steady
    trellis, turn = _guess(y, keyed, on, linear, (gain, scale), noise, share)
    symbols, root = trellis.likeliest()
    timing, phase = (_each(v, len(y)) for v in (keyed.timing, keyed.phase))
    first = trellis.numbers(timing)[:, 0] - (keyed.signal.span - 1)
    angle = phase + 2 * math.pi * root / keyed.signal.index.denominator
    factor = torch.zeros(y.shape, dtype=turn.dtype)             # nothing while it is off
    factor[:, on] = turn * torch.polar(torch.ones_like(angle), angle)[:, None]
    near, numbers = linear.coupled(share) if model.frame is not None else (linear, None)
    search = Search(keyed.signal, y, near, gain, noise, timing + on.start, first, factor, symbols)
    wave, mean, square = means(search, THOROUGH, CHAINS) if last else means(search, BRIEF)
    if numbers is not None:
        far = linear.means(linear.seen(y - wave)[1], linear.weight / noise[:, None].float())
        mean, square = (a.scatter(1, numbers, b) for a, b in zip(far, (mean, square)))
    own = (gain.square() * (on.stop - on.start) / y.shape[1] - wave.abs().square().mean(1).double()).clamp_min(1e-9)
    parts = [Part(wave, own), Part(linear.waveform(mean), linear.variance(mean, square))]
    return parts if pair == (0, 1) else parts[::-1]


def _guess(y: Tensor, keyed: Any, on: slice, linear: Columns, gains: tuple[Tensor, Tensor], noise: Tensor,
           share: Tensor) -> tuple[Trellis, Tensor]:
    """While the continuous-phase source is on: (its trellis in what soft cancellation leaves; its carrier, complex128 [batch,
    samples])."""
    signal, (gain, scale) = keyed.signal, gains
    timing, phase = (_each(v, len(y)) for v in (keyed.timing, keyed.phase))
    turn = carrier(0.0, keyed.carrier_offset, y[:, on]).expand(len(y), -1)
    energy = linear.columns.abs().square().sum(2).double()
    overlap = (share * energy).sum(1) / energy.sum(1)
    mean, left = torch.zeros_like(y), gain.square()
    rest, level = y, noise + scale.square() * overlap
    for turn_number in range(_PASSES):
        if turn_number or bool((scale > gain).all()):
            error = (noise[:, None] + left[:, None] * share).float()
            soft, square = linear.means(linear.seen(y - mean)[1], linear.weight / error)
            rest, level = y - linear.waveform(soft), noise + linear.variance(soft, square) * overlap
        x = (rest[:, on] * turn.conj() / gain[:, None]).to(torch.complex128)
        level = level / gain.square()
        if turn_number < _PASSES - 1:
            wave = Trellis(signal, x, level, timing, phase, keyed.starts).mean() * turn * gain[:, None]
            mean[:, on] = wave.to(torch.complex64)
            left = (gain.square() - wave.abs().square().mean(1)).clamp_min(0)
    return detected(signal, x, level, timing, phase, keyed.starts)[0], turn


def _each(value: Any, batch: int) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).reshape(-1).expand(batch)
