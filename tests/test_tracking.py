# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream whose windows are acquired alone becomes one stream of symbols: none twice, none missing, all in one phase."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import mixtures, separate_stream
from alpha_rgs.priors import from_dict
from alpha_rgs.separators import Separation
from alpha_rgs.tracking import Tracker

UNKNOWN = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8})
WIFI = from_dict({"kind": "ofdm", "preset": "802.11"})
TRUE = replace(UNKNOWN, timing=5.3, phase=0.4, gain=1.0, carrier_offset=2e-4)
SPS, WINDOW = 16, 160


def separation(symbols, timing, phase, offset, quality=20.0):
    """What windows [n, symbols] would be separated into, numpy; timing, phase: of each window."""
    n = len(symbols)
    llrs = np.stack([symbols.real, symbols.imag], -1).astype(np.float32)
    wave = np.zeros((n, WINDOW * SPS), np.complex64)
    return Separation(wave, wave, symbols.astype(np.complex64), llrs, np.full(n, quality), 0, np.ones(n), np.ones(n), "joint", {
        "timing": np.asarray(timing), "phase": np.asarray(phase), "carrier_offset": np.full(n, offset), "gain": np.ones(n)})


def stream(count, drift=0.0, offset=1e-4, seed=1):
    """Symbols of a stream, and what `count` windows of it would be separated into, each turned by some quarter turns: the clock
    runs `drift` (a share) slow."""
    rng, hop = np.random.default_rng(seed), 128 * SPS
    symbols = np.exp(1j * np.pi / 4 * (1 + 2 * rng.integers(0, 4, 128 * count + 200)))
    out = []
    for k in range(count):
        start, period = k * hop, SPS * (1 + drift)
        number = int(np.ceil((start - 3.2) / period - 1e-9))
        timing, turns = 3.2 + number * period - start, int(rng.integers(4))
        phase = 0.3 + 2 * np.pi * offset * start + turns * np.pi / 2
        out.append((start, separation(symbols[None, number:number + WINDOW] * np.exp(-1j * turns * np.pi / 2), [timing], [phase],
                                      offset)))
    return symbols, out


def laid(windows, context=16, hop=128):
    """The symbols that a stream keeps of windows."""
    tracker, kept = Tracker(UNKNOWN), []
    for start, out in windows:
        followed = tracker.follow(out, [start])
        assert np.allclose(followed.llrs[0], np.stack([followed.symbols[0].real, followed.symbols[0].imag], -1), atol=1e-5)
        kept.append(followed.symbols[0, context:context + hop])
    return tracker, np.concatenate(kept)


def test_windows_of_any_quarter_turn_make_one_stream():
    """Symbols agree with the stream's but for one turn of all of them; the LLRs turn with them."""
    symbols, windows = stream(12)
    tracker, kept = laid(windows)
    turn = kept / symbols[16:16 + len(kept)]
    assert np.allclose(turn, turn[0], atol=1e-5) and tracker.slips == 0


def test_a_timing_that_wavers_about_a_symbols_edge_loses_none():
    """Timing just before and just after a sample that divides symbols: neither a repetition nor a gap."""
    symbols, _ = stream(1)
    windows = [(k * 2048, separation(symbols[None, k * 128 + (wave < 0):][:, :WINDOW], [wave % SPS], [0.0], 0.0))
               for k, wave in enumerate([0.02, -0.02, 0.01, -0.03, 0.02])]
    kept = laid(windows)[1]
    first = int(np.argmin(abs(symbols[:40] - kept[0]) + abs(symbols[1:41] - kept[1]) + abs(symbols[2:42] - kept[2])))
    assert np.allclose(kept, symbols[first:first + len(kept)], atol=1e-5)


def test_a_slow_clock_costs_a_symbol_now_and_then():
    """200 ppm over 60 windows are 25 samples: at most two symbols are dropped or repeated, the rest stands in order."""
    symbols, windows = stream(60, drift=2e-4)
    tracker, kept = laid(windows)
    assert abs(tracker.slips) <= 2
    turn = kept[0] / symbols[16]
    same = [np.mean(abs(kept / turn - symbols[16 + d:16 + d + len(kept)]) < 1e-3) for d in (-2, -1, 0, 1, 2)]
    assert sum(same) > 0.98 and len(kept) == 60 * 128


