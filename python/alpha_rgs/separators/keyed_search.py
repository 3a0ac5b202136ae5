# SPDX-License-Identifier: GPL-3.0-or-later
"""Search of the symbols of a continuous-phase source beside a linear source whose unknowns are nearly orthogonal.

Given the waveform s of the continuous-phase source, the unknowns u of the linear one (symbols of an orthogonal pulse, carriers of
OFDM) are independent, so that they are summed over exactly: with r = y - s, c = Hᴴr and z = (HᴴH)⁻¹c,

    -log p(y | s) = (|r|² - cᴴz)/noise - Σ_k log Σ_a exp(-weight_k·|z_k - a|²/noise),   weight_k = 1/((HᴴH)⁻¹)_kk.

A move exchanges a few neighbouring symbols such that the phase behind them stays. What it changes is short, so the change of the
sum above takes the unknowns nearby alone. Moves are drawn with the probability exp(-change/temperature): first hot, which leaves
decisions that only fit each other, then at temperature 1, where means over the draws are posterior means (a collapsed Gibbs
sampler: Liu, J. Amer. Stat. Assoc. 89, 1994).

On the CPU, where Numba is installed, keyed_kernel.py draws the moves, position after position. The code here is the reference: it
draws moves of positions that are far apart at once.
"""
from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..inference.linear_model import LinearModel, dimensions
from .keyed_native import Native, native

_LONG = {2: 6, 4: 4}    # levels -> neighbouring symbols of a move: 64 and 256 words, of which a few keep the phase behind them
_COLD = 9.0             # nats at temperature 1 beyond which a move is not drawn again
_COUPLED = 0.003        # of the strongest: unknowns that the other source reaches less are taken for decided
_ORTHOGONAL = 0.2       # of a column's energy: another column's share in it, at most


