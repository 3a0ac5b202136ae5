# SPDX-License-Identifier: GPL-3.0-or-later
"""The recursions of trellis.py as native kernels, hypothesis by hypothesis.

Arrays are of one hypothesis: fit complex128 [blocks, words]; roots complex128 [q]. States are numbered root·states + word of the
last symbols, ways likewise root·words + word. come, lead: int64, as Trellis.come and Trellis.lead: from which way a state comes,
[levels, q·states], and to which state a way leads, [q·words]. A hypothesis with a drift keeps the sums of the symbols that are
done, one of each state.
"""
from __future__ import annotations

import math

import numpy as np
from numba import njit

Array = np.ndarray

_NEGLIGIBLE = -36.0         # nats below the likeliest way: 2e-16 of its probability, as much as float64 resolves


@njit(nogil=True, cache=True)
def _own(fit: Array, roots: Array, drift: float, done: Array, levels: int, own: Array) -> None:
    """The block's fit to each way, into own float64 [q·words]. done: float64 [q·states]."""
    way, states = 0, len(fit) // levels
    for r in range(len(roots)):
        for s in range(states):
            turn = roots[r]
            if drift != 0.0:
                angle = drift * done[r * states + s]
                turn = turn * complex(math.cos(angle), math.sin(angle))
            for word in range(s * levels, (s + 1) * levels):
                own[way] = fit[word].real * turn.real + fit[word].imag * turn.imag
                way += 1


@njit(nogil=True, cache=True)
def _logsumexp(values: Array, first: int, last: int, step: int) -> float:
    """Of values[first:last:step]."""
    most = -np.inf
    for k in range(first, last, step):
        most = max(most, values[k])
    if most == -np.inf:
        return most
    total = 0.0
    for k in range(first, last, step):
        if values[k] - most > _NEGLIGIBLE:
            total += math.exp(values[k] - most)
    return most + math.log(total)


@njit(nogil=True, cache=True)
def _forward(fit: Array, roots: Array, come: Array, drift: float, starts: int, alphas: Array, sums: Array) -> None:
    """Log-probabilities alphas [blocks + 1, q·states] before each block and after the last, and sums of symbols done, so."""
    levels, count = come.shape
    own, ways, done = np.empty(count * levels), np.empty(levels), sums[0]
    alphas[0], sums[0] = 0.0, 0.0
    if starts == 1:
        alphas[0, count // len(roots):] = -np.inf
    for b in range(len(fit)):
        if drift != 0.0:
            done = sums[b]
        _own(fit[b], roots, drift, done, levels, own)
        for state in range(count):
            best = 0
            for oldest in range(levels):
                way = come[oldest, state]
                ways[oldest] = alphas[b, way // levels] + own[way]
                if ways[oldest] > ways[best]:
                    best = oldest
            alphas[b + 1, state] = _logsumexp(ways, 0, levels, 1)
            if drift != 0.0:
                sums[b + 1, state] = done[come[best, state] // levels] + 2 * best - (levels - 1)


@njit(nogil=True, cache=True)
def _joint(alpha: Array, own: Array, beta: Array, lead: Array, levels: int, joint: Array) -> None:
    """log p(x, way) of a block, [q·words], and the beta before it, in place of that after it."""
    for way in range(len(lead)):
        joint[way] = beta[lead[way]] + own[way]
    for state in range(len(alpha)):
        beta[state] = _logsumexp(joint, state * levels, (state + 1) * levels, 1)
        for way in range(state * levels, (state + 1) * levels):
            joint[way] += alpha[state]


@njit(nogil=True, cache=True)
def _signed(joint: Array, total: float, roots: Array, drift: float, done: Array, levels: int, signed: Array) -> None:
    """The mean turn of each word, its probability times the phase before it: complex128 [words]."""
    signed[:] = 0.0
    words = len(signed)
    for way in range(len(joint)):
        chance = joint[way] - total
        if chance > _NEGLIGIBLE:
            turn = roots[way // words]
            if drift != 0.0:
                angle = drift * done[way // levels]
                turn = turn * complex(math.cos(angle), math.sin(angle))
            signed[way % words] += math.exp(chance) * turn


@njit(nogil=True, cache=True)
def marginals(fit: Array, roots: Array, come: Array, lead: Array, drift: float, starts: int, odds: Array, signed: Array) -> Array:
    """Fills odds float64 [hypotheses, blocks, levels], log-probabilities of the symbol that begins in each block, and signed
    complex128 [hypotheses, blocks, words], see _signed, each only where it has as many blocks as fit complex128 [blocks,
    hypotheses, words]; returns log p(x), [hypotheses]."""
    blocks, levels, count = len(fit), come.shape[0], come.shape[1]
    alphas, evidence = np.empty((blocks + 1, count)), np.empty(fit.shape[1])
    sums = np.zeros((blocks + 1 if drift != 0.0 else 1, count))
    own, joint = np.empty(len(lead)), np.empty(len(lead))
    for k in range(fit.shape[1]):
        _forward(fit[:, k], roots, come, drift, starts, alphas, sums)
        evidence[k] = _logsumexp(alphas[blocks], 0, count, 1)
        if odds.shape[1] != blocks and signed.shape[1] != blocks:
            continue
        beta, done = np.zeros(count), sums[0]
        for b in range(blocks - 1, -1, -1):
            if drift != 0.0:
                done = sums[b]
            _own(fit[b, k], roots, drift, done, levels, own)
            _joint(alphas[b], own, beta, lead, levels, joint)
            if odds.shape[1] == blocks:
                for newest in range(levels):
                    odds[k, b, newest] = _logsumexp(joint, newest, len(joint), levels)
            if signed.shape[1] == blocks:
                _signed(joint, evidence[k], roots, drift, done, levels, signed[k, b])
    return evidence


@njit(nogil=True, cache=True)
def viterbi(fit: Array, roots: Array, come: Array, drift: float, starts: int, digits: Array, root: Array) -> None:
    """Fills digits int64 [hypotheses, blocks + span - 1], the likeliest symbols 0, 1, ... of fit [blocks, hypotheses, words], and
    root int64 [hypotheses], that at which they start."""
    blocks, levels, count = len(fit), come.shape[0], come.shape[1]
    back, own, states = np.empty((blocks, count), np.int64), np.empty(count * levels), count // len(roots)
    for k in range(fit.shape[1]):
        alpha, done = np.zeros(count), np.zeros(count)
        if starts == 1:
            alpha[states:] = -np.inf
        for b in range(blocks):
            _own(fit[b, k], roots, drift, done, levels, own)
            after, sums = np.empty_like(alpha), np.empty_like(done)
            for state in range(count):
                best, most = 0, -np.inf
                for oldest in range(levels):
                    way = come[oldest, state]
                    if alpha[way // levels] + own[way] > most:
                        best, most = oldest, alpha[way // levels] + own[way]
                back[b, state], after[state] = come[best, state], most
                sums[state] = done[come[best, state] // levels] + 2 * best - (levels - 1)
            alpha, done = after, sums
        state, place = int(alpha.argmax()), digits.shape[1] - 1
        for b in range(blocks - 1, -1, -1):
            digits[k, place] = back[b, state] % levels
            state, place = back[b, state] // levels, place - 1
        root[k], word = state // states, state % states
        while place >= 0:
            digits[k, place] = word % levels
            word, place = word // levels, place - 1
