# SPDX-License-Identifier: GPL-3.0-or-later
"""Linear modulation: s(n) = sum_m a_m h(n - timing - m*samples_per_symbol)."""
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..errors import ParameterError
from .constellations import constellation

PULSES = ("rrc", "rect")


def root_raised_cosine(t, rolloff):
    """The root-raised-cosine impulse response at t (symbols), unnormalised; Proakis, Digital Communications, eq. 9.2-39."""
    t = np.asarray(t, float)
    b = rolloff
    out = np.empty_like(t)
    zero = abs(t) < 1e-9
    pole = abs(abs(4 * b * t) - 1) < 1e-9 if b > 0 else np.zeros_like(zero)
    rest = ~(zero | pole)
    x = t[rest]
    out[rest] = (np.sin(np.pi * x * (1 - b)) + 4 * b * x * np.cos(np.pi * x * (1 + b))) / (np.pi * x * (1 - (4 * b * x) ** 2))
    out[zero] = 1 - b + 4 * b / np.pi
    if b > 0:
        a = np.pi / (4 * b)
        out[pole] = b / np.sqrt(2) * ((1 + 2 / np.pi) * np.sin(a) + (1 - 2 / np.pi) * np.cos(a))
    return out


@dataclass(frozen=True)
class LinearModulation:
    """A pulse-shaped alphabet of unit mean power.

    constellation: a name known to `signals.constellation`.
    samples_per_symbol: whole number, >= 2 for rrc.
    pulse: "rrc" (root raised cosine) or "rect" (one symbol long).
    rolloff: of the rrc pulse, 0 to 1.
    span: length of the rrc pulse in symbols; the taps reach span/2 symbols to each side of the centre.
    """

    constellation: str = "qpsk"
    samples_per_symbol: int = 16
    pulse: str = "rrc"
    rolloff: float = 0.5
    span: int = 8

    def __post_init__(self):
        sps = self.samples_per_symbol
        if isinstance(sps, bool) or sps != int(sps) or sps < 1:
            raise ParameterError(
                f"samples_per_symbol: {sps} must be a whole number; resample the recording first, for instance with GNU "
                "Radio's Rational Resampler or Polyphase Arbitrary Resampler (filter.pfb.arb_resampler_ccf)")
        object.__setattr__(self, "samples_per_symbol", int(sps))
        if self.pulse not in PULSES:
            raise ParameterError(f"pulse: {self.pulse!r} is not known; one of {', '.join(PULSES)}")
        if not 0 <= self.rolloff <= 1:
            raise ParameterError(f"rolloff: {self.rolloff} must lie between 0 and 1")
        if self.span < 1 or self.span != int(self.span):
            raise ParameterError(f"span: {self.span} must be a whole number of symbols, 1 or more")
        if self.alphabet.bits_per_symbol == 0:
            raise ParameterError("constellation: 'gaussian' is for OFDM carriers; a linear modulation needs an alphabet")

    @property
    def alphabet(self):
        """The Constellation."""
        return constellation(self.constellation)

    @property
    def half_length(self):
        """How far the pulse reaches from its centre, samples."""
        sps = self.samples_per_symbol
        return self.span * sps / 2 if self.pulse == "rrc" else (sps - 1) / 2

    @property
    def taps_count(self):
        """Length of the pulse, samples."""
        return int(2 * self.half_length) + 1

    def pulse_at(self, tau):
        """The pulse at `tau` samples from its centre, float64, same shape; energy samples_per_symbol (unit power)."""
        tau = np.asarray(tau, float)
        inside = abs(tau) <= self.half_length + 1e-6
        if self.pulse == "rect":
            return inside.astype(float)
        sps = self.samples_per_symbol
        grid = np.arange(-np.floor(self.half_length), np.floor(self.half_length) + 1)
        scale = np.sqrt(sps / np.sum(root_raised_cosine(grid / sps, self.rolloff) ** 2))
        return scale * root_raised_cosine(tau / sps, self.rolloff) * inside

    def modulate(self, symbols, samples, timing):
        """symbols complex [batch, n] -> complex64 [batch, samples]; symbol 0 is centred on sample `timing` (any real)."""
        symbols = torch.as_tensor(symbols).to(torch.complex64)
        bank = _polyphase(self, float(timing), len(symbols[0]), samples)
        parts = torch.view_as_real(symbols).movedim(-1, 0)                             # real pulses: two real products
        padded = torch.nn.functional.pad(parts, bank.symbol_pad)
        blocks = padded.unfold(-1, bank.taps.shape[0], 1) @ bank.taps.to(symbols.device)   # [2, batch, blocks, sps]
        out = blocks.flatten(2)[..., bank.lead:bank.lead + samples]
        return torch.complex(*out)

    def correlate(self, x, count, timing):
        """The adjoint of modulate: complex64 [batch, samples] -> sum_n x(n) h(n - centre) at `count` symbols."""
        bank = _polyphase(self, float(timing), count, x.shape[1])
        parts = torch.nn.functional.pad(torch.view_as_real(x).movedim(-1, 0), (bank.lead, bank.tail))
        z = parts.unflatten(-1, (-1, self.samples_per_symbol)) @ bank.taps.T.to(x.device)  # [2, batch, blocks, reach]
        return torch.complex(*bank.shift_and_add(z, count))

    def energy_inside(self, count, timing, samples):
        """How much of each pulse's energy lies in [0, samples): float32 [count]; samples_per_symbol for a whole pulse."""
        bank = _polyphase(self, float(timing), count, samples)
        ones = torch.nn.functional.pad(torch.ones(samples), (bank.lead, bank.tail))
        return bank.shift_and_add(ones.unflatten(-1, (-1, self.samples_per_symbol)) @ bank.taps.T.square(), count)


class _Polyphase:
    """The pulse cut into blocks of one symbol, so that modulation and its adjoint are small matrix products.

    Block j covers the samples [g + j·sps, g + (j + 1)·sps), g near the first symbol's centre; taps [reach, sps], the last
    row belonging to the latest symbol that reaches a block.
    """

    def __init__(self, signal, timing, count, samples):
        sps, half = signal.samples_per_symbol, signal.half_length
        g = int(np.floor(timing)) - sps // 2
        tau = g - timing                                        # of a block's first sample from its own symbol's centre
        early = int(np.ceil((half - tau) / sps))                # a block reaches back to symbol j - early
        late = int(np.ceil((half + tau + sps - 1) / sps))       # and ahead to j + late
        k = np.arange(early, -late - 1, -1)
        self.taps = torch.tensor(signal.pulse_at(tau + np.arange(sps) + k[:, None] * sps), dtype=torch.float32)
        first = (0 - g) // sps                                  # the block that holds sample 0
        last = (samples - 1 - g) // sps
        self.lead = 0 - (g + first * sps)
        self.tail = (last - first + 1) * sps - self.lead - samples
        self.symbol_pad = (early - first, last + late - count + 1)      # negative padding crops
        self.first, self.early, self.blocks = first, early, last - first + 1

    def shift_and_add(self, z, count):
        """z [..., blocks, reach] -> [..., count]: column c of block j belongs to symbol first + j - early + c."""
        reach = z.shape[-1]
        wide = z.new_zeros(*z.shape[:-2], self.blocks + reach - 1)
        for c in range(reach):
            wide[..., c:c + self.blocks] += z[..., c]
        begin = self.first - self.early                          # symbol number of wide[..., 0]
        return torch.nn.functional.pad(wide, (begin, count - begin - wide.shape[-1]))


@lru_cache(maxsize=256)
def _polyphase(signal, timing, count, samples):
    return _Polyphase(signal, timing, count, samples)
