# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream whose windows are acquired alone becomes one stream of symbols: none twice, none missing, all in one phase."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate_stream
from alpha_rgs.separators import Separation
from alpha_rgs.sources import from_dict, mixtures
from alpha_rgs.streaming import task
from alpha_rgs.streaming.symbol_tracker import Tracker

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


def test_half_a_symbol_that_is_missing_costs_no_symbol_later_on():
    """Windows after a gap, each by itself, are not believed at first; all are numbered alike, though timings half a symbol on
    round up or down."""
    symbols = np.exp(1j * np.pi / 4 * (1 + 2 * np.random.default_rng(2).integers(0, 4, 1600)))
    windows = [(k * 2048, separation(symbols[None, k * 128 + 63 * (k > 4):][:, :WINDOW], [3.4 + wave + 8 * (k > 4)], [0.0], 0.0))
               for k, wave in enumerate([0.0, 0.01, -0.01, 0.0, 0.02, 0.0, -0.03, 0.04, 0.03])]
    kept = laid(windows)[1][5 * 128:]
    first = int(np.argmin([abs(symbols[k:k + 64] - kept[:64]).sum() for k in range(900)]))
    assert np.allclose(kept, symbols[first:first + len(kept)], atol=1e-5)


def test_a_slow_clock_costs_a_symbol_now_and_then():
    """200 ppm over 60 windows are 25 samples: at most two symbols are dropped or repeated, the rest stands in order."""
    symbols, windows = stream(60, drift=2e-4)
    tracker, kept = laid(windows)
    assert abs(tracker.slips) <= 2
    turn = kept[0] / symbols[16]
    same = [np.mean(abs(kept / turn - symbols[16 + d:16 + d + len(kept)]) < 1e-3) for d in (-2, -1, 0, 1, 2)]
    assert sum(same) > 0.98 and len(kept) == 60 * 128


def test_a_bad_window_is_placed_as_predicted():
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


def joined(windows, **changed):
    """Windows of `stream` as one Separation, and where they begin; changed: name -> {window: value} of what was estimated."""
    parts = [out for _, out in windows]
    estimated = {key: np.concatenate([p.estimated[key] for p in parts]) for key in parts[0].estimated}
    for key, values in changed.items():
        for k, value in values.items():
            estimated[key][k] = value
    arrays = {key: np.concatenate([getattr(p, key) for p in parts])
              for key in ("soi", "interference", "symbols", "llrs", "quality", "kappa", "noise_var")}
    return replace(parts[0], estimated=estimated, **arrays), [start for start, _ in windows]


@pytest.mark.parametrize("bad, quality, kept", [
    ({2}, 20.0, True),              # an alias leaves symbols on the points of the alphabet: as good as the right one, or better
    ({0, 1}, 4.0, True), ({5}, 4.0, True),
    ({2}, 26.0, False)])            # much better than what the neighbours say: it may be right
def test_windows_that_disagree_are_separated_again_as_their_neighbours_are(bad, quality, kept):
    windows, alias, asked = stream(6)[1], 1 / (4 * SPS), []
    right, starts = joined(windows)
    wrong = joined(windows, carrier_offset={k: 1e-4 + alias for k in bad}, timing={k: 9.9 for k in bad})[0]
    wrong.quality[list(bad)] = quality

    def again(rows, known):
        asked.append((list(rows), known))
        return replace(right, estimated={key: v[rows] for key, v in right.estimated.items()}, **{
            key: getattr(right, key)[rows] for key in ("soi", "interference", "symbols", "llrs", "kappa", "noise_var")},
            quality=np.full(len(rows), 19.5))

    out = Tracker(UNKNOWN).follow(wrong, starts, again)
    rows, known = asked[0]
    assert set(rows) == bad and np.allclose(known["carrier_offset"], 1e-4) and np.allclose(known["timing"] % SPS, 3.2, atol=1e-6)
    assert (out.quality == np.where(np.isin(range(6), rows), 19.5 if kept else quality, 20.0)).all()
    assert np.allclose(out.estimated["carrier_offset"], 1e-4) == kept


def test_of_windows_separated_again_those_that_are_better_are_kept():
    """One of two; what was given to them comes from what they were given, not from what they report."""
    windows, alias = stream(6)[1], 1 / (4 * SPS)
    right, starts = joined(windows)
    wrong = joined(windows, carrier_offset={k: 1e-4 + alias for k in (2, 4)}, timing={k: 9.9 for k in (2, 4)})[0]
    wrong.quality[[2, 4]] = 4.0, 26.0

    def again(rows, known):
        return replace(right, estimated={"phase": right.estimated["phase"][rows]}, **{
            key: getattr(right, key)[rows] for key in ("soi", "interference", "symbols", "llrs", "kappa", "noise_var")},
            quality=np.full(len(rows), 19.5))

    out = Tracker(UNKNOWN).follow(wrong, starts, again)
    assert np.allclose(out.estimated["carrier_offset"], np.where(np.arange(6) == 4, 1e-4 + alias, 1e-4))
    assert np.allclose(out.estimated["timing"][2], right.estimated["timing"][2], atol=1e-6)


