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
    (0, ["set samp_rate"]), (15e3, ["tetra", "symbol_rate: 18000 is above the sample rate, 15000 Hz"]), (-1, ["samp_rate: -1"]),
    ("x", ["samp_rate: 'x'"]), (True, ["samp_rate"]), (float("nan"), ["samp_rate"])])
def test_a_rate_that_does_not_suit_is_refused(rate, words):
    """When the block is made: no rate, one that is none, and one that cannot hold the signal."""
    with pytest.raises(ValueError) as error:
        scoresep.separator("tetra", "dmr", samp_rate=rate)
    assert all(word in str(error.value) for word in words)


def test_samples_per_symbol_follow_from_the_rate():
    """As windows are checked by them where they are given, and chosen where they are not."""
    with pytest.raises(ValueError, match="multiples of the signal of interest's samples_per_symbol \\(2\\)"):
        scoresep.separator("tetra", "dmr", samp_rate=36e3, window=2560, hop=2047)
    assert scoresep.separator("tetra", "dmr", samp_rate=36e3, window=2560, hop=2048).hop == 2048
    free = scoresep.separator("tetra", "dmr", samp_rate=180e3)
    assert free.window % 10 == free.hop % 10 == (free.window - free.hop) // 2 % 10 == 0


@pytest.mark.timeout(60)
def test_a_rate_that_is_not_given_ends_the_flowgraph():
    block, count = ran(scoresep.multi_separator(["lora-sf7", "gsm"]))
    assert count == 0 and "set samp_rate" in str(block.error)


@pytest.mark.timeout(60)
def test_a_carrier_outside_the_stream_is_refused(tmp_path):
    """By the file's name, when the block is made."""
    path = tmp_path / "far.toml"
    path.write_text('kind = "gmsk"\nsymbol_rate = 9600\ncarrier_frequency = 2e6\n')
    with pytest.raises(ValueError, match="far.*carrier_frequency: 2e\\+06 Hz lies outside the recording, ±1.2e\\+06 Hz"):
        scoresep.multi_separator([str(path), "ais"], samp_rate=2.4e6)


@pytest.mark.timeout(100)
def test_names_are_separated():
    block, count = ran(scoresep.multi_separator(["zigbee", "bluetooth-le"], samp_rate=4e6))
    assert block.error is None and count == 3000
