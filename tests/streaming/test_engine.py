# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared engine: batching changes nothing, errors reach only their caller, the queue is bounded, streams are exact."""
import queue
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import Engine, separate, separate_stream
from alpha_rgs.errors import ParameterError
from alpha_rgs.sources import Ofdm
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.streaming.stream import windows_of

SOI, OFDM = paper_priors(symbols=None)


@pytest.fixture
def engine():
    with Engine() as engine:
        yield engine


def test_results_are_those_of_separate_whoever_shares_the_batch(engine):
    y = draw(SOI, OFDM, 6, 2560, -12, seed=1).y
    tasks = [engine.task(SOI, OFDM, "joint") for _ in range(2)]
    futures = [tasks[i % 2].submit(y[i:i + 1].numpy()) for i in range(6)]
    alone = separate(y, SOI, OFDM, "joint")
    for i, future in enumerate(futures):
        assert np.allclose(future.result(60).soi[0], alone.soi[i].numpy(), atol=1e-4)


def test_an_error_reaches_its_caller_and_no_other(engine):
    good, bad = draw(SOI, OFDM, 1, 2560, -12, seed=2).y.numpy(), np.ones((1, 16))
    task = engine.task(SOI, OFDM, "matched_filter")
    futures = [task.submit(w) for w in (good, bad, good)]
    with pytest.raises(ParameterError, match="shorter than"):
        futures[1].result(60)
    assert futures[0].result(60).soi.shape == futures[2].result(60).soi.shape == (1, 2560)


def test_full_queue_refuses_without_block_and_close_drains():
    engine = Engine(max_pending=4)
    task = engine.task(SOI, OFDM, "joint")
    y = draw(SOI, OFDM, 4, 2560, -12, seed=3).y.numpy()
    futures, refused = [], False
    for _ in range(20):
        try:
            futures.append(task.submit(y, block=False))
        except queue.Full:
            refused = True
            break
    assert refused
    engine.close()
    assert all(f.done() for f in futures)
    with pytest.raises(RuntimeError, match="closed"):
        task.submit(y)


def test_named_engines_are_shared_and_come_back_after_close():
    before = set(threading.enumerate())
    first = Engine.named("shared by a test")
    assert Engine.named("shared by a test") is first
    first.close()
    second = Engine.named("shared by a test")
    assert second is not first
    second.close()
    assert not any(thread.name == "alpha-rgs engine" for thread in set(threading.enumerate()) - before)


@pytest.mark.parametrize("samples", [1, 100, 2559, 2560, 2561, 4608, 4609, 9999])
def test_a_stream_of_any_length_keeps_its_length_and_its_symbols(samples):
    y = draw(SOI, OFDM, 1, max(samples, 200), -3, 20, seed=4).y[0, :samples].numpy()
    given = dict(kappa=10 ** (3 / 20), noise_var=0.01)
    ofdm = replace(OFDM, frame_offset=0, phase=0.0)
    out = separate_stream(y, SOI, ofdm, method="matched_filter", **given)
    assert out.soi.shape == out.interference.shape == (samples,)
    assert len(out.symbols) == len(range(8, samples, 16))
    assert len(windows_of(samples, 2560, 2048)) == len(out.quality)


def test_a_stream_comes_out_without_errors_at_its_seams():
    mixture = draw(SOI, OFDM, 1, 30_000, -12, seed=5)
    for method in ("joint", "alpha_rgs"):
        out = separate_stream(mixture.y[0].numpy(), SOI, OFDM, method=method)
        wrong = np.flatnonzero(SOI.signal.alphabet.slice(torch.from_numpy(out.symbols)).numpy() != mixture.bits[0].numpy())
        assert not len(wrong[(wrong > 64) & (wrong < len(mixture.bits[0]) - 64)]), method


@pytest.mark.parametrize("window, hop, word", [
    (2560, 3000, "hop"), (2570, 2048, "window"), (2560, 2050, "hop"), (32, 32, "pulse")])
def test_windows_that_do_not_fit_are_named(window, hop, word):
    with pytest.raises(ParameterError, match=word):
        separate_stream(np.zeros(5000), SOI, OFDM, window, hop)


def test_a_start_off_the_symbol_grid_fails_only_its_own_caller(engine):
    """Jobs of one batch whose windows cannot be solved together are solved one by one."""
    y = draw(SOI, OFDM, 1, 2565, -3, seed=6).y.numpy()
    tasks = [engine.task(SOI, OFDM, "matched_filter") for _ in range(3)]
    futures = [task.submit(y, start) for task, start in zip(tasks, (0, 12, 0), strict=True)]
    assert [f.result(60).soi.shape for f in futures] == [(1, 2565)] * 3


def test_priors_that_print_alike_do_not_share_a_batch(engine):

    near = [Ofdm(OFDM.signal, phase=torch.tensor([phase], dtype=torch.float64)) for phase in (1.00001, 1.00002)]
    assert repr(near[0]) == repr(near[1])
    assert engine.task(SOI, near[0]).key != engine.task(SOI, near[1]).key
    assert engine.task(SOI, OFDM).key == engine.task(*paper_priors(symbols=None)).key
