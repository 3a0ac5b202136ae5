# SPDX-License-Identifier: GPL-3.0-or-later
"""List search over all discrete unknowns of a window: what expectation propagation missed, judged by the fit itself.

The energy of a decision u = (symbols, carriers near the SOI's spectrum) is E(u) = uᴴJu - 2·Re hᴴu, J and h summed over the
frames. With the unknowns ordered in time J is banded. J + Λ = RᴴR, Λ a Gaussian prior on what is not decided yet: going up
from the last row, the part of the energy that is known so far is |R_ii·(u_i - c_i)|², the undecided ones integrated out
(sphere decoding by the M-algorithm: the best `width` partial decisions go on). Then stretches in which the found decision
fits better than that of expectation propagation replace its sites, and its next passes make soft values of them.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .frame_family import COMPLEX, REAL

if TYPE_CHECKING:
    from .frame_family import FrameFamily

_ENOUGH = 0.25          # of a frame's samples: with less, its carriers are not decided
_CONFIDENCE = 10.0      # precision of the site that a found decision leaves: firm enough to stay, soft enough to be mended


class ListSearch:
    """The discrete unknowns of a joint.Problem in one order, and the band of their energy.

    Near carriers of whole frames are decided; those of cut frames, and carriers of unknown constellation, stay Gaussian
    with the sites that they have. Position 0 ... N-1; `width`: how many partial decisions survive a step; `other`: the weaker
    source first.
    """

    def __init__(self, problem: Any, width: int, other: bool = False) -> None:
        self.p, self.width = problem, width
        plan, device = problem.plan, problem.y.device
        first = (plan.symbol - plan.symbol[:, :1])
        total, frames = problem.sites.shift.shape[1], plan.frames
        energy = problem.soi.signal.samples_per_symbol
        strength = float((problem.kappa / problem.gain).square().mean()) * plan.length / len(problem.ofdm.signal.carriers)
        near = len(problem.near) if problem.ofdm.signal.alphabet.symmetry is not None else 0
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
        self.kind = torch.empty(self.n, dtype=torch.bool)               # True: a carrier
        self.kind[position] = torch.arange(len(key)) >= total
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
        if family.alphabet.symmetry is None or not len(self.p.near):
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

    def run(self, doubtful: Tensor, decided: Tensor | None = None) -> Tensor:
        """Search the doubtful windows [B]; put the better stretches into the problem's sites. decided: what to compare with, in
        the order of `decision`; default what expectation propagation says. Returns which windows changed [B]."""
        evidence = self.evidence()
        old = self.decided() if decided is None else torch.empty_like(decided).index_copy_(1, self.position, decided)
        new = self.search(evidence, old, torch.nonzero(doubtful)[:, 0])
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

    def decided(self) -> Tensor:
        """What expectation propagation says: the alphabets' points nearest to the cavities [B, N]."""
        p = self.p
        out = torch.zeros(p.plan.batch, self.n, dtype=COMPLEX, device=p.y.device)
        out[:, self.symbol] = p.decided()
        for f, rows, keep, where in self.places:
            if len(keep):
                points = f.alphabet.nearest(f.near_mean[rows][:, keep]).to(COMPLEX)
                out[f.window[rows, None], where[:, :len(keep)]] = points
        return out

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

    def _band(self, evidence: Any, B: int) -> tuple[Tensor, Tensor, Tensor]:
        """J + I in blocks of q, upper and block tridiagonal: (diagonal, side [B, blocks, q, q], h [B, blocks, q])."""
        device = self.p.y.device
        q = max(int((where.max(1).values - where.min(1).values).max()) for _, where, _, _ in evidence if len(where)) + 1
        blocks = -(-self.n // q)
        band = torch.zeros(B * blocks * q * 2 * q, dtype=COMPLEX, device=device)
        h = torch.zeros(B, blocks * q, dtype=COMPLEX, device=device)
        for window, where, precision, information in evidence:
            row, column = torch.broadcast_tensors(where[:, :, None], where[:, None, :])
            block = torch.minimum(row, column) // q
            upper = row // q <= column // q
            entry = ((window[:, None, None] * blocks + block) * q + row - block * q) * 2 * q + column - block * q
            band.scatter_add_(0, entry[upper], precision[upper])
            h.view(-1).scatter_add_(0, (window[:, None] * blocks * q + where).flatten(), information.flatten())
        band = band.reshape(B, blocks, q, 2 * q)
        diagonal = band[..., :q] + torch.eye(q, dtype=COMPLEX, device=device)
        return diagonal, band[..., q:], h.reshape(B, blocks, q)

    def search(self, evidence: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]], old: Tensor, windows: Tensor) -> Tensor:
        """The best complete decision that the list keeps, complex [B, N]; outside of `windows` (indices) the old one."""
        if len(windows) == 0:
            return old
        number = torch.full((len(old),), -1, device=old.device)
        number[windows] = torch.arange(len(windows), device=old.device)
        some = [(number[w][mine], at[mine], j[mine], h[mine]) for w, _, at, j, h in evidence for mine in [number[w] >= 0]]
        main, side, h = self._band(some, len(windows))
        factor, gain, rest = _eliminated(main, side, h)
        metric, parents, values = self._listed(factor, gain, rest, windows)
        whole = old.clone()
        whole[windows] = self._traced(metric, parents, values)
        return whole

    def _listed(self, factor: list[Tensor], gain: list[Tensor], rest: list[Tensor],
                windows: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The list search from the last position to the first: (metric of the decisions that are kept at last [B, list]; of each
        position, last first, the list entry that each one goes on from and the value that it takes, int64 and complex64
        [B, list])."""
        device, (B, q) = rest[0].device, rest[0].shape
        alphabets = self._alphabets(device)
        exists, turn = self.exists[windows], self.turn[windows].to(torch.complex64)
        beyond = self.beyond[windows]
        metric = torch.zeros(B, 1, device=device)
        after, parents, values = None, [], []
        for b in range(len(rest) - 1, -1, -1):
            # entries from i on hold decided values, those before it what is left to explain
            state = rest[b][:, None].expand(-1, metric.shape[1], -1)
            state = state - after @ gain[b].mT if after is not None else state.clone()
            for i in range(q - 1, -1, -1):
                n = b * q + i
                if n >= self.n:
                    continue
                points = alphabets[int(self.kind[n])] * turn[:, n, None]                        # [B, A]
                points = torch.where(exists[:, n, None], points, 0)
                scale = factor[b][:, i, i].real
                cost = _costs(state[:, :, i], points, scale, exists[:, n], beyond[:, n])
                cost = (metric[..., None] + cost).flatten(1)
                metric, best = torch.topk(cost, min(self.width, cost.shape[1]), largest=False)
                parent, code = best // points.shape[1], best % points.shape[1]
                value = points.gather(1, code)
                state = state.gather(1, parent[..., None].expand(-1, -1, q))
                value = torch.where(beyond[:, n, None], state[..., i] / scale[:, None], value)
                if i:
                    state[..., :i] -= value[..., None] * factor[b][:, None, :i, i]
                state[..., i] = value
                parents.append(parent)
                values.append(value)
            after = state
        return metric, parents, values

    def _alphabets(self, device: torch.device) -> list[Tensor]:
        """Points of the symbols' alphabet and, where there are carriers, of theirs."""
        points = [self.p.soi.signal.alphabet.points.to(device)]
        return [*points, self.p.ofdm.signal.alphabet.points.to(device)] if self.kind.any() else points

    def _traced(self, metric: Tensor, parents: list[Tensor], values: list[Tensor]) -> Tensor:
        """The best decision of those that `_listed` kept, complex [B, N]."""
        out = torch.zeros(len(metric), self.n, dtype=COMPLEX, device=metric.device)
        at = metric.argmin(1, keepdim=True)
        for n, (parent, value) in enumerate(zip(reversed(parents), reversed(values))):
            out[:, n] = value.gather(1, at)[:, 0]
            at = parent.gather(1, at)
        return out


def _eliminated(main: Tensor, side: Tensor, h: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """R of J + I = RᴴR, block by block, and R⁻ᴴ·h: (diagonal blocks [B, q, q], blocks beside them, right sides [B, q]), lists of
    complex64."""
    factor, gain, rest = [], [], []
    blocks = h.shape[1]
    block, right = main[:, 0], h[:, 0, :, None]
    for i in range(blocks):
        low = _cholesky(block)
        factor.append(low.mH.to(torch.complex64))
        z = torch.linalg.solve_triangular(low, right, upper=False)
        rest.append(z[..., 0].to(torch.complex64))
        if i + 1 < blocks:
            g = torch.linalg.solve_triangular(low, side[:, i], upper=False)
            gain.append(g.to(torch.complex64))
            block, right = main[:, i + 1] - g.mH @ g, h[:, i + 1, :, None] - g.mH @ z
    return factor, gain, rest


def _costs(left: Tensor, points: Tensor, scale: Tensor, exists: Tensor, beyond: Tensor) -> Tensor:
    """What each point [B, A] adds to the energy of each list entry, left [B, list] being what it has to explain: [B, list, A].
    Nothing to decide (what does not exist, or lies beyond the window's ends): one way."""
    cost = (left[..., None] - (scale[:, None] * points)[:, None]).abs().square() - points.abs().square()[:, None]
    cost = torch.where(beyond[:, None, None], 0, cost)
    cost[..., 1:] += torch.where(exists & ~beyond, 0, torch.inf)[:, None, None]
    return cost


def _cholesky(block: Tensor) -> Tensor:
    """Of [batch, q, q]; what rounding made indefinite (a signal far too weak for what is said of it) is shifted a little."""
    low, info = torch.linalg.cholesky_ex(block)
    bad, size, shift = info > 0, block.diagonal(dim1=1, dim2=2).real.amax(1, keepdim=True), 1e-9
    while bool(bad.any()) and shift < 1:
        moved = block + torch.diag_embed((shift * size).expand(block.shape[:2]).to(block.dtype))
        again, info = torch.linalg.cholesky_ex(moved)
        mended = bad & (info == 0)
        low, bad, shift = torch.where(mended[:, None, None], again, low), bad & ~mended, 100 * shift
    return low


def refine(problem: Any, width: int, doubtful: Tensor) -> Tensor:
    """Search the doubtful windows [B] in both orders, the second from what the first found. Returns which changed [B]."""
    first = ListSearch(problem, width)
    changed = first.run(doubtful)
    return changed | ListSearch(problem, width, other=True).run(doubtful, first.decision)


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
