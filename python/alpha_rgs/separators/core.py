# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation and frames of carriers beside sources that are known by their denoisers alone.

The pair has an elimination of its own (joint.py), which is ten times as fast as the general one and has a search of decisions. So
both are detected in what the other sources leave, and these are denoised in what the pair leaves, in turn.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.base import Demodulated, Source, Structure
from .joint import joint
from .joint_general import Part, denoised, without

_ROUNDS = 3             # of the pair and the others; a fourth changes nothing
_PAIR = [Structure.CHAIN, Structure.FRAMES]


def pair_of(sources: Sequence[Source]) -> tuple[int, int] | None:
    """(linear modulation, frames of carriers), where these two are the only linear sources and their elimination takes them."""
    linear = [k for k, source in enumerate(sources) if source.linear]
    if sorted((sources[k].structure for k in linear), key=lambda s: s is Structure.FRAMES) != _PAIR:
        return None
    chain, frames = sorted(linear, key=lambda k: sources[k].structure is Structure.FRAMES)
    return None if sources[chain].alphabet_rotation or not sources[frames].decided else (chain, frames)


def by_elimination(y: Tensor, sources: Sequence[Source], parts: list[Part], gains: Sequence[Tensor], noise: Tensor) -> list[Part]:
    """The Parts of a general detection, where such a pair is among the sources: these two once more by the elimination of their
    own, whose list search makes a tenth of the errors in noise, in what the others leave."""
    pair = pair_of([source for source, part in zip(sources, parts) if part.demodulated is not None])
    if pair is None:
        return parts
    chain, frames = ([k for k, part in enumerate(parts) if part.demodulated is not None][place] for place in pair)
    moved = list(parts)
    moved[chain], found = _detected(y, sources, parts, gains, noise, (chain, frames), {})
    moved[frames] = Part(found.waveform, parts[frames].variance)
    return moved


def by_core(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise: Tensor, pair: tuple[int, int],
            last: bool) -> list[Part]:
    """The Parts of all sources, whose nuisances are known. last: with a thorough search of decisions at the end."""
    chain, frames = pair
    others = sorted((k for k in range(len(sources)) if k not in pair), key=lambda k: -float(gains[k].mean()))
    parts = [Part(torch.zeros_like(y), gain.square()) for gain in gains]
    rounds = _ROUNDS if others else 1
    for turn in range(rounds):
        for k in others:
            rest, level = without(y, parts, [k], noise)
            parts[k] = denoised(sources[k], rest, gains[k], level)
        end = turn == rounds - 1
        options = {"thorough": True} if end and last else {} if end else {"search": 0}
        parts[chain], parts[frames] = _detected(y, sources, parts, gains, noise, pair, options)
    return parts


def _detected(y: Tensor, sources: Sequence[Source], parts: Sequence[Part], gains: Sequence[Tensor], noise: Tensor,
              pair: tuple[int, int], options: dict[str, Any]) -> tuple[Part, Part]:
    """The Parts of the pair, in what the other parts leave. options: of joint."""
    chain, frames = pair
    rest, level = without(y, parts, pair, noise)
    wanted = replace(cast(Any, sources[chain]), gain=gains[chain])
    out = joint(rest, wanted, cast(Any, sources[frames]), gains[frames].float(), level.float(), **options)
    variance = 10 ** (-out.quality.double() / 10)
    soft = wanted.signal.alphabet.mean(out.symbols, 10 ** (-out.quality.clamp(-30, 90) / 10)[:, None])
    left = gains[chain].square() * (1 - soft.abs().square().mean(1).double()).clamp(1e-9, 1.0)
    rate = out.error_rate.double().clamp(0, 0.5)            # a wrong symbol bends the carriers, each of unit power
    first, count = wanted.centred_symbols(y.shape[1])
    at = wanted.timing_of(first)[:, None] + torch.arange(count) * wanted.symbol_period
    read = Demodulated(out.symbols, out.llrs, at.to(y.device).expand(len(y), -1))
    return (Part(out.soi, left, read, variance[:, None].expand(out.symbols.shape)),
            Part(out.interference, gains[frames].square() * rate + left))
