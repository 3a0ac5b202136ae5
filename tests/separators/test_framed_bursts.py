# SPDX-License-Identifier: GPL-3.0-or-later
"""OFDM of known numerology that comes in bursts within a window, of which nothing else is known."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.separators.burst_search import runs_beside
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Gmsk, LinearModulation, Ofdm
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.burst import Burst
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.sources.ofdm_carrier import burst_of_frames

SAMPLES, NOISE, POWER = 2048, 0.1, 3.16
SIGNAL = OfdmSignal(64, 16, (4, 3), True, "qpsk")
OFDM = Ofdm(SIGNAL, carrier_offset=None)
QPSK = LinearModulation(Signal("qpsk", 8, "rrc", 0.25, 8), carrier_offset=None)
GMSK = Gmsk(GmskSignal(5, 0.4, 4), carrier_offset=None)
BURSTS = ((0, 437, 43, 0.0013, 1.2), (620, 1180, 0, -0.0016, 0.8), (1350, 2048, 0, 0.0004, 1.0))


def decibels(value):
    return 10 * float(value.abs().square().mean().clamp_min(1e-12).log10())


def mixture(other, seed):
    """(y, the other source's waveform, the bursts')."""
    generator = torch.Generator().manual_seed(seed)
    s = replace(other, carrier_offset=0.0007).draw(1, SAMPLES, generator)[0]
    b = torch.zeros_like(s)
    for begin, end, first, offset, gain in BURSTS:
        wave = Ofdm(SIGNAL, frame_offset=0, carrier_offset=offset).draw(1, end - begin + 80, generator)[0]
        b[:, begin:end] = POWER ** 0.5 * gain * wave[:, first:first + end - begin]
    return s + b + NOISE ** 0.5 * noise(s.shape, generator), s, b


@pytest.mark.parametrize("other, seed", [(QPSK, 101), (GMSK, 102)])
@pytest.mark.parametrize("first", [True, False])
def test_bursts_of_frames_are_found_and_separated(other, seed, first):
    """5 dB above the other source, wanted or not: each burst's frames, phase, carrier and gain are its own."""
    if other is GMSK and not first:
        pytest.skip("the order does not matter to the general detection")
    y, s, b = mixture(other, seed)
    out = separate(y, [other, OFDM] if first else [OFDM, other])
    mine, frames = out.sources if first else out.sources[::-1]
    inner = slice(60, -60)
    assert decibels((mine.waveform - s)[:, inner]) < -22
    assert decibels((frames.waveform - b)[:, inner]) - decibels(b) < -22
    assert bool((frames.waveform[:, 440:618] == 0).all()) and bool((frames.waveform[:, 1182:1348] == 0).all())
    at = frames.at[0][~frames.at[0].isnan()].unique()
    assert at[0] == 80 - 43 + 16 + 32 and not bool(((at > 437) & (at < 620 + 48)).any())
    assert 0.8 * NOISE < float(out.noise_var) < 1.3 * NOISE
    assert float(mine.error_rate) < 0.02 and float(frames.error_rate) < 0.02


def test_as_a_pair_and_of_unknown_constellation():
    """separate(y, soi, interference) looks for bursts too; carriers may be Gaussian, as those of the shipped `wifi`."""
    y, s, _ = mixture(QPSK, 103)
    out = separate(y, QPSK, replace(OFDM, signal=replace(SIGNAL, constellation="gaussian")))
    assert decibels((out.soi - s)[:, 60:-60]) < -11
    assert bool((out.interference[:, 440:618] == 0).all())
    assert 0.7 * NOISE < float(out.noise_var) < 1.3 * NOISE and out.symbols.shape == (1, SAMPLES // 8)


@pytest.mark.parametrize("seed", range(3))
def test_frames_without_gaps_show_none(seed):
    generator = torch.Generator().manual_seed(seed)
    s = replace(QPSK, carrier_offset=0.001).draw(1, SAMPLES, generator)[0]
    b = replace(OFDM, carrier_offset=0.001).draw(1, SAMPLES, generator)[0]
    level = torch.tensor([0.01], dtype=torch.float64)
    y = s + b + 0.1 * noise(s.shape, generator)
    assert runs_beside(y, OFDM, [(QPSK, torch.ones(1, dtype=torch.float64))], level) is None


def test_a_burst_begins_and_ends_with_a_frame():
    """Edges that are a few samples off move to the frames that prefixes and carriers show."""
    generator = torch.Generator().manual_seed(3)
    x = torch.zeros(1, 1000, dtype=torch.complex64)
    x[:, 203:603] = Ofdm(SIGNAL, frame_offset=0, carrier_offset=0.0011).draw(1, 400, generator)[0]
    given, found = burst_of_frames(x + 0.3 * noise(x.shape, generator), Burst(OFDM, 199, 608), Noise(0.09))
    assert (given.begin, given.end, found.begin, found.end) == (203, 603, 203, 603)
    assert found.within.frame_offset == 0 and abs(float(found.within.carrier_offset) - 0.0011) < 2e-5
    assert given.within.frame_offset is None
    brief = burst_of_frames(x, Burst(OFDM, 203, 300), Noise(0.09))[1]
    assert not brief.decided and brief.within.signal.cyclic_prefix == 0


def test_frames_that_are_sent_for_a_while():
    """Ofdm.on: outside, nothing is denoised, has a column, or is read."""
    generator = torch.Generator().manual_seed(4)
    x, truth = Ofdm(SIGNAL, frame_offset=0, phase=0.3).draw(1, 800, generator)
    part = replace(truth, on=(160, 480))
    shown = part.denoise(x, 0.01)
    assert not bool(shown[:, :160].any()) and not bool(shown[:, 480:].any())
    assert torch.allclose(shown[:, 160:480], truth.denoise(x, 0.01)[:, 160:480])
    read = part.demodulator()(x, 0.01)
    assert read.at[~read.at.isnan()].unique().tolist() == [160 + 48 + 80 * k for k in range(4)]
    assert int(part.linear_model(x.shape).exists.sum()) == 4 * 56
    assert part.at(100).on == (60, 380)
