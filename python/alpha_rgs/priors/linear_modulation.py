# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation whose alphabet and pulse are known."""
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..errors import ParameterError
from ..signals import LinearModulation as Signal
from .base import Prior, carrier, column


@dataclass
class LinearModulation(Prior):
    """s(n) = exp(j*(phase + 2*pi*carrier_offset*n)) * sum_m a_m h(n - timing - m*samples_per_symbol).

    timing: samples from the first sample to the centre of the first symbol. phase: rad. gain: amplitude as received.
    carrier_offset: cycles per sample. symbols: length of a burst, symbols 0 ... symbols-1; None for a signal that goes on
    before and after the window.
    """

    signal: Signal = field(default_factory=Signal)
    timing: float | torch.Tensor | None = None
    phase: float | torch.Tensor | None = None
    gain: float | torch.Tensor | None = None
    carrier_offset: float | torch.Tensor = 0.0
    symbols: int | None = None

    kind = "linear-modulation"

    def __post_init__(self):
        if self.symbols is not None and self.symbols < 1:
            raise ParameterError(f"symbols: {self.symbols} must be 1 or more, or left out for a continuous signal")
        if isinstance(self.gain, (int, float)) and self.gain <= 0:
            raise ParameterError(f"gain: {self.gain} must be positive")
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")

    def shifted(self, start):
        """See Prior.shifted. Symbol numbers stay those of the stream."""
        return replace(self, timing=None if self.timing is None else self.timing - start,
                       phase=None if self.phase is None else self.phase + 2 * np.pi * self.carrier_offset * start)

    def inside(self, samples):
        """(first, count): the number of the first symbol whose centre lies in [0, samples), tensor [batch], and how many.

        count is the same for every window; raises ParameterError where windows differ.
        """
        first, sps = self._first(), self.signal.samples_per_symbol
        stop = torch.ceil((samples - column(self.timing, torch.empty(0))[:, 0]) / sps - 1e-9).long()
        if self.symbols is not None:
            stop = stop.clamp(max=self.symbols)
        count = (stop - first).clamp(min=0)
        if bool((count != count[0]).any()):
            remedy = f"let their starts differ by multiples of samples_per_symbol ({sps})" if self.symbols is None else \
                f"a burst (symbols = {self.symbols}) must fit in one window that holds the whole recording"
            raise ParameterError(f"the windows of one call hold different numbers of symbols: {remedy}")
        return first, int(count[0])

    def _first(self):
        first = torch.ceil(-column(self.timing, torch.empty(0))[:, 0] / self.signal.samples_per_symbol - 1e-9).long()
        return first if self.symbols is None else first.clamp(min=0)

    def matched_filter(self, x, gain=1.0):
        """h-matched output at each symbol centre inside the window: complex64 [batch, samples] -> [batch, symbols].

        Divided by the pulse's energy inside the window, so a pulse cut by the window's edge keeps its amplitude.
        """
        samples = x.shape[1]
        x = x * carrier(self.phase, self.carrier_offset, x).conj() / gain
        count, parts = self.inside(samples)[1], []
        for rows, timing in self._by_timing(len(x)):
            energy = self.signal.energy_inside(count, timing, samples).clamp_min(1e-6)
            parts.append(self.signal.correlate(x[rows], count, timing) / energy.to(x.device))
        return torch.cat(parts)

    def modulate(self, symbols, samples):
        """Symbols inside the window, complex [batch, symbols], to the unit-gain waveform complex64 [batch, samples]."""
        parts = [self.signal.modulate(symbols[rows], samples, timing) for rows, timing in self._by_timing(len(symbols))]
        out = torch.cat(parts)
        return out * carrier(self.phase, self.carrier_offset, out)

    def _by_timing(self, batch):
        """(rows, centre of the first symbol inside) for runs of windows that share it; nearly always one run."""
        timing = column(self.timing, torch.empty(0))[:, 0]
        centre = torch.round(timing + self._first() * self.signal.samples_per_symbol, decimals=6).expand(batch).tolist()
        runs, begin = [], 0
        for i in range(1, batch + 1):
            if i == batch or centre[i] != centre[begin]:
                runs.append((slice(begin, i), centre[begin]))
                begin = i
        return runs

    def denoise(self, x, noise_var, colour=None):
        """See Prior.denoise: matched filter, posterior mean of each symbol, modulate (Hᴴ·H ≈ samples_per_symbol·I)."""
        sps = self.signal.samples_per_symbol
        var = noise_var / sps
        if colour is not None:  # the other pulse's energy that this matched filter lets through
            var = noise_var * _overlap(self.signal, colour.signal)
        return self.modulate(self.signal.alphabet.mean(self.matched_filter(x), var), x.shape[1])


def _overlap(signal, other):
    """E|h_iᴴ·H·n|²/sps² for unit n: what other's pulses, at random timing, leave after signal's matched filter."""
    n = np.arange(-4096, 4096)
    spectrum = [abs(np.fft.fft(s.pulse_at(n))) ** 2 / s.samples_per_symbol for s in (signal, other)]
    return float(np.mean(spectrum[0] * spectrum[1]) / signal.samples_per_symbol)
