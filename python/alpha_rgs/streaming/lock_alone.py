# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation that locks by itself, beside a source that is found anew in each window (802.11 bursts).

What the two leave says nothing: the other source is whatever the modulation leaves. So the separation itself says how far the
modulation's nuisances were off, one Gauss-Newton step in which the other source follows (Options.free of joint detection), and
its LLRs say how many bits are wrong: a modulation that is gone is taken for a pause, which holds none.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..separators.base import Separation
from .lock_correction import Corrected, Values, states_of
from .lock_prediction import Track

FEW = 4                 # windows that are searched before anything is predicted: each takes six times as long as a predicted one
ALIKE = 0.01            # share of wrong bits by which windows do not differ
# share of bits that are expected to be wrong, from which a window is lost (predicted rightly, windows of which the bursts were
# found wrongly expect up to 0.13; gone, most expect more than 0.4); times that of windows before, where it is large itself
_LOST, _MORE = 0.2, 2.0
_FOUND = 0.1            # share up to which a window that was searched is good
# standard deviations by which a window is off where it does not go on; and what predictions themselves err by: rad, of a symbol,
# of the gain. Where a burst was missed, a step is as long as it may be (joint_bursts.py): 0.2 rad, 0.3 samples, a tenth
_FAR, _PHASE, _DELAY, _GAIN = 3.5, 0.05, 1 / 400, 0.02
# standard deviations by which windows that were found alike may lie off a line; and what goes with these: of a turn of the phase
# over a window, of a period
_APART, _TURN, _SHARE = 5.0, 1 / 200, 1 / 400


def told(out: Separation) -> np.ndarray:
    """The share of wrong bits that each window expects, float64 [n]."""
    return torch.as_tensor(out.error_rate).double().cpu().numpy()


def said(out: Separation, samples: int, sources: Sequence[Any], tracks: Sequence[Track]) -> Corrected:
    """What windows of so many samples say of the states that they were separated with."""
    used = states_of(out, samples, tracks)
    states: list[tuple[Values, Values]] = []
    off = np.zeros(len(out.noise_var))
    for source, track, values in zip(sources, tracks, used):
        names = source.state_names
        deviations = {name: _numbers(out.estimated.get(f"{names[name]}_std", 0.0), off) for name in values}
        found = {name: _numbers(out.estimated.get(names[name], value), off) for name, value in values.items()}
        if "phase" in found and names["phase"] in out.estimated:
            turned = found.get("carrier_offset", _numbers(source.state.carrier_offset or 0.0, off))
            found["phase"] = found["phase"] + math.pi * (samples - 1) * turned
        for name, allowed, period in (("phase", _PHASE, 2 * math.pi), ("delay", _DELAY * track.period, track.period),
                                      ("gain", _GAIN * values.get("gain", 0.0), math.inf)):
            if name in found:
                step = found[name] - values[name]
                step = step if period == math.inf else step - period * np.round(step / period)
                found[name] = values[name] + step
                off = np.maximum(off, abs(step) / np.hypot(deviations[name], allowed))
        states.append((found, deviations))
    return Corrected(states, told(out), off)


def astray(seen: Corrected, before: Sequence[float]) -> np.ndarray:
    """Which windows, bool [n], do not go on as predicted. before: shares of wrong bits of windows that did."""
    return lost(seen, before) | np.greater(0.0 if seen.off is None else seen.off, _FAR)


def lost(seen: Corrected, before: Sequence[float]) -> np.ndarray:
    """Which windows, bool [n], say nothing."""
    return ~(seen.left < max(_LOST, _MORE * float(np.median(before)) if len(before) else 0.0))


def found(seen: Corrected, track: Track, starts: np.ndarray, samples: int) -> np.ndarray:
    """Which windows of so many samples that begin at `starts` and were searched are good, bool [n]: most carrier offsets and
    delays lie on a line."""
    good = seen.left < _FOUND
    values, deviations = seen.states[0]
    for name, allowed, period in (("carrier_offset", _TURN / (track.turns * samples), math.inf),
                                  ("delay", _SHARE * track.period, track.period)):
        if name in values and good.sum() > 2:
            value = values[name] if period == math.inf else _together(values[name] + starts, period, good)
            good &= abs(_off_line(value, starts, good)) < _APART * np.hypot(deviations[name], allowed)
    return good


def _together(delay: np.ndarray, period: float, good: np.ndarray) -> np.ndarray:
    """Delays [n] in the period in which most of the good ones are."""
    turns = np.exp(2j * np.pi * delay / period)
    middle = float(np.angle(turns[good].sum())) / (2 * np.pi) * period
    return delay - period * np.round((delay - middle) / period)


def _off_line(value: np.ndarray, at: np.ndarray, good: np.ndarray) -> np.ndarray:
    """How far values [n] lie off the line through most of the good ones: medians of the slopes between two, and of the rest."""
    i, j = np.triu_indices(int(good.sum()), 1)
    slope = np.median((value[good][j] - value[good][i]) / (at[good][j] - at[good][i]))
    rest = value - slope * at
    return np.asarray(rest - np.median(rest[good]))


def _numbers(value: Any, like: np.ndarray) -> np.ndarray:
    return torch.as_tensor(value).double().reshape(-1).expand(len(like)).numpy()
