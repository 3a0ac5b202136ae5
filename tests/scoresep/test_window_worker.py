# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator's Python block in a flowgraph, with a separation that says where its samples come from."""

import threading
import time
from concurrent.futures import Future

import numpy as np
import pmt
import pytest
from flows import HOP, WINDOW, HalfTask, flow, ramp, symbol_centres, tag, workers
from gnuradio import blocks, gr


# ---- counts and tags ---------------------------------------------------------------------------------
@pytest.mark.parametrize("pause", [0.0, 0.02])
@pytest.mark.parametrize("count", [0, 1, 30, 37, 38, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + HOP, WINDOW + HOP + 129, 40_007])
def test_every_sample_and_symbol_leaves_once_in_its_place(count, pause):
    """Streams of every length: shorter than a symbol, than a window, with a tail."""
    if pause and count > 10_000:
        pause = 0.001
    samples = ramp(count)
    top = flow(blocks.vector_source_c(samples), lambda: HalfTask(pause))
    top.run()
    assert np.array_equal(top.sinks[0].data(), samples / 2)
    assert np.array_equal(top.sinks[1].data(), samples / 4)
    at = np.minimum(np.ceil(symbol_centres(count)).astype(int), max(count - 1, 0))
    found = np.array(top.sinks[2].data())
    assert len(found) == len(at)
    assert np.array_equal(found[:-1], samples[at][:-1])  # the last one's next sample may lie past the end
    assert not workers()


def test_tags_leave_on_their_sample_and_on_the_right_symbol():
    """Dense tags, in windows and in the partial one at the end."""
    count = 5 * HOP + WINDOW + 77
    tags = [tag(n, "mark", n) for n in [*range(0, count, 7), count - 1]]
    top = flow(blocks.vector_source_c(ramp(count), False, 1, tags), HalfTask)
    top.run()
    for sink in top.sinks[:2]:
        assert [(t.offset, pmt.to_python(t.value)) for t in sink.tags()] == [(t.offset, pmt.to_python(t.value)) for t in tags]
    centres = symbol_centres(count)
    expected = [(int(np.searchsorted(centres, t.offset)), t.offset) for t in tags if t.offset <= centres[-1]]
    assert sorted((t.offset, pmt.to_python(t.value)) for t in top.sinks[2].tags()) == expected


def test_symbols_are_optional_for_sources_without_symbols():
    """With no samples per symbol the block has two outputs."""
    top = flow(blocks.vector_source_c(ramp(3000)), HalfTask, sps=0)
    top.run()
    assert np.array_equal(top.sinks[0].data(), ramp(3000) / 2)


def test_on_overload_pass_lets_windows_through_and_says_so():
    """A live source is not held up: what finds the queue full goes through, tagged and counted, in order."""
    samples = ramp(400 * HOP + 100)
    top = flow(blocks.vector_source_c(samples), lambda: HalfTask(0.3), on_overload="pass")
    top.run()
    stats = top.worker.stats.table()
    out, rest, symbols = (np.array(sink.data()) for sink in top.sinks)
    passed = out == samples
    assert np.array_equal(np.where(passed, samples, samples / 2), out)
    assert np.array_equal(rest, np.where(passed, 0, samples / 4))
    marks = [[t.offset for t in sink.tags() if pmt.symbol_to_string(t.key) == "unseparated"] for sink in top.sinks]
    assert 0 < stats["overloads"] < stats["windows"] == 400
    assert len(marks[0]) == len(marks[1]) == len(marks[2]) == stats["overloads"]
    assert passed[marks[0]].all() and not symbols[marks[2]].any()
    assert abs(passed.sum() - stats["overloads"] * HOP) <= WINDOW


def test_on_overload_wait_separates_all():
    """A file waits."""
    samples = ramp(200 * HOP)
    top = flow(blocks.vector_source_c(samples), lambda: HalfTask(0.02))
    top.run()
    assert np.array_equal(top.sinks[0].data(), samples / 2)
    assert top.worker.stats.table()["overloads"] == 0


def test_a_flowgraph_can_be_stopped_and_runs_twice():
    """No thread stays behind, and the second run begins anew."""
    top = flow(blocks.null_source(gr.sizeof_gr_complex), lambda: HalfTask(0.01))
    top.start()
    time.sleep(0.2)
    top.stop()
    top.wait()
    assert not workers()
    source = blocks.vector_source_c(ramp(5000))
    top = flow(source, HalfTask)
    for _ in range(2):
        source.rewind()
        for sink in top.sinks:
            sink.reset()
        top.run()
        assert np.array_equal(top.sinks[0].data(), ramp(5000) / 2)


def test_an_idle_block_costs_no_processor_time():
    """Waiting for a slow separation must not spin."""
    top = flow(blocks.vector_source_c(ramp(1000)), lambda: HalfTask(1.5))
    began, used = time.monotonic(), time.process_time()
    top.run()
    assert time.process_time() - used < 0.3 * (time.monotonic() - began)


# ---- errors -----------------------------------------------------------------------------------------
class Failing(HalfTask):
    """Its separation fails, at once or later."""

    def __init__(self, at_once):
        super().__init__()
        self.at_once = at_once

    def submit(self, windows, start=0, block=True):
        """Raise, or give a Future that raises."""
        if self.at_once:
            raise RuntimeError("no luck")
        future = Future()
        fail = RuntimeError("no luck")
        threading.Timer(0.05, lambda: future.set_running_or_notify_cancel() and future.set_exception(fail)).start()
        return future


def no_task():
    """A task that cannot be made."""
    raise RuntimeError("no luck")


@pytest.mark.parametrize("make", [no_task, lambda: Failing(True), lambda: Failing(False)])
@pytest.mark.parametrize("source", ["finite", "endless"])
@pytest.mark.timeout(20)
def test_an_error_ends_the_flowgraph(make, source, capfd):
    """Wherever it happens, run() returns, the exception is kept, and one message names the block."""
    source = blocks.null_source(8) if source == "endless" else blocks.vector_source_c(ramp(3000))
    top = flow(source, make, name="separator")
    top.run()
    assert str(top.worker.error) == "no luck"
    assert "".join(capfd.readouterr()).count("separator0: RuntimeError: no luck") <= 1
