# SPDX-License-Identifier: GPL-3.0-or-later
"""Synchronization of staggered binary modulations: s(n) = exp(j(φ + 2πfn))·Σ_k r_k·j^k·p(n - τ - kT), r_k = ±1, p and T real.

GMSK (p Laurent's first pulse) and offset QPSK (T half a symbol) are of this form. The samples are whitened and matched in the
frequency domain by P/(D + |P|²/T), D the density of all else: z(t), which at t = τ + kT is j^k·r_k times exp(j(φ + 2πft)), and
noise. So z² has lines at 2f ± 1/(2T) whose complex amplitudes A± = c·exp(j(2φ ∓ πτ/T)), c > 0, say f, τ and φ at once (the
low-SNR limit of the likelihood of unknown signs, Moeneclaey, IEEE Trans. Commun. 31, 1983, and of cyclostationary detection:
Gardner, IEEE Trans. Commun. 36, 1988). The likeliest lines are refined by Gauss-Newton steps on the whitened samples with soft
decisions: y_k = Re(h_kᴴ·D⁻¹x) of the columns h_k are sufficient, their Gram matrix is real and Toeplitz, and the linear
estimate of r = (2G + I)⁻¹·2y, made unbiased, goes through tanh.

τ is known up to T and φ up to π: one symbol later is a quarter turn less, since which symbol is called 0 is of no account.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..inference.gauss_newton import damped_step
from .base import Noise, Number

# cycles per sample to each side within which an unknown carrier offset lies; or cycles per symbol, if that is more: the lines of
# the square tell no more apart
REACH, _TURN = 0.02, 0.25
_FLOOR = 0.01           # of the source's power: less noise is not believed, or lines of what the model leaves out would count
_SPACING = 0.05         # of 1/T: steps of the coarse carrier, that matches the filter; lines of roll-off 0.2 live on 0.1/T
_COARSE = 6             # coarse carriers of a window that are looked at, the likeliest by its density
_DENSITY_FLOOR = 0.02   # of the peak of the source's density, where windows are compared with it: leakage, unmodelled parts
_TAPER = 24             # samples at each end that fade: leakage of a strong neighbour
_CANDIDATES = 3         # lines that are refined: at 10 dB under flat interference the second best is right in a few of 100
_STEPS = 3              # of Gauss-Newton for each candidate, and as many for the best: the last moves the timing by 1e-3 symbols
_LAGS = 48              # symbols that a whitened pulse reaches to each side
_FINE = 64              # points of the pulse per sample, about which it is linear (error -90 dB)
_POINTS = 64            # timings that are tried within T where the phase is known
_AT_ONCE = 4            # windows: what they take stays in the cache
_LIMITS = (0.1, 0.3, 0.1)       # of a step: of T; rad; of the reciprocal of the window's length


@dataclass(frozen=True)
class Train:
    """The pulse of a staggered modulation. period: T, samples; reach: samples to each side of its centre beyond which it is zero;
    shape: its real value at float64 samples from the centre, energy T (unit mean power), even."""

    period: float
    reach: float
    shape: Callable[[np.ndarray], np.ndarray]
    table: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        t = np.arange(-self._margin * _FINE, self._margin * _FINE + 1) / _FINE
        value = np.asarray(self.shape(t), float)
        object.__setattr__(self, "table", torch.from_numpy(np.stack([value, np.gradient(value, 1 / _FINE)], 1)).float())

    @property
    def _margin(self) -> int:
        return int(np.ceil(self.reach + 2))

    def at(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """The pulse and its slope, float32, at tau, float64, within two samples of its reach."""
        where = (tau + self._margin) * _FINE
        near = torch.round(where).clamp(0, len(self.table) - 1)
        value, slope = torch.nn.functional.embedding(near.long(), self.table).unbind(-1)
        return value + ((where - near) / _FINE).float() * slope, slope

    def spectrum(self, samples: int, offset: Tensor) -> Tensor:
        """P at frequencies k/samples less the offset [b], cycles per sample: float64 [b, samples]."""
        half = int(np.ceil(self.reach))
        n = torch.arange(-half, half + 1)
        wave = self.at(n.double())[0].double() * _turned(offset[:, None] * n)
        out = torch.zeros(len(offset), samples, dtype=wave.dtype)
        out.index_add_(1, n % samples, wave)
        return torch.fft.fft(out).real


@dataclass
class Found:
    """Of each window, float64 [batch]: timing, the centre of a symbol called 0, samples; phase, rad at sample 0, up to π;
    carrier_offset, cycles per sample."""

    timing: Tensor
    phase: Tensor
    carrier_offset: Tensor

    def select(self, rows: Tensor) -> Found:
        """Of some windows."""
        return Found(self.timing[rows], self.phase[rows], self.carrier_offset[rows])


@dataclass
class Asked:
    """What is known: timing, phase, carrier_offset, each [batch] or None. low: where symbol 0 is centred at the earliest, [low,
    low + T). turns: the phase is known up to one turn over this, 2 or 4."""

    timing: Tensor | None
    phase: Tensor | None
    carrier_offset: Tensor | None
    low: float = 0.0
    turns: int = 2

    @classmethod
    def of(cls, batch: int, timing: Number | None, phase: Number | None, carrier_offset: Number | None, low: float = 0.0,
           turns: int = 2) -> Asked:
        """From numbers or tensors."""
        def each(value: Number | None) -> Tensor | None:
            return None if value is None else torch.as_tensor(value, dtype=torch.float64).cpu().reshape(-1).expand(batch)

        return cls(each(timing), each(phase), each(carrier_offset), low, turns)

    def select(self, rows: slice | Tensor) -> Asked:
        """Of some windows."""
        def those(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[rows]

        return Asked(those(self.timing), those(self.phase), those(self.carrier_offset), self.low, self.turns)


def synchronize(x: Tensor, noise: Noise | Number, train: Train, asked: Asked) -> Found:
    """Timing, phase and carrier offset, those that are known unchanged, of a train of unit power in x, complex64 [batch,
    samples], under noise of any density."""
    samples = x.shape[1]
    length = _good_length(2 * samples)
    density = (Noise.of(noise).density(length).cpu() + _FLOOR).expand(len(x), -1)
    x = x.detach().cpu().to(torch.complex128)
    parts = [_some(x[rows], density[rows], train, asked.select(rows))
             for rows in (slice(k, k + _AT_ONCE) for k in range(0, len(x), _AT_ONCE))]
    return Found(*(torch.cat([getattr(part, name) for part in parts]) for name in ("timing", "phase", "carrier_offset")))


def _good_length(least: int) -> int:
    """The next even number of small factors."""
    return 2 * min(2 ** a * 3 ** b * 5 ** c for a in range(25) for b in range(4) for c in range(3)
                   if 2 ** (a + 1) * 3 ** b * 5 ** c >= least)


def _some(x: Tensor, density: Tensor, train: Train, asked: Asked) -> Found:
    taper = torch.ones(x.shape[1], dtype=torch.float64)
    edge = min(_TAPER, x.shape[1] // 8)
    taper[:edge] = torch.sin(torch.pi / 2 * (torch.arange(edge) + 0.5) / edge).square()
    taper[-edge:] = taper[:edge].flip(0)
    found, kept = _acquired(x * taper, density, train, asked)
    count = len(found.timing) // len(x)
    every = torch.arange(len(x)).repeat_interleave(count)
    if count > 1:
        found, fit = _Refinement(x[every], taper, density[every], train, asked.select(every)).refined(found)
        best = torch.where(kept, fit, -torch.inf).unflatten(0, (-1, count)).argmax(1)
        found = found.select(best + torch.arange(len(x)) * count)
    found = _Refinement(x, taper, density, train, asked).refined(found)[0]
    return _numbered(found, train.period, asked)


def _numbered(found: Found, period: float, asked: Asked) -> Found:
    """Symbol 0 centred in [low, low + T), a quarter turn for each symbol; the phase in [0, π). What is known is left alone."""
    if asked.timing is not None:
        return Found(found.timing, found.phase if asked.phase is not None else found.phase % torch.pi, found.carrier_offset)
    if asked.phase is not None:         # which symbol is 0 follows from it
        inside = found.timing.clamp(asked.low + 1e-6 * period, asked.low + (1 - 1e-6) * period)
        return Found(inside, found.phase, found.carrier_offset)
    later = torch.floor((found.timing - asked.low) / period)
    return Found(found.timing - later * period, (found.phase - torch.pi / 2 * later) % torch.pi, found.carrier_offset)


def reach(period: float) -> float:
    """Cycles per sample to each side, within which an unknown carrier offset is looked for; period: samples per symbol."""
    return max(REACH, _TURN / period)


# ---- lines of the square ---------------------------------------------------------------------------------------------------

def _acquired(x: Tensor, density: Tensor, train: Train, asked: Asked) -> tuple[Found, Tensor]:
    """(candidates of each window, all in a row [batch·candidates], and which of them are any) from the lines of z²; x tapered."""
    batch, length = len(x), density.shape[1]
    if asked.carrier_offset is not None:
        bins = torch.round(asked.carrier_offset * length).long()
        strength, timing, phase = _lines(x, density, train, asked, bins, asked.carrier_offset[:, None])
        return Found(timing[:, 0], phase[:, 0], asked.carrier_offset), torch.ones(batch, dtype=torch.bool)
    bins, likely, half = _coarse(x, density, train)
    fine = torch.arange(-2 * half, 2 * half + 1, dtype=torch.float64) / (2 * length)
    parts = []
    for own, fit in zip(bins.T, likely.T):
        offset = own[:, None].double() / length + fine
        strength, timing, phase = _lines(x, density, train, asked, own, offset)
        parts.append((offset, strength + fit[:, None], timing, phase))
    offset, strength, timing, phase = (torch.cat(part, 1) for part in zip(*parts))
    chosen = []
    for _ in range(_CANDIDATES):
        best = strength.argmax(1, keepdim=True)
        chosen.append((best, strength.gather(1, best)))
        near = (offset - offset.gather(1, best)).abs() < 1 / (2 * x.shape[1])
        strength = strength.masked_fill(near, -torch.inf)
    at, height = (torch.cat(part, 1) for part in zip(*chosen))
    return Found(*(v.gather(1, at).flatten() for v in (timing, phase, offset))), (height > -torch.inf).flatten()


def _coarse(x: Tensor, density: Tensor, train: Train) -> tuple[Tensor, Tensor, int]:
    """(carriers, bins [batch, n]; log-likelihood of the window's periodogram with each, less what lines add on average; half the
    bins from one to the next). x tapered. Whittle's likelihood: -Σ log D' + I/D' of D' = D + |P|²/T."""
    samples, length, period = x.shape[1], density.shape[1], train.period
    count = max(1, int(np.ceil(2 * reach(period) * period / _SPACING)))
    half = int(np.ceil(reach(period) * length / count))
    middle = half * (2 * torch.arange(count) - count + 1)
    own = train.spectrum(length, torch.zeros(1, dtype=torch.float64))[0].square() / period
    power = torch.fft.fft(x, length).abs().square() / samples
    share, lines = samples / length, [round(side * length / (2 * period)) for side in (1, -1)]
    fits = []
    for bins in middle.tolist():
        shifted = own.roll(bins)
        total = density + shifted + _DENSITY_FLOOR * own.max()
        match = own / (density.roll(-bins, 1) + own)
        mean = sum((match * match.flip(1).roll(1 + line, 1)).sum(1) for line in lines)
        fits.append(-share * ((total.log() + power / total).sum(1) + mean / 2))
    likely = torch.stack(fits, 1)
    best = likely.topk(min(_COARSE, count), 1)
    return middle[best.indices], best.values, half


def _lines(x: Tensor, density: Tensor, train: Train, asked: Asked, bins: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(strength, timing, phase), each [batch, offsets], of carrier offsets [batch, offsets]; the filter's is bins/length, bins
    int64 [batch]. Strength: what the lines add to the log-likelihood, but for their mean."""
    samples, length, period = x.shape[1], density.shape[1], train.period
    turn = -2 * torch.pi * bins.double()[:, None] / length * torch.arange(samples)
    spectrum = torch.fft.fft(x * torch.polar(torch.ones_like(turn), turn), length)
    moved = density.gather(1, (torch.arange(length) + bins[:, None]) % length)
    pulse = train.spectrum(length, torch.zeros(1, dtype=torch.float64))
    matched = spectrum * pulse / (moved + pulse.square() / period)
    half = length // 2
    wide = torch.cat([matched[:, :half], torch.zeros_like(matched), matched[:, half:]], 1)      # twice the rate: z² needs it
    square = (2 * torch.fft.ifft(wide))[:, :2 * samples].square()
    time = torch.arange(2 * samples) / 2
    lines = []
    for side in (1, -1):
        shift = -side * torch.pi / period * time
        line = torch.fft.fft(square * torch.polar(torch.ones_like(shift), shift), 2 * length) / 2
        place = torch.round(2 * (offset - bins[:, None] / length) * length).long() % (2 * length)
        lines.append(line.gather(1, place))
    strength, timing, phase = _fitted(lines[0], lines[1], period, asked)
    return strength / period, timing, phase


