# SPDX-License-Identifier: GPL-3.0-or-later
"""A window that comes to nothing (NaN), or holds a sample that does, is named, and costs no other window."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate_stream
from alpha_rgs.separators import Separation
from alpha_rgs.separators.base import NOTHING, finite
from alpha_rgs.sources import from_dict, mixtures
from alpha_rgs.streaming.symbol_tracker import Tracker

UNKNOWN = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8})


def windows(n, symbols=160):
    wave, points = np.ones((n, 2560), np.complex64), np.full((n, symbols), np.exp(0.25j * np.pi), np.complex64)
    llrs = np.full((n, symbols, 2), 30, np.float32)
    return Separation(wave, wave.copy(), points, llrs, np.full(n, 20.0), 0, np.ones(n), np.ones(n), "joint", {
        "timing": np.full(n, 3.2), "phase": np.zeros(n), "carrier_offset": np.zeros(n), "gain": np.ones(n)})


@pytest.mark.parametrize("where", ["symbols", "llrs", "soi", "quality"])
@pytest.mark.parametrize("kind", ["arrays", "tensors"])
def test_a_window_with_nan_says_nothing(where, kind):
    """Zeros of the lowest quality, its bits open; the window beside it as it was."""
    out = windows(2)
    getattr(out, where)[1] = np.nan
    if kind == "tensors":
        names = ("soi", "interference", "symbols", "llrs", "quality")
        out = replace(out, **{k: torch.from_numpy(getattr(out, k)) for k in names})
    sound = finite(out)
    assert sound.quality.tolist() == [20.0, NOTHING] and sound.error_rate[1] == 0.5 and sound.error_rate[0] < 1e-9
    assert not sound.symbols[1].any() and not sound.soi[1].any() and sound.symbols[0].all() and sound.soi[0].all()


@pytest.mark.parametrize("bad", [0, 2, 4])
@pytest.mark.parametrize("key", ["timing", "phase", "carrier_offset", "gain"])
def test_nan_of_one_windows_nuisances_ends_no_stream(bad, key):
    """Wherever it comes, also first: the others are one stream in one phase."""
    out = windows(5)
    out.estimated[key][bad] = np.nan
    tracker = Tracker(UNKNOWN)
    laid = [tracker.follow(part, [2048 * k]) for k, part in enumerate(
        replace(out, **{f: getattr(out, f)[k:k + 1] for f in ("soi", "interference", "symbols", "llrs", "quality", "kappa",
                                                              "noise_var")},
                estimated={name: v[k:k + 1] for name, v in out.estimated.items()}) for k in range(5))]
    assert [float(w.quality[0]) for w in laid] == [NOTHING if k == bad else 20.0 for k in range(5)]
    good = np.array([w.symbols[0] for k, w in enumerate(laid) if k != bad])
    assert np.allclose(good, good[0, 0], atol=1e-6) and np.isfinite(laid[bad].symbols).all()


def test_a_short_last_window_under_lora_is_separated():
    """Its signal is as the stream has it: the LoRa's timing that is found there is not taken for the signal's."""
    true = replace(UNKNOWN, timing=5.3, phase=0.4, gain=1.0, carrier_offset=4e-4)
    lora = from_dict({"kind": "lora", "spreading_factor": 7, "samples_per_chip": 4})
    mixture = mixtures.draw(true, lora, 1, 1600, -5.0, 20.0, seed=2)
    out = separate_stream(mixture.y[0].numpy(), UNKNOWN, lora, window=1536, hop=1024)
    assert len(out.soi) == 1600 and len(out.quality) == 2 and np.isfinite(out.symbols).all()
    assert len(out.estimated["interference_timing"]) == 2 and len(out.estimated["timing"]) == 1


@pytest.mark.parametrize("known", [("phase", "carrier_offset"), ("timing", "phase"), ("timing",), ("timing", "phase", "gain")])
def test_whatever_is_known_of_the_signal_the_rest_is_found(known):
    """Of some nuisances in the file the others are found, the carrier offset too; and where the phase is known at the first
    sample no symbol is turned."""
    true = {"timing": 5.3, "phase": 2.0, "gain": 1.0, "carrier_offset": 8e-4}
    ofdm = from_dict({"kind": "ofdm", "constellation": "qpsk"})
    table = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8}
    mixture = mixtures.draw(from_dict(table | true), ofdm, 1, 2 * 2048 + 512, -10.0, 15.0, seed=4)
    out = separate_stream(mixture.y[0].numpy(), from_dict(table | {key: true[key] for key in known}), ofdm)
    truth = UNKNOWN.signal.alphabet.map(mixture.bits)[0].numpy()[8:260]
    ratio = out.symbols[8:260] / truth
    turn = 1 if "phase" in known else np.exp(1j * np.pi / 2 * np.round(np.angle(ratio.mean()) / (np.pi / 2)))
    assert np.mean(abs(ratio / turn - 1) > 0.7) < 0.01


OFDM = from_dict({"kind": "ofdm"})
KNOWN = replace(UNKNOWN, timing=5.3, phase=0.4, gain=1.0, carrier_offset=4e-4)
SAMPLES = 6 * 2048 + 512


@pytest.fixture(scope="module")
def sound():
    """(a mixture, what is separated of it)."""
    y = mixtures.draw(KNOWN, replace(OFDM, frame_offset=3, phase=0.5), 1, SAMPLES, -10.0, 15.0, seed=4).y[0].numpy()
    return y, separate_stream(y, KNOWN, OFDM)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf * 1j, 1e30, 1e12])
@pytest.mark.parametrize("places", [[0], [5000], [5000, 5001, 9000], [SAMPLES - 1]])
def test_a_sample_that_is_no_number_costs_the_windows_that_hold_it(sound, value, places):
    """The others are separated as without it; a warning names the samples, and their windows are unreliable."""
    y, usual = sound
    bad = y.copy()
    bad[places] = value
    out = separate_stream(bad, KNOWN, OFDM)
    lost = np.zeros(SAMPLES, bool)
    for low, high in out.unreliable:
        lost[low:high] = True
    assert lost.any() and lost.sum() <= 2 * 2560 * len(places)
    assert np.allclose(out.soi[~lost], usual.soi[~lost], atol=0.1) and not out.soi[lost].any()
    assert all(np.isfinite(wave).all() for one in out.sources for wave in (one.waveform, one.cleaned))
    assert np.isfinite(out.symbols).all() and len(out.symbols) == len(usual.symbols)
    warning, = (line for line in out.warnings if "NaN" in line)
    assert str(places[0]) in warning and "not separated" in warning


@pytest.mark.parametrize("sources", [[UNKNOWN, OFDM], [OFDM, KNOWN]], ids=["unknown", "in another order"])
def test_nothing_stands_in_for_a_lost_window(sound, sources):
    """Also where windows are followed and separated again; what replaces it inside never leaves."""
    y = sound[0][:3 * 2048 + 512].copy()
    y[100] = np.nan
    out = separate_stream(y, sources)
    assert out.unreliable[0][0] == 0 and not any(one.waveform[:2000].any() for one in out.sources)


def test_resampled_streams_lose_no_more():
    """Beside the resampler's filter."""
    table = {"kind": "linear-modulation", "symbol_rate": 62500.0, "timing": 5.0, "phase": 0.0, "gain": 1.0, "carrier_offset": 0.0}
    soi, ofdm = from_dict(table), from_dict({"kind": "ofdm", "sample_rate": 0.8e6})
    rng = np.random.default_rng(1)
    y = (rng.standard_normal(20_000) + 1j * rng.standard_normal(20_000)).astype(np.complex64)
    y[9000] = np.inf
    out = separate_stream(y, soi, ofdm, sample_rate=1.1e6)
    assert np.isfinite(out.soi).all() and not out.soi[8990:9010].any() and out.soi[:4000].any() and out.soi[16_000:].any()
    assert any("sample 9000" in line for line in out.warnings)


@pytest.mark.parametrize("level", [1e3, 1e6])
def test_a_strong_window_costs_no_other(sound, level):
    """The scale is that of most windows."""
    y, usual = sound
    loud = y.copy()
    loud[5000] = level
    out = separate_stream(loud, KNOWN, OFDM)
    assert np.allclose(out.soi[8000:], usual.soi[8000:], atol=0.1) and np.allclose(out.soi[:3000], usual.soi[:3000], atol=0.1)
