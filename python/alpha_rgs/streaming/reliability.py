# SPDX-License-Identifier: GPL-3.0-or-later
"""Which windows of a stream are not to be trusted, and whether the gain that the user gave agrees with the samples."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft
import torch

from ..inference.linear_model import dimensions
from ..separators.base import variance_scale
from ..separators.error_shape import log_likelihood
from ..signals.constellations import constellation
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from ..synchronization.levels import NOISE_FLOOR, scattered

SURE = 3.0              # dB that quality must lie above half the alphabet's least distance for symbols to be decided
# dB that quality may lie under what gain and noise promise. Of windows of QPSK, 8PSK, 16QAM and BPSK under OFDM, 802.11, linear
# modulation and LoRa those without a wrong bit lie up to 6 dB under it; wrong carrier offsets under OFDM 14 dB and more
_BROKEN = 10.0
# noise over the signal's power, at least, that a promise is made of: what joint detection under OFDM allows for; under bursts,
# some carriers of which are not decided, so that the interference limits it
_EXACT, _BURSTS = 3e-3, 0.1
_CANCELLING = ("joint", "alpha_rgs")            # methods after which noise alone is left, if they succeed
LEAST = 6.0             # dB of quality below which symbols of other kinds are not to be trusted: that of QPSK
_GAIN, _DOUBTFUL = 1.0, 6.0     # dB that a given gain may be wrong; where symbols are not believed, which follow what is there
_SIGMAS = 3.0           # standard deviations beyond that
_NAMED = 5              # stretches of samples that a warning names
_BLOCK = 128            # samples, whose contributions err independently
# points of an alphabet and decisions expected of each, at least, of which is asked how many are used; share of the expected from
# which a point is used; share of used points up to which an alphabet is doubted
_POINTS, _EXPECTED, _USED, _PART = 8, 12.0, 0.1, 0.75
_COMMON = ("qpsk", "8psk", "16qam", "64qam")    # alphabets that symbols may be of instead
# log likelihood, of all symbols and for each, by which they must fit better; symbols that are asked, at most
_SURELY, _EACH, _ASKED = 30.0, 0.05, 4096
# power of real symbols' quadrature part over that of the in-phase part, and over its scatter, from which it is no noise (of BPSK,
# beside unlisted signals too, the latter is 0.7 to 1.2); symbols, at least; scatter that wrong decisions hide a part of
_ACROSS, _OVER, _ENOUGH, _FOLDED = 0.1, 2.0, 128, 0.2
_FEW = 0.01             # told share of wrong bits below which a window is trusted whatever its quality
NONE = 1e-3             # and one that leaves much, its symbols being confirmed
# share of symbols' power in one line from which they are a carrier: of 128 random ones it is 0.05, of a carrier taken for BPSK
# 0.87; symbols of a window that are asked, at least
_LINE, _RANDOM = 0.5, 32
# windows nearest to one, all of which are not to be trusted, beside which it is not either; told share of wrong bits from which
_NEAREST, _DOUBTED = 4, 0.005
# cycles over a window by which carrier offsets that agree lie off their median, at most: those of right windows lie up to 0.05
# off, of wrong ones some a quarter and more; share of the windows, and windows, at least, that agree; windows, evenly spread,
# at most, that say how most of them scatter
_STEADY, _MOST, _AGREEING, _LOOKED = 0.06, 0.9, 4, 32
# of half the occupied band: from where noise is measured beside it; cycles per sample, as far at least; bins that say enough
_EDGE, _ROOM, _BINS = 1.1, 0.05, 20


def least_quality(soi: Any, of_qpsk: bool = False) -> float:
    """dB of quality below which symbols are not to be trusted: of a linear modulation by its alphabet. of_qpsk: whether quality
    is that of QPSK symbols of the same error rate (Estimate.quality), whatever the alphabet."""
    if soi.structure is not Structure.CHAIN or of_qpsk:
        return LEAST
    return SURE - 10 * math.log10(soi.signal.alphabet.least_distance ** 2 / 4)


def spans(count: int, window: int, hop: int, samples: int) -> np.ndarray:
    """[first sample, one past the last] of what a stream takes of each window: int [count, 2]."""
    low = np.arange(count) * hop + (window - hop) // 2
    high = low + hop
    low[0], high[-1] = 0, samples
    return np.stack([low, high], 1)


def promised(soi: LinearModulation, interference: Source, method: str, gain: float | np.ndarray, noise_var: Any) -> np.ndarray:
    """The quality, dB [windows], that gain and noise promise: the SINR of the symbols, were noise alone left; -inf where
    interference limits it: methods that subtract none, interference whose waveform is not decided, echoes; and where none is
    needed, since the interference hides nothing."""
    limited = (method not in _CANCELLING or not interference.decided or interference.learned or soi.signal.channel
               or soi.channel_length or not interference.hides)
    if limited:
        return np.full(np.shape(noise_var), -np.inf)
    floors = {Structure.FRAMES: _EXACT if method == "joint" else NOISE_FLOOR, Structure.BURSTS: _BURSTS}
    floor = floors.get(interference.structure, NOISE_FLOOR)
    power = np.broadcast_to(np.asarray(gain, float) ** 2, np.shape(noise_var))
    noise = np.maximum(np.divide(noise_var, power, out=np.full(np.shape(noise_var), np.inf), where=power > 0), floor)
    return 10 * np.log10(soi.signal.samples_per_symbol / noise)


def noise_beside(left: np.ndarray, own: np.ndarray, where: np.ndarray, soi: Any) -> np.ndarray:
    """The noise about a linear modulation's band, variance per sample [windows]: as strong as what is left there; 0 where the
    recording has no room to both sides of the band: a signal found at a wrong carrier offset shows to one side.

    A receiver's filter leaves less noise elsewhere, so that the mixture's quietest part says too little. left: what all sources
    leave, own: the signal's waveform, complex [samples]; where: see spans."""
    edge = _EDGE * (1 + soi.signal.rolloff) / 2 / soi.signal.samples_per_symbol
    out = np.zeros(len(where))
    lengths = np.unique(where[:, 1] - where[:, 0])
    bins = {int(n): np.fft.fftfreq(n) for n in lengths}
    tapers = {n: (np.hanning(n).astype(np.float32), f, np.exp(2j * np.pi * f)) for n, f in bins.items()}
    for k, (low, high) in enumerate(where.tolist()):
        window, f, ramp = tapers[high - low]
        scale = float(np.mean(window ** 2)) * (high - low)
        rest, wave = (scipy.fft.fft(x[low:high] * window) for x in (left, own))
        rest, wave = ((part.real ** 2 + part.imag ** 2) / scale for part in (rest, wave))
        centre = np.angle(wave @ ramp) / (2 * np.pi)
        apart = (f - centre + 0.5) % 1 - 0.5
        sides = [rest[(side * apart > edge) & (side * apart < edge + max(edge, _ROOM))] for side in (-1, 1)]
        if min(map(len, sides)) >= _BINS:
            out[k] = min(np.mean(side) for side in sides)
    return out


