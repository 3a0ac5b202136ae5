# SPDX-License-Identifier: GPL-3.0-or-later
"""Resampling of parts of a stream: they agree with the whole, and nothing drifts."""
import numpy as np
import pytest
from alpha_rgs.streaming.polyphase import reach, section
from scipy import signal

RATIOS = [(1, 125), (125, 1), (5, 6), (6, 5), (65, 288), (288, 65), (25, 3), (12, 625), (625, 2048), (1999, 2000)]


def noise(count):
    return (np.random.default_rng(1).standard_normal((count, 2)) @ [1, 1j]).astype(np.complex64)


@pytest.mark.parametrize("up, down", RATIOS)
def test_the_whole_is_what_scipy_makes_of_it(up, down):
    """Of a filter with the same reach, cut-off and window."""
    x, slow = noise(9000), max(up, down)
    taps = signal.firwin(2 * reach(up, down) + 1, 1 / slow, window=("kaiser", 8.0))
    right = signal.resample_poly(x, up, down, window=taps)
    assert np.allclose(section(x, up, down, 0, 0, len(right)), right, atol=1e-4 * np.sqrt(up))


@pytest.mark.parametrize("up, down", RATIOS)
@pytest.mark.parametrize("first", [0, 10**13 + 1])
def test_parts_agree_with_the_whole(up, down, first):
    """Wherever they begin, before and after what is known, and however far from the stream's beginning."""
    x = noise(30_000)
    origin = -(-first * up // down)
    whole = section(x, up, down, first, origin, len(x) * up // down)
    for begin, count in ((0, 11), (5, 1), (len(whole) // 2, 40), (len(whole) - 7, 7)):
        part = section(x, up, down, first, origin + begin, count)
        assert np.allclose(part, whole[begin:begin + count], atol=1e-4)
        if count == 40:                     # from no more samples than the filter reaches
            low = ((origin + begin) * down - reach(up, down)) // up - first
            high = ((origin + begin + count) * down + reach(up, down)) // up - first + 1
            few = section(x[max(low, 0):high], up, down, first + max(low, 0), origin + begin, count)
            assert np.allclose(few, part, atol=1e-4)
    assert not section(x, up, down, first, origin - 10 * len(whole), 3).any()
    assert not section(x, up, down, first, origin + 10 * len(whole), 3).any()
    assert len(section(x, up, down, first, origin, 0)) == 0


def test_a_carrier_keeps_its_phase_over_a_long_stream():
    """10^9 samples after the beginning, at a ratio of 2.4 MHz to 541 667 Hz: no drift in either direction."""
    up, down, first, frequency = 65, 288, 10**9, 0.01
    x = np.exp(2j * np.pi * frequency * np.arange(first, first + 20_000)).astype(np.complex64)
    begin = -(-(first + 5000) * up // down)
    there = section(x, up, down, first, begin, 2000)
    right = np.exp(2j * np.pi * ((frequency * down / up * (begin + np.arange(2000))) % 1))
    assert abs(there - right).max() < 2e-3
    back = section(there, down, up, begin, first + 6000, 3000)
    assert abs(back - x[6000:9000]).max() < 2e-3
