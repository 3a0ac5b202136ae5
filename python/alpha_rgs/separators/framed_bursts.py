# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of carriers (OFDM of known numerology) that come in bursts, beside any other sources.

Frames take more of the band than most other sources, and each burst has frames, phase, carrier offset and gain of its own. So
bursts are found first, where the densities of the others are weak (burst_search.py). Each is a source of its own then
(sources/burst.py), and is detected together with the gaps around it, by the method that its sources have where frames are sent
without gaps.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor

from ..inference.frame_tiling import GAUSSIAN, Tiling
from ..sources.base import Demodulated, Noise, Source, Structure
from ..sources.burst import Burst
from ..sources.ofdm_carrier import burst_of_frames
from ..synchronization.evidence import ranked
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import densities
from .attempt import initial_levels
from .base import Separation, joined, left_over, window_of
from .burst_rounds import BurstRounds
from .burst_search import Runs, runs_beside
from .core import by_core
from .intermittent import put_together
from .joint_general import Part, joint_general
from .joint_keyed import by_keyed, keyed_pair, undecided
from .probing import by_denoisers
from .rounds import STAYS, Rounds
from .synchronizing import Synchronized, lacking, synchronized

_ROUNDS = 3             # of detection and of what it says of nuisances; a fourth changes nothing that decisions do not
_LINES = 2              # carrier offsets of a linear modulation that are tried, while what they leave exceeds the noise
_LOOK = 10              # passes of a detection that is not the last
_EXACT = 1e-3           # samples, far above rounding
_REACH = 0.5            # of the symbol rate over the alphabet's symmetry: as far as a carrier offset is unambiguous


def come_and_go(sources: Sequence[Source]) -> bool:
    """Whether frames among the sources may come in bursts, beside others that can take part in joint detection."""
    return any(map(_may_pause, sources)) and len(sources) > 1 and not any(
        source.structure is Structure.BURSTS or source.own_levels or lacking(source) or len(source.parts) > 1
        for source in sources)


def _may_pause(source: Source) -> bool:
    return source.structure is Structure.FRAMES and source.intermittent and not source.learned


def by_framed_bursts(y: Tensor, sources: Sequence[Source], kappa: Any, noise_var: Any, free: Sequence[str],
                     endless: Callable[..., Separation]) -> Separation:
    """A Separation of windows y burst by burst where frames pause; endless(y, sources, kappa, noise_var) of the others, and where
    that leaves less. kappa: amplitude of the second source, a number, [batch], or None; free: see api.separate."""
    windows: dict[int, Separation] = {}
    doubted = []
    for row in range(len(y)):
        given = [source.select(slice(row, row + 1)) for source in sources]
        if kappa is not None:
            given[1] = given[1].with_state(gain=_rows(kappa, [row]))
        found = _framed_bursts(y[row:row + 1], given, _rows(noise_var, [row]), free)
        if found is not None:
            windows[row] = found[0]
        if found is None or not found[1]:
            doubted.append(row)
    if not windows:
        return endless(y, sources, kappa, noise_var)
    if doubted:
        some = torch.tensor(doubted)
        rest = endless(y[some], [source.select(some) for source in sources], _rows(kappa, some), _rows(noise_var, some))
        for k, row in enumerate(doubted):
            own, seen = window_of(rest, k), y[row:row + 1]
            if row not in windows or bool(left_over(seen, own) < left_over(seen, windows[row])):
                windows[row] = own
    return joined([windows[row] for row in range(len(y))])


def _rows(value: Any, rows: Any) -> Any:
    return value[rows] if torch.is_tensor(value) and value.numel() > 1 else value


def _framed_bursts(y: Tensor, sources: Sequence[Source], noise_var: Any,
                   free: Sequence[str]) -> tuple[Separation, bool] | None:
    """(the Separation of one window y, complex64 [1, samples], burst by burst; whether it leaves as little as the gaps do), where
    frames among the sources pause; None where they do not."""
    gains, noise = initial_levels(y, sources, [source.state.gain for source in sources], noise_var)
    runs: dict[int, Runs] = {}
    for k, source in enumerate(sources):
        if _may_pause(source):
            others = [(other, gain) for j, (other, gain) in enumerate(zip(sources, gains)) if j != k]
            if shown := runs_beside(y, source, others, noise):
                runs[k] = shown
    if not runs:
        return None
    with torch.inference_mode():
        return _separated(_Window(y, sources, gains, noise, noise_var, runs, free))


