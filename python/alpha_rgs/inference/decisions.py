# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions on all discrete unknowns of a window, and which of two fits better, stretch by stretch.

The energy of a decision u = (symbols, carriers near the SOI's spectrum) is E(u) = uᴴJu - 2·Re hᴴu, J and h summed over the
frames. Stretches of frames in which another decision fits better than that of expectation propagation replace its sites, and its
next passes make soft values of them.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..signals.mixed import parts_of, subset
from .frame_family import COMPLEX, REAL

if TYPE_CHECKING:
    from .frame_family import FrameFamily

_ENOUGH = 0.25          # of a frame's samples: with less, its carriers are not decided
_CONFIDENCE = 10.0      # precision of the site that a found decision leaves: firm enough to stay, soft enough to be mended


class Decisions:
    """The discrete unknowns of a joint.Problem in one order, and the band of their energy.

    Near carriers of whole frames are decided; those of cut frames, and carriers of unknown constellation, stay Gaussian
    with the sites that they have. Position 0 ... N-1, in order of time; `other`: the weaker source first. decision: what `adopt`
    left [B, N], in an order that does not depend on that: all symbols, then all carriers, frame by frame.
    """

    def __init__(self, problem: Any, other: bool = False) -> None:
        self.p = problem
        plan, device = problem.plan, problem.y.device
        first = (plan.symbol - plan.symbol[:, :1])
        total, frames = problem.sites.shift.shape[1], plan.frames
        energy = problem.soi.signal.samples_per_symbol
        strength = float((problem.kappa / problem.gain).square().mean()) * plan.length / len(problem.ofdm.signal.carriers)
        near = len(problem.near) if problem.ofdm.decided else 0
        # a symbol stands with the first frame that it reaches; the last in order are decided first: let them be the strong
        reach = first.min(0).values + plan.count
        home = torch.searchsorted(reach, torch.arange(total), right=True).clamp(max=frames - 1)
        carriers_last = (strength > 2 * energy) != other
        key = torch.cat([2 * home + (0 if carriers_last else 1),
                         2 * torch.arange(frames).repeat_interleave(near) + (1 if carriers_last else 0)])
        position = torch.empty(len(key), dtype=torch.int64)
        position[torch.argsort(key, stable=True)] = torch.arange(len(key))
        self.symbol, self.carrier = position[:total].to(device), position[total:].reshape(frames, near).to(device)
        self.n, self.position = len(key), position.to(device)
        self.kind = torch.zeros(self.n, dtype=torch.int64)              # 0: a symbol; from 1 on: a carrier, of alphabets' number
        for number, (_, places) in enumerate(parts_of(subset(problem.ofdm.signal.unknown_alphabet, problem.near), near), 1):
            self.kind[position[total:].reshape(frames, near)[:, places]] = number
        self.exists = torch.zeros(plan.batch, self.n, dtype=torch.bool, device=device)
        self.exists[:, self.symbol] = problem.exists
        # symbols centred beyond the window's ends are hardly seen: decided, they would fill the list; they stay Gaussian
        within = torch.arange(total, device=device) - problem.first_inside
        self.beyond = torch.zeros(plan.batch, self.n, dtype=torch.bool, device=device)
        self.beyond[:, self.symbol] = problem.exists & ((within < 0) | (within >= problem.count))
        self.turn = torch.ones(plan.batch, self.n, dtype=COMPLEX, device=device)
        self.turn[:, self.symbol] = problem.rotation
        local = first.flatten().to(device)
        self.places = []
        for f in problem.families:
            symbols = self.symbol[local[f.rows][:, None] + torch.arange(plan.count, device=device)]
            for rows, keep in self._parts(f):
                where = symbols[rows]
                if len(keep):
                    carriers = self.carrier[f.rows[rows] % frames]
                    self.exists[f.window[rows, None], carriers] = True
                    where = torch.cat([carriers, where], 1)
                self.places.append((f, rows, keep, where))

    def _parts(self, family: FrameFamily) -> list[tuple[Tensor, Tensor]]:
        """(rows of the family, which of its carriers are decided there)."""
        none, device = torch.arange(0), family.rows.device
        if not self.p.ofdm.decided or not len(self.p.near) or not family.d:
            return [(torch.arange(len(family.rows), device=device), none)]
        keep = torch.tensor(self.p.near, device=device) if family.cut else torch.arange(family.d, device=device)
        samples = self.p.plan.inside.sum(-1).flatten().to(device)[family.rows]
        enough = samples >= _ENOUGH * self.p.plan.length
        return [(torch.nonzero(which)[:, 0], k) for which, k in ((enough, keep), (~enough, none)) if bool(which.any())]

    def evidence(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Of each part: (window [n], frame [n], positions [n, m], J [n, m, m], h [n, m]); the carriers that are not decided
        are integrated out under their sites."""
        done, out = {}, []
        for f, rows, keep, where in self.places:
            if id(f) not in done:
                done[id(f)] = f.evidence()
            if len(keep) == 0:
                precision, information = (part[rows] for part in done[id(f)])
            else:
                kept = torch.cat([keep, torch.arange(f.d, f.gram.shape[-1], device=keep.device)])
                precision, information = marginal(f.gram[rows], f.stat[rows], f.sites.precision[rows], f.sites.shift[rows], kept)
            out.append((f.window[rows], f.rows[rows] % self.p.plan.frames, where, precision, information))
        return out

    def decided(self) -> Tensor:
        """What expectation propagation says: the alphabets' points nearest to the cavities [B, N]."""
        p = self.p
        out = torch.zeros(p.plan.batch, self.n, dtype=COMPLEX, device=p.y.device)
        out[:, self.symbol] = p.decided()
        for f, rows, keep, where in self.places:
            if len(keep):
                points = subset(f.near_alphabet, keep).nearest(f.near_mean[rows][:, keep]).to(COMPLEX)
                out[f.window[rows, None], where[:, :len(keep)]] = points
        return out

    def placed(self, decision: Tensor) -> Tensor:
        """A decision in the order of `decision`, by position [B, N]."""
        return torch.empty_like(decision).index_copy_(1, self.position, decision)

    def adopt(self, new: Tensor, old: Tensor, evidence: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]) -> Tensor:
        """Put the stretches in which `new` [B, N] fits better than `old` into the problem's sites. Returns which windows changed
        [B]."""
        changed = (old - new).abs() > 1e-6
        shape = (self.p.plan.batch, self.p.plan.frames)
        gain, touched = torch.zeros(shape, dtype=REAL, device=old.device), torch.zeros(shape, dtype=torch.bool, device=old.device)
        for window, frame, where, precision, information in evidence:
            before, after = (stretch_energy(x[window[:, None], where], precision, information) for x in (old, new))
            settled = ~self.beyond[window[:, None], where].any(1)       # where all is decided, energies may be compared
            gain[window, frame] = torch.where(settled, before - after, 0)
            touched[window, frame] = changed[window[:, None], where].any(1)
        # stretches of frames in a row share no unknown that differs with other stretches: each is judged by itself
        run = torch.cumsum(~touched, 1) * touched
        total = torch.zeros(shape[0], shape[1] + 1, dtype=REAL, device=old.device)
        total.scatter_add_(1, run, torch.where(touched, gain, 0))
        accept = touched & (total.gather(1, run) > 1e-9)
        take = torch.zeros_like(changed)
        for window, frame, where, _, _ in evidence:
            take[window[:, None], where] |= accept[window, frame][:, None] & ~self.beyond[window[:, None], where]
        self._write(new, take)
        self.decision = torch.where(take, new, old)[:, self.position]
        return accept.any(1)

    def _write(self, new: Tensor, take: Tensor) -> None:
        p = self.p
        mine = take[:, self.symbol] & p.exists
        p.sites.precision = torch.where(mine, _CONFIDENCE, p.sites.precision)
        p.sites.shift = torch.where(mine, _CONFIDENCE * new[:, self.symbol], p.sites.shift)
        for f, rows, keep, where in self.places:
            if len(keep):
                at = (f.window[rows, None], where[:, :len(keep)])
                here = (rows[:, None], keep[None])
                f.sites.precision[here] = torch.where(take[at], _CONFIDENCE, f.sites.precision[here])
                f.sites.shift[here] = torch.where(take[at], _CONFIDENCE * new[at], f.sites.shift[here])


def stretch_energy(u: Tensor, precision: Tensor, information: Tensor) -> Tensor:
    """E of each frame: u [n, m], precision [n, m, m], information [n, m] -> [n]."""
    return ((precision @ u[..., None])[..., 0] * u.conj()).sum(-1).real - 2 * (information.conj() * u).sum(-1).real


def marginal(precision: Tensor, information: Tensor, site: Tensor, shift: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Integrate out the carriers not `kept` (indices into carriers and symbols) under their sites [n, d]."""
    d = site.shape[1]
    rest = torch.ones(d, dtype=torch.bool, device=site.device)
    rest[kept[kept < d]] = False
    rest = torch.nonzero(rest)[:, 0]
    inner, h = precision[:, kept[:, None], kept], information[:, kept]
    if len(rest) == 0:
        return inner, h
    cross = precision[:, rest[:, None], kept]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(precision[:, rest[:, None], rest] + torch.diag_embed(
        site[:, rest].to(COMPLEX))))
    gain = inverse @ cross
    return inner - cross.mH @ gain, h - (gain.mH @ (information + torch.nn.functional.pad(shift, (
        0, information.shape[1] - d)))[:, rest, None])[..., 0]
