# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic mixtures with their truth: the experiment of Jayashankar et al. (2023), and streams.

Interference: OFDM, bursts of 802.11, linear modulation, GMSK, GFSK, LoRa chirps, tones, sums of these, or a stand-in for the
experiment's CommSignal2. That recording's averaged autocorrelation is what 802.11b at 1 or 2 Mb/s gives at 25 MS/s (it ends after
25 samples, with the side lobes of the 11-chip Barker code; a peak at 3175 samples is the scrambler's 127 symbols): this is
inferred from second-order statistics, so it is called a stand-in.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals import LinearModulation as LinearSignal
from ..signals import Ofdm as OfdmSignal
from ..signals.levels import amplitude, noise_variance
from . import LinearModulation, Ofdm, Source
from .base import Structure

CASES = ("ofdm-qpsk", "ofdm-bpsk", "dsss", "dsss-noise")
HELD_OUT = "held-out"   # none of the table's: to check on it what was chosen on those
_OFFSET = 0.01          # cycles per sample: half of what is looked for
_READ = 1e-3            # noise variance in which a waveform without noise is read
DSSS_NOISE_DB = 13.5    # of dsss-noise: white noise this far below the interference


@dataclass
class Mixture:
    """y = s + kappa*b + w, complex64 [batch, samples], with bits uint8 [batch, n], and the priors as they truly are."""

    y: torch.Tensor
    s: torch.Tensor
    b: torch.Tensor
    kappa: float
    noise_var: float
    bits: torch.Tensor
    soi: Any                # a Source, as is the interference
    interference: Any


def paper_priors(constellation: str = "qpsk", symbols: int | None = 160) -> Any:
    """The paper's RRC-QPSK (16 samples per symbol, roll-off 0.5, span 4) and OFDM (64/16, guards 4 and 3)."""
    soi = LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.5, 4), timing=8.0, phase=0.0, gain=1.0, symbols=symbols)
    return soi, Ofdm(OfdmSignal(constellation=constellation))


def paper_case(name: str) -> Any:
    """(signal of interest, interference) of a case of the table, a name of CASES, or HELD_OUT: OFDM-QPSK of another numerology
    (128/32, guards 10 and 9). ParameterError for another. The interference's nuisances are None: drawn, and then to be estimated.
    """
    if name == HELD_OUT:
        return paper_priors()[0], Ofdm(OfdmSignal(128, 32, (10, 9)))
    if name not in CASES:
        raise ParameterError(f"case: {name!r} is not known; one of {', '.join((*CASES, HELD_OUT))}")
    if name.startswith("ofdm"):
        return paper_priors(name.removeprefix("ofdm-"))
    return paper_priors()[0], LinearModulation(LinearSignal("bpsk", 25, "barker"))


def draw_case(case: str, batch: int, sir_db: int, snr_db: Any = None, seed: int = 0) -> Mixture:
    """A Mixture of a case (see paper_case): 2560 samples, 160 symbols. dsss-noise has noise of its own, DSSS_NOISE_DB below the
    interference; snr_db is then refused."""
    soi, interference = paper_case(case)
    if case == "dsss-noise":
        if snr_db is not None:
            raise ParameterError(f"snr_db: {case} has its own noise, {DSSS_NOISE_DB} dB below the interference; leave it out")
        snr_db = sir_db + DSSS_NOISE_DB
    return draw(soi, interference, batch, 2560, sir_db, snr_db, seed)


def noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """CN(0, 1), complex64."""
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def draw(soi: Any, interference: Source, batch: int, samples: Any, sir_db: float | None, snr_db: float | None = None,
         seed: int = 0, scrambled: Any = None) -> Mixture:
    """Windows of `samples` samples; the interference's nuisances (OFDM: frame offset, phase; linear modulation,
    GMSK, GFSK: timing, phase; LoRa: timing) are drawn per window where the prior lacks them.

    sir_db: ratio of mean powers of SOI and interference; None for no interference. snr_db: SOI to noise per sample, None
    for no noise. Powers are ensemble powers; the SOI's gain multiplies s. Of a SOI that is no linear modulation what is unknown
    is drawn too, and bits are those that its demodulator reads in s. scrambled: for linear modulation, see _linear.
    """
    g = torch.Generator().manual_seed(seed)
    s, bits, soi = (_train if soi.structure is Structure.CHAIN else _waveform)(soi, batch, samples, g)
    b, truth = alone(interference, batch, samples, g, scrambled)
    gain = float(soi.state.gain)
    kappa, noise_var = amplitude(gain, sir_db) or 0.0, noise_variance(gain, snr_db) or 0.0
    y = s + kappa * b + noise_var ** 0.5 * noise((batch, samples), g)
    return Mixture(y, s, b, kappa, noise_var, bits.to(torch.uint8), soi, truth)


