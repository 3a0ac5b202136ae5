# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of a continuous-phase source that has no linear model, beside one linear source.

Symbols of both are searched together (joint_keyed.py), of one burst at a time. So a window is taken apart in the middle of the
gaps: each piece holds one burst, and as much of its neighbours' gaps as a symbol of the linear source takes. In a piece the burst
is synchronized while it is on, as if it were endless. Once both sources are detected, its waveform is continued beyond its edges,
and what the linear source leaves shows where it begins and ends.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..inference.stretch import largest_stretch
from ..sources.base import Demodulated, Noise, Source, Structure
from ..sources.burst import Burst
from .burst_search import Runs
from .estimate import Estimate
from .joint_general import Part, joint_general
from .keyed_nuisances import PLACES
from .results import on_grid
from .rounds import Rounds
from .synchronizing import Synchronized, located, synchronized

_WIDER = (2, 1)         # times a symbol's memory: how far from where it is seen a burst's edges may be, in each round
_ON = 0.05              # of its power and the noise's: so much less is left where a burst is on, whose symbols fit noise too


@dataclass
class _Piece(Rounds):
    """Rounds of samples that hold one burst. place: of its source among the two; turn: rounds that are over."""

    place: int = 0
    turn: int = 0

    def _goes_on(self, turn: int, before: Tensor) -> bool:
        """See Rounds._goes_on: one round as of an endless source, one in which edges are found, and one between them."""
        return turn < 3

    def _improve(self, parts: list[Part], first: bool) -> None:
        """See Rounds._improve."""
        self.turn += 1
        place, rest = self.place, self.y - parts[1 - self.place].waveform
        if not first:
            self._edged(*self._edges(rest - parts[place].waveform), rest)
            parts = [replace(part, waveform=self._within(part.waveform)) if k == place else part for k, part in enumerate(parts)]
        if self.turn == 2:
            self._found_again()
        else:
            super()._improve(parts, True)
        if self.turn <= len(_WIDER):
            burst: Any = self.sync.sources[place]
            side = _WIDER[self.turn - 1] * burst.memory
            self._edged(max(0, burst.begin - side), min(self.y.shape[1], burst.end + side), rest)

    def _within(self, wave: Tensor) -> Tensor:
        """A waveform while the burst is on."""
        burst: Any = self.sync.sources[self.place]
        return burst.padded(burst.cut(wave), wave.shape[1])

    def _found_again(self) -> None:
        """Synchronize the burst while it is on, beside the other source."""
        burst: Any = self.sources[self.place]
        own: Any = self.sync.sources[self.place]
        span = slice(burst.begin, burst.end)
        here = [burst.within if k == self.place else source.at(burst.begin) for k, source in enumerate(self.sync.sources)]
        on = synchronized(self.y[:, span], here, self.gains, self.noise, places=PLACES)
        self.sync.sources[self.place] = replace(own, within=on.sources[self.place])
        self.sync.found[self.place], self.gains = on.found[self.place], on.gains

    def _edged(self, begin: int, end: int, rest: Tensor) -> None:
        """Give the burst other edges; what is not known of it any more is found in `rest`."""
        own: Any = self.sync.sources[self.place]
        moved = own.between(begin, end)
        if moved.unknown:
            gain = self.gains[self.place]
            moved = located(rest / gain[:, None].float(), moved, Noise(self.noise / gain.square()))[0]
        self.sync.sources[self.place] = moved
        given: Any = self.sources[self.place]
        self.sources = [given.between(begin, end) if k == self.place else s for k, s in enumerate(self.sources)]

    def _edges(self, left: Tensor) -> tuple[int, int]:
        """(begin, end) of the burst, of which `left` is what both sources leave if it has wider edges: the likeliest ones, beside
        what the other source alone would leave."""
        burst: Any = self.sync.sources[self.place]
        other = 1 - self.place
        alone = joint_general(self.y, [self.sync.sources[other]], [self.gains[other]], self.noise)[0].waveform
        price = _ON * (self.gains[self.place].square() + self.noise)[:, None]
        gained = (self.y - alone).abs().square() - left.abs().square() - price
        begin, end, _ = largest_stretch(gained[0, burst.begin:burst.end].double().tolist())
        if end - begin < burst.memory:
            return burst.begin, burst.end
        begin, end, samples = burst.begin + begin, burst.begin + end, self.y.shape[1]
        return 0 if begin < burst.memory else begin, samples if samples - end < burst.memory else end


