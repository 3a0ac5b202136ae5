# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream names the windows that are not to be trusted, and a gain in the file that the samples contradict."""
from dataclasses import replace

import numpy as np
import pytest
from alpha_rgs import separate_stream
from alpha_rgs.separators.api import METHODS
from alpha_rgs.sources import from_dict, mixtures
from alpha_rgs.streaming import reliability

TABLE = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8}
TRUE = from_dict({**TABLE, "timing": 5.3, "phase": 0.4, "gain": 1.0, "carrier_offset": 0.002})
OFDM = from_dict({"kind": "ofdm", "constellation": "qpsk"})
LINE = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 5, "rolloff": 0.35, "gain": 1.0})
GAUSSIAN = from_dict({"kind": "ofdm", "constellation": "gaussian"})


def mixed(soi=TRUE, interference=OFDM, snr_db=15.0, sir_db=-10.0, samples=2 * 2048 + 512):
    return mixtures.draw(soi, interference, 1, samples, sir_db, snr_db, seed=3).y[0].numpy()


@pytest.mark.parametrize(("scale", "names"), [(0.01, True), (0.3, True), (0.8, True), (1.0, False), (1.25, True), (3.0, True),
                                              (100.0, True)])
def test_a_gain_that_the_samples_contradict_is_named(scale, names):
    """gain = 1 was left in the file, but the recording has another scale: no SIR with small error bars without a word."""
    out = separate_stream(np.float32(scale) * mixed(samples=4 * 2048 + 512), TRUE, OFDM)
    assert any("gain" in sentence for sentence in out.warnings) == names


@pytest.mark.parametrize("sir_db", [0.0, -15.0, -24.0])
@pytest.mark.parametrize("constellation", ["bpsk", "16qam"])
def test_a_right_gain_is_not_named(sir_db, constellation):
    """Whatever the alphabet and the interference's strength; nor where the method subtracts no interference."""
    soi = replace(TRUE, signal=replace(TRUE.signal, constellation=constellation))
    y = mixed(soi, sir_db=sir_db)
    for method in ("joint", "matched_filter"):
        assert not any("gain" in sentence for sentence in separate_stream(y, soi, OFDM, method=method).warnings)


@pytest.mark.parametrize("constellation", ["qpsk", "8psk", "16qam", "bpsk"])
@pytest.mark.parametrize("interference", ["OFDM", "linear"])
@pytest.mark.parametrize("snr_db", [None, 20.0])
def test_windows_that_are_right_are_not_named(constellation, interference, snr_db):
    """With noise and without: no false alarm."""
    soi = replace(TRUE, signal=replace(TRUE.signal, constellation=constellation))
    b = {"OFDM": OFDM, "linear": LINE}[interference]
    out = separate_stream(mixed(soi, b, snr_db, 0.0), soi, b)
    assert out.unreliable == [] and out.warnings == []


def test_a_wrong_carrier_offset_breaks_the_promise_and_is_named():
    """Off by the symbol rate over the alphabet's symmetry: symbols lie on the alphabet's points, the quality is enough for QPSK,
    but far less than gain and noise promise."""
    wrong = replace(TRUE, carrier_offset=TRUE.carrier_offset + 1 / 64)
    out = separate_stream(mixed(snr_db=30.0), wrong, OFDM)
    assert out.unreliable == [[0, 2 * 2048 + 512]]


def test_only_what_can_be_subtracted_whole_promises():
    """The noise alone limits no method that leaves the interference, nor one under interference of unknown waveform."""
    for method in METHODS:
        promise = reliability.promised(TRUE, OFDM, method, 1.0, np.array([0.01]))
        assert np.isfinite(promise[0]) == (method in ("joint", "alpha_rgs"))
    assert reliability.promised(TRUE, GAUSSIAN, "joint", 1.0, np.array([0.01]))[0] == -np.inf
    assert reliability.promised(TRUE, OFDM, "joint", 2.0, np.array([0.4]))[0] == pytest.approx(10 * np.log10(160))


def test_a_dense_alphabet_is_judged_by_the_scale_of_its_quality():
    """Where quality is that of QPSK of the same error rate, right windows of 16QAM were named unreliable."""
    qam = from_dict({"kind": "linear-modulation", "constellation": "16qam", "samples_per_symbol": 8})
    other = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 5})
    quality, told = np.array([7.0, 5.0]), np.array([0.03, 0.03])
    own, _ = reliability.unreliable_windows([qam, other], "joint", quality, told, 1.0, np.array([0.1, 0.1]))
    same, _ = reliability.unreliable_windows([qam, other], "joint", quality, told, 1.0, np.array([0.1, 0.1]), of_qpsk=True)
    assert own.tolist() == [True, True] and same.tolist() == [False, True]


