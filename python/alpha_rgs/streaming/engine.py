# SPDX-License-Identifier: GPL-3.0-or-later
"""Where separation runs: one thread that owns the device and batches the windows of many callers."""
from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import options as checks
from ..errors import ParameterError
from ..separators import BRIEF
from ..separators.base import Separation, joined, left_over, mapped
from ..sources.base import Source
from ..sources.linear_modulation import NUISANCES
from .brief import Brief, Row, brief_of, joined_briefs
from .in_a_row import MOST, as_one, hand_out, in_a_row
from .interruption import Interrupted, Interruptible, shared_out
from .lock import Lock, Predicted
from .lock_job import Locked
from .lost import filled, silent
from .neighbours import mended
from .task import Task

if TYPE_CHECKING:
    from .direct import Direct
    from .task import Job

_MOST_THREADS = 8
# threads among which torch's work is shared out where nothing is said: more only wait for the interpreter. Measured on 16 cores,
# 1 / 2 / 4 / 8 / 16 threads: joint 0.17 / 0.29 / 0.35 / 0.18 / 0.10 MS/s, alpha_rgs 0.71 / 0.73 / 0.59 / 0.28 / 0.16
_TORCH_THREADS = 2
_FEWEST = 4     # windows of a part of a batch, half as many that are searched: of fewer, the cost of each operation is felt


def default_threads() -> int:
    """How many threads an engine has on the CPU where nothing is said."""
    return min(os.cpu_count() or 1, _MOST_THREADS)


def available(name: str, device: str) -> torch.device:
    """The torch.device of that name. Raises ParameterError, naming the option `name`, where the machine has none."""
    place = torch.device(checks.device(name, device))
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place.type == "cuda" and (place.index or 0) >= count:
        has = f"has {count} of these" if count else "has no CUDA device that torch can use"
        raise ParameterError(f"{name}: {device} is asked for, but this machine {has}; leave it out, or give cpu")
    return place


