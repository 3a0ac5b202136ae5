# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flowgraphs for the tests of the separator blocks, and separations that cost nothing."""

import math
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pmt
from gnuradio import blocks, gr, scoresep
from gnuradio.scoresep.window_worker import window_worker

SPS, TIMING = 16, 37.3  # a timing beyond the first symbol's place: symbols before it belong to the stream too
WINDOW, HOP = 640, 512
# what the files of two sources say that separate
QPSK = """
kind = "linear-modulation"
constellation = "qpsk"
samples_per_symbol = 16
pulse = "rrc"
rolloff = 0.5
span = 4
timing = 8.0
phase = 0.0
gain = 1.0
carrier_offset = 0.0
"""
OFDM = """
kind = "ofdm"
frame_offset = 17
phase = 0.3
"""


class HalfTask:
    """A separation that takes `pause` s: SOI = x/2, interference = x/4, symbols = the first sample at or after their centre."""

    method = "half"
    soi = SimpleNamespace(timing=TIMING, gain=1.0, signal=SimpleNamespace(taps_count=65))

    def __init__(self, pause=0.0):
        self.pause = pause

    def submit(self, windows, start=0, block=True):
        """See alpha_rgs.engine.Task.submit."""
        windows, start = np.array(windows), np.broadcast_to(start, len(windows))
        first = np.ceil((start - TIMING) / SPS) * SPS + TIMING - start  # of the first centre, from the window's first sample
        centre = first[:, None] + SPS * np.arange(math.ceil((windows.shape[1] - first[0]) / SPS))
        out = SimpleNamespace(
            soi=windows / 2, interference=windows / 4, kappa=np.full(len(windows), 4.0), quality=np.full(len(windows), 9.0),
            symbols=np.take_along_axis(windows, np.minimum(np.ceil(centre).astype(int), windows.shape[1] - 1), 1))
        return later(self.pause, out)


def later(pause, result):
    """A Future that has its result after `pause` s."""
    future = Future()
    if pause:
        timer = threading.Timer(pause, lambda: future.set_running_or_notify_cancel() and future.set_result(result))
        timer.daemon = True
        timer.start()
    else:
        future.set_result(result)
    return future


def ramp(count):
    """`count` different samples, none of them 0."""
    return (np.arange(count) + 1 + 1j).astype(np.complex64)


def flow(source, make_task, sps=SPS, window=WINDOW, hop=HOP, **options):
    """A flowgraph around the Python block with another separation in it; sinks: one per output."""
    top = gr.top_block()
    top.source = source  # GNU Radio itself keeps half of a Python block
    top.worker = window_worker(make_task, window, hop, sps, **options)
    top.sinks = [blocks.vector_sink_c() for _ in range(3 if sps else 2)]
    top.responses = blocks.message_debug()
    top.msg_connect(top.worker, "response", top.responses, "store")
    top.connect(source, scoresep.stream_to_windows(window, hop), top.worker)
    for port, sink in enumerate(top.sinks):
        scale = sps if port == 2 else 1
        top.connect((top.worker, port), scoresep.windows_to_stream(window // scale, hop // scale), sink)
    return top


class Paced(gr.sync_block):
    """A source of some samples, `step` at a time, one every `pause` s. actions: sample -> what is called before it leaves."""

    def __init__(self, samples, step=HOP, pause=0.0, actions=None):
        gr.sync_block.__init__(self, "paced", None, [np.complex64])
        self.samples, self.step, self.pause, self.actions, self.sent = samples, step, pause, dict(actions or {}), 0

    def work(self, input_items, output_items):
        """Give the next step."""
        if self.sent == len(self.samples):
            return -1
        time.sleep(self.pause)
        if self.sent in self.actions:
            self.actions.pop(self.sent)()
        stop = min([self.sent + self.step, self.sent + len(output_items[0]), len(self.samples),
                    *(place for place in self.actions if place > self.sent)])
        output_items[0][: stop - self.sent] = self.samples[self.sent : stop]
        given, self.sent = stop - self.sent, stop
        return given


def answers(debug):
    """What has left by a port for messages, in Python's terms."""
    return [pmt.to_python(debug.get_message(k)) for k in range(debug.num_messages())]


def wait_for(condition, seconds=20):
    """Until a condition holds; whether it does."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def tag(offset, name, value=0):
    """A stream tag."""
    out = gr.tag_t()
    out.offset, out.key, out.srcid = offset, pmt.intern(name), pmt.intern("test")
    out.value = pmt.from_long(value) if isinstance(value, int) else value
    return out


def symbol_centres(count):
    """Centres of the symbols in a stream of `count` samples."""
    first = math.ceil(-TIMING / SPS)
    return TIMING + SPS * np.arange(first, math.ceil((count - TIMING) / SPS))


def workers():
    """Threads of separators that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "scoresep worker"]