def test_no_quality_is_promised_under_carriers_which_hide_nothing():
    """One wrong symbol beside the edge of a keyed carrier had the whole window named."""
    bpsk = from_dict({"kind": "linear-modulation", "constellation": "bpsk", "samples_per_symbol": 16})
    ofdm = from_dict({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"})
    named = [reliability.untrusted(bpsk, other, "alpha_rgs", np.array([7.5]), 1.0, np.array([0.05]))[0].tolist()
             for other in (from_dict({"kind": "tones"}), ofdm)]
    assert named == [[False], [True]]


def test_an_alphabet_of_which_a_part_is_used_is_doubted():
    """The middle ring of 16QAM is nearly 8PSK; an idle pattern of QPSK uses one point."""
    soi = replace(TRUE, signal=replace(TRUE.signal, constellation="16qam"))
    points, rng = soi.signal.alphabet.points.numpy(), np.random.default_rng(1)
    ring = points[abs(abs(points) - 1) < 0.1]
    assert len(ring) == 8 and "8 of the 16 points" in reliability.alphabet_warnings(soi, rng.choice(ring, 600))[0]
    assert not reliability.alphabet_warnings(soi, rng.choice(points, 600))
    assert not reliability.alphabet_warnings(soi, rng.choice(ring, 60))             # too few to tell
    assert not reliability.alphabet_warnings(TRUE, np.full(600, TRUE.signal.alphabet.points[0]))


def test_symbols_that_another_alphabet_fits_better_are_named():
    """16QAM taken for QPSK has errors that never cross a threshold: nothing else shows that the bits are another signal's."""
    rng = np.random.default_rng(3)
    noise = 0.1 * rng.normal(size=(1000, 2)) @ [1, 1j]
    many = replace(TRUE, signal=replace(TRUE.signal, constellation="16qam")).signal.alphabet.points.numpy()
    assert "16qam" in reliability.alphabet_warnings(TRUE, rng.choice(many, 1000) + noise)[0]
    points = TRUE.signal.alphabet.points.numpy()
    tone = 0.5 * np.exp(2j * np.pi * 0.0137 * np.arange(1000))
    for errors in (noise, tone, tone + noise, 5 * noise):
        assert not reliability.alphabet_warnings(TRUE, rng.choice(points, 1000) + errors)


def test_8psk_told_as_16qam_is_named_in_a_stream():
    true, told = (replace(TRUE, signal=replace(TRUE.signal, constellation=name)) for name in ("8psk", "16qam"))
    y = mixed(true, interference=from_dict({"kind": "tones", "count": 1}), samples=4 * 2048 + 512, snr_db=10.0)
    out = separate_stream(y, replace(told, phase=true.phase + np.pi / 8), from_dict({"kind": "tones", "count": 1}))
    assert out.unreliable == [[0, len(y)]] and any("constellation" in sentence for sentence in out.warnings)


@pytest.mark.parametrize(("sent", "named"), [("qpsk", True), ("bpsk", False)])
@pytest.mark.parametrize("kind", ["linear-modulation", "gmsk"])
def test_what_is_in_quadrature_to_bpsk_tells_another_constellation(kind, sent, named):
    """Half of a QPSK signal was taken for noise, and no error was told of bits that were half wrong."""
    true, bpsk = (replace(TRUE, signal=replace(TRUE.signal, constellation=name)) for name in (sent, "bpsk"))
    other = LINE if kind == "linear-modulation" else from_dict({"kind": "gmsk", "samples_per_symbol": 8, "gain": 1.0})
    y = mixed(true, other, snr_db=0.0, sir_db=-10.0)
    out = separate_stream(y, replace(bpsk, timing=None, phase=None, gain=None), replace(other, gain=None))
    assert any("constellation" in sentence for sentence in out.warnings) is named
    assert (out.unreliable == [[0, len(y)]]) is named
    noise = y - out.soi - out.interference
    assert np.mean(out.symbols[20:-20].imag ** 2) > 0.3 * np.mean(abs(noise) ** 2) / 16 / np.mean(abs(out.soi) ** 2) / 2


def test_a_carrier_that_was_taken_for_the_signal_is_named():
    """Three carriers, of which two are told: the third was taken for BPSK, with 1e-7 told of bits that were half wrong."""
    told = from_dict({**TABLE, "constellation": "bpsk"})
    samples, rng = 2 * 2048 + 512, np.random.default_rng(4)
    n, carriers = np.arange(samples), (0.11, -0.2, -0.0028)
    noise = 0.2 * rng.normal(size=(samples, 2)) @ [1, 1j]
    y = (sum(3 * np.exp(2j * np.pi * f * n + 1j * k) for k, f in enumerate(carriers)) + noise).astype(np.complex64)
    out = separate_stream(y, told, from_dict({"kind": "tones", "count": 2}))
    assert out.unreliable and out.unreliable[0][0] < 2048
    both = mixed(interference=from_dict({"kind": "tones", "count": 2}))
    right = separate_stream(both, replace(TRUE, timing=None, phase=None), from_dict({"kind": "tones", "count": 2}))
    assert not right.unreliable and not any("carrier may" in sentence for sentence in right.warnings)


def test_a_window_among_windows_that_are_not_trusted_is_not_trusted():
    """One in five told 1 % of bits of which two in five were wrong, beside four that were named. Few errors are believed, and so
    is a window at the edge of a stretch that is named."""
    bad, told = np.array([True, True, False, True, True]), np.full(5, 0.01)
    for turn in range(5):
        assert reliability.among_bad(np.roll(bad, turn), told).tolist() == (~np.roll(bad, turn)).tolist()
    assert not reliability.among_bad(bad, told / 10).any()
    assert not reliability.among_bad(np.array([True, True, True, False, False, False]), np.full(6, 0.01)).any()
    assert not reliability.among_bad(np.array([True, True, False]), np.full(3, 0.01)).any()


def test_windows_that_found_one_carrier_and_scatter_little_are_confirmed():
    """Each was doubted by itself: told 8 % of wrong bits of which 0.5 % were, and named. A window of another carrier offset, or
    whose symbols scatter more, is not confirmed; nor are any where the windows disagree, or are few."""
    rng = np.random.default_rng(6)
    soi = replace(TRUE, signal=replace(TRUE.signal, constellation="16qam"))
    points = soi.signal.alphabet.points.numpy()
    sent = rng.choice(points, (6, 128))
    noise = rng.normal(size=(6, 128, 2)) @ [1, 1j] * 0.5 ** 0.5
    little, much = sent + 10 ** (-15 / 20) * noise, sent + 10 ** (-10 / 20) * noise

    def confirmed(symbols, offsets, beside=None, asked=True):
        sources = [soi, from_dict({"kind": beside}) if beside else LINE]
        return reliability.confirmed(sources, symbols, offsets, 2560, np.full(len(symbols), True) & asked)

    alike = 2e-3 + 1e-6 * np.arange(6)
    assert confirmed(list(little), alike).all()
    assert confirmed(list(little), alike[:5]).all()          # a short last window reports none
    mixed_up = [*little[:4], much[4], little[5]]
    assert confirmed(mixed_up, alike).tolist() == [True] * 4 + [False, True]
    assert not confirmed([*much[:3], *little[3:]], alike).any()
    apart = np.array([0, 0, 0, 0, 0, 0.3]) / 2560
    assert not confirmed(list(little), alike + apart).any()
    many, one = [*little, *little], np.r_[alike + apart, alike]
    assert confirmed(many, one).tolist() == [True] * 5 + [False] + [True] * 6
    assert not confirmed(list(little[:3]), alike[:3]).any()
    assert not confirmed(list(little), None).any()
    assert not confirmed(list(little), alike, beside="tones").any()
    assert confirmed(list(little), alike, asked=np.arange(6) == 2).tolist() == [False, False, True, False, False, False]
    assert not confirmed(list(little), alike + np.nan).any()


def test_symbols_of_which_nothing_is_known_confirm_nothing():
    symbols = np.random.default_rng(7).choice(TRUE.signal.alphabet.points.numpy(), 128)
    assert reliability.wrong_by_scatter(TRUE, symbols) < 1e-6
    for lost in (0, np.nan):
        assert reliability.wrong_by_scatter(TRUE, np.r_[symbols, lost]) == 0.5
    assert reliability.wrong_by_scatter(TRUE, symbols[:8]) == 0.5


def test_symbols_that_repeat_are_doubted_beside_carriers_alone():
    tones = from_dict({"kind": "tones", "count": 2})
    turning, rng = np.exp(0.3j * np.arange(128)), np.random.default_rng(5)
    random = rng.choice(TRUE.signal.alphabet.points.numpy(), 128)
    assert reliability.carriers_taken([TRUE, tones], [turning, random, 1.0 + 0 * random]).tolist() == [True, False, True]
    assert not reliability.carriers_taken([TRUE, OFDM], [turning, random]).any()
    looked_for = replace(TRUE, carrier_offset=None)
    assert reliability.carriers_taken([looked_for, OFDM], [turning, random]).tolist() == [True, False]


def test_noise_is_measured_beside_the_band():
    """Noise within a fifth of the sample rate about the signal, and none elsewhere: its density there promises quality."""
    rng, n = np.random.default_rng(2), 8192
    white = (rng.normal(size=(n, 2)) * 0.5 ** 0.5) @ [1, 1j]
    narrow = np.fft.ifft(np.fft.fft(white) * (abs(np.fft.fftfreq(n)) < 0.2))
    own = mixed(snr_db=60.0, sir_db=-1.0, samples=n)        # any waveform about the signal's carrier
    own = np.fft.ifft(np.fft.fft(own) * (abs(np.fft.fftfreq(n)) < 0.04))
    where = np.array([[0, 4096], [4096, 8192]])
    assert np.allclose(reliability.noise_beside(narrow, own, where, TRUE), 1.0, atol=0.25)
    assert abs(np.mean(abs(narrow) ** 2) - 0.4) < 0.05
