# SPDX-License-Identifier: GPL-3.0-or-later
"""The trellis of a continuous-phase modulation, and its forward-backward algorithm.

The signal's modulus is constant, so log p(x | s) is 2/noise_var*Re<s, x> up to a constant. In the stretch of one symbol (a block)
from where symbol m's pulse begins, the waveform depends on the last `span` symbols (2**span words) and on the phase that all
earlier ones have left. With a modulation index h = p/q each has turned it by ±pi*h: by -pi*h, and the +1 symbols by 2*pi*p/q
more. So, with c symbols done since the window's start, it is exp(-j*pi*h*c) times one of the q-th roots of one (GMSK: (-j)**c
times ±1), and the trellis has q*2**(span - 1) states (Anderson, Aulin, Sundberg, Digital Phase Modulation, ch. 7; the recursions:
Bahl, Cocke, Jelinek, Raviv, 1974). A +1 symbol that is done leads p roots on.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals.carrier import carrier
from .base import Demodulated, Number


class TrellisDemodulator:
    """Bits of a CPM source (bit 1: symbol +1, the higher frequency) by forward-backward, see sources.base.Demodulator."""

    coherent, ambiguity = False, 1      # a common phase within the trellis' symmetry moves no bit

    def __init__(self, source: Any) -> None:
        self.source = source

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulator. Raises ParameterError where timing or phase are unknown."""
        own, signal = self.source, self.source.signal
        for name in own.unknown:
            raise ParameterError(f"{own.kind}: {name} is unknown; symbols cannot be read without it")
        like = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        noise_var, timing, phase = (like + torch.as_tensor(v, device=x.device) for v in (noise_var, own.timing, own.phase))
        turned = (x * carrier(0.0, own.carrier_offset, x).conj()).to(torch.complex128)
        trellis = Trellis(signal, turned, noise_var.clamp_min(1e-6), timing, phase, own._starts)
        # of the first block: the last symbol whose pulse began up to sample 0
        begin = timing - signal.half_length
        newest = torch.floor(-begin / signal.samples_per_symbol + 1e-9).long()
        at = timing[:, None] + (newest[:, None] + torch.arange(len(trellis.fit), device=x.device)) * signal.samples_per_symbol
        llrs = trellis.bits()
        return Demodulated(-torch.tanh(llrs / 2).to(torch.complex64), llrs[..., None].float(),
                           torch.where((at >= 0) & (at < x.shape[1]), at, torch.nan))


