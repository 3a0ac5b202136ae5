# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate independent: what needs no program of others."""
import json
import pathlib

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.independent import study
from benchmarks.independent.peers import ATEST, GNURADIO, SOFTLORA, Peer, Peers


@pytest.mark.parametrize(("sent", "came", "expected"), [
    (["a", "b", "c"], [], (0, 0)),
    (["a", "b", "c"], ["c", "a", "x"], (2, 1)),
    (["a", "b"], ["a", "a", "a"], (1, 0)),            # a receiver that reads a frame twice has read one
    (["a", "a"], ["a", "a"], (2, 0)),
])
def test_counts(sent, came, expected):
    assert study.counted(sent, came) == expected


def test_missing_peers_say_how_to_install_them(tmp_path):
    absent = Peer("no-such-program-at-all", "program", "its-package")
    assert Peers().missing((absent, SOFTLORA)) == [
        "no-such-program-at-all is missing: apt install its-package",
        "softlora is missing: python3 -m venv DIR, DIR/bin/pip install softlora, then --peers DIR"]
    assert Peers(tmp_path).missing((SOFTLORA,)) == [f"softlora is missing: {tmp_path}/bin/pip install softlora"]
    assert "apt install direwolf" in ATEST.advice(None) and "apt install gnuradio" in GNURADIO.advice(None)


def test_cases_that_cannot_run_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "rows.json"
    result = CliRunner().invoke(app, ["independent", "--case", "ais under qpsk", "--json", str(out)])
    assert result.exit_code == 1 and "pip install pyais" in result.output and "apt install gnuais" in result.output
    assert len(json.loads(pathlib.Path(out).read_text())["rows"]) == 6
    refused = CliRunner().invoke(app, ["independent", "--case", "semaphore"])
    assert refused.exit_code == 2 and "no such case" in refused.output


def test_interference_of_gnuradio_has_unit_power_and_the_band_it_is_described_by():
    radio = pytest.importorskip("gnuradio") and __import__("benchmarks.independent.radio", fromlist=["radio"])
    for made, edge in ((radio.qpsk(8192, 4, 0.35, 3), 1.35 / 8), (radio.ofdm(8192, 3), 0.46)):
        assert len(made) == 8192 and np.mean(np.abs(made) ** 2) == pytest.approx(1, abs=1e-4)
        power = np.abs(np.fft.fft(made * np.hanning(8192))) ** 2
        assert power[np.abs(np.fft.fftfreq(8192)) > edge + 0.02].sum() < 0.02 * power.sum()
