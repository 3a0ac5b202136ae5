# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording's level means nothing: a stream says the same of it, whatever it is; and nothing, where there is nothing."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate_stream
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.sources import LinearModulation, Ofdm
from alpha_rgs.sources.mixtures import alone, noise

SOURCES = [replace(LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8)), carrier_offset=None), Ofdm()]


@pytest.fixture(scope="module")
def mixture():
    generator = torch.Generator().manual_seed(5)
    waves = [alone(replace(source, carrier_offset=0.0), 1, 2560, generator)[0] for source in SOURCES]
    return (waves[0] + 3.16 * waves[1] + 0.3 * noise(waves[0].shape, generator))[0].numpy()


@pytest.fixture(scope="module")
def usual(mixture):
    return separate_stream(mixture, SOURCES)


@pytest.mark.parametrize("level", [1e-38, 1e-12, 3e-3, 1e12])
def test_the_level_changes_nothing(mixture, usual, level):
    out = separate_stream((mixture * level).astype(np.complex64), SOURCES)
    assert np.allclose(out.quality, usual.quality, atol=0.5)
    assert np.allclose(out.sir_db, usual.sir_db, atol=0.1)
    assert out.noise_var / level / level == pytest.approx(usual.noise_var, rel=1e-2)
    assert not out.unreliable and not out.warnings


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_is_said_where_nothing_is(value):
    out = separate_stream(np.full(5120, value, np.complex64), SOURCES)
    assert np.isnan(out.sir_db).all() and out.unreliable == [[0, 5120]]
    assert not out.soi.any()
