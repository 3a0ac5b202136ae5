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
from .frame_family import COMPLEX, REAL, FrameFamily, noise_shape
from .kept import kept


@kept
def _tables(matrix_key: tuple[Any, tuple[complex]], cls: tuple[Any, ...], pulse_key: tuple[Any, int], near: tuple[int, ...],
            clean: tuple[int, ...], skip: int, extra: float, smear: float) -> list[Tensor]:
    """For one class of frames, T = [A_D, H]: (W⁻¹ [P], zero on samples that are not present; Tᴴ·W⁻¹ [d+K, P]; Tᴴ·W⁻¹·T;
    A_Cᴴ·W⁻¹·T [n, d+K])."""
    low, high, *pattern = cls
    signal, channel = matrix_key
    weight = _weight(signal.frame_length, low, high, skip, extra, smear)
    pulses = frame_pulses(pulse_key, pattern, signal.frame_length)
    both = np.hstack([ofdm_matrix(matrix_key)[:, list(near)], pulses]) if near else pulses
    columns = torch.from_numpy(both)
    across = (columns * torch.from_numpy(weight)[:, None]).mH.contiguous()
    seen = signal.matched(channel, across.conj().resolve_conj())[:, list(clean)].mT
    return [torch.from_numpy(weight), across, across @ columns, seen.contiguous()]


@kept
def _clean_gram(matrix_key: tuple[Any, tuple[complex]], low: int, high: int, clean: tuple[int, ...], skip: int, extra: float,
                smear: float) -> list[Tensor]:
    """(D [n], D·A_Cᴴ·W⁻¹·A_C·D* [n, n]) of samples low … high of a frame, D diagonal: phases about the middle of these samples,
    which make a matrix real where the noise is even about it."""
    signal, channel = matrix_key
    weight = _weight(signal.frame_length, low, high, skip, extra, smear)
    gram = signal.gram(channel, weight)[np.ix_(clean, clean)]
    if clean and (clean[-1] >= len(signal.data) or not np.array_equal(weight[low:high], weight[low:high][::-1])):
        return [torch.ones(len(clean), dtype=COMPLEX), torch.from_numpy(gram)]
    turn = signal.centred(channel, (low + high - 1) / 2)[np.isin(signal.carriers, signal.data)][list(clean)]
    return [torch.from_numpy(turn), torch.from_numpy((gram * turn[:, None] * turn.conj()).real)]


def _weight(period: int, low: int, high: int, skip: int, extra: float, smear: float) -> np.ndarray:
    """The inverse of the noise's shape, float64 [period], zero on samples that are not present."""
    weight = np.zeros(period)
    weight[low:high] = 1 / noise_shape(period, skip, extra, smear)[low:high]
    return weight


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
        present = [(*cls[:2], smear) for cls, smear in shapes]
        kinds = list(dict.fromkeys(present))
        self.kind = torch.tensor([kinds.index(one) for one in present], device=device)[which]
        turns, grams = zip(*(_clean_gram(matrix_key, *kind[:2], *key[2:], kind[2]) for kind in kinds))
        dtype = COMPLEX if any(gram.is_complex() for gram in grams) else REAL
        self.inner = torch.stack([gram.to(dtype) for gram in grams]).to(device)
        turn = torch.stack(turns).to(device)[self.kind]
        self.seen = self.seen * turn[..., None]
        self.matched = signal.matched(channel, received * weight[self.group])[..., clean] * turn[self.group]

    def _products(self) -> tuple[Tensor, Tensor]:
        """See FrameFamily: what never changes but by the noise's level."""
        if self.gram is None:
            ratio = self.kappa[:, 0].square() / self.noise[:, 0]
            alike, which = torch.unique(torch.stack([self.kind.to(ratio), ratio], 1), dim=0, return_inverse=True)
            inner = self.inner[alike[:, 0].long()] * alike[:, 1, None, None]
            inner.diagonal(dim1=1, dim2=2).add_(1)
            roots = torch.linalg.cholesky(inner)
            amplitude = ratio.sqrt()[:, None, None]
            seen = _forward(roots[which], amplitude * self.seen)
            self.gram = ((self.own - seen.mH @ seen) / self.noise[..., None])[self.group]
            self.stat = self.direct / self.noise[self.group]
            for groups, rows in self.slots:
                own = _forward(roots[which[groups]], amplitude[groups] * self.matched[rows].mT)
                self.stat[rows] -= (seen[groups].mH @ own).mT / self.noise[groups][..., None]
        return self.gram, self.stat


def _forward(roots: Tensor, columns: Tensor) -> Tensor:
    """L⁻¹·columns, complex [groups, n, q], of lower triangular L, real or complex [groups, n, n]."""
    if roots.is_complex():
        return torch.linalg.solve_triangular(roots, columns, upper=False)
    parts = torch.linalg.solve_triangular(roots, torch.view_as_real(columns).flatten(2), upper=False)
    return torch.view_as_complex(parts.unflatten(2, (-1, 2)).contiguous())
