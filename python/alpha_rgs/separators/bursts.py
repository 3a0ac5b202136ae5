# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that come in bursts and find these with their amplitudes themselves (Source.own_levels), beside others.

Their gain is whatever their samples were divided by: no density and no regression can tell it, since the mean over a window
counts the gaps. After each look for them their amplitudes are put into the gain (levelled).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..sources import Gaussian
from ..sources.base import Noise, Source
from .joint_general import Part, without

_LAGS = 32              # samples: of the covariance that stands for bursts
_SEARCH_FLOOR = 0.03    # of the bursts' power: no less noise is believed at first, while it is estimated


def density_beside(y: Tensor, sources: Sequence[Source], parts: Sequence[Part], k: int, noise: Tensor, scale: Tensor) -> Noise:
    """What the other parts leave beside source k, and the noise, in units of its gain `scale` [batch]."""
    psd = torch.zeros(len(y), y.shape[1], dtype=torch.float64)
    for j, (source, part) in enumerate(zip(sources, parts)):
        if j != k:
            try:
                shape = torch.from_numpy(source.psd(y.shape[1]))
            except CapabilityError:
                shape = torch.ones(y.shape[1], dtype=torch.float64)
            psd += (part.variance / scale.square()).cpu()[:, None] * shape
    return Noise((noise / scale.square()).cpu(), psd=psd)


def found_again(y: Tensor, asked: Sequence[Source], sources: Sequence[Source], parts: Sequence[Part], gains: Sequence[Tensor],
           noise: Tensor, given: Sequence[Any], noise_var: Any) -> tuple[list[Source], list[Tensor], Tensor]:
    """Sources, gains and noise with those bursts looked for again that nobody knows, in what a detection leaves of the others."""
    if noise_var is None:       # what is left over is noise, however much of it the variances claim
        noise = torch.maximum(noise, (y - sum(p.waveform for p in parts)).abs().square().mean(1).double())
    found = list(sources)
    for k, source in enumerate(asked):
        if source.own_levels and source.unknown:
            rest, _ = without(y, parts, [k], noise)
            scale = gains[k].clamp_min(1e-12)
            found[k] = source.synchronize(rest / scale[:, None].float(), density_beside(y, sources, parts, k, noise, scale))[0]
    sources, gains, _ = levelled(y, found, gains, given)
    return sources, gains, noise


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
        least = torch.maximum(least, _SEARCH_FLOOR * (gains[k] * factor).square())
        if given[k] is None:        # a window without it has no waveform of any gain
            sources[k], gains[k] = unit, torch.where(there, gains[k] * factor, y.abs().square().mean(1).double().sqrt())
    return sources, gains, least


def stationary(source: Source, samples: int) -> Gaussian:
    """A Gaussian source of the same mean density, as far as short lags tell it."""
    lags = np.arange(min(_LAGS, samples))
    return Gaussian((source.autocorrelation(lags) * (1 - lags / len(lags)))[None], 0)
