# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulses of symbols in the tiles of windows are those at the samples' distances from the symbols' centres, whether or not all
symbols are sampled at the same instants."""
import pytest
import torch
from alpha_rgs.inference.frame_tiling import Tiling
from alpha_rgs.signals import LinearModulation as Signal

SAMPLES, LENGTH = 300, 80


@pytest.mark.parametrize("channel", [(), (1.0, 0.3j)])
@pytest.mark.parametrize("period", [4, 16, 12.5])
def test_pulses_are_sampled_where_they_lie(period, channel):
    """Timings of any size, of either sign, and on a sample."""
    signal = Signal("qpsk", period, "rrc", 0.35, 8, channel=channel)
    timing = torch.tensor([5.3, -40.25, 1000.0], dtype=torch.float64)
    frequency = torch.tensor([0.0, 0.01, -0.02], dtype=torch.float64)
    factor = torch.tensor([1.0, 2j, -1.0], dtype=torch.complex128)
    start = torch.tensor([-30, 50, 130, 210] * 3)
    window = torch.arange(3).repeat_interleave(4)
    tiles = Tiling(torch.ones(3, SAMPLES), window, start, [LENGTH, LENGTH - 8, LENGTH, LENGTH] * 3, LENGTH)
    first, count = tiles.symbols(signal, timing)
    centre = timing[window, None] + (first[:, None] + torch.arange(count)) * period
    expected = torch.as_tensor(signal.pulse_at((tiles.n[:, :, None] - centre[:, None]).numpy()))
    turn = torch.exp(2j * torch.pi * frequency[window, None] * tiles.n) * factor[window, None] * tiles.inside
    found = tiles.pulses(signal, timing, frequency, factor)
    assert found.shape == (12, LENGTH, count) and found.abs().max() > 0.1
    assert torch.allclose(found, expected * turn[..., None], atol=1e-9)
    assert torch.equal(found * 2, tiles.pulses(signal, timing, frequency, factor, lambda tau: 2 * signal.pulse_at(tau)))
    sent = torch.randn(12, count, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    waves = tiles.waves(sent, signal, timing, frequency, factor, signal.pulse_at)
    assert torch.allclose(waves, (found @ sent[..., None])[..., 0])
