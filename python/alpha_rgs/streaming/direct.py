# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way through the engine of a stream of which everything is known (see brief.py)."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..separators import separate
from ..separators.joint_native import Pair, detect, suits
from .brief import DOUBTED, Brief, Row

Array = np.ndarray[Any, Any]

_MOST_TROUBLE = 0.05    # share of stretches that native detection leaves in doubt, beyond which all goes the long way
_WEIGHT = 0.2           # of a job in that share


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

    def takes(self, windows: Array, start: Array) -> Row | None:
        """The Row of windows, complex64 [n, samples], that begin at start, int64 [n]; None where they do not lie in a row, and
        where too much had to be separated twice."""
        if self._trouble > _MOST_TROUBLE:
            return None
        return Row.of(windows, start, self.soi.symbol_period, 2 * self.pair.period)

    def separate(self, row: Row) -> Brief:
        """What is in windows that it `takes`."""
        period, first, stream = self.soi.symbol_period, row.first, row.stretch()
        timing, own, offset, phase = self._nuisances
        turn, frequency = 2 * math.pi * first, self.pair.frequency
        nuisances = (timing - first, own + turn * (frequency + self.pair.delta), (offset - first) % self.pair.period,
                     phase + turn * frequency)
        found = detect(stream, self.pair, [np.array([v], float) for v in nuisances], stream.shape[1] // period, 1, row.context,
                       DOUBTED)
        self._trouble += _WEIGHT * (found.share - self._trouble)
        symbol = row.begins // period
        row.mend(found, symbol, period, lambda rows: separate(
            torch.from_numpy(row.windows[rows]), self.soi, self.interference, "joint", self.kappa, self.noise_var,
            first + row.begins[rows]))
        return row.result(found, symbol, period, np.array(self.kappa), np.array(self.noise_var),
                          lambda: row.judged(found, symbol, (self.soi, self.interference), period))
