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
from .base import Separation, interference_estimate, require, soft_output, variance_scale

_NOISE_FLOOR = 1e-3     # relative to the SOI's power: what an estimated timing leaves of the interference (acquisition)
_MIN_VAR = 1e-6


def joint_linear(y: Tensor, soi: LinearModulation, interference: Any, kappa: Tensor, noise_var: Tensor, passes: int = 6,
                 damping: float = 0.7, proper: bool = False, method: str = "joint",
                 callback: Callable[..., Any] | None = None) -> Separation:
    """Expectation propagation in `passes` passes; damping: weight of the new sites. proper: strictly linear in the samples,
    also where an alphabet is real. One pass of it, proper, is the periodically time-varying linear MMSE filter."""
    require(soi, Structure.CHAIN, "signal of interest", method)
    require(interference, Structure.CHAIN, "interference", method)
    gain = torch.as_tensor(soi.gain, dtype=REAL).reshape(-1).expand(len(y)).to(y.device)
    noise = (noise_var.to(REAL) / gain.square()).clamp_min(_NOISE_FLOOR)
    pair = LinearPair(y.shape, soi, interference, y.device, proper)
    received = pair.statistics(y / gain[:, None])
    sources = range(2)
    priors = [pair.prior(i) for i in sources]
    sites = [Sites(p, torch.zeros_like(p), least_var=_MIN_VAR) for p in priors]
    alphabets = [soi.signal.alphabet, interference.signal.alphabet]
    for turn in schedule(passes, damping):
        site, shift = (sum(pair.spread(i, getattr(sites[i], name)) for i in sources) for name in ("precision", "shift"))
        mean, var = pair.posterior(received, site, shift, noise, kappa / gain)
        posterior = [[pair.gather(i, v).clamp_min(low) for v, low in ((mean, -torch.inf), (var, _MIN_VAR))] for i in sources]
        cavity = [sites[i].cavity(*posterior[i]) for i in sources]
        if callback:
            callback(turn.number, *cavity[0])
        if turn.damping is not None:
            for i in sources:
                sites[i].update(moments(alphabets[i], *cavity[i]), cavity[i], turn.damping)
    soft, error = cavity[0]
    estimate = posterior[0][0] if method == "lmmse" else moments(alphabets[0], soft, error)[0]
    s = gain[:, None].float() * soi.modulate_overlapping(_symbols(estimate), y.shape[1])
    first, count = soi.centred_symbols(y.shape[1])
    index = (first - soi.overlapping_symbols(y.shape[1])[0]).reshape(-1, 1).to(y.device) + torch.arange(count, device=y.device)
    index = index.expand(len(y), -1)[..., None].expand(-1, -1, soft.shape[-1])
    soft, error = soft.gather(1, index), error.gather(1, index)
    symbols, dims = _symbols(soft), error.shape[-1]
    error = error * variance_scale(alphabets[0], symbols, 2 * error.mean(-1).float(), dims)[:, None, None]
    out = soft_output(soi, symbols, error.sum(-1).float(), factor=1, soi=s,
                      interference=interference_estimate(y - s, interference, kappa, noise_var),
                      evaluations=0, kappa=kappa, noise_var=noise_var)
    if alphabets[0].name in ("bpsk", "qpsk"):       # each part is a bit, with an error of its own
        amplitude = alphabets[0].points.real.abs()[0]
        bits = alphabets[0].bits_per_symbol
        out.llrs = (2 * amplitude * soft / error.clamp_min(1e-6))[..., :bits].float()
    return out


def _symbols(parts: Tensor) -> Tensor:
    """Real [batch, symbols, dims] -> complex64 [batch, symbols]."""
    return torch.view_as_complex(torch.nn.functional.pad(parts.float(), (0, 2 - parts.shape[-1])).contiguous())