class _Window:
    """One window whose bursts are found."""

    def __init__(self, y: Tensor, sources: Sequence[Source], gains: list[Tensor], noise: Tensor, noise_var: Any,
                 runs: dict[int, Runs], free: Sequence[str]) -> None:
        self.free = free
        self.y, self.sources, self.gains, self.noise, self.noise_var, self.runs = y, sources, gains, noise, noise_var, runs
        self.steady = [k for k in range(len(sources)) if k not in runs]
        self.level = noise if noise_var is not None else torch.maximum(
            noise, NOISE_FLOOR * torch.stack([gains[k].square() for k in self.steady]).amin(0))

    def bursts(self) -> dict[int, list[tuple[Burst, Burst, Tensor]]]:
        """Of each source that pauses (its place): (burst, the same with its nuisances, gain [1])."""
        density = sum((self.gains[k].square()[:, None] * densities(self.sources[k], 1, self.y.shape[1]) for k in self.steady),
                      torch.zeros(1, self.y.shape[1], dtype=torch.float64))
        out: dict[int, list[tuple[Burst, Burst, Tensor]]] = {}
        for k, runs in self.runs.items():
            source: Any = self.sources[k]
            for begin, end, gain in runs:
                power = torch.full_like(self.noise, gain ** 2)
                burst = Burst(source.at(begin), begin, end)
                noise = Noise(self.level / power, psd=density / power[:, None])
                found = burst_of_frames(self.y / gain, burst, noise)
                out.setdefault(k, []).append((*found, power.sqrt()))
        return out


def _separated(window: _Window) -> tuple[Separation, bool]:
    """See framed_bursts."""
    found = window.bursts()
    best: tuple[Separation, bool] | None = None
    for steady in _steady(window, found):
        out, quiet = _by_rounds(window, found, steady)
        if best is None or bool(left_over(window.y, out) < left_over(window.y, best[0])):
            best = out, quiet
        if best[1]:
            break
    return cast(Any, best)


def _steady(window: _Window, found: Any) -> list[tuple[list[Source], list[dict[str, Tensor]]]]:
    """What sources that do not pause may be, the likeliest first: (the sources, what was found of each)."""
    sources = [window.sources[k] for k in window.steady]
    bursts = [(burst, gain) for own in found.values() for _, burst, gain in own]
    if len(sources) == 1 and sources[0].structure is Structure.CHAIN:
        chain: Any = sources[0]
        if not chain.unknown and chain.gain is not None:
            return [([chain], [{}])]
        ways = ranked(chain, burst_tiles(window.y, bursts, window.level), _REACH, _LINES if chain.carrier_offset is None else 1)
        lacking = [name for name in ("timing", "carrier_offset", "phase") if name in chain.unknown]
        return [([replace(way, gain=chain.gain)], [{name: getattr(way, name) for name in lacking}]) for way in ways]
    rest, level = window.y, window.level
    for burst, gain in bursts:
        if (known := undecided(window.y, burst, sources[0], (gain, window.gains[window.steady[0]]), window.level)) is not None:
            rest, level = rest - known[0], level + known[1].mean(1)
    sync = synchronized(rest, sources, [window.gains[k] for k in window.steady], level)
    return [(sync.sources, sync.found)]


def _by_rounds(window: _Window, found: Any, steady: tuple[list[Source], list[dict[str, Tensor]]]) -> tuple[Separation, bool]:
    """(the Separation, whether it leaves no more than STAYS times the power in the gaps)."""
    given: list[Any] = []
    known: list[Any] = []
    gains: list[Tensor] = []
    owner: list[int] = []
    names: list[dict[str, Tensor]] = []
    for k, source in enumerate(window.sources):
        if k in found:
            new, own, amplitudes = (list(column) for column in zip(*found[k]))
            names += [{} for _ in new]
        else:
            place = window.steady.index(k)
            new, own, amplitudes = [source], [steady[0][place]], [window.gains[k]]
            names.append(steady[1][place])
        given, known, gains, owner = given + new, known + own, gains + amplitudes, owner + [k] * len(new)
    rounds = FramedRounds(window.y, given, Synchronized(known, names, gains), gains, window.level, window.noise_var, "joint", {},
                          window.free, owner)
    out = rounds.separated()
    left = (window.y - sum(e.waveform for e in out.sources)).abs().square()
    off = in_gaps(rounds.sources, window.y.shape[1])
    level = float(left[:, off].mean()) if bool(off.any()) else float(left.mean())
    task = Rounds(window.y, window.sources, Synchronized([], [], []), window.gains, window.noise, window.noise_var, "joint", {},
                  ())
    whole = put_together(task, owner, rounds.sync, out)
    for k, own in enumerate(whole.sources):
        part = rounds.parts[owner.index(k)]
        if k not in found and part.symbol_variance is not None and window.sources[k].structure is Structure.CHAIN:
            own.symbol_sinr_db = (-10 * part.symbol_variance.mean(1).log10()).float()
    whole.quality = whole.sources[0].quality.float()
    return whole, float(left.mean()) < STAYS * level


