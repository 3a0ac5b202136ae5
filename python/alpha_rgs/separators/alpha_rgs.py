# SPDX-License-Identifier: GPL-3.0-or-later
"""α-RGS: maximum a posteriori separation under randomised Gaussian smoothing (Jayashankar et al., 2023).

Minimise -E_t log p(s̃_t) - omega·E_u log p(b̃_u) over s with b = (y - s)/kappa. In terms of denoisers the gradient step is
    s ← s + step·[SNR_t·(ŝ_t - s) + (omega/kappa²)·SNR_u·((y - kappa·b̂_u) - s)].
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..sources import with_network
from ..sources.base import Noise, Source, Structure
from ..sources.linear_modulation import LinearModulation
from .alternating import alternating
from .amortised import first_pass
from .base import ALPHA_BAR, Separation, decibels, interference_estimate, require, soft_output
from .error_events import improved
from .lattice_search import search
from .newton import newton

PRESETS = ("fast", "white", "paper")
_AGAIN = (1.0, 0.3, 0.1, 0.03)     # levels for the symbols beside cut frames


def alpha_rgs(y: Any, soi: Any, interference: Any, kappa: Tensor, noise_var: Any, preset: str | None = None, mend: bool = True,
              callback: Callable[..., Any] | None = None, **options: Any) -> Separation:
    """preset: default "fast", or "white" where the interference's denoiser takes no colour. "fast": smoothing in the SOI's
    colour, options evaluations=4, tones=None, amortised=None (a learned prior of the interference, asked first: amortised.py);
    "white": Newton steps under white smoothing (newton.py), options steps=3, iterations=60, omega_ratio=1, tones=None; "paper":
    white smoothing as published, options iterations=20000, step=(5e-3, 1e-6), omega=None (kappa²), seed=0. tones: of the
    search (lattice_search.py); 0: none. mend: whether decisions beside an interference that its autocorrelation
    describes are mended (error_events.py), but by "paper". Raises CapabilityError, ParameterError."""
    require(soi, Structure.CHAIN, "signal of interest", "alpha_rgs")
    preset = preset or ("fast" if interference.takes_basis else "white")
    if preset not in PRESETS:
        raise ParameterError(f"alpha_rgs: preset {preset!r} is not known; one of {', '.join(PRESETS)}")
    gain = torch.as_tensor(soi.gain, dtype=torch.float32).reshape(-1, 1).to(y.device)
    ratio = (kappa[:, None] / gain).clamp_min(1e-3)          # an absent interference is not divided by
    solve: Any = {"fast": _coloured, "white": _white, "paper": _published}[preset]
    symbols, var, estimate, count = solve(y / gain, soi, interference, ratio, (noise_var[:, None] / gain.square()),
                                          callback=callback, **options)
    least = None
    if mend and preset != "paper" and interference.by_autocorrelation and not soi.signal.channel:
        symbols, var, estimate, least = _mended(y / gain, symbols, soi, interference, ratio, noise_var[:, None] / gain.square())
    s = gain * estimate
    kept = interference_estimate(y - s, interference, kappa, noise_var)
    # a wrong symbol is taken up by the interference but for about a quarter of its power (measured, -6 … -18 dB):
    # what the two leave over beyond the noise shows it; 1.1, since the noise is only known to some per cent. What a signal that
    # is not listed leaves scatters the symbols as well: their variance tells that already
    excess = ((y - s - kept).abs().square().mean(1, keepdim=True) - 1.1 * noise_var[:, None]).clamp_min(0) / gain.square()
    seen = (var - noise_var[:, None] / gain.square() / soi.signal.samples_per_symbol).clamp_min(0)
    out = soft_output(soi, symbols, var, 4 * (excess - seen).clamp_min(0), soi=s, interference=kept, evaluations=count,
                      kappa=kappa, noise_var=noise_var)
    if least is not None:
        out.llrs = torch.copysign(torch.minimum(out.llrs.abs(), least), out.llrs)
    return out


def _mended(y: Tensor, symbols: Tensor, soi: Any, interference: Any, kappa: Tensor, noise_var: Tensor
            ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(soft symbols beside decisions that no error event makes likelier, the variance of their errors, the waveform; how sure
    each bit may be, see error_events.py)."""
    before = soi.signal.alphabet.nearest(symbols)
    decided, least = improved(y, before, soi, interference, kappa.expand(len(y), 1), noise_var.expand(len(y), 1))
    return *_soft(y, soi, symbols + (decided - before), noise_var), least


