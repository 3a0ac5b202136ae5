# SPDX-License-Identifier: GPL-3.0-or-later
"""A wanted signal under stronger GFSK that comes in bursts, in its own band: the signal is found while that is quiet."""
import numpy as np
import pytest
import torch
from alpha_rgs import separate, separate_stream
from alpha_rgs.signals import Gfsk as GfskSignal
from alpha_rgs.sources import Gfsk, LinearModulation, from_dict
from alpha_rgs.sources.mixtures import noise

SAMPLES, EDGES = 2560, (870, 2470)
WANTED = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8}
OTHER = {"kind": "gfsk", "samples_per_symbol": 8, "bandwidth_time": 0.5, "modulation_index": 0.5}


def test_a_signal_under_gfsk_in_bursts_is_separated_in_the_gaps_and_in_the_bursts():
    g = torch.Generator().manual_seed(12)
    s = LinearModulation(timing=3.3, phase=0.7, carrier_offset=-0.002, gain=1.0).draw(1, SAMPLES, g)[0]
    burst = Gfsk(GfskSignal(8, 0.5, 4, 0.5), carrier_offset=0.022).draw(1, EDGES[1] - EDGES[0], g)[0]
    other = torch.nn.functional.pad(10 ** 0.25 * burst, (EDGES[0], SAMPLES - EDGES[1]))
    y = s + other + 10 ** -0.75 * noise((1, SAMPLES), g)
    out = separate(y, from_dict(dict(WANTED)), from_dict(dict(OTHER)))
    error = (out.soi - s).abs().square()[0]
    inner = np.r_[100:EDGES[0] - 40, EDGES[0] + 40:EDGES[1] - 40]
    assert 10 * np.log10(float(error[inner].mean())) < -20
    assert abs(float(out.estimated["carrier_offset"][0]) + 0.002) < 5e-5


@pytest.mark.slow
def test_windows_that_are_lost_are_separated_with_what_the_others_found():
    """A recording of five windows under bursts: alone, three of them lose a tenth of their bits (seed 0 of the shared case)."""
    g, samples = torch.Generator().manual_seed(31), 10_752
    known = LinearModulation(timing=3.3, phase=0.7, carrier_offset=0.001, gain=1.0)
    s, symbols = known.draw(1, samples, g)[:2]
    other = torch.zeros_like(s)
    for begin in (500, 3200, 5960, 8230):
        burst = Gfsk(GfskSignal(8, 0.5, 4, 0.5), carrier_offset=0.0264).draw(1, 1600, g)[0]
        other[:, begin:begin + 1600] = 10 ** 0.25 * burst
    y = s + other + 10 ** -0.75 * noise((1, samples), g)
    out = separate_stream(y[0].numpy(), from_dict(dict(WANTED)), from_dict(dict(OTHER)))
    error, left = (out.soi - s[0].numpy()), y[0].numpy() - sum(e.waveform for e in out.sources)
    blocks = [np.abs(v[:samples // 256 * 256].reshape(-1, 256) ** 2).mean(1) for v in (error, left)]
    assert (blocks[0] < 0.02).mean() > 0.9 and (blocks[1] < 2 * 10 ** -1.5).mean() > 0.9


def test_a_window_too_short_for_a_second_look_is_separated():
    g = torch.Generator().manual_seed(13)
    known = LinearModulation(timing=3.3, phase=0.7, carrier_offset=0.0, gain=1.0)
    s, other = known.draw(1, 200, g)[0], Gfsk(GfskSignal(8, 0.5, 4, 0.5), carrier_offset=0.0).draw(1, 200, g)[0]
    assert separate(s + other, known, from_dict(OTHER | {"carrier_offset": 0.0})).soi.shape == (1, 200)
