# SPDX-License-Identifier: GPL-3.0-or-later
"""What the study of bursts counts."""
import torch

from benchmarks import bursts

SPANS = [(200, 1000), (1500, 2300)]


def _on(*spans):
    on = torch.zeros(bursts.SAMPLES, dtype=torch.bool)
    for begin, end in spans:
        on[begin:end] = True
    return on


def test_edges_are_compared_with_the_truth():
    assert bursts.worst_edge(_on(*SPANS), SPANS) == 0
    assert bursts.worst_edge(_on((203, 1000), (1500, 2290)), SPANS) == 10
    assert bursts.worst_edge(_on((200, 2300)), SPANS) == bursts.SAMPLES


def test_neither_bursts_nor_gaps_are_counted_near_an_edge():
    on, off = bursts.places(SPANS)
    assert not bool((on & off).any()) and bool(on[240:960].all()) and bool(off[1040:1460].all())
    assert not bool((on | off)[960:1040].any())
