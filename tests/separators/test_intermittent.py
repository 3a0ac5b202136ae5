# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that come in bursts within a window, of which nothing is known but the kind."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.signals import Fsk as FskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import Fsk, Gmsk, LinearModulation
from alpha_rgs.sources.burst import Burst, Undecided
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


def test_a_burst_of_a_train_of_pulses_beside_another():
    """Weaker, 60 symbols and more, all nuisances of both unknown: both are separated, and nothing is heard in the pause."""
    generator = torch.Generator().manual_seed(4)
    mine, other = (LinearModulation(Signal("qpsk", sps, "rrc", 0.35, 8), carrier_offset=None) for sps in (8, 5))
    s = torch.zeros(1, 1600, dtype=torch.complex64)
    s[:, 500:1200] = 0.6 * replace(mine, carrier_offset=0.0008).draw(1, 700, generator)[0]
    b = replace(other, carrier_offset=-0.0006).draw(1, 1600, generator)[0]
    out = separate(s + b + 0.05 * noise(s.shape, generator), [mine, other])
    first, second = out.sources
    assert decibels(second.waveform - b) < -17
    assert decibels((first.waveform - s)[:, 540:1160]) < -22
    assert bool((first.waveform[:, :460] == 0).all()) and bool((first.waveform[:, 1240:] == 0).all())
    assert first.symbols.shape == (1, 200)                      # in the places that they have where it is always on
    erased = first.llrs[0].abs().sum(1) == 0
    assert bool(erased[:58].all()) and bool(erased[155:].all()) and not bool(erased[65:147].any())
    assert 0.55 < float(out.estimated["gain"]) < 0.65 and float(out.noise_var) < 0.006


def test_a_strong_burst_of_pulses_is_found_while_the_other_is_alone():
    """5 dB above the other one, which its window hides: that is found where the window is quiet."""
    generator = torch.Generator().manual_seed(11)
    mine, other = (LinearModulation(Signal("qpsk", sps, "rrc", 0.35, 8), carrier_offset=None) for sps in (8, 5))
    s = torch.zeros(1, 1920, dtype=torch.complex64)
    s[:, 700:1400] = 1.8 * replace(mine, carrier_offset=0.0008).draw(1, 700, generator)[0]
    b = replace(other, carrier_offset=-0.0006).draw(1, 1920, generator)[0]
    out = separate(s + b + 0.1 * noise(s.shape, generator), [mine, other])
    assert decibels(out.sources[1].waveform - b) < -14
    assert decibels((out.sources[0].waveform - s)[:, 740:1360]) < -14


def test_an_undecided_burst_of_pulses_has_no_timing():
    """Its linear model has the density of the source, and power in every sample alike."""
    own = LinearModulation(Signal("qpsk", 8, "rrc", 0.35, 8), timing=0.0, phase=0.0)
    model = Undecided(own, 100, 900).linear_model((1, 1000))
    power = torch.zeros(1000, dtype=torch.float64)
    for start, column in zip(model.start[0], model.columns[0]):
        at = int(start) + torch.arange(model.width)
        there = (at >= 0) & (at < 1000)
        power.index_add_(0, at[there], column[there].abs().square())
    assert bool((power[160:840] - 1).abs().max() < 0.05) and not bool(power[:100].any())
    assert bool((model.start[0].diff() >= 0).all())


def test_a_train_that_begins_late_beside_fsk_is_separated_all_the_same():
    """Symbols of the two are searched together, which is of two sources: the ends of the train are not looked at as a third."""
    generator = torch.Generator().manual_seed(8)
    fsk = Fsk(FskSignal(8, 2, 0.625, "gaussian", 0.5))
    s = fsk.draw(1, SAMPLES, generator)[0]
    b = LinearModulation(QPSK, carrier_offset=0.0007).draw(1, SAMPLES, generator)[0]
    b[:, :30] = 0
    out = separate(s + b + NOISE ** 0.5 * noise((1, SAMPLES), generator),
                   [replace(fsk, timing=None, phase=None), LinearModulation(QPSK, carrier_offset=None)])
    inner = slice(60, SAMPLES - 40)
    assert decibels((out.sources[0].waveform - s)[:, inner]) < -15 and decibels((out.sources[1].waveform - b)[:, inner]) < -15


