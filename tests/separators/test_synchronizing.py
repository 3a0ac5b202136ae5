# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing known but the kinds: any source beside any other is found in the mixture, two or more of them."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import OffsetQpsk as OffsetSignal
from alpha_rgs.sources import Gmsk, LinearModulation, Lora, Ofdm, OffsetQpsk, Tones
from alpha_rgs.sources.background import Background
from alpha_rgs.sources.base import Structure
from alpha_rgs.sources.mixtures import alone, noise

SAMPLES = 2560
QPSK = LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8), carrier_offset=None)
GMSK = Gmsk(GmskSignal(4, 0.3), carrier_offset=None)
OQPSK = OffsetQpsk(OffsetSignal(8, "rrc", 0.35, 8), carrier_offset=None)
LORA = Lora(LoraSignal(7, 4))


def mixture(sources, gains, seed, snr_db=15.0, windows=2):
    """(y [windows, samples], waveforms as received) of sources at these amplitudes over noise, relative to unit power."""
    g = torch.Generator().manual_seed(seed)
    waves = [gain * alone(source, windows, SAMPLES, g)[0] for source, gain in zip(sources, gains)]
    return sum(waves) + 10 ** (-snr_db / 20) * noise(waves[0].shape, g), waves


def error_db(estimate, wave):
    return 10 * np.log10(float((estimate - wave).abs().square().mean() / wave.abs().square().mean()))


@pytest.mark.parametrize("sources, gains", [
    ((GMSK, QPSK), (1.0, 3.16)), ((OQPSK, Ofdm()), (1.0, 1.78)),
    ((LORA, QPSK), (1.0, 3.16)), ((GMSK, Ofdm()), (1.0, 3.16)), ((Ofdm(), QPSK), (1.0, 3.16)), ((LORA, Ofdm()), (1.0, 3.16))])
def test_the_weaker_of_two_is_found(sources, gains):
    """10 or 5 dB below the other one, the estimate of its waveform ends below the noise."""
    y, waves = mixture(sources, gains, 3, windows=1)
    out = separate(y, list(sources))
    assert error_db(out.sources[0].waveform, waves[0]) < -17
    assert error_db(out.sources[0].cleaned, waves[0]) < -12         # the receiver's noise is in it, at -15 dB


def test_three_of_which_one_is_lines():
    sources = replace(QPSK, signal=LinearSignal("qpsk", 16, "rrc", 0.35, 8)), GMSK, Tones(2)
    y, waves = mixture(sources, (1.0, 1.78, 3.16), 5, windows=1)
    out = separate(y, list(sources))
    assert max(error_db(e.waveform, wave) for e, wave in zip(out.sources[:2], waves)) < -15
    assert {"timing", "timing_std", "carrier_offset", "phase", "gain", "timing_2"} <= out.estimated.keys()


def test_symbols_are_found_once_carriers_are_decided():
    """A signal that takes two thirds of the band: the frames' carriers, as Gaussian noise, leave too little of it."""
    wide = replace(QPSK, signal=LinearSignal("qpsk", 2, "rrc", 0.35, 8))
    y, waves = mixture((wide, Ofdm()), (1.0, 1.78), 1, 17.0, windows=1)
    out = separate(y, wide, Ofdm())
    assert abs(float(out.estimated["carrier_offset"])) < 1e-5 and error_db(out.soi, waves[0]) < -10


def test_a_background_has_its_density_at_any_length():
    density = torch.linspace(0, 2, 64, dtype=torch.float64)
    source = Background(density)
    assert source.psd(256).mean() == pytest.approx(1) and source.psd(16).argmax() == 15
    g = torch.Generator().manual_seed(1)
    x = noise((4, 512), g)
    assert float(source.denoise(x, 1.0).abs().square().mean()) < float(x.abs().square().mean())
    assert source.structure is Structure.NONE and source.at(5) is source


def test_known_carriers_may_differ_from_window_to_window():
    """Then each window is separated by itself, as if alone."""
    generator = torch.Generator().manual_seed(31)
    s, truth = alone(Gmsk(GmskSignal(4, 0.3), carrier_offset=None), 2, 1024, generator)
    lines = Tones(1)
    y = s + 2 * alone(lines, 2, 1024, generator)[0] + 0.1 * noise(s.shape, generator)
    out = separate(y, [replace(truth, gain=1.0), lines])
    one = separate(y[1:], [replace(truth, gain=1.0).select(slice(1, 2)), lines])
    assert torch.equal(out.soi[1], one.soi[0]) and float((out.soi - s).abs().square().mean()) < 0.02


def test_known_carriers_of_chirps_may_differ_beside_a_train_of_pulses():
    generator = torch.Generator().manual_seed(32)
    s, truth = alone(Lora(LoraSignal(7, 2), carrier_offset=None), 2, 1024, generator)
    pulses = LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.35, 8), carrier_offset=0.0)
    y = s + alone(replace(pulses, gain=1.0), 2, 1024, generator)[0] + 0.1 * noise(s.shape, generator)
    out = separate(y, [replace(truth, gain=1.0), pulses])
    assert float((out.sources[0].waveform - s).abs().square().mean()) < 0.05


def test_sources_that_nothing_tells_apart_are_named():
    """Described alike with all unknown; a known carrier offset is enough to tell."""
    y, gmsk = torch.zeros(1, 1024, dtype=torch.complex64), Gmsk(GmskSignal(4, 0.3), carrier_offset=None)
    with pytest.raises(ParameterError, match=r"sources 1 and 3 \(gmsk\).*nothing tells them apart"):
        separate(y, [gmsk, Tones(1), Gmsk(GmskSignal(4, 0.3), carrier_offset=None)])
    assert separate(y, [gmsk, replace(gmsk, carrier_offset=0.01)]).soi.shape == y.shape


@pytest.mark.slow
def test_a_signal_that_densities_do_not_show_is_heard():
    """Under a stronger signal of another roll-off than told, which by densities has all the power, the wanted one began with a
    gain of 2e-4 that never came back: its symbols had a power of 5e5, and half of their bits were told to be wrong."""
    bpsk = LinearModulation(LinearSignal("bpsk", 16, "rrc", 0.35, 8), carrier_offset=None)
    strong = LinearModulation(LinearSignal("qpsk", 5, "rrc", 0.35, 8), carrier_offset=None)
    y, _ = mixture((bpsk, strong), (1.0, 5.62), 3, 6.0, 1)
    told = replace(strong, signal=LinearSignal("qpsk", 5, "rrc", 0.2, 8))
    out = separate(y, bpsk, told)
    assert float(out.estimated["gain"]) == pytest.approx(1.0, abs=0.1)
    assert float(out.quality) > 10 and float(out.error_rate) < 1e-3
