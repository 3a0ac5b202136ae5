# SPDX-License-Identifier: GPL-3.0-or-later
"""The objective of α-RGS where it can be computed exactly: sources with finitely many values (docs/theory.md).

Conventions are the engine's: variances per complex sample, levels v = (1 - ᾱ)/ᾱ = 1/SNR, noise sqrt(v)*n with n ~ CN(0, 1). A
real source is a complex one on the real axis, so the noise that matters to it has variance v/2. Gradients are with respect to
the conjugate, as in Source.score: half of what automatic differentiation returns for a complex variable.
"""
import math
from dataclasses import dataclass

import numpy as np
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators.base import ALPHA_BAR

COMPLEX, REAL = torch.complex128, torch.float64


def published_levels():
    """v_t = (1 - ᾱ_t)/ᾱ_t of the published schedule, beta = linspace(1e-4, 0.05, 50), t = 1 ... 49: float64 [49], rising."""
    return ((1 - ALPHA_BAR) / ALPHA_BAR)[1:]


class FiniteSource:
    """A scalar source with equally likely values: points complex [K]. All methods take any shape of x."""

    def __init__(self, points):
        self.points = torch.as_tensor(np.asarray(points)).to(COMPLEX)
        if self.points.ndim != 1 or len(self.points) < 2:
            raise ParameterError("points: give a list of two values or more")

    @property
    def real(self):
        """Whether all values lie on the real axis: then only the real part of the noise matters."""
        return bool((self.points.imag == 0).all())

    def log_density(self, x, noise_var):
        """log p(x), x = a + sqrt(noise_var)*n; real, the shape of x. Differentiable."""
        far = torch.logsumexp(self._exponent(x, noise_var), -1) - torch.view_as_real(x).square().sum(-1) / noise_var
        return far - math.log(len(self.points) * math.pi * noise_var)

    def denoise(self, x, noise_var):
        """E[a | x], as Source.denoise: the same shape."""
        return torch.view_as_complex(self.posterior(x, noise_var) @ torch.view_as_real(self.points))

    def posterior(self, x, noise_var):
        """P(a = point k | x): real [..., K]."""
        return torch.softmax(self._exponent(x, noise_var), -1)

    def _exponent(self, x, noise_var):
        """-|x - a_k|²/noise_var up to what is common to all k: real [..., K], one matrix product."""
        points = torch.view_as_real(self.points)
        return torch.view_as_real(x.to(COMPLEX)) @ (2 * points.T / noise_var) - points.square().sum(1) / noise_var

    def smoothed_mean(self, s, noise_var, step=0.05):
        """M_v(s) = E_n E[a | s + sqrt(v)*n]: complex, the shape of s. A mode's stationary point is a fixed point of it."""
        n, weights = quadrature(self.real, step)
        return (self.denoise(s[..., None] + math.sqrt(noise_var) * n, noise_var) * weights).sum(-1)

    def smoothed_shift(self, s, noise_var, mode, step=0.05):
        """M_v(s) - mode, without rounding off small differences."""
        n, weights = quadrature(self.real, step)
        p = self.posterior(s[..., None] + math.sqrt(noise_var) * n, noise_var)
        p = (p * weights[:, None]).sum(-2)
        return torch.view_as_complex(p @ torch.view_as_real(self.points - mode))

    def smoothed_loss(self, s, noise_var, step=0.05):
        """-E_n log p_v(s + sqrt(v)*n): real, the shape of s. Its gradient is (s - M_v(s))/v."""
        n, weights = quadrature(self.real, step)
        return -(self.log_density(s[..., None] + math.sqrt(noise_var) * n, noise_var) * weights).sum(-1)


def quadrature(real, step=0.05, reach=6.0):
    """Nodes n complex [q] and weights [q] for means over n ~ CN(0, 1): the trapezoidal rule, whose error falls as
    exp(-2*pi*p/step) for integrands with poles at a distance p from the axis. real: the real part alone, N(0, 1/2)."""
    x = torch.arange(-round(reach / step), round(reach / step) + 1, dtype=REAL) * step
    w = torch.exp(-x.square()) * step / math.sqrt(math.pi)
    if real:
        return x.to(COMPLEX), w
    disc = x[:, None].square() + x.square() < reach ** 2
    return torch.complex(x[:, None].expand(len(x), -1), x.expand(len(x), -1))[disc], torch.outer(w, w)[disc]


def two_source_loss(s, y, kappa, soi, interference, levels, omega):
    """-E_t log p(s̃_t) - omega*E_u log p(b̃_u), b = (y - s)/kappa: real, the shape of s.

    levels: float or list; the empty list stands for no smoothing, densities of variance 1e-3 (infinitely narrow ones have no
    landscape).
    """
    b = (y - s) / kappa
    if len(levels) == 0:
        return -soi.log_density(s, 1e-3) - omega * interference.log_density(b, 1e-3)
    total = sum(soi.smoothed_loss(s, v) + omega * interference.smoothed_loss(b, v) for v in levels)
    return total / len(levels)


def local_minima(x, values):
    """Positions on the grid x [n] of the interior local minima of values [n]."""
    inner = (values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])
    return x[1:-1][inner]


