# SPDX-License-Identifier: GPL-3.0-or-later
"""OFDM frames inside expectation propagation: what they say about the other source's symbols, and their carriers' sites.

The carriers of a family of frames fall in two groups. Those *near* the SOI's spectrum have one site each. The *clean* rest
are decided almost surely after the first pass; they share one variance per (window, class of frames), so that the
covariance of noise and clean carriers keeps its eigenvectors, computed once per class, and a pass rescales eigenvalues.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..signals.framing import frame_pulses
from ..signals.mixed import subset
from ..signals.ofdm import ofdm_matrix
from .kept import kept
from .sites import Sites

if TYPE_CHECKING:
    from ..signals.framing import FramePlan

REAL, COMPLEX = torch.float64, torch.complex128     # single precision loses the Schur complements at -24 dB without noise
_MIN_VAR = 1e-5
# of a frame's power, what the filter of streaming.resampling changes on the frame's first sample, and one sample from there;
# measured at 5/6 and 4/5 of the recording's rate, on average over where frames begin: -1 to -2, then -14, -19, -22 dB
_EDGE, _RINGING = 0.6, 0.047


@kept
def _class_tables(matrix_key: tuple[Any, tuple[complex]], cls: tuple[Any, ...],
                  pulse_key: tuple[Any, int], near: tuple[Any, ...], clean: tuple[Any, ...], skip: int,
                  extra: float, smear: float = 0.0) -> list[Tensor]:
    """For one class of frames: (Uy [P, P], UT [P, d+K], UC [P, n], eigenvalues [P]).

    P samples, d near carriers, K symbols, n clean carriers. With W the noise's shape (see noise_shape),
    W^-1/2·A_C·A_Cᴴ·W^-1/2 = U·diag(eigenvalues)·Uᴴ on the samples present; Uy = Uᴴ·W^-1/2, UT = Uy·[A_D, H], UC = Uy·A_C.
    """
    low, high, *pattern = cls
    rotate, clean_part, eigenvalues = _clean_basis(matrix_key, low, high, clean, skip, extra, smear)
    matrix = ofdm_matrix(matrix_key)
    open_part = np.hstack([matrix[:, list(near)], frame_pulses(pulse_key, pattern, len(matrix))])
    return [rotate, rotate @ torch.tensor(open_part, dtype=COMPLEX), clean_part, eigenvalues]


@kept
def _clean_basis(matrix_key: tuple[Any, tuple[complex]], low: int, high: int, clean: tuple[Any, ...], skip: int, extra: float,
                 smear: float) -> list[Tensor]:
    """(Uy, UC, eigenvalues) of _class_tables, which no symbol changes."""
    matrix = ofdm_matrix(matrix_key)
    period = len(matrix)
    shape = noise_shape(period, skip, extra, smear)[low:high] ** -0.5
    clean_part = matrix[low:high, list(clean)] * shape[:, None]
    value, vector = np.linalg.eigh(clean_part @ clean_part.conj().T)
    out = [np.zeros((period, width), complex) for width in (period, len(clean))]
    out[0][:high - low, low:high] = vector.conj().T * shape
    out[1][:high - low] = vector.conj().T @ clean_part
    eigenvalues = np.zeros(period)
    eigenvalues[:high - low] = value.clip(0)
    return [torch.tensor(m, dtype=COMPLEX) for m in out] + [torch.tensor(eigenvalues, dtype=REAL)]


def noise_shape(period: int, skip: int, extra: float, smear: float) -> np.ndarray:
    """The noise on each sample of a frame, float64 [period]: 1; `extra` on the first `skip` samples; and what a resampler smears
    of frames `smear` times as strong as noise."""
    return np.where(np.arange(period) < skip, extra, 1.0) + smear * smeared(period)


def smeared(period: int) -> np.ndarray:
    """The power by which a resampler's filter changes each sample of a frame, of the frames' power, float64 [period]: a step at
    the frame's first sample, without its upper frequencies."""
    n = np.arange(period)
    away = np.minimum(n, period - n)
    return np.where(away == 0, _EDGE, _RINGING * np.maximum(away, 1) ** -1.5)


def _smear_levels(kappa: Tensor, noise: Tensor) -> Tensor:
    """The frames' power over the noise in each window [batch], as whole powers of ten: tables are made for few."""
    return (kappa.square() / noise).clamp_min(1).log10().round().long().clamp(0, 4)


