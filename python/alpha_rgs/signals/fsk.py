# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency shift keying of two or four levels, any modulation index and usual frequency pulses: a continuous-phase modulation.

Pulses by name, T the symbol's duration, P(f) = (pi*f*T)/sin(pi*f*T), H(f) a raised cosine of roll-off r, 1 up to (1 - r)/(2T) and
0 from (1 + r)/(2T) on:
    gaussian    a rectangle of one symbol through a Gaussian filter: GFSK (Bluetooth, AIS, radiosondes)
    rect        the rectangle alone: the frequency is keyed
    rc          H(f)·P(f): C4FM of P25, TIA-102.BAAA: r = 0.2, at 4800 Bd H falls from 1920 to 2880 Hz; 1800 Hz for +3
    rrc         sqrt(H(f)): DMR, ETSI TS 102 361-1, 10.2.2: r = 0.2, 1944 Hz for +3 at 4800 Bd
"""
from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from .cpm import DENOMINATOR, ContinuousPhase, check_bandwidth_time, check_symbols, gaussian_pulse

PULSES = {"gaussian": 3, "rect": 1, "rc": 3, "rrc": 3}      # and the span that is taken for them
# Symbols that a pulse of limited bandwidth takes in the waveform. What is cut off there is 49 dB (rc) and 45 dB (rrc) below the
# signal at the modulation indices 1/4 and 0.27; what the span of 3 in the trellis cuts off, and the tails make up for, 17 and 21.
_LENGTH = 16
_STEPS = 1024           # of a symbol: the table of such a pulse; the straight lines between its points are right to 1e-6
_WORDS = {2: 8, 4: 4}   # levels -> the longest span: at most 256 waveforms a symbol


@dataclass(frozen=True)
class Fsk(ContinuousPhase):
    """Frequency shift keying of `levels` symbols, ±1 or ±1 and ±3, constant modulus.

    samples_per_symbol: 1, or any number from 2 on. levels: 2 or 4. modulation_index: a symbol of +1 turns the phase by this times
    half a turn, so it is twice the deviation of +1 over the symbol rate (P25: 2·600/4800 = 0.25; DMR: 2·648/4800 = 0.27). pulse:
    see above. bandwidth_time: of "gaussian". rolloff: of "rc" and "rrc". span: symbols that are at once under way in the
    trellis, whose cost grows as levels**span: by default 3 (rect: 1); at most 8, or 4 where there are four levels.
    """

    samples_per_symbol: float = 8
    levels: int = 2
    modulation_index: float = 0.5
    pulse: str = "gaussian"
    bandwidth_time: float = 0.5
    rolloff: float = 0.2
    span: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.levels, bool) or self.levels not in _WORDS:
            raise ParameterError(f"levels: {self.levels} must be 2 or 4")
        if self.pulse not in PULSES:
            raise ParameterError(f"pulse: {self.pulse!r} must be one of {', '.join(PULSES)}")
        sps, span = check_symbols(self.samples_per_symbol, self.span or PULSES[self.pulse], _WORDS[self.levels])
        if self.pulse == "rect" and span != 1:
            raise ParameterError(f"span: {span} must be 1 where pulse is rect, whose symbols do not overlap")
        object.__setattr__(self, "span", span)
        object.__setattr__(self, "samples_per_symbol", sps)
        check_bandwidth_time(self.bandwidth_time)
        if not 0 < self.rolloff <= 1:
            raise ParameterError(f"rolloff: {self.rolloff} must lie above 0 and not above 1; 0.2 in P25 and DMR")
        if not 0 < self.modulation_index <= 4:
            raise ParameterError(f"modulation_index: {self.modulation_index} must lie above 0 and not above 4; 0.25 in P25, "
                                 "0.27 in DMR")

    @property
    def index(self) -> Fraction:
        """The nearest fraction whose denominator is at most 16, so many phases the trellis has: what is left is `drift`."""
        near = Fraction(self.modulation_index).limit_denominator(DENOMINATOR)
        return near if near else Fraction(1, DENOMINATOR)

    @property
    def half_turns(self) -> float:
        """See ContinuousPhase.half_turns."""
        return float(self.modulation_index)

    @property
    def drift(self) -> float:
        """See ContinuousPhase.drift."""
        return float(self.modulation_index - self.index) if abs(self.modulation_index - self.index) > 1e-9 else 0.0

    @property
    def length(self) -> int:
        """See ContinuousPhase.length."""
        return self.span if self.pulse in ("gaussian", "rect") else _LENGTH

    def phase_pulse(self, tau: float | Tensor) -> Tensor:
        """See ContinuousPhase.phase_pulse. Where the waveform's pulse is longer, it is 0 before and 1 after `span` symbols: no
        other pulse of that length leaves less."""
        t = torch.as_tensor(tau, dtype=torch.float64) / self.samples_per_symbol
        if self.pulse == "gaussian":
            return gaussian_pulse(t, self.bandwidth_time, self.span)
        if self.pulse == "rect":
            return (t + 0.5).clamp(0, 1)
        half = self.span / 2
        return torch.where(t.abs() < half, self._tabled(t), (t > 0).double())

    def full_pulse(self, tau: Tensor) -> Tensor:
        """See ContinuousPhase.full_pulse."""
        return self._tabled(tau.double() / self.samples_per_symbol) if self.length > self.span else self.phase_pulse(tau)

    def _tabled(self, t: Tensor) -> Tensor:
        table = _table(self.pulse, self.rolloff).to(t.device)
        place = (t.clamp(-_LENGTH / 2, _LENGTH / 2) + _LENGTH / 2) * _STEPS
        low = place.floor().long().clamp(max=len(table) - 2)
        return torch.lerp(table[low], table[low + 1], place - low)


@lru_cache(maxsize=16)
def _table(pulse: str, rolloff: float) -> Tensor:
    """q at multiples of 1/_STEPS of a symbol, from -_LENGTH/2 to _LENGTH/2 of them: 1/2 plus the integral of the frequency pulse
    from its centre on, 2·∫ G(f)·sin(2·pi·f·t)/(2·pi·f) df."""
    nodes, weights = np.polynomial.legendre.leggauss(64)      # type: ignore[no-untyped-call]
    q = np.full(_LENGTH * _STEPS // 2 + 1, 0.5)
    t = np.arange(len(q)) / _STEPS
    for low, high in ((0.0, (1 - rolloff) / 2), ((1 - rolloff) / 2, (1 + rolloff) / 2)):
        f = low + (high - low) * (nodes + 1) / 2
        cosine = np.where(f < (1 - rolloff) / 2, 1.0, 0.5 + 0.5 * np.cos(np.pi / rolloff * (f - (1 - rolloff) / 2)))
        shape = cosine / np.sinc(f) if pulse == "rc" else np.sqrt(cosine)
        q += np.sin(2 * np.pi * np.outer(t, f)) @ (weights * (high - low) * shape / (2 * np.pi * f))
    return torch.from_numpy(np.concatenate([1 - q[:0:-1], q]))
