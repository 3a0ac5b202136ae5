# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what is told of a window is true, also where what the receiver was told is not.

Recordings of a linear modulation under one interference, of which the kinds alone are told, and one thing in each recording is
otherwise than told (a condition). A window counts as wrong from _WRONG of its bits on; told falsely where it is wrong, its told
error rate is less than a quarter of the true one, and nothing names it as unreliable; a false alarm where it is named, less
than _RIGHT of its bits are wrong, and the constellation is the one that was told.
"""
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from alpha_rgs.errors import AlphaRgsError
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation, from_dict
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.streaming import separate_stream

from .coverage import INTERFERENCES, SOIS

SAMPLES = 10_752                    # of a recording: five windows of 2560, 2048 apart
CONDITIONS: dict[str, dict[str, Any]] = {
    "as told": {}, "rate off by 0.1 %": {"clock": 1e-3}, "rate off by 0.3 %": {"clock": 3e-3}, "roll-off 0.25": {"rolloff": 0.25},
    "roll-off 0.6": {"rolloff": 0.6}, "another constellation": {"other_constellation": True},
    "a tone unlisted": {"extra": "tone"}, "a QPSK unlisted": {"extra": "qpsk"}, "keyed": {"keyed": 900},
    "drifting": {"drift": 1e-7}, "parameters off": {"parameters": True}, "another kind": {"other_kind": True},
    "clipped": {"clip": 1.0}, "300 zeros": {"zeros": 300}, "samples dropped": {"dropped": 100}, "gain step": {"step": 2.0},
    "narrow noise": {"band": 0.2}, "absent": {"absent": True}}
KINDS: dict[str, dict[str, Any]] = {**INTERFERENCES, "1 tone": {"kind": "tones", "count": 1}}
_OFF: dict[str, dict[str, Any]] = {"ofdm": {"cyclic_prefix": 8}, "gmsk": {"bandwidth_time": 0.5},
                                    "lora": {"spreading_factor": 8},
                                    "linear-modulation": {"rolloff": 0.2}, "tones": {"count": 2}}      # told instead
_SIRS_DB, _ABOVE_DB = (0.0, -5.0, -10.0, -15.0), (2.0, 8.0, 15.0)              # Es/N0 above where 2 % of the bits are wrong
_EXTRA, _REACH = 0.5, 0.01          # amplitude of what is not listed; carrier offsets, cycles per sample of 8 samples a symbol
_EDGE, _LAGS = 8, 30                # symbols not counted at the recording's ends; of symbols, tried
_WRONG, _RIGHT, _FALSELY = 0.05, 0.01, 4.0
_OTHER = "another constellation"    # bits are counted by the alphabet that was sent; those that a user is given are of another


@dataclass
class Sent:
    """y: complex64 [SAMPLES]; symbols: complex64 [n] of `signal`, about the first of which the recording begins; told: the two
    sources as told; about: what was drawn; slips: whether samples were dropped."""

    y: np.ndarray
    symbols: np.ndarray
    signal: Signal
    told: list[Any]
    about: dict[str, Any]
    slips: bool = False


def recording(condition: str, interference: str, seed: int = 1) -> Sent:
    """A recording, of draws of its own."""
    own, key = CONDITIONS[condition], zlib.crc32(f"{condition} {interference}".encode(), seed)
    rng, g = np.random.default_rng([seed, key]), torch.Generator().manual_seed(key)
    row = SOIS[int(rng.integers(len(SOIS)))]
    sir_db, es_n0_db = float(rng.choice(_SIRS_DB)), row.es_n0_db - 2 + float(rng.choice(_ABOVE_DB))
    carrier = rng.uniform(-_REACH, _REACH) * 8 / row.samples_per_symbol
    period = row.samples_per_symbol / (1 + own.get("clock", 0.0) * rng.choice([-1, 1]))
    signal = Signal(row.constellation, period, "rrc", own.get("rolloff", 0.35), 8)
    s, symbols = _linear(signal, carrier, rng, g)
    told: dict[str, Any] = {"kind": "linear-modulation", "constellation": row.constellation, "rolloff": 0.35, "span": 8,
                            "samples_per_symbol": row.samples_per_symbol}
    if own.get("other_constellation"):
        told["constellation"] = str(rng.choice([name for name in ("qpsk", "bpsk", "8psk", "16qam") if name != row.constellation]))
    y = s + 10 ** (-sir_db / 20) * _interfering(own, interference, rng, g)
    y = y + _noise(own, row.samples_per_symbol * 10 ** (-es_n0_db / 10), g)
    y = _damaged(y + _unlisted(own, row.samples_per_symbol, carrier, rng, g), own, rng)
    other = dict(KINDS[interference])
    if own.get("parameters") and "preset" not in other:
        other.update(_OFF[other["kind"]])
    if own.get("other_kind"):
        other = dict(KINDS[str(rng.choice([name for name in KINDS if name not in (interference, "802.11 bursts")]))])
    about = {"condition": condition, "interference": interference, "soi": row.name, "sir_db": sir_db, "es_n0_db": es_n0_db}
    return Sent(y.astype(np.complex64), symbols, signal, [from_dict(told), from_dict(other)], about, "dropped" in own)


def _linear(signal: Signal, carrier: float, rng: Any, g: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(waveform, its symbols, whose numbers begin a pulse before the recording)."""
    timing, phase = float(signal.samples_per_symbol * rng.random()), float(rng.uniform(0, 2 * np.pi))
    source = LinearModulation(signal, timing, phase, 1.0, carrier)
    first, count = source.overlapping_symbols(SAMPLES)
    bits = torch.randint(0, 2, (1, count * signal.alphabet.bits_per_symbol), generator=g)
    symbols = signal.alphabet.map(bits)
    wave = source.linear_model((1, SAMPLES)).waveform(symbols.to(torch.complex128), SAMPLES)
    return wave[0].numpy(), symbols[0].numpy()


