# SPDX-License-Identifier: GPL-3.0-or-later
"""Computations that another thread can end in their middle, between two operations of torch.

A blind window takes minutes, and nobody waits for it once its flowgraph was stopped or its process ends. Python has one way to
reach into a running function of another thread: an exception that is raised there at its next step
(PyThreadState_SetAsyncExc).
"""
from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch

_AGAIN = 0.05       # s from one attempt at an interruption to the next

R = TypeVar("R")
T = TypeVar("T")


class Interrupted(BaseException):
    """Raised in a function that is ended from outside; no Exception, lest the function takes it for an error of its own."""


class Interruptible:
    """Calls functions so that interrupt() can end them; in as many threads at once as call. They are to compute, and to hold no
    lock: a lock that is being taken by a `with` in Python, as that of threading.Condition, would stay taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, object] = {}       # by thread: its call

    def __call__(self, function: Callable[..., R], *args: Any) -> R:
        """function(*args), or Interrupted. Not to be called by a function that is called so."""
        ident = threading.get_ident()
        try:
            with self._lock:
                self._running[ident] = object()
            try:
                return function(*args)
            finally:
                self._leave(ident)
        except Interrupted:             # which may strike in the line above too, and again in the next
            try:
                self._leave(ident)
            except Interrupted:
                self._leave(ident)
            raise

    def _leave(self, ident: int) -> None:
        while True:
            try:
                with self._lock:
                    self._running.pop(ident, None)
                    _raise_in(ident, None)      # what is on its way must not strike whatever this thread does next
                return
            except Interrupted:
                continue

    def interrupt(self) -> None:
        """End all functions that run now, soon: an operation that runs outside Python is finished first."""
        with self._lock:
            calls = dict(self._running)
        if self._raised(calls):
            threading.Thread(target=self._until_ended, args=(calls,), name="alpha-rgs interruption", daemon=True).start()

    def _raised(self, calls: dict[int, object]) -> bool:
        """Raise Interrupted in those of the calls that run still; whether there is one."""
        with self._lock:
            still = [ident for ident, call in calls.items() if self._running.get(ident) is call]
            for ident in still:
                _raise_in(ident, Interrupted)
        return bool(still)

    def _until_ended(self, calls: dict[int, object]) -> None:
        """Python swallows what is raised in a finalizer: raise it again."""
        while True:
            time.sleep(_AGAIN)
            if not self._raised(calls):
                return


def _raise_in(ident: int, what: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None if what is None else ctypes.py_object(what))


def shared_out(function: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """[function(item) for item in items], in so many threads, each with one of torch's; the first error is raised.

    The threads are made for this call and are daemons: those of concurrent.futures hold up the end of the process until they have
    done all that they were given.
    """
    results: dict[int, R] = {}
    errors: list[BaseException] = []
    todo, lock = iter(enumerate(items)), threading.Lock()

    def work() -> None:
        torch.set_num_threads(1)
        while not errors:
            with lock:
                number, item = next(todo, (-1, None))
            if number < 0:
                return
            try:
                results[number] = function(cast(T, item))
            except BaseException as error:
                errors.append(error)

    made = [threading.Thread(target=work, name="alpha-rgs solver", daemon=True) for _ in range(min(threads, len(items)))]
    try:
        for thread in made:
            thread.start()
        for thread in made:
            thread.join()
    finally:                            # after an interruption too none may be left in torch's code
        for thread in made:
            if thread.ident is not None:
                thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(items))]
