# SPDX-License-Identifier: GPL-3.0-or-later
"""What every separator returns, and the checks that all of them share."""
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import CapabilityError

# ᾱ_t of the published diffusion schedule, t = 0 ... 49
ALPHA_BAR = np.cumprod(1 - np.linspace(1e-4, 0.05, 50))


@dataclass
class Separation:
    """The result for a batch of windows.

    soi: E[s | y] as received (gain and phase applied), complex64 [batch, samples].
    interference: kappa*b as received, complex64 [batch, samples].
    symbols: unbiased soft symbols on the alphabet's scale, complex64 [batch, symbols], one per symbol centre in the window.
    llrs: log P(0)/P(1) of their bits, float32 [batch, symbols, bits].
    quality: estimated SINR of the soft symbols, dB, float32 [batch].
    evaluations: how often the interference's prior was asked.
    kappa: amplitude of the interference, float32 [batch]. noise_var: per complex sample, float32 [batch].
    method: which separator. estimated: what was found from the mixture, name -> tensor [batch].
    """

    soi: torch.Tensor
    interference: torch.Tensor
    symbols: torch.Tensor
    llrs: torch.Tensor
    quality: torch.Tensor
    evaluations: int
    kappa: torch.Tensor
    noise_var: torch.Tensor
    method: str = ""
    estimated: dict = field(default_factory=dict)


def decibels(value):
    """A power rounded to whole decibels: filters that depend on it are made once and kept."""
    return 10 ** (round(10 * math.log10(max(float(value), 1e-9))) / 10)


def require(prior, kind, role, method):
    """Refuse, by name, a prior without the capability that the method needs."""
    if prior.kind != kind:
        raise CapabilityError(f"{method}: the {role} is a {prior.kind} prior, but this method needs a {kind} prior there")


def soft_output(prior, symbols, var, **rest):
    """A Separation from soft symbols [batch, n] and the variance of their error [batch, n] or [batch, 1].

    quality: the larger of the modelled error and the scatter about the nearest points counts, since a model can be wrong.
    """
    alphabet = prior.signal.alphabet
    var = torch.as_tensor(var, dtype=torch.float32).expand(symbols.shape).clamp(1e-6, 1e6)
    if symbols.shape[1] == 0:
        quality = torch.full((len(symbols),), float("nan"))
    else:
        scatter = (symbols - alphabet.nearest(symbols)).abs().square().mean(1)
        quality = -10 * torch.log10(torch.maximum(var.mean(1), scatter).clamp_min(1e-6))
    return Separation(symbols=symbols, llrs=alphabet.llrs(symbols, var).float(), quality=quality, **rest)


def interference_estimate(rest, prior, kappa, noise_var):
    """E[kappa·b | rest = kappa·b + noise], complex64 [batch, samples]; zero where there is no interference."""
    scale = kappa.float()[:, None].clamp_min(1e-6)
    level = decibels((noise_var / scale[:, 0].square()).mean().clamp(1e-6, 1e6))
    return torch.where(kappa[:, None] > 1e-6, scale * prior.reconstruct(rest / scale, level), 0)
