# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrier offsets of dense alphabets under stronger OFDM: beside symbols of which nothing is known its carriers stay open, and a
carrier offset that is wrong by the symbol rate over the alphabet's symmetry leaves symbols on the alphabet's points."""
import torch
from alpha_rgs.separators import separate
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation, from_dict
from alpha_rgs.sources.mixtures import alone, noise

SIGNAL, SAMPLES = Signal("8psk", 16, "rrc", 0.35, 8), 2560
OFDM = from_dict({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"})


def test_8psk_under_ofdm_of_which_nothing_is_known():
    """Each window by itself: Es/N0 22 dB, the OFDM 10 dB stronger. Of four windows two were right."""
    carriers, rows = (0.0082, -0.0061, 0.0035, -0.0093), []
    for k, carrier in enumerate(carriers):
        g = torch.Generator().manual_seed(7500 + k)
        wave, _ = alone(LinearModulation(SIGNAL, carrier_offset=carrier, gain=1.0), 1, SAMPLES, g)
        rows.append(wave + 10 ** 0.5 * alone(OFDM, 1, SAMPLES, g)[0] + (16 * 10 ** -2.2) ** 0.5 * noise((1, SAMPLES), g))
    out = separate(torch.cat(rows), LinearModulation(SIGNAL, carrier_offset=None), OFDM)
    assert torch.allclose(out.estimated["carrier_offset"], torch.tensor(carriers, dtype=torch.float64), atol=1e-4)
    assert (out.error_rate < 0.01).all()
