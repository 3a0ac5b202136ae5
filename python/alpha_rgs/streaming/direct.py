# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way through the engine: a stream of which everything is known, whose windows the native detector takes as one piece.

Neighbouring windows overlap. Joined again they are one stretch of the stream, of which each sample is separated once, and nothing
is done window by window. What the ends of the stretch cut of frames is context, but for the stream's beginning, and for windows
that come alone, as the stream's last one does. The result has waveforms and symbols, and no Estimate of each source.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from .. import options as checks
from ..separators import separate
from ..separators.holes import holes_of
from ..separators.joint_native import Detection, Pair, detect, suits, told

Array = np.ndarray[Any, Any]

# times the energy beyond which a frame is searched, from which on a stretch goes the long way: noise alone leaves it in no frame
# of ten million, and the long way of a window takes as long as the short one of a thousand
_DOUBTED = 1.5
_MOST_TROUBLE = 0.05    # share of stretches that native detection leaves in doubt, beyond which all goes the long way
_WEIGHT = 0.2           # of a job in that share


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
    """A pair of which everything is known."""

    def __init__(self, soi: Any, interference: Any, pair: Pair, noise_var: float) -> None:
        self.soi, self.interference, self.pair = soi, interference, pair
        self.kappa, self.noise_var = pair.levels.ratio * pair.gain, noise_var
        self._trouble = 0.0         # share of stretches that had to be separated the long way, of late
        self._nuisances = [float(v) for v in (soi.timing, soi.phase, interference.frame_offset, interference.phase)]

    @staticmethod
    def of(soi: Any, interference: Any, kappa: Any, noise_var: Any) -> Direct | None:
        """None where something is unknown or differs between windows, or the native detector does not know the pair."""
        if not suits(soi, interference):
            return None
        known = (soi.timing, soi.phase, soi.gain, soi.carrier_offset, kappa, noise_var, interference.frame_offset,
                 interference.phase, interference.carrier_offset)
        if any(value is None or torch.is_tensor(value) for value in known) or soi.symbols is not None or not isinstance(
                soi.symbol_period, int):
            return None
        pair = Pair.of(soi, interference, *(float(v) for v in (kappa, noise_var, soi.gain, soi.carrier_offset,
                                                               interference.carrier_offset)))
        return None if pair is None else Direct(soi, interference, pair, float(noise_var))

    def takes(self, windows: Array, start: Array) -> bool:
        """Whether windows, complex64 [n, samples], that begin at start, int64 [n], lie in a row, sound and without gaps;
        no longer where too much had to be separated twice."""
        step, samples, period = np.diff(start), windows.shape[1], self.soi.symbol_period
        hop = int(step[0]) if len(step) else samples
        whole = 0 < hop <= samples and not hop % period and not samples % period and samples >= 2 * self.pair.period
        if self._trouble > _MOST_TROUBLE or not whole or (step != hop).any() or checks.unusable(windows).any():
            return False
        return not (windows == 0).any() or not bool(holes_of(torch.from_numpy(windows)).any())

    def separate(self, windows: Array, start: Array) -> Brief:
        """What is in windows that it `takes`."""
        samples, first = windows.shape[1], int(start[0])
        hop = int(start[1]) - first if len(start) > 1 else samples
        stream = np.concatenate([windows[:-1, :hop].ravel(), windows[-1]])[None]
        timing, own, offset, phase = self._nuisances
        turn, frequency = 2 * math.pi * first, self.pair.frequency
        nuisances = (timing - first, own + turn * (frequency + self.pair.delta), (offset - first) % self.pair.period,
                     phase + turn * frequency)
        found = detect(stream, self.pair, [np.array([v], float) for v in nuisances], stream.shape[1] // self.soi.symbol_period, 1,
                       (first > 0, len(windows) > 1), _DOUBTED)
        self._trouble += _WEIGHT * (found.share - self._trouble)
        self._mend(found, windows, first, hop)
        return self._result(found, len(windows), hop, samples)

    def _mend(self, found: Detection, windows: Array, first: int, hop: int) -> None:
        """Separate windows that hold doubtful stretches the long way, and put what comes of it in place."""
        samples, period = windows.shape[1], self.soi.symbol_period
        skip = (samples - hop) // 2
        begin = hop * np.arange(len(windows)) + skip
        rows = np.flatnonzero(((found.doubtful[:, 1] < begin[:, None] + hop) & (found.doubtful[:, 2] > begin[:, None])).any(1))
        if not len(rows):
            return
        out = separate(torch.from_numpy(windows[rows]), self.soi, self.interference, "joint", self.kappa, self.noise_var,
                       first + hop * rows)
        for k, at in enumerate(begin[rows]):
            found.soi[0, at:at + hop] = out.soi[k, skip:skip + hop].numpy()
            found.interference[0, at:at + hop] = out.interference[k, skip:skip + hop].numpy()
            symbols = slice(at // period, (at + hop) // period)
            found.symbols[0, symbols] = out.symbols[k, skip // period:(skip + hop) // period].numpy()
            found.var[0, symbols] = 10 ** (-float(out.quality[k]) / 10)

    def _result(self, found: Detection, count: int, hop: int, samples: int) -> Brief:
        period = self.soi.symbol_period
        symbols = hop // period, samples // period

        def cut(x: Array, hop: int, width: int) -> Array:
            """Windows of x [n, ...], which share its memory: [count, width, ...]."""
            return np.lib.stride_tricks.as_strided(x, (count, width, *x.shape[1:]), (hop * x.strides[0], *x.strides))

        def judge() -> tuple[Array, Array]:
            head = (symbols[1] - symbols[0]) // 2
            wrong, error = (cut(v[head:], symbols[0], symbols[0]) for v in told(self.soi, self.interference, found, symbols[0]))
            return -10 * np.log10(error.mean(1)), wrong.mean(1)

        each = np.ones(count, np.float32)
        return Brief(cut(found.soi[0], hop, samples), cut(found.interference[0], hop, samples), cut(found.symbols[0], *symbols),
                     self.kappa * each, self.noise_var * each, judge)
