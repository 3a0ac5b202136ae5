# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds (rounds.py) of one window whose sources come in bursts: first while nothing of these is decided, then burst by burst."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..signals.constellations import Constellation
from ..sources.base import Demodulated, Noise, Source
from ..sources.burst import Burst, Undecided
from ..synchronization.powers import densities, regressed_gains
from .burst_search import LEAST, runs_of
from .joint_general import Part, joint_general
from .rounds import Rounds
from .synchronizing import located

_MOST, _FALLS = 6, 0.8  # rounds, and share of the noise before to which a further one brought it
BURSTS_ALONE = 2        # rounds in which the others stay as they are
_TURNS, _STEPS = 1, 16  # cycles over the window by which a carrier offset may be wrong, and steps of each
_LOOKS = 3              # refinements of the others before bursts are looked for in what they leave
_WIDER = 2              # times a source's memory: how far from a burst its edges may be
_BRIEF = 10             # passes of detection that looks for edges
_RAMP, _AMISS = 3, 3.0  # times a source's memory at each end that may be no modulation; times the usual power left there
_MATTERS = 0.25         # of a burst's power: less than that left at its ends is no ramp; a resampler leaves an eighth there


@dataclass
class Veiled(Rounds):
    """Rounds of one window whose bursts are Gaussian, of their density and about where they are: no symbol of theirs is decided,
    since nobody knows their timing and phase. owner: whose each source is."""

    owner: list[int]

    def _detected(self, noise: Tensor, last: bool) -> list[Part]:
        return joint_general(self.y, self.sync.sources, self.gains, noise, self.name == "joint")

    def _again(self, parts: Sequence[Part], first: bool) -> None:
        """See Rounds._again: nothing that is not known is asked for."""

    def _weight(self) -> Tensor | None:
        """See Rounds._weight: of the samples in the pauses, where nothing takes up what wrong nuisances leave."""
        weight = torch.ones(self.y.shape[1], dtype=torch.float64)
        for source in self.sources:
            if isinstance(source, Burst):
                weight[source.begin:source.end] = 0
        return weight if bool(weight.any()) else None

    def _unwrapped(self, k: int, read: Demodulated) -> None:
        """The carrier offset of a linear modulation by its symbols in the pauses, whatever turn of the alphabet lies between
        these: where the power of the symbols that undoes such turns has its line."""
        source, weight = cast(Any, self.sync.sources[k]), self._weight()
        at, order = read.at[0], source.signal.alphabet.symmetry
        there = ~at.isnan()
        if weight is None or not order:
            return
        there &= weight[at.nan_to_num().long().clamp(0, len(weight) - 1)] > 0
        z, n, samples = read.symbols[0, there].to(torch.complex128), at[there], self.y.shape[1]
        if not len(z):
            return
        offset = torch.arange(-_TURNS * _STEPS, _TURNS * _STEPS + 1, dtype=torch.float64) / (_STEPS * samples)
        angle = -2 * torch.pi * order * offset[:, None] * n
        points = source.signal.alphabet.points.to(z.dtype)
        line = ((z / z.abs().clamp_min(1e-9)) ** order * torch.polar(torch.ones_like(angle), angle)).sum(1)
        best = int(line.abs().argmax())
        phase = torch.angle(line[best] * (points ** order).mean().conj()) / order
        self.sync.sources[k] = replace(source, carrier_offset=source.carrier_offset + offset[best], phase=source.phase + phase)

    def looked(self) -> dict[int, Part]:
        """The Parts of all sources (their places), once steady ones were refined; variances while bursts are on."""
        parts = self._detected(self.noise, False)
        for k, names in self.sought.items():
            if "carrier_offset" in names and "phase" in names and parts[k].demodulated is not None:
                self._unwrapped(k, cast(Demodulated, parts[k].demodulated))
        for turn in range(_LOOKS):
            self._improve(parts, turn == 0)
            parts = self._detected(self.noise, False)
        share = sum(source.length for source in self.sources if isinstance(source, Burst)) / self.y.shape[1]
        own = {k: [part for part, of in zip(parts, self.owner) if of == k] for k in sorted(set(self.owner))}
        return {k: Part(torch.stack([part.waveform for part in some]).sum(0),
                        torch.stack([part.variance for part in some]).sum(0) / min(share, 1.0)) for k, some in own.items()}


def _widened(source: Source, samples: int) -> Source:
    """A burst with _WIDER more before and after, of windows so long; another source as it is."""
    if not isinstance(source, Burst):
        return source
    begin, end = max(0, source.begin - _WIDER * source.memory), min(samples, source.end + _WIDER * source.memory)
    return replace(source, within=source.within.at(begin - source.begin), begin=begin, end=end)