def _fitted(upper: Tensor, lower: Tensor, period: float, asked: Asked) -> tuple[Tensor, Tensor, Tensor]:
    """(strength, timing, phase) of lines A+ and A-, [batch, offsets]: strength is their sum, with the best of what
    is not known."""
    if asked.timing is None and asked.phase is None:
        timing = -torch.angle(upper * lower.conj()) * period / (2 * torch.pi)
        phase = torch.angle(upper) / 2 + torch.pi * timing / (2 * period)
        return upper.abs() + lower.abs(), timing, phase
    if asked.timing is not None:
        timing = asked.timing[:, None].expand(upper.shape)
        both = upper * _turned(timing / period / 2) + lower * _turned(-timing / period / 2)
        if asked.phase is None:
            return both.abs(), timing, torch.angle(both) / 2
        phase = asked.phase[:, None].expand(upper.shape)
        strength = (both * _turned(-phase / torch.pi)).real
        return strength, timing, phase
    phase = torch.as_tensor(asked.phase)[:, None, None].expand(*upper.shape, 1)
    timing = asked.low + period * (torch.arange(_POINTS) + 0.5) / _POINTS
    both = upper[..., None] * _turned(timing / period / 2) + lower[..., None] * _turned(-timing / period / 2)
    fit = (both * _turned(-phase / torch.pi)).real
    odd = (fit < 0) if asked.turns == 4 else torch.zeros_like(fit, dtype=torch.bool)
    strength, best = torch.where(odd, -fit, fit).max(-1, keepdim=True)
    phase = phase + torch.pi / 2 * odd.gather(-1, best)
    return strength[..., 0], timing[best[..., 0]], phase[..., 0]


