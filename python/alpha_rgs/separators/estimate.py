# SPDX-License-Identifier: GPL-3.0-or-later
"""One source's part of a separation."""
from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ..sources.base import State

_LEAST_ERROR_RATE = 1e-12       # that a quality stands for: 17 dB


@dataclass
class Estimate:
    """What is known of one source after a separation. All tensors begin with [batch].

    waveform: E[g·s | y] as received, complex64 [batch, samples]. cleaned: the mixture less all other sources, with the
    receiver's noise: for a demodulator with loops and soft decisions of its own. state, state_std: the nuisances used, and the
    standard deviations of those estimated. sinr_db: power of the source over the expected error of the waveform, float32 [batch].
    symbols, llrs, at: see sources.base.Demodulated; None where the source has no demodulator. decided: whether the bits' signs
    are unambiguous (phase known, or not needed). ambiguous: whether they would be ambiguous if the phase were unknown.
    symbol_sinr_db: of the soft symbols, float32 [batch], or None.
    """

    waveform: Tensor
    cleaned: Tensor
    sinr_db: Tensor
    state: State = field(default_factory=State)
    state_std: State = field(default_factory=State)
    symbols: Tensor | None = None
    llrs: Tensor | None = None
    at: Tensor | None = None
    decided: bool = False
    ambiguous: bool = False
    symbol_sinr_db: Tensor | None = None

    @property
    def error_rate(self) -> Tensor | None:
        """The bit error rate that the llrs expect, float32 [batch]; None without symbols."""
        if self.llrs is None or self.llrs.shape[-1] == 0:
            return None
        wrong = torch.sigmoid(-torch.as_tensor(self.llrs).abs()).mean(-1)
        if self.at is None:
            return wrong.mean(1)
        there = ~torch.as_tensor(self.at).isnan()
        return (wrong * there).sum(1) / there.sum(1).clamp_min(1)

    @property
    def quality(self) -> Tensor:
        """Estimated SINR of the soft symbols, dB [batch]: symbol_sinr_db where the method gives one, else that of QPSK symbols
        of the same error rate; sinr_db without symbols."""
        if self.symbol_sinr_db is not None:
            return self.symbol_sinr_db
        rate = self.error_rate
        if rate is None:
            return self.sinr_db
        root = -math.sqrt(2) * torch.erfinv(2 * rate.double().clamp(_LEAST_ERROR_RATE, 0.4999) - 1)
        return (20 * torch.log10(root)).float()

    @property
    def faultless(self) -> Tensor:
        """Whether no error is expected, so that quality is a lower bound of the SINR alone: bool [batch]."""
        rate = self.error_rate
        if rate is None or self.symbol_sinr_db is not None:
            return torch.zeros(len(self.sinr_db), dtype=torch.bool)
        return rate <= _LEAST_ERROR_RATE

    def between(self, low: Tensor | int, high: Tensor | int) -> Self:
        """The Estimate whose error_rate and quality are those of the symbols centred on samples low ... high-1, a number or int
        [batch]: what a stream keeps of each window. Symbols at a window's ends, whose pulses it does not hold, say little of the
        others. Where no symbol lies there, all count."""
        if self.at is None or self.llrs is None:
            return self
        at = torch.as_tensor(self.at)
        first, stop = (torch.as_tensor(v).reshape(-1, 1) for v in (low, high))
        kept = (at >= first - 1e-6) & (at < stop - 1e-6)
        kept |= ~kept.any(1, keepdim=True)
        return replace(self, at=torch.where(kept, at, torch.nan))
