# SPDX-License-Identifier: GPL-3.0-or-later
"""Alphabets: their points, bit labels and posterior means.

Bit 0 sits on the positive side of its axis and the in-phase bits come before the quadrature bits.
"""
from functools import lru_cache

import numpy as np
import torch

from ..errors import ParameterError

_TINY = 1e-12


class Constellation:
    """A finite alphabet of unit mean power.

    points: complex64 [n], point k carries the bits of k, most significant first.
    symmetry: the alphabet repeats under rotation by 2*pi/symmetry.
    """

    def __init__(self, name, points, symmetry):
        points = np.asarray(points, np.complex128)
        self.name, self.symmetry = name, symmetry
        self.bits_per_symbol = int(np.log2(len(points)))
        self.points = torch.tensor(points / np.sqrt(np.mean(abs(points) ** 2)), dtype=torch.complex64)
        labels = np.arange(len(points))[:, None] >> np.arange(self.bits_per_symbol)[::-1] & 1
        self.labels = torch.tensor(labels, dtype=torch.bool)

    def __repr__(self):
        return f"Constellation({self.name!r})"

    def map(self, bits):
        """bits [..., n*bits_per_symbol] of 0 and 1 -> symbols complex64 [..., n]."""
        bits = torch.as_tensor(bits).long()
        bits = bits.reshape(*bits.shape[:-1], -1, self.bits_per_symbol)
        weights = 2 ** torch.arange(self.bits_per_symbol - 1, -1, -1)
        return self.points[(bits * weights).sum(-1)]

    def slice(self, symbols):
        """Hard decisions: symbols [..., n] -> bits uint8 [..., n*bits_per_symbol], nearest point."""
        if self.name == "qpsk":
            bits = torch.stack([symbols.real < 0, symbols.imag < 0], -1)
        elif self.name == "bpsk":
            bits = (symbols.real < 0)[..., None]
        else:
            bits = self.labels.to(symbols.device)[self._distance(symbols).argmin(-1)]
        return bits.flatten(-2).to(torch.uint8)

    def nearest(self, symbols):
        """The alphabet's point nearest to each symbol, same shape."""
        return self.map(self.slice(symbols).cpu()).to(symbols.device)

    def fit(self, x):
        """The largest 2·Re(conj(p)·x) - |p|² of all points p, that is |x|² less the squared distance to the nearest: real
        like x."""
        if self.name == "qpsk":
            return 2 ** 0.5 * torch.view_as_real(x).abs().sum(-1) - 1
        points = self.points.to(x.device, x.dtype)
        return (2 * (x[..., None] * points.conj()).real - points.abs().square()).amax(-1)

    def mean(self, x, var):
        """E[a | x] alone, as posterior gives it: denoisers need no more."""
        if self.name != "qpsk":
            return self.posterior(x, var)[0]
        scale = 2 ** 0.5 / torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        return torch.view_as_complex((torch.view_as_real(x) * scale[..., None]).tanh_().mul_(2 ** -0.5))

    def posterior(self, x, var):
        """E[a | x] and its variance, for x = a + sqrt(var)*n, n ~ CN(0, 1).

        x: complex [...]; var: real, broadcastable to x. Returns mean complex [...], variance real [...].
        """
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        if self.name == "qpsk":  # two independent bits of amplitude 1/sqrt(2), noise var/2 on each
            mean = self.mean(x, var)
            return mean, (1 - torch.view_as_real(mean).square().sum(-1)).clamp_min(0)
        if self.name == "bpsk":
            t = torch.tanh(2 * x.real / var)
            return t.to(x.dtype), (1 - t.square()).clamp_min(0)
        p = torch.softmax(-self._distance(x) / var[..., None], -1)
        mean = (p.to(x.dtype) @ self.points.to(x.device, x.dtype))
        second = p @ self.points.to(x.device).abs().square().to(p.dtype)
        return mean, (second - mean.abs().square()).clamp_min(0)

    def llrs(self, x, var):
        """log P(bit 0 | x)/P(bit 1 | x): x complex [..., n], var real -> real [..., n, bits_per_symbol]."""
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        if self.name == "qpsk":
            return torch.view_as_real(x) * (2 * 2 ** 0.5 / var)[..., None]
        if self.name == "bpsk":
            return (4 * x.real / var)[..., None]
        metric, out = -self._distance(x) / var[..., None], []
        for b in range(self.bits_per_symbol):
            one = self.labels[:, b].to(x.device)
            out.append(metric[..., ~one].logsumexp(-1) - metric[..., one].logsumexp(-1))
        return torch.stack(out, -1)

    def _distance(self, x):
        return (x[..., None] - self.points.to(x.device, x.dtype)).abs().square()


class Gaussian:
    """The alphabet of a carrier about which only the power is known: CN(0, 1)."""

    name, symmetry, bits_per_symbol = "gaussian", None, 0

    def mean(self, x, var):
        """As Constellation.mean."""
        return self.posterior(x, var)[0]

    def posterior(self, x, var):
        """As Constellation.posterior: the linear shrinkage x/(1 + var), with variance var/(1 + var)."""
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device)
        return x / (1 + var), (var / (1 + var)).expand(x.shape)


def _gray_axis(bits):
    """Amplitudes of a Gray-labelled axis of `bits` bits; the first bit is the sign, 0 positive."""
    if bits == 0:
        return np.ones(1)
    inner = 2 ** (bits - 1)
    return np.r_[_gray_axis(bits - 1) + inner, -(_gray_axis(bits - 1) + inner)] if bits > 1 else np.array([1.0, -1.0])


def _qam(bits):
    axis = _gray_axis(bits // 2)
    return (axis[:, None] + 1j * axis[None, :]).ravel()


def _psk8():
    binary = np.arange(8)
    points = np.empty(8, complex)
    points[binary ^ binary >> 1] = np.exp(2j * np.pi * binary / 8)
    return points


_TABLE = {
    "bpsk": (lambda: np.array([1, -1]), 2),
    "qpsk": (lambda: _qam(2), 4),
    "8psk": (_psk8, 8),
    "16qam": (lambda: _qam(4), 4),
    "64qam": (lambda: _qam(6), 4),
}
NAMES = (*_TABLE, "gaussian")


@lru_cache
def constellation(name):
    """The alphabet called `name`; raises ParameterError naming the known ones."""
    if name == "gaussian":
        return Gaussian()
    if name not in _TABLE:
        raise ParameterError(f"constellation: {name!r} is not known; one of {', '.join(NAMES)}")
    points, symmetry = _TABLE[name]
    return Constellation(name, points(), symmetry)