def _turned(turns: Tensor) -> Tensor:
    """exp(j·2π·turns)."""
    angle = 2 * torch.pi * turns
    return torch.polar(torch.ones_like(angle), angle)


# ---- Gauss-Newton ----------------------------------------------------------------------------------------------------------

class _Refinement:
    """Steps of timing, phase and carrier offset of each candidate, on whitened samples; x complex128 [batch, samples]."""

    def __init__(self, x: Tensor, taper: Tensor, density: Tensor, train: Train, asked: Asked) -> None:
        self.train, self.taper, self.density = train, taper.float(), density.float()
        self.samples = x.shape[1]
        self.x = (x * taper).to(torch.complex64)
        self.white = self._whitened(self.x) * self.taper
        period = train.period
        self.free = [k for k, v in enumerate((asked.timing, asked.phase, asked.carrier_offset)) if v is None]
        self.limits = torch.tensor([_LIMITS[0] * period, _LIMITS[1], _LIMITS[2] / self.samples], dtype=torch.float64)[self.free]
        self.middle = (self.samples - 1) / 2 if asked.phase is None else 0.0      # where phase and frequency move apart
        self.count = int(np.ceil((self.samples + 2 * train.reach) / period)) + 2
        self.width = int(np.ceil(2 * train.reach)) + 1
        self.n = torch.arange(self.samples)

    def _whitened(self, x: Tensor) -> Tensor:
        """D⁻¹x."""
        return torch.fft.ifft(torch.fft.fft(x, self.density.shape[1]) / self.density)[:, :self.samples]

    def refined(self, found: Found) -> tuple[Found, Tensor]:
        """(refined, how well each explains the samples [batch])."""
        self.gram = self._gram(found.carrier_offset)
        turned = found.phase + 2 * torch.pi * found.carrier_offset * self.middle
        value = torch.stack([found.timing, turned, found.carrier_offset], 1)
        for _ in range(_STEPS if self.free else 0):
            value[:, self.free] += self._step(value)
        timing, phase, offset = value.T
        return Found(timing, phase - 2 * torch.pi * offset * self.middle, offset), self._fit(value)

    def _columns(self, value: Tensor) -> tuple[Tensor, ...]:
        """(exp(j(φ + 2πfn)) [batch, samples], j^k [batch, count], pulses and slopes [batch, count, width] inside the window,
        their samples)."""
        timing, phase, offset = (v[:, None] for v in value.T)
        period, train = self.train.period, self.train
        number = torch.ceil((-train.reach - timing) / period) + torch.arange(self.count)
        centre = timing + number * period
        start = torch.ceil(centre - train.reach - 1e-9)
        step = torch.arange(self.width)
        some = slice(1) if period == int(period) else slice(None)       # a whole period: all symbols lie alike between samples
        pulse, slope = train.at((start - centre)[:, some, None] + step)
        where = start.long()[..., None] + step
        inside = (where >= 0) & (where < self.samples)
        angle = phase + 2 * torch.pi * offset * (self.n - self.middle)
        carried, turns = (v.to(torch.complex64) for v in (torch.polar(torch.ones_like(angle), angle), _turned(number % 4 / 4)))
        return carried, turns, pulse * inside, slope * inside, where.clamp(0, self.samples - 1)

    def _gram(self, offset: Tensor) -> Tensor:
        """The transform of G, float64 [batch, count + 2·_LAGS], at carrier offsets [batch], which hardly move it."""
        length, lags = self.density.shape[1], torch.arange(_LAGS)
        power = self.train.spectrum(length, offset).square() / self.density.double() / length
        table = _turned(torch.fft.fftfreq(length, dtype=torch.float64)[:, None] * (lags * self.train.period))
        response = (power.to(table.dtype) @ table) * _turned(-offset[:, None] * lags * self.train.period - lags % 4 / 4)
        total = self.count + 2 * _LAGS
        gram = torch.zeros(len(offset), total, dtype=torch.float64)
        gram[:, :_LAGS] = response.real
        gram[:, total - _LAGS + 1:] = response.real[:, 1:].flip(1)
        return torch.fft.fft(gram).real.clamp_min(0).float()

    def _soft(self, value: Tensor, columns: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(E[r], y), both [batch, count]."""
        carried, turns, pulse, _, where = columns
        base = self.white * carried.conj()
        seen = base.gather(1, where.flatten(1)).view(where.shape)
        y = ((seen * pulse).sum(-1) * turns.conj()).real
        gram, total = self.gram, self.gram.shape[1]
        gain = 2 * gram / (2 * gram + 1)
        linear = torch.fft.ifft(torch.fft.fft(2 * y, total) / (2 * gram + 1)).real[:, :self.count]
        mean = gain.mean(1, keepdim=True).clamp(1e-6, 1 - 1e-6)
        return torch.tanh(linear / (1 - mean)), y

    def _wave(self, r: Tensor, pulse: Tensor, columns: tuple[Tensor, ...]) -> Tensor:
        """Σ_k r_k·j^k·pulse, times the carrier and the taper."""
        carried, turns, _, _, where = columns
        values = ((r * turns)[..., None] * pulse).flatten(1)
        out = torch.zeros(len(r), self.samples, dtype=values.dtype)
        return out.scatter_add_(1, where.flatten(1), values) * carried * self.taper

    def _step(self, value: Tensor) -> Tensor:
        columns = self._columns(value)
        soft = self._soft(value, columns)[0]
        wave = self._wave(soft, columns[2], columns)
        slopes = (lambda: -self._wave(soft, columns[3], columns), lambda: 1j * wave,
                  lambda: 2j * torch.pi * (self.n - self.middle) * wave)
        slope = torch.stack([slopes[k]() for k in self.free], 1)
        white = torch.stack([self._whitened(slope[:, k]) for k in range(len(self.free))], 1)
        own = self._whitened(wave).conj()
        level = (own * self.x).sum(1).real / (own * wave).sum(1).real.clamp_min(1e-9)
        rest = self.x - level[:, None] * wave
        gram = (slope.conj() @ white.mT).real
        right = (white.conj() * rest[:, None]).sum(-1).real
        return damped_step(gram.double(), right.double(), self.limits)[0]

    def _fit(self, value: Tensor) -> Tensor:
        """What soft decisions explain: 2·yᵀr - rᵀGr, the reduction of the residual."""
        soft, y = self._soft(value, self._columns(value))
        spread = torch.fft.ifft(torch.fft.fft(soft, self.gram.shape[1]) * self.gram).real[:, :self.count]
        return 2 * (y * soft).sum(1) - (soft * spread).sum(1)
