# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates in Hz: the sample rate inside suits all sources, results are at the recording's, and what cannot be is said."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.inference.frame_family import smeared
from alpha_rgs.separators import separate
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import LinearModulation, Ofdm, from_dict
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.streaming import separate_stream
from alpha_rgs.streaming.resampling import inside, plan, resampled
from alpha_rgs.synchronization.ofdm import advanced

QPSK = {"kind": "linear-modulation", "symbol_rate": 1e6, "rolloff": 0.35}
OFDM = {"kind": "ofdm", "sample_rate": 2.0e6}
LORA = {"kind": "lora", "spreading_factor": 7, "bandwidth": 125e3}


def rate_inside(tables, sample_rate):
    to = plan([from_dict(table) for table in tables], sample_rate)
    return sample_rate * to.ratio


@pytest.mark.parametrize("tables, recorded, expected", [
    ((QPSK, OFDM), 2.4e6, 2.0e6),               # frames choose
    ((QPSK, OFDM), 4.0e6, 4.0e6),               # a multiple already
    ((QPSK, LORA), 2.4e6, 1.375e6),             # eleven times 125 kHz holds what QPSK takes
    (({"kind": "gmsk", "symbol_rate": 270e3}, LORA), 2e6, 625e3),       # five times 125 kHz is two samples per GMSK symbol
    ((QPSK, {"kind": "gmsk", "symbol_rate": 0.9e6}), 2.4e6, 2.4e6),     # no source needs a grid
    (({"kind": "gmsk", "symbol_rate": 9600}, {"kind": "oqpsk", "symbol_rate": 7e3}), 1e6, 19200.0),     # decimated
])
def test_the_rate_inside_is_one_that_suits_all(tables, recorded, expected):
    assert rate_inside(tables, recorded) == pytest.approx(expected, rel=1e-6)


def test_periods_need_not_be_whole_but_frames_do():
    to = plan([from_dict({**QPSK, "symbol_rate": 0.61e6}), from_dict(OFDM)], 2.4e6)
    qpsk, ofdm = to.sources
    assert qpsk.signal.samples_per_symbol == pytest.approx(2.0 / 0.61)
    assert (ofdm.signal.fft_size, ofdm.signal.cyclic_prefix) == (64, 16) and ofdm.delay_spread == 1 and ofdm.resampled
    twice = from_dict(OFDM).at_rate(4e6)
    assert (twice.signal.fft_size, twice.signal.cyclic_prefix, len(twice.signal.carriers)) == (128, 32, 56)
    assert set(twice.signal.carriers) == set(ofdm.signal.carriers)


def test_what_is_in_samples_moves_with_the_rate():
    """Times and offsets in a file are in samples of the recording; a source in samples is described at its rate."""
    plain = from_dict({"kind": "linear-modulation", "samples_per_symbol": 6, "timing": 30.0, "carrier_offset": 0.01})
    to = plan([plain, from_dict(OFDM)], 2.4e6)
    moved = to.sources[0]
    assert (moved.signal.samples_per_symbol, moved.timing) == (5, pytest.approx(25.0))
    assert moved.carrier_offset == pytest.approx(0.012)


@pytest.mark.parametrize("tables, recorded, words", [
    (({**QPSK, "symbol_rate": 3e6}, OFDM), 2.4e6, ["symbol_rate", "above the sample rate"]),
    (({**QPSK, "carrier_frequency": 2e6}, OFDM), 2.4e6, ["carrier_frequency", "outside the recording"]),
    (({**QPSK, "symbol_rate": 9600}, OFDM), 2.4e6, ["9600 Bd", "samples per symbol, more than 64"]),
    (({**QPSK, "samples_per_symbol": 4}, OFDM), 2.4e6, ["samples_per_symbol and symbol_rate say the same"]),
    (({**QPSK, "symbol_rate": -1.0}, OFDM), 2.4e6, ["symbol_rate", "positive"]),
    (({"kind": "sum", "sources": [QPSK, {"kind": "tones"}]}, OFDM), 2.4e6, ["sources[0]", "rates in Hz"]),
])
def test_what_cannot_be_is_refused_by_name(tables, recorded, words):
    with pytest.raises(ParameterError) as error:
        plan([from_dict(table) for table in tables], recorded)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_rate_in_hertz_needs_the_samples_rate():
    with pytest.raises(ParameterError, match="gives rates in Hz; give the samples' rate too"):
        separate_stream(np.ones(4000, np.complex64), from_dict(QPSK), from_dict(OFDM))


def test_bands_that_do_not_overlap_are_named():
    far = [from_dict({**QPSK, "symbol_rate": 1e5, "carrier_frequency": f}) for f in (-6e5, 6e5)]
    warnings = plan(far, 2.4e6).warnings
    assert len(warnings) == 2 and "overlaps with no other source's: a filter separates it" in warnings[0]


def test_bands_that_are_not_all_there_are_named():
    """WiFi in 2.4 MHz; not what fits."""
    pair = [from_dict({**OFDM, "sample_rate": 20e6}), from_dict(QPSK)]
    warnings = plan(pair, 2.4e6).warnings
    assert len(warnings) == 1 and "reaches beyond ±1.2e+06 Hz, which the samples hold" in warnings[0]
    assert not plan(pair, 20e6).warnings


