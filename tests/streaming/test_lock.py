# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams that lock: what was found is predicted, and what cannot be predicted is searched again."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming import separate_stream
from alpha_rgs.streaming.lock import Lock, lockable
from alpha_rgs.streaming.lock_prediction import Noted, Track

HOP, WINDOWS = 2048, 20
SAMPLES = HOP * WINDOWS + 512
QPSK = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.5, "span": 8}
OFDM = {"kind": "ofdm"}


def _mixture(seed, clock=0.0, drift=0.0, samples=SAMPLES):
    """(mixture, signal): QPSK under OFDM 10 dB stronger, noise 20 dB below the signal. clock: relative; drift: of the QPSK's
    carrier, cycles per sample²."""
    g, n = torch.Generator().manual_seed(seed), np.arange(samples)
    own = QPSK | {"samples_per_symbol": 16 * (1 + clock), "timing": 3.3, "phase": 0.7, "carrier_offset": 0.002}
    signal, other = (alone(from_dict(d), 1, samples, g)[0][0].numpy() for d in (own, OFDM | {"frame_offset": 11}))
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    signal = signal * np.exp(1j * np.pi * drift * n ** 2)
    noise = torch.randn(samples, dtype=torch.complex64, generator=g).numpy()
    return (signal + 10 ** 0.5 * other + 0.1 * noise).astype(np.complex64), signal


def _errors(out, signal):
    """Power of the signal's error over the signal's, of each hop."""
    return np.array([np.mean(abs(out.soi[k:k + HOP] - signal[k:k + HOP]) ** 2) for k in range(0, len(signal) - HOP, HOP)])


def test_a_stream_is_searched_once(searches):
    """Kinds alone are told; a clock of 50 ppm and a carrier that drifts by 1e-9 cycles/sample² are followed. What is predicted is
    reported as if it had been searched."""
    drift = 1e-9
    y, signal = _mixture(5, 5e-5, drift)
    out = separate_stream(y, from_dict(QPSK), from_dict(OFDM))
    assert searches[0] <= 12
    assert _errors(out, signal).max() < 1e-3 and out.error_rate.max() < 1e-3 and not out.unreliable
    assert {len(value) for value in out.estimated.values()} == {WINDOWS}
    offsets = 0.002 + drift * (HOP * np.arange(WINDOWS) + 1280)
    assert abs(out.estimated["carrier_offset"] - offsets).max() < 5e-6 and abs(out.estimated["gain"] - 1).max() < 0.05
    assert np.array_equal(out.estimated["frame_offset"] % 80, (11 - HOP * np.arange(WINDOWS)) % 80)


def test_eight_samples_that_are_missing_cost_no_more_than_their_windows():
    """A receiver that drops samples, or a flow graph that is unlocked: found again, and the place is named."""
    y, signal = _mixture(7)
    y, signal = (np.delete(x, range(24000, 24008)) for x in (y, signal))
    out = separate_stream(y, from_dict(QPSK), from_dict(OFDM))
    errors = _errors(out, signal)
    assert (errors > 0.01).sum() <= 2 and out.unreliable and len(out.unreliable) == 1
    low, high = out.unreliable[0]
    assert low <= 24000 < high and high - low <= 2 * HOP and any("samples may be missing" in text for text in out.warnings)


@pytest.mark.slow
def test_gmsk_whose_phase_depends_on_the_symbols_sent_so_far_is_predicted(searches):
    """Each symbol turns it by a quarter, one way or the other: what a window says must be carried over all symbols since."""
    g, samples = torch.Generator().manual_seed(3), HOP * 14 + 512
    own = from_dict(QPSK | {"timing": 3.3, "phase": 0.7, "carrier_offset": 0.002})
    signal, other = (alone(source, 1, samples, g)[0][0].numpy() for source in (own, from_dict({"kind": "gmsk"})))
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    y = signal + 10 ** 0.5 * other + 0.1 * torch.randn(samples, dtype=torch.complex64, generator=g).numpy()
    out = separate_stream(y.astype(np.complex64), from_dict(QPSK), from_dict({"kind": "gmsk"}))
    assert searches[0] <= 12 and _errors(out, signal).max() < 1e-3 and not out.unreliable


@pytest.mark.slow
def test_a_glitch_does_not_lose_the_lock(searches):
    y, signal = _mixture(8)
    y[30000:30200] += 20
    errors = _errors(separate_stream(y, from_dict(QPSK), from_dict(OFDM)), signal)
    assert searches[0] <= 14 and np.median(errors) < 1e-3 and (errors > 0.01).sum() <= 2


@pytest.mark.slow
def test_interference_that_vanishes_is_seen():
    """The lock is not believed where its interference is gone."""
    y, signal = _mixture(9)
    half = SAMPLES // 2
    noise = torch.randn(SAMPLES - half, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)).numpy()
    y[half:] = signal[half:] + 0.1 * noise
    out = separate_stream(y, from_dict(QPSK), from_dict(OFDM))
    right, told = _errors(out, signal) < 0.05, np.asarray(out.error_rate)[:WINDOWS - 1]
    named = np.array([any(low < k + HOP and high > k for low, high in out.unreliable) for k in range(0, SAMPLES - 2 * HOP, HOP)])
    assert (right[:len(named)] | named | (told[:len(named)] > 0.02)).all()


