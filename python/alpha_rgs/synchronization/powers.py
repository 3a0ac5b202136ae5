# SPDX-License-Identifier: GPL-3.0-or-later
"""Powers of any number of sources in a mixture, and of the noise."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..sources.base import Source
from .whittle import BinnedPeriodogram, fit_powers

_STEPS = 100        # multiplicative steps; 60 leave 1 % of a power 20 dB below the strongest
_LEAST = 1e-9       # of the window's power, a power at least
_CLAMP = 2.0        # a regression moves a gain by no more than this factor


def densities(source: Source, batch: int, nfft: int) -> Tensor:
    """Power spectral density of a source in `batch` windows, float64 [1 or batch, nfft], window by window where they differ; flat
    where it is not known. See Source.psd."""
    for rows in ([slice(None)], [slice(k, k + 1) for k in range(batch)]):
        try:
            return torch.cat([torch.as_tensor(source.select(own).psd(nfft)).reshape(-1, nfft) for own in rows])
        except CapabilityError:
            continue
    return torch.ones(1, nfft, dtype=torch.float64)


def estimate_powers(y: Tensor, sources: Sequence[Source], known: Sequence[Tensor | None],
                    noise_var: Tensor | None) -> list[Tensor]:
    """Powers of the sources and the noise variance, float64 [batch] each, where `known` and noise_var are None; else as given.

    The mixture is taken for Gaussian with the spectrum Σ p_k·S_k(f) + noise_var, fitted to the periodogram by maximum likelihood
    (Whittle), by multiplicative steps (Févotte, Bertin and Durrieu, 2009). y: complex64 [batch, samples]. Sources in one band
    share their power: see regressed_gains. Raises CapabilityError where a source has no power spectral density.
    """
    periodogram = BinnedPeriodogram(y.detach().cpu().numpy().astype(complex))
    power = periodogram.density.mean(1, keepdims=True) + 1e-300
    shapes = [periodogram.binned(source.psd(y.shape[1])) for source in sources]
    columns = np.stack([*shapes, np.ones(periodogram.density.shape[1])])
    given = [None if value is None else value.cpu().numpy() for value in (*known, noise_var)]
    start = np.tile(power / len(given), (1, len(given))) * np.array([1.0] * len(sources) + [0.1])
    values = fit_powers(periodogram.density, columns[None], start, given, _STEPS)
    values = np.maximum(values, _LEAST * power)
    return [torch.from_numpy(column.copy()) for column in values.T]


def regressed_gains(y: Tensor, waveforms: Sequence[Tensor], gains: Sequence[Tensor], free: Sequence[int],
                    noise_var: Tensor | None, variances: Sequence[Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
    """Gains and noise variance after a separation: real factors on the waveforms of the sources `free`, by least squares of y,
    and (noise_var None) what is left over, which is the noise less what the waveforms took up of it. variances: of the waveforms'
    errors, [batch] each: a source may be stronger only by what its mean shows beside them (expectation maximization), since a
    mean that follows the noise fits it better the stronger it is. float64 [batch] each."""
    waves = torch.stack(list(waveforms), 1).to(torch.complex128)
    fixed = [k for k in range(len(gains)) if k not in free]
    rest = y.to(torch.complex128) - waves[:, fixed].sum(1)
    moved = [g.clone() for g in gains]
    if free:
        own = waves[:, list(free)]
        gram = (own.conj() @ own.mT).real
        # a posterior mean holds less power than its source: what is undecided counts with it
        size = gram.diagonal(dim1=1, dim2=2) + 1e-30
        right = (own.conj() @ rest[..., None])[..., 0].real
        factor = torch.linalg.solve(gram + torch.diag_embed(1e-9 * size), right)
        if variances is not None:
            factor = _as_shown(factor, size / y.shape[1], list(variances), free)
        factor = factor.clamp(1 / _CLAMP, _CLAMP)
        for column, k in enumerate(free):
            moved[k] = gains[k] * factor[:, column]
        rest = rest - (factor[:, None].to(own) @ own)[:, 0]
    if noise_var is not None:
        return moved, noise_var
    left = rest.abs().square().mean(1)
    return moved, left.clamp_min(_LEAST * y.abs().square().mean(1).double().clamp_min(1e-30))


def _as_shown(factor: Tensor, power: Tensor, variances: list[Tensor], free: Sequence[int]) -> Tensor:
    """Factors on waveforms of mean `power`, [batch, n] both, where these are more than 1 no more than their errors let be: by
    expectation maximization, errors of different sources compensating each other as far as they can."""
    errors = torch.stack([v.to(power) for v in variances], 1).clamp_min(0).sqrt()
    own = errors[:, list(free)]
    shared = own * (errors.sum(1, keepdim=True) - own)
    most = (factor * power + shared) / (power + own.square()).clamp_min(1e-30)
    return torch.minimum(factor, most.clamp_min(1.0))


def open_power(variances: Sequence[Tensor]) -> Tensor:
    """The least that the error of a sum of waveforms may have of power, [batch], whose own errors are of these variances."""
    errors = torch.stack([v.double().clamp_min(0).sqrt() for v in variances])
    return (2 * errors.amax(0) - errors.sum(0)).clamp_min(0).square()
