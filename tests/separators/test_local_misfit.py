# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong decisions that two sources have made together, and with confidence, show in what they leave."""
import math

import torch
from alpha_rgs.separators.estimate import Estimate
from alpha_rgs.separators.local_misfit import locally_doubted
from alpha_rgs.separators.results import separation
from alpha_rgs.signals import Fsk as Signal
from alpha_rgs.sources import Fsk
from alpha_rgs.sources.base import State
from alpha_rgs.sources.mixtures import noise

SAMPLES, BAD = 2000, slice(800, 1000)
SURE = 40.0                     # |LLR|


def separated(wrong):
    """(y, sources, Separation) of one window of noise 0.01, of which a stretch is `wrong` by as much as the sources' power."""
    generator = torch.Generator().manual_seed(2)
    y = 0.1 * noise((1, SAMPLES), generator)
    if wrong:
        y[:, BAD] += noise((1, 200), generator)
    at = torch.arange(4.0, SAMPLES, 8, dtype=torch.float64)[None]
    estimates = [Estimate(torch.zeros_like(y), y, torch.tensor([30.0]), State(gain=torch.ones(1)),
                          symbols=torch.ones(1, 250, dtype=torch.complex64), llrs=torch.full((1, 250, 1), SURE), at=at)
                 for _ in range(2)]
    out = separation(y, estimates, torch.ones(1), torch.tensor([0.01]), "joint", {})
    return y, [Fsk(Signal(8, 2, 0.6, "gaussian", bandwidth_time=0.5))] * 2, out


def test_symbols_are_doubted_where_much_more_is_left_and_nowhere_else():
    y, sources, out = separated(True)
    found = locally_doubted(y, sources, out)
    for estimate in found.sources:
        llrs, at = estimate.llrs[0, :, 0], estimate.at[0]
        assert bool((llrs[(at > BAD.start) & (at < BAD.stop)] < math.log(0.8 / 0.1)).all())
        assert bool((llrs[(at < BAD.start - 60) | (at > BAD.stop + 60)] == SURE).all())
        assert 0.005 < float(estimate.error_rate) < 0.05
    assert float(found.error_rate) == float(found.sources[0].error_rate)


def test_an_even_window_is_left_as_it_is():
    y, sources, out = separated(False)
    assert locally_doubted(y, sources, out) is out
