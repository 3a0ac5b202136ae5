# SPDX-License-Identifier: GPL-3.0-or-later
"""α-RGS by Newton steps: white smoothing, so any denoiser of the interference will do, in a hundredth of the evaluations.

At level v of the interference the smoothed objective in the SOI's symbols a, b = (y - H·a)/kappa, has the gradient
-(omega/kappa²)·kappa·Hᴴ(b - D(b))/v with the denoiser D, and D's Jacobian J = Cov[b | b + √v·n]/v is its curvature. Taking
what D leaves open as Gaussian gives the linear model
    y - kappa·D(b) = H·a + e,    Cov e = (kappa²/omega')·v·(J + eps·I) + noise_var·I,    a ~ CN(0, I),    omega' = omega/kappa²,
whose solution is the step: [Cov e + H·Hᴴ]·w = y - kappa·D(b), a = Hᴴ·w. It is found by conjugate gradients that ask for
J only in products J·d = (D(b + d) - D(b)) for small d: one evaluation each. The weakly seen directions (the
carriers' leakage, the prefix, null carriers), for which the published iteration needs its 20 000 steps, one solve sees at once.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.conjugate_gradients import conjugate_gradients
from ..signals.carrier import carrier
from ..sources.base import Source
from ..sources.linear_modulation import LinearModulation

_EPS = 3e-3         # of the smoothing that stays on what the denoiser is sure of: 1e-3 needs more iterations, 1e-2 costs errors
_LEARNED = 3e-2     # the same for a network, whose own errors pass for certainty: with 3e-3 6 % of bits under DSSS are wrong
_NUDGE = 3e-3       # size of d, relative to a source of unit power: small against the level, large against single precision
_CANDIDATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)     # of omega/kappa²
_AS_GOOD = 1.05     # times the least misfit
_TRIAL = 8          # windows on which they are tried


def newton(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor, steps: int = 3,
           iterations: int = 60, levels: Any = (0.3, 0.1), omega_ratio: float = 1.0,
           callback: Callable[..., Any] | None = None) -> tuple[Tensor, Tensor, Tensor, int]:
    """y: complex64 [batch, samples], in units of the SOI's gain, as are kappa and noise_var [batch, 1].

    steps: Newton steps, at levels (variance per sample of the unit-power interference) that fall geometrically; iterations:
    of conjugate gradients in each, at most. omega_ratio: omega/kappa², or "auto": see choose_omega. Evaluations: at most
    steps·(iterations + 2).
    Returns (soft symbols [batch, n], their variance [batch, 1], s [batch, samples], evaluations).
    """
    if omega_ratio == "auto":
        omega_ratio = choose_omega(y, soi, interference, kappa, noise_var, iterations, levels)
    for name, value in (("steps", steps), ("iterations", iterations), ("omega_ratio", omega_ratio)):
        if isinstance(value, str) or not value > 0:
            raise ParameterError(f"alpha_rgs: {name} {value!r} must be a positive number" + (
                ", or \"auto\"" if name == "omega_ratio" else ""))
    out, _, calls = _steps(y, soi, interference, kappa, noise_var, steps, iterations, levels, omega_ratio, callback)
    return *out, calls


def choose_omega(y: Any, soi: Any, interference: Any, kappa: Any, noise_var: Any, iterations: int = 60,
                 levels: Any = (0.3, 0.1)) -> Any:
    """omega/kappa² where nobody gives it: of a few candidates, judged by one Newton step on the first windows of the mixture,
    the one nearest to 1 whose decisions leave hardly more than the best's that the interference cannot be: ‖b - D(b)‖² with
    b = (y - H·â)/kappa, at the last level."""
    few = slice(_TRIAL)
    found = np.array([float(_steps(y[few], soi.select(few), interference.select(few), kappa[few], noise_var[few], 1, iterations,
                                   levels, omega)[1].sum()) for omega in _CANDIDATES])
    return min((abs(np.log(omega)), omega) for omega, misfit in zip(_CANDIDATES, found) if misfit <= _AS_GOOD * found.min())[1]


def _steps(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor, steps: int, iterations: int,
           levels: Any, omega_ratio: float,
           callback: Callable[..., Any] | None = None) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, int]:
    """((symbols, variance, s), misfit [batch, 1], evaluations), see newton."""
    source, alphabet, calls = Pulses(soi, y), soi.signal.alphabet, 0
    sps = soi.signal.samples_per_symbol
    power = kappa.square() / omega_ratio
    mean = source.means(source.matched_filter(y), (kappa.square() + noise_var) / sps)
    w: Tensor | None = None
    best: Any = None
    for i, v in enumerate(np.geomspace(levels[0], levels[1], steps) if steps > 1 else levels[:1]):
        b = (y - source.modulate(mean)) / kappa
        denoised = interference.denoise(b, v)
        floor = torch.maximum(noise_var, power * v * (_LEARNED if interference.learned else _EPS))

        def apply(d: Tensor, b: Tensor = b, denoised: Tensor = denoised, v: float = v, floor: Tensor = floor) -> Tensor:
            size = d.abs().square().mean(1, keepdim=True).sqrt().clamp_min(1e-20) / _NUDGE
            jacobian = (interference.denoise(b + d / size, v) - denoised) * size
            return power * v * jacobian + floor * d + source.modulate(source.adjoint(d))

        right = y - kappa * denoised
        w, used = conjugate_gradients(apply, right, iterations, w)
        calls += 1 + used
        # the prior shrinks: made unbiased by the decisions' own scale
        a = source.adjoint(w)
        for _ in range(2):
            points = alphabet.nearest(a) * source.exists
            scale = (a * points.conj()).real.sum(1, keepdim=True) / points.abs().square().sum(1, keepdim=True).clamp_min(1e-9)
            a = a / scale.clamp(0.05, 1.0)
        var = ((a - alphabet.nearest(a)).abs().square() * source.exists).sum(1, keepdim=True) / source.exists.sum(1, keepdim=True)
        var = torch.maximum(var, noise_var / sps).clamp_min(1e-4)
        mean = source.means(a, var)
        # the objective decides whether the step is kept: what the decisions leave that the interference cannot be
        b = (y - source.modulate(alphabet.nearest(a) * source.exists)) / kappa
        misfit = (b - interference.denoise(b, levels[-1])).abs().square().sum(1, keepdim=True)
        calls += 1
        step = (misfit, a, var, mean)
        best = step if best is None else tuple(torch.where(misfit <= best[0], *pair) for pair in zip(step, best))
        _, a, var, mean = best
        if callback:
            callback(i, source.inside(a), float(v))
    return (source.inside(a), var, source.modulate(mean)), best[0], calls


class Pulses:
    """The SOI's pulses as a linear map: of all symbols that reach into the window, centred in it or not."""

    def __init__(self, soi: Any, y: Tensor) -> None:
        self.soi, self.samples, device = soi, y.shape[1], y.device
        first, self.count = soi.overlapping_symbols(self.samples)
        self.centre = soi.centres(self.samples)[:, 0]
        self.turn = carrier(soi.phase, soi.carrier_offset, y)
        self.turns = soi.signal.turns(first, self.count)
        self.turns = 1 if self.turns is None else self.turns.to(device)
        exists = soi.exists(first, self.count)
        self.exists = torch.ones(1, self.count, device=device) if exists is None else exists.float().to(device)
        begin, self.within = soi.centred_symbols(self.samples)
        self.index = ((begin - first)[:, None] + torch.arange(self.within)).to(device)
        self.whole = float(soi.signal.samples_per_symbol)
        self.energy = soi.signal.energy_inside(self.count, self.centre, self.samples).clamp_min(1e-3).to(device)

    def adjoint(self, x: Tensor) -> Tensor:
        """Hᴴ·x: [batch, samples] -> [batch, count]."""
        z = self.soi.signal.correlate(x * self.turn.conj(), self.count, self.centre) * self.exists
        return z if isinstance(self.turns, int) else z * self.turns.conj()

    def modulate(self, a: Any) -> Any:
        """H·a: [batch, count] -> [batch, samples]."""
        return self.soi.signal.modulate(a * self.exists * self.turns, self.samples, self.centre) * self.turn

    def matched_filter(self, x: Tensor) -> Tensor:
        """Hᴴ·x, each symbol's by its energy inside the window."""
        return self.adjoint(x) / self.energy

    def means(self, a: Tensor, var: Tensor) -> Tensor:
        """E[a | a + noise of variance var]: [batch, count]."""
        return self.soi.symbol_means(a, var, self.modulate, self.matched_filter) * self.exists

    def inside(self, a: Tensor) -> Tensor:
        """Those symbols that are centred in the window: [batch, count] -> [batch, n]."""
        return a.gather(1, self.index.expand(len(a), -1))
