# SPDX-License-Identifier: GPL-3.0-or-later
"""Offset QPSK: s(n) = sum_k j^(k mod 2)·a_k·p(n - timing - k*T), a_k = ±1, T half a symbol; even k in phase, odd k in quadrature.

With half-sine pulses it is minimum shift keying (constant modulus), as IEEE 802.15.4 has it at 2.4 GHz (IEEE 802.15.4-2020,
12.2.6: chips of 0.5 µs, the even ones in phase, so samples_per_symbol is the sample rate over 1 MHz). There 32 chips stand for
four bits; the chips are what is sent here, they are not despread.
"""
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ParameterError
from .linear import root_raised_cosine
from .sampled import sampled

PULSES = ("rrc", "half-sine")


@dataclass(frozen=True)
class OffsetQpsk:
    """The waveform of unit mean power.

    samples_per_symbol: of the QPSK symbol, two bits long, a real number, 2 or more. pulse: "rrc" (root raised cosine of the
    symbol's period) or "half-sine" (half a period of a sine, one symbol long). rolloff: of the rrc pulse, 0 to 1. span: length of
    the rrc pulse in symbols.
    """

    samples_per_symbol: float = 8.0
    pulse: str = "rrc"
    rolloff: float = 0.5
    span: int = 8

    def __post_init__(self) -> None:
        sps = self.samples_per_symbol
        if isinstance(sps, bool) or not 2 <= sps < float("inf"):
            raise ParameterError(f"samples_per_symbol: {sps} must be a number, 2 or more, of the QPSK symbol, which holds two "
                                 "bits")
        object.__setattr__(self, "samples_per_symbol", float(sps))
        if self.pulse not in PULSES:
            raise ParameterError(f"pulse: {self.pulse!r} is not known; one of {', '.join(PULSES)}")
        if not 0 <= self.rolloff <= 1:
            raise ParameterError(f"rolloff: {self.rolloff} must lie between 0 and 1")
        if isinstance(self.span, bool) or self.span < 1 or self.span != int(self.span):
            raise ParameterError(f"span: {self.span} must be a whole number of symbols, 1 or more")
        object.__setattr__(self, "span", int(self.span))

    @property
    def half_symbol(self) -> float:
        """T: samples from one bit to the next."""
        return self.samples_per_symbol / 2

    @property
    def half_length(self) -> float:
        """How far the pulse reaches from its centre, samples."""
        return self.samples_per_symbol * (self.span if self.pulse == "rrc" else 1) / 2

    def pulse_at(self, tau: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The pulse at `tau` samples from its centre, float64, same shape; energy T."""
        tau = np.asarray(tau, float)
        inside = abs(tau) <= self.half_length + 1e-9
        if self.pulse == "half-sine":
            return np.where(inside, np.cos(np.pi * tau / self.samples_per_symbol), 0.0)
        return _scale(self.rolloff, self.span) * root_raised_cosine(tau / self.samples_per_symbol, self.rolloff) * inside

    def columns(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """(first sample int64 [batch, n], pulse float64 [batch, n, width]) of bits centred on samples float64 [batch, n]."""
        start = torch.ceil(centre - self.half_length - 1e-9).long()
        return start, sampled(self.pulse_at, start - centre, int(np.floor(2 * self.half_length)) + 1)

    def modulate(self, signs: Any, samples: int, timing: float | Tensor, first: Any = 0) -> Tensor:
        """signs a_first, a_first+1, ...: real [batch, n] -> complex64 [batch, samples]; bit 0 is centred on sample `timing`, any
        real number or one per window, [batch]; first: a number, or int64 [batch]."""
        a = torch.as_tensor(signs, dtype=torch.float64)
        number = torch.as_tensor(first).reshape(-1, 1) + torch.arange(a.shape[1])
        centre = torch.as_tensor(timing, dtype=torch.float64).reshape(-1, 1) + number * self.half_symbol
        start, pulse = self.columns(centre)
        n = (start[..., None] + torch.arange(pulse.shape[-1])).expand(len(a), -1, -1)
        inside = (n >= 0) & (n < samples)
        wave = ((a * quarter_turns(number))[..., None] * pulse * inside).flatten(1)
        out = torch.zeros(len(a), samples, dtype=wave.dtype)
        return out.scatter_add_(1, n.clamp(0, samples - 1).flatten(1), wave).to(torch.complex64)


def quarter_turns(number: Tensor) -> Tensor:
    """1 of even numbers, j of odd ones: complex128."""
    odd = (number % 2).double()
    return torch.complex(1 - odd, odd)


@lru_cache(maxsize=64)
def _scale(rolloff: float, span: int) -> float:
    """Of an rrc pulse that is cut to its span: energy half a symbol, over fractions of a sample."""
    steps = 64
    t = (np.arange(span * steps) + 0.5) / steps - span / 2
    return float(np.sqrt(steps / 2 / np.sum(root_raised_cosine(t, rolloff) ** 2)))
