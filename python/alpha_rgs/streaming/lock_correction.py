# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the states that windows were separated with are off: one Gauss-Newton step for all sources at once.

The derivatives are the separated waveforms themselves: j·w by phase, j·2πt·w by carrier offset, -dw/dt by delay, w/g by gain.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..separators.base import Separation
from .lock_prediction import Track

Array = np.ndarray[Any, Any]
Values = dict[str, np.ndarray]

_LEAST = 1e-9           # of a derivative's power, that its own is more: derivatives that are alike share the step


@dataclass
class Corrected:
    """states: of each source (field -> value, field -> standard deviation), float64 [n]; phases are those of the windows' middle.
    left: the power that all sources leave once they are corrected so, [n]. Of a source that locks by itself (lock_alone.py) the
    share of wrong bits; off: by how many standard deviations it is off, [n]."""

    states: list[tuple[Values, Values]]
    left: np.ndarray
    off: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray) -> Corrected:
        states = [({name: v[rows] for name, v in values.items()}, {name: v[rows] for name, v in deviations.items()})
                  for values, deviations in self.states]
        return Corrected(states, self.left[rows], None if self.off is None else self.off[rows])


def corrected(y: Tensor, out: Separation, sources: Sequence[Any], tracks: Sequence[Track]) -> Corrected:
    """The states that windows y, complex64 [n, samples], were separated with, and one Gauss-Newton step from what they leave."""
    gains = [_numbers(e.state.gain).astype(np.float32) for e in out.sources]
    states = states_of(out, y.shape[1], tracks)
    return stepped(_numbers(y), [_numbers(e.waveform) for e in out.sources], gains, states, sources)


def states_of(out: Separation, samples: int, tracks: Sequence[Track]) -> list[Values]:
    """The states with which windows of so many samples were separated: field -> float64 [n] of each source, phases being those of
    the windows' middle."""
    half, states = (samples - 1) / 2, []
    for estimate, track in zip(out.sources, tracks):
        values = {name: torch.as_tensor(getattr(estimate.state, name)).double().reshape(-1).expand(len(out.noise_var)).numpy()
                  for name in track.fields}
        if "phase" in values:
            offset = estimate.state.carrier_offset
            turned = torch.as_tensor(0.0 if offset is None else offset).double().numpy()
            values["phase"] = values["phase"] + 2 * math.pi * half * turned
        states.append(values)
    return states


def stepped(y: Array, waves: Sequence[Array], gains: Sequence[Array], states: Sequence[Values], sources: Sequence[Any]
            ) -> Corrected:
    """One Gauss-Newton step from the states, field -> float64 [n] of each source (phase: of the windows' middle), with which
    waveforms, complex64 [n, samples], and gains, [n], of all sources were separated from windows y."""
    level = max(float(np.vdot(y, y).real) / y.size, 1e-60) ** 0.5   # single precision: a product of two waveforms is no smaller
    names, factors, places, rows = _derivatives(y, waves, gains, sources, states, level)
    # all products of all derivatives with each other and with the rest, from those of the few waveforms that they are made of
    products = rows.conj() @ rows.transpose(0, 2, 1)
    own = products[:, places][:, :, places] * factors.conj()[:, :, None] * factors[:, None]
    normal = own.real.astype(np.float64)
    along = (products[:, places, -1] * factors.conj()).real.astype(np.float64)
    power = products[:, -1, -1].real.astype(np.float64)
    scale = np.maximum(np.sqrt(np.einsum("wii->wi", normal)), 1e-30)
    normal = normal / (scale[:, None] * scale[..., None]) + _LEAST * np.eye(len(names))
    along, inverse = along / scale, np.linalg.inv(normal)
    step = np.einsum("wij,wj->wi", inverse, along)
    left = power - np.einsum("wi,wi->w", 2 * along - np.einsum("wij,wj->wi", normal, step), step)
    left = np.maximum(left, 0) / (2 * rows.shape[2])                # of a real part, over the level
    deviation = np.sqrt(left[:, None] * np.einsum("wii->wi", inverse)) / scale
    step = step / scale
    out: list[tuple[Values, Values]] = [(dict(values), {name: np.zeros(len(y)) for name in values}) for values in states]
    for column, (number, name) in enumerate(names):
        values, deviations = out[number]
        values[name], deviations[name] = values[name] + step[:, column], deviation[:, column]
    return Corrected(out, 2 * left * level ** 2)


def edge_of(sources: Sequence[Any], samples: int) -> int:
    """Samples at a window's ends that say nothing: symbols and frames are cut there."""
    return int(min(2 * max(source.memory for source in sources), samples // 8))


def _derivatives(y: Array, waves: Sequence[Array], gains: Sequence[Array], sources: Sequence[Any], states: Sequence[Values],
                 level: float) -> tuple[list[tuple[int, str]], Array, list[int], Array]:
    """([(number of a source, field)], factors complex64 [windows, unknowns], places, rows complex64 [windows, rows, samples but
    for the ends]): the derivative of the mixture by an unknown is its factor times the row at its place; the last row is what the
    waveforms leave. All over `level`."""
    names: list[tuple[int, str]] = []
    factors: list[Array | complex] = []
    places: list[int] = []
    n = y.shape[1]
    inner = slice(edge_of(sources, n), n - edge_of(sources, n))
    moved = [k for k, values in enumerate(states) if "delay" in values and not sources[k].whole_delay]  # windows are not shifted
    turned = [k for k, values in enumerate(states) if "carrier_offset" in values]
    rows = np.empty((len(y), len(waves) + len(turned) + len(moved) + 1, inner.stop - inner.start), np.complex64)
    rows[:, -1] = y[:, inner]
    for k, (wave, gain, values) in enumerate(zip(waves, gains, states)):
        rows[:, -1] -= wave[:, inner]
        np.multiply(wave[:, inner], np.float32(1 / level), out=rows[:, k])
        for name, factor in (("phase", 1j), ("gain", 1 / np.maximum(gain, 1e-30))):
            if name in values:
                names, factors, places = [*names, (k, name)], [*factors, factor], [*places, k]
    rows[:, -1] *= np.float32(1 / level)
    time = (2 * math.pi * (np.arange(n) - (n - 1) / 2))[inner].astype(np.float32)
    at = len(waves)
    for k in turned:
        np.multiply(rows[:, k], time, out=rows[:, at])
        names, factors, places, at = [*names, (k, "carrier_offset")], [*factors, 1j], [*places, at], at + 1
    for k in moved:
        rows[:, at] = _slope(waves[k])[:, inner] * np.float32(-1 / level)
        names, factors, places, at = [*names, (k, "delay")], [*factors, 1.0], [*places, at], at + 1
    return names, np.stack([np.broadcast_to(np.complex64(f), len(y)) for f in factors], 1), places, rows


def _slope(wave: Array) -> Array:
    """The derivative by time, samples, of waveforms, complex64 [n, samples]."""
    spectrum = torch.fft.fft(torch.from_numpy(wave))
    spectrum *= 2j * math.pi * torch.fft.fftfreq(wave.shape[1])
    return np.asarray(torch.fft.ifft(spectrum).numpy())


def _numbers(value: Any) -> Array:
    return np.asarray(torch.as_tensor(value).cpu().numpy())
