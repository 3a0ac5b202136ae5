# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample rate at which sources are separated, and the way there and back.

Frames of OFDM and chirps lie on a grid of samples: their rate must divide the sample rate. Other sources have any number of
samples per symbol. So the sources that need a grid choose the rate, and where none does, the recording's own is kept unless it is
many times what the sources take.
"""
from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import signal

from ..errors import ParameterError
from ..sources.base import Source, Structure
from ..sources.description import Description
from ..sources.spectrum import occupied
from ..sources.toml import described
from .polyphase import reach, section

if TYPE_CHECKING:
    from .stream import StreamResult

_MARGIN = 1.1           # of the sources' bands, that the sample rate leaves for the filter's transition
_SPARSE = 2.5           # times the rate that is needed, from which a recording is decimated
_MOST = 64              # samples per symbol inside: more cost time and say nothing new
_STEPS = 20_000         # in the ratio of two rates: an error of 1e-9, a hundredth of a sample in ten million
_FLOOR = 0.1            # share of the recording's spectrum that is taken for nothing but noise
_SEGMENT = 512          # samples of a periodogram by which that is seen
# nuisances in samples, and in cycles per sample, as results name them
_TIMES, _FREQUENCIES = ("timing", "frame_offset", "period_offset", "delay"), ("carrier_offset",)


@dataclass(frozen=True)
class Plan:
    """sources: in samples of the rate inside, which is the recording's times up/down. recorded: the recording's, Hz. warnings:
    sentences."""

    sources: list[Source]
    recorded: float
    up: int = 1
    down: int = 1
    warnings: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The rate inside over the recording's."""
        return self.up / self.down

    @property
    def inside(self) -> float:
        """The rate inside, Hz."""
        return self.recorded * self.ratio

    def carrier_reach(self, source: Source) -> float | None:
        """Hz to each side, within which the carrier offset of one of the sources is looked for; None where it is not."""
        looked_for = source.structure is Structure.CHAIN or "carrier_offset" in source.synchronizes
        return source.carrier_reach * self.inside if looked_for and "carrier_offset" in source.unknown else None


def plan(sources: Sequence[Source | Description], sample_rate: float | None) -> Plan:
    """What rate suits all sources, Hz. Raises ParameterError where there is none, or where a source is not in the recording."""
    given = [source for source in sources if isinstance(source, Description)]
    if not given:
        return Plan([source for source in sources if isinstance(source, Source)], sample_rate or 1.0)
    if sample_rate is None:
        raise ParameterError(f"{given[0].name}: gives rates in Hz; give the samples' rate too (sample_rate)")
    for source in given:
        _check(source, sample_rate)
    in_hertz = [source if isinstance(source, Description) else described(source, sample_rate) for source in sources]
    bands = [_band(own or source, sample_rate) for source, own in zip(sources, in_hertz)]
    rate = _rate(in_hertz, bands, sample_rate)
    ratio = Fraction(rate / sample_rate).limit_denominator(_STEPS)
    up, down = (1, 1) if abs(float(ratio) - 1) < 1 / _STEPS else (ratio.numerator, ratio.denominator)
    inside = sample_rate * up / down
    moved: list[Any] = [source if own is None or (up == down and isinstance(source, Source)) else own.at_rate(inside, sample_rate)
             for source, own in zip(sources, in_hertz)]
    return Plan(moved, sample_rate, up, down, [*_beyond(sources, bands, sample_rate), *_apart(sources, bands)])


def _check(source: Description, sample_rate: float) -> None:
    """Raise ParameterError where a source cannot be in a recording of that rate."""
    if abs(source.centre) > sample_rate / 2:
        raise ParameterError(f"{source.name}: carrier_frequency: {source.centre:g} Hz lies outside the recording, ±"
                             f"{sample_rate / 2:g} Hz")
    if source.symbol_rate is not None and source.symbol_rate > sample_rate and source.grid_rate is None:
        source.at_rate(sample_rate)         # names the key


def _band(source: Source | Description, sample_rate: float) -> tuple[float, float]:
    """(low, high) Hz; NaN where it is not known."""
    if isinstance(source, Description):
        low, high = source.band()
        if math.isnan(low):
            return _band(source.at_rate(sample_rate), sample_rate)
        return low, high
    still = source.with_state(carrier_offset=0.0) if source.state_names.get("carrier_offset") in source.unknown else source
    low, high = occupied(still)
    return low * sample_rate, high * sample_rate


