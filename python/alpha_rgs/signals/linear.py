# SPDX-License-Identifier: GPL-3.0-or-later
"""Linear modulation: s(n) = sum_m a_m h(n - timing - m*samples_per_symbol)."""
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from ..errors import ParameterError
from .constellations import Constellation, constellation

MOST_SAMPLES = 1 << 16          # per symbol: a pulse of a few symbols still fits in memory
PULSES = ("rrc", "rc", "rect", "barker", "taps")
BARKER = (1, -1, 1, 1, -1, 1, 1, 1, -1, -1, -1)     # the spreading code of IEEE 802.11-2020, 15.4.6.5


def whole_or_real(value: float) -> float:
    """A number as an int where it is whole, else as a float."""
    return int(value) if value == int(value) else float(value)


def root_raised_cosine(t: npt.ArrayLike, rolloff: float) -> npt.NDArray[np.float64]:
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


def raised_cosine(t: npt.ArrayLike, rolloff: float) -> npt.NDArray[np.float64]:
    """The raised-cosine impulse response at t (symbols), 1 at 0; Proakis, Digital Communications, eq. 9.2-27."""
    t = np.asarray(t, float)
    edge = 1 - (2 * rolloff * t) ** 2
    pole = abs(edge) < 1e-9         # cos(pi/2)/0 there, whose limit is pi/4
    return np.sinc(t) * np.where(pole, np.pi / 4, np.cos(np.pi * rolloff * t) / np.where(pole, 1, edge))


def barker_pulse(tau: npt.NDArray[np.float64], samples_per_symbol: float) -> npt.NDArray[np.float64]:
    """Eleven rectangular chips in one symbol, each sample the mean over its own width (an integrating converter).

    tau: samples from the symbol's centre, any shape -> float64, unnormalised (the chips are ±1). The width of a chip need not
    be whole. Symbols meet in one sample at most: their pulses are orthogonal within one per cent, at any timing.
    """
    edges = (np.arange(12) / 11 - 0.5) * samples_per_symbol
    area = np.r_[0.0, np.cumsum(BARKER)] * samples_per_symbol / 11
    return np.interp(tau + 0.5, edges, area) - np.interp(tau - 0.5, edges, area)


@lru_cache
def _barker_scale(sps: float) -> float:
    """Unit mean power over all timings: pulse_at's square integrates to sps (piecewise a parabola: Simpson is exact)."""
    chips = (np.arange(12) / 11 - 0.5) * sps
    knots = np.unique(np.r_[chips - 0.5, chips + 0.5])
    ends, middle = barker_pulse(knots, sps) ** 2, barker_pulse((knots[1:] + knots[:-1]) / 2, sps) ** 2
    return float(np.sqrt(sps / np.sum(np.diff(knots) * (ends[1:] + ends[:-1] + 4 * middle) / 6)))


@lru_cache(maxsize=64)
def _spline(taps: tuple[float, ...], sps: float) -> Any:
    """The taps about 0 in steps of one sample, and zeros beyond, energy sps: a cubic spline through them."""
    half, room = len(taps) // 2, 8
    values = np.pad(np.array(taps, float), room)
    return CubicSpline(np.arange(-half - room, half + room + 1), values * np.sqrt(sps / np.sum(values ** 2)), bc_type="clamped")


