# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of two linear modulations by expectation propagation.

As joint.py, y = H·a + kappa·G·d + w with discrete unknowns on both sides, each with a Gaussian site; here the joint posterior
comes from one banded system of real unknowns (inference/linear_pair.py), in-phase and quadrature parts with sites of their own.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..inference.linear_model import moments
from ..inference.linear_pair import REAL, LinearPair
from ..inference.sites import Sites, schedule
from ..sources.base import Structure
from ..sources.linear_modulation import LinearModulation
from .base import Separation, interference_estimate, require, soft_output, variance_scale, with_quadrature
from .error_shape import shaped

_NOISE_FLOOR = 1e-3     # relative to the SOI's power: what an estimated timing leaves of the interference (acquisition)
_MIN_VAR = 1e-6
_EXCEEDS = 2.0          # times the noise that decisions leave somewhere in a window that is inferred again
# (passes, damping, heat, settling passes) of that: QPSK of 4 samples per symbol under QPSK of 3, Es/N0 21 dB, has a seventh of
# the wrong bits then, as with 20 passes, or with three times the heat
_AGAIN = (12, 0.7, 30.0, 2)
_HOTTEST = 1.0          # of the SOI's power: noise that hot passes take for granted, at most


def joint_linear(y: Tensor, soi: LinearModulation, interference: Any, kappa: Tensor, noise_var: Tensor, passes: int = 6,
                 damping: float = 0.7, proper: bool = False, method: str = "joint",
                 callback: Callable[..., Any] | None = None) -> Separation:
    """Expectation propagation in `passes` passes; damping: weight of the new sites. proper: strictly linear in the samples,
    also where an alphabet is real. One pass of it, proper, is the periodically time-varying linear MMSE filter."""
    require(soi, Structure.CHAIN, "signal of interest", method)
    require(interference, Structure.CHAIN, "interference", method)
    gain = torch.as_tensor(soi.gain, dtype=REAL).reshape(-1).expand(len(y)).to(y.device)
    noise = (noise_var.to(REAL) / gain.square()).clamp_min(_NOISE_FLOOR)
    problem = _Problem(y / gain[:, None], soi, interference, kappa / gain, noise, proper)
    cavity, mean = problem.inferred(passes, damping, callback=callback)
    if passes > 1:
        _again(problem, cavity, mean)
    (soft, error), alphabet = cavity[0], soi.signal.alphabet
    estimate = mean if method == "lmmse" else moments(alphabet, soft, error)[0]
    s = gain[:, None].float() * soi.modulate_overlapping(_symbols(estimate), y.shape[1])
    first, count = soi.centred_symbols(y.shape[1])
    index = (first - soi.overlapping_symbols(y.shape[1])[0]).reshape(-1, 1).to(y.device) + torch.arange(count, device=y.device)
    index = index.expand(len(y), -1)[..., None].expand(-1, -1, soft.shape[-1])
    soft, error = soft.gather(1, index), error.gather(1, index)
    symbols, dims = _symbols(soft), error.shape[-1]
    error = error * variance_scale(alphabet, symbols, 2 * error.mean(-1).float(), dims)[:, None, None]
    out = soft_output(soi, symbols, error.sum(-1).float(), factor=1, soi=s,
                      interference=interference_estimate(y - s, interference, kappa, noise_var),
                      evaluations=0, kappa=kappa, noise_var=noise_var)
    if alphabet.name in ("bpsk", "qpsk"):       # each part is a bit, with an error of its own
        amplitude = alphabet.points.real.abs()[0]
        bits = alphabet.bits_per_symbol
        llrs = (2 * amplitude * soft / error.clamp_min(1e-6))[..., :bits].float()
        out.llrs = shaped(alphabet, symbols, error.sum(-1).float().clamp_min(1e-6), llrs)
    return out if dims == 2 else with_quadrature(out, soi, y - s - out.interference, gain)


class _Problem:
    """Windows y [batch, samples] in units of the SOI's gain; kappa, noise: [batch], likewise."""

    def __init__(self, y: Tensor, soi: Any, other: Any, kappa: Tensor, noise: Tensor, proper: bool) -> None:
        self.y, self.sources, self.kappa, self.noise, self.proper = y, (soi, other), kappa, noise, proper
        self.pair = LinearPair(y.shape, soi, other, y.device, proper)
        self.received = self.pair.statistics(y)

    def part(self, rows: Tensor) -> _Problem:
        """The problem of some windows (indices)."""
        soi, other = (source.select(rows) for source in self.sources)
        return _Problem(self.y[rows], soi, other, self.kappa[rows], self.noise[rows], self.proper)

    def inferred(self, passes: int, damping: float, heat: float = 1.0, settle: int = 0,
                 callback: Callable[..., Any] | None = None) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """(each source's cavities, (mean, variance) [batch, symbols, dims]; the posterior mean of the SOI's symbols)."""
        pair, both = self.pair, range(2)
        priors = [pair.prior(i) for i in both]
        sites = [Sites(p, torch.zeros_like(p), least_var=_MIN_VAR) for p in priors]
        hottest = (_HOTTEST / self.noise).clamp_min(1)
        for turn in schedule(passes, damping, heat, settle):
            site, shift = (sum(pair.spread(i, getattr(sites[i], name)) for i in both) for name in ("precision", "shift"))
            mean, var = pair.posterior(self.received, site, shift, self.noise * hottest.clamp(max=turn.heat), self.kappa)
            posterior = [[pair.gather(i, v).clamp_min(low) for v, low in ((mean, -torch.inf), (var, _MIN_VAR))] for i in both]
            cavity = [sites[i].cavity(*posterior[i]) for i in both]
            if callback:
                callback(turn.number, *cavity[0])
            if turn.damping is not None:
                for i in both:
                    sites[i].update(moments(self.sources[i].signal.alphabet, *cavity[i]), cavity[i], turn.damping)
        return cavity, posterior[0][0]

    def left(self, cavity: list[tuple[Tensor, Tensor]]) -> Tensor:
        """What the decisions leave, relative to the noise, in blocks of a pair of pulses: [batch, blocks]."""
        rest = self.y
        for source, (mean, _), level in zip(self.sources, cavity, (torch.ones_like(self.kappa), self.kappa)):
            decided = source.signal.alphabet.nearest(_symbols(mean)).to(torch.complex64)
            rest = rest - level[:, None].float() * source.modulate_overlapping(decided, self.y.shape[1])
        blocks = max(rest.shape[1] // self.pair.length, 1)
        power = rest.abs().square()[:, :rest.shape[1] // blocks * blocks].unflatten(1, (blocks, -1)).mean(2)
        return power / self.noise[:, None]


def _again(problem: _Problem, cavity: list[tuple[Tensor, Tensor]], mean: Tensor) -> None:
    """Infer windows whose decisions leave more than noise once more, hot; what fits better replaces cavities and mean."""
    left = problem.left(cavity)
    rows = torch.nonzero(left.amax(1) > _EXCEEDS)[:, 0]
    if not len(rows):
        return
    other = problem.part(rows)
    found, found_mean = other.inferred(*_AGAIN)
    better = other.left(found).sum(1) < left[rows].sum(1)
    rows = rows[better]
    for old, new in zip((mean, *(v for pair in cavity for v in pair)), (found_mean, *(v for pair in found for v in pair))):
        old[rows] = new[better][:, :old.shape[1]]


def _symbols(parts: Tensor) -> Tensor:
    """Real [batch, symbols, dims] -> complex64 [batch, symbols]."""
    return torch.view_as_complex(torch.nn.functional.pad(parts.float(), (0, 2 - parts.shape[-1])).contiguous())
