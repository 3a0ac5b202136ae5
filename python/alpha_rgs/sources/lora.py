# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRa chirps of unknown symbols: the exact posterior mean in white noise, symbol by symbol.

The modulus is one, so log p(x | m, phi) of the samples of a symbol that lie in the window is 2/v·Re(exp(-j·phi)·z_m) up to a
constant, z_m = <s_m, x> and v = noise_var. For a known phase P(m) ~ exp(2/v·Re z_m·exp(-j·phi)). For one that is unknown and
constant over the symbol, integrated over: P(m) ~ I0(2|z_m|/v), and the mean of exp(j·phi) given m is I1/I0(2|z_m|/v)·z_m/|z_m|
(envelope detection: Proakis, Digital Communications, 5.4). The symbols are cyclic shifts of one chirp, so all z_m are one
circular correlation, and the mean of their waveforms another.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals import Lora as Signal
from ..signals.carrier import carrier, rotation
from .base import Demodulated, Noise, Number, Source
from .keys import frequency, instant, number, period, whole
from .lora_packets import LoraPackets, bit_llrs
from .lora_search import REACH

_COARSE = 16        # candidates for the begin of a symbol, at first
_FINE = 1 / 64      # of a sample: the last step
# chips, to each side: a shift by whole chips keeps the tones whole, and only shows at the symbols' ends
_CHIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_TURNS = 2          # over whole chips of carrier offset and of timing
_AT_ONCE = 1 << 16     # samples, of all candidates that are compared in one go
_BEST = 4           # candidates that are looked around at each step, of which the likeliest may be none of the best yet


