# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many windows a separator takes at once, and which pass: by the time that a window takes."""

import time

import numpy as np
import pmt
import pytest
from flows import HOP, WINDOW, HalfTask, Paced, flow, ramp
from gnuradio import blocks
from gnuradio.scoresep.pacing import MARGIN, PASS_LIMIT, SHARE, Pace


def measured(each, interval, **options):
    """A Pace that has seen windows come every `interval` s, and take `each` s."""
    pace, now = Pace(WINDOW, HOP, **{"passes": False, "latency": None, **options}), time.monotonic()
    for number in range(40):
        pace.seen(number + 1, now + (number - 40) * interval)
    for number in range(5):
        pace.sent(4)
        pace.done(4, now + 4 * number * each, now + 4 * (number + 1) * each)
    return pace


def test_the_time_of_a_window_is_that_of_the_latest_jobs():
    """The first one loads and makes what the others need, and does not count."""
    pace = Pace(WINDOW, HOP, False)
    for began, ended, count, each in ((0.0, 5.0, 1, 5.0), (5.0, 5.2, 2, 0.1), (5.2, 5.6, 2, 0.15)):
        pace.sent(count)
        pace.done(count, began, ended)
        assert pace.each == pytest.approx(each)
    pace.sent(3)
    pace.done(3, None, 1.0)
    assert pace.each == pytest.approx(0.15) and pace.busy == pace.jobs == 0


def test_jobs_that_run_side_by_side_share_their_time():
    """Two jobs of ten windows that end together after a second: a window takes a twentieth."""
    pace = Pace(WINDOW, HOP, False)
    pace.done(1, -3.0, -2.0)
    for _ in range(2):
        pace.sent(10)
    for _ in range(2):
        pace.done(10, 0.0, 1.0)
    assert pace.each == pytest.approx(0.05)


@pytest.mark.parametrize("latency", [0.1, 0.2, 1.0])
def test_a_job_takes_a_share_of_what_the_limit_leaves(latency):
    """The window that comes while it is separated waits for it, and takes as long."""
    pace = measured(0.01, 0.02, latency=latency)
    count, passed = pace.take(40, 100, 0, False)
    left = latency - pace.fill
    assert not passed and count == max(1, int(left * SHARE / 0.01)) and 2 * count * 0.01 <= left


def test_a_limit_that_no_window_keeps_means_one_window_at_a_time():
    """There is nothing better to do."""
    pace = measured(0.5, 0.02, latency=0.1)
    assert pace.take(40, 30, 0, False) == (1, False)
    pace.sent(1)
    assert pace.budget >= pace.interval + MARGIN


def test_without_a_limit_jobs_are_as_large_as_before():
    """Throughput is what the default is for."""
    pace = Pace(2560, 2048, False)
    assert pace.take(0, 100, 0, False) == (32, False) and pace.take(0, 100, 4 * 32 - 5, True) == (5, False)
    assert pace.take(0, 100, 4 * 32, True) == (0, False)
    pace.quicken()
    assert pace.take(0, 150, 0, False) == (128, False) and pace.take(0, 30, 16, True) == (16, False)
    assert pace.take(0, 30, 0, False) == (30, False) and pace.take(0, 15, 16, True) == (0, False)


