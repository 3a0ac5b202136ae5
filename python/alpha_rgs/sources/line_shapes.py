# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers that drift or are keyed: what a line is, but for its amplitude.

A carrier is looked at block by block, demodulated by the line that was found. Drift: the quadratic phase under which the blocks
add up best (a matched filter over a grid of chirp rates; Abatzoglou, 1986). Keying: the likeliest sequence of on and off, each
change of which costs what chance would gain by one (a Viterbi algorithm over blocks). Either is believed only where it explains
far more than noise of the level around the line would.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 16             # samples over which a line is averaged: keying is seen to within these
_DRIFTS = 20.0          # rad by which drift turns a line from a window's middle to its ends, at most
_STEP = 0.25            # rad, of the grid of those
_PAD = 2                # zero padding of the blocks' transform
_CHANGE = 8.0           # nats that a change between on and off costs: one of 160 blocks, and chance once in twenty windows
_ROUNDS = 4             # of amplitude and keying


@dataclass
class Lines:
    """exp(2j*pi*(f·t + drift·t²/2)) while on, t from the window's middle. frequency: cycles per sample [batch, count], NaN for
    none; drift: cycles per sample² [batch, count]; on: bool [batch, count, samples]."""

    frequency: Tensor
    drift: Tensor
    on: Tensor

    @classmethod
    def none(cls, batch: int, samples: int, device: torch.device) -> Lines:
        """No lines yet."""
        nothing = torch.zeros(batch, 0, dtype=torch.float64, device=device)
        return cls(nothing, nothing, torch.ones(batch, 0, samples, dtype=torch.bool, device=device))

    def with_line(self, frequency: Tensor, drift: Tensor | None = None, on: Tensor | None = None) -> Lines:
        """One more: frequency, drift [batch, 1]; on [batch, 1, samples]."""
        always = torch.ones_like(self.on[:, :1]) if self.on.shape[1] else torch.ones(
            len(frequency), 1, self.on.shape[2], dtype=torch.bool, device=frequency.device)
        parts = ((self.frequency, frequency), (self.drift, torch.zeros_like(frequency) if drift is None else drift),
                 (self.on, always if on is None else on))
        return Lines(*(torch.cat(pair, 1) for pair in parts))

    @property
    def waves(self) -> Tensor:
        """complex128 [batch, samples, count]; zero for a frequency that is NaN."""
        t = middle_times(self.on.shape[2], self.frequency.device)[:, None]
        angle = 2 * torch.pi * (self.frequency[:, None].nan_to_num() * t + self.drift[:, None] * t.square() / 2)
        return torch.polar((~self.frequency.isnan())[:, None] * self.on.mT.double(), angle)


def middle_times(samples: int, device: torch.device) -> Tensor:
    """Samples from the window's middle, float64 [samples]."""
    return torch.arange(samples, dtype=torch.float64, device=device) - (samples - 1) / 2


def shaped(lines: Lines, k: int, x: Tensor, floor: Tensor, least: Tensor) -> Lines:
    """`lines`, number k of which drifts, or is keyed, where that explains more of x, complex128 [batch, samples], in which no
    other line is left. floor: the noise about it, of each sample, and least: nats by which it must explain more, [batch, 1]."""
    samples = x.shape[1]
    if samples < 4 * _BLOCK:
        return lines
    frequency = lines.frequency[:, k:k + 1]
    drift, moved = _drift(_blocks(_demodulated(x, frequency, torch.zeros_like(frequency))), floor, least, samples)
    frequency = frequency + moved
    seen = _demodulated(x, frequency, drift)
    on = _edges(seen, *_keyed(_blocks(seen), floor, least))
    on = torch.cat([on, on[:, -1:].expand(-1, samples - on.shape[1])], 1)[:, None]
    return Lines(*(torch.cat([old[:, :k], new, old[:, k + 1:]], 1) for old, new in (
        (lines.frequency, frequency), (lines.drift, drift), (lines.on, on))))


def _demodulated(x: Tensor, frequency: Tensor, drift: Tensor) -> Tensor:
    """x without the rotation of a line (frequency, drift [batch, 1]): complex128 [batch, samples]."""
    own = Lines(frequency, drift, torch.ones(len(x), 1, x.shape[1], dtype=torch.bool, device=x.device)).waves[..., 0]
    return x * own.conj()


