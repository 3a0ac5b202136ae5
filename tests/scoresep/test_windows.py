# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""stream_to_windows and windows_to_stream, as a flowgraph sees them.

Counts and contents for every length of stream are checked in C++ (lib/qa_windows.cc).
"""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, scoresep

WINDOW, HOP = 64, 48
CONTEXT = (WINDOW - HOP) // 2


def ramp(count):
    """`count` different samples."""
    return (np.arange(count) + 1j).astype(np.complex64)


class Trickle(gr.sync_block):
    """A source that gives a few samples at a time and dawdles in between."""

    def __init__(self, samples, step, pause):
        gr.sync_block.__init__(self, "trickle", None, [np.complex64])
        self.samples, self.step, self.pause, self.sent = samples, step, pause, 0

    def work(self, input_items, output_items):
        """Give the next few samples, tagging the first of them."""
        if self.sent == len(self.samples):
            return -1
        time.sleep(self.pause)
        some = self.samples[self.sent : self.sent + min(self.step, len(output_items[0]))]
        output_items[0][: len(some)] = some
        self.add_item_tag(0, self.sent, pmt.intern("step"), pmt.from_long(self.sent))
        self.sent += len(some)
        return len(some)


class Marker(gr.sync_block):
    """Negates each window and tags the windows of odd number, as a separator might."""

    def __init__(self):
        gr.sync_block.__init__(self, "marker", [(np.complex64, WINDOW)], [(np.complex64, WINDOW)])

    def work(self, input_items, output_items):
        """One window in, one window out."""
        output_items[0][:] = -input_items[0]
        first = self.nitems_written(0)
        for index in range(first, first + len(output_items[0])):
            if index % 2:
                self.add_item_tag(0, index, pmt.intern("unseparated"), pmt.PMT_T)
        return len(output_items[0])


def flow(source, *between):
    """source -> cut -> between -> join -> sink; the top block keeps its parts alive."""
    top = gr.top_block()
    top.sink = blocks.vector_sink_c()
    parts = scoresep.stream_to_windows(WINDOW, HOP), *between, scoresep.windows_to_stream(WINDOW, HOP)
    top.parts = (source, *parts, top.sink)
    top.connect(*top.parts)
    return top


def test_a_slow_source_loses_nothing_and_costs_no_processor_time():
    """Waiting for samples must neither spin nor drop; the tags stay exact meanwhile."""
    samples = ramp(1003)
    top = flow(Trickle(samples, step=37, pause=0.03))
    began, used = time.monotonic(), time.process_time()
    top.run()
    used, took = time.process_time() - used, time.monotonic() - began
    assert np.array_equal(top.sink.data(), samples)
    assert [(t.offset, pmt.to_python(t.value)) for t in top.sink.tags()] == [
        (n, n) for n in range(0, 1003, 37)
    ]
    assert used < 0.5 * took, "a processor was kept busy while there was nothing to do"


@pytest.mark.parametrize("count", [1, CONTEXT, WINDOW - 1, WINDOW, WINDOW + 1, 2 * HOP + WINDOW, 20_000])
def test_tags_added_between_the_blocks_go_onto_the_first_sample_of_their_window(count):
    """What a method says about a window is found where that window's samples begin."""
    samples = ramp(count)
    top = flow(blocks.vector_source_c(samples), Marker())
    top.run()
    assert np.array_equal(top.sink.data(), -samples)
    windows = 1 + max(0, -(-(count - WINDOW) // HOP))
    found = [(t.offset, pmt.symbol_to_string(t.key)) for t in top.sink.tags()]
    assert found == [(k * HOP + CONTEXT, "unseparated") for k in range(1, windows, 2)]


def test_a_flowgraph_runs_twice():
    """A second run begins anew, without samples of the first."""
    source = blocks.vector_source_c(ramp(1003))
    top = flow(source)
    for _ in range(2):
        source.rewind()
        top.sink.reset()
        top.run()
        assert np.array_equal(top.sink.data(), ramp(1003))


def test_a_running_flowgraph_can_be_locked_and_unlocked():
    """A reconfiguration begins a new stream, as GNU Radio sees it too, which then ends whole."""
    samples = ramp(1003)
    top = flow(Trickle(samples, step=37, pause=0.01))
    top.start()
    for _ in range(3):
        time.sleep(0.05)
        top.lock()
        top.unlock()
    top.wait()
    assert np.array_equal(top.sink.data()[-WINDOW:], samples[-WINDOW:])


def test_an_endless_source_can_be_stopped():
    """The blocks let a live flowgraph go at once."""
    top = flow(blocks.null_source(gr.sizeof_gr_complex))
    top.start()
    time.sleep(0.1)
    top.stop()
    top.wait()


@pytest.mark.parametrize("block", ["stream_to_windows", "windows_to_stream"])
def test_wrong_sizes_are_a_value_error_that_says_what_is_right(block):
    """In Python, too, the message names the block and the values."""
    with pytest.raises(ValueError, match=rf"{block}: hop \(3000\) must not exceed window \(2560\)"):
        getattr(scoresep, block)(window=2560, hop=3000)
