# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way through the engine (see brief.py) of a stream that is locked: one linear modulation under frames.

What the lock expects of carriers and levels is carried through all windows as one stretch. Some windows, spread over it, say how
far that was off. Where a window leaves too much, or is much worse than those before, only those before it are taken.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from ..inference.detector_job import Plan
from ..separators.base import Separation
from ..separators.joint_native import Detection, Motion, Pair, Timing, alike, detect_moving, rounded, suits
from .brief import DOUBTED, Brief, Later, Row
from .lock import WHOLE, Lock, Predicted, reported
from .lock_correction import edge_of, stepped
from .lock_prediction import carried
from .symbol_tracker import Tracker

Array = np.ndarray[Any, Any]
Again = Callable[[Array, Predicted], Separation]        # rows, their prediction -> these windows, one by one, of tensors

_FEW, _MANY = 8, 256    # windows that are taken at once, at least and at most
_SURE = 32              # windows from which on it does not take twice as many to predict some
# of these that say how far the prediction was off: so many until there are _SURE of them, then one in _SPACED
_SEEN, _SPACED = 8, 16
# of the noise, or of what counts as none relative to a source's power: what a delay that is rounded may leave
_UNSEEN, _NO_NOISE = 0.1, 3e-4
_FAST = 2e-4            # samples per sample that clocks may be off by
_FINER = 4              # steps of that, to which a delay that stays is rounded: tables are kept
_MOST_TROUBLE = 0.25    # share of stretches in doubt, from which on it is the prediction that is wrong
# times what a stray window leaves at least: other decisions make good what a few frames leave, a sample dropped leaves 7 to 500
# times that; one window in _LOST that leaves so much is no glitch
_BEYOND, _LOST = 6.0, 4
_EXCESS = 0.05          # of the noise: what a prediction may leave before fewer windows are predicted at once


