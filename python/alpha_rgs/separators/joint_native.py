# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection by the native detector, where it knows the sources' structure; joint.py is its reference.

In single precision, stretches of the mixture side by side in the lanes of vectors: clean carriers are decided by one filter and
subtracted, some passes of expectation propagation decide the rest, and frames in which too much energy is left are searched
(native/src). In frames that a window cuts, expectation propagation decides all carriers.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import native
from ..inference.detector_job import Plan, Windows, plan
from ..inference.detector_tables import DetectorTables, Levels
from ..signals.carrier import column
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import BELIEVED, Separation, doubted, expected_near, soft_output, spread_error_probability

Array = np.ndarray[Any, Any]

_NOISE_FLOOR = 3e-3     # as joint's
_PASSES, _DAMPING = 2, 0.7      # frames that more passes would mend are searched anyway
_CUT_PASSES, _CUT_DAMPING = 6, 0.6      # where a window cuts frames, in which no filter decides carriers; as joint's
_UNMENDED = 1.25        # times the energy beyond which a frame is searched: what leaves more after that is wrong
# of a QPSK symbol's power, noise up to which as many bits are wrong as with torch: Es/N0 of 22 dB, at SIR of 0 to -18 dB. In more
# noise there are more, from twice as many at 20 dB to ten times at 12: two passes are too few, and searches find what fits noise
_NOISIEST = 10 ** -2.2
_UNSEEN = 0.01          # of the noise: what windows that share tables may leave more than with their own
_FITS = 0.1             # of the noise floor: what counts as noise where there is none, as detector_tables.py's
_NOISE_STEP = 0.02      # relative, of noise variances that share tables: a fifth of what one frame's energy scatters by
_LONGEST = 640          # samples of a frame: tables grow with their square
_MOST_NEAR = 64         # carriers that are not decided by a filter
_LANES = {"avx512": 16, "avx2": 8}    # of a vector; else 4
SPREAD = 2.0            # of wrong decisions, which bend others and are not seen: measured at -5 … -15 dB, Es/N0 as low as 8 dB
_REACH = 1.5            # frames to either side within which they do: a wrong symbol bends carriers of its frame, they others


@dataclass(frozen=True)
class Detection:
    """What was detected in windows, numpy: symbols complex64 and var float32 [batch, symbols]; soi, interference complex64
    [batch, samples]. doubtful: int [n, 3], stretches in which decisions leave too much, after all searches: window, first
    sample, one past the last. share: of all stretches. counts: stretches searched, frames searched, stretches that changed."""

    symbols: Array
    var: Array
    soi: Array
    interference: Array
    doubtful: Array
    share: float
    counts: list[int]


def suits(soi: LinearModulation, interference: Source) -> bool:
    """Whether the native detector knows what these are. A burst is no stream of frames: torch has it."""
    return (interference.structure is Structure.FRAMES and interference.plain_frames and soi.symbols is None
            and not soi.alphabet_rotation and soi.signal.alphabet.bits_per_symbol <= 6)


def quiet(soi: LinearModulation, noise: float) -> bool:
    """Whether noise, variance per sample relative to the signal's power, is so low that few passes decide as well as many."""
    return noise / soi.signal.samples_per_symbol <= _NOISIEST * soi.signal.alphabet.least_distance ** 2 / 2