def unreliable_windows(sources: list[Source], method: str, quality: np.ndarray, error_rate: np.ndarray,
                       gain: float | np.ndarray, noise_var: Any, of_qpsk: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """As untrusted, of any sources; only of a linear modulation beside one other source a quality is promised. error_rate: what
    is told of each window, [windows]: symbols that err much, but never by enough, are to be trusted. of_qpsk: see
    least_quality."""
    first = sources[0]
    if first.structure is not Structure.CHAIN or of_qpsk or len(sources) > 2:
        return ~(quality > least_quality(first, of_qpsk)), np.zeros(len(quality), bool)
    bad, broken = untrusted(first, sources[1], method, quality, gain, noise_var)
    return bad & (broken | ~(error_rate < _FEW)), broken


def untrusted(soi: Any, interference: Source, method: str, quality: np.ndarray, gain: float | np.ndarray,
              noise_var: Any) -> tuple[np.ndarray, np.ndarray]:
    """(which windows are not to be trusted, bool [windows]; which of them for a broken promise alone)."""
    low = ~(quality > least_quality(soi))           # NaN too
    broken = ~low & (quality < promised(soi, interference, method, gain, noise_var) - _BROKEN)
    return low | broken, broken


def confirmed(sources: Sequence[Source], symbols: Sequence[np.ndarray], carrier_offset: np.ndarray | None, window: int,
              asked: np.ndarray) -> np.ndarray:
    """Which of the windows `asked` are right for all that a stream shows, bool [windows], whatever is doubted of each by itself:
    that its carrier offset was found wrongly, or its symbols bent to the other source. Nearly all windows have found the same
    carrier offset, and symbols scatter so little about the alphabet that under _FEW of the bits are wrong, in most windows and in
    these. symbols: complex [n] of each; carrier_offset: of the signal of interest, cycles per sample, of each window but a short
    last one, None where it was not looked for; window: samples.

    Only of two sources that are always on: beside bursts, wrong symbols scatter little."""
    none = np.zeros(len(symbols), bool)
    if carrier_offset is None or len(sources) > 2 or any(source.repeats is None for source in sources) or not asked.any():
        return none
    found = carrier_offset[np.isfinite(carrier_offset)]
    near = abs(carrier_offset - (np.median(found) if len(found) else 0.0)) * window < _STEADY
    if near.sum() < max(_AGREEING, _MOST * len(near)):
        return none
    some = np.linspace(0, len(symbols) - 1, min(len(symbols), _LOOKED)).astype(int)
    few = none.copy()
    for k in {*some.tolist(), *np.flatnonzero(asked).tolist()}:
        few[k] = wrong_by_scatter(sources[0], symbols[k]) < _FEW
    right = asked & few & np.pad(near, (0, max(0, len(few) - len(near))), "edge")
    return right if 2 * few[some].sum() > len(some) else none


def wrong_by_scatter(soi: Any, symbols: np.ndarray) -> float:
    """The share of wrong bits that the scatter of soft symbols, complex [n], about the alphabet expects; a half of none, or of
    some of which nothing is known."""
    if len(symbols) < _RANDOM or not np.isfinite(symbols).all() or not symbols.all():
        return 0.5
    alphabet, seen = soi.signal.alphabet, torch.from_numpy(symbols.astype(np.complex64))[None]
    scatter = (seen[..., None] - alphabet.points).abs().square().amin(-1).mean(1, keepdim=True).clamp_min(1e-6)
    var = scatter * variance_scale(alphabet, seen, scatter.expand(seen.shape))[:, None]
    return float(torch.sigmoid(-alphabet.llrs(seen, var).abs()).mean())


def broken_warnings(broken: np.ndarray) -> list[str]:
    """Sentences, none or one, on windows that broke their promise, bool [windows]."""
    count = int(np.sum(broken))
    return [f"in {count} of {len(broken)} windows quality lies more than {_BROKEN:g} dB below what gain and noise promise: "
            "timing, carrier offset or the files may be wrong"] if count else []


def strange_warnings(strange: np.ndarray) -> list[str]:
    """Sentences, none or one, on windows that are unlike those about them, bool [windows]; see lock.py."""
    count = int(np.sum(strange))
    return [f"in {count} of {len(strange)} windows the sources leave much more than in the others: samples may be missing there, "
            "or a source comes, goes or changes"] if count else []


def among_bad(bad: np.ndarray, error_rate: np.ndarray) -> np.ndarray:
    """Which windows are not to be trusted for those about them, bool [windows]: what was found of the sources is much the same in
    neighbours, and a window that errs as they do may look a little better. bad: which are not, error_rate: told, [windows]."""
    out = np.zeros(len(bad), bool)
    for k in np.flatnonzero(~bad & (error_rate > _DOUBTED)):
        low = min(max(0, k - _NEAREST // 2), max(0, len(bad) - _NEAREST - 1))
        near = np.delete(bad[low:low + _NEAREST + 1], k - low)
        out[k] = len(near) == _NEAREST and near.all()
    return out


def carriers_taken(sources: Sequence[Source], symbols: Sequence[np.ndarray]) -> np.ndarray:
    """Which windows' symbols, complex [n] of each, repeat as a carrier's would, where the others are carriers or the signal's own
    carrier was looked for: one of these, or one that is not listed, may have been taken for the signal. bool [windows]."""
    found = np.zeros(len(symbols), bool)
    if all(source.hides for source in sources[1:]) and "carrier_offset" not in sources[0].unknown:
        return found
    for k, own in enumerate(symbols):
        if len(own) >= _RANDOM and (power := float(np.sum(abs(own) ** 2))) > 0:
            found[k] = np.max(abs(np.fft.fft(own, 4 * len(own))) ** 2) > _LINE * len(own) * power
    return found


def carrier_warnings(taken: np.ndarray) -> list[str]:
    """Sentences, none or one, on windows of carriers_taken, bool [windows]."""
    count = int(np.sum(taken))
    return [f"in {count} of {len(taken)} windows the symbols repeat as a carrier's would: a carrier may have been taken for the "
            "signal of interest; is one there that is not listed, or are there more than count says?"] if count else []


def alphabet_warnings(soi: Any, symbols: np.ndarray) -> list[str]:
    """Sentences, none or one, on soft symbols, complex [n], that another alphabet fits: one of which the told one's points are a
    part (16QAM taken for QPSK), or a part of the told one, of which decisions use no other points (the middle ring of 16QAM is
    nearly 8PSK, turned). Alphabets of few points are used in part by idle patterns too."""
    if soi.structure is not Structure.CHAIN:
        return []
    alphabet, symbols = soi.signal.alphabet, symbols[symbols != 0]     # of windows that say nothing they are 0
    if _across(alphabet, symbols):
        return [f"the symbols have a quadrature part, which those of {alphabet.name} have not, and which noise does not explain: "
                "the constellation may be another one"]
    if other := _fitting_better(alphabet, symbols):
        return [f"the symbols are much likelier those of {other} than of {alphabet.name}: the constellation may be another one"]
    expected = len(symbols) / len(alphabet.points)
    if len(alphabet.points) < _POINTS or expected < _EXPECTED:
        return []
    points = alphabet.points.numpy()
    used = np.bincount(abs(symbols[:, None] - points).argmin(1), minlength=len(points)) > _USED * expected
    return [f"the decided symbols use only {used.sum()} of the {len(points)} points of {alphabet.name}: the constellation may be "
            "another one"] if used.mean() <= _PART else []


def _across(alphabet: Any, symbols: np.ndarray) -> bool:
    """Whether soft symbols of a real alphabet err far more in quadrature than in phase."""
    if dimensions(alphabet) != 1 or len(symbols) < _ENOUGH or not np.isfinite(symbols).all():
        return False
    scatter = np.mean(abs(symbols.real[:, None] - alphabet.points.numpy().real).min(1) ** 2)
    across, power = np.mean(symbols.imag ** 2), np.mean(symbols.real ** 2)
    return bool(scatter < _FOLDED * power and across > _ACROSS * power and across > _OVER * scatter)


def _fitting_better(alphabet: Any, symbols: np.ndarray) -> str | None:
    """The alphabet of more points than `alphabet` that fits soft symbols far better, whatever the shape of errors; or None."""
    seen = torch.from_numpy(np.asarray(symbols[:_ASKED], np.complex64))
    if len(seen) < _EXPECTED * 4 or not np.isfinite(symbols).all():
        return None
    least = log_likelihood(alphabet, seen) + max(_SURELY, _EACH * len(seen))
    others: list[Any] = [constellation(name) for name in _COMMON]
    others = [other for other in others if len(other.points) > len(alphabet.points)]
    return next((other.name for other in others if log_likelihood(other, seen, False) > least), None)


def lost_warnings(bad: np.ndarray) -> list[str]:
    """Sentences, none or one, on samples that cost their windows, bool [samples]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]))).reshape(-1, 2).tolist()
    named = [f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in edges[:_NAMED]]
    more = f" and {len(edges) - _NAMED} more stretches" if len(edges) > _NAMED else ""
    return [f"sample{'s' * (int(bad.sum()) > 1)} {', '.join(named)}{more}: NaN, infinite or beyond all others; the windows that "
            "hold them are not separated"] if edges else []


def merged(bad: np.ndarray, where: np.ndarray) -> list[list[int]]:
    """Stretches of windows that are `bad`, neighbours as one: [[first sample, one past the last]]."""
    out: list[list[int]] = []
    for low, high in where[bad].tolist():
        if out and out[-1][1] >= low:
            out[-1][1] = high
        else:
            out.append([low, high])
    return out


def gain_warnings(samples: np.ndarray, soi_out: np.ndarray, soi: LinearModulation, method: str, quality: np.ndarray,
                  where: np.ndarray) -> list[str]:
    """Sentences, none or one: whether a given gain contradicts the samples. soi_out: the separated signal of interest, of that
    gain, complex [samples]; where: see spans.

    The samples' regression on it is the received gain over the given one. Wrong decisions make that too small, or, where they
    follow the interference, too large: where symbols are not believed it must be far off."""
    if soi.gain is None or method not in _CANCELLING:
        return []
    given, power = float(np.mean(np.asarray(soi.gain, float))), float(np.mean(abs(samples.astype(complex)) ** 2))
    good = quality > least_quality(soi)
    ratio = _regression(samples, soi_out, where[good]) if good.any() else None
    margin, low = _GAIN, True
    if ratio is None:
        ratio, margin, low = _regression(samples, soi_out, where), _DOUBTFUL, False
    if ratio is not None and ratio[0] > 0:
        value, error = ratio
        beyond = abs(20 * math.log10(value)) > margin and abs(value - 10 ** (math.copysign(margin, value - 1) / 20)) > (
            _SIGMAS * error)
        if beyond and (low or value > 1):
            return [f"gain: the file says {given:.4g}, but the signal of interest is received with about {given * value:.3g} "
                    f"({20 * math.log10(value):+.1f} dB); SIR and noise are reported wrongly: correct it, or leave it out"]
    if power > 0 and 10 * math.log10(power / given ** 2) < -_GAIN:
        return [f"gain: the file says {given:.4g}, but the whole recording has an amplitude of {math.sqrt(power):.3g} only; SIR "
                "and noise are reported wrongly: correct it, or leave it out"]
    return []


def _regression(samples: np.ndarray, soi_out: np.ndarray, where: np.ndarray) -> Any:
    """(real amplitude of soi_out in samples over the stretches `where`, its standard deviation), or None."""
    rows = np.concatenate([np.arange(low, high) for low, high in where])
    rows = rows[:len(rows) // _BLOCK * _BLOCK]
    if len(rows) < 4 * _BLOCK:
        return None
    own, seen = soi_out[rows].astype(complex), samples[rows].astype(complex)
    terms = np.stack([(own.conj() * seen).real, abs(own) ** 2]).reshape(2, 1, -1, _BLOCK).sum(3)
    if not terms[1].sum() > 0:
        return None
    level, error = scattered(*terms)
    return float(level[0]), float(error[0])
