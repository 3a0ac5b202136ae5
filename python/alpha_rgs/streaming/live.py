# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams that come in windows, as GNU Radio's do: windows of the stream's own samples, separated at the rate that suits the
sources.

Each window is resampled, separated and resampled back by itself. Where a sample of the rate inside lies follows from its number
in the stream, so neighbouring windows lie on one grid, and nothing drifts. What the filter cannot know at a window's ends is not
separated: it belongs to the context, which nobody keeps.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..options import unusable
from ..separators.base import Separation
from ..sources.base import Source, State, Structure
from ..sources.description import Description
from .engine import Engine
from .lost import usable
from .polyphase import reach, section
from .resampling import Plan, filling, in_samples, named, noise_density, plan
from .stream import windows_for
from .task import Task

_LARGEST = 2**24        # samples of a window
_PAGE = 512             # samples: windows of a multiple of them fill pages of memory
_REMEMBERED = 200       # windows over which the level of the noise is averaged
_BUFFER = 2**22         # samples of a buffer between two blocks, 32 MB
_OFTEN = 8              # periods of the two rates that a hop may be rounded to
_GROWN = 4              # times its length, to which a window may grow for whole symbols
_DENOMINATOR = 10**6    # of samples per symbol: their error does not add up to a symbol in 10^9
_TIE = Fraction(1, 10**9)


