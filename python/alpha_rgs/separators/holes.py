# SPDX-License-Identifier: GPL-3.0-or-later
"""Stretches of exact zeros in a recording: samples that a receiver or a program dropped and filled.

They say nothing of the symbols that lie in them.
"""
from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .base import Separation
from .estimate import Estimate

_LEAST = 16             # zeros in a row, samples: quantised noise of a quarter of a step has such a run once in a million samples


def holes_of(y: Tensor) -> Tensor:
    """Which samples of windows y, complex64 [batch, samples], lie in runs of at least _LEAST exact zeros: bool, of that shape."""
    zero = (y == 0).float()[:, None]
    if y.shape[1] < _LEAST or not bool(zero.any()):
        return torch.zeros(y.shape, dtype=torch.bool, device=y.device)
    whole = torch.nn.functional.avg_pool1d(zero, _LEAST, 1) > 1 - 0.5 / _LEAST          # of runs that begin here
    return torch.nn.functional.max_pool1d(torch.nn.functional.pad(whole.float(), (_LEAST - 1, _LEAST - 1)), _LEAST, 1)[:, 0] > 0


def unread(y: Tensor, out: Separation) -> Separation:
    """The Separation of windows y, the symbols of which are open where they lie in holes, and the quality of which counts them as
    wrong. Windows without holes stay as they are, and those that are nothing else."""
    holes = holes_of(y)
    some = holes.any(1) & ~holes.all(1)
    if not bool(some.any()):
        return out
    estimates = [_opened(estimate, holes) for estimate in out.sources]
    first = estimates[0]
    return replace(out, llrs=out.llrs if first.llrs is None else first.llrs, quality=first.quality.float(), sources=estimates)


def _opened(estimate: Estimate, holes: Tensor) -> Estimate:
    """An Estimate with open symbols in `holes`, bool [batch, samples]."""
    if estimate.llrs is None or not estimate.llrs.shape[1]:
        return estimate
    lost = _lost(estimate.llrs, estimate.at, holes)
    llrs, sinr = torch.where(lost[..., None], 0.0, estimate.llrs), estimate.symbol_sinr_db
    # an open symbol's error is as strong as the symbol
    return replace(estimate, llrs=llrs, symbol_sinr_db=None if sinr is None else -10 * torch.log10(
        10 ** (-sinr / 10) + lost.float().mean(1)))


def _lost(llrs: Tensor, at: Tensor | None, holes: Tensor) -> Tensor:
    """Which symbols lie in holes, bool [batch, symbols]. at: samples; None: symbols of one period."""
    samples, count = holes.shape[1], llrs.shape[1]
    if at is None:
        at = ((torch.arange(count, device=llrs.device) + 0.5) * samples / count).expand(len(holes), -1)
    return holes.gather(1, at.nan_to_num().long().clamp(0, samples - 1))
