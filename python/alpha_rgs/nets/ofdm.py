# SPDX-License-Identifier: GPL-3.0-or-later
"""A denoiser that knows OFDM's shape, a Fourier transform behind a cyclic prefix, and learns the rest from signals alone.

Where frames begin is found among all offsets by what prefixes have in common with their copies. A frame x = A·c + n, carriers c
of unit power in noise of any given covariance C, gives of each carrier the unbiased linear estimate and its error:
    R = A·Aᴴ + C,    g_k = a_kᴴ·R⁻¹·a_k,    r_k = a_kᴴ·R⁻¹·x/g_k,    var_k = 1/g_k - 1
(samples beyond the window's ends left out). The carrier is then its posterior mean over a mixture of points. Carriers that share
noise, in another signal's band, are decided together (signals/tree_search.py).

Learned: the carriers' mean powers; the points, their shares and the scatter about them; the symmetry by which a window's phase is
found; how far an alignment is to be trusted, and a frame that is not whole.
"""
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..signals.framing import FramePlan
from ..signals.tree_search import list_mean
from .denoiser import Named, resampled

_NEAR, _SHARED = 14, 3.0        # carriers decided together, at most; times the usual error, from which they are
_WIDTH, _WIDTH_CUT = 24, 64     # decisions kept by the search; in frames that the window cuts, all carriers together
_KEPT = 4000                    # tables
_ENOUGH = 0.125                 # of such a frame must be seen at least
_LEAST = 1e-6                   # of variances, a carrier having unit power
_ACTIVE = 0.02                  # of the strongest carrier's power: less is none
_TURNED = 0.3                   # mean of c^m over that of |c|^m, from which the source is the same when turned by 1/m
_POINTS, _APART = (2, 4, 8, 16, 32, 64), 0.02   # that are tried; variance about them with which they are the source's own


