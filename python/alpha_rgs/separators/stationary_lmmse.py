# SPDX-License-Identifier: GPL-3.0-or-later
"""Linear MMSE against an interference known by its autocorrelation alone, the classical baseline.

With R = kappa²·C_bb + noise_var·I, C_bb[m, n] = R_b(m - n) (Source.autocorrelation: averaged over frame offsets or timings),
and s = H·a at its known timing, covariance C_ss = H·Hᴴ,
    s_hat = C_ss·(C_ss + R)⁻¹·y = H·P·Hᴴ·R⁻¹·y,    P = (Hᴴ·R⁻¹·H + I)⁻¹ the posterior covariance of the symbols.
So frame offsets play no part: one filter serves all windows. This is the LMMSE of Jayashankar et al. (2023) as its figures
have it (MSE -10.2, -3.8, -0.6 dB at -3, -12, -24 dB); C_ss averaged over timings too would cost 1.2 dB at -3 dB.

That inverse costs one Levinson recursion and some FFTs (inference/toeplitz.py).
"""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inference.toeplitz import ToeplitzInverse
from ..signals.carrier import carrier, column, rotation
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import Separation, require, soft_output

FLOOR = 1e-6        # noise relative to the SOI's power, at least: without any, gaps in the spectrum leave nothing to invert


def stationary_lmmse(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor) -> Separation:
    """The separator behind lmmse(covariance="stationary"), for any interference whose autocorrelation is known.

    kappa and noise_var are rounded to 0.1 and 1 dB, so that windows nearly alike share a filter. Raises CapabilityError.
    """
    require(soi, Structure.CHAIN, "signal of interest", "lmmse")
    samples, count = y.shape[1], soi.centred_symbols(y.shape[1])[1]
    # in the frame of the SOI's carrier, all its pulses are alike
    autocorrelation = interference.autocorrelation(np.arange(samples)) / rotation(soi.carrier_offset, np.arange(samples))
    gain = torch.as_tensor(soi.gain, dtype=torch.float64).reshape(-1).expand(len(y))
    ratio = (kappa.cpu().double() / gain).clamp_min(1e-9)
    noise = (noise_var.cpu().double() / gain.square()).clamp_min(FLOOR)
    timing = torch.round(column(soi.timing, torch.empty(0))[:, 0], decimals=4).expand(len(y))
    keys = torch.stack([torch.round(200 * ratio.log10()), torch.round(10 * noise.log10()), timing.cpu()], 1)
    turn = carrier(soi.phase, soi.carrier_offset, y)
    x = y * turn.conj() / gain[:, None].to(y.device, torch.float32)
    s, symbols, var = torch.empty_like(y), torch.empty(len(y), count, dtype=y.dtype, device=y.device), torch.empty(len(y), count)
    for key in torch.unique(keys, dim=0):
        rows = torch.nonzero((keys == key).all(1))[:, 0]
        pulses, first = _pulses(soi.signal, float(key[2]), samples, soi.symbols)
        filters, spread = _filters(autocorrelation.tobytes(), 10 ** (float(key[0]) / 100), 10 ** (float(key[1]) / 10),
                                   soi.signal, float(key[2]), soi.symbols)
        mean = x[rows.to(y.device)] @ filters.T.to(y.device)
        s[rows.to(y.device)] = mean @ pulses.T.to(y.device)
        # a mean is (1 - P) times its symbol, and the rest has variance P·(1 - P)
        known = (1 - spread[first:first + count]).clamp_min(1e-6)
        symbols[rows.to(y.device)] = mean[:, first:first + count] / known.to(y.device)
        var[rows] = spread[first:first + count] / known
    s = s * turn * gain[:, None].to(y.device, torch.float32)
    turns = soi.signal.turns(soi.centred_symbols(samples)[0], count)
    symbols = symbols if turns is None else symbols * turns.conj().to(y.device)
    return soft_output(soi, symbols, var.to(y.device), soi=s, interference=y - s, evaluations=0, kappa=kappa, noise_var=noise_var)


@lru_cache(maxsize=16)
def _pulses(signal: Any, timing: float, samples: int, symbols: int | None) -> tuple[Tensor, int]:
    """(H complex64 [samples, reaching], column of the first symbol centred inside the window) with every symbol that reaches
    into the window, of a burst of `symbols` or without end (None)."""
    sps, half = signal.samples_per_symbol, signal.half_length
    first, last = int(np.ceil((-half - timing) / sps - 1e-9)), int(np.floor((samples - 1 + half - timing) / sps + 1e-9))
    if symbols is not None:
        first, last = max(first, 0), min(last, symbols - 1)
    number = np.arange(first, last + 1)
    pulses = signal.pulse_at(np.arange(samples)[:, None] - timing - sps * number)
    return torch.tensor(pulses, dtype=torch.complex64), int((timing + sps * number < -1e-6).sum())


@lru_cache(maxsize=32)
def _filters(autocorrelation: bytes, ratio: float, noise: float, signal: Any, timing: float,
             symbols: int | None) -> tuple[Tensor, Tensor]:
    """(P·Hᴴ·R⁻¹ complex64 [reaching, samples], diagonal of P float32 [reaching]); ratio: kappa² over the SOI's power."""
    r = ratio * np.frombuffer(autocorrelation, complex)
    r[0] += noise
    pulses = _pulses(signal, timing, len(r), symbols)[0].numpy().astype(complex).T
    whitened = ToeplitzInverse(r)(pulses).conj()                # rows: (R⁻¹·h)ᴴ
    covariance = np.linalg.inv(whitened @ pulses.T + np.eye(len(pulses)))
    return torch.tensor(covariance @ whitened, dtype=torch.complex64), torch.tensor(np.diag(covariance).real, dtype=torch.float32)
