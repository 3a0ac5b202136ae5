# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions of well-known signals: each loads, takes the band that its signal is known to take, and can be drawn."""
import fnmatch
import pathlib
import re
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import priors, separate
from alpha_rgs.errors import ParameterError
from alpha_rgs.sources import Gmsk, Ofdm, shipped

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The band that 99 % of the power takes, Hz, least and most: of carriers n·spacing; of root raised cosines between the rate and
# the rate times 1 + roll-off; of chirps the bandwidth; of others below the channels' spacing, as masks and Carson's rule have it.
BANDS = {
    "adsb": (2e6, 12e6), "ais": (8e3, 12e3), "ax25-9600": (9e3, 16e3), "bluetooth": (0.7e6, 1e6), "bluetooth-le": (0.9e6, 1.3e6),
    "dab": (1.52e6, 1.54e6), "dect": (1e6, 1.4e6), "dmr": (6e3, 9e3), "dvb-s2-qpsk": (27.5e6, 37.1e6),
    "gsm": (200e3, 271e3), "iridium": (25e3, 35e3), "lrpt": (72e3, 115.2e3), "lrpt-oqpsk": (72e3, 115.2e3),
    "lte-1.4": (1.07e6, 1.1e6),
    "lte-3": (2.69e6, 2.73e6), "lte-5": (4.45e6, 4.55e6), "lte-10": (8.9e6, 9.1e6), "lte-15": (13.4e6, 13.6e6),
    "lte-20": (17.8e6, 18.2e6), "p25": (7e3, 9e3), "pocsag-2400": (9e3, 14e3), "radiosonde-rs41": (6e3, 10e3),
    "tetra": (18e3, 24.3e3), "vdl2": (10.5e3, 16.8e3), "wifi": (16.4e6, 17e6), "wifi-b": (11e6, 22e6), "wifi-n": (17.4e6, 18e6),
    "zigbee": (2e6, 3e6), **{f"lora-sf{sf}": (122e3, 136e3) for sf in range(7, 13)},
}
RATES = {"gsm": 1.625e6 / 6, "p25": 4800, "tetra": 18e3, "zigbee": 1e6, "dab": 2.048e6, "lte-20": 30.72e6, "lora-sf7": 125e3}


def test_each_has_a_band_here():
    assert set(BANDS) == set(shipped.names())


@pytest.mark.parametrize("name", shipped.names())
def test_it_takes_the_band_that_its_signal_takes_and_can_be_drawn(name):
    """Around its carrier, and at a rate that suits it; carriers whose alphabet is not known as QPSK."""
    prior = priors.load(name)
    low, high = prior.band()
    assert BANDS[name][0] <= high - low <= BANDS[name][1] and low == -high
    rate = 2 * float(prior.grid_rate) if prior.grid_rate else 12.4 * prior.symbol_rate
    source = prior.at_rate(rate)
    if hasattr(source.signal, "carriers"):
        source = replace(source, signal=replace(source.signal, constellation="qpsk"))
    x = source.draw(1, 4000, torch.Generator().manual_seed(1))[0]
    assert x.shape == (1, 4000) and torch.isfinite(x.abs()).all()
    assert source.own_levels or 0.8 < float(x.abs().square().mean()) < 1.2


@pytest.mark.parametrize("name", shipped.names())
def test_its_file_says_what_it_is(name):
    """A licence, one line that names the signal, then where the numbers are from and what is left open."""
    lines = shipped.text(name).splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    assert lines[0] == "# SPDX-License-Identifier: GPL-3.0-or-later" and lines[:len(comments)] == comments
    assert 4 <= len(comments) <= 6 and any(line.startswith("# Open: ") for line in comments)
    assert shipped.summary(name) == comments[1][2:] and max(map(len, lines)) <= 130


@pytest.mark.parametrize(("name", "rate"), RATES.items())
def test_rates_are_the_standards(name, rate):
    assert priors.load(name).symbol_rate == pytest.approx(rate, rel=1e-9)


def test_modulation_indices_are_twice_the_deviation_over_the_rate():
    for name, deviation in {"p25": 600, "dmr": 648, "ax25-9600": 3000, "radiosonde-rs41": 2400, "dect": 288e3,
                            "pocsag-2400": 4500}.items():
        prior = priors.load(name)
        assert prior.table["modulation_index"] == pytest.approx(2 * deviation / prior.symbol_rate)