@dataclass
class BurstRounds(Rounds):
    """Rounds of one window, some of whose sources are bursts. owner: whose burst each source is; turn: rounds that are over;
    ramped: whether the ends of bursts were looked at."""

    owner: list[int]
    turn: int = 0
    ramped: bool = False

    def _goes_on(self, turn: int, before: Tensor) -> bool:
        """See Rounds._goes_on: while noise falls too, and once more where bursts begin or end otherwise than modelled."""
        if super()._goes_on(turn, before) or (turn < _MOST and bool((self.noise < _FALLS * before).any())):
            return True
        ready, self.ramped = turn > 0 and not self.ramped, True
        return ready and self.ramps()

    def ramps(self) -> bool:
        """Whether bursts leave much at their ends; these then are undecided bursts of their own."""
        power = self.left[0].abs().square().double()
        usual = float(power.median()) / math.log(2)         # of an exponential distribution
        count = len(self.sources)
        for j in range(count):
            burst: Any = self.sources[j]
            if not isinstance(burst, Burst) or isinstance(burst, Undecided):
                continue
            step, begin, end = burst.memory, burst.begin, burst.end
            least = max(_AMISS * usual, _MATTERS * float(self.gains[j]) ** 2)
            for _ in range(_RAMP):
                begin += step * (float(power[begin:begin + step].mean()) > least)
                end -= step * (float(power[end - step:end].mean()) > least)
            if end - begin < LEAST * step:
                continue
            for low, high in ((burst.begin, begin), (end, burst.end)):
                if high > low:
                    self._add(Undecided(cast(Burst, self.sync.sources[j]).within.at(low - burst.begin), low, high,
                                        self.gains[j]), self.owner[j])
            self._cut(j, begin, end)
        return len(self.sources) > count

    def _add(self, source: Source, owner: int) -> None:
        """One more source, whose gain is known; what is done of two alone no longer applies."""
        self.keyed = self.core = None
        gain: Any = source.state.gain
        self.sources, self.sync.sources = [*self.sources, source], [*self.sync.sources, source]
        self.gains, self.given = [*self.gains, gain], [*self.given, gain]
        self.sync.found, self.owner = [*self.sync.found, {}], [*self.owner, owner]

    def _cut(self, j: int, begin: int, end: int) -> None:
        """Another begin and end of a burst."""
        given, found = cast(Burst, self.sources[j]), cast(Burst, self.sync.sources[j])
        moved = [replace(burst, within=burst.within.at(begin - given.begin), begin=begin, end=end) for burst in (given, found)]
        self.sources, self.sync.sources[j] = [*self.sources[:j], moved[0], *self.sources[j + 1:]], moved[1]

    def _improve(self, parts: list[Part], first: bool) -> None:
        """See Rounds._improve: at first of bursts alone, since steady sources were refined while nothing of those was decided."""
        self.turn += 1
        self.left = self.y - sum(part.waveform for part in parts)
        if self.turn > BURSTS_ALONE:
            super()._improve(parts, first)
            return
        known = None if self.noise_var is None else self.noise
        free = [j for j in self.unknown if isinstance(self.sources[j], Burst)]
        self.gains, self.noise = regressed_gains(self.y, [p.waveform for p in parts], self.gains, free, known)
        self._again(parts, first)

    def _again(self, parts: Sequence[Part], first: bool) -> None:
        """See Rounds._again: bursts each time, and from the second time on when they are on."""
        places = [j for j, source in enumerate(self.sources) if isinstance(source, Burst) and not isinstance(source, Undecided)]
        total = sum(part.waveform for part in parts)
        others = [(self.sync.sources[j], parts[j].variance) for j in range(len(parts)) if j not in places]
        self.find({j: self.y - (total - parts[j].waveform) for j in places}, others)
        if not first and not self.ramped:
            self._bounded(places)

    def _bounded(self, places: Sequence[int]) -> None:
        """Bursts as what the others leave of them shows when they are on, while each symbol of theirs, and of more before and
        after, may be none."""
        wider = [_widened(source, self.y.shape[1]) for source in self.sync.sources]
        models: list[Any] = [source.linear_model(self.y.shape) for source in wider]
        for j in places:
            models[j] = models[j] and models[j].in_one_alphabet()
            if models[j] is None:
                return
            points, symmetry = ([-1, 1], 2) if models[j].dimensions == 1 else (models[j].alphabet.points.tolist(), 1)
            alphabet = Constellation("on-off", [0, *points], symmetry)
            columns = models[j].columns * (1 / (1 + 1 / len(points))) ** 0.5        # of unit power while it is on
            models[j] = replace(models[j], alphabet=alphabet, columns=columns, decode=None, remainder=None)
        parts = joint_general(self.y, wider, self.gains, self.noise, models=models, passes=_BRIEF)
        total = sum(part.waveform for part in parts)
        for j in places:
            self._moved(j, (self.y - (total - parts[j].waveform))[0])

    def _moved(self, j: int, rest: Tensor) -> None:
        """Begin and end of a burst as what the others leave of it shows."""
        given = cast(Burst, self.sources[j])
        runs = runs_of(rest, given.within)
        near = [run for run in runs[0] if run[0] < given.end and run[1] > given.begin] if runs else []
        if len(near) == 1:
            self._cut(j, *near[0][:2])

    def find(self, rest: dict[int, Tensor], others: Sequence[tuple[Source, Tensor]]) -> None:
        """Find the nuisances of bursts in what all others leave of each. others: sources, and the variance of what is left of
        them."""
        for j, x in rest.items():
            source: Any = self.sources[j]
            power = self.gains[j].square()
            density = sum((variance[:, None] * densities(other, 1, source.length) for other, variance in others),
                          torch.zeros(1, source.length, dtype=torch.float64))
            noise = Noise(self.noise / power, psd=density / power[:, None])
            self.sync.sources[j], self.sync.found[j] = located(x / self.gains[j][:, None].float(), source, noise)
