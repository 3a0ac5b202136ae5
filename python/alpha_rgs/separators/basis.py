# SPDX-License-Identifier: GPL-3.0-or-later
"""BASIS: separation by annealed Langevin dynamics (Jayaram and Thickstun, 2020), with the settings of Jayashankar et al. (2023).

At level t, from the largest to the smallest, `inner_steps` times, with the level's noise-to-signal ratio
v_t = (1 - ᾱ_t)/ᾱ_t, the step eta_t = step·sigma_t²/sigma_1² (sigma_t² = 1 - ᾱ_t, sigma_1² the smallest of the schedule),
rho_t = eta_t/v_t, denoisers ŝ = E[s | s + noise] and b̂ likewise, and n ~ CN(0, I):

"published"    both sources move, the mixture is a Gaussian constraint of the level's variance, y | s, b ~ N(s + kappa·b, v_t):
    s ← s + rho_t·[(ŝ - s) + e] + √(4·eta_t)·n,    b ← b + rho_t·[(b̂ - b) + kappa·e] + √(4·eta_t)·n',    e = y - s - kappa·b
"constrained"  s alone moves, b = (y - s)/kappa exactly; omega = 1:
    s ← s + rho_t·[(ŝ - s) + (omega/kappa²)·((y - kappa·b̂) - s)] + √(4·eta_t)·n
"weighted"     the same with the α-posterior's weight, omega = kappa²: then both corrections, in units of s, weigh alike.

The schedule is variance preserving: a network sees √ᾱ_t·s with noise 1 - ᾱ_t. The iterates here stay in units of the sources;
by the chain rule the score in s is √ᾱ_t·(√ᾱ_t·ŝ - √ᾱ_t·s)/(1 - ᾱ_t) = (ŝ - s)/v_t. Noise has variance v_t per real component,
as the published networks have it: 2·v_t per complex sample, whence √(4·eta). The analytic score of a linear modulation is the
exception, as published: variance v_t per symbol, which in its matched filter is white noise of samples_per_symbol·v_t.

With the published step the sum of rho_t over a whole run is 0.67 and the noise that it puts on a symbol 0.08: decisions stay
those of the start, the matched filter's. Ten and more times the step helps where both corrections weigh alike ("weighted"); the
other two lose, since kappa² times more of the move comes from the SOI's prior, and the noise moves decisions undirected.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import ALPHA_BAR, chosen, decibels, interference_estimate, require, soft_output

VARIANTS = ("published", "constrained", "weighted")
NOISES = ("white", "pulses")
INITS = ("matched_filter", "linear", "noise")


@dataclass(frozen=True)
class Options:
    """Of `basis`. variant: one of VARIANTS. levels: indices into the schedule 0 ... 49, in the order taken; default 49 ... 1.
    init: of s; "matched_filter" (its decisions, modulated, as α-RGS starts), "linear" (undecided) or "noise" (then b too).
    noise: of s; "white" as above, or "pulses", √(2·eta)·H·n with one n per symbol, at which the dynamics have the temperature
    that the analytic score stands for (eight times as much in the symbols, at 16 samples each)."""

    variant: str = "published"
    inner_steps: int = 100
    step: float = 2e-8
    levels: Iterable[int] | None = None
    seed: int = 0
    init: str = "matched_filter"
    noise: str = "white"


def basis(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
          callback: Callable[..., Any] | None = None, **options: Any) -> Any:
    """options: see Options. callback(i, s, eta) sees each step. The interference's score is that of b + w/kappa: receiver noise
    counts to it. evaluations: len(levels)·inner_steps. Raises CapabilityError, ParameterError, and TypeError where an option is
    not known.
    """
    require(soi, Structure.CHAIN, "signal of interest", "basis")
    settings = chosen("basis", Options, options)
    levels = _checked(settings)
    variant, inner_steps, step, noise = settings.variant, settings.inner_steps, settings.step, settings.noise
    gain = torch.as_tensor(soi.gain, dtype=torch.float32).reshape(-1, 1).to(y.device)
    ratio, x = (kappa[:, None] / gain).clamp_min(1e-3), y / gain        # an absent interference is not divided by
    thermal = decibels((noise_var / kappa.square().clamp_min(1e-6)).mean())
    thermal = thermal if thermal > 1e-6 else 0.0
    omega = {"published": None, "constrained": torch.ones_like(ratio), "weighted": ratio.square()}[variant]
    generator = torch.Generator(y.device).manual_seed(settings.seed)

    def draw(shape: Any) -> Any:
        return torch.randn(shape, dtype=torch.complex64, generator=generator, device=y.device)

    def shake(eta: Any) -> Any:
        if noise == "white":
            return (4 * eta) ** 0.5 * draw(x.shape)
        return (2 * eta) ** 0.5 * soi.modulate(draw((len(x), soi.centred_symbols(x.shape[1])[1])), x.shape[1])

    s, b = start(x, soi, ratio, settings.init, draw)
    for i, t in enumerate(np.repeat(levels, inner_steps)):
        v = float((1 - ALPHA_BAR[t]) / ALPHA_BAR[t])
        eta = step * float((1 - ALPHA_BAR[t]) / (1 - ALPHA_BAR[0]))
        s, b = drift(x, s, b, soi, interference, ratio, omega, v, eta / v, thermal)
        s = s + shake(eta)
        b = (x - s) / ratio if variant != "published" else b + (4 * eta) ** 0.5 * draw(x.shape)
        if callback:
            callback(i, s, eta)
    r = soi.matched_filter(s)
    scatter = (r - soi.signal.alphabet.nearest(r)).abs().square().mean(1, keepdim=True)
    floor = noise_var[:, None] / gain.square() / soi.signal.samples_per_symbol
    s = gain * s
    # iterates that hardly leave their decisions scatter little, right or wrong: what the interference cannot explain of the
    # rest shows the wrong ones (1.2: measured, -12 and -21 dB)
    rest = y - s - interference_estimate(y - s, interference, kappa, noise_var)
    excess = (rest.abs().square().mean(1, keepdim=True) - 1.1 * noise_var[:, None]).clamp_min(0) / gain.square()
    return soft_output(soi, r, torch.maximum(scatter, floor), 1.2 * excess, soi=s, interference=kappa[:, None] * b,
                       evaluations=len(levels) * inner_steps, kappa=kappa, noise_var=noise_var)


def start(x: Tensor, soi: LinearModulation, ratio: Tensor, init: str, draw: Callable[..., Any]) -> tuple[Tensor, Tensor]:
    """(s, b) complex64 [batch, samples] that the dynamics begin with; x: the mixture over the SOI's gain."""
    if init == "noise":
        return draw(x.shape), draw(x.shape)
    symbols = soi.matched_filter(x)
    s = soi.modulate(soi.signal.alphabet.nearest(symbols) if init == "matched_filter" else symbols, x.shape[1])
    return s, (x - s) / ratio


