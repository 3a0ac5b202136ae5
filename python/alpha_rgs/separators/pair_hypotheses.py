# SPDX-License-Identifier: GPL-3.0-or-later
"""Two linear modulations in one band: hypotheses of timing, carrier offset and phase of each, and joint detection of pairs.

Where one is estimated beneath the other, it may lock on a carrier offset at which its wrong decisions fit each other, and the
second one is then estimated in what these leave. So the likeliest hypothesis of each may be wrong, but the right one is among the
next. Detected jointly, only the right pair leaves no more than noise.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.base import Noise, Source
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import densities, regressed_gains
from .attempt import initial_levels
from .base import Separation, left_over
from .intermittent import separated
from .joint_general import Part, denoised, each, joint_general
from .rounds import Rounds
from .synchronizing import Synchronized, trains_within

_FIRST, _SECOND = 3, 5      # guesses of the one that is looked for first, and of the other in what each of these leaves
_SAME = (1e-4, 0.1)         # cycles per sample, samples: guesses that are one
_BRIEF, _KEPT = 6, 3        # passes of a pair's detection; pairs that are separated in full
_EXPLAINED = 1.4            # times the noise that densities show: with no more left over, no other pair is tried
Guess = list[LinearModulation]


def by_hypotheses(y: Tensor, sources: Sequence[Source], name: str, noise_var: Any, options: dict[str, Any],
                  free: Sequence[str]) -> Separation:
    """A Separation of one window y, complex64 [1, samples], of two linear modulations. See attempt for the rest."""
    gains, noise = initial_levels(y, sources, [source.state.gain for source in sources], noise_var)
    unknown = [k for k, source in enumerate(sources) if source.state.gain is None]
    with torch.inference_mode():
        tried = _detected(y, _pairs(y, cast(Any, sources), gains, noise), gains, noise, unknown)
        if tried[0].left > _EXPLAINED * float(noise):
            tried += _detected(y, _nearby(y, cast(Any, sources), tried[:_KEPT], noise), gains, noise, unknown)
        best: Any = None
        for one in sorted(tried, key=lambda one: one.left)[:_KEPT]:
            found = [{key: torch.as_tensor(getattr(own, key)).reshape(1) for key in given.unknown}
                     for own, given in zip(one.pair, sources)]
            known = [replace(cast(Any, given), **values) for given, values in zip(sources, found)]
            out = separated(Rounds(y, sources, Synchronized(known, found, one.gains), one.gains, noise, noise_var, name, options,
                                   free))
            if best is None or bool(left_over(y, out) < left_over(y, best)):
                best = out
            if float(left_over(y, best)) < _EXPLAINED * float(noise):
                break
    return best


@dataclass
class _Tried:
    """A pair that was detected: gains and Parts of both, and mean power that they leave."""

    pair: Guess
    gains: list[Tensor]
    parts: list[Part]
    left: float


def _pairs(y: Tensor, sources: Sequence[LinearModulation], gains: Sequence[Tensor], noise: Tensor) -> list[Guess]:
    """Guesses of both sources, either of them being looked for first."""
    pairs: list[Guess] = []
    for first, second in ((0, 1), (1, 0)):
        white = torch.maximum(noise, NOISE_FLOOR * gains[first].square())
        shape = densities(sources[second], *y.shape)
        for one in _guesses(y, sources[first], gains[first], white, gains[second].square()[:, None] * shape)[:_FIRST]:
            part = denoised(one, y, gains[first], white + gains[second].square())
            left = part.variance[:, None] * densities(one, *y.shape)
            for other in _guesses(y - part.waveform, sources[second], gains[second], white, left)[:_SECOND]:
                pair = [one, other] if first == 0 else [other, one]
                if not any(all(map(_same, pair, known)) for known in pairs):
                    pairs.append(pair)
    return pairs


def _nearby(y: Tensor, sources: Sequence[LinearModulation], tried: Sequence[_Tried], noise: Tensor) -> list[Guess]:
    """Pairs in which one source stays as it was tried, and the other is guessed anew in what that leaves."""
    pairs: list[Guess] = []
    for one in tried:
        for kept, moved in ((0, 1), (1, 0)):
            left = torch.full_like(noise, one.left / 2)[:, None] * densities(one.pair[kept], *y.shape)
            rest = y - one.parts[kept].waveform
            for own in _guesses(rest, sources[moved], one.gains[moved], noise, left)[:_SECOND]:
                pair = [one.pair[0], own] if kept == 0 else [own, one.pair[1]]
                if not any(all(map(_same, pair, known)) for known in pairs):
                    pairs.append(pair)
    return pairs


def _guesses(rest: Tensor, source: LinearModulation, gain: Tensor, white: Tensor, psd: Tensor) -> Guess:
    """What a source may be in noise of that density, without what is the same; a source that is known is that alone."""
    if not source.unknown:
        return [source]
    power = gain.square().clamp_min(1e-30)
    out: Guess = []
    for own in trains_within(rest / gain[:, None].float(), source, Noise(white / power, psd=psd / power[:, None]), 0):
        if not any(_same(own, known) for known in out):
            out.append(own)
    return out


def _same(a: LinearModulation, b: LinearModulation) -> bool:
    def apart(key: str) -> float:
        return abs(float(torch.as_tensor(getattr(a, key))) - float(torch.as_tensor(getattr(b, key))))

    return apart("carrier_offset") < _SAME[0] and apart("timing") < _SAME[1]


def _detected(y: Tensor, pairs: Sequence[Guess], gains: Sequence[Tensor], noise: Tensor,
              unknown: Sequence[int]) -> list[_Tried]:
    """All pairs, that which leaves least first."""
    count, windows = len(pairs), y.expand(len(pairs), -1)
    columns = [{key: torch.tensor([float(torch.as_tensor(getattr(pair[k], key))) for pair in pairs], dtype=torch.float64)
                for key in NUISANCES if key != "gain"} for k in range(2)]
    sources = [replace(cast(Any, pairs[0][k]), **columns[k]) for k in range(2)]
    levels, many = [g.expand(count) for g in gains], noise.expand(count)
    parts = joint_general(windows, sources, levels, many, passes=_BRIEF)
    levels, _ = regressed_gains(windows, [part.waveform for part in parts], levels, unknown, many)
    left = (windows - sum(part.waveform for part in parts)).abs().square().mean(1)
    return [_Tried(pairs[k], [g[k:k + 1] for g in levels], [each(lambda v, k=k: v[k:k + 1], part) for part in parts],
                   float(left[k])) for k in left.argsort().tolist()]
