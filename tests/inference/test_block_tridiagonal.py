# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians whose precision is block tridiagonal: what is computed of them in one sweep is what two give, and what the whole
matrix gives."""
import torch
from alpha_rgs.inference.block_tridiagonal import block_tridiagonal, fit_and_determinant


def _blocks(batch, n, q, seed):
    g = torch.Generator().manual_seed(seed)
    main = torch.randn(batch, n, q, q, dtype=torch.complex128, generator=g)
    side = torch.randn(batch, n - 1, q, q, dtype=torch.complex128, generator=g)
    h = torch.randn(batch, n, q, dtype=torch.complex128, generator=g)
    return main + main.mH + 8 * q * torch.eye(q), side, h


def test_fit_and_determinant_are_those_of_the_whole_matrix():
    for batch, n, q in ((3, 5, 4), (1, 1, 2)):
        main, side, h = _blocks(batch, n, q, n)
        fit, log = fit_and_determinant(main, side, h)
        mean, _, _, other = block_tridiagonal(main, side, h)
        whole = torch.zeros(batch, n * q, n * q, dtype=torch.complex128)
        for i in range(n):
            whole[:, i * q:(i + 1) * q, i * q:(i + 1) * q] = main[:, i]
            if i + 1 < n:
                whole[:, i * q:(i + 1) * q, (i + 1) * q:(i + 2) * q] = side[:, i]
                whole[:, (i + 1) * q:(i + 2) * q, i * q:(i + 1) * q] = side[:, i].mH
        right = torch.linalg.solve(whole, h.flatten(1)[..., None])[..., 0]
        torch.testing.assert_close(mean.flatten(1), right)
        torch.testing.assert_close(fit, (h.flatten(1).conj() * right).real.sum(1))
        torch.testing.assert_close(log, torch.linalg.slogdet(whole)[1])
        torch.testing.assert_close(log, other)
