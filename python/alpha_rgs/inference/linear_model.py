# SPDX-License-Identifier: GPL-3.0-or-later
"""A source's waveform as a linear map of independent discrete unknowns: what joint detection asks a source for."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..signals.mixed import Mixed, parts_of

EVERY = slice(None)


def some(value: Tensor, rows: slice) -> Tensor:
    """Rows of a tensor [1 or batch, ...]; the one row where all windows are alike."""
    return value if len(value) == 1 else value[rows]


@dataclass(frozen=True)
class LinearModel:
    """x(n) = constant(n) + Σ_k columns[k, n - start[k]]·u_k in the windows of a batch, of unit mean power.

    start: the sample on which each column begins, int64 [1 or batch, n], ascending; it may lie outside the window. columns:
    complex128 [1 or batch, n, width]. alphabet: of every u_k, or a Mixed, of rows of them; a real one means a real unknown.
    exists: which unknowns are there, bool [1 or batch, n]. frame: (length, first sample of a frame [1 or batch]) where columns
    are whole frames, else None. decode: (mean, variance) of the unknowns, real [rows, n, dimensions], and which rows of the batch
    these are -> (symbols, llrs, at) as in sources.base.Demodulated; None where the unknowns are no symbols. missing: mean power
    of the waveform that the map leaves out. remainder: posterior means of the unknowns, real [rows, n, dimensions], and the rows
    -> an estimate of what is left out, complex128 [rows, samples]; None where nothing is. constant: what is known of the
    waveform, complex128 [1 or batch, samples]; None for nothing.
    """

    start: Tensor
    columns: Tensor
    alphabet: Any
    exists: Tensor
    decode: Callable[..., tuple[Tensor, Tensor, Tensor]] | None
    frame: tuple[int, Tensor] | None = None
    missing: float = 0.0
    remainder: Callable[..., Tensor] | None = None
    constant: Tensor | None = None

    def select(self, rows: slice) -> LinearModel:
        """The same model in some windows of the batch."""
        frame = None if self.frame is None else (self.frame[0], some(self.frame[1], rows))
        remainder, decode = self.remainder, self.decode
        return replace(self, start=some(self.start, rows), columns=some(self.columns, rows), exists=some(self.exists, rows),
                       frame=frame, constant=None if self.constant is None else some(self.constant, rows),
                       decode=None if decode is None else lambda mean, var: decode(mean, var, rows),
                       remainder=None if remainder is None else lambda mean: remainder(mean, rows))

    def waveform(self, unknowns: Tensor, samples: int) -> Tensor:
        """The waveform of unknowns, complex or real [batch, n], in windows of that many samples: complex128 [batch, samples]."""
        n = self.start.expand(len(unknowns), -1)[..., None] + torch.arange(self.width, device=unknowns.device)
        inside = (n >= 0) & (n < samples)
        wave = (self.columns.to(unknowns.device) * unknowns[..., None] * inside).flatten(1)
        out = torch.zeros(len(unknowns), samples, dtype=self.columns.dtype, device=unknowns.device)
        out = out.scatter_add_(1, n.clamp(0, samples - 1).flatten(1), wave)
        return out if self.constant is None else out + self.constant.to(out)

    def in_one_alphabet(self) -> LinearModel | None:
        """The same model with the first alphabet of a Mixed for all unknowns, of which it may believe too much possible: the
        others, ±1, become two of its points. None where that is not so, as with Gaussian unknowns."""
        if not isinstance(self.alphabet, Mixed):
            return self
        (first, _), *others = parts_of(self.alphabet, self.columns.shape[1])
        if first.symmetry is None:
            return None
        point = first.points[0]                     # and its opposite: symmetries are even
        columns = self.columns.clone()
        for own, places in others:
            if dimensions(own) == 2:
                return None
            columns[:, places] /= point.to(columns.dtype)
        return replace(self, columns=columns, alphabet=first, decode=None)

    @property
    def width(self) -> int:
        """Samples of a column."""
        return self.columns.shape[-1]

    @property
    def dimensions(self) -> int:
        """Real unknowns of each u_k: 1 or 2."""
        return dimensions(self.alphabet)


def dimensions(alphabet: Any) -> int:
    """Real unknowns that a symbol of this alphabet is: 1 or 2."""
    if isinstance(alphabet, Mixed):
        return max(dimensions(own) for own, _ in alphabet.parts)
    return 1 if alphabet.symmetry is not None and not bool(alphabet.points.imag.any()) else 2


def prior_precisions(alphabet: Any, count: int, least_var: float) -> tuple[Tensor, Tensor]:
    """(precision of each part of `count` unknowns of unit power, float64 [count, dimensions]; which are Gaussian, bool likewise).
    A part that is always zero has the variance least_var."""
    dims = dimensions(alphabet)
    precision, gaussian = torch.full((count, dims), float(dims), dtype=torch.float64), torch.zeros(count, dims, dtype=torch.bool)
    for own, places in parts_of(alphabet, count):
        gaussian[places] = own.symmetry is None
        if dimensions(own) < dims:
            precision[places] = torch.tensor([1.0, 1 / least_var], dtype=torch.float64)
    return precision, gaussian


def as_complex(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts [..., dimensions] and their variances as complex values and E|error|² [...]. A real alphabet
    reads the real part alone, whose variance is half of what a complex error would have."""
    if mean.shape[-1] == 1:
        return mean[..., 0].to(torch.complex128), 2 * var[..., 0]
    return torch.view_as_complex(mean.contiguous()), var.sum(-1)


def moments(alphabet: Any, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and variances over the alphabet, of real and imaginary part each: mean, var real [..., dims], of the
    observation and its error -> the same shapes. Errors of the two parts are independent, and may differ."""
    if isinstance(alphabet, Mixed):
        mixed_mean, left = alphabet.each(moments, mean, var, axis=-2)
        return mixed_mean, left
    if alphabet.symmetry is None:                       # Gaussian: unit power, half of it in each part
        gain = 1 / (1 + 2 * var)
        return gain * mean, gain * var
    points = torch.view_as_real(alphabet.points).to(mean)[:, :mean.shape[-1]]
    if alphabet.name in ("bpsk", "qpsk"):               # every part is ±amplitude by itself
        amplitude = points.abs()[0]
        soft = torch.tanh(amplitude * mean / var)
        return amplitude * soft, amplitude ** 2 * (1 - soft.square())
    p = torch.softmax(-((mean[..., None, :] - points).square() / (2 * var[..., None, :])).sum(-1), -1)
    out = p @ points
    return out, (p @ points.square() - out.square()).clamp_min(0)
