# SPDX-License-Identifier: GPL-3.0-or-later
"""Level, noise and begin of the period of an interference known by its covariance (priors.Gaussian), found from the mixture.

The mixture is taken for Gaussian with the spectrum S(f) = kappa²·S_b(f) + noise_var + gain²·S_s(f). What is not known of the
first two is found by maximum likelihood (Whittle's) on the periodogram, by multiplicative steps (Févotte, Bertin and Durrieu,
2009); the begin of the period by the derivative of the likelihood towards the covariance at each offset,
zᴴ·(C_o - C_mean)·z, z = y whitened by 1/S.
"""
from dataclasses import replace

import numpy as np
import torch
from scipy.linalg import toeplitz

from .errors import ParameterError

_STEPS = 100
_BLOCK = 128            # samples, at least
_DEEP = 0.03            # of the power: densities below it tell little of kappa, as there a fitted covariance is wrong most
_APART = 0.05           # deviation of a spectrum of mean 1, at least, for noise to be told from it


def acquire_gaussian(y, soi, prior, kappa=None, noise_var=None):
    """(prior with its period_offset, found: name -> tensor [batch]); only what is None is looked for.

    y: complex64 [batch, samples]. Raises ParameterError where the noise cannot be told from the interference.
    """
    x = y.detach().cpu().numpy().astype(complex)
    batch, samples = x.shape
    own = _each(soi.gain, batch)[:, None] ** 2 * _soi_spectrum(soi, samples)
    known = [None if kappa is None else _each(kappa, batch) ** 2, None if noise_var is None else _each(noise_var, batch)]
    found = {}
    taper = np.hanning(samples + 2)[1:-1]
    shape = prior.spectrum(samples)
    if kappa is None and noise_var is None and np.std(shape) < _APART:
        raise ParameterError("noise_var: the interference's spectrum is flat, noise cannot be told from it; give it (--snr-db)")
    levels = _levels(abs(np.fft.fft(x * taper)) ** 2 / np.sum(taper ** 2), own, shape, known)
    if prior.period > 1 and prior.period_offset is None:
        density = own + levels[0][:, None] * shape + levels[1][:, None]
        found["period_offset"] = torch.as_tensor(period_offset(x, prior, density), device=y.device)
        prior = replace(prior, period_offset=found["period_offset"])
    if prior.period > 1 and noise_var is None:
        # kappa stays: here what a fitted covariance is wrong in counts most
        levels = _levels(*_components(x, own, prior, levels), [levels[0], None])
    if kappa is None:
        found["kappa"] = torch.as_tensor(np.sqrt(levels[0]), dtype=torch.float32, device=y.device)
    if noise_var is None:
        found["noise_var"] = torch.as_tensor(levels[1], dtype=torch.float32, device=y.device)
    return prior, found


def _components(x, own, prior, levels):
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


def _levels(density, own, shape, known):
    """[kappa² [batch], noise_var [batch]], found where `known` holds None: density [batch, n], own [batch or 1, n], shape [n]."""
    power, columns = density.mean(1), np.stack([shape, np.ones_like(shape)])
    values = np.stack([np.maximum(power - own.mean(1), 0.1 * power), 1e-2 * power]) + 1e-30
    for i, level in enumerate(known):
        if level is not None:
            values[i] = level
    for _ in range(_STEPS):
        for i in (i for i in range(2) if known[i] is None):
            fit = own + np.einsum("ib,in->bn", values, columns)
            weight = 1 / (fit + (1e-9 if i else _DEEP) * power[:, None] + 1e-30) ** 2
            values[i] *= np.einsum("n,bn->b", columns[i], density * weight) / np.einsum("n,bn->b", columns[i], fit * weight)
    values[1] = np.maximum(values[1], 1e-9)
    return list(values)


def period_offset(x, prior, density):
    """Where the first whole period begins, int64 [batch]: x complex [batch, samples], its density [batch or 1, samples]."""
    samples, period = x.shape[1], prior.period
    z = np.fft.ifft(np.fft.fft(x) / np.maximum(density, 1e-3 * density.max(1, keepdims=True)))
    wanted = np.fft.fft(prior.table - prior.table.mean(0), axis=0)
    metric = np.zeros((len(x), period), complex)
    whole = -(-samples // period) * period
    for lag in range(min(prior.lags, samples)):
        product = z[:, lag:] * z[:, :samples - lag].conj()
        folded = np.pad(product, ((0, 0), (0, whole - product.shape[1]))).reshape(len(x), -1, period).sum(1)
        metric += (1 if lag == 0 else 2) * np.fft.fft(folded, axis=1) * wanted[:, lag].conj()
    return np.fft.ifft(metric, axis=1).real.argmax(1)


def _each(value, batch):
    """A number or tensor [1 or batch] as float64 [batch]."""
    return np.broadcast_to(torch.as_tensor(value, dtype=torch.float64).reshape(-1).cpu().numpy(), batch)


def _soi_spectrum(soi, samples):
    """Power density of the SOI at unit gain, float64 [1, samples], mean 1 over the band."""
    reach = int(np.ceil(soi.signal.half_length)) + 1
    n = np.arange(-reach, reach + 1)
    pulse = soi.signal.pulse_at(n) * np.exp(2j * np.pi * float(torch.as_tensor(soi.carrier_offset).reshape(-1)[0]) * n)
    folded = np.zeros(samples, complex)
    np.add.at(folded, n % samples, pulse)
    return abs(np.fft.fft(folded))[None] ** 2 / soi.signal.samples_per_symbol
