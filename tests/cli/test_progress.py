# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of long commands where nobody watches a terminal."""
import time

import numpy as np
from alpha_rgs import separate_stream
from alpha_rgs.cli import progress
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.sources import LinearModulation
from alpha_rgs.sources.mixtures import draw, paper_priors


def test_lines_say_how_much_is_done_and_what_is_left(monkeypatch, capsys):
    """A log file must show that work goes on, and for how long; a short run writes nothing."""
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with progress.shown("separating", "windows") as report:
        report(0, 12)
        time.sleep(0.08)
        report(4, 12)
        time.sleep(0.08)
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first == "separating: 0 of 12 windows in 0 s"
    assert second.startswith("separating: 4 of 12 windows in 0 s, about 0 s left")
    assert progress.line("separating", "windows", 4, 12, 40.0) == "separating: 4 of 12 windows in 40 s, about 1 min 20 s left"
    assert progress.line("separating", "windows", 1, 2, 7500.0).endswith("in 2 h 5 min, about 2 h 5 min left")
    monkeypatch.setattr(progress, "EVERY", 60.0)
    with progress.shown("separating", "windows"):
        pass
    assert capsys.readouterr().err == ""


def test_windows_are_counted_while_a_batch_is_searched():
    """A batch may take minutes: its windows are counted in parts, each window once, also those that a stream cuts short."""
    soi, ofdm = paper_priors(symbols=None)
    y = draw(soi, ofdm, 1, 9 * 2048, -10, 20, seed=1).y[0].numpy()
    seen = []
    result = separate_stream(y, LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.5, 4)), ofdm,
                             progress=lambda done, total: seen.append((done, total)))
    count = len(result.quality)
    assert seen[0] == (0, count) and seen[-1] == (count, count) and np.all(np.diff([done for done, _ in seen]) > 0)
    assert (4, count) in seen
