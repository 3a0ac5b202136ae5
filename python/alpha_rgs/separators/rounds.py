# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that were found are detected jointly; gains, noise and nuisances follow from that, and they are detected again."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.base import Source, Structure
from ..sources.linear_modulation import NUISANCES
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import open_power, regressed_gains
from .base import Separation
from .bursts import levelled
from .core import by_core, by_elimination, pair_of
from .joint_general import Part, chosen, joint_general
from .joint_keyed import by_keyed, keyed_pair
from .local_misfit import locally_doubted
from .probing import by_denoisers
from .results import result
from .synchronizing import Synchronized, refined, synchronized

_GAIN_ROUNDS = 2        # separations by which gains that are not given are refined
_SEARCH_ROUNDS = 3      # and nuisances that had to be found
_LOOK = 10              # passes of each of these: half of what a result takes
_INEXACT = 1e-3         # of the weakest source's power: what nuisances leave without noise is not told from noise below that
# Es/N0 with which a linear modulation that comes first is believed to be there at least, before its gain follows from symbols:
# that moves by a factor of two each time, and from nothing would not come back
_FAINT = 1.0
_QUIETER = 0.8          # of the noise that was believed: so much less is worth another detection
STAYS = 1.5             # times the noise with which windows were separated: those that leave more were decided too soon


@dataclass
class Rounds:
    """Windows y, complex64 [batch, samples], of sources as they were given and as they were found. gains: float64 [batch] each,
    noise: [batch], about; noise_var: as given. name: joint or alpha_rgs; options: of it; free: nuisances of the first source that
    are refined."""

    y: Tensor
    sources: Sequence[Source]
    sync: Synchronized
    gains: list[Tensor]
    noise: Tensor
    noise_var: Any
    name: str
    options: dict
    free: Sequence[str]

    def __post_init__(self) -> None:
        self.given = [source.state.gain for source in self.sources]
        self.unknown = [k for k, g in enumerate(self.given) if g is None and not self.sources[k].finds_level]
        self.sought = {k: [n for n in s.unknown if n in NUISANCES] for k, s in enumerate(self.sources)
                       if s.structure is Structure.CHAIN}
        if 0 in self.sought and self.free:
            self.sought[0] = [key for key in NUISANCES if key in (*self.free, *self.sought[0])]
        self.searched = any(self.sync.found) or any(self.sought.values())
        if self.searched and 0 in self.unknown and 0 in self.sought:     # densities may give all power to the others
            faint = (_FAINT * self.noise / self.sources[0].symbol_period).sqrt()
            self.gains = [torch.maximum(self.gains[0], faint.to(self.gains[0])), *self.gains[1:]]
        plain = self.name == "joint" and not self.options
        self.core = pair_of(self.sync.sources) if self.searched and plain else None
        self.keyed = keyed_pair(self.sync.sources, self.y.shape) if plain else None

    def select(self, rows: Tensor) -> Rounds:
        """Of some windows, int64 [n]."""
        def some(value: Any) -> Any:
            return value[rows] if torch.is_tensor(value) and value.numel() > 1 else value

        sync = replace(self.sync, sources=[s.select(rows) for s in self.sync.sources], gains=[some(g) for g in self.sync.gains],
                       found=[{name: some(value) for name, value in found.items()} for found in self.sync.found])
        return replace(self, y=self.y[rows], sources=[s.select(rows) for s in self.sources], sync=sync,
                       gains=[some(g) for g in self.gains], noise=some(self.noise), noise_var=some(self.noise_var))

    def separated(self) -> Separation:
        """The Separation."""
        y, sync = self.y, self.sync
        turn, before, waits = 0, self.noise, bool(self.unknown or self.noise_var is None or self.searched)
        while waits and self._goes_on(turn, before):
            before, turn = self.noise, turn + 1
            self._improve(self._detected(self.noise, False), turn == 1)
        parts = self._detected(self.noise, True)
        if self.noise_var is None and self.searched and all(source.decided for source in self.sources):
            parts = self._quieter(parts)
        out = result(y, sync.sources, parts, self.gains, self.noise, self.name, self.given, self.noise_var is None)
        if self.keyed:
            out = locally_doubted(y, sync.sources, out)
        return _reported(out, self.sources, sync, self.gains)

    def _goes_on(self, turn: int, before: Tensor) -> bool:
        """Whether there is another round after so many. before: the noise before the last one."""
        return turn < (1 if self.keyed else _SEARCH_ROUNDS if self.searched else _GAIN_ROUNDS)

    def _improve(self, parts: list[Part], first: bool) -> None:
        """Gains, noise and nuisances, from what was detected. first: for the first time."""
        y, sync = self.y, self.sync
        known = None if self.noise_var is None else self.noise
        variances = [p.variance for p in parts]
        self.gains, left = regressed_gains(y, [p.waveform for p in parts], self.gains, self.unknown, known, variances)
        # means that follow the noise take it up, as their variances say
        self.noise = torch.maximum(left, torch.minimum(self.noise, left + open_power(variances).to(left)))
        for k in self.unknown:          # a waveform of lines has the amplitude that they have, whatever the gain
            if self.sources[k].lines(y) is not None:
                self.gains[k] = parts[k].waveform.abs().square().mean(1).double().clamp_min(1e-12).sqrt()
        if self.noise_var is None and any(sync.found):
            self.noise = torch.maximum(self.noise, NOISE_FLOOR * torch.stack([g.square() for g in self.gains]).amin(0))
        self._refine(parts, first)
        self.gains, self.noise = relevelled(y, sync, self.gains, self.noise, self.given, self.noise_var, parts)

    def _detected(self, noise: Tensor, last: bool) -> list[Part]:
        y, sources, gains, joint = self.y, self.sync.sources, self.gains, self.name == "joint"
        own = self.options if last or not self.searched else {"passes": _LOOK, **self.options}
        if self.keyed:
            return by_keyed(y, sources, gains, noise, self.keyed, last)
        if self.core:
            return by_core(y, sources, gains, noise, self.core, last)
        way = by_denoisers if last else joint_general
        parts = way(y, sources, gains, noise, joint, **own)
        return by_elimination(y, sources, parts, gains, noise) if last and joint else parts

    def _quieter(self, parts: list[Part]) -> list[Part]:
        """The Parts, where what decided sources leave is less than the noise that the search believes at least: separated once
        more with the noise as it is, and kept if that leaves no more."""
        def left(parts: Sequence[Part]) -> Tensor:
            return (self.y - sum(part.waveform for part in parts)).abs().square().mean(1).double()

        least = _INEXACT * torch.stack([g.square() for g in self.gains]).amin(0)
        before, noise = left(parts), self.noise
        level = torch.where(before < noise, torch.maximum(before, least), noise)
        if not bool((level < _QUIETER * noise).any()):
            return parts
        again = self._detected(level, True)
        kept = (level < noise) & (left(again) < STAYS * level)
        self.noise = torch.where(kept, level, noise)
        return [chosen(kept, part, old) for part, old in zip(again, parts)]

    def _refine(self, parts: Sequence[Part], again: bool) -> None:
        """Better nuisances, from what was separated: of linear modulations those that are sought, by Gauss-Newton; of the others,
        where `again`, found anew in what all others leave."""
        y, sync = self.y, self.sync
        self._again(parts, again)
        total = sum((part.waveform for part in parts), torch.zeros_like(y))
        for k, names in self.sought.items():
            if names and parts[k].demodulated is not None:
                own = replace(cast(Any, sync.sources[k]), gain=self.gains[k])
                moved, found = refined(y, own, names, parts[k], total - parts[k].waveform, self.gains[k],
                                       self._weight())
                sync.sources[k] = replace(moved, gain=cast(Any, sync.sources[k]).gain)
                sync.found[k] = found

    def _weight(self) -> Tensor | None:
        """Of samples by which linear modulations are refined, float64 [samples]; None: all alike."""
        return None

    def _again(self, parts: Sequence[Part], first: bool) -> None:
        """Find sources other than linear modulations anew in what all others leave: after the first detection, and those that
        find their amplitudes too after each."""
        sync = self.sync
        others = [k for k, source in enumerate(self.sources) if source.structure is not Structure.CHAIN and source.unknown
                  and (first and sync.found[k] and k not in (sync.core or ()) or source.own_levels)]
        if others:
            given = [source if k in others else sync.sources[k] for k, source in enumerate(self.sources)]
            new = synchronized(self.y, given, self.gains, self.noise, parts)
            for k in others:
                sync.sources[k], sync.found[k] = new.sources[k], new.found[k]


