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
    jacobian = torch.view_as_real(torch.stack(columns, 2)).movedim(-1, 1).flatten(1, 2)       # [windows, 2·samples, unknowns]
    rest = y.to(torch.complex128) - sum(torch.as_tensor(e.waveform) for e in out.sources)
    rest = torch.view_as_real(rest[:, inner]).movedim(-1, 1).flatten(1, 2)
    scale = jacobian.square().sum(1).sqrt().clamp_min(1e-30)
    jacobian = jacobian / scale[:, None]
    normal = jacobian.mT @ jacobian + 1e-9 * torch.eye(len(names), dtype=torch.float64)
    step = torch.linalg.solve(normal, jacobian.mT @ rest[..., None])
    left = (rest - (jacobian @ step)[..., 0]).square().mean(1)              # of a real part
    step, spread = step[..., 0] / scale, torch.linalg.inv(normal).diagonal(dim1=1, dim2=2) / scale.square()
    deviation = (left[:, None] * spread).sqrt()
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
    """([(number of a source, field)], the derivative of the mixture by it, complex128 [windows, samples of `inner`])."""
    names, columns = [], []
    for k, (estimate, track) in enumerate(zip(out.sources, tracks)):
        wave = torch.as_tensor(estimate.waveform).to(torch.complex128)
        n = wave.shape[1]
        slope = torch.fft.ifft(2j * math.pi * torch.fft.fftfreq(n, dtype=torch.float64) * torch.fft.fft(wave))
        gain = torch.as_tensor(estimate.state.gain).double().reshape(-1, 1).clamp_min(1e-30)
        ramp = 2 * math.pi * (torch.arange(n) - (n - 1) / 2)
        made = {"phase": 1j * wave, "carrier_offset": 1j * ramp * wave, "delay": -slope, "gain": wave / gain}
        for name in track.fields:
            if name == "delay" and sources[k].whole_delay:
                continue                                    # windows are not shifted
            names.append((k, name))
            columns.append(made[name][:, inner])
    return names, columns
