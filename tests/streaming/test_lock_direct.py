# SPDX-License-Identifier: GPL-3.0-or-later
"""A locked stream whose caller takes waveforms and symbols goes the short way: as right as window by window, and in one piece."""
import numpy as np
import pytest
import torch
from alpha_rgs import native
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming.brief import Brief, Row, cut_out, joined_briefs
from alpha_rgs.streaming.engine import Engine
from alpha_rgs.streaming.lock_direct import LockedDirect
from alpha_rgs.streaming.task import Task

pytestmark = pytest.mark.skipif(not native.built(), reason="the native detector is not built")
WINDOW, HOP, JOB = 2560, 2048, 48
QPSK = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.5, "span": 8}
OFDM = {"kind": "ofdm"}
HEAD, WIDTH = 16, 128           # symbols of a window before its middle, and in that


def _mixture(seed, windows, clock=0.0, drift=0.0, own=QPSK):
    """(mixture, symbols sent, the two waveforms): QPSK under OFDM 10 dB stronger, noise 20 dB below the signal."""
    g, n = torch.Generator().manual_seed(seed), np.arange(HOP * windows + WINDOW - HOP)
    source = from_dict(own | {"samples_per_symbol": own["samples_per_symbol"] * (1 + clock), "timing": 3.3, "phase": 0.7,
                              "carrier_offset": 0.002})
    first, count = source.overlapping_symbols(len(n))
    bits = torch.randint(0, 2, (1, source.signal.alphabet.bits_per_symbol * count), generator=g)
    symbols = source.signal.alphabet.map(bits)
    signal = source.linear_model((1, len(n))).waveform(symbols.to(torch.complex128), len(n))[0].numpy()
    other = alone(from_dict(OFDM | {"frame_offset": 11}), 1, len(n), g)[0][0].numpy()
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    signal, other = signal * np.exp(1j * np.pi * drift * n ** 2), 10 ** 0.5 * other
    noise = 0.1 * torch.randn(len(n), dtype=torch.complex64, generator=g).numpy()
    return (signal + other + noise).astype(np.complex64), symbols[0].numpy(), signal, other


def _separated(y, brief, own=QPSK, missing=None):
    """Results of jobs of JOB windows through an engine. missing: first sample of a thousand that are not there."""
    y = y if missing is None else np.delete(y, np.arange(missing, missing + 1000))
    view = np.lib.stride_tricks.sliding_window_view(y, WINDOW)[::HOP]
    with Engine(threads=1, max_batch=JOB) as engine:
        task = engine.task(from_dict(own), from_dict(OFDM))
        task.brief = brief
        return [task.submit(view[k:k + JOB].copy(), HOP * np.arange(k, min(k + JOB, len(view)))).result()
                for k in range(0, len(view), JOB)], task


def _symbols(results):
    return np.concatenate([out.symbols[:, HEAD:HEAD + WIDTH].ravel() for out in results])


def _pieces(symbols, sent, size=512, lags=12):
    """(share of wrong decisions, lag, quarter turns) of each piece, where they fit best."""
    out = []
    for k in range(0, len(symbols) - size + 1, size):
        fits = [(abs(np.vdot(sent[low:low + size], symbols[k:k + size])), low) for low in range(max(HEAD + k - lags, 0),
                                                                                               HEAD + k + lags + 1)
                if low + size <= len(sent)]
        low = max(fits)[1]
        truth = sent[low:low + size]
        turn = round(np.angle(np.vdot(truth, symbols[k:k + size])) / (np.pi / 2)) % 4
        seen = symbols[k:k + size] * (-1j) ** turn
        out.append((float(np.mean((seen.real < 0) != (truth.real < 0))), low - k, turn))
    return out


@pytest.mark.parametrize(("clock", "drift"), [(0.0, 0.0), (1.5e-4, 1e-9)])
def test_the_short_way_is_as_right_as_window_by_window(clock, drift, monkeypatch):
    """The last jobs go the short way; their symbols are those that were sent, in the same turn throughout; waveforms leave what
    the noise leaves, and what is told of them is told window by window."""
    taken, separate = [], LockedDirect.separate

    def counted(self, row, again):
        out = separate(self, row, again)
        taken.append(0 if out is None else len(out.kappa))
        return out

    monkeypatch.setattr(LockedDirect, "separate", counted)
    y, sent, signal, other = _mixture(3, 3 * JOB, clock, drift)
    results, task = _separated(y, True)
    assert all(isinstance(out, Brief) for out in results) and sum(taken) >= 3 * JOB - 16
    pieces = _pieces(_symbols(results), sent)
    assert len({turn for _, _, turn in pieces}) == 1
    slips = len({lag for _, lag, _ in pieces}) - 1
    assert slips == abs(task.tracker.slips) and sum(wrong > 0 for wrong, _, _ in pieces) <= slips   # a symbol twice, or left out
    last = results[-1]
    at = 2 * JOB * HOP + HOP * np.arange(JOB)[:, None] + np.arange(256, 2304)
    for wave, truth, most in ((last.soi, signal, 2e-3), (last.interference, other, 2e-2)):
        assert np.mean(abs(wave[:, 256:2304] - truth[at]) ** 2) < most
    assert last.quality.shape == last.error_rate.shape == (JOB,) and last.error_rate.max() < 1e-3
    assert {len(value) for value in last.estimated.values()} == {JOB}
    offset = 0.002 + drift * (2 * JOB * HOP + HOP * np.arange(JOB) + WINDOW / 2)
    assert abs(last.estimated["carrier_offset"] - offset).max() < 2e-6
    if clock:
        assert abs(task.tracker.clock_offset + 1e6 * clock) < 2 and task.tracker.slips


