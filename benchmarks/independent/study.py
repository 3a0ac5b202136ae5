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
from .kinds import KINDS, Kind
from .peers import Peers

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


def row(name: str, recordings: int, seed: int, peers: Peers) -> dict[str, Any]:
    """Frames of a case that the receiver reads without interference, with it, and after separation."""
    case = CASES[name]
    kind = KINDS[case.kind]
    missing = peers.missing(kind.needs)
    if missing:
        return {"case": name, "skipped": "; ".join(missing)}
    counts, wrong, sent, seconds = dict.fromkeys(("without", "not_separated", "separated"), 0), 0, 0, 0.0
    for recording in range(recordings):
        found = _recording(kind, case, 1000 * seed + recording, peers)
        sent, seconds = sent + len(found["frames"]), seconds + found["seconds"]
        for key in counts:
            right, false = counted(found["frames"], found[key])
            counts[key] += right
            wrong += false * (key == "separated")
    return {"case": name, "generator": kind.generator, "receiver": kind.receiver, "frames": sent, **counts, "false": wrong,
            "quality_db": found["quality_db"], "seconds": seconds}


def _recording(kind: Kind, case: Case, seed: int, peers: Peers) -> dict[str, Any]:
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
    estimate = out.sources[0]
    quality = np.asarray(estimate.quality if estimate.quality is not None else np.nan, float)
    return {"frames": frames, "without": kind.read(quiet.astype(np.complex64), peers), "not_separated": kind.read(mixture, peers),
            "separated": kind.read(estimate.cleaned.astype(np.complex64), peers), "quality_db": float(np.median(quality)),
            "seconds": took}


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


def rows(names: Iterable[str], recordings: int, seed: int, peers: Peers) -> Iterator[dict[str, Any]]:
    for name in names:
        yield row(name, recordings, seed, peers)
