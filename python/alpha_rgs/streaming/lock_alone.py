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

ALIKE = 0.01            # share of wrong bits by which windows do not differ
# share of bits that are expected to be wrong, from which a window is lost (predicted rightly, windows of which the bursts were
# found wrongly expect up to 0.13; gone, most expect more than 0.4); times that of windows before, where it is large itself
_LOST, _MORE = 0.2, 2.0
_FOUND = 0.1            # share up to which a window that was searched is good
# standard deviations by which a window is off where it does not go on; and what predictions themselves err by: rad, of a symbol
_FAR, _PHASE, _DELAY = 4.0, 0.02, 1 / 800
_AGREE = 0.5, 1 / 8     # of a turn of the phase over a window, and of a period, by which windows that were found alike may differ


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
        for name, allowed, period in (("phase", _PHASE, 2 * math.pi), ("delay", _DELAY * track.period, track.period)):
            if name in found:
                step = found[name] - values[name]
                step = step - period * np.round(step / period)
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
    """Which windows of so many samples that begin at `starts` and were searched are good, bool [n]: most have the same carrier
    offset and delay."""
    good = seen.left < _FOUND
    values = seen.states[0][0]
    if not good.any():
        return good
    agree = good.copy()
    if "carrier_offset" in values:
        middle = np.median(values["carrier_offset"][good])
        agree &= abs(values["carrier_offset"] - middle) < _AGREE[0] / (track.turns * samples)
    if "delay" in values:
        turn = np.exp(2j * np.pi * (values["delay"] + starts) / track.period)
        agree &= abs(np.angle(turn * turn[agree].sum().conj())) < 2 * np.pi * _AGREE[1]
    return agree


def _numbers(value: Any, like: np.ndarray) -> np.ndarray:
    return torch.as_tensor(value).double().reshape(-1).expand(len(like)).numpy()
