# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers of one alphabet that frames, found in one window, leave open: a source of its own, with a linear model."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from ..inference.frame_tiling import GAUSSIAN, Tiling
from ..inference.linear_mixture import LinearMixture
from ..inference.linear_model import LinearModel
from ..inference.sites import schedule
from ..signals import constellation
from ..signals.wifi import ALPHABETS
from .base import Noise, Number, Posterior, Source

_PASSES, _DAMPING, _HEAT, _SETTLE = 6, 0.7, 3.0, 2      # of the carriers alone, which hardly overlap


@dataclass
class OpenCarriers(Source):
    """start: sample on which each column begins, int64 [n], ascending; columns: complex128 [n, length], of unit mean power over
    the window together; gain: their amplitude; alphabet: its name, or "gaussian"; grid: sample on which most frames begin, modulo
    their length; None where other carriers have more of them."""

    start: Tensor
    columns: Tensor
    alphabet: str
    gain: Number | None = None
    grid: int | None = None

    kind = "open-carriers"
    state_names = {"gain": "gain"}
    linear = True
    takes_basis = False

    @property
    def decided(self) -> bool:
        """See Source.decided: not where the alphabet is unknown."""
        return self.alphabet != "gaussian"

    def at(self, start: Number) -> Self:
        """See Source.at: of a part of its own window."""
        moved = int(start)
        grid = None if self.grid is None else (self.grid - moved) % self.columns.shape[1]
        return replace(self, start=self.start - moved, grid=grid)

    def select(self, index: Any) -> Self:
        """See Source.select: of one window."""
        return self

    def linear_model(self, shape: Sequence[int]) -> LinearModel:
        """See Source.linear_model."""
        alphabet: Any = constellation(self.alphabet)
        frame = None if self.grid is None else (self.columns.shape[1], torch.tensor([self.grid]))
        return LinearModel(self.start[None], self.columns[None], alphabet, self.columns.abs().amax(1)[None] > 0, None, frame)

    def psd(self, nfft: int) -> np.ndarray:
        """See Source.psd: over the window."""
        density = torch.fft.fft(self.columns, nfft).abs().square().sum(0).numpy()
        return cast(np.ndarray, density / density.mean())

    def posterior(self, x: Tensor, noise: Noise | Number) -> Posterior:
        """See Source.posterior."""
        one = torch.ones(1, dtype=torch.float64)
        level = torch.as_tensor(self.white(noise), dtype=torch.float64).reshape(-1).clamp_min(1e-6)
        mixture = LinearMixture(x, [self.linear_model(x.shape)], [one], level)
        for turn in schedule(_PASSES, _DAMPING, _HEAT, _SETTLE):
            unknowns = mixture.step(turn.heat, turn.damping)[0]
        return Posterior(mixture.waveform(0, unknowns), mixture.variance(0, unknowns).float())

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise."""
        return self.posterior(x, noise).mean


def open_carriers(tiles: Tiling, within: tuple[int, int]) -> list[OpenCarriers]:
    """The open carriers of one window's Tiling whose frames begin in a stretch (first sample, one past the last), alphabet by
    alphabet."""
    found: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for rows, waves, alphabets, _ in tiles.groups:
        begins = tiles.start[rows][:, None].expand(alphabets.shape)
        for number in torch.unique(alphabets).tolist():
            there = (alphabets == number) & (begins >= within[0]) & (begins < within[1])
            if bool(there.any()):
                found.setdefault(number, []).append((begins[there], waves.movedim(1, 2)[there]))
    out = []
    most = max((sum(len(start) for start, _ in pieces) for pieces in found.values()), default=0)
    for number, pieces in sorted(found.items()):
        start, columns = (torch.cat(column) for column in zip(*pieces))
        order = start.argsort(stable=True)
        power = columns.abs().square().sum() / tiles.samples
        if float(power) > 0:
            width = int(torch.nonzero(columns.abs().amax(0) > 0).max()) + 1
            name = "gaussian" if number == GAUSSIAN else ALPHABETS[number]
            grid = int((start % width).mode().values) if len(start) == most else None
            out.append(OpenCarriers(start[order], columns[order, :width] / power.sqrt(), name, power.sqrt().reshape(1), grid))
    return out