def by_pieces(task: Rounds, known: Sequence[Source], gains: Sequence[Tensor], place: int, runs: Runs,
              noise: Tensor) -> tuple[list[Estimate], list[Burst], dict[str, Tensor], Tensor]:
    """(Estimates of the linear source and of each burst, of the whole window; the bursts; what was found of the linear source;
    noise [1]) of one window. known: both sources, the linear one as found; gains: [1] each, place: of the source that comes in
    bursts; noise: [1], about."""
    steady: list[Estimate] = []
    own: list[Estimate] = []
    bursts: list[Burst] = []
    found: list[dict[str, Tensor]] = []
    levels = []
    edges = _cuts(runs, task.y.shape[1])
    for number, (begin, end, gain) in enumerate(runs):
        low, high = edges[number], edges[number + 1]
        side = known[1 - place].memory + known[place].memory
        first = max(0, low - side, runs[number - 1][1] if number else 0)
        last = min(task.y.shape[1], high + side, runs[number + 1][0] if number + 1 < len(runs) else task.y.shape[1])
        amplitudes = [torch.full_like(noise, gain) if k == place else g for k, g in enumerate(gains)]
        piece = _piece(task, known, amplitudes, place, (first, last), (begin, end), noise)
        out = piece.separated()
        levels.append((high - low, out.noise_var.double()))
        steady.append(_placed(out.sources[1 - place], first, low, high, task.y.shape[1]))
        own.append(_placed(out.sources[place], first, low, high, task.y.shape[1]))
        burst = cast(Burst, piece.sync.sources[place])
        bursts.append(replace(burst, begin=burst.begin + first, end=burst.end + first))
        other = piece.sync.sources[1 - place].at(-first)
        found.append({name: torch.as_tensor(getattr(other, name), dtype=torch.float64).reshape(-1)
                      for name in task.sources[1 - place].unknown if getattr(other, name, None) is not None})
    longest = max(range(len(runs)), key=lambda k: edges[k + 1] - edges[k])
    total = sum(length * level for length, level in levels) / task.y.shape[1]
    whole = _whole(steady, [high - low for low, high in zip(edges, edges[1:])], task.sources[1 - place], found[longest])
    return [whole, *own], bursts, found[longest], cast(Tensor, total)


def _cuts(runs: Runs, samples: int) -> list[int]:
    """The samples at which pieces begin, and the end of the last."""
    return [0, *((a[1] + b[0]) // 2 for a, b in zip(runs, runs[1:])), samples]


def _piece(task: Rounds, known: Sequence[Source], gains: list[Tensor], place: int, span: tuple[int, int],
           edges: tuple[int, int], noise: Tensor) -> _Piece:
    """The Rounds of samples `span` of a window, in which a burst has about these edges, once it was synchronized."""
    y, begin, end = task.y[:, slice(*span)], edges[0] - span[0], edges[1] - span[0]
    given: list[Any] = [source.at(span[0]) for source in task.sources]
    seen: list[Any] = [source.at(span[0]) for source in known]
    here = [task.sources[place].at(edges[0]) if k == place else source.at(begin) for k, source in enumerate(seen)]
    on = synchronized(y[:, begin:end], here, gains, noise)
    given[place] = Burst(task.sources[place].at(edges[0]), begin, end, task.sources[place].state.gain)
    seen[place] = Burst(on.sources[place], begin, end, task.sources[place].state.gain)
    sync = Synchronized(seen, [on.found[k] if k == place else task.sync.found[k] for k in range(2)], on.gains)
    return _Piece(y, given, sync, on.gains, noise, task.noise_var, task.name, task.options, task.free, place)


def _placed(part: Estimate, first: int, low: int, high: int, samples: int) -> Estimate:
    """The Estimate of a piece that begins at sample `first` of its window: of samples low ... high - 1 of that, else nothing."""
    def wide(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x[:, low - first:high - first], (low, samples - high))

    out = replace(part, waveform=wide(part.waveform), cleaned=wide(part.cleaned))
    if part.at is not None:
        at = part.at + first
        out.at = torch.where((at >= low) & (at < high), at, torch.nan)
    return out


def _whole(parts: Sequence[Estimate], lengths: Sequence[int], source: Source, found: dict[str, Tensor]) -> Estimate:
    """The Estimate of a source that is always on from those of pieces of that many samples."""
    powers = [length * float(cast(Any, e.state.gain)) ** 2 for e, length in zip(parts, lengths)]
    error = sum(p * 10 ** (-float(e.sinr_db) / 10) for p, e in zip(powers, parts))
    gain = torch.tensor([(sum(powers) / sum(lengths)) ** 0.5], dtype=torch.float64)
    state = replace(replace(cast(Any, source), **{name: value for name, value in found.items()}).state, gain=gain)
    out = replace(parts[0], waveform=cast(Tensor, sum(e.waveform for e in parts)), state=state,
                  cleaned=cast(Tensor, sum(e.cleaned for e in parts)),
                  sinr_db=torch.tensor([sum(powers) / max(error, 1e-30)]).log10() * 10, decided=all(e.decided for e in parts))
    if len(parts) > 1 and parts[0].at is not None:
        read = Demodulated(*(torch.cat([cast(Tensor, getattr(e, name)) for e in parts], 1) for name in ("symbols", "llrs", "at")))
        if source.structure is Structure.CHAIN:
            read = on_grid(read, source.symbol_period, out.waveform.shape[1], float(cast(Any, state.delay)))
        there = ~read.at[0].isnan() | (source.structure is Structure.CHAIN)
        out.symbols, out.llrs, out.at = read.symbols[:, there], read.llrs[:, there], read.at[:, there]
    return out
