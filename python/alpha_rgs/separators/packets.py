# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that come in packets which their power does not show (Source.in_packets): windows are separated as if these were always
on first. Where what all others leave shows gaps, the window is separated once more with packets, which the source finds itself.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..sources.base import Source
from .base import Separation, exchanged, mapped
from .estimate import Estimate

_MORE = 1.1             # times the power that is left if it were always on: then noise in gaps passes for chirps
_LEAST = 1e-9           # of a gain


def with_packets(y: Tensor, sources: Sequence[Source], noise_var: Any, out: Separation,
                 again: Callable[[Tensor, list[Any], Any], Separation]) -> Separation:
    """The Separation of windows y, complex64 [batch, samples], `out` being that of sources that are always on. again(y, sources,
    noise_var): separates windows once more."""
    able = {k: own for k, source in enumerate(sources) if (own := source.in_packets()) is not None}
    if not able or len(out.sources) != len(sources):
        return out
    with torch.inference_mode():
        # the others were found as if there were no gaps, which may hide these
        shown = {k: source.gaps(_scaled(out.sources[k].cleaned, out.sources[k]))
                 | source.gaps(_scaled(y, out.sources[k]), mixed=True) for k, source in able.items()}
    rows = torch.nonzero(torch.stack(list(shown.values())).any(0))[:, 0]
    if not len(rows):
        return out
    for row in rows.tolist():
        one = torch.tensor([row])
        given = [able[k].select(one) if k in able and bool(shown[k][row]) else source.select(one)
                 for k, source in enumerate(sources)]
        some = noise_var[one] if torch.is_tensor(noise_var) and noise_var.numel() > 1 else noise_var
        new = _silenced(again(y[one], given, some), given)
        better = _left(y[one], new) < _MORE * _left(y[one], mapped(out, lambda t, one=one: t[one]))
        out = exchanged(out, one, new, better)
    return out


def _scaled(x: Tensor, estimate: Estimate) -> Tensor:
    """Windows x in which a source has unit mean power."""
    return x / torch.as_tensor(estimate.state.gain, dtype=torch.float64).reshape(-1, 1).clamp_min(_LEAST)


def _left(y: Tensor, out: Separation) -> Tensor:
    """Mean power that no source explains, [batch]."""
    return (y - sum((e.waveform for e in out.sources), torch.zeros_like(y))).abs().square().mean(1)


def _silenced(out: Separation, sources: Sequence[Source]) -> Separation:
    """The Separation, with the gain 0 of sources of which a window holds nothing."""
    for k, (source, estimate) in enumerate(zip(sources, out.sources)):
        if source.own_levels:
            there = estimate.waveform.abs().square().sum(1) > 0
            gain = torch.as_tensor(estimate.state.gain)
            estimate.state = replace(estimate.state, gain=torch.where(there, gain, 0))
            if f"gain_{k + 1}" in out.estimated:
                out.estimated[f"gain_{k + 1}"] = estimate.state.gain
    return out
