# SPDX-License-Identifier: GPL-3.0-or-later
"""How a mixture is cut into stretches for the native detector, which treats as many side by side as a vector has lanes.

A stretch begins on a frame of the OFDM. A window is one stretch; a long one is cut into several, which overlap by frames of
context. Stretches in whose frames the symbols lie alike form a group.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CONTEXT = 3             # frames on each side of what is kept of a stretch: more change no decision
_ENOUGH = 2             # frames of context at a window's ends, if there are so many
_HOP = 32               # frames that are kept of a stretch, about: memory of its statistics stays in a core's own cache
_GRID = 32              # see signals/framing.py


@dataclass(frozen=True)
class Windows:
    """Windows that lie one behind the other in one array. All arrays are [batch], of windows; samples are counted from each
    window's first. period: samples of a frame; sps: samples per symbol; half: of the pulse's length; count: symbols that reach a
    frame. offset: of the first whole frame, timing: of symbol 0, samples; keep: first sample that is wanted, and one past the
    last. phase, frequency: rad and cycles per sample, of the frames; symbol_phase: rad, of symbol 0, relative to the frames';
    symbol_step: rad from symbol to symbol. symbols: how many there are, from number 0 on;
    None without end."""

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
    symbols: int | None = None


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
    low, high = windows.keep
    # frames that a window cuts are dear, and of no use where there is context enough without them
    begin = np.where((windows.offset > 0) & (windows.offset + _ENOUGH * period > low), windows.offset - period,
                     windows.offset).astype(np.int64)
    whole = (windows.samples - begin) // period
    total = np.where(begin + whole * period >= min(high + _ENOUGH * period, windows.samples), whole,
                     -(-(windows.samples - begin) // period))
    if total.max() < 2 * (_HOP + 2 * CONTEXT):
        return Stretches(np.arange(batch), begin, total, np.full(batch, low, np.int64), np.full(batch, high, np.int64))
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
    timing, last = windows.timing[stretches.window], windows.symbols
    low, high = (np.ceil((edge - timing) / windows.sps - 1e-9).astype(np.int64)
                 for edge in (stretches.keep_low, stretches.keep_high))
    if last is not None:
        low, high = low.clip(0, last), high.clip(0, last)
    return low - first, high - first


def job(windows: Windows, stretches: Stretches, classes: tuple[Array, Array], lanes: int, gain: float) -> dict[str, Any]:
    """What the extension's Detector.run takes but for the mixture and the outputs. classes: as classes_of returns them."""
    index, symbol = classes
    first = symbol[:, 0]
    relative = np.where(index >= 0, symbol - first[:, None], -1)
    _, kind = np.unique(np.concatenate([index, relative], 1), axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    sorted_kind = kind.ravel()[order]
    groups, alike, at, begin = [], [], 0, 0
    while begin < len(order):
        stop = min(begin + lanes, int(np.searchsorted(sorted_kind, sorted_kind[begin], "right")))
        row = order[begin]
        n = int(stretches.frames[row])
        alike.append((index[row, :n], relative[row, :n]))
        groups.append((begin, stop - begin, n, at))
        at, begin = at + n, stop
    low, high = symbols_kept(windows, stretches, first)
    own, last = stretches.window * windows.samples, 2 ** 30 if windows.symbols is None else windows.symbols
    places = [own + stretches.begin, own, own + windows.samples, own + stretches.keep_low, own + stretches.keep_high,
              np.cumsum(high - low) - (high - low), low, high, (-first if windows.symbols is not None else -last + 0 * first),
              last - first]
    angle = windows.phase[stretches.window] + 2 * np.pi * (windows.frequency * stretches.begin % 1)
    symbol_angle = windows.symbol_phase[stretches.window] + windows.symbol_step * first
    kinds, firsts = (np.concatenate(column).astype(np.int32) for column in zip(*alike))
    return {
        "stretches": len(order), "places": np.stack(places, 1)[order].astype(np.int64), "gain": gain,
        "angles": np.stack([angle, symbol_angle], 1)[order].astype(np.float64), "group_count": len(groups),
        "groups": np.array(groups, np.int32).ravel(), "classes": kinds, "firsts": firsts, "frames": len(kinds),
        "symbols": int((high - low).sum()),
    }
