# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe: what a separator says of itself, as streams of numbers."""
import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, scoresep


def test_it_gives_the_latest_values_at_its_rate():
    """Of each key an output; values that are none are 0, and keys that are not said stay as they were."""
    top, probe = gr.top_block(), scoresep.probe(["quality", "load", "windows"], 50.0)
    sinks = [blocks.vector_sink_f() for _ in range(3)]
    for port, sink in enumerate(sinks):
        top.connect((probe, port), sink)
    began = time.monotonic()
    top.start()
    time.sleep(0.3)
    probe.hear(pmt.to_pmt({"quality": 17.5, "load": float("nan"), "windows": 12, "method": "joint"}))
    time.sleep(0.3)
    probe.hear(pmt.to_pmt({"load": 0.25}))
    time.sleep(0.3)
    top.stop()
    top.wait()
    took = time.monotonic() - began
    quality, load, windows = (np.array(sink.data()) for sink in sinks)
    assert quality[0] == 0 and quality[-1] == 17.5 and load[-1] == 0.25 and windows[-1] == 12 and set(load) == {0.0, 0.25}
    assert 10 <= len(quality) <= 50 * took + 2


@pytest.mark.parametrize(("keys", "rate", "words"), [
    ([], 10, "none are given"), (["loudness"], 10, "'loudness' must be of quality"), (["load"], 0, "rate: 0"),
    (["load"], float("nan"), "rate: nan")])
def test_what_cannot_be_is_refused(keys, rate, words):
    with pytest.raises(ValueError, match=words):
        scoresep.probe(keys, rate)
