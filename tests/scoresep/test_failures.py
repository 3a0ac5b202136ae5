# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is raised in a thread of the separator ends the flowgraph, with the reason, and leaves nothing that hangs."""

import os
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest
from flows import HalfTask, flow, ramp, workers
from gnuradio import blocks

ERRORS = {"exit": lambda: SystemExit(3), "Ctrl-C": KeyboardInterrupt, "memory": MemoryError,
          "CUDA": lambda: RuntimeError("CUDA error: out of memory")}


class Raising(HalfTask):
    """Its separation raises at a place: in submit(), in the engine, or where its result is read."""

    def __init__(self, place, error):
        super().__init__()
        self.place, self.raised = place, error

    def submit(self, windows, start=0, block=True):
        """Raise, or give a Future that raises, or one of nothing."""
        if self.place == "submit":
            raise self.raised
        future = Future()
        if self.place == "separation":
            future.set_exception(self.raised)
        else:
            future.set_result(self)
        return future

    @property
    def soi(self):
        """What the block looks for in the result."""
        raise self.raised


def making(place, error):
    """A function that makes such a task, or raises in place of it."""
    def make():
        if place == "task":
            raise error
        return Raising(place, error)

    return make


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", ["task", "submit", "separation", "result"])
@pytest.mark.parametrize("kind", ERRORS)
def test_any_error_ends_the_flowgraph_with_its_reason(place, kind):
    """SystemExit and KeyboardInterrupt, too, which end a thread in silence, and then the flowgraph waits for it for ever."""
    error = ERRORS[kind]()
    top = flow(blocks.null_source(8), making(place, error), name="separator")
    top.run()
    found = top.worker.error
    assert found is error
    assert place == "separation" or "test_failures.py" in found.__notes__[0], "where it was raised is not said"
    assert found.__traceback__ is None, "the frames hold the block and its flowgraph's shared memory"
    assert not workers()


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from flows import flow, ramp
from gnuradio import blocks

def no_task():
    raise ValueError("no luck")

top = flow(blocks.vector_source_c(ramp(3000)), no_task, name="separator")
top.run()
{last}
print("the end")
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("last", "status"), [("", 1), ("sys.exit(3)", 1), ("top.worker.error", 0),
                                              ("sys.exit(2 if top.worker.error else 0)", 2)])
def test_a_program_whose_flowgraph_ended_by_an_error_does_not_exit_with_success(last, status):
    """Unless it has looked at the error: then the status is its own affair. What it printed arrives."""
    script = SCRIPT.format(here=os.path.dirname(__file__), last=last)
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=50)
    assert done.returncode == status, done.stderr
    assert ("the end" in done.stdout) == ("exit" not in last)
    assert "no luck" in done.stdout + done.stderr and "Traceback" not in done.stderr


class Waiting(HalfTask):
    """A separation that takes until nobody waits for it, and whose queue is full."""

    def __init__(self):
        super().__init__()
        self.given_up = threading.Event()

    def submit(self, windows, start=0, block=True):
        """Wait, as for room in the engine's queue."""
        self.given_up.wait()
        raise RuntimeError("given up")

    def give_up(self):
        """See alpha_rgs.streaming.task.Task.give_up."""
        self.given_up.set()


@pytest.mark.timeout(30)
def test_a_flowgraph_that_is_stopped_waits_for_no_separation():
    """The engine is told that nobody wants its windows, and the worker's thread ends."""
    made = []

    def make():
        made.append(Waiting())
        return made[0]

    top = flow(blocks.vector_source_c(ramp(30_000), True), make)
    top.start()
    top.stop()
    top.wait()
    assert made[0].given_up.is_set() and not workers()
    assert top.worker.error is None, "to be stopped is no error"


class Unstoppable(HalfTask):
    """Cannot be given up."""

    def give_up(self):
        """Fail."""
        raise SystemExit("will not")


@pytest.mark.timeout(30)
def test_an_error_while_it_stops_is_kept():
    """GNU Radio aborts the program where stop() raises."""
    top = flow(blocks.vector_source_c(ramp(3000)), Unstoppable)
    top.run()
    assert str(top.worker.error) == "will not" and not workers()
