# SPDX-License-Identifier: GPL-3.0-or-later
"""A separation that nobody waits for any more is left in its middle, and what others wait for is not."""
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest
from alpha_rgs import Engine
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.streaming.interruption import Interrupted, Interruptible

SOI, OFDM = paper_priors(symbols=None)
NOISE = np.random.default_rng(1).standard_normal((64, 2560, 2)).view(complex)[..., 0].astype(np.complex64)


class Endless:
    """A method's stand-in that runs until it is interrupted; without locks, as methods are."""

    def __init__(self):
        self.begun, self.left = [], []

    def __call__(self, *_, **__):
        self.begun.append(True)
        try:
            while True:
                time.sleep(0.001)
        finally:
            self.left.append(True)


def comes(flags):
    """Wait until there is one."""
    end = time.monotonic() + 30
    while not flags and time.monotonic() < end:
        time.sleep(0.001)
    return bool(flags)


@pytest.fixture
def endless(monkeypatch):
    """Separations of more than one window have no end."""
    from alpha_rgs.streaming import task

    stand_in, real = Endless(), task.separate

    def separate(windows, *rest, **options):
        return real(windows, *rest, **options) if windows.shape[0] == 1 else stand_in(windows)

    monkeypatch.setattr(task, "separate", separate)
    return stand_in


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_given_up_is_left_and_the_engine_goes_on(endless, threads):
    """In the engine's thread or in its pool; another caller's windows are separated afterwards."""
    with Engine(threads=threads) as engine:
        task, other = (engine.task(SOI, OFDM, "matched_filter" if threads == 1 else "joint") for _ in range(2))
        futures = [task.submit(NOISE[:16]) for _ in range(3)]
        assert comes(endless.begun)
        task.give_up()
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(30)
        assert comes(endless.left)
        with pytest.raises(CancelledError, match="given up"):
            task.submit(NOISE[:1])
        y = draw(SOI, OFDM, 1, 2560, -12, seed=1).y.numpy()
        assert other.submit(y).result(30).soi.shape == (1, 2560)


@pytest.mark.timeout(60)
def test_who_waits_for_room_in_the_queue_is_woken(endless):
    """A thread in submit() is no prisoner of a separation that was given up."""
    with Engine(threads=1, max_pending=4) as engine:
        task, ended = engine.task(SOI, OFDM, "matched_filter"), threading.Event()
        task.submit(NOISE[:4])
        assert comes(endless.begun)

        def submit():
            with pytest.raises(CancelledError):
                task.submit(NOISE[:4])
            ended.set()

        thread = threading.Thread(target=submit, daemon=True)
        thread.start()
        task.give_up()
        assert ended.wait(30)
        thread.join()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()], ids=lambda error: type(error).__name__)
def test_the_engine_survives_what_ends_a_thread(monkeypatch, error):
    """An error of any kind reaches the caller as an Exception, and the next windows are separated."""
    from alpha_rgs.streaming import task as module

    def fails(*_, **__):
        raise error

    with Engine(threads=1) as engine:
        task = engine.task(SOI, OFDM, "matched_filter")
        with monkeypatch.context() as patch:
            patch.setattr(module, "separate", fails)
            with pytest.raises(Exception, match=None if isinstance(error, Exception) else type(error).__name__):
                task.submit(NOISE[:2]).result(30)
        y = draw(SOI, OFDM, 1, 2560, -12, seed=1).y.numpy()
        assert task.submit(y).result(30).soi.shape == (1, 2560)


def test_an_interruption_strikes_nothing_that_comes_after():
    """A thousand functions that end at about the time of their interruption: either they are interrupted or they are not."""
    run, counts, stop = Interruptible(), [0, 0], threading.Event()

    def interrupt():
        while not stop.is_set():
            run.interrupt()
            time.sleep(1e-4)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        for _ in range(1000):
            try:
                run(sum, range(200))
                counts[0] += 1
            except Interrupted:
                counts[1] += 1
            sum(range(2000))            # where none may strike
    finally:
        stop.set()
        thread.join()
    assert sum(counts) == 1000


class Swallowing:
    """Something that is busy while it is freed: Python swallows what is raised there."""

    def __del__(self):
        time.sleep(0.2)


@pytest.mark.timeout(30)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_is_swallowed_is_repeated(monkeypatch):
    """In a finalizer an exception does not go on."""
    monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)     # pytest's own might be struck too
    run, begun = Interruptible(), []

    def busy():
        begun.append(True)
        made = Swallowing()
        del made
        while True:
            time.sleep(0.001)

    ended = []

    def call():
        try:
            run(busy)
        except Interrupted:
            ended.append(True)

    thread = threading.Thread(target=call)
    thread.start()
    assert comes(begun)
    run.interrupt()
    thread.join(10)
    assert ended == [True]


BLIND = """
import time, numpy as np
from alpha_rgs import Engine
from alpha_rgs.sources import from_dict
engine = Engine()
sources = [from_dict({"kind": "linear-modulation", "samples_per_symbol": n, "rolloff": 0.35}) for n in (16, 20)]
noise = np.random.default_rng(1).standard_normal((64, 2560, 2)).view(complex)[..., 0]
futures = [engine.task(sources).submit(noise) for _ in range(4)]
while not futures[0].running():
    time.sleep(0.01)
time.sleep(1)
print("leaving", flush=True)
"""


def test_a_process_ends_without_the_windows_that_nobody_waits_for():
    """Four batches of blind windows are minutes of work; the guard is far above the second that leaving takes."""
    process = subprocess.Popen([sys.executable, "-c", BLIND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "leaving\n", process.stderr.read()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""