@dataclass(frozen=True)
class LinearModulation:
    """A pulse-shaped alphabet of unit mean power.

    constellation: a name known to `signals.constellation`.
    samples_per_symbol: an int, or a float where it is not whole; >= 2 for rrc, >= 11 for barker (25: 802.11b at 1 Mb/s,
        sampled at 25 MS/s).
    pulse: "rrc" (root raised cosine), "rc" (raised cosine, where the transmitter's filter is all there is: VDL mode 2), "rect"
        (one symbol long) or "barker" (direct-sequence spreading, one symbol long), or "taps": as `taps` gives it.
    rolloff: of the rrc and rc pulses, 0 to 1.
    span: length of these pulses in symbols; the taps reach span/2 symbols to each side of the centre.
    taps: of any given pulse, real, an odd number of them, samples_per_symbol to a symbol; the middle one is the symbol's centre.
        They are scaled to energy samples_per_symbol, and are zero beyond their ends; between samples the pulse is a cubic spline
        through them (error -50 dB for a pulse that fills half the band, and less the more it is oversampled). The matched
        filter presumes pulses that are orthogonal a symbol apart, which rc pulses are not either, as all methods but `joint` and
        `lmmse` do.
    radii: of the outer rings of 16apsk and 32apsk, relative to the innermost; () for DVB-S2's at rates 2/3 and 3/4.
    differential: the bits of bpsk, qpsk or 8psk are in the phase steps from symbol to symbol (constellations.DifferentialPsk).
    channel: complex taps, one sample apart, that the pulse has gone through; the centre of a symbol stays where its first tap has
        it. All that is said here of the pulse is then true of the two together, (pulse * channel) scaled to the pulse's energy:
        unit power, and symbols a period apart that are not orthogonal. () is (1,): none.
    """

    constellation: str = "qpsk"
    samples_per_symbol: float = 16
    pulse: str = "rrc"
    rolloff: float = 0.5
    span: int = 8
    taps: tuple[float, ...] = ()
    radii: tuple[float, ...] = ()
    channel: tuple[complex, ...] = ()
    differential: bool = False

    def __post_init__(self) -> None:
        sps = self.samples_per_symbol
        if isinstance(sps, bool) or not 1 <= sps <= MOST_SAMPLES:
            raise ParameterError(f"samples_per_symbol: {sps} must lie between 1 and {MOST_SAMPLES}; it need not be whole")
        object.__setattr__(self, "samples_per_symbol", whole_or_real(sps))
        if self.pulse not in PULSES:
            raise ParameterError(f"pulse: {self.pulse!r} is not known; one of {', '.join(PULSES)}")
        if self.pulse == "barker" and sps < len(BARKER):
            raise ParameterError(f"samples_per_symbol: {sps} is fewer than the {len(BARKER)} chips of a barker pulse")
        if not 0 <= self.rolloff <= 1:
            raise ParameterError(f"rolloff: {self.rolloff} must lie between 0 and 1")
        if self.span < 1 or self.span != int(self.span):
            raise ParameterError(f"span: {self.span} must be a whole number of symbols, 1 or more")
        object.__setattr__(self, "taps", _numbers("taps", self.taps))
        object.__setattr__(self, "radii", _numbers("radii", self.radii))
        object.__setattr__(self, "channel", _numbers("channel", self.channel, complex))
        if self.channel and not any(self.channel):
            raise ParameterError("channel: give at least one tap that is not zero")
        if self.channel == (1,):
            object.__setattr__(self, "channel", ())
        if (self.pulse == "taps") != bool(self.taps):
            raise ParameterError("taps: give them with pulse = \"taps\", and only then")
        if self.taps and (len(self.taps) % 2 == 0 or not any(self.taps)):
            raise ParameterError(f"taps: {len(self.taps)} must be an odd number of them, the middle one the symbol's centre, not "
                                 "all zero")
        if constellation(self.constellation, self.radii, self.differential).bits_per_symbol == 0:
            raise ParameterError("constellation: 'gaussian' is for OFDM carriers; a linear modulation needs an alphabet")

    @property
    def alphabet(self) -> Constellation:
        """The Constellation."""
        return cast(Constellation, constellation(self.constellation, self.radii, self.differential))

    def turns(self, first: int | Tensor, count: int) -> Tensor | None:
        """exp(j·rotation·m) of symbols first ... first+count-1, which the waveform carries and the alphabet does not: complex64
        [batch, count], first int [batch] or a number; None where the alphabet does not rotate."""
        if not self.alphabet.rotation:
            return None
        number = torch.as_tensor(first, dtype=torch.float64).reshape(-1, 1) + torch.arange(count)
        angle = self.alphabet.rotation * number
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)

    @property
    def half_length(self) -> float:
        """How far the pulse reaches from its centre, samples; with a channel the early side ends in zeros."""
        sps = self.samples_per_symbol
        return {"rrc": self.span * sps / 2, "rc": self.span * sps / 2, "rect": (sps - 1) / 2, "barker": (sps + 1) / 2,
                "taps": (len(self.taps) + 1) / 2}[self.pulse] + max(len(self.channel) - 1, 0)

    @property
    def taps_count(self) -> int:
        """Length of the pulse, samples."""
        return int(2 * self.half_length) + 1

    def power_spectrum(self, nfft: int, carrier_offset: float = 0.0) -> npt.NDArray[np.float64]:
        """Power spectral density of random symbols at frequencies k/nfft, FFT order: float64 [nfft], mean 1. carrier_offset:
        cycles per sample."""
        reach = int(np.ceil(self.half_length)) + 1
        n = np.arange(-reach, reach + 1)
        folded = np.zeros(nfft, complex)
        np.add.at(folded, n % nfft, self.pulse_at(n) * np.exp(2j * np.pi * carrier_offset * n))
        return abs(np.fft.fft(folded)) ** 2 / self.samples_per_symbol

    def pulse_at(self, tau: npt.ArrayLike) -> npt.NDArray[Any]:
        """The pulse at `tau` samples from its centre, float64 (complex128 with a channel), same shape; energy samples_per_symbol
        (unit power)."""
        tau = np.asarray(tau, float)
        if self.channel:
            sent, taps = _through(self)
            return sum(tap * sent.pulse_at(tau - delay) for delay, tap in enumerate(taps) if tap)
        inside = abs(tau) <= self.half_length + 1e-6
        if self.pulse == "rect":
            return inside.astype(float)
        sps = self.samples_per_symbol
        if self.pulse == "barker":
            return _barker_scale(sps) * barker_pulse(tau, sps)
        if self.pulse == "taps":
            return _spline(self.taps, sps)(np.where(inside, tau, self.half_length)) * inside
        grid = np.arange(-np.floor(self.half_length), np.floor(self.half_length) + 1)
        shape = raised_cosine if self.pulse == "rc" else root_raised_cosine
        scale = np.sqrt(sps / np.sum(shape(grid / sps, self.rolloff) ** 2))
        return scale * shape(tau / sps, self.rolloff) * inside

    @property
    def scaled_channel(self) -> tuple[complex, ...]:
        """The channel's taps, scaled so that the pulse keeps its energy: complex, (1,) where there is none."""
        return tuple(_through(self)[1].tolist()) if self.channel else (1.0 + 0j,)

    def gain_through(self, taps: npt.ArrayLike) -> float:
        """The amplitude that taps, complex array, give a signal of this pulse and unit power."""
        reach = int(np.ceil(self.half_length))
        pulse = self.pulse_at(np.arange(-reach, reach + 1))
        return float(np.sqrt(np.sum(abs(np.convolve(pulse, np.asarray(taps))) ** 2) / np.sum(abs(pulse) ** 2)))

    def modulate(self, symbols: Tensor, samples: int, timing: float | Tensor) -> Tensor:
        """symbols complex [batch, n] -> complex64 [batch, samples]; symbol 0 is centred on sample `timing`, any real number
        or one per window, [batch]. Symbols are as sent: times `turns`, if the alphabet rotates."""
        symbols = torch.as_tensor(symbols).to(torch.complex64)
        return _polyphase(self, _hashable(timing), len(symbols[0]), samples).modulate(symbols)

    def correlate(self, x: Tensor, count: int, timing: float | Tensor) -> Tensor:
        """The adjoint of modulate: complex64 [batch, samples] -> sum_n x(n) conj(h(n - centre)) at `count` symbols."""
        return _polyphase(self, _hashable(timing), count, x.shape[1]).correlate(x)

    def energy_inside(self, count: int, timing: float | Tensor, samples: int) -> Tensor:
        """How much of each pulse's energy lies in [0, samples): float32 [count], or [batch, count] with one timing per
        window; samples_per_symbol for a whole pulse (on average over timings, for barker)."""
        return _polyphase(self, _hashable(timing), count, samples).energy


