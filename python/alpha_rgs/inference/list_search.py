# SPDX-License-Identifier: GPL-3.0-or-later
"""List search over all discrete unknowns of a window: what expectation propagation missed, judged by the fit itself.

With the unknowns ordered in time the J of their energy (inference/decisions.py) is banded. J + Λ = RᴴR, Λ a Gaussian prior on
what is not decided yet: going up from the last row, the part of the energy that is known so far is |R_ii·(u_i - c_i)|², the
undecided ones integrated out (sphere decoding by the M-algorithm: the best `width` partial decisions go on).
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..signals.mixed import parts_of, subset
from .decisions import Decisions
from .frame_family import COMPLEX


class ListSearch(Decisions):
    """Decisions with a search. width: how many partial decisions survive a step."""

    def __init__(self, problem: Any, width: int, other: bool = False) -> None:
        super().__init__(problem, other)
        self.width = width

    def run(self, doubtful: Tensor, decided: Tensor | None = None) -> Tensor:
        """Search the doubtful windows [B]; put the better stretches into the problem's sites. decided: what to compare with, in
        the order of `decision`; default what expectation propagation says. Returns which windows changed [B]."""
        evidence = self.evidence()
        old = self.decided() if decided is None else self.placed(decided)
        return self.adopt(self.search(evidence, old, torch.nonzero(doubtful)[:, 0]), old, evidence)

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
        """Points of the symbols' alphabet and, where there are carriers, of theirs, as `kind` numbers them."""
        near = self.p.near if self.kind.any() else self.p.near[:0]
        kinds: list[Any] = [own for own, _ in parts_of(subset(self.p.ofdm.signal.unknown_alphabet, near), len(near))]
        return [own.points.to(device) for own in (self.p.soi.signal.alphabet, *(kinds if len(near) else ()))]

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
