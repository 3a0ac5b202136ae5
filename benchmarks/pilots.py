# SPDX-License-Identifier: GPL-3.0-or-later
"""802.11a with its pilots beside QPSK, nothing known but the kinds: what it helps to say which carriers are pilots."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from alpha_rgs import separate_stream
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import preset
from alpha_rgs.sources import LinearModulation, Ofdm, Source
from alpha_rgs.sources.mixtures import alone, noise

from .any_wanted import wrong_bits
from .wanted import SAMPLES, drawn, forgotten

_PLAIN = OfdmSignal(**{**preset("802.11a"), "constellation": "qpsk"})
_PILOTS = (-21, -7, 7, 21)
# what is said of the signal: pilots of the values in IEEE 802.11-2020, 17.3.5.10, or each of an unknown sign, or data everywhere
MODELS = {"values": replace(_PLAIN, pilots=_PILOTS, pilot_values=(1, 1, 1, -1)), "signs": replace(_PLAIN, pilots=_PILOTS),
          "data": _PLAIN}
# (what was sent, samples per symbol of the QPSK beside it, SIR dB, SNR dB)
CASES = [("values", 16, 0.0, 9.0), ("values", 16, -10.0, 9.0), ("values", 4, 0.0, 9.0), ("values", 4, -10.0, 12.0),
         ("data", 16, 0.0, 9.0), ("data", 16, -10.0, 9.0)]


def rows(recordings: int = 4, seed: int = 1) -> Iterator[dict[str, Any]]:
    """A row of each case and model. ber: of data carriers (of all 52, where no pilots were sent) in `cleaned`, as read by a
    receiver that knows all of the signal; ber_without: by that receiver without the QPSK; sinr_db: of the estimated waveform."""
    for sent, sps, sir_db, snr_db in CASES:
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in MODELS}
        for number in range(recordings):
            for name, row in _recording(sent, sps, sir_db, snr_db, seed + number):
                found[name].append(row)
        for name, own in found.items():
            wrong, bits, without, error, power = np.sum(own, 0)
            yield {"sent": sent, "samples_per_symbol": sps, "sir_db": sir_db, "snr_db": snr_db, "model": name,
                   "wrong": int(wrong), "bits": int(bits), "ber": wrong / bits, "ber_without": without / bits,
                   "sinr_db": 10 * float(np.log10(power / error))}


def _recording(sent: str, sps: int, sir_db: float, snr_db: float, seed: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """(model, (wrong bits, bits, wrong bits without the QPSK, energy of the waveform's error, its energy))."""
    generator, noise_var = torch.Generator().manual_seed(seed), 10 ** (-snr_db / 10)
    s, truth = alone(Ofdm(MODELS[sent]), 1, SAMPLES, generator)
    alike = s + noise_var ** 0.5 * noise(s.shape, generator)
    qpsk = LinearModulation(LinearSignal("qpsk", sps, "rrc", 0.35, 8), gain=1.0, carrier_offset=None)
    y = (alike + 10 ** (-sir_db / 20) * alone(drawn(qpsk, generator), 1, SAMPLES, generator)[0])[0].numpy()
    reader: Any = replace(cast(Any, truth), gain=1.0).demodulator()
    bits = reader(s, 1e-3)
    without = wrong_bits(reader(alike, noise_var), bits)[0]
    for name, signal in MODELS.items():
        sources: list[Source] = [forgotten(replace(cast(Any, truth), signal=signal)), forgotten(qpsk)]
        own = separate_stream(y, sources).sources[0]
        error = np.abs(own.waveform - s[0].numpy()) ** 2
        yield name, (*wrong_bits(reader(torch.from_numpy(own.cleaned)[None], noise_var), bits), without, float(error.sum()),
                     float(s.abs().square().sum()))