def _numbers(key: str, values: Any, sort: type[float] | type[complex] = float) -> tuple[Any, ...]:
    """A tuple of finite numbers, real or (sort complex) complex."""
    try:
        out = tuple(sort(v) for v in values)
    except (TypeError, ValueError):
        raise ParameterError(f"{key}: {values!r} must be a list of {'real' if sort is float else 'complex'} numbers") from None
    if not np.isfinite(out).all():
        raise ParameterError(f"{key}: all must be finite")
    return out


@lru_cache(maxsize=64)
def _through(signal: LinearModulation) -> tuple[LinearModulation, npt.NDArray[Any]]:
    """(the signal without its channel, the taps scaled so that the pulse keeps its energy on a grid about its centre)."""
    sent, taps = replace(signal, channel=()), np.array(signal.channel)
    return sent, taps / sent.gain_through(taps)


class _Polyphase:
    """The pulse cut into blocks of one symbol, so that modulation and its adjoint are small matrix products.

    Block j covers the samples [g + j·sps, g + (j + 1)·sps), g near the first symbol's centre; taps [reach, sps], the last
    row belonging to the latest symbol that reaches a block. With a tuple of timings, one per window, the blocks of all
    windows lie alike and the taps are [batch, reach, sps].
    """

    def __init__(self, signal: LinearModulation, timing: float | tuple[float, ...], count: int, samples: int) -> None:
        self.sps = sps = int(signal.samples_per_symbol)
        self.count, self.samples, half = count, samples, signal.half_length
        shared = isinstance(timing, float)
        when: npt.NDArray[np.float64] = np.array(timing)[..., None, None]
        # a shared timing has its blocks about the symbols, which reaches fewest; the rest begin a block at sample 0
        g = int(np.floor(when.min())) - sps // 2 if shared else int(np.floor(when.min() / sps)) * sps
        tau = g - when                                        # of a block's first sample from its own symbol's centre
        early = int(np.ceil((half - tau.min()) / sps))          # a block reaches back to symbol j - early
        late = int(np.ceil((half + tau.max() + sps - 1) / sps))     # and ahead to j + late
        k = np.arange(early, -late - 1, -1)
        self.taps = torch.tensor(signal.pulse_at(tau + np.arange(sps) + k[:, None] * sps),
                                 dtype=torch.complex64 if signal.channel else torch.float32)
        if shared:
            self.taps = self.taps.reshape(len(k), sps)
        self.reach = len(k)
        first = (0 - g) // sps                                  # the block that holds sample 0
        last = (samples - 1 - g) // sps
        self.lead = 0 - (g + first * sps)
        self.tail = (last - first + 1) * sps - self.lead - samples
        self.symbol_pad = (early - first, last + late - count + 1)      # negative padding crops
        self.first, self.early, self.blocks = first, early, last - first + 1
        ones = torch.nn.functional.pad(torch.ones(samples), (self.lead, self.tail)).unflatten(-1, (-1, sps))
        self.energy = self._shift_and_add(ones @ self.taps.mT.abs().square())

    def modulate(self, symbols: Tensor) -> Tensor:
        """See LinearModulation.modulate."""
        taps, inside = self.taps.to(symbols.device), slice(self.lead, self.lead + self.samples)
        if taps.is_complex():
            blocks = torch.nn.functional.pad(symbols, self.symbol_pad).unfold(-1, self.reach, 1) @ taps
            return blocks.flatten(1)[:, inside]
        parts = torch.view_as_real(symbols).movedim(-1, 0)                             # real pulses: two real products
        padded = torch.nn.functional.pad(parts, self.symbol_pad)
        blocks = padded.unfold(-1, self.reach, 1) @ taps                               # [2, batch, blocks, sps]
        return torch.complex(*blocks.flatten(2)[..., inside])

    def correlate(self, x: Tensor) -> Tensor:
        """See LinearModulation.correlate."""
        taps, ends = self.taps.to(x.device), (self.lead, self.tail)
        if taps.is_complex():
            return self._shift_and_add(torch.nn.functional.pad(x, ends).unflatten(-1, (-1, self.sps)) @ taps.mH)
        parts = torch.nn.functional.pad(torch.view_as_real(x).movedim(-1, 0), ends)
        return torch.complex(*self._shift_and_add(parts.unflatten(-1, (-1, self.sps)) @ taps.mT))

    def _shift_and_add(self, z: Tensor) -> Tensor:
        """z [..., blocks, reach] -> [..., count]: column c of block j belongs to symbol first + j - early + c."""
        reach = z.shape[-1]
        wide = z.new_zeros(*z.shape[:-2], self.blocks + reach - 1)
        for c in range(reach):
            wide[..., c:c + self.blocks] += z[..., c]
        begin = self.first - self.early                          # symbol number of wide[..., 0]
        return torch.nn.functional.pad(wide, (begin, self.count - begin - wide.shape[-1]))


