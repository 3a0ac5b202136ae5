# SPDX-License-Identifier: GPL-3.0-or-later
"""Level, noise and begin of the period of an interference known by its covariance (priors.Gaussian), found from the mixture.

The mixture is taken for Gaussian with the spectrum S(f) = kappa²·S_b(f) + noise_var + gain²·S_s(f). What is not known of the first two
is found by maximum likelihood (Whittle's), by Fisher scoring: least squares on the periodogram, weighted by 1/S². The begin
of the period by the derivative of the likelihood towards the covariance at each offset, zᴴ·(C_o - C_mean)·z, z = y whitened by 1/S.
"""
from dataclasses import replace

import numpy as np
import torch

from .errors import ParameterError

_STEPS = 12
_APART = 0.05           # of its norm that a spectrum must have beyond the other's span, for both levels to be found


def acquire_gaussian(y, soi, prior, kappa=None, noise_var=None):
    """(prior with its period_offset, found: name -> tensor [batch]); only what is None is looked for.

    y: complex64 [batch, samples]. Raises ParameterError where the noise cannot be told from the interference.
    """
    x = y.detach().cpu().numpy().astype(complex)
    batch, samples = x.shape
    own = np.broadcast_to(torch.as_tensor(soi.gain, dtype=torch.float64).reshape(-1).cpu().numpy(), batch)[:, None] ** 2 * _soi_spectrum(
        soi, samples)
    shape, found = prior.spectrum(samples), {}
    given = [None if v is None else np.broadcast_to(np.asarray(torch.as_tensor(v).cpu(), float), batch) for v in (kappa, noise_var)]
    levels = [None if given[0] is None else given[0] ** 2, given[1]]
    if None in (kappa, noise_var):
        levels = _levels(x, own, shape, levels)
        if kappa is None:
            found["kappa"] = torch.as_tensor(np.sqrt(levels[0]), dtype=torch.float32, device=y.device)
        if noise_var is None:
            found["noise_var"] = torch.as_tensor(levels[1], dtype=torch.float32, device=y.device)
    if prior.period > 1 and prior.period_offset is None:
        density = own + levels[0][:, None] * shape + levels[1][:, None]
        found["period_offset"] = torch.as_tensor(period_offset(x, prior, density), device=y.device)
        prior = replace(prior, period_offset=found["period_offset"])
    return prior, found


def _levels(x, own, shape, levels):
    """[kappa² [batch], noise_var [batch]] where levels holds None, from x [batch, samples], own [batch, samples]."""
    samples = x.shape[1]
    taper = np.hanning(samples + 2)[1:-1]
    density = abs(np.fft.fft(x * taper)) ** 2 / np.sum(taper ** 2)
    power = density.mean(1)
    columns = np.stack([shape, np.ones(samples)])
    unknown = [i for i, v in enumerate(levels) if v is None]
    if len(unknown) == 2 and np.std(shape) < _APART:
        raise ParameterError("noise_var: the interference's spectrum is flat, so noise cannot be told from it; give it (--snr-db)")
    values = np.stack([np.maximum(power - own.mean(1), 0.1 * power) if i == 0 else 1e-3 * power for i in range(2)])
    for i, level in enumerate(levels):
        if level is not None:
            values[i] = level
    rest = density - own - sum(values[i][:, None] * columns[i] for i in range(2) if i not in unknown)
    for _ in range(_STEPS):
        fit = own + np.einsum("ib,in->bn", values, columns)
        weight = 1 / np.maximum(fit, 1e-6 * power[:, None] + 1e-30) ** 2
        gram = np.einsum("in,bn,jn->bij", columns[unknown], weight, columns[unknown])
        right = np.einsum("in,bn->bi", columns[unknown], weight * rest)
        solution = np.linalg.solve(gram + 1e-12 * gram.mean((1, 2))[:, None, None] * np.eye(len(unknown)), right[..., None])[..., 0]
        # a variance below zero: the other one alone, then the smallest that means anything
        for j, other in ((0, -1), (-1, 0)):
            alone = right[:, other] / gram[:, other, other]
            below = solution[:, j] < 0
            if len(unknown) == 2:
                solution[below, other] = alone[below]
        for j, i in enumerate(unknown):
            values[i] = np.maximum(solution[:, j], 1e-9 if i else 0)
    return list(values)


def period_offset(x, prior, density):
    """Where the first whole period begins, int64 [batch]: x complex [batch, samples], density of all of x [batch or 1, samples]."""
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


def _soi_spectrum(soi, samples):
    """Power density of the SOI at unit gain, float64 [1, samples], mean 1 over the band."""
    reach = int(np.ceil(soi.signal.half_length)) + 1
    n = np.arange(-reach, reach + 1)
    pulse = soi.signal.pulse_at(n) * np.exp(2j * np.pi * float(torch.as_tensor(soi.carrier_offset).reshape(-1)[0]) * n)
    folded = np.zeros(samples, complex)
    np.add.at(folded, n % samples, pulse)
    return abs(np.fft.fft(folded))[None] ** 2 / soi.signal.samples_per_symbol
