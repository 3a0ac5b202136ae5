# SPDX-License-Identifier: GPL-3.0-or-later
"""Expectation propagation over any set of linear models: y = Σ_k g_k·H_k·u_k + w, every unknown discrete.

Every unknown keeps a Gaussian site that stands for its alphabet (Minka, 2001). Time is cut into segments as long as the longest
column, so that a column touches its own segment and the next one. Unknowns whose column lies inside one segment (carriers of an
OFDM frame, short pulses) are local: they are eliminated segment by segment, all at once. What is left is a chain of segments,
block tridiagonal, solved by one sweep forward and one back.

The caller anneals the noise: inference starts as if it were stronger, where the posterior has one peak, and follows that peak.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .block_tridiagonal import block_tridiagonal
from .linear_model import LinearModel, moments, prior_precisions
from .mixture_native import NativeMixture
from .sites import Sites

REAL, COMPLEX = torch.float64, torch.complex128
_STILL_MISSING = 0.05   # of what a linear map leaves out, once it is estimated: of GMSK 26 dB below c1's share
_MIN_VAR = 1e-6         # of a site's posterior: keeps precisions finite
_MIN_PRECISION = 1e-6   # of a cavity
_MIN_SITE = 1e-4        # precision of a site: a negative one would let the chain become indefinite
# Of an unknown that counts as decided, the most variance. Times the noise, the most that decided waveforms leave in as many
# samples as the widest column has: one wrong symbol leaves more, unless noise is as strong as it; noise itself hardly ever does.
_DECIDED, _FITS = 1e-3, 2.0


@dataclass
class Unknowns:
    """Of one source, real [batch, n, dimensions]. mean, var: of the cavity (what the samples and the other unknowns say).
    posterior, spread: mean and variance with its own alphabet."""

    mean: Tensor
    var: Tensor
    posterior: Tensor
    spread: Tensor


class LinearMixture:
    """Windows y, complex [batch, samples], of the models at gains [batch], over white noise of variance noise_var [batch]."""

    def __init__(self, y: Tensor, models: Sequence[LinearModel], gains: Sequence[Tensor], noise_var: Tensor) -> None:
        self.y, self.models = y.to(COMPLEX), models
        self.gains = [torch.as_tensor(g, dtype=REAL, device=y.device).reshape(-1).expand(len(y)) for g in gains]
        self.noise = torch.as_tensor(noise_var, dtype=REAL, device=y.device).reshape(-1).expand(len(y))
        self.batch, self.samples = y.shape
        self._cut()
        self._place()
        self._index()
        precision = torch.where(self.void, 1.0, self.prior)
        self.sites = Sites(precision, torch.zeros_like(precision), ~(self.void | self.gaussian), _MIN_VAR, _MIN_SITE,
                           _MIN_PRECISION, 0.0)
        self.known = self._constants()
        self.left_out = torch.zeros_like(self.y)
        self._missing = self._power_missing(1.0)
        self.native = NativeMixture.of(self)
        self.not_sound = 0          # windows of passes in which single precision has not sufficed
        self._told: Tensor | None = None

    def receive(self, y: Tensor, noise_var: Tensor) -> None:
        """Other samples of the same windows, with other noise: the sites stay."""
        self.y, self.noise = y.to(COMPLEX), torch.as_tensor(noise_var, dtype=REAL, device=y.device)

    # ---- layout ----------------------------------------------------------------------------------------------------------
    def _cut(self) -> None:
        """Length of the segments, and where the first one begins in each window, int64 [batch]."""
        framed = next((m.frame for m in self.models if m.frame is not None), None)
        widest = max(m.width for m in self.models)
        begin = min(int(m.start.min()) for m in self.models)
        if framed is None:
            self.length, origin = widest, torch.zeros(1, dtype=torch.int64)
        else:
            frame, offset = framed
            self.length, origin = frame * -(-widest // frame), offset.reshape(-1).long()
        ahead = -(-(int(origin.max()) - begin) // self.length)
        self.origin = (origin - self.length * max(ahead, 0)).expand(self.batch)
        self.segments = (self.samples - int(self.origin.min()) - 1) // self.length + 2

    def _place(self) -> None:
        """The slot of each real unknown: local slots of all segments first, then those of the chain."""
        self.local_slots = self.chain_slots = 0
        layout = []
        for m in self.models:
            start = m.start.expand(self.batch, -1)
            ahead = start - self.origin[:, None].to(start)
            segment, offset = ahead.div(self.length, rounding_mode="floor"), ahead % self.length
            local = offset + m.width <= self.length
            slot, most = torch.zeros_like(segment), []
            for which in (local, ~local):
                rank = which.long().cumsum(1) - 1
                lowest = torch.full((self.batch, self.segments), 1 << 40, device=rank.device)
                lowest.scatter_reduce_(1, segment, torch.where(which, rank, 1 << 40), "amin")
                here = rank - lowest.gather(1, segment)
                slot = torch.where(which, here, slot)
                most.append(int(torch.where(which, here, -1).max()) + 1)
            layout.append((segment, offset, local, slot, self.local_slots, self.chain_slots, most))
            self.local_slots += m.dimensions * most[0]
            self.chain_slots += m.dimensions * most[1]
        self.layout = layout

    def _index(self) -> None:
        """index: the slots of each source's unknowns, [batch, n, dimensions]; what is known of all slots beforehand."""
        d, c, device = self.local_slots, self.chain_slots, self.y.device
        self.void = torch.ones(self.batch, self.segments * (d + c), dtype=torch.bool, device=device)
        self.prior = torch.ones(self.batch, self.segments * (d + c), dtype=REAL, device=device)
        self.gaussian = torch.zeros_like(self.void)         # their prior is their site
        self.index = []
        for m, (segment, _, local, slot, at_local, at_chain, most) in zip(self.models, self.layout):
            own = [torch.where(local, segment * d + at_local + dim * most[0] + slot,
                               self.segments * d + segment * c + at_chain + dim * most[1] + slot) for dim in range(m.dimensions)]
            index = torch.stack(own, 2)
            self.index.append(index)
            there = m.exists.expand(self.batch, -1).repeat_interleave(m.dimensions, 1).to(device)
            self.void.scatter_(1, index.flatten(1), ~there)
            precision, gaussian = (v.flatten().to(device).expand(self.batch, -1) for v in prior_precisions(
                m.alphabet, index.shape[1], _MIN_VAR))
            self.gaussian.scatter_(1, index.flatten(1), gaussian)
            self.prior.scatter_(1, index.flatten(1), precision)

    @cached_property
    def parts(self) -> Tensor:
        """Columns of each segment: local unknowns, chain unknowns of the segment before, its own chain unknowns; real and
        imaginary parts, [batch, segments, 2·length, slots]."""
        d, c, device = self.local_slots, self.chain_slots, self.y.device
        shape = (self.batch, self.segments + 1, self.length, d + 2 * c)
        columns = torch.zeros(shape, dtype=COMPLEX, device=device)
        window = torch.arange(self.batch, device=device)[:, None, None]
        for m, gain, (segment, offset, local, slot, at_local, at_chain, most) in zip(self.models, self.gains, self.layout):
            step = torch.arange(m.width, device=device)
            n = m.start.expand(self.batch, -1)[..., None] + step
            wave = m.columns.to(device) * gain[:, None, None] * ((n >= 0) & (n < self.samples)) * m.exists.to(device)[..., None]
            place = offset[..., None] + step
            beyond = (place >= self.length).long()
            for dim in range(m.dimensions):
                own = torch.where(local, at_local + dim * most[0] + slot, d + c + at_chain + dim * most[1] + slot)[..., None]
                where = (window, segment[..., None] + beyond, place - self.length * beyond, own - c * beyond)
                columns.index_put_(where, wave * 1j ** dim, accumulate=True)
        columns = columns[:, :self.segments]
        return torch.cat([columns.real, columns.imag], 2)

    @cached_property
    def gram(self) -> Tensor:
        """Gram matrices of the parts, real."""
        return self.parts.mT @ self.parts

    def _segmented(self, x: Tensor) -> Tensor:
        """Samples [batch, samples] as real and imaginary parts of the segments [batch, segments, 2·length, 1]."""
        n = self.origin[:, None].to(x.device) + torch.arange(self.segments * self.length, device=x.device)
        inside = (n >= 0) & (n < self.samples)
        cut = torch.where(inside, x.gather(1, n.clamp(0, self.samples - 1)), 0).unflatten(1, (self.segments, self.length))
        return torch.cat([cut.real, cut.imag], 2)[..., None]

    # ---- inference -------------------------------------------------------------------------------------------------------
    def step(self, hot: float, damping: float | None) -> list[Unknowns]:
        """One pass with `hot` times the noise: the Unknowns of every source, and new sites (damping None: the last pass)."""
        out = self._pass(hot, damping)
        if hot == 1.0 and any(m.remainder for m in self.models):
            self.left_out, self._missing = self._remainders(out), self._power_missing(_STILL_MISSING)
        return out

    def _power_missing(self, share: float) -> Tensor:
        """What the linear maps leave out of all sources, times `share`, per sample [batch]."""
        return share * sum((g.square() * m.missing for m, g in zip(self.models, self.gains)), torch.zeros_like(self.noise))

    def _constants(self) -> Tensor | None:
        """What is known of the waveforms, complex128 [batch, samples]; None for nothing."""
        parts = [g[:, None] * m.constant.to(self.y) for m, g in zip(self.models, self.gains) if m.constant is not None]
        return sum(parts[1:], parts[0]) if parts else None

    def _remainders(self, out: list[Unknowns]) -> Tensor:
        return sum((g[:, None] * m.remainder(u.posterior) for m, g, u in zip(self.models, self.gains, out) if m.remainder),
                   torch.zeros_like(self.y))

    def _pass(self, hot: float, damping: float | None) -> list[Unknowns]:
        """One pass: posterior under the present sites, cavities, and (unless damping is None) new sites."""
        mean, var = self._posterior(hot * (self.noise + self._missing) / 2)
        cavity, error = self.sites.cavity(mean, var)
        decided, spread_after, out = cavity.clone(), error.clone(), []
        for m, index in zip(self.models, self.index):
            own, spread = (v.gather(1, index.flatten(1)).unflatten(1, index.shape[1:]) for v in (cavity, error))
            posterior, left = moments(m.alphabet, own, spread)
            out.append(Unknowns(own, spread, posterior * m.exists[..., None].to(own.device), left))
            decided.scatter_(1, index.flatten(1), posterior.flatten(1))
            spread_after.scatter_(1, index.flatten(1), left.flatten(1))
        if damping is not None:
            self.sites.update((decided, spread_after), (cavity, error), damping)
        return out

    def _posterior(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of all slots [batch, slots], the noise per real dimension being `noise` [batch]."""
        rest = self.y - self.left_out if self.known is None else self.y - self.known - self.left_out
        if self.native is None:
            return self._solved(rest, noise)
        if self._told is None or not torch.equal(rest, self._told):
            self.native.tell(rest)
            self._told = rest
        mean, var, sound = self.native.posterior(noise, self.sites.precision, self.sites.shift)
        if bool(sound.all()):
            return mean, var
        self.not_sound += int((~sound).sum())
        return self._solved(rest, noise)

    def _solved(self, rest: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The same in double precision, from the samples without what is known of them."""
        d, c, S = self.local_slots, self.chain_slots, self.segments
        weight = 1 / noise[:, None, None, None]
        stat = (self._segmented(rest).mT @ self.parts).mT * weight         # in this order it reads memory along its rows
        gram = self.gram * weight
        site, shift = (v[:, :S * d].unflatten(1, (S, d)) for v in (self.sites.precision, self.sites.shift))
        chain_site, chain_shift = (v[:, S * d:].unflatten(1, (S, c)) for v in (self.sites.precision, self.sites.shift))
        if d:
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram[..., :d, :d] + torch.diag_embed(site)))
            own = inverse @ (stat[..., :d, :] + shift[..., None])
            gain = inverse @ gram[..., :d, d:]
            chain, pull = gram[..., d:, d:] - gram[..., d:, :d] @ gain, stat[..., d:, :] - gram[..., d:, :d] @ own
        else:
            chain, pull = gram, stat
        if not c:
            return own.flatten(1), inverse.diagonal(dim1=-2, dim2=-1).flatten(1)
        main = chain[..., c:, c:] + torch.diag_embed(chain_site)
        main[:, :-1] += chain[:, 1:, :c, :c]
        h = pull[..., c:, 0] + chain_shift
        h[:, :-1] += pull[:, 1:, :c, 0]
        mean, cov, cross, _ = block_tridiagonal(main, chain[:, 1:, :c, c:], h)
        var = cov.diagonal(dim1=-2, dim2=-1)
        if not d:
            return mean.flatten(1), var.flatten(1)
        before = torch.nn.functional.pad(mean[:, :-1], (0, 0, 1, 0))
        own = own[..., 0] - (gain @ torch.cat([before, mean], 2)[..., None])[..., 0]
        joint = torch.zeros(self.batch, S, 2 * c, 2 * c, dtype=REAL, device=mean.device)
        joint[:, 1:, :c, :c], joint[..., c:, c:] = cov[:, :-1], cov
        joint[:, 1:, :c, c:], joint[:, 1:, c:, :c] = cross, cross.mT
        spread = inverse.diagonal(dim1=-2, dim2=-1) + ((gain @ joint) * gain).sum(-1)
        return torch.cat([own.flatten(1), mean.flatten(1)], 1), torch.cat([spread.flatten(1), var.flatten(1)], 1)

    def settled(self, out: list[Unknowns]) -> bool:
        """Whether a pass has decided all unknowns that are seen, and these leave no more than noise: passes in less noise would
        find the same. At the windows' ends nobody knows."""
        if any(bool(((u.spread.amax(-1) > _DECIDED) & seen).any()) for u, seen in zip(out, self.seen)):
            return False
        width = max(m.width for m in self.models)
        blocks = self.samples // width - 2
        if blocks < 1:
            return False
        rest = (self.y - self.left_out).to(torch.complex64) - sum(self.waveform(k, u) for k, u in enumerate(out))
        power = rest[:, width:width * (blocks + 1)].unflatten(1, (blocks, width)).abs().square().mean(2)
        return bool((power < (_FITS * (self.noise + self._power_missing(_STILL_MISSING)))[:, None]).all())

    @cached_property
    def seen(self) -> list[Tensor]:
        """Of each source, of which of its unknowns more than half a column is in the window: bool [batch, n]."""
        middle = [m.start + m.width // 2 for m in self.models]
        return [((n >= 0) & (n < self.samples) & m.exists).expand(self.batch, -1).to(self.y.device)
                for n, m in zip(middle, self.models)]

    # ---- results ---------------------------------------------------------------------------------------------------------
    def waveform(self, number: int, unknowns: Unknowns) -> Tensor:
        """E[g·s | y] of one source, complex64 [batch, samples]."""
        m, gain, values = self.models[number], self.gains[number][:, None], unknowns.posterior
        symbols = values[..., 0].to(COMPLEX) if values.shape[-1] == 1 else torch.view_as_complex(values.contiguous())
        if self.native is None:
            out = gain * m.waveform(symbols, self.samples)
        else:
            out = self.native.waveform(number, symbols)
            out = out if m.constant is None else out + gain * m.constant.to(gain.device)
        if m.remainder:
            out = out + gain * m.remainder(values)
        return out.to(torch.complex64)

    def variance(self, number: int, unknowns: Unknowns) -> Tensor:
        """What is left of the source per complex sample, float64 [batch]: posterior variances through the columns' energy."""
        m = self.models[number]
        energy = torch.view_as_real(m.columns).to(self.y.device).square().sum((-2, -1)) * m.exists.to(self.y.device)
        total = (unknowns.spread.sum(-1) * energy).sum(1) / self.samples
        return self.gains[number].square() * total.clamp_max(1.0)
