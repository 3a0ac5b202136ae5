# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams in windows of their own samples, separated at the rate that suits the sources."""
import math
from concurrent.futures import Future

import numpy as np
import pytest
from alpha_rgs import sources
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators.base import Separation
from alpha_rgs.separators.estimate import Estimate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.base import State
from alpha_rgs.streaming.live import ResampledTask, live

QPSK = {"kind": "linear-modulation", "symbol_rate": 18000, "rolloff": 0.35, "timing": 3.0, "phase": 0.0, "gain": 1.0}
GMSK = {"kind": "gmsk", "symbol_rate": 9600}


def named(*names):
    return [sources.load(name) for name in names]


class Halves:
    """A task whose first source is half of the mixture, the second a quarter. It keeps what it was asked."""

    method, tracker = "halves", None

    def __init__(self):
        self.asked = []

    def submit(self, windows, start=0, block=True):
        """See Task.submit."""
        self.asked += zip(start, windows)
        whole, n = Future(), len(windows)
        parts = [Estimate(windows / k, windows, np.zeros(n), State(delay=np.full(n, 8.0), carrier_offset=np.full(n, 0.01)))
                 for k in (2, 4)]
        whole.set_result(Separation(parts[0].waveform, parts[1].waveform, np.zeros((n, 0), np.complex64), np.zeros((n, 0, 2)),
                                    np.zeros(n), 1, np.ones(n), np.full(n, 0.1), "halves", {"timing": np.full(n, 8.0)}, parts))
        return whole


@pytest.mark.parametrize("names, rate, inside", [
    (("ais", "dmr"), 2.4e6, 19200), (("ais", "ais"), 250e3, 19200), (("gsm", "gsm"), 2.048e6, 541666.67),
    (("lora-sf7", "gsm"), 2.4e6, 625e3), (("dmr", "p25"), 20e6, 9600)])
def test_names_are_cut_at_the_rate_of_a_receiver(names, rate, inside):
    """Windows hold what the sources need inside, and GNU Radio's buffers hold few of them."""
    cut = live(named(*names), rate)
    assert rate * cut.plan.ratio == pytest.approx(inside, rel=1e-6) and cut.resamples
    assert cut.seen >= 2560 and cut.hop * cut.plan.ratio > 2047 and cut.window % 512 == 0
    assert cut.hop >= 0.6 * cut.window                          # of what is solved, most is kept


@pytest.mark.parametrize("rate", [50e3, 1e6, 2.4e6, 2.048e6, 20e6])
def test_windows_hold_whole_symbols(rate):
    """Any ratio of rates; of the buffer that both the page and the window divide, less than 64 MB."""
    cut = live([from_dict(QPSK), from_dict(GMSK)], rate, symbols=True)
    assert cut.symbol_period == pytest.approx(rate / 18000)
    assert all((value / cut.symbol_period).denominator == 1 for value in (cut.window, cut.hop))
    assert (cut.window - cut.hop) // 2 / cut.symbol_period % 1 == 0
    assert math.lcm(cut.window, 512) <= max(2**22, cut.window)


def test_where_no_window_holds_whole_symbols_none_leave():
    cut = live([from_dict({**QPSK, "symbol_rate": 18001.37}), from_dict(GMSK)], 1e6, symbols=True)
    assert cut.symbol_period == 0 and "none leave" in cut.warnings[-1]


def test_windows_that_are_given_are_kept_or_refused():
    pair = [from_dict(QPSK), from_dict(GMSK)]
    cut = live(pair, 1e6, 200_000, 100_000)
    assert 0 <= cut.window - 200_000 < 512 and 0 <= cut.hop - 100_000 < 512
    with pytest.raises(ParameterError, match=r"256 samples of context.*filter takes \(36000 Hz.*leave both out"):
        live(pair, 1e6, 2560, 2048)
    with pytest.raises(ParameterError, match="window: .* more than 16777216; decimate the stream"):
        live(pair, 1e9)
    assert live(pair, 50e3, 2561, 2049).window == 2561          # nothing is resampled


