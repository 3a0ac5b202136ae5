# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency shift keying of two or four levels, any modulation index and usual pulses (P25, DMR, Bluetooth, radiosondes)."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..signals import Fsk as Signal
from ..signals import Gfsk as GfskSignal
from .base import Noise, Number
from .cpm import Gmsk
from .cpm_synchronizer import REACH
from .keys import number, text, whole


@dataclass
class Fsk(Gmsk):
    """As Gmsk, of symbols a_k = ±1, or ±1 and ±3, and of any modulation index h, pi*h for pi/2, and pulse (signals.Fsk).

    symmetry: 1, q or, where p is odd, 2*q, of the fraction p/q nearest to h. Where h is no such fraction, the phase is unknown
    once symbols are over (see at). The posterior mean is exact but for two things that signals.Fsk describes: tails of pulses of
    limited bandwidth, and the phase of an index that is no fraction, which is each state's likeliest past's.
    """

    signal: Signal = field(default_factory=Signal)

    kind = "fsk"
    keys = {
        "samples_per_symbol": Gmsk.keys["samples_per_symbol"],
        "levels": whole("2: symbols ±1; 4: symbols ±1 and ±3"),
        "modulation_index": number("a symbol of +1 turns the phase by this times half a turn; P25: 0.25, DMR: 0.27"),
        "pulse": text("of the frequency: gaussian, rect, rc (P25's C4FM) or rrc (DMR)"),
        "bandwidth_time": number("of pulse gaussian: 3 dB bandwidth times the symbol's duration"),
        "rolloff": number("of pulses rc and rrc"),
        **{key: value for key, value in Gmsk.keys.items() if key not in ("samples_per_symbol", "bandwidth_time")},
    }

    @property
    def integrates_nuisances(self) -> bool:
        """See Source.integrates_nuisances: unknown ones are decided first."""
        return False

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Gmsk.denoise; of nuisances that are None the likeliest values are taken."""
        here = self.synchronize(x, Noise(self.white(noise)))[0]
        return super(Fsk, here).denoise(x, noise)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """See Gmsk.draw; an unknown carrier offset is drawn within ±0.02 cycles per sample."""
        if self.carrier_offset is not None:
            return super().draw(batch, samples, generator)
        drawn = REACH * (2 * torch.rand(batch, generator=generator, dtype=torch.float64) - 1)
        return super(Fsk, replace(self, carrier_offset=drawn)).draw(batch, samples, generator)

    def at(self, start: Number) -> Self:
        """See Gmsk.at."""
        if self.carrier_offset is None:         # then no phase stays known
            moved = replace(self, carrier_offset=0.0, phase=None).at(start)
            return replace(moved, carrier_offset=None)
        out = super().at(start)
        if not self.signal.drift or self.phase is None or self.timing is None:
            return out if not self.signal.drift or self.phase is None else replace(out, phase=None, symmetry=1)
        over = out.first() - self.first()
        if bool((over != 0).any()):
            return replace(out, phase=None, symmetry=1)
        turn = 2 * np.pi * self.carrier_offset * torch.as_tensor(start, dtype=torch.float64)
        phase = torch.as_tensor(self.phase, dtype=torch.float64) + turn
        return replace(out, phase=phase.item() if phase.ndim == 0 else phase)


@dataclass
class Gfsk(Fsk):
    """As Fsk, of two levels, a Gaussian pulse and a modulation index h = p/q (signals.Gfsk)."""

    signal: GfskSignal = field(default_factory=GfskSignal)     # type: ignore[assignment]

    kind = "gfsk"
    keys = {**Gmsk.keys, "modulation_index": Fsk.keys["modulation_index"]}

    @property
    def integrates_nuisances(self) -> bool:
        """See Source.integrates_nuisances: as GMSK, where it is that."""
        return self.linear

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Gmsk.denoise, where it is GMSK; else Fsk.denoise."""
        return Gmsk.denoise(self, x, noise) if self.linear else super().denoise(x, noise)
