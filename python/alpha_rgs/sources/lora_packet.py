# SPDX-License-Identifier: GPL-3.0-or-later
"""One packet of LoRa chirps: where its chirps lie, and what they are given the samples of one window.

A packet is a run of up-chirps, each a cyclic shift, on a grid of M samples that begins with the packet. A header is a preamble
of up-chirps that are not shifted and two that are (sync word). Between header and data come 2.25 down-chirps that are not
shifted, so that the data's grid lies a quarter of a symbol later. (Tapparel, Afisiadis, Mayoraz, Balatsoukas-Stimming and Burg,
An open-source LoRa physical layer prototype on GNU Radio, SPAWC 2020.)

All chirps have one amplitude a, and a phase of their own: with z = <s_m, x> over the n samples of a chirp that lie in the window,
log p(x | m) - log p(x | off) = log I0(2·a·|z|/v) - a²·n/v.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..signals import Lora as Signal
from ..signals.carrier import carrier

DOWN = 2.25             # symbols of down-chirps
SYNC = 2                # up-chirps of the header that may have any shift; those before them have none

_SWEEPS = 3             # over packets that overlap


@dataclass(frozen=True)
class Packet:
    """begin: samples from the window's first sample to the packet's first chirp, or to one of its chirps that reaches into the
    window. symbols: up-chirps from there on. header: how many of them come before the down-chirps; None: these are not seen.
    amplitude: of its samples; carrier_offset: cycles per sample."""

    begin: float
    symbols: int
    header: int | None = None
    amplitude: float = 1.0
    carrier_offset: float = 0.0

    def at(self, start: float) -> Packet:
        """As a window sees it that begins `start` samples later."""
        return replace(self, begin=self.begin - start)

    def ups(self, length: int) -> list[float]:
        """First samples of the up-chirps of `length` samples."""
        late = [DOWN * (self.header is not None and k >= self.header) for k in range(self.symbols)]
        return [self.begin + length * (k + more) for k, more in enumerate(late)]

    def downs(self, length: int) -> list[float]:
        """First samples of the down-chirps, of which the last is cut after a quarter."""
        return [] if self.header is None else [self.begin + length * (self.header + k) for k in range(3)]

    def end(self, length: int) -> float:
        """One past its last sample."""
        return self.begin + length * (self.symbols + DOWN * (self.header is not None))

    def seen(self, length: int, samples: int) -> float:
        """How many of its samples lie in a window of `samples`."""
        return max(0.0, min(self.end(length), samples) - max(self.begin, 0.0))

    def timing(self, length: int) -> float:
        """Where the last chirp begins, modulo the symbol: its data's grid."""
        return (self.begin + length * DOWN * (self.header is not None)) % length


