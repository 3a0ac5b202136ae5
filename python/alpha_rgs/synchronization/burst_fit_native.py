# SPDX-License-Identifier: GPL-3.0-or-later
"""Expectation and maximization over a burst by the extension (native/src/burst_fit.h, in double precision). burst_fit.py and
burst_taps.py are the reference, and do the work where the extension is not."""
from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import native
from ..signals.wifi import ALPHABETS, CARRIERS, FFT_SIZE, PILOTS
from .burst_alphabets import FAINT, LEVELS
from .burst_state import State
from .burst_taps import AMPLITUDES, DELAYS, WAVES

Array = np.ndarray[Any, Any]

_KINDS = {"": 0, "short": 1, "long": 2, "data": 3}      # FitKind of burst_fit_model.h
_TRAINED = {"blind": -1, "": -2}                        # FitJob.alphabet there


@dataclass(frozen=True)
class Constants:
    """See burst_fit.py."""

    preamble: int
    fewest: int
    likely: int
    turns: tuple[int, int]
    cooling: float
    trust: float
    slip: float


def fast(constants: Constants, turned: Array) -> Fast | None:
    """What the extension does; None where numpy has to do it. turned: what turns BPSK in a preamble, complex [56]."""
    chosen = native.instructions()
    return None if chosen is None else Fast(_model(constants, tuple(turned.tolist())), chosen)


@functools.cache
def _model(constants: Constants, turned: tuple[complex, ...]) -> Any:
    behind = np.arange(len(DELAYS))
    return native.extension().BurstFit({
        "alphabets": [dict(zip(("real", "imag"), LEVELS[name])) for name in ALPHABETS], "faint": FAINT, "pilots": PILOTS,
        "turned": np.array(turned, complex), "kinds": len(AMPLITUDES), "taps": len(DELAYS), "amplitude": AMPLITUDES,
        "wave": _array(WAVES.T, complex), "lag": np.exp(-2j * np.pi * np.outer(behind, CARRIERS) / FFT_SIZE),
        "preamble": constants.preamble, "fewest": constants.fewest, "likely": constants.likely,
        "first_turns": constants.turns[0], "last_turns": constants.turns[1], "cooling": constants.cooling,
        "trust": constants.trust, "slip": constants.slip})


class Fast:
    """evidence, shapes, response: as those of burst_taps.py; tracked, best: as those of a BurstFit."""

    def __init__(self, model: Any, instructions: str) -> None:
        self._model, self._instructions = model, instructions

    def evidence(self, z: Array, use: Array, noise: float, power: float) -> Array:
        """See burst_taps.evidence."""
        return np.asarray(self._model.evidence(_array(z, complex), use, noise, power, self._instructions))

    def shapes(self, information: Array, precision: Array, power: float) -> Array:
        """See burst_taps.shapes."""
        return np.asarray(self._model.shapes(_array(information, complex), _array(precision, float), power, self._instructions))

    def response(self, information: Array, precision: Array, power: float, kind: int) -> tuple[Array, Array, Array]:
        """See burst_taps.response."""
        gain, spread, taps = self._model.response(_array(information, complex), _array(precision, float), power, kind,
                                                  self._instructions)
        return gain, spread, taps

    def tracked(self, fit: Any, state: State) -> Array:
        """The phases of a BurstFit's symbols, rad [symbols]."""
        job = _job(fit, state)
        self._model.tracked(job, self._instructions)
        return np.asarray(job["phase"])

    def best(self, fit: Any, start: State) -> State:
        """The State of the likeliest alphabet."""
        job, shape = _job(fit, start), fit.u.shape
        job |= {"spread": np.empty(shape[1]), "taps": np.empty(len(DELAYS)), "mean": np.empty(shape, complex),
                "second": np.empty(shape), "points": np.empty(shape[0], np.int64), "numbers": np.empty(3)}
        self._model.best(job, self._instructions)
        evidence, scatter, data = job["numbers"].tolist()
        names = (*ALPHABETS, "turned")
        kinds = tuple(kind if number < 0 else names[number] for kind, number in zip(fit.kinds, job["points"].tolist()))
        return State(job["gain"], job["spread"], job["phase"], job["scatter"], "gaussian" if data < 0 else ALPHABETS[int(data)],
                     start.shape, job["taps"], evidence, job["mean"], job["second"], kinds, scatter)


def _job(fit: Any, state: State) -> dict[str, Any]:
    """A BurstFit that begins at a State, as the extension takes it."""
    return {"u": _array(fit.u, complex), "turn": _array(fit.turn, complex), "known": _array(fit.known, complex),
            "kind": np.array([_KINDS[kind] for kind in fit.kinds], np.int64), "seen": fit.seen, "clear": fit.clear,
            "used": fit.used, "noise": float(fit.noise), "power": float(fit.power),
            "alphabet": _TRAINED[state.data] if state.data in _TRAINED else ALPHABETS.index(state.data), "shape": state.shape,
            "gain": np.array(state.gain, complex), "phase": np.array(state.phase, float), "scatter": np.array(state.noise, float)}


def _array(value: Any, kind: Any) -> Any:
    return np.ascontiguousarray(value, dtype=kind)
