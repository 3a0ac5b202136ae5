# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator's thread: it makes the task, hands jobs to it, and changes it between two jobs."""

import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue

import pmt

from .commands import Change
from .window_job import Job, SymbolGrid

FAILED = pmt.intern("error")  # why windows leave unseparated: their task, which a command had asked for, failed
REFUSED = pmt.intern("receiver")  # the sources cannot be in the stream at the receiver's rate and frequency


@dataclass
class Trial:
    """A task that a command has asked for, until it has separated a job. before: for Tasks.restore."""

    asked: dict
    before: object
    proven: bool = False


@dataclass
class Revert:
    """A trial's separation failed."""

    trial: Trial
    error: BaseException


@dataclass
class Offer:
    """Windows that pass since the task is not ready: complex64 [n, window], and their first samples of the stream, int [n]."""

    windows: object
    start: object


class WorkerThread:
    """make_task: see window_worker; where it has change() and restore() (tasks.py), its task can be another one from a job on.
    pace: a Pace. block: is called back, in this thread: begun(task), changed(change, warnings), refused(change, error), wake(),
    fail(error).
    """

    def __init__(self, make_task, sps, pace, block):
        self.make_task, self.sps, self.pace, self.block = make_task, sps, pace, block
        self.task, self.grid, self.ready = None, SymbolGrid(sps, 0.0), threading.Event()
        self._todo, self._stopping, self._why, self._anchor, self._trial = SimpleQueue(), False, REFUSED, 0, None
        self._out = set()  # jobs that the engine has
        self._thread = threading.Thread(target=self._run, name="scoresep worker", daemon=True)

    def start(self):
        """Until the task is made, or has failed."""
        self._thread.start()
        self.ready.wait()

    def put(self, item):
        """A Job, an Offer, a Change (commands.py) or a Revert; they are done in order."""
        self._todo.put(item)

    def stop(self):
        """Leave what is waiting; the caller joins."""
        self._stopping = True
        self._todo.put(None)
        _give_up(self.task)  # lest the engine goes on for minutes, and this thread waits for room in its queue

    def join(self):
        """Until the thread has ended."""
        self._thread.join()

    # ---- in the thread -------------------------------------------------------------------------
    def _run(self):
        handlers = {Job: self._job, Offer: self._offer, Change: self._change, Revert: self._revert}
        try:
            self._use(self.make_task())
            self.block.begun(self.task)
            self.ready.set()
            while not self._stopping and (item := self._todo.get()) is not None:
                handlers[type(item)](item)
        except BaseException as error:  # this thread must not end in silence: the flowgraph would wait for it
            if not self._stopping:
                self.block.fail(error)
        finally:
            self.ready.set()

    def _use(self, task):
        before, self.task = self.task, task
        self.grid = SymbolGrid(self.sps, _timing(task))
        if before is not None and all(job.passed for job in self._out.copy()):  # nobody waits for what it still separates
            _give_up(before)
        if self._stopping:
            _give_up(task)

    def _job(self, job):
        job.anchor, job.grid, job.trial = self._anchor, self.grid, self._trial
        job.silent = not getattr(self.make_task, "symbols", True)
        count, began, failed = len(job.windows), time.monotonic(), None
        if job.passed or job.cancelled:
            self.pace.done(count, None, began)
            return
        if self.task is not None:
            try:
                self._out.add(job)
                job.submit(self.task, lambda future: self._done(future, job, began))
                return
            except Exception as error:
                self._out.discard(job)
                if self._stopping or self._trial is None or self._trial.proven:
                    raise
                failed = error
        job.skip(self._why if failed is None else FAILED)
        self.pace.done(count, None, time.monotonic())
        if failed is not None:
            self._revert(Revert(self._trial, failed))
        self.block.wake()

    def searching(self, start):
        """Whether a window that begins at that sample of the stream would have to be searched first."""
        ready = getattr(self.task, "ready", None)
        return ready is not None and not ready(start + self._anchor)

    def _offer(self, offer):
        if self.task is not None and self._trial is None:
            self.task.offer(offer.windows, offer.start + self._anchor)

    def _done(self, future, job, began):
        sound = not future.cancelled() and future.exception() is None
        self.pace.done(len(job.windows), began if sound else None, time.monotonic())
        self._out.discard(job)
        self.block.wake()

    def _change(self, change):
        again, others, event = change.others is not None and not change.others, dict(change.others or {}), change.event
        if event is not None:
            others |= {key: value for key, value in (("samp_rate", event.rate), ("center_freq", event.freq)) if value is not None}
            again = event.lost != 0 and (getattr(self.task, "searches", True) or self._anchor + event.sample + event.lost < 0)
        try:
            task, before, anew = self._other_task(others, again, event is not None)
        except Exception as error:
            if event is not None:
                self.task, self._why = None, REFUSED
            self.block.refused(change, error)
            return
        if anew:  # the sources' times count from here
            self._anchor = -change.sample
        elif event is not None and self._anchor + event.sample + event.lost >= 0:
            self._anchor += event.lost
        if task is not None:
            self._use(task)
            self._trial = Trial(change.asked or {}, before) if event is None else None  # what a receiver did cannot be undone
        warnings = getattr(self.make_task, "warnings", []) if others else []
        self.block.changed(change, task is not None, warnings)

    def _other_task(self, others, again, receiver):
        """See Tasks.change; of a function that makes the task but knows no changes."""
        again = again or self.task is None and bool(others)
        if hasattr(self.make_task, "change"):
            return self.make_task.change(others, again, receiver) if others or again else (None, None, False)
        return (self.make_task() if again else None), None, False

    def _revert(self, revert):
        if revert.trial is not self._trial:
            return
        if not hasattr(self.make_task, "restore") or revert.trial.before is None:
            raise revert.error
        self._use(self.make_task.restore(revert.trial.before))
        self._trial = None
        self.block.failed(revert.trial.asked, revert.error)


def _give_up(task):
    if hasattr(task, "give_up"):
        task.give_up()


def _timing(task):
    timing = getattr(getattr(task, "soi", None), "timing", None)
    return 0.0 if timing is None else float(timing)
