# SPDX-License-Identifier: GPL-3.0-or-later
"""The trellis of a continuous-phase modulation, and its forward-backward algorithm.

The signal's modulus is constant, so log p(x | s) is 2/noise_var*Re<s, x> up to a constant. In the stretch of one symbol (a block)
from where symbol m's pulse begins, the waveform depends on the last `span` symbols (levels**span words) and on the phase that all
earlier ones have left. With a modulation index h = p/q and symbols -(levels - 1), ..., levels - 1 each has turned it by that
times pi*h: by -(levels - 1)*pi*h, and the i-th symbol by 2*pi*i*p/q more. So, with c symbols done since the window's start, it is
exp(-j*(levels - 1)*pi*h*c) times one of the q-th roots of one (GMSK: (-j)**c times ±1), and the trellis has q*levels**(span - 1)
states (Anderson, Aulin, Sundberg, Digital Phase Modulation, ch. 7; the recursions: Bahl, Cocke, Jelinek, Raviv, 1974). The i-th
symbol that is done leads i*p roots on.

A modulation index that is no such fraction turns further by `drift` half turns a symbol: each state keeps the sum of the symbols
of its likeliest past, and its phase by it (per-survivor processing: Raheli, Polydoros, Tzou, IEEE Trans. Commun. 43, 1995).
"""
from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..native import kernels
from ..signals.carrier import carrier
from .base import Demodulated, Number

# Dibits of the symbols -3, -1, +1, +3. ETSI TS 102 361-1, table 10.3: 01 is +3 (1.944 kHz), 00 is +1 (0.648 kHz), 10 is -1, 11 is
# -3. TIA-102.BAAA, C4FM: the same, of 1.8 and 0.6 kHz. The first bit is the sign, the second one the size.
_DIBITS = ((1, 1), (1, 0), (0, 0), (0, 1))
_KERNEL = "alpha_rgs.sources.trellis_kernel"
BITS = {2: ((0,), (1,)), 4: _DIBITS}        # levels -> bits of each symbol, the lowest frequency first


def bit_llrs(odds: Tensor) -> Tensor:
    """log P(0)/P(1) [..., bits] of log-probabilities [..., levels] of symbols."""
    bits = BITS[odds.shape[-1]]
    if len(bits) == 2:
        return odds[..., :1] - odds[..., 1:]
    return torch.stack([odds[..., [i for i, b in enumerate(bits) if not b[k]]].logsumexp(-1)
                        - odds[..., [i for i, b in enumerate(bits) if b[k]]].logsumexp(-1) for k in range(len(bits[0]))], -1)


class TrellisDemodulator:
    """Bits of a CPM source by forward-backward, see sources.base.Demodulator. Of two levels bit 1 is the symbol +1, the higher
    frequency; of four the dibits 01, 00, 10, 11 are the symbols +3, +1, -1, -3. Soft symbols are these numbers' means."""

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
        trellis = detected(signal, turned, noise_var.clamp_min(1e-6), timing, phase, own.starts)[0]
        at = timing[:, None] + trellis.numbers(timing) * signal.samples_per_symbol
        odds = trellis.odds()
        llrs = bit_llrs(odds)
        soft = -torch.tanh(llrs[..., 0] / 2) if signal.levels == 2 else odds.softmax(-1) @ trellis.alphabet
        # where pulses have tails, the last symbol of a window may be told by what looks like later ones' tails
        end = x.shape[1] - (signal.samples_per_symbol if signal.length > signal.span else 0)
        return Demodulated(soft.to(torch.complex64), llrs.float(), torch.where((at >= 0) & (at < end), at, torch.nan))


