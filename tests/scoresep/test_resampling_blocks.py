# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator blocks at rates that do not suit their sources: the engine resamples, and nobody need know."""

from concurrent.futures import Future

import numpy as np
import pmt
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.separators.base import Separation
from alpha_rgs.separators.estimate import Estimate
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming import separate_stream
from alpha_rgs.streaming.engine import Engine
from alpha_rgs.streaming.resampling import plan, resampled
from flows import later, tag
from gnuradio import blocks, gr, scoresep

RATE = 1e6
KNOWN = {"phase": 0.3, "gain": 1.0, "carrier_frequency": 0.0}
QPSK = {"kind": "linear-modulation", "symbol_rate": 9600, "rolloff": 0.35, "timing": 70.0, **KNOWN}
GMSK = {"kind": "gmsk", "symbol_rate": 7000, "timing": 30.0, **KNOWN, "gain": 0.7}
FAST = {**QPSK, "symbol_rate": 1e6 / 4.5, "timing": 1.3}
OFDM = {"kind": "ofdm", "sample_rate": 0.8e6}


class Shares:
    """An engine whose tasks find half of a mixture to be the first source, and a quarter to be the second."""

    tracker, method = None, "shares"

    def __init__(self, pause=0.0):
        self.pause = pause

    def task(self, *sources, **options):
        """See alpha_rgs.streaming.engine.Engine.task."""
        return self

    def ready(self, start):
        """See alpha_rgs.streaming.engine.Task.ready."""
        return True

    def states(self, start):
        """See alpha_rgs.streaming.engine.Task.states."""
        return np.full(len(start), "known")

    def submit(self, windows, start=0, block=True):
        """See alpha_rgs.streaming.task.Task.submit."""
        n = len(windows)
        parts = [Estimate(windows / k, windows, np.zeros(n)) for k in (2, 4)]
        out = Separation(*(e.waveform for e in parts), np.zeros((n, 0), np.complex64), np.zeros((n, 0, 2)), np.zeros(n), 1,
                         np.ones(n), np.ones(n), "shares", {}, parts)
        return later(self.pause, out) if self.pause else _done(out)

    def give_up(self):
        """See alpha_rgs.streaming.task.Task.give_up."""


def _done(out):
    future = Future()
    future.set_result(out)
    return future


def tones(count):
    """A mixture within the band inside."""
    return sum(np.exp(2j * np.pi * f * np.arange(count) + 1j * f) for f in (2e-3, -5e-3, 4.1e-3)).astype(np.complex64)


def ran(block, samples, outputs, tags=()):
    """What leaves a block: its sinks, after the flowgraph has ended."""
    top, sinks = gr.top_block(), [blocks.vector_sink_c() for _ in range(outputs)]
    top.connect(blocks.vector_source_c(samples, False, 1, list(tags)), block)
    for port, sink in enumerate(sinks):
        top.connect((block, port), sink)
    top.run()
    assert block.error is None
    return sinks


@pytest.fixture
def shares(monkeypatch):
    """A separator of the fake engine."""
    def make(pause=0.0, **options):
        engine = Shares(pause)
        monkeypatch.setattr(Engine, "named", lambda name, **settings: engine)
        return scoresep.multi_separator([priors.from_dict(QPSK), priors.from_dict(GMSK)], samp_rate=RATE, **options)

    return make


@pytest.mark.parametrize("windows, hops, more", [(0, 0, 0), (0, 0, 1), (0, 0, 30), (1, 0, -1), (1, 0, 0), (1, 0, 1), (1, 1, 0),
                                                 (1, 2, 129)])
def test_as_many_samples_leave_each_on_its_own(shares, windows, hops, more):
    """Streams of every length; inside, where the filter knows all, to 60 dB, which one sample of delay would not leave."""
    block = shares(window=60_000, hop=40_000)
    count = windows * block.window + hops * block.hop + more
    samples, edge = tones(count), 4000                      # the filter's reach, where the stream begins and ends
    estimates = [np.array(sink.data()) for sink in ran(block, samples, 4)]
    assert [len(wave) for wave in estimates] == [count] * 4
    for wave, right in zip(estimates, (samples / 2, samples / 4, samples * 0.75, samples / 2)):
        error = abs(wave - right)[edge:count - edge]
        assert error.max(initial=0) < 3e-3
        assert error.size < 2 or abs(wave[1:] - right[:-1])[edge:count - edge].max() > 3 * error.max()


