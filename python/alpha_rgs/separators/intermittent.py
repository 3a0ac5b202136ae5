# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that may come and go within a window (Source.intermittent): when they are on, and the separation burst by burst.

What is left of the mixture after all others shows when such a source is on (synchronization/activity.py). Each of its bursts is a
source of its own then (sources/burst.py), with timing, phase, carrier offset and gain of its own, found while it is on. Only
windows that show a pause are taken apart; where that does not explain a window as well as its pauses promise, it is separated as
if the source were always on too, and what leaves less is kept.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.base import Demodulated, Source, Structure
from ..sources.burst import Burst, Undecided
from .base import Separation, joined, left_over, window_of
from .burst_rounds import BURSTS_ALONE, BurstRounds, Veiled
from .burst_search import Runs, runs_of
from .estimate import Estimate
from .joint_general import joint_general
from .joint_keyed import separable
from .keyed_bursts import by_pieces
from .results import on_grid, separation
from .rounds import STAYS, Rounds
from .synchronizing import Synchronized, beside, synchronized

_TRACE = 1e-3           # of a source's power, that is left of it at least where it is about known


def separated(task: Rounds) -> Separation:
    """The Separation of windows."""
    found = _in_bursts(task)
    doubted = [row for row in range(len(task.y)) if row not in found or not found[row][1]]
    windows = {row: out for row, (out, _) in found.items()}
    if doubted:
        rest = task.select(torch.tensor(doubted)) if found else task
        out = rest.separated()
        ramped = _ramped(rest, out)
        if not found and not ramped:
            return out
        for k, row in enumerate(doubted):
            own = ramped[k] if k in ramped else window_of(out, k)
            y = task.y[row:row + 1]
            if row not in windows or bool(left_over(y, own) < left_over(y, windows[row])):
                windows[row] = own
    return joined([windows[row] for row in range(len(task.y))])


def _ramped(task: Rounds, out: Separation) -> dict[int, Separation]:
    """Windows in whose first or last symbols a source that is always on begins or ends otherwise than its modulation says: their
    Separations. task: after its rounds."""
    known = {}
    for row in range(len(task.y)):
        y = task.y[row:row + 1]
        one = task.select(torch.tensor([row]))
        bursts = [source.intermittent and bool(found) for source, found in zip(one.sources, one.sync.found)]
        if not any(bursts) or task.keyed:           # symbols of both are searched together, of two sources alone
            continue
        sources, sync = ([Burst(source, 0, y.shape[1]) if burst else source for source, burst in zip(own, bursts)]
                         for own in (one.sources, one.sync.sources))
        whole = BurstRounds(y, sources, Synchronized(sync, one.sync.found, one.gains), one.gains, one.noise, one.noise_var,
                            one.name, one.options, one.free, list(range(len(sources))), BURSTS_ALONE, True)
        whole.left = _residual(y, window_of(out, row))
        before = float(whole.left.abs().square().mean())
        if whole.ramps():
            again = put_together(one, whole.owner, whole.sync, whole.separated())
            if float(_residual(y, again).abs().square().mean()) < before:
                known[row] = again
    return known


def _residual(y: Tensor, out: Separation) -> Tensor:
    return y - sum(e.waveform for e in out.sources)


def _in_bursts(task: Rounds) -> dict[int, tuple[Separation, bool]]:
    """Windows that show pauses: their Separations, and whether these leave as little as the pauses do."""
    return _by_runs(task, [k for k, source in enumerate(task.sources)
                           if source.intermittent and task.sync.found[k] and source.structure is not Structure.FRAMES])