def relevelled(y: Tensor, sync: Synchronized, gains: Sequence[Tensor], noise: Tensor, given: Sequence[Any], noise_var: Any,
               parts: Sequence[Part] = ()) -> tuple[list[Tensor], Tensor]:
    """(gains, noise) where sources find amplitudes of their own (bursts.py), which then are of unit power in `sync`. parts: of a
    separation, beside such sources what it leaves is noise, however much of it the variances claim."""
    if not any(source.own_levels for source in sync.sources):
        return list(gains), noise
    sync.sources, moved, least = levelled(y, sync.sources, gains, given)
    if noise_var is not None:
        return moved, noise
    if parts:
        least = torch.maximum(least, (y - sum(p.waveform for p in parts)).abs().square().mean(1).double())
    return moved, torch.maximum(noise, least)


def _reported(out: Separation, sources: Sequence[Source], sync: Synchronized, gains: Sequence[Tensor]) -> Separation:
    """The Separation that reports what was found: of a first source that is a linear modulation by the names of its nuisances, of
    others as name_2, name_3, ..."""
    for k, found in enumerate(sync.found):
        own = k == 0 and sources[0].structure is Structure.CHAIN
        out.estimated |= {key if own else f"{key}_{k + 1}": value for key, value in found.items() if torch.is_tensor(value)}
        if own and found and sources[0].state.gain is None:
            out.estimated["gain"] = gains[0]
    if any(sync.found):
        for source, estimate in zip(sources, out.sources):
            estimate.decided = estimate.decided and (not estimate.ambiguous or source.state.phase is not None)
    return out
