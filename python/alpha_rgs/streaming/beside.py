# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the sources of a live stream while its windows pass: the search takes seconds, in which the stream goes on.

A few windows in a row are searched. Meanwhile short groups of those that pass are kept, each twice as far from the first window
as the one before: from what two groups say the next one can be predicted. So the lock is carried from the searched windows to the
present in a few steps, however long the search took, and from very few windows.
"""
from __future__ import annotations

import queue
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

import numpy as np

from ..options import unusable
from .lock import SEARCHED

if TYPE_CHECKING:
    from .task import Task

_FAMILIAR = 4           # windows that are searched where the stream was locked before
_GROUP = 4              # windows of a group
_MOST = 2**17           # windows after which a search that was not caught up with is of no use


class Beside:
    """Of a Task whose stream may be locked. What is submitted goes the way of all jobs; its results are for the lock alone."""

    def __init__(self, task: Task) -> None:
        self.task, self.changed = task, threading.Lock()
        self._row: list[tuple[int, np.ndarray]] = []        # windows in a row that will be searched: first sample, samples
        self.kept: list[tuple[int, np.ndarray]] = []       # groups of those that passed since
        self._job: Future | None = None
        self._hop = self._base = self._searched = 0

    def ready(self, start: int) -> bool:
        """Whether a window that begins at that sample of the stream can be predicted."""
        lock = self.task.lock
        if lock is None:
            return True
        with self.changed:
            if self._job is not None and self._job.done():
                self._go_on()
            return self._job is None and lock.predicts(start)

    def offer(self, windows: np.ndarray, start: np.ndarray) -> None:
        """Windows, complex64 [n, samples], that begin at start, int64 [n], and pass. Returns at once."""
        if self.ready(int(start[0])):
            return
        with self.changed:
            sound = ~unusable(windows).any(1)
            for window, first in zip(windows[sound], start[sound].tolist()):
                if self._job is None:
                    self._collect(window, first)
                else:
                    self._keep(window, first)

    def _collect(self, window: np.ndarray, first: int) -> None:
        """One more window to search; those before it count where it follows them."""
        if len(self._row) > 1 and first - self._row[-1][0] != self._row[1][0] - self._row[0][0]:
            self._row = []
        self._row.append((first, window.copy()))        # which does not keep the others alive
        lock = self.task.lock
        assert lock is not None
        if len(self._row) < (SEARCHED if lock.familiar is None else _FAMILIAR):
            return
        self._base, self._hop, self._searched = self._row[0][0], self._row[1][0] - self._row[0][0], len(self._row)
        self._submit(self._row)
        self._row, self.kept = [], []

    def _keep(self, window: np.ndarray, first: int) -> None:
        """Keep a window where it belongs to a group."""
        number, rest = divmod(first - self._base, self._hop)
        if number > _MOST or rest:
            return
        if number >= self._searched and number - _GROUP * 2 ** (number // _GROUP).bit_length() // 2 < _GROUP:
            self.kept.append((first, window.copy()))

    def _go_on(self) -> None:
        """The job is done: carry the lock on, if it holds and something was kept."""
        lock, self._job = self.task.lock, None
        assert lock is not None
        kept, self.kept = self.kept, []
        if lock.reach and kept:
            self._submit(kept)

    def _submit(self, windows: list[tuple[int, np.ndarray]]) -> None:
        starts = np.array([first for first, _ in windows])
        try:
            self._job = self.task.submit(np.stack([window for _, window in windows]), starts, block=False)
            self._job.add_done_callback(_quiet)
        except (queue.Full, CancelledError):    # others keep the engine busy, and it is tried anew; or nobody wants it any more
            self._job = None


def _quiet(future: Future) -> Any:
    """What fails here fails again, and is told, where somebody waits for it."""
    return None if future.cancelled() else future.exception()