class FramedRounds(BurstRounds):
    """Rounds of one window, some of whose sources are bursts of frames. parts: of the last detection."""

    parts: list[Part]

    def _goes_on(self, turn: int, before: Tensor) -> bool:
        """See Rounds._goes_on."""
        return turn < _ROUNDS

    def _improve(self, parts: list[Part], first: bool) -> None:
        """See Rounds._improve: of all sources alike. Gaussian carriers take up noise, which the gaps then tell."""
        Rounds._improve(self, parts, first)
        off = in_gaps(self.sources, self.y.shape[1])
        if self.noise_var is None and not all(source.decided for source in self.sources) and bool(off.any()):
            left = (self.y - sum(part.waveform for part in parts))[:, off]
            self.noise = torch.maximum(self.noise, left.abs().square().mean(1).double())

    def _again(self, parts: Sequence[Part], first: bool) -> None:
        """See Rounds._again: bursts each time."""
        total = sum(part.waveform for part in parts)
        others = [(source, part.variance) for source, part in zip(self.sync.sources, parts) if not isinstance(source, Burst)]
        for j, source in enumerate(self.sources):
            if isinstance(source, Burst):
                power = self.gains[j].square()
                density = sum((variance[:, None] * densities(other, 1, self.y.shape[1]) for other, variance in others),
                              torch.zeros(1, self.y.shape[1], dtype=torch.float64))
                rest = self.y - (total - parts[j].waveform)
                self.sources[j], self.sync.sources[j] = burst_of_frames(       # type: ignore[index]
                    rest / self.gains[j][:, None].float(), source, Noise(self.noise / power, psd=density / power[:, None]))

    def _detected(self, noise: Tensor, last: bool) -> list[Part]:
        """See Rounds._detected."""
        self.parts = by_regions(self.y, self.sync.sources, self.gains, noise, last)
        return self.parts


def in_gaps(sources: Sequence[Source], samples: int) -> Tensor:
    """Samples in which none of the bursts among the sources is on, bool [samples]."""
    off = torch.ones(samples, dtype=torch.bool)
    for source in sources:
        if isinstance(source, Burst):
            off[source.begin:source.end] = False
    return off


# ---- one burst after the other ---------------------------------------------------------------------------------------------

