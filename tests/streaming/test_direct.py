# SPDX-License-Identifier: GPL-3.0-or-later
"""The short way through the engine gives what the long one gives."""
from dataclasses import replace

import numpy as np
import pytest
from alpha_rgs import Engine, native
from alpha_rgs.sources.mixtures import draw, paper_priors

pytestmark = pytest.mark.skipif(not native.instruction_sets(), reason="the native detector is not built, or not wanted")
SOI, OFDM = paper_priors(symbols=None)
KNOWN = replace(OFDM, frame_offset=37, phase=-1.1)
WINDOW, HOP, COUNT = 2560, 2048, 20
STARTS = np.arange(COUNT) * HOP


@pytest.fixture
def engine():
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def mixture():
    return draw(SOI, KNOWN, 1, HOP * (COUNT - 1) + WINDOW, -12, 20, seed=3)


def windows(m):
    return np.stack([m.y[0, start:start + WINDOW].numpy() for start in STARTS])


def task_of(engine, m, **more):
    return engine.task(m.soi, KNOWN, "joint", kappa=m.kappa, noise_var=m.noise_var, **more)


def test_waveforms_and_symbols_are_those_of_the_long_way(engine, mixture):
    """Of the middle of each window, in jobs of different sizes; the first job also at the stream's beginning."""
    brief, usual = task_of(engine, mixture), task_of(engine, mixture)
    brief.brief = True
    assert brief.direct is not None
    given = windows(mixture)
    parts = [brief.submit(given[a:b], STARTS[a:b]) for a, b in ((0, 1), (1, 9), (9, COUNT))]
    long = usual.submit(given, STARTS).result(60)
    at = 0
    for part in (future.result(60) for future in parts):
        n = len(part.soi)
        rows = slice(at, at + n)
        assert part.soi.shape == part.interference.shape == (n, WINDOW) and part.symbols.shape == (n, WINDOW // 16)
        keep = slice(256 if at else 0, 256 + HOP)
        assert np.abs(part.soi - long.soi[rows])[:, keep].max() < 0.05
        assert np.mean(np.abs(part.interference - long.interference[rows])[:, keep] ** 2) < 1e-3
        symbols = slice(keep.start // 16, keep.stop // 16)
        assert np.array_equal(np.sign(part.symbols[:, symbols].real), np.sign(long.symbols[rows, symbols].real))
        assert part.quality.shape == part.error_rate.shape == (n,)
        assert abs(np.median(part.quality - long.quality[rows])) < 3 and part.error_rate.max() < 0.01
        at += n


def test_what_it_cannot_do_goes_the_long_way(engine, mixture):
    """Windows with a gap, with samples that are no numbers, or out of order; what is unknown, or asked with options."""
    task = task_of(engine, mixture)
    task.brief = True
    given = windows(mixture)[:3]
    gap, lost = given.copy(), given.copy()
    gap[1, 1000:1100] = 0
    lost[2, 7] = np.nan
    for some, starts in ((gap, STARTS[:3]), (lost, STARTS[:3]), (given, np.array([0, 4096, 2048]))):
        assert len(task.submit(some, starts).result(60).sources) == 2
    unknown = engine.task(replace(mixture.soi, phase=None), KNOWN, "joint", kappa=mixture.kappa, noise_var=0.01)
    assert unknown.direct is None and task_of(engine, mixture, passes=3).direct is None
    assert engine.task(mixture.soi, KNOWN, "joint").direct is None


def test_torch_does_it_where_the_environment_says_so(engine, mixture, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "0")
    assert task_of(engine, mixture).direct is None
