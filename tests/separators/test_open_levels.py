# SPDX-License-Identifier: GPL-3.0-or-later
"""Gains and noise, while sources are hardly decided: a mean that follows the noise is no stronger source."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ppm as PpmSignal
from alpha_rgs.sources import Gmsk, Lora, Ofdm, Ppm
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.synchronization.powers import regressed_gains

SAMPLES = 2560


def test_a_mean_that_follows_the_noise_makes_its_source_no_stronger():
    """A Gaussian source 3 dB below the noise, by its posterior mean and that one's variance."""
    generator = torch.Generator().manual_seed(1)
    y = 10 ** 0.5 * noise((2, SAMPLES), generator) + 20 ** 0.5 * noise((2, SAMPLES), generator)
    gain, variance = torch.full((2,), 10 ** 0.5, dtype=torch.float64), torch.full((2,), 10 * 20 / 30, dtype=torch.float64)
    moved = regressed_gains(y, [y / 3], [gain], [0], None, [variance])[0][0]
    assert torch.allclose(moved, gain, rtol=0.05)


def test_carriers_in_strong_noise_keep_their_level():
    """LoRa 10 dB below OFDM and 13 dB below the noise: OFDM's decisions are open, and take up neither noise nor LoRa."""
    generator = torch.Generator().manual_seed(2)
    s, truth = Lora(LoraSignal(7, 4), carrier_offset=None).draw(2, SAMPLES, generator)
    b = 10 ** 0.5 * Ofdm().draw(2, SAMPLES, generator)[0]
    out = separate(s + b + 20 ** 0.5 * noise(s.shape, generator), [replace(truth, gain=1.0), Ofdm()])
    assert torch.allclose(torch.as_tensor(out.sources[1].state.gain).double(), torch.full((2,), 10 ** 0.5).double(), rtol=0.2)
    assert bool((out.noise_var > 12).all())


def test_known_bursts_of_unknown_level_are_measured():
    """PPM whose bursts are given, its gain is not: within a third, under GMSK 10 dB stronger."""
    generator = torch.Generator().manual_seed(3)
    s, truth = Ppm(PpmSignal(4)).draw(2, SAMPLES, generator)
    b = 10 ** 0.5 * Gmsk(GmskSignal(4, 0.3), carrier_offset=None).draw(2, SAMPLES, generator)[0]
    y = 0.01 * (s + b + 0.3 * noise(s.shape, generator))
    found = separate(y, [truth, Gmsk(GmskSignal(4, 0.3), carrier_offset=None)]).sources[0]
    assert float((found.waveform - 0.01 * s).abs().square().mean()) < 1e-2 * float(1e-4 * s.abs().square().mean())
    assert torch.as_tensor(found.state.gain).tolist() == pytest.approx([0.01, 0.01], rel=1 / 3)
