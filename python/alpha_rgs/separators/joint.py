# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of a linear modulation under OFDM by expectation propagation.

y = H·a + kappa·A·c + w is one linear model with discrete unknowns. Every unknown keeps a Gaussian *site* that stands for
its alphabet; a pass computes the joint Gaussian posterior, and for each unknown the *cavity* (the posterior without its own
site), whose moments over the alphabet give the next site (Minka 2001). Per OFDM frame the carriers fall in two groups:
those *near* the SOI's spectrum are treated exactly, one site each; the *clean* rest share one site variance per frame class
(they are decided almost surely after the first pass), so that the covariance of noise and clean carriers keeps its
eigenvectors for ever: they are computed once per class of frames, and a pass only rescales eigenvalues.

With carriers of unknown constellation all are Gaussian and clean, and only the symbols have sites.
"""
from functools import lru_cache

import numpy as np
import torch

from ..acquisition import clean_carriers
from ..priors.base import carrier, column
from ..priors.ofdm import Ofdm, frame_pulses
from .base import require, soft_output
from .chain import BlockChain

_NOISE_FLOOR = 1e-2      # relative to the SOI's power: keeps single precision well conditioned
_MIN_VAR = 1e-5
import os
REAL, COMPLEX = (torch.float64, torch.complex128) if os.environ.get('D') else (torch.float32, torch.complex64)
_UNTRUSTED = 30.0        # extra noise on the head of a prefix, relative to the noise plus a thirtieth of the interference


def joint(y, soi, interference, kappa, noise_var, passes=None, damping=None, callback=None):
    """Expectation propagation; passes: default 6 (12 where the carriers are Gaussian); damping: weight of the new sites."""
    known = interference.kind == "ofdm" and interference.signal.alphabet.symmetry is not None
    return _solve(y, soi, interference, kappa, noise_var, passes or (6 if known else 12),
                  damping or (0.7 if known else 0.3), "joint", callback)


def lmmse(y, soi, interference, kappa, noise_var, callback=None):
    """The periodically time-varying linear filter: the first pass of `joint`, all sources Gaussian."""
    return _solve(y, soi, interference, kappa, noise_var, 1, 1.0, "lmmse", callback)


def _solve(y, soi, ofdm, kappa, noise_var, passes, damping, method, callback):
    require(soi, "linear-modulation", "signal of interest", method)
    require(ofdm, "ofdm", "interference", method)
    problem = _Problem(y, soi, ofdm, kappa, noise_var)
    for step in range(passes):
        problem.infer()
        if callback:
            callback(step, problem.cavity_mean, problem.cavity_var)
        if step < passes - 1:
            problem.match(damping)
    return problem.result(linear=method == "lmmse")


@lru_cache(maxsize=2000)
def _class_tables(matrix_key, cls, pulse_key, near, clean, skip, extra):
    """For one class of frames, complex64: (Uy [P,P], UT [P,d+K], UC [P,n], eigenvalues [P]).

    P samples, d near carriers, K symbols, n clean carriers. With W the noise's shape (1, or more on untrusted samples),
    W^-1/2·A_C·A_Cᴴ·W^-1/2 = U·diag(eigenvalues)·Uᴴ on the samples present; Uy = UᴴW^-1/2 and the others Uy·[A_D, H], Uy·A_C.
    """
    low, high, *pattern = cls
    matrix = Ofdm(matrix_key[0], channel=matrix_key[1]).matrix
    period = len(matrix)
    shape = np.where(np.arange(period) < skip, extra, 1.0)[low:high] ** -0.5
    a = matrix[low:high] * shape[:, None]
    pulses = frame_pulses(pulse_key, pattern, period)[low:high] * shape[:, None]
    value, vector = np.linalg.eigh(a[:, clean] @ a[:, clean].conj().T)
    u = np.zeros((period, period), complex)
    u[:high - low, low:high] = vector.conj().T * shape
    t = np.zeros((period, len(near) + pulses.shape[1]), complex)
    t[:high - low] = vector.conj().T @ np.hstack([a[:, near], pulses])
    c = np.zeros((period, len(clean)), complex)
    c[:high - low] = vector.conj().T @ a[:, clean]
    eigenvalues = np.zeros(period)
    eigenvalues[:high - low] = value.clip(0)
    return [torch.tensor(m, dtype=COMPLEX) for m in (u, t, c)] + [torch.tensor(eigenvalues, dtype=REAL)]


class _Problem:
    """One batch of windows. Shapes: B windows, F frames, G (window, class) groups, d near, n clean, K symbols of a frame,
    M symbols of a window."""

    def __init__(self, y, soi, ofdm, kappa, noise_var):
        self.y, self.soi, self.ofdm, self.device = y, soi, ofdm, y.device
        self.gain = torch.as_tensor(soi.gain, dtype=REAL).reshape(-1).expand(len(y)).to(y.device)
        self.kappa_in, self.noise_in = kappa, noise_var
        kappa, noise_var = kappa.to(REAL), noise_var.to(REAL)
        self.kappa = kappa / self.gain                               # everything inside is in units of the SOI's amplitude
        self.noise = (noise_var / self.gain.square()).clamp_min(_NOISE_FLOOR)
        self.plan = plan = ofdm.plan(y.shape, soi)
        self.alphabet, self.carriers = soi.signal.alphabet, ofdm.signal.alphabet
        everything = np.arange(len(ofdm.signal.carriers))
        clean = clean_carriers(soi, ofdm) if self.carriers.symmetry else everything
        self.near, self.clean = np.setdiff1d(everything, clean), clean
        self._tables()
        self.d, self.n, self.K = len(self.near), len(self.clean), plan.count
        self.turn = carrier(ofdm.phase, ofdm.carrier_offset, y)
        frames = plan.cut((y * self.turn.conj()).to(COMPLEX)) / self.gain[:, None, None]
        self.received = plan.grouped(frames, lambda c: self.tables[c][0], lambda x, u: x @ u.T)     # Uᴴy  [B, F, P]
        self._symbols()
        B, F = plan.batch, plan.frames
        self.clean_mean = torch.zeros(B, F, self.n, dtype=COMPLEX, device=self.device)
        self.clean_var = torch.ones(len(self.group_class), device=self.device, dtype=REAL)
        self.near_site = torch.ones(B, F, self.d, device=self.device, dtype=REAL)
        self.near_shift = torch.zeros(B, F, self.d, dtype=COMPLEX, device=self.device)

    def _tables(self):
        plan, ofdm = self.plan, self.ofdm
        args = (tuple(self.near), tuple(self.clean), ofdm.delay_spread, _UNTRUSTED)
        self.tables = [[m.to(self.device) for m in _class_tables(ofdm.matrix_key, c, plan.pulse_key, *map(_hashable, args))]
                       for c in plan.classes]
        window = torch.arange(plan.batch)[:, None].expand(plan.index.shape)
        pair, group = torch.unique(window * len(plan.classes) + plan.index, return_inverse=True)
        self.group = group.to(self.device)                           # [B, F]
        self.group_class = (pair % len(plan.classes)).to(self.device)
        self.group_window = (pair // len(plan.classes)).to(self.device)
        stacked = [torch.stack([t[i] for t in self.tables])[self.group_class] for i in (1, 2, 3)]
        self.UT, self.UC, self.eigenvalues = stacked
        kappa = self.kappa[self.group_window]
        scale = torch.ones(len(pair), 1, self.UT.shape[2], device=self.device, dtype=REAL)
        scale[:, 0, :len(self.near)] = kappa[:, None]
        self.UT = self.UT * scale                                    # columns: kappa·A_D and H
        self.UC = self.UC * kappa[:, None, None]

    def _symbols(self):
        """Number the symbols of each window from the first that reaches it."""
        plan, soi = self.plan, self.soi
        first = plan.symbol[:, :1]
        self.local = (plan.symbol - first).to(self.device)           # position of each frame's first symbol
        self.M = int(self.local.max()) + self.K
        number = first + torch.arange(self.M)
        timing = column(soi.timing, torch.empty(0)) + number * soi.signal.samples_per_symbol
        delta = column(soi.carrier_offset, timing) - column(self.ofdm.carrier_offset, timing)
        angle = column(soi.phase, timing) - column(self.ofdm.phase, timing) + 2 * torch.pi * delta * timing
        self.rotation = torch.polar(torch.ones_like(angle), angle).to(COMPLEX).expand(plan.batch, -1).to(self.device)
        exists = (number >= 0) & (number < soi.symbols) if soi.symbols is not None else torch.ones_like(number, dtype=torch.bool)
        self.exists = exists.expand(plan.batch, -1).to(self.device)
        inside, self.count = soi.inside(plan.samples)
        self.first_inside = (inside[:, None].to(first) - first).to(self.device)
        self.site = torch.where(self.exists, 1.0, 1e6).to(REAL)
        self.shift = torch.zeros(plan.batch, self.M, dtype=COMPLEX, device=self.device)
        self.chain = BlockChain(self.local, self.K, self.M)

    def infer(self):
        """The joint Gaussian posterior under the present sites, and every cavity."""
        d, plan = self.d, self.plan
        noise, kappa = self.noise[self.group_window], self.kappa[self.group_window]
        weight = 1 / (noise[:, None] + (kappa.square() * self.clean_var)[:, None] * self.eigenvalues)    # [G, P]
        weighted = self.UT * weight[..., None]                                                           # [G, P, d+K]
        gram = self.UT.mH @ weighted                                                                     # [G, d+K, d+K]
        group = self.group
        residual = self.received - self._apply(self.UC, self.clean_mean)
        stat = self._apply(weighted.mH, residual)                                                        # [B, F, d+K]
        gram = gram[group]
        dd, dk, kk = gram[..., :d, :d], gram[..., :d, d:], gram[..., d:, d:]
        if d:
            chol = torch.linalg.cholesky(dd + torch.diag_embed(self.near_site + 0j))
            inverse = torch.cholesky_inverse(chol)                                                       # [B, F, d, d]
            near_stat = stat[..., :d] + self.near_shift
            gainmap = inverse @ dk
            precision = kk - dk.mH @ gainmap
            information = stat[..., d:] - (gainmap.mH @ near_stat[..., None])[..., 0]
        else:
            precision, information = kk, stat
        mean, var, local_cov = self.chain.solve(precision, information, self.site, self.shift)
        self.mean = mean
        self.cavity_var, self.cavity_mean = _cavity(mean, var, self.site, self.shift)
        local_mean = self.chain.gather(mean)                                                             # [B, F, K]
        tmean, self.local_mean = local_mean, local_mean
        cov = local_cov
        if d:
            near_mean = (inverse @ near_stat[..., None])[..., 0] - (gainmap @ local_mean[..., None])[..., 0]
            cross = gainmap @ local_cov                                                                  # -Cov(c_D, a)
            near_cov = inverse + cross @ gainmap.mH
            near_var = near_cov.diagonal(dim1=-2, dim2=-1).real
            self.near_cavity = _cavity(near_mean, near_var, self.near_site, self.near_shift)
            tmean = torch.cat([near_mean, local_mean], -1)
            cov = torch.cat([torch.cat([near_cov, -cross], -1), torch.cat([-cross.mH, local_cov], -1)], -2)
            self.near_mean = near_mean
        # the clean carriers: what is left after the others, and how sure that is
        rest = residual - self._apply(self.UT, tmean)
        weighted_clean = (self.UC * weight[..., None]).mH                                                # [G, n, P]
        self.clean_stat = self._apply(weighted_clean, rest)
        information = (self.UC.abs().square() * weight[..., None]).sum(1)                                # [G, n]
        leak = weighted_clean @ self.UT                                                                  # [G, n, d+K]
        lost = ((leak[group] @ cov) * leak[group].conj()).real.sum(-1)
        self.clean_information = (information[group] - lost).clamp_min(1e-9)                             # [B, F, n]

    def match(self, damping):
        """Moments over the alphabets: the next sites."""
        unturned = self.cavity_mean * self.rotation.conj()
        mean, var = self.alphabet.posterior(unturned, self.cavity_var)
        site, shift = _site(mean * self.rotation, var, self.cavity_mean, self.cavity_var)
        self.site = torch.where(self.exists, (1 - damping) * self.site + damping * site, self.site)
        self.shift = torch.where(self.exists, (1 - damping) * self.shift + damping * shift, 0)
        if not self.carriers.symmetry:
            return
        if self.d:
            var, mean = self.near_cavity
            site, shift = _site(*self.carriers.posterior(mean, var), mean, var)
            self.near_site = (1 - damping) * self.near_site + damping * site
            self.near_shift = (1 - damping) * self.near_shift + damping * shift
        clean_var = self.clean_var[self.group][..., None]
        var = (1 / self.clean_information - clean_var).clamp_min(_MIN_VAR)
        mean, var = self.carriers.posterior(self.clean_mean + self.clean_stat / self.clean_information, var)
        self.clean_mean = mean
        total = torch.zeros_like(self.clean_var).index_add_(0, self.group.flatten(), var.mean(-1).flatten())
        count = torch.bincount(self.group.flatten(), minlength=len(total))
        self.clean_var = (total / count).clamp_min(_MIN_VAR)

    def result(self, linear):
        """Hand over: soft symbols inside the window, both waveforms."""
        B, plan = self.plan.batch, self.plan
        index = self.first_inside + torch.arange(self.count, device=self.device)
        symbols = (self.cavity_mean * self.rotation.conj()).gather(1, index)
        var = self.cavity_var.gather(1, index)
        if linear:
            mean = self.mean
        else:
            mean = self.alphabet.posterior(self.cavity_mean * self.rotation.conj(), self.cavity_var)[0] * self.rotation
            mean = torch.where(self.exists, mean, 0)
        local = self.chain.gather(mean)
        tables = [frame_pulses(plan.pulse_key, c[2:], plan.length) for c in plan.classes]
        pulses = [torch.tensor(t, dtype=COMPLEX, device=self.device) for t in tables]
        s = plan.join(plan.grouped(local, lambda c: pulses[c], lambda x, h: x @ h.T))
        amplitude = self.gain[:, None].float()
        s = s.to(torch.complex64) * self.turn * amplitude
        return soft_output(self.soi, symbols.to(torch.complex64), var.float(), soi=s, interference=self._interference(s), evaluations=0,
                           kappa=self.kappa_in, noise_var=self.noise_in)

    def _interference(self, s):
        """kappa·b as received, E[b | y - s]: linear per frame, with the alphabet where it is known."""
        rest = self.y - s
        scale = self.kappa_in.clamp_min(1e-6)[:, None].float()
        level = float((self.noise_in / self.kappa_in.clamp_min(1e-6).square()).mean().clamp(1e-6, 1e6))
        return scale * self.ofdm.denoise(rest / scale, level)

    def _apply(self, matrices, vectors):
        """matrices [G, p, q] times vectors [B, F, q], each frame by its group's: [B, F, p]."""
        B, F = self.group.shape
        if B * F == len(matrices):
            return (matrices[self.group] @ vectors[..., None])[..., 0]
        order = torch.argsort(self.group.flatten(), stable=True)
        sizes = torch.bincount(self.group.flatten(), minlength=len(matrices))
        return _grouped_product(matrices, vectors.flatten(0, 1), order, sizes).unflatten(0, (B, F))


