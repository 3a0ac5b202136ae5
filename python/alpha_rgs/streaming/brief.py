# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows that lie in a row are one stretch of their stream: native detection takes it as one piece.

Neighbouring windows overlap. Joined again, each sample is separated once, and nothing is done window by window. What the ends of
the stretch cut of frames is context, but for the stream's beginning, and for windows that come alone, as the stream's last one
does. The result has waveforms and symbols, and no Estimate of each source.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .. import options as checks
from ..separators.base import Separation, mapped
from ..separators.holes import holes_of
from ..separators.joint_native import Detection, error_power, told

Array = np.ndarray[Any, Any]

# times the energy beyond which a frame is searched, from which on a stretch goes the long way: noise alone leaves it in no frame
# of ten million, and the long way of a window takes as long as the short one of a thousand
DOUBTED = 1.5


class Later(Mapping[str, Any]):
    """A dictionary that is made when somebody asks for what is in it."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> dict[str, Any]:
        return self._make()

    def __getitem__(self, name: str) -> Any:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


@dataclass
class Brief:
    """What the short way gives of windows, numpy, as Separation has it: soi, interference complex64 [n, samples], symbols
    complex64 [n, symbols], which share their memory; kappa, noise_var float32 [n]. quality and error_rate float32 [n], of the
    middle of each window, which its neighbours do not give, are found when they are asked for."""

    soi: Array
    interference: Array
    symbols: Array
    kappa: Array
    noise_var: Array
    judge: Callable[[], tuple[Array, Array]]
    method: str = "joint"
    evaluations: int = 0
    estimated: Mapping[str, Any] = field(default_factory=dict)
    sources: list[Any] = field(default_factory=list)

    @cached_property
    def _judged(self) -> tuple[Array, Array]:
        return self.judge()

    @property
    def quality(self) -> Array:
        """See Separation.quality."""
        return self._judged[0]

    @property
    def error_rate(self) -> Array:
        """See Separation.error_rate."""
        return self._judged[1]


def brief_of(out: Separation | Brief) -> Brief:
    """A Separation of numpy arrays as far as a Brief has it."""
    if isinstance(out, Brief):
        return out
    quality, rate, *rest = (np.asarray(getattr(out, name)) for name in (
        "quality", "error_rate", "soi", "interference", "symbols", "kappa", "noise_var"))
    estimated = {name: np.asarray(value) for name, value in out.estimated.items()}
    soi, interference, symbols, kappa, noise_var = rest
    return Brief(soi, interference, symbols, kappa, noise_var, lambda: (quality, rate), out.method, out.evaluations, estimated)


def joined_briefs(parts: Sequence[Brief]) -> Brief:
    """Those of windows one after the other, as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    soi, interference, symbols, kappa, noise_var = (np.concatenate([getattr(part, name) for part in parts]) for name in (
        "soi", "interference", "symbols", "kappa", "noise_var"))

    def estimated() -> dict[str, Any]:
        known = [name for name in first.estimated if all(name in part.estimated for part in parts)]
        return {name: np.concatenate([part.estimated[name] for part in parts]) for name in known}

    def judge() -> tuple[Array, Array]:
        qualities, rates = zip(*(part._judged for part in parts))
        return np.concatenate(qualities), np.concatenate(rates)

    return Brief(soi, interference, symbols, kappa, noise_var, judge, first.method, first.evaluations, Later(estimated))


def part_of(out: Any, rows: slice) -> Any:
    """Some windows of a Separation of numpy arrays, or of a Brief."""
    if not isinstance(out, Brief):
        return mapped(out, lambda value: value[rows] if len(value) > 1 else value)
    soi, interference, symbols, kappa, noise_var = (getattr(out, name)[rows] for name in (
        "soi", "interference", "symbols", "kappa", "noise_var"))
    return Brief(soi, interference, symbols, kappa, noise_var, lambda: (out.quality[rows], out.error_rate[rows]), out.method,
                 out.evaluations, Later(lambda: {name: value[rows] for name, value in out.estimated.items()}))


