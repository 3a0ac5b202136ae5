# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulse-position and on-off keyed bursts: chips that are on or off, a preamble of them, then symbols of a few patterns each.

The defaults are Mode S (ICAO Annex 10 volume IV, 3.1.2.2): pulses of 0.5 us at 0, 1, 3.5 and 4.5 us, and from 8 us on 56 or 112
bits of 1 us, each a pulse in its first half (1) or in its second one (0).
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError

PREAMBLE = "1010000101000000"
_PATTERNS, _CHIPS, _SYMBOLS = 16, 64, 4096      # at most: patterns, chips of one, symbols of a burst


@dataclass(frozen=True)
class Ppm:
    """Rectangular chips of unit mean power over the symbols' chips, all patterns equally likely.

    samples_per_symbol: 2 or more, not necessarily whole. preamble: its chips, "1" on and "0" off; "" for none. patterns: chips of
    each symbol value in order, all of one length, a power of two of them: ("01", "10") PPM or Manchester, ("100", "110")
    pulse widths, ("0", "1") plain on-off keying. symbols: lengths that a burst may have; () for any. A sample is the mean over
    its duration [n, n + 1), as an integrating converter takes it: a chip that begins at 3.25 fills three quarters of sample 3.
    """

    samples_per_symbol: float = 2
    preamble: str = PREAMBLE
    patterns: tuple[str, ...] = ("01", "10")
    symbols: tuple[int, ...] = (56, 112)

    def __post_init__(self) -> None:
        sps: Any = self.samples_per_symbol
        if isinstance(sps, bool) or not isinstance(sps, (int, float)) or not 2 <= sps < math.inf:
            raise ParameterError(f"samples_per_symbol: {sps} must be 2 or more; resample the recording to a higher rate")
        if not isinstance(self.preamble, str) or set(self.preamble) - set("01"):
            raise ParameterError(f"preamble: {self.preamble[:40]!r} must be a text of chips, 0 and 1")
        self._check_patterns()
        lengths = tuple(self.symbols)
        if any(isinstance(k, bool) or not isinstance(k, (int, float)) or k != int(k) or not 1 <= k <= _SYMBOLS for k in lengths):
            raise ParameterError(f"symbols: {list(lengths)} must be whole numbers from 1 to {_SYMBOLS}, the lengths that a burst "
                                 "may have, or empty for any")
        object.__setattr__(self, "symbols", tuple(sorted({int(k) for k in lengths})))

    def _check_patterns(self) -> None:
        words = tuple(self.patterns)
        if not all(isinstance(w, str) and w and not set(w) - set("01") for w in words):
            raise ParameterError(f"patterns: {list(words)} must be texts of chips, 0 and 1")
        if len(words) < 2 or len(words) & (len(words) - 1) or len(words) > _PATTERNS:
            raise ParameterError(f"patterns: {len(words)} given; they must be a power of two, 2 to {_PATTERNS}")
        if len({len(w) for w in words}) > 1 or len(words[0]) > _CHIPS:
            raise ParameterError(f"patterns: {list(words)} must all have one number of chips, {_CHIPS} at most")
        if len(set(words)) < len(words):
            raise ParameterError(f"patterns: {list(words)} must differ from each other")
        object.__setattr__(self, "patterns", words)

    @property
    def chips_per_symbol(self) -> int:
        """Chips of a pattern."""
        return len(self.patterns[0])

    @property
    def chip(self) -> float:
        """Samples of a chip."""
        return self.samples_per_symbol / self.chips_per_symbol

    @property
    def bits(self) -> int:
        """Bits of a symbol."""
        return len(self.patterns).bit_length() - 1

    @property
    def lead(self) -> float:
        """Samples of the preamble."""
        return len(self.preamble) * self.chip

    @property
    def amplitude(self) -> float:
        """Of a chip that is on."""
        return float(self.table().mean()) ** -0.5

    def table(self) -> Tensor:
        """The patterns, float64 [patterns, chips], 1 on and 0 off."""
        return torch.tensor([[float(c) for c in word] for word in self.patterns], dtype=torch.float64)

    def heading(self) -> Tensor:
        """The preamble's chips, float64 [chips]."""
        return torch.tensor([float(c) for c in self.preamble], dtype=torch.float64)

    def length(self, symbols: int) -> float:
        """Samples of a burst of that many symbols."""
        return self.lead + symbols * self.samples_per_symbol

    def modulate(self, symbols: Tensor, samples: int, begin: float | Tensor) -> Tensor:
        """Symbols, integers [batch, n] (-1: none), to one burst per window that begins with its preamble at sample `begin`, any
        real number or one per window [batch]: complex64 [batch, samples]."""
        symbols = torch.as_tensor(symbols).long()
        chips = self.table()[symbols.clamp_min(0)] * (symbols >= 0)[..., None]
        chips = torch.cat([self.heading().expand(len(symbols), -1), chips.flatten(1)], 1)
        begin = torch.as_tensor(begin, dtype=torch.float64).reshape(-1).expand(len(symbols))
        return (self.amplitude * integrated(chips, begin, self.chip, samples)).to(torch.complex64)


def integrated(chips: Tensor, begin: Tensor, duration: float, samples: int) -> Tensor:
    """Rectangular chips, real [..., n], of `duration` samples each, that begin at `begin`, float64 [...], as samples that are
    means over [n, n + 1): float64 [..., samples]."""
    total = torch.nn.functional.pad(chips.cumsum(-1), (1, 1))       # chips on before each edge; the last one is padding
    total[..., -1] = total[..., -2]
    edge = torch.arange(samples + 1, dtype=torch.float64, device=chips.device)
    place = ((edge - begin[..., None]) / duration).clamp(0, chips.shape[-1])
    whole = place.floor().clamp_max(chips.shape[-1])
    low, high = (total.expand(*place.shape[:-1], -1).gather(-1, whole.long() + k) for k in (0, 1))
    return duration * (low + (place - whole) * (high - low)).diff(dim=-1)
