# SPDX-License-Identifier: GPL-3.0-or-later
"""Products with the inverse of a Hermitian Toeplitz matrix.

It follows from its first column x (Gohberg and Semencul, 1972):
    T⁻¹ = (L·Lᴴ - U·Uᴴ)/x₀,    L, U lower triangular Toeplitz of (x₀, x₁, ..., x_{n-1}) and (0, x̄_{n-1}, ..., x̄₁)
so that it costs one Levinson recursion and some FFTs, instead of a dense inverse.
"""
from typing import Any

import numpy as np
from scipy.linalg import solve_toeplitz


class ToeplitzInverse:
    """v -> T⁻¹·v for the Hermitian Toeplitz matrix with this first column, complex128 [n]; v complex [batch, n]."""

    def __init__(self, first_column: np.ndarray) -> None:
        n = self.n = len(first_column)
        x = solve_toeplitz(first_column, np.eye(n, 1)[:, 0])
        self.scale = x[0].real
        self.lower, self.upper = (np.fft.fft(c, 2 * n) for c in (x, np.r_[0, x[:0:-1].conj()]))

    def _product(self, spectrum: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.fft.ifft(spectrum * np.fft.fft(v, 2 * self.n))[:, :self.n]

    def __call__(self, v: Any) -> np.ndarray:
        lower, upper = (self._product(f, self._product(f.conj(), v)) for f in (self.lower, self.upper))
        return (lower - upper) / self.scale