@pytest.mark.parametrize("each", [0.001, 0.05, 0.3, 7.0])
def test_what_the_engine_has_follows_the_time_of_a_window(each):
    """Windows beyond it pass; one is always tried."""
    pace = measured(each, 1e-4, passes=True)
    work = max(1, int((PASS_LIMIT - pace.fill) / each))
    assert pace.take(40, work + 7, 0, False) == (7, True)
    count, passed = pace.take(40, work, 0, False)
    assert 1 <= count <= max(1, work // 2) and not passed
    pace.sent(work)
    assert pace.take(40, 3, work, True) == (3, True)


def test_windows_that_have_waited_too_long_pass():
    """The oldest ones, and no others."""
    pace, now = Pace(WINDOW, HOP, True, 0.5), time.monotonic()
    pace.seen(3, now - 2.0)
    pace.seen(8, now)
    assert pace.take(0, 8, 0, False) == (3, True)
    pace.came(3)
    assert not pace.take(3, 5, 0, False)[1]


# ---- in a flowgraph ----------------------------------------------------------------------------------
def passed_windows(top):
    """Offsets of the tags that say that windows passed."""
    return [t.offset for t in top.sinks[0].tags() if pmt.symbol_to_string(t.key) == "unseparated" and pmt.eqv(t.value, pmt.PMT_T)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("latency", [None, 0.3])
def test_a_stream_flows_past_a_separation_that_takes_for_ever(latency):
    """All samples leave while nothing is ever separated; each window is counted when it cannot be in time, and tagged."""
    samples, counted = ramp(300 * HOP), []
    source = Paced(samples, pause=0.01, actions={250 * HOP: lambda: counted.append(top.worker.report()["overloads"])})
    top = flow(source, lambda: HalfTask(3600), on_overload="pass", latency=latency)
    top.run()
    stats = top.worker.report()
    assert np.array_equal(top.sinks[0].data(), samples) and not np.any(top.sinks[1].data())
    assert stats["overloads"] == stats["windows"] == len(passed_windows(top)) >= 299
    assert counted[0] > 50, "windows that pass are counted only in the end"


@pytest.mark.timeout(60)
def test_the_order_stays_where_some_windows_pass():
    """Some are separated, some pass; every sample and tag leaves once, on its place, and the queue stays short."""
    samples, queues = ramp(400 * HOP), []
    actions = {k * HOP: lambda: queues.append(top.worker.pace.busy) for k in range(10, 400, 10)}
    top = flow(Paced(samples, pause=0.002, actions=actions), lambda: Serial(0.01), on_overload="pass", latency=0.1)
    top.run()
    out, stats = np.array(top.sinks[0].data()), top.worker.report()
    passed = out == samples
    assert np.array_equal(out, np.where(passed, samples, samples / 2))
    assert 0 < stats["overloads"] < stats["windows"] and len(passed_windows(top)) == stats["overloads"]
    assert max(queues) <= 2 * top.worker.pace.batch and stats["window_time"] > 0.005
    assert stats["latency_p50"] <= stats["latency_p99"]


class Serial(HalfTask):
    """One window after the other, as an engine does it."""

    def __init__(self, each):
        super().__init__()
        self.each, self.free = each, 0.0

    def submit(self, windows, start=0, block=True):
        """See HalfTask."""
        now = time.monotonic()
        self.free = max(self.free, now) + self.each * len(windows)
        self.pause = self.free - now
        return super().submit(windows, start, block)


@pytest.mark.timeout(60)
def test_below_capacity_nothing_passes_and_jobs_stay_small():
    """A window takes a tenth of the time in which the next comes: a limit far above both is kept with jobs of few windows."""
    sizes = []

    class Noted(Serial):
        def submit(self, windows, start=0, block=True):
            sizes.append(len(windows))
            return super().submit(windows, start, block)

    samples = ramp(100 * HOP)
    top = flow(Paced(samples, pause=0.02), lambda: Noted(0.002), on_overload="pass", latency=1.0)
    top.run()
    stats = top.worker.report()
    assert np.array_equal(top.sinks[0].data(), samples / 2) and stats["overloads"] == 0
    assert np.median(sizes) <= 2 and stats["latency_p99"] < 1.0


@pytest.mark.timeout(60)
def test_a_limit_holds_a_file_up_and_separates_all():
    """With on_overload = wait nothing passes, whatever the limit; jobs are small."""
    samples = ramp(200 * HOP)
    top = flow(blocks.vector_source_c(samples), lambda: Serial(0.002), latency=0.05)
    top.run()
    assert np.array_equal(top.sinks[0].data(), samples / 2) and top.worker.report()["overloads"] == 0


@pytest.mark.timeout(60)
def test_overload_is_reported_once_a_second(capfd):
    """In the log, with the time of a window; not once for each."""
    top = flow(Paced(ramp(150 * HOP), pause=0.01), lambda: HalfTask(3600), on_overload="pass", latency=0.2)
    top.run()
    lines = [line for line in "".join(capfd.readouterr()).splitlines() if "passed unseparated" in line]
    assert 1 <= len(lines) <= 4 and "0.2 s" in lines[0]