def named(source: Any) -> str:
    """What messages call a source: its file, or its kind."""
    return source.name if isinstance(source, Description) else source.kind


def _beyond(sources: Sequence[Any], bands: Sequence[tuple[float, float]], sample_rate: float) -> list[str]:
    """Sentences on sources of which the samples hold a part only."""
    edge, ends = sample_rate / 2 * (1 + 1e-6), f"±{sample_rate / 2:.6g} Hz"
    return [f"{named(source)}: its band, {low:.6g} to {high:.6g} Hz, reaches beyond {ends}, which the samples hold: what lies "
            "outside is missing" for source, (low, high) in zip(sources, bands) if low < -edge or high > edge]


def shifted_bands(sources: Sequence[Source | Description], sample_rate: float, shift: float) -> list[str]:
    """Of sources in a stream whose centre frequency lies `shift` Hz above that to which their carriers refer: sentences on those
    of which a part is outside. Raises ParameterError for one whose band's middle is."""
    bands = [(low - shift, high - shift) for low, high in (_band(source, sample_rate) for source in sources)]
    for source, (low, high) in zip(sources, bands):
        if abs(low + high) > sample_rate:
            raise ParameterError(f"center_freq: {named(source)}: its band, {low:.6g} to {high:.6g} Hz from the centre frequency, "
                                 f"lies outside the stream, ±{sample_rate / 2:.6g} Hz")
    return _beyond(sources, bands, sample_rate)


def _apart(sources: Sequence[Any], bands: Sequence[tuple[float, float]]) -> list[str]:
    """Sentences on sources whose bands do not overlap any other's."""
    out = []
    for k, (low, high) in enumerate(bands):
        others = [band for j, band in enumerate(bands) if j != k and not math.isnan(band[0])]
        if others and all(high < begin or end < low for begin, end in others):
            out.append(f"{named(sources[k])}: its band, {low:.6g} to {high:.6g} Hz, overlaps with no other source's: a filter "
                       "separates it")
    return out


def _rate(sources: Sequence[Description | None], bands: Sequence[tuple[float, float]], recorded: float) -> float:
    """The sample rate, Hz. sources: None of one that knows the recording's rate alone."""
    edge = max((max(abs(low), abs(high)) for low, high in bands if not math.isnan(low)), default=recorded / 2)
    need = min(recorded, 2 * _MARGIN * edge)
    known = [source for source in sources if source is not None]
    need = max([need, *(source.source.least_period * source.symbol_rate for source in known if source.symbol_rate)])
    grids = [source.grid_rate for source in known if source.grid_rate is not None]
    if len(known) < len(sources):
        return recorded
    if not grids:
        rates = [source.symbol_rate for source in known if source.symbol_rate]
        if not rates or recorded <= _SPARSE * need and recorded <= _MOST * min(rates):
            return recorded
        return _checked(min(rates[0] * max(math.ceil(need / rates[0] - 1e-9), 2), recorded), known)
    base = grids[0]
    for other in grids[1:]:
        base = Fraction(math.lcm(base.numerator * other.denominator, other.numerator * base.denominator),
                        base.denominator * other.denominator)
    whole = recorded / float(base)
    if abs(whole - round(whole)) < 1e-6 * whole and recorded <= _SPARSE * need:
        return _checked(recorded, known)
    return _checked(float(base) * max(math.ceil(need / float(base) - 1e-9), 1), known)


def _checked(rate: float, sources: Sequence[Description]) -> float:
    """The rate. Raises ParameterError where it gives a source too many samples per symbol."""
    for source in sources:
        if source.symbol_rate and rate > _MOST * source.symbol_rate:
            others = ", ".join(f"{other.symbol_rate:.9g}" for other in sources if other is not source and other.symbol_rate)
            raise ParameterError(f"{source.name}: at {rate:.9g} Hz, which the other sources need ({others}), its "
                                 f"{source.symbol_rate:.9g} Bd are {rate / source.symbol_rate:.3g} samples per symbol, more than "
                                 f"{_MOST}; decimate the recording about it, or separate it from fewer sources")
    return rate