def stationary_point(source, start, levels, weights=None, iterations=400, tolerance=1e-6):
    """(point, point - nearest value): where E_t[-log p_t] is stationary near `start`, complex numbers, by the iteration

        s ← sum_t w_t SNR_t M_t(s) / sum_t w_t SNR_t,    SNR_t = 1/v_t.

    levels, weights: [levels]; weights default to equal ones. tolerance: of the distance to the nearest value, relative. The
    quadrature's step follows the level, since E[a | x] has poles pi*sqrt(v)/(2*d) off the axis, d the distance of two values.
    Beside larger levels, one below d²/100 counts as its limit, the mode: what is left is exp(-25).
    """
    levels = np.asarray(levels, float)
    gain = (np.ones(len(levels)) if weights is None else np.asarray(weights, float)) / levels
    gain = gain / gain.sum()
    nearest = torch.sort((source.points[:, None] - source.points).abs(), 1).values[:, 1].min().item()
    sharp = [v < nearest ** 2 / 100 and len(levels) > 1 for v in levels]
    steps = [min(0.2, 0.3 * math.sqrt(v) / nearest) for v in levels]
    s = torch.tensor(start, dtype=COMPLEX)
    for _ in range(iterations):
        mode = source.points[(s - source.points).abs().argmin()]
        # differences from the mode are summed: they may be far smaller than its rounding error
        parts = zip(gain, levels, steps, sharp)
        shift = sum(g * source.smoothed_shift(s, v, mode, step) for g, v, step, limit in parts if not limit)
        change, s = float((mode + shift - s).abs()), mode + shift
        if change <= tolerance * float(shift.abs()):
            break
    return complex(s), complex(shift)


def pairwise_overlap(distance, noise_var):
    """E_n P(the point at `distance` | own point + noise), small levels: sqrt(pi*v)/(2*d) * exp(-d²/(4*v))."""
    return np.sqrt(np.pi * noise_var) / (2 * distance) * np.exp(-distance ** 2 / (4 * noise_var))


def direction(s, y, kappa, soi_mean, interference_mean, snr_t, snr_u, weight=1.0):
    """The step of α-RGS in terms of denoisers: SNR_t*(ŝ - s) + weight*SNR_u*((y - kappa*b̂) - s), weight = omega/kappa²."""
    return snr_t * (soi_mean - s) + weight * snr_u * ((y - kappa * interference_mean) - s)


def sds_loss(s, y, kappa, denoise_soi, denoise_interference, alpha_t, alpha_u, draws, omega):
    """Score distillation for the two "renderings" x = s and x = (y - s)/kappa of the parameter s: a real scalar.

    Its gradient is E[w*(eps_hat - eps)*dx/ds] with w = sqrt(SNR), eps_hat = (x̃ - sqrt(ᾱ)*x̂)/sqrt(1 - ᾱ); nothing is
    differentiated through the denoisers (Poole et al., 2022, eq. 4). draws: (eps for s, eps for b), each of the shape of s.
    """
    total = 0.0
    views = ((s, denoise_soi, alpha_t, draws[0], 1.0), ((y - s) / kappa, denoise_interference, alpha_u, draws[1], omega))
    for x, denoise, alpha, eps, scale in views:
        with torch.no_grad():
            noisy = alpha ** 0.5 * x + (1 - alpha) ** 0.5 * eps
            mean = denoise(noisy / alpha ** 0.5, (1 - alpha) / alpha)
            eps_hat = (noisy - alpha ** 0.5 * mean) / (1 - alpha) ** 0.5
            pull = (alpha / (1 - alpha)) ** 0.5 * (eps_hat - eps)
        total = total + scale * (pull.conj() * x).real.sum()
    return total


@dataclass(frozen=True)
class Descent:
    """Options of descend.

    step: first and last of a cosine, for the published levels; for others it is rescaled so that step*E[SNR], the mean step,
    stays. weight: omega/kappa². normalised: every level weighs alike (a density of levels proportional to v in the objective) and
    step is not rescaled: needed where the levels of the two sources differ by orders of magnitude. seed: of noise and levels.
    """

    step: tuple[float, float] = (5e-3, 1e-6)
    weight: float = 1.0
    normalised: bool = False
    seed: int = 0


def descend(y, kappa, denoise_soi, denoise_interference, start, levels=None, iterations=1000, callback=None, **options):
    """α-RGS from two denoisers f(x, noise_var) alone, white noise on both: complex [..., n] -> the minimiser, same shape.

    levels: v of both sources, [levels], or a pair of them (SOI, interference); default the published ones. callback(i, s) after
    each iteration. options: of Descent.
    """
    chosen = Descent(**options)
    first, last = chosen.step
    published = published_levels()
    pair = levels if isinstance(levels, tuple) else (published if levels is None else levels,) * 2
    snr = [1 / np.asarray(v, float) for v in pair]
    rescale = 1.0 if chosen.normalised else np.mean(1 / published) / np.mean([g.mean() for g in snr])
    generator = torch.Generator().manual_seed(chosen.seed)
    choice = np.random.default_rng(chosen.seed)
    s = start.clone()

    def noisy(x, gain):
        return x + torch.randn(x.shape, dtype=x.dtype, generator=generator) / gain ** 0.5

    for i in range(iterations):
        eta = rescale * (last + (first - last) * 0.5 * (1 + math.cos(math.pi * i / iterations)))
        t, u = float(choice.choice(snr[0])), float(choice.choice(snr[1]))
        b = (y - s) / kappa
        means = denoise_soi(noisy(s, t), 1 / t), denoise_interference(noisy(b, u), 1 / u)
        s = s + eta * direction(s, y, kappa, *means, *((1.0, 1.0) if chosen.normalised else (t, u)), chosen.weight)
        if callback:
            callback(i, s)
    return s
