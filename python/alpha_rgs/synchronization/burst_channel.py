# SPDX-License-Identifier: GPL-3.0-or-later
"""What the symbols of OFDM bursts are: carrier offset, channel, phases and alphabets, from carriers that the signal of interest
does not reach (burst_fit.py). Where it lies the channel follows from what is seen beside it."""
from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..signals.wifi import CARRIERS, FFT_SIZE, LEGACY, PREFIXES, SHORT_TRAINING
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
_ADVANCED = np.exp(2j * np.pi * _EARLY / FFT_SIZE * np.arange(FFT_SIZE)) / FFT_SIZE     # transforms as of the body's first sample
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


@dataclass
class _Part:
    """Slots of one transmission that follow each other, with their carrier offset, cycles per sample, and spectra: complex
    [slots, 64], zeros where a symbol's body does not lie in the window; seen: where it does, bool [slots]."""

    slots: list[Slot]
    offset: float
    spectra: Array
    seen: Array


def _frames(y: Array, rest: Array, slots: list[Slot], hidden: Array, near: Array, idle: Array, settled: bool) -> list[Frame]:
    """The Frames of one window; hidden: carriers that are not seen, near: those that stay open, bool [56]."""
    parts = [(part, _fitted(part, hidden, idle)) for part in _transmissions(y, rest, slots, hidden)]
    out: list[Frame] = []
    while parts:                                # parts of one burst move together, as its longest does
        run = [parts.pop(0)]
        while parts and run[-1][0].slots[-1].end == parts[0][0].slots[0].start:
            run.append(parts.pop(0))
        later, mixed = _edge(y, *max(run, key=lambda one: len(one[0].slots)))
        later = max(later, out[-1].end - run[0][0].slots[0].start) if out else later
        usual = max(fit.power for _, fit in run)
        for part, fit in run:
            if fit.power < EMPTY * usual:
                fit.clear_all()
            out += _placed(part, fit, near, settled, later, mixed)
    return out


def _edge(y: Array, part: _Part, fit: BurstFit) -> tuple[int, Array]:
    """(samples by which the symbols of a burst begin later than they were taken to: where what is seen is no more the symbol
    before; power [2·_EDGES] of what disturbs the first and the last _EDGES samples of each, as far as that stands out). A channel
    tells neither: transmitters with several antennas shift symbols cyclically, and let them fade into each other."""
    nothing, about, waves = np.zeros(2 * _EDGES), np.arange(-2 * _EDGES, 2 * _EDGES), fit.waves()
    if waves is None:
        return 0, nothing
    known, ends = waves.any(1), np.array([slot.end for slot in part.slots])
    n = np.array([slot.start for slot in part.slots])[:, None] + about
    rows = 1 + np.flatnonzero((known[1:] & known[:-1]) & (n[1:, 0] >= 0) & (n[1:, -1] < len(y)))
    if not len(rows):
        return 0, nothing
    seen, n = len(rows), n[rows]
    x = y[n] * np.exp(-2j * np.pi * part.offset * n)
    cost = np.array([_size(x - waves[one[:, None], (n - ends[one][:, None]) % FFT_SIZE]).sum(0) for one in (rows - 1, rows)])
    middle = slice(_EDGES, 3 * _EDGES)
    total = np.zeros((2, 2 * _EDGES + 1))
    np.cumsum(cost[:, middle], 1, out=total[:, 1:])
    begin = int(np.argmin(total[0] - total[1]))
    usual = np.median(np.concatenate([cost[0, :_EDGES], cost[1, 3 * _EDGES:]])) / seen
    head = cost[1][_EDGES + begin:2 * _EDGES + begin] / seen
    tail = cost[0][begin:_EDGES + begin] / seen
    excess = np.concatenate([head, tail]) - usual
    return begin - _EDGES, np.where(excess > _PLAIN / seen ** 0.5 * usual, excess, 0)


def _fitted(part: _Part, hidden: Array, idle: Array) -> BurstFit:
    """What the symbols of one transmission are."""
    quiet = part.spectra[part.seen][:, idle % FFT_SIZE]
    noise = float(np.mean(abs(quiet) ** 2)) if quiet.size else 0.0
    return BurstFit(part.spectra[:, CARRIERS % FFT_SIZE], part.seen, ~hidden, noise)


