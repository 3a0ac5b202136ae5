# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols of a linear modulation in its waveform: matched filter and alphabet."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Demodulated, Number

if TYPE_CHECKING:
    from .linear_modulation import LinearModulation


class MatchedFilterDemodulator:
    """Symbols centred in the window, see sources.base.Demodulator."""

    coherent = True

    def __init__(self, source: LinearModulation) -> None:
        self.source, self.ambiguity = source, 1 if source.differential else source.signal.alphabet.symmetry

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulator. Raises ParameterError where timing or phase are unknown."""
        own = self.source
        for name in own.unknown:
            raise ParameterError(f"{own.kind}: {name} is unknown; symbols cannot be read without it")
        symbols = own.matched_filter(x)
        var = torch.as_tensor(noise_var, dtype=torch.float32, device=x.device).reshape(-1, 1) / own.signal.samples_per_symbol
        first, count = own.centred_symbols(x.shape[1])
        at = own.timing_of(first)[:, None] + torch.arange(count) * own.signal.samples_per_symbol
        return Demodulated(symbols, own.signal.alphabet.llrs(symbols, var.expand(symbols.shape)).float(),
                           at.to(x.device).expand(len(x), -1))
