# SPDX-License-Identifier: GPL-3.0-or-later
"""Continuous-phase modulation: s(n) = exp(j*pi*h*sum_k a_k q(n - timing - k*samples_per_symbol)) of modulation index h. Gaussian
frequency shift keying has a_k = ±1; GMSK is h = 1/2. Others: fsk.py."""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ..errors import ParameterError

DENOMINATOR = 16        # of a modulation index, at most: so many phases does the trellis have


class ContinuousPhase(ABC):
    """What all continuous-phase modulations share. A symbol's phase pulse q rises from 0 to 1.

    levels: how many symbols, ±1, ±3, ... . span: symbols at once under way in the trellis. index: the fraction p/q whose q
    phases the trellis has. length: symbols that the pulse takes in the waveform; where that is more than span, the trellis takes
    the tails for a small known phase, see sources/trellis.py.
    """

    samples_per_symbol: float
    span: int

    levels = 2

    @property
    @abstractmethod
    def index(self) -> Fraction:
        """The fraction that the trellis takes for the modulation index."""

    @property
    def half_turns(self) -> float:
        """The modulation index: a symbol of +1 turns the phase by so many half turns."""
        return float(self.index)

    @property
    def drift(self) -> float:
        """By how many half turns a symbol of +1 turns the phase further than `index` says; 0 where that is all."""
        return 0.0

    @property
    def length(self) -> int:
        """Length of the pulse in the waveform, symbols."""
        return self.span

    @property
    def alphabet_power(self) -> float:
        """Mean square of a symbol."""
        return (self.levels ** 2 - 1) / 3

    @property
    def half_length(self) -> float:
        """How far the trellis' frequency pulse reaches from its centre, samples."""
        return self.span * self.samples_per_symbol / 2

    @abstractmethod
    def phase_pulse(self, tau: float | Tensor) -> Tensor:
        """q in the trellis: the share of its turn that a symbol has made `tau` samples after its pulse's centre, 0 ... 1, float64
        tensor of the same shape."""

    def full_pulse(self, tau: Tensor) -> Tensor:
        """q in the waveform."""
        return self.phase_pulse(tau)

    def turned(self, symbols: Tensor, samples: int, timing: float | Tensor, tails: int = 0) -> Tensor:
        """sum_k a_k q(n - timing - k*samples_per_symbol), float64 [batch, samples], of symbols float64 [batch, n]. tails: of what
        the trellis' q leaves of the waveform's one instead, to that power, 1 or 2."""
        batch, count = symbols.shape
        sps, whole = self.samples_per_symbol, isinstance(self.samples_per_symbol, int)
        timing = torch.as_tensor(timing, dtype=torch.float64, device=symbols.device).reshape(-1, 1).expand(batch, 1)
        n = torch.arange(min(int(sps), samples) if whole else samples, device=symbols.device)      # then pulses recur
        age = (n - timing) / sps + self.length / 2
        latest = torch.floor(age).long()            # the symbol whose pulse began last, `since` symbols ago
        since = age - torch.floor(age)
        a, total = torch.nn.functional.pad(symbols, (1, 1)), torch.nn.functional.pad(symbols.cumsum(1), (1, 0))

        def share(j: Tensor | int) -> Tensor:
            tau = (since + j) * sps - self.length * sps / 2
            return (self.full_pulse(tau) - self.phase_pulse(tau)) ** tails if tails else self.full_pulse(tau)

        def before(latest: Tensor) -> Tensor:
            return total.gather(1, (latest - self.length + 1).clamp(0, count)) * (not tails)

        if not whole:
            turn = before(latest)
            for k in range(self.length):
                turn = turn + a.gather(1, (latest - k + 1).clamp(0, count + 1)) * share(k)
            return turn
        first = latest.amin(1, keepdim=True)        # of each of the blocks of a symbol's duration, and the one after it
        every = first + torch.arange(-(-samples // int(sps)) + 1, device=symbols.device)
        j = torch.arange(self.length, device=symbols.device)
        near = a.gather(1, (every[..., None] - j + 1).clamp(0, count + 1).flatten(1)).unflatten(1, (-1, self.length))
        turn = before(every)[..., None] + near @ share(j[:, None, None]).movedim(0, 1)
        return torch.where((latest > first)[:, None], turn[:, 1:], turn[:, :-1]).flatten(1)[:, :samples]

    def modulate(self, symbols: Tensor, samples: int, timing: float | Tensor, earlier: int = 0) -> Tensor:
        """symbols ±1, ±3, ..., real [batch, n] -> complex64 [batch, samples] of unit modulus; the pulse of symbol 0 is centred on
        sample `timing`, any real number or one per window, [batch]. Phase 0 before symbol 0, or, where symbols `earlier` than the
        one called 0 are given, once the turns of these are over; it stands still after the last symbol."""
        a = torch.as_tensor(symbols, dtype=torch.float64)
        turn = self.turned(a, samples, timing - earlier * self.samples_per_symbol)
        if earlier:
            turn = turn - a[:, :earlier].sum(1, keepdim=True)
        angle = torch.pi * self.half_turns * (turn if self.drift else turn % (2 * self.index.denominator))
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def check_symbols(sps: float, span: int, most: int) -> tuple[float, int]:
    """Samples per symbol, an int where it is whole, and the span as an int. Raises ParameterError naming what is wrong."""
    if isinstance(sps, bool) or sps < 1 or (sps != int(sps) and sps < 2):
        raise ParameterError(f"samples_per_symbol: {sps} must be 2 or more, or the whole number 1; resample the recording first, "
                             "for instance with GNU Radio's Polyphase Arbitrary Resampler (filter.pfb.arb_resampler_ccf)")
    if isinstance(span, bool) or span != int(span) or not 1 <= span <= most:
        raise ParameterError(f"span: {span} must be a whole number of symbols, 1 to {most} (levels**span waveforms a symbol)")
    return int(sps) if sps == int(sps) else float(sps), int(span)


def gaussian_pulse(t: Tensor, bandwidth_time: float, span: int) -> Tensor:
    """Phase pulse of a rectangle of one symbol through a Gaussian filter, t symbols after its centre, cut off at `span` symbols
    and scaled to 1 again."""
    sigma = 0.6931471805599453 ** 0.5 / (2 * torch.pi * bandwidth_time)       # symbols

    def integral(u: Tensor) -> Tensor:        # of the Gaussian's distribution function
        return u * torch.special.ndtr(u / sigma) + sigma * torch.exp(-(u / sigma) ** 2 / 2) / (2 * torch.pi) ** 0.5

    half = torch.tensor(span / 2, dtype=torch.float64)
    t = t.clamp(-span / 2, span / 2)
    q, low, high = (integral(u + 0.5) - integral(u - 0.5) for u in (t, -half.to(t.device), half.to(t.device)))
    return (q - low) / (high - low)


def check_bandwidth_time(value: float) -> None:
    """Raises ParameterError."""
    if not 0.05 <= value <= 10:
        raise ParameterError(f"bandwidth_time: {value} must lie between 0.05 and 10; 0.3 in GSM")


@dataclass(frozen=True)
class Gmsk(ContinuousPhase):
    """Frequency shift keying of modulation index 1/2 behind a Gaussian filter: constant modulus, a quarter turn a symbol.

    samples_per_symbol: 1, or any number from 2 on. bandwidth_time: 3 dB bandwidth of the filter times the symbol's duration (GSM:
    0.3, 3GPP TS 45.004, 2.5). span: length of the frequency pulse in symbols, 1 to 8, of the Gaussian filter's response to one
    symbol; it is cut off there (at 4 and 0.3 1e-4 of its area is lost) and scaled to a quarter turn again.
    """

    samples_per_symbol: float = 4
    bandwidth_time: float = 0.3
    span: int = 4

    def __post_init__(self) -> None:
        sps, span = check_symbols(self.samples_per_symbol, self.span, 8)
        object.__setattr__(self, "samples_per_symbol", sps)
        object.__setattr__(self, "span", span)
        check_bandwidth_time(self.bandwidth_time)

    @property
    def index(self) -> Fraction:
        """The modulation index, a Fraction: a symbol turns the phase by this times half a turn."""
        return Fraction(1, 2)

    def phase_pulse(self, tau: float | Tensor) -> Tensor:
        """q: the share of its turn that a symbol has made `tau` samples after its pulse's centre, 0 ... 1, float64 tensor of the
        same shape. A rectangle of one symbol through the Gaussian filter, integrated."""
        return gaussian_pulse(torch.as_tensor(tau, dtype=torch.float64) / self.samples_per_symbol, self.bandwidth_time, self.span)


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
                                 f"{DENOMINATOR}, within 1e-4: the nearest is {near} = {float(near):.6g}")

    @property
    def index(self) -> Fraction:
        """See Gmsk.index."""
        return Fraction(self.modulation_index).limit_denominator(DENOMINATOR)
