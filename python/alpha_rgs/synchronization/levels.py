# SPDX-License-Identifier: GPL-3.0-or-later
"""Level and noise of an interference known by its mean power density, found from the mixture; of one known by its covariance
(priors.Gaussian) the begin of its period, of others what Source.synchronize finds.

The mixture is taken for Gaussian with the spectrum S(f) = kappa²·S_b(f) + noise_var + gain²·S_s(f). What is not known of the
first two is found by maximum likelihood (Whittle's) on the periodogram, by multiplicative steps (Févotte, Bertin and Durrieu,
2009); the begin of the period by the derivative of the likelihood towards the covariance at each offset,
zᴴ·(C_o - C_mean)·z, z = y whitened by 1/S.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import toeplitz
from torch import Tensor

from ..errors import ParameterError
from ..sources.base import Noise, Number, Source
from ..sources.gaussian import period_offset
from ..sources.linear_modulation import LinearModulation
from .whittle import FLOOR, fit_powers, power_deviations

_STEPS = 100
_ROUNDS = 2             # of subtracting the SOI's mean before nuisances are estimated again
_WRONG = 0.5            # of a fitted density: what may be wrong of it where it is weak
_SIGMAS = 2.0           # that noise, measured in what is left, may lie from what the density says
_BLOCK = 128            # samples, at least
# of the power, by which the signal's, the interference's and the noise's level weigh a density: a fitted covariance is wrong
# most where it is small, and says little of kappa there
_FLOORS = FLOOR, 0.03, FLOOR
HANN = 35 / 18          # bins of a periodogram, tapered so, that err as one
NOISE_FLOOR = 0.03      # noise variance over the weakest source's power, while nuisances are searched: below, a wrong carrier
                        # offset is believed, of 480 windows under OFDM 40 %, at 0.03 and 0.1 none; windows of 10 dB lose nothing
_APART = 0.05           # deviation of a spectrum of mean 1, at least, for noise to be distinguished from it


def scattered(values: Tensor | np.ndarray, weights: Tensor | np.ndarray, correlated: float = 1.0) -> Any:
    """(level, its standard deviation), [batch]: level = Σ values / Σ weights of terms [batch, n] (tensors or arrays) that err
    independently, each standing for `correlated`. By the terms' own scatter about level·weights, so that what a model misses and
    that scatters is reported too (the sandwich estimator of White, 1980; a jackknife but for second order)."""
    total = weights.sum(1)
    level = values.sum(1) / total
    return level, ((values - level[:, None] * weights) ** 2).sum(1) ** 0.5 * correlated ** 0.5 / total


def amplitude_std(kappa: Any, power_std: Any) -> Any:
    """Standard deviation of an amplitude found by its square: how far kappa moves if that does; finite at 0."""
    return (kappa ** 2 + power_std) ** 0.5 - kappa


def acquire_gaussian(y: Tensor, soi: LinearModulation, prior: Any, kappa: Number | None = None,
                     noise_var: Number | None = None) -> tuple[Source, dict[str, Any] | dict[str, Tensor]]:
    """(prior with its period_offset, or what it finds itself, found: name -> tensor [batch]); only what is None is looked for.
    Of levels, found has their standard deviations too, as name_std.

    y: complex64 [batch, samples]. A source that is known by its lines reports its own power (Source.lines). Raises ParameterError
    where the noise cannot be distinguished from the interference, CapabilityError where the prior gives no density.
    """
    period = getattr(prior, "period", 1)
    x = y.detach().cpu().numpy().astype(complex)
    batch, samples = x.shape
    shape = soi.signal.power_spectrum(samples, float(torch.as_tensor(soi.carrier_offset).reshape(-1)[0]))
    own = _each(soi.gain, batch)[:, None] ** 2 * shape[None]
    known = [None if kappa is None else _each(kappa, batch) ** 2, None if noise_var is None else _each(noise_var, batch)]
    levels, found = known, {}
    if period > 1 or None in (kappa, noise_var):
        prior, levels, found = _estimated(y, x, own, prior, known)
    asked = (kappa is None, noise_var is None)
    power, noise = (torch.as_tensor(np.array(v), dtype=torch.float32, device=y.device) for v in levels)
    return _acquired(y, soi, prior, power, noise, asked, found)


def _acquired(y: Tensor, soi: LinearModulation, prior: Source, power: Any, noise: Tensor, asked: Any,
              found: dict[str, Any]) -> tuple[Source, dict[str, Any] | dict[str, Tensor]]:
    """(prior, found) with what the prior finds itself (Source.synchronize): first with the SOI as noise, whose colour is ignored;
    then in what the SOI's posterior mean leaves, with better levels too. power, noise: float32 [batch]; asked: which of them may
    change."""
    gain = torch.as_tensor(soi.gain, dtype=torch.float32, device=y.device).reshape(-1, 1)
    power, rest, left, reported = power.clamp_min(1e-9), y, gain.square()[:, 0], dict(found)
    density = noise
    alike = torch.as_tensor(soi.carrier_offset).unique().numel() == 1
    shape = torch.from_numpy(soi.psd(y.shape[1])) if alike else torch.ones(y.shape[1], dtype=torch.float64)
    for step in range(_ROUNDS + 1):
        scale = power.sqrt()[:, None]
        level = ((left + noise) / power).clamp_min(1e-6)
        coloured = (left / power).double().cpu()[:, None] * shape
        new, more = prior.synchronize(rest / scale, Noise((noise / power).double().cpu().clamp_min(1e-6), psd=coloured))
        if not more:
            return prior, found
        if step == _ROUNDS:
            break
        b = new.denoise(rest / scale, level if level.numel() == 1 else float(level.mean()))
        open_b = power * (1 - b.abs().square().mean(1)).clamp_min(0)
        s = gain * soi.denoise((y - scale * b) / gain, (open_b + noise) / gain[:, 0].square())
        left = gain[:, 0].square() * (1 - (s / gain).abs().square().mean(1)).clamp_min(0)
        rest = y - s
        # where both are all but certain, they give the levels better than a density does; elsewhere they give a bound
        fit, error = (v.float() for v in _regressed(b, rest))
        power_left = (rest - fit[:, None] * b).abs().square()
        over, spread = scattered(power_left, torch.ones_like(power_left))
        certain = (open_b + left < over) & (fit > 0)
        moved = torch.zeros_like(power)         # by the last round: no less may be wrong
        if asked[0]:
            before, power = power, torch.where(certain, fit.square(), power)
            moved = power.sqrt() - before.sqrt()
            reported["kappa_std"] = torch.hypot(torch.where(certain, error, found["kappa_std"]), moved)
        if asked[1]:
            noise = torch.where(certain, over, torch.minimum(noise, over + open_b + left))
            apart = ((noise - density).abs() - _SIGMAS * found["noise_var_std"]).clamp_min(0)
            spread = torch.where(certain, spread, found["noise_var_std"])
            reported["noise_var_std"] = torch.hypot(torch.hypot(spread, moved.square()), apart)
    levels = {"kappa": power.sqrt(), "noise_var": noise}
    return new, {**reported, **{name: levels[name] for name, wanted in zip(levels, asked) if wanted}, **more}


def _estimated(y: Tensor, x: Any, own: np.ndarray, prior: Any, known: list[np.ndarray | None]) -> Any:
    """(prior, [kappa², noise_var], found) by the density: y complex64, x the same as an array, own [batch or 1, samples]; known:
    levels or None, [batch] each."""
    period, found, (batch, samples) = getattr(prior, "period", 1), {}, x.shape
    taper = np.hanning(samples + 2)[1:-1]
    shape, asked = prior.psd(samples), [v is None for v in known]
    if (found_lines := prior.lines(y)) is not None:
        lines, power = found_lines
        x, power = x - lines.cpu().numpy(), power.double().cpu().numpy()
        rest, errors = _levels(_periodogram(x, taper), own, shape, [np.zeros(batch), known[1]], HANN)
        levels, errors[0] = [power if asked[0] else known[0], rest[1]], _regressed(lines, y)[1].cpu().numpy() * 2 * power
    elif all(asked) and np.std(shape) < _APART:
        raise ParameterError("noise_var: the interference's spectrum is flat, as noise's is; give it (--snr-db)")
    else:
        levels, errors = _levels(_periodogram(x, taper), own, shape, known, HANN)
    if period > 1 and prior.period_offset is None:
        density = own + levels[0][:, None] * shape + levels[1][:, None]
        found["period_offset"] = torch.as_tensor(period_offset(x, prior, density), device=y.device)
        prior = replace(prior, period_offset=found["period_offset"])
    if period > 1 and asked[1]:
        # kappa stays: here what a fitted covariance is wrong in counts most
        levels, (_, errors[1]) = _levels(*_components(x, own, prior, levels), [levels[0], None])
    elif prior.fitted or prior.learned:     # fitted: errors of its density, where noise is read, pass for noise
        weight = 1 / (own + levels[0][:, None] * shape + levels[1][:, None]) ** 2
        errors[1] = np.hypot(errors[1], _WRONG * levels[0] * (shape * weight).sum(1) / weight.sum(1))
    root = np.sqrt(levels[0])
    reported = ("kappa", root, amplitude_std(root, errors[0])), ("noise_var", levels[1], errors[1])
    for (name, level, error), wanted in zip(reported, asked):
        if wanted:
            found |= {name: torch.as_tensor(level, dtype=torch.float32, device=y.device),
                      f"{name}_std": torch.as_tensor(error, dtype=torch.float32, device=y.device)}
    return prior, levels, found


def _periodogram(x: np.ndarray, taper: np.ndarray) -> np.ndarray:
    return abs(np.fft.fft(x * taper)) ** 2 / np.sum(taper ** 2)


def _regressed(b: Tensor, y: Tensor) -> Any:
    """scattered, of the real amplitude of b in y, complex [batch, samples]: blocks of them err independently."""
    terms = torch.nn.functional.pad(torch.stack([(b.conj() * y).real, b.abs().square()]), (0, -y.shape[1] % _BLOCK))
    values, weights = terms.unflatten(2, (-1, _BLOCK)).sum(3).double()
    return scattered(values, weights + 1e-12)


def _components(x: np.ndarray, own: np.ndarray, prior: Any, levels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(power of x, of the SOI, of the interference at unit power) along the principal axes of blocks that begin with a period,
    float64 [batch, n] each: where the interference is narrow in time and frequency at once, a periodogram sees its leakage."""
    size = prior.period * max(2, -(-_BLOCK // prior.period))
    offset = _each(prior.period_offset, len(x)).astype(int) % prior.period
    starts = np.arange(0, x.shape[1] - prior.period - size + 1, size // 2 // prior.period * prior.period or prior.period)
    if len(starts) == 0:
        raise ParameterError(f"noise_var: a window of {x.shape[1]} samples is too short to find it; {size + prior.period} or "
                             "more")
    where = offset[:, None, None] + starts[:, None] + np.arange(size)
    blocks = np.take_along_axis(x, where.reshape(len(x), -1), 1).reshape(len(x), len(starts), size)
    wide = np.fft.ifft(own, axis=1)
    soi = toeplitz(wide[0, :size] / max(wide[0, 0].real, 1e-30))
    covariance = prior.covariance(size)
    axes = np.linalg.eigh(np.median(levels[0]) * covariance + np.median(wide[:, 0].real) * soi)[1]
    along = [np.einsum("nk,nm,mk->k", axes.conj(), c, axes, optimize=True).real.clip(0) for c in (soi, covariance)]
    return (abs(blocks @ axes.conj()) ** 2).mean(1), wide[:, :1].real * along[0], along[1]


def _levels(density: np.ndarray, own: np.ndarray, shape: np.ndarray, known: Any, correlated: float = 1.0) -> Any:
    """([kappa² [batch], noise_var [batch]], their standard deviations), found where `known` holds None (0 elsewhere): density
    [batch, n], own [batch or 1, n], shape [n]; correlated: see scattered."""
    power = density.mean(1)
    columns = np.stack([own, *np.broadcast_arrays(shape[None], np.ones_like(own))[:2]], 1)
    start = np.stack([np.ones_like(power), np.maximum(power - own.mean(1), 0.1 * power), 1e-2 * power], 1) + 1e-30
    free = [k for k, level in enumerate(known, 1) if level is None]
    values = fit_powers(density, columns, start, [1.0, *known], _STEPS, _FLOORS)
    values[:, 2] = np.maximum(values[:, 2], 1e-9)
    errors = power_deviations(density, columns, values, free, _FLOORS, correlated)
    return list(values.T[1:]), list(errors.T[1:])


def _each(value: Any, batch: int) -> np.ndarray:
    """A number or tensor [1 or batch] as float64 [batch]."""
    return np.broadcast_to(torch.as_tensor(value, dtype=torch.float64).reshape(-1).cpu().numpy(), batch)
