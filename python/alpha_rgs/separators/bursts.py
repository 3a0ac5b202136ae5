# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that come in bursts and find these with their amplitudes themselves (Source.own_levels), beside others.

Their gain is whatever their samples were divided by: no density and no regression can tell it, since the mean over a window
counts the gaps. After each look for them their amplitudes are put into the gain (levelled).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..sources.base import Source
from ..synchronization.levels import NOISE_FLOOR


def levelled(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor],
             given: Sequence[Any]) -> tuple[list[Source], list[Tensor], Tensor]:
    """The sources with amplitudes of their own at unit mean power and all gains to that, unless the gain is given; and what noise
    is believed at least beside them, while it is estimated: bursts and noise share one density. float64 [batch]."""
    sources, gains, least = list(sources), list(gains), torch.zeros_like(gains[0])
    for k, source in enumerate(sources):
        unit, factor = source.levelled()
        if factor is None:
            continue
        factor = factor.to(y.device).expand(len(y))
        there = factor > 0
        least = torch.maximum(least, NOISE_FLOOR * (gains[k] * factor).square())
        if given[k] is None:        # a window without it has no waveform of any gain
            sources[k], gains[k] = unit, torch.where(there, gains[k] * factor, y.abs().square().mean(1).double().sqrt())
    return sources, gains, least
