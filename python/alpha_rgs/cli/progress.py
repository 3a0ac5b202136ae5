# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long command is: a bar on a terminal, lines where there is none."""
from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import typer
from rich.console import Console

EVERY = 10.0        # seconds from line to line
Report = Callable[[int, int], None]


@contextlib.contextmanager
def shown(what: str, unit: str) -> Iterator[Report]:
    """A function of (done, total) that shows how much of `what` is done, on stderr: by a bar where a person is watching, else
    by a line every EVERY seconds, the first one after that time."""
    console = Console(stderr=True)
    with _bar(console, what, unit) if console.is_terminal else _lines(what, unit) as report:
        yield report


@contextlib.contextmanager
def _bar(console: Console, what: str, unit: str) -> Iterator[Report]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {unit}"),
               TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=0)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def _lines(what: str, unit: str) -> Iterator[Report]:
    state, began, stop = (0, 0), time.monotonic(), threading.Event()

    def report(done: int, total: int) -> None:
        nonlocal state
        state = done, total

    def write() -> None:
        while not stop.wait(EVERY):
            done, total = state
            typer.echo(line(what, unit, done, total, time.monotonic() - began), err=True)

    writer = threading.Thread(target=write, name="alpha-rgs progress", daemon=True)
    writer.start()
    try:
        yield report
    finally:
        stop.set()
        writer.join()


def line(what: str, unit: str, done: int, total: int, seconds: float) -> str:
    """Where the work is after so many seconds, and how long the rest takes at that speed."""
    left = f", about {_duration(seconds * (total - done) / done)} left" if done else ""
    return f"{what}: {done} of {total} {unit} in {_duration(seconds)}{left}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