def test_what_comes_in_bursts_or_is_known_is_not_locked():
    qpsk, ofdm = from_dict(QPSK), from_dict(OFDM)
    known = from_dict(QPSK | {"timing": 1.0, "phase": 0.0, "carrier_offset": 0.0, "gain": 1.0})
    assert lockable([qpsk, ofdm]) and lockable([known, ofdm]) and lockable([qpsk, from_dict({"kind": "gmsk"})])
    assert not lockable([qpsk, from_dict({"kind": "lora", "spreading_factor": 7})])
    assert not lockable([known, replace(from_dict(OFDM | {"frame_offset": 1, "gain": 1.0, "phase": 0.0}), carrier_offset=0.0)])
    assert not lockable([qpsk, from_dict({"kind": "tones", "count": 1})])


def test_a_lock_that_was_lost_searches_again():
    lock = Lock([from_dict(QPSK), from_dict(OFDM)])
    assert lock.reach == 0
    lock.good = 20
    assert lock.reach == 10
    lock.lose(0.0)
    assert lock.reach == 0


# ---- tracks --------------------------------------------------------------------------------------------------------------


def _track(values, deviation, fields=("delay", "phase", "carrier_offset", "gain"), turns=4):
    track = Track(16.0, turns, fields)
    for at in np.arange(12) * 2048.0:
        own = values(at)
        track.note(Noted(at, {name: own[name] for name in fields}, dict.fromkeys(fields, deviation)))
    return track


def test_windows_are_noted_together_as_one_by_one():
    """Whatever turn and period each of them was found in."""
    def window(k):
        return Noted(2048.0 * k, {"delay": 3.0 + 0.02 * k + 16 * (k % 3), "phase": 0.4 * k + np.pi / 2 * (k % 4)},
                     {"delay": 1e-3, "phase": 1e-3})

    fields, at = ("delay", "phase"), np.array([2048.0 * 30])
    single, together = Track(16.0, 4, fields), Track(16.0, 4, fields)
    for k in range(24):
        single.note(window(k))
    for begin in range(0, 24, 12):
        together.note(*(window(k) for k in range(begin, begin + 12)))
    for name in fields:
        assert together.at(at)[name][0] == pytest.approx(single.at(at)[name][0], abs=1e-6)


def test_streams_that_have_gone_on_for_days_are_predicted_as_exactly():
    """A parabola of 1e12 samples back leaves no rounding in the phase of today."""
    began, fields = 1e12, ("delay", "phase", "carrier_offset")
    track = Track(16.0, 4, fields)

    def values(at):
        x = at - began
        turns = 2e-3 * x + 1e-9 * x * x / 2
        return {"delay": 5e6 + 2e-5 * x, "phase": 4e9 + 2 * np.pi * turns, "carrier_offset": 2e-3 + 1e-9 * x}

    for at in began + 32768.0 * np.arange(32):
        track.note(Noted(at, values(at), dict.fromkeys(fields, 1e-6)), placed=True)
    at = began + 32768.0 * np.arange(32, 36)
    seen, right = track.at(at), values(at)
    # a delay's slope is 0, but for what clocks may be off by
    for name, most in (("phase", 1e-4), ("carrier_offset", 1e-10), ("delay", 0.05)):
        assert abs(seen[name] - right[name]).max() < most


def test_phases_in_another_turn_and_delays_in_another_period_go_on():
    def values(at):
        k = int(at // 2048)
        return {"delay": 3.0 + 1e-5 * at + 16 * (k % 3), "phase": 2 * np.pi * 1e-4 * at + np.pi / 2 * (k % 4),
                "carrier_offset": 1e-4, "gain": 2.0}

    found = _track(values, 1e-4).at(np.array([40000.0]))
    assert (found["delay"][0] - 3.4 + 8) % 16 == pytest.approx(8, abs=0.01)
    assert (found["phase"][0] - 2 * np.pi * 4 + 0.5) % (np.pi / 2) == pytest.approx(0.5, abs=0.01)
    assert found["carrier_offset"][0] == pytest.approx(1e-4, rel=1e-3) and found["gain"][0] == pytest.approx(2.0, rel=1e-3)


def test_a_carrier_that_drifts_is_carried_on_as_a_parabola_and_noise_as_a_line():
    rng = np.random.default_rng(1)

    def drifting(at):
        return {"phase": np.pi * 1e-9 * at ** 2 + 0.002 * rng.normal(), "carrier_offset": 1e-9 * at}

    def steady(at):
        return {"phase": 0.01 * rng.normal(), "carrier_offset": 1e-7 * rng.normal()}

    fields, at = ("phase", "carrier_offset"), 17 * 2048.0
    assert _track(drifting, 2e-3, fields, 1).at(np.array([at]))["phase"][0] == pytest.approx(np.pi * 1e-9 * at ** 2, abs=0.05)
    assert _track(steady, 1e-2, fields, 1).at(np.array([at]))["phase"][0] == pytest.approx(0, abs=0.05)
