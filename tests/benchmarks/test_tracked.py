# SPDX-License-Identifier: GPL-3.0-or-later
"""The study of streams that lock: what is drawn is what is said, and what is counted is right."""
import json

import numpy as np
import pytest
import torch
from alpha_rgs.sources import from_dict
from typer.testing import CliRunner

from benchmarks import cli, tracked, tracked_engine


def test_a_mixture_holds_what_its_symbols_say():
    """With hardly any interference or noise a matched filter reads all of them."""
    y, sent = tracked.mixture("OFDM-QPSK", 20, 60.0, 60.0, 0.0, 0.0, 3)
    source = from_dict(tracked.QPSK | tracked.OWN)
    seen = source.matched_filter(torch.from_numpy(y[None]))[0].numpy()
    assert tracked.wrong_bits(seen, sent)[0] == 0
    assert np.mean(abs(y) ** 2) == pytest.approx(1, abs=0.05)


def test_turns_and_places_are_resolved():
    rng = np.random.default_rng(1)
    sent = (rng.choice([-1, 1], (200, 2)) @ [1, 1j]) / 2 ** 0.5
    assert tracked.wrong_bits(1j * sent[3:], sent) == (0, 2 * (197 - 32))
    assert tracked.wrong_bits(rng.permutation(sent), sent)[0] > 100


def test_the_command_saves_its_rows(tmp_path, monkeypatch):
    made = {"interference": "x", "locked": 1.0, "wrong": 0}
    monkeypatch.setattr(tracked, "row", lambda interference, windows, **rest: made | {"interference": interference})
    monkeypatch.setattr(tracked_engine, "row", lambda name, **rest: {"stream": name, "ms_per_s": 2.0})
    done = CliRunner().invoke(cli.app, ["tracked", "--json", str(tmp_path / "a.json")])
    found = json.loads((tmp_path / "a.json").read_text())
    assert done.exit_code == 0 and len(found) == 4 + len(tracked_engine.CASES) and found[-1]["ms_per_s"] == 2.0


def test_decisions_are_compared_where_they_fit_best():
    """In any turn of the alphabet; a symbol that is dropped costs no more than its piece."""
    rng = np.random.default_rng(2)
    alphabet = from_dict(tracked.QPSK).signal.alphabet
    sent = alphabet.map(torch.from_numpy(rng.integers(0, 2, (1, 3200))))[0].numpy()
    seen = 1j * sent[500:1524]
    assert tracked_engine.wrong_decisions(seen, sent, alphabet) == 0
    seen[100] *= -1
    assert tracked_engine.wrong_decisions(seen, sent, alphabet) == 1
    assert 0 < tracked_engine.wrong_decisions(np.delete(1j * sent[500:1525], 700), sent, alphabet) < 256
