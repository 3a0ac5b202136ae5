# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of a locked stream that wait are solved as one, and each gets what it would have had by itself."""
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
from alpha_rgs.streaming.brief import Brief
from alpha_rgs.streaming.in_a_row import MOST, as_one, hand_out, in_a_row
from alpha_rgs.streaming.task import Job

HOP = 2048


def _task(locked=True, short=True):
    lock = SimpleNamespace(predicts=lambda start: locked)
    return SimpleNamespace(lock=lock, locked_direct=object() if short else None)


def _job(task, first, count):
    start = HOP * np.arange(first, first + count)
    return Job(task, np.full((count, 2560), first, np.complex64), start, Future())


def _groups(*jobs):
    return [len(group) for group in in_a_row(jobs)]


def test_jobs_that_follow_one_another_are_one():
    task = _task()
    assert _groups(_job(task, 0, 16), _job(task, 16, 32), _job(task, 48, 1)) == [3]


def test_others_stand_alone():
    """Behind a gap, of another stream, of one that is to be searched or has no short way, and what is too much at once."""
    task, other = _task(), _task()
    assert _groups(_job(task, 0, 16), _job(task, 17, 16)) == [1, 1]
    assert _groups(_job(task, 0, 16), _job(other, 16, 16)) == [1, 1]
    assert _groups(_job(task, 0, MOST), _job(task, MOST, 16), _job(task, MOST + 16, 16)) == [1, 2]
    for alone in (_task(locked=False), _task(short=False)):
        assert _groups(_job(alone, 0, 16), _job(alone, 16, 16)) == [1, 1]
    assert _groups(_job(task, 0, 1), _job(task, 1, 16)) == [1, 1]       # one window does not say how far apart they are


def test_each_job_gets_its_part():
    task = _task()
    jobs = [_job(task, 0, 2), _job(task, 2, 3)]
    one = as_one(jobs)
    assert np.array_equal(one.start, HOP * np.arange(5)) and one.windows.shape == (5, 2560)
    numbers = np.arange(5.0)
    one.future.set_result(Brief(one.windows, 2 * one.windows, one.windows[:, :160], numbers, numbers + 1,
                                lambda: (numbers + 2, numbers + 3), estimated={"gain": numbers + 4}))
    hand_out(one.future, jobs)
    first, last = (job.future.result() for job in jobs)
    assert np.array_equal(first.soi, jobs[0].windows) and np.array_equal(last.interference, 2 * jobs[1].windows)
    assert last.symbols.shape == (3, 160) and last.kappa.tolist() == [2, 3, 4] and last.noise_var.tolist() == [3, 4, 5]
    assert first.quality.tolist() == [2, 3] and last.error_rate.tolist() == [5, 6, 7]
    assert dict(last.estimated)["gain"].tolist() == [6, 7, 8]


def test_an_error_goes_to_all():
    jobs = [_job(_task(), 0, 2), _job(_task(), 2, 3)]
    one = as_one(jobs)
    one.future.set_exception(ValueError("no"))
    hand_out(one.future, jobs)
    for job in jobs:
        with pytest.raises(ValueError, match="no"):
            job.future.result()
