# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulse-position and on-off keyed bursts: Mode S and ADS-B, sensors at 433 and 868 MHz."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.linear_model import EVERY, LinearModel, some
from ..signals import Ppm as Signal
from ..signals import constellation
from ..signals.ppm import integrated
from .base import Demodulated, Noise, Number, Posterior, Source
from .keys import SAMPLES, TEXTS, frequency, listed, number, period, text
from .ppm_bursts import Burst, Pulses
from .ppm_search import REACH, find_bursts, reach

_COMPLEX = torch.complex128
_SPREAD_DB = 3.0        # of the levels of drawn bursts: ±
_PAUSES = (0.6, 3.0)    # of a drawn burst's length, from one to the next
_DRAWN = 64             # symbols of a drawn burst that may have any length
_PHASES = 8             # begins within a sample over which moments are averaged
_SHORTEST = 32          # symbols of a burst cut by a window's edge, with which it is found at an Es/N0 of 8 dB


@dataclass
class Ppm(Source):
    """s(n) = Σ_b a_b·exp(j·2·pi·f_b·(n - t_b))·p_b(n - t_b): bursts of rectangular chips (signals/ppm.py), each of its own begin
    t_b, complex amplitude a_b and carrier offset f_b, with arbitrary gaps.

    Unit mean power means the mean over the symbols' chips of a burst with |a_b| = 1, not over the gaps (PPM: its pulses are
    sqrt(2) high). The amplitude of each burst is the source's own affair: `synchronize` returns amplitudes with which the source
    is in x as it was passed in, so the gain that x was divided by stays as it is.

    bursts: of each window its bursts (of one window: of all windows), in order of time; None: unknown, found by `separate` in the
    mixture, or by a denoiser that is asked without them. carrier_offset: cycles per sample; each burst's own lies within ±0.005;
    None: within ±0.02, or a quarter of a cycle per chip if that is more.
    """

    signal: Signal = field(default_factory=Signal)
    bursts: tuple[tuple[Burst, ...], ...] | None = None
    carrier_offset: float | torch.Tensor | None = None
    gain: float | torch.Tensor | None = None

    kind = "ppm"
    any_rate = True
    least_period = 2.0
    keys = {
        "samples_per_symbol": period("samples", "symbol_rate"),
        "preamble": text("chips before the first symbol, 1 on and 0 off", TEXTS),
        "patterns": listed("chips of each symbol value in order, a power of two of texts", 16, numbers=False),
        "symbols": listed("lengths that a burst may have, symbols; empty for any", 4096, SAMPLES),
        "carrier_offset": frequency("cycles per sample", "carrier_frequency"),
        "gain": number("amplitude as received; 1 is unit mean power while a burst is on"),
    }
    decided = True
    state_names = {"gain": "gain", "carrier_offset": "carrier_offset"}
    estimable = synchronizes = ("bursts", "carrier_offset")
    takes_basis = False
    own_levels = True

    def __post_init__(self) -> None:
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")
        if isinstance(self.gain, (int, float)) and self.gain <= 0:
            raise ParameterError(f"gain: {self.gain} must be positive")
        if self.bursts is not None:
            self.bursts = tuple(tuple(own) for own in self.bursts)

    @property
    def carrier_reach(self) -> float:
        """See Source.carrier_reach."""
        return reach(self.signal)

    @property
    def linear(self) -> bool:
        """See Source.linear: two patterns."""
        return len(self.signal.patterns) == 2

    @property
    def unknown(self) -> tuple[str, ...]:
        """See Source.unknown."""
        return ("bursts",) * (self.bursts is None) + super().unknown

    def select(self, index: Any) -> Self:
        """See Source.select."""
        few = super().select(index)
        if self.bursts is None or len(self.bursts) == 1:
            return few
        places = torch.arange(len(self.bursts))[index].reshape(-1).tolist()
        return replace(few, bursts=tuple(self.bursts[k] for k in places))

    def at(self, start: Number) -> Self:
        """See Source.at."""
        if self.bursts is None:
            return self
        starts = torch.as_tensor(start, dtype=torch.float64).reshape(-1).tolist()
        bursts = self.bursts * len(starts) if len(self.bursts) == 1 else self.bursts
        starts = starts * len(bursts) if len(starts) == 1 else starts
        return replace(self, bursts=tuple(tuple(replace(b, begin=b.begin - t) for b in own) for own, t in zip(bursts, starts)))

    def pulses(self, shape: Sequence[int], device: Any = "cpu") -> Pulses:
        """The bursts in windows of this shape. Raises ParameterError where they are unknown."""
        if self.bursts is None:
            raise ParameterError("ppm: bursts is unknown; symbols cannot be read without it")
        if len(self.bursts) not in (1, shape[0]):
            raise ParameterError(f"bursts: given of {len(self.bursts)} windows, asked for {shape[0]}")
        return Pulses(self.signal, self.bursts, shape[0], shape[1], torch.device(device))

    # ---- second moments and samples ----------------------------------------------------------------------------------------
    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """Windows of random symbols, complex64 [batch, samples], and the source as it truly is. Bursts that are None are drawn:
        begins, lengths, phases, levels within ±3 dB, and a carrier offset for each window where it is None."""
        truth, carrier = self, self.carrier_offset
        if carrier is None:
            carrier = REACH * (2 * torch.rand(batch, generator=generator, dtype=torch.float64) - 1)
        if self.bursts is None:
            each = torch.as_tensor(carrier, dtype=torch.float64).reshape(-1).expand(batch).tolist()
            truth = replace(self, carrier_offset=carrier,
                            bursts=tuple(self._drawn(samples, offset, generator) for offset in each))
        pulses = truth.pulses((batch, samples))
        values = torch.randint(0, len(self.signal.patterns), tuple(pulses.own.shape), generator=generator)
        return truth.modulate(values, (batch, samples)), truth

    def _drawn(self, samples: int, carrier: float, generator: torch.Generator) -> tuple[Burst, ...]:
        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))

        lengths = self.signal.symbols or (_DRAWN,)
        longest, out = self.signal.length(max(lengths)), []
        mean = np.sqrt(np.sinh(np.log(10) / 10 * _SPREAD_DB) / (np.log(10) / 10 * _SPREAD_DB))      # of amplitudes drawn in dB
        begin = -longest * uniform(0, 1)
        while begin < samples:
            count = lengths[int(torch.randint(0, len(lengths), (1,), generator=generator))]
            level = 10 ** (uniform(-_SPREAD_DB, _SPREAD_DB) / 20) / mean
            out.append(Burst(begin, count, complex(level * np.exp(1j * uniform(0, 2 * np.pi))), carrier))
            begin += self.signal.length(count) + longest * uniform(*_PAUSES)
        return tuple(out)

    def modulate(self, symbols: Tensor, shape: Sequence[int]) -> Tensor:
        """Symbols, integers [rows, n], of the bursts that reach into windows of this shape (Pulses), to complex64 [batch,
        samples]."""
        pulses = self.pulses(shape)
        chips = self.signal.table()[torch.as_tensor(symbols).long()]
        return pulses.summed(pulses.waveforms(chips)).to(torch.complex64)

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: of a burst of each length, over the begins within a sample. What is known of it, preamble
        and mean pattern, is nearly a line, as wide as a burst is short."""
        lags = np.asarray(lags)
        reach = int(np.abs(lags).max(initial=0)) + 1
        table = np.zeros(reach)
        for count in self.signal.symbols or (_DRAWN,):
            table += _energy(self.signal, count, reach)
        out = (table / table[0])[np.abs(lags)]
        if self.carrier_offset is None:
            return out * np.sinc(2 * REACH * lags) + 0j
        return out * np.exp(2j * np.pi * float(torch.as_tensor(self.carrier_offset).double().mean()) * lags)

    @property
    def memory(self) -> int:
        """See Source.memory: what must be seen of a burst that a window's edge cuts, to find it."""
        return int(np.ceil(self.signal.length(min([_SHORTEST, *self.signal.symbols]))))

    # ---- inference ---------------------------------------------------------------------------------------------------------
    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: the bursts of each window (ppm_search.py), and their mean carrier offset where it is None.

        x is the source plus noise on any scale that is constant over the window: amplitudes come out on that scale, so that the
        source that is returned has gain 1 in x. They are not to be normalised, nor the gain to be estimated again. noise: its
        density is used, its level measured; false alarms are rarer than one in ten thousand windows of Gaussian noise.
        """
        if self.bursts is not None and self.carrier_offset is not None:
            return self, {}
        bursts = self.bursts
        if bursts is None:
            density = Noise.of(noise).density(x.shape[1]).cpu().expand(len(x), -1)
            given = [None] * len(x) if self.carrier_offset is None else torch.as_tensor(
                self.carrier_offset, dtype=torch.float64).reshape(-1).expand(len(x)).tolist()
            bursts = tuple(tuple(find_bursts(self.signal, *row)) for row in zip(x.cpu(), density, given))
        if self.carrier_offset is not None:
            return replace(self, bursts=bursts), {}
        offset = torch.tensor([float(np.mean([b.carrier_offset for b in own])) if own else 0.0 for own in bursts],
                              dtype=torch.float64)
        return replace(self, bursts=bursts, carrier_offset=offset), {"carrier_offset": offset}

    def levelled(self) -> tuple[Self, Tensor | None]:
        """See Source.levelled: the mean over a window's bursts."""
        if self.bursts is None:
            return self, None
        powers = [float(np.mean([abs(b.amplitude) ** 2 for b in own])) if own else 0.0 for own in self.bursts]
        bursts = tuple(tuple(replace(b, amplitude=b.amplitude / power ** 0.5) for b in own)
                       for own, power in zip(self.bursts, powers))
        return replace(self, bursts=bursts), torch.tensor(powers, dtype=torch.float64).sqrt()

    def _known(self, x: Tensor, noise: Noise | Number) -> tuple[Pulses, Tensor]:
        """The pulses in x and log P of their symbols."""
        noise_var = torch.as_tensor(self.white(noise), dtype=torch.float64, device=x.device)
        here = self if self.bursts is not None else self.synchronize(x, noise)[0]
        pulses = here.pulses(x.shape, x.device)
        return pulses, pulses.posterior(x, noise_var)

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: given the bursts the exact posterior mean, where they do not overlap; white noise alone. Bursts
        that are unknown are found first (`synchronize`)."""
        return self.posterior(x, noise).mean

    def posterior(self, x: Tensor, noise: Noise | Number) -> Posterior:
        """See Source.posterior: of the symbols alone, bursts being known."""
        pulses, log = self._known(x, noise)
        mean = pulses.summed(pulses.waveforms(log.exp() @ self.signal.table().to(log)))
        return Posterior(mean.to(torch.complex64), pulses.variance(log).float())

    def linear_model(self, shape: Sequence[int]) -> Any:
        """See Source.linear_model: of two patterns, one real unknown per symbol, +1 for the first; what they share and the
        preamble are the model's constant."""
        if self.bursts is None or not self.linear:
            return None
        signal, pulses = self.signal, self.pulses(shape)
        first, second = signal.table()
        constant = pulses.summed(pulses.waveforms(((first + second) / 2).expand(*pulses.own.shape, -1)))
        index, there = pulses.ordered(pulses.exists)
        count = index.shape[1]
        even = (torch.arange(count) * shape[1] // count).expand(shape[0], -1)       # columns that are not there, spread out
        if not len(pulses):
            columns = torch.zeros(shape[0], 1, 1, dtype=_COMPLEX)
            start, centre = even, torch.full(even.shape, torch.nan, dtype=torch.float64)
        else:
            wave, turn, _ = pulses.templates()
            columns = ((wave[:, :, 0] - wave[:, :, 1]) / 2 * turn).flatten(0, 1)[index] * there[..., None]
            start = torch.where(there, pulses.start.flatten()[index], even)
            centre = torch.where(there, pulses.centre.flatten()[index], torch.nan)
        order = start.argsort(dim=1, stable=True)
        start, there, centre = (v.gather(1, order) for v in (start, there, centre))
        columns = columns.gather(1, order[..., None].expand_as(columns))

        def decode(mean: Tensor, var: Tensor, rows: slice = EVERY) -> tuple[Tensor, Tensor, Tensor]:
            llrs = 2 * mean[..., :1] / var[..., :1]
            return (llrs[..., 0] < 0).to(torch.complex64), llrs.float(), some(centre, rows).to(mean.device).expand(len(mean), -1)

        alphabet: Any = constellation("bpsk")
        return LinearModel(start, columns, alphabet, there, decode, constant=constant)

    def demodulator(self) -> Any:
        """See Source.demodulator: maximum a posteriori symbols of known bursts."""
        return PulseDemodulator(self)


class PulseDemodulator:
    """Numbers of the patterns as real symbols, and their bits, the most significant first; see sources.base.Demodulated."""

    ambiguity = 1

    def __init__(self, source: Ppm) -> None:
        self.source, self.coherent = source, False      # each burst brings its own phase

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulated. Raises ParameterError where the bursts are unknown."""
        pulses = self.source.pulses(x.shape, x.device)
        level = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device)
        log = pulses.posterior(x, level)
        index, there = pulses.ordered(~pulses.centre.isnan())
        if not len(pulses):
            empty = torch.zeros(len(x), 1, device=x.device)
            return Demodulated(empty.to(torch.complex64), empty[..., None].repeat(1, 1, self.source.signal.bits),
                               torch.full_like(empty, torch.nan, dtype=torch.float64))
        log = log.flatten(0, 1)[index]
        at = torch.where(there, pulses.centre.flatten()[index], torch.nan)
        value, llrs = torch.arange(log.shape[-1], device=x.device), []
        for bit in range(self.source.signal.bits - 1, -1, -1):
            one = (value >> bit & 1).bool()
            llrs.append(log[..., ~one].logsumexp(-1) - log[..., one].logsumexp(-1))
        return Demodulated(log.argmax(-1).to(torch.complex64), torch.stack(llrs, -1).float(), at)


def _energy(signal: Signal, count: int, lags: int) -> np.ndarray:
    """Expected products s(n + l)·s(n) of a burst of `count` symbols, summed over n and averaged over begins: float64 [lags]."""
    table, size = signal.table(), int(np.ceil(signal.length(count))) + 2
    begins = torch.arange(_PHASES, dtype=torch.float64) / _PHASES
    mean = table.mean(0)
    known = torch.cat([signal.heading(), mean.repeat(count)]).expand(_PHASES, -1)
    random = (table - mean)[:, None].expand(-1, _PHASES, -1)
    out = np.zeros(lags)
    for chips, weight in ((known[None], 1.0), (random, count / len(table))):
        waves = integrated(chips, begins.expand(len(chips), -1), signal.chip, size)
        power = torch.fft.rfft(waves, 2 * size).abs().square().mean(1).sum(0)
        reach = min(lags, size)
        out[:reach] += weight * torch.fft.irfft(power, 2 * size)[:reach].numpy()
    return out
