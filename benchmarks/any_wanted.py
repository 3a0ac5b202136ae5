# SPDX-License-Identifier: GPL-3.0-or-later
"""Any source wanted, all nuisances known: how many dB a separation loses against a receiver without interference.

Of each case, bit error rates of the wanted source at several SNRs, separated and without interference; the loss is how much
less SNR the receiver without interference needs for the error rate that the separation has (log error rate interpolated).
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from alpha_rgs import separate_stream
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import Ppm as PpmSignal
from alpha_rgs.sources import Gmsk, LinearModulation, Lora, Ofdm, Ppm, Source
from alpha_rgs.sources.base import Demodulated
from alpha_rgs.sources.mixtures import alone, noise

SAMPLES = 20480         # of a recording: ten windows, whose ends are seen with context
_WINDOWS, _WINDOW = 16, 5120     # for each recording, and their samples, without interference
_STEP_DB = 1.0              # between SNRs without interference
_LEAST_ERRORS = 40          # that a rate is worth interpolating


@dataclass(frozen=True)
class Case:
    """A wanted source and others at these SIRs, dB. limit_db: the loss that is allowed. snr_db: per sample, at which to
    measure."""

    wanted: Source
    others: tuple[Source, ...]
    sir_db: tuple[float, ...]
    limit_db: float
    snr_db: tuple[float, ...]


def _qpsk(samples_per_symbol: int, rolloff: float) -> LinearModulation:
    return LinearModulation(LinearSignal("qpsk", samples_per_symbol, "rrc", rolloff, 8), gain=1.0)


_GMSK, _OFDM, _LORA = Gmsk(GmskSignal(4, 0.3)), Ofdm(OfdmSignal()), Lora(LoraSignal(7, 4))
CASES = {
    "GMSK under OFDM-QPSK": Case(_GMSK, (_OFDM,), (-10.0,), 2.0, (0.0, 1.0, 2.0, 3.0)),
    "GMSK under RRC-QPSK": Case(_GMSK, (_qpsk(4, 0.35),), (-10.0,), 2.0, (0.0, 1.0, 2.0, 3.0)),
    "OFDM-QPSK under RRC-QPSK": Case(_OFDM, (_qpsk(16, 0.5),), (-10.0,), 2.0, (7.0, 8.0, 9.0, 10.0)),
    "PPM under RRC-QPSK": Case(Ppm(PpmSignal(4)), (_qpsk(8, 0.35),), (-10.0,), 3.0, (-3.0, -1.0, 1.0, 3.0)),
    "PPM under OFDM-QPSK": Case(Ppm(PpmSignal(4)), (_OFDM,), (-10.0,), 3.0, (-3.0, -1.0, 1.0, 3.0)),
    "QPSK + OFDM + LoRa": Case(_qpsk(16, 0.5), (_OFDM, _LORA), (-5.0, -5.0), 3.0, (-3.0, -2.0, -1.0, 0.0)),
}


def curves(name: str, recordings: int = 4, seed: int = 1) -> Iterator[dict[str, Any]]:
    """A row of each SNR of a case: bit error rates and the loss, dB (None where too few errors tell it)."""
    case = CASES[name]
    for snr in case.snr_db:
        wrong, bits = _separated(case, snr, recordings, seed)
        rate = wrong / bits
        loss = None if wrong < _LEAST_ERRORS else snr - _snr_without(case, rate, recordings, seed)
        yield {"case": name, "sir_db": list(case.sir_db), "snr_db": snr, "bits": bits, "ber": rate,
               "ber_without": _rate_without(name, snr, recordings, seed), "loss_db": loss, "limit_db": case.limit_db,
               "allowed_ber": _rate_without(name, snr - case.limit_db, recordings, seed)}


def _mixtures(case: Case, snr_db: float, recordings: int, seed: int) -> Iterator[tuple]:
    """(mixture, sources as they truly are, noise variance, wanted waveform, wanted plus noise), recording after recording, each a
    batch of one."""
    generator, noise_var, batch = torch.Generator().manual_seed(seed), 10 ** (-snr_db / 10), 1
    for _ in range(recordings):
        s, truth = alone(case.wanted, batch, SAMPLES, generator)
        w = noise_var ** 0.5 * noise((batch, SAMPLES), generator)
        y, sources = s + w, [replace(truth, gain=1.0)]
        for other, sir in zip(case.others, case.sir_db):
            b, drawn = alone(other, batch, SAMPLES, generator)
            y, sources = y + 10 ** (-sir / 20) * b, [*sources, replace(drawn, gain=10 ** (-sir / 20))]
        yield y, sources, noise_var, s, s + w


def wrong_bits(read: Any, sent: Any) -> tuple[int, int]:
    """(wrong, compared) bits of two Demodulated, symbol by symbol where both have one."""
    wrong = bits = 0
    for a, b, at, ground in zip(read.llrs, sent.llrs, read.at, sent.at):
        here, there = ~at.isnan(), ~ground.isnan()
        first = max(float(at[here].min()), float(ground[there].min())) - 1e-3
        last = min(float(at[here].max()), float(ground[there].max())) + 1e-3
        a, b = a[(at >= first) & (at <= last)], b[(ground >= first) & (ground <= last)]
        wrong, bits = wrong + int(((a < 0) != (b < 0)).sum()), bits + a.numel()
    return wrong, bits


def _separated(case: Case, snr_db: float, recordings: int, seed: int) -> tuple[int, int]:
    total = np.zeros(2, int)
    for y, sources, noise_var, s, _ in _mixtures(case, snr_db, recordings, seed):
        found = separate_stream(y[0].numpy(), sources, noise_var=noise_var).sources[0]
        at = found.at if found.at is not None else _centres(sources[0], len(found.symbols))
        read = Demodulated(*(torch.as_tensor(v)[None] for v in (found.symbols, found.llrs, at)))
        total += wrong_bits(read, sources[0].demodulator()(s, 1e-3))
    return int(total[0]), int(total[1])


def _centres(source: Any, count: int) -> np.ndarray:
    """Of a linear modulation: the samples on which its symbols are centred."""
    first = source.centred_symbols(SAMPLES)[0]
    return source.timing_of(first).numpy() + source.symbol_period * np.arange(count)


@lru_cache(maxsize=256)
def _rate_without(name: str, snr_db: float, recordings: int, seed: int) -> float:
    """Bit error rate of the receiver without interference: other symbols and noise than the separation's, windows side by
    side."""
    generator, noise_var = torch.Generator().manual_seed(seed + 1), 10 ** (-snr_db / 10)
    s, truth = alone(CASES[name].wanted, _WINDOWS * recordings, _WINDOW, generator)
    reader = truth.demodulator()
    x = s + noise_var ** 0.5 * noise(s.shape, generator)
    wrong, bits = wrong_bits(reader(x, noise_var), reader(s, 1e-3))
    return wrong / bits


def _snr_without(case: Case, rate: float, recordings: int, seed: int) -> float:
    """SNR, dB, at which the receiver without interference has that error rate."""
    name = next(key for key, value in CASES.items() if value is case)
    low = case.snr_db[0] - case.limit_db - 2
    grid = np.arange(low, case.snr_db[-1] + 1, _STEP_DB)
    rates = np.array([max(_rate_without(name, float(snr), recordings, seed), 1e-6) for snr in grid])
    return float(np.interp(-np.log10(rate), -np.log10(rates), grid))


LEARNED_SNR_DB = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
LEARNED_SIR_DB = -10.0


def learned(gmsk: Any, ofdm: Any, recordings: int = 2, seed: int = 1) -> Iterator[dict[str, Any]]:
    """GMSK under OFDM-QPSK by denoisers alone, all read by one trellis in the mixture less the interference: a row of each SNR
    with the bit error rate of the exact ones; then a row of each with that of the networks gmsk and ofdm (Sources) and how much
    more SNR they need, dB (None where either rate has too few errors)."""
    case = Case(_GMSK, (_OFDM,), (LEARNED_SIR_DB,), 1.0, LEARNED_SNR_DB)
    exact = []
    for snr in case.snr_db:
        wrong, bits = _denoised(case, snr, recordings, seed)
        exact.append(max(wrong, 0.5) / bits)
        yield {"denoisers": "exact", "snr_db": snr, "bits": bits, "ber": wrong / bits}
    for snr in case.snr_db:
        wrong, bits = _denoised(case, snr, recordings, seed, (gmsk, ofdm))
        same = float(np.interp(-np.log10(max(wrong, 0.5) / bits), -np.log10(exact), case.snr_db))
        inside = wrong >= _LEAST_ERRORS and exact[-1] < wrong / bits < exact[0]
        yield {"denoisers": "networks", "snr_db": snr, "bits": bits, "ber": wrong / bits,
               "loss_db": snr - same if inside else None, "limit_db": case.limit_db}


def _denoised(case: Case, snr_db: float, recordings: int, seed: int, networks: tuple[Any, Any] | None = None) -> tuple[int, int]:
    """(wrong, compared) bits of the first source, by alpha_rgs on the exact sources or on these instead."""
    total = np.zeros(2, int)
    for y, sources, noise_var, s, _ in _mixtures(case, snr_db, recordings, seed):
        known = sources if networks is None else [replace(n, gain=source.gain) for n, source in zip(networks, sources)]
        out = separate_stream(y[0].numpy(), known, method="alpha_rgs", noise_var=noise_var)
        cleaned = torch.from_numpy(out.sources[0].cleaned)[None]
        reader, left = sources[0].demodulator(), (cleaned - s).abs().square().mean(1)
        total += wrong_bits(reader(cleaned, left), reader(s, 1e-3))
    return int(total[0]), int(total[1])
