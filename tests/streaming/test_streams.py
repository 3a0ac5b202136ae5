# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams in which something changes: windows acquired wrongly, gaps, jumps of 20 dB, an interferer that vanishes, clocks.

Bit errors are counted against the filter that is matched to the pulse and knows timing, phase and offset, without interference;
where the phase is found, up to one turn of the alphabet for all of a stretch.
"""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import Engine, separate_stream
from alpha_rgs.sources import from_dict, mixtures

UNKNOWN = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8})
TRUE = replace(UNKNOWN, timing=5.3, phase=0.4, gain=1.0, carrier_offset=2e-4)
WIFI = from_dict({"kind": "ofdm", "preset": "802.11"})
OFDM = from_dict({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"})
SPS, HOP = 16, 2048
PER_SYMBOL = 10 * np.log10(SPS)     # dB from a sample's signal-to-noise ratio to a symbol's


def parts(interference, windows, sir_db, snr_db, seed):
    """(SOI, interference, noise, the sample's number divided by HOP, symbols) of a stream of so many windows."""
    m = mixtures.draw(TRUE, interference, 1, 512 + HOP * windows, sir_db, snr_db, seed=seed)
    s, b = m.s[0].numpy(), m.kappa * m.b[0].numpy()
    return s, b, m.y[0].numpy() - s - b, np.arange(len(s)) / HOP, TRUE.signal.alphabet.map(m.bits)[0].numpy()


def matched(x):
    """What the matched filter that knows all gives for x."""
    return TRUE.matched_filter(torch.from_numpy(x.astype(np.complex64))[None])[0].numpy()


def errors(symbols, truth, begin, end):
    """Bits that are wrong in windows begin ... end (of HOP samples), all turned by the same quarter turns."""
    at = slice(int(begin * HOP) // SPS, int(end * HOP) // SPS)
    z, a = symbols[at], truth[at]
    return min(int(sum(((z * 1j ** q).real * a.real < 0) + ((z * 1j ** q).imag * a.imag < 0))) for q in range(4))


def share(symbols, truth, begin, end):
    """As errors, of all bits."""
    return errors(symbols, truth, begin, end) / (2 * (int(end * HOP) // SPS - int(begin * HOP) // SPS))


def test_a_window_acquired_wrongly_is_tried_again_as_its_neighbours_are():
    """Alone its carrier offset is wrong by 5e-4 cycles per sample, and a fifth of the stream's symbols were."""
    m = mixtures.draw(TRUE, WIFI, 1, 9000, -10.0, 25.0, seed=4)
    out = separate_stream(m.y[0].numpy(), UNKNOWN, WIFI)
    assert share(out.symbols, TRUE.signal.alphabet.map(m.bits)[0].numpy(), 0.1, 4.1) < 0.02
    assert np.allclose(out.estimated["carrier_offset"], 2e-4, atol=5e-5)      # a tenth of what it was off


@pytest.mark.parametrize("there", [pytest.param(lambda t: t < 0, marks=pytest.mark.slow), lambda t: t < 5],
                         ids=["not there", "vanishes"])
def test_ofdm_that_is_not_there_or_vanishes_does_no_harm(there):
    """The SOI given in full, 7 dB per symbol: as many bit errors as the matched filter, within 5 %, where there is no OFDM."""
    s, b, w, t, truth = parts(OFDM, 60, -10.0, 7 - PER_SYMBOL, seed=1)
    out = separate_stream(s + b * there(t) + w, TRUE, OFDM)
    found, least = errors(out.symbols, truth, 6.5, 60), errors(matched(s + w), truth, 6.5, 60)
    assert least > 150 and found <= 1.05 * least


@pytest.mark.parametrize("ratio", [0.1, 10.0])
def test_ofdm_that_jumps_by_20_db_is_taken_for_a_burst(ratio):
    """The weaker part counts as noise of its gap: no window is spoiled, and the one with the jump reports what it reaches."""
    s, b, w, t, truth = parts(OFDM, 14, -10.0 if ratio < 1 else 10.0, 25.0, seed=1)
    out = separate_stream(s + b * np.where(t < 7.5, 1, ratio) + w, TRUE, OFDM)
    assert share(out.symbols, truth, 0, 7) == share(out.symbols, truth, 9, 14) == 0 and share(out.symbols, truth, 7, 9) < 0.01
    at = slice(7 * HOP // SPS, 8 * HOP // SPS)
    assert abs(out.quality[7] + 10 * np.log10(np.mean(abs(out.symbols[at] - truth[at]) ** 2))) < 3
    assert (np.delete(out.quality, 7) > 18).all()


def test_all_is_silent_for_a_while():
    """Zeros for four windows, the SOI given in full: all before and after is right, and what is between says that it is not."""
    s, b, w, t, truth = parts(OFDM, 14, -10.0, 25.0, seed=1)
    out = separate_stream((s + b + w) * ((t < 5) | (t > 9.3)), TRUE, OFDM)
    assert share(out.symbols, truth, 0, 4.9) == 0 and share(out.symbols, truth, 10, 14) == 0
    assert (out.quality[5:9] < 3).all() and (out.quality[[3, 10]] > 18).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("esn0", [7.0, 8.0])
def test_bursts_that_vanish_do_no_harm_with_nothing_given(esn0):
    """Under bursts at -10 dB, then in noise: within 5 % of the matched filter that knows timing, phase and offset."""
    s, b, w, t, truth = parts(WIFI, 50, -10.0, esn0 - PER_SYMBOL, seed=2)
    out = separate_stream(s + b * (t < 6.4) + w, UNKNOWN, WIFI)
    found, least = errors(out.symbols, truth, 7.2, 49.5), errors(matched(s + w), truth, 7.2, 49.5)
    assert least > 50 and found <= 1.05 * least + 1


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_gap_ends_in_the_phase_in_which_it_began(alone, seed):
    """Four windows without the SOI, the bursts going on, or all silent: one turn for all that comes before and after."""
    s, b, w, t, truth = parts(WIFI, 14, -10.0, 20.0, seed)
    there = (t < 5) | (t > 9.3)
    out = separate_stream((s + b + w) * there if alone else s * there + b + w, UNKNOWN, WIFI)
    before, after = (out.symbols[int(a * HOP) // SPS:int(z * HOP) // SPS] / truth[int(a * HOP) // SPS:int(z * HOP) // SPS]
                     for a, z in ((0.3, 4.8), (9.6, 14)))
    turn = np.exp(1j * np.pi / 2 * np.round(np.angle(before.mean()) / (np.pi / 2)))
    assert all(np.mean(abs(ratio / turn - 1) > 1) < 0.01 for ratio in (before, after))
    assert (out.quality[5:9] < 3).all()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bursts", "all"])
@pytest.mark.parametrize("up", [True, False])
def test_a_jump_of_20_db_spoils_one_window_at_most(what, up):
    """In the middle of a window; nothing given. What comes after is right, in the phase of what came before."""
    s, b, w, t, truth = parts(WIFI, 14, -10.0, 20.0, seed=2)
    level = np.where(t > 7.45, *((1.0, 0.1) if up else (0.1, 1.0)))
    out = separate_stream(s + b * level + w if what == "bursts" else (s + b + w) * level, UNKNOWN, WIFI)
    kept = np.r_[int(0.3 * HOP) // SPS:(6 * HOP + 1600) // SPS, (8 * HOP + 300) // SPS:14 * HOP // SPS]
    assert share(out.symbols[kept], truth[kept], 0, len(kept) * SPS / HOP) < 0.02


def drifting(windows, ppm, seed):
    """(a stream of the SOI whose symbols come `ppm` faster, symbols)."""
    rng, samples = np.random.default_rng(seed), 512 + HOP * windows
    period = SPS / (1 + 1e-6 * ppm)
    first, reach = -TRUE.signal.span - 1, int(np.ceil(TRUE.signal.half_length)) + 1
    centre = TRUE.timing + period * np.arange(first, samples // SPS + 2 - first)
    a = np.exp(1j * np.pi / 4 * (1 + 2 * rng.integers(0, 4, len(centre))))
    n = np.round(centre).astype(int)[:, None] + np.arange(-reach, reach + 1)
    inside, s = (n >= 0) & (n < samples), np.zeros(samples, complex)
    np.add.at(s, n[inside], (a[:, None] * TRUE.signal.pulse_at(n - centre[:, None]))[inside])
    return s * np.exp(1j * (TRUE.phase + 2 * np.pi * TRUE.carrier_offset * np.arange(samples))), a[-first:]


@pytest.mark.slow
@pytest.mark.parametrize("ppm, sir_db", [(50, None), (-50, None), (50, -10.0), (-50, -10.0)])
def test_a_clock_50_ppm_off_is_followed(ppm, sir_db):
    """In noise, and under bursts: symbols as they were sent, each once, and the clock's offset as it was made."""
    s, truth = drifting(24, ppm, seed=1)
    g = torch.Generator().manual_seed(1)
    b = 0 if sir_db is None else 10 ** (-sir_db / 20) * mixtures.alone(WIFI, 1, len(s), g)[0][0].numpy()
    y = s + b + 10 ** (-20 / 20) * mixtures.noise((len(s),), g).numpy()
    out = separate_stream(y.astype(np.complex64), UNKNOWN, WIFI)
    assert out.clock_offset == pytest.approx(ppm, abs=2 if sir_db is None else 8)
    assert share(out.symbols, truth, 0.3, 23.8) < (1e-4 if sir_db is None else 0.01)


@pytest.mark.slow
def test_windows_that_come_one_by_one_are_tried_again_as_those_before_them():
    """As the blocks ask: what is known is what came before."""
    s, b, w, t, truth = parts(WIFI, 12, -10.0, 20.0, seed=4)
    y, symbols = (s + b + w).astype(np.complex64), []
    with Engine() as engine:
        task = engine.task(UNKNOWN, WIFI)
        for start in range(0, 12 * HOP, HOP):
            symbols.append(task.submit(y[start:start + 2560], start).result(60).symbols[0][16:144])
    assert share(np.concatenate(symbols), truth[16:], 0, 12) < 0.02


def test_a_train_of_pulses_that_pauses_in_a_stream():
    """Its symbols keep their places, those of pauses are erased; both sources are separated in every window, also the last."""
    generator = torch.Generator().manual_seed(9)
    mine, other = (from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": sps, "rolloff": 0.35,
                              "span": 8, "carrier_offset": "unknown"}) for sps in (8, 5))
    s = torch.zeros(1, 2800, dtype=torch.complex64)
    for begin, end, offset in ((0, 1000, 0.0008), (1800, 2800, -0.0004)):
        s[:, begin:end] = 0.7 * replace(mine, carrier_offset=offset).draw(1, end - begin, generator)[0]
    b = replace(other, carrier_offset=0.0003).draw(1, 2800, generator)[0]
    y = s + b + 0.07 * torch.randn(s.shape, dtype=torch.complex64, generator=generator)
    out = separate_stream(y[0].numpy(), [mine, other], window=1600, hop=1200)
    error = abs(out.sources[0].waveform - s[0].numpy()) ** 2
    assert 10 * np.log10(np.r_[error[40:960], error[1840:2760]].mean()) < -18
    assert error[1060:1740].max() < 1e-9
    assert 10 * np.log10(np.mean(abs(out.sources[1].waveform - b[0].numpy()) ** 2)) < -18
    erased = abs(out.sources[0].llrs).sum(1) == 0
    assert len(erased) == 350 and erased[135:215].all() and not erased[8:118].any() and not erased[233:340].any()
