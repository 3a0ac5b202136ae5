# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection by the native detector, where it knows the sources' structure; joint.py is its reference.

In single precision, stretches of the mixture side by side in the lanes of vectors: clean carriers are decided by one filter and
subtracted, some passes of expectation propagation decide the rest, and frames in which too much energy is left are searched
(native/src). In frames that a window cuts, expectation propagation decides
all carriers.
"""
from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import native
from ..inference.detector_job import Windows, classes_of, cut, job
from ..inference.detector_tables import DetectorTables, Levels
from ..signals.carrier import column
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import Separation, soft_output, spread_error_probability

Array = np.ndarray[Any, Any]

_NOISE_FLOOR = 3e-3     # as joint's
_PASSES, _DAMPING = 2, 0.7      # frames that more passes would mend are searched anyway
_CUT_PASSES, _CUT_DAMPING = 6, 0.6      # where a window cuts frames, in which no filter decides carriers; as joint's
_LONGEST = 640          # samples of a frame: tables grow with their square
_MOST_NEAR = 64         # carriers that are not decided by a filter
_MOST_CLASSES = 256     # ways in which symbols lie in frames
SPREAD = 2.0            # of wrong decisions, which bend others and are not seen: measured at -5 … -15 dB, Es/N0 as low as 8 dB
REACH = 1.5             # frames to either side within which they do: a wrong symbol bends its frame's carriers, they its neighbours


class Detection:
    """What was detected in windows, numpy: symbols complex64 and var float32 [batch, symbols]; soi, interference complex64
    [batch, samples], or None. counts: stretches searched, frames searched, stretches that changed."""

    def __init__(self, symbols: Array, var: Array, soi: Array | None, interference: Array | None, counts: list[int]) -> None:
        self.symbols, self.var, self.soi, self.interference, self.counts = symbols, var, soi, interference, counts


def suits(soi: LinearModulation, interference: Source) -> bool:
    """Whether the native detector knows what these are."""
    return (interference.structure is Structure.FRAMES and interference.plain_frames
            and not soi.alphabet_rotation and soi.signal.alphabet.bits_per_symbol <= 6)


def native_joint(y: Tensor, soi: LinearModulation, interference: Any, kappa: Tensor, noise_var: Tensor) -> Separation | None:
    """What `joint` returns, of windows y, complex64 [batch, samples], with all nuisances known; None where the native detector
    cannot: it is not there, y is not on the CPU, the sources have another structure, or the windows differ in gain, kappa,
    noise_var or carrier offsets."""
    level, noise = _one(kappa), _one(noise_var)
    if y.device.type != "cpu" or level is None or noise is None or not suits(soi, interference):
        return None
    found = detect(y.numpy(), soi, interference, level, noise)
    if found is None:
        return None
    soft, var = torch.from_numpy(found.symbols), torch.from_numpy(found.var)
    out = soft_output(soi, soft, var, soi=torch.from_numpy(found.soi), interference=torch.from_numpy(found.interference),
                      evaluations=0, kappa=kappa, noise_var=noise_var)
    reach = math.ceil(REACH * interference.frame_period / soi.signal.samples_per_symbol)
    return spread_error_probability(out, soi, SPREAD, reach)


def _one(value: Any) -> float | None:
    """The number that all windows share; None where they differ."""
    values = torch.as_tensor(value, dtype=torch.float64).flatten()
    return float(values[0]) if bool((values == values[0]).all()) else None


def detect(y: Array, soi: LinearModulation, ofdm: Any, kappa: float, noise_var: float, keep: tuple[int, int] | None = None,
           threads: int | None = None, waveforms: bool = True) -> Detection | None:
    """A Detection in windows y, complex64 [batch, samples], of which samples keep[0] ... keep[1]-1 are wanted (default all); None
    where the native detector cannot. Sources with plain frames (suits), all nuisances known; timings, phases and frame offsets
    may differ between windows."""
    gain, delta = _one(soi.gain), None
    turn, other = _one(soi.carrier_offset), _one(ofdm.carrier_offset)
    if gain is None or turn is None or other is None or not kappa > 0:
        return None
    delta = turn - other
    samples, signal = y.shape[1], soi.signal
    sps, period = float(signal.samples_per_symbol), ofdm.signal.frame_length
    if period > _LONGEST or samples < period:
        return None
    timing, phase, own, offset = (np.broadcast_to(column(v, torch.empty(0)).numpy()[:, 0], len(y)) for v in (
        soi.timing, ofdm.phase, soi.phase, ofdm.frame_offset))
    windows = Windows(samples, period, sps, signal.half_length, int((period - 1 + 2 * signal.half_length) // sps) + 1,
                      offset.astype(np.int64), timing, phase, other, own - phase + 2 * np.pi * (delta * timing),
                      2 * np.pi * delta * sps, keep or (0, samples), soi.symbols)
    lanes = _lanes()
    if lanes is None:
        return None
    stretches = cut(windows, lanes, _repeat(sps, period))
    centres, *classes = classes_of(windows, stretches)
    if len(centres) > _MOST_CLASSES:
        return None
    ratio, level = kappa / gain, noise_var / gain ** 2
    detector = _detector((signal, windows.count), ofdm.matrix_key, tuple(centres.tolist()),
                     Levels(ratio, max(level, _NOISE_FLOOR), level), (delta, other), native.instructions() or "")
    if detector is None:
        return None
    todo = job(windows, stretches, (classes[0], classes[1]), lanes, gain)
    shape = (len(y), todo["symbols"] // len(y))
    symbols, var = np.empty(shape, np.complex64), np.empty(shape, np.float32)
    waves = [np.zeros_like(y) if waveforms else None for _ in range(2)]
    todo |= {"mixture": np.ascontiguousarray(y, np.complex64), "samples": y.size, "soi": waves[0], "interference": waves[1],
             "soft": symbols, "variance": var, "residual": None}
    counts = detector.run(todo, threads or threads_to_use())
    return Detection(symbols, var, waves[0], waves[1], counts)


def threads_to_use() -> int:
    """How many of the extension's threads a call may use: torch's number, by which engines share a machine out."""
    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1))


def _repeat(sps: float, period: int) -> int:
    """Frames after which symbols lie in frames as before; 1 where that takes too many."""
    return next((n for n in range(1, _MOST_CLASSES) if n * period / sps == int(n * period / sps)), 1)


def _lanes() -> int | None:
    chosen = native.instructions()
    return {"avx512": 16, "avx2": 8}.get(chosen, 4) if chosen else None


@lru_cache(maxsize=16)
def _detector(pulse_key: Any, matrix_key: Any, centres: tuple[float, ...], levels: Levels, offsets: tuple[float, float],
              instructions: str) -> Any:
    """The extension's Detector; None where too many carriers are near."""
    tables = DetectorTables(pulse_key, matrix_key, centres, levels, *offsets)
    if len(tables.near) > _MOST_NEAR:
        return None
    mapping = tables.mapping | {"passes": _PASSES, "cut_passes": _CUT_PASSES, "damping": _DAMPING, "cut_damping": _CUT_DAMPING}
    return native.extension().Detector(mapping, instructions)