class LockedDirect:
    """Of one stream. lock: of two sources, the linear modulation first; tracker: of its symbols; kappa, noise_var: where they
    are told; threads: of the native detector."""

    def __init__(self, lock: Lock, tracker: Tracker, noise_var: float | None, threads: int) -> None:
        self.lock, self.tracker, self.noise_var, self.threads = lock, tracker, noise_var, threads
        self.soi, self.interference = lock.sources
        self._far = _FEW
        self._pair: Pair | None = None          # of late
        self._delay = math.nan                  # of the linear modulation, where it stays

    @staticmethod
    def suits(soi: Any, interference: Any) -> bool:
        """Whether the native detector knows the pair, and what is not known of it can be carried through a stretch."""
        return suits(soi, interference) and all(source.state.phase is None or source.state.carrier_offset is not None
                                                for source in (soi, interference))

    @property
    def reach(self) -> int:
        """How many windows can be taken now; 0 for none."""
        good = self.lock.good
        if not self.lock.reach or self.tracker.last is None:
            return 0
        return min(good // 2, self._far) if good < _SURE else self._far

    def takes(self, windows: Array, start: Array, sound: bool) -> Row | None:
        """The Row of windows, complex64 [n, samples], that begin at start, int64 [n]; None where they do not lie in a row. sound:
        see Row.of."""
        return Row.of(windows, start, float(self.soi.symbol_period), 2 * int(self.interference.frame_period), sound)

    def separate(self, row: Row, again: Again) -> Brief | None:
        """What is in windows in a row, or in the first of them; None where they have to be separated one by one, or the lock is
        lost."""
        out = self._separated(row, again)
        taken = 0 if out is None else len(out.kappa)
        if taken < len(row.windows):
            self._far = _FEW
        return out

    def _separated(self, row: Row, again: Again) -> Brief | None:
        noise = self.lock.noise_var if self.noise_var is None else self.noise_var
        course = _Course(self.lock, row, self._delay)
        if not course.steady:
            return None
        self._delay = course.delay
        pair = self._pair = course.pair(noise, self._pair)
        if pair is None:
            return None
        stretch = row.stretch()
        found, todo = detect_moving(stretch, pair, course.timing, course.motion, self.threads, row.context, DOUBTED)
        if found.share <= _MOST_TROUBLE:
            self._mend(row, found, course, again)
        rest = stretch[0] - found.soi[0]
        rest -= found.interference[0]
        left = _powers(rest, row, edge_of(self.lock.sources, row.samples))
        row = row.until(_first(self.lock.strays(left)))
        if not len(row.windows):
            if self._lost(left):
                self.lock.lose(float(row.first))
            return None
        count, pair_of = len(row.windows), (self.soi, self.interference)
        some = self._asked(row)
        if len(some):
            quality = row.quality(found, course.inside[:count], pair_of, course.period, some)
            if 2 * self.lock.worse(quality).sum() > len(some):
                return None
            self._learn(row, found, course, todo, left[:count], some, quality)
        angle, moves = self.tracker.follow_row(row.first + row.begins, row.samples, course.expected(count), self.lock.quality)
        found.symbols[:] *= np.complex64(np.exp(1j * angle))
        found.symbols[:] *= np.complex64(np.exp(1j * self.tracker.settled_by(found.symbols[0], row.first)))
        out = row.result(found, course.inside[:count] - moves, course.period, course.other["gain"][1:count + 1], np.array(noise),
                         lambda: row.judged(found, course.inside[:count], pair_of, course.period))
        out.estimated = Later(partial(course.reported, out.kappa, noise, self.lock.before))
        return out

    def _lost(self, left: Array) -> bool:
        """Whether windows leave so much that they need not be separated one by one to see that the lock is lost at the first."""
        far = self.lock.strays(left / _BEYOND)
        return bool(far[0]) and int(far.sum()) > len(left) // _LOST

    def _asked(self, row: Row) -> Array:
        """Which windows say how far the prediction was off, int: one in _SPACED once there are many."""
        count = len(row.windows)
        if self.lock.good < _SURE:
            return np.arange(count)[::max(1, count // _SEEN)]
        return np.flatnonzero((row.first + row.begins) // row.hop % _SPACED == 0)

    def _mend(self, row: Row, found: Detection, course: _Course, again: Again) -> None:
        """Have windows in doubt separated one by one."""
        def separated(rows: Array) -> Separation:
            predicted = self.lock.predicted(row.first + row.begins[rows], row.samples)
            assert predicted is not None        # frames begin at whole samples: _Course.pair
            return again(rows, predicted)

        row.mend(found, course.inside, course.period, separated)

    def _learn(self, row: Row, found: Detection, course: _Course, todo: Plan, left: Array, rows: Array,
               quality: Array) -> None:
        """Tell the lock how far some of the windows were off, and predict fewer at once where that is felt."""
        at = row.begins[rows, None] + np.arange(row.samples)
        states, gains = course.states(rows, todo)
        seen = stepped(row.windows[rows], [x[0][at] for x in (found.soi, found.interference)], gains, states, self.lock.sources)
        excess = float(np.median(left[rows] / np.maximum(seen.left, 1e-30))) - 1
        self._far = max(self._far // 2, _FEW) if excess > _EXCESS else min(2 * self._far, _MANY)
        self.lock.learn(row.first + row.begins[rows] + (row.samples - 1) / 2, seen.states, seen.left, quality,
                        np.full(len(rows), self.lock.noise_var), placed=True)


class _Course:
    """How the two sources of a lock go on in a row of windows. own, other: of each what lock_prediction.carried gives, at the
    row's first sample, the windows' middles, and its end. delay: of the linear modulation, as it is detected with, NaN where it
    drifts; before: of the row before. timing: where symbols and frames lie in the row. inside, centre:
    number, in the row, and centre, in the stream, of the first symbol that is centred in each window."""

    def __init__(self, lock: Lock, row: Row, before: float) -> None:
        self.lock, self.row, self.delay = lock, row, before
        self.starts, half = row.first + row.begins, (row.samples - 1) / 2
        self.at = np.r_[self.starts[0], self.starts + half, self.starts[-1] + row.samples].astype(float)
        self.own, self.other = (carried(source, track, self.at) for source, track in zip(lock.sources, lock.tracks))
        soi, interference = lock.sources
        self.period, frame = float(soi.symbol_period), int(interference.frame_period)
        self.timing = self._timing((round(float(self.other["delay"].mean())) - row.first) % frame)
        symbol = self.timing.symbol + self.timing.drift * row.begins
        number = np.ceil((row.begins - symbol) / self.period - 1e-9).astype(int)
        self.inside, self.centre = number - number[0], row.first + symbol + number * self.period

    def _timing(self, frame: int) -> Timing:
        """Delays on a grid, so that tables are kept; one for all where they change by less than what leaves too much."""
        delay, noise = self.own["delay"], self.lock.noise_var / max(float(self.own["gain"].mean()), 1e-30) ** 2
        grid = 2.0 ** math.floor(math.log2(2 * self.period / math.pi * math.sqrt(_UNSEEN * max(noise, _NO_NOISE))))
        drift = float(delay[-1] - delay[0]) / (self.at[-1] - self.at[0])
        if abs(float(delay[-1] - delay[0])) < grid / 2:
            fine, mean = grid / _FINER, float(delay.mean())
            if not abs(mean - self.delay) < fine:       # else as before, while it wavers about the edge between two
                self.delay = round(mean / fine) * fine
            return Timing((self.delay - self.row.first) % self.period, 0.0, grid, frame)
        self.delay = math.nan
        # a symbol's, near the row's first sample; delays grow by whole symbols with those that have been sent
        return Timing((float(delay[0]) - self.row.first) % self.period, drift, grid, frame)

    @property
    def steady(self) -> bool:
        """Whether delays change so little in the row that windows need not be shifted."""
        off = abs(self.other["delay"] - np.round(self.other["delay"].mean())).max()
        return bool(abs(self.timing.drift) <= _FAST and off <= WHOLE)

    def pair(self, noise_var: float, before: Pair | None) -> Pair | None:
        """As the native detector takes it: `before` where nobody could tell it apart; None where it does not."""
        soi, interference = self.lock.sources
        middle = [len(self.at) // 2]
        gain, kappa, own, frequency = (values[name][middle] for values, name in (
            (self.own, "gain"), (self.other, "gain"), (self.own, "carrier_offset"), (self.other, "carrier_offset")))
        ratio, sent, delta = kappa / gain, noise_var / gain ** 2, own - frequency
        if before is not None and alike(before, ratio.item(), sent.item(), delta.item(), frequency.item(), soi, interference):
            return before
        (level, noise, delta, offset), = rounded(ratio, sent, delta, frequency, soi, interference).tolist()
        return Pair.of(soi, interference, level, noise, 1.0, delta + offset, offset)

    def motion(self, samples: Array) -> Motion:
        """The pair at samples of the row."""
        own_phase, own_offset, gain, phase, frequency, kappa = (
            np.interp(samples + self.row.first, self.at, values[name]) for values in (self.own, self.other)
            for name in ("phase", "carrier_offset", "gain"))
        return Motion(own_phase, own_offset, phase, frequency, gain, kappa / gain)

    def states(self, rows: Array, todo: Plan) -> tuple[list[dict[str, Array]], list[Array]]:
        """(field -> value that windows were separated with, of those that are tracked; gain), of each source."""
        states, gains = [], []
        for values, track in zip((self.own, self.other), self.lock.tracks):
            states.append({name: values[name][1:-1][rows] for name in track.fields})
            gains.append(values["gain"][1:-1][rows])
        if "delay" in states[0]:
            states[0]["delay"] = states[0]["delay"] + self._shifts(rows, todo)
        if "delay" in states[1]:
            states[1]["delay"] = np.full(len(rows), float(np.round(self.other["delay"].mean())))
        return states, gains

    def _shifts(self, rows: Array, todo: Plan) -> Array:
        """By how much the delays that windows were separated with lie off those expected of them, on the mean."""
        order = np.argsort(todo.low)
        edges = np.r_[todo.low[order], todo.high[order[-1]]].astype(float)
        sums = np.r_[0.0, np.cumsum(todo.timing[order] * np.diff(edges))]
        begin = self.row.begins[rows].astype(float)
        end = begin + self.row.samples
        used = (np.interp(end, edges, sums) - np.interp(begin, edges, sums)) / (end - begin)
        wanted = self.timing.symbol % self.period + self.own["delay"][1:-1][rows] - self.own["delay"][0]
        off = used - wanted
        return np.asarray(off - self.period * np.round(off / self.period))

    def expected(self, count: int) -> dict[str, Array]:
        """Of the linear modulation, in the first windows, as Tracker.follow_row takes it."""
        own = {name: self.own[name][1:count + 1] for name in ("phase", "carrier_offset", "gain")}
        return {"timing": self.centre[:count], **own}

    def reported(self, kappa: Array, noise_var: float, before: dict[str, Any]) -> dict[str, Array]:
        """`estimated` of the first windows, as many as have a kappa. before: see lock.reported."""
        count, half = len(kappa), (self.row.samples - 1) / 2
        states = []
        for values, track in zip((self.own, self.other), self.lock.tracks):
            state = {name: values[name][1:count + 1] for name in track.fields}
            if "delay" in state:
                state["delay"] = (state["delay"] - self.starts[:count]) % track.period
            if "phase" in state:
                state["phase"] = state["phase"] - 2 * math.pi * half * values["carrier_offset"][1:count + 1]
            states.append(state)
        found = reported(Predicted(self.lock.sources, states, noise_var), before, True, torch.from_numpy(kappa))
        return {name: value.numpy() for name, value in found.items()}


def _powers(left: Array, row: Row, edge: int) -> Array:
    """Mean power of what is left, complex64 [samples of the row], in each window without `edge` samples at its ends: [n]."""
    size, parts = row.samples - 2 * edge, left[edge:].view(np.float32)
    each = np.lib.stride_tricks.as_strided(parts, (len(row.windows), 2 * size), (2 * row.hop * parts.itemsize, parts.itemsize))
    return np.einsum("ij,ij->i", each, each) / size


def _first(found: Array) -> int:
    """The place of the first one that is true; how many there are where none is."""
    return int(found.argmax()) if found.any() else len(found)
