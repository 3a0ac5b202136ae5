# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussian inference on chains of symbols, of which each OFDM frame couples K neighbours."""
from typing import Any

import torch
from torch import Tensor

from .block_tridiagonal import block_tridiagonal


class BlockChain:
    """Posterior of the symbols of B windows, M each, from what each frame says about K neighbouring ones.

    window: which window each frame belongs to, int64 [frames]; first: position of its first symbol, int64 [frames].
    The precision matrix is banded with half-width K - 1: in blocks of K it is block tridiagonal, solved by one forward and
    one backward sweep (Takahashi's recursion gives just the covariances that are needed).
    """

    def __init__(self, window: Tensor, first: Tensor, count: int, batch: int, total: int) -> None:
        q = count
        self.batch, self.total, self.q, self.blocks = batch, total, q, -(-total // count)
        k = torch.arange(count, device=first.device)
        self.index = window[:, None] * total + first[:, None] + k                    # [frames, K] into B·M
        row = (first[:, None] + k)[:, :, None].expand(-1, q, q)
        column = row.mT
        block = torch.minimum(row, column) // q
        upper = row // q <= column // q
        r, c = torch.where(upper, row, column) - block * q, torch.where(upper, column, row) - block * q
        self.entry = ((window[:, None, None] * self.blocks + block) * q + r) * 2 * q + c    # into B·blocks·q·2q
        self.upper = upper

    def gather(self, values: Tensor) -> Tensor:
        """values [B, M] -> [frames, K]."""
        return values.flatten()[self.index]

    def solve(self, precision: Tensor, information: Tensor, site: Tensor, shift: Tensor) -> Any:
        """(mean [B, M], variance [B, M], local covariance [frames, K, K]) of exp(-aᴴJa + 2·Re hᴴa), where J and h are summed
        over frames (precision [frames, K, K], information [frames, K]) and sites (real [B, M], complex [B, M])."""
        B, q, n = self.batch, self.q, self.blocks
        band = precision.new_zeros(B * n * q * 2 * q)
        band.scatter_add_(0, self.entry[self.upper], precision[self.upper])
        band = band.reshape(B, n, q, 2 * q)
        pad = n * q - self.total
        diagonal = torch.nn.functional.pad(site, (0, pad), value=1.0).reshape(B, n, q)
        main, side = band[..., :q] + torch.diag_embed(diagonal.to(band.dtype)), band[..., q:]
        h = torch.index_add(shift.flatten(), 0, self.index.flatten(), information.flatten()).reshape(B, self.total)
        h = torch.nn.functional.pad(h, (0, pad)).reshape(B, n, q)
        mean, own, cross, _ = block_tridiagonal(main, side[:, :-1], h)
        mean = mean.reshape(B, -1)[:, :self.total]
        var = own.diagonal(dim1=-2, dim2=-1).real.reshape(B, -1)[:, :self.total]
        cov = torch.cat([own, torch.nn.functional.pad(cross, (0, 0, 0, 0, 0, 1))], -1)
        local = cov.flatten()[self.entry]
        return mean, var, torch.where(self.upper, local, local.conj())
