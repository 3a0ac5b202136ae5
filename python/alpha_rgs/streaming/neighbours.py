# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of one stream that leave more than the others are separated once more with the others' carrier offsets.

A source keeps its carrier offset from window to window. So a window that leaves more than the best, and has found another carrier
offset than these, or none, is separated with theirs, and keeps what leaves less; so is one that leaves much more and has found
nearly theirs: in bursts a carrier offset that is a little off costs them all.

A carrier offset that is wrong by the symbol rate over the alphabet's symmetry leaves symbols on the alphabet's points, and most
windows may have found such a one. So where windows differ by a multiple of that, all are separated with each, and the one with
which all together leave least is kept.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..separators.base import Separation, exchanged
from ..sources.base import Source

_GOOD = 1.5             # times the least that any window leaves: windows that leave no more are good, and most of them must agree
_MORE = 1.08            # times their median: a wrong carrier offset leaves that and more, where noise varies by 3 %
_APART = 0.5            # cycles over a window by which carrier offsets that agree may differ
_OF_PAIR = {0: "carrier_offset", 1: "interference_carrier_offset"}     # how a pair's estimates are called
_LESS = 0.98            # of what a window left: what the others' carrier offset has to leave at most
Level = Callable[[Separation, Tensor], Tensor]
Again = Callable[[Tensor, Mapping[int, Tensor]], Separation]


def mended(out: Separation, sources: Sequence[Source], samples: int, level: Level, again: Again) -> Separation:
    """A Separation of windows of so many samples, with what is better of those that do not fit the others.

    sources: as they were given. level(separation, rows int64 [k]): the power that it leaves of these windows, [k].
    again(rows, {place of a source: its carrier offset, cycles per sample, float64 [k]}): these windows once more.
    """
    count = len(out.noise_var)
    if count < 2 or len(out.sources) != len(sources):
        return out
    for k in range(len(sources)):
        out = _in_one_turn(out, sources, k, samples, level, again)
    left = level(out, torch.arange(count))
    good = left <= _GOOD * left.min()
    more = left > _MORE * left[good].median()
    agreed, apart = {}, torch.zeros(count, dtype=torch.bool)
    for k, source in enumerate(sources):
        found = _found(out, source, k)
        if found is not None:
            near = (found - found[good].nanmedian()).abs() < _APART / samples       # NaN is not near
            if 2 * int((near & good).sum()) > int(good.sum()):
                agreed[k] = float(found[near & good].mean())
                apart |= ~near
    rows = torch.nonzero((more.cpu() & apart) | ~good.cpu())[:, 0]
    if not agreed or not len(rows):
        return out
    known = {k: torch.full((len(rows),), value, dtype=torch.float64) for k, value in agreed.items()}
    other = _again(out, rows, known, again)
    return exchanged(out, rows, other, level(other, rows) < _LESS * left[rows])


def _found(out: Separation, source: Source, k: int) -> Tensor | None:
    """The carrier offsets found of source k, float64 [windows]; None where they were not looked for."""
    found = out.sources[k].state.carrier_offset
    looked_for = "carrier_offset" in source.unknown and torch.is_tensor(found) and len(found) == len(out.noise_var)
    return found if looked_for else None


def _again(out: Separation, rows: Tensor, known: Mapping[int, Tensor], again: Again) -> Separation:
    """See mended; what is known is told as it was in `out`."""
    other = again(rows, known)
    told = {name: known[k] for k in known for name in (f"carrier_offset_{k + 1}", _OF_PAIR.get(k)) if name in out.estimated}
    return replace(other, estimated=told | other.estimated)


def _in_one_turn(out: Separation, sources: Sequence[Source], k: int, samples: int, level: Level, again: Again) -> Separation:
    """The Separation, in which no carrier offsets of source k differ by a multiple of what its symbols do not show."""
    found, repeats = _found(out, sources[k], k), sources[k].repeats
    if found is None or repeats is None:
        return out
    step, tolerance = 1 / (repeats[0] * repeats[1]), _APART / samples
    left = level(out, torch.arange(len(found)))
    away = (found - found[left.argmin()].item()) / step
    turns = away.round()
    known = ((away - turns).abs() * step < tolerance) & (step > 4 * tolerance)
    candidates = torch.unique(turns[known])
    if len(candidates) < 2:
        return out
    tried = []
    for turn in candidates:
        own = known & (turns == turn)
        rows = torch.nonzero(~own)[:, 0]
        carrier = torch.full((len(rows),), float(found[own].mean()), dtype=torch.float64)
        other = exchanged(out, rows, _again(out, rows, {k: carrier}, again), torch.ones(len(rows), dtype=torch.bool))
        tried.append((float(level(other, torch.arange(len(found))).sum()), other))
    return min(tried, key=lambda one: one[0])[1]
