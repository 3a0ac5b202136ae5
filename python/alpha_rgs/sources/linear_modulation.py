# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation whose alphabet and pulse are known."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError, ParameterError
from ..inference.conjugate_gradients import conjugate_gradients
from ..inference.linear_model import EVERY, LinearModel, as_complex, moments, some
from ..inference.linear_pair import LinearPair
from ..signals import LinearModulation as Signal
from ..signals.carrier import carrier, column, rotation
from ..signals.folding import fold
from ..signals.linear import scrambled_symbols
from ..signals.sampled import carried, sampled
from .base import Noise, Number, Source, Structure
from .keys import SPAN, TAPS, TEXTS, flag, frequency, instant, listed, number, period, text, whole
from .linear_demodulator import MatchedFilterDemodulator

NUISANCES = ("timing", "carrier_offset", "phase", "gain")      # of a LinearModulation
_SIMILAR = 0.6          # share of its energy in which a preamble may match a shifted copy in another turn
_WORD = 12              # symbols of a preamble, at least; twice as many where half a turn leaves the alphabet as it is
_EQUALISED = 24         # steps: what is left of intersymbol interference after is below -30 dB for echoes of -3 dB


@dataclass
class LinearModulation(Source):
    """s(n) = exp(j*(phase + 2*pi*carrier_offset*n)) * sum_m a_m h(n - timing - m*samples_per_symbol).

    timing: samples from the first sample to the centre of the first symbol. phase: rad. gain: amplitude as received.
    carrier_offset: cycles per sample. symbols: length of a burst, symbols 0 ... symbols-1; None for a signal that goes on
    before and after the window. carrier_offset None: unknown. channel_length: of a channel that h has gone through and that is
    to be found, samples, 2 ... twice samples_per_symbol; one that is known is the signal's. preamble: bits, a text of 0 and 1,
    that the signal sends now and then: in a stream they settle which of the alphabet's turns its symbols are in, where the phase
    is unknown.
    """

    signal: Signal = field(default_factory=Signal)
    timing: float | torch.Tensor | None = None
    phase: float | torch.Tensor | None = None
    gain: float | torch.Tensor | None = None
    carrier_offset: float | torch.Tensor | None = 0.0
    symbols: int | None = None
    channel_length: int | None = None
    preamble: str = ""

    kind = "linear-modulation"
    linear = True
    any_rate = True
    carrier_unknown = True
    keys = {
        "constellation": text("alphabet of the symbols or carriers"),
        "samples_per_symbol": period("samples", "symbol_rate"),
        "pulse": text("rrc or rc: (root) raised cosine; rect: one symbol long; barker: 11 chips, one symbol long"),
        "rolloff": number("of the rrc or rc pulse, 0 to 1"),
        "span": whole("length of the rrc or rc pulse, symbols", most=SPAN),
        "taps": listed("of a given pulse, samples_per_symbol to a symbol, the middle one the symbol's centre", TAPS),
        "differential": flag("bits are in the phase steps from symbol to symbol"),
        "radii": listed("of the outer rings, the innermost being 1", 8),
        "timing": instant("samples from the first sample to the centre of the first symbol"),
        "phase": number("rad, at the first sample"),
        "gain": number("amplitude as received; 1 is unit mean power"),
        "carrier_offset": frequency("cycles per sample", "carrier_frequency"),
        "symbols": whole("length of the burst, symbols"),
        "channel": listed("complex taps, one sample apart, that the pulse went through", TAPS),
        "channel_length": whole("taps of a channel that is to be estimated"),
        "preamble": text("bits that are sent now and then, by which the phase ambiguity is resolved", TEXTS),
    }
    structure = Structure.CHAIN
    dc_free = True
    decided = True
    state_names = {"delay": "timing", "carrier_offset": "carrier_offset", "phase": "phase", "gain": "gain"}
    estimable = ("timing", "phase", "gain", "carrier_offset")
    needs = ("timing", "phase")
    own_carrier = False

    @property
    def alphabet_rotation(self) -> float:
        """See Source.alphabet_rotation."""
        return self.signal.alphabet.rotation

    @property
    def differential(self) -> bool:
        """See Source.differential."""
        return self.signal.alphabet.differential

    @property
    def takes_basis(self) -> bool:
        """Not where the alphabet turns (π/4-DQPSK): its symbols' parts then are not those of the system in linear_pair.py."""
        return not self.signal.alphabet.rotation

    @property
    def intermittent(self) -> bool:
        """See Source.intermittent: unless phase, length or preamble say how it comes; not through a channel."""
        told = self.symbols or self.preamble or self.channel_length or self.signal.channel
        return self.phase is None and not told and not self.learned

    def __post_init__(self) -> None:
        if self.symbols is not None and self.symbols < 1:
            raise ParameterError(f"symbols: {self.symbols} must be 1 or more, or left out for a continuous signal")
        if isinstance(self.gain, (int, float)) and self.gain <= 0:
            raise ParameterError(f"gain: {self.gain} must be positive")
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")
        length, longest = self.channel_length, 2 * self.signal.samples_per_symbol
        if length is not None and (length != int(length) or not 2 <= length <= longest):
            raise ParameterError(f"channel_length: {length} must be a whole number of samples from 2 to {longest}, two symbols")
        if length is not None and self.signal.channel:
            raise ParameterError("channel_length: the channel is given; leave out one of the two")
        if (length is not None or self.signal.channel) and self.learned:
            raise CapabilityError("channel: a network knows its source as it was trained; give the file of the structure alone")
        if (length is not None or self.signal.channel) and self.signal.alphabet.rotation:
            raise CapabilityError(f"channel: constellation {self.signal.constellation!r} turns from symbol to symbol and "
                                  "cannot be equalised yet; leave the channel out")
        if self.preamble:
            self._check_preamble()
        self._pairs: dict[Any, LinearPair] = {}

    def _check_preamble(self) -> None:
        alphabet = self.signal.alphabet
        if set(self.preamble) - set("01"):
            raise ParameterError(f"preamble: {self.preamble[:40]!r} must be bits, a text of 0 and 1")
        if alphabet.rotation:
            raise CapabilityError(f"preamble: constellation {self.signal.constellation!r} turns from symbol to symbol; leave the "
                                  "preamble out")
        if alphabet.differential:
            raise CapabilityError("preamble: differential bits do not depend on the phase; leave the preamble out")
        count, rest = divmod(len(self.preamble), alphabet.bits_per_symbol)
        least = _WORD * (2 if alphabet.symmetry == 2 else 1)
        if rest or count < least:
            raise ParameterError(f"preamble: {len(self.preamble)} bits must be {least} symbols of {alphabet.bits_per_symbol} "
                                 "bits or more, whole ones: fewer come by chance")
        word, turn = self.word, 2 * np.pi / alphabet.symmetry
        for shift in range(1, count):
            match = np.vdot(word[:-shift], word[shift:])
            alike = abs(match) > _SIMILAR * np.vdot(word, word).real
            if alike and round(float(np.angle(match)) / turn) % alphabet.symmetry:
                raise ParameterError(f"preamble: shifted by {shift} symbols it is nearly itself, but turned, and would settle "
                                     "the wrong turn; give bits that do not repeat so")

    @property
    def word(self) -> np.ndarray:
        """The preamble's symbols, complex128 [n]."""
        bits = torch.tensor([[int(bit) for bit in self.preamble]])
        return self.signal.alphabet.map(bits)[0].to(torch.complex128).numpy()

    def at(self, start: Number) -> Self:
        """See Source.at. Symbol numbers stay those of the stream."""
        return replace(self, timing=None if self.timing is None else self.timing - start,
                       phase=None if self.phase is None or self.carrier_offset is None else
                       self.phase + 2 * np.pi * self.carrier_offset * start)

    def centred_symbols(self, samples: int) -> tuple[Tensor, int]:
        """(first, count): the number of the first symbol whose centre lies in [0, samples), tensor [batch], and how many.

        count is the same for every window; raises ParameterError where windows differ. Where samples_per_symbol is not whole, the
        last symbol of a window may be left out.
        """
        first, sps = self._first(), self.signal.samples_per_symbol
        if self.symbols is None and not isinstance(sps, int):
            return first, int(samples / sps)                # windows may differ by one more
        stop = torch.ceil((samples - column(self.timing, torch.empty(0))[:, 0]) / sps - 1e-9).long()
        if self.symbols is not None:
            stop = stop.clamp(max=self.symbols)
        count = (stop - first).clamp(min=0)
        if bool((count != count[0]).any()):
            remedy = f"let their starts differ by multiples of samples_per_symbol ({sps})" if self.symbols is None else \
                f"a burst (symbols = {self.symbols}) must fit in one window that holds the whole recording"
            raise ParameterError(f"the windows of one call hold different numbers of symbols: {remedy}")
        return first, int(count[0])

    def _first(self) -> Tensor:
        first = torch.ceil(-column(self.timing, torch.empty(0))[:, 0] / self.signal.samples_per_symbol - 1e-9).long()
        return first if self.symbols is None else first.clamp(min=0)

    def overlapping_symbols(self, samples: int) -> tuple[Tensor, int]:
        """(first, count): the first symbol whose pulse reaches into [0, samples), tensor [batch], and how many there are at
        most. The same count for every window: some may have no energy inside, or (burst) not exist, see `exists`."""
        sps, half = self.signal.samples_per_symbol, self.signal.half_length
        timing = column(self.timing, torch.empty(0))[:, 0]
        first = torch.ceil((-half - timing) / sps - 1e-9).long()
        if self.symbols is None:
            return first, int((samples - 1 + 2 * half) // sps) + 1
        first = first.clamp(min=0)
        last = torch.floor((samples - 1 + half - timing) / sps + 1e-9).long().clamp(max=self.symbols - 1)
        return first, max(int((last - first).max()) + 1, 1)

    def exists(self, first: Tensor, count: int) -> Tensor | None:
        """Which of the symbols first ... first+count-1 the burst holds, bool [batch, count]; None if it has no end."""
        if self.symbols is None:
            return None
        number = first[:, None] + torch.arange(count)
        return (number >= 0) & (number < self.symbols)

    def centres(self, samples: int) -> Tensor:
        """The samples on which the symbols of `reaching` are centred, float64 [batch or 1, count]."""
        first, count = self.overlapping_symbols(samples)
        return self.timing_of(first)[:, None] + torch.arange(count) * self.signal.samples_per_symbol

    def matched_filter(self, x: Tensor, gain: Number = 1.0) -> Tensor:
        """h-matched output at each symbol centre inside the window: complex64 [batch, samples] -> [batch, symbols].

        Divided by the pulse's energy inside the window, so a pulse cut by the window's edge keeps its amplitude.
        """
        samples = x.shape[1]
        x = x * (carrier(self.phase, self.carrier_offset, x).conj() / gain)
        first, count = self._first(), self.centred_symbols(samples)[1]
        z = self.signal.correlate(x, count, self.timing_of(first))
        return self._turned(z, first, back=True) / self.energy(samples).to(x.device)

    def energy(self, samples: int) -> Tensor:
        """Of the pulse of each symbol inside the window, that part which lies in it: float32 [symbols] or [batch, symbols]."""
        count, centre = self.centred_symbols(samples)[1], self.timing_of(self._first())
        return self.signal.energy_inside(count, centre, samples).clamp_min(1e-6)

    def modulate(self, symbols: Tensor, samples: int) -> Any:
        """Symbols inside the window, complex [batch, symbols], to the unit-gain waveform complex64 [batch, samples]."""
        first = self._first()
        out = self.signal.modulate(self._turned(symbols, first), samples, self.timing_of(first))
        return out * carrier(self.phase, self.carrier_offset, out)

    def modulate_overlapping(self, symbols: Tensor, samples: int) -> Tensor:
        """As modulate, of all symbols that reach into the window (`reaching`)."""
        first = self.overlapping_symbols(samples)[0]
        out = self.signal.modulate(self._turned(symbols, first), samples, self.timing_of(first))
        return out * carrier(self.phase, self.carrier_offset, out)

    def _turned(self, symbols: Tensor, first: Tensor, back: bool = False) -> Tensor:
        """Symbols first, first + 1, ... [batch, n] with the turn of an alphabet that turns, or without it again."""
        turns = self.signal.turns(first, symbols.shape[1])
        return symbols if turns is None else symbols * (turns.conj() if back else turns).to(symbols.device)

    def timing_of(self, number: Tensor) -> Tensor:
        """Sample on which the symbols `number` [batch] are centred; rounded, so that equal timings are seen to be equal."""
        timing = column(self.timing, torch.empty(0))[:, 0]
        return torch.round(timing + number * self.signal.samples_per_symbol, decimals=6)

    def symbol_means(self, r: Tensor, var: Tensor, modulate: Callable[..., Any], demodulate: Callable[..., Any] | None) -> Tensor:
        """E[a | r] of symbols, r = a + noise of variance var: complex64 [batch, symbols]. modulate, demodulate: from symbols like
        these to windows and back, for a denoiser that works on waveforms."""
        return self.signal.alphabet.mean(r, var)

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: the pulse's own, over samples_per_symbol, for white symbols that never end; averaged over
        fractions of a sample where the timing is not one number."""
        timing = torch.as_tensor(np.nan if self.timing is None else self.timing, dtype=torch.float64)
        fractions = [float(timing) % 1] if timing.numel() == 1 and self.timing is not None else (np.arange(8) + 0.5) / 8
        lags, reach = np.asarray(lags), int(np.ceil(self.signal.half_length)) + 1
        pulses = [self.signal.pulse_at(np.arange(-reach, reach + 1) - fraction) for fraction in fractions]
        table = np.mean([np.correlate(h, h, "full") for h in pulses], 0)
        middle = 2 * reach
        table = table / table[middle].real
        inside = abs(lags) <= middle
        offset = 0.0 if self.carrier_offset is None else self.carrier_offset
        return np.where(inside, table[np.where(inside, lags, 0) + middle], 0) * rotation(offset, lags)

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: matched filter, posterior mean of each symbol, modulate (Hᴴ·H ≈ samples_per_symbol·I).

        Under noise with a basis the matched filter gives way to the linear estimate of each symbol, given all samples, the
        others Gaussian, and made unbiased (linear_pair.py).
        """
        (noise_var, colour, floor), samples = self.asked(noise), x.shape[1]
        if colour is not None:
            return self.modulate_overlapping(self._coloured(x, noise_var, colour, floor), samples)
        turn = carrier(self.phase, self.carrier_offset, x)
        first, count = self.overlapping_symbols(samples)
        centre, exists = self.timing_of(first), self.exists(first, count)
        energy = self.signal.energy_inside(count, centre, samples).clamp_min(1e-6).to(x.device)
        z = self._turned(self.signal.correlate(x * turn.conj(), count, centre), first, back=True) / energy
        noise_var = torch.as_tensor(noise_var, dtype=torch.float32, device=x.device).reshape(-1, 1)
        if self.signal.channel:
            mean = self.signal.alphabet.mean(*self._equalised(z * energy, noise_var, centre, samples))
        else:
            mean = self.signal.alphabet.mean(z, noise_var / energy)
        mean = mean if exists is None else mean * exists.to(x.device)
        return self.signal.modulate(self._turned(mean, first), samples, centre) * turn

    def _equalised(self, z: Tensor, noise_var: Tensor, centre: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """The linear estimate (HᴴH + noise_var·I)⁻¹·z of each symbol from z = Hᴴx [batch, count], made unbiased, by conjugate
        gradients, and the variance of its error [batch, 1], as far from the window's ends."""
        count, sps = z.shape[1], self.signal.samples_per_symbol
        level = noise_var.clamp_min(1e-3 * sps)

        def apply(v: Tensor) -> Tensor:
            return self.signal.correlate(self.signal.modulate(v, samples, centre), count, centre) + level * v

        mean, _ = conjugate_gradients(apply, z, _EQUALISED)
        pulse = self.signal.pulse_at(np.arange(round(count * sps)) - round(count * sps) // 2)
        folded = fold(abs(np.fft.fft(pulse)) ** 2, count) / sps
        gram = torch.as_tensor(folded, dtype=torch.float32, device=z.device)
        var = (level / (gram + level)).mean(1, keepdim=True)
        return mean / (1 - var), var / (1 - var)

    def _coloured(self, x: Tensor, noise_var: Any, colour: Any, floor: Any) -> Tensor:
        """E of each symbol that reaches the window, complex64 [batch, symbols], under noise in the span of colour's pulses."""
        pair = self.pair(x.shape, colour, x.device)
        own = pair.prior(1)
        site = pair.spread(0, pair.prior(0, noise_var)) + pair.spread(1, own)
        floor = torch.as_tensor(floor, device=x.device).reshape(-1)
        mean, var = (pair.gather(1, v) for v in pair.posterior(pair.statistics(x), site, 0.0, floor))
        precision = (1 / var - own).clamp_min(1e-6)
        soft = moments(self.signal.alphabet, mean / var / precision, 1 / precision)[0].float()
        return torch.view_as_complex(torch.nn.functional.pad(soft, (0, 2 - soft.shape[-1])))

    def draw(self, batch: int, samples: int, generator: torch.Generator, scrambled: Any = None) -> tuple[Tensor, Self]:
        """See Source.draw: it goes on before and after the window. scrambled: symbols as 802.11b makes them of constant data
        (signals.linear.scrambled_symbols), else independent; None: scrambled where the pulse is barker and the alphabet bpsk."""
        signal, sps = self.signal, self.signal.samples_per_symbol
        if scrambled is None:
            scrambled = (signal.pulse, signal.constellation) == ("barker", "bpsk")

        def drawn(value: Any, scale: float) -> Tensor:
            if value is not None:
                return torch.as_tensor(value, dtype=torch.float64).expand(batch)
            return scale * torch.rand(batch, generator=generator, dtype=torch.float64)

        timing, phase = drawn(self.timing, sps), drawn(self.phase, 2 * torch.pi)
        truth = replace(self, timing=timing, phase=phase)
        first, count = (0, self.symbols) if self.symbols else truth.overlapping_symbols(samples)
        if scrambled:
            symbols = scrambled_symbols(batch, count, generator)
        else:
            bits = torch.randint(0, 2, (batch, count * signal.alphabet.bits_per_symbol), generator=generator)
            symbols = signal.alphabet.map(bits)
        turns = signal.turns(first, count)
        b = signal.modulate(symbols if turns is None else symbols * turns, samples, timing + first * sps)
        return b * carrier(phase, self.carrier_offset, b), truth

    def linear_model(self, shape: Sequence[int]) -> Any:
        """See Source.linear_model: one column per symbol that reaches the window."""
        samples, signal = shape[1], self.signal
        first, count = self.overlapping_symbols(samples)
        centre = self.centres(samples)
        begin = torch.ceil(centre - signal.half_length - 1e-9).long()
        width = int(np.floor(2 * signal.half_length)) + 1
        wave = sampled(signal.pulse_at, begin - centre, width)
        columns = carried(self.carrier_offset, begin, width, self.phase) * wave
        turns, exists = signal.turns(first, count), self.exists(first, count)
        columns = columns if turns is None else columns * turns[..., None]
        exists = torch.ones(1, count, dtype=torch.bool) if exists is None else exists

        def decode(mean: Tensor, var: Tensor, rows: slice = EVERY) -> tuple[Tensor, Tensor, Tensor]:
            soft, error = as_complex(mean, var)
            at, there = some(centre, rows), some(exists, rows)
            at = torch.where((at >= -1e-6) & (at < samples - 1e-6) & there, at, torch.nan)
            return (soft.to(torch.complex64), signal.alphabet.llrs(soft.to(torch.complex64), error.float().clamp_min(1e-6)),
                    at.to(mean.device).expand(len(mean), -1))

        return LinearModel(begin, columns, signal.alphabet, exists, decode)

    def demodulator(self) -> Any:
        """See Source.demodulator: matched filter and alphabet."""
        return MatchedFilterDemodulator(self)

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return self.signal.taps_count

    @property
    def symbol_period(self) -> float:
        """See Source.symbol_period."""
        return self.signal.samples_per_symbol

    @property
    def repeats(self) -> tuple[float, int] | None:
        """See Source.repeats. A rotating alphabet's phase depends on which symbol is which."""
        steady = not (self.channel_length or self.learned or self.alphabet_rotation) and self.symbols is None
        return (self.symbol_period, self.signal.alphabet.symmetry) if steady else None

    def pair(self, shape: Sequence[int], other: LinearModulation, device: torch.device) -> LinearPair:
        """The LinearPair of `other` (first) and this source (second); kept, since iterations ask again."""
        key = (tuple(shape), id(other), str(device))
        pair = self._pairs.get(key)             # threads may share a prior
        if pair is None:
            pair = LinearPair(shape, other, self, device)
            self._pairs = {key: pair}
        return pair