class Chirps:
    """The chirps of one packet in one window x, complex [samples], of white noise of variance v, at several places and carrier
    offsets at once: moved by `late` samples and `higher` cycles per sample, float64 [c]."""

    def __init__(self, signal: Signal, packet: Packet, x: Tensor, late: Tensor | None = None,
                 higher: Tensor | None = None) -> None:
        zero = torch.zeros(1, dtype=torch.float64)
        late, higher = zero if late is None else late, zero if higher is None else higher
        self.signal, self.packet, self.samples = signal, packet, len(x)
        length, moved = signal.symbol_length, packet.begin + late
        first = torch.ceil(moved - 1e-9)
        self.chirp = signal.chirp((first - moved).clamp_min(0))                             # [c, M]
        self.ups = self._places(packet.ups(length), first, packet)
        self.downs = self._places(packet.downs(length), first, packet)
        self.offset = packet.carrier_offset + higher
        self.x = x.to(torch.complex128)

    def _places(self, starts: list[float], first: Tensor, packet: Packet) -> Tensor:
        """int64 [c, n]: first samples of chirps on the grid of whole samples."""
        apart = torch.tensor([round(start - packet.begin) for start in starts], dtype=torch.int64)
        return first.long()[:, None] + apart

    def _cut(self, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """(samples of chirps, their carrier off, complex128 [c, n, length], zero outside of the window; how many of these are
        inside, float64 [c, n])."""
        n = starts[..., None] + torch.arange(length)
        inside = (n >= 0) & (n < self.samples)
        cut = torch.where(inside, self.x[n.clamp(0, self.samples - 1)], 0)
        angle = -2 * math.pi * self.offset[:, None, None] * n
        return cut * torch.polar(torch.ones_like(angle), angle), inside.sum(-1).double()

    def matched(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(z of the up-chirps [c, n, N], samples of each inside [c, n]; z of the down-chirps [c, n], and samples)."""
        length = self.signal.symbol_length
        parts, count = self._cut(self.ups, length)
        product = torch.fft.fft(self.chirp).conj()[:, None] * torch.fft.fft(parts)
        folded = product.unflatten(2, (self.signal.samples_per_chip, self.signal.chips)).sum(2)
        z = torch.fft.fft(folded) / length
        cut, seen = self._cut(self.downs, length)
        if self.downs.shape[1]:
            cut[:, -1, length // 4:] = 0
            seen[:, -1] = (torch.minimum(self.downs[:, -1] + length // 4, torch.tensor(self.samples))
                           - self.downs[:, -1].clamp_min(0)).clamp_min(0)
        return z, count, (cut * self.chirp[:, None]).sum(-1), seen

    def odds(self, noise_var: float, z: Tensor, amplitude: float | None = None) -> Tensor:
        """log p of each shift of the up-chirps, up to a constant of each: [c, n, N]."""
        amplitude = self.packet.amplitude if amplitude is None else amplitude
        log = _log_bessel(2 * amplitude / noise_var * z.abs())
        known = (self.packet.header or 0) - SYNC
        if known > 0:
            log[:, :known, 1:] = -torch.inf
        return log

    def evidence(self, noise_var: float, amplitude: float | None = None) -> tuple[Tensor, Tensor]:
        """log p(x | on)/p(x | off) of each up-chirp [c, n], and of each down-chirp [c, n]."""
        a = self.packet.amplitude if amplitude is None else amplitude
        z, count, down, seen = self.matched()
        known = torch.arange(z.shape[1]) < (self.packet.header or 0) - SYNC
        choices = torch.where(known, 0.0, math.log(self.signal.chips))
        ups = self.odds(noise_var, z, a).logsumexp(-1) - choices - a * a * count / noise_var
        return ups, _log_bessel(2 * a / noise_var * down.abs()) - a * a * seen / noise_var

    def mean(self, noise_var: float) -> Tensor:
        """The posterior mean of the packet, complex128 [samples]; of one place and carrier offset."""
        signal, length, a = self.signal, self.signal.symbol_length, self.packet.amplitude
        z, _, down, _ = self.matched()
        weight = torch.softmax(self.odds(noise_var, z), -1) * a * _turn(z, 2 * a / noise_var)
        spread = torch.zeros(*weight.shape[:-1], length, dtype=weight.dtype)
        spread[..., ::signal.samples_per_chip] = weight
        waves = torch.fft.ifft(torch.fft.fft(self.chirp)[:, None] * torch.fft.ifft(spread, norm="forward"))
        lows = self.chirp.conj()[:, None] * (a * _turn(down, 2 * a / noise_var))[..., None]
        lows[:, -1:, length // 4:] = 0
        out = torch.zeros(self.samples, dtype=torch.complex128)
        for starts, wave in ((self.ups[0], waves[0]), (self.downs[0], lows[0])):
            n = starts[:, None] + torch.arange(length)
            inside = (n >= 0) & (n < self.samples)
            out.index_add_(0, n[inside], wave[inside])
        return out * carrier(0.0, self.offset, out[None])[0].to(out)


def packet_means(signal: Signal, packets: Sequence[Packet], x: Tensor, noise_var: float) -> list[Tensor]:
    """The posterior mean of each packet in a window x, complex [samples], of noise of that variance: complex128 [samples] each.
    Of packets that overlap, each in what the others' means leave."""
    means = [torch.zeros(len(x), dtype=torch.complex128) for _ in packets]
    length = signal.symbol_length
    overlap = any(a is not b and a.begin < b.end(length) and b.begin < a.end(length) for a in packets for b in packets)
    for _ in range(_SWEEPS if overlap else 1):
        for k, packet in enumerate(packets):
            others = sum((mean for j, mean in enumerate(means) if j != k and overlap), torch.zeros_like(x))
            means[k] = Chirps(signal, packet, x - others).mean(noise_var)
    return means


def _log_bessel(arg: Tensor) -> Tensor:
    return arg + torch.log(torch.special.i0e(arg))


def _turn(z: Tensor, factor: float) -> Tensor:
    """The mean of exp(j·phase) given z of a chirp."""
    size = z.abs()
    return torch.special.i1e(factor * size) / torch.special.i0e(factor * size) * z / size.clamp_min(1e-30)