class _Scattered:
    """As _Polyphase, where samples_per_symbol is not whole: every symbol's pulse at instants of its own, complex or float32
    [1 or batch, count, width], from the sample `start` int64 [1 or batch, count] on."""

    def __init__(self, signal: LinearModulation, timing: float | tuple[float, ...], count: int, samples: int) -> None:
        when = np.reshape(timing, (-1, 1)) + np.arange(count) * signal.samples_per_symbol
        start = np.ceil(when - signal.half_length - 1e-9).astype(int)
        n = start[..., None] + np.arange(signal.taps_count)
        inside = (n >= 0) & (n < samples)
        pulses = signal.pulse_at(n - when[..., None]) * inside
        self.samples = samples
        self.taps = torch.tensor(pulses, dtype=torch.complex64 if signal.channel else torch.float32)
        self.where = torch.tensor(np.clip(n, 0, samples - 1)).flatten(1)
        energy = self.taps.abs().square().sum(2)
        self.energy = energy[0] if isinstance(timing, float) else energy

    def modulate(self, symbols: Tensor) -> Tensor:
        """See LinearModulation.modulate."""
        parts = (symbols[..., None] * self.taps.to(symbols.device)).flatten(1)
        where = self.where.to(symbols.device).expand(len(parts), -1)
        return torch.zeros(len(parts), self.samples, dtype=parts.dtype, device=parts.device).scatter_add_(1, where, parts)

    def correlate(self, x: Tensor) -> Tensor:
        """See LinearModulation.correlate."""
        seen = x.gather(1, self.where.to(x.device).expand(len(x), -1)).unflatten(1, self.taps.shape[1:])
        return (seen * self.taps.to(x.device).conj()).sum(2)


