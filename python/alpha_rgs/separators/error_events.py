# SPDX-License-Identifier: GPL-3.0-or-later
"""How much less likely the decisions of a linear modulation would be with a bit flipped, beside a Gaussian interference.

Iterations decide a symbol while the others stay as decided, and so do not see that several, changed together, may fit as well:
the interference hides what changes within the strongest parts of its spectrum. With R the covariance of interference and noise,
an error e of the decisions a costs
    |y - H·(a + e)|² - |y - H·a|² = eᴴ·G·e - 2·Re(eᴴ·g),    |x|² = xᴴ·R⁻¹·x,  G = Hᴴ·R⁻¹·H,  g = Hᴴ·R⁻¹·(y - H·a),
which is the log likelihood ratio of the two. For each symbol and each point beside the one that was decided, the other symbols
that make it cheapest join one after the other. What costs less than nothing is mended.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..inference.toeplitz import ToeplitzInverse
from ..sources.base import Source
from ..sources.linear_modulation import LinearModulation
from .stationary_lmmse import FLOOR

_MOST = 6               # symbols of an error event
_REACH = 16             # symbols to either side that join one
_PASSES = 20            # error events that are mended in a window
_BESIDE = 1.5           # times the alphabet's least distance: points that an error event leads to
_NEAR = 257             # samples over which R is compared with what is left
_LEAST = 0.1            # of R: what is left there at least, that it is compared with


def improved(y: Tensor, decided: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor
             ) -> tuple[Tensor, Tensor]:
    """(decisions complex64 [batch, symbols] that no error event found makes likelier; the log likelihood ratio of each bit's
    decision against the likeliest that was found with that bit flipped, float32 [batch, symbols, bits]).

    y: complex64 [batch, samples] in units of the SOI's gain, `decided`: to begin with. interference: one that its autocorrelation
    describes, stationary; kappa, noise_var: [batch, 1], its amplitude and the noise in the same units.
    """
    found = [_Window(y[k:k + 1], decided[k:k + 1], soi.select(torch.tensor([k])), interference, float(kappa[k]),
                     float(noise_var[k])).settled() for k in range(len(y))]
    return torch.stack([symbols for symbols, _ in found]), torch.stack([ratios for _, ratios in found])


class _Window:
    """One window: y complex64 [1, samples]; decided complex [1, symbols]."""

    def __init__(self, y: Tensor, decided: Tensor, soi: LinearModulation, interference: Source, kappa: float,
                 noise: float) -> None:
        samples, count, device = y.shape[1], decided.shape[1], y.device
        self.alphabet, self.points = soi.signal.alphabet, soi.signal.alphabet.points.to(device)
        self.own = (decided[0, :, None] - self.points).abs().argmin(-1)                     # which points are decided
        covariance = kappa ** 2 * interference.autocorrelation(np.arange(samples))
        covariance[0] += max(noise, FLOOR)
        inverse = ToeplitzInverse(covariance)
        pulses = soi.modulate(torch.eye(count, dtype=y.dtype, device=device), samples).cpu().numpy().astype(complex)    # Hᵀ
        white = inverse(pulses)                                                             # (R⁻¹·H)ᵀ
        self.gram = torch.tensor(pulses.conj() @ white.T, dtype=y.dtype, device=device)
        rest = (y - soi.modulate(self.points[self.own][None], samples)).cpu().numpy().astype(complex)
        self.gradient = torch.tensor(rest @ white.conj().T, dtype=y.dtype, device=device)[0]
        # where more is left than R says, all is as much less certain
        power = torch.tensor((rest.conj() * inverse(rest)).real, dtype=torch.float32, device=device)
        near = torch.nn.functional.avg_pool1d(power, _NEAR, 1, _NEAR // 2, count_include_pad=False)[0].clamp_min(_LEAST)
        at = soi.timing_of(soi.centred_symbols(samples)[0]).reshape(-1)[0] + torch.arange(count) * soi.signal.samples_per_symbol
        at = at.round().long().to(device)
        self.left = near[at.clamp(0, samples - 1)]
        # beside others, which lie outside, a symbol's own costs are not known
        self.whole = (at >= soi.signal.half_length) & (at < samples - soi.signal.half_length)

    def settled(self) -> tuple[Tensor, Tensor]:
        """(decisions [symbols], ratios [symbols, bits])."""
        for turn in range(_PASSES + 1):
            steps, reached = _steps(self.points, self.own, _BESIDE * self.alphabet.least_distance)
            cost, events = _cheapest(self.gradient, self.gram, steps, self.whole)
            if turn == _PASSES or not bool((cost < 0).any()):
                break
            taken = self._together(cost.flatten(), events, steps)
            moved = torch.nonzero(taken >= 0)[:, 0]
            self.gradient = self.gradient - self.gram[:, moved] @ steps[moved, taken[moved]]
            self.own[moved] = reached[moved, taken[moved]]
        labels = self.alphabet.labels.to(self.own.device)
        flipped = labels[reached] != labels[self.own][:, None]                              # [symbols, steps, bits]
        ratios = torch.where(self.whole[:, None], cost / self.left[:, None], torch.inf)
        return self.points[self.own], torch.where(flipped, ratios[..., None], torch.inf).amin(1).clamp_min(0.0)

    def _together(self, cost: Tensor, events: Tensor, steps: Tensor) -> Tensor:
        """The step that each symbol takes, int64 [symbols], -1: none: of the event that costs least, and of others out of its
        reach that cost less than nothing, if together they do cost less."""
        kinds, order = steps.shape[1], cost.argsort()
        chosen: list[int] = []
        for event in order[cost[order] < 0].tolist():
            if all(abs(event // kinds - other // kinds) > 2 * _REACH for other in chosen):
                chosen.append(event)
        taken = _placed(events[chosen], torch.tensor(chosen, device=cost.device) // kinds, len(steps))
        moved = torch.nonzero(taken >= 0)[:, 0]
        change = steps[moved, taken[moved]]
        gram, gradient = self.gram[moved][:, moved], self.gradient[moved]
        if float((change.conj() @ (gram @ change)).real - 2 * (change.conj() @ gradient).real) < float(cost[chosen[0]]):
            return taken
        return _placed(events[chosen[:1]], torch.tensor(chosen[:1], device=cost.device) // kinds, len(steps))


def _placed(events: Tensor, begun: Tensor, count: int) -> Tensor:
    """Events [n, 2·_REACH + 1] about the symbols that they were begun at [n], which do not overlap: int64 [count]."""
    out = torch.full((count + 2 * _REACH,), -1, device=events.device)
    for event, at in zip(events, begun.tolist()):
        out[at:at + 2 * _REACH + 1] = torch.maximum(out[at:at + 2 * _REACH + 1], event)
    return out[_REACH:_REACH + count]


def _steps(points: Tensor, own: Tensor, within: float) -> tuple[Tensor, Tensor]:
    """(differences to the points beside each decided one, complex [batch, symbols, steps], 0 where there are fewer; which points
    these are). own: which are decided, [batch, symbols]."""
    apart = (points[:, None] - points).abs()
    most = int(((apart < within).sum(1) - 1).max())
    near = apart.argsort(1)[:, 1:most + 1]
    step = torch.where(apart.gather(1, near) < within, points[near] - points[:, None], 0)
    return step[own], near[own]


def _cheapest(gradient: Tensor, gram: Tensor, steps: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """(the least cost found of error events that take each step, float32 [symbols, steps]; these events: the step that each
    symbol takes, of those about the one it was begun at, int64 [symbols · steps, 2·_REACH + 1], -1: none). whole: which symbols
    may change."""
    count, kinds = steps.shape
    alone = steps.abs().square() * gram.diagonal()[:, None].real - 2 * (steps.conj() * gradient[:, None]).real
    near = torch.arange(count, device=steps.device)[:, None] + torch.arange(-_REACH, _REACH + 1, device=steps.device)
    inside, near = (near >= 0) & (near < count), near.clamp(0, count - 1)
    # what would be likelier by itself is no part of another symbol's doubt
    joining = torch.where(((steps != 0) & whole[:, None])[near] & inside[..., None], alone.clamp_min(0.0)[near], torch.inf)
    event = torch.arange(count * kinds, device=steps.device)            # one begun by each step
    near, joining, others = near[event // kinds], joining[event // kinds], steps[near][event // kinds].conj()
    total = torch.where((steps != 0) & whole[:, None], alone, torch.inf).flatten()
    felt = steps.flatten()[:, None] * gram[near, event[:, None] // kinds]       # G·e about it, [events, near]
    taken = torch.full_like(near, -1)
    taken[:, _REACH] = event % kinds
    best, found = total, taken
    for _ in range(_MOST - 1):
        cost = torch.where((taken < 0)[..., None], joining + 2 * (others * felt[..., None]).real, torch.inf)
        least, place = cost.flatten(1).min(1)
        total = total + least
        at = place // kinds
        taken = taken.scatter(1, at[:, None], place[:, None] % kinds)
        felt = felt + others[event, at, place % kinds].conj()[:, None] * gram[near, near[event, at][:, None]]
        better = total < best
        best, found = torch.where(better, total, best), torch.where(better[:, None], taken, found)
    return best.reshape(count, kinds).float(), found
