# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps between the possible waveforms of a source, learned by asking its denoiser.

At a low noise level a denoiser D maps onto the waveforms that its source can have. From one of them, s, a push towards another
leads to D(s + push) - s: a *move*, such as one bit of a carrier or of a symbol. Pushes lead to several moves at once, too;
reduced against each other, as a lattice basis is, they come apart into single ones. All pieces of a window that do not depend on
each other are pushed at once, so one call answers for every piece.

A waveform with its moves is a linear model, s + Σ_i m_i·u_i with m_i = 0 or 1, of a source whose structure nobody has described.
"""
from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..signals import constellation
from .linear_model import LinearModel

# λ and φ: a carrier of BPSK flips beyond λ = 1.15, one bit of QPSK beyond 0.75, neighbouring carriers soon beyond 1.5
PUSH, ANGLE = 1.5, math.radians(30)
_OPPOSITE = 1.75        # λ of a stretch: at 1.5 a sixth of the bits of BPSK of 4 samples per symbol stay, at 2 GMSK flips by twos
USABLE = 0.7            # share of a block's samples inside the window: with less its moves cannot be identified
_LEAST = 0.25           # energy of a move, relative to the strongest tone's (a carrier's is about 2) or to one bit of QPSK
_PURE = 0.7             # of a move's energy lies in one tone if it is a single carrier's; of two beside each other about half
_SHORTER = 1.3          # v ± u replaces v where 2·|Re⟨u, v⟩| exceeds this times |u|²
_APART = 3.0            # durations on each side of a local push that its move may take; GMSK takes 2
_STEP = 0.5             # durations from one local push to the next; with half of that as many moves are found
_TOGETHER = 13          # pushes in one call: a trellis takes 8 windows and 104 in nearly the same time
_ALIKE = 0.25           # two moves that differ by less than this share of their energy are one
Denoise = Callable[[Tensor], Tensor]      # of a batch, or of it several times over: complex64 [k*batch, samples] -> the same


# ---- a lattice basis -------------------------------------------------------------------------------------------------------

def power(x: Tensor) -> Tensor:
    """Energy of [..., length]: real [...]."""
    return x.abs().square().sum(-1)


def insert(moves: Tensor, v: Tensor, least: Tensor) -> None:
    """Reduce v [n, length] by the moves [n, k, length] and these by what is left of it, which takes a free place; in place.
    least: the energy below which nothing is a move, [n]."""
    v, energy = v.clone(), power(moves)
    open_ = torch.nonzero((power(v) > least) & (energy > 0).any(1))[:, 0]
    for _ in range(2 * moves.shape[1]):
        if not len(open_):
            break
        along, size = (moves[open_].conj() @ v[open_, :, None])[..., 0].real, energy[open_]
        gain = torch.where(_shortens(along, size), 2 * along.abs() - size, 0)
        best = gain.argmax(1, keepdim=True)
        use = gain.gather(1, best)[:, 0] > 0
        open_, best, sign = open_[use], best[use, 0], along.gather(1, best)[use, 0].sign()
        v[open_] -= sign[:, None] * moves[open_, best]
    size = power(v)
    v = torch.where((size > least)[:, None], v, 0)
    along = (moves @ v.conj()[..., None])[..., 0].real
    reduce = _shortens(along, power(v)[:, None]) & (energy > 0)
    moves -= torch.where(reduce, along.sign(), 0)[..., None] * v[:, None]
    free = power(moves) <= least[:, None]
    moves[free] = 0
    rows = torch.nonzero(free.any(1) & (power(v) > 0))[:, 0]
    moves[rows, free[rows].float().argmax(1)] = v[rows]


def _shortens(along: Tensor, energy: Tensor) -> Tensor:
    """Whether a vector of that energy, added or subtracted, makes another clearly shorter; along: their inner product."""
    return (2 * along.abs() > _SHORTER * energy) & (along != 0) & (energy > 0)


# ---- moves of blocks -------------------------------------------------------------------------------------------------------

def block_moves(denoise: Denoise, b: Tensor, blocks: Any, band: Tensor, tones: int) -> Tensor:
    """Moves of each block of b [batch, samples], a waveform that the denoiser leaves as it is: complex64 [batch, blocks, 2*tones,
    length], zeros where there are fewer, and none in a block less than USABLE of which lies inside the window.

    blocks: see Source.blocks. band: how well the other sources see each frequency of a block's transform, zero-padded to four
    times its length: float32 [4*length], at most 1. tones: how many are pushed, the strongest seen ones first, two calls each.
    """
    pieces, length = blocks.cut(b), blocks.length
    shape, flat = pieces.shape[:2], pieces.flatten(0, 1)
    present = blocks.inside.flatten(0, 1).to(b.device)
    weight, bins = band.to(b.device).repeat(len(flat), 1), len(band)
    n = torch.arange(length, device=b.device)
    notch = torch.fft.fft(torch.ones(length, device=b.device), bins).abs().square() / length ** 2
    moves = torch.zeros(len(flat), 2 * tones, length, dtype=b.dtype, device=b.device)
    least: Any = None
    for _ in range(tones):
        untouched = (flat + (moves * _single(moves)).sum(1) / 2) * present
        spectrum = torch.fft.fft(untouched, bins)
        peak = (weight * spectrum.abs().square()).argmax(1, keepdim=True)
        height = spectrum.gather(1, peak) / present.sum(1, keepdim=True).clamp_min(1)
        if least is None:
            least = _LEAST * length * height[:, 0].abs().square()
        tone = height * present * torch.polar(torch.ones_like(n, dtype=torch.float32), 2 * math.pi / bins * (peak * n % bins))
        for angle in (ANGLE, -ANGLE):
            push = blocks.join((-cmath.rect(PUSH, angle) * tone).unflatten(0, shape))
            insert(moves, blocks.cut(denoise(b + push) - b).flatten(0, 1), least)
        weight = weight * (1 - 0.9 * notch[(torch.arange(bins, device=b.device) - peak) % bins])    # not the same one again
    usable = blocks.inside.float().mean(-1).to(b.device) >= USABLE
    return moves.unflatten(0, shape) * usable[..., None, None]


def _single(moves: Tensor) -> Tensor:
    """Which moves are one tone each, float32 [n, moves, 1]; several carriers flipped at once are looked at again."""
    peak = torch.fft.fft(moves, 2 * moves.shape[-1]).abs().square().amax(-1, keepdim=True)
    return (peak > _PURE * moves.shape[-1] * power(moves)[..., None]).float()


# ---- moves in time ---------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class LocalMoves:
    """Moves of a waveform that has no blocks. wave: complex64 [batch, segments, moves, length], zeros where there are fewer;
    segment j begins at sample j*period - margin."""

    wave: Tensor
    period: int
    margin: int


def local_moves(denoise: Denoise, s: Tensor, duration: float) -> LocalMoves:
    """Moves of s [batch, samples], a waveform of unit mean power that the denoiser leaves as it is: stretches of `duration`
    samples (about a symbol) are pushed towards their opposite, all the way and at ±ANGLE (one bit of QPSK flips then), many at
    once, _APART durations from each other."""
    batch, samples = s.shape
    margin = math.ceil(_APART * duration)
    period = 2 * margin
    segments, length = -(-samples // period), 2 * period
    moves = torch.zeros(batch * segments, 4 * math.ceil(period / duration), length, dtype=s.dtype, device=s.device)
    least = torch.full((len(moves),), _LEAST * 2 * duration, device=s.device)
    n, place = torch.arange(samples, device=s.device), torch.arange(length, device=s.device)
    ways = [_OPPOSITE, *(cmath.rect(PUSH, angle) for angle in (ANGLE, -ANGLE))]
    pushes = list(itertools.product(range(0, period, max(1, round(_STEP * duration))), ways))
    for first in range(0, len(pushes), _TOGETHER):
        some = pushes[first:first + _TOGETHER]
        near = [((n - begin + margin) % period - margin).abs() <= duration / 2 for begin, _ in some]
        pushed = torch.cat([s - way * s * here for here, (_, way) in zip(near, some)])
        for (begin, _), x in zip(some, denoise(pushed).split(batch)):
            own = (place - begin - margin).abs() <= margin
            move = torch.nn.functional.pad(x - s, (margin, segments * period - samples + margin)).unfold(1, length, period)
            insert(moves, (move * own).flatten(0, 1), least)
        if not bool(moves.any()):       # a source whose symbols are much longer, such as LoRa's
            break
    return LocalMoves(moves.unflatten(0, (batch, segments)), period, margin)


def _first_found(moves: LocalMoves) -> Tensor:
    """Which moves no segment before has found too: bool [batch, segments, moves]."""
    wave, period = moves.wave, moves.period
    energy = power(wave)
    there = energy > 0
    for j in range(1, wave.shape[1]):
        before, here = wave[:, j - 1, :, None, period:], wave[:, j, None, :, :-period]
        beyond = power(wave[:, j - 1, :, :period])[:, :, None] + power(wave[:, j, :, -period:])[:, None]
        apart = torch.minimum(power(before - here), power(before + here)) + beyond
        same = (apart < _ALIKE * energy[:, j, None]) & there[:, j - 1, :, None]
        there[:, j] &= ~same.any(1)
    return there


# ---- a linear model --------------------------------------------------------------------------------------------------------

def block_model(moves: Tensor, blocks: Any) -> LinearModel:
    """The LinearModel whose unknowns, ±1, say which moves of the blocks are not made (1) or made (-1)."""
    start = blocks.start[..., None].expand(moves.shape[:3]).flatten(1).long()
    wave = moves.flatten(1, 2)
    return _model(start, wave, power(wave) > 0, (blocks.length, blocks.start[:, 0] % blocks.length))


def local_model(moves: LocalMoves) -> LinearModel:
    """The LinearModel whose unknowns, ±1, say which moves are not made (1) or made (-1)."""
    wave, exists = moves.wave, _first_found(moves)
    length, width = wave.shape[-1], 2 * moves.margin
    centre = (wave.abs().square() * torch.arange(length, device=wave.device)).sum(-1) / power(wave).clamp_min(1e-12)
    offset = (centre.round().long() - width // 2).clamp(0, length - width)
    wave = wave.gather(3, offset[..., None] + torch.arange(width, device=wave.device)).flatten(1, 2)
    start = offset + moves.period * torch.arange(offset.shape[1], device=wave.device)[:, None] - moves.margin
    start, exists = start.flatten(1), exists.flatten(1)
    order = torch.argsort((~exists).long(), dim=1, stable=True)[:, :max(1, int(exists.sum(1).max()))]
    start, exists = start.gather(1, order), exists.gather(1, order)
    # where a window has fewer, the rest is spread: many unknowns in one place, there or not, cost time
    missing = (~exists).long().cumsum(1)
    spread = missing * (moves.period * moves.wave.shape[1]) // (missing[:, -1:] + 1)
    start, place = torch.sort(torch.where(exists, start, spread), dim=1, stable=True)
    order, exists = order.gather(1, place), exists.gather(1, place)
    return _model(start, wave.gather(1, order[..., None].expand(-1, -1, width)), exists, None)


def _model(start: Tensor, wave: Tensor, exists: Tensor, frame: Any) -> LinearModel:
    alphabet: Any = constellation("bpsk")
    return LinearModel(start, -wave.to(torch.complex128) / 2, alphabet, exists, None, frame)
