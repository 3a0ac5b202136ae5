# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation locks by itself beside 802.11 bursts, which are found anew in each window: it is searched once, followed
and predicted, its bits are right, and where it goes astray or is gone that is seen."""
import numpy as np
import pytest
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming import lock_alone, separate_stream
from alpha_rgs.streaming.engine import Engine
from alpha_rgs.streaming.lock import lockable
from alpha_rgs.streaming.lock_correction import Corrected
from alpha_rgs.streaming.lock_prediction import Track

WINDOW, HOP = 2560, 2048
QPSK = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.5, "span": 8}
OWN = {"timing": 3.3, "phase": 0.7, "carrier_offset": 0.002}
BURSTS = {"kind": "ofdm", "preset": "802.11"}
FREE = ("timing", "carrier_offset", "phase", "gain")


def _mixture(windows, seed, clock=0.0, drift=0.0, there=slice(None)):
    """(mixture, signal): QPSK under bursts 10 dB stronger, noise 20 dB below it. clock: relative; drift: cycles per sample²;
    there: the samples that hold the signal."""
    samples, g = HOP * windows + WINDOW - HOP, torch.Generator().manual_seed(seed)
    own = QPSK | OWN | {"samples_per_symbol": 16 * (1 + clock)}
    signal, other = (alone(from_dict(d), 1, samples, g)[0][0].numpy() for d in (own, BURSTS))
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    on = np.zeros(samples)
    on[there] = 1.0
    signal = signal * on * np.exp(1j * np.pi * drift * np.arange(samples) ** 2)
    noise = torch.randn(samples, dtype=torch.complex64, generator=g).numpy()
    return (signal + 10 ** 0.5 * other + 0.1 * noise).astype(np.complex64), signal


def _errors(out, signal):
    """Power of the signal's error over its power, of each hop."""
    return np.array([np.mean(abs(out.soi[k:k + HOP] - signal[k:k + HOP]) ** 2) for k in range(0, len(signal) - HOP, HOP)])


def test_a_stream_is_searched_once(searches):
    """Kinds alone are told; a clock of 50 ppm and a carrier that drifts by 1e-9 cycles/sample² are followed. What was predicted
    and what was found is reported of each window."""
    y, signal = _mixture(20, 3, 5e-5, 1e-9)
    out = separate_stream(y, from_dict(QPSK), from_dict(BURSTS))
    assert searches[0] == 4
    assert np.median(_errors(out, signal)) < 1e-2 and np.mean(out.error_rate) < 5e-3
    assert {len(value) for value in out.estimated.values()} == {20}
    assert {"kappa", "noise_var", "timing_std"} <= out.estimated.keys()
    offsets = 0.002 + 1e-9 * (HOP * np.arange(20) + WINDOW / 2)
    away = abs(out.estimated["carrier_offset"] - offsets)       # the first ones are predicted before a drift is seen
    assert away.max() < 1e-5 and away[8:].max() < 3e-6 and abs(out.estimated["gain"] - 1).max() < 0.05
    assert len(np.unique(out.estimated["kappa"])) > 10          # bursts are each window's own


def test_windows_that_are_predicted_are_said_to_be_locked():
    """The carrier is told here, which makes the search short."""
    y, _ = _mixture(12, 4)
    windows, starts = np.lib.stride_tricks.sliding_window_view(y, WINDOW)[::HOP].copy(), HOP * np.arange(12)
    with Engine(threads=1) as engine:
        task = engine.task(from_dict(QPSK | {"carrier_offset": 0.002}), from_dict(BURSTS))
        out = task.submit(windows, starts).result()
        assert task.states(starts).tolist() == ["search"] * 4 + ["locked"] * 8
        assert np.asarray(out.quality)[8:].min() > 10 and task.ready(HOP * 12)


