# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream that goes on while what is known of it changes; a receiver that is tuned to another frequency; reports of windows."""
from dataclasses import replace

import numpy as np
import pytest
from alpha_rgs import Engine
from alpha_rgs.errors import ParameterError
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.streaming.live import in_windows, live
from alpha_rgs.streaming.retuned import RetunedTask
from alpha_rgs.streaming.session import Session
from alpha_rgs.streaming.window_reports import qualities, reports

QPSK = {"kind": "linear-modulation", "symbol_rate": 18000, "rolloff": 0.35, "timing": 3.0, "phase": 0.0, "gain": 1.0}
GMSK = {"kind": "gmsk", "symbol_rate": 9600}
SOI, OFDM = paper_priors(symbols=None)
KNOWN = replace(SOI, phase=0.3), replace(OFDM, frame_offset=37, phase=-1.1)


@pytest.fixture
def engine():
    with Engine() as engine:
        yield engine


def in_hertz(rate=1e6, **more):
    """A session of two sources in Hz."""
    sources = tuple(map(from_dict, (QPSK, GMSK)))
    return Session(sources, live(sources, rate), sample_rate=rate, **more)


def in_samples(**more):
    """A session of a known pair in samples."""
    return Session(KNOWN, in_windows(KNOWN, None, 2560, 2048), pair=True, sir_db=-12.0, snr_db=20.0, **more)


def test_another_rate_keeps_the_windows():
    """And the rate inside suits the sources again. One that differs by less than receivers' do is the same."""
    session = in_hertz()
    half = session.at_rate(0.5e6)
    assert (half.cut.window, half.cut.hop) == (session.cut.window, session.cut.hop) and half.cut.seen > 1.9 * session.cut.seen
    assert half.cut.plan.inside == pytest.approx(session.cut.plan.inside)
    assert session.at_rate(1e6 + 0.1) is session and half.at_rate(1e6).cut.seen == session.cut.seen


@pytest.mark.parametrize("change, words", [
    (lambda s: s.at_rate(8000.0), "symbol_rate: 18000 is above the sample rate, 8000 Hz"),
    (lambda s: s.at_rate(1e9), "window, hop: .* too few for the resampler's filter"),
    (lambda s: s.retuned(5e8).retuned(5.01e8), "center_freq: .*lies outside the stream"),
    (lambda s: s.with_sources([KNOWN[0], *s.sources[1:]]).at_rate(2e6), "known in samples of 1e\\+06 Hz"),
    (lambda s: replace(s, sample_rate=None).retuned(1e8).retuned(2e8), "center_freq: set samp_rate")])
def test_what_cannot_be_is_refused(change, words):
    with pytest.raises(ParameterError, match=words):
        change(in_hertz())


def test_the_first_frequency_is_that_of_the_sources():
    """Later ones move them; a band of which a part is outside is named."""
    session = in_hertz().retuned(1e8)
    assert session.shift == 0 and session.retuned(1e8 + 1e5).shift == 1e5
    assert "reaches beyond" in session.retuned(1e8 + 499e3).warnings[0] and not session.warnings


def test_symbols_of_another_period_do_not_leave():
    session = replace(in_hertz(), period=live(in_hertz().sources, 1e6, symbols=True).symbol_period)
    assert not session.at_rate(0.5e6).symbols and "that output is 0" in session.at_rate(0.5e6).warnings[0]


def test_only_what_separates_otherwise_asks_for_another_task():
    session = in_samples()
    assert session.at_rate(1e6).separates_as(session) and session.retuned(1e8).separates_as(session)
    assert not replace(session, sir_db=-6.0).separates_as(session)
    assert not session.at_rate(1e6).retuned(1e8).retuned(1.001e8).separates_as(session)
    assert not session.with_sources(KNOWN[::-1]).separates_as(session)


@pytest.mark.parametrize("start", [0, 2048, 123_456_768])
@pytest.mark.parametrize("brief", [True, False])
def test_a_retuned_stream_is_separated_as_the_one_before(engine, start, brief):
    """Waveforms come back at the receiver's frequencies."""
    shift = 0.0371
    mixture = draw(*(source.at(start) if start else source for source in KNOWN), 1, 2560 * 2, -12, 20, seed=3)
    windows = np.stack([mixture.y[0, k:k + 2560].numpy() for k in (0, 2048)])
    starts = start + np.array([0, 2048])
    turn = np.exp(-2j * np.pi * shift * (starts[:, None] % 10_000 + np.arange(2560)))      # whole turns lie in 10 000 samples
    plain, moved = (in_samples().task(engine) for _ in range(2))
    plain.brief = moved.brief = brief
    right = plain.submit(windows, start=starts).result(60)
    out = RetunedTask(moved, shift).submit((windows * turn).astype(np.complex64), start=starts).result(60)
    assert np.abs(out.soi - right.soi * turn).max() < 0.02 and np.abs(out.interference - right.interference * turn).max() < 0.1
    assert np.abs(out.symbols - right.symbols)[:, 8:-8].max() < 0.02


def test_windows_are_reported_one_by_one(engine):
    """Of a pair, with and without an Estimate of each source, and of a list."""
    mixture = draw(*KNOWN, 1, 5 * 2048 + 512, -12, 20, seed=3).y[0].numpy()
    windows, starts = np.lib.stride_tricks.sliding_window_view(mixture, 2560)[::2048], 2048 * np.arange(5)
    for brief in True, False:
        task = in_samples().task(engine)
        task.brief = brief
        out = task.submit(windows, start=starts).result(60)
        soi, other = reports(out, 256, 2304, True)
        assert np.allclose(soi["sir_db"], -12, atol=1.0) and np.allclose(soi["sir_db"], -other["sir_db"])
        assert soi["quality"].shape == soi["error_rate"].shape == (5,) and (soi["quality"] > 15).all()
        assert np.array_equal(qualities(out, 256, 2304, True)[0], soi["quality"])
    several = Session(KNOWN, in_windows(KNOWN, None, 2560, 2048)).task(engine).submit(windows, start=starts).result(60)
    assert [len(report["quality"]) for report in reports(several, 256, 2304, False)] == [5, 5]


def test_windows_are_known_searched_or_locked(engine):
    """As the stream's lock has them."""
    known = in_samples().task(engine)
    assert not known.searches and set(known.states(np.arange(3))) == {"known"}
    sources = (replace(SOI, timing=None, phase=None, gain=None), replace(OFDM, frame_offset=None, phase=None))
    mixture = draw(replace(SOI, phase=0.3), KNOWN[1], 1, 30 * 2048 + 512, -6, 25, seed=3).y[0].numpy()
    windows, starts = np.lib.stride_tricks.sliding_window_view(mixture, 2560)[::2048], 2048 * np.arange(30)
    task = Session(sources, in_windows(sources, None, 2560, 2048), pair=True).task(engine)
    task.submit(windows, start=starts).result(100)
    states = task.states(starts)
    assert task.searches and set(states[:8]) == {"search"} and set(states[-8:]) == {"locked"}
