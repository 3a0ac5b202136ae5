# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way through the engine: a stream of which everything is known, whose windows the native detector takes as one piece.

Neighbouring windows overlap. Joined again they are one stretch of the stream, of which each sample is separated once, and nothing
is done window by window. The result has waveforms and symbols, and no Estimate of each source.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..separators.holes import holes_of
from ..separators.joint_native import Detection, detect, suits, told

Array = np.ndarray[Any, Any]

_SATURATED = 16         # windows at once, from which on time counts: what their ends alone show is left to the neighbours


@dataclass
class Brief:
    """What the short way gives of windows, numpy, as Separation has it: soi, interference complex64 [n, samples], symbols complex64
    [n, symbols], which share their memory; kappa, noise_var float32 [n]. quality and error_rate float32 [n] are found when they are
    asked for."""

    soi: Array
    interference: Array
    symbols: Array
    kappa: Array
    noise_var: Array
    judge: Callable[[], tuple[Array, Array]]
    method: str = "joint"
    evaluations: int = 0
    estimated: dict[str, Any] = field(default_factory=dict)
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


class Direct:
    """A pair of which everything is known. kappa, noise_var: numbers."""

    def __init__(self, soi: Any, interference: Any, kappa: float, noise_var: float) -> None:
        self.soi, self.interference, self.kappa, self.noise_var = soi, interference, kappa, noise_var

    @staticmethod
    def of(soi: Any, interference: Any, kappa: Any, noise_var: Any) -> Direct | None:
        """None where something is unknown, or the native detector does not know the pair."""
        numbers = (soi.timing, soi.phase, soi.gain, soi.carrier_offset, kappa, noise_var) if suits(soi, interference) else (None,)
        if any(value is None or torch.is_tensor(value) for value in numbers) or interference.unknown or soi.symbols is not None \
                or not isinstance(soi.symbol_period, int):
            return None
        return Direct(soi, interference, float(kappa), float(noise_var))

    def separate(self, windows: Array, start: Array, threads: int) -> Brief | None:
        """What is in windows complex64 [n, samples] that begin at start, int64 [n]; None where they do not
        lie in a row, or hold gaps."""
        step = np.diff(start)
        samples, period = windows.shape[1], self.soi.symbol_period
        hop = int(step[0]) if len(step) else samples
        if (step != hop).any() or not 0 < hop <= samples or hop % period or samples % period:
            return None
        stream = np.concatenate([windows[:-1, :hop].ravel(), windows[-1]])[None]
        if np.count_nonzero(stream) < stream.size and bool(holes_of(torch.from_numpy(stream)).any()):
            return None
        first, crowded = int(start[0]), len(windows) >= _SATURATED
        found = detect(stream, self.soi.at(first), self.interference.at(first), self.kappa, self.noise_var, threads,
                       (crowded and first > 0, crowded))
        return None if found is None else self._result(found, len(windows), hop, samples)

    def _result(self, found: Detection, count: int, hop: int, samples: int) -> Brief:
        period = self.soi.symbol_period
        symbols = hop // period, samples // period

        def cut(x: Array, hop: int, width: int) -> Array:
            """Windows of x [n, ...], which share its memory: [count, width, ...]."""
            return np.lib.stride_tricks.as_strided(x, (count, width, *x.shape[1:]), (hop * x.strides[0], *x.strides))

        def judge() -> tuple[Array, Array]:
            wrong, error = told(self.soi, self.interference, found, symbols[0])
            return -10 * np.log10(cut(error, *symbols).mean(1)), cut(wrong, *symbols).mean(1)

        each = np.ones(count, np.float32)
        return Brief(cut(found.soi[0], hop, samples), cut(found.interference[0], hop, samples), cut(found.symbols[0], *symbols),
                     self.kappa * each, self.noise_var * each, judge)
