# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverse diffusion of the interference alone: the SOI is taken for noise (a baseline of Jayashankar et al., 2023).

(y/gain)/ratio = b + (s + w)/ratio, ratio = kappa/gain, is read as b in white Gaussian noise of variance
v_0 = (1 + noise_var/gain²)/ratio², and the diffusion runs back from there with the interference's denoiser alone:
    x ← b̂ + (v'/v)·(x - b̂) + √(v'·(v - v')/v)·n,    b̂ = E[b | x, v],   n ~ CN(0, I)
(ancestral sampling, Ho et al. 2020, equation 7, in units of b: x = b + √v·n instead of √ᾱ·b + √(1-ᾱ)·n), or, deterministic,
    x ← b̂ + √(v'/v)·(x - b̂)
(probability flow; DDIM, Song et al. 2021). Then s = y - kappa·b̂ of the last level, and the matched filter decides.
What limits it: the SOI is neither white nor Gaussian, and nothing asks that y - kappa·b̂ look like the SOI.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import ALPHA_BAR, decibels, require, soft_output

SCHEDULE = ((1 - ALPHA_BAR) / ALPHA_BAR)[::-1]      # noise over signal, descending from 2.7 to 1e-4


def reverse_diffusion(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
                      deterministic: bool = False, seed: int = 0, callback: Callable[..., Any] | None = None) -> Any:
    """deterministic: the probability flow instead of ancestral sampling. seed: of its noise. callback(i, x, v) sees each step.

    All windows of a call start at one level, their mean, to the decibel. evaluations: the levels that are left from there
    (29 at -3 dB, 4 at -24 dB). Raises CapabilityError, ParameterError.
    """
    require(soi, Structure.CHAIN, "signal of interest", "reverse_diffusion")
    if not isinstance(deterministic, bool):
        raise ParameterError(f"reverse_diffusion: deterministic {deterministic!r} must be True or False")
    gain = torch.as_tensor(soi.gain, dtype=torch.float32).reshape(-1, 1).to(y.device)
    ratio = (kappa[:, None] / gain).clamp_min(1e-3)         # an absent interference is not divided by
    variances = levels(decibels(((1 + noise_var[:, None] / gain.square()) / ratio.square()).mean()))
    generator = torch.Generator(y.device).manual_seed(seed)
    x = y / gain / ratio
    for i, v in enumerate(variances):
        b = interference.denoise(x, v)
        if callback:
            callback(i, x, v)
        if i + 1 < len(variances):
            after = variances[i + 1]
            if deterministic:
                x = b + (after / v) ** 0.5 * (x - b)
            else:
                n = torch.randn(x.shape, dtype=torch.complex64, generator=generator, device=y.device)
                x = b + after / v * (x - b) + (after * (v - after) / v) ** 0.5 * n
    kept = kappa[:, None] * b
    s = y - kept
    r = soi.matched_filter(s, gain)
    scatter = (r - soi.signal.alphabet.nearest(r)).abs().square().mean(1, keepdim=True)
    thermal = noise_var[:, None] / gain.square() / soi.signal.samples_per_symbol
    return soft_output(soi, r, torch.maximum(scatter, thermal), soi=s, interference=kept, evaluations=len(variances),
                       kappa=kappa, noise_var=noise_var)


def levels(first: float) -> list[float]:
    """Noise variances from `first` down the schedule, a list of floats. Above the schedule's largest (an interference weaker
    than -4 dB of the SOI) it goes on geometrically at the pace with which it ends: a denoiser is not bound to the levels of
    training, and clamping would leave noise unaccounted for. A start below the smallest level is a single denoising."""
    top, pace = SCHEDULE[0], SCHEDULE[0] / SCHEDULE[1]
    above = top * pace ** np.arange(np.ceil(np.log(max(first / top, 1.0)) / np.log(pace)), 0, -1)
    schedule = np.r_[above, SCHEDULE]
    return [first, *schedule[schedule < first * 0.999].tolist()]
