# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbol rates that are not what a file says, seen in a whole recording, and the recording separated once more with the true one.

A window of a hundred symbols bears some hundred ppm. A file may be wrong by more: a rounded rate, a receiver whose sample rate is
not what it claims. What the other sources leave of the mixture shows the rate: the power of a linear modulation has a line at it
(Gardner, 1986; Oerder and Meyr, 1988).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..sources.base import Source
from ..sources.spectrum import occupied

if TYPE_CHECKING:
    from .stream import StreamResult

_REACH = 0.01           # of the rate, to each side, within which it is looked for
_STEPS = 4              # frequencies per resolved one
_CLEAR = 14.0           # times the level about it, which a line must have: exp(-14) by chance, of 100 frequencies once in 10 000
_FEWEST = 300           # symbols that a recording must hold
_HARMLESS = 2e-4        # of the rate: a window of 160 symbols drifts by 1/30 of a symbol
_DRIFT = 0.5            # symbols over the whole recording, below which the rate is not known to be another one


def deviation(wave: np.ndarray, source: Source, carrier_offset: float = 0.0) -> float | None:
    """By how much of itself the symbol rate of a source is higher than its description says, seen in a waveform, complex
    [samples], that holds it and noise; None where no line stands out. carrier_offset: cycles per sample."""
    period = source.symbol_period
    if not period or len(wave) < _FEWEST * period:
        return None
    low, high = occupied(source.with_state(carrier_offset=carrier_offset))
    spectrum, frequency = np.fft.fft(wave.astype(complex)), np.fft.fftfreq(len(wave))
    power = abs(np.fft.ifft(np.where((frequency >= low) & (frequency <= high), spectrum, 0))) ** 2
    size = len(wave)
    reach = math.ceil(_REACH * _STEPS * size / period)
    offsets = np.arange(-reach, reach + 1) / (_STEPS * size)
    # one transform of the power, moved so that the rate comes to lie at 0, summed over short stretches: the line is near 0 there
    short = max(1, int(period / (8 * _REACH)))
    count = size // short
    moved = (power - power.mean()) * np.exp(-2j * np.pi * np.arange(size) / period)
    sums = moved[:count * short].reshape(count, short).sum(1)
    centre = (np.arange(count) + 0.5) * short
    line = abs(np.exp(-2j * np.pi * np.outer(offsets, centre)) @ sums) ** 2
    best = int(line.argmax())
    if not 0 < best < 2 * reach or line[best] < _CLEAR * np.median(line) / math.log(2):
        return None
    if _with_a_gap(sums) > line[best] / count:      # half a symbol that is missing looks like a rate that is a little off
        return 0.0
    bend = line[best - 1] + line[best + 1] - 2 * line[best]
    step = (line[best - 1] - line[best + 1]) / (2 * bend) if bend else 0.0
    return float((offsets[best] + step / (_STEPS * size)) * period)


def _with_a_gap(sums: np.ndarray) -> float:
    """The power that a line at 0 explains of numbers, complex [n], if its phase may change once: where samples are missing."""
    before, at = np.cumsum(sums)[:-1], np.arange(1, len(sums))
    return float(np.max(abs(before) ** 2 / at + abs(sums.sum() - before) ** 2 / (len(sums) - at)))


def at_true_rates(result: StreamResult, sources: Sequence[Source], again: Callable[[list[Source]], StreamResult]) -> StreamResult:
    """A StreamResult, or that of the recording separated once more with the symbol rates that it shows, where these differ from
    those of `sources` and quality is better then. again(sources) separates."""
    if len(result.sources) != len(sources):
        return result
    found = {}
    for k, (source, seen) in enumerate(zip(sources, result.sources)):
        offset = source.state.carrier_offset if seen.carrier_offset is None else np.nanmedian(seen.carrier_offset)
        more = deviation(seen.cleaned, source, float(np.mean(np.asarray(0.0 if offset is None else offset))))
        if more is not None and abs(more) > max(_HARMLESS, _DRIFT * source.symbol_period / len(seen.cleaned)):
            found[k] = more
    moved: list[Any] = [source.with_symbol_period(source.symbol_period / (1 + found[k])) if k in found else source
                        for k, source in enumerate(sources)]
    found = {k: more for k, more in found.items() if moved[k] is not sources[k]}
    if not found:
        return result
    other = again(moved)
    if _quality(other, found) <= _quality(result, found):
        return result
    said = [f"{sources[k].kind}: symbol rate: the recording's is {1e6 * more:+.0f} ppm off what the file says; separated with "
            f"{moved[k].symbol_period:.6g} samples per symbol instead of {sources[k].symbol_period:.6g}"
            for k, more in found.items()]
    clock = other.clock_offset
    return replace(other, warnings=[*said, *other.warnings], seconds=result.seconds + other.seconds,
                   clock_offset=clock if 0 not in found else 1e6 * found[0] + (clock or 0.0))


def _quality(result: StreamResult, which: dict[int, float]) -> float:
    """The mean quality of these sources, dB."""
    return float(np.mean([np.nanmean(cast(Any, result.sources[k].quality)) for k in which]))