def drift(x: Tensor, s: Tensor, b: Tensor, soi: LinearModulation, interference: Source, ratio: Tensor, omega: Any, v: float,
          rho: float, thermal: float) -> Any:
    """One step of the equations above but for its noise: (s, b) after it. ratio: kappa over the SOI's gain, [batch, 1]; omega:
    the same, or None for both sources free; v, rho, thermal (variance of w/kappa): floats."""
    # the score of b + w/kappa, times 2·v: where there is no thermal noise this is b̂ - b
    pull = (interference.denoise(b, 2 * v + thermal) - b) * (2 * v / (2 * v + thermal))
    shrink = soi.denoise(s, soi.signal.samples_per_symbol * v) - s
    if omega is not None:
        return s + rho * (shrink - omega / ratio * pull), b
    e = x - s - ratio * b
    return s + rho * (shrink + e), b + rho * (pull + ratio * e)


def _checked(settings: Options) -> np.ndarray:
    """The levels of these Options, int [n]. Raises ParameterError where one of them is not as it must be."""
    for name, known in (("variant", VARIANTS), ("init", INITS), ("noise", NOISES)):
        if getattr(settings, name) not in known:
            raise ParameterError(f"basis: {name} {getattr(settings, name)!r} is not known; one of {', '.join(known)}")
    if settings.inner_steps != int(settings.inner_steps) or settings.inner_steps < 1:
        raise ParameterError(f"basis: inner_steps {settings.inner_steps} must be a whole number, 1 or more")
    if not settings.step >= 0:
        raise ParameterError(f"basis: step {settings.step} must not be negative")
    levels = np.arange(49, 0, -1) if settings.levels is None else np.asarray(list(settings.levels))
    if len(levels) == 0 or levels.dtype.char not in np.typecodes["AllInteger"] or levels.min() < 0 or levels.max() > 49:
        raise ParameterError(f"basis: levels {levels.tolist()} must be whole numbers between 0 and 49, at least one")
    return levels
