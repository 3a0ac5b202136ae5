# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of streams share."""
import threading

import pytest
from alpha_rgs.streaming.task import Task


@pytest.fixture
def searches(monkeypatch):
    """Counts windows that are searched."""
    count, search, lock = [0], Task.separate, threading.Lock()

    def counted(self, windows, start, known=None, rows=slice(None), **rest):
        with lock:              # several threads search
            count[0] += len(windows[rows])
        return search(self, windows, start, known, rows, **rest)

    monkeypatch.setattr(Task, "separate", counted)
    return count
