# SPDX-License-Identifier: GPL-3.0-or-later
"""The stretch by which bursts and packets are bounded."""
import itertools

from alpha_rgs.inference.stretch import largest_stretch


def test_no_other_stretch_has_a_larger_sum():
    for values in itertools.product((-2, -1, 1, 3), repeat=5):
        low, high, total = largest_stretch(values)
        assert total == sum(values[low:high])
        assert all(sum(values[i:j]) <= total for i, j in itertools.combinations(range(6), 2))


def test_nothing_positive_is_no_stretch():
    assert largest_stretch([-1.0, -2.0]) == (0, 0, 0.0) == largest_stretch([])
