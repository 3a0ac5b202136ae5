# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Well-known signals by name, and files with rates in Hz, in the separator blocks."""

import pathlib

import numpy as np
import pytest
from gnuradio import blocks, gr, scoresep


def ran(block, samples=3000):
    """A block that has run on noise, and how many samples it gave."""
    top, rng = gr.top_block(), np.random.default_rng(1)
    noise = (rng.standard_normal((samples, 2)) @ [1, 1j]).astype(np.complex64)
    sink = blocks.vector_sink_c()
    top.connect(blocks.vector_source_c(noise.tolist()), block, sink)
    top.run()
    return block, len(sink.data())


def test_a_name_is_a_description(tmp_path, monkeypatch):
    """A file of that name in the working directory comes first."""
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path(scoresep.prior("ais"))
    assert path.is_file() and path.parts[-4:] == ("alpha_rgs", "sources", "shipped", "ais.toml")
    assert scoresep.prior("WiFi").endswith("wifi.toml")
    (tmp_path / "ais").write_text('kind = "gmsk"\n')
    assert scoresep.prior("ais") == "ais"
    with pytest.raises(ValueError, match="aiss: no such prior file.*did you mean the description 'ais'"):
        scoresep.prior("aiss")


@pytest.mark.parametrize("rate, words", [
    (0, ["set samp_rate"]), (50e3, ["2.77", "Rational Resampler", "54000 Hz"]), (-1, ["samp_rate: -1"]),
    ("x", ["samp_rate: 'x'"]), (True, ["samp_rate"]), (float("nan"), ["samp_rate"])])
def test_a_rate_that_does_not_suit_is_refused(rate, words):
    """Of a signal of interest whose symbols leave the block, when it is made."""
    with pytest.raises(ValueError) as error:
        scoresep.separator("tetra", "dmr", samp_rate=rate)
    assert all(word in str(error.value) for word in words)


def test_samples_per_symbol_follow_from_the_rate():
    """As windows are checked by them."""
    with pytest.raises(ValueError, match="multiples of the signal of interest's samples_per_symbol \\(10\\)"):
        scoresep.separator("tetra", "dmr", samp_rate=180e3)
    scoresep.separator("tetra", "dmr", samp_rate=180e3, window=2560, hop=2040)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rate, words", [(0, ["set samp_rate"]), (300e3, ["bandwidth: 125000", "Rational Resampler", "375000"])])
def test_a_rate_that_does_not_suit_ends_the_flowgraph(rate, words):
    block, count = ran(scoresep.multi_separator(["lora-sf7", "gsm"], samp_rate=rate))
    assert count == 0 and all(word in str(block.error) for word in words)


@pytest.mark.timeout(100)
def test_names_are_separated():
    block, count = ran(scoresep.multi_separator(["zigbee", "bluetooth-le"], samp_rate=4e6))
    assert block.error is None and count == 3000
