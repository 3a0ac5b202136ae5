# SPDX-License-Identifier: GPL-3.0-or-later
"""What the symbols of OFDM bursts are: carrier offset, channel, phases and alphabets, from carriers that the signal of interest
does not reach (burst_fit.py). Where it lies the channel follows from what is seen beside it."""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..signals.wifi import CARRIERS, FFT_SIZE, LEGACY, SHORT_TRAINING
from ..sources.ofdm_bursts import Frame
from .burst_alphabets import LEVELS, nearest
from .burst_fit import EMPTY, BurstFit
from .burst_layout import without

if TYPE_CHECKING:
    from ..sources.ofdm_bursts import Slot

Array = np.ndarray[Any, Any]

_EARLY = 4              # samples of each prefix that the transform takes in, for channels that ring before their peak
_EDGES = 12             # samples to either side over which the beginning of symbols is looked for
_PLAIN = 3.0            # standard deviations of a sample's power, by which it must exceed that of others
_EDGE = 2               # samples at either end of a prefix that a filter mixes with other symbols
_GUARD = 16             # samples about a frame that are not taken for free of it
_SPARSE = 0.25          # of the others' power, what short training may seem to have on the carriers that it leaves out
_IDLE = np.array([k for k in range(-FFT_SIZE // 2, FFT_SIZE // 2) if abs(k) > abs(CARRIERS).max()])     # no burst has these
_BESIDE = 2             # carriers beside the signal of interest that it reaches still
_SURE = 0.02            # of a symbol's power, what is open of its carriers, up to which they are decided


def burst_frames(y: Array, slots: list[Slot], band: tuple[float, float], settled: bool = False) -> list[Frame]:
    """The Frames in the Slots of one window, complex [samples]. band: of the signal of interest, (low, high). settled: whether
    carriers outside of it are decided, however unsure they are; else all of such a symbol are open."""
    near = _near(band)
    return _frames(y, without(y, band), slots, near, near, _idle(band), settled)


def burst_frames_again(rest: Array, slots: list[Slot], band: tuple[float, float], settled: bool = False) -> list[Frame]:
    """The Frames in what one window, complex [samples], holds without the signal of interest, their channel being seen in all of
    the band. Carriers in `band`, the signal of interest's, stay open."""
    return _frames(rest, rest, slots, np.zeros(len(CARRIERS), bool), _near(band), _IDLE, settled)


def _frames(y: Array, rest: Array, slots: list[Slot], hidden: Array, near: Array, idle: Array, settled: bool) -> list[Frame]:
    """The Frames of one window; hidden: carriers that are not seen, near: those that stay open, bool [56]."""
    parts = [(part, fit, offset) for part in _transmissions(y, rest, slots, hidden)
             for offset in [_carrier_offset(rest, part)] for fit in [_fitted(y, part, offset, hidden, idle)]]
    out: list[Frame] = []
    while parts:                                # parts of one burst move together, as its longest does
        run = [parts.pop(0)]
        while parts and run[-1][0][-1].end == parts[0][0][0].start:
            run.append(parts.pop(0))
        later, mixed = _edge(y, *max(run, key=lambda one: len(one[0])))
        later = max(later, out[-1].end - run[0][0][0].start) if out else later
        usual = max(fit.power for _, fit, _ in run)
        for part, fit, offset in run:
            if fit.power < EMPTY * usual:
                fit.clear_all()
            out += [_frame(fit, t, replace(slot, start=slot.start + later), offset, near, settled, later, mixed)
                    for t, slot in enumerate(part)]
    return out


def _edge(y: Array, slots: list[Slot], fit: BurstFit, offset: float) -> tuple[int, Array]:
    """(samples by which the symbols of a burst begin later than they were taken to: where what is seen is no more the symbol
    before; power [2·_EDGES] of what disturbs the first and the last _EDGES samples of each, as far as that stands out). A channel
    tells neither: transmitters with several antennas shift symbols cyclically, and let them fade into each other."""
    nothing, about, waves = np.zeros(2 * _EDGES), np.arange(-2 * _EDGES, 2 * _EDGES), fit.waves()
    if waves is None:
        return 0, nothing
    cost, seen = np.zeros((2, len(about))), 0
    for t in range(1, len(slots)):
        n = slots[t].start + about
        if not (waves[t].any() and waves[t - 1].any()) or n[0] < 0 or n[-1] >= len(y):
            continue
        turn, seen = np.exp(2j * np.pi * offset * n), seen + 1
        for k, one in enumerate((t - 1, t)):
            cost[k] += abs(y[n] - waves[one][(n - slots[one].end) % FFT_SIZE] * turn) ** 2
    if not seen:
        return 0, nothing
    middle = slice(_EDGES, 3 * _EDGES)
    before, after = (np.cumsum(np.r_[0, own[middle]]) for own in cost)
    begin = int(np.argmin(before + after[-1] - after))
    usual = np.median(np.r_[cost[0][:_EDGES], cost[1][3 * _EDGES:]]) / seen
    head = cost[1][_EDGES + begin:2 * _EDGES + begin] / seen
    tail = cost[0][begin:_EDGES + begin] / seen
    excess = np.r_[head, tail] - usual
    return begin - _EDGES, np.where(excess > _PLAIN / seen ** 0.5 * usual, excess, 0)


def _fitted(y: Array, slots: list[Slot], offset: float, hidden: Array, idle: Array) -> BurstFit:
    """What the symbols of one transmission are."""
    found = [_carriers(y, slot, offset) for slot in slots]
    seen = np.array([u is not None for u in found])
    u = np.array([np.zeros(len(CARRIERS)) if one is None else one for one in found], complex)
    quiet = [_carriers(y, slot, offset, idle) for slot in slots]
    level = [np.mean(abs(v) ** 2) for v in quiet if v is not None]
    return BurstFit(u, seen, ~hidden, float(np.mean(level)) if level and len(idle) else 0.0)


def _frame(fit: BurstFit, t: int, slot: Slot, offset: float, near: Array, settled: bool, later: int, mixed: Array) -> Frame:
    """The Frame of symbol t of a burst, in a Slot that lies so many samples later than the one that it was found in; mixed: see
    _edge."""
    symbol = fit.symbol(t, near)
    decided, error, alphabet = None, symbol.error, symbol.alphabet
    if symbol.training:
        decided = symbol.mean
    elif settled and not fit.seen[t] and alphabet:
        alphabet = "gaussian"
    elif alphabet in LEVELS:                    # the outermost carriers of a legacy burst are nothing
        decided = np.where(abs(symbol.gain) > 0, np.nan + 0j, 0)
        far = ~near & (abs(symbol.gain) > 0)
        weight = abs(symbol.gain[far]) ** 2
        doubt = float((weight * symbol.open[far]).sum() / max(weight.sum(), 1e-30))
        if fit.seen[t] and (settled or doubt < _SURE):
            decided[far] = (nearest(symbol.mean, alphabet) if settled else symbol.mean)[far]
            error += doubt
    gain, echo = symbol.gain * np.exp(2j * np.pi * CARRIERS * later / FFT_SIZE), fit.echo(slot.length, later)
    if echo is not None:
        echo[:_EDGES] = np.maximum(echo[:_EDGES], mixed[:_EDGES])
        echo[-_EDGES:] = np.maximum(echo[-_EDGES:], mixed[_EDGES:])
    return Frame(slot.start, slot.prefix, offset, gain, alphabet, error, fit.power, decided, echo=echo)


def open_frames(y: Tensor, slots: Any, band: Any) -> Any:
    """As burst_frames, but nothing is decided: all carriers are open, and as strong as the burst's are on average. Symbols of
    hardly any power are none."""
    near, rest, out = _near(band), without(y, band), []
    for burst, part in enumerate(_transmissions(y, rest, slots, near)):
        offset = _carrier_offset(rest, part)
        seen = [np.mean(abs(rest[max(slot.start, 0):slot.end]) ** 2) for slot in part]
        level = float(np.median(seen) / (LEGACY & ~near).sum())
        for number, (slot, power) in enumerate(zip(part, seen)):
            kind = "gaussian" if power > EMPTY * np.median(seen) else ""
            out.append(Frame(slot.start, slot.prefix, offset, np.full(len(CARRIERS), level ** 0.5, complex), kind, 1.0, level,
                             burst=burst, number=number))
    return out


def _near(band: tuple[float, float]) -> np.ndarray:
    """Which carriers the signal of interest may reach, bool [56]."""
    low, high = (np.round(np.array(band) * FFT_SIZE) + (-1, 1)).astype(int)
    return (CARRIERS >= low) & (CARRIERS <= high)


def _idle(band: tuple[float, float]) -> Array:
    """Carriers that neither bursts nor the signal of interest reach."""
    low, high = (np.round(np.array(band) * FFT_SIZE) + (-_BESIDE, _BESIDE)).astype(int)
    return _IDLE[(_IDLE < low) | (_IDLE > high)]


def _transmissions(y: Any, rest: Any, slots: list[Slot], near: np.ndarray) -> list[list[Slot]]:
    """Slots that follow each other closely, as lists; rest: see _carrier_offset."""
    bursts: list[list[Slot]] = []
    for slot in slots:
        if bursts and bursts[-1][-1].end == slot.start:
            bursts[-1].append(slot)
        else:
            bursts.append([slot])
    return [part for burst in bursts for part in _parts(y, burst, near, _carrier_offset(rest, burst))]


def _carrier_offset(rest: np.ndarray, slots: list[Slot]) -> float:
    """Of a burst, cycles per sample, from its prefixes; rest: the window without the signal of interest's band."""
    total = 0j
    for slot in slots:
        a, b = max(slot.start + _EARLY, 0), min(slot.start + slot.prefix, len(rest) - FFT_SIZE)
        total += np.vdot(rest[a:b], rest[a + FFT_SIZE:b + FFT_SIZE]) if b > a else 0
    return float(np.angle(total)) / (2 * np.pi * FFT_SIZE)


def thermal_noise(y: np.ndarray, found: list[Frame], band: tuple[float, float]) -> float:
    """Noise of one window, complex [samples], per complex sample: by how prefixes differ from their copies in the Frames found,
    and by what is between them, the median of all places; seen outside the SOI's band and taken to be white. Errs upwards: the
    filter lets the symbols on either side into a prefix, about 20 dB below the bursts. What this model misses of recordings is of
    that size too: with a figure true to synthetic windows they lost a twelfth of their bits at -10 dB."""
    x, seen, free = without(y, band), [], np.ones(len(y), bool)
    for frame in found:
        free[max(frame.start - _GUARD, 0):max(frame.end + _GUARD, 0)] = False
        a, b = max(frame.start + _EDGE, 0), min(frame.start + frame.prefix - _EDGE, len(y) - FFT_SIZE)
        if frame.alphabet and b > a:
            turn = np.exp(2j * np.pi * frame.carrier_offset * FFT_SIZE)
            seen.append(np.mean(abs(x[a:b] * turn - x[a + FFT_SIZE:b + FFT_SIZE]) ** 2) / 2)
    idle = abs(x[free]) ** 2
    seen += list(idle[:len(idle) // _GUARD * _GUARD].reshape(-1, _GUARD).mean(1))
    return float(np.median(seen)) / (1 - band[1] + band[0]) if seen else 0.0


def _carriers(y: np.ndarray, slot: Slot, offset: float, numbers: np.ndarray = CARRIERS) -> np.ndarray | None:
    """The carriers of a symbol whose body lies in the window, complex [56], or those of other numbers, else None."""
    first = slot.end - FFT_SIZE - _EARLY
    if first < 0 or first + FFT_SIZE > len(y):
        return None
    body = y[first:first + FFT_SIZE] * np.exp(-2j * np.pi * offset * (first + np.arange(FFT_SIZE)))
    return np.fft.fft(body)[numbers % FFT_SIZE] * np.exp(2j * np.pi * _EARLY / FFT_SIZE * numbers) / FFT_SIZE


def _sparse(u: np.ndarray, inner: np.ndarray) -> bool:
    """Whether a symbol is one of short training: power on every fourth carrier alone."""
    return np.mean(abs(u[~SHORT_TRAINING & inner]) ** 2) < _SPARSE * np.mean(abs(u[SHORT_TRAINING & inner]) ** 2)


def _parts(y: np.ndarray, burst: list[Slot], near: np.ndarray, offset: float) -> list[list[Slot]]:
    """A burst cut where short training comes in its middle: HT frames train anew there."""
    inner, last = ~near & LEGACY, False
    parts: list[list[Slot]] = [[]]
    for slot in burst:
        u = _carriers(y, slot, offset)
        sparse = u is not None and _sparse(u, inner)
        if sparse and not last and parts[-1]:
            parts.append([])
        parts[-1].append(slot)
        last = sparse
    return parts