def _blocks(seen: Tensor) -> Tensor:
    """Means of blocks [batch, blocks]."""
    return seen[:, :seen.shape[1] // _BLOCK * _BLOCK].unflatten(1, (-1, _BLOCK)).mean(2)


def _drift(z: Tensor, floor: Tensor, least: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """(drift, cycles per sample², by how much the frequency in the middle is another one) of blocks z, each [batch, 1]; zero
    where that explains no more than `least` nats above a steady line."""
    blocks = z.shape[1]
    t = (torch.arange(blocks, dtype=torch.float64, device=z.device) + 0.5) * _BLOCK - samples / 2
    edge = (samples / 2) ** 2
    rad = torch.arange(-_DRIFTS, _DRIFTS + _STEP / 2, _STEP, dtype=torch.float64, device=z.device)
    size = _PAD * blocks
    turned = z[:, None] * torch.polar(torch.ones_like(rad)[:, None], -rad[:, None] * t.square() / edge)
    energy = torch.fft.fft(turned, size).abs().square() * (_BLOCK / blocks)         # over the floor: nats, of that one line
    # only frequencies next to the line: another line is none of its drift
    near = torch.arange(size, device=z.device)
    near = torch.minimum(near, size - near) <= _PAD * _DRIFTS / math.pi
    peak, at = torch.where(near, energy, 0).max(2)
    best = peak.argmax(1, keepdim=True)
    steady = energy[:, len(rad) // 2, :].max(1, keepdim=True).values
    drifts = peak.gather(1, best) - steady > least * floor
    sides = [peak.gather(1, (best + k).clamp(0, len(rad) - 1)) for k in (-1, 0, 1)]
    bend = (sides[0] + sides[2] - 2 * sides[1]).clamp_max(-1e-30)
    fine = rad[best] + _STEP * ((sides[0] - sides[2]) / (2 * bend)).clamp(-0.5, 0.5)
    place = at.gather(1, best)
    place = torch.where(place > size // 2, place - size, place).double()
    zero = torch.zeros_like(fine)
    return torch.where(drifts, fine / (math.pi * edge), zero), torch.where(drifts, place / (size * _BLOCK), zero)


def _keyed(z: Tensor, floor: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """In which blocks z [batch, blocks] the line is on, bool; in all unless that explains `least` nats less than keying; and its
    amplitude [batch, 1]."""
    batch, blocks = z.shape
    everywhere = torch.ones(batch, blocks, dtype=torch.bool, device=z.device)
    amplitude = z.mean(1, keepdim=True)
    plain = _BLOCK * blocks * amplitude.abs().square() / floor
    strong = z.abs() > z.abs().amax(1, keepdim=True) / 2           # of a line that is off for long the mean is small
    amplitude = (z * strong).sum(1, keepdim=True) / strong.sum(1, keepdim=True).clamp_min(1)
    on, gain = everywhere, plain
    for _ in range(_ROUNDS):
        score = _BLOCK * (2 * (amplitude.conj() * z).real - amplitude.abs().square()) / floor
        on, gain = _likeliest(score)
        amplitude = (z * on).sum(1, keepdim=True) / on.sum(1, keepdim=True).clamp_min(1)
    return torch.where(gain - plain > least, on, everywhere), amplitude


def _edges(seen: Tensor, on: Tensor, amplitude: Tensor) -> Tensor:
    """In which samples a line is on, bool [batch, blocks·_BLOCK]: its changes, bool [batch, blocks], where within half a block
    they fit the samples `seen` best."""
    half, blocks = _BLOCK // 2, on.shape[1]
    out = on.repeat_interleave(_BLOCK, 1)
    if bool((on[:, 1:] == on[:, :-1]).all()):
        return out
    score = 2 * (amplitude.conj() * seen).real - amplitude.abs().square()
    inner = slice(half, blocks * _BLOCK - half)
    total = score[:, inner].unflatten(1, (-1, _BLOCK)).cumsum(2)                # about each change
    total = torch.nn.functional.pad(total, (1, 0))
    begin, end = total.argmin(2, keepdim=True), total.argmax(2, keepdim=True)
    place = torch.arange(_BLOCK, device=seen.device)
    before, after = on[:, :-1, None], on[:, 1:, None]
    moved = torch.where(after, place >= begin, place < end)
    out[:, inner] = torch.where(before == after, before, moved).flatten(1)
    return out


def _likeliest(score: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest sequence, bool [batch, blocks], where a block that is on counts score [batch, blocks] nats and a change costs
    _CHANGE; its sum [batch, 1]. In plain numbers: hundreds of steps of a few sums each, which as tensors take ten times as long
    for one window."""
    found = [_path(row) for row in score.tolist()]
    on, best = (torch.tensor(column, device=score.device) for column in zip(*found))
    return on, best.to(score)[:, None]


def _path(score: list[float]) -> tuple[list[bool], float]:
    """See _likeliest: of one window."""
    off, on = 0.0, score[0]
    came: list[tuple[bool, bool]] = []          # whether the best way to off comes from on, and to on from off
    for gain in score[1:]:
        from_on, from_off = on - _CHANGE > off, off - _CHANGE > on
        came.append((from_on, from_off))
        off, on = on - _CHANGE if from_on else off, gain + (off - _CHANGE if from_off else on)
    state, out = on > off, [on > off]
    for from_on, from_off in reversed(came):
        state = not from_off if state else from_on
        out.append(state)
    return out[::-1], max(off, on)