def _train(soi: Any, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
    """(a linear modulation as received, complex64 [batch, samples]; bits of the symbols inside, [batch, n]; the source as it
    is)."""
    n = torch.arange(samples, dtype=torch.float64)
    if soi.carrier_offset is None:
        soi = replace(soi, carrier_offset=0.0)
    if soi.symbols is None:     # continuous: symbols before and after the window too
        reach = soi.signal.span + 1
        timing = float(soi.timing) % soi.signal.samples_per_symbol - reach * soi.signal.samples_per_symbol
        count = int(samples // soi.signal.samples_per_symbol) + 2 * reach
    else:
        timing, count = float(soi.timing), soi.symbols
    bits = torch.randint(0, 2, (batch, count * soi.signal.alphabet.bits_per_symbol), generator=generator)
    symbols = soi.signal.alphabet.map(bits)
    turns = soi.signal.turns(round((timing - float(soi.timing)) / soi.signal.samples_per_symbol), count)
    turn = torch.polar(torch.ones(samples, dtype=torch.float64), soi.phase + 2 * torch.pi * soi.carrier_offset * n)
    s = soi.gain * soi.signal.modulate(symbols if turns is None else symbols * turns, samples, timing) * turn.to(torch.complex64)
    first = int(np.ceil(-timing / soi.signal.samples_per_symbol - 1e-9))
    inside = torch.arange(count)
    centre = timing + inside * soi.signal.samples_per_symbol
    inside = inside[(centre >= 0) & (centre < samples) & (inside >= max(first, 0))]
    return s, bits.reshape(batch, count, -1)[:, inside].flatten(1), soi


def _waveform(soi: Any, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
    """See _train: of any other source. Raises CapabilityError where that kind cannot be drawn."""
    given = soi.state.gain
    s, truth = soi.draw(batch, samples, generator)
    truth = truth.with_state(gain=1.0 if given is None else float(given))
    reader, bits = truth.demodulator(), torch.zeros(batch, 0, dtype=torch.int64)
    if reader is not None and truth.structure is not Structure.BURSTS:
        read = reader(s, _READ)
        there = ~read.at.isnan().any(0)         # symbols that all windows hold
        bits = (read.llrs[:, there] < 0).flatten(1).long()
    return truth.state.gain * s, bits, truth


def completed(soi: Any, seed: int, reach: float = 2 * _OFFSET) -> Any:
    """A source whose carrier offset, where it is unknown, was drawn within half of what is searched, `reach` either side, cycles
    per sample; of a linear modulation timing within a symbol and any phase too. A gain that is not known is 1: other levels are
    relative to it."""
    rng, spans = np.random.default_rng([seed, 1]), {"carrier_offset": (-reach / 2, reach / 2)}
    if soi.structure is Structure.CHAIN:
        spans = {"timing": (0.0, float(soi.signal.samples_per_symbol)), "phase": (0.0, 2 * np.pi), **spans}
    values = {key: float(rng.uniform(*span)) for key, span in spans.items()}
    drawn = {key: value for key, value in values.items() if key in soi.unknown}
    gain = {"gain": 1.0} if "gain" in soi.state_names and soi.state.gain is None else {}
    return replace(soi, **gain, **drawn)


def alone(prior: Any, batch: int, samples: int, generator: torch.Generator, scrambled: Any = None) -> Any:
    """A source by itself, its nuisances drawn where the prior lacks them: (complex64 [batch, samples], the prior as it truly is).

    scrambled: for linear modulation, see _linear. Raises CapabilityError where that kind cannot be drawn.
    """
    if scrambled is not None:
        return prior.draw(batch, samples, generator, scrambled=scrambled)
    return prior.draw(batch, samples, generator)


def autocorrelation(x: Tensor, lags: int) -> Tensor:
    """R(l)/R(0), R(l) = sum_n x(n + l)·conj(x(n)) over a window, averaged over windows: complex [batch, samples] ->
    complex128 [lags], lags 0 ... lags-1. Its modulus is to be compared with a recording's."""
    spectrum = torch.fft.fft(x.to(torch.complex128), 2 * x.shape[1])
    r = torch.fft.ifft(spectrum.abs().square())[:, :lags]
    return (r / r[:, :1]).mean(0)