class Trellis:
    """Forward-backward for hypotheses that each have samples x complex128 [k, samples], noise_var, timing, phase [k].

    A word's bit j says whether the symbol j before the newest is +1. alpha, beta: log-probabilities [k, root, word of the last
    span - 1 symbols]; float64, so they need no scaling. starts: 1 where the trellis starts at the phase, q where each root of one
    times that is as likely. Samples outside the window weigh nothing.
    """

    def __init__(self, signal: Any, x: Tensor, noise_var: Tensor, timing: Tensor, phase: Tensor, starts: int) -> None:
        sps, span, index = signal.samples_per_symbol, signal.span, signal.index
        self.starts, self.samples, self.states = starts, x.shape[1], 2 ** (span - 1)
        self.p, self.q = index.numerator, index.denominator
        turns = 2 * torch.pi * torch.arange(self.q, dtype=torch.float64, device=x.device) / self.q
        self.roots = torch.polar(torch.ones_like(turns), turns)[:, None]
        begin = timing - signal.half_length                 # of the first block: the last begin of a pulse up to sample 0
        begin = begin - sps * torch.ceil(begin / sps - 1e-9)
        lead = -torch.ceil(begin - 1e-9)
        since = (-lead - begin).clamp_min(0)[:, None, None] + torch.arange(sps, device=x.device)
        late = torch.arange(span, device=x.device)[:, None]
        share = signal.phase_pulse(since + late * sps - signal.half_length)                     # [k, span, sps]
        symbol = 2 * (torch.arange(2 * self.states, device=x.device)[:, None] >> late.T & 1) - 1
        angle = torch.pi * float(index) * (symbol.double() @ share) + phase[:, None, None]
        self.waves = torch.polar(torch.ones_like(angle), angle)                                 # [k, words, sps]
        blocks = -(-(self.samples + sps - 1) // sps)
        x = torch.nn.functional.pad(x, (sps - 1, blocks * sps - self.samples))
        self.where = (sps - 1 - lead).long()[:, None] + torch.arange(blocks * sps, device=x.device)
        self.inside = lead.long()[:, None] + torch.arange(self.samples, device=x.device)
        tilt = -torch.pi / self.q * (torch.arange(blocks, device=x.device) * self.p % (2 * self.q)).double()[:, None]
        self.tilt = torch.polar(torch.ones_like(tilt), tilt)
        x = x.gather(1, self.where).unflatten(1, (blocks, sps)) * self.tilt.conj() * (2 / noise_var)[:, None, None]
        if self.q <= 2:         # roots ±1: real parts will do
            fit = torch.view_as_real(x).flatten(2) @ torch.view_as_real(self.waves).flatten(2).mT       # [k, blocks, words]
        else:
            fit = x @ self.waves.mH
        self.fit = fit.movedim(1, 0).contiguous()

    def start(self) -> Tensor:
        """The first alpha: every state alike, or of root 1 alone."""
        alpha = self.fit.real.new_zeros(self.fit.shape[1], self.q, self.states)
        if self.starts == 1:
            alpha[:, 1:] = -torch.inf
        return alpha

    def turned(self, fit: Tensor) -> Tensor:
        """A block's fit [k, words] of each root: real [k, root, words]."""
        if self.q <= 2:
            return torch.stack([fit, -fit][:self.q], 1)
        return (fit[:, None] * self.roots.conj()).real

    def branches(self, state: Tensor, fit: Tensor) -> Tensor:
        """What follows a state [k, root, states] and a new symbol: [k, root, oldest symbol of the word, the rest]."""
        fit = self.turned(fit).unflatten(2, (self.states, 2))
        return (state[..., None] + fit).reshape(len(state), self.q, 2, self.states)

    def step(self, alpha: Tensor, fit: Tensor) -> Tensor:
        """alpha after one more block: the oldest symbol is done."""
        b = self.branches(alpha, fit)
        return torch.logaddexp(b[:, :, 0], b[:, :, 1].roll(self.p, 1))

    def evidence(self) -> Tensor:
        """log p(x) up to what is the same for all hypotheses, [k]."""
        alpha = self.start()
        for fit in self.fit:
            alpha = self.step(alpha, fit)
        return alpha.flatten(1).logsumexp(1)

    def bits(self) -> Tensor:
        """log P(-1)/P(+1) of the symbol that begins in each block, float64 [k, blocks]."""
        alphas = [self.start()]
        for fit in self.fit:
            alphas.append(self.step(alphas[-1], fit))
        beta, out = torch.zeros_like(alphas.pop()), []
        for block in range(len(self.fit) - 1, -1, -1):
            after = torch.stack([beta, beta.roll(-self.p, 1)], 2).flatten(2) + self.turned(self.fit[block])
            pairs = after.unflatten(2, (self.states, 2))
            word = (alphas[block][..., None] + pairs).flatten(1, 2).logsumexp(1)
            out.append(word[:, 0] - word[:, 1])
            beta = torch.logaddexp(pairs[..., 0], pairs[..., 1])
        return torch.stack(out[::-1], 1)

    def mean(self) -> Tensor:
        """E[s | x], complex128 [k, samples]."""
        alphas = [self.start()]
        for fit in self.fit:
            alphas.append(self.step(alphas[-1], fit))
        total = alphas.pop().flatten(1).logsumexp(1)[:, None]
        beta = torch.zeros_like(alphas[0])
        signed = torch.empty_like(self.fit)         # sum over roots of root·P(word, root)
        for block in range(len(self.fit) - 1, -1, -1):
            after = torch.stack([beta, beta.roll(-self.p, 1)], 2).flatten(2) + self.turned(self.fit[block])    # [k, root, word]
            pairs = after.unflatten(2, (self.states, 2))
            p = torch.exp((alphas[block][..., None] + pairs).flatten(2) - total[..., None])
            signed[block] = p[:, 0] - p[:, 1] if self.q == 2 else p[:, 0] if self.q == 1 else (p * self.roots).sum(1)
            beta = torch.logaddexp(pairs[..., 0], pairs[..., 1])
        out = (signed.movedim(0, 1).to(self.waves.dtype) @ self.waves) * self.tilt
        return out.flatten(1).gather(1, self.inside)
