# SPDX-License-Identifier: GPL-3.0-or-later
"""Two linear modulations in one window, y = H·a + kappa·G·d + w, as one banded system of real unknowns.

A real alphabet (BPSK) is one real unknown per symbol, any other two: that a BPSK signal fills one of the plane's two
dimensions only is half of what there is to know of it. Time is cut into segments longer than either pulse, so that symbols
of neighbouring segments alone can touch, and the precision matrix is block tridiagonal.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..signals.carrier import column
from .block_tridiagonal import block_tridiagonal
from .linear_model import dimensions

REAL = torch.float64        # at -24 dB without noise single precision is not enough


class LinearPair:
    """The pulses of two LinearModulation priors in windows of shape (batch, samples), cut into n segments of q real unknowns.

    proper: give every symbol two dimensions, so that a posterior is the strictly linear one.
    Unknowns lie [batch, n, q]: the first source's in-phase parts, its quadrature parts, then the second's; places without a
    symbol have no pulse. main [., n, q, q], side [., n-1, q, q]: Re(Cᴴ·C) of a segment with itself and with the next.
    """

    def __init__(self, shape: Sequence[int], first: Any, second: Any, device: str | torch.device = "cpu",
                 proper: bool = False) -> None:
        self.batch, self.samples = shape
        self.device, self.priors = device, (first, second)      # priors are kept alive: pairs are compared by their ids
        half = max(p.signal.half_length for p in self.priors)
        sps, reach = first.signal.samples_per_symbol, int(np.ceil(half))
        # whole symbols of the first source, so that segments are alike, where there are such
        self.length = -(-int(np.ceil(2 * half)) // sps) * sps if isinstance(sps, int) else int(np.ceil(2 * half))
        centres = [p.centres(self.samples) for p in self.priors]
        low, high = min(float(c.min()) for c in centres), max(float(c.max()) for c in centres)
        # segments begin half a symbol before the first source's, so that each holds as many of these
        begin = float(centres[0].min()) - sps / 2
        self.origin = int(np.floor(begin - np.ceil(max(0.0, begin - low) / self.length) * self.length))
        self.segments = int((high - self.origin) // self.length) + 1
        self.where = (self.origin - reach + self.length * torch.arange(self.segments))[:, None] + torch.arange(
            self.length + 2 * reach)                            # [n, width]: the samples that a segment's pulses reach
        self.inside = (self.where >= 0) & (self.where < self.samples)
        self.drifts = any(bool(torch.as_tensor(p.carrier_offset).any()) for p in self.priors)
        self.sources = [_Source(p, c, self) for p, c in zip(self.priors, centres)]
        self.q = 0
        for source in self.sources:
            dims = 2 if proper else dimensions(source.alphabet)
            source.at = [self.q + d * source.slots for d in range(dims)]
            self.q += dims * source.slots
        everything = slice(None)
        self.main = self._gram((everything, everything), (everything, everything))
        self.side = self._gram((slice(None, -1), slice(self.length, None)), (slice(1, None), slice(None, 2 * reach)))

    def _gram(self, left: tuple[slice, slice], right: tuple[slice, slice]) -> Tensor:
        """Re(Cᴴ·C), real [., segments, q, q], of the columns of some segments with some others': (segments, samples) each."""
        rows = []
        for a in self.sources:
            columns: list[list[Tensor]] = [[] for _ in a.at]
            for b in self.sources:
                first, second = a.pulses[:, left[0], left[1]], b.pulses[:, right[0], right[1]]
                if first.is_complex() or second.is_complex():           # a channel
                    at = [(slice(None), *of) if self.drifts else () for of in (left, right)]
                    turn = a.turn[at[0]].conj() * b.turn[at[1]]
                    product = first.mH.to(turn) @ (second if a is b else turn[..., None] * second).to(turn)
                    real, imag = product.real, product.imag
                elif self.drifts and a is not b:
                    turn = a.turn[:, left[0], left[1]].conj() * b.turn[:, right[0], right[1]]
                    real, imag = (first.mT @ (part[..., None] * second) for part in (turn.real, turn.imag))
                else:           # one factor for the window; of a source with itself it is 1
                    product, turn = first.mT @ second, (a.turn.conj() * b.turn)[..., :1, :1, None]
                    real, imag = (product, torch.zeros_like(product)) if a is b else (product * turn.real, product * turn.imag)
                for i, row in enumerate(((real, -imag), (imag, real))[:len(a.at)]):
                    columns[i] += row[:len(b.at)]
            rows += [_wide(row, -1) for row in columns]
        return _wide(rows, -2)

    def statistics(self, y: Tensor) -> Tensor:
        """Re(Cᴴ·y): complex [batch, samples] -> real [batch, n, q]."""
        where = torch.where(self.inside, self.where, self.samples).to(self.device)
        out: list[Tensor] = []
        local = torch.nn.functional.pad(y.to(torch.complex128), (0, 1))[:, where]                   # [B, n, width]
        for source in self.sources:
            turned = local * source.turn.conj()
            if source.pulses.is_complex():
                seen = (turned[..., None, :] @ source.pulses.conj())[..., 0, :]
                out += (seen.real, seen.imag)[:len(source.at)]
                continue
            for part in (turned.real, turned.imag)[:len(source.at)]:
                if len(source.pulses) == 1:     # all windows alike: one product per segment
                    out.append((part.transpose(0, 1) @ source.pulses[0]).transpose(0, 1))
                else:
                    out.append((part[..., None, :] @ source.pulses)[..., 0, :])
        return torch.cat(out, -1)

    def gather(self, source: int, values: Tensor) -> Tensor:
        """[batch, n, q] -> [batch, symbols, dims] of source 0 or 1, symbols as LinearModulation.reaching counts them."""
        s = self.sources[source]
        index = (s.segment * self.q + s.slot).expand(self.batch, -1).to(self.device)
        return torch.stack([values.flatten(1).gather(1, index + at) for at in s.at], -1)

    def spread(self, source: int, values: Tensor) -> Tensor:
        """The reverse of gather: real [batch, symbols, dims] -> [batch, n, q], zero elsewhere, also where no symbol exists."""
        s = self.sources[source]
        index = (s.segment * self.q + s.slot).expand(self.batch, -1).to(self.device)
        out = torch.zeros(self.batch, self.segments * self.q, dtype=REAL, device=self.device)
        for d, at in enumerate(s.at):
            part = values[..., d] if s.exists is None else values[..., d] * s.exists.to(self.device)
            out.scatter_(1, index + at, part.to(REAL).expand(self.batch, -1))
        return out.unflatten(1, (self.segments, self.q))

    def prior(self, source: int, power: Any = 1.0) -> Tensor:
        """The precision of a source's unknowns before anything is received, real [batch, symbols, dims]: symbols of mean
        power `power`, a number or [batch]."""
        s = self.sources[source]
        power = torch.as_tensor(power, dtype=REAL, device=self.device).reshape(-1, 1, 1)
        return (len(s.at) / power).expand(self.batch, s.count, len(s.at))

    def posterior(self, statistics: Tensor, site: Any, shift: Tensor | float, noise_var: Any, kappa: Any = None) -> Any:
        """Means and variances, real [batch, n, q], of the unknowns under exp(-|y - C·u|²/noise_var - site·u²/2 + shift·u).

        statistics: of `statistics`. site, shift: real [batch, n, q]. noise_var: [batch], of the complex noise; kappa:
        amplitude of the second source, [batch], 1 if None.
        """
        weight = (2 / noise_var.to(REAL)).reshape(-1, 1, 1)
        main, side, h = self.main * weight[..., None], self.side * weight[..., None], statistics * weight
        if kappa is not None:
            scale = torch.ones(len(kappa), 1, self.q, dtype=REAL, device=self.device)
            scale[..., self.sources[1].at[0]:] = kappa.to(REAL)[:, None, None]
            both = scale[..., None] * scale[..., None, :]
            main, side, h = main * both, side * both, h * scale
        void = (site == 0).to(REAL)                 # a place without a symbol: unit variance, so that nothing is singular
        mean, cov, *_ = block_tridiagonal(main + torch.diag_embed(site + void), side, h + shift)
        return mean, cov.diagonal(dim1=-2, dim2=-1)


