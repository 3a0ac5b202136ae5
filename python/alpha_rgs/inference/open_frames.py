# SPDX-License-Identifier: GPL-3.0-or-later
"""OFDM frames whose carriers' constellation is unknown, inside expectation propagation.

Gaussian carriers stay as they are, so that to symbols and pilots a frame is noise of covariance σ²·W + κ²·A·Aᴴ. By Woodbury's
identity all that is needed of its inverse follows from one Cholesky factor of I + (κ/σ)²·Aᴴ·W⁻¹·A, which frames of a window share
where the same samples are present, whatever symbols reach them. One transform each gives Aᴴ·W⁻¹·A and what the carriers see of
pulses and samples. Eigenvectors, which take most of the time of long frames, are not needed.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..signals.framing import frame_pulses
from ..signals.ofdm import ofdm_matrix
from .frame_family import COMPLEX, FrameFamily, noise_shape
from .kept import kept


@kept
def _tables(matrix_key: tuple[Any, tuple[complex]], cls: tuple[Any, ...], pulse_key: tuple[Any, int], near: tuple[int, ...],
            clean: tuple[int, ...], skip: int, extra: float, smear: float) -> list[Tensor]:
    """For one class of frames, T = [A_D, H]: (W⁻¹ [P], zero on samples that are not present; Tᴴ·W⁻¹ [d+K, P]; Tᴴ·W⁻¹·T;
    A_Cᴴ·W⁻¹·T [n, d+K])."""
    low, high, *pattern = cls
    signal, channel = matrix_key
    weight = np.zeros(signal.frame_length)
    weight[low:high] = 1 / noise_shape(signal.frame_length, skip, extra, smear)[low:high]
    pulses = frame_pulses(pulse_key, pattern, signal.frame_length)
    both = np.hstack([ofdm_matrix(matrix_key)[:, list(near)], pulses]) if near else pulses
    columns = torch.from_numpy(both)
    across = (columns * torch.from_numpy(weight)[:, None]).mH.contiguous()
    seen = signal.matched(channel, across.conj().resolve_conj())[:, list(clean)].mT
    return [torch.from_numpy(weight), across, across @ columns, seen.contiguous()]


class OpenFrames(FrameFamily):
    """As FrameFamily, where the clean carriers are Gaussian, or there are none."""

    def _prepare(self, matrix_key: Any, shapes: list[tuple[Any, float]], key: tuple[Any, ...], which: Tensor,
                 received: Tensor) -> None:
        """See FrameFamily."""
        device, (signal, channel), clean = received.device, matrix_key, list(key[2])
        tables = [_tables(matrix_key, cls, *key, smear) for cls, smear in shapes]
        weight, across, self.own, self.seen = (torch.stack(part).to(device)[which] for part in zip(*tables))
        size = self.own.shape[1]
        scale = torch.ones(len(which), size, dtype=COMPLEX, device=device)          # columns: kappa·A_D and H
        scale[:, :self.d] = self.kappa
        self.own, self.seen = self.own * scale[:, :, None] * scale[:, None], self.seen * scale[:, None]
        self.direct = self._apply(across * scale[..., None], received)
        self.matched = signal.matched(channel, received * weight[self.group])[..., clean]
        present = [(*cls[:2], smear) for cls, smear in shapes]
        kinds = list(dict.fromkeys(present))
        grams = [signal.gram(channel, tables[present.index(kind)][0].numpy())[np.ix_(clean, clean)] for kind in kinds]
        self.inner = torch.from_numpy(np.stack(grams)).to(device)
        self.kind = torch.tensor([kinds.index(one) for one in present], device=device)[which]

    def _products(self) -> tuple[Tensor, Tensor]:
        """See FrameFamily: what never changes but by the noise's level."""
        if self.gram is None:
            ratio = self.kappa[:, 0].square() / self.noise[:, 0]
            alike, which = torch.unique(torch.stack([self.kind.to(ratio), ratio], 1), dim=0, return_inverse=True)
            size = self.inner.shape[1]
            roots = torch.linalg.cholesky(torch.eye(size, dtype=COMPLEX, device=ratio.device)
                                          + alike[:, 1, None, None] * self.inner[alike[:, 0].long()])
            amplitude = ratio.sqrt()[:, None, None]
            seen = torch.linalg.solve_triangular(roots[which], amplitude * self.seen, upper=False)
            self.gram = ((self.own - seen.mH @ seen) / self.noise[..., None])[self.group]
            self.stat = self.direct / self.noise[self.group]
            for groups, rows in self.slots:
                own = torch.linalg.solve_triangular(roots[which[groups]], amplitude[groups] * self.matched[rows].mT, upper=False)
                self.stat[rows] -= (seen[groups].mH @ own).mT / self.noise[groups][..., None]
        return self.gram, self.stat
