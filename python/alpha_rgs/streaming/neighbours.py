# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of one stream whose first source nobody tracks: those that do not fit the others are separated once more.

A source keeps its carrier offset from window to window. So a window that leaves more than the others and has found another
carrier offset than most of them is separated with theirs, and keeps what leaves less.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..separators.base import Separation, exchanged
from ..sources.base import Source

_FEWEST = 3             # windows, of which more than half must agree
_MORE = 1.08            # times the median of the noise: a wrong carrier offset leaves that and more, where noise varies by 3 %
_APART = 0.5            # cycles over a window by which carrier offsets that agree may differ
_LESS = 0.98            # of the noise that a window had: what the others' carrier offset has to leave at most


def mended(out: Separation, sources: Sequence[Source], samples: int,
           again: Callable[[Tensor, Mapping[int, Tensor]], Separation]) -> Separation:
    """A Separation of windows of so many samples, with what is better of those that do not fit the others.

    sources: as they were given. again(rows int64 [k], {place of a source: its carrier offset, cycles per sample, float64 [k]}):
    these windows once more.
    """
    count = len(out.noise_var)
    if count < _FEWEST or len(out.sources) != len(sources):
        return out
    more = out.noise_var > _MORE * out.noise_var.median()
    agreed, apart = {}, torch.zeros(count, dtype=torch.bool)
    for k, source in enumerate(sources):
        found = out.sources[k].state.carrier_offset
        if "carrier_offset" in source.unknown and torch.is_tensor(found) and len(found) == count:
            near = (found - found.median()).abs() < _APART / samples
            if 2 * int(near.sum()) > count:
                agreed[k] = float(found[near].mean())
                apart |= ~near
    rows = torch.nonzero(more & apart)[:, 0]
    if not len(rows):
        return out
    known = {k: torch.full((len(rows),), value, dtype=torch.float64) for k, value in agreed.items()}
    other = again(rows, known)
    names = {k: f"carrier_offset_{k + 1}" for k in known}
    other = replace(other, estimated=other.estimated | {names[k]: v for k, v in known.items() if names[k] in out.estimated})
    return exchanged(out, rows, other, other.noise_var < _LESS * out.noise_var[rows])
