# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block as a flowgraph sees it: errors, how it begins and ends, and that it separates."""

import math
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pmt
import pytest
from flows import HOP, OFDM, QPSK, SPS, WINDOW, tag
from gnuradio import blocks, gr, scoresep


def separate(mixture, *priors, outputs=3, tags=(), **options):
    """Run a stream through a separator; (the separator, what its outputs gave)."""
    top = gr.top_block()
    source = mixture if isinstance(mixture, gr.top_block) else blocks.vector_source_c(mixture.tolist(), False, 1, list(tags))
    top.block = scoresep.separator(*priors, **options)
    top.messages = blocks.message_debug()
    sinks = [blocks.vector_sink_c() for _ in range(outputs)]
    top.connect(source, top.block)
    top.msg_connect(top.block, "stats", top.messages, "store")
    for port, sink in enumerate(sinks):
        top.connect((top.block, port), sink)
    top.run()
    return top, sinks


def mixture_of(files, samples, sir_db=-12, snr_db=25, seed=3):
    """A stream of the two priors, complex64 [samples], and its bits."""
    from alpha_rgs import sources as priors
    from alpha_rgs.sources import mixtures

    out = mixtures.draw(*(priors.load(path) for path in files), 1, samples, sir_db, snr_db, seed)
    return out.y[0].numpy(), out.bits[0].numpy()


def errors(symbols, bits):
    """Which bits are wrong."""
    return np.stack([symbols.real < 0, symbols.imag < 0], 1).ravel() != bits.astype(bool)


# ---- errors -----------------------------------------------------------------------------------------
@pytest.mark.timeout(60)
def test_bad_input_ends_the_flowgraph_with_a_reason(files, tmp_path):
    """A wrong key, a prior that the method cannot use."""
    samples = np.zeros(4000, np.complex64)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(QPSK.replace("rolloff", "rollof"))
    top, _ = separate(samples, str(wrong), files[1], window=WINDOW, hop=HOP)
    assert "wrong.toml" in str(top.block.error) and "rollof" in str(top.block.error)
    top, _ = separate(samples, files[0], files[0], window=WINDOW, hop=HOP, method="joint")
    assert isinstance(top.block.error, ValueError)
    assert top.block.stats()["error"] == str(top.block.error)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("value", [np.nan, np.inf * 1j, 1e30])
@pytest.mark.parametrize("place", [0, 2345, 3999])
def test_a_sample_that_is_no_number_costs_the_windows_that_hold_it(files, value, place, capfd):
    """They leave as zeros, tagged; the others as without it; a message names the sample."""
    mixture, _ = mixture_of(files, 4000)
    _, whole = separate(mixture, *files, window=WINDOW, hop=HOP)
    mixture[place] = value
    top, sinks = separate(mixture, *files, window=WINDOW, hop=HOP)
    assert top.block.error is None and 1 <= top.block.stats()["unusable"] <= 2
    out = [np.array(sink.data()) for sink in sinks]
    assert all(np.isfinite(values).all() for values in out) and len(out[0]) == 4000
    lost = out[0] == 0
    assert 0 < lost.sum() <= WINDOW + HOP and not out[1][lost].any()
    assert np.allclose(out[0][~lost], np.array(whole[0].data())[~lost], atol=0.1)
    marks = [t for t in sinks[0].tags() if pmt.symbol_to_string(t.key) == "unseparated"]
    assert len(marks) == top.block.stats()["unusable"] and all(pmt.symbol_to_string(t.value) == "unusable" for t in marks)
    assert marks[0].offset == np.flatnonzero(lost)[0] and f"sample {place} of the stream" in "".join(capfd.readouterr())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("count, more_soi, ofdm, reason", [
    (5000, "symbols = 40\n", OFDM, r"a burst \(symbols = 40\)"),
    (150, "", 'kind = "ofdm"\n', r"frame_offset: a window of 150 samples is too short to find it; 240 or more")])
def test_a_stream_that_cannot_be_separated_ends_the_flowgraph_with_a_reason(files, count, more_soi, ofdm, reason):
    """A burst that does not fill its windows alike; too few samples to find the frame offset in."""
    soi, interference = map(pathlib.Path, files)
    soi.write_text(QPSK + more_soi)
    interference.write_text(ofdm)
    noise = np.random.default_rng(1).standard_normal((count, 2)).view(complex).ravel()
    top, sinks = separate(noise, *files, window=WINDOW, hop=HOP)
    assert isinstance(top.block.error, ValueError)
    assert re.search(reason, str(top.block.error)) and str(top.block.error) == top.block.stats()["error"]
    assert all(len(sink.data()) < count for sink in sinks)


def test_what_can_be_checked_early_is(files, tmp_path):
    """At construction, in words that name what would be right."""
    def refused(match, *priors, **options):
        with pytest.raises(ValueError, match=match):
            scoresep.separator(*(priors or files), **options)

    refused("no such prior file", "nowhere.toml", files[1])
    refused(r"hop \(3000\) must be at least 1 and at most window \(2560\)", hop=3000)
    refused(r"near by are window 2560, hop 1984", hop=2000)
    refused(r"near by are window 992, hop 800", window=1000, hop=800)
    refused("on_overload: 'drop' must be 'wait' or 'pass'", on_overload="drop")
    refused("soi: give the path", "", files[1])
    wrong = tmp_path / "half.toml"
    wrong.write_text(QPSK.replace("samples_per_symbol = 16", "samples_per_symbol = 16.5"))
    refused("half.toml: samples_per_symbol: 16.5 must be a whole number; resample", str(wrong), files[1])
    wrong.write_text("kind =")
    refused("half.toml: is not TOML", str(wrong), files[1])