@dataclass(frozen=True)
class Row:
    """Windows, complex64 [n, samples], of which each begins `hop` samples after the one before; first: the sample of the stream
    on which the first one begins."""

    windows: Array
    first: int
    hop: int

    @staticmethod
    def of(windows: Array, start: Array, period: float, least: int, sound: bool = False) -> Row | None:
        """Of windows that begin at start, int64 [n], where they lie in a row, sound and without gaps, hold whole numbers of
        symbols of so many samples, and `least` samples; else None. sound: whether it is known that all samples are usable."""
        step, samples = np.diff(start), windows.shape[1]
        hop = int(step[0]) if len(step) else samples
        whole = 0 < hop <= samples and not hop % period and not samples % period and samples >= least
        if not whole or (step != hop).any() or not sound and checks.unusable(windows).any():
            return None
        zero = (windows.view(np.float32) == 0).any() and (windows == 0).any()       # the first takes a fifth of the second's time
        if zero and bool(holes_of(torch.from_numpy(windows)).any()):
            return None
        return Row(windows, int(start[0]), hop)

    def until(self, count: int) -> Row:
        """The first windows, so many."""
        return Row(self.windows[:count], self.first, self.hop)

    @property
    def samples(self) -> int:
        """Of a window."""
        return int(self.windows.shape[1])

    @property
    def begins(self) -> Array:
        """First samples of the windows, in the stretch, int64 [n]."""
        return self.hop * np.arange(len(self.windows))

    @property
    def context(self) -> tuple[bool, bool]:
        """Whether what the beginning and the end of the stretch cut of frames is context."""
        return self.first > 0, len(self.windows) > 1

    def stretch(self) -> Array:
        """The stretch of the stream, complex64 [1, samples]."""
        before = len(self.windows) - 1
        out = np.empty(before * self.hop + self.samples, np.complex64)
        out[:before * self.hop].reshape(before, self.hop)[:] = self.windows[:-1, :self.hop]
        out[before * self.hop:] = self.windows[-1]
        return out[None]

    def mend(self, found: Detection, symbol: Array, period: float, again: Callable[[Array], Separation]) -> None:
        """Put in place what again(rows) makes of windows that hold doubtful stretches. symbol: number, in the stretch, of the
        first symbol that is centred in each window."""
        skip = (self.samples - self.hop) // 2
        begin = self.begins + skip
        doubtful = (found.doubtful[:, 1] < begin[:, None] + self.hop) & (found.doubtful[:, 2] > begin[:, None])
        rows = np.flatnonzero(doubtful.any(1))
        if not len(rows):
            return
        out, head, count = again(rows), int(skip // period), int(self.hop // period)
        for k, (at, number) in enumerate(zip(begin[rows], symbol[rows] + head)):
            found.soi[0, at:at + self.hop] = out.soi[k, skip:skip + self.hop].numpy()
            found.interference[0, at:at + self.hop] = out.interference[k, skip:skip + self.hop].numpy()
            found.symbols[0, number:number + count] = out.symbols[k, head:head + count].numpy()
            found.var[0, number:number + count] = 10 ** (-float(out.quality[k]) / 10)

    def quality(self, found: Detection, symbol: Array, sources: tuple[Any, Any], period: float, rows: Array) -> Array:
        """dB, of the middle of some windows, float32 [n]. symbol: as of `result`."""
        head, hop = int((self.samples - self.hop) // (2 * period)), int(self.hop // period)
        symbols, var = (cut_out(v[0], symbol[rows] + head, hop).reshape(1, -1) for v in (found.symbols, found.var))
        error = error_power(*sources, replace(found, symbols=symbols, var=var), hop)
        return np.asarray(-10 * np.log10(error.reshape(len(rows), hop).mean(1)))

    def judged(self, found: Detection, symbol: Array, sources: tuple[Any, Any], period: float) -> tuple[Array, Array]:
        """(quality, dB, error rate) of the middle of each window, float32 [n]. symbol: as of `result`."""
        head, hop = int((self.samples - self.hop) // (2 * period)), int(self.hop // period)
        wrong, error = (cut_out(v, symbol + head, hop) for v in told(*sources, found, hop))
        return -10 * np.log10(error.mean(1)), wrong.mean(1)

    def result(self, found: Detection, symbol: Array, period: float, kappa: Array, noise_var: Array,
               judge: Callable[[], tuple[Array, Array]]) -> Brief:
        """symbol: number, in the stretch, of the symbol with which each window is to begin; the stretch's ends repeat."""
        one = np.ones(len(self.windows), np.float32)
        soi, interference = (cut_out(x[0], self.begins, self.samples) for x in (found.soi, found.interference))
        return Brief(soi, interference, cut_out(found.symbols[0], symbol, int(self.samples // period)),
                     (kappa * one).astype(np.float32), (noise_var * one).astype(np.float32), judge)


def cut_out(x: Array, first: Array, width: int) -> Array:
    """Windows of x [n, ...] that begin at `first`, int [windows]: [windows, width, ...], which share its memory where they can;
    its ends repeat."""
    step = np.diff(first)
    if first[0] >= 0 and first[-1] + width <= len(x) and (not len(step) or (step == step[0]).all() and step[0] > 0):
        hop = int(step[0]) if len(step) else 0
        return np.lib.stride_tricks.as_strided(x[first[0]:], (len(first), width, *x.shape[1:]), (hop * x.strides[0], *x.strides))
    return np.asarray(x[np.clip(first[:, None] + np.arange(width), 0, len(x) - 1)])
