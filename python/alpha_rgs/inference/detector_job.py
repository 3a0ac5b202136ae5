# SPDX-License-Identifier: GPL-3.0-or-later
"""How a mixture is cut into stretches for the native detector, which treats as many side by side as a vector has lanes.

A stretch begins on a frame of the OFDM. A window is one stretch; a long one is cut into several, which overlap by frames of
context. Stretches in whose frames the symbols lie alike form a group.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CONTEXT = 3             # frames on each side of what is kept of a stretch: more change no decision
_HOP = 32               # frames that are kept of a stretch, about: memory of its statistics stays in a core's own cache
_SHORTEST = 2           # of these frames, where symbols drift
_GRID = 32              # see signals/framing.py
_ENDLESS = 2 ** 30      # symbols there are, before and after: streams have no end
_MOST_REPEAT = 256      # frames


@dataclass(frozen=True)
class Windows:
    """Windows of so many samples that lie one behind the other in one array. period: samples of a frame; sps: samples per symbol;
    half: of the pulse's length; count: symbols that reach a frame. offset, timing: of each window's first whole frame, int, and
    symbol 0, samples from its first. drift: samples per sample by which symbols come ever later; then each stretch has the timing
    of its middle, rounded to `grid` samples."""

    samples: int
    period: int
    sps: float
    half: float
    count: int
    offset: tuple[int, ...]
    timing: tuple[float, ...]
    drift: float = 0.0
    grid: float = 1.0

    def timing_at(self, window: Array, sample: Array) -> Array:
        """Of symbol 0, as symbols come at that sample of the window."""
        return np.asarray(np.array(self.timing)[window] + self.drift * sample)

    def timing_of(self, stretches: Stretches) -> Array:
        """The one with which each stretch is detected."""
        own = self.timing_at(stretches.window, (stretches.low + stretches.high) / 2)
        return np.round(own / self.grid) * self.grid if self.drift else own

    @property
    def centres(self) -> Array | None:
        """All that classes of frames may have; None where there are too many."""
        steps = self.sps / self.grid, self.half / self.grid, 1 / self.grid
        if not self.drift or any(step != round(step) for step in steps):
            return None
        return np.asarray(self.grid * np.arange(steps[0]) - self.half)


@dataclass(frozen=True)
class Stretches:
    """begin: first frame's first sample, in the window; window; frames: how many; low, high: samples of the window that are kept;
    all int64 [stretches]."""

    window: Array
    begin: Array
    frames: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Plan:
    """fixed: what the extension's Detector.run takes of it. window, begin, first, timing: of each stretch, in the order in which
    they stand there, its window, its first frame's first sample, the first symbol that reaches that, symbol 0's timing; low,
    high: which samples of the window are kept of it. centres: of the classes of frames, the sample on which the first symbol that
    reaches them is centred. symbols: of each window, one behind the other."""

    fixed: dict[str, Any]
    window: Array
    begin: Array
    first: Array
    timing: Array
    centres: tuple[float, ...]
    symbols: Array
    low: Array
    high: Array

    def job(self, phase: Array, own: Array, frequency: Array, step: Array) -> dict[str, Any]:
        """What is fixed, and the carriers' angles, all [stretches]. phase: rad, of the frames' carrier at a stretch's first
        sample; own: of the symbols' carrier relative to it, where a stretch's first symbol is centred; frequency: cycles per
        sample; step: rad from symbol to symbol."""
        return self.fixed | {"angles": np.stack([phase, own, frequency, step], 1).astype(np.float64)}


@lru_cache(maxsize=1024)        # a stream's jobs differ in windows, and in where frames begin
def plan(windows: Windows, lanes: int) -> Plan:
    """The Plan of windows for vectors of so many lanes."""
    stretches = _cut(windows, lanes)
    centres, index, symbol = _classes(windows, stretches)
    first = symbol[:, 0]
    relative = np.where(index >= 0, symbol - first[:, None], -1)
    _, kind = np.unique(np.concatenate([index, relative], 1), axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    alike = kind.ravel()[order]
    groups, columns, at, begin = [], [], 0, 0
    while begin < len(order):
        stop = min(begin + lanes, int(np.searchsorted(alike, alike[begin], "right")))
        row = order[begin]
        n = int(stretches.frames[row])
        columns.append((index[row, :n], relative[row, :n]))
        groups.append((begin, stop - begin, n, at))
        at, begin = at + n, stop
    kinds, firsts = (np.concatenate(column).astype(np.int32) for column in zip(*columns))
    places, symbols = _places(windows, stretches, first)
    fixed = {"stretches": len(order), "places": places[order], "group_count": len(groups), "symbols": int(symbols.sum()),
             "groups": np.array(groups, np.int32).ravel(), "classes": kinds, "firsts": firsts, "frames": len(kinds)}
    timing = windows.timing_of(stretches)
    return Plan(fixed, stretches.window[order], stretches.begin[order], first[order], timing[order], tuple(centres.tolist()),
                symbols, stretches.low[order], stretches.high[order])


def _cut(windows: Windows, lanes: int) -> Stretches:
    period, batch = windows.period, len(windows.offset)
    offset = np.array(windows.offset, np.int64)
    begin = np.where(offset > 0, offset - period, 0)
    total = -(-(windows.samples - begin) // period)
    if total.max() < 2 * (_HOP + 2 * CONTEXT):
        return Stretches(np.arange(batch), begin, total, np.zeros(batch, np.int64), np.full(batch, windows.samples))
    repeat = _repeat(windows.sps, period)
    parts = [_cut_one(windows, k, int(begin[k]), int(total[k]), lanes, repeat) for k in range(batch)]
    return Stretches(*(np.concatenate(column).astype(np.int64) for column in zip(*parts)))


def _cut_one(windows: Windows, window: int, begin: int, total: int, lanes: int, repeat: int) -> tuple[Array, ...]:
    """The stretches of one long window, alike: they begin a multiple of `repeat` frames apart, and are of one length."""
    hop = _hop(windows, lanes)
    count = max(1, round(total / (_HOP * lanes))) * lanes if hop == _HOP else -(-total // hop)
    frames = -(-(total - 2 * CONTEXT) // count) + 2 * CONTEXT
    frames = min(-(-frames // repeat) * repeat, total)
    first = np.unique((np.arange(count) * (total - frames) // max(count - 1, 1)) // repeat * repeat)
    frames = max(frames, total - int(first[-1]), int(np.diff(first).max(initial=0)) + 2 * CONTEXT)
    edges = begin + windows.period * ((first[:-1] + frames + first[1:]) // 2)
    low, high = np.r_[0, edges], np.r_[edges, windows.samples]
    n = len(first)
    return np.full(n, window), begin + windows.period * first, np.minimum(frames, total - first), low, high


def _hop(windows: Windows, lanes: int) -> int:
    """Frames that are kept of a stretch, about: the more symbols drift, the fewer, so that those with the same timing fill a
    vector. Context that is detected twice costs less than lanes that are empty."""
    if not windows.drift:
        return _HOP
    return int(min(max(math.ceil(windows.grid / (abs(windows.drift) * windows.period) / lanes), _SHORTEST), _HOP))


def _repeat(sps: float, period: int) -> int:
    """Frames after which symbols lie in frames as before; 1 where that takes too many."""
    return next((n for n in range(1, _MOST_REPEAT) if n * period / sps == int(n * period / sps)), 1)


def _classes(windows: Windows, stretches: Stretches) -> tuple[Array, Array, Array]:
    """(centres [classes]; class of each frame int32 [stretches, frames], -1 beyond a stretch's end; the first symbol that reaches
    it, int64)."""
    most = int(stretches.frames.max())
    start = stretches.begin[:, None] + windows.period * np.arange(most)
    timing = windows.timing_of(stretches)[:, None]
    symbol = np.ceil((start - windows.half - timing) / windows.sps - 1e-9).astype(np.int64)
    centre = timing + symbol * windows.sps - start
    centre = np.round(centre, 4) if windows.sps == int(windows.sps) else np.round(centre * _GRID) / _GRID
    if (known := windows.centres) is None:
        centres, index = np.unique(centre, return_inverse=True)
    else:
        centres, index = known, np.round((centre - known[0]) / windows.grid).astype(int).clip(0, len(known) - 1)
    index = index.reshape(centre.shape).astype(np.int32)
    index[np.arange(most) >= stretches.frames[:, None]] = -1
    return centres, index, symbol


def _places(windows: Windows, stretches: Stretches, first: Array) -> tuple[Array, Array]:
    """(a row for each stretch, as model.h's Stretch begins; how many symbols are centred in each window)."""
    low, high = (np.ceil((edge - windows.timing_at(stretches.window, edge)) / windows.sps - 1e-9).astype(np.int64)
                 for edge in (stretches.low, stretches.high))
    own = stretches.window * windows.samples
    rows = [own + stretches.begin, own, own + windows.samples, own + stretches.low, own + stretches.high,
            np.cumsum(high - low) - (high - low), low - first, high - first, -_ENDLESS - first, _ENDLESS - first]
    return np.stack(rows, 1).astype(np.int64), np.bincount(stretches.window, high - low).astype(int)