def _grouped_product(matrices, flat, order, sizes):
    """Rows of `flat` sorted by group, padded to the longest group, one batched product."""
    out = flat.new_empty(len(flat), matrices.shape[1])
    start = torch.cumsum(sizes, 0) - sizes
    for size in torch.unique(sizes).tolist():        # groups of equal size go together: usually 1 and `frames - 2`
        which = torch.nonzero(sizes == size)[:, 0]
        rows = order[start[which][:, None] + torch.arange(size, device=flat.device)]
        out[rows] = flat[rows] @ matrices[which].mT
    return out


def _hashable(value):
    return tuple(int(v) for v in value) if isinstance(value, tuple) else value


def _cavity(mean, var, site, shift):
    """Divide the site out of the posterior: (variance, mean)."""
    precision = (1 / var.clamp_min(1e-9) - site).clamp_min(1e-4)
    return 1 / precision, (mean / var.clamp_min(1e-9) - shift) / precision


def _site(mean, var, cavity_mean, cavity_var):
    """The Gaussian site that gives the cavity these moments: (precision, precision·mean)."""
    var = var.clamp_min(_MIN_VAR)
    precision = (1 / var - 1 / cavity_var).clamp_min(1e-3)
    total = precision + 1 / cavity_var
    return precision, mean * total - cavity_mean / cavity_var
