# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network is trained on, by the options of the command: the grid of windows, and whether it estimates timing itself."""
import pathlib
from dataclasses import replace

import pytest
import torch
from alpha_rgs.cli.fit import chosen_period
from alpha_rgs.io import recordings
from alpha_rgs.nets import build
from alpha_rgs.nets.denoiser import Denoiser, Finder
from alpha_rgs.sources.mixtures import alone, noise, paper_case, paper_priors
from alpha_rgs.training import covariance_fit
from alpha_rgs.training.dataset_builder import DatasetBuilder
from alpha_rgs.training.network_table import network_table

SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "priors"
DSSS, QPSK = paper_case("dsss")[1], replace(paper_priors()[0], symbols=None)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """{name: SigMF recording of 60 000 samples}, under noise 20 dB below."""
    folder, out = tmp_path_factory.mktemp("waves"), {}
    for name, prior in (("dsss", replace(DSSS, timing=3.0, phase=0.4)), ("qpsk", QPSK)):
        x = alone(prior, 1, 60_000, generator())[0][0]
        out[name] = recordings.save(folder / name, (x + 0.1 * noise(x.shape, generator(2))).numpy(), 1e6)
    return out


def builder(path, period):
    return DatasetBuilder([path], None, "fast", None, chosen_period(period, False), None, None, None)


@pytest.mark.slow
def test_a_recording_of_dsss_gets_a_network_that_finds(waves):
    """Period given or found (25, not the 5 that divides it): its squares stand out, so timing and phase are found in the window,
    and windows may lie anywhere."""
    for period in ("25", "auto"):
        data = builder(waves["dsss"], period)
        assert (data.stride, data.grid, data.kernel) == (25, 1, 75) and data.pseudo.shape == (25, 32) and not data.warnings
        table = network_table(data, 8)
        assert table["pseudo_lags"] == 32 and type(build(table)) is Finder and table["dilations"] == [1, 1, 1]
    assert builder(waves["dsss"], None).pseudo is None           # nobody asked for a period


@pytest.mark.parametrize("seed", [2, 3])
def test_the_whole_period_of_dsss_is_found_and_not_its_divisor(seed):
    """Symbols of 25 samples: lines at the multiples of 1/5 are strong, those between count."""
    x = alone(DSSS, 1, 40_000, generator(seed))[0][0]
    found = covariance_fit.find_period([(x + 0.3 * noise(x.shape, generator(seed))).numpy()])
    assert found[0] == 25 and found[1] > 8


@pytest.mark.parametrize(("weak", "period"), [(0.25, 25), (0.0, 5)])
def test_a_divisor_is_the_period_only_where_nothing_lies_between_its_lines(weak, period):
    """Noise whose power has a strong line at 1/5 and a weak one at 1/25, or none: 25, or 5 and none of its multiples."""
    n = torch.arange(60_000)
    power = 1 + 0.7 * torch.cos(2 * torch.pi * n / 5) + weak * torch.cos(2 * torch.pi * n / 25)
    assert covariance_fit.find_period([(noise((1, 60_000), generator())[0] * power.sqrt()).numpy()])[0] == period


def test_a_recording_of_qpsk_gets_windows_that_begin_with_a_period(waves):
    """Its squares average out: where periods begin is found by what is not squared, before the network."""
    data = builder(waves["qpsk"], "auto")
    assert (data.stride, data.grid, data.pseudo) == (16, 16, None) and data.source.samples % 16 == 0
    table = network_table(data, 8)
    assert "pseudo_lags" not in table and type(build(table)) is Denoiser


@pytest.mark.slow
def test_gmsk_that_is_drawn_gets_a_network_that_finds():
    """Its squares repeat after two symbols."""
    data = DatasetBuilder([], SHIPPED / "gmsk.toml", "fast", None, 1, 640, None, None)
    assert data.stride == 8 and data.grid == 1 and data.pseudo.shape == (8, 16)
    assert DatasetBuilder([], SHIPPED / "gmsk.toml", "diffwave", None, 1, 640, None, None).pseudo is None