def test_tags_leave_on_their_sample(shares):
    block = shares(window=60_000, hop=40_000)
    count = block.window + 2 * block.hop + 77
    tags = [tag(n, "mark", n) for n in [*range(0, count, 911), count - 1]]
    for sink in ran(block, tones(count), 4, tags):
        assert [(t.offset, pmt.to_python(t.value)) for t in sink.tags()] == [(t.offset, pmt.to_python(t.value)) for t in tags]


def test_what_passes_by_is_the_mixture_itself(shares):
    """At the stream's rate: nothing is lost of a cleaned waveform that went unseparated, and the queue is short."""
    block = shares(0.3, window=60_000, hop=40_000, on_overload="pass", latency=0.5)
    samples = tones(60 * block.hop)
    first, _, cleaned, _ = (np.array(sink.data()) for sink in ran(block, samples, 4))
    stats = block.stats()
    assert 0 < stats["overloads"] < stats["windows"]
    passed = first == 0
    assert np.count_nonzero(passed) > 1000 and np.array_equal(cleaned[passed], samples[passed])


def test_powers_are_those_of_the_kept_samples(shares):
    block = shares(window=60_000, hop=40_000)
    ran(block, np.full(200_000, 2, np.complex64), 4)
    assert np.allclose(block.stats()["power_db"], [0, -6.02], atol=0.02)


def mixture(tables, count):
    """(sources, samples, the waveforms in them) of two sources at RATE and little noise."""
    described, generator = [priors.from_dict(table) for table in tables], torch.Generator().manual_seed(1)
    to = plan(described, RATE)
    waves = []
    for source, gain in zip(to.sources, (1.0, 0.7)):
        wave, _ = alone(source, 1, -(-count * to.up // to.down) + 1, generator)
        waves.append(gain * resampled(wave[0].numpy(), to.down, to.up, count)[:count])
    noise = 0.035 * (np.random.default_rng(2).standard_normal((count, 2)) @ [1, 1j])
    return described, (sum(waves) + noise).astype(np.complex64), waves


def decibels(error, wave):
    """Power of an error over that of a waveform."""
    return 10 * np.log10(np.mean(abs(error) ** 2) / np.mean(abs(wave) ** 2) + 1e-20)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("tables, count, least", [((QPSK, GMSK), 300_003, -100), ((FAST, OFDM), 20_007, -45)])
@pytest.mark.parametrize("several", [False, True])
def test_a_block_separates_as_the_engine_does_a_recording(tables, count, least, several):
    """Decimated by 625/12, and 4/5 for OFDM's sake: waveforms, the mixture less the other, and every symbol are the same."""
    described, samples, waves = mixture(tables, count)
    right = separate_stream(samples, *([described] if several else described), sample_rate=RATE)
    block = scoresep.multi_separator(described, samp_rate=RATE) if several else scoresep.separator(*described, samp_rate=RATE)
    out = [np.array(sink.data()) for sink in ran(block, samples, 4 if several else 3)]
    for number, (source, wave) in enumerate(zip(right.sources, waves)):
        late = decibels(out[number][1:] - source.waveform[:-1], wave)
        assert len(out[number]) == count
        assert decibels(out[number] - source.waveform, wave) < min(least, late - 10)
        assert decibels(out[number] - wave, wave) < decibels(source.waveform - wave, wave) + 1
    if several:
        assert np.allclose(out[2], samples - out[1], atol=1e-5) and np.allclose(out[3], samples - out[0], atol=1e-5)
    else:
        assert abs(len(out[2]) - len(right.symbols)) <= 1
        n = min(len(out[2]), len(right.symbols))
        assert decibels(out[2][:n] - right.symbols[:n], right.symbols) < -40
