# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver's tags: lost samples, another rate, another centre frequency."""

import numpy as np
import pmt
import pytest
from alpha_rgs import sources as priors
from alpha_rgs.sources import mixtures
from alpha_rgs.streaming.engine import Engine
from flows import Paced, answers, tag
from gnuradio import blocks, gr, scoresep
from gnuradio.scoresep.receiver_tags import ReceiverTags
from test_resampling_blocks import GMSK, Shares, tones
from test_resampling_blocks import QPSK as QPSK_HZ

RATE, COUNT, WINDOW, HOP = 1e6, 40 * 1024 + 99, 1280, 1024


def time_tag(offset, seconds):
    """rx_time."""
    whole = int(seconds // 1)
    return tag(offset, "rx_time", pmt.make_tuple(pmt.from_uint64(whole), pmt.from_double(seconds - whole)))


def number_tag(offset, name, value):
    """rx_rate, rx_freq."""
    return tag(offset, name, pmt.from_double(value))


def ran(block, samples, tags):
    """(what leaves each of two outputs, the tags of the first, the answers)."""
    top, sinks, responses = gr.top_block(), [blocks.vector_sink_c() for _ in range(2)], blocks.message_debug()
    top.connect(blocks.vector_source_c(samples, False, 1, tags), block)
    for port, sink in enumerate(sinks):
        top.connect((block, port), sink)
    top.msg_connect(block, "response", responses, "store")
    top.run()
    assert block.error is None
    assert [len(sink.data()) for sink in sinks] == [len(samples)] * 2
    for sink in sinks:
        kept = [(t.offset, pmt.symbol_to_string(t.key)) for t in sink.tags() if pmt.symbol_to_string(t.srcid) == "test"]
        assert sorted(kept) == sorted((t.offset, pmt.symbol_to_string(t.key)) for t in tags)
    return [np.array(sink.data()) for sink in sinks], sinks[0].tags(), answers(responses)


def reasons(tags):
    """Why windows left unseparated."""
    return {pmt.to_python(t.value) for t in tags if pmt.symbol_to_string(t.key) == "unseparated"}


def mixture(files, count=COUNT):
    """(samples, the SOI in them)."""
    out = mixtures.draw(*(priors.load(path) for path in files), 1, count, -6, 20, seed=1)
    return out.y[0].numpy(), out.s[0].numpy()


def separator(files, **options):
    return scoresep.separator(*files, window=WINDOW, hop=HOP, method="joint", sir_db=-6, snr_db=20, **options)


# ---- what tags say ----------------------------------------------------------------------------------
def test_lost_samples_are_counted_at_the_rate_before():
    """Over many seconds, and where the rate changes with the time."""
    receiver = ReceiverTags()
    said = receiver.events([(t.offset, pmt.symbol_to_string(t.key), t.value) for t in (
        number_tag(0, "rx_rate", RATE), time_tag(0, 1e6 + 0.25), number_tag(5000, "rx_freq", 1e8),
        time_tag(2_000_000, 1e6 + 2.25), number_tag(3_000_000, "rx_rate", 2 * RATE), time_tag(3_000_000, 1e6 + 3.25 + 37e-6),
        time_tag(3_002_000, 1e6 + 3.251 + 37e-6), number_tag(3_002_000, "rx_freq", 2e8))])
    assert [(e.sample, e.rate, e.freq, e.lost, e.cuts) for e in said] == [
        (0, RATE, None, 0, False), (5000, None, 1e8, 0, False), (3_000_000, 2 * RATE, None, 37, True),
        (3_002_000, None, 2e8, 0, True)]


@pytest.mark.parametrize("name, value", [("rx_rate", pmt.intern("fast")), ("rx_rate", pmt.from_double(-1)),
                                         ("rx_rate", pmt.from_double(float("nan"))), ("rx_freq", pmt.PMT_NIL),
                                         ("rx_time", pmt.from_double(3.0)), ("rx_time", pmt.make_tuple(pmt.from_uint64(1)))])
def test_a_tag_that_says_nothing_is_left_out_and_named_once(name, value):
    receiver = ReceiverTags(RATE)
    assert receiver.events([(0, name, value), (7, name, value)]) == [] and len(receiver.wrong) == 1
    assert receiver.wrong[0][1].startswith(name)


# ---- in a flowgraph ---------------------------------------------------------------------------------
@pytest.mark.timeout(100)
@pytest.mark.parametrize("lost", [1, 37, 5000])
def test_known_times_go_on_where_samples_are_missing(files, lost):
    """By the count that the time says; without the tag the rest is lost. The windows at the gap pass, tagged."""
    samples, soi = mixture(files)
    gap = 15_003
    samples, soi = np.delete(samples, slice(gap, gap + lost)), np.delete(soi, slice(gap, gap + lost))
    begin = [number_tag(0, "rx_rate", RATE), time_tag(0, 100.0)]
    right = abs(ran(separator(files), samples, [*begin, time_tag(gap, 100.0 + (gap + lost) / RATE)])[0][0] - soi) ** 2
    wrong = abs(ran(separator(files), samples, begin)[0][0] - soi) ** 2
    assert right[:12_000].mean() < 0.01 and right[gap + 2 * WINDOW:].mean() < 0.01
    assert wrong[gap + 2 * WINDOW:].mean() > 3 * right[gap + 2 * WINDOW:].mean()


@pytest.mark.timeout(100)
def test_windows_that_hold_both_sides_of_a_gap_pass(files):
    """And are named; no others are."""
    samples, _ = mixture(files)
    begin = [number_tag(0, "rx_rate", RATE), time_tag(0, 100.0)]
    (out, _), tags, _ = ran(separator(files), samples, [*begin, time_tag(15_003, 100.0 + 15_010 / RATE)])
    passed = np.flatnonzero(out == samples)
    assert reasons(tags) == {"rx_time"} and len(passed) in (HOP, 2 * HOP) and passed[0] < 15_003 < passed[-1] + 256
    assert not reasons(ran(separator(files), samples, [*begin, time_tag(15_003, 100.0 + 15_003 / RATE)])[1])


@pytest.mark.timeout(100)
def test_a_retune_moves_the_sources(files):
    """The SOI is where the receiver has it then, its carrier known as before; back again it is as at first."""
    samples, soi = mixture(files)
    first, second, offset = 12_800, 25_600, 1e5  # a whole number of turns
    turn = np.exp(-2j * np.pi * offset / RATE * np.arange(COUNT))
    turn[:first] = turn[second:] = 1
    tags = [number_tag(0, "rx_freq", 1e8), number_tag(first, "rx_freq", 1e8 + offset), number_tag(second, "rx_freq", 1e8)]
    block = separator(files)
    (out, _), tags, told = ran(block, (samples * turn).astype(np.complex64), [number_tag(0, "rx_rate", RATE), *tags])
    error = abs(out - soi * turn) ** 2
    for part in (slice(0, first - WINDOW), slice(first + WINDOW, second - WINDOW), slice(second + WINDOW, None)):
        assert error[part].mean() < 0.01
    assert reasons(tags) == {"rx_freq"} and all(answer["ok"] for answer in told)


@pytest.mark.timeout(100)
def test_a_retune_that_leaves_a_source_outside_passes_windows_and_says_so(files):
    """Until the receiver comes back."""
    samples, soi = mixture(files)
    tags = [number_tag(0, "rx_rate", RATE), number_tag(0, "rx_freq", 1e8), number_tag(10_000, "rx_freq", 2e8),
            number_tag(25_000, "rx_freq", 1e8)]
    (out, _), tags, told = ran(separator(files), samples, tags)
    assert reasons(tags) == {"rx_freq", "receiver"} and np.array_equal(out[12_000:23_000], samples[12_000:23_000])
    assert len(told) == 1 and not told[0]["ok"] and "lies outside the stream" in told[0]["error"]
    assert (abs(out - soi) ** 2)[28_000:].mean() < 0.01


@pytest.fixture
def shares(monkeypatch):
    """A separator in Hz whose engine finds half of a mixture to be the first source."""
    monkeypatch.setattr(Engine, "named", lambda name, **settings: Shares())
    return lambda **options: scoresep.multi_separator([priors.from_dict(QPSK_HZ), priors.from_dict(GMSK)], samp_rate=RATE,
                                                      **{"window": 60_000, "hop": 40_000, **options})


@pytest.mark.timeout(100)
def test_another_rate_fits_the_sources_anew(shares):
    """Half the rate, and the first again; the estimates are halves as before, and no sample is lost."""
    block = shares()
    count, first, second = 12 * block.hop + 321, 3 * block.hop + 17, 7 * block.hop + 5
    samples = tones(count)
    tags = [number_tag(0, "rx_rate", RATE), number_tag(first, "rx_rate", RATE / 2), number_tag(second, "rx_rate", RATE)]
    (out, _), tags, told = ran(block, samples, tags)
    assert reasons(tags) == {"rx_rate"} and not [answer for answer in told if not answer["ok"]]
    error = abs(out - samples / 2)
    for part in (slice(5000, first - block.window), slice(first + block.window, second - block.window),
                 slice(second + block.window, count - 5000)):
        assert part.stop - part.start > 1000 and error[part].max() < 3e-3


@pytest.mark.timeout(100)
def test_a_rate_below_a_symbol_rate_passes_windows_and_says_so(shares):
    """With the file's key, and the rate; windows are separated again when the rate is right again."""
    block = shares()
    count, first, second = 12 * block.hop, 3 * block.hop, 7 * block.hop
    samples = tones(count)
    (first_out, _), tags, told = ran(block, samples, [number_tag(first, "rx_rate", 8e3), number_tag(second, "rx_rate", RATE)])
    middle = slice(first + block.window, second - block.window)
    assert not first_out[middle].any() and reasons(tags) == {"rx_rate", "receiver"}
    assert len(told) == 1 and "symbol_rate: 9600 is above the sample rate, 8000 Hz" in told[0]["error"]
    assert abs(first_out - samples / 2)[second + block.window:count - 5000].max() < 3e-3


@pytest.mark.timeout(100)
def test_priors_in_samples_do_not_follow_another_rate(files):
    """They are known in samples of the one before."""
    samples, _ = mixture(files)
    _, tags, told = ran(separator(files), samples, [number_tag(0, "rx_rate", RATE), number_tag(20_000, "rx_rate", RATE / 2)])
    assert reasons(tags) == {"rx_rate", "receiver"}
    assert "known in samples of 1e+06 Hz, not of 500000 Hz; give its rates in Hz" in told[0]["error"]


@pytest.mark.timeout(100)
def test_symbols_of_another_length_leave_as_zeros(monkeypatch):
    """The output of symbols keeps its rate; an answer says so. As many leave as before."""
    monkeypatch.setattr(Engine, "named", lambda name, **settings: Shares())
    described = [priors.from_dict({**QPSK_HZ, "symbol_rate": RATE / 25}), priors.from_dict({**GMSK, "symbol_rate": RATE / 20})]
    block = scoresep.separator(*described, samp_rate=RATE)
    count = 14 * block.hop
    samples = tones(count)
    top, sinks, responses = gr.top_block(), [blocks.vector_sink_c() for _ in range(3)], blocks.message_debug()
    source = Paced(samples, block.hop, actions={6 * block.hop: lambda: block.command(samp_rate=RATE / 2)})
    top.connect(source, block)
    for port, sink in enumerate(sinks):
        top.connect((block, port), sink)
    top.msg_connect(block, "response", responses, "store")
    top.run()
    assert block.error is None and abs(len(sinks[2].data()) - count / 25) <= 1
    answer = answers(responses)[0]
    assert answer["ok"] and "its symbols are of 12.5 samples, the output's of 25: that output is 0" in answer["warnings"]
    assert not np.any(sinks[2].data()[-100:]) and np.any(sinks[0].data()[-1000:])


@pytest.mark.timeout(100)
def test_a_second_run_begins_as_the_first(shares):
    """What the receiver had changed before is not known to it."""
    block = shares()
    samples = tones(6 * block.hop)
    for _ in range(2):
        (out, _), tags, _ = ran(block, samples, [number_tag(3 * block.hop, "rx_rate", RATE / 2)])
        assert reasons(tags) == {"rx_rate"}
        assert abs(out - samples / 2)[5000:2 * block.hop].max() < 3e-3
    (out, _), tags, _ = ran(block, samples, [])
    assert not reasons(tags) and abs(out - samples / 2)[5000:-5000].max() < 3e-3
