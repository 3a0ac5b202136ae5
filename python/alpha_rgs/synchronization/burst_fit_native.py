# SPDX-License-Identifier: GPL-3.0-or-later
"""Expectation and maximization over a burst by the extension (native/src/burst_fit*.h, in double precision). burst_fit.py and
burst_taps.py are the reference, and do the work where the extension is not."""
from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import native
from ..signals.wifi import ALPHABETS, CARRIERS, FFT_SIZE, LEGACY, PILOTS, SHORT, SHORT_TRAINING
from .burst_alphabets import FAINT, LEVELS
from .burst_state import State
from .burst_taps import AMPLITUDES, DELAYS, WAVES

Array = np.ndarray[Any, Any]

_KINDS = ["", "short", "long", "data"]                  # FitKind of burst_fit_model.h
_STARTS = {"blind": -1, "": -2}                         # FitJob.alphabet there
_UNTRAINED, _DATALESS, _FITTED = 1.0, 2.0, 3.0          # FitStage there
_NAMES = (*ALPHABETS, "turned")


@dataclass(frozen=True, eq=False)
class Constants:
    """See burst_fit.py. outer: bool [56]; turned: complex [56]; ways: (what is sent, what turns it) of long training."""

    preamble: int
    fewest: int
    likely: int
    first_turns: int
    last_turns: int
    cooling: float
    trust: float
    slip: float
    trained: float
    empty: float
    thin: float
    far: float
    fit: float
    short_gain: float
    outer: Array
    turned: Array
    ways: list[tuple[Array, Array]]


@dataclass(frozen=True)
class Fitted:
    """Of a BurstFit, whose fields these are. untrained: whether no training field is seen, so that there is no state yet."""

    power: float
    clear: Array
    used: Array
    kinds: list[str]
    turn: Array
    known: Array
    off: Array
    state: State | None
    untrained: bool


def fast(constants: Constants) -> Fast | None:
    """What the extension does; None where numpy has to do it."""
    chosen = native.instructions()
    return None if chosen is None else Fast(_model(constants), chosen)


@functools.cache
def _model(constants: Constants) -> Any:
    sent, turns = zip(*constants.ways)
    behind = np.exp(-2j * np.pi * np.outer(np.arange(len(DELAYS)), CARRIERS) / FFT_SIZE)
    numbers = {f.name: getattr(constants, f.name) for f in fields(Constants) if f.type in ("int", "float")}
    return native.extension().BurstFit(numbers | {
        "alphabets": [dict(zip(("real", "imag"), LEVELS[name])) for name in ALPHABETS], "faint": FAINT, "pilots": PILOTS,
        "turned": _array(constants.turned, complex), "kinds": len(AMPLITUDES), "taps": len(DELAYS), "amplitude": AMPLITUDES,
        "wave": _array(WAVES.T, complex), "lag": behind, "legacy": LEGACY, "outer": constants.outer, "sparse": SHORT_TRAINING,
        "short_sent": _array(SHORT, complex), "sent": _array(sent, complex), "sent_turn": _array(turns, complex)})


class Fast:
    """shapes, response: as those of burst_taps.py; fitted, best: what a BurstFit begins with, and its _best."""

    def __init__(self, model: Any, instructions: str) -> None:
        self._model, self._instructions = model, instructions

    def shapes(self, information: Array, precision: Array, power: float) -> Array:
        """See burst_taps.shapes."""
        return np.asarray(self._model.shapes(_array(information, complex), _array(precision, float), power, self._instructions))

    def response(self, information: Array, precision: Array, power: float, kind: int) -> tuple[Array, Array, Array]:
        """See burst_taps.response."""
        gain, spread, taps = self._model.response(_array(information, complex), _array(precision, float), power, kind,
                                                  self._instructions)
        return gain, spread, taps

    def fitted(self, u: Array, seen: Array, clear: Array, noise: float) -> Fitted:
        """What is found of a burst's symbols as far as training fields show its channel; arguments as of BurstFit."""
        count = len(u)
        job = {"u": _array(u, complex), "turn": np.ones(u.shape, complex), "known": np.zeros(u.shape, complex),
               "kind": np.empty(count, np.int64), "seen": seen, "whole": clear, "clear": clear & LEGACY, "used": LEGACY.copy(),
               "noise": float(noise), "power": 0.0, "alphabet": _STARTS[""], "shape": 0, "off": np.zeros(count),
               "gain": np.empty(len(CARRIERS), complex), "phase": np.empty(count), "scatter": np.empty(len(CARRIERS)),
               **_results(u.shape)}
        self._model.whole(job, self._instructions)
        stage, power, shape = job["numbers"][3:].tolist()
        kinds = [_KINDS[number] for number in job["kind"].tolist()]
        state = None
        if stage == _FITTED:
            state = _state(job, kinds, int(shape))
        elif stage == _DATALESS:
            state = State(job["gain"], job["spread"], job["phase"], job["scatter"], "gaussian", int(shape), job["taps"],
                          kinds=tuple(kinds))
        return Fitted(power, job["clear"], job["used"], kinds, job["turn"], job["known"], job["off"], state,
                      stage == _UNTRAINED)

    def best(self, fit: Any, start: State) -> State:
        """The State of the likeliest alphabet, of a BurstFit that begins at a State."""
        kinds = np.array([_KINDS.index(kind) for kind in fit.kinds], np.int64)
        job = {"u": _array(fit.u, complex), "turn": _array(fit.turn, complex), "known": _array(fit.known, complex),
               "kind": kinds, "seen": fit.seen, "clear": fit.clear, "used": fit.used, "noise": float(fit.noise),
               "power": float(fit.power), "shape": start.shape,
               "alphabet": _STARTS[start.data] if start.data in _STARTS else ALPHABETS.index(start.data),
               "gain": np.array(start.gain, complex), "phase": np.array(start.phase, float),
               "scatter": np.array(start.noise, float), **_results(fit.u.shape)}
        self._model.best(job, self._instructions)
        return _state(job, fit.kinds, start.shape)


def _results(shape: tuple[int, ...]) -> dict[str, Array]:
    return {"spread": np.empty(shape[1]), "taps": np.empty(len(DELAYS)), "mean": np.empty(shape, complex),
            "second": np.empty(shape), "points": np.empty(shape[0], np.int64), "numbers": np.empty(6)}


def _state(job: dict[str, Any], kinds: list[str], shape: int) -> State:
    evidence, scatter, data = job["numbers"][:3].tolist()
    points = tuple(kind if number < 0 else _NAMES[number] for kind, number in zip(kinds, job["points"].tolist()))
    return State(job["gain"], job["spread"], job["phase"], job["scatter"], "gaussian" if data < 0 else ALPHABETS[int(data)],
                 shape, job["taps"], evidence, job["mean"], job["second"], points, scatter)


def _array(value: Any, kind: Any) -> Any:
    return np.ascontiguousarray(value, dtype=kind)
