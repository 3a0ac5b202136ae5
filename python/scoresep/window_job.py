# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some windows on their way through the separator, and where their symbols lie."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter

import numpy as np
from alpha_rgs.options import unusable


@dataclass(frozen=True)
class Port:
    """An output: what a separation's result holds for it.

    take(result): the array [n, window], or [n, window//samples_per_symbol] where it holds `symbols`. passes: windows that go
    unseparated leave as they came, else as zeros. source: the number of the source that it belongs to.
    """

    name: str
    take: Callable
    symbols: bool = False
    passes: bool = False
    source: int = 0


TIE = Fraction(1, 10**9)  # of a symbol: centres that fall on a sample, but for rounding

SOI_AND_INTERFERENCE = (
    Port("soi", attrgetter("soi"), passes=True),
    Port("interference", attrgetter("interference"), source=1),
    Port("symbols", attrgetter("symbols"), symbols=True),
)


class SymbolGrid:
    """The symbols of a stream: `timing` + m*samples_per_symbol are their centres (samples, any real number).

    The output's first symbol is the first whose centre lies at or after sample 0.
    """

    def __init__(self, samples_per_symbol, timing):
        self.sps, self.timing = Fraction(samples_per_symbol), Fraction(timing)

    def number(self, sample):
        """m of the first symbol whose centre lies at or after `sample`."""
        return math.ceil((int(sample) - self.timing) / self.sps - TIE) if self.sps else 0

    def index(self, sample, anchor=0):
        """The place in the output of that symbol, 0 or more for samples of the stream; anchor: see Job."""
        return self.number(sample + anchor) - self.number(anchor)

    def count(self, begin, end):
        """How many symbols have their centre in [begin, end)."""
        return self.number(end) - self.number(begin)


class Job:
    """Windows [n, window] of which the first has number `first`; `came`: when (s); `tags`: (row, tag).
    `unseparated`: (row, why it leaves unseparated, the source that it holds for, None: all), see window_worker.
    `anchor`: samples that lie between the stream's first one and that to which the sources' times refer, more than have come.

    `results` once finished: one array [n, ...] per port. `given`: windows that have left already. `reports`: of each source, a
    tag's value per window. `late`: when they pass, s. `waits`: for the worker. `task`: that separates them. `trial`: see
    worker_thread. `silent`: no symbols leave.
    """

    def __init__(self, first, windows, came, hop, grid=None):
        self.first, self.windows, self.came, self.start = first, windows, came, first * hop
        self.hop, self.valid, self.tags = hop, windows.shape[1], []
        self.unseparated, self.reports, self.late = [], None, math.inf
        self.future, self.results, self.separation = None, None, None
        self.given, self.passed, self.cancelled, self.ends, self.waits = 0, False, False, False, False
        self.task, self.trial, self.grid, self.anchor, self.silent = None, None, grid, 0, False
        self._asked, self._asked_start = windows, self.start + hop * np.arange(len(windows))
        self._skip = 0  # samples of what was asked before the first that counts

    @property
    def begin(self):
        """The first sample, as the sources' times count."""
        return self.start + self.anchor

    @property
    def kept(self):
        """(low, high): samples of what was asked that are kept of each window, about."""
        if self._asked is not self.windows:
            return self._skip, self._asked.shape[1]
        low = max(0, (self.valid - self.hop) // 2)
        return low, low + self.hop

    def make_partial(self, before, valid, task):
        """The last window of a stream, of which only `valid` samples are real; `before` is the window before it, or None.

        It is separated as the last whole window of the stream would be, which sees more and is no special case. A stream
        shorter than a window is separated as it is, filled with zeros to the length of the pulse.
        """
        self.valid, window = valid, self.windows.shape[1]
        if before is not None:
            joined = np.concatenate([before[valid + self.hop - window : self.hop], self.windows[0, :valid]])
            self._asked, self._asked_start = joined[None], np.array([self.start + valid - window])
            self._skip = window - valid
        else:
            sources = getattr(task, "sources", None) or [getattr(task, "soi", None)]
            pulses = [getattr(getattr(source, "signal", None), "taps_count", 0) for source in sources]
            self._asked = self.windows[:, : min(max(valid, *pulses), window)]

    def unusable(self):
        """(row, number of the stream's sample) of each window that is lost to a sample, the first such."""
        bad = unusable(self._asked)
        return [(int(row), int(self._asked_start[row]) + int(bad[row].argmax())) for row in np.flatnonzero(bad.any(1))]

    def submit(self, task, notify):
        """Hand over to the engine, waiting while its queue is full; `notify` is called when the result is there."""
        if not self.cancelled:
            self.task, start = task, self._asked_start + self.anchor
            self.future = task.submit(self._asked, start=start, **({"ends": True} if self.ends else {}))
            self.future.add_done_callback(notify)

    def cancel(self):
        """Give up what has not begun."""
        self.cancelled = True
        if self.future is not None:
            self.future.cancel()

    def skip(self, why):
        """The windows leave unseparated."""
        self.unseparated = [(row, why, None) for row in range(len(self.windows))]
        self.passed = True

    def done(self):
        """Can finish() be called?"""
        return self.passed or (self.future is not None and self.future.done())

    def finish(self, ports):
        """Set `results`. Raises what the separation raised."""
        if not self.passed:
            self.separation = self.future.result()
            self.results = [self._result(port, port.take(self.separation), self.grid) for port in ports]
            return
        self.results = [self.windows if port.passes else self._zeros(port, self.grid) for port in ports]

    def gate(self, ports, bad, action):
        """Mute windows, or let them pass, by source, bool [n]; "mute" or "pass"."""
        for number, port in enumerate(ports):
            rows = bad[port.source]
            if rows.any():
                out = self.results[number] = np.array(self.results[number])  # which may be a view of others
                out[rows] = self.windows[rows] if action == "pass" and port.passes else 0

    def starts(self):
        """First samples of what the engine was asked, int [n]."""
        return self._asked_start + self.anchor

    def _zeros(self, port, grid):
        width = self.windows.shape[1] // (grid.sps if port.symbols else 1)
        return np.broadcast_to(np.zeros((1, width), np.complex64), (len(self.windows), width))

    def _result(self, port, rows, grid):
        """What leaves through the port."""
        window = self.windows.shape[1]
        if port.symbols and self.silent:
            return self._zeros(port, grid)
        if port.symbols:
            return self._symbols(rows, grid, window // grid.sps)
        return rows if self.valid == window else _fill(rows[:, self._skip : self._skip + self.valid], window)

    def _symbols(self, symbols, grid, width):
        """Symbols as the windows hold them: one per centre, zeros where a burst has none or the stream has ended."""
        if symbols.shape == (len(self.windows), width) and self._asked is self.windows:
            return symbols
        asked = int(self._asked_start[0]) + self.anchor
        first = grid.number(asked)
        if symbols.shape[1] < grid.count(asked, asked + self._asked.shape[1]):
            first = max(first, 0)  # a burst begins with symbol 0
        skip = grid.number(self.begin) - first
        symbols = np.pad(symbols, ((0, 0), (max(0, -skip), 0)))[:, max(0, skip) :]
        return _fill(symbols[:, : min(width, grid.count(self.begin, self.begin + self.valid))], width)


def _fill(rows, width):
    """Rows [n, m], m <= width, with zeros behind."""
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
