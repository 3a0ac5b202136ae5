# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a separator reports of its work: one dictionary for the log, for JSON and for the message port."""

import math
import time
from collections import deque

import numpy as np

PERIOD = 0.25  # s between messages, at least
LATENCIES = 1000  # jobs of which the latencies are remembered
MEMORY = 200  # windows over which averages reach
READ = 0.05  # s between looks at what separations say of themselves, at least, after so many windows


class WindowStats:
    """Counts and averages of one run."""

    def __init__(self, hop):
        self.hop, self.unsaid, self._said, self._began, self._ended = hop, False, 0.0, None, None
        self.windows, self.overloads, self.unusable, self._averaged = 0, 0, 0, 0
        self.quality, self._kappa2, self._gain, self.latency, self.method = math.nan, math.nan, 1.0, math.nan, ""
        self.error_rate, self.clock_offset = math.nan, math.nan
        self.estimated = ()
        self._looked = -math.inf
        self.bypassed, self.gated, self.each, self.interval, self.locked = 0, 0, math.nan, math.nan, math.nan
        self._latencies = deque(maxlen=LATENCIES)

    def came(self, count):
        """Windows have come in."""
        if count and self._began is None:
            self._began = time.monotonic()

    def passes(self, count):
        """Windows will leave unseparated that would be late."""
        self.overloads, self.unsaid = self.overloads + count, True

    def forget(self):
        """The separation has changed: averages begin anew."""
        self._averaged = 0

    def left(self, job, waited=0.0):
        """A job is finished. waited: s that the oldest sample of a window waits until the window has come."""
        self._ended, self.unsaid = time.monotonic(), True
        self.latency, count, task = self._ended - job.came, len(job.windows), job.task
        self._latencies.append((self.latency + waited, count))
        self.windows += count
        if job.passed:
            return
        self.method = getattr(task, "method", "")
        if self._averaged == MEMORY and self._ended - self._looked < READ:
            return
        self._looked = self._ended
        self._averaged = min(self._averaged + count, MEMORY)
        self.estimated = tuple(sorted(getattr(job.separation, "estimated", ())))
        if hasattr(task, "states"):
            self.locked = float(np.mean(task.states(job.starts()) != "search"))
        self.read(job.separation, task, min(1.0, count / self._averaged))

    def read(self, out, task, weight):
        """Take in what a separation says of itself; `weight`: of its windows in the averages."""
        out = self._judged(out)
        self.quality = average(self.quality, getattr(out, "quality", None), weight)
        self.error_rate = average(self.error_rate, getattr(out, "error_rate", None), weight)
        clock = getattr(getattr(task, "tracker", None), "clock_offset", None)
        self.clock_offset = math.nan if clock is None else clock
        self._kappa2 = average(self._kappa2, getattr(out, "kappa", None), weight, square=True)
        gain = getattr(getattr(task, "soi", None), "gain", None)
        self._gain = 1.0 if gain is None else float(gain)

    def _judged(self, out):
        """A separation as the part of each window judges it that is kept."""
        if not hasattr(out, "between"):
            return out
        low = kept(out.soi.shape[1], self.hop)
        return out.between(low, low + self.hop)

    def due(self, idle):
        """Whether to send a message. Each change is reported in the end, the last one too (`idle`: no work is left)."""
        since = time.monotonic() - self._said
        return self.unsaid and since > (PERIOD if idle else 2 * PERIOD)

    def message(self, queue, error=None):
        """table(), and mark it as reported."""
        self.unsaid, self._said = False, time.monotonic()
        return self.table(queue, error)

    def table(self, queue=0, error=None):
        """The dictionary: windows, overloads (windows that passed, for they would have been late), unusable (windows that are
        lost to samples that are no numbers), bypassed, gated (windows of low quality), queue (jobs on their way), method, quality
        (dB, estimated SINR of the symbols), error_rate (of bits, as their llrs expect it), sir_db (estimated), latency (s, of the
        latest windows, from their last sample on), latency_p50 and latency_p99 (s, from the oldest sample of each window in to
        that sample out: half, and 99 %, of the latest thousand jobs' windows took no longer), window_time (s that a window
        takes), load (the share of the time that what comes takes to separate; above 1 it is too much), locked (the share of a
        job's windows, of late, whose sources had not to be searched), samples_per_second; averages over the latest 200 windows
        or so; clock_offset (ppm, of a signal of interest that is tracked); estimated: names of what was found from the mixture;
        error, where there is one."""
        sir = 10 * math.log10(self._gain**2 / self._kappa2) if self._kappa2 > 0 else math.nan
        return self._common(queue, error, quality=self.quality, error_rate=self.error_rate, sir_db=sir,
                            clock_offset=self.clock_offset)

    def _common(self, queue, error, **more):
        took = (self._ended - self._began) if self._ended and self._began is not None else 0.0
        rate = self.windows * self.hop / took if took > 0 else math.nan
        out = dict(windows=self.windows, overloads=self.overloads, unusable=self.unusable, bypassed=self.bypassed,
                   gated=self.gated, queue=queue, method=self.method, **more, latency=self.latency,
                   latency_p50=self._latency(0.5), latency_p99=self._latency(0.99), window_time=self.each,
                   load=self.each / self.interval if self.interval > 0 else math.nan, locked=self.locked,
                   estimated=" ".join(self.estimated), samples_per_second=rate)
        return out if error is None else dict(out, error=str(error))

    def _latency(self, share):
        """That so many of the latest windows did not exceed, s."""
        latencies = sorted(self._latencies.copy())
        left = share * sum(count for _, count in latencies)
        for latency, count in latencies:
            left -= count
            if left <= 0:
                return latency
        return math.nan


class SourcesStats(WindowStats):
    """Of a separation into sources, none of which is preferred."""

    def __init__(self, hop):
        super().__init__(hop)
        self._quality, self._power = [], []

    def read(self, out, task, weight):
        """See WindowStats.read."""
        out = self._judged(out)
        if not self._quality:
            self._quality, self._power = ([math.nan] * len(out.sources) for _ in range(2))
        for k, source in enumerate(out.sources):
            self._quality[k] = average(self._quality[k], getattr(source, "quality", None), weight)
            self._power[k] = average(self._power[k], np.mean(np.abs(self._middle(source.waveform)) ** 2, 1), weight)

    def _middle(self, windows):
        """What is kept of windows [n, samples]: their ends may be zeros."""
        low = kept(windows.shape[1], self.hop)
        return windows[:, low : low + self.hop]

    def table(self, queue=0, error=None):
        """The dictionary: what WindowStats.table has but for quality, error_rate, sir_db and clock_offset; lists with one value
        per source: quality (dB, estimated SINR) and power_db (of the estimate as received, over an amplitude of 1), NaN where
        there is none."""
        power = [10 * math.log10(p) if p > 0 else math.nan for p in self._power]
        return self._common(queue, error, quality=list(self._quality), power_db=power)


def kept(window, hop):
    """The first sample that is kept of each window."""
    return max(0, (window - hop) // 2)


def average(old, values, weight, square=False):
    """The running average after some more values; those that are not finite do not count."""
    values = [] if values is None else [float(v) for v in values if math.isfinite(v)]
    if not values:
        return old
    new = sum(v * v for v in values) / len(values) if square else sum(values) / len(values)
    return new if math.isnan(old) else old + weight * (new - old)
