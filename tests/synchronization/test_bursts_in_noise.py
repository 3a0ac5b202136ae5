# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of OFDM in noise in which each carrier by itself is often wrong: where their symbols lie, what their channel and their
alphabets are. Of QPSK 10 dB below bursts, Es/N0 8 dB, a tenth of the bits used to be wrong, since no alphabet was believed."""
import numpy as np
import pytest
import torch
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals.wifi import ALPHABETS, CARRIERS, FFT_SIZE, LEGACY, Burst, received
from alpha_rgs.sources import LinearModulation
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.synchronization.burst_channel import burst_frames
from alpha_rgs.synchronization.burst_layout import slots

SAMPLES, BAND, ECHOES = 2560, (-0.06, 0.06), (1, 0.3 + 0.2j, -0.2j)


def window(*bursts, noise_var, seed):
    g = torch.Generator().manual_seed(seed)
    return (received(bursts, SAMPLES, g) + noise_var ** 0.5 * noise((SAMPLES,), g)).numpy().astype(complex)


def matched(found, burst):
    """(Frame, field) of those found within five samples of a true symbol."""
    return [(f, field) for f in found for start, prefix, field in burst.layout()
            if abs(f.start - start) <= 5 and f.prefix == prefix]


def channel_error(frame, burst, field):
    """Of the channel on all carriers, relative, up to a phase."""
    want = burst.gains(field)
    used = want != 0
    seen = frame.gain[used] * np.exp(-2j * np.pi * CARRIERS[used] * (frame.start - nearest(burst, frame)) / FFT_SIZE)
    turn = np.vdot(want[used], seen)
    return float(np.mean(abs(seen * np.exp(-1j * np.angle(turn)) - want[used]) ** 2) / np.mean(abs(want[used]) ** 2))


def nearest(burst, frame):
    return min((start for start, _, _ in burst.layout()), key=lambda start: abs(start - frame.start))


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("start", [200, -1500], ids=["trained", "blind"])
def test_channel_and_alphabet_are_found_where_carriers_are_as_strong_as_seven_decibels_above_noise(start, alphabet):
    b = Burst(60, alphabet, 16, False, start, 0.0013, 0.3, ECHOES)
    y = window(b, noise_var=0.25, seed=7401)
    found = matched(burst_frames(y, slots(y, BAND), BAND), b)
    data = [f for f, field in found if field == "data"]
    whole = sum(field == "data" and begin >= 0 and begin + 80 <= SAMPLES for begin, _, field in b.layout())
    assert len(data) >= whole - 2 and whole > 20
    alike = {alphabet, "16qam", "64qam"} if alphabet in ("16qam", "64qam") else {alphabet}        # nobody tells these apart
    assert np.mean([f.alphabet in alike for f in data]) > 0.9
    if start > 0 or alphabet != "64qam":      # such dense carriers alone do not tell a channel in that noise
        assert np.median([channel_error(f, b, "data") for f in data]) < 0.03


def test_training_fields_are_known_for_what_they_are_in_noise():
    b = Burst(10, "qpsk", 16, True, 300, -0.002, 0.0, ECHOES)
    y = window(b, noise_var=0.25, seed=7402)
    known = {field for f, field in matched(burst_frames(y, slots(y, BAND), BAND), b)
             if f.decided is not None and not np.isnan(f.decided).any()}
    assert {"early", "long", "ht-long"} <= known and not known & {"signal", "turned", "data"}


def test_symbols_are_laid_out_where_noise_is_as_strong_as_bursts_and_none_in_noise_or_what_a_filter_leaves():
    for seed in range(4):
        b = Burst(40, "qpsk", 16, False, -700 + 400 * seed, 0.001, 0.0, ECHOES)
        y = window(b, noise_var=0.9, seed=7410 + seed)
        whole = sum(begin >= 0 and begin + 80 <= SAMPLES for begin, _, _ in b.layout())
        found = slots(y, BAND)
        assert len(matched(found, b)) >= 0.8 * whole and len(found) <= whole + 6      # some of noise, which are empty
    for seed in range(12):
        assert slots(window(noise_var=1.0, seed=7420 + seed), BAND) == []
    soi = LinearModulation(Signal("qpsk", 16, "rrc", 0.35, 8), 5.3, 0.4, 1.0, 0.0)
    for seed in range(6):
        g = torch.Generator().manual_seed(7440 + seed)
        y = soi.draw(1, SAMPLES, g)[0][0] + 0.1 * noise((SAMPLES,), g)
        assert slots(y.numpy(), BAND) == []


@pytest.mark.parametrize("shift", [0, 4, 8])
def test_symbols_begin_where_they_do_though_a_transmitter_shifts_them_cyclically(shift):
    """Those with several antennas do. By the channel alone symbols would begin elsewhere: half the bits under recorded WiFi."""
    rng = np.random.default_rng(7450 + shift)
    points = (rng.choice([-1, 1], (20, 56)) + 1j * rng.choice([-1, 1], (20, 56))) / 2 ** 0.5 * LEGACY / 52 ** 0.5
    waves = points @ np.exp(2j * np.pi * np.outer(CARRIERS, np.arange(-16, FFT_SIZE) + shift) / FFT_SIZE)
    y = 0.03 * (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)) / 2 ** 0.5
    y[333:333 + waves.size] += waves.ravel()
    starts = [f.start for f in burst_frames(y, slots(y, BAND), BAND) if f.alphabet]
    assert len(starts) >= 19 and {(start - 333) % 80 for start in starts} <= {0, 1, 79}
