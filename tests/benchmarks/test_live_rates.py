# SPDX-License-Identifier: GPL-3.0-or-later
"""The study of live streams: what sums its rows up, and what is read off a flowgraph."""
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import cli, live
from benchmarks.live_tracked import Run


def line(**more):
    return {"method": "joint", "sir_db": -12, "snr_db": 20.0, "kernel": "native", "through": "flowgraph", "threads": 2,
            "ms_per_s": 30.0, "per_cpu": 15.0, "wrong": 1, "bits": 1000} | more


def test_the_slower_of_two_levels_counts_and_torch_does_not():
    rows = [line(), line(snr_db=None, ms_per_s=35.0, wrong=0), line(snr_db=10.0, ms_per_s=20.0),
            line(kernel="torch", ms_per_s=0.3), line(threads=1, ms_per_s=18.0),
            line(through="engine", ms_per_s=50.0), line(method="alpha_rgs", ms_per_s=4.0)]
    out = live.summary(rows)
    assert (out["known_joint"], out["known_joint_snr10"], out["known_alpha_rgs"]) == (30.0, 20.0, 4.0)
    assert out["ber_known_joint"] == 1 / 2000 and out["cores"] == [[1, 18.0], [2, 20.0]]


def test_rates_and_locks_are_those_of_the_second_half_and_of_windows_behind_the_gap():
    run = Run(came=[(1.0, 100), (2.0, 200), (3.0, 1000), (4.0, 2000), (6.0, 4000)],
              locks=[(1.0, 0, "search"), (2.0, 100, "locked"), (4.5, 2500, "search"), (6.0, 3000, "locked")])
    assert run.rate() == pytest.approx(1e-3)
    assert run.locked_after(0) == 2.0 and run.locked_after(2000) == 2.0
    assert run.locked_after(3500) is None


def test_the_command_saves_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "row", lambda case, kernel, way, count, *rest: line(
        method=case.method, sir_db=case.sir_db, snr_db=case.snr_db, kernel=kernel, through=way, threads=count))
    done = CliRunner().invoke(cli.app, ["live", "--known", "--json", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text())
    assert done.exit_code == 0 and found["known_joint"] == 30.0 and found["known_alpha_rgs"] == 30.0
    assert len(found["rows"]) in (37, 73)


def test_the_papers_setting_is_slower_than_joint_detection():
    ratio = live.published_over_joint(windows=2)
    assert np.isfinite(ratio) and ratio > 100