def test_there_and_back_is_the_same_samples():
    """What lies in the band of the lower rate comes back sample for sample; the band that was empty is filled with noise."""
    rng = np.random.default_rng(1)
    n = 6000
    wide = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    spectrum = np.fft.fft(wide) * (abs(np.fft.fftfreq(n)) < 0.35)
    x = np.fft.ifft(spectrum).astype(np.complex64)
    there = resampled(x, 5, 6)
    back = resampled(there, 6, 5, n)
    inner = slice(200, -200)
    error = np.mean(abs(back - x)[inner] ** 2) / np.mean(abs(x) ** 2)
    assert len(there) == n * 5 // 6 and 10 * np.log10(error) < -55
    noisy = (x + 0.1 * wide).astype(np.complex64)
    to = plan([from_dict({**OFDM, "sample_rate": 3e6})], 2.4e6)
    up = inside(noisy, to)
    density = abs(np.fft.fft(up)) ** 2
    empty = abs(np.fft.fftfreq(len(up))) > 0.45
    assert to.ratio == pytest.approx(1.25) and density[empty].mean() > 1e-3 * density.mean()


@pytest.mark.parametrize("sps", [2.7, 4.5])
def test_a_fractional_rate_is_separated(sps):
    """All known but phase and gain, rates in Hz: the symbols under OFDM of another rate are those that were sent."""
    generator = torch.Generator().manual_seed(5)
    table = {"kind": "linear-modulation", "samples_per_symbol": sps, "rolloff": 0.35, "phase": 0.3, "gain": 1.0,
             "carrier_offset": 0.0}
    s, truth = alone(from_dict({**table, "timing": 1.3}), 1, 6000, generator)
    to = plan([from_dict({**QPSK, "symbol_rate": 1e6 / sps}), from_dict({**OFDM, "sample_rate": 0.8e6})], 1e6)
    b, _ = alone(to.sources[1], 1, 4800, generator)
    b = torch.from_numpy(resampled(b[0].numpy(), to.down, to.up, 6000))
    y = (s[0] + 1.8 * b).numpy() + 0.03 * (np.random.default_rng(2).standard_normal((6000, 2)) @ [1, 1j])
    described = {k: v for k, v in table.items() if k not in ("samples_per_symbol", "carrier_offset")}
    out = separate_stream(y, from_dict({**described, "symbol_rate": 1e6 / sps, "timing": 1.3, "carrier_frequency": 0.0}),
                          from_dict({**OFDM, "sample_rate": 0.8e6}), sample_rate=1e6)
    assert len(out.soi) == 6000 and abs(len(out.symbols) - 6000 / sps) < 3
    error = (out.soi - s[0].numpy())[100:-100]
    assert 10 * np.log10(np.mean(abs(error) ** 2) / np.mean(abs(out.soi) ** 2)) < -17
    sent = truth.demodulator()(s, 1e-3).symbols[0].numpy()
    n = min(len(sent), len(out.symbols))
    signs = [np.stack([np.sign(v.real), np.sign(v.imag)]) for v in (sent[:n], out.symbols[:n])]
    assert np.mean(signs[0][:, 20:-20] != signs[1][:, 20:-20]) < 0.01


@pytest.mark.parametrize(("up", "down"), [(5, 6), (4, 5)])
def test_a_resampler_smears_the_edges_of_frames_as_detection_assumes(up, down):
    """To 3 dB on the first sample of a frame and three samples to either side, on average over where frames begin between the
    samples of the recording."""
    rng, frames, carriers = np.random.default_rng(1), 40, [k for k in range(-28, 29) if k]
    data = (rng.choice([-1, 1], (frames, len(carriers))) + 1j * rng.choice([-1, 1], (frames, len(carriers)))) / 2 ** 0.5

    def sampled(count, ratio, at):
        t = np.arange(count) * ratio + at
        frame = np.clip(t // 80, 0, frames - 1).astype(int)
        return (np.exp(2j * np.pi * np.outer(t - 80 * frame, carriers) / 64) * data[frame]).sum(1) / len(carriers) ** 0.5

    error, place = [], np.arange(-3, 4)
    for late in (np.arange(12) + 0.5) / 12 - 0.5:
        there = resampled(sampled(80 * frames * down // up, up / down, late).astype(np.complex64), up, down, 80 * frames)
        moved = advanced(torch.from_numpy(there)[None], torch.tensor([-late]))[0].numpy()
        error.append(abs(moved - sampled(80 * frames, 1, 1e-9)).reshape(frames, 80)[2:-2] ** 2)
    assert np.all(abs(10 * np.log10(np.mean(error, (0, 1))[place] / smeared(80)[place])) < 3)


def test_where_frames_leave_no_room_for_the_noise_it_follows_from_densities():
    """2.1 samples per symbol under OFDM whose prefix is too short to show the noise beside the pulses: no refusal."""
    generator = torch.Generator().manual_seed(41)
    pulses = LinearModulation(LinearSignal("qpsk", 2, "rrc", 0.35, 8), gain=1.0)
    ofdm = Ofdm(OfdmSignal(64, 4, (1, 0), dc_null=False))
    s, truth = alone(pulses, 1, 2560, generator)
    y = s + 3 * alone(ofdm, 1, 2560, generator)[0] + 0.1 * noise(s.shape, generator)
    out = separate(y, replace(truth, gain=1.0), ofdm)
    assert 0 < float(out.noise_var) < 1 and bool(torch.isfinite(out.quality).all())
