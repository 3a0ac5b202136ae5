# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator of several sources, with a separation that says where its samples come from in place of the engine's."""

import json
from types import SimpleNamespace

import numpy as np
import pmt
import pytest
from alpha_rgs.streaming.engine import Engine
from flows import HOP, OFDM, QPSK, WINDOW, later, ramp, tag
from gnuradio import blocks, gr, scoresep

TONES = 'kind = "tones"\n'


class Shares:
    """An engine whose tasks give source k of a mixture x the estimate x/2^(k+1), and what is left of x as cleaned waveform."""

    def __init__(self, pause=0.0, error=None):
        self.pause, self.error, self.asked = pause, error, None

    def task(self, sources, method="auto", noise_var=None, **options):
        """See alpha_rgs.streaming.engine.Engine.task."""
        self.asked = dict(options, sources=sources, method=method, noise_var=noise_var)
        return SimpleNamespace(submit=self.submit, sources=sources, method="shares", ready=lambda start: True,
                               states=lambda start: np.full(len(start), "known"))

    def submit(self, windows, start=0, block=True):
        """See alpha_rgs.streaming.engine.Task.submit."""
        if self.error:
            raise self.error
        windows = np.array(windows)
        estimates = [windows / 2 ** (k + 1) for k in range(len(self.asked["sources"]))]
        total = sum(estimates)
        return later(self.pause, SimpleNamespace(sources=[
            SimpleNamespace(waveform=x, cleaned=windows - (total - x), quality=np.full(len(x), 10.0 + k) if k else None)
            for k, x in enumerate(estimates)]))


def expected(samples, count):
    """What the outputs give."""
    estimates = [samples / 2 ** (k + 1) for k in range(count)]
    return estimates + [samples - (sum(estimates) - x) for x in estimates]


@pytest.fixture
def separate(tmp_path, monkeypatch):
    """Run a stream through a separator; the top block, with `block` and `sinks`."""
    def run(samples, count, engine=None, tags=(), outputs=None, **options):
        path = tmp_path / "tones.toml"
        path.write_text(TONES)
        engine = engine or Shares()
        monkeypatch.setattr(Engine, "named", lambda name, **settings: engine)
        top = gr.top_block()
        top.block = scoresep.multi_separator([str(path)] * count, **{"window": WINDOW, "hop": HOP, **options})
        top.sinks = {port: blocks.vector_sink_c() for port in (range(2 * count) if outputs is None else outputs)}
        top.messages = blocks.message_debug()
        top.connect(blocks.vector_source_c(samples, False, 1, list(tags)), top.block)
        top.msg_connect(top.block, "stats", top.messages, "store")
        for port, sink in top.sinks.items():
            top.connect((top.block, port), sink)
        top.run()
        return top

    return run


@pytest.mark.parametrize("sources", [2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 30, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + HOP, WINDOW + HOP + 129, 40_007])
def test_every_sample_leaves_once_in_its_place(separate, sources, count):
    """Streams of every length: shorter than a window, with a tail; estimates first, then cleaned waveforms."""
    samples = ramp(count)
    top = separate(samples, sources, Shares(0.001))
    assert top.block.error is None
    for sink, right in zip(top.sinks.values(), expected(samples, sources), strict=True):
        assert np.array_equal(sink.data(), right)


def test_tags_leave_on_their_sample(separate):
    """On every output, in windows and in the partial one at the end."""
    count = 5 * HOP + WINDOW + 77
    tags = [tag(n, "mark", n) for n in [*range(0, count, 7), count - 1]]
    top = separate(ramp(count), 3, tags=tags)
    for sink in top.sinks.values():
        assert [(t.offset, pmt.to_python(t.value)) for t in sink.tags()] == [(t.offset, pmt.to_python(t.value)) for t in tags]


@pytest.mark.parametrize("outputs", [[], [0], [3], [1, 2]])
def test_outputs_may_stay_unconnected(separate, outputs):
    """Whichever a flowgraph has no use for."""
    top = separate(ramp(3000), 2, outputs=outputs)
    right = expected(ramp(3000), 2)
    assert top.block.error is None
    assert all(np.array_equal(sink.data(), right[port]) for port, sink in top.sinks.items())


def test_on_overload_pass_lets_windows_through_and_says_so(separate):
    """What finds the queue full leaves as cleaned waveform, tagged and counted, and has no estimate."""
    samples = ramp(400 * HOP + 100)
    top = separate(samples, 2, Shares(0.3), on_overload="pass")
    first, second, cleaned, _ = (np.array(sink.data()) for sink in top.sinks.values())
    stats = top.block.stats()
    passed = first == 0
    assert 0 < stats["overloads"] < stats["windows"] == 400
    assert np.array_equal(first, np.where(passed, 0, samples / 2)) and np.array_equal(second == 0, passed)
    assert np.array_equal(cleaned[passed], samples[passed])
    for sink in top.sinks.values():
        marks = [t.offset for t in sink.tags() if pmt.symbol_to_string(t.key) == "unseparated"]
        assert len(marks) == stats["overloads"] and passed[marks].all()


