# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of which the kinds alone are told: how fast they are once they are locked, and what is wrong in them then."""
from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming import separate_stream
from alpha_rgs.streaming.lock import SEARCHED
from alpha_rgs.streaming.stream import HOP, WINDOW

from .coverage import INTERFERENCES as KINDS

INTERFERENCES: dict[str, dict[str, Any]] = {"OFDM-QPSK": {"kind": "ofdm"}, "GMSK": {"kind": "gmsk"},
                                            "802.11 bursts": KINDS["802.11 bursts"]}
QPSK: dict[str, Any] = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.5, "span": 8}
OWN = {"timing": 3.3, "phase": 0.7, "carrier_offset": 0.002}
_LAGS = 8               # of symbols, tried
_EDGE = 16              # symbols at the ends, not counted


def mixture(interference: str, windows: int, sir_db: float, snr_db: float, clock: float, drift: float, seed: int
            ) -> tuple[np.ndarray, np.ndarray]:
    """(complex64 [samples], symbols sent): QPSK whose clock is off by `clock`, relative, and whose carrier drifts by `drift`,
    cycles per sample²."""
    samples, g = HOP * windows + WINDOW - HOP, torch.Generator().manual_seed(seed)
    source: Any = from_dict(QPSK | OWN | {"samples_per_symbol": 16 * (1 + clock)})
    first, count = source.overlapping_symbols(samples)
    symbols = source.signal.alphabet.map(torch.randint(0, 2, (1, 2 * count), generator=g))
    signal = source.linear_model((1, samples)).waveform(symbols.to(torch.complex128), samples)[0].numpy()
    other = alone(from_dict(INTERFERENCES[interference]), 1, samples, g)[0][0].numpy()
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    noise = torch.randn(samples, dtype=torch.complex64, generator=g).numpy()
    signal = signal * np.exp(1j * np.pi * drift * np.arange(samples) ** 2)
    y = signal + 10 ** (-sir_db / 20) * other + 10 ** (-snr_db / 20) * noise
    return y.astype(np.complex64), symbols[0].numpy()


def endless(samples: int, sir_db: float, snr_db: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `mixture` under OFDM, complex64 [samples], whole symbols, frames and turns of the carrier: repeated, it goes on without
    a seam, noise and symbols too. Symbols are those centred in it."""
    g, source = torch.Generator().manual_seed(seed), from_dict(QPSK | OWN)
    frame = from_dict(INTERFERENCES["OFDM-QPSK"]).frame_period
    whole = samples % source.symbol_period == 0 and samples % frame == 0 and (samples * OWN["carrier_offset"]) % 1 == 0
    assert whole, f"{samples} samples cut a symbol, a frame or a turn"
    first, count = source.overlapping_symbols(samples)
    own = source.signal.alphabet.map(torch.randint(0, 2, (1, 2 * samples // source.symbol_period), generator=g))
    symbols = own[:, (first + torch.arange(count)) % own.shape[1]]
    signal = source.linear_model((1, samples)).waveform(symbols.to(torch.complex128), samples)[0].numpy()
    other = alone(from_dict(INTERFERENCES["OFDM-QPSK"] | {"frame_offset": 0}), 1, samples, g)[0][0].numpy()
    signal, other = (wave / np.sqrt(np.mean(abs(wave) ** 2)) for wave in (signal, other))
    noise = torch.randn(samples, dtype=torch.complex64, generator=g).numpy()
    y = signal + 10 ** (-sir_db / 20) * other + 10 ** (-snr_db / 20) * noise
    return y.astype(np.complex64), own[0].numpy()


def row(interference: str, windows: int = 200, sir_db: float = -10.0, snr_db: float = 20.0, clock: float = 0.0,
        drift: float = 0.0, seed: int = 1) -> dict[str, Any]:
    """searched, locked: million samples per second while sources are searched, and after; lock_s: time until they are locked;
    wrong bits of bits; told: mean error rate; unreliable: windows' samples that are named."""
    y, sent = mixture(interference, windows, sir_db, snr_db, clock, drift, seed)
    sources = from_dict(QPSK), from_dict(INTERFERENCES[interference])
    head = HOP * SEARCHED + WINDOW - HOP
    separate_stream(y[:head], *sources)                     # compiles, and makes what is kept
    lock_s, _ = _timed(y[:head], sources)
    seconds, out = _timed(y, sources)
    wrong, bits = wrong_bits(out.symbols, sent)
    return {"interference": interference, "sir_db": sir_db, "snr_db": snr_db, "clock_ppm": 1e6 * clock, "drift": drift,
            "searched": round(head / lock_s / 1e6, 4), "locked": round((len(y) - head) / max(seconds - lock_s, 1e-9) / 1e6, 4),
            "lock_s": round(lock_s, 2), "wrong": wrong, "bits": bits, "told": float(np.mean(out.error_rate)),
            "unreliable": sum(high - low for low, high in out.unreliable)}


def _timed(y: np.ndarray, sources: tuple[Any, Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    out = separate_stream(y, *sources)
    return time.perf_counter() - start, out


def wrong_bits(symbols: np.ndarray, sent: np.ndarray) -> tuple[int, int]:
    """(wrong bits, bits) of QPSK, in the turn and place that fit best."""
    seen, best = symbols[_EDGE:-_EDGE], None
    for lag in range(-_LAGS, _LAGS + 1):
        truth = sent[_EDGE + lag:][:len(seen)]
        if len(truth) < len(seen):
            continue
        for turn in range(4):
            turned = seen * 1j ** turn
            wrong = int(((turned.real < 0) != (truth.real < 0)).sum() + ((turned.imag < 0) != (truth.imag < 0)).sum())
            best = wrong if best is None else min(best, wrong)
    return (2 * len(seen) if best is None else best), 2 * len(seen)