def test_what_is_known_is_enough_after_a_gap_and_another_signal_is_followed_in_the_end():
    """Twenty windows without the signal: its phase goes on. A signal that comes back with another carrier offset, one window
    after the other, is believed once most of the latest windows agree on it."""
    symbols, windows = stream(40)
    for k in range(10, 30):
        start, out = windows[k]
        windows[k] = start, replace(out, quality=np.full(1, -2.0), estimated=out.estimated | {
            "carrier_offset": np.array([0.01]), "phase": np.ones(1), "timing": np.array([11.0])})
    kept = laid(windows)[1] / symbols[16:16 + 40 * 128]
    assert np.allclose(kept[30 * 128:], kept[0], atol=1e-5)

    other, windows = stream(12, offset=-3e-4)[1], stream(12)[1][:4]
    tracker, found = Tracker(UNKNOWN), []
    for start, out in windows + [(start + 8192, out) for start, out in other]:
        tracker.follow(out, [start])
        found.append(tracker.predicted().carrier_offset)
    assert found[3] == pytest.approx(1e-4) and found[7] == pytest.approx(-3e-4)


def test_phases_of_neighbours_take_out_what_noise_did_to_a_window():
    """Phase and carrier offset of each window with errors of the size that it states: those of the symbols shrink by 40 %."""
    (symbols, windows), rng = stream(30), np.random.default_rng(3)
    middle, phase, offset = WINDOW * SPS / 2, 0.04 * rng.standard_normal(30), 1e-5 * rng.standard_normal(30)
    noisy = []
    for k, (start, out) in enumerate(windows):
        ramp = np.exp(-1j * (phase[k] + 2 * np.pi * offset[k] * (3.2 + SPS * np.arange(WINDOW) - middle)))
        noisy.append((start, replace(out, symbols=out.symbols * ramp, estimated=out.estimated | {
            "phase": out.estimated["phase"] + phase[k] - 2 * np.pi * offset[k] * middle, "phase_std": np.full(1, 0.04),
            "carrier_offset": out.estimated["carrier_offset"] + offset[k], "carrier_offset_std": np.full(1, 1e-5)})))
    out, starts = joined(noisy)
    truth = symbols[16:16 + 30 * 128].reshape(30, 128)

    def spread(values):
        ratio = values / truth
        return np.angle((ratio * np.exp(-1j * np.angle((ratio ** 4).mean()) / 4)) ** 4).std() / 4

    followed = Tracker(UNKNOWN).follow(out, starts)
    assert spread(followed.symbols[:, 16:144]) < 0.6 * spread(out.symbols[:, 16:144])


@pytest.mark.parametrize("ppm", [50, -50])
def test_a_clock_50_ppm_off_is_measured_and_no_symbol_is_lost_or_doubled(monkeypatch, ppm):
    """1000 windows of separate_stream, what each would be separated into made up (timing to 0.2 samples, 8 dB of quality):
    six symbols of drift, dropped or repeated in the grid of the windows, but none in the stream that comes out. Each window is
    searched."""
    rng, period, count = np.random.default_rng(5), SPS / (1 + 1e-6 * ppm), 1000
    symbols = np.exp(1j * np.pi / 4 * (1 + 2 * rng.integers(0, 4, 129 * count + 400)))
    trackers = []

    def separated(windows, soi, interference, method, kappa, noise_var, start, **_):
        origin = 3.2 + 0.2 * rng.standard_normal(len(start))
        number = np.ceil((start - origin) / period - 1e-9).astype(int)
        rows = symbols[number[:, None] + np.arange(WINDOW)]
        out = separation(rows, origin + number * period - start, 0.3 + 2 * np.pi * 1e-4 * start, 1e-4, 8.0)
        tensors = {key: torch.from_numpy(v) for key, v in vars(out).items() if isinstance(v, np.ndarray)}
        return replace(out, estimated={key: torch.from_numpy(v) for key, v in out.estimated.items()}, **tensors)

    monkeypatch.setattr(task, "separate", separated)
    monkeypatch.setattr(task, "lockable", lambda *_: False)
    monkeypatch.setattr(task, "Tracker", lambda soi: trackers.append(Tracker(soi)) or trackers[-1])
    out = separate_stream(np.zeros(512 + 2048 * count, np.complex64), UNKNOWN, WIFI)
    assert out.clock_offset == pytest.approx(ppm, abs=5)
    assert abs(trackers[0].slips) >= 4 and np.sign(trackers[0].slips) == np.sign(ppm)
    inside = out.symbols[20:-20]
    first = next(k for k in range(16, 25) if np.allclose(symbols[k:k + 50], inside[:50], atol=1e-4))
    assert np.allclose(symbols[first:first + len(inside)], inside, atol=1e-4)


@pytest.mark.parametrize("given", [pytest.param(("carrier_offset",), marks=pytest.mark.slow), ("gain", "carrier_offset"),
                                   ("timing",), ("timing", "carrier_offset")])
def test_what_is_given_is_not_asked_of_the_windows(given):
    """Some of the signal's nuisances in its file, the others found: still one stream in one phase."""
    mixture = mixtures.draw(TRUE, WIFI, 1, 2 * 2048 + 512, -10.0, 25.0, seed=4)
    out = separate_stream(mixture.y[0].numpy(), replace(UNKNOWN, **{name: getattr(TRUE, name) for name in given}), WIFI)
    truth = TRUE.signal.alphabet.map(mixture.bits)[0].numpy()
    ratio = out.symbols[8:250] / truth[8:250]
    turn = np.exp(1j * np.pi / 2 * np.round(np.angle(ratio.mean()) / (np.pi / 2)))
    assert np.mean(abs(ratio / turn - 1) > 1) < 0.03


@pytest.mark.parametrize("samples", [pytest.param(5 * 2048 + 512, marks=pytest.mark.slow), 2 * 2048 + 1700])
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
