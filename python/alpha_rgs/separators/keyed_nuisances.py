# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, carrier offset and phase of a continuous-phase source beside a linear one, by the likelihood of both.

Under interference that nobody has decided, a carrier that is wrong by some cycles over the window fits nearly as well as the
right one: detection bends symbols until the phase follows. Once both sources are searched together, hundreds of nats lie
between. So guesses (timing, carrier, symbols) are followed from a short stretch in the middle of the window, over which they turn
by little, to the whole: symbols by the collapsed search (keyed_search.py), jumps of the phase by a root of one, then Newton steps
of phase, carrier and timing on log p(y | symbols). The likeliest go on to a stretch of twice the length.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inference.linear_model import LinearModel
from ..sources.cpm_synchronizer import Guesses
from .joint_keyed import shared
from .keyed_search import Columns, Search, columns

# Symbols of a stretch in the middle of the window (0: all); temperatures of the search there; how many guesses go on. Over 40
# symbols of 8 samples a carrier that is wrong by half a step of the grid, 4e-4, turns by an eighth.
_STAGES = ((40, (2.5, 2.0, 1.6, 1.3, 1.0), 6), (40, (2.0, 1.6, 1.3, 1.0), 3), (80, (1.6, 1.3, 1.0), 2), (160, (1.6, 1.3, 1.0), 1),
           (0, (1.6, 1.3, 1.0), 1))
# Where the first stretch lies, as a share of what it leaves of the window: symbols that are found wrong there bend the carrier
# for good.
PLACES = (0.5, 0.2, 0.8)
_FITS = 1.1             # of the noise: where no more is left, no other place is tried
_SAME = (2e-4, 0.06)    # cycles per sample, symbols: guesses that are one
_STEPS = (0.15, 0.12, 0.03)     # phase, rad; carrier, cycles over the stretch; timing, symbols: where energies are taken
_NEWTON = 3             # steps of each on the same symbols
_FAR = 2.0              # times these steps: the longest move
_COST = 6.0             # nats of a jump: symbols beside it do not fit
_SPREAD = 4             # symbols over which a jump may be spread


def followed(source: Any, y: Tensor, model: LinearModel, gains: Sequence[Tensor], noise: Tensor,
             guesses: Guesses, places: Sequence[float] = (0.5,)) -> dict[str, Tensor]:
    """What the source lacks, name -> [1], as the likeliest of the guesses [c] leads to it, in one window y, complex64 [1,
    samples], beside a linear source of that model. gains: of both, [1] each; noise: [1]."""
    signal, tried = source.signal, []
    for place in places:
        tried.append(_led(source, y, model, gains, noise, guesses, place))
        if tried[-1][1] < _FITS:
            break
    guesses = min(tried, key=lambda own: own[0])[2]
    number = guesses.first[:, None] + torch.arange(guesses.symbols.shape[1])
    here = replace(source, timing=guesses.timing) if source.timing is None else source
    over = (guesses.symbols * (number < here.first()[:, None])).sum(1)          # symbols before the source's first
    phase = guesses.phase + math.pi * signal.half_turns * over
    values = {"timing": guesses.timing, "phase": phase, "carrier_offset": guesses.carrier}
    return {name: values[name] for name in source.unknown}


def _led(source: Any, y: Tensor, model: LinearModel, gains: Sequence[Tensor], noise: Tensor, guesses: Guesses,
         place: float) -> tuple[float, float, Guesses]:
    """(-log p of the window, what both sources leave in units of the noise, the one guess that is left) where the first stretch
    lies at that share of the rest of the window."""
    signal, samples = source.signal, y.shape[1]
    generator = torch.Generator().manual_seed(0)
    free, least = (True, source.carrier_offset is None, source.timing is None), (0.0, 0.0)
    for symbols, temperatures, going in _STAGES:
        length = min(math.ceil(symbols * signal.samples_per_symbol) or samples, samples)
        low = int((samples - length) * place)
        stretch = _Stretch(source, y[:, low:low + length], _within(model, low, length), gains, noise, guesses, low)
        energy = stretch.settle(temperatures, free, generator)
        best = _different(stretch.back(guesses), energy, signal.samples_per_symbol)[:going]
        guesses, least = stretch.back(guesses).select(best), (float(energy[best[0]]), stretch.left_over(int(best[0])))
    return *least, guesses


def _different(guesses: Guesses, energy: Tensor, samples_per_symbol: float) -> Tensor:
    """Numbers of the guesses, the likeliest first, without those that have become one with a likelier one."""
    kept: list[int] = []
    for k in energy.argsort().tolist():
        apart = (guesses.timing[kept] - guesses.timing[k]) / samples_per_symbol
        near = (apart - torch.round(apart)).abs() < _SAME[1]
        if not bool((near & ((guesses.carrier[kept] - guesses.carrier[k]).abs() < _SAME[0])).any()):
            kept.append(k)
    return torch.tensor(kept)


