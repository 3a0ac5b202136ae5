# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of OFDM cut into pieces that are independent of each other: frames, and what lies between bursts of them."""
from typing import Any

import torch
from torch import Tensor

from ..signals.carrier import column

GAUSSIAN = -1           # number of an alphabet that is not known


class Tiling:
    """Windows y, complex [batch, samples], cut into tiles of at most `length` samples, every sample in one tile.

    window, start: of each tile, int64 [tiles]; n: its samples' numbers, inside: which of them lie in it and in the window, both
    [tiles, length]; received: the samples, complex128; groups: list of (rows, waves of the open carriers [n, length, d], their
    alphabets int64 [n, d] (of signals.wifi.ALPHABETS, or GAUSSIAN), noise [n, length]).
    """

    def __init__(self, y: Tensor, window: Tensor | list[int], start: Tensor | list[int], lengths: Tensor | list[int],
                 length: int) -> None:
        self.batch, self.samples = y.shape
        self.length = length
        self.groups: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.window, self.start = torch.as_tensor(window), torch.as_tensor(start)
        self.n = self.start[:, None] + torch.arange(length)
        self.inside = (self.n >= 0) & (self.n < self.samples) & (torch.arange(length) < torch.as_tensor(lengths)[:, None])
        self.received = y.to(torch.complex128).cpu()[self.window[:, None], self.n.clamp(0, self.samples - 1)] * self.inside

    def symbols(self, signal: Any, timing: Tensor) -> tuple[Tensor, int]:
        """(first int64 [tiles], count): the first symbol of a linear modulation that reaches each tile, and how many at most."""
        sps, half = signal.samples_per_symbol, signal.half_length
        first = torch.ceil((self.start - half - timing[self.window]) / sps - 1e-9).long()
        return first, int((self.length - 1 + 2 * half) // sps) + 1

    def pulses(self, signal: Any, timing: Tensor, frequency: Tensor, factor: Tensor, shape: Any = None) -> Tensor:
        """H of each tile, complex128 [tiles, length, count], for symbols as in `symbols`: timing, frequency (cycles per sample)
        and factor (complex, at sample 0), all [batch]. shape: the pulse at samples from a symbol's centre, float array -> array,
        where it is not the signal's."""
        first, count = self.symbols(signal, timing)
        sampled = self._sampled(shape or signal.pulse_at, timing, first, count, signal.samples_per_symbol)
        return sampled * self._turn(frequency, factor)[..., None]

    def waves(self, symbols: Tensor, signal: Any, timing: Tensor, frequency: Tensor, factor: Tensor, shape: Any) -> Tensor:
        """What symbols that reach the tiles, complex128 [tiles, count], make of these: the product with `pulses`, [tiles,
        length]."""
        first, count = self.symbols(signal, timing)
        sampled = self._sampled(shape, timing, first, count, signal.samples_per_symbol)
        if sampled.is_complex():                # through a channel
            sent = (sampled @ symbols[..., None])[..., 0]
        else:
            sent = torch.view_as_complex(sampled @ torch.view_as_real(symbols.contiguous()))
        return sent * self._turn(frequency, factor)

    def _turn(self, frequency: Tensor, factor: Tensor) -> Tensor:
        """See pulses: what carriers make of each sample, complex128 [tiles, length]."""
        angle = 2 * torch.pi * frequency[self.window, None] * self.n
        return torch.polar(self.inside.to(angle.dtype), angle) * factor[self.window, None]

    def _sampled(self, shape: Any, timing: Tensor, first: Tensor, count: int, period: float) -> Tensor:
        """Of `count` symbols from `first` on, `period` samples apart, their pulse in each tile: [tiles, length, count]."""
        if period != int(period):
            centre = timing[self.window, None] + (first[:, None] + torch.arange(count)) * period
            return torch.as_tensor(shape((self.n[:, :, None] - centre[:, None]).numpy()))
        # all symbols of a window are sampled at the same instants
        period = int(period)
        whole = torch.floor(timing).long()
        lag = self.start - first * period - whole[self.window]              # of a tile's first sample, after its first symbol
        behind = period * (count - 1)
        lowest, span = int(lag.min()) - behind, self.length + behind
        instant = torch.arange(lowest, int(lag.max()) + self.length)
        table = torch.as_tensor(shape((instant - (timing - whole)[:, None]).numpy()))
        pieces = table[self.window[:, None], (lag - behind - lowest)[:, None] + torch.arange(span)]
        return pieces.unfold(1, self.length, period).flip(1).mT

    def joined(self, parts: Tensor) -> Tensor:
        """Values [tiles, length] as windows [batch, samples]."""
        out = torch.zeros(self.batch, self.samples, dtype=parts.dtype)
        where = self.window[:, None].expand(-1, self.length)[self.inside], self.n[self.inside]
        out[where] = parts[self.inside]
        return out


class OfdmTiles(Tiling):
    """Windows under continuous OFDM (an Ofdm whose frame_offset is known), its carriers open. kappa, noise_var: [batch]."""

    def __init__(self, y: Tensor, ofdm: Any, kappa: float, noise_var: float) -> None:
        length = ofdm.signal.frame_length
        first = (column(ofdm.frame_offset, torch.empty(0), torch.int64) % length - length).expand(len(y), 1)
        start = first + length * torch.arange(-(-y.shape[1] // length) + 2)
        there = (start < y.shape[1]) & (start + length > 0)
        window = torch.arange(len(y))[:, None].expand_as(start)[there]
        super().__init__(y, window, start[there], torch.full((len(window),), length), length)
        turn = 2 * torch.pi * column(ofdm.carrier_offset, torch.empty(0)).expand(len(y), 1)[window] * self.n
        gain = torch.as_tensor(kappa, dtype=torch.float64).reshape(-1).expand(len(y))[window]
        waves = torch.polar(gain[:, None].expand_as(turn), turn)[..., None] * torch.tensor(ofdm.matrix)
        noise = torch.as_tensor(noise_var, dtype=torch.float64).reshape(-1).expand(len(y))[window]
        self.groups.append((torch.arange(len(window)), waves * self.inside[..., None],
                            torch.full(waves.shape[::2], GAUSSIAN), noise[:, None].expand(-1, length).clone()))
