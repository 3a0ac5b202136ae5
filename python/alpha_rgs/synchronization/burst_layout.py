# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the symbols of bursts of OFDM lie in a mixture: frames, gaps and guard intervals found together.

The signal of interest is narrower than the band and is filtered out. In what is left every cyclic prefix equals its copy. A
dynamic program then lays the window out in symbols (each with the evidence of its prefix, whose carrier offset plays no part)
and gaps (which have a price where there is power), at every sample and for every guard interval at once.
"""
from typing import Any

import numpy as np
from scipy import signal as filters

from ..inference.bursts_native import laid_out
from ..signals.wifi import FFT_SIZE, PREFIXES
from ..sources.ofdm_bursts import Slot

_TAPS = 33              # of the filter that takes the signal of interest out
_SKIPPED = 4            # samples at the head of a prefix that echoes of the symbol before may reach
_CHANCE = 0.75          # evidence per sample that chance may give
_BEGIN, _CHANGE = 2.0, 20.0     # prices, in nats: of a symbol after a gap; of a gap after a symbol, or another guard interval
_SILENT, _LOUD = 0.02, -1.0     # of a sample in a gap without power, and with
_NEIGHBOURS = 12        # runs of symbols so few samples apart are one, whose edges had been seen a little off


def without(y: Any, band: tuple[float, float]) -> np.ndarray:
    """y, complex [samples], without its frequencies in `band` (low, high), cycles per sample."""
    centre, half = (band[0] + band[1]) / 2, (band[1] - band[0]) / 2
    taps = -filters.firwin(_TAPS, 2 * half) * np.exp(2j * np.pi * centre * (np.arange(_TAPS) - _TAPS // 2))
    taps[_TAPS // 2] += 1
    return np.convolve(y, taps, "same")


def slots(y: np.ndarray, band: tuple[float, float]) -> list[Slot]:
    """The Slots of one window, complex [samples], in order. band: of the signal of interest, (low, high), cycles per sample."""
    n, room = len(y), FFT_SIZE + max(PREFIXES)
    x = np.pad(without(np.asarray(y, complex), band), (room, room + FFT_SIZE))
    total = n + 2 * room
    a, b = x[:-FFT_SIZE], x[FFT_SIZE:]
    product, energy = np.r_[0, np.cumsum(a.conj() * b)], np.r_[0, np.cumsum(abs(a) ** 2 + abs(b) ** 2)] / 2
    power = np.convolve(abs(x[:total]) ** 2, np.ones(8) / 8, "same")
    usual = power[room:room + n]
    loud = power > 0.05 * np.percentile(usual, 60)
    gap = np.where(loud, _LOUD, _SILENT)
    gap[:room], gap[room + n:] = 0, 0
    evidence = [_evidence(product, energy, 1e-3 * usual.mean(), prefix, room, n) for prefix in PREFIXES]
    for prefix, worth in zip(PREFIXES, evidence):               # a symbol has power in its middle
        middle = np.minimum(np.arange(len(worth)) + prefix + FFT_SIZE // 2, total - 1)
        worth[~loud[middle] & (worth != 0)] -= _CHANGE
    found = _placed(gap, evidence, room, n)
    if sum(evidence[PREFIXES.index(slot.prefix)][slot.start + room] for slot in found) <= 0:
        return []                                               # chance explains them all: noise alone is loud everywhere
    return _merged(found)


def _evidence(product: np.ndarray, energy: np.ndarray, floor: float, prefix: int, room: int, n: int) -> np.ndarray:
    """log-likelihood ratio of a prefix that begins at each sample, less what chance gives: -N·log(1 - |correlation|²)."""
    used = prefix - _SKIPPED
    i = np.arange(len(product) - prefix)
    correlation = abs(product[i + prefix] - product[i + _SKIPPED])
    rho = np.minimum(correlation / (energy[i + prefix] - energy[i + _SKIPPED] + floor * used + 1e-30), 0.999)
    seen = (i + _SKIPPED >= room) & (i + prefix + FFT_SIZE <= n + room)
    return np.where(seen, used * (-np.log(1 - rho ** 2) - _CHANCE), 0)


def _placed(gap: np.ndarray, evidence: list[np.ndarray], room: int, n: int) -> list[Slot]:
    """The best layout: a list of Slots. States: in a gap, or in a run of symbols of either prefix."""
    placed = laid_out(gap, [prefix + FFT_SIZE for prefix in PREFIXES], evidence, _BEGIN, _CHANGE)
    found = _searched(gap, evidence) if placed is None else placed
    slots = [Slot(begin - room, PREFIXES[k]) for begin, k in found]
    return [slot for slot in slots if slot.end > 0 and slot.start < n]


def _searched(gap: np.ndarray, evidence: list[np.ndarray]) -> list[tuple[int, int]]:
    """(first sample, number of the prefix) of each symbol of the best layout."""
    alone, scores, total = gap.tolist(), [e.tolist() for e in evidence], len(gap)
    lengths = [prefix + FFT_SIZE for prefix in PREFIXES]
    states = len(lengths) + 1
    value = [[-np.inf] * states for _ in range(total + max(lengths) + 1)]
    came: list[list[Any]] = [[None] * states for _ in range(total + max(lengths) + 1)]
    value[0] = [0.0] * states
    for p in range(total):
        here = value[p]
        best = max(here[0], max(here[1:]) - _CHANGE)
        if best + alone[p] > value[p + 1][0]:
            value[p + 1][0], came[p + 1][0] = best + alone[p], (p, 0 if best == here[0] else 1 + int(np.argmax(here[1:])))
        for k, length in enumerate(lengths, 1):
            if p >= len(scores[k - 1]):
                continue
            paid = [v - (0 if s == k else _BEGIN if s == 0 else _CHANGE) for s, v in enumerate(here)]
            s = max(range(states), key=paid.__getitem__)
            if paid[s] + scores[k - 1][p] > value[p + length][k]:
                value[p + length][k], came[p + length][k] = paid[s] + scores[k - 1][p], (p, s)
    ends = [(value[p][s], p, s) for p in range(total, total + max(lengths)) for s in range(states)]
    _, p, s = max(ends)
    found = []
    while p > 0:
        before, state = came[p][s]
        if s:
            found.append((before, s - 1))
        p, s = before, state
    return found[::-1]


def _merged(found: list[Slot]) -> list[Slot]:
    """Runs of one prefix that lie a few samples apart, as one: the longer one's grid holds. A run of shorter prefixes that
    follows so closely is the same burst's: the one before it moves up."""
    runs: list[list[int]] = []                                                   # [start, symbols, prefix]
    for slot in found:
        if runs and runs[-1][2] == slot.prefix and runs[-1][0] + runs[-1][1] * slot.length == slot.start:
            runs[-1][1] += 1
        else:
            runs.append([slot.start, 1, slot.prefix])
    k = 0
    while k + 1 < len(runs):
        (start, count, prefix), (after, more, other) = runs[k:k + 2]
        apart = after - start - count * (prefix + FFT_SIZE)
        if prefix == other and 0 < apart <= _NEIGHBOURS:
            runs[k:k + 2] = [[start + (apart if more >= count else 0), count + more, prefix]]
        else:
            runs[k][0] += apart if prefix > other and 0 < apart <= _SKIPPED else 0
            k += 1
    return [Slot(start + i * (prefix + FFT_SIZE), prefix) for start, count, prefix in runs for i in range(count)]
