# SPDX-License-Identifier: GPL-3.0-or-later
"""How a mixture is cut into stretches for the native detector, which treats as many side by side as a vector has lanes.

A stretch begins on a frame of the OFDM. A window is one stretch; a long one is cut into several, which overlap by frames of
context. Stretches in whose frames the symbols lie alike form a group.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CONTEXT = 3             # frames on each side of what is kept of a stretch: more change no decision
_HOP = 32               # frames that are kept of a stretch, about: memory of its statistics stays in a core's own cache
_GRID = 32              # see signals/framing.py


@dataclass(frozen=True)
class Windows:
    """Windows that lie one behind the other in one array. All arrays are [batch], of windows; samples are counted from each
    window's first. period: samples of a frame; sps: samples per symbol; half: of the pulse's length; count: symbols that reach a
    frame. offset: of the first whole frame, timing: of symbol 0, samples; keep: first sample that is wanted, and one past the
    last. phase, frequency: rad and cycles per sample, of the frames; symbol_phase: rad, of symbol 0, relative to the frames';
    symbol_step: rad from symbol to symbol."""

    samples: int
    period: int
    sps: float
    half: float
    count: int
    offset: Array
    timing: Array
    phase: Array
    frequency: float
    symbol_phase: Array
    symbol_step: float
    keep: tuple[int, int]


@dataclass(frozen=True)
class Stretches:
    """begin: first frame's first sample, in the window; window; frames: how many; keep_low, keep_high: samples of the window that
    are wanted; all int64 [stretches]."""

    window: Array
    begin: Array
    frames: Array
    keep_low: Array
    keep_high: Array


def cut(windows: Windows, lanes: int, repeat: int = 1) -> Stretches:
    """The stretches of windows. repeat: frames after which the symbols lie alike again."""
    period, batch = windows.period, len(windows.offset)
    begin = np.where(windows.offset > 0, windows.offset - period, 0).astype(np.int64)
    total = -(-(windows.samples - begin) // period)
    low, high = windows.keep
    if total.max() < 2 * (_HOP + 2 * CONTEXT):
        whole = np.full(batch, low), np.full(batch, high)
        return Stretches(np.arange(batch), begin, total, *(v.astype(np.int64) for v in whole))
    parts = []
    for k in range(batch):
        parts.append(_cut_one(k, int(begin[k]), int(total[k]), period, (low, high), lanes, repeat))
    return Stretches(*(np.concatenate(column) for column in zip(*parts)))


def _cut_one(window: int, begin: int, total: int, period: int, keep: tuple[int, int], lanes: int, repeat: int) -> tuple[Array, ...]:
    """The stretches of one long window, alike: they begin a multiple of `repeat` frames apart, and are of one length."""
    count = max(1, round(total / (_HOP * lanes))) * lanes
    frames = -(-(total - 2 * CONTEXT) // count) + 2 * CONTEXT
    frames = min(-(-frames // repeat) * repeat, total)
    first = (np.arange(count) * (total - frames) // max(count - 1, 1)) // repeat * repeat
    first = np.unique(first)
    frames = max(frames, total - int(first[-1]), int(np.diff(first).max(initial=0)) + 2 * CONTEXT)
    first = np.minimum(first, total - frames)
    edges = begin + period * ((first[:-1] + frames + first[1:]) // 2)
    low, high = np.r_[keep[0], edges], np.r_[edges, keep[1]]
    n = len(first)
    return (np.full(n, window), begin + period * first, np.full(n, frames), low.clip(*keep).astype(np.int64),
            high.clip(*keep).astype(np.int64))


def classes_of(windows: Windows, stretches: Stretches) -> tuple[Array, Array, Array]:
    """(centres [classes]; class of each frame int32 [stretches, frames], -1 beyond a stretch's end; first symbol that reaches it,
    int64)."""
    most = int(stretches.frames.max())
    start = stretches.begin[:, None] + windows.period * np.arange(most)
    timing = windows.timing[stretches.window][:, None]
    symbol = np.ceil((start - windows.half - timing) / windows.sps - 1e-9).astype(np.int64)
    centre = timing + symbol * windows.sps - start
    centre = np.round(centre, 4) if windows.sps == int(windows.sps) else np.round(centre * _GRID) / _GRID
    centres, index = np.unique(centre, return_inverse=True)
    index = index.reshape(centre.shape).astype(np.int32)
    index[np.arange(most) >= stretches.frames[:, None]] = -1
    return centres, index, symbol


def symbols_kept(windows: Windows, stretches: Stretches, first: Array) -> tuple[Array, Array]:
    """(low, high): numbers of the symbols centred on what is kept of each stretch, counted from `first` [stretches]."""
    timing = windows.timing[stretches.window]
    low, high = (np.ceil((edge - timing) / windows.sps - 1e-9).astype(np.int64) - first
                 for edge in (stretches.keep_low, stretches.keep_high))
    return low, high


@dataclass
class _Edges:
    """Tables of frames that are cut, each made once."""

    make: Callable[[int, int, int], tuple[Array, Array]]
    rows: list[Array]
    known: dict[tuple[int, int, int], int]
    tables: list[tuple[Array, Array]]

    def row(self, kinds: Array, low: Array, high: Array, lanes: int) -> int:
        """The number of a row of tables for these frames, one in each lane."""
        row = np.full(lanes, -1, np.int32)
        for lane, key in enumerate(zip(kinds.tolist(), low.tolist(), high.tolist())):
            if key[0] < 0 or key[2] <= key[1]:
                continue
            if key not in self.known:
                self.known[key] = len(self.tables)
                self.tables.append(self.make(*key))
            row[lane] = self.known[key]
        self.rows.append(row)
        return len(self.rows) - 1


def job(windows: Windows, stretches: Stretches, classes: tuple[Array, Array], lanes: int,
        edge: Callable[[int, int, int], tuple[Array, Array]], gain: float) -> tuple[dict[str, Any], Array]:
    """(what the extension's Detector.run takes but for the mixture and the outputs; the order in which stretches stand there).
    classes: as classes_of returns them. edge: (class, low, high) -> tables, see DetectorTables.edge."""
    index, symbol = classes
    period, first = windows.period, symbol[:, 0]
    relative = np.where(index >= 0, symbol - first[:, None], -1)
    _, kind = np.unique(np.concatenate([index, relative], 1), axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    sorted_kind = kind.ravel()[order]
    edges = _Edges(edge, [], {}, [])
    groups, frames_of, at = [], [], 0
    begin = 0
    while begin < len(order):
        stop = min(begin + lanes, int(np.searchsorted(sorted_kind, sorted_kind[begin], "right")))
        rows = order[begin:stop]
        n = int(stretches.frames[rows[0]])
        start = stretches.begin[rows][:, None] + period * np.arange(n)
        low, high = (-start).clip(0, period), (windows.samples - start).clip(0, period)
        cut_frames = ((low > 0) | (high < period)).any(0)
        row = [edges.row(index[rows, f], low[:, f], high[:, f], lanes) if cut_frames[f] else -1 for f in range(n)]
        frames_of.append((index[rows[0], :n], relative[rows[0], :n], np.array(row, np.int32)))
        groups.append((begin, stop - begin, n, at))
        at, begin = at + n, stop
    return _packed(windows, stretches, order, first, groups, frames_of, edges, gain), order


def _packed(windows: Windows, stretches: Stretches, order: Array, first: Array, groups: list[Any], frames_of: list[Any],
            edges: _Edges, gain: float) -> dict[str, Any]:
    own = stretches.window * windows.samples
    low, high = symbols_kept(windows, stretches, first)
    out = np.cumsum(high - low) - (high - low)
    places = np.stack([own + stretches.begin, own, own + windows.samples, own + stretches.keep_low, own + stretches.keep_high, out,
                       low, high], 1)
    angle = windows.phase[stretches.window] + 2 * np.pi * (windows.frequency * stretches.begin % 1)
    symbol_angle = windows.symbol_phase[stretches.window] + windows.symbol_step * first
    columns = [np.concatenate(column).astype(np.int32) for column in zip(*frames_of)]
    tables = edges.tables
    return {
        "stretches": len(order), "places": np.ascontiguousarray(places[order], np.int64), "gain": gain,
        "angles": np.ascontiguousarray(np.stack([angle, symbol_angle], 1)[order], np.float64), "group_count": len(groups),
        "groups": np.array(groups, np.int32).ravel(), "classes": columns[0], "firsts": columns[1], "edges": columns[2],
        "frames": len(columns[0]), "edge": np.concatenate([np.zeros(0, np.int32), *edges.rows]), "edge_rows": len(edges.rows),
        "edge_tables": len(tables), "symbols": int((high - low).sum()),
        "edge_filter": np.concatenate([np.zeros(0, np.complex64), *(t[0].ravel() for t in tables)]),
        "edge_gram": np.concatenate([np.zeros(0, np.complex64), *(t[1].ravel() for t in tables)]),
    }