@dataclass(frozen=True)
class Live:
    """How a stream is cut, in its samples: window, hop. seen: samples of a window at the rate inside, which begin at multiples of
    `unit`. symbol_period: samples of the stream per symbol of the first source; 0 where it has none, or where no window holds a
    whole number of them. warnings: sentences."""

    plan: Plan
    window: int
    hop: int
    seen: int
    unit: int = 1
    symbol_period: Fraction = Fraction(0)
    warnings: list[str] = field(default_factory=list)

    @property
    def resamples(self) -> bool:
        """Whether the rate inside is another one."""
        return self.plan.up != self.plan.down

    def task(self, engine: Engine, pair: bool = False, noise_var: float | None = None, **options: Any) -> Task | ResampledTask:
        """The engine's task for windows of the stream. pair: the first source is the signal of interest, the second the
        interference. noise_var: in the stream, per complex sample."""
        noise = None if noise_var is None else noise_var * min(self.plan.ratio, 1.0)
        sources = self.plan.sources
        made: Any = (engine.task(sources[0], sources[1], noise_var=noise, **options) if pair else
                     engine.task(sources, noise_var=noise, **options))
        return ResampledTask(made, self) if self.resamples else made

    def part(self, first: int, samples: int, ends: bool) -> tuple[int, int]:
        """(begin, count) at the rate inside of what is separated of a window that begins at sample `first` of the stream."""
        up, down = self.plan.up, self.plan.down
        end = -(-(first + samples) * up // down)
        if samples < self.window:
            return 0, end
        if ends:
            return end - self.seen, self.seen
        return (-(-(first * up + reach(up, down)) // (down * self.unit)) * self.unit if first else 0), self.seen

    def number(self, sample: int | Fraction) -> int:
        """Of the first symbol that is centred at or after a sample of the stream; as the engine counts them."""
        timing = getattr(self.plan.sources[0], "timing", None)
        centre = Fraction(0 if timing is None else float(timing)) * self.plan.down / self.plan.up
        return math.ceil((sample - centre) / self.symbol_period - _TIE)


def live(sources: Sequence[Source | Description], sample_rate: float, window: int | None = None, hop: int | None = None,
         symbols: bool = False) -> Live:
    """How a stream is cut for sources, and separated at the rate that suits them. Raises ParameterError.

    sample_rate: of the stream, Hz. window, hop: samples of the stream, None: what the sources need. symbols: those of the first
    source leave too, a whole number of them with each window and hop, which may grow for it.
    """
    to = plan(sources, sample_rate)
    period, warnings, same = _period(to) if symbols else Fraction(0), list(to.warnings), to.up == to.down
    unit, least = _unit(to), _least(to)
    wide, usual = windows_for(to.sources)
    context = -(-(wide - usual) * to.down // (2 * to.up)) + least
    if window is not None:
        context = context if hop is None else (window - hop) // 2
    hop = hop or (round(usual / to.ratio) if window is None else window - 2 * context)
    _check(window, hop, context, least, to)
    if window is None and to.down <= hop / _OFTEN:
        hop = _up(hop, to.down)                         # windows alike share the filter's matrix
    fitted = _fitted(window, hop, context, period, same)
    if fitted is None:
        warnings.append(f"{named(sources[0])}: no short window holds a whole number of symbols of {float(period):.6g} samples: "
                        "none leave")
        period, fitted = Fraction(0), _fitted(window, hop, context, Fraction(0), same)
    assert fitted is not None
    size, hop = fitted
    if size > _LARGEST:
        raise ParameterError(f"window: {size} samples at {sample_rate:g} Hz are what the sources need, more than {_LARGEST}; "
                             "decimate the stream about them")
    return Live(to, size, hop, size if same else _seen(size, unit, to), unit, period, warnings)


def in_windows(sources: Sequence[Source | Description], sample_rate: float | None, window: int, hop: int,
               period: Fraction | int = 0) -> Live:
    """As `live`, for a stream that is cut already: windows and hops of so many samples stay. period: samples per symbol that
    leave beside it, 0 for none; where the first source has others, symbol_period is 0. sample_rate: None where all sources are
    in samples. Raises ParameterError."""
    to = plan(sources, sample_rate)
    same, found, warnings = to.up == to.down, _period(to), list(to.warnings)
    if period and found != period:
        other = f"its symbols are of {float(found):.6g} samples" if found else "it has no symbols"
        warnings.append(f"{named(sources[0])}: {other}, the output's of {float(period):.6g}: that output is 0")
        found = Fraction(0)
    if same:
        return Live(to, window, hop, window, 1, found if period else Fraction(0), warnings)
    unit, least = _unit(to), _least(to)
    if (window - hop) // 2 < least or window < 3 * least:
        raise ParameterError(f"window, hop: {window} and {hop} samples are too few for the resampler's filter, which takes "
                             f"{least} at each end ({to.recorded * to.ratio:.9g} Hz suit the sources); make the block anew")
    return Live(to, window, hop, _seen(window, unit, to), unit, found if period else Fraction(0), warnings)


def _unit(to: Plan) -> int:
    return math.lcm(*(int(s.symbol_period) or 1 for s in to.sources if s.symbol_period == int(s.symbol_period)))


def _least(to: Plan) -> int:
    """Samples of the stream at each end of a window that the resampler's filter takes."""
    return 0 if to.up == to.down else -(-(3 * reach(to.up, to.down) + (2 * _unit(to) + 1) * to.down) // to.up)


def _fitted(window: int | None, hop: int, context: int, period: Fraction, same: bool) -> tuple[int, int] | None:
    """(window, hop), no less, that hold whole numbers of symbols of `period` samples, and that GNU Radio has buffers for; None
    where they would be much more. same: nothing is resampled; then what was given is kept where it can be."""
    if period == 0 and same:
        return window or hop + 2 * context, hop
    whole, most = max(period.numerator, 1), _GROWN * max(hop + 2 * context, _PAGE)
    hop, context = _up(hop, whole), _up(context, whole)
    size = hop + 2 * context
    if math.lcm(size, _PAGE) > (_BUFFER if whole > 1 else size):        # a buffer holds a multiple of both
        size = _up(size, math.lcm(whole, _PAGE))
    return (size, size - 2 * context if whole > 1 else hop) if size <= most or whole == 1 else None


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _seen(window: int, unit: int, to: Plan) -> int:
    """Samples inside that every window of the stream holds, the filter's reach off at both ends."""
    return (((window - 1) * to.up - 2 * reach(to.up, to.down)) // to.down - unit) // unit * unit


def _period(to: Plan) -> Fraction:
    """Samples of the stream per symbol of the first source; 0 where it has none."""
    first = to.sources[0]
    if first.structure is not Structure.CHAIN:
        return Fraction(0)
    return Fraction(first.symbol_period).limit_denominator(_DENOMINATOR) * to.down / to.up


def _check(window: int | None, hop: int, context: int, least: int, to: Plan) -> None:
    """Raise ParameterError where what was given leaves no room for the filter."""
    if least and (context < least or hop < 1):
        enough = max(hop, 2 * least) + 2 * least
        raise ParameterError(f"window, hop: {context} samples of context, (window - hop)/2, are fewer than the {least} that the "
                             f"resampler's filter takes ({to.recorded * to.ratio:.9g} Hz suit the sources): window {enough}, hop "
                             f"{enough - 2 * least} would do; leave both out (0) to have what the sources need")


@dataclass(frozen=True)
class Seen:
    """Of the first source, in the stream: timing, samples (None: estimated), gain."""

    timing: float | None
    gain: Any


class ResampledTask:
    """A Task for windows at the stream's rate, whose results are at that rate. tracker, method: the Task's."""

    def __init__(self, task: Any, cut: Live) -> None:
        self.task, self.cut = task, cut
        first = cut.plan.sources[0]
        timing = getattr(first, "timing", None)
        self.soi = Seen(None if timing is None else float(timing) / cut.plan.ratio, first.state.gain)
        self.shortest = max(getattr(getattr(source, "signal", None), "taps_count", 0) for source in cut.plan.sources)
        self._density, self._windows = 0.0, 0

    @property
    def method(self) -> str:
        """The Task's method."""
        return str(self.task.method)

    @property
    def tracker(self) -> Any:
        """The Task's tracker, or None."""
        return getattr(self.task, "tracker", None)

    @property
    def searches(self) -> bool:
        """See Task.searches."""
        return bool(self.task.searches)

    def states(self, start: np.ndarray) -> np.ndarray:
        """See Task.states."""
        return np.asarray(self.task.states(np.array([self.cut.part(int(k), self.cut.window, False)[0] for k in start])))

    def submit(self, windows: np.ndarray, start: Any = 0, block: bool = True, ends: bool = False) -> Restored:
        """See Task.submit. ends: the stream ends with these windows. result() of what is returned resamples to the stream's rate,
        in the thread that calls it."""
        windows = np.atleast_2d(np.asarray(windows, np.complex64))
        firsts = [int(k) for k in np.broadcast_to(start, len(windows))]
        inside, begins = self._all_inside(windows, firsts, ends)
        future = self.task.submit(inside, start=np.array(begins), block=block)
        return Restored(future, lambda out: self._restored(out, usable(windows), firsts, begins))

    def ready(self, start: int) -> bool:
        """See Task.ready."""
        return bool(self.task.ready(self.cut.part(int(start), self.cut.window, False)[0]))

    def offer(self, windows: np.ndarray, start: np.ndarray) -> None:
        """See Task.offer."""
        inside, begins = self._all_inside(windows, [int(k) for k in start], False)
        self.task.offer(inside, np.array(begins))

    def _all_inside(self, windows: np.ndarray, firsts: list[int], ends: bool) -> tuple[np.ndarray, list[int]]:
        """(windows that begin at `firsts` at the rate inside, their first samples there)."""
        lost, windows = unusable(windows).any(1), usable(windows)
        begins, rows = [], []
        for row, first in zip(windows, firsts):
            begin, count = self.cut.part(first, len(row), ends)
            begins.append(begin)
            rows.append(self._inside(row, first, begin, count))
        inside = np.stack(rows)
        inside[lost] = np.nan                   # the engine says nothing of them
        return inside, begins

    def give_up(self) -> None:
        """See Task.give_up."""
        self.task.give_up()

    def _inside(self, row: np.ndarray, first: int, begin: int, count: int) -> np.ndarray:
        """A window at the rate inside; see resampling.inside."""
        to = self.cut.plan
        out = section(row, to.up, to.down, first, begin, count)
        if to.up > to.down:
            level = noise_density(row)
            if math.isfinite(level):
                self._windows = min(self._windows + 1, _REMEMBERED)
                self._density += (level - self._density) / self._windows
            out = out + filling(self._density, to, count, begin)
        return np.pad(out, (0, max(0, self.shortest - count)))

    def _restored(self, out: Any, windows: np.ndarray, firsts: list[int], begins: list[int]) -> Separation:
        """The Separation in the stream's samples. Times that were estimated count from the first sample that was separated."""
        to, size = self.cut.plan, windows.shape[1]
        estimates = out.sources if len(out.sources) == len(to.sources) else []
        waves = [np.stack([section(row, to.down, to.up, begin, first, size) for row, begin, first in zip(wave, begins, firsts)])
                 for wave in ([e.waveform for e in estimates] or [out.soi, out.interference])]
        total = np.asarray(sum(waves))
        ahead = np.array([begin / to.ratio - first for begin, first in zip(begins, firsts)])[:, None]
        sources = [replace(e, waveform=wave, cleaned=windows - (total - wave), state=_moved(e.state, to.ratio),
                           state_std=_moved(e.state_std, to.ratio), at=None if e.at is None else e.at / to.ratio + ahead)
                   for e, wave in zip(estimates, waves)]
        symbols = out.symbols
        if self.cut.symbol_period and symbols.shape[1]:
            symbols = np.stack([self._placed(*each, size) for each in zip(symbols, firsts, begins)])
        return replace(out, soi=waves[0], interference=total - waves[0], symbols=symbols, sources=sources,
                       noise_var=out.noise_var / min(to.ratio, 1.0), estimated=in_samples(out.estimated, to.ratio))

    def _placed(self, symbols: np.ndarray, first: int, begin: int, samples: int) -> np.ndarray:
        """The symbols of a window's separated part among those of the whole window; zeros where there are none."""
        cut = self.cut
        low = cut.number(first)
        count = cut.number(first + samples) - low
        at = cut.number(Fraction(begin * cut.plan.down, cut.plan.up))
        if getattr(cut.plan.sources[0], "symbols", None) is not None:
            at = max(at, 0)                             # a burst begins with symbol 0
        placed = np.zeros(count, np.complex64)
        kept = symbols[max(low - at, 0):][:max(count - max(at - low, 0), 0)]
        placed[max(at - low, 0):][:len(kept)] = kept
        return placed


class Restored:
    """A Future whose result is changed by the thread that asks for it."""

    def __init__(self, future: Future, change: Callable[[Any], Separation]) -> None:
        self._future, self._change = future, change
        self._value: Separation | None = None

    def result(self, timeout: float | None = None) -> Separation:
        """See Future.result."""
        if self._value is None:
            self._value = self._change(self._future.result(timeout))
        return self._value

    def done(self) -> bool:
        """See Future.done."""
        return self._future.done()

    def cancel(self) -> bool:
        """See Future.cancel."""
        return self._future.cancel()

    def add_done_callback(self, notify: Callable[[Any], Any]) -> None:
        """See Future.add_done_callback."""
        self._future.add_done_callback(notify)


def _moved(state: State, ratio: float) -> State:
    """A State in samples of the stream."""
    delay, offset = state.delay, state.carrier_offset
    return replace(state, delay=None if delay is None else delay / ratio,
                   carrier_offset=None if offset is None else offset * ratio)
