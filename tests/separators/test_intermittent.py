# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that come in bursts within a window, of which nothing is known but the kind."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import Gmsk, LinearModulation
from alpha_rgs.sources.burst import Burst
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.sources.offset_qpsk import OffsetQpsk
from alpha_rgs.synchronization.activity import stretches

SAMPLES, NOISE = 1600, 0.01
GMSK = GmskSignal(5, 0.4, 4)
QPSK = Signal("qpsk", 4, "rrc", 0.35, 8)
BURSTS = ((0, 520), (980, SAMPLES))


def decibels(value):
    return 10 * float(value.abs().square().mean().clamp_min(1e-12).log10())


@pytest.fixture(scope="module")
def mixture():
    """(y, GMSK in bursts, each with another timing, phase, carrier offset and gain; QPSK)."""
    generator = torch.Generator().manual_seed(5)
    s = torch.zeros(1, SAMPLES, dtype=torch.complex64)
    for (begin, end), gain, offset in zip(BURSTS, (1.0, 0.8), (0.001, -0.0015)):
        s[:, begin:end] = gain * Gmsk(GMSK, carrier_offset=offset).draw(1, end - begin, generator)[0]
    b = LinearModulation(QPSK, carrier_offset=0.0007).draw(1, SAMPLES, generator)[0]
    return s + b + NOISE ** 0.5 * noise((1, SAMPLES), generator), s, b


@pytest.fixture(scope="module")
def found(mixture):
    return separate(mixture[0], [LinearModulation(QPSK, carrier_offset=None), Gmsk(GMSK, carrier_offset=None)])


def test_bursts_are_found_and_separated(mixture, found):
    _, s, b = mixture
    inner = torch.ones(SAMPLES, dtype=torch.bool)
    for edge in (0, 520, 980, SAMPLES):
        inner[max(0, edge - 25):edge + 25] = False
    assert decibels((found.sources[1].waveform - s)[:, inner]) < -25
    assert decibels((found.sources[0].waveform - b)[:, inner]) < -25
    assert float(found.noise_var) < 2.5 * NOISE


def test_nothing_is_heard_in_a_pause(found):
    assert bool((found.sources[1].waveform[:, 560:940] == 0).all())
    at = found.sources[1].at[0]
    at = at[~at.isnan()]
    assert not bool(((at > 540) & (at < 960)).any()) and bool((at.diff() > 0).all())
    assert 0.75 < float(found.sources[1].state.gain) < 1.05         # while it is on


def test_bursts_of_offset_qpsk():
    generator = torch.Generator().manual_seed(7)
    signal, s = OffsetQpsk().signal, torch.zeros(1, 1600, dtype=torch.complex64)
    for begin, end, offset in ((0, 480, 0.001), (1000, 1600, -0.0015)):
        s[:, begin:end] = OffsetQpsk(signal, carrier_offset=offset).draw(1, end - begin, generator)[0]
    other = LinearModulation(Signal("qpsk", 10, "rrc", 0.35, 8), carrier_offset=None)
    b = replace(other, carrier_offset=0.0007).draw(1, 1600, generator)[0]
    out = separate(s + b + NOISE ** 0.5 * noise(s.shape, generator), [other, OffsetQpsk(signal, carrier_offset=None)])
    inner = torch.ones(1600, dtype=torch.bool)
    inner[420:540] = inner[940:1060] = False
    assert decibels((out.sources[0].waveform - b)[:, inner]) < -25
    assert decibels((out.sources[1].waveform - s)[:, inner]) < -25
    assert bool((out.sources[1].waveform[:, 530:950] == 0).all())


@pytest.mark.parametrize("seed", range(3))
def test_a_source_that_never_pauses_shows_no_pause(seed):
    draw = np.random.default_rng(seed)
    power = draw.exponential(1.0, 2560)
    assert stretches(power, 5.0, 100) is None
    power[500:1500] *= 0.05
    (first, second), = [stretches(power, 5.0, 100)]
    assert first[0] == 0 and abs(first[1] - 500) < 40 and abs(second[0] - 1500) < 40 and second[1] == 2560


def test_a_burst_is_its_source_while_it_is_on():
    generator = torch.Generator().manual_seed(2)
    inner = Gmsk(GMSK, timing=1.2, phase=0.3)
    s, truth = inner.draw(2, 400, generator)
    burst = Burst(truth, 100, 500)
    x = torch.nn.functional.pad(s, (100, 60))
    shown = burst.denoise(x + 0.1 * noise(x.shape, generator), 0.01)
    assert bool((shown[:, :100] == 0).all()) and bool((shown[:, 500:] == 0).all())
    assert decibels(shown - x) < -20
    model = burst.linear_model(x.shape)
    lone = truth.linear_model(s.shape)
    r = torch.ones(2, model.start.shape[1], dtype=torch.complex128)
    assert torch.allclose(model.waveform(r, 560)[:, 100:500], lone.waveform(r, 400))
    assert not bool(model.waveform(r, 560)[:, :100].any())
    read = burst.demodulator()(x, 0.01)
    assert bool((read.at[~read.at.isnan()] >= 100).all())


def test_the_first_symbols_of_a_modulator_need_not_be_modulated():
    """Its filter starts empty: a bare carrier at first."""
    generator = torch.Generator().manual_seed(3)
    s = Gmsk(GMSK, carrier_offset=0.001).draw(1, 1280, generator)[0]
    s[:, :15] = s[:, 15:16]
    b = LinearModulation(QPSK, carrier_offset=0.0007).draw(1, 1280, generator)[0]
    y = s + b + NOISE ** 0.5 * noise(s.shape, generator)
    out = separate(y, [LinearModulation(QPSK, carrier_offset=None), Gmsk(GMSK, carrier_offset=None)])
    assert decibels((out.sources[0].waveform - b)[:, :20]) < -12
    assert decibels((out.sources[1].cleaned - s)[:, 20:-20]) < -18      # the noise
