# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of one stream that follow one another, solved as one: what a job costs beside its windows is paid once."""
from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from .brief import part_of

if TYPE_CHECKING:
    from .task import Job

MOST = 256              # windows of jobs that are solved as one


def in_a_row(batch: Sequence[Job]) -> list[list[Job]]:
    """Jobs in groups, in order, of which each is solved as one: those of a locked stream that goes a short way, as long as each
    begins where the one before ends. Others stand alone."""
    groups: list[list[Job]] = []
    for job in batch:
        last = groups[-1][-1] if groups else None
        if last is not None and _goes_on(last, job) and sum(len(one.windows) for one in [*groups[-1], job]) <= MOST:
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def _goes_on(last: Job, job: Job) -> bool:
    lock, hop = job.task.lock, int(last.start[-1] - last.start[-2]) if len(last.start) > 1 else 0
    return (last.task is job.task and lock is not None and job.task.locked_direct is not None and hop > 0
            and bool((np.diff(job.start, prepend=last.start[-1]) == hop).all()) and lock.predicts(float(last.start[0])))


def as_one(jobs: Sequence[Job]) -> Job:
    """A job of the windows of all."""
    first = jobs[0]
    return type(first)(first.task, np.concatenate([job.windows for job in jobs]), np.concatenate([job.start for job in jobs]),
                       Future())


def hand_out(future: Future[Any], jobs: Sequence[Job]) -> None:
    """What came of as_one(jobs), to each its part."""
    error, at = future.exception(), 0
    for job in jobs:
        if error is not None:
            job.future.set_exception(error)
            continue
        job.future.set_result(part_of(future.result(), slice(at, at + len(job.windows))))
        at += len(job.windows)
