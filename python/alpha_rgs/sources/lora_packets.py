# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRa that comes and goes: packets, each with timing, length, amplitude and carrier offset of its own."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals import Lora as Signal
from .base import Demodulated, Noise, Number, Posterior, Source
from .lora_packet import Chirps, Packet, packet_means
from .lora_search import find_packets, gaps


@dataclass
class LoraPackets(Source):
    """Sum of packets (lora_packet.py). Unit mean power means that of a packet of amplitude 1, not over the gaps. Amplitudes are
    the source's own affair: `synchronize` returns those with which the source is in x as it was passed in.

    packets: of each window, in order of time; None: unknown. within: the source as if it were always on, of which modulation and
    carrier offset are taken (None: each packet has its own). timing, carrier_offset: of the strongest packet, once found; where
    the carrier offset is known, that.
    """

    within: Any
    packets: tuple[tuple[Packet, ...], ...] | None = None
    timing: float | Tensor | None = None
    carrier_offset: float | Tensor | None = None
    gain: Number | None = None

    kind = "lora packets"
    decided = True
    own_levels = True
    takes_basis = False
    dc_free = True
    state_names = {"gain": "gain", "delay": "timing", "carrier_offset": "carrier_offset"}
    estimable = synchronizes = ("packets", "timing", "carrier_offset")

    @property
    def signal(self) -> Signal:
        """The chirps."""
        return self.within.signal

    @property
    def unknown(self) -> tuple[str, ...]:
        """See Source.unknown."""
        return ("packets",) * (self.packets is None) + super().unknown

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return self.within.memory

    def at(self, start: Number) -> Self:
        """See Source.at."""
        timing = None if self.timing is None else (self.timing - start) % self.signal.symbol_length
        if self.packets is None:
            return replace(self, timing=timing)
        starts = torch.as_tensor(start, dtype=torch.float64).reshape(-1).tolist()
        packets = self.packets * len(starts) if len(self.packets) == 1 else self.packets
        starts = starts * len(packets) if len(starts) == 1 else starts
        return replace(self, timing=timing, packets=tuple(tuple(p.at(t) for p in own) for own, t in zip(packets, starts)))

    def select(self, index: Any) -> Self:
        """See Source.select."""
        few = replace(super().select(index), within=self.within.select(index))
        if self.packets is None or len(self.packets) == 1:
            return few
        places = torch.arange(len(self.packets))[index].reshape(-1).tolist()
        return replace(few, packets=tuple(self.packets[k] for k in places))

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: while it is on."""
        return self.within.autocorrelation(lags)

    def gaps(self, x: Tensor, mixed: bool = False) -> Tensor:
        """See Source.gaps."""
        return torch.tensor([gaps(self.signal, row, mixed) for row in x.cpu()])

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: the packets of each window, with amplitudes on the scale of x, and timing and carrier offset of
        the strongest. The noise is measured."""
        if self.packets is not None:
            return self, {}
        offset = self.within.carrier_offset
        offsets = [None] * len(x) if offset is None else torch.as_tensor(offset).double().reshape(-1).expand(len(x)).tolist()
        found = tuple(tuple(find_packets(self.signal, row, own)) for row, own in zip(x, offsets))
        length = self.signal.symbol_length
        best = [max(own, key=lambda p: p.amplitude ** 2 * p.symbols) if own else Packet(0.0, 0) for own in found]
        values = {"timing": torch.tensor([p.timing(length) for p in best], dtype=torch.float64),
                  "carrier_offset": torch.tensor([p.carrier_offset for p in best], dtype=torch.float64)}
        values = {name: value for name, value in values.items() if getattr(self, name) is None}
        return replace(self, packets=found, **values), values

    def levelled(self) -> tuple[Self, Tensor | None]:
        """See Source.levelled: the mean over the chirps of a window's packets."""
        if self.packets is None:
            return self, None
        powers = [float(np.average([p.amplitude ** 2 for p in own], weights=[p.symbols for p in own])) if own else 0.0
                  for own in self.packets]
        packets = tuple(tuple(replace(p, amplitude=p.amplitude / power ** 0.5) for p in own)
                        for own, power in zip(self.packets, powers))
        return replace(self, packets=packets), torch.tensor(powers, dtype=torch.float64).sqrt()

    def own(self, batch: int) -> tuple[tuple[Packet, ...], ...]:
        """The packets of each of so many windows. Raises ParameterError where they are unknown."""
        if self.packets is None:
            raise ParameterError("lora: packets are unknown; symbols cannot be read without them")
        return self.packets * batch if len(self.packets) == 1 else self.packets

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: given the packets the exact posterior mean, where they do not overlap; white noise alone."""
        return self.posterior(x, noise).mean

    def posterior(self, x: Tensor, noise: Noise | Number) -> Posterior:
        """See Source.posterior: of shifts and phases alone, packets being known."""
        here = self if self.packets is not None else self.synchronize(x, noise)[0]
        levels = torch.as_tensor(self.white(noise), dtype=torch.float64).reshape(-1).expand(len(x)).clamp_min(1e-9).tolist()
        mean, variance = torch.zeros_like(x), torch.zeros(len(x))
        for k, (packets, level) in enumerate(zip(here.own(len(x)), levels)):
            means = packet_means(self.signal, packets, x[k].cpu(), level)
            total = sum(means, torch.zeros(x.shape[1], dtype=torch.complex128))
            held = sum(p.amplitude ** 2 * p.seen(self.signal.symbol_length, x.shape[1]) for p in packets)
            power = sum(float(own.abs().square().sum()) for own in means)
            mean[k], variance[k] = total.to(x), max(0.0, held - power) / x.shape[1]
        return Posterior(mean, variance)

    def demodulator(self) -> Any:
        """See Source.demodulator: dechirping."""
        return PacketDemodulator(self)


class PacketDemodulator:
    """The shifts of all up-chirps of packets, header included, as real symbols, and their bits, the most significant first; see
    sources.base.Demodulated. Symbols that lie in the window by less than half are left out."""

    ambiguity = 1

    def __init__(self, source: LoraPackets) -> None:
        self.source, self.coherent = source, False

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulated. Raises ParameterError where the packets are unknown."""
        signal, own = self.source.signal, self.source.own(len(x))
        levels = torch.as_tensor(noise_var, dtype=torch.float64).reshape(-1).expand(len(x)).clamp_min(1e-9).tolist()
        rows = [self._window(packets, row.cpu(), level) for packets, row, level in zip(own, x, levels)]
        most = max(1, *(len(at) for _, at in rows))
        log = torch.zeros(len(x), most, signal.chips, dtype=torch.float64)
        at = torch.full((len(x), most), torch.nan, dtype=torch.float64)
        for k, (odds, places) in enumerate(rows):
            log[k, :len(places)], at[k, :len(places)] = odds, places
        return Demodulated(log.argmax(-1).to(torch.complex64).to(x.device), bit_llrs(log, signal.spreading_factor).to(x.device),
                           at.to(x.device))

    def _window(self, packets: tuple[Packet, ...], x: Tensor, noise_var: float) -> tuple[Tensor, Tensor]:
        """(log-probabilities up to a constant [n, N], places [n]) of the up-chirps in one window, in order of time."""
        signal = self.source.signal
        means = packet_means(signal, packets, x, noise_var)
        total = sum(means, torch.zeros(len(x), dtype=torch.complex128))
        odds, at = [torch.zeros(0, signal.chips, dtype=torch.float64)], [torch.zeros(0, dtype=torch.float64)]
        for packet, mean in zip(packets, means):
            chirps = Chirps(signal, packet, x - (total - mean))
            z, seen, *_ = chirps.matched()
            there = 2 * seen[0] >= signal.symbol_length
            odds.append(chirps.odds(noise_var, z)[0, there])
            at.append((chirps.ups[0, there] + signal.symbol_length / 2).double())
        places = torch.cat(at)
        order = places.argsort()
        return torch.cat(odds)[order], places[order]


def bit_llrs(log: Tensor, bits: int) -> Tensor:
    """log P(0)/P(1) of the bits of numbers, the most significant first, float32 [..., bits]; log: of each number's probability,
    up to a constant [..., 2**bits]."""
    number, llrs = torch.arange(2 ** bits, device=log.device), []
    for bit in range(bits - 1, -1, -1):
        one = (number >> bit & 1).bool()
        llrs.append(log[..., ~one].logsumexp(-1) - log[..., one].logsumexp(-1))
    return torch.stack(llrs, -1).float()
