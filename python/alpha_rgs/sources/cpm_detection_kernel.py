# SPDX-License-Identifier: GPL-3.0-or-later
"""The sequence detection of cpm_detection.py in machine code, for a whole number of samples per symbol.

A state keeps what its past samples still add to the next g - 1 samples behind the whitening filter, not these samples: a
symbol's branch is its waveform through the filter, from a table, times the phase. A branch from a state with a new digit has the
number digit·states + state, so that loops over branches run through memory without a gap.

This module needs Numba. Numba keeps the compiled code on disk.
"""
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FAST: Any = {"nogil": True, "cache": True, "fastmath": {"contract", "reassoc", "nsz"}}


class Problem(NamedTuple):
    """k hypotheses. response: complex64 [k, words, width + g - 1], waveforms of words through the filter; z: complex64 [k,
    blocks, width], the mixture through the filter; there: bool, of the same shape, samples that count; done: complex64 [levels],
    a symbol's turn; turn: complex64 [k, blocks], the carrier's; forget: factor of a state's sum from symbol to symbol."""

    response: NDArray[np.complex64]
    z: NDArray[np.complex64]
    there: NDArray[np.bool_]
    done: NDArray[np.complex64]
    turn: NDArray[np.complex64]
    forget: float


class _Branches(NamedTuple):
    """Memory of a block, float32: of each branch [words]. old: real and imaginary parts of the phase and of the sum so far, its
    modulus, the metric, [6, words]; new: real and imaginary parts of the sum, energy, metric, [4, words]; past, head: [width, 2,
    words], what the past adds, and the waveform; tail: [words, 2, g - 1], what the waveform adds later."""

    old: NDArray[np.float32]
    new: NDArray[np.float32]
    past: NDArray[np.float32]
    head: NDArray[np.float32]
    tail: NDArray[np.float32]