def test_stats_name_each_source(separate):
    """By message and by stats(); one value per source."""
    top = separate(np.full(20_000, 2 + 0j), 3)
    stats = top.block.stats()
    assert stats["method"] == "shares" and stats["windows"] == 1 + -(-(20_000 - WINDOW) // HOP)
    assert np.isnan(stats["quality"][0]) and stats["quality"][1:] == [11.0, 12.0]
    assert np.allclose(stats["power_db"], [0, -6.02, -12.04], atol=0.01)
    reported = pmt.to_python(top.messages.get_message(top.messages.num_messages() - 1))
    assert reported["power_db"] == stats["power_db"] and reported["windows"] == stats["windows"]
    json.dumps(stats)


def test_the_engine_is_asked_for_what_was_given(separate):
    """Priors in their order, method, noise and options."""
    engine = Shares()
    separate(ramp(10), 4, engine, method="joint", noise_var=0.25, passes=3)
    assert [source.kind for source in engine.asked.pop("sources")] == ["tones"] * 4
    assert engine.asked == dict(method="joint", noise_var=0.25, passes=3)


@pytest.mark.timeout(20)
def test_an_error_ends_the_flowgraph_with_a_reason(separate):
    """The exception is kept, and stats() says it."""
    top = separate(ramp(3000), 2, Shares(error=RuntimeError("no luck")))
    assert str(top.block.error) == top.block.stats()["error"] == "no luck"


def test_what_can_be_checked_early_is(tmp_path):
    """At construction, in words that name what would be right."""
    path = tmp_path / "tones.toml"
    path.write_text(TONES)
    good = [str(path)] * 2
    for match, sources, options in (
            (r"sources\[1\]: give the path", [good[0], ""], {}),
            ("nowhere.toml: no such prior file", [good[0], "nowhere.toml"], {}),
            ("sources: 1 given, 2 to 4 are possible", good[:1], {}),
            ("must be a list", good[0], {}),
            (r"multi_separator: hop \(3000\) must be at least 1 and at most window \(2560\)", good, dict(hop=3000)),
            ("multi_separator: on_overload: 'drop' must be 'wait' or 'pass'", good, dict(on_overload="drop")),
            ("multi_separator: noise_var: -1 must be a number, 0 or more", good, dict(noise_var=-1))):
        with pytest.raises(ValueError, match=match):
            scoresep.multi_separator(sources, **options)


@pytest.mark.timeout(100)
def test_it_separates(tmp_path):
    """With the engine: QPSK and OFDM, either first; the cleaned waveform keeps the noise that the estimate has not."""
    from alpha_rgs import sources as priors
    from alpha_rgs.sources import mixtures

    paths = [tmp_path / "qpsk.toml", tmp_path / "ofdm.toml"]
    for path, text in zip(paths, (QPSK, OFDM)):
        path.write_text(text)
    sources = [priors.load(path) for path in paths]
    with Engine() as engine:
        try:
            engine.task(sources)
        except TypeError:
            pytest.skip("the engine takes no list of sources yet")
    drawn = mixtures.draw(*sources, 1, 20_009, -6, 15, seed=3)
    mixture, truth = drawn.y[0].numpy(), [drawn.s[0].numpy(), (drawn.kappa * drawn.b[0]).numpy()]
    for order in (0, 1), (1, 0):
        top, sinks = gr.top_block(), [blocks.vector_sink_c() for _ in range(4)]
        block = scoresep.multi_separator([str(paths[k]) for k in order], 1280, 1024)
        top.connect(blocks.vector_source_c(mixture.tolist()), block)
        for port, sink in enumerate(sinks):
            top.connect((block, port), sink)
        top.run()
        assert block.error is None
        out = [np.array(sink.data()) for sink in sinks]
        for place, k in enumerate(order):
            assert len(out[place]) == len(out[2 + place]) == len(mixture)
            assert np.mean(abs(out[place] - truth[k]) ** 2) < 0.01
            assert np.allclose(out[2 + place], mixture - out[1 - place], atol=1e-4)
            assert np.mean(abs(out[2 + place] - truth[k]) ** 2) == pytest.approx(10**-1.5, rel=0.3)
        assert np.allclose(np.array(block.stats()["power_db"])[list(order)], [0, 6], atol=0.5)
