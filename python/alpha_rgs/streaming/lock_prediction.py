# SPDX-License-Identifier: GPL-3.0-or-later
"""How a source's nuisances go on in a stream: lines and parabolas through what its latest windows said."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

_KEPT = 32              # windows that a line or a parabola goes through
_SURE = 8               # windows from which as many more are expected as are predicted
_BENT = 6               # windows from which a phase may bend: carriers drift
_BEND = 12.0            # variances by which a parabola must fit better than a line: three and a half standard deviations
# rad in the time from one window to the next, by which phases wander beside noise: oscillators, and what a parabola leaves out
_WANDER = 0.01
_SAMPLED = 1e-3         # samples, by which delays err beside noise
_LEVEL = 1e-3           # of a gain, likewise
_RIDGE = 1e-13          # of a column's power, that is added to it: columns that are alike share what they fit
_CLOCK = 1e-4           # samples per sample that clocks may differ by: what two windows alone say of a slope is no better


@dataclass
class Noted:
    """What one window said. at: the sample of the stream on which it is centred; values: name of a State's field -> value there
    (phase: rad, of the middle); deviations: their standard deviations."""

    at: float
    values: dict[str, float]
    deviations: dict[str, float]


class Track:
    """Of one source. period: samples after which its delay is the same again (symbol or frame); turns: how many turns of its
    phase are equally likely; fields: of State, that are tracked."""

    def __init__(self, period: float, turns: int, fields: tuple[str, ...]) -> None:
        self.period, self.turns, self.fields = period, max(turns, 1), fields
        self.noted: list[Noted] = []

    def note(self, *windows: Noted, placed: bool = False) -> None:
        """Remember windows, in order, their phases and delays in the turn and period in which they are expected. placed: whether
        they are in these."""
        if placed:
            self.noted = [*self.noted, *windows][-_KEPT:]
            return
        some = len(windows) if len(self.noted) >= _SURE else 1          # few windows say nothing of those further on
        for begin in range(0, len(windows), some):
            part = windows[begin:begin + some]
            expected = self.at(np.array([window.at for window in part])) if self.noted else {}
            for name, step in (("phase", 2 * math.pi / self.turns), ("delay", self.period)):
                for window, value in zip(part, expected.get(name, ())):
                    if name in window.values:
                        window.values[name] -= step * round((window.values[name] - float(value)) / step)
            self.noted = [*self.noted, *part][-_KEPT:]

    def forget(self) -> None:
        """Begin anew: the stream is not what it was."""
        self.noted = []

    def at(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """field -> what is expected at samples of the stream, float64 [n]: delay modulo nothing, phase there. At least one window
        must have been noted."""
        where = np.array([window.at for window in self.noted])
        origin, unit = where[-1], max(float(where[-1] - where[0]) / max(len(where) - 1, 1), 1.0)
        x, to = (where - origin) / unit, (samples - origin) / unit
        out: dict[str, np.ndarray] = {}

        def seen(name: str) -> tuple[np.ndarray, np.ndarray]:
            return (np.array([window.values[name] for window in self.noted]),
                    np.array([window.deviations[name] for window in self.noted]))

        if "phase" in self.fields:
            offset = seen("carrier_offset") if "carrier_offset" in self.fields else None
            out |= _phase(x, *seen("phase"), offset, unit, to)
        elif "carrier_offset" in self.fields:
            out["carrier_offset"] = _line(x, *seen("carrier_offset"), to, 0)
        if "delay" in self.fields:
            value, deviation = seen("delay")
            out["delay"] = _line(x, value, np.hypot(deviation, _SAMPLED), to, 1, slope=_CLOCK * unit)
        if "gain" in self.fields:
            value, deviation = seen("gain")
            level = float(np.mean(value))
            out["gain"] = np.clip(_line(x, value, np.hypot(deviation, _LEVEL * level), to, 1, slope=0.01 * level),
                                  0.25 * level, 4 * level)
        return out


def number(value: Any, missing: float = 0.0) -> float:
    """The first of a State's values, which are one or one per window; `missing` where it is None."""
    return missing if value is None else float(torch.as_tensor(value).reshape(-1)[0])


