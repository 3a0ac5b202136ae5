# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of a live stream are found while its windows pass, and the lock is carried to the present."""
import time

import numpy as np
import pytest
import torch
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming.beside import Beside
from alpha_rgs.streaming.engine import Engine

WINDOW, HOP = 2560, 2048
PACE = 0.02             # s, in which four windows come
QPSK = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.5, "span": 8}
OFDM = {"kind": "ofdm"}


def _windows(count, seed=6):
    """QPSK under OFDM 10 dB stronger, noise 20 dB below the QPSK, [count, WINDOW]."""
    g, n = torch.Generator().manual_seed(seed), HOP * count + WINDOW - HOP
    own = QPSK | {"timing": 3.3, "phase": 0.7, "carrier_offset": 0.002}
    signal, other = (alone(from_dict(d), 1, n, g)[0][0].numpy() for d in (own, OFDM | {"frame_offset": 11}))
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    noise = torch.randn(n, dtype=torch.complex64, generator=g).numpy()
    y = (signal + 10 ** 0.5 * other + 0.1 * noise).astype(np.complex64)
    return np.lib.stride_tricks.sliding_window_view(y, WINDOW)[::HOP].copy()


def _offered(task, windows, at, until):
    """Offer windows from the number `at` on, as they would come, until the task is ready; the number of the next one."""
    came = time.monotonic()
    while not task.ready(HOP * at) and at < until:
        task.offer(windows[at:at + 4].copy(), HOP * np.arange(at, at + 4))
        at, came = at + 4, came + PACE
        time.sleep(max(came - time.monotonic(), 0.0))
    return at


def test_a_stream_that_passes_is_locked_to():
    """Nothing is known but the kinds: eight windows are searched, some groups of those that pass meanwhile carry the lock on, and
    the next window is separated as predicted. After a jump the signal is looked for in four windows."""
    windows, submitted = _windows(6000), []
    with Engine(threads=1) as engine:
        task = engine.task(from_dict(QPSK), from_dict(OFDM))
        task.brief, submit = True, task.submit
        task.submit = lambda windows, start, block: submitted.append(np.asarray(start) // HOP) or submit(windows, start, block)
        at = _offered(task, windows, 0, 5000)
        assert at < 5000 and submitted[0].tolist() == list(range(8))
        for groups in submitted[1:]:
            starts = groups[::4]
            assert ((starts & (starts - 1)) == 0).all()     # 8, 16, 32, ... windows on
        out = submit(windows[at:at + 8], HOP * np.arange(at, at + 8)).result()
        assert (task.states(HOP * np.arange(at, at + 8)) == "locked").all() and np.asarray(out.quality).min() > 20
        submitted.clear()
        task.lock.lose(float(HOP * at))
        assert not task.ready(HOP * at)
        after = _offered(task, windows, at + 100, 5900)
        assert after < 5900 and len(submitted[0]) == 4


def test_what_is_kept_does_not_grow_with_the_time_that_a_search_takes(monkeypatch):
    """A dozen windows for each doubling."""
    class Never:
        def done(self):
            return False

        def add_done_callback(self, notify):
            pass

    class Searching:
        class lock:
            familiar, reach = None, 0

            @staticmethod
            def predicts(start):
                return False

        def submit(self, windows, start, block):
            assert not block        # the stream must go on
            return Never()

    beside, row = Beside(Searching()), np.ones((1000, 4), np.complex64)
    for k in range(0, 100_000, 1000):
        beside.offer(row, 2 * np.arange(k, k + 1000))
    kept = np.array([first for first, _ in beside.kept]) // 2
    assert len(kept) == 4 * 14 and kept[-4:].tolist() == [65536, 65537, 65538, 65539] and not beside.ready(10 ** 6)


@pytest.mark.parametrize("own", [QPSK, QPSK | {"timing": 0.0, "phase": 0.0, "carrier_offset": 0.0, "gain": 1.0}])
def test_tasks_without_a_lock_are_always_ready(own):
    """Of packets, and where all is known."""
    other = {"kind": "lora", "spreading_factor": 7} if own is QPSK else OFDM | {"frame_offset": 0, "phase": 0.0, "gain": 1.0}
    with Engine(threads=1) as engine:
        task = engine.task(from_dict(own), from_dict(other))
        assert task.ready(10 ** 9)
        task.offer(np.zeros((1, WINDOW), np.complex64), np.zeros(1, np.int64))