@dataclass
class Columns:
    """A linear source of known gain in windows [batch, samples]. columns: complex64 [batch, n, width], from sample `start`, int64
    [batch, n]; match: the rows of (HᴴH)⁻¹Hᴴ, so; weight: see above, [batch, n]; points: the alphabet."""

    columns: Tensor
    match: Tensor
    weight: Tensor
    start: Tensor
    samples: int
    points: Tensor

    def __post_init__(self) -> None:
        self.n = (self.start[..., None] + torch.arange(self.width)).clamp(0, self.samples - 1)
        real = self.points.real.abs()
        square = len(self.points) == 4 and bool(torch.allclose(torch.view_as_real(self.points).abs(), real[0], rtol=1e-4))
        self.amplitude = float(real[0]) if square else 0.0      # of ±1 ± j where the alphabet is this, else 0

    @property
    def width(self) -> int:
        """Samples of a column."""
        return self.columns.shape[2]

    def seen(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """(c, z), complex64 [batch, n], of what is left in windows r."""
        near = r.gather(1, self.n.flatten(1)).view(self.n.shape)
        return (self.columns.conj() * near).sum(2), (self.match * near).sum(2)

    def waveform(self, unknowns: Tensor) -> Tensor:
        """Of unknowns complex64 [batch, n]: [batch, samples]."""
        out = torch.zeros(len(unknowns), self.samples, dtype=unknowns.dtype)
        return out.scatter_add_(1, self.n.flatten(1), (self.columns * unknowns[..., None]).flatten(1))

    def near(self, window: Tensor, u: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """(Hᴴ, (HᴴH)⁻¹Hᴴ), complex64 [rows, n, samples], of unknowns u [rows, n] and samples `at` [rows, samples]."""
        place = at[:, None] - self.start[window[:, None], u][..., None]
        inside = (place >= 0) & (place < self.width)
        both = (window[:, None, None], u[..., None], place.clamp(0, self.width - 1))
        return self.columns[both].conj() * inside, self.match[both] * inside

    def fit(self, z: Tensor, weight: Tensor) -> Tensor:
        """log Σ_a exp(-weight·|z - a|²) up to a constant."""
        if self.amplitude:
            scaled = (2 * self.amplitude * weight)[..., None] * torch.view_as_real(z).abs()
            return (scaled + torch.log1p(torch.exp(-2 * scaled))).sum(-1) - weight * z.abs().square()
        return torch.logsumexp(-(z[..., None] - self.points).abs().square() * weight[..., None], -1)

    def energy(self, r: Tensor, noise: Tensor) -> Tensor:
        """-log p(r) of what is left [batch, samples], up to a constant, float64 [batch]."""
        c, z = self.seen(r)
        left = r.abs().square().sum(1).double() - (c.conj() * z).real.sum(1).double()
        return left / noise.double() - self.fit(z, self.weight / noise[:, None].float()).sum(1).double()

    def means(self, z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means of unknowns and of their squared moduli."""
        p = torch.softmax(-(z[..., None] - self.points).abs().square() * weight[..., None], -1)
        return p.to(self.points.dtype) @ self.points, p @ self.points.abs().square()

    def variance(self, mean: Tensor, square: Tensor) -> Tensor:
        """Of the waveform, mean over samples, float64 [batch], from means of the unknowns and of their squared moduli."""
        energy = self.columns.abs().square().sum(2)
        return ((square - mean.abs().square()).clamp_min(0) * energy).sum(1).double() / self.samples

    def coupled(self, share: Tensor) -> tuple[Columns, Tensor]:
        """(the unknowns that another source reaches, their numbers [batch, n]). share: of their energy, in units of its density's
        mean, [batch, n]."""
        group = int((self.start[0] == self.start[0, 0]).sum())
        per = share.unflatten(1, (-1, group)).median(1).values      # all whole frames have the same carriers
        count = int((per > _COUPLED * per.amax(1, keepdim=True)).sum(1).amax())
        kept = per.topk(count, 1).indices.sort(1).values
        every = (kept[:, None] + group * torch.arange(self.start.shape[1] // group)[:, None]).flatten(1)
        window = torch.arange(len(share))[:, None]
        return Columns(self.columns[window, every], self.match[window, every], self.weight[window, every],
                       self.start[window, every], self.samples, self.points), every


def columns(model: LinearModel, gain: Tensor, noise: Tensor, samples: int) -> Columns | None:
    """The Columns of a linear model; None where its unknowns are real, Gaussian or not nearly orthogonal. gain, noise:
    [batch]."""
    plain = model.in_one_alphabet()
    if plain is None or plain.alphabet.symmetry is None or dimensions(plain.alphabet) != 2 or plain.remainder is not None:
        return None
    model = plain
    batch, (count, width) = len(gain), model.columns.shape[1:]
    start, waves, exists = (v.expand(batch, *v.shape[1:]) for v in (model.start, model.columns, model.exists))
    n = start[..., None] + torch.arange(width)
    own = (gain[:, None, None] * waves * (exists[..., None] & (n >= 0) & (n < samples))).to(torch.complex64)
    points = model.alphabet.points.to(torch.complex64)
    if model.frame is None:
        weight = own.abs().square().sum(2).clamp_min(1e-6)
        found = Columns(own, own.conj() / weight[..., None], weight, start, samples, points)
        alone = torch.zeros(batch, count, dtype=torch.complex64)
        alone[:, count // 2] = 1
        near = found.seen(found.waveform(alone))[1].abs()
        return found if bool((near[:, [count // 2 - 1, count // 2 + 1]] < _ORTHOGONAL).all()) else None
    group = int((start[0] == start[0, 0]).sum())
    frames = own.unflatten(1, (-1, group)).to(torch.complex128)
    inverse = torch.linalg.inv(frames.conj() @ frames.mT + noise[:, None, None, None] * torch.eye(group))
    match = (inverse @ frames.conj()).flatten(1, 2).to(torch.complex64)
    weight = 1 / inverse.diagonal(dim1=2, dim2=3).real.flatten(1).float() - noise[:, None].float()
    return Columns(own, match, weight.clamp_min(1e-6), start, samples, points)


class Search:
    """Symbols of a continuous-phase source in windows y, complex64 [batch, samples], and what they leave to the linear one.

    gain, noise, timing: [batch]. first: numbers of the first symbol, int64 [batch]. carrier: complex [batch, samples], the
    waveform's factor of phase and carrier offset. symbols: float64 [batch, k], a first guess, changed in place.
    """

    def __init__(self, signal: Any, y: Tensor, linear: Columns, gain: Tensor, noise: Tensor, timing: Tensor, first: Tensor,
                 carrier: Tensor, symbols: Tensor) -> None:
        self.signal, self.y, self.linear, self.symbols = signal, y, linear, symbols
        self.noise, self.begin = noise.float(), timing + first * signal.samples_per_symbol
        self.factor = carrier * gain[:, None]
        self.scaled = linear.weight / self.noise[:, None]
        self.long = _LONG[signal.levels]
        words = itertools.product(range(signal.levels), repeat=self.long)
        self.words = 2 * torch.tensor(list(words), dtype=torch.float64) - (signal.levels - 1)
        self.most = len(self.words)         # moves at one position, at most
        self.native: Native | None = None   # laid out by the first sweep
        self._place()

    def _place(self) -> None:
        """Which samples and unknowns a move at each position touches."""
        sps, samples, linear = self.signal.samples_per_symbol, self.y.shape[1], self.linear
        reach = min(self.signal.length, self.signal.span + 1)
        width = math.ceil((self.long - 1 + reach) * sps) + 1
        self.centre = self.begin[:, None] + torch.arange(self.symbols.shape[1] - self.long + 1) * sps
        self.low = low = torch.ceil(self.centre - reach / 2 * sps).long()
        self.n = low[..., None] + torch.arange(width)
        self.inside = (self.n >= 0) & (self.n < samples)
        start = linear.start.contiguous()
        self.head = head = torch.searchsorted(start, low - linear.width, right=True)
        self.tail = tail = torch.searchsorted(start, low + width)
        self.u = head[..., None] + torch.arange(int((tail - head).amax()))
        self.there = self.u < tail[..., None]
        self.u, self.at = self.u.clamp(max=start.shape[1] - 1), self.n.clamp(0, samples - 1)
        later = self.n.double() - self.centre[..., None]
        later = later[:, :1] if sps == int(sps) else later          # else samples lie elsewhere in each symbol
        self.pulse = torch.stack([self.signal.full_pulse(later - j * sps) for j in range(self.long)], 2).float()
        # positions so far apart touch no unknown in common
        self.apart = math.ceil((width + 2 * linear.width) / sps)

    def waveform(self) -> Tensor:
        """complex64 [batch, samples], of the gain given."""
        turned = self.signal.turned(self.symbols, self.y.shape[1], self.begin)
        angle = math.pi * self.signal.half_turns * turned
        return (torch.polar(torch.ones_like(angle), angle) * self.factor).to(torch.complex64)

    def refresh(self) -> None:
        self.s = self.waveform()
        self.r = self.y - self.s
        self.c, self.z = self.linear.seen(self.r)
        self.own = self.linear.fit(self.z, self.scaled)

    def energy(self) -> Tensor:
        """-log p(y | symbols) up to a constant, float64 [batch]."""
        return self.linear.energy(self.y - self.waveform(), self.noise)

    def _moves(self, window: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """(differences of the symbols at positions k of windows that keep the phase behind them, [rows, m, long]; which of them
        are any)."""
        old = self.symbols[window[:, None], k[:, None] + torch.arange(self.long)]
        delta = self.words - old[:, None]
        turns = delta.sum(-1) / 2
        same = turns == 0 if self.signal.drift else turns % self.signal.index.denominator == 0
        same &= delta.abs().sum(-1) > 0
        order = same.int().argsort(dim=-1, descending=True, stable=True)[:, :max(1, int(same.sum(-1).amax()))]
        return delta.gather(1, order[..., None].expand(*order.shape, self.long)), same.gather(1, order)

    def _step(self, window: Tensor, k: Tensor, temperature: float, chance: Tensor) -> Tensor:
        """Draw moves at positions k of windows [rows], those of one window far apart; the least cost of each move, [rows].
        chance: Gumbel variates [rows, words + 1]."""
        delta, possible = self._moves(window, k)
        at, u, inside, there = (v[window, k] for v in (self.at, self.u, self.inside, self.there))
        row, noise = window[:, None], self.noise[window, None]
        pulse = self.pulse[window, k.clamp(max=self.pulse.shape[1] - 1)]
        angle = math.pi * self.signal.half_turns * (delta.float() @ pulse)
        s, r = self.s[row, at], self.r[row, at]
        change = (torch.polar(torch.ones_like(angle), angle) - 1) * (s * inside)[:, None]
        c_less, z_less = (change @ v.mT for v in self.linear.near(window, u, at))
        c, z, weight = self.c[row, u][:, None], self.z[row, u][:, None], self.scaled[row, u]
        fit = self.linear.fit(z - z_less, weight[:, None]) - self.own[row, u][:, None]
        power = ((c - c_less).conj() * (z - z_less)).real - (c.conj() * z).real
        rest = change.abs().square().sum(-1) - 2 * (change.conj() @ r[..., None])[..., 0].real
        cost = (rest - (power * there[:, None]).sum(-1)) / noise - (fit * there[:, None]).sum(-1)
        cost = torch.where(possible, cost, torch.inf)
        least = cost.amin(1)
        cost = torch.cat([torch.zeros_like(cost[:, :1]), cost], 1)
        best = (cost / temperature - chance[:, :cost.shape[1]]).argmin(1)
        some = torch.nonzero(best)[:, 0]
        pick, window, k, at, u, there, inside = best[some] - 1, *(v[some] for v in (window, k, at, u, there, inside))
        row = window[:, None]
        for old, less, where, real in ((self.c, c_less, u, there), (self.z, z_less, u, there), (self.s, -change, at, inside),
                                       (self.r, change, at, inside)):
            old.index_put_((row, where), -less[some, pick] * real, accumulate=True)
        place = k[:, None] + torch.arange(self.long)
        self.symbols.index_put_((row, place), delta[some, pick], accumulate=True)
        self.own[row, u] = self.linear.fit(self.z[row, u], self.scaled[row, u])
        return least

    def select(self, rows: Tensor) -> Search:
        """Searches of some windows, any of them more than once, each with symbols of its own."""
        out, linear = copy.copy(self), self.linear
        for name in ("y", "begin", "factor", "noise", "symbols", "scaled", "centre", "n", "inside", "u", "there", "at", "pulse",
                     "low", "head", "tail"):
            setattr(out, name, getattr(self, name)[rows])
        out.native = None
        out.linear = replace(linear, **{name: getattr(linear, name)[rows] for name in ("columns", "match", "weight", "start")})
        return out

    def sweep(self, temperature: float, least: Tensor, every: bool, generator: torch.Generator, chains: int = 1) -> None:
        """Draw moves at all positions once, or where `every` is False at those that are not certain. least: of each position's
        moves the least cost, in nats, [batch, positions], changed in place. chains: so many rows next to each other are drawn
        independently, and all windows alike."""
        self.refresh()
        count = self.centre.shape[1]
        likely = least < _COLD * max(temperature, 1.0)
        if every:
            likely[:] = True
        self.native = self.native or native(self)
        if self.native is not None:
            self.native.sweep(self, temperature, likely, least, torch.rand(chains, count, generator=generator))
            return
        uniform = torch.rand(chains, count, self.most + 1, generator=generator).clamp(1e-9, 1 - 1e-7)
        chance = -torch.log(-torch.log(uniform))
        for low in range(min(self.apart, count)):
            window, k = torch.nonzero(likely[:, low::self.apart], as_tuple=True)
            k = low + k * self.apart
            if len(k):
                least[window, k] = self._step(window, k, temperature, chance[window % chains, k])
