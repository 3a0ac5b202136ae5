# SPDX-License-Identifier: GPL-3.0-or-later
"""Unbiased linear estimates of an OFDM signal's carriers, frame by frame."""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inference.kept import kept
from ..signals.framing import FramePlan
from ..signals.ofdm import ofdm_matrix


def unbiased_filters(plan: FramePlan, matrix_key: Any, noise_var: float, device: torch.device,
                     whole: bool) -> tuple[list[Tensor], Tensor]:
    """The unbiased filter of each class, a list, and the variances it leaves [batch, frames, carriers]. whole: classes of frames
    that are cut have those of no samples."""
    cuts = [c[:2] if not whole or c[1] - c[0] == plan.length else (0, 0) for c in plan.classes]
    pairs = [_unbiased_filter(matrix_key, cut, noise_var) for cut in cuts]
    return [f.to(device) for f, _ in pairs], torch.stack([v for _, v in pairs]).to(device)[plan.index.to(device)]


@kept
def _unbiased_filter(matrix_key: Any, cls: tuple[int, int], noise_var: float) -> tuple[Tensor, Tensor]:
    """(F, var): c + error of variance var = F·x for the samples of one frame in white noise, from the linear estimate of
    unit-power unknowns.

    F complex64 [unknowns, frame_length], var float32 [unknowns]. A cut frame has zero columns outside. One Cholesky factor, of
    samples or of unknowns, whichever are fewer.
    """
    low, high, *_ = cls
    signal, channel = matrix_key
    matrix = torch.from_numpy(ofdm_matrix(matrix_key)[low:high])
    if high - low < matrix.shape[1]:
        gram = matrix @ matrix.mH
        filters = torch.cholesky_solve(matrix, _root(gram, noise_var)).mH
    else:
        within = np.arange(signal.frame_length)
        gram = torch.from_numpy(signal.gram(channel, ((within >= low) & (within < high)).astype(float)))
        if signal.pilots:
            inverse = torch.cholesky_inverse(_root(gram, noise_var))
        else:       # real but for phases, which takes a quarter of the time
            turn = torch.from_numpy(signal.centred(channel, (low + high - 1) / 2))
            real = (gram * turn[:, None] * turn.conj()).real
            inverse = torch.cholesky_inverse(_root(real, noise_var)) * turn.conj()[:, None] * turn
        filters = signal.made(channel, inverse.mT)[:, low:high].conj()
    gain = (filters * matrix.mT).sum(1).real
    gain = gain.clamp(1e-6, 1 - 1e-6)
    full = torch.zeros(matrix.shape[1], signal.frame_length, dtype=torch.complex64)
    full[:, low:high] = filters / gain[:, None]
    return full, (1 / gain - 1).float()


def _root(gram: Tensor, noise_var: float) -> Tensor:
    """The Cholesky factor of a Gram matrix and noise."""
    return torch.linalg.cholesky(gram + noise_var * torch.eye(len(gram)))
