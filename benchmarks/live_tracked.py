# SPDX-License-Identifier: GPL-3.0-or-later
"""Live figures of streams of which the kinds alone are told: how fast they pass a flowgraph once they are locked, how soon they
are, how soon again after a gap, and how late samples leave at half of that load."""
from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from alpha_rgs.sources import from_dict
from alpha_rgs.streaming.stream import HOP

from . import tracked

WINDOWS = {"GMSK": 120, "802.11 bursts": 80}        # of a stream: about half a minute each
_PERIOD, _SAMPLES = 1_000_000, 60_000_000           # of the one under OFDM, which is repeated, and how many of them
_MISSING = 1000         # samples, in the middle of the stream that has to be found again
_LATENCY = 0.1          # s, asked for at half load
_LEAST = 40.0           # s, that half load lasts: percentiles are over the latest thousand jobs, the search is before these
_CHUNK = 0.002          # s, of samples that are let through at once, at most
_SLOW, _LONG = 1e5, 30.0        # samples per second, and s, of the stream that has to be found again


@dataclass
class Run:
    """Of a flowgraph. came: (s since its start, samples that have left) at each call of the sink; symbols: complex64 [n]; locks:
    (s since the start, window's first sample, lock state) of each window's tag; stats: the block's."""

    came: list[tuple[float, int]] = field(default_factory=list)
    symbols: Any = None
    locks: list[tuple[float, int, str]] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)

    def rate(self) -> float:
        """Million samples per second over the second half of the samples."""
        half = next(k for k, (_, count) in enumerate(self.came) if count >= self.came[-1][1] / 2)
        (began, first), (ended, last) = self.came[half], self.came[-1]
        return (last - first) / max(ended - began, 1e-9) / 1e6

    def locked_after(self, sample: int) -> float | None:
        """s from when the sample before that one left until a window that begins later and is locked leaves; of sample 0: from
        the start."""
        began = max((when for when, count in self.came if count <= sample), default=0.0) if sample else 0.0
        return next((when - began for when, first, lock in self.locks if first > sample and lock == "locked"), None)


def flow(y: np.ndarray, sources: Any, throttle: float = 0.0, samples: int = 0, symbols: bool = True, **settings: Any) -> Run:
    """A stream, complex64 [samples], from a file through the separator to a sink, `samples` of it, repeated; 0: all, once.
    throttle: samples per second, 0: as fast as it goes; symbols: whether they are kept."""
    import pmt
    from gnuradio import blocks, gr, scoresep

    run = Run()

    class Clock(gr.sync_block):
        """A sink that keeps when samples came, and what windows' tags say of the lock."""

        def __init__(self) -> None:
            gr.sync_block.__init__(self, "clock", [np.complex64], None)

        def work(self, input_items: Any, output_items: Any) -> int:
            count, now = len(input_items[0]), time.perf_counter() - began
            for tag in self.get_tags_in_window(0, 0, count, pmt.intern("separation")):
                run.locks.append((now, tag.offset, str(pmt.to_python(tag.value).get("lock"))))
            run.came.append((now, self.nitems_read(0) + count))
            return count

    with tempfile.NamedTemporaryFile(suffix=".cf32") as file:
        y.tofile(file.name)
        top, block = gr.top_block(), scoresep.separator(*sources, **settings)
        parts = [blocks.file_source(gr.sizeof_gr_complex, file.name, bool(samples))]
        if samples:
            parts.append(blocks.head(gr.sizeof_gr_complex, samples))
        if throttle:
            parts.append(blocks.throttle(gr.sizeof_gr_complex, throttle))
            parts[-1].set_max_noutput_items(max(1, int(throttle * _CHUNK)))
        kept, clock = blocks.vector_sink_c() if symbols else blocks.null_sink(gr.sizeof_gr_complex), Clock()
        top.connect(*parts, block, clock)
        top.connect((block, 1), blocks.null_sink(gr.sizeof_gr_complex))
        top.connect((block, 2), kept)
        began = time.perf_counter()
        top.run()
    if block.error:
        raise block.error
    run.symbols, run.stats = np.array(kept.data() if symbols else (), np.complex64), block.stats()
    return run


def stream(interference: str, seed: int, windows: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[Any, Any]]:
    """(mixture at -10 dB and noise 20 dB below the signal, symbols sent, the two sources as told)."""
    y, sent = tracked.mixture(interference, windows or WINDOWS[interference], -10.0, 20.0, 0.0, 0.0, seed)
    return y, sent, (from_dict(tracked.QPSK), from_dict(tracked.INTERFERENCES[interference]))


def endless(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[Any, Any]]:
    """As `stream` under OFDM, of _PERIOD samples, to be repeated."""
    y, sent = tracked.endless(_PERIOD, -10.0, 20.0, seed)
    return y, sent, (from_dict(tracked.QPSK), from_dict(tracked.INTERFERENCES["OFDM-QPSK"]))


def rates(interference: str, seed: int, windows: int = 0) -> dict[str, float]:
    """ms_per_s: million samples per second in the second half of the stream, ber: there. windows: 0 for as many as suit."""
    if interference == "OFDM-QPSK" and not windows:
        y, own, sources = endless(seed)
        run = flow(y, sources, samples=_SAMPLES, method="auto")
        sent = np.tile(own, _SAMPLES // _PERIOD)
    else:
        y, sent, sources = stream(interference, seed, windows)
        run = flow(y, sources, method="auto")
    half = len(run.symbols) // 2
    wrong, bits = tracked.wrong_bits(run.symbols[half:], sent[half:])
    return {"ms_per_s": round(run.rate(), 4), "ber": wrong / bits}


def locks(seed: int) -> dict[str, float | None]:
    """lock_s: from the start of the flowgraph, which loads, until a locked window leaves; relock_s: from when the sample before a
    gap left until a locked window that begins behind it does. The samples come at 0.1 MS/s."""
    y, _, sources = stream("OFDM-QPSK", seed, int(_SLOW * _LONG) // HOP)
    middle = len(y) // 2
    run = flow(np.concatenate([y[:middle], y[middle + _MISSING:]]), sources, _SLOW, method="auto", window_tags=True)
    return {"lock_s": run.locked_after(0), "relock_s": run.locked_after(middle)}


def latencies(seed: int, rate: float) -> dict[str, float]:
    """p50, p99: s from sample in to sample out, everything unknown, at half of `rate` (million samples per second)."""
    load = rate * 0.5e6
    y, _, sources = endless(seed)
    stats = flow(y, sources, load, int(max(_LEAST * load, 40 * HOP)), symbols=False, method="auto", latency=_LATENCY).stats
    return {"p50": stats["latency_p50"], "p99": stats["latency_p99"]}