def _within(model: LinearModel, low: int, length: int) -> LinearModel:
    """The model in a stretch of its window: columns that reach into it."""
    start = model.start - low
    reach = ((start > -model.width) & (start < length))[0]
    if model.frame is not None:             # whole frames
        same = start[0] == start[0, 0]
        reach = reach.view(-1, int(same.sum())).any(1).repeat_interleave(int(same.sum()))
    frame = None if model.frame is None else (model.frame[0], model.frame[1] - low)
    return replace(model, start=start[:, reach], columns=model.columns[:, reach], exists=model.exists[:, reach], frame=frame)


class _Stretch:
    """A stretch of a window, from sample `low` of that, with all guesses as rows."""

    def __init__(self, source: Any, y: Tensor, model: LinearModel, gains: Sequence[Tensor], noise: Tensor, guesses: Guesses,
                 low: int) -> None:
        signal = source.signal
        self.signal, self.low, self.count = signal, low, len(guesses.timing)
        found = columns(model, gains[1], noise, y.shape[1])
        assert found is not None
        self.linear = self._repeated(found)
        near = found if model.frame is None else found.coupled(shared(found, source, 1))[0]
        self.near = self._repeated(near)
        self.y, self.gain, self.noise = (v.expand(self.count, *v.shape[1:]) for v in (y, gains[0], noise))
        sps = signal.samples_per_symbol
        begin = guesses.timing + guesses.first * sps - low
        size = min(guesses.symbols.shape[1], math.ceil(y.shape[1] / sps) + 2 * signal.length + 1)
        self.skip = (torch.floor(-begin / sps).long() - signal.length).clamp(0, guesses.symbols.shape[1] - size)
        self.place = self.skip[:, None] + torch.arange(size)
        self.symbols = guesses.symbols.gather(1, self.place)
        before = guesses.symbols.cumsum(1).gather(1, self.place[:, :1])[:, 0] - self.symbols[:, 0]
        self.first, self.timing, self.carrier = guesses.first + self.skip, guesses.timing - low, guesses.carrier
        self.before = math.pi * signal.half_turns * before
        self.middle = y.shape[1] / 2
        self.phase = guesses.phase + self.before + 2 * math.pi * self.carrier * (low + self.middle)     # in the middle
        self.n = torch.arange(y.shape[1], dtype=torch.float64)

    def _repeated(self, one: Columns) -> Columns:
        """The Columns of a window for every guess."""
        each = (one.columns, one.match, one.weight, one.start)
        waves, match, weight, start = (v.expand(self.count, *v.shape[1:]) for v in each)
        return Columns(waves, match, weight, start, one.samples, one.points)

    def back(self, guesses: Guesses) -> Guesses:
        """The guesses with what was found of them here."""
        phase = self.phase - self.before - 2 * math.pi * self.carrier * (self.low + self.middle)
        symbols = guesses.symbols.scatter(1, self.place, self.symbols)
        return Guesses(self.timing + self.low, self.carrier, phase, guesses.first, symbols)

    def _carrier(self, phase: Tensor, carrier: Tensor) -> Tensor:
        """Angle of phase and carrier offset, [c, samples]."""
        return phase[:, None] + 2 * math.pi * carrier[:, None] * (self.n - self.middle)

    def _left(self, nuisances: Sequence[Tensor], symbols: Tensor) -> Tensor:
        """What the source leaves, complex64 [c, samples]."""
        phase, carrier, timing = nuisances
        begin = timing + self.first * self.signal.samples_per_symbol
        angle = math.pi * self.signal.half_turns * self.signal.turned(symbols, len(self.n), begin) + self._carrier(phase, carrier)
        return self.y - torch.polar(self.gain[:, None].expand(angle.shape).contiguous(), angle).to(torch.complex64)

    def _energy(self, nuisances: Sequence[Tensor], symbols: Tensor) -> Tensor:
        """-log p of the stretch, [c]; nuisances: phase, carrier, timing."""
        return self.linear.energy(self._left(nuisances, symbols), self.noise)

    def left_over(self, row: int) -> float:
        """Power that both sources leave, in units of the noise, with one of the guesses."""
        left = self._left((self.phase, self.carrier, self.timing), self.symbols)
        soft = self.linear.means(self.linear.seen(left)[1], self.linear.weight / self.noise[:, None].float())[0]
        return float((left - self.linear.waveform(soft))[row].abs().square().mean() / self.noise[row])

    def _search(self) -> Search:
        angle = self._carrier(self.phase, self.carrier)
        return Search(self.signal, self.y, self.near, self.gain, self.noise, self.timing, self.first,
                      torch.polar(torch.ones_like(angle), angle), self.symbols)

    def settle(self, temperatures: Sequence[float], free: Sequence[bool], generator: torch.Generator) -> Tensor:
        """-log p of the stretch, [c], once symbols and nuisances fit each other. free: which of phase, carrier, timing move."""
        self._jump()
        search = self._search()
        least = torch.zeros(search.centre.shape)
        for number, temperature in enumerate(temperatures):
            search.sweep(temperature, least, number < 2, generator, self.count)
        self.symbols = search.symbols
        self._jump()
        return self._step(free)

    def _step(self, free: Sequence[bool]) -> Tensor:
        """Newton steps of phase, carrier offset and timing, those that are free, each by a parabola; the energies then."""
        reach = (_STEPS[0], _STEPS[1] / len(self.n), _STEPS[2] * self.signal.samples_per_symbol)
        values: list[Tensor] = [self.phase, self.carrier, self.timing]
        here = self._energy(values, self.symbols)
        for _ in range(_NEWTON):
            for k, step in enumerate(reach):
                if not free[k]:
                    continue
                sides = [self._energy([v + way * step if j == k else v for j, v in enumerate(values)], self.symbols)
                         for way in (-1, 1)]
                bend = sides[0] + sides[1] - 2 * here
                slope = sides[0] - sides[1]
                move = torch.where(bend > 0, 0.5 * slope / bend.clamp_min(1e-9), torch.sgn(slope) * _FAR)
                trial = [v + step * move.clamp(-_FAR, _FAR) if j == k else v for j, v in enumerate(values)]
                now = self._energy(trial, self.symbols)
                better = now < here
                values[k], here = torch.where(better, trial[k], values[k]), torch.where(better, now, here)
        self.phase, self.carrier, self.timing = values
        return here

    def _jump(self) -> None:
        """Turn the phase by roots of one behind some symbols, where that fits better: the likeliest sequence of roots, each of
        which costs _COST where it changes, by the energies of all of them."""
        order = self.signal.index.denominator
        each = torch.stack([self._local(2 * math.pi * k * self.signal.index.numerator / order) for k in range(order)], 2)
        path = _cheapest(each, _COST)                                       # [c, symbols]: turns of each, in roots
        turns = torch.nn.functional.pad(path, (1, 0)).diff(dim=1)
        turns[:, 0] = 0
        trial = _changed(self.symbols, turns, order, self.signal.levels - 1)
        phase = self.phase + 2 * math.pi * self.signal.index.numerator * path[:, 0] / order
        now = self._energy((phase, self.carrier, self.timing), trial)
        better = now < self._energy((self.phase, self.carrier, self.timing), self.symbols)
        self.symbols = torch.where(better[:, None], trial, self.symbols)
        self.phase = torch.where(better, phase, self.phase)

    def _local(self, turn: float) -> Tensor:
        """Share of each symbol's duration in -log p(y | symbols, all turned by `turn`, rad), float64 [c, symbols]."""
        left = self._left((self.phase + turn, self.carrier, self.timing), self.symbols)
        linear, noise = self.linear, self.noise[:, None]
        c, z = linear.seen(left)
        own = -(c.conj() * z).real.double() / noise - linear.fit(z, linear.weight / noise.float()).double()
        count, sps = self.symbols.shape[1], self.signal.samples_per_symbol
        begin = self.timing + self.first * sps
        energy = torch.zeros(self.count, len(self.n), dtype=torch.float64) + left.abs().square().double() / noise
        # an unknown counts in equal parts wherever its column is
        edge = torch.zeros(self.count, len(self.n) + 1, dtype=torch.float64)
        head, tail = linear.start.clamp(0, len(self.n)), (linear.start + linear.width).clamp(0, len(self.n))
        share = own / (tail - head).clamp_min(1)
        edge.scatter_add_(1, head, share).scatter_add_(1, tail, -share)
        energy = energy + edge.cumsum(1)[:, :-1]
        number = torch.round((self.n - begin[:, None]) / sps).long().clamp(0, count - 1)
        return torch.zeros(self.count, count, dtype=torch.float64).scatter_add_(1, number, energy)


