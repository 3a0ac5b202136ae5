# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of sources that are known by their denoisers alone.

Cancelled one by the other, such sources settle on decisions that fit each other. So their denoisers are asked which other
waveforms they can have near those decided (inference/moves.py). That makes a linear model of each, and all are detected together
as if their structure were known (joint_general.py): the moves are the unknowns. The detected waveforms are probed again until
nothing changes.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from ..errors import CapabilityError
from ..inference.linear_model import LinearModel
from ..inference.moves import block_model, block_moves, local_model, local_moves
from ..sources.base import Source
from .joint_general import Part, chosen, denoised, each, joint_general, without

ROUNDS = 3              # of probing; networks of GMSK and OFDM need two
LEVELS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)   # noise variances, relative to the source's power, at which it may decide
_DECIDES = 2e-3         # power (-27 dB) that a denoiser leaves of such noise where it decides; cut frames of OFDM leave 8e-4
_NONLINEAR = 0.1        # and of what the best linear filter leaves: Gaussian sources leave all of that
_CHANGED = 2e-3         # of a waveform's power: less than one bit in a window, and more than a network wavers
_OCCUPIED = 0.99        # share of the power within the occupied bandwidth (ITU-R SM.328)
_BINS = 512
_LOCAL = 2.0            # durations (of one over the bandwidth) over which what a wrong decision leaves is looked for
_ENDS = 8               # halves of these at each end of a window, where symbols reach beyond it
_UNEVEN = 3.0           # times the median: noise leaves that over no such time of a window
_NOTHING = 0.05         # of the noise at which a source decides: so little is uneven because of what edges and resamplers leave


def by_denoisers(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor, linear: bool = True,
                 **options: Any) -> list[Part]:
    """As joint_general, and once more with the linear models that probing gives those sources that have none, or all where
    `linear` is False. Sources that do not decide (Gaussian ones, unknown constellations) stay as they are. No window depends on
    the others of its batch."""
    def windows(rows: Tensor) -> tuple[Tensor, list[Source], list[Tensor], Tensor]:
        return y[rows], [s.select(rows) for s in sources], [g[rows] for g in gains], noise_var[rows]

    models = [source.linear_model(y.shape) if linear else None for source in sources]
    parts = joint_general(y, sources, gains, noise_var, models=models, **options)
    which = [k for k, model in enumerate(models) if model is None]
    rows, kept, before = torch.arange(len(y), device=y.device), parts, [torch.zeros_like(y) for _ in which]
    misfit = torch.full_like(y.real[:, 0], torch.inf)
    for turn in range(ROUNDS + 1 if which else 0):
        mine = [_rows(part, rows) for part in parts]
        found, left = _all_decided(*windows(rows), mine, which)
        better = left <= misfit         # a window keeps what fits better
        mine = [chosen(better, a, b) for a, b in zip(mine, kept)]
        parts = [_put(part, rows, own) for part, own in zip(parts, mine)]
        now = [found[k].wave if k in found else torch.zeros_like(y[rows]) for k in which]
        changed = torch.stack([(a - b).abs().square().mean(1) > _CHANGED for a, b in zip(now, before)]).any(0)
        again = better & changed & ~_explained(*windows(rows)[:3], mine, found, which)
        if turn == ROUNDS or not bool(again.any()):
            break
        rows, kept, before, misfit = rows[again], [_rows(part, again) for part in mine], [w[again] for w in now], left[again]
        fresh = jointly(*windows(rows), {k: it.select(again) for k, it in found.items()}, which, **options)
        if fresh is None:
            break
        parts = [_put(part, rows, own) for part, own in zip(parts, fresh)]
    return parts


def jointly(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor, found: dict[int, Decided],
             which: Sequence[int], **options: Any) -> list[Part] | None:
    """The Parts of joint detection with what the moves about decided waveforms add to the linear models; None where no source has
    moves. which: the sources that have no linear model of their own."""
    models = [None if k in which else source.linear_model(y.shape) for k, source in enumerate(sources)]
    base = {}
    for k, decided in found.items():
        models[k] = model = _model(sources[k], decided, [source for j, source in enumerate(sources) if j != k])
        if model is not None:
            base[k] = gains[k][:, None].float() * (decided.wave - model.waveform(model.exists.double(), y.shape[1]).to(y))
    if not base:
        return None
    parts = joint_general(y - sum(base.values(), torch.zeros_like(y)), sources, gains, noise_var, models=models, **options)
    for k, wave in base.items():
        parts[k].waveform = parts[k].waveform + wave
    return parts


# ---- Parts of some windows -------------------------------------------------------------------------------------------------

def _rows(part: Part, rows: Tensor) -> Part:
    """The Part of some windows, by indices or bool."""
    return each(lambda v: v[rows.to(v.device)], part)


def _put(part: Part, rows: Tensor, own: Part) -> Part:
    """The Part with that of some windows in place."""
    return each(lambda v, w: v.index_copy(0, rows.to(v.device), w.to(v)), part, own)


