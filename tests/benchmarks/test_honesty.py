# SPDX-License-Identifier: GPL-3.0-or-later
"""The study of honesty: what is sent is what a condition says, what is counted is right, and the command names what it knows."""
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.honesty import CONDITIONS, KINDS, SAMPLES, recording, summary, windows


@pytest.mark.parametrize("condition", CONDITIONS)
def test_recordings_are_finite_repeatable_and_differ_by_seed(condition):
    one, again, other = (recording(condition, "1 tone", seed).y for seed in (5, 5, 6))
    assert one.shape == (SAMPLES,) and np.isfinite(one).all() and np.array_equal(one, again) and not np.array_equal(one, other)


def test_conditions_change_what_they_say():
    assert abs(recording("300 zeros", "1 tone", 5).y[:9000] == 0).sum() == 300
    assert recording("rate off by 0.3 %", "1 tone", 5).signal.samples_per_symbol % 1
    told = recording("another constellation", "1 tone", 5)
    assert told.told[0].signal.constellation != told.signal.constellation
    assert recording("parameters off", "OFDM-QPSK", 5).told[1].signal.cyclic_prefix == 8
    kinds = {recording("another kind", "LoRa", seed).told[1].kind for seed in range(8)}
    assert "lora" not in kinds and len(kinds) > 2


def test_a_recording_as_told_has_no_wrong_bits_and_a_low_rate():
    rows = windows("as told", "1 tone", 7)
    assert len(rows) == 5 and all(row["ber"] < 0.03 and row["told"] < 0.1 for row in rows)


def test_the_summary_counts_what_is_told_falsely_and_false_alarms():
    def row(ber, told, named):
        return {"condition": "as told", "ber": ber, "told": told, "named": named}
    found = summary([row(0.4, 0.001, False), row(0.4, 0.001, True), row(0.4, 0.2, False), row(0.0, 0.1, True),
                     row(0.0, 0.0, False), {"condition": "as told", "refused": "no"},
                     row(0.0, 0.1, True) | {"condition": "another constellation"}])
    assert found == {"windows": 6, "wrong": 3, "falsely": 1, "named": 3, "alarms": 1, "refused": 1}


def test_symbols_that_were_dropped_are_not_counted_as_wrong():
    """No receiver tells how many symbols it never saw: before and after the gap each has a place of its own."""
    rows = windows("samples dropped", "QPSK, 5", 7)
    assert max(row["ber"] for row in rows) < 0.03


def test_windows_are_not_named_for_doubts_that_the_others_refute():
    """Each told 7 to 13 % of wrong bits of which 0.4 to 1.2 % were, and all were named."""
    rows = windows("absent", "OFDM-QPSK", 3010)
    assert max(row["ber"] for row in rows) < 0.03 and sum(row["named"] for row in rows) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("condition", "interference", "seed"), [
    ("a QPSK unlisted", "OFDM-QPSK", 3010), ("a QPSK unlisted", "OFDM-QPSK", 6), ("another constellation", "QPSK, 5", 6)])
def test_windows_that_are_wrong_alike_are_named(condition, interference, seed):
    """Their symbols scatter as little as if 1 % of the bits were wrong, and three of five windows agree in the carrier offset."""
    rows = windows(condition, interference, seed)
    assert not summary(rows)["falsely"]


def test_the_command_names_conditions_and_saves(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.honesty.KINDS", {"1 tone": KINDS["1 tone"]})
    done = CliRunner().invoke(cli.app, ["honesty", "--condition", "as told", "--seed", "7", "--json", str(tmp_path / "a.json")])
    assert done.exit_code == 0 and "told falsely" in done.output
    assert json.loads((tmp_path / "a.json").read_text())["summary"]["windows"] == 5
    assert CliRunner().invoke(cli.app, ["honesty", "--condition", "nothing"]).exit_code == 2
