# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols of continuous-phase modulations in coloured noise, of a phase that nobody knows: sequence detection, hypothesis by
hypothesis.

The mixture goes through a filter g that makes the noise white, of variance 1. Each state, the last symbols, keeps its likeliest
past: the waveform's last samples, which g still holds, its phase, and A, the sum of <g*s, g*x> over the last `coherence`
symbols or so (per-survivor processing: Raheli, Polydoros, Tzou, 1995; the phase by I0, log I0(2|A|) ~ 2|A|: Colavolpe, Raheli,
IEEE Trans. Commun. 47, 1999). A symbol's branch adds 2(|A'| - forget*|A|) - |g*s|².

On the CPU, where Numba is installed and symbols have a whole number of samples, cpm_detection_kernel.py does this.
"""
from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..native import kernels

TAPS = 64              # of the whitening filter, at most
_NEGLIGIBLE = 1e-4      # of its energy: what its last taps may hold together and still be cut off
_TABLED = 32            # of a sample: so finely are waveforms tabled where samples lie elsewhere in each symbol
# Symbols that a state tells apart, at least the pulse's span less one: with two levels five, since the whitening filter ties more
# symbols together than the pulse does.
_STATE = {2: 5, 4: 2}
_KERNEL = "alpha_rgs.sources.cpm_detection_kernel"


@dataclass(frozen=True)
class Whitened:
    """x: through the whitening filter, complex64 [k, samples]. taps: complex64 [k, g]. The first g - 1 samples are
    worth nothing."""

    x: Tensor
    taps: Tensor

    def select(self, rows: Tensor) -> Whitened:
        """Some of the k."""
        return Whitened(self.x[rows], self.taps[rows])


def whitened(x: Tensor, density: Tensor) -> Whitened:
    """x complex [k, samples] in noise of that density, float64 [k, samples] as of Noise.density. The filter is the causal one of
    minimum phase, by the cepstrum (Oppenheim, Schafer, Discrete-Time Signal Processing, 13.5)."""
    n = density.shape[1]
    cepstrum = torch.fft.ifft(-0.5 * density.log()).clone()
    fold = torch.zeros(n, dtype=torch.float64, device=x.device)
    fold[0], fold[1:(n + 1) // 2] = 1, 2
    if n % 2 == 0:
        fold[n // 2] = 1
    taps = torch.fft.ifft(torch.fft.fft(cepstrum * fold).exp())[:, :TAPS]
    energy = taps.abs().square()
    rest = energy.flip(1).cumsum(1).flip(1) / energy.sum(1, keepdim=True)
    taps = taps[:, :max(1, int((rest > _NEGLIGIBLE).sum(1).amax()))]
    size = n + taps.shape[1]
    out = torch.fft.ifft(torch.fft.fft(x.to(torch.complex128), size) * torch.fft.fft(taps, size))[:, :n]
    return Whitened(out.to(torch.complex64), taps.to(torch.complex64))


class Detection:
    """The likeliest symbols of each hypothesis, k of them: timing, carrier float64 [k].

    symbols: float64 [k, blocks]; first: the number of the first one, int64 [k] (symbol 0 is centred on timing). metric: log p(x)
    up to a constant, [k].
    """

    def __init__(self, signal: Any, seen: Whitened, timing: Tensor, carrier: Tensor, coherence: float,
                 state: int = 0) -> None:
        self.signal, self.levels = signal, signal.levels
        self.digits = max(state or _STATE[signal.levels], signal.span - 1) + 1
        self.states = self.levels ** (self.digits - 1)
        self.alphabet = 2 * torch.arange(self.levels, device=timing.device).float() - (self.levels - 1)
        self.forget = math.exp(-1 / coherence)
        sps, samples = signal.samples_per_symbol, seen.x.shape[1]
        begin = timing - signal.half_length
        newest = torch.floor(-begin / sps + 1e-9).long()            # the last symbol whose pulse began up to sample 0
        self.first = newest - (self.digits - 1)
        begin = begin + newest * sps
        blocks = math.ceil((samples + sps - 1) / sps)
        start = begin[:, None] + sps * torch.arange(blocks + 1, device=timing.device)
        self.edges = torch.ceil(start - 1e-9).long()                # first sample of each block
        self.since = (self.edges[:, :-1] - start[:, :-1]).clamp_min(0)
        self.width = math.ceil(sps)
        self._prepare(seen, carrier)
        module = kernels(_KERNEL, timing) if isinstance(sps, int) else None
        if module is None:
            self._run()
        else:
            self._run_native(module)

    def _table(self) -> Tensor:
        """Waveforms of all words where a sample lies at multiples of 1/_TABLED of a sample, [_TABLED + 1, words, width]."""
        since = torch.arange(_TABLED + 1, dtype=torch.float64, device=self.since.device) / _TABLED
        return self._waves(since, torch.zeros_like(since))

    def _waves(self, since: Tensor, carrier: Tensor) -> Tensor:
        """Waveforms of all words, complex64 [k, words, width], whose first sample is `since` [k] into the block."""
        signal, device = self.signal, since.device
        j = torch.arange(self.digits, device=device)
        tau = since[:, None, None] + torch.arange(self.width, device=device) + j[:, None] * signal.samples_per_symbol
        digit = torch.arange(self.levels * self.states, device=device)[:, None] // self.levels ** j % self.levels
        share = signal.phase_pulse(tau - signal.half_length)
        angle = math.pi * signal.half_turns * ((2 * digit - (self.levels - 1)).double() @ share)
        angle = angle + 2 * math.pi * carrier[:, None, None] * torch.arange(self.width, device=device)
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)

    def _prepare(self, seen: Whitened, carrier: Tensor) -> None:
        device, width, taps = seen.x.device, self.width, seen.taps
        count = taps.shape[1]
        i = torch.arange(width, device=device)
        n = self.edges[:, :-1, None] + i
        self.there = (n < self.edges[:, 1:, None]) & (n >= count - 1) & (n < seen.x.shape[1])
        self.z = seen.x.gather(1, n.clamp(0, seen.x.shape[1] - 1).flatten(1)).unflatten(1, n.shape[1:]) * self.there
        lag = i - torch.arange(-count + 1, width, device=device)[:, None]        # of a sample before or in the block to one in it
        mix = torch.where((lag >= 0) & (lag < count), taps[:, lag.clamp(0, count - 1)], 0)      # [k, count - 1 + width, width]
        self.taps, self.past, self.now = taps, mix[:, :count - 1], mix[:, count - 1:]
        self.carrier = carrier
        turn = 2 * math.pi * carrier[:, None] * self.edges.diff(dim=1)
        self.turn = torch.polar(torch.ones_like(turn), turn).to(torch.complex64)
        done = math.pi * self.signal.half_turns * self.alphabet.double()
        self.done = torch.polar(torch.ones_like(done), done).to(torch.complex64)[:, None]

    def _run_native(self, module: ModuleType) -> None:
        """As _run and _trace, where samples lie alike in all symbols."""
        count = self.taps.shape[1]
        lag = torch.arange(self.width + count - 1) - torch.arange(self.width)[:, None]
        mix = torch.where((lag >= 0) & (lag < count), self.taps[:, lag.clamp(0, count - 1)], 0)
        response = self._waves(self.since[:, 0], self.carrier) @ mix
        parts = (response, self.z, self.there, self.done[:, 0], self.turn)
        metric, digits = module.likeliest(module.Problem(*(v.contiguous().numpy() for v in parts), self.forget))
        self.metric, self.symbols = torch.from_numpy(metric), self.alphabet.double()[torch.from_numpy(digits)]

    def _run(self) -> None:
        k, blocks = self.z.shape[:2]
        shape, device = (k, self.states), self.z.device
        metric = torch.zeros(shape, device=device)
        total = torch.zeros(shape, dtype=torch.complex64, device=device)
        phase = torch.ones(shape, dtype=torch.complex64, device=device)
        past = torch.zeros(*shape, self.past.shape[1], dtype=torch.complex64, device=device)
        whole = isinstance(self.signal.samples_per_symbol, int)
        lengths = self.edges.diff(dim=1)
        back, each = [], torch.arange(k, device=device)[:, None]
        waves = branch = table = turns = torch.empty(0)
        if not whole:
            table = self._table()
            angle = 2 * math.pi * self.carrier[:, None] * torch.arange(self.width, device=device)
            turns = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)[:, None]
        for block in range(blocks):
            if block == 0 or not whole:
                waves = (self._waves(self.since[:, 0], self.carrier) if whole else
                         table[(self.since[:, block] * _TABLED).round().long()] * turns).unflatten(1, shape[1:] + (self.levels,))
                branch = waves @ self.now[:, None]
            s = phase[..., None, None] * branch
            if past.shape[2]:
                s = s + (past @ self.past)[:, :, None]
            s = s * self.there[:, block, None, None]
            new = self.forget * total[..., None] + (s.conj() @ self.z[:, block, None, :, None])[..., 0]
            gain = 2 * (new.abs() - self.forget * total.abs()[..., None]) - torch.view_as_real(s).square().sum((-1, -2))
            ways = (metric[..., None] + gain).reshape(k, self.levels, self.states)
            metric, best = ways.max(1)
            back.append(best)
            total = new.reshape(k, self.levels, self.states).gather(1, best[:, None])[:, 0]
            parent = (best * self.states + torch.arange(self.states, device=device)).div(self.levels, rounding_mode="floor")
            if past.shape[2]:
                word = best * self.states + torch.arange(self.states, device=device)
                own = waves.flatten(1, 2)[each, word] * phase.gather(1, parent)[..., None]
                if whole:               # as many samples leave as come
                    kept = past[:, :, self.width:][each, parent]
                    past = torch.cat([kept, own], 2)[:, :, -past.shape[2]:]
                else:
                    grown = torch.cat([past[each, parent], own], 2)
                    keep = lengths[:, block, None] + torch.arange(past.shape[2], device=device)
                    past = grown.gather(2, keep[:, None].expand(-1, self.states, -1))
            phase = phase.gather(1, parent) * self.done[best, 0] * self.turn[:, block, None]
        self._trace(metric, back)

    def _trace(self, metric: Tensor, back: list[Tensor]) -> None:
        self.metric, state = metric.max(1)
        newest = []
        for best in reversed(back):
            newest.append(state % self.levels)
            oldest = best.gather(1, state[:, None])[:, 0]
            state = (oldest * self.states + state).div(self.levels, rounding_mode="floor")
        for _ in range(self.digits - 1):
            newest.append(state % self.levels)
            state = state.div(self.levels, rounding_mode="floor")
        self.symbols = self.alphabet.double()[torch.stack(newest[::-1], 1)]

    def select(self, rows: Tensor) -> Detection:
        """What was found of some of the k."""
        out = copy.copy(self)
        out.first, out.symbols, out.metric = self.first[rows], self.symbols[rows], self.metric[rows]
        return out
