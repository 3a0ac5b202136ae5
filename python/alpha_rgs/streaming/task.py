# SPDX-License-Identifier: GPL-3.0-or-later
"""One caller's task for the engine, and what was estimated from its stream so far."""
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from .. import native
from .. import options as checks
from ..separators import choose, separate
from ..separators.api import found_together
from ..separators.base import Separation
from ..separators.joint_native import suits
from ..separators.several import check_count
from ..sources.base import Source, Structure
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..sources.toml import load_in_samples, sources_of
from .beside import Beside
from .direct import Direct
from .lock import Lock, Predicted, lockable
from .lock_direct import LockedDirect
from .symbol_tracker import Tracker

if TYPE_CHECKING:
    from .engine import Engine


class Task:
    """What one caller wants done: sources, method, and what is known. Made by Engine.task.

    sources: of a list that was given; then `order` is where each of them lies in a Separation's `sources`, since a train of
    pulses whose nuisances are tracked comes first. soi, interference: the first source and the second, or the pair that was
    given.
    """

    def __init__(self, engine: Engine, sources: Any, interference: Source | None, method: str, kappa: Any, noise_var: Any,
                 options: dict[str, Any]) -> None:
        self.engine, self.several = engine, interference is None
        checks.of_separation("", method, options, kappa=kappa, noise_var=noise_var)
        sources = sources_of(sources, interference, load_in_samples)
        if self.several:
            check_count(sources)
            self.order = _order(sources)
            self.sources = [source for _, source in sorted(zip(self.order, sources), key=lambda pair: pair[0])]
        else:
            self.order, self.sources = [0, 1], sources
        soi, other = self.sources[0], self.sources[1]
        self.soi: Any = soi
        self.interference: Any = other
        pair = not self.several and soi.structure is Structure.CHAIN and not found_together(soi, other, method)
        self.method = choose(method, soi, other) if pair else method
        self.kappa, self.noise_var, self.options = kappa, noise_var, options
        self.finished: Callable[[int], None] | None = None      # called with the number of windows that are done
        self.longest, self.given_up = 0, False
        self.brief = False              # whether waveforms and symbols are all that the caller takes of a Separation
        self.memory: tuple[Any, Any, Any] | None = None         # what the last whole window reported, for a short one at the end
        linear = soi.structure is Structure.CHAIN
        self.tracker = Tracker(soi) if linear and None in (soi.timing, soi.phase, soi.carrier_offset) else None
        told = [soi, other if kappa is None else other.with_state(gain=kappa), *self.sources[2:]]
        self.lock = Lock(told) if lockable(told, self.method) else None
        self._beside = Beside(self)
        self.key = (self.method, self.several, *map(_identity, self.sources), kappa, noise_var,
                    *((k, _identity(v)) for k, v in sorted(options.items())))

    @property
    def slow(self) -> bool:
        """Whether a window takes so long that few of them are worth a report: sources are searched in each."""
        chain = self.soi.structure is Structure.CHAIN
        return self.tracker is not None or ((self.several or not chain) and any(source.unknown for source in self.sources))

    @property
    def searches(self) -> bool:
        """Whether something of the sources is unknown, and has to be found in the stream."""
        return any(source.unknown for source in self.sources)

    def states(self, start: np.ndarray) -> np.ndarray:
        """How windows that begin at `start`, int [n], were separated: "known" where nothing had to be found, "locked" where the
        sources were predicted from the windows before, "search" where they were searched."""
        if self.lock is None:
            return np.full(len(start), "search" if self.searches else "known")
        return np.where(self.lock.held(start), "locked", "search")

    @cached_property
    def direct(self) -> Direct | None:
        """The short way, of a pair of which everything is known; None where there is none."""
        pair = not self.several and self.method == "joint" and not self.options and self.engine.device.type == "cpu"
        return Direct.of(self.soi, self.interference, self.kappa, self.noise_var) if pair else None

    @cached_property
    def locked_direct(self) -> LockedDirect | None:
        """The short way, of a pair that is locked; None where there is none, or the caller wants more than it gives."""
        if not (self.brief and self.lock and self.tracker and self.native):
            return None
        told = all(value is None or np.ndim(value) == 0 for value in (self.kappa, self.noise_var))
        if not told or not LockedDirect.suits(*self.lock.sources):
            return None
        noise = None if self.noise_var is None else float(self.noise_var)
        return LockedDirect(self.lock, self.tracker, noise, self.engine.threads)

    @property
    def quick(self) -> bool:
        """Whether windows in a row go a short way, at once or once the sources are found."""
        return self.direct is not None or self.locked_direct is not None

    @property
    def native(self) -> bool:
        """Whether the native detector separates a pair, once everything is known of it."""
        pair = not self.several and self.method == "joint" and not self.options and self.engine.device.type == "cpu"
        return pair and native.built() and suits(self.soi, self.interference)

    def symbols(self, window: int) -> int:
        """How many soft symbols a window of `window` samples gives at the start of the stream; 0 if the SOI has none."""
        if self.soi.structure is not Structure.CHAIN:
            return 0
        return window // self.soi.signal.samples_per_symbol if self.soi.timing is None else self.soi.centred_symbols(window)[1]

    def remember(self, out: Separation, row: int, start: int, samples: int) -> None:
        """Keep what a whole window reported, in the stream's terms."""
        self.longest = max(self.longest, samples)
        other = self.interference
        if samples != self.longest or not other.frame_period or len(self.sources) > 2:
            return
        values = {}
        for field in ("delay", "phase"):
            own = other.state_names.get(field)
            ambiguous = self.tracker and own in NUISANCES           # then it is the signal of interest's
            value = out.estimated.get(f"interference_{own}", None if ambiguous else out.estimated.get(own))
            if own and value is not None and (field == "phase" or float(value[row]).is_integer()):
                values[own] = value[row].item()
        self.memory = (replace(other, **values).at(-start) if values else other, float(out.kappa[row]), float(out.noise_var[row]))

    def remembered(self, samples: int) -> tuple[LinearModulation, Source, float | None, float | None]:
        """(soi, interference, kappa, noise_var): as given, or for a window shorter than others as the last whole one reported."""
        short = samples < self.longest
        soi = self.tracker.predicted() if short and self.tracker else self.soi
        return (soi, *(self.memory if self.memory and short else (self.interference, self.kappa, self.noise_var)))

    def separate(self, windows: Tensor, start: np.ndarray, known: dict[str, Any] | None = None,
                 rows: slice = slice(None), carriers: Mapping[int, Tensor] = MappingProxyType({})) -> Separation:
        """A Separation of some windows, complex64 tensor [n, samples], that begin at start[rows]. known: of the first source,
        name -> tensor [n], where other than the task's; refined. carriers: carrier offsets, cycles per sample, [n], of any of
        several sources, by their places, where other than the task's."""
        first, other, kappa, noise_var = self.remembered(windows.shape[1])
        options = self.options
        if known:
            options = {"free": tuple(key for key in NUISANCES if getattr(first, key) is None), **options}
            first = replace(first, **{key: value[rows] for key, value in known.items()})
        if self.several:
            sources: list[Any] = [first, other, *self.sources[2:]]
            for k, offset in carriers.items():
                sources[k] = replace(sources[k], carrier_offset=offset)
            return separate(windows[rows], sources, method=self.method, noise_var=noise_var, start=start[rows], **options)
        if 1 in carriers:
            other = replace(cast(Any, other), carrier_offset=carriers[1])
        return separate(windows[rows], first, other, self.method, kappa, noise_var, start[rows], **options)

    def separate_predicted(self, windows: Tensor, predicted: Predicted, rows: slice) -> Separation:
        """A Separation of some windows, complex64 tensor [n, samples], of sources that were predicted."""
        noise = predicted.noise_var if self.noise_var is None and not predicted.fitted else self.noise_var
        options = {"free": predicted.fitted, "fits": 0, **self.options} if predicted.fitted else self.options
        sources = [source.select(rows) for source in predicted.sources]
        if self.several:
            return separate(windows[rows], sources, method=self.method, noise_var=noise, **options)
        kappa = sources[1].state.gain if self.kappa is None else self.kappa
        return separate(windows[rows], sources[0], sources[1], self.method, kappa, noise, **options)

    def ordered(self, out: Any) -> Any:
        """The Separation with its sources in the order in which the caller named them."""
        if self.order == sorted(self.order) or len(out.sources) != len(self.order):
            return out
        return replace(out, sources=[out.sources[k] for k in self.order])

    def ready(self, start: int) -> bool:
        """Whether a window that begins at that sample need not be searched first; where that takes too long, offer() what passes
        until it is."""
        return self._beside.ready(start)

    def offer(self, windows: np.ndarray, start: np.ndarray) -> None:
        """Windows, complex64 [n, samples], that begin at start, int64 [n], and pass unseparated since the task is not ready: its
        sources are found in them meanwhile. Returns at once."""
        if self.lock is not None:
            self._beside.offer(windows, start)

    def submit(self, windows: np.ndarray, start: int | np.ndarray = 0, block: bool = True) -> Future:
        """Queue windows, complex64 [n, samples], that begin at `start` (int or [n]) of the caller's stream.

        Returns a Future of a Separation of numpy arrays. block=False raises queue.Full where the queue is full. Raises
        RuntimeError after the engine was closed, CancelledError after give_up(). Errors of the separation come out of the Future.
        """
        windows = np.atleast_2d(np.asarray(windows, np.complex64))
        start = np.broadcast_to(np.asarray(start, np.int64), len(windows))
        return self.engine.put(Job(self, windows, start, Future()), block)

    def give_up(self) -> None:
        """Nobody waits for this task's windows any more: those that wait are cancelled, those that are being separated are left
        as soon as no other task's are among them. Their Futures raise CancelledError. Nothing can be submitted afterwards."""
        self.engine.give_up(self)


class Count:
    """Counts windows that several threads solve, and reports each."""

    def __init__(self, report: Callable[[int, int], Any], total: int) -> None:
        self.report, self.done, self.total, self.lock = report, 0, total, threading.Lock()
        report(0, total)

    def __call__(self, windows: int) -> None:
        with self.lock:
            self.done = min(self.done + windows, self.total)
            self.report(self.done, self.total)


def _order(sources: Any) -> Any:
    """The place of each source in the engine's order: the first linear modulation comes first."""
    chain = next((k for k, source in enumerate(sources) if source.structure is Structure.CHAIN), 0)
    return [0 if k == chain else k + 1 if k < chain else k for k in range(len(sources))]


@dataclass(eq=False)     # jobs are compared by identity: arrays have no truth value
class Job:
    """Windows of a task that wait, or are being separated."""

    task: Task
    windows: np.ndarray
    start: np.ndarray
    future: Future


def _identity(value: Source) -> int | str:
    """A key that is equal only for equal values: what prints in full, or else the object itself."""
    held = vars(value).values() if hasattr(value, "__dict__") else (value,)
    return id(value) if any(torch.is_tensor(v) or isinstance(v, np.ndarray) for v in held) else repr(value)