def in_bursts(y: Tensor, sources: Sequence[Source], k: int, gains: list[Tensor], noise: Tensor, noise_var: Any,
              within: slice = slice(None), taken: Tensor | None = None) -> dict[int, tuple[Separation, bool]]:
    """See _in_bursts, of windows y that nobody has separated yet: those in which source k pauses, whatever its nuisances. gains,
    noise: float64 [batch], of all samples but gains of other sources `within` a part of them, in which these are searched.
    taken: what is known of source k already, complex64 [batch, samples]; others are searched in what that leaves."""
    with torch.inference_mode():
        hidden = list(gains)
        if taken is not None:
            left = (y - taken).abs().square().mean(1).double() - sum(g.square() for j, g in enumerate(gains) if j != k) - noise
            hidden[k] = left.clamp_min(_TRACE * gains[k].square()).sqrt()
        sync = beside((y if taken is None else y - taken)[:, within], sources, k, hidden, noise)
        sync.gains[k] = gains[k]
        if begin := within.start:
            sync.sources = [source if j == k else source.at(-begin) for j, source in enumerate(sync.sources)]
            sync.found = [{name: torch.as_tensor(getattr(source, name)) for name in found}
                          for source, found in zip(sync.sources, sync.found)]
        return _by_runs(Rounds(y, sources, sync, sync.gains, noise, noise_var, "joint", {}, ()), [k])


def quietest(y: Tensor, share: int = 3) -> slice:
    """That share of one window y, complex64 [1, samples], which has the least power."""
    length = y.shape[1] // share
    power = torch.nn.functional.pad(y[0].abs().square().double().cumsum(0), (1, 0))
    begin = int((power[length:] - power[:-length]).argmin())
    return slice(begin, begin + length)


def _by_runs(task: Rounds, places: Sequence[int]) -> dict[int, tuple[Separation, bool]]:
    """See _in_bursts; places: of sources that may pause."""
    found: dict[int, dict[int, Runs]] = {}
    for k in places:
        for row, rest in enumerate(_rest(task, k)):
            if shown := runs_of(rest, task.sources[k]):
                found.setdefault(row, {})[k] = shown[0]
    out: dict[int, tuple[Separation, bool]] = {}
    for row, runs in found.items():
        # where a continuous-phase source pauses, what is taken for it then looks like the other one's bursts
        alone = [{k: shown} for k, shown in runs.items() if task.sources[k].keyed and len(runs) > 1]
        for some in [*alone, runs]:
            own = _taken_apart(task.select(torch.tensor([row])), some)
            if own is not None and not (row in out and out[row][1]):
                separation, level = own
                out[row] = separation, float(_residual(task.y[row:row + 1], separation).abs().square().mean()) < STAYS * level
            if row in out and out[row][1]:
                break
    return out


def _rest(task: Rounds, k: int) -> Tensor:
    """What the means of all others leave while nothing is known of source k but its power, complex64 [batch, samples]."""
    others = [j for j in range(len(task.sources)) if j != k]
    parts = joint_general(task.y, [task.sync.sources[j] for j in others], [task.gains[j] for j in others],
                          task.noise + task.gains[k].square(), task.name == "joint")
    return task.y - sum(part.waveform for part in parts)


def _taken_apart(task: Rounds, runs: dict[int, Runs]) -> tuple[Separation, float] | None:
    """(the Separation of one window burst by burst, power in the pauses); None where there are no pauses at a closer look. runs:
    of sources (their places) that pause."""
    veiled = _veiled(task, runs)
    parts = veiled.looked()
    rest = {k: task.y - sum(part.waveform for j, part in parts.items() if j != k) for k in runs}
    closer = {k: runs_of(rest[k][0], task.sources[k]) for k in runs}
    if not all(closer.values()):
        return None
    level = max(cast(Any, shown)[1] for shown in closer.values())
    shown = {k: cast(Any, shown)[0] for k, shown in closer.items()}
    noise = torch.full_like(task.noise, level) if task.noise_var is None else task.noise
    if _keyed(task, veiled, shown):
        return _by_pieces(task, veiled, shown, noise), level
    steady = {k: veiled.owner.index(k) for k in range(len(task.sources)) if k not in runs}
    sources: list[Any] = []
    known: list[Any] = []
    gains: list[Tensor] = []
    owner: list[int] = []
    for k, source in enumerate(task.sources):
        if k not in runs:
            j = steady[k]
            new, own, amplitudes = [source], [veiled.sync.sources[j]], [veiled.gains[j]]
        else:
            new = own = [Burst(source.at(begin), begin, end) for begin, end, _ in shown[k]]
            amplitudes = [torch.full_like(task.noise, gain) for *_, gain in shown[k]]
        sources, known, gains, owner = sources + new, known + own, gains + amplitudes, owner + [k] * len(new)
    sync = Synchronized(known, [veiled.sync.found[steady[k]] if k in steady else {} for k in owner], gains)
    whole = BurstRounds(task.y, sources, sync, gains, noise, task.noise_var, task.name, task.options, task.free,
                        owner)
    whole.find({j: rest[k] for j, k in enumerate(owner) if k in runs},
               [(veiled.sync.sources[j], parts[k].variance) for k, j in steady.items()])
    if len(steady) == len(runs) == 1:
        _located_beside(whole, next(iter(steady)), next(iter(runs)))
    return put_together(task, owner, whole.sync, whole.separated()), level