def whole_stream(cut, samples):
    """The first source of a stream, put together of windows as the blocks do it."""
    task, window, hop = Halves(), cut.window, cut.hop
    live_task, out, low = ResampledTask(task, cut), [], (window - hop) // 2
    count = max(0, (len(samples) - window) // hop + 1)
    for k in range(count):
        part = live_task.submit(samples[None, k * hop:k * hop + window], start=k * hop).result().soi[0]
        out.append(part[0 if k == 0 else low:low + hop])
    first = len(samples) - window if count else 0
    part = live_task.submit(samples[None, first:], start=first, ends=True).result().soi[0]
    out.append(part[sum(map(len, out)) - first:])
    return np.concatenate(out), task.asked


@pytest.mark.parametrize("rate, symbol_rate, other", [
    (1e6, 18000, GMSK), (2.048e6, 270833.3333333333, {**GMSK, "symbol_rate": 270833.3333333333}),
    (1e6, 222e3, {"kind": "ofdm", "sample_rate": 0.8e6})])
@pytest.mark.parametrize("more", [-50_000, 0, 1, 777])
def test_windows_join_as_if_the_whole_had_been_resampled(rate, symbol_rate, other, more):
    """A separation that halves gives half of what lies in the band, on its sample: one late would leave 60 dB more."""
    cut = live([from_dict({**QPSK, "symbol_rate": symbol_rate}), from_dict(other)], rate)
    n = max(5, cut.window + 2 * cut.hop + more if more >= 0 else cut.window // 3)
    steps = np.arange(n)
    samples = sum(np.exp(2j * np.pi * f * symbol_rate / rate * steps + 1j * f) for f in (0.1, -0.37, 0.23)).astype(np.complex64)
    got, asked = whole_stream(cut, samples)
    assert len(got) == n
    edge = math.ceil(24 / min(cut.plan.ratio, 1))         # where the stream begins and ends
    inner = slice(edge, n - edge)
    assert abs(got - samples / 2)[inner].max() < 1e-2
    assert abs(got[1:] - samples[:-1] / 2)[inner].max() > 3 * abs(got - samples / 2)[inner].max()
    assert len({len(window) for _, window in asked}) == 1       # of one length, as an engine's memory wants them
    for begin, _ in asked:
        assert begin % cut.unit == 0 or begin == asked[-1][0]


def test_what_is_reported_is_in_the_streams_samples():
    cut = live([from_dict(QPSK), from_dict(GMSK)], 1e6)
    task = ResampledTask(Halves(), cut)
    samples = np.ones((1, cut.window), np.complex64)
    out = task.submit(samples, start=cut.hop).result()
    ratio = cut.plan.ratio
    assert task.soi.timing == pytest.approx(3.0) and task.method == "halves"
    assert out.estimated["timing"] == pytest.approx(8 / ratio)
    assert out.sources[0].state.delay == pytest.approx(8 / ratio)
    assert out.sources[0].state.carrier_offset == pytest.approx(0.01 * ratio)
    assert out.noise_var == pytest.approx(0.1 / ratio)
    total = sum(e.waveform for e in out.sources)
    assert np.allclose(out.sources[1].cleaned, samples - (total - out.sources[1].waveform))


def test_a_band_that_the_stream_does_not_hold_is_filled_with_its_noise():
    """At a rate inside that is higher, as in recordings: an empty band would pass for a receiver without noise."""
    cut = live([from_dict({**QPSK, "symbol_rate": 0.2e6}), from_dict({"kind": "ofdm", "sample_rate": 1.2e6})], 1e6)
    task, rng = Halves(), np.random.default_rng(1)
    noise = (rng.standard_normal((1, cut.window, 2)) @ [1, 1j]).astype(np.complex64)
    ResampledTask(task, cut).submit(noise)
    density = abs(np.fft.fft(task.asked[0][1])) ** 2
    place = abs(np.fft.fftfreq(len(density)))
    assert cut.plan.ratio == pytest.approx(1.2)
    assert 0.3 < density[place > 0.46].mean() / density[place < 0.38].mean() < 1.5
