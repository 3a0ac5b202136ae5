# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of pulses that were found in windows: their waveforms, and the posterior of their symbols in white noise.

Within a burst of known begin, amplitude and carrier, log p(x | symbols) = Σ_k ψ_k(s_k) + Σ_k φ_k(s_k, s_(k+1)): neighbours meet
in one sample at most, where a chip's edge cuts it. Forward-backward over the symbols is exact. Bursts that overlap are cancelled
from each other by their means.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..signals.ppm import Ppm, integrated

REAL, COMPLEX = torch.float64, torch.complex128
_SWEEPS = 4         # over bursts that overlap; two of one level need three


@dataclass(frozen=True)
class Burst:
    """One burst. begin: samples from the window's first sample to the begin of its preamble; may lie outside. symbols: how many.
    amplitude: of a burst of unit mean power, and its phase at `begin`. carrier_offset: cycles per sample."""

    begin: float
    symbols: int
    amplitude: complex = 1.0
    carrier_offset: float = 0.0


def overlap(first: Burst, second: Burst, signal: Ppm) -> float:
    """Samples that two bursts share."""
    end = min(b.begin + signal.length(b.symbols) for b in (first, second))
    return max(0.0, end - max(first.begin, second.begin))


class Pulses:
    """The bursts that reach into windows of a batch, as tensors: one row per burst, its symbols in columns.

    bursts: of each window, or of one that stands for all. window: of each row, int64 [rows]. start: first sample of each symbol,
    int64 [rows, n]. exists: bool [rows, n]: whether the burst has that symbol and the window some of it.
    """

    def __init__(self, signal: Ppm, bursts: Sequence[Sequence[Burst]], batch: int, samples: int, device: torch.device) -> None:
        bursts = list(bursts) * batch if len(bursts) == 1 else bursts
        self.signal, self.batch, self.samples, self.device = signal, batch, samples, device
        inside = [(k, b) for k, own in enumerate(bursts) for b in own if -signal.length(b.symbols) < b.begin < samples]
        self.bursts = [b for _, b in inside]
        self.window = torch.tensor([k for k, _ in inside], dtype=torch.int64, device=device)
        self.begin = self._column([b.begin for b in self.bursts])
        self.level = self._column([b.amplitude for b in self.bursts], COMPLEX) * signal.amplitude
        self.carrier = self._column([b.carrier_offset for b in self.bursts])
        count = self._column([b.symbols for b in self.bursts], torch.int64)
        k = torch.arange(max([b.symbols for b in self.bursts], default=1), device=device)
        self.first = self.begin[:, None] + signal.lead + k * signal.samples_per_symbol
        self.start = torch.floor(self.first + 1e-9).long()
        self.exists = (k < count[:, None]) & (self.first + signal.samples_per_symbol > 0) & (self.first < samples)
        self.own = k < count[:, None]
        self.width = math.ceil(signal.samples_per_symbol - 1e-9) + 1
        self.overlapping = any(a is not b and self.window[i] == self.window[j] and overlap(a, b, signal) > 0
                               for i, a in enumerate(self.bursts) for j, b in enumerate(self.bursts[:i]))

    def _column(self, values: list, dtype: torch.dtype = REAL) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device).reshape(-1)

    def __len__(self) -> int:
        return len(self.bursts)

    @property
    def centre(self) -> Tensor:
        """The sample on which each symbol is centred, float64 [rows, n]; NaN of those outside the window."""
        at = self.first + self.signal.samples_per_symbol / 2 - 0.5
        return torch.where(self.exists & (at >= 0) & (at < self.samples), at, torch.nan)

    def turned(self, n: Tensor) -> Tensor:
        """Amplitude and carrier of each burst at samples n [rows, ...]: complex128, like n."""
        shape = (-1, *[1] * (n.ndim - 1))
        angle = 2 * torch.pi * self.carrier.reshape(shape) * (n - self.begin.reshape(shape))
        return self.level.reshape(shape) * torch.polar(torch.ones_like(angle), angle)

    def envelopes(self, chips: Tensor, heading: bool = True) -> Tensor:
        """Chips of the symbols, float64 [rows, n, chips], behind the preamble (or not): float64 [rows, samples]."""
        head = self.signal.heading().to(chips) * heading
        whole = torch.cat([head.expand(len(self), -1), (chips * self.own[..., None]).flatten(1)], 1)
        return integrated(whole, self.begin, self.signal.chip, self.samples)

    def waveforms(self, chips: Tensor) -> Tensor:
        """As envelopes, with amplitude and carrier: complex128 [rows, samples]."""
        n = torch.arange(self.samples, dtype=REAL, device=self.device).expand(len(self), -1)
        return self.envelopes(chips) * self.turned(n)

    def summed(self, waves: Tensor) -> Tensor:
        """The sum of each window's rows: complex128 [batch, samples]."""
        out = torch.zeros(self.batch, self.samples, dtype=COMPLEX, device=self.device)
        return out.index_add_(0, self.window, waves.to(COMPLEX))

    def templates(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each symbol: the patterns as sampled, float64 [rows, n, patterns, width]; amplitude and carrier there, zero outside
        the window, complex128 [rows, n, width]; the samples, int64 [rows, n, width], clamped into the window."""
        table = self.signal.table().to(self.device)
        fraction = (self.first - self.start).clamp_min(0)
        shape = torch.where(self.own, fraction, 0)[..., None].expand(-1, -1, len(table))
        wave = integrated(table, shape, self.signal.chip, self.width)
        n = self.start[..., None] + torch.arange(self.width, device=self.device)
        inside = (n >= 0) & (n < self.samples) & self.exists[..., None]
        return wave, self.turned(n.to(REAL)) * inside, n.clamp(0, self.samples - 1)

    # ---- posterior of the symbols ------------------------------------------------------------------------------------------
    def posterior(self, x: Tensor, noise_var: Tensor) -> Tensor:
        """log P of the patterns of each symbol, float64 [rows, n, patterns], in x complex [batch, samples] of white noise; its
        variance [batch]. Exact where no bursts overlap."""
        table = self.signal.table().to(self.device)
        log = torch.full((*self.own.shape, len(table)), -math.log(len(table)), dtype=REAL, device=self.device)
        if not len(self):
            return log
        wave, turn, n = self.templates()
        level = noise_var.to(REAL).reshape(-1).expand(self.batch)[self.window].clamp_min(1e-12)
        empty = self.waveforms(torch.zeros(*self.own.shape, table.shape[1], dtype=REAL, device=self.device))
        for _ in range(_SWEEPS if self.overlapping else 1):
            means = self.waveforms(log.exp() @ table) if self.overlapping else empty
            others = self.summed(means)[self.window] - means + empty
            rest = (x.to(COMPLEX)[self.window] - others).gather(1, n.flatten(1)).unflatten(1, n.shape[1:])
            log = self._decide(rest, wave, turn, level)
        return log

    def _decide(self, rest: Tensor, wave: Tensor, turn: Tensor, level: Tensor) -> Tensor:
        """log P of one burst's symbols in what the others and its preamble leave, `rest` complex128 [rows, n, width]."""
        along = ((turn.conj() * rest).real[:, :, None] * wave).sum(-1)
        power = turn.abs().square()
        energy = (power[:, :, None] * wave.square()).sum(-1)
        own = (2 * along - energy) / level[:, None, None]
        step = self.start.diff(dim=1)[..., None]                        # to the sample in which the next symbol begins
        last = wave[:, :-1].gather(3, step[..., None].expand(-1, -1, wave.shape[2], -1))[..., 0]
        shared = power[:, :-1].gather(2, step)[..., 0]
        pair = -2 * (shared / level[:, None])[..., None, None] * last[..., None] * wave[:, 1:, None, :, 0]
        if not bool((pair.abs() > 1e-9).any()):
            return own.log_softmax(-1)
        ahead, back = [own[:, 0]], [torch.zeros_like(own[:, 0])]
        for k in range(1, own.shape[1]):
            ahead.append(own[:, k] + (ahead[-1][..., None] + pair[:, k - 1]).logsumexp(1))
            back.append(((back[-1] + own[:, -k])[:, None, :] + pair[:, -k]).logsumexp(2))
        return (torch.stack(ahead, 1) + torch.stack(back[::-1], 1)).log_softmax(-1)

    def variance(self, log: Tensor) -> Tensor:
        """Expected squared error of the mean, per sample of the windows: float64 [batch]."""
        out = torch.zeros(self.batch, dtype=REAL, device=self.device)
        if not len(self):
            return out
        wave, turn, _ = self.templates()
        p = log.exp()[..., None]
        spread = (p * wave.square()).sum(2) - (p * wave).sum(2).square()
        left = (spread.clamp_min(0) * turn.abs().square()).sum((1, 2)) / self.samples
        return out.index_add_(0, self.window, left)

    # ---- symbols of a window in order of time ------------------------------------------------------------------------------
    def ordered(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """(index [batch, n] into the flattened rows and symbols, which of them are there bool [batch, n]) of the symbols
        `wanted`, bool [rows, n], of each window, ascending in time; at least one column. What is not there has index 0."""
        lists: list[list[tuple[float, int]]] = [[] for _ in range(self.batch)]
        columns = wanted.shape[1] if len(self) else 0
        for row, column in torch.nonzero(wanted).tolist():
            lists[int(self.window[row])].append((float(self.start[row, column]), row * columns + column))
        most = max(1, *(len(own) for own in lists))
        index = torch.zeros(self.batch, most, dtype=torch.int64, device=self.device)
        there = torch.zeros(self.batch, most, dtype=torch.bool, device=self.device)
        for k, own in enumerate(lists):
            index[k, :len(own)] = torch.tensor([i for _, i in sorted(own)], dtype=torch.int64)
            there[k, :len(own)] = True
        return index, there
