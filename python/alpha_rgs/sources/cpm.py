# SPDX-License-Identifier: GPL-3.0-or-later
"""GMSK and GFSK of unknown symbols: the exact posterior mean in white noise, by forward-backward, see trellis.py."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals import Gmsk as Signal
from ..signals.carrier import carrier, rotation
from ..signals.cpm import ContinuousPhase
from . import laurent, staggered
from .base import Noise, Number, Source
from .cpm_synchronizer import Guesses, synchronized
from .keys import frequency, instant, number, period, whole
from .trellis import Trellis, TrellisDemodulator, detected

_GRID = 16          # values of each unknown nuisance that are tried at once
_NATS = 12.0        # hypotheses this far below the best one are left out
_RESOLVED = 8       # grid points that the rest must span: 2*sqrt(2*_NATS) = 10 standard deviations, so a step is 1.2 of one
_ELEMENTS = 2 ** 23     # at most so many branches of the trellis are held at once


@dataclass
class Gmsk(Source):
    """s(n) = exp(j*(phase + 2*pi*carrier_offset*n + pi/2*sum_{k >= first} a_k q(n - timing - k*samples_per_symbol))), a_k = ±1
    equally likely, for ever; `first` is the first symbol whose frequency pulse is not over at sample 0.

    timing: samples from the first sample to the centre of symbol 0's pulse (any symbol may be called 0). phase: rad, at sample 0,
    of what came before symbol `first`: the signal's own phase there less the shares of the span symbols under way.
    carrier_offset: cycles per sample; None: unknown, within ±carrier_reach. symmetry: the phase is known up to one turn over
    this: 1; 2, all that can be known of it later in a stream (see at); or 4. Of a timing or phase that is None, any value is as
    likely as any other: `separate` finds it in the mixture, a denoiser that is asked without it integrates over it.
    """

    signal: ContinuousPhase = field(default_factory=Signal)
    timing: float | torch.Tensor | None = None
    phase: float | torch.Tensor | None = None
    carrier_offset: float | torch.Tensor | None = 0.0
    symmetry: int = 1
    gain: float | torch.Tensor | None = None

    kind = "gmsk"
    any_rate = True
    least_period = 2.0
    keys = {
        "samples_per_symbol": period("samples", "symbol_rate"),
        "bandwidth_time": number("of the Gaussian filter: 3 dB bandwidth times the symbol's duration"),
        "span": whole("length of the frequency pulse, symbols"),
        "timing": instant("samples from the first sample to the centre of the first symbol"),
        "phase": number("rad, at the first sample"),
        "carrier_offset": frequency("cycles per sample", "carrier_frequency"),
        "symmetry": whole("the phase is known up to one turn over this"),
        "gain": number("amplitude as received; 1 is unit mean power"),
    }
    dc_free = True
    decided = True
    state_names = {"gain": "gain", "delay": "timing", "phase": "phase", "carrier_offset": "carrier_offset"}
    estimable: ClassVar[tuple[str, ...]] = ("timing", "phase", "carrier_offset")
    synchronizes: ClassVar[tuple[str, ...]] = estimable
    carrier_unknown: ClassVar[bool] = True
    takes_basis = False

    def __post_init__(self) -> None:
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")
        q = self.signal.index.denominator
        allowed = sorted({1, q, self._unordered})
        if self.symmetry not in allowed:
            raise ParameterError(f"symmetry: {self.symmetry} must be {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}: the "
                                 "phase is known up to one turn over this")

    @property
    def _unordered(self) -> int:
        """How many phases any number of symbols may leave, each ±pi*h."""
        return self.signal.index.denominator * (1 + self.signal.index.numerator % 2)

    @property
    def _half(self) -> bool:
        """Whether the modulation index is 1/2."""
        return self.signal.index == Fraction(1, 2) and not self.signal.drift

    @property
    def linear(self) -> bool:
        """See Source.linear: Laurent's pulses, of two levels and modulation index 1/2."""
        return self._half and self.signal.levels == 2

    @property
    def carrier_reach(self) -> float:
        """See Source.carrier_reach."""
        return staggered.reach(self.signal.samples_per_symbol) if self.linear else staggered.REACH

    @property
    def keyed(self) -> bool:
        """See Source.keyed."""
        return not self.linear

    @property
    def intermittent(self) -> bool:
        """See Source.intermittent: unless its phase says that it never pauses."""
        return self.phase is None

    @property
    def integrates_nuisances(self) -> bool:
        """See Source.integrates_nuisances."""
        return self._half

    @property
    def pseudo_period(self) -> int | None:
        """See Source.pseudo_period: two symbols at modulation index 1/2."""
        twice = 2 * self.signal.samples_per_symbol
        return int(twice) if self._half and twice == int(twice) else None

    @property
    def repeats(self) -> tuple[float, int] | None:
        """See Source.repeats; where it has a linear model, which is found in every window alike."""
        return (self.signal.samples_per_symbol, self.signal.index.denominator) if self.linear else None

    def first(self) -> Any:
        """The number of the first symbol whose pulse is not over at sample 0, int64 [batch] (or [1]); the timing is known."""
        end = torch.as_tensor(self.timing, dtype=torch.float64).reshape(-1) + self.signal.half_length       # of symbol 0's pulse
        return torch.floor(1e-9 - end / self.signal.samples_per_symbol).long() + 1

    def at(self, start: Number) -> Self:
        """See Source.at. A phase is then known up to one turn over q only (GMSK: half a turn): each symbol that is over has
        turned it one way or the other."""
        moved: Any = torch.as_tensor(start, dtype=torch.float64)
        timing, phase = (None if value is None else torch.as_tensor(value, dtype=torch.float64)
                         for value in (self.timing, self.phase))
        out = replace(self, timing=None if timing is None else timing - moved)
        if phase is None:
            return out
        if self.carrier_offset is None:
            return replace(out, phase=None)
        phase = phase + 2 * np.pi * self.carrier_offset * moved
        if timing is None:                      # how many symbols are over is not known
            return replace(out, phase=_plain(phase), symmetry=self._unordered)
        timing = timing - moved
        over = (out.first() - self.first()).reshape(timing.shape)
        q, p = self.signal.index.denominator, self.signal.index.numerator
        phase = phase + torch.where(over * p % 2 == 0, 0.0, torch.pi / q)
        return replace(out, timing=_plain(timing), phase=_plain(phase),
                       symmetry=max(self.symmetry, q) if bool((over != 0).any()) else self.symmetry)

    def modulate(self, symbols: Any, samples: Any) -> Any:
        """Symbols first, first + 1, ... (real ±1 [batch, n]) to the waveform complex64 [batch, samples]; timing and phase are
        known."""
        return self._modulated(symbols, samples, 0)

    def _modulated(self, symbols: Any, samples: Any, earlier: int) -> Any:
        """As modulate, of symbols first - earlier, ..."""
        out = self.signal.modulate(symbols, samples, self.timing + self.first() * self.signal.samples_per_symbol, earlier)
        return out * carrier(self.phase, self.carrier_offset, out)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """Windows of random symbols, complex64 [batch, samples], and the prior as it truly is: timing (within one symbol),
        phase and carrier offset drawn per window where they are None."""
        def known(value: Any, scale: float) -> Tensor:
            drawn = scale * torch.rand(batch, generator=generator, dtype=torch.float64)
            return drawn if value is None else torch.as_tensor(value, dtype=torch.float64).expand(batch)

        timing, phase = known(self.timing, self.signal.samples_per_symbol), known(self.phase, 2 * torch.pi)
        if self.phase is not None and self.symmetry > 1:
            phase = phase + 2 * torch.pi / self.symmetry * torch.randint(self.symmetry, (batch,), generator=generator)
        offset = known(None, 2 * staggered.REACH) - staggered.REACH if self.carrier_offset is None else self.carrier_offset
        truth = replace(self, timing=timing, phase=phase, carrier_offset=offset, symmetry=1)
        signal, tail = self.signal, self.signal.length - self.signal.span
        earlier = tail // 2 + 1 if tail else 0
        count = int(samples // signal.samples_per_symbol) + signal.span + 2 + 2 * earlier
        symbols = 2 * torch.randint(0, signal.levels, (batch, count), generator=generator) - (signal.levels - 1)
        return truth._modulated(symbols, samples, earlier), truth

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: the mean over symbols, prod_k E[cos(pi*h*a*(q_k(n + l) - q_k(n)))], averaged over n in one
        symbol; over fractions of a sample too where the timing is not one number. From the pulse's length and a symbol on each
        symbol more is a factor E[cos(pi*h*a)]: zero for GMSK."""
        signal, sps, length = self.signal, self.signal.samples_per_symbol, self.signal.length
        timing = torch.as_tensor(np.nan if self.timing is None else self.timing, dtype=torch.float64)
        fractions = (torch.arange(8) + 0.5) / 8 if timing.numel() != 1 or self.timing is None else -timing.reshape(1) % 1
        n = (torch.arange(sps) + fractions.double()[:, None]).flatten()
        if not isinstance(sps, int):            # samples fall anywhere in a symbol
            n = (torch.arange(64).double() + 0.5) * sps / 64
        reach = (length + 1) * sps
        centre = sps * torch.arange(-length, 2 * length + 3)[:, None, None]
        distance = abs(np.asarray(lags))
        more = np.maximum(distance - reach, -1) // sps + 1          # symbols beyond the table
        near, place = np.unique(distance - more * sps, return_inverse=True)
        turn = signal.full_pulse(n + torch.as_tensor(near)[:, None] - centre) - signal.full_pulse(n - centre)
        positive = range(1, signal.levels, 2)
        each = torch.stack([torch.cos(torch.pi * signal.half_turns * a * turn) for a in positive]).mean(0)
        later = sum(np.cos(np.pi * signal.half_turns * a) for a in positive) / len(positive)
        offset = 0.0 if self.carrier_offset is None else self.carrier_offset
        table = each.prod(0).mean(1).numpy()[place].reshape(distance.shape)
        return table * (0.0 if self._half else later) ** more * rotation(offset, lags)

    def linear_model(self, shape: Sequence[int]) -> Any:
        """See Source.linear_model: Laurent's pulses, of modulation index 1/2."""
        if not self.linear or self.unknown:
            return None
        return laurent.linear_model(self, shape)

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return math.ceil((self.signal.span + 1) * self.signal.samples_per_symbol)

    def demodulator(self) -> Any:
        """See Source.demodulator: maximum a posteriori bits from the trellis, timing and phase known."""
        return TrellisDemodulator(self)

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: the exact posterior mean; white noise alone, its variance a float or [batch].

        An unknown timing and phase, constant over the window, are integrated over: on a grid, made finer about the values that
        the samples leave possible (_hypotheses). 16 windows of 2560 samples take 0.05 s on one core, 3 to 7 s with timing and
        phase unknown. An unknown carrier offset is estimated first (`synchronize`).
        """
        if self.carrier_offset is None:
            return self.synchronize(x, noise)[0].denoise(x, noise)
        noise_var = torch.as_tensor(self.white(noise), dtype=torch.float64, device=x.device).reshape(-1).expand(len(x))
        turn = carrier(0.0, self.carrier_offset, x)
        x = x.to(torch.complex128) * turn.conj()
        mean = torch.zeros_like(x)
        window, weight, *nuisances = self._hypotheses(x, noise_var)
        for part in self._parts(len(window), x.shape[1]):
            rows, (timing, phase) = window[part], (v[part] for v in nuisances)
            trellis, tail = detected(self.signal, x[rows], noise_var[rows], timing, phase, self.starts)
            s = trellis.mean() if tail is None else trellis.mean() * torch.polar(torch.ones_like(tail), tail)
            mean.index_add_(0, rows, weight[part, None] * s)
        return mean.to(torch.complex64) * turn

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: of timing, phase and carrier offset those that are None, the likeliest; by the lines of its
        square at modulation index 1/2 (staggered.py), else by its symbols (cpm_synchronizer.py)."""
        if not self.unknown:
            return self, {}
        return laurent.synchronize(self, x, noise) if self.linear else synchronized(self, x, noise)[:2]

    def guess(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor], Guesses | None]:
        """See Source.guess: where the modulation index is not 1/2."""
        return super().guess(x, noise) if self.linear else synchronized(self, x, noise, wide=True)

    @property
    def starts(self) -> int:
        """At how many phases the trellis may start."""
        return 1 if self.phase is not None and self.symmetry == 1 else self.signal.index.denominator

    def _parts(self, count: int, samples: int) -> list[slice]:
        sps, words = self.signal.samples_per_symbol, self.signal.index.denominator * self.signal.levels ** self.signal.span
        if not isinstance(sps, int):            # each block has waveforms of its own
            words = max(words, 4 * math.ceil(sps) * self.signal.levels ** self.signal.span)
        size = max(1, _ELEMENTS // (int(samples // sps + 2) * words))
        return [slice(k, k + size) for k in range(0, count, size)]

    def _evidence(self, x: Tensor, noise_var: Tensor, timing: Tensor, phase: Tensor) -> Tensor:
        """log p(x | timing, phase) up to a constant, for a grid of each window: float64 [batch, t, p] from such tensors."""
        shape, per = timing.shape, timing[0].numel()
        window = torch.arange(len(x), device=x.device).repeat_interleave(per)
        timing, phase = timing.flatten(), phase.flatten()
        return torch.cat([Trellis(self.signal, x[window[part]], noise_var[window[part]], timing[part], phase[part],
                                   self.starts).evidence() for part in self._parts(len(window), x.shape[1])]).reshape(shape)

    def _hypotheses(self, x: Tensor, noise_var: Tensor) -> Any:
        """Nuisances and their posterior probabilities: window int64, weight, timing, phase float64, all [hypotheses].

        Unknown ones on a grid of _GRID points, over one symbol and one turn over q (the trellis knows all q phases). Where the
        grid points within _NATS of the best span fewer than _RESOLVED, a finer grid covers those, until none do. A symbol's
        delay is a turn by pi*h: the grid is first turned about its best point, so that what is possible lies in one piece.
        """
        batch, device, index = len(x), x.device, self.signal.index
        period = (self.signal.samples_per_symbol, 2 * torch.pi / index.denominator)
        given = [None if v is None else torch.as_tensor(v, dtype=torch.float64, device=device).reshape(-1).expand(batch)
                 for v in (self.timing, self.phase)]
        size = [_GRID if v is None else 1 for v in given]
        if self.phase is not None and self.symmetry > index.denominator:    # of either parity: the timing is found for both
            size[1] = 2
        seam = self.signal.half_length + period[0] / size[0] / 2      # midpoints: a known phase jumps where `first` does
        zeros = torch.zeros(batch, dtype=torch.float64, device=device)
        low = [zeros + v if g is None else g for v, g in zip((seam, 0.0), given)]
        step = [torch.full_like(v, p / n) for v, p, n in zip(low, period, size)]
        free = [v is None for v in given]
        points = [torch.arange(n, device=device) for n in size]

        def grid(rows: Tensor) -> tuple[Tensor, Tensor]:
            t, p = (v[rows, None] + k * s[rows, None] for v, k, s in zip(low, points, step))
            t, p = t[:, :, None].expand(-1, *size), p[:, None].expand(-1, *size)
            over = torch.ceil((t - self.signal.half_length) / self.signal.samples_per_symbol - 1e-9)    # as Trellis counts
            return t, p + torch.pi * float(index) * over if free == [True, True] else p

        every = torch.arange(batch, device=device)
        if size == [1, 1]:
            return every, torch.ones_like(low[0]), *low
        log = self._evidence(x, noise_var, *grid(every))
        best = log.flatten(1).argmax(1)
        move = [best // size[1] - size[0] // 2 if free[0] else 0 * best, best % size[1] - size[1] // 2 if free[1] else 0 * best]
        at = [m[:, None] + k for m, k in zip(move, points)]
        half = size[1] // 2 if free[1] and index.numerator % 2 else 0
        twist = at[0].div(size[0], rounding_mode="floor") * half
        log = log[every[:, None, None], (at[0] % size[0])[:, :, None], (at[1][:, None] + twist[:, :, None]) % size[1]]
        low = [v + m * s for v, m, s in zip(low, move, step)]
        for _ in range(20):
            possible = log > log.flatten(1).amax(1)[:, None, None] - _NATS
            coarse = torch.zeros(batch, dtype=torch.bool, device=device)
            for axis in (0, 1):
                if free[axis]:
                    along = possible.any(2 - axis)
                    begin = along.int().argmax(1)
                    end = size[axis] - 1 - along.flip(1).int().argmax(1)
                    finer = end - begin + 1 < _RESOLVED
                    low[axis] = torch.where(finer, low[axis] + (begin - 1) * step[axis], low[axis])
                    step[axis] = torch.where(finer, step[axis] * (end - begin + 2) / (_GRID - 1), step[axis])
                    coarse |= finer
            rows = coarse.nonzero()[:, 0]
            if not len(rows):
                break
            log[rows] = self._evidence(x[rows], noise_var[rows], *grid(rows))
        weight = torch.softmax(log.flatten(1), 1).reshape(log.shape) * possible
        weight = weight / weight.sum((1, 2), keepdim=True)
        timing, phase = grid(every)
        return possible.nonzero()[:, 0], weight[possible], timing[possible], phase[possible]


def _plain(value: Any) -> Number:
    """A tensor of one number without a batch as a float."""
    return value.item() if value.ndim == 0 else value