def detected(signal: Any, x: Tensor, noise_var: Tensor, timing: Tensor, phase: Tensor,
             starts: int) -> tuple[Trellis, Tensor | None]:
    """(Trellis of x less the phase of its pulses' tails, that phase float64 [k, samples] or None where pulses have none).

    Tails are a small phase that many symbols share. It is subtracted as the mean of the symbols says, in a few passes; what the
    symbols leave open of it, and all of those beyond the window, is taken for noise.
    """
    if signal.length == signal.span:
        return Trellis(signal, x, noise_var, timing, phase, starts), None
    lost, noise_var, half = tail_power(signal), noise_var[:, None], math.pi * signal.half_turns
    alike = max(1.0, _ALIKE * signal.samples_per_symbol)
    level, tail, here = noise_var + alike * lost, torch.zeros_like(x.real), x
    for _ in range(_PASSES):
        trellis = Trellis(signal, here, level, timing, phase, starts)
        weight = trellis.odds().softmax(-1)
        mean = weight @ trellis.alphabet
        settled = mean.square() - weight @ trellis.alphabet.square() + signal.alphabet_power
        first = timing + trellis.numbers(timing)[:, 0] * signal.samples_per_symbol
        tail = half * signal.turned(mean, x.shape[1], first, tails=1)
        known = half ** 2 * signal.turned(settled, x.shape[1], first, tails=2)
        here, level = x * torch.polar(torch.ones_like(tail), -tail), noise_var + alike * (lost - known).clamp_min(0)
    return Trellis(signal, here, level, timing, phase, starts), tail


_ALIKE = 0.5    # symbols: so long an unknown tail is about the same, and its samples say so only once
_AT_ONCE = 1 << 20  # numbers of blocks that are calculated in one go
_PASSES = 2     # with the tails of the symbols so far; errors of the first are few, and a third one changes no more


@functools.lru_cache(maxsize=32)
def tail_power(signal: Any) -> float:
    """Mean power of what is wrong of the waveform where the tails of pulses are left out."""
    sps, steps = signal.samples_per_symbol, 64
    tau = (torch.arange(signal.length * steps, dtype=torch.float64) + 0.5) / steps * sps - signal.length * sps / 2
    rest = (signal.full_pulse(tau) - signal.phase_pulse(tau)).square().sum() / steps
    return float((math.pi * signal.half_turns) ** 2 * signal.alphabet_power * rest)


