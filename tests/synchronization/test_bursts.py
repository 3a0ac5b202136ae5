# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of 802.11 OFDM: the generator, and what is found of bursts by themselves (slots, frames, channels, noise).

The signal of interest under them: test_bursts_acquisition.py.
"""
import itertools

import numpy as np
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.signals.wifi import (
    ALPHABETS,
    CARRIERS,
    EARLY,
    FFT_SIZE,
    HT_TRAINING,
    LEGACY,
    LONG_TRAINING,
    PILOTS,
    SHORT_TRAINING,
    Burst,
    burst,
    received,
    traffic,
)
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.sources.ofdm_bursts import OfdmBursts
from alpha_rgs.synchronization.burst_channel import burst_frames, thermal_noise
from alpha_rgs.synchronization.burst_layout import slots

SAMPLES, BAND, ECHOES = 2560, (-0.06, 0.06), (1, 0.2 + 0.1j, -0.1j)
FORMS = ((False, 16), (True, 16), (True, 8))            # ht, prefix


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def seen(*bursts, noise_var=1e-3, seed=0, samples=SAMPLES):
    """A window of bursts and noise, complex128 numpy."""
    g = generator(seed)
    return (received(bursts, samples, g) + noise_var ** 0.5 * noise((samples,), g)).numpy()


def frames(y):
    return burst_frames(y, slots(y, BAND), BAND)


def pairs(found, *bursts, within=3):
    """(found, burst, field) of what begins within so many samples of a true symbol and has its prefix."""
    truth = [(start, prefix, field, b) for b in bursts for start, prefix, field in b.layout()]
    return [(f, b, field) for f in found for start, prefix, field, b in truth
            if abs(f.start - start) <= within and f.prefix == prefix]


def whole(bursts, samples=SAMPLES):
    """How many symbols lie in the window as a whole."""
    return sum(start >= 0 and start + prefix + FFT_SIZE <= samples for b in bursts for start, prefix, _ in b.layout())


def carriers(x, end, offset=0.0):
    """The carriers of the body that ends there, complex [56]."""
    n = np.arange(end - FFT_SIZE, end)
    return np.exp(-2j * np.pi * np.outer(CARRIERS, np.arange(FFT_SIZE)) / FFT_SIZE) @ (
        x[n] * np.exp(-2j * np.pi * offset * n)) / FFT_SIZE


# the generator

@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("ht, prefix", FORMS)
def test_a_burst_has_unit_mean_power_the_fields_of_the_standard_and_prefixes(ht, prefix, alphabet):
    x, b = burst(30, alphabet, prefix, ht, generator()).numpy(), Burst(30, alphabet, prefix, ht)
    assert len(x) == 400 + 320 * ht + 30 * (64 + prefix) == b.end
    assert np.mean(abs(x) ** 2) == pytest.approx(1, abs=0.1)
    assert np.allclose(x[:144], x[16:160])                                      # ten short symbols: 17.3.3
    assert np.allclose(x[192:256], x[256:320]) and np.allclose(x[160:192], x[224:256])
    for start, p, _ in b.layout():
        assert np.allclose(x[start:start + p], x[start + 64:start + p + 64])
    assert np.allclose(carriers(x, 320), LONG_TRAINING / 52 ** 0.5)
    assert np.allclose(carriers(x, 240), LONG_TRAINING * EARLY / 52 ** 0.5)
    data = carriers(x, len(x))
    assert (abs(data[~LEGACY]) > 0.01).all() == ht and np.allclose(abs(data[PILOTS].imag), 0)
    if ht:
        assert np.allclose(carriers(x, 720), HT_TRAINING / 56 ** 0.5)
        turned = carriers(x, 480)
        assert np.allclose(turned[~PILOTS].real, 0) and np.allclose(turned[PILOTS].imag, 0)        # 19.3.9.4.3
    short = carriers(x, 160)
    assert np.allclose(short[~SHORT_TRAINING], 0) and np.sum(abs(short) > 0.1) == 12


@pytest.mark.parametrize("field, training", [("long", LONG_TRAINING), ("early", LONG_TRAINING), ("ht-long", HT_TRAINING)])
def test_gains_are_what_training_shows_through_channel_offset_phase_and_amplitude(field, training):
    b = Burst(3, "qpsk", 16, True, 70, 0.003, 1.1, ECHOES, 2.0)
    end = next(start + prefix + FFT_SIZE for start, prefix, name in b.layout() if name == field)
    x = b.received(SAMPLES, generator()).numpy()
    assert np.allclose(carriers(x, end, 0.003), b.gains(field) * training, atol=0.02)     # echoes are turned a little less


@pytest.mark.parametrize("wrong, message", [(dict(alphabet="8psk"), "alphabet: '8psk'"), (dict(prefix=8), "prefix: 8"),
                                            (dict(symbols=-1), "symbols: -1")])
def test_a_burst_that_cannot_be_is_refused_by_name(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Burst(**wrong)


def test_a_window_shows_the_part_of_a_burst_that_lies_in_it():
    x = Burst(10, "qpsk", start=0).received(1200, generator(3))
    for start in (-500, 300):
        y = Burst(10, "qpsk", start=start).received(1200, generator(3))
        assert torch.equal(y[max(start, 0):start + 1200], x[max(-start, 0):1200 - start][:len(y[max(start, 0):])])
    assert torch.count_nonzero(y[:300]) == 0


def test_traffic_fills_windows_without_overlap_with_gaps_and_comes_again_with_its_seed():
    for seed in range(20):
        bursts = traffic(SAMPLES, generator(seed))
        assert bursts == traffic(SAMPLES, generator(seed)) and bursts[-1].end + 600 > SAMPLES
        assert all(40 <= after.start - before.end < 600 for before, after in itertools.pairwise(bursts))
        assert all(abs(b.carrier_offset) <= 0.004 and np.linalg.norm(b.taps) == pytest.approx(1) for b in bursts)
    assert {b.alphabet for seed in range(20) for b in traffic(SAMPLES, generator(seed))} == set(ALPHABETS)


def test_bursts_are_drawn_alone_with_the_frames_as_they_truly_are():
    y, truth = alone(OfdmBursts(), 6, SAMPLES, generator(1))
    assert y.dtype == torch.complex64 and y.shape == (6, SAMPLES) and truth.kind == "ofdm-bursts"
    assert torch.equal(y, alone(OfdmBursts(), 6, SAMPLES, generator(1))[0])
    for x, window in zip(y.numpy(), truth.frames):
        on = np.zeros(SAMPLES, bool)
        for f in window:
            on[max(f.start, 0):max(f.end, 0)] = True
        assert np.mean(abs(x[on]) ** 2) == pytest.approx(1, abs=0.2) and np.mean(abs(x[~on]) ** 2) < 0.02       # echoes
    assert torch.allclose(truth.kappa(6), torch.ones(6).double(), atol=0.15)


# slots

@pytest.mark.parametrize("ht, prefix", FORMS)
@pytest.mark.parametrize("start", [-1000, 0, 500])
def test_slots_are_found_within_three_samples_at_either_guard_interval_with_a_burst_cut_by_either_edge(start, ht, prefix):
    b = Burst(40, "16qam", prefix, ht, start, 0.002, 0.0, ECHOES)
    found = slots(seen(b), BAND)
    assert len(pairs(found, b)) >= 0.95 * whole([b]) and len(found) <= whole([b]) + 3
    assert all(s.end <= t.start for s, t in itertools.pairwise(found))


def test_slots_of_several_bursts_with_gaps_between_them():
    bursts = (Burst(6, "bpsk", 16, False, -200, 0.001), Burst(6, "qpsk", 8, True, 800, -0.003), Burst(4, "64qam", start=2150))
    y = seen(*bursts)
    found = slots(y, BAND)
    assert len(pairs(found, *bursts)) >= 0.9 * whole(bursts)
    gaps = [(bursts[0].end, 800), (bursts[1].end, 2150)]
    assert not [s for s in found for low, high in gaps if s.start > low and s.end < high]


@pytest.mark.parametrize("window", [np.zeros(SAMPLES), np.ones(SAMPLES), *(seen(noise_var=10.0 ** -k, seed=k) for k in range(8))])
def test_no_burst_gives_no_slots(window):
    assert slots(window, BAND) == []


@pytest.mark.parametrize("samples", [1, 40, 80, 100])
def test_slots_of_a_window_shorter_than_a_frame_or_hardly_longer_do_not_fail(samples):
    y = seen(Burst(60, start=-1000), samples=samples)
    assert len(slots(y, BAND)) <= 2 and len(frames(y)) <= 2


# frames

@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("ht, prefix", FORMS)
@pytest.mark.parametrize("start", [100, -1500], ids=["trained", "blind"])
def test_frames_have_offset_alphabet_error_and_channel(start, ht, prefix, alphabet):
    b = Burst(60, alphabet, prefix, ht, start, 0.0021, 1.0, ECHOES)
    known = pairs(frames(seen(b)), b)
    data = [f for f, _, field in known if field == "data" and f.decided is not None]
    assert len(data) >= 0.9 * sum(field == "data" for _, _, field in known) > 10
    assert np.median([abs(f.carrier_offset - 0.0021) for f in data]) < 1e-4
    assert np.mean([f.alphabet == alphabet for f in data]) > 0.95
    assert np.mean([f.error for f in data]) < 0.01
    for f, _, field in known:
        if f.decided is None or np.isnan(f.decided).all():
            assert field == "short" or f.end > SAMPLES or f.start < 0
            continue
        want = b.gains(field) * np.exp(2j * np.pi * CARRIERS * (f.start - start_of(b, f)) / FFT_SIZE)
        used = (want != 0) & ((f.gain != 0) | ~PILOTS)
        assert np.allclose(abs(f.gain[used]), abs(want[used]), rtol=0.1)               # interpolated carriers too
        if start > 0:                                                                   # blind ones have a symmetry's phases
            turn = np.vdot(want[~PILOTS], f.gain[~PILOTS])
            assert np.all(abs(f.gain * np.exp(-1j * np.angle(turn)) - want)[used & ~PILOTS] < 0.15 * abs(want[used & ~PILOTS]))


def start_of(b, frame):
    return min((start for start, _, _ in b.layout()), key=lambda start: abs(start - frame.start))


def test_training_alone_is_known_for_what_it_is_and_short_training_lies_on_twelve_carriers():
    b = Burst(4, "qpsk", 16, True, 100, 0.001, 0.0, ECHOES)
    for f, _, field in pairs(frames(seen(b)), b):
        if field in ("short", "long", "ht-long"):               # all of it is known, also where the signal of interest lies
            assert not np.isnan(f.decided).any()
        else:
            assert f.alphabet == b.alphabet_of(field)
        if field == "short":
            assert np.sum(abs(f.gain) > 1e-6) == 12
            assert np.sum(abs(f.gain) ** 2) == pytest.approx(np.sum(abs(b.gains("short")) ** 2), rel=0.3)


def test_ht_frames_have_56_carriers_and_legacy_ones_52():
    for ht in (False, True):
        b = Burst(12, "qpsk", 16, ht, 100)
        for f, _, field in pairs(frames(seen(b)), b):
            if f.decided is not None:
                assert np.sum(abs(f.gain) > 0.01) == np.sum(b.gains(field) != 0)


def test_pilots_of_ht_signal_are_not_turned_though_its_data_is():
    b = Burst(12, "16qam", 16, True, 100, 0.001, 0.0, ECHOES)
    head = [f for f, _, field in pairs(frames(seen(b)), b) if field in ("long", "signal", "turned")]
    assert len(head) == 4
    for f in head:
        assert np.allclose(abs(f.gain[PILOTS]), abs(b.gains("long")[PILOTS]), rtol=0.05)


def test_what_is_decided_takes_the_burst_away_where_the_signal_of_interest_is_not():
    b = Burst(20, "16qam", 8, True, 100, 0.001, 0.4, ECHOES)
    y = seen(b, noise_var=1e-4)
    left = []
    for f in frames(y):
        if f.decided is not None and 0 <= f.start and f.end < SAMPLES:
            u = carriers(y, f.end - 2, f.carrier_offset) * np.exp(2j * np.pi * CARRIERS * 2 / FFT_SIZE)
            far = ~np.isnan(f.decided)
            left.append(np.mean(abs(u - f.gain * f.decided)[far] ** 2) / np.mean(abs(u[far]) ** 2))
    assert len(left) > 15 and np.median(left) < 0.003


# noise

@pytest.mark.parametrize("noise_var", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_noise_in_windows_that_gaps_fill_is_told_within_a_factor_of_two(noise_var):
    y = seen(Burst(3, "qpsk", 16, False, 400, 0.001, 0.0, ECHOES), Burst(2, "bpsk", start=1800), noise_var=noise_var)
    assert 0.5 < thermal_noise(y, frames(y), BAND) / noise_var < 2


@pytest.mark.parametrize("noise_var", [1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("ht, prefix", FORMS)
def test_noise_without_gaps_is_told_down_to_20_decibels_below_the_bursts_and_never_too_low(ht, prefix, noise_var):
    y = seen(Burst(80, "qpsk", prefix, ht, -1500, 0.001, 0.0, ECHOES), noise_var=noise_var)
    told = thermal_noise(y, frames(y), BAND)
    assert 0.5 * noise_var < told < max(2 * noise_var, noise_var + 0.025)


def test_noise_of_a_window_without_a_burst_is_its_own():
    y = seen(noise_var=0.3)
    assert thermal_noise(y, [], BAND) == pytest.approx(0.3, rel=0.2) and thermal_noise(np.zeros(SAMPLES), [], BAND) == 0
