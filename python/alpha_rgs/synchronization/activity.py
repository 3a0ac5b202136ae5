# SPDX-License-Identifier: GPL-3.0-or-later
"""When a source is on, from the power over time of what all others leave.

A Markov chain of two states, on and off, whose samples are Gaussian of one variance each: the likeliest sequence by Viterbi's
algorithm, the variances from its two parts, in turn (Juang and Rabiner, IEEE Trans. Acoust. 38, 1990).
"""
from __future__ import annotations

import numpy as np

_SWITCH = 10.0          # nats against each beginning and each end: one in 20 000 samples
_TOLD = 4.0             # power on over power off, 6 dB: less may be errors of what the others leave
_ROUNDS = 8
_SHORT = 8              # correlated samples that the first guess of the two powers averages over


def stretches(power: np.ndarray, correlated: float, least: int) -> list[tuple[int, int]] | None:
    """[(first sample, one past the last)] of where a source is on; None where nothing shows that it ever pauses.

    power: of samples, float64 [samples]; correlated: how many neighbours say the same; least: samples of a stretch and of a
    pause.
    """
    width = min(max(1, round(_SHORT * correlated)), len(power))
    smooth = np.convolve(power, np.ones(width) / width, "valid")
    off, on = float(smooth.min()) + 1e-30, float(smooth.max())
    state = np.zeros(0, bool)
    for _ in range(_ROUNDS):
        if not on > _TOLD * off:
            return None
        before, state = state, _likeliest((np.log(off / on) + power * (1 / off - 1 / on)) / correlated)
        if state.all() or not state.any():
            return None
        if np.array_equal(before, state):
            break
        off, on = float(power[~state].mean()) + 1e-30, float(power[state].mean())
    return _long(_runs(state), len(power), least)


def _likeliest(odds: np.ndarray) -> np.ndarray:
    """Whether it is on, bool [samples], from each sample's log-odds of on."""
    back = np.zeros((len(odds), 2), bool)       # the state before, of the best way to off and to on
    off = on = 0.0
    for k, value in enumerate(odds.tolist()):
        back[k] = on - _SWITCH > off, on > off - _SWITCH
        off, on = max(off, on - _SWITCH), max(on, off - _SWITCH) + value
    state = np.zeros(len(odds), bool)
    here = on > off
    for k in range(len(odds) - 1, -1, -1):
        state[k] = here
        here = back[k, int(here)]
    return state


def _runs(state: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], state.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def _long(runs: list[tuple[int, int]], samples: int, least: int) -> list[tuple[int, int]] | None:
    """Without shorter pauses, and then without shorter stretches; None where no pause remains."""
    out: list[tuple[int, int]] = []
    for begin, end in runs:
        if out and begin - out[-1][1] < least:
            out[-1] = (out[-1][0], end)
        else:
            out.append((begin, end))
    first, last = out[0], out[-1]
    out[0] = (0 if first[0] < least else first[0], first[1])
    out[-1] = (out[-1][0], samples if samples - last[1] < least else last[1])
    out = [(begin, end) for begin, end in out if end - begin >= least]
    return out if out != [(0, samples)] else None
