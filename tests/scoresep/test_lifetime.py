# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separator lives as long as its flowgraph, and no longer: what it takes of the machine goes with it."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Run in an IPC namespace of its own, where the segments of other programs do not count.
SCRIPT = """
import gc, os, sys, time
import numpy as np
from concurrent.futures import Future
from types import SimpleNamespace
from alpha_rgs.streaming.engine import Engine
from gnuradio import blocks, gr, scoresep

SAMPLES = np.arange(1, 20_001).astype(np.complex64)


class Copies:
    fails = False

    def task(self, *sources, **options):
        return self

    def submit(self, windows, start=0, block=True):
        future, source = Future(), SimpleNamespace(waveform=windows, cleaned=windows)
        if self.fails:
            future.set_exception(RuntimeError("meant to fail"))
            return future
        future.set_result(SimpleNamespace(soi=windows, interference=windows, symbols=windows[:, ::16], sources=[source] * 3))
        return future


Engine.named = lambda name, **settings: Copies()


def segments():
    with open("/proc/sysvipc/shm") as table:
        return len(table.readlines()) - 1


def held():
    # segments, threads, descriptors of this process
    return segments(), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def make(number):
    if number % 2:
        return scoresep.multi_separator(["qpsk.toml", "ofdm.toml", "ofdm.toml"], 640, 512)
    return scoresep.separator("qpsk.toml", "ofdm.toml", 640, 512)


def once(number, keep, stop, fail=False):
    Copies.fails = fail
    top, sink = gr.top_block(), blocks.vector_sink_c()
    source = blocks.vector_source_c(SAMPLES, stop)
    if keep:
        separator, messages = make(number), blocks.message_debug()
        top.connect(source, separator, sink)
        top.msg_connect(separator, "stats", messages, "store")
    else:
        top.connect(source, make(number), sink)
        gc.collect()
    if stop:
        top.start()
        time.sleep(0.02)
        top.stop()
        top.wait()
    else:
        top.run()
        assert fail or np.array_equal(sink.data(), SAMPLES), "samples were lost"
    assert segments() > 0 or stop, "no segments are seen: this test counts nothing"
    return held()


once(0, True, False)                    # what is loaded at the first use stays
gc.collect()
before = held()
gc.disable()                            # what has gone is gone without it
used = [once(number, keep=number % 4 < 2, stop=number % 5 == 0, fail=number % 3 == 0) for number in range(int(sys.argv[1]))]
time.sleep(0.2)                         # a thread that was waited for is listed for a moment
print(*(after - first for after, first in zip(held(), before)), max(segments for segments, *_ in used))
"""

LOCKED = SCRIPT[: SCRIPT.index("once(0")] + """
before = held()
top, throttle, sink = gr.top_block(), blocks.throttle(8, 1e6), blocks.null_sink(8)
separator = make(0)
top.connect(blocks.vector_source_c(SAMPLES, True), throttle, separator, sink)
top.start()
for number in range(10):
    time.sleep(0.05)
    top.lock()
    top.disconnect(throttle, separator, sink)
    separator = make(number)
    gc.collect()
    top.connect(throttle, separator, sink)
    top.unlock()
top.stop()
top.wait()
most = segments()
del top, separator, throttle, sink
gc.collect()
time.sleep(0.2)
print(*(after - first for after, first in zip(held(), before)), most)
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("script", "count"), [
    pytest.param(SCRIPT, 40, id="forty flowgraphs"), pytest.param(LOCKED, 10, id="exchanged while running"),
    pytest.param(SCRIPT, 1000, id="thousand flowgraphs", marks=pytest.mark.slow)])
def test_nothing_of_the_machine_stays_behind(script, count):
    """Separators run and dropped, with and without a reference kept meanwhile, finished, stopped and failed; samples arrive
    whole. A machine has 4096 segments of shared memory for all programs."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "--ipc", "true"], capture_output=True).returncode:
        pytest.skip("no IPC namespace of one's own can be made here (unshare --ipc needs root)")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(["unshare", "--ipc", sys.executable, "-c", script, str(count)], cwd=ROOT / "examples", env=env,
                          capture_output=True, text=True, timeout=380)
    assert done.stdout, done.stderr     # the status says that flowgraphs ended by errors, which were meant
    left, threads, descriptors, most = map(int, done.stdout.split()[-4:])
    assert left == 0, f"{left} segments stay behind"
    assert threads <= 0, f"{threads} threads stay behind"
    assert descriptors <= 0, f"{descriptors} descriptors stay behind"
    assert most < 60, f"{most} segments at a time, which two flowgraphs do not need"
