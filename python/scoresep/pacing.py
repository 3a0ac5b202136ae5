# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many windows a separator takes at once, and which it lets pass: by the time that a window takes, as measured."""

import math
import threading
import time
from collections import deque

JOB_SAMPLES = 81920  # of one job, at most: 32 windows of 2560
LARGER = 4  # jobs, where the engine has a short way (alpha_rgs.streaming.direct)
STEP = 16  # windows of which such jobs are multiples: each size has tables of its own
BUFFER_SAMPLES = 2**18  # of each output's buffer, at least; 2 MB
WAITING_SAMPLES = 2**22  # for a separation that resamples: 32 MB
FULL = BUFFER_SAMPLES // 2  # samples of the input's buffer, beyond which windows wait there no longer
PASS_LIMIT = 1.0  # s of latency with on_overload = "pass", where none is given
SHARE = 0.25  # of the time that is left, of which a job takes no more: it waits for another, and one in a hundred takes longer
MARGIN = 0.05  # s for the way through the flowgraph
JOBS = 2  # in the engine: one that is separated, and one that waits
RECENT = 2.0  # s over which the rate of arrival is measured
MEASURED = 4  # jobs over which the time of a window is


class Pace:
    """Of one run. window, hop: samples. passes: whether windows that would be late pass. latency: s, None for no limit.

    Without a limit jobs are as large as throughput asks for. With one, a job takes SHARE of the time that is left once a window
    is filled, at most: the window that comes last waits for the job before its own. `each`: s per window, measured; None
    before.
    """

    def __init__(self, window, hop, passes, latency=None, ends=False):
        self.window, self.hop, self.passes, self.latency = window, hop, passes, latency
        self.batch = max(1, JOB_SAMPLES // window)
        self.capacity = (2 if passes else 4) * self.batch
        if ends:  # windows are long here, and short where they are separated
            self.capacity = max(self.capacity, min(32, WAITING_SAMPLES // window))
        self.step, self.each = 1, None
        self.busy = self.jobs = 0  # windows, and jobs, that the engine has
        self._lock, self._took, self._ended, self._warm = threading.Lock(), deque(maxlen=MEASURED), -math.inf, False
        self._arrivals, self._recent = deque(), deque()  # (windows that have come, when)

    def quicken(self):
        """The separation is so fast that the cost of a job is felt."""
        self.batch, self.capacity, self.step = LARGER * self.batch, LARGER * self.capacity, STEP

    # ---- time ----------------------------------------------------------------------------------
    @property
    def limit(self):
        """s from sample in to sample out; None for none."""
        return self.latency or (PASS_LIMIT if self.passes else None)

    @property
    def interval(self):
        """s from one window to the next, as they came lately; 0 where that is not known."""
        (first, began), (last, ended) = (self._recent[0], self._recent[-1]) if self._recent else ((0, 0.0), (0, 0.0))
        return (ended - began) / (last - first) if last > first else 0.0

    @property
    def fill(self):
        """s that the oldest sample of a window waits until the window is full."""
        return (self.window - (self.window - self.hop) // 2) / self.hop * self.interval

    @property
    def budget(self):
        """s from a window's arrival until it must leave. A limit that leaves no time for it counts as the least possible one; one
        that a command has just taken away, as that of windows that pass."""
        return max((self.limit or PASS_LIMIT) - self.fill, self.interval + MARGIN)

    def seen(self, end, now):
        """So many windows have come by now."""
        if self._recent and end <= self._recent[-1][0]:
            return
        self._arrivals.append((end, now))
        self._recent.append((end, now))
        while len(self._recent) > 2 and self._recent[1][1] < now - RECENT:
            self._recent.popleft()

    def came(self, index):
        """When a window came, s; those that follow are asked for in order."""
        while len(self._arrivals) > 1 and self._arrivals[0][0] <= index:
            self._arrivals.popleft()
        return self._arrivals[0][1]

    # ---- jobs ----------------------------------------------------------------------------------
    def take(self, index, available, kept, held):
        """(how many windows to take of those that have come, the first of which has this number; whether they pass). kept:
        windows in the block that do not leave yet; held: whether any are there at all."""
        if self.limit is None:
            return self._by_throughput(available, kept, held), False
        if self.passes and (late := self._late(index, available)):
            return late, True
        with self._lock:
            busy, jobs, each = self.busy, self.jobs, self.each
        if each is None:
            work, size = self.capacity, max(1, self.batch // (4 if self.latency else 1))
        else:
            work, size = (min(part * self.budget / max(each, 1e-9), 2.0**40) for part in (1.0, SHARE))
            work, size = max(1, int(work)), max(1, min(int(size), self.batch))
        room = work - busy if jobs else max(work - busy, 1)
        if self.passes and available > max(room, 0):
            return available - max(room, 0), True
        if not self.passes:
            room = min(room, self.capacity - kept)
        if room <= 0 or jobs >= JOBS * (2 if self.step > 1 else 1) and (not self.passes or available * self.window < FULL):
            return 0, False
        count = min(available, size, room)
        return (1 << count.bit_length() - 1 if self.step > 1 else count), False

    def _late(self, index, available):
        """How many of the windows that have come can wait no longer."""
        before = time.monotonic() - self.budget
        if self._arrivals[0][1] > before:
            return 0
        return max(min(max(end for end, when in self._arrivals if when <= before) - index, available), 0)

    def _by_throughput(self, available, kept, held):
        count = max(0, min(self.batch, available, self.capacity - kept))
        if self.step > 1 and held:  # busy: what does not fill a step waits for more
            count -= count % self.step
        return count

    def sent(self, count):
        """So many windows go to the engine, as one job."""
        with self._lock:
            self.busy, self.jobs = self.busy + count, self.jobs + 1

    def done(self, count, began, now):
        """A job has come back that the engine got at `began`; began: None where it was not separated."""
        with self._lock:
            self.busy, self.jobs = self.busy - count, self.jobs - 1
            if began is None:
                return
            if self._took and not self._warm:  # the first one loads and makes what the others need
                self._warm = True
                self._took.clear()
            self._took.append((now - max(began, min(self._ended, now)), count))
            self._ended = now
            self.each = sum(took for took, _ in self._took) / sum(count for _, count in self._took)
