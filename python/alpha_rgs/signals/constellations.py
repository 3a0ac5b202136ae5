# SPDX-License-Identifier: GPL-3.0-or-later
"""Alphabets: their points, bit labels and posterior means.

Bit 0 sits on the positive side of its axis and the in-phase bits come before the quadrature bits.

    >>> qpsk = constellation("qpsk")
    >>> symbols = qpsk.map([0, 0, 0, 1, 1, 0])
    >>> symbols
    tensor([ 0.7071+0.7071j,  0.7071-0.7071j, -0.7071+0.7071j])
    >>> qpsk.slice(symbols + 0.1).tolist()
    [0, 0, 0, 1, 1, 0]
    >>> mean, var = qpsk.posterior(symbols, 0.1)     # of symbols in noise of variance 0.1
    >>> mean.abs().round(decimals=3).tolist()
    [1.0, 1.0, 1.0]
"""
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ParameterError

_TINY = 1e-12
_QUADRANTS = ("qpsk", "pi/4-dqpsk")     # two independent signs: closed forms


class Constellation:
    """A finite alphabet of unit mean power.

    points: complex64 [n], point k carries the bits of k, most significant first.
    symmetry: the alphabet repeats under rotation by 2*pi/symmetry.
    rotation: rad from one symbol to the next by which a linear modulation rotates this alphabet (LinearModulation.turns).
    """

    rotation = 0.0
    differential = False        # whether its bits are in the steps from symbol to symbol

    def __init__(self, name: str, points: npt.ArrayLike, symmetry: int) -> None:
        points = np.asarray(points, np.complex128)
        self.name, self.symmetry = name, symmetry
        self.bits_per_symbol = int(np.log2(len(points)))
        self.points = torch.tensor(points / np.sqrt(np.mean(abs(points) ** 2)), dtype=torch.complex64)
        labels = np.arange(len(points))[:, None] >> np.arange(self.bits_per_symbol)[::-1] & 1
        self.labels = torch.tensor(labels, dtype=torch.bool)

    def __repr__(self) -> str:
        return f"Constellation({self.name!r})"

    @property
    def least_distance(self) -> float:
        """Between two points, of unit mean power."""
        apart = (self.points[:, None] - self.points).abs()
        return float(apart[apart > 1e-6].min())

    def map(self, bits: Tensor | npt.ArrayLike) -> Tensor:
        """bits [..., n*bits_per_symbol] of 0 and 1 -> symbols complex64 [..., n]."""
        bits = torch.as_tensor(bits).long()
        bits = bits.reshape(*bits.shape[:-1], -1, self.bits_per_symbol)
        weights = 2 ** torch.arange(self.bits_per_symbol - 1, -1, -1)
        return self.points[(bits * weights).sum(-1)]

    def common_phase(self, symbols: Tensor) -> Tensor:
        """The phase by which noisy symbols, complex [batch, ...], are rotated, rad [batch], up to 2π/symmetry: their power of
        that order, averaged."""
        reference = (self.points.to(torch.complex128) ** self.symmetry).mean()
        lifted = (symbols.to(torch.complex128) ** self.symmetry).flatten(1).sum(1) * reference.conj()
        return torch.angle(lifted) / self.symmetry

    def slice(self, symbols: Tensor) -> Tensor:
        """Hard decisions: symbols complex [..., n] -> bits uint8 [..., n*bits_per_symbol], nearest point."""
        if self.name in _QUADRANTS:
            bits = torch.stack([symbols.real < 0, symbols.imag < 0], -1)
        elif self.name == "bpsk":
            bits = (symbols.real < 0)[..., None]
        else:
            bits = self.labels.to(symbols.device)[self._distance(symbols).argmin(-1)]
        return bits.flatten(-2).to(torch.uint8)

    def nearest(self, symbols: Tensor) -> Tensor:
        """The alphabet's point nearest to each symbol: complex64, shape of symbols."""
        weights = 2 ** torch.arange(self.bits_per_symbol - 1, -1, -1, device=symbols.device)
        bits = Constellation.slice(self, symbols).long().unflatten(-1, (-1, self.bits_per_symbol))
        return self.points.to(symbols.device)[(bits * weights).sum(-1)]

    def fit(self, x: Tensor) -> Tensor:
        """The largest 2·Re(conj(p)·x) - |p|² of all points p, that is |x|² less the squared distance to the nearest: real
        like x."""
        if self.name in _QUADRANTS:
            return 2 ** 0.5 * torch.view_as_real(x).abs().sum(-1) - 1
        points = self.points.to(x.device, x.dtype)
        return (2 * (x[..., None] * points.conj()).real - points.abs().square()).amax(-1)

    def mean(self, x: Tensor, var: float | Tensor) -> Tensor:
        """E[a | x] alone, as posterior gives it: denoisers need no more."""
        if self.name not in _QUADRANTS:
            return self.posterior(x, var)[0]
        scale = 2 ** 0.5 / torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        return torch.view_as_complex((torch.view_as_real(x) * scale[..., None]).tanh_().mul_(2 ** -0.5))

    def posterior(self, x: Tensor, var: float | Tensor) -> tuple[Tensor, Tensor]:
        """E[a | x] and its variance, for x = a + sqrt(var)*n, n ~ CN(0, 1).

        x: complex [...]; var: real, broadcastable to x. Returns mean complex [...], variance real [...].
        """
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        if self.name in _QUADRANTS:  # two independent bits of amplitude 1/sqrt(2), noise var/2 on each
            mean = self.mean(x, var)
            return mean, (1 - torch.view_as_real(mean).square().sum(-1)).clamp_min(0)
        if self.name == "bpsk":
            t = torch.tanh(2 * x.real / var)
            return t.to(x.dtype), (1 - t.square()).clamp_min(0)
        p = torch.softmax(-self._distance(x) / var[..., None], -1)
        mean = (p.to(x.dtype) @ self.points.to(x.device, x.dtype))
        second = p @ self.points.to(x.device).abs().square().to(p.dtype)
        return mean, (second - mean.abs().square()).clamp_min(0)

    @cached_property
    def rings(self) -> tuple[Tensor, Tensor]:
        """(radii, share of the points on each), float64 [rings]."""
        radii, counts = np.unique(self.points.abs().double().numpy().round(6), return_counts=True)
        return torch.from_numpy(radii), torch.from_numpy(counts / counts.sum())

    def posterior_of_any_phase(self, x: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """As posterior, of symbols that were turned by any angle, each by another: of their amplitude alone something is known.

        On a ring the phase has a von Mises density about that of x, whose mean is I1(k)/I0(k), k = 2·radius·|x|/var."""
        radii, share = (values.to(x.device, x.real.dtype) for values in self.rings)
        size, var = x.abs()[..., None], var[..., None].clamp_min(_TINY)
        sharp = 2 * radii * size / var
        level = torch.special.i0e(sharp)
        weight = torch.softmax(share.log() + level.log() - (size - radii).square() / var, -1)
        amplitude = (weight * radii * torch.special.i1e(sharp) / level).sum(-1)
        mean = x * (amplitude / size[..., 0].clamp_min(_TINY))
        return mean, ((weight * radii.square()).sum(-1) - amplitude.square()).clamp_min(0)

    def llrs(self, x: Tensor, var: float | Tensor, shape: float | Tensor = 2.0) -> Tensor:
        """log P(bit 0 | x)/P(bit 1 | x): x complex [..., n], var real -> real [..., n, bits_per_symbol].

        shape: of errors e whose density is as exp(-(|e|²/var)^(shape/2)): 2, Gaussian, or more, bounded rather; broadcastable to
        x."""
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        power = torch.as_tensor(shape, dtype=x.real.dtype, device=x.device) / 2
        if self.name == "qpsk" and bool((power == 1).all()):
            return torch.view_as_real(x) * (2 * 2 ** 0.5 / var)[..., None]
        if self.name == "bpsk" and bool((power == 1).all()):
            return (4 * x.real / var)[..., None]
        metric, out = -(self._distance(x) / var[..., None]) ** power[..., None], []
        for b in range(self.bits_per_symbol):
            one = self.labels[:, b].to(x.device)
            out.append(metric[..., ~one].logsumexp(-1) - metric[..., one].logsumexp(-1))
        return torch.stack(out, -1)

    def _distance(self, x: Tensor) -> Tensor:
        return (x[..., None] - self.points.to(x.device, x.dtype)).abs().square()


class DifferentialPsk(Constellation):
    """Phase shift keying whose bits are in the phase steps from one symbol to the next; points, means and variances are the
    alphabet's, and symbols are independent.

    A step is `rotation` and q times 2π/M, the bits of which are the Gray code of q: M = 4, 00 by 0, 01 by π/2, 11 by π, 10 by
    -π/2 (IEEE 802.11-2020, 15.4.6.4). π/4-DQPSK has rotation π/4: symbol k is exp(jπk/4) times a QPSK point; that factor is
    removed by the linear modulation, and 00 steps by π/4, 01 by 3π/4, 11 by -3π/4, 10 by -π/4, as in TETRA (ETSI EN 300 392-2,
    5.5.2.3).

    map, slice and llrs take the symbols along the last axis as neighbours in time; before the first one stands the point of bits
    0. So a burst from its first symbol on has all bits right, and of a stretch cut out of a stream the first symbol's bits say
    nothing. A turn of all symbols that leaves the alphabet as it is moves no other bit.
    """

    differential = True

    def __init__(self, name: str, points: npt.ArrayLike, symmetry: int, rotation: float = 0.0) -> None:
        super().__init__(name, points, symmetry)
        self.rotation = rotation
        number = torch.arange(symmetry)
        turned = (self.points / self.points[0]).to(torch.complex128).angle() * symmetry / (2 * np.pi)
        self._at = torch.round(turned).long() % symmetry            # steps from point 0 to point k
        self._point, self._code = torch.argsort(self._at), number ^ number >> 1
        self._step = torch.argsort(self._code)              # of bits 0, 1, ... as numbers

    def map(self, bits: Tensor | npt.ArrayLike) -> Tensor:
        """bits [..., n*bits_per_symbol] -> symbols complex64 [..., n]."""
        bits = torch.as_tensor(bits).long()
        bits = bits.reshape(*bits.shape[:-1], -1, self.bits_per_symbol)
        weights = 2 ** torch.arange(self.bits_per_symbol - 1, -1, -1)
        return self.points[self._point[self._step[(bits * weights).sum(-1)].cumsum(-1) % self.symmetry]]

    def slice(self, symbols: Tensor) -> Tensor:
        """Hard decisions of the phase steps: symbols complex [..., n] -> bits uint8 [..., n*bits_per_symbol]."""
        weights = 2 ** torch.arange(self.bits_per_symbol - 1, -1, -1, device=symbols.device)
        label = (super().slice(symbols).long().unflatten(-1, (-1, self.bits_per_symbol)) * weights).sum(-1)
        at = self._at.to(symbols.device)[label]
        code = self._code.to(symbols.device)[torch.diff(at, dim=-1, prepend=torch.zeros_like(at[..., :1])) % self.symmetry]
        return (code[..., None] // weights % 2).flatten(-2).to(torch.uint8)

    def llrs(self, x: Tensor, var: float | Tensor, shape: float | Tensor = 2.0) -> Tensor:
        """As Constellation.llrs, of the phase steps: P(step q) = Σ_a P(a_k = q·a)·P(a_{k-1} = a), symbols independent given x."""
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device).clamp_min(_TINY)
        power = torch.as_tensor(shape, dtype=x.real.dtype, device=x.device) / 2
        metric = -(self._distance(x) / var[..., None]) ** power[..., None]
        log = torch.log_softmax(metric, -1)[..., self._point.to(x.device)]     # by steps
        known = torch.full_like(log[..., :1, :], -torch.inf)
        known[..., 0] = 0
        before = torch.cat([known, log[..., :-1, :]], -2)
        turn = torch.stack([(log.roll(-q, -1) + before).logsumexp(-1) for q in range(self.symmetry)], -1)
        code, labels = turn[..., self._step.to(x.device)], self.labels.to(x.device)             # by bits
        return torch.stack([code[..., ~one].logsumexp(-1) - code[..., one].logsumexp(-1) for one in labels.T], -1)


class Gaussian:
    """The alphabet of a carrier about which only the power is known: CN(0, 1)."""

    name, symmetry, bits_per_symbol, rotation = "gaussian", None, 0, 0.0

    def mean(self, x: Tensor, var: float | Tensor) -> Tensor:
        """As Constellation.mean."""
        return self.posterior(x, var)[0]

    def posterior(self, x: Tensor, var: float | Tensor) -> tuple[Tensor, Tensor]:
        """As Constellation.posterior: the linear shrinkage x/(1 + var), with variance var/(1 + var)."""
        var = torch.as_tensor(var, dtype=x.real.dtype, device=x.device)
        return x / (1 + var), (var / (1 + var)).expand(x.shape)


def _gray_axis(bits: int) -> npt.NDArray[np.float64]:
    """Amplitudes of a Gray-labelled axis of `bits` bits; the first bit is the sign, 0 positive."""
    if bits == 0:
        return np.ones(1)
    inner = 2 ** (bits - 1)
    return np.r_[_gray_axis(bits - 1) + inner, -(_gray_axis(bits - 1) + inner)] if bits > 1 else np.array([1.0, -1.0])


def _qam(bits: int) -> npt.NDArray[np.complex128]:
    """Square QAM of `bits` bits per symbol, Gray labels, unnormalised."""
    axis = _gray_axis(bits // 2)
    return (axis[:, None] + 1j * axis[None, :]).ravel()


def _psk8() -> npt.NDArray[np.complex128]:
    binary = np.arange(8)
    points = np.empty(8, complex)
    points[binary ^ binary >> 1] = np.exp(2j * np.pi * binary / 8)
    return points


# DVB-S2, ETSI EN 302 307-1, 5.4.3 and 5.4.4: (ring, angle in units of π/12 or π/8) of the points in the order of their labels
_APSK16 = [(2, a) for a in (3, -3, 9, -9, 1, -1, 11, -11, 5, -5, 7, -7)] + [(1, a) for a in (3, -3, 9, -9)]
_APSK32 = [(2, a / 12) for a in (3, 5, -3, -5, 9, 7, -9, -7)] + [(3, a / 8) for a in (1, 3, -2, -4, 6, 4, -7, -5)] + [
    pair for a in (1, -1, 11, -11) for pair in ((2, a / 12), (1, (3 if abs(a) == 1 else 9) * np.sign(a) / 12))] + [
    (3, a / 8) for a in (0, 2, -1, -3, 7, 5, 8, -6)]
RADII: dict[str, tuple[float, ...]] = {"16apsk": (3.15,), "32apsk": (2.84, 5.27)}         # of rates 2/3 and 3/4


def _apsk16(gamma: float = RADII["16apsk"][0]) -> npt.NDArray[np.complex128]:
    return np.array([(1, gamma)[ring - 1] * np.exp(1j * np.pi * a / 12) for ring, a in _APSK16])


def _apsk32(gamma1: float = RADII["32apsk"][0], gamma2: float = RADII["32apsk"][1]) -> npt.NDArray[np.complex128]:
    return np.array([(1, gamma1, gamma2)[ring - 1] * np.exp(1j * np.pi * a) for ring, a in _APSK32])


_TABLE: dict[str, tuple[Callable[..., npt.NDArray[Any]], int]] = {
    "bpsk": (lambda: np.array([1, -1]), 2),
    "qpsk": (lambda: _qam(2), 4),
    "8psk": (_psk8, 8),
    "16qam": (lambda: _qam(4), 4),
    "64qam": (lambda: _qam(6), 4),
    "16apsk": (_apsk16, 4),
    "32apsk": (_apsk32, 4),
}
DIFFERENTIAL = ("bpsk", "qpsk", "8psk")
NAMES = (*_TABLE, "pi/4-dqpsk", "gaussian")


def points_of(name: str) -> Tensor:
    """The points of the finite alphabet called `name`, complex64 [n], of unit mean power. Raises ParameterError."""
    alphabet = constellation(name)
    if not isinstance(alphabet, Constellation):
        raise ParameterError(f"constellation: {name!r} has no points")
    return alphabet.points


@lru_cache
def constellation(name: str, radii: tuple[float, ...] = (), differential: bool = False) -> "Constellation | Gaussian":
    """The alphabet called `name`: a Constellation, or the Gaussian. Raises ParameterError naming the known ones.

    radii: of the outer rings of 16apsk (one) or 32apsk (two), the innermost being 1; () for RADII. differential: a
    DifferentialPsk of bpsk, qpsk or 8psk.
    """
    if differential and name not in DIFFERENTIAL:
        raise ParameterError(f"differential: bits are in phase steps of {', '.join(DIFFERENTIAL)}; {name!r} "
                             f"{'has them there anyway' if name == 'pi/4-dqpsk' else 'is none of them'}, leave the key out")
    if radii and (len(radii) != len(RADII.get(name, ())) or not all(b > a for a, b in zip((1, *radii), radii))):
        raise ParameterError(f"radii: {list(radii)} must be increasing numbers above 1, one for 16apsk and two for 32apsk; other "
                             "constellations have none")
    if name == "gaussian":
        return Gaussian()
    if name == "pi/4-dqpsk":
        return DifferentialPsk(name, _qam(2), 4, np.pi / 4)
    if name not in _TABLE:
        raise ParameterError(f"constellation: {name!r} is not known; one of {', '.join(NAMES)}")
    points, symmetry = _TABLE[name]
    return (DifferentialPsk if differential else Constellation)(name, points(*radii), symmetry)