def native_joint(y: Tensor, soi: LinearModulation, interference: Any, kappa: Tensor,
                 noise_var: Tensor) -> tuple[Separation, Tensor] | None:
    """(what `joint` returns, rows of windows that fit badly, int64 [n]) of windows y, complex64 [batch, samples], with all
    nuisances known; None where the native detector cannot: it is not there, y is not on the CPU, or the sources have another
    structure. Windows share tables where nobody could tell theirs apart (rounded); others are detected one kind after the
    other. Raises ParameterError where windows hold different numbers of symbols."""
    if y.device.type != "cpu" or native.instructions() is None or not suits(soi, interference) \
            or y.shape[1] < interference.frame_period:
        return None
    count = soi.centred_symbols(y.shape[1])[1]
    nuisances = [np.broadcast_to(column(v, torch.empty(0)).numpy()[:, 0], len(y)).astype(float) for v in (
        soi.timing, soi.phase, interference.frame_offset, interference.phase, kappa, noise_var, soi.gain, soi.carrier_offset,
        interference.carrier_offset)]
    ratio, sent, gain, own, frequency = nuisances[4] / nuisances[6], nuisances[5] / nuisances[6] ** 2, *nuisances[6:]
    kinds, which = np.unique(rounded(ratio, sent, own - frequency, frequency, soi, interference), axis=0, return_inverse=True)
    pairs = [Pair.of(soi, interference, level, noise, 1.0, delta + offset, offset) for level, noise, delta, offset in
             kinds.tolist()]
    if any(pair is None for pair in pairs):
        return None
    parts = []
    for kind, pair in enumerate(pairs):
        rows = np.flatnonzero(which.ravel() == kind)
        assert pair is not None
        exact = Exact(gain[rows], frequency[rows], (own - frequency)[rows])
        part = detect(y.numpy()[rows], pair, [v[rows] for v in nuisances[:4]], count, native.threads_to_use(), exact=exact)
        part.interference[:] *= (ratio[rows, None] / pair.levels.ratio).astype(np.float32)
        parts.append((rows, part))
    order = torch.from_numpy(np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable"))
    soft, var, s, b = (torch.from_numpy(np.concatenate(column))[order] for column in zip(*(
        (part.symbols, part.var, part.soi, part.interference) for _, part in parts)))
    out = soft_output(soi, soft, var, soi=s, interference=b, evaluations=0, kappa=kappa, noise_var=noise_var)
    doubtful = np.unique(np.concatenate([rows[part.doubtful[:, 0]] for rows, part in parts]))
    return spread_error_probability(out, soi, SPREAD, reach(soi, interference)), torch.from_numpy(doubtful)


def rounded(ratio: Array, sent: Array, delta: Array, frequency: Array, soi: LinearModulation, ofdm: Any) -> Array:
    """The values [n] on grids so fine that what tables of rounded ones leave is _UNSEEN times the noise, or what counts as none:
    [n, 4]. Amplitude and noise are in units of the linear modulation's gain; a frame and a pulse are so short that carrier
    offsets turn little within them."""
    sent = np.where(sent > 0, np.exp(np.round(np.log(np.maximum(sent, 1e-30)) / _NOISE_STEP) * _NOISE_STEP), 0.0)
    steps = _steps(ratio, sent, soi, ofdm)

    def on_grid(values: Array, step: Array) -> Array:
        step = 2.0 ** np.floor(np.log2(step))
        return np.asarray(np.round(values / step) * step)

    level = np.maximum(on_grid(ratio, steps[0]), np.minimum(ratio, steps[0] / 4))       # never 0 where there is some
    return np.stack([level, sent, on_grid(delta, steps[1]), on_grid(frequency, steps[2])], 1)


def _steps(ratio: Array, sent: Array, soi: LinearModulation, ofdm: Any) -> tuple[Array, Array, Array]:
    """Of amplitudes, and of carrier offsets between the two and of the frames: what leaves _UNSEEN of the noise, at most."""
    error = np.sqrt(_UNSEEN * np.maximum(sent, _FITS * _NOISE_FLOOR))
    return 2 * error, error / (np.pi * soi.signal.half_length), error / (np.pi * ofdm.frame_period * np.maximum(ratio, 1e-9))


def alike(pair: Pair, ratio: float, sent: float, delta: float, frequency: float, soi: LinearModulation, ofdm: Any) -> bool:
    """Whether tables of a pair leave no more, of what these values say, than twice what `rounded` ones do: streams keep theirs
    while values waver about the edge between two."""
    off = abs(pair.levels.ratio - ratio), abs(pair.delta - delta), abs(pair.frequency - frequency)
    steps = _steps(np.array(ratio), np.array(sent), soi, ofdm)
    noise = abs(math.log(max(pair.levels.sent, 1e-30) / max(sent, 1e-30)))
    return noise <= _NOISE_STEP and all(value <= float(step) for value, step in zip(off, steps))


def reach(soi: LinearModulation, interference: Any) -> int:
    """Symbols to either side that a wrong one may make wrong."""
    return math.ceil(_REACH * interference.frame_period / soi.signal.samples_per_symbol)


def told(soi: LinearModulation, interference: Any, found: Detection, stretch: int) -> tuple[Array, Array]:
    """(share of wrong bits that is expected of symbols, their error power), float32 [symbols], of a window with many symbols: as
    base.py's soft_output, but the scatter of `stretch` symbols at a time about the nearest points scales their variances."""
    llrs, share, error = _judged(soi, interference, found, stretch)
    return torch.sigmoid(-doubted(llrs, share).abs())[0].mean(1).numpy(), error[0].numpy()


def error_power(soi: LinearModulation, interference: Any, found: Detection, stretch: int) -> Array:
    """The second of what `told` gives, alone."""
    return np.asarray(_judged(soi, interference, found, stretch)[2][0].numpy())


def _judged(soi: LinearModulation, interference: Any, found: Detection, stretch: int) -> tuple[Tensor, Tensor, Tensor]:
    """(LLRs, share of bits that are wrong besides those that they expect, error power) of symbols; see told."""
    alphabet, soft, var = soi.signal.alphabet, torch.from_numpy(found.symbols), torch.from_numpy(found.var).clamp(1e-6, 1e6)
    power = torch.view_as_real(soft).square().sum(-1)
    off = (power - alphabet.fit(soft)).clamp_min(0) / var           # squared distance from the nearest point
    n = off.shape[1]
    padded = torch.nn.functional.pad(off, (0, -n % stretch)).reshape(-1, stretch)
    held = torch.full((len(padded), 1), float(stretch))
    held[-1] -= len(padded) * stretch - n
    scale = ((padded.sum(1, keepdim=True) + BELIEVED) / (held + BELIEVED)).clamp(0.06, 50.0)
    var = (var * scale.expand(-1, stretch).reshape(1, -1)[:, :n]).clamp_min(1e-6)
    llrs = alphabet.llrs(soft, var).float()
    share = SPREAD * expected_near(llrs, reach(soi, interference))
    return llrs, share, var + alphabet.bits_per_symbol * alphabet.least_distance ** 2 * share


@dataclass(frozen=True)
class Exact:
    """Of windows whose tables are about right: float64 [batch]. gain: of the linear modulation; frequency, delta: see Pair."""

    gain: Array
    frequency: Array
    delta: Array


@dataclass(frozen=True)
class Pair:
    """A pair as the native detector takes it, but for what may differ between windows. levels: in units of gain; delta and
    frequency: carrier offset of the linear modulation relative to the frames, and of these, cycles per sample; count: symbols
    that reach a frame."""

    signal: Any
    matrix_key: Any
    gain: float
    levels: Levels
    delta: float
    frequency: float
    instructions: str

    @staticmethod
    def of(soi: LinearModulation, ofdm: Any, kappa: float, noise_var: float, gain: float, carrier_offset: float,
           frequency: float) -> Pair | None:
        """Of sources that `suits` names: amplitude of the interference, noise variance, gain and carrier offset of the linear
        modulation, carrier offset of the frames. None where the native detector is not there or cannot, or torch makes fewer
        errors."""
        chosen = native.instructions()
        if chosen is None or not kappa > 0 or not gain > 0 or ofdm.frame_period > _LONGEST:
            return None
        if not quiet(soi, noise_var / gain ** 2):
            return None
        levels = Levels(kappa / gain, max(noise_var / gain ** 2, _NOISE_FLOOR), noise_var / gain ** 2)
        pair = Pair(soi.signal, ofdm.matrix_key, gain, levels, carrier_offset - frequency, frequency, chosen)
        return pair if len(pair.tables.near) <= _MOST_NEAR else None

    @property
    def tables(self) -> DetectorTables:
        """Those of frames."""
        return _tables((self.signal, self.count), self.matrix_key, self.levels, self.delta, self.frequency)

    @property
    def period(self) -> int:
        """Samples of a frame."""
        return int(self.matrix_key[0].frame_length)

    @property
    def count(self) -> int:
        """Symbols that reach a frame."""
        return int((self.period - 1 + 2 * self.signal.half_length) // self.signal.samples_per_symbol) + 1

    @property
    def lanes(self) -> int:
        """Stretches side by side."""
        return _LANES.get(self.instructions, 4)


def detect(y: Array, pair: Pair, nuisances: Sequence[Array], symbols: int, threads: int,
           context: tuple[bool, bool] = (False, False), limit: float = _UNMENDED, exact: Exact | None = None) -> Detection:
    """A Detection in windows y, complex64 [batch, samples], of a frame or more. nuisances: timing and phase of the linear
    modulation, frame offset and phase of the frames, [batch] each. symbols: how many every window gives, of as many or one more
    that are centred in it. context: whether the frames that a window's beginning or end cuts serve no purpose of their own:
    nothing is concluded from them then. limit: times the energy beyond which a frame is searched, beyond which a stretch is
    doubtful. exact: of windows that differ from the pair in it; None where they are as the pair says."""
    sps, (timing, own, offset, phase) = float(pair.signal.samples_per_symbol), nuisances
    timing = timing % sps           # symbols have no numbers
    todo = _planned(y, pair, offset, timing)
    one = np.ones(len(y))
    exact = exact or Exact(pair.gain * one, pair.frequency * one, pair.delta * one)
    turn, each = 2 * np.pi * exact.delta, todo.window
    job = todo.job(phase[each] + 2 * np.pi * (exact.frequency[each] * todo.begin % 1),
                   (own - phase + turn * timing)[each] + turn[each] * sps * todo.first, exact.frequency[each], turn[each] * sps)
    return _run(y, pair, todo, job, exact.gain[each], symbols, threads, context, limit)


@dataclass(frozen=True)
class Motion:
    """A pair at some samples of a stretch, float64 [n]: phase (rad) and frequency (cycles per sample) of the carriers of the
    linear modulation (own) and of the frames, gain of the linear modulation, amplitude of the frames over it (ratio)."""

    own_phase: Array
    own_frequency: Array
    phase: Array
    frequency: Array
    gain: Array
    ratio: Array


@dataclass(frozen=True)
class Timing:
    """symbol: of one that is near sample 0, samples from there; drift: samples per sample by which symbols come ever later, known
    to `grid` samples; frame: the first sample of a frame."""

    symbol: float
    drift: float
    grid: float
    frame: int


def detect_moving(y: Array, pair: Pair, timing: Timing, motion: Callable[[Array], Motion], threads: int,
                  context: tuple[bool, bool], limit: float) -> tuple[Detection, Plan]:
    """A Detection in one window y, complex64 [1, samples], whose carriers, levels and symbols change slowly, and how it was cut:
    motion(samples, float64 [n]) says how they change. The rest as of `detect`."""
    sps = float(pair.signal.samples_per_symbol)
    todo = _planned(y, pair, np.array([timing.frame]), np.array([timing.symbol % sps]), timing.drift, timing.grid)
    middle = (todo.low + todo.high) / 2
    at = motion(middle)
    delta, first = at.own_frequency - at.frequency, todo.timing + sps * todo.first
    job = todo.job(at.phase + 2 * np.pi * at.frequency * (todo.begin - middle),
                   at.own_phase - at.phase + 2 * np.pi * delta * (first - middle), at.frequency, 2 * np.pi * delta * sps)
    found = _run(y, pair, todo, job, at.gain, int(todo.symbols[0]), threads, context, limit)
    order = np.argsort(todo.low)
    found.interference[0] *= np.repeat((at.ratio / pair.levels.ratio).astype(np.float32)[order], (todo.high - todo.low)[order])
    return found, todo


def _planned(y: Array, pair: Pair, offset: Array, timing: Array, drift: float = 0.0, grid: float = 1.0) -> Plan:
    return plan(Windows(y.shape[1], pair.period, float(pair.signal.samples_per_symbol), pair.signal.half_length, pair.count,
                        tuple(offset.astype(int).tolist()), tuple(np.round(timing, 9).tolist()), drift, grid), pair.lanes)


def _run(y: Array, pair: Pair, todo: Plan, job: dict[str, Any], gain: Array, symbols: int, threads: int,
         context: tuple[bool, bool], limit: float) -> Detection:
    """The Detection of a job of stretches; gain: of each."""
    total = todo.fixed["symbols"]
    soft, var = np.empty(total, np.complex64), np.empty(total, np.float32)
    waves, excess = (np.empty_like(y), np.empty_like(y)), np.empty(len(todo.window), np.float32)
    job = job | {"mixture": np.ascontiguousarray(y, np.complex64), "samples": y.size, "soi": waves[0],
                 "gain": gain.astype(np.float32), "interference": waves[1], "soft": soft, "variance": var, "excess": excess,
                 "skip_head": context[0], "skip_tail": context[1]}
    counts = _detector(pair, todo.centres).run(job, threads)
    place = (np.cumsum(todo.symbols) - todo.symbols)[:, None] + np.arange(symbols)
    bad = excess > limit
    doubtful = np.stack([todo.window, todo.low, todo.high], 1)[bad]
    return Detection(soft[place], var[place], *waves, doubtful, float(bad.mean()), counts)


@lru_cache(maxsize=16)
def _tables(*key: Any) -> DetectorTables:
    return DetectorTables(*key)


@lru_cache(maxsize=32)
def _detector(pair: Pair, centres: tuple[float, ...]) -> Any:
    """The extension's Detector."""
    passes = {"passes": _PASSES, "cut_passes": _CUT_PASSES, "damping": _DAMPING, "cut_damping": _CUT_DAMPING}
    return native.extension().Detector(pair.tables.mapping(centres) | passes, pair.instructions)