FSK = Fsk(FskSignal(8, 2, 0.6, "gaussian", bandwidth_time=0.5), carrier_offset=None)
FSK_BURSTS = ((0, 600), (1000, 1900))


@pytest.fixture(scope="module")
def keyed():
    """(FSK of no linear model in bursts, QPSK 5 dB stronger, their separation), nothing known but the kinds."""
    generator = torch.Generator().manual_seed(11)
    s = torch.zeros(1, 2000, dtype=torch.complex64)
    for (begin, end), gain, offset in zip(FSK_BURSTS, (1.1, 0.9), (0.002, -0.001)):
        s[:, begin:end] = gain * replace(FSK, carrier_offset=offset).draw(1, end - begin, generator)[0]
    other = LinearModulation(QPSK, carrier_offset=None)
    b = 1.78 * replace(other, carrier_offset=0.0007).draw(1, 2000, generator)[0]
    return s, b, separate(s + b + 0.03 ** 0.5 * noise(s.shape, generator), [FSK, other])


def test_bursts_of_a_source_without_a_linear_model(keyed):
    """What 4FSK, Bluetooth and AX.25 radios send: each burst with its own timing, phase, carrier offset and gain."""
    s, b, out = keyed
    inner = torch.ones(2000, dtype=torch.bool)
    for edge in (0, 600, 1000, 1900, 2000):
        inner[max(0, edge - 24):edge + 24] = False
    assert decibels((out.sources[0].waveform - s)[:, inner]) < -20
    assert decibels((out.sources[1].waveform - b)[:, inner]) < -20
    assert float(out.noise_var) < 0.045


def test_edges_of_such_bursts_are_found_to_within_a_symbol(keyed):
    on = torch.nn.functional.pad((keyed[2].sources[0].waveform[0] != 0).int(), (1, 1)).diff()
    found = list(zip(torch.nonzero(on == 1)[:, 0].tolist(), torch.nonzero(on == -1)[:, 0].tolist()))
    assert len(found) == len(FSK_BURSTS)
    assert all(abs(a - b) <= 8 for one, true in zip(found, FSK_BURSTS) for a, b in zip(one, true))


def test_symbols_of_such_bursts_lie_in_them_and_those_of_the_other_source_are_whole(keyed):
    _, _, out = keyed
    at = out.sources[0].at[0]
    at = at[~at.isnan()]
    assert bool((at.diff() > 0).all()) and not bool(((at > 608) & (at < 992)).any())
    assert abs(len(at) - (600 + 900) / 8) <= 3
    other = out.sources[1].at[0]
    assert bool(((other.diff() - 4).abs() < 0.01).all()) and len(other) == 500


def test_a_gap_is_found_in_what_a_gaussian_source_of_the_same_density_leaves():
    """Until its symbols are known, a burst is Gaussian; its power is the source's, in its band."""
    model = Undecided(FSK, 100, 900).linear_model((1, 1000))
    power = (model.columns.abs().square() * model.exists[..., None]).sum((1, 2)) / 800
    assert float(power) == pytest.approx(1, rel=0.1)
    generator = torch.Generator().manual_seed(1)
    draw = torch.randn(1, model.start.shape[1], 2, generator=generator, dtype=torch.float64) / 2 ** 0.5
    wave = model.waveform(torch.view_as_complex(draw), 1000)
    assert bool((wave[:, :100] == 0).all()) and bool((wave[:, 900:] == 0).all())
    spectrum = torch.fft.fft(wave[0, 100:900]).abs().square()
    far = torch.fft.fftfreq(800).abs() > 0.25
    assert float(spectrum[far].sum() / spectrum.sum()) < 0.03
