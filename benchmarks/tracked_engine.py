# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked streams as the separator block has them separated, waveforms and symbols alone: alphabets, numerologies, clocks."""
from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from alpha_rgs import Engine
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone

from .tracked import QPSK

_OWN = {"timing": 3.3, "phase": 0.7, "carrier_offset": 0.0011}
_JOB = 64               # windows
_FIRST = 3              # jobs that are not timed: sources are searched, and what is kept is made
_COUNTED = 8000         # symbols, the latest, whose decisions are compared
_SHIFTS = 400           # places that they are looked for in


@dataclass(frozen=True)
class Case:
    """own, other: keys of the two sources beside the usual; window, hop: samples; clock: relative; drift: cycles per sample²."""

    own: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    window: int = 2560
    hop: int = 2048
    clock: float = 0.0
    drift: float = 0.0


_LONG = {"fft_size": 128, "cyclic_prefix": 10}
CASES = {
    "QPSK": Case(), "clock 50 ppm off": Case(clock=5e-5), "carrier drifts by 1e-9": Case(drift=1e-9),
    "8PSK": Case({"constellation": "8psk"}), "16QAM": Case({"constellation": "16qam"}),
    "8 samples per symbol": Case({"samples_per_symbol": 8}),
    "12 samples per symbol": Case({"samples_per_symbol": 12}, {}, 2640, 2040),
    "128 carriers, prefix 10": Case({}, _LONG),
    "128 carriers, prefix 10, 12 samples per symbol": Case({"samples_per_symbol": 12}, _LONG, 2640, 2040)}


def row(name: str, windows: int = 512, sir_db: float = -10.0, snr_db: float = 20.0, seed: int = 1, threads: int = 2
        ) -> dict[str, Any]:
    """ms_per_s, per_cpu: million samples per second, and per second of a processor, median of the jobs after the first ones;
    searched: windows; wrong: of the latest symbols."""
    case, g = CASES[name], torch.Generator().manual_seed(seed)
    own, other = QPSK | case.own, {"kind": "ofdm"} | case.other
    samples = case.hop * windows + case.window - case.hop
    y, sent, alphabet = _mixture(own, other, case, samples, sir_db, snr_db, g)
    with Engine(threads=threads, max_batch=_JOB) as engine:
        task = engine.task(from_dict(own), from_dict(other))
        task.brief = True
        view = np.lib.stride_tricks.sliding_window_view(y, case.window)[::case.hop]
        rates, symbols = [], []
        for first in range(0, len(view), _JOB):
            start = case.hop * np.arange(first, min(first + _JOB, len(view)))
            part, wall, cpu = view[first:first + _JOB].copy(), time.perf_counter(), time.process_time()
            out = task.submit(part, start).result()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rates.append((len(start) * case.hop / wall, len(start) * case.hop / cpu))
            head = (case.window - case.hop) // (2 * own["samples_per_symbol"])
            symbols.append(out.symbols[:, head:head + case.hop // own["samples_per_symbol"]].ravel())
        searched = len(task.lock.searched)
    wall, cpu = (statistics.median(rate) / 1e6 for rate in zip(*rates[_FIRST:]))
    count = min(_COUNTED, sum(map(len, symbols)))
    return {"stream": name, "sir_db": sir_db, "snr_db": snr_db, "ms_per_s": round(wall, 3), "per_cpu": round(cpu, 3),
            "searched": searched, "wrong": wrong_decisions(np.concatenate(symbols)[-count:], sent, alphabet), "symbols": count}


def _mixture(own: dict[str, Any], other: dict[str, Any], case: Case, samples: int, sir_db: float, snr_db: float,
             g: torch.Generator) -> tuple[np.ndarray, np.ndarray, Any]:
    source: Any = from_dict(own | _OWN | {"samples_per_symbol": own["samples_per_symbol"] * (1 + case.clock)})
    alphabet, (_, count) = source.signal.alphabet, source.overlapping_symbols(samples)
    sent = alphabet.map(torch.randint(0, 2, (1, alphabet.bits_per_symbol * count), generator=g))
    signal = source.linear_model((1, samples)).waveform(sent.to(torch.complex128), samples)[0].numpy()
    wave = alone(from_dict(other), 1, samples, g)[0][0].numpy()
    signal, wave = (x / np.sqrt(np.mean(abs(x) ** 2)) for x in (signal, wave))
    noise = torch.randn(samples, dtype=torch.complex64, generator=g).numpy()
    signal = signal * np.exp(1j * np.pi * case.drift * np.arange(samples) ** 2)
    y = signal + 10 ** (-sir_db / 20) * wave + 10 ** (-snr_db / 20) * noise
    return y.astype(np.complex64), sent[0].numpy(), alphabet


def wrong_decisions(seen: np.ndarray, sent: np.ndarray, alphabet: Any) -> int:
    """Wrong decisions, where they fit best: of pieces, since a clock that is off drops or repeats a symbol now and then."""
    wrong, size = 0, 256
    for begin in range(0, len(seen) - size + 1, size):
        piece = seen[begin:begin + size]
        first = max(len(sent) - len(seen) - _SHIFTS + begin, 0)
        fits = np.correlate(sent[first:first + 2 * _SHIFTS + size].astype(complex), piece.astype(complex), "valid")
        truth = sent[first + int(abs(fits).argmax()):][:size]
        turned = piece * np.exp(-1j * np.angle(np.vdot(truth, piece)))
        near = alphabet.nearest(torch.from_numpy(turned.astype(np.complex64))).numpy()
        wrong += int((abs(near - truth) > 1e-3).sum())
    return wrong
