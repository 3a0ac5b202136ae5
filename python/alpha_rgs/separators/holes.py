# SPDX-License-Identifier: GPL-3.0-or-later
"""Stretches of exact zeros in a recording: samples that a receiver or a program dropped and filled.

They say nothing of the symbols that lie in them.
"""
from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .base import Separation, doubted
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
    llrs, quality = out.llrs, out.quality
    if llrs is not None and llrs.shape[1]:
        share = _share(llrs, None, holes)
        llrs, quality = doubted(llrs, share), _lowered(quality, share)
    return replace(out, llrs=llrs, quality=quality, sources=estimates)


def _opened(estimate: Estimate, holes: Tensor) -> Estimate:
    """An Estimate with open symbols in `holes`, bool [batch, samples]."""
    if estimate.llrs is None or not estimate.llrs.shape[1]:
        return estimate
    share = _share(estimate.llrs, estimate.at, holes)
    sinr = estimate.symbol_sinr_db
    return replace(estimate, llrs=doubted(estimate.llrs, share), symbol_sinr_db=None if sinr is None else _lowered(sinr, share))


def _share(llrs: Tensor, at: Tensor | None, holes: Tensor) -> Tensor:
    """The share of wrong bits of each symbol, [batch, symbols]: a half in holes. at: samples; None: symbols of one period."""
    samples, count = holes.shape[1], llrs.shape[1]
    if at is None:
        at = ((torch.arange(count, device=llrs.device) + 0.5) * samples / count).expand(len(holes), -1)
    return 0.5 * holes.gather(1, at.nan_to_num().long().clamp(0, samples - 1)).to(llrs)


def _lowered(quality: Tensor, share: Tensor) -> Tensor:
    """dB [batch]: an open symbol's error is as strong as the symbol."""
    return -10 * torch.log10(10 ** (-quality / 10) + 2 * share.mean(1))
