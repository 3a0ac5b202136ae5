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


@dataclass
class Corrected:
    """states: of each source (field -> value, field -> standard deviation), float64 [n]; phases are those of the windows' middle.
    left: the power that all sources leave once they are corrected so, [n]."""

    states: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]
    left: np.ndarray


def corrected(y: Tensor, out: Separation, sources: Sequence[Any], tracks: Sequence[Track]) -> Corrected:
    """The states that windows were separated with, and one Gauss-Newton step from what they leave."""
    n, half = y.shape[1], (y.shape[1] - 1) / 2
    edge = min(2 * max(source.memory for source in sources), n // 8)
    inner = slice(edge, n - edge)
    names, columns = _derivatives(out, sources, tracks, inner)
    level = y.abs().square().mean().sqrt().clamp_min(1e-30)         # single precision: a product of two waveforms is no smaller
    rest = y[:, inner] - sum((torch.as_tensor(e.waveform)[:, inner] for e in out.sources), torch.zeros(()))
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
    states = []
    for k, (estimate, track) in enumerate(zip(out.sources, tracks)):
        values = {name: torch.as_tensor(getattr(estimate.state, name)).double().reshape(-1).expand(len(y)).clone()
                  for name in track.fields}
        deviations = {name: torch.zeros(len(y), dtype=torch.float64) for name in track.fields}
        if "phase" in values:
            offset = estimate.state.carrier_offset
            values["phase"] += 2 * math.pi * half * torch.as_tensor(0.0 if offset is None else offset).double()
        for column, (number, name) in enumerate(names):
            if number == k:
                values[name], deviations[name] = values[name] + step[:, column], deviation[:, column]
        states.append(({name: v.numpy() for name, v in values.items()}, {name: d.numpy() for name, d in deviations.items()}))
    return Corrected(states, 2 * left.numpy())


def _derivatives(out: Separation, sources: Sequence[Any], tracks: Sequence[Track], inner: slice
                 ) -> tuple[list[tuple[int, str]], list[Tensor]]:
    """([(number of a source, field)], the derivative of the mixture by it, complex64 [windows, samples of `inner`])."""
    names, columns = [], []
    for k, (estimate, track) in enumerate(zip(out.sources, tracks)):
        wave = torch.as_tensor(estimate.waveform)
        gain = torch.as_tensor(estimate.state.gain).float().reshape(-1, 1)
        for name in track.fields:
            if name == "delay" and sources[k].whole_delay:
                continue                                    # windows are not shifted
            names.append((k, name))
            columns.append(_derivative(name, wave, gain, inner))
    return names, columns


def _derivative(name: str, wave: Tensor, gain: Tensor, inner: slice) -> Tensor:
    n = wave.shape[1]
    if name == "delay":
        return torch.fft.ifft(-2j * math.pi * torch.fft.fftfreq(n) * torch.fft.fft(wave))[:, inner]
    if name == "gain":
        return wave[:, inner] / gain.clamp_min(1e-30)
    turned = 1j * wave[:, inner]
    return turned if name == "phase" else turned * (2 * math.pi * (torch.arange(n) - (n - 1) / 2))[inner]