def _located_beside(whole: BurstRounds, first: int, second: int) -> None:
    """Find the nuisances of bursts of one source (its place among the sources) once more, with the decisions of the other one,
    which is steady and known: as two sources that are always on, in the samples of each burst. What leaves less is kept."""
    j = whole.owner.index(first)
    for k, burst in enumerate(whole.sources):
        if whole.owner[k] != second or not isinstance(burst, Burst) or not burst.unknown:
            continue
        y, steady = burst.cut(whole.y), whole.sync.sources[j].at(burst.begin)
        gains = [whole.gains[j], whole.gains[k]]
        found = synchronized(y, [steady, burst.within], gains, whole.noise)
        tried = [cast(Burst, whole.sync.sources[k]).within, found.sources[1]]
        left = [float(_residual_of(y, [steady, own], gains, whole.noise)) for own in tried]
        if left[1] < left[0]:
            whole.sync.sources[k], whole.sync.found[k] = replace(burst, within=tried[1]), found.found[1]


def _residual_of(y: Tensor, sources: Sequence[Source], gains: list[Tensor], noise: Tensor) -> Tensor:
    """The mean power that joint detection of sources whose nuisances are known leaves in one window."""
    parts = joint_general(y, sources, gains, noise)
    return (y - sum(part.waveform for part in parts)).abs().square().mean()


def _keyed(task: Rounds, veiled: Veiled, runs: dict[int, Runs]) -> bool:
    """Whether one of two sources comes in bursts, and symbols of both are searched together."""
    if len(task.sources) != 2 or len(runs) != 1 or task.name != "joint" or task.options:
        return False
    k = next(iter(runs))
    other = veiled.sync.sources[veiled.owner.index(1 - k)]
    return task.sources[k].keyed and separable(other, task.y.shape)


def _by_pieces(task: Rounds, veiled: Veiled, runs: dict[int, Runs], noise: Tensor) -> Separation:
    """The Separation of one window of a continuous-phase source that comes in bursts and a linear one."""
    (k, bursts), = runs.items()
    j = veiled.owner.index(1 - k)
    known, gains = list(task.sync.sources), list(task.gains)
    known[1 - k], gains[1 - k], known[k] = veiled.sync.sources[j], veiled.gains[j], task.sources[k]
    estimates, found, values, level = by_pieces(task, known, gains, k, bursts, noise)
    owner = [1 - k] + [k] * len(found)
    sync = Synchronized([known[1 - k], *found], [values, *[{} for _ in found]], [])
    out = separation(task.y, estimates, estimates[0].sinr_db, level, task.name,
                     {} if task.noise_var is not None else {"noise_var": level.float()})
    return put_together(task, owner, sync, out)


