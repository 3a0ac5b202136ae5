# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers that drift within a window or are keyed are taken away as steady ones are, and steady ones are not bent."""
import numpy as np
import pytest
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources import LinearModulation, Tones
from alpha_rgs.sources.mixtures import draw, noise

SAMPLES = 2560
N = np.arange(SAMPLES)


def carrier(drift=0.0, keyed=None):
    """Of unit amplitude; drift: cycles per sample²; keyed: samples that it is on, then off."""
    wave = np.exp(2j * np.pi * (0.0107 * N + drift / 2 * N ** 2) + 0.4j)
    return torch.tensor(wave * (1 if keyed is None else N // keyed % 2 == 0))[None]


@pytest.mark.parametrize("shape", [{}, {"drift": 1e-7}, {"drift": -1e-6}, {"keyed": 900}, {"keyed": 300}, {"keyed": 2500}])
def test_what_is_left_of_a_carrier_is_little(shape):
    line, g = carrier(**shape), torch.Generator().manual_seed(7)
    x = line + 0.1 ** 0.5 * noise((1, SAMPLES), g)
    left = float((Tones().denoise(x, 0.1) - line).abs().square().mean())
    # amplitude, frequency, drift, and of each edge a sample or two
    edges = 0 if "keyed" not in shape else SAMPLES // shape["keyed"]
    assert left < 4 * 0.1 / SAMPLES * 4 + 1.5 * edges / SAMPLES


def test_a_keyed_carrier_does_not_hide_a_second_one():
    other = torch.tensor(0.5 * np.exp(2j * np.pi * 0.2 * N))[None]
    line, g = carrier(keyed=700), torch.Generator().manual_seed(8)
    found = Tones(2).denoise(line + other + 0.1 ** 0.5 * noise((1, SAMPLES), g), 0.1)
    assert float((found - line - other).abs().square().mean()) < 0.01


def test_two_lines_that_beat_are_no_keyed_one():
    lines = torch.tensor(np.exp(2j * np.pi * 0.05 * N) + 0.8 * np.exp(2j * np.pi * (0.05 + 3 / SAMPLES) * N))[None]
    found = Tones(2).denoise(lines + 0.1 ** 0.5 * noise((1, SAMPLES), torch.Generator().manual_seed(9)), 0.1)
    assert float((found - lines).abs().square().mean()) < 0.001


def test_a_window_does_not_depend_on_its_batch_where_levels_differ():
    """One window without a carrier made the levels of all others wrong."""
    soi = LinearModulation(timing=0.0, phase=0.0, gain=1.0, carrier_offset=0.0)
    mixture = draw(soi, Tones(), 2, SAMPLES, -12.0, 13.0, 5)
    y = torch.cat([mixture.s[:1] + 1e-3 * mixture.b[:1], mixture.y[1:]])
    together, alone = separate(y, soi, Tones()), separate(y[1:], soi, Tones())
    assert torch.allclose(together.soi[1:], alone.soi, atol=1e-4)
    assert float(together.quality[1]) == pytest.approx(float(alone.quality[0]), abs=0.05)