def likeliest(problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(metric [k], digits [k, blocks + digits of a state], the oldest first) of the likeliest path of each hypothesis."""
    levels, blocks = len(problem.done), problem.z.shape[1]
    count = round(math.log(problem.response.shape[1], levels)) - 1
    metric, digits = np.empty(len(problem.z), np.float32), np.empty((len(problem.z), blocks + count), np.int64)
    _likeliest(problem, metric, digits)
    return metric, digits


@njit(**_FAST)
def _likeliest(problem: Problem, metric: Any, digits: Any) -> None:
    k, blocks, width = problem.z.shape
    words, levels, f = problem.response.shape[1], len(problem.done), np.float32
    states, later = words // levels, problem.response.shape[2] - width
    own = _Branches(np.empty((6, words), f), np.empty((4, words), f), np.empty((width, 2, words), f),
                    np.empty((width, 2, words), f), np.empty((words, 2, later), f))
    back = np.empty((blocks, states), np.int64)
    for row in range(k):
        ahead = np.zeros((states, 2, later + width), f)         # what the past adds to the samples from here on
        fresh = np.zeros((states, 2, later + width), f)
        _response(problem.response[row], own, levels)
        own.old[:] = 0.0
        own.old[0] = 1.0
        for block in range(blocks):
            _spread(ahead, own, levels)
            _extend(problem.z[row, block], problem.there[row, block], own, np.float32(problem.forget))
            _survive(problem, own, ahead, fresh, back[block], problem.turn[row, block])
            ahead, fresh = fresh, ahead
        state = 0
        for other in range(states):
            if own.old[5, other] > own.old[5, state]:
                state = other
        metric[row] = own.old[5, state]
        for place in range(digits.shape[1] - 1, -1, -1):
            digits[row, place] = state % levels
            block = place - (digits.shape[1] - blocks)
            state = (back[block, state] * states + state) // levels if block >= 0 else state // levels


@njit(**_FAST)
def _response(response: Any, own: _Branches, levels: int) -> None:
    words, width = len(response), own.head.shape[0]
    states = words // levels
    for word in range(words):
        branch = word % levels * states + word // levels
        for i in range(width):
            own.head[i, 0, branch], own.head[i, 1, branch] = response[word, i].real, response[word, i].imag
        for i in range(own.tail.shape[2]):
            own.tail[word, 0, i], own.tail[word, 1, i] = response[word, width + i].real, response[word, width + i].imag


@njit(**_FAST)
def _spread(ahead: Any, own: _Branches, levels: int) -> None:
    """What the past adds to a block's samples, and the rest of each state, to all of its branches."""
    states = len(ahead)
    for i in range(own.past.shape[0]):
        for part in range(2):
            past = own.past[i, part]
            for state in range(states):
                past[state] = ahead[state, part, i]
            for digit in range(1, levels):
                past[digit * states:(digit + 1) * states] = past[:states]
    for part in range(6):
        for digit in range(1, levels):
            own.old[part, digit * states:(digit + 1) * states] = own.old[part, :states]


@njit(**_FAST)
def _extend(z: Any, there: Any, own: _Branches, forget: float) -> None:
    """The branches' sums and metrics."""
    real, imag, energy, metric = own.new[0], own.new[1], own.new[2], own.new[3]
    p, q, a, b, size, before = own.old[0], own.old[1], own.old[2], own.old[3], own.old[4], own.old[5]
    for w in range(len(real)):
        real[w], imag[w], energy[w] = forget * a[w], forget * b[w], np.float32(0)
    for i in range(len(z)):
        if there[i]:
            _sample(own.past[i, 0], own.past[i, 1], own.head[i, 0], own.head[i, 1], p, q, z[i].real, z[i].imag, real, imag,
                    energy)
    for w in range(len(real)):
        metric[w] = before[w] + np.float32(2) * (math.sqrt(real[w] * real[w] + imag[w] * imag[w]) - forget * size[w]) - energy[w]


@njit(**_FAST)
def _sample(a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, x: float, y: float, real: Any, imag: Any, energy: Any) -> None:
    """Of one sample z = x + j·y: s = past + phase·waveform; conj(s)·z to the sum, |s|² to the energy."""
    for w in range(len(real)):
        e, f = a[w] + p[w] * c[w] - q[w] * d[w], b[w] + p[w] * d[w] + q[w] * c[w]
        real[w] += e * x + f * y
        imag[w] += e * y - f * x
        energy[w] += e * e + f * f


@njit(**_FAST)
def _survive(problem: Problem, own: _Branches, ahead: Any, fresh: Any, back: Any, turn: complex) -> None:
    """The likeliest branch to each state."""
    states, levels, width = len(ahead), len(problem.done), own.head.shape[0]
    real, imag = own.new[0], own.new[1]
    p, q = own.old[0, states:2 * states], own.old[1, states:2 * states]         # copies of the states' phases
    for state in range(states):
        best, branch = -1, 0
        for oldest in range(levels):
            word = oldest * states + state
            other = word % levels * states + word // levels
            if best < 0 or own.new[3, other] > own.new[3, branch]:
                best, branch = oldest, other
        back[state] = best
        parent = branch % states
        a, b = p[parent], q[parent]
        _later(ahead[parent, 0, width:], ahead[parent, 1, width:], own.tail[best * states + state, 0],
               own.tail[best * states + state, 1], a, b, fresh[state, 0], fresh[state, 1])
        step = problem.done[best] * turn
        own.old[0, state], own.old[1, state] = a * step.real - b * step.imag, a * step.imag + b * step.real
        own.old[2, state], own.old[3, state] = real[branch], imag[branch]
        own.old[4, state] = math.sqrt(real[branch] * real[branch] + imag[branch] * imag[branch])
        own.old[5, state] = own.new[3, branch]


@njit(**_FAST)
def _later(c: Any, d: Any, e: Any, f: Any, p: float, q: float, real: Any, imag: Any) -> None:
    """What a survivor's samples add from the next block on."""
    for i in range(len(c)):
        real[i], imag[i] = c[i] + p * e[i] - q * f[i], d[i] + p * f[i] + q * e[i]