# ---- probing ---------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Decided:
    """A possible waveform of a source. wave: of unit mean power, complex64 [batch, samples]. level: at which its denoiser
    decides, float64 [batch]; NaN: at none, and wave is a posterior mean there. source: as these windows see it."""

    wave: Tensor
    level: Tensor
    source: Source

    def denoise(self, x: Tensor) -> Tensor:
        """The possible waveforms nearest to x, these windows or these several times over: the denoiser is asked twice, since what
        is half-way after the first time has decided after the second."""
        levels, out = self.level.repeat(len(x) // len(self.level)), x.clone()
        place = torch.arange(len(self.level), device=x.device).repeat(len(x) // len(self.level))
        for v in torch.unique(levels[~levels.isnan()]).tolist():
            rows = torch.nonzero(levels == v)[:, 0]
            own = self.source.select(place[rows])
            out[rows] = own.denoise(own.denoise(x[rows], v), v)
        return out

    def select(self, rows: Tensor) -> Decided:
        """Of some windows, bool [batch]."""
        return Decided(self.wave[rows], self.level[rows], self.source.select(torch.nonzero(rows)[:, 0]))


def _explained(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], parts: Sequence[Part],
               found: dict[int, Decided], which: Sequence[int]) -> Tensor:
    """Windows in which no move can improve the decisions, bool [batch]: the parts leave about as much everywhere, and nowhere as
    much as their denoisers take away without deciding otherwise. None where decisions spread over blocks."""
    densities = [_density(source) for source in sources]
    if set(found) != set(which) or any(d is None or s.blocks(y.shape) is not None for d, s in zip(densities, sources)):
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)
    duration = math.ceil(_LOCAL / min(occupied_bandwidth(d) for d in densities if d is not None))
    left = (y - sum(part.waveform for part in parts)).abs().square().double()
    left = avg_pool1d(left[:, None], min(duration, y.shape[1]), max(1, duration // 2))[:, 0, _ENDS:-_ENDS]
    if not left.shape[1]:
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)
    least = torch.stack([found[k].level.nan_to_num(0.0) * gains[k].square() for k in which]).amin(0)
    usual = torch.maximum(_UNEVEN * left.median(1).values, _NOTHING * least)
    return left.amax(1) < torch.minimum(usual, least)


def _all_decided(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor, parts: Sequence[Part],
                 which: Sequence[int]) -> tuple[dict[int, Decided], Tensor]:
    """Of those sources that decide, the weakest first, each in what the others leave; and mean power that all leave [batch]."""
    parts, found = list(parts), {}
    for k in sorted(which, key=lambda k: float(gains[k].mean())):
        rest, level = without(y, parts, [k], noise_var)
        scale = gains[k][:, None].float()
        own = _decided(sources[k], rest / scale, level / gains[k].square())
        if own is not None:
            found[k] = own
            sure = ~own.level.isnan()
            parts[k] = chosen(sure, Part(scale * own.wave, torch.zeros_like(parts[k].variance)), parts[k])
    rest = y - sum((part.waveform for part in parts), torch.zeros_like(y))
    return found, rest.abs().square().mean(1)


def _decided(source: Source, x: Tensor, level: Tensor) -> Decided | None:
    """A possible waveform near x [batch, samples], which is the source plus noise of variance level [batch], and the highest
    level at which the denoiser returns to it from noise. None where it does so in no window, as with Gaussian sources."""
    density = _density(source)
    if density is None:
        return None
    wave = denoised(source, x, torch.ones_like(level), level).waveform
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, x.shape[1], dtype=torch.complex64, generator=generator).to(x.device)
    found = torch.full_like(level, torch.nan)
    for v in LEVELS:
        linear = float(np.mean(density * v / (density + v)))
        left_open = torch.nonzero(found.isnan())[:, 0]
        if not len(left_open):
            break
        here = Decided(wave[left_open], torch.full_like(level[left_open], v), source.select(left_open))
        near = here.denoise(here.wave)
        left = (here.source.denoise(near + v ** 0.5 * noise, v) - near).abs().square().mean(1)
        sure = left < min(_DECIDES, _NONLINEAR * linear)
        found[left_open[sure]], wave[left_open[sure]] = v, near[sure]
    return None if bool(found.isnan().all()) else Decided(wave, found, source)


def _model(source: Source, decided: Decided, others: Sequence[Source]) -> LinearModel | None:
    """The LinearModel of the moves about a waveform; None where there are none, or where nothing is known to find them by."""
    wave, blocks, density = decided.wave, source.blocks(decided.wave.shape), _density(source)
    covered = sum((d for other in others if (d := _density(other)) is not None), np.zeros(_BINS))
    if blocks is not None and covered.any():
        bins = 4 * blocks.length
        band = np.interp(np.arange(bins) / bins, np.arange(_BINS + 1) / _BINS, np.append(covered, covered[0])) / covered.max()
        tones = math.ceil(blocks.length * occupied_bandwidth(covered))
        model = block_model(block_moves(decided.denoise, wave, blocks, torch.tensor(band, dtype=torch.float32), tones), blocks)
    elif density is not None:
        model = local_model(local_moves(decided.denoise, wave, 1 / occupied_bandwidth(density)))
    else:
        return None
    model = replace(model, exists=model.exists & ~decided.level.isnan()[:, None])
    return model if bool(model.exists.any()) else None


def occupied_bandwidth(density: np.ndarray) -> float:
    """The least share of the sample rate that holds 99 % of the power (ITU-R SM.328 counts from the edges instead). density:
    float64 [bins], not negative."""
    share = np.cumsum(np.sort(density)[::-1]) / density.sum()
    return (1 + int(np.searchsorted(share, _OCCUPIED))) / len(density)


def _density(source: Source) -> np.ndarray | None:
    try:
        return source.psd(_BINS)
    except CapabilityError:
        return None
