# SPDX-License-Identifier: GPL-3.0-or-later
"""Linear modulation: s(n) = sum_m a_m h(n - timing - m*samples_per_symbol)."""
from dataclasses import dataclass

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
        symbols = torch.as_tensor(symbols)
        batch, n = symbols.shape
        sps, reach = self.samples_per_symbol, int(np.ceil(self.half_length)) + 1
        whole = int(np.floor(timing))
        up = torch.zeros(batch, n * sps, dtype=torch.complex64)
        up[:, ::sps] = symbols.to(torch.complex64)
        taps = torch.tensor(self.pulse_at(np.arange(-reach, reach + 1) - (timing - whole)), dtype=torch.float32)
        full = torch.nn.functional.conv1d(torch.view_as_real(up).movedim(-1, 1).reshape(2 * batch, 1, -1),
                                          taps.flip(0)[None, None], padding=2 * reach)
        full = full.reshape(batch, 2, -1).movedim(1, -1).contiguous()
        full = torch.view_as_complex(full)                      # sample 0 of `full` is sample whole - reach
        out = torch.zeros(batch, samples, dtype=torch.complex64)
        first = whole - reach
        lo, hi = max(first, 0), min(first + full.shape[1], samples)
        if hi > lo:
            out[:, lo:hi] = full[:, lo - first:hi - first]
        return out