@dataclass
class Lora(Source):
    """s(n) = exp(j*(phase_k + 2*pi*carrier_offset*n))·s_m(n - timing - k*M), all N symbols m equally likely, for ever.

    timing: samples from the first sample to where a symbol starts (any symbol: it counts modulo M). phase: rad, at sample 0, of
    all symbols (their phase is continuous); None: a phase of its own for each symbol, all equally likely, as after a receiver's
    oscillator. carrier_offset: cycles per sample. A timing or carrier offset (within ±REACH) that is None is found by `separate`
    in the mixture, or by a denoiser that is asked without it in each window: by dechirping on finer and finer grids. Symbols cut
    by the window's edges are judged by what is there of them.
    """

    signal: Signal = field(default_factory=Signal)
    timing: float | torch.Tensor | None = None
    phase: float | torch.Tensor | None = None
    carrier_offset: float | torch.Tensor | None = 0.0
    gain: float | torch.Tensor | None = None

    kind = "lora"
    keys = {
        "spreading_factor": whole("bits of a symbol, a chirp of 2**this chips"),
        "samples_per_chip": period("sample rate over bandwidth", "bandwidth"),
        "timing": instant("samples from the first sample to where a symbol starts"),
        "phase": number("rad, at the first sample"),
        "carrier_offset": frequency("cycles per sample", "carrier_frequency"),
        "gain": number("amplitude as received; 1 is unit mean power"),
    }
    dc_free = True
    decided = True
    state_names = {"gain": "gain", "delay": "timing", "phase": "phase", "carrier_offset": "carrier_offset"}
    estimable = ("timing", "carrier_offset")
    synchronizes = ("timing", "phase", "carrier_offset")      # without a phase each symbol has its own
    carrier_unknown = True
    takes_basis = False

    def __post_init__(self) -> None:
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")

    def at(self, start: Number) -> Self:
        """See Source.at."""
        return replace(self, timing=None if self.timing is None else (self.timing - start) % self.signal.symbol_length,
                       phase=None if self.phase is None or self.carrier_offset is None else
                       self.phase + 2 * np.pi * self.carrier_offset * start)

    def modulate(self, symbols: Tensor, samples: int) -> Any:
        """Symbols, integers [batch, n], the first of them under way at sample 0, to complex64 [batch, samples]; the timing is
        known. phase: None for 0, a number, or a tensor [batch, n] of each symbol's."""
        length = self.signal.symbol_length
        first = _first(self.timing, length)
        out = self.signal.modulate(symbols, samples, first)
        return out * carrier(0.0 if self.phase is None else self.phase, self.carrier_offset, out)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """Windows of random symbols, complex64 [batch, samples], and the prior as it truly is: timing drawn per window where it
        is None; a phase that is None is drawn per symbol, and stays None."""
        length = self.signal.symbol_length
        drawn = length * torch.rand(batch, generator=generator, dtype=torch.float64)
        timing = drawn if self.timing is None else torch.as_tensor(self.timing, dtype=torch.float64).expand(batch)
        truth = replace(self, timing=timing)
        if self.carrier_offset is None:
            place = torch.rand(batch, generator=generator, dtype=torch.float64)
            truth = replace(truth, carrier_offset=REACH * (2 * place - 1))
        count = samples // length + 2
        out = truth.modulate(torch.randint(0, self.signal.chips, (batch, count), generator=generator), samples)
        if self.phase is None:
            phase = 2 * torch.pi * torch.rand(batch, count, generator=generator, dtype=torch.float64)
            number = torch.floor((torch.arange(samples) - _first(timing, length)[:, None]) / length).long()
            phase = phase.gather(1, number)
            out = out * torch.polar(torch.ones_like(phase), phase).to(out.dtype)
        return out, truth

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return self.signal.symbol_length

    def demodulator(self) -> Any:
        """See Source.demodulator: dechirping."""
        return ChirpDemodulator(self)

    def in_packets(self) -> Source | None:
        """See Source.in_packets: where neither timing nor phase says that it is always on."""
        if self.timing is not None or self.phase is not None:
            return None
        return LoraPackets(self, carrier_offset=self.carrier_offset, gain=self.gain)

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: (1 - |l|/M) times the chirp's cyclic autocorrelation; what neighbouring symbols of one
        phase share, 1/N of the power at most, is left out."""
        length, lags = self.signal.symbol_length, np.asarray(lags)
        cyclic = np.fft.ifft(abs(np.fft.fft(self.signal.chirp().numpy())) ** 2) / length
        return np.where(abs(lags) < length, (1 - abs(lags) / length) * cyclic[lags % length], 0) * rotation(
            0.0 if self.carrier_offset is None else self.carrier_offset, lags)

    def symbol_odds(self, x: Tensor, noise_var: Tensor) -> tuple[Tensor, Tensor, int]:
        """(log-probabilities up to a constant float64 [batch, blocks, N], samples of the first block that lie before the window
        [batch], blocks) of the symbols that reach into the window; timing known."""
        noise_var = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device).reshape(-1, 1, 1).expand(len(x), 1, 1)
        turn = carrier(0.0 if self.phase is None else self.phase, self.carrier_offset, x)
        timing = torch.as_tensor(self.timing, dtype=torch.float64, device=x.device).reshape(-1).expand(len(x))
        z, _, begin, blocks = self._correlate(x * turn.conj(), timing)
        arg = 2 / noise_var.clamp_min(1e-9) * (z.abs() if self.phase is None else (z * self._starts(z).conj()).real)
        return (arg + torch.log(torch.special.i0e(arg)) if self.phase is None else arg), begin, blocks

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: the exact posterior mean where the timing is known; white noise alone, its variance a
        float or [batch]. An unknown timing is decided first (`synchronize`)."""
        noise_var = self.white(noise)
        here = self.synchronize(x, noise_var)[0] if set(self.unknown) & set(self.estimable) else self
        noise_var = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device).reshape(-1, 1).expand(len(x), 1)
        turn = carrier(0.0 if self.phase is None else self.phase, here.carrier_offset, x)
        timing = torch.as_tensor(here.timing, dtype=torch.float64, device=x.device).reshape(-1).expand(len(x))
        z, chirp, begin, blocks = self._correlate(x * turn.conj(), timing)
        arg = 2 / noise_var[..., None] * (z.abs() if self.phase is None else (z * self._starts(z).conj()).real)
        if self.phase is None:
            weight = torch.softmax(arg + torch.log(torch.special.i0e(arg)), -1)
            weight = weight * torch.special.i1e(arg) / torch.special.i0e(arg) * z / z.abs().clamp_min(1e-30)
        else:
            weight = torch.softmax(arg, -1) * self._starts(z)
        length, step = self.signal.symbol_length, self.signal.samples_per_chip
        spread = torch.zeros(*weight.shape[:-1], length, dtype=weight.dtype, device=x.device)
        spread[..., ::step] = weight
        # sum_m w_m·c((n + m·R) mod M): a circular correlation
        mean = torch.fft.ifft(torch.fft.fft(chirp)[:, None] * torch.fft.ifft(spread, norm="forward")).flatten(1)
        out = mean.gather(1, begin[:, None] + torch.arange(x.shape[1], device=x.device))
        return out.to(torch.complex64) * turn

    def _starts(self, like: Tensor) -> Tensor:
        return self.signal.starts().to(like.device)

    def _correlate(self, x: Tensor, timing: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        """z [batch, blocks, N] of the shifts c((n + m·R) mod M), the chirp as sampled [batch, M], where in the first block the
        window begins [batch], blocks. x complex [batch, samples], timing float64 [batch]."""
        length, samples = self.signal.symbol_length, x.shape[1]
        late = torch.ceil(timing - 1e-9)
        chirp = self.signal.chirp((late - timing).clamp_min(0).cpu()).to(x.device)
        begin = (-late.long()) % length                 # into the symbol that is under way at sample 0
        blocks = (samples + length - 2) // length + 1
        where = torch.arange(blocks * length, device=x.device) - begin[:, None]
        inside = (where >= 0) & (where < samples)
        parts = torch.where(inside, x.to(torch.complex128).gather(1, where.clamp(0, samples - 1)), 0)
        parts = parts.unflatten(1, (blocks, length))
        # <c(n + l), x> at lags l = m·R only: spectra that alias there are added up first
        product = torch.fft.fft(chirp).conj()[:, None] * torch.fft.fft(parts)
        folded = product.unflatten(2, (self.signal.samples_per_chip, self.signal.chips)).sum(2)
        return torch.fft.fft(folded) / length, chirp, begin, blocks

    def evidence(self, x: Tensor, noise_var: Tensor, timing: Tensor) -> Tensor:
        """log p(x | timing) up to a constant, float64 [batch, t], for timings float64 [batch, t]; noise_var float64 [batch]."""
        phase = 0.0 if self.phase is None else self.phase
        x = x * carrier(phase, self.carrier_offset, x).conj()
        return torch.cat([self._fits(x, noise_var, part) for part in timing.split(max(1, _AT_ONCE // x.numel()), 1)], 1)

    def _fits(self, x: Tensor, noise_var: Tensor, timing: Tensor) -> Tensor:
        """As evidence, of x whose carrier is off, all at once."""
        z = self._correlate(x.repeat_interleave(timing.shape[1], 0), timing.flatten())[0]
        arg = (z.abs() if self.phase is None else (z * self._starts(z).conj()).real).unflatten(0, timing.shape)
        arg = 2 / noise_var[:, None, None, None] * arg
        return (arg + torch.log(torch.special.i0e(arg)) if self.phase is None else arg).logsumexp(-1).sum(2)

    def _turned(self, x: Tensor, noise_var: Tensor, timing: Tensor, offset: Tensor) -> Tensor:
        """log p(x | timing, carrier offset) up to a constant, float64 [batch, t], of pairs [batch, t]; phase None."""
        each = x.repeat_interleave(timing.shape[1], 0)
        each = each * carrier(0.0, offset.flatten(), each).conj()
        return self._fits(each, noise_var.repeat_interleave(timing.shape[1], 0), timing.reshape(-1, 1)).view(timing.shape)

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: the likeliest timing, where it is None, to 1/64 of a sample. Off by a part of a symbol the
        dechirped tones split between two symbols: the evidence of symbols of any phase falls evenly about its peak, and grids
        twice as fine each, about the few best points, lead to it; then whole chips are tried."""
        noise_var = torch.as_tensor(Noise.of(noise).flat, dtype=torch.float64, device=x.device).reshape(-1).expand(len(x))
        if self.carrier_offset is None:
            return self._with_carrier(x, noise_var)
        if self.timing is not None:
            return self, {}
        best = self._timed(x, noise_var)
        if self.phase is not None:
            around = self.signal.samples_per_chip * torch.tensor([0, *_CHIPS, *(-c for c in _CHIPS)], device=x.device).double()
            near = (around[:, None] + torch.arange(-2, 3, device=x.device) / 4).flatten()
            best = self._refined(x, noise_var, (best + near) % self.signal.symbol_length, 0.25, 0.25)
            best = self._refined(x, noise_var, best, 0.25, _FINE)
        timing = best[:, 0].cpu()
        return replace(self, timing=timing), {"timing": timing}

    def _timed(self, x: Tensor, noise_var: Tensor) -> Tensor:
        """The timing by symbols of any phase, float64 [batch, 1]."""
        length, chip, any_phase = self.signal.symbol_length, self.signal.samples_per_chip, replace(self, phase=None)
        step = length / _COARSE
        timing = (step * torch.arange(_COARSE, device=x.device, dtype=torch.float64)).expand(len(x), -1)
        around = torch.tensor([0, *_CHIPS, *(-c for c in _CHIPS)], dtype=torch.float64, device=x.device) * chip
        best = any_phase._refined(x, noise_var, timing, step, 0.25)
        for _ in range(3):
            best = any_phase._refined(x, noise_var, (best + around) % length, 0.25, 0.25)
        # a chip more or less weighs hardly more than a fraction of a sample, and whole samples are jumps: all together
        near = (chip * torch.arange(-3, 4, device=x.device)[:, None] + torch.arange(-8, 9, device=x.device) / 16).flatten()
        return any_phase._refined(x, noise_var, (best + near) % length, 1 / 16, _FINE)

    def _refined(self, x: Tensor, noise_var: Tensor, timing: Tensor, step: float, last: float) -> Tensor:
        """The likeliest timing, [batch, 1], about timings [batch, n], in steps that halve from `step` to `last`, samples."""
        log = self.evidence(x, noise_var, timing)
        while step > last:
            step /= 2
            keep = log.topk(min(_BEST, log.shape[1]), 1).indices
            timing, log = timing.gather(1, keep), log.gather(1, keep)
            new = torch.cat([timing - step, timing + step], 1) % self.signal.symbol_length
            timing, log = torch.cat([timing, new], 1), torch.cat([log, self.evidence(x, noise_var, new)], 1)
        return timing.gather(1, log.argmax(1, keepdim=True))

    def _with_carrier(self, x: Tensor, noise_var: Tensor) -> tuple[Self, dict[str, Tensor]]:
        """Timing, where it is None, and carrier offset. A chirp that comes d samples later is one whose frequency is lower by
        d/(M·R), and one of another symbol: these are told apart by the symbols' ends alone. So the timing is found as if there
        were no offset, then the pair along that line, in half chips, then each by whole chips in turn, then both about the
        best."""
        length, chip = self.signal.symbol_length, self.signal.samples_per_chip
        unit = 1 / (length * chip)                  # cycles per sample, of a sample's delay
        here: Any = replace(self, phase=None)
        fixed = None if self.timing is None else torch.as_tensor(self.timing, dtype=torch.float64, device=x.device)
        timing = fixed.reshape(-1, 1).expand(len(x), 1) if fixed is not None else replace(here, carrier_offset=0.0)._timed(
            x, noise_var)
        offset = torch.zeros_like(timing)
        span = int(np.ceil(REACH / (unit * chip)))
        tones, late = chip * np.arange(-span, span + 1), chip * np.array([0, *_CHIPS, *(-c for c in _CHIPS)])
        half = np.arange(-span, span + 0.25, 0.5) * chip
        turns = [[(0.0, f) for f in tones], [(d, 0.0) for d in late]]
        close = [[(d * chip / q, (d + e / 2) * chip / q) for d in range(-2, 3) for e in range(-2, 3)] for q in (1, 2, 4, 8, 16)]
        grids = [list(zip(half, half)), *_TURNS * turns, *close, *turns, *close[2:]]
        for grid in grids:
            apart = torch.tensor(grid, dtype=torch.float64, device=x.device).T
            tried = (timing + apart[0] * (fixed is None)) % length, (offset + apart[1] * unit).clamp(-REACH, REACH)
            size = max(1, _AT_ONCE // x.numel())
            parts = zip(*(v.split(size, 1) for v in tried))
            log = torch.cat([here._turned(x, noise_var, t, f) for t, f in parts], 1)
            best = log.argmax(1, keepdim=True)
            timing, offset = (v.gather(1, best) for v in tried)
        values = {"timing": timing[:, 0].cpu(), "carrier_offset": offset[:, 0].cpu()}
        found: dict[str, Any] = {key: value for key, value in values.items() if getattr(self, key) is None}
        return replace(self, **found), found


class ChirpDemodulator:
    """Symbol numbers, 0 to 2**spreading_factor - 1, as real symbols, and their bits, the most significant first; see
    sources.base.Demodulator. Symbols that lie in the window by less than half are left out."""

    ambiguity = 1

    def __init__(self, source: Any) -> None:
        self.source, self.coherent = source, False

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulator. Raises ParameterError where the timing is unknown."""
        own, length, device = self.source, self.source.signal.symbol_length, x.device
        for name in own.estimable:
            if getattr(own, name) is None:
                raise ParameterError(f"lora: {name} is unknown; symbols cannot be read without it")
        weight, begin, blocks = own.symbol_odds(x, noise_var)
        start = length * torch.arange(blocks, device=device) - begin[:, None]
        seen = (torch.minimum(start + length, torch.tensor(x.shape[1])) - start.clamp_min(0)).clamp_min(0)
        at = torch.where(seen * 2 >= length, (start + length / 2).double(), torch.nan)
        return Demodulated(weight.argmax(-1).to(torch.complex64), bit_llrs(weight, own.signal.spreading_factor), at)


def _first(timing: Any, length: int) -> Tensor:
    """The begin of the symbol that is under way at sample 0, float64 [batch] or [1]: -M < begin <= 0."""
    return -(-torch.as_tensor(timing, dtype=torch.float64).reshape(-1) % length)
