# SPDX-License-Identifier: GPL-3.0-or-later
"""Stretches of exact zeros: what lies in them is told as unknown, and nothing else."""
import numpy as np
import torch
from alpha_rgs import separate, separate_stream
from alpha_rgs.separators.holes import holes_of
from alpha_rgs.sources import from_dict, mixtures

SIGNAL = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 8, "rolloff": 0.35, "span": 8}
TRUE = from_dict({**SIGNAL, "timing": 2.3, "phase": 0.4, "gain": 1.0, "carrier_offset": 0.002})
TONES = from_dict({"kind": "tones", "count": 1})


def test_runs_of_zeros_are_holes_and_single_zeros_are_not():
    y = torch.ones(2, 100, dtype=torch.complex64)
    y[0, 20:50], y[0, 70], y[1, 90:], y[1, :15] = 0, 0, 0, 0
    expected = torch.zeros(2, 100, dtype=torch.bool)
    expected[0, 20:50] = True
    assert torch.equal(holes_of(y), expected)
    y[1, 80:] = 0
    expected[1, 80:] = True
    assert torch.equal(holes_of(y), expected)


def test_symbols_in_a_hole_are_open_and_others_are_as_sure_as_before():
    y = mixtures.draw(TRUE, TONES, 1, 2560, 0.0, 15.0, seed=5).y
    before, cut = separate(y, TRUE, TONES), y.clone()
    cut[0, 1000:1160] = 0
    out = separate(cut, TRUE, TONES)
    share = torch.sigmoid(-out.llrs.abs()).mean(2)[0]
    assert bool((share[126:144] > 0.49).all()) and float(share[:120].max()) < 0.03 and float(share[150:].max()) < 0.03
    assert float(out.error_rate) > 0.9 * 0.5 * 20 / 320 and float(out.quality) < float(before.quality) - 3
    assert torch.equal(out.sources[0].llrs, out.llrs)


def test_a_stream_names_the_windows_that_a_hole_spoils():
    y = mixtures.draw(TRUE, TONES, 1, 3 * 2048 + 512, 0.0, 15.0, seed=6).y[0].numpy()
    y[2600:3300] = 0
    out = separate_stream(y, from_dict(SIGNAL), TONES)
    assert any(low <= 2600 and high >= 3300 for low, high in out.unreliable) and np.argmin(out.quality) == 1
    assert out.error_rate[1] > 0.12 and max(out.error_rate[[0, 2]]) < 0.02
