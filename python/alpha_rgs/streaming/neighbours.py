# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of one stream that leave more than the others are separated once more with the others' carrier offsets.

A source keeps its carrier offset from window to window. So a window that leaves more than the best, and has found another carrier
offset than these, or none, is separated with theirs, and keeps what leaves less; so is one that leaves much more and has found
nearly theirs: in bursts a carrier offset that is a little off costs them all.
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


def mended(out: Separation, sources: Sequence[Source], samples: int, level: Callable[[Separation, Tensor], Tensor],
           again: Callable[[Tensor, Mapping[int, Tensor]], Separation]) -> Separation:
    """A Separation of windows of so many samples, with what is better of those that do not fit the others.

    sources: as they were given. level(separation, rows int64 [k]): the power that it leaves of these windows, [k].
    again(rows, {place of a source: its carrier offset, cycles per sample, float64 [k]}): these windows once more.
    """
    count = len(out.noise_var)
    if count < 2 or len(out.sources) != len(sources):
        return out
    left = level(out, torch.arange(count))
    good = left <= _GOOD * left.min()
    more = left > _MORE * left[good].median()
    agreed, apart = {}, torch.zeros(count, dtype=torch.bool)
    for k, source in enumerate(sources):
        found = out.sources[k].state.carrier_offset
        if "carrier_offset" in source.unknown and torch.is_tensor(found) and len(found) == count:
            near = (found - found[good].nanmedian()).abs() < _APART / samples       # NaN is not near
            if 2 * int((near & good).sum()) > int(good.sum()):
                agreed[k] = float(found[near & good].mean())
                apart |= ~near
    rows = torch.nonzero((more.cpu() & apart) | ~good.cpu())[:, 0]
    if not agreed or not len(rows):
        return out
    known = {k: torch.full((len(rows),), value, dtype=torch.float64) for k, value in agreed.items()}
    other = again(rows, known)
    told = {name: known[k] for k in known for name in (f"carrier_offset_{k + 1}", _OF_PAIR.get(k)) if name in out.estimated}
    other = replace(other, estimated=told | other.estimated)
    return exchanged(out, rows, other, level(other, rows) < _LESS * left[rows])
