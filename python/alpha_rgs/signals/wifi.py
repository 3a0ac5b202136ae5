# SPDX-License-Identifier: GPL-3.0-or-later
"""What IEEE 802.11-2020 says of its 20 MHz OFDM waveforms (clauses 17 and 19), sampled at 20 MS/s; and bursts like them.

Every part of a frame, training fields included, is made of symbols of 64 samples behind a prefix of 16, or of 8 (short guard
interval): the long training field is two of them, whose first body lies a quarter of a symbol early.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from ..errors import ParameterError
from .constellations import points_of

FFT_SIZE = 64
PREFIXES = (16, 8)
CARRIERS = np.array([k for k in range(-28, 29) if k])           # of HT frames; legacy ones leave out the outermost two
LEGACY = abs(CARRIERS) <= 26
PILOTS = np.isin(abs(CARRIERS), (7, 21))
SHORT_TRAINING = CARRIERS % 4 == 0                              # the carriers of the short training fields
EARLY = np.exp(-2j * np.pi * CARRIERS / 4)                      # a quarter of a symbol, on each carrier
ALPHABETS = ("bpsk", "qpsk", "16qam", "64qam")

_LEFT = "1 1 -1 -1 1 1 -1 1 -1 1 1 1 1 1 1 -1 -1 1 1 -1 1 -1 1 1 1 1"
_RIGHT = "1 -1 -1 1 1 -1 1 -1 1 -1 -1 -1 -1 -1 1 1 -1 -1 1 -1 1 -1 1 1 1 1"


def _sequence(left: list[str], right: list[str]) -> npt.NDArray[np.float64]:
    return np.array(left + _LEFT.split() + _RIGHT.split() + right, float)


LONG_TRAINING = _sequence(["0", "0"], ["0", "0"])               # equation 17-8
HT_TRAINING = _sequence(["1", "1"], ["-1", "-1"])               # equation 19-23
SHORT = np.zeros(len(CARRIERS), complex)                       # equation 17-6, of modulus one
SHORT[SHORT_TRAINING & LEGACY] = np.array([1, -1, 1, -1, -1, 1, -1, -1, 1, 1, 1, 1]) * (1 + 1j) / np.sqrt(2)

_LONGEST, _OFFSET, _GAPS = 40, 0.004, (40, 600)                 # of traffic: symbols; cycles per sample; samples
_TAPS, _DECAY = 4, 0.35                                         # of its channels; a tap's power over that of the one before


@dataclass(frozen=True)
class Burst:
    """A frame of one transmitter (17.3.2, 19.3.2) as a window receives it; nothing is coded, data and SIGNAL are random.

    symbols: of data, on 52 carriers, or 56 (ht), points of `alphabet`, behind `prefix` samples (8: short guard interval, ht
    only). start: its first sample, which may lie before the window. carrier_offset: cycles per sample. phase: rad, at sample 0 of
    the window. taps: of the channel. amplitude: root mean square, before the channel. Raises ParameterError.
    """

    symbols: int = 10
    alphabet: str = "bpsk"
    prefix: int = 16
    ht: bool = False
    start: int = 0
    carrier_offset: float = 0.0
    phase: float = 0.0
    taps: tuple[complex, ...] = (1.0,)
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        if self.alphabet not in ALPHABETS:
            raise ParameterError(f"alphabet: {self.alphabet!r} is not known; one of {', '.join(ALPHABETS)}")
        if self.prefix not in PREFIXES[:1 + self.ht]:
            raise ParameterError(f"prefix: {self.prefix} must be 16, or (ht) 8")
        if self.symbols < 0:
            raise ParameterError(f"symbols: {self.symbols} must not be negative")

    def layout(self) -> list[tuple[int, int, str]]:
        """Its symbols in order: (start, samples; prefix, samples; field). Fields: short, early and long (training), signal; ht:
        turned (HT-SIG), short, ht-long; data."""
        fields = ["short", "short", "early", "long", "signal"] + ["turned", "turned", "short", "ht-long"] * self.ht
        prefixes = [PREFIXES[0]] * len(fields) + [self.prefix] * self.symbols
        ends = self.start + np.cumsum([p + FFT_SIZE for p in prefixes])
        return [(int(end) - p - FFT_SIZE, p, field) for end, p, field in zip(ends, prefixes, fields + ["data"] * self.symbols)]

    @property
    def end(self) -> int:
        """The first sample after it, without the channel's echoes."""
        return self.layout()[-1][0] + self.layout()[-1][1] + FFT_SIZE

    def channel(self) -> npt.NDArray[np.complex128]:
        """The response at each carrier, complex [56]."""
        return np.exp(-2j * np.pi * np.outer(CARRIERS, np.arange(len(self.taps))) / FFT_SIZE) @ np.array(self.taps, complex)

    def gains(self, field: str, through: bool = True) -> npt.NDArray[np.complex128]:
        """Of each carrier as received, complex [56], for points of mean power one, with the phase of sample 0 of the symbol's
        body less what the carrier offset turned it by since the window's sample 0. through: the channel."""
        used = SHORT != 0 if field == "short" else LEGACY | (self.ht and field in ("ht-long", "data"))
        turn = {"early": EARLY, "turned": np.where(PILOTS, 1, 1j)}.get(field, 1)            # QBPSK turns no pilots: 19.3.9.4.3
        return (self.channel() if through else 1) * turn * used * self.amplitude / np.sqrt(used.sum()) * np.exp(1j * self.phase)

    def alphabet_of(self, field: str) -> str:
        """The name of a field's alphabet; "gaussian" for short training, whose points are none of these."""
        return {"data": self.alphabet, "short": "gaussian"}.get(field, "bpsk")

    def received(self, samples: int, generator: Generator | None) -> Tensor:
        """The window, complex128 [samples]."""
        pieces = []
        training = {"short": SHORT, "early": LONG_TRAINING, "long": LONG_TRAINING, "ht-long": HT_TRAINING}
        for _, prefix, field in self.layout():
            if field in training:
                point = training[field]
            else:
                pilots, data = _points("bpsk", generator), _points(self.alphabet_of(field), generator)
                point = np.where(PILOTS, pilots, data)
            n = np.arange(-prefix, FFT_SIZE)
            pieces.append(np.exp(2j * np.pi * np.outer(n, CARRIERS) / FFT_SIZE) @ (self.gains(field, False) * point))
        x = np.convolve(np.concatenate(pieces), self.taps)
        n = self.start + np.arange(len(x))
        x, inside = x * np.exp(2j * np.pi * self.carrier_offset * n), (n >= 0) & (n < samples)
        out = torch.zeros(samples, dtype=torch.complex128)
        out[torch.from_numpy(n[inside])] = torch.from_numpy(x[inside])
        return out


