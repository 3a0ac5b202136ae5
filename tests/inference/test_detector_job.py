# SPDX-License-Identifier: GPL-3.0-or-later
"""How the native detector's work is cut: every sample once, and vectors full where symbols drift too."""
import numpy as np
import pytest
from alpha_rgs.inference.detector_job import Windows, plan

LANES = 16


def _plan(drift, samples=200_000):
    return plan(Windows(samples, 80, 16.0, 64.0, 13, (11,), (3.25,), drift, 0.25), LANES)


@pytest.mark.parametrize("drift", [0.0, 1e-7, 1e-5, 5e-5, -5e-5, 2e-4])
def test_each_sample_is_kept_of_one_stretch(drift):
    cut = _plan(drift)
    order = np.argsort(cut.low)
    assert cut.low[order][0] == 0 and cut.high[order][-1] == 200_000 and (cut.low[order][1:] == cut.high[order][:-1]).all()
    frames = np.array(cut.fixed["groups"]).reshape(-1, 4)
    assert frames[:, 1].sum() == len(cut.low) and frames[:, 1].max() <= LANES
    # three frames of context on each side, but for the window's ends
    begin, count = cut.begin[order], np.repeat(frames[:, 2], frames[:, 1])[order]
    assert (cut.low[order][1:] >= begin[1:] + 240).all() and (cut.high[order][:-1] <= (begin + 80 * count)[:-1] - 240).all()


@pytest.mark.parametrize("drift", [5e-5, 2e-4])
def test_stretches_with_one_timing_fill_vectors(drift):
    """Of a clock that is off by so much two of sixteen lanes were used, and a stream took seven times as long."""
    groups = np.array(_plan(drift).fixed["groups"]).reshape(-1, 4)
    steady = np.array(_plan(0.0).fixed["groups"]).reshape(-1, 4)
    assert groups[:, 2].sum() < 4.5 * max(drift / 5e-5, 1) ** 0.5 * steady[:, 2].sum()     # frames, times vectors
