# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions by name on the command line."""
import json

import numpy as np
import pytest
from alpha_rgs.io import recordings
from alpha_rgs.sources import shipped
from commands import fails, run, works


def test_info_lists_them():
    """One line each, with --list and without an argument."""
    out = works("info", "--list").stdout
    assert out == works("info").stdout
    assert [line.split()[0] for line in out.splitlines()] == shipped.names()
    assert "GMSK, 9600 Bd" in out
    fails(run("info", "ais", "--list"), "--list")


def test_info_describes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = works("info", "ais").stdout
    for word in ("AIS, ships", "gmsk", "9600", "band", "0.4"):
        assert word in out
    assert "1920000" in works("info", "lte-1.4").stdout
    (tmp_path / "ais.toml").write_text('kind = "gmsk"\nsymbol_rate = 1200\n')
    out = works("info", "ais").stdout
    assert "1200" in out and "ships" not in out


@pytest.mark.parametrize(("name", "estimated", "words"), [
    ("ais", ("timing", "phase", "gain", "carrier_offset", "bursts"), ["±2 % of the sample rate inside"]),
    ("p25", ("timing", "phase", "gain", "carrier_offset", "bursts"), ["where there are gaps"]),
    ("wifi", ("frame_offset", "phase", "gain", "carrier_offset", "bursts"), ["where there are gaps"]),
    ("tetra", ("timing", "phase", "gain", "carrier_offset", "bursts"), ["of a known signal"]),
    ("adsb", ("gain", "carrier_offset", "bursts"), ["±500000 Hz"])])
def test_info_lists_what_will_be_estimated(monkeypatch, name, estimated, words):
    """Of a description in Hz as of a file in samples: a user must see what the result will rest on."""
    monkeypatch.setenv("COLUMNS", "200")
    out = works("info", name).stdout
    rows = {row[0].strip(): row[1].strip() for line in out.splitlines() if len(row := line.strip("│").split("│")) == 3}
    assert {key for key, value in rows.items() if value.startswith("estimated")} == set(estimated)
    assert all(word in out for word in words) and "None" not in out


def test_a_carrier_that_a_file_gives_is_not_estimated(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine.toml").write_text('kind = "gmsk"\nsymbol_rate = 9600\ncarrier_frequency = 1200.0\n')
    out = works("info", tmp_path / "mine.toml").stdout
    assert "1200" in out and "│ timing" in out and "│ carrier_offset" not in out


def test_its_file_can_be_copied(tmp_path, monkeypatch):
    """The way to a description that leaves something to choose."""
    monkeypatch.chdir(tmp_path)
    text = works("info", "dvb-s2-qpsk", "--toml").stdout
    assert text == shipped.text("dvb-s2-qpsk")
    (tmp_path / "mine.toml").write_text(text.replace("27500000", "22000000"))
    assert "22000000" in works("info", "mine").stdout
    fails(run("info", "nothing", "--toml"), "nothing: no such prior file")


def test_an_unknown_name_is_one_line(tmp_path):
    fails(run("info", "aiss"), "aiss: no such recording or prior file", "'ais'")
    fails(run("info", "qqqqqqq"), "info --list")
    recordings.save(tmp_path / "mix", np.ones(100, np.complex64), 1e6)
    fails(run("separate", tmp_path / "mix.sigmf-meta", "--source", "zigbe", "--source", "wifi", "-o", tmp_path / "out"),
          "zigbe: no such prior file", "'zigbee'")
    fails(run("train", "--synthetic", "ais", "-o", tmp_path / "ais.prior"), "ais", "rates in Hz")


@pytest.mark.timeout(200)
def test_files_are_called_by_names(tmp_path, monkeypatch):
    """An output folder named as a source is not taken for it, the next time either."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    recordings.save(tmp_path / "mix", (rng.standard_normal((1500, 2)) @ [1, 1j]).astype(np.complex64), 4e6)
    for more in ([], ["--overwrite"]):
        works("separate", "mix.sigmf-meta", "--source", "zigbee", "--source", "bluetooth-le", "-o", "zigbee", *more)
    assert {p.name.split(".")[0] for p in (tmp_path / "zigbee").iterdir()} == {"zigbee", "bluetooth-le", "report"}
    report = json.loads((tmp_path / "zigbee" / "report.json").read_text())
    assert report["assumed"] == []          # a standard's pulse is nothing that the user left out
    assert [(row["name"], row["prior"], row["kind"]) for row in report["sources"]] == [
        ("zigbee", "zigbee", "oqpsk"), ("bluetooth-le", "bluetooth-le", "fsk")]