class OfdmDenoiser(Named):
    """fft_size, cyclic_prefix: samples. points: how many. fold: a power of two, turned by 1/fold of a turn the source is the
    same; 0: its phase says nothing. power: of the carriers, float32 [fft_size] in FFT order, sum 1. spectrum: as Denoiser's."""

    finds, cyclic = True, True
    power: Tensor

    def __init__(self, fft_size: int, cyclic_prefix: int, points: int, fold: int, spectrum: Tensor) -> None:
        super().__init__()
        self.fft_size, self.cyclic_prefix, self.fold = fft_size, cyclic_prefix, fold
        self.register_buffer("spectrum", torch.as_tensor(spectrum, dtype=torch.float32))
        self.register_buffer("power", torch.full((fft_size,), 1 / fft_size))
        angle = 2 * torch.pi * torch.arange(points) / points
        self.places = nn.Parameter(torch.stack([angle.cos(), angle.sin()], 1))
        self.shares = nn.Parameter(torch.zeros(points))         # logarithms
        self.scatter = nn.Parameter(torch.tensor(-4.0))         # decades of the variance about a point
        self.cut = nn.Parameter(torch.zeros(2))                # of frames not whole: logs of a factor on var, and its power
        self._kept: dict[Hashable, Table] = {}
        self.trust = nn.Parameter(torch.zeros(2))               # of an alignment: log of a factor, its slope with the ratio

    @property
    def net(self) -> "OfdmDenoiser":
        """Itself: there are no layers to be wrapped."""
        return self

    @property
    def period(self) -> int:
        """Samples of a frame."""
        return self.fft_size + self.cyclic_prefix

    def carriers(self) -> tuple[Tensor, Tensor]:
        """(numbers of the active carriers, ascending; their powers)."""
        number = torch.arange(-(self.fft_size // 2), self.fft_size - self.fft_size // 2, device=self.power.device)
        power = self.power.double()[number]
        active = power > _ACTIVE * power.max()
        return number[active], power[active] / power[active].sum()

    def learn(self, windows: Tensor, density: float = 1e-3) -> tuple[int, int, Tensor]:
        """Take carriers, points and symmetry from windows [batch, samples] of the source of unit power, noise of so little
        density (float) on it or none. Gives back what the untrained denoiser must be built for: (points, fold, places)."""
        from scipy.cluster.vq import kmeans2

        with torch.no_grad():
            noise, none = torch.full((1, 1), density), torch.zeros(0, dtype=torch.long)
            offset, _ = self.aligned(windows, noise)
            plan = FramePlan(self.period, offset, windows.shape)

            def whole() -> tuple[Tensor, Tensor]:
                """Estimates of whole frames' carriers: (r [batch, frames, carriers], var)."""
                tables = self._tables(plan, partial(_stationary, noise), none, False, None)
                r = plan.grouped(plan.cut(windows), [t.unbiased for t in tables])
                return r[:, 1:-2], torch.stack([t.var for t in tables])[plan.index][:, 1:-2]

            r, var = whole()
            number, power = self.carriers()
            power = power * (r.abs().square() - var).mean((0, 1)).clamp_min(0)
            self.power.zero_()[number % self.fft_size] = (power / power.sum()).float()
            r = whole()[0].flatten(1)
            turned = {m: float((r ** m).mean(1).abs().mean() / r.abs().pow(m).mean()) for m in (1, 2, 4, 8)}
            self.fold = next((m for m, share in turned.items() if share > _TURNED), 0)
            if not self.fold:
                return 1, 0, torch.zeros(1, 2)
            angle = torch.angle((r ** self.fold).sum(1, keepdim=True)) / self.fold
            u = torch.view_as_real(r * torch.polar(torch.ones_like(angle), -angle)).flatten(0, 1)[:40_000].double().numpy()
            for count in _POINTS:
                places, label = kmeans2(u, count, minit="++", seed=1)
                if ((u - places[label]) ** 2).sum(1).mean() < _APART:
                    return count, self.fold, torch.tensor(places, dtype=torch.float32)
            return 1, 0, torch.zeros(1, 2)                      # no alphabet to be seen

    def aligned(self, x: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
        """(offset of the first whole frame int64 [batch], how sure that is [batch, 1]) of windows [batch, samples] in noise of
        that density [1 or batch, 1 or bins]. The log-likelihood of pairs (x(n), x(n + fft_size)) of equal variance and known
        correlation, whitened, summed over prefixes."""
        size, period = x.shape[1], self.period
        s, n = resampled(self.spectrum[None], size), resampled(density, size)
        z = torch.fft.ifft(torch.fft.fft(x) * (n + s).rsqrt())
        early, late = z[:, :size - self.fft_size], z[:, self.fft_size:]
        common = (s / (s + n)).mean(1, keepdim=True)
        pair = 2 * (early.conj() * late).real - common * (early.abs().square() + late.abs().square())
        pair = pair * common / (1 - common.square() + 1e-2)
        pair = nn.functional.pad(pair, (0, -pair.shape[1] % period)).unflatten(1, (-1, period)).sum(1)
        box = (torch.arange(period, device=x.device) < self.cyclic_prefix).to(pair)
        score = torch.fft.irfft(torch.fft.rfft(pair) * torch.fft.rfft(box).conj(), period)
        score = score * torch.exp(self.trust[0] + self.trust[1] * torch.log10(common / (1 - common + 1e-6)))
        sure, offset = torch.softmax(score, 1).max(1, keepdim=True)
        return offset[:, 0], sure

    def forward(self, x: Tensor, density: Tensor, fraction: Tensor | None = None, presence: Tensor | None = None,
                colour: Any = None, offset: Tensor | None = None) -> Tensor:
        """x: complex64 [batch, samples]; density: N(f), float32 [1 or batch, 1 or bins], frequencies in FFT order; colour: of
        cyclostationary noise, (what FramePlan has for soi, FramePlan -> covariances complex128 [classes, period, period], key by
        which what is made of them is kept, or None); offset: of the first whole frame, int64 [batch], or None: found. fraction
        and presence are not asked for. Returns E[s | x], complex64 [batch, samples]."""
        size = x.shape[1]
        s, n = resampled(self.spectrum[None], size), resampled(density, size)
        linear = torch.fft.ifft(torch.fft.fft(x) * (s / (s + n)))
        if size < self.period + self.fft_size:                  # there may be no whole frame, and no telling where
            return linear
        sure = torch.ones(1, 1, device=x.device)
        if offset is None:
            offset, sure = self.aligned(x, density)
        soi, covariance, key = colour or (None, None, None)
        if len(density) == 1 and density.shape[1] == 1:
            key = float(density)
        with torch.no_grad():
            plan = FramePlan(self.period, offset, x.shape, soi, row=None if len(density) == 1 else torch.arange(len(x)))
            frames, near = plan.cut(x), self._shared(density)
            edges = soi is not None and soi.symbols is not None     # a burst ends here: nobody will see its cut frames whole
            tables = self._tables(plan, covariance or partial(_stationary, density), near, edges, key)
            var = torch.stack([t.var for t in tables])[plan.index.to(x.device)]
            r = plan.grouped(frames, [t.unbiased for t in tables])
            turn = self._turn(r, var)
        # what a window cuts leaves errors that carriers share: they are worse than each alone shows
        whole = plan.inside.all(2, keepdim=True).to(x.device)
        var = var * torch.where(whole, 1.0, torch.exp(self.cut[0] + self.cut[1] * torch.log(var.clamp(1e-3, 1e3))))
        mean = self.posterior(r * turn.conj(), var)
        with torch.no_grad():                                   # with decisions the phase is estimated better
            slip = torch.angle((mean.conj() * r * turn.conj() / (var + 0.05)).sum((1, 2), keepdim=True))
            turn = turn * torch.polar(torch.ones_like(slip), slip * bool(self.fold))
        mean = self.posterior(r * turn.conj(), var)
        if len(near):
            mean = self._decide_jointly(frames * turn.conj(), plan, tables, near, mean)
        if edges and self.fold:
            mean = self._cut_frames(frames * turn.conj(), plan, tables, mean)
        return sure * plan.join((mean * turn) @ self._basis().T.to(mean)) + (1 - sure) * linear

    def posterior(self, u: Tensor, var: Tensor) -> Tensor:
        """E[c | u = c + √var·n] over the mixture: complex64 like u; var float32, broadcastable."""
        if not self.fold:
            return u / (1 + var)
        points, scatter = torch.view_as_complex(self.places), 10 ** self.scatter
        level = var + scatter
        share = torch.softmax(self.shares - (u[..., None] - points).abs().square() / level[..., None], -1)
        nearest = (share * points).sum(-1)
        return nearest + (u - nearest) * (scatter / level)

    def _basis(self) -> Tensor:
        """A, complex128 [period, active]: carriers of unit power to the samples of a frame."""
        number, power = self.carriers()
        n = torch.arange(-self.cyclic_prefix, self.fft_size, dtype=torch.float64, device=power.device)
        return torch.polar(power.sqrt().expand(len(n), -1).contiguous(), 2 * torch.pi * n[:, None] * number / self.fft_size)

    def _turn(self, r: Tensor, var: Tensor) -> Tensor:
        """The factor of phase of each window, complex64 [batch, 1, 1], known up to 1/fold of a turn."""
        if not self.fold:
            return torch.ones(len(r), 1, 1, dtype=r.dtype, device=r.device)
        power = r / (1 + var)
        for _ in range(self.fold.bit_length() - 1):             # fold is a power of two; complex powers take long
            power = power * power
        angle = torch.angle(power.sum((1, 2), keepdim=True)) / self.fold
        return torch.polar(torch.ones_like(angle), angle)

    def _shared(self, density: Tensor) -> Tensor:
        """Which carriers of a whole frame see much more noise of that density than most: int64 [near]."""
        if not self.fold or density.shape[1] == 1:
            return torch.zeros(0, dtype=torch.long)
        basis = self._basis()
        gain = _linear(basis, _toeplitz(density, self.period))[1].diagonal(dim1=1, dim2=2).real
        worst = (1 / gain.clamp_min(1e-9) - 1).amax(0).cpu()
        near = torch.nonzero(worst > _SHARED * worst.median())[:, 0]
        near = near if len(near) <= _NEAR else worst.topk(_NEAR).indices.sort().values
        return near if len(near) > 1 else near[:0]

    def _tables(self, plan: FramePlan, covariance: "_Covariance", near: Tensor, edges: bool,
                key: Hashable | None) -> "list[Table]":
        """A Table of each class of frames; those of a `key` are kept."""
        names = [(c, key, edges) for c in plan.classes]
        todo = [i for i, name in enumerate(names) if key is None or name not in self._kept]
        if not todo:
            return [self._kept[name] for name in names]
        fresh = self._made(plan, covariance(plan).to(self.power.device), near, edges, torch.tensor(todo))
        if key is None:
            return fresh
        known = self._kept if len(self._kept) < _KEPT else {}
        self._kept = known = {**known, **{names[i]: table for i, table in zip(todo, fresh)}}      # threads may share it
        return [known[name] if name in known else self._tables(plan, covariance, near, edges, None)[i]
                for i, name in enumerate(names)]

    def _made(self, plan: FramePlan, noise: Tensor, near: Tensor, edges: bool, which: Tensor) -> "list[Table]":
        """Tables of the classes `which`, int64 [n]; noise: of all classes."""
        low, high = torch.tensor([plan.classes[i][:2] for i in which.tolist()]).T
        n, device = torch.arange(plan.length), noise.device
        seen = ((n >= low[:, None]) & (n < high[:, None])).to(device, noise.dtype)
        # a sample that is not seen is noise alone, of its own
        noise = noise[which.to(device)] * seen[:, :, None] * seen[:, None] + torch.diag_embed(1 - seen)
        basis = self._basis() * seen[..., None]
        filters, product = _linear(basis, noise)
        gain = product.diagonal(dim1=1, dim2=2).real.clamp(1e-9, 1 - _LEAST)
        var = 1 / gain - 1
        parts: list[Any] = [(filters / gain[..., None]).to(torch.complex64), var.float()]
        if len(near):
            clean = torch.ones(basis.shape[2], dtype=torch.bool, device=device)
            clean[near.to(device)] = False
            known = basis[:, :, clean]
            parts += _factored(*_linear(basis[:, :, ~clean], noise + (known * self._left(var)[:, None, clean]) @ known.mH))
        else:
            parts += [[None] * len(which)] * 2
        cut = (high - low < plan.length) & (high - low >= _ENOUGH * plan.length) & edges
        every = iter(zip(*_factored(filters[cut.to(device)], product[cut.to(device)])) if bool(cut.any()) else ())
        return [Table(*row, *(next(every) if c else (None, None))) for *row, c in zip(*parts, cut.tolist())]

    def _decide_jointly(self, frames: Tensor, plan: FramePlan, tables: "list[Table]", near: Tensor, mean: Tensor) -> Tensor:
        """`mean` of the carriers, those replaced that share noise: the others are subtracted and these decided jointly."""
        index = plan.index.to(mean.device)
        clean = torch.ones(mean.shape[2], dtype=torch.bool, device=mean.device)
        clean[near] = False
        rest = frames - mean[..., clean] @ self._basis()[:, clean].T.to(mean)
        z = plan.grouped(rest, [t.near for t in tables])
        factor = torch.stack([t.near_factor for t in tables])[index]
        found = self._decided(z.flatten(0, 1), factor.flatten(0, 1), _WIDTH)
        return mean.index_copy(2, near.to(mean.device), found.unflatten(0, mean.shape[:2]))

    def _cut_frames(self, frames: Tensor, plan: FramePlan, tables: "list[Table]", mean: Tensor) -> Tensor:
        """`mean` of the carriers, those of frames that the window cuts decided all jointly."""
        cut = [i for i, t in enumerate(tables) if t.every is not None]
        place = torch.full((len(tables),), -1)
        place[cut] = torch.arange(len(cut))
        place = place[plan.index].to(mean.device)
        rows = place >= 0
        if not cut:
            return mean
        every = torch.stack([tables[i].every for i in cut])[place[rows]]
        factor = torch.stack([tables[i].every_factor for i in cut])[place[rows]]
        mean = mean.clone()
        mean[rows] = self._decided((every @ frames[rows][..., None])[..., 0], factor, _WIDTH_CUT)
        return mean

    def _decided(self, z: Tensor, factor: Tensor, width: int) -> Tensor:
        return list_mean(z, factor, torch.view_as_complex(self.places), width, self.shares)

    def _left(self, var: Tensor) -> Tensor:
        """About the variance that the posterior leaves of a carrier: the linear one, less where points are far apart."""
        points = torch.view_as_complex(self.places)
        gap = (points[:, None] - points).abs() + 9 * torch.eye(len(points), device=points.device)
        return var / (1 + var) * torch.exp(-gap.min().square() / (4 * var)) + _LEAST


@dataclass
class Table:
    """Of a class of frames, with P samples and K carriers: unbiased complex64 [K, P] and var float32 [K] of the linear estimates;
    near, near_factor: T and R (_factored) of the carriers that share noise, the others subtracted; every, every_factor: of all
    carriers of a frame that the window cuts; None where they are not needed."""

    unbiased: Tensor
    var: Tensor
    near: Any = None
    near_factor: Any = None
    every: Any = None
    every_factor: Any = None


_Covariance = Callable[[FramePlan], Tensor]     # of the noise of each class of frames, complex128 [classes, period, period]


def _linear(basis: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Of carriers of unit power through basis, complex128 [(n,) P, K], in noise, complex128 [n, P, P]: F [n, K, P], the
    Gaussian posterior mean being F·x, and F·A [n, K, K]; I less that is the covariance."""
    filters = torch.cholesky_solve(basis.expand(len(noise), -1, -1), torch.linalg.cholesky(basis @ basis.mH + noise)).mH
    return filters, filters @ basis


def _factored(filters: Tensor, product: Tensor) -> list[Tensor]:
    """[T, R] of carriers decided together, complex64: with z = T·x, -|z - R·c|² + |c|² is their log-likelihood but for a
    constant, R upper triangular; from what _linear gives."""
    left = torch.eye(product.shape[2], dtype=product.dtype, device=product.device) * (1 + _LEAST) - product
    factor = torch.linalg.cholesky(torch.linalg.inv(left)).mH
    return [(factor @ filters).to(torch.complex64), factor.to(torch.complex64)]


def _toeplitz(density: Tensor, size: int) -> Tensor:
    """Covariances of noise of density [rows, 1 or bins], complex128 [rows, size, size]."""
    n, bins = torch.arange(size, device=density.device), density.shape[1]
    if bins == 1:
        return density.to(torch.complex128)[..., None] * torch.eye(size, device=density.device)
    return torch.fft.ifft(density.double())[:, (n[:, None] - n) % bins]


def _stationary(density: Tensor, plan: FramePlan) -> Tensor:
    """The same for each class of a plan."""
    rows = _toeplitz(density, plan.length)
    return rows[plan.rows.to(rows.device)] if plan.rows is not None else rows.expand(len(plan.classes), -1, -1)
