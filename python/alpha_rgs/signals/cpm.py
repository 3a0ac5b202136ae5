# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussian frequency shift keying: s(n) = exp(j*pi*h*sum_k a_k q(n - timing - k*samples_per_symbol)), a_k = ±1, of modulation
index h; GMSK is h = 1/2."""
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ..errors import ParameterError

_DENOMINATOR = 16       # of a modulation index, at most: so many phases does the trellis have


@dataclass(frozen=True)
class Gmsk:
    """Frequency shift keying of modulation index 1/2 behind a Gaussian filter: constant modulus, a quarter turn a symbol.

    samples_per_symbol: whole number, 1 or more. bandwidth_time: 3 dB bandwidth of the filter times the symbol's duration (GSM:
    0.3, 3GPP TS 45.004, 2.5). span: length of the frequency pulse in symbols, 1 to 8, of the Gaussian filter's response to one
    symbol; it is cut off there (at 4 and 0.3 1e-4 of its area is lost) and scaled to a quarter turn again.
    """

    samples_per_symbol: int = 4
    bandwidth_time: float = 0.3
    span: int = 4

    def __post_init__(self) -> None:
        sps = self.samples_per_symbol
        if isinstance(sps, bool) or sps != int(sps) or sps < 1:
            raise ParameterError(f"samples_per_symbol: {sps} must be a whole number, 1 or more; resample the recording first, "
                                 "for instance with GNU Radio's Polyphase Arbitrary Resampler (filter.pfb.arb_resampler_ccf)")
        object.__setattr__(self, "samples_per_symbol", int(sps))
        if not 0.05 <= self.bandwidth_time <= 10:
            raise ParameterError(f"bandwidth_time: {self.bandwidth_time} must lie between 0.05 and 10; 0.3 in GSM")
        if isinstance(self.span, bool) or self.span != int(self.span) or not 1 <= self.span <= 8:
            raise ParameterError(f"span: {self.span} must be a whole number of symbols, 1 to 8 (2**span waveforms a symbol)")
        object.__setattr__(self, "span", int(self.span))

    @property
    def index(self) -> Fraction:
        """The modulation index, a Fraction: a symbol turns the phase by this times half a turn."""
        return Fraction(1, 2)

    @property
    def half_length(self) -> float:
        """How far the frequency pulse reaches from its centre, samples."""
        return self.span * self.samples_per_symbol / 2

    def phase_pulse(self, tau: float | Tensor) -> Tensor:
        """q: the share of its turn that a symbol has made `tau` samples after its pulse's centre, 0 ... 1, float64 tensor of the
        same shape. A rectangle of one symbol through the Gaussian filter, integrated."""
        sigma = 0.6931471805599453 ** 0.5 / (2 * torch.pi * self.bandwidth_time)       # symbols

        def integral(u: Tensor) -> Tensor:        # of the Gaussian's distribution function
            return u * torch.special.ndtr(u / sigma) + sigma * torch.exp(-(u / sigma) ** 2 / 2) / (2 * torch.pi) ** 0.5

        half = torch.tensor(self.span / 2, dtype=torch.float64)
        t = (torch.as_tensor(tau, dtype=torch.float64) / self.samples_per_symbol).clamp(-self.span / 2, self.span / 2)
        q, low, high = (integral(u + 0.5) - integral(u - 0.5) for u in (t, -half.to(t.device), half.to(t.device)))
        return (q - low) / (high - low)

    def modulate(self, symbols: Tensor, samples: int, timing: float | Tensor) -> Tensor:
        """symbols ±1, real [batch, n] -> complex64 [batch, samples] of unit modulus; the pulse of symbol 0 is centred on sample
        `timing`, any real number or one per window, [batch]. Phase 0 before symbol 0; it stands still after the last symbol."""
        a = torch.as_tensor(symbols, dtype=torch.float64)
        batch, count = a.shape
        timing = torch.as_tensor(timing, dtype=torch.float64, device=a.device).reshape(-1, 1)
        age = (torch.arange(samples, device=a.device) - timing) / self.samples_per_symbol + self.span / 2
        latest = torch.floor(age).long().expand(batch, samples)         # the symbol whose pulse began last, `since` symbols ago
        since = age - torch.floor(age)
        a, total = torch.nn.functional.pad(a, (1, 1)), torch.nn.functional.pad(a.cumsum(1), (1, 0))
        turn = total.gather(1, (latest - self.span + 1).clamp(0, count))
        for j in range(self.span):
            share = self.phase_pulse((since + j) * self.samples_per_symbol - self.half_length)
            turn = turn + a.gather(1, (latest - j + 1).clamp(0, count + 1)) * share
        angle = torch.pi * float(self.index) * (turn % (2 * self.index.denominator))
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


@dataclass(frozen=True)
class Gfsk(Gmsk):
    """Gaussian frequency shift keying of any rational modulation index p/q: a symbol turns the phase by p/q of half a turn.

    modulation_index: peak-to-peak frequency deviation over the symbol rate (Bluetooth: bandwidth_time 0.5; low energy 0.45 …
    0.55, basic rate 0.28 … 0.35), a multiple of a fraction 1/2 … 1/16, within 1e-4, since after each symbol the phase is one of
    q: so many times 2**span waveforms has the trellis. The others as in Gmsk; 1/2 is GMSK.
    """

    bandwidth_time: float = 0.5
    modulation_index: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.modulation_index <= 4:
            raise ParameterError(f"modulation_index: {self.modulation_index} must lie above 0 and not above 4; 0.5 in Bluetooth "
                                 "LE")
        near = self.index
        if abs(near - self.modulation_index) > 1e-4:
            raise ParameterError(f"modulation_index: {self.modulation_index} must be a fraction whose denominator is at most "
                                 f"{_DENOMINATOR}, within 1e-4: the nearest is {near} = {float(near):.6g}")

    @property
    def index(self) -> Fraction:
        """See Gmsk.index."""
        return Fraction(self.modulation_index).limit_denominator(_DENOMINATOR)