def _placed(part: _Part, fit: BurstFit, near: Array, settled: bool, later: int, mixed: Array) -> list[Frame]:
    """The Frames of a part of a burst, in Slots that lie so many samples later than those that it was found in; mixed: see
    _edge."""
    symbols = fit.symbols(near)
    echoes = {length: _echo(fit, length, later, mixed) for length in {slot.length for slot in part.slots}}
    gains = np.array([symbol.gain for symbol in symbols])
    weight = _size(gains)
    decided = np.where(weight > 0, np.nan + 0j, 0)      # the outermost carriers of a legacy burst are nothing
    far = ~near & (weight > 0)
    doubt = (far * weight * [symbol.open for symbol in symbols]).sum(1) / np.maximum((far * weight).sum(1), 1e-30)
    gains, out = gains * np.exp(2j * np.pi * CARRIERS * later / FFT_SIZE), []
    for t, (slot, symbol, seen) in enumerate(zip(part.slots, symbols, part.seen.tolist())):
        alphabet, error = symbol.alphabet, symbol.error
        own: Array | None = None
        if symbol.training:
            own = symbol.mean
        elif settled and not seen and alphabet:
            alphabet = "gaussian"
        elif alphabet in LEVELS:
            own = decided[t]
            if seen and (settled or doubt[t] < _SURE):
                own[far[t]] = (nearest(symbol.mean, alphabet) if settled else symbol.mean)[far[t]]
                error += float(doubt[t])
        out.append(Frame(slot.start + later, slot.prefix, part.offset, gains[t], alphabet, error, fit.power, own,
                         echo=echoes[slot.length]))
    return out


def _size(x: Array) -> Array:
    """|x|², without the care that abs() takes of what overflows."""
    return np.asarray(x.real ** 2 + x.imag ** 2)


def _echo(fit: BurstFit, length: int, later: int, mixed: Array) -> Array | None:
    """Of symbols of so many samples, see Frame."""
    echo = fit.echo(length, later)
    if echo is not None:
        echo[:_EDGES] = np.maximum(echo[:_EDGES], mixed[:_EDGES])
        echo[-_EDGES:] = np.maximum(echo[-_EDGES:], mixed[_EDGES:])
    return echo


def open_frames(y: Tensor, slots: Any, band: Any) -> Any:
    """As burst_frames, but nothing is decided: all carriers are open, and as strong as the burst's are on average. Symbols of
    hardly any power are none."""
    near, rest, out = _near(band), without(y, band), []
    for burst, part in enumerate(_transmissions(y, rest, slots, near)):
        seen = [np.mean(abs(rest[max(slot.start, 0):slot.end]) ** 2) for slot in part.slots]
        level = float(np.median(seen) / (LEGACY & ~near).sum())
        for number, (slot, power) in enumerate(zip(part.slots, seen)):
            kind = "gaussian" if power > EMPTY * np.median(seen) else ""
            gain = np.full(len(CARRIERS), level ** 0.5, complex)
            out.append(Frame(slot.start, slot.prefix, part.offset, gain, kind, 1.0, level, burst=burst, number=number))
    return out


def _near(band: tuple[float, float]) -> np.ndarray:
    """Which carriers the signal of interest may reach, bool [56]."""
    low, high = (np.round(np.array(band) * FFT_SIZE) + (-1, 1)).astype(int)
    return (CARRIERS >= low) & (CARRIERS <= high)


def _idle(band: tuple[float, float]) -> Array:
    """Carriers that neither bursts nor the signal of interest reach."""
    low, high = (np.round(np.array(band) * FFT_SIZE) + (-_BESIDE, _BESIDE)).astype(int)
    return _IDLE[(_IDLE < low) | (_IDLE > high)]


def _transmissions(y: Any, rest: Any, slots: list[Slot], near: np.ndarray) -> list[_Part]:
    """Slots that follow each other closely, as _Parts; rest: see _carrier_offset."""
    bursts: list[list[Slot]] = []
    for slot in slots:
        if bursts and bursts[-1][-1].end == slot.start:
            bursts[-1].append(slot)
        else:
            bursts.append([slot])
    out = []
    for burst in bursts:
        whole = _part(y, rest, burst)
        cuts = [0, *_cuts(whole, near), len(burst)]
        out += [whole] if len(cuts) == 2 else [_part(y, rest, burst[a:b]) for a, b in itertools.pairwise(cuts)]
    return out