def test_lost_samples_end_the_short_way_and_it_is_taken_again():
    """What lies before and behind a gap is right; the windows that hold it are searched, and told as such."""
    y, sent, _, _ = _mixture(4, 4 * JOB)
    results, task = _separated(y, True, missing=JOB * HOP + 30 * HOP)
    pieces = _pieces(_symbols(results), sent, lags=80)
    assert sum(wrong > 0.01 for wrong, _, _ in pieces) <= 3
    states = task.states(HOP * np.arange(4 * JOB))
    assert (states[:16] == "search").any() and (states[JOB:JOB + 28] == "locked").all() and (states[-JOB:] == "locked").all()
    assert (states[JOB + 27:JOB + 40] == "search").any()


def test_a_lock_that_is_lost_beyond_doubt_is_not_tried_window_by_window(monkeypatch):
    """Each window behind a gap would take a fifth of a second, and leave as much."""
    tried, separate = [], Task.separate_predicted

    def counted(self, windows, predicted, rows):
        tried.append(len(windows))
        return separate(self, windows, predicted, rows)

    monkeypatch.setattr(Task, "separate_predicted", counted)
    y, _, _, _ = _mixture(4, 3 * JOB)
    _, task = _separated(y, True, missing=2 * JOB * HOP + 20 * HOP)
    states = task.states(HOP * np.arange(3 * JOB))
    assert (states[2 * JOB + 18:2 * JOB + 24] == "search").any() and (states[-4:] == "locked").all() and sum(tried) <= 4


def test_jobs_that_wait_are_separated_as_one():
    """Symbols and what is told are those of each job by itself."""
    y, _, _, _ = _mixture(6, 5 * JOB)
    view = np.lib.stride_tricks.sliding_window_view(y, WINDOW)[::HOP]
    found = []
    for together in (False, True):
        with Engine(threads=1, max_batch=JOB, max_pending=8 * JOB) as engine:
            task = engine.task(from_dict(QPSK), from_dict(OFDM))
            task.brief = True
            task.submit(view[:JOB].copy(), HOP * np.arange(JOB)).result()
            jobs = []
            for k in range(JOB, 5 * JOB, 16):
                jobs.append(task.submit(view[k:k + 16].copy(), HOP * np.arange(k, k + 16)))
                if not together:
                    jobs[-1].result()
            found.append([job.result() for job in jobs])
    for one, other in zip(*found):
        assert other.symbols.shape == one.symbols.shape and np.mean(abs(_symbols([one]) - _symbols([other])) ** 2) < 1e-3
        assert abs(np.median(one.quality - other.quality)) < 0.5 and one.estimated.keys() == other.estimated.keys()
        assert np.allclose(one.estimated["carrier_offset"], other.estimated["carrier_offset"], atol=1e-7)


def test_8psk_goes_the_short_way():
    """Any alphabet of a linear modulation; phases are known up to an eighth of a turn."""
    own = QPSK | {"constellation": "8psk"}
    y, sent, _, _ = _mixture(5, 3 * JOB, own=own)
    results, _ = _separated(y, True, own)
    assert all(isinstance(out, Brief) for out in results)
    symbols = _symbols(results)[-20 * WIDTH:]
    fits = [abs(np.vdot(sent[low:low + len(symbols)], symbols)) for low in range(len(sent) - len(symbols))]
    truth = sent[int(np.argmax(fits)):][:len(symbols)]
    turn = np.angle(np.vdot(truth, symbols))
    assert abs(turn / (np.pi / 4) - round(turn / (np.pi / 4))) < 0.02
    assert np.mean(abs(symbols * np.exp(-1j * turn) - truth) ** 2) < 0.01


def test_windows_in_a_row_are_one_stretch():
    """Rows with gaps, with samples that are no numbers, or with parts of symbols are none."""
    x = np.arange(1.0, 40001, dtype=np.float32).astype(np.complex64)
    windows, starts = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP], HOP * np.arange(19)
    row = Row.of(windows, starts, 16, 160)
    assert row is not None and np.array_equal(row.stretch()[0], x[:18 * HOP + WINDOW]) and row.context == (False, True)
    assert Row.of(windows, starts + (starts > 9000), 16, 160) is None and Row.of(windows, starts, 17, 160) is None
    broken = windows.copy()
    broken[3, 7] = np.nan
    assert Row.of(broken, starts, 16, 160) is None


def test_cut_shares_memory_where_windows_are_evenly_spaced_and_repeats_the_ends():
    x = np.arange(10)
    assert np.shares_memory(cut_out(x, np.array([1, 4]), 5), x)
    assert cut_out(x, np.array([-1, 2]), 3).tolist() == [[0, 0, 1], [2, 3, 4]]
    assert cut_out(x, np.array([0, 1, 3]), 2).tolist() == [[0, 1], [1, 2], [3, 4]]
    assert cut_out(x, np.array([8]), 4).tolist() == [[8, 9, 9, 9]]


def test_briefs_join():
    """Parts of a job that went different ways."""
    def part(n):
        z = np.full((n, 4), n, np.complex64)
        return Brief(z, z, z, np.ones(n), np.ones(n), lambda: (np.full(n, 1.0), np.full(n, 0.5)), estimated={"gain": np.ones(n)})

    out = joined_briefs([part(2), part(3)])
    assert out.soi.shape == (5, 4) and out.quality.shape == (5,) and len(out.estimated["gain"]) == 5