def _points(alphabet: str, generator: Generator | None) -> npt.NDArray[np.complex128]:
    """Random points for all carriers, complex [56]."""
    points = points_of(alphabet).numpy().astype(complex)
    return points[torch.randint(0, len(points), (len(CARRIERS),), generator=generator).numpy()]


def burst(symbols: int, alphabet: str = "bpsk", prefix: int = 16, ht: bool = False,
          generator: Generator | None = None) -> Tensor:
    """One frame by itself (see Burst), complex128 [samples], of unit mean power. generator: None for torch's own."""
    whole = Burst(symbols, alphabet, prefix, ht)
    return whole.received(whole.end, generator)


def received(bursts: Sequence[Burst], samples: int, generator: Generator | None) -> Tensor:
    """A window of bursts, added up, complex128 [samples]."""
    return sum((b.received(samples, generator) for b in bursts), torch.zeros(samples, dtype=torch.complex128))


def traffic(samples: int, generator: Generator) -> list[Burst]:
    """Bursts one after the other that fill a window, the first under way at sample 0 or soon after: kinds, lengths (up to 40
    symbols), gaps (40 to 600 samples), carrier offsets (±0.004), phases and channels (four taps, energy one) at random, and
    amplitudes one. A list of Burst."""
    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def share() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    out, at = [], -whole(-_GAPS[1], 2000)
    while at < samples:
        ht = bool(whole(0, 2))
        taps = torch.randn(_TAPS, dtype=torch.complex128, generator=generator).numpy() * _DECAY ** (np.arange(_TAPS) / 2)
        taps[0] = 2 * np.exp(1j * np.angle(taps[0]))            # in sight
        out.append(Burst(whole(4, _LONGEST + 1), ALPHABETS[whole(0, len(ALPHABETS))], PREFIXES[whole(0, 2) * ht], ht, at,
                         _OFFSET * (2 * share() - 1), 2 * np.pi * share(),
                         tuple((taps / np.linalg.norm(taps)).tolist())))
        at = out[-1].end + whole(*_GAPS)
    return [b for b in out if b.end > 0]
