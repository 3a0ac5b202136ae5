# SPDX-License-Identifier: GPL-3.0-or-later
"""Little noise is no trouble: a search believes no less than a floor, and what was found then has its true noise."""
import numpy as np
import pytest
import torch
from alpha_rgs.separators import blind
from alpha_rgs.separators.base import Separation

from benchmarks import noise_floor


@pytest.mark.parametrize(("snr_db", "seed", "noise_db", "quality"), [
    (None, 1000005, -60, 44), (30, 1000000, -30, 39), (20, 1000000, -20, 29)])
def test_windows_with_little_noise_are_separated_rightly_and_have_their_true_noise(snr_db, seed, noise_db, quality):
    """Windows that, without the floor, end at a wrong carrier offset, 40 % of the bits wrong and reported as right. The floor is
    given up in the end: the noise reported is the true one, and so is the quality."""
    wrong, told, offset, found, noise = noise_floor.window(-5, snr_db, seed)
    assert wrong == 0 and told < 1e-6 and offset < 2e-6
    assert found > quality and (noise < 1e-6 if snr_db is None else abs(10 * np.log10(noise) - noise_db) < 1)


@pytest.mark.parametrize(("left", "measured", "used", "kept"), [
    (0.01, 0.01, 0.03, True),       # measured noise is left: it is believed
    (0.2, 0.01, 0.03, False),       # a wrong carrier offset leaves far more
    (0.05, 0.05, 0.05, False)])     # it was no less than the floor: nothing to do
def test_noise_below_the_floor_is_believed_where_the_residual_is_as_weak(left, measured, used, kept):
    one = torch.ones(1, 2560, dtype=torch.complex64)
    out = Separation(one, one, one[:, :160], torch.ones(1, 160, 2), torch.ones(1), 0, torch.ones(1), torch.full((1,), used),
                     estimated={"noise_var": torch.full((1,), measured)})
    assert blind.agrees(2 * one[0] + left ** 0.5, out, None) == kept
