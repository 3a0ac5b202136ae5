# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussian inference on a chain of symbols, each frame of which couples K neighbours."""
import torch


class BlockChain:
    """Posterior of M symbols from per-frame information about K neighbouring ones.

    local: position of each frame's first symbol, int64 [batch, frames]. The precision matrix is banded (half-width K - 1).
    """

    def __init__(self, local, count, total):
        self.count, self.total = count, total
        self.index = local[..., None] + torch.arange(count, device=local.device)         # [B, F, K]
        self.pair = self.index[..., :, None] * total + self.index[..., None, :]          # [B, F, K, K]

    def gather(self, values):
        """values [B, M] -> [B, F, K]."""
        return values.gather(1, self.index.flatten(1)).reshape(self.index.shape)

    def solve(self, precision, information, site, shift):
        """(mean [B, M], variance [B, M], local covariance [B, F, K, K]) of exp(-½aᴴJa + Re hᴴa), J and h summed over frames
        (precision [B, F, K, K], information [B, F, K]) and sites (real [B, M], complex [B, M])."""
        B, M = site.shape
        J = torch.zeros(B, M * M, dtype=precision.dtype, device=site.device)
        J.scatter_add_(1, self.pair.flatten(1), precision.flatten(1))
        J = J.reshape(B, M, M)
        J.diagonal(dim1=1, dim2=2).add_(site)
        h = shift.scatter_add(1, self.index.flatten(1), information.flatten(1))
        cov = torch.cholesky_inverse(torch.linalg.cholesky(J))
        mean = (cov @ h[..., None])[..., 0]
        local = cov.flatten(1).gather(1, self.pair.flatten(1)).reshape(self.pair.shape)
        return mean, cov.diagonal(dim1=1, dim2=2).real, local
