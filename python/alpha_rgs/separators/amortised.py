# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass: the SOI is noise of its own colour to the interference's denoiser, which is asked once.

b̂ = E[b | y/kappa], what is not b taken as Gaussian of the density of (SOI + noise)/kappa²; then the matched filter on
y - kappa·b̂. A network trained on mixtures (`alpha-rgs train --against`) knows better what the SOI looks like, and may be small.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import CapabilityError
from ..sources.base import Noise, Number, Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import decibels, require, soft_output


def amortised(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor) -> Any:
    """evaluations: 1. Raises CapabilityError for a denoiser that takes no colour."""
    require(soi, Structure.CHAIN, "signal of interest", "amortised")
    one = kappa[:, None] * first_pass(y, soi, interference, kappa, noise_var)
    gain = torch.as_tensor(soi.gain, dtype=torch.float32).reshape(-1, 1).to(y.device)
    rest = y - one
    r = soi.matched_filter(rest, gain)
    alphabet, floor = soi.signal.alphabet, noise_var[:, None] / gain.square() / soi.signal.samples_per_symbol
    var = torch.maximum((r - alphabet.nearest(r)).abs().square().mean(1, keepdim=True), floor)
    s = soi.modulate(gain * alphabet.mean(r, var), y.shape[1])
    # decisions can be wrong: what symbols and b̂ leave of the mixture shows it (4: as in alpha_rgs)
    left = 2 * torch.view_as_real(rest - s).square().mean((1, 2))[:, None]
    excess = (left - 1.1 * noise_var[:, None]).clamp_min(0) / gain.square()
    return soft_output(soi, r, var, excess / soi.signal.samples_per_symbol, soi=s,
                       interference=one, evaluations=1, kappa=kappa, noise_var=noise_var)


def first_pass(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor) -> Any:
    """b̂, complex64 [batch, samples]. kappa, noise_var: [batch] or [batch, 1], y and they in the same units as the SOI's gain."""
    if not interference.takes_basis:
        raise CapabilityError("amortised: the interference's denoiser knows white noise only; give one that takes a colour")
    scale = kappa.reshape(-1, 1).clamp_min(1e-6)
    gain = float(torch.as_tensor(soi.gain, dtype=torch.float32).mean())
    level: Number = (gain / scale).square()
    floor: Number = noise_var.reshape(-1, 1) / scale.square()
    if not interference.learned:        # its filters are made for one level and kept
        level, floor = decibels(torch.as_tensor(level).mean()), max(decibels(torch.as_tensor(floor).mean()), 1e-4)
    return interference.denoise(y * (1 / scale), Noise(floor, soi, level))
