# SPDX-License-Identifier: GPL-3.0-or-later
"""The stretch of a sequence of log-odds that is likeliest to be one thing, and the rest another."""
from __future__ import annotations

from collections.abc import Sequence


def largest_stretch(values: Sequence[float]) -> tuple[int, int, float]:
    """(first, one past the last, sum) of the stretch of the largest sum; (0, 0, 0) where no sum is positive."""
    best, low, total, least = (0, 0, 0.0), 0, 0.0, 0.0
    for high, value in enumerate(values, 1):
        total += value
        if total - least > best[2]:
            best = (low, high, total - least)
        if total < least:
            low, least = high, total
    return best
