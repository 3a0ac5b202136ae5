# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic mixtures with their truth: the experiment of Jayashankar et al. (2023), and streams."""
from dataclasses import dataclass

import numpy as np
import torch

from .errors import ParameterError
from .priors import LinearModulation, Ofdm
from .signals import LinearModulation as LinearSignal
from .signals import Ofdm as OfdmSignal


@dataclass
class Mixture:
    """y = s + kappa*b + w, complex64 [batch, samples], with bits uint8 [batch, n], and the priors as they truly are."""

    y: torch.Tensor
    s: torch.Tensor
    b: torch.Tensor
    kappa: float
    noise_var: float
    bits: torch.Tensor
    soi: LinearModulation
    interference: Ofdm


def paper_priors(constellation="qpsk", symbols=160):
    """The paper's RRC-QPSK (16 samples per symbol, roll-off 0.5, span 4) and OFDM (64/16, guards 4 and 3)."""
    soi = LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.5, 4), timing=8.0, phase=0.0, gain=1.0, symbols=symbols)
    return soi, Ofdm(OfdmSignal(constellation=constellation))


def noise(shape, generator):
    """CN(0, 1), complex64."""
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def draw(soi, ofdm, batch, samples, sir_db, snr_db=None, seed=0):
    """Windows of `samples` samples; frame offset and phase of the OFDM are drawn per window where the prior lacks them.

    sir_db: ratio of mean powers of SOI and interference; None for no interference. snr_db: SOI to noise per sample, None
    for no noise. Powers are ensemble powers; the SOI's gain multiplies s.
    """
    if ofdm.signal.alphabet.symmetry is None:
        raise ParameterError("constellation: 'gaussian' carriers cannot be simulated; name an alphabet")
    g = torch.Generator().manual_seed(seed)
    if soi.symbols is None:     # continuous: symbols before and after the window too
        reach = soi.signal.span + 1
        timing = float(soi.timing) % soi.signal.samples_per_symbol - reach * soi.signal.samples_per_symbol
        count = samples // soi.signal.samples_per_symbol + 2 * reach
    else:
        timing, count = float(soi.timing), soi.symbols
    bits = torch.randint(0, 2, (batch, count * soi.signal.alphabet.bits_per_symbol), generator=g)
    symbols = soi.signal.alphabet.map(bits)
    n = torch.arange(samples, dtype=torch.float64)
    turn = torch.polar(torch.ones(samples, dtype=torch.float64), soi.phase + 2 * torch.pi * soi.carrier_offset * n)
    s = soi.gain * soi.signal.modulate(symbols, samples, timing) * turn.to(torch.complex64)
    first = int(np.ceil(-timing / soi.signal.samples_per_symbol - 1e-9))
    inside = torch.arange(count)
    centre = timing + inside * soi.signal.samples_per_symbol
    inside = inside[(centre >= 0) & (centre < samples) & (inside >= max(first, 0))]
    bits = bits.reshape(batch, count, -1)[:, inside].flatten(1)

    period, frames = ofdm.signal.frame_length, -(-samples // ofdm.signal.frame_length) + 1
    offset = torch.randint(0, period, (batch,), generator=g) if ofdm.frame_offset is None else torch.as_tensor(
        ofdm.frame_offset).expand(batch)
    phase = 2 * torch.pi * torch.rand(batch, generator=g) if ofdm.phase is None else torch.as_tensor(ofdm.phase).expand(batch)
    c = ofdm.signal.alphabet.map(torch.randint(0, 2, (batch, frames * len(ofdm.signal.carriers)
                                                      * ofdm.signal.alphabet.bits_per_symbol), generator=g))
    c = c.reshape(batch, frames, -1)
    whole = (c @ torch.tensor(ofdm.matrix.T, dtype=torch.complex64)).flatten(1)
    b = whole.gather(1, (period - offset)[:, None] % (2 * period) + torch.arange(samples))
    b = b * torch.polar(torch.ones(batch, samples), (phase[:, None] + 2 * torch.pi * ofdm.carrier_offset * n).float())
    kappa = 0.0 if sir_db is None else float(soi.gain) * 10 ** (-sir_db / 20)
    noise_var = 0.0 if snr_db is None else float(soi.gain) ** 2 * 10 ** (-snr_db / 10)
    y = s + kappa * b + noise_var ** 0.5 * noise((batch, samples), g)
    truth = Ofdm(ofdm.signal, offset, phase, ofdm.carrier_offset, ofdm.channel, ofdm.delay_spread)
    return Mixture(y, s, b, kappa, noise_var, bits.to(torch.uint8), soi, truth)
