# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of streams share."""
import pytest
from alpha_rgs.streaming.task import Task


@pytest.fixture
def searches(monkeypatch):
    """Counts windows that are searched."""
    count, search = [0], Task.separate

    def counted(self, windows, start, known=None, rows=slice(None), **rest):
        count[0] += len(windows[rows])
        return search(self, windows, start, known, rows, **rest)

    monkeypatch.setattr(Task, "separate", counted)
    return count
