# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the symbols of bursts of OFDM lie in a mixture: frames, gaps and guard intervals found together.

The signal of interest is narrower than the band and is filtered out. In what is left every cyclic prefix equals its copy. A
dynamic program then lays the window out in symbols (each with the evidence of its prefix, whose carrier offset plays no part)
and gaps (which have a price where there is power), at every sample and for every guard interval at once.
"""
import functools
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
_SILENT, _LOUD = 0.02, -1.0     # of a sample in a gap, at most and at least
# samples of the shortest gap; the noise over the quietest mean of so many; the power of a burst with noise over noise, at least;
# how much a sample counts whose power is a mean of eight
_PAUSE, _QUIETEST, _LEAST, _COUNTS = 40, 1.4, 1.5, 0.5
_AS_LOUD = 0.4          # of a symbol's power, what goes on before or after it
_CLEAR = 15.0           # nats of a run of symbols: of four samples noise gives that once in three hundred windows
_DOUBT = 1.0            # nats of a prefix beyond what chance gives on average that are not believed where noise is strong
_SMOOTH = 64            # parts of the band over which power is averaged to make it even
_ROOM = FFT_SIZE + max(PREFIXES)        # samples before and after a window that symbols may reach
_USED = [prefix - _SKIPPED for prefix in PREFIXES]
_NEIGHBOURS = 12        # runs of symbols so few samples apart are one, whose edges had been seen a little off


def without(y: Any, band: tuple[float, float]) -> np.ndarray:
    """y, complex [samples], without its frequencies in `band` (low, high), cycles per sample."""
    centre, half = (band[0] + band[1]) / 2, (band[1] - band[0]) / 2
    taps = -_low_pass(round(2 * half, 9)) * np.exp(2j * np.pi * centre * (np.arange(_TAPS) - _TAPS // 2))
    taps[_TAPS // 2] += 1
    return np.convolve(y, taps, "same")


@functools.lru_cache
def _low_pass(width: float) -> np.ndarray:
    """Taps of the filter for a band so wide, cycles per sample."""
    return np.asarray(filters.firwin(_TAPS, width))


def slots(y: np.ndarray, band: tuple[float, float]) -> list[Slot]:
    """The Slots of one window, complex [samples], in order. band: of the signal of interest, (low, high), cycles per sample."""
    x = without(np.asarray(y, complex), band)
    seen = _Seen(x)
    found = _run(seen, [np.where(own != 0, own - _CHANCE * used, 0) for own, used in zip(seen.evidence, _USED)], _CLEAR)
    if not found:           # as when noise is about as strong as bursts: each prefix says little, a burst's together pay
        seen = _Seen(_whitened(x))
        found = _run(seen, [np.where(own != 0, own - used / (used - 1) - _DOUBT, 0) for own, used in zip(seen.evidence, _USED)],
                     _BEGIN + _CHANGE)
    return _to_the_ends(_merged(found), x)


def _to_the_ends(found: list[Slot], x: np.ndarray) -> list[Slot]:
    """Slots, and those of symbols of which so little lies in the window x, complex [samples], that no prefix tells of them."""
    if not found:
        return found
    first, last, power = found[0], found[-1], abs(x) ** 2
    out = list(found)
    if 0 < first.start < first.length and power[:first.start].mean() > _AS_LOUD * power[first.start:first.end].mean():
        out.insert(0, Slot(first.start - first.length, first.prefix))
    if 0 < len(x) - last.end < last.length and power[last.end:].mean() > _AS_LOUD * power[max(last.start, 0):last.end].mean():
        out.append(Slot(last.end, last.prefix))
    return out


def _whitened(x: np.ndarray) -> np.ndarray:
    """x, complex [samples], of about the same power at all frequencies: what a filter leaves of a narrow signal is alike from
    sample to sample, and passes for prefixes. What is weak is not made stronger than the rest."""
    spectrum = np.fft.fft(x)
    wide = max(len(x) // _SMOOTH, 1)
    power = filters.fftconvolve(np.pad(abs(spectrum) ** 2, len(x), "wrap"), np.full(wide, 1 / wide), "same")[len(x):2 * len(x)]
    return np.asarray(np.fft.ifft(spectrum / np.sqrt(np.maximum(power, 0.5 * np.median(power)) + 1e-30)))


class _Seen:
    """What a window x, complex [samples], shows of prefixes, with zeros before and after it. evidence: of each prefix, see
    _evidence; loud: whether a sample has power, bool; gap: the price of a sample in a gap."""

    def __init__(self, x: np.ndarray) -> None:
        n = len(x)
        x = np.pad(x, (_ROOM, _ROOM + FFT_SIZE))
        self.total = n + 2 * _ROOM
        a, b = x[:-FFT_SIZE], x[FFT_SIZE:]
        size = x.real ** 2 + x.imag ** 2
        product, energy = np.zeros(len(a) + 1, complex), np.zeros(len(a) + 1)
        np.cumsum(a.conj() * b, out=product[1:])
        np.cumsum((size[:-FFT_SIZE] + size[FFT_SIZE:]) / 2, out=energy[1:])
        power = np.convolve(size[:self.total], np.ones(8) / 8, "same")
        usual = power[_ROOM:_ROOM + n]
        self.loud = power > 0.05 * np.percentile(usual, 60)
        self.gap = _prices(power, usual)
        self.gap[:_ROOM], self.gap[_ROOM + n:] = 0, 0
        self.evidence = [_evidence(product, energy, 1e-3 * usual.mean(), prefix, n) for prefix in PREFIXES]


def _prices(power: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """What it is worth, nats, that each sample of that power lies in a gap; usual: power of those in the window. The quietest
    time as long as the shortest gap is noise alone; a burst adds at least half as much."""
    means = np.convolve(usual, np.full(_PAUSE, 1 / _PAUSE), "valid") if len(usual) > _PAUSE else usual.mean(keepdims=True)
    noise = max(_QUIETEST * float(means.min()), 1e-9 * float(usual.mean()), 1e-30)
    ratio = power / noise
    burst = np.maximum(ratio, _LEAST)
    likelier = ratio - ratio / burst - np.log(burst)
    return -np.clip(_COUNTS * likelier, -_SILENT, -_LOUD)


def _run(seen: _Seen, evidence: list[np.ndarray], least: float) -> list[Slot]:
    """The best layout, a list of Slots, without runs whose evidence is no more than `least`, which chance explains."""
    priced = [own.copy() for own in evidence]
    for prefix, worth in zip(PREFIXES, priced):                 # a symbol has power in its middle
        middle = np.minimum(np.arange(len(worth)) + prefix + FFT_SIZE // 2, seen.total - 1)
        worth[~seen.loud[middle] & (worth != 0)] -= _CHANGE
    runs: list[list[Slot]] = []
    for slot in _placed(seen.gap, priced, seen.total - 2 * _ROOM):
        if runs and runs[-1][-1].end == slot.start:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return [slot for run in runs if sum(priced[PREFIXES.index(one.prefix)][one.start + _ROOM] for one in run) > least
            for slot in run]


def _evidence(product: np.ndarray, energy: np.ndarray, floor: float, prefix: int, n: int) -> np.ndarray:
    """log-likelihood ratio of a prefix that begins at each sample: -N·log(1 - |correlation|²); 0 where it is not seen."""
    used = prefix - _SKIPPED
    first, last = _ROOM - _SKIPPED, n + _ROOM - prefix - FFT_SIZE + 1           # those that are seen
    out = np.zeros(len(product) - prefix)
    if last > first:
        begin, end = slice(first + _SKIPPED, last + _SKIPPED), slice(first + prefix, last + prefix)
        rho = np.minimum(abs(product[end] - product[begin]) / (energy[end] - energy[begin] + floor * used + 1e-30), 0.999)
        out[first:last] = used * -np.log1p(-rho * rho) + 1e-12
    return out


def _placed(gap: np.ndarray, evidence: list[np.ndarray], n: int) -> list[Slot]:
    """The best layout: a list of Slots. States: in a gap, or in a run of symbols of either prefix."""
    placed = laid_out(gap, [prefix + FFT_SIZE for prefix in PREFIXES], evidence, _BEGIN, _CHANGE)
    found = _searched(gap, evidence) if placed is None else placed
    slots = [Slot(begin - _ROOM, PREFIXES[k]) for begin, k in found]
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