def test_symbols_of_ofdm_last_as_long_as_the_standards_have_it():
    for name, seconds in {"wifi": 4e-6, "wifi-n": 4e-6, "lte-5": 2192 / 30.72e6, "dab": 2552 / 2.048e6}.items():
        prior = priors.load(name)
        for times in (1, 2):
            rate = times * float(prior.grid_rate)
            assert prior.at_rate(rate).signal.frame_length == pytest.approx(rate * seconds)


def test_the_density_of_ofdm_is_that_of_its_frames():
    """The closed form against diagonals of A·Aᴴ, with echoes."""
    signal = Ofdm().signal
    source = Ofdm(replace(signal, fft_size=48, cyclic_prefix=7, guards=(3, 5)), channel=(1, 0.3 - 0.2j, 0, 0.1j))
    period, lags = source.signal.frame_length, np.arange(-60, 61)
    covariance = source.matrix @ source.matrix.conj().T
    expected = [np.trace(covariance, offset=-lag) / period if abs(lag) < period else 0 for lag in lags]
    assert np.allclose(source.autocorrelation(lags), expected)


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    """NAME or NAME.toml in the working directory, or a prior's folder; an output folder of that name does not."""
    monkeypatch.chdir(tmp_path)
    assert priors.load("AIS").symbol_rate == 9600
    (tmp_path / "ais").mkdir()
    assert priors.load("ais").symbol_rate == 9600
    (tmp_path / "ais.toml").write_text('kind = "gmsk"\nsymbol_rate = 1200\n')
    assert priors.load("ais").symbol_rate == 1200 and priors.load(tmp_path / "ais.toml").symbol_rate == 1200
    (tmp_path / "dmr").write_text('kind = "gmsk"\nsymbol_rate = 1300\n')
    assert priors.load("dmr").symbol_rate == 1300
    with pytest.raises(ParameterError, match="no such prior file"):
        priors.load(tmp_path / "tetra")             # a path is no name


@pytest.mark.parametrize(("name", "words"), [("aiss", "did you mean the description 'ais'"), ("wify.toml", "'wifi'"),
                                             ("lora-sf13", "'lora-sf1"), ("qqqqqqq", "info --list")])
def test_an_unknown_name_is_one_clear_error(name, words):
    with pytest.raises(ParameterError, match=re.escape(name)) as error:
        priors.load(name)
    assert words in str(error.value)


def test_what_vdl_sends_is_known_better_than_by_a_root_raised_cosine():
    """The error of the wanted signal beside a GMSK signal 3.5 dB stronger."""
    true = replace(priors.load("vdl2").at_rate(84e3), timing=3.3, phase=0.4, carrier_offset=0.0, gain=1.0)
    nearest = replace(true, signal=replace(true.signal, pulse="rrc", rolloff=0.4))
    other = Gmsk(Gmsk().signal, timing=1.2, phase=0.1, carrier_offset=0.002, gain=1.5)
    g = torch.Generator().manual_seed(2)
    x, z = true.draw(2, 2560, g)[0], 1.5 * other.draw(2, 2560, g)[0]
    y = x + z + 0.03 * torch.randn(2, 2560, dtype=torch.complex64, generator=g)
    wrong = [float((separate(y, [model, other], noise_var=9e-4).sources[0].waveform - x).abs().square().mean())
             for model in (true, nearest)]
    assert wrong[0] < 1e-4 < 5e-3 < wrong[1]


def test_messages_call_it_by_its_name():
    with pytest.raises(ParameterError, match="^lora-sf7: bandwidth"):
        priors.load("lora-sf7").at_rate(300e3)


def test_the_wheel_holds_them():
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["alpha_rgs"]
    package = ROOT / "python" / "alpha_rgs"
    files = [path.relative_to(package).as_posix() for path in (package / "sources" / "shipped").iterdir()]
    assert files and all(any(fnmatch.fnmatch(file, glob) for glob in globs) for file in files)


def test_the_table_names_all():
    page = (ROOT / "docs" / "descriptions.md").read_text()
    assert set(re.findall(r"^\| `([a-z0-9.-]+)`", page, re.MULTILINE)) == set(shipped.names())


def test_the_page_names_those_that_may_come_in_bursts():
    """docs/descriptions.md says whose bursts are estimated: all that come with the package."""
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "descriptions.md").read_text()
    table = page[page.index("**Bursts.**"):page.index("For PSK and QAM two limits")]
    sources = {name: priors.load(name).sampled()[0] for name in shipped.names()}
    named = {name for name, source in sources.items()
             if source.intermittent or "bursts" in source.unknown or source.in_packets() is not None}
    assert set(re.findall("`([^`]+)`", table)) == named == set(sources)
