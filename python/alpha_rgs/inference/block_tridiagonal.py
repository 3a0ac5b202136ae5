# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians whose precision is block tridiagonal."""
import torch
from torch import Tensor


def block_tridiagonal(main: Tensor, side: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, covariances and determinant of a Gaussian with this precision: main [B, n, q, q] (Hermitian), side [B, n-1, q, q]
    (block j with j + 1), h = precision·mean [B, n, q] -> mean [B, n, q], of each block [B, n, q, q], of each with the next [B,
    n-1, q, q], logarithm of the precision's determinant [B]. One sweep forth and one back (Takahashi's recursion gives just these
    covariances)."""
    n, h = main.shape[1], h[..., None]
    block, right, inverse, gain, mean, pivots = main[:, 0], h[:, 0], [], [], [], []
    for i in range(n):
        root = torch.linalg.cholesky(block)
        pivots.append(root.diagonal(dim1=1, dim2=2))
        inverse.append(torch.cholesky_inverse(root))
        mean.append(inverse[i] @ right)
        if i + 1 < n:
            gain.append(inverse[i] @ side[:, i])
            block = main[:, i + 1] - side[:, i].mH @ gain[i]
            right = h[:, i + 1] - side[:, i].mH @ mean[i]
    cov, cross = torch.empty_like(main), torch.empty_like(main[:, 1:])
    cov[:, -1] = inverse[-1]
    for i in range(n - 2, -1, -1):
        cross[:, i] = -gain[i] @ cov[:, i + 1]
        cov[:, i] = inverse[i] - cross[:, i] @ gain[i].mH
        mean[i] = mean[i] - gain[i] @ mean[i + 1]
    return torch.stack(mean, 1)[..., 0], cov, cross, 2 * torch.stack(pivots, 1).real.log().sum((1, 2))


def fit_and_determinant(main: Tensor, side: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Of what block_tridiagonal takes, hᴴ·mean and the logarithm of the precision's determinant alone, both [B]: one sweep."""
    n, q = main.shape[1:3]
    block, right, fit, log = main[:, 0], h[:, 0, :, None], h.real.new_zeros(len(h)), h.real.new_zeros(len(h))
    for i in range(n):
        root = torch.linalg.cholesky(block)
        log = log + 2 * root.diagonal(dim1=1, dim2=2).real.log().sum(1)
        both = torch.linalg.solve_triangular(root, torch.cat([side[:, i], right], 2) if i + 1 < n else right, upper=False)
        own = both[..., -1:]
        fit = fit + own.abs().square().sum((1, 2))
        if i + 1 < n:
            less = both[..., :q].mH @ both
            block, right = main[:, i + 1] - less[..., :q], h[:, i + 1, :, None] - less[..., q:]
    return fit, log