def _interfering(own: dict[str, Any], name: str, rng: Any, g: torch.Generator) -> np.ndarray:
    n = np.arange(SAMPLES)
    wave = alone(from_dict(dict(KINDS[name])), 1, SAMPLES, g)[0][0].numpy().astype(complex)
    wave = wave * np.exp(1j * np.pi * own.get("drift", 0.0) * n ** 2) * (0.0 if own.get("absent") else 1.0)
    if "keyed" in own:
        wave = wave * (n // own["keyed"] % 2 == 0)
    return wave * np.where(n > SAMPLES // 2, own.get("step", 1.0), 1.0)


def _noise(own: dict[str, Any], power: float, g: torch.Generator) -> np.ndarray:
    wave = power ** 0.5 * noise((1, SAMPLES), g)[0].numpy()
    return np.fft.ifft(np.fft.fft(wave) * (abs(np.fft.fftfreq(SAMPLES)) < own.get("band", 1.0)))


def _unlisted(own: dict[str, Any], period: int, carrier: float, rng: Any, g: torch.Generator) -> np.ndarray:
    """A third signal, within the wanted one's band."""
    if own.get("extra") == "tone":
        return _EXTRA * np.exp(2j * np.pi * (carrier + rng.uniform(-0.5, 0.5) / period) * np.arange(SAMPLES))
    if own.get("extra") == "qpsk":
        return _EXTRA * _linear(Signal("qpsk", period + 3, "rrc", 0.35, 8), carrier, rng, g)[0]
    return np.zeros(SAMPLES)


def _damaged(y: np.ndarray, own: dict[str, Any], rng: Any) -> np.ndarray:
    """Clipped, with a hole, or without some samples."""
    if "clip" in own:
        most = own["clip"] * np.sqrt(np.mean(abs(y) ** 2))
        y = np.clip(y.real, -most, most) + 1j * np.clip(y.imag, -most, most)
    at = int(rng.integers(3000, 7000))
    if "zeros" in own:
        y = np.r_[y[:at], np.zeros(own["zeros"]), y[at + own["zeros"]:]]
    if "dropped" in own:
        count = int(rng.integers(1, own["dropped"]))
        y = np.r_[y[:at], y[at + count:], np.zeros(count)]
    return y


def windows(condition: str, interference: str, seed: int = 1) -> list[dict[str, Any]]:
    """What is told of each window of one recording, and what is true: dicts of what was drawn, window, ber, told, quality (dB),
    named; or one with `refused`, the message."""
    sent, began = recording(condition, interference, seed), time.perf_counter()
    try:
        out = separate_stream(sent.y, *sent.told)
    except AlphaRgsError as error:
        return [sent.about | {"refused": str(error)}]
    seconds, rows, margin = time.perf_counter() - began, [], (out.window - out.hop) // 2
    for k in range(len(out.quality)):
        low = 0 if k == 0 else k * out.hop + margin
        high = SAMPLES if k == len(out.quality) - 1 else k * out.hop + margin + out.hop
        rate = _wrong(out.symbols, sent, low, high)
        if rate is not None:
            named = any(a < high - margin // 4 and b > low + margin // 4 for a, b in out.unreliable)
            rows.append(sent.about | {"window": k, "ber": rate, "told": float(out.error_rate[k]),
                                      "quality": float(out.quality[k]), "named": named, "seconds": seconds / len(out.quality)})
    return rows


def _wrong(symbols: np.ndarray, sent: Sent, low: int, high: int) -> float | None:
    """The share of wrong bits among symbols of samples low ... high, in the turn and place that fit best; None of too few.
    Where samples were dropped, from one symbol on another turn and place: no receiver tells how many symbols it never saw."""
    period, alphabet = sent.signal.samples_per_symbol, sent.signal.alphabet
    begin = max(int(low / period) + 1, _EDGE)
    seen = torch.as_tensor(symbols[begin:min(int(high / period) - 1, int(SAMPLES / period) - _EDGE)])
    wrong = []                                  # of each turn and place: bits of each symbol
    for lag in range(-_LAGS, _LAGS + 1):
        truth = torch.as_tensor(sent.symbols[max(begin + lag, 0):][:len(seen)])
        if len(seen) < 16 or begin + lag < 0 or len(truth) < len(seen):
            continue
        bits = alphabet.slice(truth)
        for turn in range(alphabet.symmetry):
            got = alphabet.slice(seen * np.exp(2j * np.pi * turn / alphabet.symmetry))
            wrong.append((got != bits).double().reshape(len(seen), -1).mean(1).numpy())
    if not wrong:
        return None
    so_far = np.cumsum(wrong, 1)
    if not sent.slips:
        return float(so_far[:, -1].min() / len(seen))
    return float((so_far.min(0) + (so_far[:, -1:] - so_far).min(0)).min() / len(seen))


def study(seed: int = 1, condition: str = "") -> Iterator[list[dict[str, Any]]]:
    """The windows of one recording after the other; condition: of those whose name holds this."""
    for name in CONDITIONS:
        for interference in KINDS if condition in name else ():
            yield windows(name, interference, seed)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """windows; wrong: how many are; falsely: of these, told falsely; named; alarms: of those, false ones; refused: recordings."""
    seen = [row for row in rows if "ber" in row]
    wrong, named = [row for row in seen if row["ber"] > _WRONG], [row for row in seen if row["named"]]
    falsely = [row for row in wrong if row["told"] < row["ber"] / _FALSELY and not row["named"]]
    return {"windows": len(seen), "wrong": len(wrong), "falsely": len(falsely), "named": len(named),
            "alarms": sum(row["ber"] < _RIGHT and row["condition"] != _OTHER for row in named),
            "refused": sum("refused" in row for row in rows)}
