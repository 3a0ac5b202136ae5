# SPDX-License-Identifier: GPL-3.0-or-later
"""Linear systems of which only products with the matrix are known (Hestenes and Stiefel, 1952)."""
from collections.abc import Callable

import torch
from torch import Tensor

_CONVERGED = 1e-8   # squared residual, relative


def conjugate_gradients(apply: Callable[[Tensor], Tensor], right: Tensor, iterations: int,
                        start: Tensor | None = None) -> tuple[Tensor, int]:
    """Solve apply(x) = right, complex [batch, n], apply Hermitian and positive: (x, how often it was applied).

    Rows that have converged stand still; it ends when all have."""
    x = torch.zeros_like(right) if start is None else start
    residual = right if start is None else right - apply(x)
    used = 0 if start is None else 1
    goal = _CONVERGED * _dot(right, right)
    direction, size = residual, _dot(residual, residual)
    while used < iterations and bool((size > goal).any()):
        image = apply(direction)
        used += 1
        curvature = _dot(direction, image)
        good = (size > goal) & (curvature > 0)          # differences of single-precision denoisers may come out negative
        step = torch.where(good, size / curvature.clamp_min(1e-20), 0)
        x, residual = x + step * direction, residual - step * image
        before, size = size, torch.where(good, _dot(residual, residual), 0)
        direction = residual + (size / before.clamp_min(1e-30)) * direction
    return x, used


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum(1, keepdim=True)
