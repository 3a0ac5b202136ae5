# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found of a burst of OFDM, and of each of its symbols (burst_fit.py)."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class State:
    """Of one burst. gain, spread: of the channel on all carriers, complex [56], and its variance; phase: rad [symbols]; noise: of
    carriers, variance [56]; data: the alphabet's name; shape: see burst_taps.shapes; taps: their powers; evidence: nats; mean,
    power: what each carrier is likely to be and its power, [symbols, 56]; kinds: of each symbol; scatter: variance of what is not
    known of phases."""

    gain: Array
    spread: Array
    phase: Array
    noise: Array
    data: str
    shape: int
    taps: Array
    evidence: float = -np.inf
    mean: Array | None = None
    power: Array | None = None
    kinds: tuple[str, ...] = ()
    scatter: float = 0.0


@dataclass(frozen=True)
class Symbol:
    """gain: complex [56], of each carrier as received; alphabet: a name, "gaussian", or "" for nothing there; training: whether
    what is sent is known; mean, open: of what is sent on each carrier, complex [56], and its variance; error: what the channel
    leaves, of the power."""

    gain: Array
    alphabet: str
    training: bool
    mean: Array
    open: Array
    error: float