def _cheapest(each: Tensor, cost: float) -> Tensor:
    """The states, int64 [c, n], of the least sum of energies [c, n, states] and of `cost` for every change (Viterbi)."""
    states = each.shape[2]
    change = cost * (1 - torch.eye(states, dtype=each.dtype))
    total, back = each[:, 0], []
    for k in range(1, each.shape[1]):
        best, way = (total[:, :, None] + change).min(1)
        back.append(way)
        total = best + each[:, k]
    state = total.argmin(1)
    path = [state]
    for way in reversed(back):
        state = way.gather(1, state[:, None])[:, 0]
        path.append(state)
    return torch.stack(path[::-1], 1)


def _changed(symbols: Tensor, turns: Tensor, order: int, most: int) -> Tensor:
    """The symbols changed such that the phase turns by so many roots behind each, int64 [c, n], at it or soon after it."""
    out = symbols.clone()
    for row, k in torch.nonzero(turns).tolist():
        left = int(turns[row, k]) % order
        left = left - order if 2 * left > order else left
        for place in range(k, min(k + _SPREAD, out.shape[1])):
            room = (most - float(out[row, place])) / 2 if left > 0 else (-most - float(out[row, place])) / 2
            move = min(left, room) if left > 0 else max(left, room)
            out[row, place] += 2 * move
            left -= int(move)
            if not left:
                break
    return out