def by_regions(y: Tensor, sources: Sequence[Any], gains: Sequence[Tensor], noise: Tensor, last: bool) -> list[Part]:
    """The Parts of all sources, whose nuisances are known, in one window: each burst is detected with the gaps around it, up to
    their middle. last: with a thorough search of decisions."""
    samples = y.shape[1]
    order = sorted((k for k, source in enumerate(sources) if isinstance(source, Burst)), key=lambda k: sources[k].begin)
    steady = [k for k in range(len(sources)) if k not in order]
    begins = [0, *(sources[k].end for k in order[:-1])]
    ends = [*(sources[k].begin for k in order[1:]), samples]
    middle = list(accumulate(((a + b) // 2 for a, b in zip(begins[1:], ends)), max))
    found: list[list[Part]] = [[] for _ in sources]
    for k, begin, end, low, high in zip(order, begins, ends, [0, *middle], [*middle, samples]):
        burst = sources[k]
        begin, end = min(begin, low), max(end, high)            # edges of two that were found apart may cross
        here = [*(sources[j].at(begin) for j in steady),
                replace(burst.within.at(begin - burst.begin), on=(burst.begin - begin, burst.end - begin))]
        parts = _in_region(y[:, begin:end], here, [gains[j] for j in (*steady, k)], noise, last)
        for j, part in zip((*steady, k), parts):
            found[j].append(owned(part, begin, (low, high), samples))
    return [summed(own) for own in found]


def _in_region(y: Tensor, sources: Sequence[Any], gains: list[Tensor], noise: Tensor, last: bool) -> list[Part]:
    """The Parts of sources in samples of which the last source, frames, takes one stretch."""
    if pair := keyed_pair(sources, y.shape):
        return by_keyed(y, sources, gains, noise, pair, last)
    chains = [k for k, source in enumerate(sources) if source.linear and k < len(sources) - 1]
    chain: Any = sources[chains[0]] if len(chains) == 1 else None
    if chain is not None and chain.structure is Structure.CHAIN and not chain.alphabet_rotation:
        return by_core(y, sources, gains, noise, (chains[0], len(sources) - 1), last)
    return by_denoisers(y, sources, gains, noise, True) if last else joint_general(y, sources, gains, noise, passes=_LOOK)


def owned(part: Part, begin: int, limits: tuple[int, int], samples: int) -> Part:
    """A Part of a region that begins at sample `begin`, as one of the window, without what lies outside of `limits`."""
    low, high = limits
    region = part.waveform.shape[1]
    wave = torch.nn.functional.pad(part.waveform[:, low - begin:high - begin], (low, samples - high))
    read, variance = part.demodulated, part.symbol_variance
    if read is not None:
        at = read.at[0] + begin
        own = (at >= low - _EXACT) & (at < high - _EXACT)       # of a symbol on a limit, one region's
        read = Demodulated(read.symbols[:, own], read.llrs[:, own], at[None, own])
        variance = variance[:, own] if variance is not None and variance.shape[1] == len(own) else None
    return Part(wave, part.variance * region / samples, read, variance)


def summed(parts: Sequence[Part]) -> Part:
    """The Part of a window, from those of its regions in order."""
    wave, variance = (torch.stack(column).sum(0) for column in zip(*((part.waveform, part.variance) for part in parts)))
    read = [part.demodulated for part in parts if part.demodulated is not None]
    spread = [part.symbol_variance for part in parts if part.symbol_variance is not None]
    return Part(wave, variance, Demodulated(*(torch.cat([getattr(one, name) for one in read], 1) for name in (
        "symbols", "llrs", "at"))) if read else None, torch.cat(spread, 1) if spread else None)


def burst_tiles(y: Tensor, bursts: Sequence[tuple[Any, Tensor]], noise: Tensor) -> Tiling:
    """One window y, complex64 [1, samples], as a Tiling: frames of bursts, whose nuisances but the phase are known, with their
    gains [1], all carriers open; and gaps. noise: float64 [1]."""
    length = max(burst.within.signal.frame_length for burst, _ in bursts)
    tiles: list[tuple[int, int, Any, int]] = []     # (begin, end, burst and gain or None, frame's first sample)
    at = 0
    for burst, gain in sorted(bursts, key=lambda one: one[0].begin):
        period = burst.within.signal.frame_length
        tiles += [(n, min(n + length, burst.begin), None, n) for n in range(at, burst.begin, length)]
        frame = burst.begin + int(burst.within.frame_offset) % period - period
        while frame < burst.end:
            low, high = max(frame, burst.begin), min(frame + period, burst.end)
            if high > low:
                tiles.append((low, high, (burst, float(gain)), frame))
            frame += period
        at = burst.end
    tiles += [(n, min(n + length, y.shape[1]), None, n) for n in range(at, y.shape[1], length)]
    out = Tiling(y, [0] * len(tiles), [tile[0] for tile in tiles], [high - low for low, high, *_ in tiles], length)
    for source in {id(tile[2][0].within.signal): tile[2][0] for tile in tiles if tile[2]}.values():
        rows = [i for i, tile in enumerate(tiles) if tile[2] and tile[2][0].within.signal is source.within.signal]
        out.groups.append(_carriers(out, tiles, rows, noise))
    gaps = torch.tensor([i for i, tile in enumerate(tiles) if tile[2] is None], dtype=torch.int64)
    if len(gaps):
        out.groups.append((gaps, torch.zeros(len(gaps), length, 0, dtype=torch.complex128), torch.zeros(
            len(gaps), 0, dtype=torch.int64), noise.double().cpu().expand(len(gaps), length).clone()))
    return out


def _carriers(tiling: Tiling, tiles: Sequence[Any], rows: list[int], noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A group of a Tiling: the frames `rows`, their open carriers."""
    waves = []
    for i in rows:
        low, _, (burst, gain), frame = tiles[i]
        matrix = torch.tensor(burst.within.matrix)
        cut = torch.zeros(tiling.length, matrix.shape[1], dtype=torch.complex128)
        piece = matrix[low - frame:]
        cut[:len(piece)] = piece
        angle = 2 * torch.pi * float(burst.within.carrier_offset) * tiling.n[i]
        waves.append(gain * torch.polar(torch.ones_like(angle), angle)[:, None] * cut * tiling.inside[i][:, None])
    stacked, index = torch.stack(waves), torch.tensor(rows)
    return index, stacked, torch.full(stacked.shape[::2], GAUSSIAN), noise.double().cpu().expand(len(rows), tiling.length).clone()