def _veiled(task: Rounds, runs: dict[int, Runs]) -> Veiled:
    """Of one window, about where bursts are."""
    sources: list[Any] = []
    found: list[Any] = []
    gains: list[Tensor] = []
    owner: list[int] = []
    samples = task.y.shape[1]
    for k, source in enumerate(task.sync.sources):
        if k in runs:
            around = [(max(0, begin - source.memory), min(samples, end + source.memory), gain) for begin, end, gain in runs[k]]
            new: list[Any] = [Undecided(source.at(begin), begin, end, gain) for begin, end, gain in around]
            own = new
            amplitudes = [torch.full_like(task.noise, gain) for *_, gain in around]
        else:
            new, own, amplitudes = [task.sources[k]], [source], [task.gains[k]]
        sources, found, gains, owner = sources + new, found + own, gains + amplitudes, owner + [k] * len(new)
    sync = Synchronized(found, [{} if k in runs else task.sync.found[k] for k in owner], gains)
    return Veiled(task.y, sources, sync, gains, task.noise, task.noise_var, task.name, task.options, task.free, owner)


def put_together(task: Rounds, owner: Sequence[int], sync: Synchronized, out: Separation) -> Separation:
    """The Separation of sources, from that of their bursts. owner: whose each is."""
    estimates, gains = [], []
    found = {name: value for name, value in out.estimated.items() if not name.rpartition("_")[2].isdigit()}
    for k, source in enumerate(task.sources):
        places = [j for j, of in enumerate(owner) if of == k]
        parts: list[Any] = [sync.sources[j] for j in places]
        if isinstance(parts[0], Burst):
            estimates.append(_joined([out.sources[j] for j in places], parts, source))
            values = {name: getattr(estimates[k].state, field) for field, name in source.state_names.items()
                      if name in source.unknown}
        else:
            estimates.append(out.sources[places[0]])
            values = sync.found[places[0]]
        gains.append(torch.as_tensor(estimates[k].state.gain, dtype=torch.float64).reshape(-1))
        own_name = "" if k == 0 and source.structure is Structure.CHAIN else f"_{k + 1}"
        if own_name or isinstance(parts[0], Burst):
            found |= {f"{name}{own_name}": torch.as_tensor(value).reshape(-1) for name, value in values.items()
                      if value is not None}
            if not own_name and source.state.gain is None:
                found["gain"] = gains[k]
        if source.state.gain is None:
            found[f"gain_{k + 1}"] = gains[k]
    others = torch.stack(gains[1:]).square().sum(0).sqrt()
    return separation(task.y, estimates, others, out.noise_var, out.method, found)


def _joined(estimates: list[Estimate], bursts: list[Burst], source: Source) -> Estimate:
    """The Estimate of a source from those of its bursts; its state is that of the strongest, its gain that while it is on."""
    waveform = sum((e.waveform for e in estimates[1:]), estimates[0].waveform)
    samples = waveform.shape[1]
    powers = [float(cast(Any, e.state.gain)) ** 2 for e in estimates]
    share = [burst.length / samples for burst in bursts]
    error = sum(p * 10 ** (-float(e.sinr_db) / 10) for p, e in zip(powers, estimates))
    total = sum(p * s for p, s in zip(powers, share))
    best = max(range(len(bursts)), key=lambda j: powers[j] * share[j])
    state = bursts[best].within.at(-bursts[best].begin).state
    state = replace(state, gain=torch.tensor([(total / sum(share)) ** 0.5], dtype=torch.float64))
    sinr = torch.tensor([total / max(error, 1e-30)]).log10() * 10
    out = Estimate(waveform, estimates[0].cleaned + (waveform - estimates[0].waveform), sinr, state,
                   decided=all(e.decided for e in estimates if e.symbols is not None),
                   ambiguous=any(e.ambiguous for e in estimates))
    if symbols := [(e.symbols, e.llrs, e.at) for e in estimates if e.symbols is not None]:
        read = Demodulated(*(torch.cat(column, 1) for column in zip(*cast(Any, symbols))))
        if source.structure is Structure.CHAIN:
            read = on_grid(read, source.symbol_period, samples, float(cast(Any, state.delay)))
        out.symbols, out.llrs, out.at = read.symbols, read.llrs, read.at
    return out