class Trellis:
    """Forward-backward for hypotheses that each have samples x complex128 [k, samples], timing, phase [k], noise_var [k] or [k,
    samples].

    A word's digit j (to the base of levels) is the symbol j before the newest. alpha, beta: log-probabilities [k, root, word of
    the last span - 1 symbols]; float64, so they need no scaling. starts: 1 where the trellis starts at the phase, q where each
    root of one times that is as likely. Samples outside the window weigh nothing.
    """

    def __init__(self, signal: Any, x: Tensor, noise_var: Tensor, timing: Tensor, phase: Tensor, starts: int) -> None:
        sps, index = signal.samples_per_symbol, signal.index
        self.signal, self.starts, self.samples, self.levels = signal, starts, x.shape[1], signal.levels
        self.states = self.levels ** (signal.span - 1)
        self.p, self.q, self.drift = index.numerator, index.denominator, math.pi * signal.drift
        self.real = self.q <= 2 and not self.drift          # roots ±1: real parts will do
        turns = 2 * torch.pi * torch.arange(self.q, dtype=torch.float64, device=x.device) / self.q
        self.roots = torch.polar(torch.ones_like(turns), turns)[:, None]
        self.alphabet = 2 * torch.arange(self.levels, device=x.device).double() - (self.levels - 1)
        x = x * (2 / noise_var.reshape(len(x), -1))
        begin = timing - signal.half_length                 # of the first block: the last begin of a pulse up to sample 0
        begin = begin - sps * torch.ceil(begin / sps - 1e-9)
        blocks = math.ceil((self.samples + sps - 1) / sps)
        tilt = -(self.levels - 1) * torch.pi / self.q * (torch.arange(blocks, device=x.device) * self.p % (2 * self.q)).double()
        self.tilt = torch.polar(torch.ones_like(tilt), tilt)[:, None]
        if isinstance(sps, int):
            self._whole(x, begin, blocks, phase)
        else:
            self._fractional(x, begin, blocks, phase)
        root = torch.arange(self.q, device=x.device)[:, None]
        level, state = torch.arange(self.levels, device=x.device)[:, None, None], torch.arange(self.states, device=x.device)
        # where root and word come from when that symbol is done, [levels, root, states]; where they lead, [root, levels, states]
        self.come = ((root - level * self.p) % self.q * self.levels * self.states + level * self.states + state).flatten()
        self.lead = ((root + level * self.p) % self.q * self.states + state).movedim(0, 1).flatten()

    def _waves(self, since: Tensor, phase: Tensor) -> Tensor:
        """Waveforms of all words at times `since` the begin of a block, [..., n] -> complex [..., words, n]."""
        signal, sps = self.signal, self.signal.samples_per_symbol
        late = torch.arange(signal.span, device=since.device)[:, None]
        share = signal.phase_pulse(since[..., None, :] + late * sps - signal.half_length)           # [..., span, n]
        digit = torch.arange(self.levels * self.states, device=since.device)[:, None] // self.levels ** late.T % self.levels
        angle = torch.pi * signal.half_turns * ((2 * digit - (self.levels - 1)).double() @ share) + phase
        return torch.polar(torch.ones_like(angle), angle)

    def _whole(self, x: Tensor, begin: Tensor, blocks: int, phase: Tensor) -> None:
        """The fit of each block to each word, where all blocks have the same waveforms."""
        sps = self.signal.samples_per_symbol
        lead = -torch.ceil(begin - 1e-9)
        since = (-lead - begin).clamp_min(0)[:, None] + torch.arange(sps, device=x.device)
        self.waves = self._waves(since, phase[:, None, None])                                   # [k, words, sps]
        x = torch.nn.functional.pad(x, (sps - 1, blocks * sps - self.samples))
        where = (sps - 1 - lead).long()[:, None] + torch.arange(blocks * sps, device=x.device)
        self.inside = lead.long()[:, None] + torch.arange(self.samples, device=x.device)
        x = x.gather(1, where).unflatten(1, (blocks, sps)) * self.tilt.conj()
        if self.real:
            fit = torch.view_as_real(x).flatten(2) @ torch.view_as_real(self.waves).flatten(2).mT       # [k, blocks, words]
        else:
            fit = x @ self.waves.mH
        self.fit = fit.movedim(1, 0).contiguous()

    def _fractional(self, x: Tensor, begin: Tensor, blocks: int, phase: Tensor) -> None:
        """The same, where samples lie elsewhere in each block, and one of them more in some."""
        sps, width = self.signal.samples_per_symbol, math.ceil(self.signal.samples_per_symbol)
        start = begin[:, None] + sps * torch.arange(blocks + 1, device=x.device)                # [k, blocks + 1]
        first = torch.ceil(start - 1e-9).long()
        n = first[:, :-1, None] + torch.arange(width, device=x.device)
        there = (n < first[:, 1:, None]) & (n >= 0) & (n < self.samples)
        since = (n - start[:, :-1, None]).clamp_min(0)
        self.waves = self._waves(since, phase[:, None, None, None])                             # [k, blocks, words, width]
        x = x.gather(1, n.clamp(0, self.samples - 1).flatten(1)).unflatten(1, (blocks, width)) * there
        x = x * self.tilt.conj()
        fit = (self.waves.conj() @ x[..., None])[..., 0]
        self.fit = (fit.real if self.real else fit).movedim(1, 0).contiguous()
        sample = torch.arange(self.samples, device=x.device)
        block = torch.searchsorted(first, sample.expand(len(x), -1).contiguous(), right=True) - 1
        self.inside = block * width + sample - first.gather(1, block)

    def numbers(self, timing: Tensor) -> Tensor:
        """Numbers of the symbols that begin in the blocks, [k, blocks]: the first is the last one begun at sample 0."""
        begin = timing - self.signal.half_length
        newest = torch.floor(-begin / self.signal.samples_per_symbol + 1e-9).long()
        return newest[:, None] + torch.arange(len(self.fit), device=timing.device)

    def start(self) -> tuple[Tensor, Tensor | None]:
        """The first alpha: every state alike, or of root 1 alone; the sums of symbols done, all 0, where there is a drift."""
        alpha = self.fit.real.new_zeros(self.fit.shape[1], self.q, self.states)
        done = torch.zeros_like(alpha) if self.drift else None
        if self.starts == 1:
            alpha[:, 1:] = -torch.inf
        return alpha, done

    def turned(self, fit: Tensor, done: Tensor | None) -> Tensor:
        """Blocks' fit [blocks, k, words] of each root: real [blocks, k, root, words]; done: before the first of them."""
        if self.real:
            return torch.stack([fit, -fit][:self.q], -2)
        if done is None:
            return (fit[..., None, :] * self.roots.conj()).real
        return (fit.unflatten(2, (1, self.states, self.levels)) * self.phasors(done).conj()[..., None]).real.flatten(3)

    def parts(self) -> list[slice]:
        """Blocks that are calculated in one go, as far as they do not wait for each other: one, where there is a drift."""
        size = 1 if self.drift else max(1, _AT_ONCE // (self.fit[0].numel() * self.q))
        return [slice(k, k + size) for k in range(0, len(self.fit), size)]

    def phasors(self, done: Tensor) -> Tensor:
        """Phase of each state, complex [k, root, states], from the sums of the symbols that are done."""
        return self.roots * torch.polar(torch.ones_like(done), self.drift * done)

    def ways(self, alpha: Tensor, own: Tensor) -> Tensor:
        """log p of all ways into a state after one more block, [k, levels, root, states]: the oldest symbol is done. own: the
        block's fit, `turned`."""
        b = alpha[..., None] + own.view(*alpha.shape, self.levels)
        return b.flatten(1).index_select(1, self.come).view(len(alpha), self.levels, self.q, self.states)

    def carried(self, done: Tensor, best: Tensor) -> Tensor:
        """The sums of symbols done after one more block, [k, root, states], of the `best` ways [k, root, states]."""
        total = done.repeat_interleave(self.levels, -1).unflatten(2, (self.levels, self.states)) + self.alphabet[:, None]
        total = total.flatten(1).index_select(1, self.come).view(len(done), self.levels, self.q, self.states)
        return total.gather(1, best[:, None])[:, 0]

    def _native(self, odds: bool, signed: bool) -> tuple[Tensor, Tensor, Tensor] | None:
        """(log p(x) [k]; odds [k, blocks, levels]; sums over roots of root·P(word, root) [k, blocks, words]) by native kernels,
        the last two only where they are wanted; None where the torch code below has to do it."""
        kernel = kernels(_KERNEL, self.fit)
        if kernel is None:
            return None
        blocks, k, words = self.fit.shape
        chances = torch.empty(k, blocks if odds else 0, self.levels, dtype=torch.float64)
        sums = torch.empty(k, blocks if signed else 0, words, dtype=torch.complex128)
        fit, roots, come, lead = self._arrays()
        evidence = kernel.marginals(fit, roots, come, lead, self.drift, self.starts, chances.numpy(), sums.numpy())
        return torch.from_numpy(evidence), chances, sums

    def _arrays(self) -> tuple[Any, ...]:
        """fit, roots, come and lead for the kernels."""
        fit = self.fit.to(torch.complex128).numpy()
        return fit, self.roots[:, 0].numpy(), self.come.view(self.levels, -1).numpy(), self.lead.numpy()

    def evidence(self) -> Tensor:
        """log p(x) up to what is the same for all hypotheses, [k]."""
        if native := self._native(False, False):
            return native[0]
        alpha, _ = functools.reduce(lambda _, later: later, self.forward())
        return alpha.flatten(1).logsumexp(1)

    def likeliest(self) -> tuple[Tensor, Tensor]:
        """(the likeliest sequence, float64 [k, blocks + span - 1] from span - 1 symbols before the first of `numbers`; the root
        at which it starts, int64 [k]), by Viterbi's algorithm."""
        if kernel := kernels(_KERNEL, self.fit):
            path = torch.empty(self.fit.shape[1], len(self.fit) + self.signal.span - 1, dtype=torch.int64)
            first = torch.empty(len(path), dtype=torch.int64)
            kernel.viterbi(*self._arrays()[:3], self.drift, self.starts, path.numpy(), first.numpy())
            return self.alphabet[path], first
        alpha, done = self.start()
        back, size = [], len(alpha)
        for part in self.parts():
            for own in self.turned(self.fit[part], done):
                alpha, best = self.ways(alpha, own).max(1)
                back.append(best)
                done = None if done is None else self.carried(done, best)
        end = alpha.flatten(1).argmax(1)
        root, state, k, digits = end.div(self.states, rounding_mode="floor"), end % self.states, torch.arange(size), []
        for best in reversed(back):
            oldest = best[k, root, state]
            word = oldest * self.states + state
            digits.append(word % self.levels)
            root, state = (root - oldest * self.p) % self.q, word.div(self.levels, rounding_mode="floor")
        for _ in range(self.signal.span - 1):
            digits.append(state % self.levels)
            state = state.div(self.levels, rounding_mode="floor")
        return self.alphabet[torch.stack(digits[::-1], 1)], root

    def forward(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """alphas and sums before each block, and after the last."""
        alpha, done = self.start()
        yield alpha, done
        for part in self.parts():
            for own in self.turned(self.fit[part], done):
                ways = self.ways(alpha, own)
                alpha = functools.reduce(torch.logaddexp, ways.unbind(1))
                done = None if done is None else self.carried(done, ways.argmax(1))
                yield alpha, done

    def backward(self) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Of the blocks from the last part to the first: (its first block; log p(x, root, word), [blocks, k, root, states,
        levels]; sums before its first block)."""
        alphas, sums = zip(*self.forward())
        beta, shape = torch.zeros_like(alphas[0]), (*alphas[0].shape, self.levels)
        for part in reversed(self.parts()):
            pairs: list[Tensor] = []
            for own in self.turned(self.fit[part], sums[part.start]).flip(0):
                following = beta.flatten(1).index_select(1, self.lead)          # of what comes after that word
                pairs.append((following + own.flatten(1)).view(shape))
                beta = functools.reduce(torch.logaddexp, pairs[-1].unbind(-1))
            before = torch.stack(alphas[part.start:part.start + len(pairs)])
            yield part.start, before[..., None] + torch.stack(pairs[::-1]), sums[part.start]

    def odds(self) -> Tensor:
        """Log-probabilities, up to a constant, of the values of the symbol that begins in each block, float64 [k, blocks,
        levels]."""
        if native := self._native(True, False):
            return native[1]
        parts = [joint.flatten(2, 3).logsumexp(2) for _, joint, _ in self.backward()]
        return torch.cat(parts[::-1]).movedim(0, 1).contiguous()

    def mean(self) -> Tensor:
        """E[s | x], complex128 [k, samples]."""
        native = self._native(False, True)
        signed = self._signed() if native is None else native[2].movedim(1, 0)
        weight = signed.movedim(0, 1)
        weight = (weight.real if self.real else weight).to(self.waves.dtype)
        out = (weight @ self.waves if self.waves.ndim == 3 else (weight[:, :, None] @ self.waves)[:, :, 0]) * self.tilt
        return out.flatten(1).gather(1, self.inside)

    def _signed(self) -> Tensor:
        """Sum over roots of root·P(word, root), [blocks, k, words]."""
        signed = torch.empty_like(self.fit)
        total = None
        for first, joint, done in self.backward():
            total = joint[-1].flatten(1).logsumexp(1)[:, None, None] if total is None else total
            p = torch.exp(joint.flatten(3) - total)                             # [blocks, k, root, words]
            if self.real:
                sums = p[:, :, 0] - p[:, :, 1] if self.q == 2 else p[:, :, 0]
            elif done is None:
                sums = p[:, :, 0] if self.q == 1 else (p * self.roots).sum(2)
            else:
                sums = (p[0].unflatten(2, (self.states, self.levels)) * self.phasors(done)[..., None]).sum(1).flatten(1)[None]
            signed[first:first + len(sums)] = sums
        return signed