@pytest.mark.slow
def test_a_gap_is_named_and_the_signal_found_again(searches):
    """In four windows there is none: they are searched, as are the four after them, no more."""
    gap = np.zeros(HOP * 32 + WINDOW - HOP, bool)
    gap[HOP * 20:HOP * 24] = True
    y, signal = _mixture(32, 3, there=~gap)
    out = separate_stream(y, from_dict(QPSK), from_dict(BURSTS))
    told, errors = np.asarray(out.error_rate), _errors(out, signal)
    assert (told[20:23] > 0.2).all() and np.median(told[25:]) < 5e-3 and np.median(errors[25:]) < 1e-2
    assert any(low <= HOP * 21 and high >= HOP * 22 for low, high in out.unreliable) and searches[0] <= 28


@pytest.mark.slow
def test_samples_that_are_missing_cost_their_window():
    """Eight of sixteen: the next window is searched where the signal was, and right."""
    y, signal = _mixture(28, 3)
    y, signal = (np.delete(x, range(HOP * 18 + 1000, HOP * 18 + 1008)) for x in (y, signal))
    errors = _errors(separate_stream(y, from_dict(QPSK), from_dict(BURSTS)), signal)
    assert (errors[17:20] > 0.1).sum() <= 2 and np.median(errors[20:]) < 1e-2


def test_what_locks_by_itself():
    qpsk, bursts, gmsk = from_dict(QPSK), from_dict(BURSTS), from_dict({"kind": "gmsk"})
    assert lockable([qpsk, bursts]) and not lockable([qpsk, bursts], "matched_filter")
    assert not lockable([gmsk, bursts]) and not lockable([qpsk, gmsk, bursts])
    assert not lockable([from_dict(QPSK | OWN | {"gain": 1.0}), bursts])


def test_the_separation_says_how_far_a_modulation_is_off():
    """Within what it says itself, in windows of decided carriers too: with the carriers' means of one pass and their variances of
    another, one window in sixteen took steps as long as they may be."""
    y, _ = _mixture(24, 5)
    windows, starts = torch.from_numpy(np.lib.stride_tricks.sliding_window_view(y, WINDOW)[::HOP].copy()), HOP * np.arange(24)
    known = from_dict(QPSK | OWN | {"gain": 1.0})
    out = separate(windows, known, from_dict(BURSTS), start=starts, free=FREE, fits=0)
    found = {name: out.estimated[name].numpy() for name in FREE}
    true = {"timing": 3.3 - starts, "carrier_offset": 0.002, "phase": 0.7 + 2 * np.pi * 0.002 * starts, "gain": 1.0}
    off = {name: found[name] - true[name] for name in FREE}
    off["phase"] += np.pi * WINDOW * off["carrier_offset"]      # in the middle of the window
    for name, value in off.items():
        assert (abs(value) < 6 * out.estimated[f"{name}_std"].numpy()).all(), name


# ---- judging windows -----------------------------------------------------------------------------------------------------

TRACK, STARTS = Track(16.0, 4, ("delay", "carrier_offset")), HOP * np.arange(8.0)


def _seen(**values):
    deviations = {"delay": np.full(8, 0.05), "carrier_offset": np.full(8, 1e-6)}
    return Corrected([(values, deviations)], np.zeros(8), np.zeros(8))


def test_windows_that_were_found_off_the_others_line_are_not_good():
    delay, offset = (5.0 + 5e-5 * STARTS - STARTS) % 16, 1e-9 * STARTS
    assert lock_alone.found(_seen(delay=delay, carrier_offset=offset), TRACK, STARTS, WINDOW).all()
    delay[2], offset[6] = delay[2] + 0.6, offset[6] + 1.0 / (64 * 16)
    good = lock_alone.found(_seen(delay=delay, carrier_offset=offset), TRACK, STARTS, WINDOW)
    assert good.tolist() == [k not in (2, 6) for k in range(8)]


def test_windows_are_astray_that_are_off_or_lost():
    seen = Corrected([({}, {})], np.array([0.0, 0.01, 0.3, 0.0]), np.array([1.0, 2.0, 1.0, 4.5]))
    assert lock_alone.astray(seen, []).tolist() == [False, False, True, True]
    assert lock_alone.lost(seen, []).tolist() == [False, False, True, False]
    assert not lock_alone.lost(seen, [0.2] * 8)[2]              # where many bits are wrong anyway