def _coloured(y: Tensor, soi: Any, interference: Any, kappa: Any, noise_var: Tensor, evaluations: int = 4,
              levels: Any = (3.0, 0.02), tones: Any = None, amortised: Any = None,
              callback: Callable[..., Any] | None = None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Iterate in symbol space, both sources smoothed by noise in the span of the SOI's pulses.

    a ← ½a + ½·E[a | r, v], r = Hᴴ(y - kappa·b̂)/sps, b̂ = E[b | (y - H·a)/kappa, v/kappa], v falling geometrically. Then what
    the iterations decided wrongly is searched (lattice_search.py), and symbols beside frames cut by the window's ends, which
    the search cannot decide, are iterated once more beside it.
    """
    state = (y, soi, interference, kappa, noise_var)
    first = None
    if amortised is not None:
        unit, once = replace(soi, gain=1.0), with_network(interference, amortised.network)   # y is in units of the SOI's gain
        first = soi.matched_filter(y - kappa * first_pass(y, unit, once, kappa, noise_var))
    r = _iterate(*state, np.geomspace(levels[0], levels[1], evaluations), first=first, callback=callback)
    r, calls = _searched(r, *state, tones, _AGAIN if soi.symbols is not None else ())
    calls += amortised is not None
    return *_soft(y, soi, r, noise_var), evaluations + calls


def _white(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor, tones: int | None = None,
           callback: Callable[..., Any] | None = None, **options: Any) -> tuple[Tensor, Tensor, Tensor, int]:
    """Newton steps (newton.py), then the search as in _coloured: white calls only. An interference that hides nothing is found by
    turns (alternating.py)."""
    if not (interference.hides or soi.learned or options):
        return alternating(y, soi, interference, kappa, noise_var, callback)
    r, var, s, count = newton(y, soi, interference, kappa, noise_var, callback=callback, **options)
    better, calls = _searched(r, y, soi, interference, kappa, noise_var, tones)
    return *((r, var, s) if better is r else _soft(y, soi, better, noise_var)), count + calls


def _searched(r: Tensor, y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
              tones: int | None, again: tuple[float, ...] = ()) -> tuple[Tensor, int]:
    """(r, calls): soft symbols [batch, n] as the search (lattice_search.py) leaves them; again: levels at which those that it
    cannot decide are iterated in the SOI's colour, beside those that it can."""
    found, rows, firm, calls = search(y, soi.signal.alphabet.nearest(r), soi, interference, kappa, noise_var, tones)
    if len(rows) == 0:
        return r, calls
    level = max(decibels((noise_var / kappa.square()).mean()), 1e-4)
    y, soi, interference = y[rows], soi.select(rows), interference.select(rows)
    kappa, noise_var = kappa[rows], noise_var[rows]
    loose = _iterate(y, soi, interference, kappa, noise_var, again, found[rows], firm) if again else r[rows]
    b = interference.denoise((y - soi.modulate(found[rows], y.shape[1])) / kappa, level)
    better = torch.where(firm, soi.matched_filter(y - kappa * b), loose)
    return r.index_copy(0, rows, better), calls + len(again) + 1


def _soft(y: Tensor, soi: LinearModulation, r: Tensor, noise_var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(r, the variance of its error [batch, 1], the waveform)."""
    alphabet = soi.signal.alphabet
    var = torch.maximum((r - alphabet.nearest(r)).abs().square().mean(1, keepdim=True), noise_var / soi.signal.samples_per_symbol)

    def modulate(a: Tensor) -> Any:
        return soi.modulate(a, y.shape[1])

    return r, var, modulate(soi.symbol_means(r, var, modulate, soi.matched_filter))


def _iterate(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor, levels: Any,
             known: Any = None, firm: Any = None, first: Any = None, callback: Callable[..., Any] | None = None) -> Tensor:
    """r after the levels, see _coloured. known: symbols that stay where they are `firm` (bool [batch, symbols]); first: soft
    symbols to begin with."""
    alphabet, samples = soi.signal.alphabet, y.shape[1]
    # filters depend on these two only: whole decibels keep them few
    coarse = decibels(kappa.mean())
    floor = max(decibels((noise_var / kappa.square()).mean()), 1e-4)
    thermal = noise_var / soi.signal.samples_per_symbol

    def modulate(a: Tensor) -> Any:
        return soi.modulate(a, samples)

    if first is None:
        a = torch.zeros(len(y), soi.centred_symbols(samples)[1], dtype=torch.complex64, device=y.device)
    else:
        scatter = (first - alphabet.nearest(first)).abs().square().mean(1, keepdim=True)
        a = soi.symbol_means(first, torch.maximum(scatter, thermal), modulate, soi.matched_filter)

    for i, v in enumerate(levels):
        if known is not None:
            a = torch.where(firm, known, a)
        b = interference.denoise((y - modulate(a)) / kappa, Noise(floor, soi, v / coarse))
        r = soi.matched_filter(y - kappa * b)
        a = (a + soi.symbol_means(r, v + thermal, modulate, soi.matched_filter)) / 2
        if callback:
            callback(i, a, v)
    return r


def _published(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor, iterations: int = 20000,
               step: tuple[float, float] = (5e-3, 1e-6), omega: Any = None, seed: int = 0,
               callback: Callable[..., Any] | None = None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Stochastic gradient steps with random levels, as published, with the published conventions.

    Levels beta = linspace(1e-4, 0.05, 50), t, u in 1 ... 49; cosine step; start at the re-modulated matched-filter
    decision; an analytic score of the SOI adds noise inside the pulses' span (unit variance per symbol), a learned one and the
    interference's have unit variance per real component. Every window sees the same levels, and noise of its own.
    """
    alphabet, samples = soi.signal.alphabet, y.shape[1]
    snr = ALPHA_BAR / (1 - ALPHA_BAR)
    weight = (kappa.square() if omega is None else torch.full_like(kappa, omega)) / kappa.square()
    generator = torch.Generator(y.device).manual_seed(seed)
    levels = np.random.default_rng(seed).integers(1, 50, (iterations, 2))
    first = soi.matched_filter(y)
    s = soi.modulate(alphabet.nearest(first), samples)

    def draw(shape: Any) -> Tensor:
        return torch.randn(shape, dtype=torch.complex64, generator=generator, device=y.device)

    for i, (t, u) in enumerate(levels):
        eta = step[1] + (step[0] - step[1]) * 0.5 * (1 + math.cos(math.pi * i / iterations))
        if soi.learned:
            clean = soi.denoise(s + draw(s.shape) * (2 / snr[t]) ** 0.5, 2 / snr[t])
        else:
            a = soi.matched_filter(s)
            clean = soi.modulate(alphabet.mean(a + draw(a.shape) / snr[t] ** 0.5, 1 / snr[t]), samples)
        b = (y - s) / kappa
        denoised = interference.denoise(b + draw(b.shape) * (2 / snr[u]) ** 0.5, 2 / snr[u])
        s = s + eta * (snr[t] * (clean - s) + weight * snr[u] * ((y - kappa * denoised) - s))
        if callback:
            callback(i, s, eta)
    r = soi.matched_filter(s)
    return r, torch.maximum((r - alphabet.nearest(r)).abs().square().mean(1, keepdim=True), noise_var), s, iterations