@lru_cache(maxsize=256)
def _polyphase(signal: LinearModulation, timing: float | tuple[float, ...], count: int, samples: int) -> _Polyphase | _Scattered:
    whole = isinstance(signal.samples_per_symbol, int)
    return (_Polyphase if whole else _Scattered)(signal, timing, count, samples)


def _hashable(timing: float | Tensor) -> float | tuple[float, ...]:
    """A float, or a tuple of floats where windows differ."""
    if not torch.is_tensor(timing) or timing.numel() == 1:
        return float(timing)
    values = tuple(timing.flatten().tolist())
    return values[0] if values.count(values[0]) == len(values) else values


def scrambled_symbols(batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Differential BPSK of constant data behind the 802.11b scrambler: complex64 [batch, count], ±1.

    Self-synchronising, x^7 + x^4 + 1 (IEEE 802.11-2020, 16.2.4), from a random state other than zero, on an input of zeros: a
    sequence of maximal length, period 127; a one turns the phase by half a turn, and 127 bits hold 64 ones.
    """
    state = torch.randint(1, 128, (batch,), generator=generator)[:, None] >> torch.arange(7) & 1
    bits = [*state.T]
    while len(bits) < count:
        bits.append(bits[-4] ^ bits[-7])
    return (1 - 2 * (torch.stack(bits[:count], 1).cumsum(1) % 2)).to(torch.complex64)
