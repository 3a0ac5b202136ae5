# SPDX-License-Identifier: GPL-3.0-or-later
"""Offset QPSK of unknown bits: independent signs, each on the rail of its parity, where pulses are orthogonal."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.linear_model import EVERY, LinearModel, some
from ..signals import OffsetQpsk as Signal
from ..signals import constellation
from ..signals.carrier import carrier, rotation
from ..signals.offset_qpsk import quarter_turns
from ..signals.sampled import carried
from . import staggered
from .base import Demodulated, Noise, Number, Source
from .keys import SPAN, frequency, instant, number, period, text, whole

_FRACTIONS = 16     # of a sample, over which the autocorrelation is averaged


@dataclass
class OffsetQpsk(Source):
    """s(n) = exp(j*(phase + 2*pi*carrier_offset*n))·sum_k j^(k mod 2)·a_k·p(n - timing - k*samples_per_symbol/2), a_k = ±1
    equally likely, for ever.

    timing: samples from the first sample to the centre of bit 0, which is in phase; bit 1, in quadrature, is centred half a
    symbol later. phase: rad, at the first sample. carrier_offset: cycles per sample. Symbol m is (a_2m + j·a_2m+1)/√2, centred
    where bit 2m is; its bits are those of "qpsk": 0 for +1, the in-phase bit first. Any of the three nuisances may be None:
    unknown, and is estimated (`synchronize`), the carrier offset within ±carrier_reach. Where timing and phase are both
    estimated, four cases are one waveform, and only bits tell them apart (`ambiguity` 4): a turn by half a turn changes all
    signs; half a symbol later and a quarter turn less, the bits are 1, 2, ... for 0, 1, ..., those that were in quadrature with
    their signs changed. With a known timing the half turn remains, with a known phase nothing.
    """

    signal: Signal = field(default_factory=Signal)
    timing: float | torch.Tensor | None = None
    phase: float | torch.Tensor | None = None
    carrier_offset: float | torch.Tensor | None = 0.0
    gain: float | torch.Tensor | None = None

    kind = "oqpsk"
    any_rate = True
    least_period = 2.0
    keys = {
        "samples_per_symbol": period("samples of a QPSK symbol, two bits long; need not be whole", "symbol_rate"),
        "pulse": text("rrc: root raised cosine; half-sine: minimum shift keying, as in IEEE 802.15.4"),
        "rolloff": number("of the rrc pulse, 0 to 1"),
        "span": whole("length of the rrc pulse, symbols", most=SPAN),
        "timing": instant("samples from the first sample to the centre of the first in-phase bit"),
        "phase": number("rad, at the first sample"),
        "carrier_offset": frequency("cycles per sample", "carrier_frequency"),
        "gain": number("amplitude as received; 1 is unit mean power"),
    }
    dc_free = True
    decided = True
    linear = True
    takes_basis = False
    state_names = {"gain": "gain", "delay": "timing", "phase": "phase", "carrier_offset": "carrier_offset"}
    estimable = synchronizes = ("timing", "phase", "carrier_offset")
    carrier_unknown = True

    @property
    def carrier_reach(self) -> float:
        """See Source.carrier_reach."""
        return staggered.reach(self.signal.samples_per_symbol)

    def __post_init__(self) -> None:
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")
        if isinstance(self.gain, (int, float)) and self.gain <= 0:
            raise ParameterError(f"gain: {self.gain} must be positive")

    @property
    def intermittent(self) -> bool:
        """See Source.intermittent: unless its phase says that it never pauses."""
        return self.phase is None

    def at(self, start: Number) -> Self:
        """See Source.at. Bit numbers stay those of the stream."""
        return replace(self, timing=None if self.timing is None else self.timing - start,
                       phase=None if self.phase is None or self.carrier_offset is None else
                       self.phase + 2 * np.pi * self.carrier_offset * start)

    # ---- bits of a window --------------------------------------------------------------------------------------------------
    def overlapping(self, samples: int) -> tuple[Tensor, int]:
        """(first, count): the first bit, an even one, whose pulse may reach into [0, samples), int64 [batch or 1], and how many,
        an even number."""
        period, half = self.signal.half_symbol, self.signal.half_length
        timing = torch.as_tensor(self.timing, dtype=torch.float64).reshape(-1)
        first = torch.ceil((-half - timing) / period - 1e-9).long()
        count = int(np.floor((samples - 1 + 2 * half) / period + 1e-9)) + 2
        return first - first % 2, count + 1 - (count + 1) % 2

    def modulate(self, signs: Any, samples: int) -> Tensor:
        """signs ±1 of the bits that `overlapping` counts, real [batch, count], to complex64 [batch, samples]; timing, phase and
        carrier offset are known."""
        timing: Any = self.timing
        out = self.signal.modulate(signs, samples, timing, self.overlapping(samples)[0])
        return out * carrier(self.phase, self.carrier_offset, out)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """See Source.draw: timing within a symbol, phase, and the carrier offset, drawn per window where they are None."""
        def known(value: Any, scale: float, low: float = 0.0) -> Any:
            if value is not None:
                return torch.as_tensor(value, dtype=torch.float64).expand(batch)
            return low + scale * torch.rand(batch, generator=generator, dtype=torch.float64)

        truth = replace(self, timing=known(self.timing, self.signal.samples_per_symbol), phase=known(self.phase, 2 * torch.pi))
        if self.carrier_offset is None:
            truth = replace(truth, carrier_offset=known(None, 2 * staggered.REACH, -staggered.REACH))
        count = truth.overlapping(samples)[1]
        return truth.modulate(2 * torch.randint(0, 2, (batch, count), generator=generator) - 1, samples), truth

    # ---- second moments ----------------------------------------------------------------------------------------------------
    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: the pulse's own, over T, averaged over fractions of a sample."""
        lags, reach = np.asarray(lags), int(np.ceil(self.signal.half_length)) + 1
        n = np.arange(-reach, reach + 1)
        pulses = [self.signal.pulse_at(n - fraction) for fraction in (np.arange(_FRACTIONS) + 0.5) / _FRACTIONS]
        table = np.mean([np.correlate(h, h, "full") for h in pulses], 0)
        middle = 2 * reach
        inside = abs(lags) <= middle
        offset = 0.0 if self.carrier_offset is None else self.carrier_offset
        return np.where(inside, table[np.where(inside, lags, 0) + middle] / table[middle], 0) * rotation(offset, lags)

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return int(np.ceil(2 * self.signal.half_length))

    @property
    def pseudo_period(self) -> int | None:
        """See Source.pseudo_period: a symbol, where it is whole."""
        period = self.signal.samples_per_symbol
        return int(period) if period == int(period) else None

    # ---- inference ---------------------------------------------------------------------------------------------------------
    def columns(self, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """(first sample int64 [batch or 1, n], waves complex128 [batch or 1, n, width] with phase and carrier, where bits are
        centred float64 [batch or 1, n]) of the bits that `overlapping` counts."""
        first, count = self.overlapping(samples)
        which = first[:, None] + torch.arange(count)
        centre = torch.as_tensor(self.timing, dtype=torch.float64).reshape(-1, 1) + which * self.signal.half_symbol
        start, pulse = self.signal.columns(centre)
        turn = carried(self.carrier_offset, start, pulse.shape[-1], self.phase)
        return start, turn * pulse * quarter_turns(which)[..., None], centre

    def correlate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(Re hᴴx/|h|² float64 [batch, n], |h|² inside the window, centres) of the columns h; pulses of one rail are orthogonal,
        those of the other are turned by a quarter."""
        start, waves, centre = (v.to(x.device) for v in self.columns(x.shape[1]))
        n = (start[..., None] + torch.arange(waves.shape[-1], device=x.device)).expand(len(x), -1, -1)
        waves = waves * ((n >= 0) & (n < x.shape[1]))
        seen = x.to(torch.complex128).gather(1, n.clamp(0, x.shape[1] - 1).flatten(1)).view(n.shape)
        energy = waves.abs().square().sum(-1).expand(len(x), -1)
        return (waves.conj() * seen).sum(-1).real / energy.clamp_min(1e-9), energy, centre

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: matched filter, posterior mean of each sign, modulate; white noise alone. Nuisances that are None
        are estimated first (`synchronize`)."""
        noise_var = torch.as_tensor(self.white(noise), dtype=torch.float64, device=x.device).reshape(-1, 1)
        here = self.synchronize(x, noise)[0] if self.unknown else self
        seen, energy, _ = here.correlate(x)
        mean = torch.tanh(2 * seen * energy / noise_var.clamp_min(1e-9))
        return here.modulate(mean.cpu(), x.shape[1]).to(x.device)

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: of timing, phase and carrier offset those that are None (staggered.py). Without timing and
        phase, the timing is that of the first bit, in [0, T), and the phase lies in [0, π)."""
        if not self.unknown:
            return self, {}
        asked = staggered.Asked.of(len(x), self.timing, self.phase, self.carrier_offset, 0.0, 4)
        found = staggered.synchronize(x, noise, _train(self.signal), asked)
        values = {"timing": found.timing, "phase": found.phase, "carrier_offset": found.carrier_offset}
        if asked.phase is not None and asked.timing is None:        # a quarter turn more: the first bit is one in quadrature
            values["timing"] = found.timing + self.signal.half_symbol * ((found.phase - asked.phase).abs() > 1)
        out: dict[str, Any] = {name: value for name, value in values.items() if getattr(self, name) is None}
        return replace(self, **out), out

    def linear_model(self, shape: Sequence[int]) -> Any:
        """See Source.linear_model: a real unknown for each bit; two of them are decoded to one symbol."""
        if self.unknown:
            return None
        samples = shape[1]
        start, waves, centre = self.columns(samples)

        def decode(mean: Tensor, var: Tensor, rows: slice = EVERY) -> tuple[Tensor, Tensor, Tensor]:
            return _paired(mean[..., 0], 2 * mean[..., 0] / var[..., 0], some(centre, rows).to(mean.device), samples)

        alphabet: Any = constellation("bpsk")
        return LinearModel(start, waves, alphabet, torch.ones(len(start), start.shape[1], dtype=torch.bool), decode)

    def demodulator(self) -> Any:
        """See Source.demodulator: matched filter."""
        return OffsetDemodulator(self)


class OffsetDemodulator:
    """Symbols whose both bits are centred in the window, see sources.base.Demodulator and OffsetQpsk."""

    coherent, ambiguity = True, 4

    def __init__(self, source: OffsetQpsk) -> None:
        self.source = source

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulator. Raises ParameterError where timing, phase or carrier offset are unknown."""
        for name in self.source.unknown:
            raise ParameterError(f"{self.source.kind}: {name} is unknown; symbols cannot be read without it")
        seen, energy, centre = self.source.correlate(x)
        noise_var = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device).reshape(-1, 1)
        return Demodulated(*_paired(seen, 4 * seen * energy / noise_var.clamp_min(1e-9), centre, x.shape[1]))


def _paired(signs: Tensor, llrs: Tensor, centre: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """(symbols, llrs, at) of soft signs and their LLRs [batch, 2n], centres [1 or batch, 2n]: of bits 2m and 2m + 1 a symbol."""
    symbols = torch.complex(signs[:, ::2], signs[:, 1::2]) / 2 ** 0.5
    inside = (centre >= -1e-6) & (centre < samples - 1e-6)
    at = torch.where(inside[:, ::2] & inside[:, 1::2], centre[:, ::2], torch.nan)
    return symbols.to(torch.complex64), llrs.unflatten(1, (-1, 2)).float(), at.expand(len(signs), -1)


@lru_cache(maxsize=32)
def _train(signal: Signal) -> staggered.Train:
    return staggered.Train(signal.half_symbol, signal.half_length, signal.pulse_at)
