# SPDX-License-Identifier: GPL-3.0-or-later
"""A symbol rate that a file tells wrongly is found in the recording, told, and used; a right one is left alone."""
import numpy as np
import pytest
import torch
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation, from_dict
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.streaming import separate_stream
from alpha_rgs.streaming.symbol_rates import deviation

TOLD = Signal("qpsk", 16, "rrc", 0.35, 8)
SAMPLES = 12_800


def sent(clock, samples=SAMPLES, seed=3):
    """(waveform complex [samples], bits) of QPSK whose symbols come `clock` more often than told."""
    true = LinearModulation(Signal("qpsk", 16 / (1 + clock), "rrc", 0.35, 8), timing=5.0, phase=0.7, carrier_offset=0.002,
                            gain=1.0)
    wave, truth = alone(true, 1, samples, torch.Generator().manual_seed(seed))
    return wave, truth


@pytest.mark.parametrize("clock", [0.0, 1e-3, -3e-3, 8e-3])
def test_the_rate_shows_in_noise(clock):
    wave = sent(clock)[0] + 0.3 * noise((1, SAMPLES), torch.Generator().manual_seed(4))
    assert deviation(wave[0].numpy(), LinearModulation(TOLD), 0.002) == pytest.approx(clock, abs=1e-4)


@pytest.mark.parametrize(("at", "lost"), [(6400, 8), (5000, 6), (3000, 10), (8000, 1000), (9500, 5)])
def test_missing_samples_are_no_other_rate(at, lost):
    """Half a symbol less looks like a clock that is off by some hundred ppm, and separating with that costs much, for nothing."""
    wave = sent(0.0)[0] + 0.3 * noise((1, SAMPLES), torch.Generator().manual_seed(4))
    assert deviation(np.delete(wave[0].numpy(), slice(at, at + lost)), LinearModulation(TOLD), 0.002) in (
        None, pytest.approx(0.0, abs=2e-4))


def test_noise_alone_and_short_recordings_show_none():
    g = torch.Generator().manual_seed(5)
    assert deviation(noise((1, SAMPLES), g)[0].numpy(), LinearModulation(TOLD)) is None
    assert deviation(sent(0.0)[0][0, :1600].numpy(), LinearModulation(TOLD), 0.002) is None
    assert deviation(sent(0.0)[0][0].numpy(), from_dict({"kind": "tones"})) is None


def test_a_stream_is_separated_with_the_rate_that_it_shows():
    ofdm = from_dict({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"})
    wave, g = sent(3e-3)[0], torch.Generator().manual_seed(6)
    y = wave + 10 ** 0.5 * alone(ofdm, 1, SAMPLES, g)[0] + 10 ** -0.75 * noise((1, SAMPLES), g)
    out = separate_stream(y[0].numpy(), LinearModulation(TOLD, carrier_offset=None), ofdm)
    assert any("symbol rate" in sentence for sentence in out.warnings) and out.clock_offset == pytest.approx(3000, abs=60)
    gain = np.vdot(wave[0].numpy(), out.soi) / np.vdot(wave[0].numpy(), wave[0].numpy())
    left = np.mean(abs(out.soi - gain * wave[0].numpy())[400:-400] ** 2)
    assert left < 0.02 and not out.unreliable
