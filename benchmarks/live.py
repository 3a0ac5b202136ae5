# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast streams are separated, and what is wrong in them then: QPSK under OFDM of which everything is known.

Native and torch side by side, each through the engine and, where GNU Radio is, through a flowgraph from source to sinks. The
first run of a stream loads and makes what is kept; the median of the others counts.
"""
from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from alpha_rgs import Engine, native, separate
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.streaming.stream import HOP, WINDOW

_PUBLISHED, _TIMED = 20_000, (20, 120)      # iterations of the paper's setting, and those that are timed
_JOB = 96               # windows: as many as the block hands over at once where it is busy
_OFFSET, _PHASES = 37, (0.3, -1.1)


@dataclass(frozen=True)
class Case:
    """sir_db; snr_db, signal over noise per sample, None for no noise; method: that separates."""

    sir_db: float
    snr_db: float | None
    method: str = "joint"


@dataclass(frozen=True)
class Stream:
    """A mixture, complex64 [samples], the sources as they are, and the bits of the symbols in it."""

    mixture: np.ndarray
    soi: Any
    interference: Any
    kappa: float
    noise_var: float
    bits: np.ndarray


@lru_cache(maxsize=2)
def drawn(case: Case, samples: int, seed: int) -> Stream:
    """A stream of whole windows."""
    soi, ofdm = paper_priors(symbols=None)
    soi, ofdm = replace(soi, phase=_PHASES[0]), replace(ofdm, frame_offset=_OFFSET, phase=_PHASES[1])
    samples = max(1, (samples - WINDOW) // HOP + 1) * HOP + WINDOW - HOP
    m = draw(soi, ofdm, 1, samples, case.sir_db, case.snr_db, seed)
    return Stream(m.y[0].numpy(), soi, ofdm, m.kappa, float(m.noise_var), m.bits[0].numpy().reshape(-1, 2))


@contextmanager
def chosen(kernel: str) -> Iterator[None]:
    """With the kernel of that name: torch, native, or instructions."""
    before = os.environ.get(native.VARIABLE)
    os.environ[native.VARIABLE] = {"torch": "0", "native": "1"}.get(kernel, kernel)
    try:
        yield
    finally:
        if before is None:
            del os.environ[native.VARIABLE]
        else:
            os.environ[native.VARIABLE] = before


def wrong_bits(symbols: np.ndarray, bits: np.ndarray) -> int:
    """Of soft QPSK symbols, complex64 [n], those that have no counterpart left out."""
    n = min(len(symbols), len(bits))
    return int(((symbols[:n].real < 0) != bits[:n, 0]).sum() + ((symbols[:n].imag < 0) != bits[:n, 1]).sum())


def row(case: Case, kernel: str, through: str, threads: int, samples: int, seed: int, runs: int = 3) -> dict[str, Any]:
    """One line of the table. through: engine or flowgraph; ms_per_s: million samples per second, per_cpu: per second of a
    processor."""
    stream = drawn(case, samples, seed)
    with chosen(kernel):
        once = _engine if through == "engine" else _flowgraph
        measured = [once(stream, case, threads, f"live {kernel} {threads}") for _ in range(runs + 1)][1:]
    n = len(stream.mixture) / 1e6
    return {"method": case.method, "sir_db": case.sir_db, "snr_db": case.snr_db, "kernel": kernel, "through": through,
            "threads": threads, "ms_per_s": round(n / statistics.median(wall for wall, _, _ in measured), 3),
            "per_cpu": round(n / statistics.median(cpu for _, cpu, _ in measured), 3),
            "wrong": wrong_bits(measured[-1][2], stream.bits), "bits": 2 * len(measured[-1][2])}


def _engine(stream: Stream, case: Case, threads: int, name: str) -> tuple[float, float, np.ndarray]:
    """(seconds, seconds of processors, soft symbols)."""
    view = np.lib.stride_tricks.sliding_window_view(stream.mixture, WINDOW)[::HOP]
    starts = np.arange(len(view)) * HOP
    engine = Engine.named(name, threads=threads, max_batch=_JOB, max_pending=4 * _JOB)
    task = engine.task(stream.soi, stream.interference, case.method, kappa=stream.kappa, noise_var=stream.noise_var)
    task.brief = True
    wall, cpu = time.perf_counter(), time.process_time()
    edges = [*range(0, len(view) - 1, _JOB), len(view) - 1, len(view)]         # the last window comes alone, as from the block
    futures = [task.submit(view[a:b], starts[a:b]) for a, b in zip(edges, edges[1:])]
    windows = np.concatenate([future.result().symbols for future in futures])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sps = stream.soi.symbol_period
    low, high = (WINDOW - HOP) // 2 // sps, (WINDOW + HOP) // 2 // sps
    return wall, cpu, np.concatenate([windows[0, :low], windows[:, low:high].ravel(), windows[-1, high:]])


def _flowgraph(stream: Stream, case: Case, threads: int, name: str) -> tuple[float, float, np.ndarray]:
    """As _engine, from a file to sinks; from the first window that came to the last that left."""
    from gnuradio import blocks, gr, scoresep

    scoresep.engine(name, threads=threads)
    with tempfile.NamedTemporaryFile(suffix=".cf32") as file:
        stream.mixture.tofile(file.name)
        top = gr.top_block()
        block = scoresep.separator(stream.soi, stream.interference, method=case.method, sir_db=case.sir_db, engine=name,
                                   snr_db=200.0 if case.snr_db is None else case.snr_db)
        symbols = blocks.vector_sink_c()
        top.connect(blocks.file_source(gr.sizeof_gr_complex, file.name), block)
        for port, sink in enumerate((blocks.null_sink(gr.sizeof_gr_complex), blocks.null_sink(gr.sizeof_gr_complex), symbols)):
            top.connect((block, port), sink)
        cpu = time.process_time()
        top.run()
        cpu = time.process_time() - cpu
    if block.error:
        raise block.error
    return len(stream.mixture) / block.stats()["samples_per_second"], cpu, np.array(symbols.data(), np.complex64)


def copied(samples: int = 20_000_000) -> float:
    """Million samples per second through a flowgraph with a copy in place of the separation."""
    from gnuradio import blocks, gr
    from gnuradio.scoresep.benchmark import flow, windows_with_copy

    seconds = [flow(samples, blocks.null_source(gr.sizeof_gr_complex), windows_with_copy(WINDOW, HOP, 0)) for _ in range(3)]
    return samples / min(seconds) / 1e6


def published_over_joint(seed: int = 1, windows: int = 32) -> float:
    """Time of the paper's 20 000 iterations over that of joint detection, of the same windows, isolated and without noise. Every
    iteration takes as long as the others: some are timed."""
    soi, ofdm = paper_priors()
    soi, ofdm = replace(soi, phase=_PHASES[0]), replace(ofdm, frame_offset=_OFFSET, phase=_PHASES[1])
    m = draw(soi, ofdm, windows, WINDOW, -12, None, seed)

    def seconds(method: str, runs: int, **options: Any) -> float:
        took = []
        for _ in range(runs + 1):
            began = time.perf_counter()
            separate(m.y, m.soi, m.interference, method, kappa=m.kappa, noise_var=m.noise_var, **options)
            took.append(time.perf_counter() - began)
        return statistics.median(took[1:])

    few, many = (seconds("alpha_rgs", 1, preset="paper", iterations=n) for n in _TIMED)
    return (few + (_PUBLISHED - _TIMED[0]) * (many - few) / (_TIMED[1] - _TIMED[0])) / seconds("joint", 9)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows, and what sums them up: known_joint is the lower rate without noise and with noise 20 dB below the
    signal, known_joint_snr10 that with noise 10 dB below, ber_… their bit error rates; cores: [threads, rate]."""
    through = "flowgraph" if any(r["through"] == "flowgraph" for r in rows) else "engine"
    by_alpha_rgs = [r["ms_per_s"] for r in rows if r["method"] == "alpha_rgs"]
    own = [r for r in rows if r["kernel"] != "torch" and r["through"] == through and r["sir_db"] == -12
           and r["method"] == "joint"]
    most = max((r["threads"] for r in own), default=0)

    def of(levels: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [r for r in own if r["snr_db"] in levels and r["threads"] == most]

    def rate(some: list[dict[str, Any]]) -> float | None:
        return min((r["ms_per_s"] for r in some), default=None)

    def ber(some: list[dict[str, Any]]) -> float | None:
        bits = sum(r["bits"] for r in some)
        return sum(r["wrong"] for r in some) / bits if bits else None

    cores = [[count, min(r["ms_per_s"] for r in own if r["threads"] == count)] for count in sorted({r["threads"] for r in own})]
    quiet, noisy = of((None, 20.0)), of((10.0,))
    return {"known_joint": rate(quiet), "known_alpha_rgs": max(by_alpha_rgs, default=None), "known_joint_snr10": rate(noisy),
            "ber_known_joint": ber(quiet), "ber_known_joint_snr10": ber(noisy), "cores": cores, "rows": rows}