def carried(source: Any, track: Track, samples: np.ndarray) -> dict[str, np.ndarray]:
    """delay (modulo nothing), phase, carrier_offset and gain of a source at samples of the stream, float64 [n], as expected where
    they are tracked, else as known."""
    out, known = track.at(samples), source.state
    for name, missing in (("delay", 0.0), ("carrier_offset", 0.0), ("gain", 1.0)):
        out.setdefault(name, np.full(len(samples), number(getattr(known, name), missing)))
    if "phase" not in out:
        out["phase"] = number(known.phase) + 2 * math.pi * out["carrier_offset"] * samples
    return out


def _phase(x: np.ndarray, phase: np.ndarray, deviation: np.ndarray, offset: tuple[np.ndarray, np.ndarray] | None, unit: float,
           to: np.ndarray) -> dict[str, np.ndarray]:
    """The phase, and the carrier offset where one is tracked, by a parabola through phases and slopes; x, to: in `unit`
    samples."""
    turn = 2 * math.pi * unit                                       # rad in a unit, of an offset of one
    rows = np.stack([np.ones_like(x), x, x ** 2 / 2], 1)
    # what is fitted is small: where the latest window and its offset would have it, less
    level, slope = float(phase[-1]), 0.0 if offset is None else turn * float(offset[0][-1])
    values, weights = phase - level - slope * x, 1 / np.hypot(deviation, _WANDER)
    if offset is not None:
        rows = np.concatenate([rows, np.stack([np.zeros_like(x), np.ones_like(x), x], 1)])
        values = np.concatenate([values, turn * offset[0] - slope])
        weights = np.concatenate([weights, 1 / np.hypot(turn * offset[1], _WANDER)])
    order = 2 if offset is not None or len(x) > 1 else 1
    rows, values = rows * weights[:, None], values * weights
    fit = np.zeros(3)
    fit[:order] = _least_squares(rows[:, :order], values)
    if len(x) >= _BENT:                         # a parabola is carried on with six times the error of a line
        bent = _least_squares(rows, values)
        gained = np.sum((values - rows @ fit) ** 2) - np.sum((values - rows @ bent) ** 2)
        scatter = np.sum((values - rows @ bent) ** 2) / max(len(values) - 3, 1)
        fit = bent if gained > _BEND * scatter else fit
    out = {"phase": level + fit[0] + (slope + fit[1]) * to + fit[2] * to ** 2 / 2}
    if offset is not None:
        out["carrier_offset"] = (slope + fit[1] + fit[2] * to) / turn
    return out


def _line(x: np.ndarray, value: np.ndarray, deviation: np.ndarray, to: np.ndarray, order: int, slope: float = 0.0
          ) -> np.ndarray:
    """A line (order 1) or a level (0) at `to`; slope: what it may be, per unit of x, before anything is seen."""
    weights, level = 1 / np.maximum(deviation, 1e-12) ** 2, float(value[-1])
    total, off = float(weights.sum()), weights * (value - level)
    mean, middle = float(off.sum()) / total, float(weights @ x) / total
    if not order:
        return level + mean + 0 * to
    across = x - middle
    spread = float(weights @ across ** 2) + slope ** -2         # as if one thing more said that the slope is 0, but for `slope`
    tilt = float(off @ across) / spread
    return level + mean + tilt * (to - middle)


def _least_squares(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """x [unknowns] for which |rows·x - values| is least: by normal equations, since a stream does this some ten times a job."""
    normal = rows.T @ rows
    scale = np.sqrt(np.maximum(normal.diagonal(), 1e-60))
    normal = normal / (scale * scale[:, None]) + _RIDGE * np.eye(len(scale))
    return np.asarray(np.linalg.solve(normal, rows.T @ values / scale) / scale)
