# SPDX-License-Identifier: GPL-3.0-or-later
"""From windows that were each acquired alone to one stream of symbols: none twice, none missing, all in one phase.

A window gives timing modulo a symbol and phase up to the alphabet's symmetry. Both are predicted from window to window, and each
window's symbols are shifted and rotated to agree. Clocks may drift: a symbol is dropped or repeated only when the drift reaches
two symbols. Unreliable windows are placed as predicted. What the prior gives is not estimated from the windows.

A window may have been acquired wrongly, and be sure of it: a carrier offset that is wrong by the symbol rate over the alphabet's
symmetry leaves symbols on the alphabet's points. So windows are compared with their neighbours, before and after, and those that
disagree in timing or carrier offset, or are much worse, are separated once more with both as the neighbours have them; the
better result is kept. Neighbours are believed by majority (medians), however far away: tracking goes on after a gap. Last, the
phase of each window is drawn to the line through its own and its neighbours', as far as their standard deviations say.

Where the prior has a preamble it is looked for in each window's symbols, in any turn. The first one settles the turn, also
of the windows that came with it; one in another turn settles it anew.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..separators.base import Separation, exchanged, finite, mapped
from ..sources.linear_modulation import NUISANCES

_BELIEVED = 3.0         # dB of quality below which a window says nothing: of QPSK in noise, every thirteenth bit is wrong
_WORSE = 3.0            # dB below its neighbours, from which a window is tried again
_PREFERRED = 1.0        # dB that a window may lose by agreeing with its neighbours
_SLIPPED = 2            # symbols of drift after which one is dropped or repeated
_NEIGHBOURS, _RECENT = 3, 8     # windows on either side that are compared; of so many those that are good
_KEPT, _CLOCK = 128, 8  # believed windows that are remembered; that the clock's offset needs at least
_APART = 1 / 16         # of a symbol: timings that differ by more do not agree
_CHANCE = 1e-6          # that symbols are taken for a preamble that is not there, in one window
_RIVAL = 0.7            # of a match, from which one in another turn makes it doubtful
_TELLING = {"timing", "phase", "carrier_offset"}        # what is estimated where the SOI was searched
_UNKNOWN = {"timing": 0.0, "phase": 0.0, "carrier_offset": 0.0, "gain": 1.0}    # of a window that says nothing, the first of all
_WANDER, _OUT = 0.03, 5.0       # rad that a carrier's phase may wander in the time of a window; standard deviations of an outlier


def symbols_before(sample: float, samples_per_symbol: float) -> int:
    """The number of the first symbol whose period begins at that sample of a stream or later."""
    return int(np.ceil(sample / samples_per_symbol - 1e-9))


@dataclass
class _Seen:
    """What windows reported, float64 [windows]. start: first sample; timing: of a symbol's centre, in the stream; phase: in the
    middle of the window, once aligned in one piece; *_std: standard deviations, 0 where not known; number: of the symbol at
    `timing`, once aligned."""

    start: np.ndarray
    middle: np.ndarray
    timing: np.ndarray
    phase: np.ndarray
    carrier_offset: np.ndarray
    gain: np.ndarray
    phase_std: np.ndarray
    offset_std: np.ndarray
    quality: np.ndarray
    number: np.ndarray

    def __getitem__(self, rows: int) -> _Seen:
        return _Seen(*(getattr(self, f.name)[rows] for f in fields(self)))


class Tracker:
    """Of one stream. soi: the prior, whose timing or phase is unknown; slips: symbols dropped less those repeated (clock drift);
    slipped: list of (start of the window from which it holds, +1 or -1); word: of the preamble, or None; settled: (start of the
    first window that it was used on, angle by which those before would have to be turned, rad), or None so far."""

    def __init__(self, soi: Any) -> None:
        self.soi, self.slips = soi, 0
        self.slipped: list[tuple[int, int]] = []
        self.word: Any = soi.word if soi.preamble and soi.phase is None else None
        self.settled: tuple[int, float] | None = None
        self._angle = 0.0
        self.last: Any = None                                   # the last window that was believed, a _Seen
        self._past: deque[_Seen] = deque(maxlen=_KEPT)          # all of them
        self._period: float | None = None                       # symbol period over samples_per_symbol, less one, of late
        self._lately: list[_Seen] = []  # windows good enough to be believed, also those that agreed with none: they may be right

    def follow(self, out: Any, starts: list[int] | np.ndarray, again: Callable[..., Any] | None = None,
               predicted: bool = False) -> Separation:
        """A Separation of numpy arrays whose windows begin at starts [n] -> the same, symbols and llrs aligned as the stream has
        them: row i of a window is symbol symbols_before(start) + i. again(rows, known) -> such a Separation of some of the
        windows once more, with `known` of the SOI (name -> float64 [rows], referring to the stream's first sample); None: as they
        are. Windows for which nothing was estimated had the SOI as predicted(). predicted: whether all nuisances were predicted
        for all windows together, and so agree."""
        starts, out = np.asarray(starts, np.int64), self._sound(out)
        self._period = self._slope()
        seen = self._seen(out, starts)
        reported = bool(out.estimated.keys() & _TELLING)
        if reported and again and (self.soi.timing is None or self.soi.carrier_offset is None):
            out, seen = self._mended(out, seen, again)
        believed = (seen.quality > _BELIEVED if predicted else self._believed(seen)) & reported
        windows, before = [seen[k] for k in range(len(starts))], list(self._past)[-_NEIGHBOURS:]
        if self.last is None:       # windows before the first good one are placed by it
            self.last, sps = windows[int(believed.argmax())], self.soi.signal.samples_per_symbol
            self.last.number = symbols_before(self.last.start, sps) + int(np.floor((self.last.timing - self.last.start) / sps))
            if self.soi.phase is not None:          # known at the stream's first sample, found up to the alphabet's turn
                turn = 2 * np.pi / self.soi.signal.alphabet.symmetry
                first = self.last.phase - 2 * np.pi * self.last.carrier_offset * self.last.middle
                self.last = replace(self.last, phase=self.last.phase - turn * round((first - self.soi.phase) / turn))
        self._lately = (self._lately + [w for w in windows if reported and w.quality > _BELIEVED])[-_RECENT:]
        placed = [self._placed(*window) for window in zip(windows, believed)]
        sure = before + [window for window, good in zip(windows, believed) if good]
        symbols, llrs = out.symbols.copy(), out.llrs.copy()
        aligned = []
        for k, (window, (turns, move)) in enumerate(zip(windows, placed)):
            angle = 2 * np.pi * turns / self.soi.signal.alphabet.symmetry
            if believed[k] and window.phase_std and self.soi.phase is None and not predicted:
                angle = angle + self._error(window, sure, symbols.shape[1])
            aligned.append((symbols[k] * np.exp(1j * angle), move))
        for k, ((turned, move), angle) in enumerate(zip(aligned, self._settle([turned for turned, _ in aligned], starts))):
            turned = turned * np.exp(1j * angle)
            llrs[k] = _moved(self._turned(llrs[k], symbols[k], turned, out.quality[k]), move)
            symbols[k] = _moved(turned, move)
        return replace(out, symbols=symbols.astype(np.complex64), llrs=llrs)

    def follow_row(self, starts: np.ndarray, samples: int, expected: Mapping[str, np.ndarray], quality: float
                   ) -> tuple[float, np.ndarray]:
        """Of windows of so many samples in a row, which were predicted together: (rad by which all symbols are to be turned; by
        how many symbols those of each window are to be moved, int [n]), as `follow` does it. expected: timing (of the first
        symbol that is centred in each), phase (of the windows' middle), carrier_offset and gain as the stream has them, float64
        [n]; quality: dB. One window was followed before."""
        self._period, none = self._slope(), np.zeros(len(starts))
        sps = self.soi.signal.samples_per_symbol
        seen = _Seen(starts.astype(float), starts + samples / 2, expected["timing"], expected["phase"].copy(),
                     expected["carrier_offset"], expected["gain"], none, none, none + quality, none.copy())
        turns, _ = self._placed(seen[0], True)
        angle, last = 2 * np.pi * turns / self.soi.signal.alphabet.symmetry, self.last
        period = sps * (1 + (self._stretch() or 0.0))
        seen.phase -= angle
        seen.number = last.number + np.round((seen.timing - last.timing) / period)
        moves = (seen.number - np.ceil(seen.start / sps - 1e-9)).astype(int) - self.slips
        while len(far := np.flatnonzero(abs(moves) >= _SLIPPED)):
            step = int(np.sign(moves[far[0]]))
            self.slips += step
            self.slipped.append((int(starts[far[0]]), step))
            moves[far[0]:] -= step
        some = [seen[k] for k in sorted({*range(len(starts) - 1, 0, -max(len(starts) // _RECENT, 1))})]
        self._past.extend(some)
        self.last, self._lately = self._past[-1], (self._lately + some)[-_RECENT:]
        return angle, moves

    def settled_by(self, symbols: np.ndarray, start: int) -> float:
        """By what angle, rad, symbols of windows in a row, aligned, are to be turned for the preamble's sake."""
        return self._settle([symbols], np.array([start]))[-1]

    def _sound(self, out: Any) -> Separation:
        """The Separation, in which windows that hold NaN say nothing, nor those for which the SOI's nuisances are NaN: these are
        replaced by what is predicted."""
        reported = {key: np.asarray(out.estimated[key], float) for key in NUISANCES if key in out.estimated}
        lost = ~np.all([np.isfinite(value) for value in reported.values()], 0) if reported else np.zeros(len(out.quality), bool)
        if lost.any():
            out = replace(out, quality=np.where(lost, np.nan, out.quality))
        return finite(out)

    def _settle(self, symbols: list[np.ndarray], starts: np.ndarray) -> list[float]:
        """By what angle, rad, each window's symbols, aligned with the stream, are to be turned for the preamble's sake."""
        angles: list[float] = []
        for row in symbols if self.word is not None else ():
            found = self.word_in(row)
            if found is not None and self.settled is None:
                self.settled, angles = (int(starts[0]), found), [found] * len(angles)
            self._angle = self._angle if found is None else found
            angles.append(self._angle)
        return angles or [0.0] * len(symbols)

    def word_in(self, symbols: Any) -> float | None:
        """The angle, rad, a multiple of the alphabet's turn, by which symbols, complex [n], hold the preamble; or None."""
        count, word = len(symbols), self.word
        if count < len(word):
            return None
        power = np.convolve(abs(symbols) ** 2, np.ones(len(word)), "valid") * np.sum(abs(word) ** 2)
        match = np.correlate(symbols, word, "valid")                    # of word's conjugate
        alike = abs(match) ** 2 / np.maximum(power, 1e-30)
        best = int(alike.argmax())
        # of n Gaussian symbols the share that lies along the word exceeds a with probability (1 - a)^(n - 1), of real ones half n
        order = self.soi.signal.alphabet.symmetry
        if not len(alike) * max(1 - alike[best], 0.0) ** ((len(word) - 1) * min(order / 4, 1)) < _CHANCE:
            return None
        turn = np.round(np.angle(match) * order / (2 * np.pi)) % order
        if (alike[turn != turn[best]] > _RIVAL * alike[best]).any():    # as alike in another turn: a shifted copy, or a part
            return None
        return -2 * np.pi / order * float(turn[best])

    @property
    def clock_offset(self) -> float | None:
        """How much faster the symbols come than the prior says, ppm, over the latest windows (at most 128); None before eight
        have reported."""
        stretch = self._slope()
        return None if stretch is None else -1e6 * stretch

    def predicted(self) -> Any:
        """The SOI as last seen, its nuisances referring to the stream's first sample; the prior as given before any window."""
        if self.last is None:
            return self.soi
        last, rate = self.last, self._rate()
        known = {"timing": last.timing % self.soi.signal.samples_per_symbol, "carrier_offset": rate, "gain": float(last.gain),
                 "phase": last.phase - 2 * np.pi * rate * last.middle}
        return replace(self.soi, **{key: value for key, value in known.items() if getattr(self.soi, key) is None})

    def _seen(self, out: Any, starts: np.ndarray) -> _Seen:
        reported = out.estimated.keys() & _TELLING
        known, n = (self.soi if reported else self.predicted()).at(starts), len(starts)
        expected = (self.soi if self.last is None else self.predicted()).at(starts)
        values = []
        for key in ("timing", "phase", "carrier_offset", "gain"):
            value, instead = (np.broadcast_to(np.asarray(v, float), n) for v in (
                out.estimated.get(key, getattr(known, key)), getattr(expected, key)))
            values.append(np.where(np.isfinite(value), value, np.nan_to_num(instead, nan=_UNKNOWN[key])))
        timing, phase, offset, gain = values
        half = out.soi.shape[1] / 2
        turned, shifted = (np.broadcast_to(out.estimated.get(key, 0.0), n) for key in ("phase_std", "carrier_offset_std"))
        return _Seen(starts.astype(float), starts + half, starts + timing, phase + 2 * np.pi * offset * half, offset, gain,
                     turned, shifted, np.asarray(out.quality, float), np.zeros(n))

    def _stretch(self) -> Any:
        """As of the windows before those that are being aligned, where there were enough of them; else of all."""
        return self._slope() if self._period is None else self._period

    def _slope(self) -> Any:
        """Symbol period over samples_per_symbol, less one: the median of the slopes between all pairs of windows; or None."""
        if len(self._past) < _CLOCK:
            return None
        number, timing = (np.array([getattr(p, key) for p in self._past]) for key in ("number", "timing"))
        i, j = _pairs(len(number))
        steps = number[j] - number[i]
        far = np.flatnonzero(steps > (number[-1] - number[0]) / 4)
        step = steps[far] * self.soi.signal.samples_per_symbol
        return float(np.median((timing[j[far]] - timing[i[far]]) / step)) - 1 if len(far) else None

    def _rate(self, at: Any = None) -> float:
        """The carrier offset, of the latest windows that agree with `at` (a _Seen, else the last one)."""
        at = at or self.last
        recent = [p.carrier_offset for p in list(self._past)[-_RECENT:] + [at]]
        return float(np.mean([v for v in recent if abs(v - at.carrier_offset) <= self._tolerance(at)]))

    def _tolerance(self, seen: Any) -> float | np.ndarray:
        """Of carrier offsets that agree: what turns the symbols by half of the alphabet's turn from end to end of a window."""
        return 0.25 / (self.soi.signal.alphabet.symmetry * (seen.middle - seen.start))

    def _differences(self, seen: _Seen) -> np.ndarray:
        """How each window's neighbours, median, differ from it in timing modulo a symbol, carrier offset and quality, [3, n]; NaN
        where it has none. A window is its own neighbour too, if it is as good."""
        sps, stretch, past = self.soi.signal.samples_per_symbol, self._stretch() or 0.0, self._lately
        start, timing, offset, quality = (np.r_[[getattr(p, key) for p in past], getattr(seen, key)]
                                          for key in ("start", "timing", "carrier_offset", "quality"))
        good = np.flatnonzero(quality > _BELIEVED)
        out = np.full((3, len(seen.start)), np.nan)
        for k in range(len(seen.start)):
            here = k + len(past)
            near = np.r_[good[good < here][-_RECENT:], good[good > here][:_RECENT]]
            if not len(near):
                continue
            least = np.sort(quality[near])[3 * (len(near) - 1) // 4] - _WORSE           # a few good ones say more than many bad
            near, trusted = near[quality[near] > least], quality[here] > max(_BELIEVED, least)
            near = np.r_[near[near < here][-_NEIGHBOURS:], near[near > here][:_NEIGHBOURS]]
            rest = timing[near] - timing[here] - stretch * (start[near] - start[here])
            rest = (rest + sps / 2) % sps - sps / 2
            own = [0.0] if trusted else []
            out[:, k] = [np.median(np.r_[v, own]) for v in (rest, offset[near] - offset[here])] + [
                np.median(quality[near]) - quality[here]]
        return out

    def _agrees(self, seen: _Seen, differences: np.ndarray) -> np.ndarray:
        """Which windows agree with their neighbours, bool [n]; so do those that have none."""
        timing, offset, _ = differences
        return ~((abs(timing) > _APART * self.soi.signal.samples_per_symbol) | (abs(offset) > self._tolerance(seen)))

    def _believed(self, seen: _Seen) -> np.ndarray:
        differences = self._differences(seen)
        better = np.nan_to_num(differences[2]) < -_WORSE
        return (seen.quality > _BELIEVED) & (self._agrees(seen, differences) | better)

    def _mended(self, out: Any, seen: _Seen, again: Callable[..., Any]) -> tuple[Separation, _Seen]:
        """(out, seen) with those windows separated once more that do not fit their neighbours, where that is better."""
        differences = self._differences(seen)
        agrees, alone = self._agrees(seen, differences), np.isnan(differences[1])
        bad = (seen.quality < _BELIEVED) | (np.nan_to_num(differences[2]) > _WORSE)
        rows = np.flatnonzero(~alone & (bad | ~agrees) & ~self._pauses(out))
        if not len(rows):
            return out, seen
        sps = self.soi.signal.samples_per_symbol
        known = {"timing": seen.start + (seen.timing - seen.start + differences[0]) % sps,
                 "carrier_offset": seen.carrier_offset + differences[1]}
        known = {key: value[rows] for key, value in known.items() if getattr(self.soi, key) is None}
        other = again(rows, known)
        hopeless = np.maximum(other.quality, out.quality[rows]) < _BELIEVED     # a gap: the rest of the stream knows better
        keep = other.quality > out.quality[rows] - np.where(agrees[rows], 0, np.where(hopeless, np.inf, _PREFERRED))
        parts = [mapped(part, torch.as_tensor) for part in (out, other)]
        taken = mapped(exchanged(parts[0], torch.as_tensor(rows), parts[1], torch.as_tensor(keep)), lambda value: value.numpy())
        begin, rows, estimated = seen.start[rows], rows[keep], dict(out.estimated)
        for key, value in estimated.items():
            if np.ndim(value) and key in other.estimated | known:
                new = other.estimated[key] if key in other.estimated else known[key] - (key == "timing") * begin
                estimated[key] = value.copy()
                estimated[key][rows] = np.broadcast_to(new, (len(keep), *value.shape[1:]))[keep]
        out = replace(taken, estimated=estimated)
        return out, self._seen(out, seen.start.astype(np.int64))

    def _pauses(self, out: Any) -> np.ndarray:
        """Which windows hold bursts of the SOI, whose nuisances are their own: some symbols are erased, and some are not."""
        erased = (out.llrs == 0).all(2)
        return erased.any(1) & ~erased.all(1) & self.soi.intermittent

    def _placed(self, seen: Any, believed: bool) -> tuple[int, int]:
        """(by how many of the alphabet's turns, by how many symbols) a window is to be turned and moved; what it reports is
        remembered where it is believed."""
        soi, sps, last = self.soi, self.soi.signal.samples_per_symbol, self.last
        start, order = int(seen.start), soi.signal.alphabet.symmetry
        first = int(np.ceil((seen.start - seen.timing) / sps - 1e-9))   # of those inside, counted from the one at `timing`
        period = sps * (1 + (self._stretch() or 0.0))
        beside = self._beside(seen)
        seen.number = beside.number + round((seen.timing - beside.timing) / period)
        run = 2 * np.pi * self._rate(seen if believed else None) * (seen.middle - last.middle)
        turns = round((seen.phase - last.phase - run) * order / (2 * np.pi))
        move = int(seen.number) + first - symbols_before(start, sps) - self.slips if soi.timing is None else 0
        if abs(move) >= _SLIPPED:
            step = int(np.sign(move))
            self.slips, move = self.slips + step, move - step
            self.slipped.append((start, step))
        if believed:
            seen.phase -= 2 * np.pi * turns / order
            self.last = seen
            self._past.append(seen)
        return turns, move

    def _beside(self, seen: _Seen) -> _Seen:
        """The window by which another one is numbered: the latest one that has its timing modulo a symbol, believed or not, since
        half a symbol that is missing may be rounded either way; where there is none, the last that was believed."""
        sps, last = self.soi.signal.samples_per_symbol, self.last
        stretch = self._stretch() or 0.0
        for other in reversed([w for w in self._lately if last.start < w.start < seen.start]):
            rest = seen.timing - other.timing - stretch * (seen.start - other.start)
            if abs((rest + sps / 2) % sps - sps / 2) <= _APART * sps:
                return other
        return last

    def _error(self, seen: _Seen, sure: list[_Seen], count: int) -> np.ndarray:
        """How far the phase of a window's symbols, rad [count], is from a line through its own and its neighbours' phases and
        carrier offsets, by weighted least squares. What lies further off says less, as phases wander."""
        per_window = 2 * np.pi * 2 * (seen.middle - seen.start)             # rad that an offset of one turns in a window
        near = sorted(sure, key=lambda w: abs(w.middle - seen.middle))[:2 * _NEIGHBOURS + 1]
        phase, offset, phase_std, offset_std, middle = (np.array([getattr(w, key) for w in near]) for key in (
            "phase", "carrier_offset", "phase_std", "offset_std", "middle"))
        offset, offset_std, own = ((v - at) * per_window for v, at in (
            (offset, seen.carrier_offset), (offset_std, 0.0), (seen.offset_std, 0.0)))
        away = 2 * np.pi * (middle - seen.middle) / per_window              # windows
        rest = np.r_[phase - seen.phase - 2 * np.pi * (middle - seen.middle) * seen.carrier_offset, offset]
        var = np.r_[phase_std ** 2, offset_std ** 2 + 1e-12] + np.tile((_WANDER * away) ** 2, 2)
        fits = rest ** 2 < _OUT ** 2 * (var + np.r_[seen.phase_std ** 2 + (away * own) ** 2, own ** 2 + 0 * away])
        line = np.stack([np.r_[1 + 0 * away, 0 * away], np.r_[away, 1 + 0 * away]])
        level, slope = np.linalg.solve(line * (fits / var) @ line.T, line * (fits / var) @ rest)
        sps = self.soi.signal.samples_per_symbol
        centre = seen.timing + (np.ceil((seen.start - seen.timing) / sps - 1e-9) + np.arange(count)) * sps
        return -level - slope * 2 * np.pi * (centre - seen.middle) / per_window

    def _turned(self, llrs: np.ndarray, symbols: np.ndarray, turned: np.ndarray, quality: Any) -> np.ndarray:
        """LLRs [symbols, bits] after the symbols were turned: QPSK's turn with them, others are made anew, as sure as before."""
        if np.array_equal(symbols, turned) or self.soi.differential:
            return llrs
        alphabet = self.soi.signal.alphabet
        if alphabet.name == "qpsk":
            z = (llrs[:, 0] + 1j * llrs[:, 1]) * turned * symbols.conj() / np.maximum(abs(symbols) ** 2, 1e-30)
            return np.stack([z.real, z.imag], 1).astype(llrs.dtype)
        import torch

        old, new = (alphabet.llrs(torch.from_numpy(z.astype(np.complex64)), 10 ** (-float(quality) / 10)).numpy()
                    for z in (symbols, turned))
        return new * (abs(llrs).sum(1, keepdims=True) / np.maximum(abs(old).sum(1, keepdims=True), 1e-9))


@lru_cache(maxsize=2 * _KEPT)
def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The places (i, j) of all pairs of so many, i < j."""
    i, j = np.triu_indices(count, 1)
    return i, j


def _moved(values: np.ndarray, by: int) -> Any:
    """values[i - by] at i; the ends repeat."""
    return values[np.clip(np.arange(len(values)) - by, 0, len(values) - 1)]
