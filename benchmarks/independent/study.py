# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases, and their counts."""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from alpha_rgs import priors, separate_stream
from alpha_rgs.sources import from_dict

from . import radio
from .kinds import KINDS, Receiver
from .peers import GNURADIO, Peers

STAGES = ("without", "not_separated", "separated")
SNR_DB = 20.0               # per sample, while the wanted signal is on
OFFSET = 0.002              # cycles per sample, at most, of carriers
_PER_SYMBOL, _ROLLOFF = 4, 0.35


@dataclass(frozen=True)
class Case:
    kind: str
    interference: str       # QPSK or OFDM
    sir_db: float

    @property
    def name(self) -> str:
        return f"{self.kind} under {self.interference}, {self.sir_db:g} dB"


CASES = {case.name: case for case in (
    *(Case(kind, "QPSK", sir) for kind in KINDS for sir in (0.0, -5.0, -10.0)),
    *(Case(kind, "OFDM", -10.0) for kind in KINDS if kind != "OFDM packets"))}


def chosen(text: str) -> list[str]:
    """Names of the cases whose name contains the text."""
    return [name for name in CASES if text.lower() in name.lower()]


def counted(sent: Iterable[str], came: Iterable[str]) -> tuple[int, int]:
    """(sent frames that came, frames that came and were never sent); a frame that comes twice counts once."""
    left, wrong = Counter(sent), 0
    known = set(left)
    for frame in came:
        if left[frame] > 0:
            left[frame] -= 1
        wrong += frame not in known
    return sum(Counter(sent).values()) - sum(n for n in left.values() if n > 0), wrong


def rows(names: Iterable[str], recordings: int, seed: int, peers: Peers) -> Iterator[dict[str, Any]]:
    """For each case and receiver: frames that it reads without interference, with it, and after separation."""
    for name in names:
        case = CASES[name]
        kind = KINDS[case.kind]
        lacking = {receiver: peers.missing((GNURADIO, *kind.needs, *receiver.needs)) for receiver in kind.receivers}
        ready = [receiver for receiver, missing in lacking.items() if not missing]
        for receiver, missing in lacking.items():
            if missing:
                yield {"case": name, "receiver": receiver.name, "skipped": "; ".join(missing)}
        if ready:
            yield from _case(name, ready, recordings, seed, peers)


def _case(name: str, receivers: list[Receiver], recordings: int, seed: int, peers: Peers) -> Iterator[dict[str, Any]]:
    kind, sent, seconds = KINDS[CASES[name].kind], 0, 0.0
    read = {receiver: dict.fromkeys((*STAGES, "false"), 0) for receiver in receivers}
    for recording in range(recordings):
        frames, stages, took = _recording(CASES[name], 1000 * seed + recording, peers)
        sent, seconds = sent + len(frames), seconds + took
        for receiver, totals in read.items():
            for stage, samples in stages.items():
                right, false = counted(frames, receiver.read(samples, peers))
                totals[stage] += right
                totals["false"] += false * (stage == "separated")
    for receiver, totals in read.items():
        yield {"case": name, "generator": kind.generator, "receiver": receiver.name, "frames": sent, **totals, "seconds": seconds}


def _recording(case: Case, seed: int, peers: Peers) -> tuple[list[str], dict[str, np.ndarray], float]:
    """(frames sent, what the receivers get at each stage, seconds of separation)."""
    kind = KINDS[case.kind]
    frames, s = kind.make(kind.frames, seed, peers)
    draw = np.random.default_rng(seed)
    noise = draw.normal(0, np.sqrt(0.5), (2, len(s)))
    quiet = _carrier(s, draw, kind.offset) + 10 ** (-SNR_DB / 20) * (noise[0] + 1j * noise[1])
    b, other = _interference(case.interference, len(s), kind.sample_rate, seed)
    b = _carrier(b, draw, 0.0 if case.interference == "OFDM" else OFFSET)
    mixture = (quiet + 10 ** (-case.sir_db / 20) * b).astype(np.complex64)
    began = time.perf_counter()
    out = separate_stream(mixture, [priors.load(kind.description), other], sample_rate=kind.sample_rate)
    took = time.perf_counter() - began
    got = (quiet.astype(np.complex64), mixture, out.sources[0].cleaned.astype(np.complex64))
    return frames, dict(zip(STAGES, got)), took


def _carrier(samples: np.ndarray, draw: np.random.Generator, most: float) -> np.ndarray:
    """Samples with a random phase and carrier offset, of at most so many cycles per sample."""
    return samples * np.exp(2j * np.pi * (draw.random() + draw.uniform(-most, most) * np.arange(len(samples))))


def _interference(name: str, samples: int, sample_rate: float, seed: int) -> tuple[np.ndarray, Any]:
    """(unit-power samples, what the separation is told of them)."""
    if name == "OFDM":
        return radio.ofdm(samples, seed), from_dict({"kind": "ofdm", "sample_rate": sample_rate})
    told = {"kind": "linear-modulation", "constellation": "qpsk", "symbol_rate": sample_rate / _PER_SYMBOL, "pulse": "rrc",
            "rolloff": _ROLLOFF}
    return radio.qpsk(samples, _PER_SYMBOL, _ROLLOFF, seed), from_dict(told)
