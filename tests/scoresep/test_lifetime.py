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
import gc, sys, time
import numpy as np
from concurrent.futures import Future
from types import SimpleNamespace
from alpha_rgs.streaming.engine import Engine
from gnuradio import blocks, gr, scoresep

SAMPLES = np.arange(1, 20_001).astype(np.complex64)


class Copies:
    def task(self, *sources, **options):
        return self

    def submit(self, windows, start=0, block=True):
        future, source = Future(), SimpleNamespace(waveform=windows, cleaned=windows)
        future.set_result(SimpleNamespace(soi=windows, interference=windows, symbols=windows[:, ::16], sources=[source] * 3))
        return future


Engine.named = lambda name, **settings: Copies()


def segments():
    with open("/proc/sysvipc/shm") as table:
        return len(table.readlines()) - 1


def make(number):
    if number % 2:
        return scoresep.multi_separator(["qpsk.toml", "ofdm.toml", "ofdm.toml"], 640, 512)
    return scoresep.separator("qpsk.toml", "ofdm.toml", 640, 512)


def once(number, keep, stop):
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
        assert np.array_equal(sink.data(), SAMPLES), "samples were lost"
    assert segments() > 0 or stop, "no segments are seen: this test counts nothing"
    return segments()


used = [once(number, keep=number % 4 < 2, stop=number % 5 == 0) for number in range(40)]
gc.collect()
print(segments(), max(used))
"""

LOCKED = SCRIPT[: SCRIPT.index("used = [")] + """
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
used = [segments()]
del top, separator, throttle, sink
gc.collect()
print(segments(), max(used))
"""


@pytest.mark.timeout(100)
@pytest.mark.parametrize("script", [SCRIPT, LOCKED], ids=["forty flowgraphs", "exchanged while running"])
def test_no_shared_memory_stays_behind(script):
    """Separators run and dropped, with and without a reference kept meanwhile, finished and stopped; samples arrive whole."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "--ipc", "true"], capture_output=True).returncode:
        pytest.skip("no IPC namespace of one's own can be made here (unshare --ipc needs root)")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(["unshare", "--ipc", sys.executable, "-c", script], cwd=ROOT / "examples", env=env,
                          capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    left, most = map(int, done.stdout.split())
    assert left == 0, f"{left} segments stay behind"
    assert most < 60, f"{most} segments at a time, which two flowgraphs do not need"