def _carrier_offset(rest: np.ndarray, slots: list[Slot]) -> float:
    """Of a burst, cycles per sample, from its prefixes; rest: the window without the signal of interest's band."""
    ends = np.array([(slot.start + _EARLY, slot.start + slot.prefix) for slot in slots]).clip(0, max(len(rest) - FFT_SIZE, 0))
    low, high = int(ends.min()), int(ends.max())
    total = np.zeros(high - low + 1, complex)
    np.cumsum(rest[low:high].conj() * rest[low + FFT_SIZE:high + FFT_SIZE], out=total[1:])
    return float(np.angle((total[ends[:, 1] - low] - total[ends[:, 0] - low]).sum())) / (2 * np.pi * FFT_SIZE)


def thermal_noise(y: np.ndarray, found: list[Frame], band: tuple[float, float]) -> float:
    """Noise of one window, complex [samples], per complex sample: by how prefixes differ from their copies in the Frames found,
    and by what is between them, the median of all places; seen outside the SOI's band and taken to be white. Errs upwards: the
    filter lets the symbols on either side into a prefix, about 20 dB below the bursts. What this model misses of recordings is of
    that size too: with a figure true to synthetic windows they lost a twelfth of their bits at -10 dB."""
    x, free = without(y, band), np.ones(len(y), bool)
    for frame in found:
        free[max(frame.start - _GUARD, 0):max(frame.end + _GUARD, 0)] = False
    seen = _unlike(x, [frame for frame in found if frame.alphabet])
    idle = abs(x[free]) ** 2
    seen += list(idle[:len(idle) // _GUARD * _GUARD].reshape(-1, _GUARD).mean(1))
    return float(np.median(seen)) / (1 - band[1] + band[0]) if seen else 0.0


def _unlike(x: Array, found: list[Frame]) -> list[float]:
    """By how much the prefixes of Frames in x, complex [samples], differ from their copies, power per sample."""
    if not found:
        return []
    start, prefix, offset = (np.array([getattr(frame, name) for frame in found])[:, None] for name in (
        "start", "prefix", "carrier_offset"))
    place = np.arange(_EDGE, max(PREFIXES) - _EDGE)
    n = start + place
    inside = (place < prefix - _EDGE) & (n >= 0) & (n < len(x) - FFT_SIZE)
    n = np.where(inside, n, 0)
    off = abs(x[n] * np.exp(2j * np.pi * offset * FFT_SIZE) - x[(n + FFT_SIZE) % len(x)]) ** 2 / 2
    count = inside.sum(1)
    return list((np.where(inside, off, 0).sum(1) / np.maximum(count, 1))[count > 0])


def _part(y: Array, rest: Array, slots: list[Slot]) -> _Part:
    """Slots that are one transmission's; rest: see _carrier_offset."""
    offset = _carrier_offset(rest, slots)
    first = np.array([slot.end for slot in slots]) - FFT_SIZE - _EARLY
    seen = (first >= 0) & (first + FFT_SIZE <= len(y))
    n = first[seen, None] + np.arange(FFT_SIZE)
    spectra = np.zeros((len(slots), FFT_SIZE), complex)
    spectra[seen] = np.fft.fft(y[n] * np.exp(-2j * np.pi * offset * n)) * _ADVANCED
    return _Part(slots, offset, spectra, seen)


def _cuts(burst: _Part, near: np.ndarray) -> list[int]:
    """The places in a burst where short training comes in its middle: HT frames train anew there."""
    power, inner = _size(burst.spectra[:, CARRIERS % FFT_SIZE]), ~near & LEGACY
    sparse = burst.seen & (power[:, ~SHORT_TRAINING & inner].mean(1) < _SPARSE * power[:, SHORT_TRAINING & inner].mean(1))
    return [int(t) for t in 1 + np.flatnonzero(sparse[1:] & ~sparse[:-1])]
