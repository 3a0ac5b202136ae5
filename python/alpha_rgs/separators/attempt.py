# SPDX-License-Identifier: GPL-3.0-or-later
"""One separation of any number of sources: what they lack is found, they are detected jointly, gains, noise and nuisances follow
from that, and they are detected again."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.base import Source, Structure
from ..sources.linear_modulation import NUISANCES
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import estimate_powers, regressed_gains
from .base import Separation
from .bursts import levelled
from .core import by_core, by_elimination, pair_of
from .joint_general import Part, chosen, joint_general
from .joint_keyed import by_keyed, keyed_pair
from .probing import by_denoisers
from .results import result
from .synchronizing import Synchronized, refined, synchronized

_GAIN_ROUNDS = 2        # separations by which gains that are not given are refined
_SEARCH_ROUNDS = 3      # and nuisances that had to be found
_LOOK = 10              # passes of each of these: half of what a result takes
_SILENT = 1e-9          # gain of nothing
_INEXACT = 1e-3         # of the weakest source's power: what nuisances leave without noise is not told from noise below that
_QUIETER = 0.8          # of the noise that was believed: so much less is worth another detection
_STAYS = 1.5            # times the noise with which windows were separated: those that leave more were decided too soon
Pair = Callable[..., Separation]


def attempt(y: Tensor, sources: Sequence[Source], name: str, noise_var: Any, options: dict, free: Sequence[str],
            pair: Pair | None, backwards: bool = False) -> Separation:
    """A Separation of windows y. name: joint or alpha_rgs; free: nuisances of the first source that are refined; pair: see
    several.separate_several; backwards: the weakest source is looked for first."""
    given = [source.state.gain for source in sources]
    gains, noise = initial_levels(y, sources, given, noise_var)
    unknown = [k for k, g in enumerate(given) if g is None and not sources[k].own_levels]
    lines = [k for k in unknown if sources[k].lines(y) is not None]
    with torch.inference_mode():
        sync = synchronized(y, sources, gains, noise, pair=pair, backwards=backwards, free=unknown)
        gains, noise = _levelled(y, sync, sync.gains, noise, given, noise_var)
        sought = {k: [n for n in s.unknown if n in NUISANCES] for k, s in enumerate(sources) if s.structure is Structure.CHAIN}
        if 0 in sought and free:
            sought[0] = [key for key in NUISANCES if key in (*free, *sought[0])]
        searched = any(sync.found) or any(sought.values())
        core = pair_of(sync.sources) if searched and name == "joint" and not options else None
        keyed = keyed_pair(sync.sources, y.shape) if name == "joint" and not options else None
        rounds = 1 if keyed else _SEARCH_ROUNDS if searched else _GAIN_ROUNDS

        def detected(noise: Tensor, last: bool) -> list[Part]:
            own = options if last or not searched else {"passes": _LOOK, **options}
            if keyed:
                return by_keyed(y, sync.sources, gains, noise, keyed, last)
            if core:
                return by_core(y, sync.sources, gains, noise, core, last)
            way = by_denoisers if last else joint_general
            parts = way(y, sync.sources, gains, noise, name == "joint", **own)
            return by_elimination(y, sync.sources, parts, gains, noise) if last and name == "joint" else parts

        for turn in range(rounds + 1):
            last = turn == rounds or not (unknown or noise_var is None or searched)
            parts = detected(noise, last)
            if last:
                break
            known = None if noise_var is None else noise
            gains, noise = regressed_gains(y, [p.waveform for p in parts], gains, unknown, known)
            for k in lines:         # a waveform of lines has the amplitude that they have, whatever the gain
                gains[k] = parts[k].waveform.abs().square().mean(1).double().clamp_min(1e-12).sqrt()
            if noise_var is None and any(sync.found):
                noise = torch.maximum(noise, NOISE_FLOOR * torch.stack([g.square() for g in gains]).amin(0))
            _refine(y, sources, sync, sought, parts, gains, noise, turn == 0)
            gains, noise = _levelled(y, sync, gains, noise, given, noise_var, parts)
        if noise_var is None and searched and all(source.decided for source in sources):
            parts, noise = _quieter(y, parts, noise, gains, lambda level: detected(level, True))
        out = result(y, sync.sources, parts, gains, noise, name, given, noise_var is None)
    return _reported(out, sources, sync, gains)


def _quieter(y: Tensor, parts: list[Part], noise: Tensor, gains: Sequence[Tensor],
             detected: Callable[[Tensor], list[Part]]) -> tuple[list[Part], Tensor]:
    """(Parts, noise), where what decided sources leave is less than the noise that the search believes at least: separated once
    more with the noise as it is, and kept if that leaves no more."""
    def left(parts: Sequence[Part]) -> Tensor:
        return (y - sum(part.waveform for part in parts)).abs().square().mean(1).double()

    least = _INEXACT * torch.stack([g.square() for g in gains]).amin(0)
    before = left(parts)
    level = torch.where(before < noise, torch.maximum(before, least), noise)
    if not bool((level < _QUIETER * noise).any()):
        return parts, noise
    again = detected(level)
    kept = (level < noise) & (left(again) < _STAYS * level)
    return [chosen(kept, part, old) for part, old in zip(again, parts)], torch.where(kept, level, noise)


def _refine(y: Tensor, sources: Sequence[Source], sync: Synchronized, sought: dict[int, list[str]], parts: Sequence[Part],
            gains: Sequence[Tensor], noise: Tensor, again: bool) -> None:
    """Better nuisances in `sync`, from what was separated: of trains of pulses `sought` (names), by Gauss-Newton; of the others,
    where `again`, found anew in what all others leave."""
    others = [k for k, source in enumerate(sources) if source.structure is not Structure.CHAIN and source.unknown
              and (again and sync.found[k] and k not in (sync.core or ()) or source.own_levels)]
    if others:
        given = [source if k in others else sync.sources[k] for k, source in enumerate(sources)]
        new = synchronized(y, given, gains, noise, parts)
        for k in others:
            sync.sources[k], sync.found[k] = new.sources[k], new.found[k]
    total = sum((part.waveform for part in parts), torch.zeros_like(y))
    for k, names in sought.items():
        if names and parts[k].demodulated is not None:
            own = replace(cast(Any, sync.sources[k]), gain=gains[k])
            moved, found = refined(y, own, names, parts[k], total - parts[k].waveform, gains[k])
            sync.sources[k] = replace(moved, gain=cast(Any, sync.sources[k]).gain)
            sync.found[k] = found


def _levelled(y: Tensor, sync: Synchronized, gains: Sequence[Tensor], noise: Tensor, given: Sequence[Any], noise_var: Any,
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
    """The Separation that reports what was found: of a first source that is a train of pulses by the names of its nuisances, of
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


