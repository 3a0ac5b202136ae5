# SPDX-License-Identifier: GPL-3.0-or-later
"""Stretches of a window in which more is left than in the rest: there symbols of both sources were decided wrongly together.

Such decisions are made with confidence, since each of both bends to the other. What they leave shows them: with noise 15 dB below
4FSK and Bluetooth's FSK under OFDM and QPSK, 5 and 10 dB stronger (seeds 100 to 103), every wrong bit lay where more than twice
the median was left, and one bit in seven there was wrong.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..sources.base import Source
from .base import Separation, doubted
from .estimate import Estimate
from .results import separation

_SPAN = 3               # times the longest memory, of sources without a linear model if there are: samples that are averaged
_MORE = 2.0             # times the median: no bit was wrong where less was left; symbols cut by a window end leave more too
_WRONG = 0.15           # share of bits that are wrong there, see above


def locally_doubted(y: Tensor, sources: Sequence[Source], out: Separation) -> Separation:
    """The Separation of windows y, complex64 [batch, samples], whose estimates are doubted where more than twice is left of what
    the rest of their window leaves. The sources say how long their symbols are."""
    left = (y - sum(e.waveform for e in out.sources)).abs().square()
    longest = max(source.memory for source in [source for source in sources if source.keyed] or sources)
    reach = max(1, _SPAN * longest // 2)
    near = torch.nn.functional.avg_pool1d(left[:, None], 2 * reach + 1, 1, reach, count_include_pad=False)[:, 0]
    usual = near.median(1, keepdim=True).values
    more = near > _MORE * usual
    if not bool(more.any()):
        return out
    excess = ((near - usual) * more).mean(1)
    estimates = [_doubted(estimate, more, excess) for estimate in out.sources]
    return separation(y, estimates, out.kappa, out.noise_var, out.method, out.estimated)


def _doubted(estimate: Estimate, more: Tensor, excess: Tensor) -> Estimate:
    """An Estimate whose symbols are doubted where `more`, bool [batch, samples], and whose waveform's error is no less than
    `excess` [batch]."""
    power = estimate.waveform.abs().square().mean(1).clamp_min(1e-30)
    sinr = -10 * torch.log10(10 ** (-estimate.sinr_db / 10) + excess / power)
    out = replace(estimate, sinr_db=sinr.to(estimate.sinr_db))
    if estimate.llrs is not None and estimate.at is not None and estimate.llrs.shape[-1]:
        place = estimate.at.nan_to_num().long().clamp(0, more.shape[1] - 1)
        out.llrs = doubted(estimate.llrs, _WRONG * more.gather(1, place).to(estimate.llrs))
    return out
