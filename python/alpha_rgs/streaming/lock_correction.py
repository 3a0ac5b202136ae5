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

Values = dict[str, np.ndarray]


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
    gains = [torch.as_tensor(e.state.gain).float().reshape(-1) for e in out.sources]
    return stepped(y, [torch.as_tensor(e.waveform) for e in out.sources], gains, states_of(out, y.shape[1], tracks), sources)


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


def stepped(y: Tensor, waves: Sequence[Tensor], gains: Sequence[Tensor], states: Sequence[Values], sources: Sequence[Any]
            ) -> Corrected:
    """One Gauss-Newton step from the states, field -> float64 [n] of each source (phase: of the windows' middle), with which
    waveforms, complex64 [n, samples], and gains, [n], of all sources were separated from windows y."""
    n = y.shape[1]
    edge = edge_of(sources, n)
    inner = slice(edge, n - edge)
    names, columns = _derivatives(waves, gains, sources, states, inner)
    level = y.abs().square().mean().sqrt().clamp_min(1e-30)         # single precision: a product of two waveforms is no smaller
    rest = y[:, inner] - sum((wave[:, inner] for wave in waves), torch.zeros(()))
    jacobian = torch.view_as_real(torch.stack([column / level for column in columns], 1)).flatten(2)    # [windows, unknowns, ·]
    rest = torch.view_as_real(rest / level).flatten(1)
    normal, along = (jacobian @ jacobian.mT).double(), (jacobian @ rest[..., None]).double()
    scale = normal.diagonal(dim1=1, dim2=2).sqrt().clamp_min(1e-30)
    normal = normal / (scale[:, None] * scale[..., None]) + 1e-9 * torch.eye(len(names), dtype=torch.float64)
    along = along / scale[..., None]
    step = torch.linalg.solve(normal, along)
    left = rest.double().square().sum(1) - (2 * along - normal @ step).mul(step).sum((1, 2))
    left = left.clamp_min(0) / rest.shape[1] * level.double().square()      # of a real part
    step, spread = step[..., 0] / scale, torch.linalg.inv(normal).diagonal(dim1=1, dim2=2) / scale.square()
    deviation = (left[:, None] / level.double().square() * spread).sqrt()
    out: list[tuple[Values, Values]] = [(dict(values), {name: np.zeros(len(y)) for name in values}) for values in states]
    for column, (number, name) in enumerate(names):
        values, deviations = out[number]
        values[name], deviations[name] = values[name] + step[:, column].numpy(), deviation[:, column].numpy()
    return Corrected(out, 2 * left.numpy())


def edge_of(sources: Sequence[Any], samples: int) -> int:
    """Samples at a window's ends that say nothing: symbols and frames are cut there."""
    return int(min(2 * max(source.memory for source in sources), samples // 8))


def _derivatives(waves: Sequence[Tensor], gains: Sequence[Tensor], sources: Sequence[Any], states: Sequence[Values],
                 inner: slice) -> tuple[list[tuple[int, str]], list[Tensor]]:
    """([(number of a source, field)], the derivative of the mixture by it, complex64 [windows, samples of `inner`])."""
    names, columns = [], []
    for k, (wave, gain, values) in enumerate(zip(waves, gains, states)):
        for name in values:
            if name == "delay" and sources[k].whole_delay:
                continue                                    # windows are not shifted
            names.append((k, name))
            columns.append(_derivative(name, wave, gain[:, None], inner))
    return names, columns


def _derivative(name: str, wave: Tensor, gain: Tensor, inner: slice) -> Tensor:
    n = wave.shape[1]
    if name == "delay":
        return torch.fft.ifft(-2j * math.pi * torch.fft.fftfreq(n) * torch.fft.fft(wave))[:, inner]
    if name == "gain":
        return wave[:, inner] / gain.clamp_min(1e-30)
    turned = 1j * wave[:, inner]
    return turned if name == "phase" else turned * (2 * math.pi * (torch.arange(n) - (n - 1) / 2))[inner]
