# SPDX-License-Identifier: GPL-3.0-or-later
"""The promises of docs/benchmarks.md. The slow ones run by `./run test --slow`; recorded signals only where they are."""
import json
import pathlib

import pytest
from typer.testing import CliRunner

from benchmarks import families as evaluation
from benchmarks import recorded as evaluation_recorded
from benchmarks.cli import app

SCORING = pathlib.Path(__file__).resolve().parents[3] / "shared" / "scoring"


@pytest.mark.skipif(not (SCORING / "real_mix.py").exists(), reason="the recordings (../shared) are not on this machine")
@pytest.mark.parametrize(("sir_db", "inside", "most"), [(-10, True, 0.5), (-15, True, 3), (-10, False, 3)])
def test_recorded_qpsk_under_recorded_wifi(sir_db, inside, most):
    """Nothing given but the kinds: mean bit errors of 280, four draws."""
    assert evaluation_recorded.recorded(SCORING, sir_db, seeds=4, inside=inside)["errors"] <= most


@pytest.mark.slow
@pytest.mark.skipif(not (SCORING / "real_mix.py").exists(), reason="the recordings (../shared) are not on this machine")
@pytest.mark.parametrize(("sir_db", "most"), [(-5, 2), (-10, 20)])
def test_recorded_qpsk_under_wifi_known_by_a_network_alone(sir_db, most):
    """The QPSK's timing, carrier offset, phase and gain given: mean bit errors of 280, two draws of each recording."""
    prior = pathlib.Path(__file__).resolve().parents[2] / "priors" / "wifi.prior"
    errors = [evaluation_recorded.recorded(SCORING, sir_db, wifi, 2, prior=prior, given=True)["errors"]
              for wifi in evaluation_recorded.RECORDINGS]
    assert sum(errors) / len(errors) <= most


@pytest.mark.slow
@pytest.mark.parametrize("sir_db", evaluation.SIRS)
def test_joint_detection_of_isolated_windows(sir_db):
    assert evaluation.isolated("joint", sir_db)["errors"] <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("sir_db", "snr_db", "most"), [*((sir, 20, 5e-4) for sir in evaluation.SIRS), (-18, 15, 1e-3)])
def test_joint_detection_in_noise(sir_db, snr_db, most):
    assert evaluation.isolated("joint", sir_db, snr_db=snr_db)["ber"] <= most


@pytest.mark.slow
@pytest.mark.parametrize("sir_db", evaluation.SIRS)
def test_fast_alpha_rgs_in_streams(sir_db):
    assert evaluation.stream("alpha_rgs", sir_db)["errors"] <= 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_published_alpha_rgs():
    """10 windows of the published setting: the rate over 100 is in docs/benchmarks.md."""
    assert evaluation.isolated("alpha_rgs", -12, 10, preset="paper")["ber"] <= 8e-3


@pytest.mark.slow
@pytest.mark.parametrize(("sir_db", "es_n0", "most"), [(-12, 14, 8e-4), (-12, 18, 2e-4), (-9, 14, 1e-3), (-18, 10, 2e-3),
                                                       (-24, 10, 2e-3)])
def test_joint_detection_where_expectation_propagation_alone_fails(sir_db, es_n0, most):
    """Interior bits; a tenth of the first study's rate at -12 dB."""
    row = evaluation.isolated("joint", sir_db, snr_db=es_n0 - 12.04)
    assert row["interior_errors"] <= most * 100 * (320 - 64)


@pytest.mark.slow
@pytest.mark.parametrize("sir_db", evaluation.SIRS)
@pytest.mark.parametrize(("preset", "evaluations", "most"), [("white", 200, 2.5e-3), ("fast", 20, 3e-4)])
def test_accelerated_alpha_rgs_without_noise(preset, evaluations, most, sir_db):
    """A hundredth of the published evaluations and fewer, at no more errors."""
    row = evaluation.isolated("alpha_rgs", sir_db, 50, preset=preset)
    assert row["evaluations"] <= evaluations and row["ber"] <= most


def test_cases_of_any_kind_wanted_are_named():
    refused = CliRunner().invoke(app, ["wanted", "--case", "semaphore"])
    assert refused.exit_code == 2 and "semaphore" in refused.output and "fractional" in refused.output


@pytest.mark.slow
def test_a_part_of_a_name_picks_cases(tmp_path):
    out = tmp_path / "rows.json"
    ran = CliRunner().invoke(app, ["wanted", "--case", "ppm under qpsk", "--recordings", "1", "--json", str(out)])
    assert ran.exit_code == 0, ran.output
    row, = json.loads(out.read_text())
    assert row["case"] == "PPM under QPSK, -10 dB" and row["ber_told"] <= row["allowed_ber"] and row["met"]