class _Source:
    """Where one source's symbols lie: segment and slot in it, [1 or B, count]; pulses [1 or B, n, width, slots], real but for a
    channel, and their common carrier, turn: [1 or B, n, width], or [1 or B, 1, 1] where there is a phase only. at: places of its
    first in-phase and quadrature part in a segment."""

    at: list[int]

    def __init__(self, prior: Any, centre: Tensor, pair: LinearPair) -> None:
        self.alphabet, self.count = prior.signal.alphabet, centre.shape[1]
        self.exists = prior.exists(prior.overlapping_symbols(pair.samples)[0], self.count)
        self.segment = ((centre - pair.origin) // pair.length).long().contiguous()
        self.slot = torch.arange(self.count) - torch.searchsorted(self.segment, self.segment)
        self.slots = int(self.slot.max()) + 1
        there = centre if self.exists is None else torch.where(self.exists, centre, torch.nan)
        place = torch.full((len(centre), pair.segments * self.slots), torch.nan, dtype=torch.float64)
        place.scatter_(1, self.segment * self.slots + self.slot, there)
        tau = pair.where[..., None] - place.reshape(len(centre), pair.segments, 1, self.slots)
        near = (tau.abs() <= prior.signal.half_length + 1e-6) & pair.inside[..., None]             # not where place is NaN
        pulse = torch.zeros_like(tau, dtype=torch.complex128 if prior.signal.channel else None)
        pulse[near] = torch.tensor(prior.signal.pulse_at(tau[near].numpy()))
        self.pulses = pulse.to(pair.device)
        phase, frequency = (column(v, tau)[..., None] for v in (prior.phase, prior.carrier_offset))
        where = pair.where if pair.drifts else torch.zeros(1, 1, dtype=torch.int64)
        angle = phase + 2 * torch.pi * frequency * where
        self.turn = torch.polar(torch.ones_like(angle), angle).to(pair.device)


def _wide(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate matrices of which some are the same for all windows: [1 or B, ...] each."""
    batch = max(map(len, parts))
    return torch.cat([part.expand(batch, -1, -1, -1) for part in parts], dim)