class FrameFamily:
    """The frames `rows` (into batch·frames) of a plan, with their near and clean carriers.

    received: [batch·frames, P], in units of the SOI's gain; kappa, noise: [batch], likewise.
    """

    def __init__(self, ofdm: Any, plan: FramePlan, rows: Tensor, received: Tensor, kappa: Tensor, noise: Tensor, near: np.ndarray,
                 clean: np.ndarray, extra: float) -> None:
        self.d, device = len(near), received.device
        self.near_alphabet, self.clean_alphabet = (subset(ofdm.signal.unknown_alphabet, own) for own in (near, clean))
        self.settled = self.clean_alphabet.symmetry is not None         # Gaussian ones stay as they are
        self.decides = self.settled or bool(len(near)) and self.near_alphabet.symmetry is not None
        classes, index = torch.unique(plan.index.flatten()[rows], return_inverse=True)
        self.window = rows // plan.frames
        pair, group = torch.unique(self.window * len(classes) + index, return_inverse=True)
        self.order = torch.argsort(group, stable=True).to(device)       # from here on frames are sorted by group
        self.rows, self.window = rows.to(device)[self.order], self.window.to(device)[self.order]
        self.group, self.sizes = group.to(device)[self.order], torch.bincount(group).to(device)
        self.slots = [(size, torch.nonzero(self.sizes == size)[:, 0]) for size in torch.unique(self.sizes).tolist()]
        start = torch.cumsum(self.sizes, 0) - self.sizes
        self.slots = [(which, start[which][:, None] + torch.arange(size, device=device)) for size, which in self.slots]
        window = (pair // len(classes)).to(device)
        smear = _smear_levels(kappa, noise)[window] if ofdm.resampled else torch.zeros_like(window)
        kinds, which = torch.unique((pair % len(classes)).to(device) + len(classes) * smear, return_inverse=True)
        self.noise, self.kappa = noise[window][:, None], kappa[window][:, None]
        self.cold = self.noise
        shapes = [(plan.classes[int(classes[kind % len(classes)])], 10.0 ** (kind // len(classes)) if ofdm.resampled else 0.0)
                  for kind in kinds.tolist()]
        key = (plan.pulse_key, tuple(near), tuple(clean), ofdm.delay_spread, extra)
        self._prepare(ofdm.matrix_key, shapes, key, which, received[self.rows])
        n = len(rows)
        self.clean_mean = torch.zeros(n, len(clean), dtype=COMPLEX, device=device)
        self.clean_var = torch.ones(len(pair), 1, dtype=REAL, device=device)
        self.near_mean = torch.zeros(n, self.d, dtype=COMPLEX, device=device)
        self.gram: Tensor | None = None
        self.cut = len(clean) == 0
        self.sites = Sites(torch.ones(n, self.d, dtype=REAL, device=device), torch.zeros(n, self.d, dtype=COMPLEX, device=device))

    def _prepare(self, matrix_key: Any, shapes: list[tuple[Any, float]], key: tuple[Any, ...], which: Tensor,
                 received: Tensor) -> None:
        """Tables of each group. shapes: (class of frames, smear) of kinds of groups; which: the kind of each group; key: further
        arguments of _class_tables; received: [n, P]."""
        tables = [[m.to(received.device) for m in _class_tables(matrix_key, cls, *key, smear)] for cls, smear in shapes]
        rotate, self.UT, self.UC, self.eigenvalues = (torch.stack([t[i] for t in tables])[which] for i in range(4))
        self.UT[:, :, :self.d] *= self.kappa[..., None]                 # columns: kappa·A_D and H
        self.UC *= self.kappa[..., None]
        self.received = self._apply(rotate, received)

    def heated(self, heat: float) -> None:
        """Take the noise as `heat` times what it is, from the next pass on."""
        self.noise, self.gram = self.cold * heat, None

    def state(self) -> list[Tensor]:
        """What passes change: copies, of each frame but for the last one, which is of each group."""
        return [v.clone() for v in (self.sites.precision, self.sites.shift, self.near_mean, self.clean_mean, self.clean_var)]

    def restore(self, state: list[Tensor], windows: Tensor) -> None:
        """Give some windows, bool [batch], back what `state` returned."""
        rows = windows[self.window][:, None]
        old = [torch.where(rows, *pair) for pair in zip(state[:4], self.state())]
        self.sites.precision, self.sites.shift, self.near_mean, self.clean_mean = old
        of_group = torch.zeros(len(self.sizes), dtype=torch.bool, device=rows.device)
        of_group[self.group] = rows[:, 0]
        self.clean_var = torch.where(of_group[:, None], state[4], self.clean_var)

    def _apply(self, matrices: Tensor, vectors: Tensor) -> Tensor:
        """Each frame's vector [n, q] times its group's matrix [groups, p, q]: [n, p]."""
        out = vectors.new_empty(len(vectors), matrices.shape[1])
        for which, rows in self.slots:
            out[rows] = vectors[rows] @ matrices[which].mT
        return out

    def _mean(self, values: Tensor) -> Tensor:
        """The mean of [n, ...] over each group: [groups, ...]."""
        total = values.new_zeros(len(self.sizes), *values.shape[1:]).index_add_(0, self.group, values)
        return total / self.sizes.reshape(-1, *[1] * (values.dim() - 1))

    def evidence(self) -> tuple[Tensor, Tensor]:
        """What the frames say about their K symbols: (precision [n, K, K], information [n, K])."""
        d = self.d
        gram, stat = self._products()
        dd, self.dk, kk = gram[..., :d, :d], gram[..., :d, d:], gram[..., d:, d:]
        if d == 0:
            return kk, stat
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(dd + torch.diag_embed(self.sites.precision.to(COMPLEX))))
        self.near_stat = (stat[:, :d] + self.sites.shift)[..., None]
        self.gain = self.inverse @ self.dk
        return kk - self.dk.mH @ self.gain, stat[:, d:] - (self.gain.mH @ self.near_stat)[..., 0]

    def _products(self) -> tuple[Tensor, Tensor]:
        """Of near carriers and symbols, the clean carriers being noise: (precision [n, d+K, d+K], information [n, d+K])."""
        if self.gram is None or self.UC.shape[2]:       # without clean carriers the weights never change
            self.weight = 1 / (self.noise + self.kappa.square() * self.clean_var * self.eigenvalues)    # [groups, P]
            self.weighted = self.UT.mH * self.weight[:, None, :]
            self.gram = (self.weighted @ self.UT)[self.group]
        self.residual = self.received - self._apply(self.UC, self.clean_mean)
        self.stat = self._apply(self.weighted, self.residual)
        return self.gram, self.stat

    def update(self, local_mean: Tensor, local_cov: Tensor, damping: float) -> None:
        """Given the symbols' posterior [n, K], [n, K, K]: cavities of the carriers, and their next sites."""
        if self.d:
            self.near_mean = near_mean = ((self.inverse @ self.near_stat) - self.gain @ local_mean[..., None])[..., 0]
            cross = self.gain @ local_cov                                                               # -Cov(c_D, a)
            near_var = (self.inverse.diagonal(dim1=-2, dim2=-1) + (cross * self.gain.conj()).sum(-1)).real
            cavity = self.sites.cavity(near_mean, near_var)
            self.sites.update(self.near_alphabet.posterior(*cavity), cavity, damping)
        if self.cut or not self.settled:
            return
        mean = torch.cat([near_mean, local_mean], -1) if self.d else local_mean
        weighted = (self.UC * self.weight[..., None]).mH                                                # [groups, n, P]
        stat = self._apply(weighted, self.residual - self._apply(self.UT, mean))
        leak = weighted @ self.UT                                       # what the others' uncertainty costs: the mean of a group
        spread = self._mean(local_cov)
        lost = ((leak[..., self.d:] @ spread) * leak[..., self.d:].conj()).real.sum(-1)
        if self.d:
            near, cross = self._mean(self.inverse + cross @ self.gain.mH), self._mean(cross)
            seen = leak[..., :self.d] @ near - 2 * leak[..., self.d:] @ cross.mH
            lost = lost + (seen * leak[..., :self.d].conj()).real.sum(-1)
        information = ((self.UC.abs().square() * self.weight[..., None]).sum(1) - lost).clamp_min(1e-9)[self.group]
        var = (1 / information - self.clean_var[self.group]).clamp_min(_MIN_VAR)
        self.clean_mean, var = self.clean_alphabet.posterior(self.clean_mean + stat / information, var)
        self.clean_var = self._mean(var.mean(-1))[:, None].clamp_min(_MIN_VAR)


    def misfit(self, symbols: Tensor) -> Tensor:
        """Energy, in units of the noise, that decided symbols [n, K] and decided near carriers leave in each frame [n]."""
        near = self.near_alphabet.nearest(self.near_mean).to(COMPLEX) if self.d else symbols[:, :0]
        left = self.received - self._apply(self.UC, self.clean_mean) - self._apply(self.UT, torch.cat([near, symbols], -1))
        return (self.weight[self.group] * left.abs().square()).sum(1)