def test_torch_is_loaded_no_earlier_than_the_flowgraph_starts(files):
    """GNU Radio Companion opens a flowgraph, and a script builds one, without waiting for torch."""
    script = ("import sys; from gnuradio import scoresep; assert 'torch' not in sys.modules\n"
              f"scoresep.engine('e', threads=1); s = scoresep.separator(scoresep.prior({files[0]!r}), {files[1]!r}, engine='e')\n"
              "assert 'torch' not in sys.modules")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=env)


# ---- with the engine ----------------------------------------------------------------------------------
@pytest.mark.timeout(100)
@pytest.mark.parametrize("outputs", [1, 3])
def test_it_separates(files, outputs):
    """Bits, samples, stats and tags of a stream; output 0 may be the only one."""
    samples = 40_009
    mixture, bits = mixture_of(files, samples)
    top, sinks = separate(mixture, *files, outputs=outputs, tags=[tag(12_345, "mark")], window=1280, hop=1024)
    assert top.block.error is None
    soi = np.array(sinks[0].data())
    assert len(soi) == samples
    assert [t.offset for t in sinks[0].tags()] == [12_345]
    if outputs == 3:
        assert len(sinks[1].data()) == samples
        assert np.mean(abs(mixture - soi - sinks[1].data()) ** 2) < 0.02
        symbols = np.array(sinks[2].data())
        assert errors(symbols, bits)[40:-40].sum() == 0 and errors(symbols, bits).sum() <= 4
        assert [t.offset for t in sinks[2].tags()] == [math.ceil((12_345 - 8) / 16)]
    stats = top.block.stats()
    assert stats["windows"] == 1 + math.ceil((samples - 1280) / 1024) and stats["method"] == "joint"
    assert abs(stats["sir_db"] + 12) < 0.3
    told = [pmt.to_python(top.messages.get_message(k)) for k in range(top.messages.num_messages())]
    assert told[-1]["windows"] == stats["windows"]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("samples", [2560 + 60 * 2048, 2560 + 60 * 2048 + 1, 125_000])
def test_a_stream_of_which_everything_is_known(files, samples):
    """No bit is wrong, from the first to the last, also where the stream ends with a window; every sample is there."""
    mixture, bits = mixture_of(files, samples, snr_db=20)
    top, (soi, interference, symbols) = separate(mixture, *files, method="joint", sir_db=-12, snr_db=20)
    assert top.block.error is None and len(soi.data()) == len(interference.data()) == samples
    assert errors(np.array(symbols.data()), bits).sum() <= 1
    left = mixture - np.array(soi.data()) - np.array(interference.data())
    assert np.abs(left[100:-100]).max() < 0.6 and top.block.stats()["error_rate"] < 5e-3


def test_two_separators_share_an_engine(files):
    """By name; neither disturbs the other."""
    from alpha_rgs.streaming import Engine

    mixture, _ = mixture_of(files, 10_000)
    top, parts = gr.top_block(), []
    for method in ("matched_filter", "joint"):
        block = scoresep.separator(*files, window=1280, hop=1024, method=method, engine="shared")
        sink = blocks.vector_sink_c()
        top.connect(blocks.vector_source_c(mixture.tolist()), block, sink)
        parts.append((block, sink))
    top.run()
    assert [block.error for block, _ in parts] == [None, None]
    assert [block.stats()["method"] for block, _ in parts] == ["matched_filter", "joint"]
    assert [len(sink.data()) for _, sink in parts] == [10_000, 10_000]
    assert Engine.named("shared") is Engine.named("shared")
    Engine.named("shared").close()


EXITING = """
import sys, time
import numpy as np
from gnuradio import blocks, gr, scoresep
soi, interference, how = sys.argv[1:]
noise = np.random.default_rng(1).standard_normal((20_000, 2)).view(complex).ravel()
top = gr.top_block()
separator = scoresep.separator(soi, interference, window=640, hop=512)
sink = blocks.vector_sink_c()
top.connect(blocks.vector_source_c(noise.tolist(), how != "ends"), separator, sink)
if how == "ends":
    top.run()
    assert len(sink.data()) == len(noise)
else:
    top.start()
    while not sink.data():
        time.sleep(0.05)
    top.stop()
    top.wait()
assert separator.error is None
"""


@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["ends", "is stopped"])
@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_the_process_exits_after_a_flowgraph(files, how, times):
    """The engine's threads are still there then, and at work after stop(); neither a hang nor a crash comes of it."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    for _ in range(times):
        done = subprocess.run([sys.executable, "-c", EXITING, *files, how], timeout=60, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_million_samples(files):
    """Same count out, few errors, none of them gathered at the seams of windows, and no memory kept."""
    import resource

    window, hop, samples = 2560, 2048, 1_000_000
    mixture, bits = mixture_of(files, samples, snr_db=None)
    peak = []
    for part in (mixture[:200_000], mixture):
        top, sinks = separate(part, *files, window=window, hop=hop)
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        assert top.block.error is None and len(sinks[0].data()) == len(sinks[1].data()) == len(part)
    wrong = np.flatnonzero(errors(np.array(sinks[2].data()), bits)) // 2
    assert len(wrong) <= 1e-4 * len(bits)
    place = (wrong * SPS + 8 - (window - hop) // 2) % hop
    near_seam = np.minimum(place, hop - place) < 64
    assert near_seam.sum() <= max(3, 3 * len(wrong) * 128 / hop)
    assert peak[1] - peak[0] < 250  # MB, of which the streams themselves, in the sinks and here, are most
