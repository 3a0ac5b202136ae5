# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of every kind through the blocks: samples out = in, each tag once, on its sample."""

import random

import pytest
from gnuradio import scoresep
from gnuradio.scoresep import soak
from gnuradio.scoresep.cutting import check_windows, nearby
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("seed", range(40))
def test_a_random_stream_leaves_as_it_came(seed):
    """Lengths about those where windows begin and end, windows of one sample and one symbol, any room."""
    drawn = soak.case(random.Random(seed))
    assert not soak.fault(*drawn), drawn


@pytest.mark.parametrize(("window", "hop", "sps"), [(1, 1, 0), (1, 1, 1), (16, 16, 16), (3, 1, 1)])
def test_windows_of_one_sample_or_symbol_work(window, hop, sps):
    """GNU Radio hands them over in arrays of one dimension."""
    assert not soak.fault(100, window, hop, sps, [0, 50, 99], 1000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thousands_of_random_streams():
    """A part of python -m gnuradio.scoresep.soak."""
    rng = random.Random(2)
    for _ in range(5000):
        drawn = soak.case(rng)
        assert not soak.fault(*drawn), drawn


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 300))
@settings(max_examples=300, deadline=None)
def test_windows_that_are_proposed_are_right(window, hop, sps):
    """What the message of check_windows names passes it, whatever was given."""
    good = nearby(window, min(hop, window), sps)
    check_windows("separator", *good, sps)
    scoresep.stream_to_windows(*good)