# ---- samples ---------------------------------------------------------------------------------------------------------------

def resampled(samples: np.ndarray, up: int, down: int, length: int | None = None) -> np.ndarray:
    """Samples [n] at up/down times their rate, complex64; sample k of the result lies on sample k·down/up. length: as many, cut
    or filled with zeros."""
    if up == down:
        return samples
    whole = -(-len(samples) * up // down)
    out = section(samples, up, down, 0, 0, whole if length is None else min(whole, length))
    return out if length is None else np.pad(out, (0, length - len(out)))


def inside(samples: np.ndarray, to: Plan) -> np.ndarray:
    """The recording at the rate inside. Where that is the higher one, noise of the recording's own level fills the band that the
    recording does not hold: an empty band would pass for a receiver without noise."""
    out = resampled(samples, to.up, to.down)
    return out if to.up <= to.down else out + filling(noise_density(samples), to, len(out), 0)


def touched(bad: np.ndarray, to: Plan) -> np.ndarray | None:
    """Which samples at the rate inside hold something of samples of the recording that are bad, bool [samples]; None where none
    is."""
    if not bad.any() or to.up == to.down:
        return bad if bad.any() else None
    out, wide = np.zeros(-(-len(bad) * to.up // to.down), bool), reach(to.up, to.down)      # of the filter, in 1/up samples
    for place in np.flatnonzero(bad).tolist():
        out[max(0, (place * to.up - wide) // to.down):(place * to.up + wide) // to.down + 1] = True
    return out


def noise_density(samples: np.ndarray) -> float:
    """Of samples [n]: the power density of what is nothing but noise, variance per complex sample."""
    _, density = signal.welch(samples, nperseg=min(_SEGMENT, len(samples)), return_onesided=False)
    return float(np.quantile(density, _FLOOR))


def filling(density: float, to: Plan, count: int, seed: int) -> np.ndarray:
    """Noise of that density at the rate inside, complex64 [count], in the band that the recording does not hold."""
    rng, edge = np.random.default_rng(seed), -(-2 * reach(to.up, to.down) // to.down)
    noise = rng.standard_normal((2, count + 2 * edge)) * np.sqrt(density * to.ratio / 2)
    noise = (noise[0] + 1j * noise[1]).astype(np.complex64)
    held = resampled(resampled(noise, to.down, to.up), to.up, to.down, len(noise))
    return np.asarray((noise - held)[edge:edge + count])


def restored(result: StreamResult, samples: np.ndarray, to: Plan) -> StreamResult:
    """The result at the recording's rate: waveforms sample for sample, times in its samples."""
    result = replace(result, warnings=[*to.warnings, *result.warnings])
    if to.up == to.down:
        return result
    n = len(samples)
    waves = [resampled(source.waveform, to.down, to.up, n) for source in result.sources]
    total = sum(waves)
    sources = [replace(source, waveform=wave, cleaned=samples - (total - wave), at=_times(source.at, 1 / to.ratio),
                       carrier_offset=_times(source.carrier_offset, to.ratio)) for source, wave in zip(result.sources, waves)]
    spans = [[min(round(low / to.ratio), n), min(round(high / to.ratio), n)] for low, high in result.unreliable]
    if spans and result.unreliable[-1][1] >= math.floor(n * to.ratio):
        spans[-1][1] = n
    return replace(result, sources=sources, soi=waves[0], interference=np.asarray(total - waves[0]),
                   window=round(result.window / to.ratio), hop=round(result.hop / to.ratio), unreliable=spans,
                   noise_var=result.noise_var / min(to.ratio, 1.0), estimated=in_samples(result.estimated, to.ratio))


def _times(values: np.ndarray | None, factor: float) -> np.ndarray | None:
    return None if values is None else values * factor


def in_samples(estimated: dict[str, Any], ratio: float) -> dict[str, Any]:
    """Nuisances in samples of the recording: name -> array."""
    out = {}
    for name, value in estimated.items():
        own = re.sub(r"_\d+$", "", name.removesuffix("_std").removeprefix("interference_"))
        out[name] = value / ratio if own in _TIMES else value * ratio if own in _FREQUENCIES else value
        if own == "noise_var":
            out[name] = value / min(ratio, 1.0)
    return out