class Engine:
    """Batches windows over time and over callers.

    device: of torch. threads: windows of a batch are shared out among so many, each with one of torch's threads; None for
    the number of processors, at most 8 for the native detector and 2 for torch, 1 on a GPU. max_batch: windows solved together.
    max_pending: windows that may wait; then submit blocks, or refuses. Raises ParameterError.
    """

    _named: ClassVar[dict[str, Engine]] = {}
    _lock: ClassVar = threading.RLock()

    def __init__(self, device: str | torch.device = "cpu", threads: int | None = None, max_batch: int = 64,
                 max_pending: int = 256) -> None:
        checks.engine_settings("", dict(device=device, threads=threads, max_batch=max_batch, max_pending=max_pending))
        self.device, self.max_batch, self.max_pending = available("device", str(device)), int(max_batch), int(max_pending)
        self._threads = (threads and int(threads)) or (default_threads() if self.device.type == "cpu" else 1)
        self._parts = self._threads if threads else min(self._threads, _TORCH_THREADS)
        self._jobs: list[Job] = []
        self._solving: list[Job] = []
        self._waiting, self._closed = 0, False
        self._changed, self._interruptible = threading.Condition(), Interruptible()
        self._short, self._free = ThreadPoolExecutor(self._threads, "alpha-rgs direct"), threading.Semaphore(self._threads + 1)
        self._thread = threading.Thread(target=self._run, name="alpha-rgs engine", daemon=True)
        self._thread.start()
        atexit.register(self.abandon)       # Python aborts where it ends while a thread is in torch's code

    @classmethod
    def named(cls, name: str = "default", **settings: Any) -> Engine:
        """The engine of that name, made with `settings` on first use (they are ignored afterwards)."""
        with cls._lock:
            if name not in cls._named or cls._named[name]._closed:
                cls._named[name] = cls(**settings)
            return cls._named[name]

    def task(self, sources: Any, interference: Source | None = None, method: str = "auto", kappa: Any = None,
             noise_var: Any = None, **options: Any) -> Task:
        """A Task: of a list of sources, or of a signal of interest and an interference. Raises ParameterError (unknown
        method)."""
        return Task(self, sources, interference, method, kappa, noise_var, options)

    @property
    def threads(self) -> int:
        """Of the native detector."""
        return self._threads

    @property
    def pending(self) -> int:
        """Windows that wait."""
        return self._waiting

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._short.shutdown()
        atexit.unregister(self.abandon)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Stop at once: windows that wait, or are being separated, come to nothing (CancelledError)."""
        with self._changed:
            self._closed = True
            tasks = {job.task for job in [*self._jobs, *self._solving]}
        for task in tasks:
            self.give_up(task)
        self.close()

    def give_up(self, task: Task) -> None:
        """See Task.give_up."""
        with self._changed:
            task.given_up = True
            for job in [job for job in self._jobs if job.task is task]:
                self._jobs.remove(job)
                job.future.cancel()
            if self._solving and all(job.task.given_up for job in self._solving):
                self._interruptible.interrupt()
            self._changed.notify_all()

    def put(self, job: Job, block: bool) -> Future:
        """Queue a Job; see Task.submit."""
        with self._changed:
            while self._waiting and self._waiting + len(job.windows) > self.max_pending and not (
                    self._closed or job.task.given_up):
                if not block:
                    raise queue.Full
                self._changed.wait()
            if job.task.given_up:
                raise CancelledError("the task was given up")
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._jobs.append(job)
            self._waiting += len(job.windows)
            self._changed.notify_all()
        return job.future

    def _take(self) -> list[Job] | None:
        """The oldest job and later ones that can be solved with it; None when closed and empty."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            head, count = self._jobs[0], 0
            most = self.max_batch if head.task.locked_direct is None else max(self.max_batch, MOST)
            batch: list[Job] = []
            for job in list(self._jobs):
                alike = job.task.key == head.task.key and job.windows.shape[1] == head.windows.shape[1]
                if alike and (not batch or count + len(job.windows) <= most):
                    batch.append(job)
                    self._jobs.remove(job)
                    count += len(job.windows)
            return batch

    def _run(self) -> None:
        batch: list[Job] | None = []
        while batch is not None:
            try:
                batch = self._take()
                self._solve_all([job for job in batch or [] if job.future.set_running_or_notify_cancel()])
            except BaseException as error:      # to the callers: this thread serves others too
                for job in batch or []:
                    if not job.future.done():
                        job.future.set_exception(_of_a_call(error))
            with self._changed:
                self._solving = []
                self._waiting = sum(len(job.windows) for job in self._jobs)
                self._changed.notify_all()

    def _solve_all(self, batch: list[Job]) -> None:
        """Solve a batch whose futures run, unless all of its tasks are given up."""
        with self._changed:
            self._solving = batch
        while batch and not all(job.task.given_up for job in batch):
            try:
                self._solve(batch)
                return
            except Interrupted:         # if not all were given up, it was meant for the batch before
                batch = [job for job in batch if not job.future.done()]
        for job in batch:
            job.future.set_exception(CancelledError("the task was given up"))

    def _share_out(self, task: Task, windows: Tensor, start: np.ndarray, known: dict[str, Any] | None = None,
                   finished: Callable[[int], None] | None = None) -> Separation:
        """Separate, the batch cut in as many parts as there are threads: its small operations do not fill several. Where they are
        few, threads would only wait for the interpreter. known: of the SOI, name -> [n], where other than the task's; fitted.
        finished: called with the number of windows that are done; where they are slow, the batch is cut in parts of _FEWEST."""
        given = {key: torch.from_numpy(value) for key, value in known.items()} if known else None
        return self._shared_out(task, partial(task.separate, windows, start, given), len(windows), finished)

    def _shared_out(self, task: Task, separate: Callable[[slice], Separation], count: int,
                    finished: Callable[[int], None] | None = None, whole: bool = False) -> Separation:
        """As _share_out; separate(rows): of some of so many windows. whole: whether it has threads of its own."""
        def solve(rows: slice) -> Separation:
            if all(job.task.given_up for job in self._solving):
                raise Interrupted
            out = self._interruptible(separate, rows)
            if finished:
                finished(rows.stop - rows.start)
            return out

        most = count // (_FEWEST // 2 if task.slow else _FEWEST)
        parts = 1 if whole or task.method in BRIEF else most if finished and task.slow else min(self._parts, most)
        edges = np.linspace(0, count, max(parts, 1) + 1).astype(int)
        pieces = list(map(slice, edges[:-1].tolist(), edges[1:].tolist()))
        if len(pieces) == 1:
            return solve(pieces[0])
        if self._parts > 1:
            return joined(shared_out(solve, pieces, self._parts))
        return joined(list(map(solve, pieces)))

    def _one_by_one(self, batch: list[Job]) -> None:
        for jobs in in_a_row(batch):
            one = as_one(jobs) if len(jobs) > 1 else jobs[0]
            self._solve([one])
            if len(jobs) > 1:
                hand_out(one.future, jobs)

    def _solve(self, batch: list[Job]) -> None:
        task, samples = batch[0].task, batch[0].windows.shape[1]
        for job in batch:
            job.task.longest = max(job.task.longest, samples)
        if len(batch) > 1 and any(job.task.lock or (job.task.memory or job.task.tracker) and samples < job.task.longest
                                  for job in batch):
            self._one_by_one(batch)             # each caller has its own memory
            return
        if task.lock and samples == task.longest:
            self._solve_locked(batch[0], task.lock)
            return
        batch = [job for job in batch if not self._solved_directly(job)]
        if not batch:
            return
        given, lost = filled(np.concatenate([job.windows for job in batch]))
        windows = torch.from_numpy(given).to(self.device)
        start = np.concatenate([job.start for job in batch])
        try:
            alone = all(job.task is task for job in batch)
            out = self._share_out(task, windows, start, finished=task.finished if alone else None)
        except Exception as error:
            if len(batch) > 1:                  # one caller's error must not fail another's windows
                self._one_by_one(batch)
            else:
                batch[0].future.set_exception(error)
            return
        at = 0
        for job in batch:
            rows = slice(at, at + len(job.windows))
            sound = np.flatnonzero(~lost[rows])
            if len(sound):
                job.task.remember(out, at + int(sound[-1]), int(job.start[sound[-1]]), samples)
            try:
                hushed = partial(silent, job.windows, lost[rows])
                part = hushed(self._mended(job, windows[rows], mapped(out, lambda value, rows=rows: value[rows])))
                part = hushed(self._followed(job, windows[rows], _rows(part, slice(None))))
                job.future.set_result(job.task.ordered(part))
            except Exception as error:
                job.future.set_exception(error)
            at = rows.stop

    def _solve_locked(self, job: Job, lock: Lock) -> None:
        """Solve a job whose sources are predicted from window to window once they were found."""
        task, way, (given, lost) = job.task, job.task.locked_direct, filled(job.windows)
        windows = torch.from_numpy(given).to(self.device)

        def piece(rows: np.ndarray) -> Job:
            return replace(job, windows=job.windows[rows], start=job.start[rows])

        def search(rows: np.ndarray, carrier_offset: float | None) -> Separation:
            known = None if carrier_offset is None else {"carrier_offset": np.full(len(rows), carrier_offset)}
            out = self._share_out(task, windows[rows], job.start[rows], known, task.finished)
            return out if known or lock.alone else self._mended(piece(rows), windows[rows], out)

        def predict(rows: np.ndarray, predicted: Predicted) -> Separation:
            separate = partial(task.separate_predicted, windows[rows], predicted)
            return self._shared_out(task, separate, len(rows), task.finished, whole=task.native)

        def finish(rows: np.ndarray, out: Separation, searched: bool, anew: bool) -> Separation:
            sound = np.flatnonzero(~lost[rows])
            if len(sound):
                task.remember(out, int(sound[-1]), int(job.start[rows[sound[-1]]]), windows.shape[1])
            part = silent(job.windows[rows], lost[rows], out)
            part = self._followed(piece(rows), windows[rows], _rows(part, slice(None)), searched, anew)
            return mapped(silent(job.windows[rows], lost[rows], part), torch.as_tensor)

        def short(rows: np.ndarray) -> Brief | None:        # windows one after the other
            assert way is not None
            first, count = int(rows[0]), min(len(rows), way.reach)
            some, again = slice(first, first + count), lambda more, predicted: predict(rows[more], predicted)
            row = way.takes(job.windows[some], job.start[some], not lost.any()) if count else None
            return None if row is None else self._interruptible(way.separate, row, again)

        try:
            own = short if way else None
            parts = Locked(lock, windows, job.start, lost, not task.several, search, predict, finish, own).solved()
            whole = [part for part in parts if isinstance(part, Separation)]
            if len(whole) == len(parts):
                job.future.set_result(task.ordered(_rows(joined(whole), slice(None))))
            else:
                job.future.set_result(joined_briefs([brief_of(part) for part in parts]))
        except Exception as error:
            job.future.set_exception(error)

    def _solved_directly(self, job: Job) -> bool:
        """Have a job solved the short way, where there is one (direct.py), its caller takes what that gives, and its windows are
        sound. Jobs are solved in as many threads as the engine has, without the interpreter; this one waits for a free one."""
        way = job.task.direct if job.task.brief else None
        row = way.takes(job.windows, job.start) if way is not None else None
        if way is None or row is None:
            return False
        self._free.acquire()
        try:
            self._short.submit(self._solve_directly, way, row, job)
        except BaseException:
            self._free.release()
            raise
        return True

    def _solve_directly(self, way: Direct, row: Row, job: Job) -> None:
        try:
            job.future.set_result(way.separate(row))
        except BaseException as error:
            job.future.set_exception(_of_a_call(error))
        finally:
            self._free.release()

    def _mended(self, job: Job, windows: Tensor, part: Separation) -> Separation:
        """A job's part of a Separation; what does not fit its other windows is separated once more."""
        task = job.task
        if not any("carrier_offset" in source.unknown for source in task.sources) or windows.shape[1] < task.longest:
            return part

        def level(out: Separation, rows: Tensor) -> Tensor:
            return left_over(windows[rows], out)

        def again(rows: Tensor, carriers: Mapping[int, Tensor]) -> Separation:
            tracked = {"carrier_offset": carriers[0]} if task.tracker and 0 in carriers else None
            return self._interruptible(partial(task.separate, carriers=carriers), windows[rows], job.start[rows.numpy()], tracked)

        return mended(part, task.sources, windows.shape[1], level, again)

    def _followed(self, job: Job, windows: Tensor, part: Separation, searched: bool = True, anew: bool = True) -> Separation:
        """A job's part of a Separation, aligned with its stream; what does not fit the stream is separated once more, where it
        was searched and may be `anew`."""
        if not job.task.tracker:
            return part

        def again(rows: np.ndarray, known: dict[str, Any]) -> Separation:
            return _rows(self._share_out(job.task, windows[torch.from_numpy(rows)], job.start[rows], known), slice(None))

        if windows.shape[1] < job.task.longest:         # its SOI was as the tracker had it: what is found is the interference's
            names = {key: f"interference_{key}" for key in NUISANCES}
            part = replace(part, estimated={names.get(key, key): value for key, value in part.estimated.items()})
        return job.task.tracker.follow(part, job.start, again if searched and anew else None, not searched)


def _of_a_call(error: BaseException) -> Exception:
    """An error as a caller can catch it: what would end a program or a thread (SystemExit) must not end the caller's."""
    if isinstance(error, Exception):
        return error
    made = RuntimeError(f"the separation ended with {type(error).__name__}{f': {error}' if str(error) else ''}")
    made.__cause__ = error
    return made


def _rows(out: Separation, rows: slice) -> Separation:
    """Some windows of a Separation, as numpy."""
    return mapped(out, lambda value: value[rows].cpu().numpy())