def test_a_bad_window_is_laid_as_predicted():
    """Its phase is noise: what comes after it still agrees with what came before."""
    symbols, windows = stream(6)
    start, bad = windows[3]
    windows[3] = start, replace(bad, quality=np.zeros(1), estimated=bad.estimated | {"phase": np.array([1.1])})
    kept = laid(windows)[1]
    good = np.r_[kept[:3 * 128], kept[4 * 128:]] / np.r_[symbols[16:16 + 3 * 128], symbols[16 + 4 * 128:16 + 6 * 128]]
    assert np.allclose(good, good[0], atol=1e-5)


@pytest.mark.parametrize("name", ["qpsk", "8psk"])
def test_llrs_are_those_of_the_symbols_after_a_move(name):
    """A window that begins a symbol early is moved and turned: its LLRs belong to the symbols that they come with."""
    prior = from_dict({"kind": "linear-modulation", "constellation": name, "samples_per_symbol": SPS})
    alphabet = prior.signal.alphabet
    bits = torch.randint(0, 2, (2, WINDOW * alphabet.bits_per_symbol), generator=torch.Generator().manual_seed(1))
    turn, tracker = 2 * np.pi / alphabet.symmetry, Tracker(prior)
    for k, (timing, phase) in enumerate(((0.02, 0.0), (SPS - 0.02, turn))):
        symbols = alphabet.map(bits)[k:k + 1].numpy()
        out = replace(separation(symbols, [timing], [phase], 0.0), llrs=alphabet.llrs(torch.from_numpy(symbols), 0.01).numpy())
        followed = tracker.follow(out, [k * 2048])
    assert not np.allclose(followed.symbols, symbols * np.exp(1j * turn), atol=1e-4)           # it was moved
    assert np.array_equal(followed.llrs[0].ravel() < 0, alphabet.slice(torch.from_numpy(followed.symbols))[0].numpy() > 0)


@pytest.mark.parametrize("given", [("carrier_offset",), ("gain", "carrier_offset"), ("timing",), ("timing", "carrier_offset")])
def test_what_is_given_is_not_asked_of_the_windows(given):
    """Some of the signal's nuisances in its file, the others found: still one stream in one phase."""
    mixture = mixtures.draw(TRUE, WIFI, 1, 2 * 2048 + 512, -10.0, 25.0, seed=4)
    out = separate_stream(mixture.y[0].numpy(), replace(UNKNOWN, **{name: getattr(TRUE, name) for name in given}), WIFI)
    truth = TRUE.signal.alphabet.map(mixture.bits)[0].numpy()
    ratio = out.symbols[8:250] / truth[8:250]
    turn = np.exp(1j * np.pi / 2 * np.round(np.angle(ratio.mean()) / (np.pi / 2)))
    assert np.mean(abs(ratio / turn - 1) > 1) < 0.03


@pytest.mark.parametrize("samples", [5 * 2048 + 512, 4 * 2048 + 1700])
def test_a_stream_under_bursts_is_separated_whole(samples):
    """Nothing given but the kinds: as many samples as came, a symbol for each of the stream's, next to none wrong, one phase."""
    mixture = mixtures.draw(TRUE, WIFI, 1, samples, -10.0, 25.0, seed=4)
    out = separate_stream(mixture.y[0].numpy(), UNKNOWN, WIFI)
    assert len(out.soi) == len(out.interference) == samples and abs(len(out.symbols) - samples / SPS) <= 1
    truth = TRUE.signal.alphabet.map(mixture.bits)[0].numpy()
    count = len(truth) - 20
    ratio = out.symbols[8:8 + count] / truth[8:8 + count]
    turn = np.exp(1j * np.pi / 2 * np.round(np.angle(ratio.mean()) / (np.pi / 2)))
    assert np.mean(abs(ratio / turn - 1) > 1) < 0.02