def initial_levels(y: Tensor, sources: Sequence[Source], given: Sequence[Any], noise_var: Any) -> tuple[list[Tensor], Tensor]:
    """Gains [batch] of each source, and the noise variance [batch], estimated where None by their power spectral densities."""
    each: list[Any] = [None if v is None else torch.as_tensor(v, dtype=torch.float64).reshape(-1).expand(len(y))
            for v in (*given, noise_var)]
    rest, dense = y, list(range(len(sources)))
    for k, source in enumerate(sources):        # a flat density passes for noise; lines stand out
        if each[k] is None and (lines := source.lines(y)) is not None:
            each[k], rest = lines[1].cpu().double().clamp_min(1e-12).sqrt(), rest - lines[0]
            dense.remove(k)
    if any(v is None for v in each):
        known = [None if each[k] is None else each[k].square() for k in dense]
        powers = estimate_powers(rest, [sources[k] for k in dense], known, each[-1])
        least = [*powers[:-1], *(each[k].square() for k in range(len(sources)) if k not in dense)]
        floor = NOISE_FLOOR * torch.stack(least).amin(0)
        for k, power in zip(dense, powers):
            each[k] = power.sqrt() if each[k] is None else each[k]
        each[-1] = torch.maximum(powers[-1], floor) if each[-1] is None else each[-1]
    # of a window of about unit power; a silent one has nothing to divide by
    return [v.to(y.device).clamp_min(_SILENT) for v in each[:-1]], each[-1].to(y.device).clamp_min(_SILENT ** 2)
