# SPDX-License-Identifier: GPL-3.0-or-later
"""Any kind wanted, nothing known but the kinds: how many dB a separation loses against a receiver without interference.

The wanted source is read in `cleaned` (the mixture less all others) by its own demodulator, which knows timing, phase and carrier
as they are: what the separation has left of the others is all that it suffers from. Without interference the same demodulator
reads the same kind of signal in noise alone.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from alpha_rgs import separate_stream
from alpha_rgs.signals import Fsk as FskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import OffsetQpsk as OffsetSignal
from alpha_rgs.signals import Ppm as PpmSignal
from alpha_rgs.signals import preset
from alpha_rgs.sources import Fsk, Gmsk, LinearModulation, Lora, Ofdm, OffsetQpsk, Ppm, Source, Tones, from_dict
from alpha_rgs.sources.base import Structure
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.streaming.resampling import inside, plan

from .any_wanted import Case, wrong_bits

SAMPLES = 10752             # of a recording: five windows
_LIMIT_DB, _THREE_DB = 3.0, 4.0
_WITHOUT = 12               # recordings without interference, for each that is separated
_STEPS_DB = np.arange(0.0, 6.1, 0.5)        # less SNR, at which the receiver without interference is measured
_OFFSET = 0.02              # cycles per sample: carrier offsets that are drawn lie within
_RATES = (2.2, 7.9)         # samples per symbol, of fractional rates


def _train(constellation: str, samples_per_symbol: int) -> LinearModulation:
    return LinearModulation(LinearSignal(constellation, samples_per_symbol, "rrc", 0.35, 8), gain=1.0, carrier_offset=None)


def _qpsk(samples_per_symbol: int) -> LinearModulation:
    return _train("qpsk", samples_per_symbol)


_GMSK, _OFDM = Gmsk(GmskSignal(4, 0.3), carrier_offset=None), Ofdm(OfdmSignal())
_C4FM = Fsk(FskSignal(8, 4, 0.25, "rc"), carrier_offset=None)
_OQPSK = OffsetQpsk(OffsetSignal(8, "rrc", 0.35, 8), carrier_offset=None)
_DSSS = LinearModulation(LinearSignal("bpsk", 21, "barker"), gain=1.0, carrier_offset=None)
_GFSK = Fsk(FskSignal(21, 2, 0.32, "gaussian", 0.5), carrier_offset=None)
_WIFI = Ofdm(OfdmSignal(**{**preset("802.11a"), "constellation": "qpsk"}))
# SNRs at which the receiver without interference has error rates of 1e-3 to 1e-2
CASES: dict[str, Case] = {
    **{f"{name} under {beside}": Case(wanted, (other,), (sir,), _LIMIT_DB, (snr,))
       for name, wanted, snr in (("GMSK", _GMSK, 3.0), ("C4FM", _C4FM, 2.0), ("OQPSK", _OQPSK, 0.0))
       for beside, other, sir in (("OFDM, -5 dB", _OFDM, -5.0), ("OFDM, -10 dB", _OFDM, -10.0), ("QPSK, -5 dB", _qpsk(10), -5.0),
                                  ("QPSK, -10 dB", _qpsk(10), -10.0))},
    **{f"802.11a under QPSK, {sir:g} dB": Case(_WIFI, (_qpsk(16),), (sir,), _LIMIT_DB, (9.0,)) for sir in (0.0, -10.0)},
    **{f"{name} under {beside}, {sir:g} dB": Case(wanted, (other,), (sir,), _LIMIT_DB, (snr,))
       for name, wanted, beside, other, snr in (("QPSK", _qpsk(8), "QPSK", _qpsk(5), 0.0),
                                                ("8PSK", _train("8psk", 8), "QPSK", _qpsk(5), 5.0),
                                                ("DSSS", _DSSS, "GFSK", _GFSK, -6.0)) for sir in (-5.0, -10.0)},
    "LoRa under QPSK, -15 dB": Case(Lora(LoraSignal(7, 4)), (_qpsk(8),), (-15.0,), _LIMIT_DB, (0.0,)),
    "PPM under QPSK, -10 dB": Case(Ppm(PpmSignal(4)), (_qpsk(8),), (-10.0,), _LIMIT_DB, (6.0,)),
    "PPM under GMSK, -10 dB": Case(Ppm(PpmSignal(4)), (_GMSK,), (-10.0,), _LIMIT_DB, (6.0,)),
    "QPSK + OFDM + LoRa": Case(_qpsk(16), (_OFDM, Lora(LoraSignal(7, 4))), (-5.0, -5.0), _THREE_DB, (-3.0,)),
    "QPSK + GMSK + two tones": Case(_qpsk(16), (_GMSK, Tones(2)), (-5.0, -10.0), _THREE_DB, (-3.0,)),
}


def forgotten(source: Source) -> Source:
    """The source as its kind alone describes it."""
    finds = source.structure is Structure.CHAIN or "carrier_offset" in source.synchronizes
    lost = [own for own in source.state_names.values() if own != "channel" and (own != "carrier_offset" or finds)]
    more = ["bursts"] if source.own_levels else []
    return replace(cast(Any, source), **dict.fromkeys([*lost, *more]))


def drawn(source: Source, generator: torch.Generator) -> Source:
    """The source with what Source.draw leaves at its default drawn too: the carrier offset of a linear modulation."""
    offset = _OFFSET * (2 * float(torch.rand((), generator=generator, dtype=torch.float64)) - 1)
    return replace(cast(Any, source), carrier_offset=offset) if source.structure is Structure.CHAIN else source


def rows(name: str, recordings: int = 2, seed: int = 1) -> Iterator[dict[str, Any]]:
    """A row for each SNR of a case: errors, and how much less SNR the receiver without interference needs for as many, dB.
    ber_told: of the same recordings, all nuisances, gains and noise being told."""
    case = CASES[name]
    for snr in case.snr_db:
        generator, total, seconds = torch.Generator().manual_seed(seed), np.zeros(4, int), 0.0
        for _ in range(recordings):
            found, took = _separated(case, snr, generator)
            total, seconds = total + found, seconds + took
        rates = [_without(case, snr - less, recordings * _WITHOUT, seed + 1) for less in _STEPS_DB]
        rate = total[0] / total[1]
        loss = float(np.interp(np.log10(max(rate, 1e-9)), np.log10(np.maximum(rates, 1e-9)), _STEPS_DB))
        allowed = float(np.interp(case.limit_db, _STEPS_DB, rates))
        yield {"case": name, "snr_db": snr, "wrong": int(total[0]), "bits": int(total[1]), "ber": rate,
               "ber_told": float(total[2] / total[3]), "ber_without": rates[0], "allowed_ber": allowed,
               "loss_db": loss, "limit_db": case.limit_db, "met": bool(rate <= allowed), "seconds": seconds}


def _separated(case: Case, snr_db: float, generator: torch.Generator) -> tuple[np.ndarray, float]:
    """((wrong, compared) bits of one recording with the kinds alone, and with everything told; seconds that the first took)."""
    s, truth = alone(drawn(case.wanted, generator), 1, SAMPLES, generator)
    noise_var = 10 ** (-snr_db / 10)
    y, told = s + noise_var ** 0.5 * noise(s.shape, generator), [replace(cast(Any, truth), gain=1.0)]
    for other, sir in zip(case.others, case.sir_db):
        wave, own = alone(drawn(other, generator), 1, SAMPLES, generator)
        gain = 10 ** (-sir / 20)
        y, told = y + gain * wave, [*told, replace(cast(Any, own), gain=gain)]
    reader, took = told[0].demodulator(), 0.0
    counts: list[int] = []
    for sources, level in (([forgotten(source) for source in (case.wanted, *case.others)], None), (told, noise_var)):
        began = time.perf_counter()
        out = separate_stream(y[0].numpy(), sources, noise_var=level)
        took = took or time.perf_counter() - began
        counts += wrong_bits(reader(torch.from_numpy(out.sources[0].cleaned)[None], noise_var), reader(s, 1e-3))
    return np.array(counts), took


def _without(case: Case, snr_db: float, recordings: int, seed: int) -> float:
    """Bit error rate of the receiver without interference."""
    generator, noise_var = torch.Generator().manual_seed(seed), 10 ** (-snr_db / 10)
    s, truth = alone(drawn(case.wanted, generator), recordings, SAMPLES, generator)
    reader: Any = replace(cast(Any, truth), gain=1.0).demodulator()
    wrong, bits = wrong_bits(reader(s + noise_var ** 0.5 * noise(s.shape, generator), noise_var), reader(s, 1e-3))
    return wrong / bits


def fractional(count: int = 12, seed: int = 1) -> Iterator[dict[str, Any]]:
    """QPSK of random rates, 2.2 to 7.9 samples per symbol, under OFDM of another rate, 5 dB stronger, Es/N0 20 dB, all unknown
    and rates given in Hz: error rates, and the share of the time that resampling takes."""
    generator, recorded = torch.Generator().manual_seed(seed), 1e6
    for _ in range(count):
        low, high = np.log(_RATES)
        sps = float(np.exp(low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64)))
        own = recorded * (0.7 + 0.3 * float(torch.rand((), generator=generator, dtype=torch.float64)))
        sources = [from_dict({"kind": "linear-modulation", "symbol_rate": recorded / sps, "rolloff": 0.35}),
                   from_dict({"kind": "ofdm", "sample_rate": own})]
        wanted = LinearModulation(LinearSignal("qpsk", sps, "rrc", 0.35, 8), gain=1.0)
        s, truth = alone(wanted, 1, SAMPLES, generator)
        b = _ofdm_at(own / recorded, generator)
        noise_var = sps / 100
        w = noise_var ** 0.5 * noise(s.shape, generator)
        y = (s + 10 ** 0.25 * b + w)[0].numpy()
        to = plan(sources, recorded)
        began = time.perf_counter()
        inside(inside(y, to), plan(sources, recorded))
        resampling = time.perf_counter() - began
        began = time.perf_counter()
        out = separate_stream(y, sources, sample_rate=recorded)
        took = time.perf_counter() - began
        reader: Any = truth.demodulator()
        sent = reader(s, 1e-3)
        cleaned = torch.from_numpy(out.sources[0].waveform)[None]
        wrong, bits = wrong_bits(reader(cleaned, noise_var), sent)
        alone_wrong, _ = wrong_bits(reader(s + w, noise_var), sent)
        yield {"samples_per_symbol": sps, "ofdm_rate": own / recorded, "inside": sources[0].at_rate(
            recorded * to.ratio).signal.samples_per_symbol, "bits": bits, "ber": wrong / bits, "ber_without": alone_wrong / bits,
            "met": bool(wrong / bits <= alone_wrong / bits + 1e-2), "resampling": resampling / took, "seconds": took}


def _ofdm_at(rate: float, generator: torch.Generator) -> torch.Tensor:
    """OFDM-QPSK 64/16 whose own sample rate is `rate` of the recording's, complex64 [1, samples]."""
    signal = OfdmSignal()
    t = torch.arange(SAMPLES, dtype=torch.float64) * rate + 80 * torch.rand((), generator=generator, dtype=torch.float64)
    frame, u = (t // signal.frame_length).long(), t % signal.frame_length - signal.cyclic_prefix
    bits = torch.randint(0, 2, (1, (int(frame[-1]) + 1) * len(signal.carriers) * 2), generator=generator)
    symbols = cast(Any, signal.alphabet).map(bits).reshape(-1, len(signal.carriers)).to(torch.complex128)
    waves = torch.exp(2j * torch.pi * torch.as_tensor(signal.carriers).double() * u[:, None] / signal.fft_size)
    return ((waves * symbols[frame]).sum(1) / len(signal.carriers) ** 0.5)[None].to(torch.complex64)
