# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of sources that are known by their denoisers alone.

Cancelled one by the other, such sources settle on decisions that fit each other. So their denoisers are asked which other
waveforms they can have near those decided (inference/moves.py). That makes a linear model of each, and all are detected together
as if their structure were known (joint_general.py): the moves are the unknowns. The detected waveforms are probed again until
nothing changes.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..inference.linear_model import LinearModel
from ..inference.moves import Denoise, block_model, block_moves, local_model, local_moves
from ..sources.base import Demodulated, Source
from .joint_general import Part, denoised, joint_general, without

ROUNDS = 3              # of probing; networks of GMSK and OFDM need two
LEVELS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)   # noise variances, relative to the source's power, at which it may decide
_DECIDES = 2e-3         # power (-27 dB) that a denoiser leaves of such noise where it decides; cut frames of OFDM leave 8e-4
_NONLINEAR = 0.1        # and of what the best linear filter leaves: Gaussian sources leave all of that
_CHANGED = 2e-3         # of a waveform's power: less than one bit in a window, and more than a network wavers
_OCCUPIED = 0.99        # share of the power within the occupied bandwidth (ITU-R SM.328)
_BINS = 512


def by_denoisers(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor, linear: bool = True,
                 callback: Callable[..., Any] | None = None, **options: Any) -> list[Part]:
    """As joint_general, and once more with the linear models that probing gives those sources that have none, or all where
    `linear`
    is False. Sources that do not decide (Gaussian ones, unknown constellations) stay as they are."""
    parts = joint_general(y, sources, gains, noise_var, linear, callback=callback, **options)
    models: list[LinearModel | None] = [source.linear_model(y.shape) if linear else None for source in sources]
    open_ = [k for k, model in enumerate(models) if model is None]
    if not open_:
        return parts
    before, misfit, kept = dict[int, Decided](), torch.zeros(0), parts
    for turn in range(ROUNDS + 1):
        found, left = _all_decided(y, sources, gains, noise_var, parts, open_)
        if turn:
            parts = [_rows(left <= misfit, new, old) for new, old in zip(parts, kept)]
        if not found or turn == ROUNDS or turn and not _changed(before, found):
            break
        before, misfit, kept = found, left if turn == 0 else torch.minimum(left, misfit), parts
        parts = _jointly(y, sources, gains, noise_var, models, found, callback=callback, **options)
    return parts


def _jointly(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor,
             models: Sequence[LinearModel | None], found: dict[int, Decided], **options: Any) -> list[Part]:
    """The Parts of joint detection with what the moves about decided waveforms add to the linear models."""
    probed = {k: model for k, it in found.items() if (model := _model(sources[k], it, _others(sources, gains, k))) is not None}
    base = {k: gains[k][:, None].float() * (found[k].wave - _wave(model, y.shape[1])) for k, model in probed.items()}
    parts = joint_general(y - sum(base.values(), torch.zeros_like(y)), sources, gains, noise_var,
                          models=[probed.get(k, model) for k, model in enumerate(models)], **options)
    for k, wave in base.items():
        parts[k].waveform = parts[k].waveform + wave
    return parts


def _rows(first: Tensor, a: Part, b: Part) -> Part:
    """Per window a Part's, where `first` [batch], else b's."""
    def pick(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return None
        if isinstance(one, Demodulated):
            return Demodulated(*(pick(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)))
        return torch.where(first.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    return Part(*(pick(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)))


@dataclass(frozen=True)
class Decided:
    """A possible waveform of a source, of unit mean power, complex64 [batch, samples]; and the denoiser that found it, which
    takes
    these windows several times over too."""

    wave: Tensor
    denoise: Denoise


def _all_decided(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor, parts: Sequence[Part],
                 which: Sequence[int]) -> tuple[dict[int, Decided], Tensor]:
    """Of those sources that decide, the weakest first, each in what the others leave; and mean power that all leave [batch]."""
    parts, found = list(parts), {}
    for k in sorted(which, key=lambda k: float(gains[k].mean())):
        rest, level = without(y, parts, [k], noise_var)
        scale = gains[k][:, None].float()
        own = _decided(sources[k], rest / scale, level / gains[k].square())
        if own is not None:
            found[k] = own
            parts[k] = Part(scale * own.wave, torch.zeros_like(parts[k].variance))
    rest = y - sum((part.waveform for part in parts), torch.zeros_like(y))
    return found, rest.abs().square().mean(1)


def _others(sources: Sequence[Source], gains: Sequence[Tensor], number: int) -> np.ndarray:
    """Power spectral density of all sources but one, of those that give one: float64 [_BINS]."""
    total = np.zeros(_BINS)
    for k, (source, gain) in enumerate(zip(sources, gains)):
        if k != number and (density := _density(source)) is not None:
            total = total + float(gain.square().mean()) * density
    return total


def _decided(source: Source, x: Tensor, level: Tensor) -> Decided | None:
    """A possible waveform near x [batch, samples], x being the source plus noise of variance level [batch], and the denoiser that
    found it, at the highest level at which it returns to that waveform from noise. None where it does at none: nothing is decided
    then, as with Gaussian sources."""
    density = _density(source)
    if density is None:
        return None
    start = denoised(source, x, torch.ones_like(level), level).waveform
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, dtype=torch.complex64, generator=generator).to(x.device)
    for v in LEVELS:
        def denoise(s: Tensor, v: float = v) -> Tensor:         # twice: what is half-way the first time has decided the second
            own = source if len(s) == len(x) else source.select(torch.arange(len(x)).repeat(len(s) // len(x)))
            return own.denoise(own.denoise(s, v), v)

        wave = denoise(start)
        left = (source.denoise(wave + v ** 0.5 * noise, v) - wave).abs().square().mean(1)
        linear = float(np.mean(density * v / (density + v)))
        if float(left.median()) < min(_DECIDES, _NONLINEAR * linear):
            return Decided(wave, denoise)
    return None


def _model(source: Source, decided: Decided, others: np.ndarray) -> LinearModel | None:
    """The LinearModel of the moves about a waveform; None where there are none, or where nothing is known to find them by.
    others:
    power spectral density of the other sources, float64 [_BINS]."""
    wave, denoise = decided.wave, decided.denoise
    blocks, density = source.blocks(wave.shape), _density(source)
    if blocks is not None and others.any():
        bins = 4 * blocks.length
        band = np.interp(np.arange(bins) / bins, np.arange(_BINS + 1) / _BINS, np.append(others, others[0])) / others.max()
        tones = math.ceil(blocks.length * occupied_bandwidth(others))
        model = block_model(block_moves(denoise, wave, blocks, torch.tensor(band, dtype=torch.float32), tones), blocks)
    elif density is not None:
        model = local_model(local_moves(denoise, wave, 1 / occupied_bandwidth(density)))
    else:
        return None
    return model if bool(model.exists.any()) else None


def occupied_bandwidth(density: np.ndarray) -> float:
    """The least share of the sample rate that holds 99 % of the power (ITU-R SM.328 counts from the edges instead): density:
    float64
    [bins], not negative."""
    share = np.cumsum(np.sort(density)[::-1]) / density.sum()
    return (1 + int(np.searchsorted(share, _OCCUPIED))) / len(density)


def _density(source: Source) -> np.ndarray | None:
    try:
        return source.psd(_BINS)
    except CapabilityError:
        return None


def _wave(model: LinearModel, samples: int) -> Tensor:
    """The model's waveform where every unknown is 1, complex64 [batch, samples]."""
    n = model.start[..., None] + torch.arange(model.width, device=model.columns.device)
    inside = (n >= 0) & (n < samples) & model.exists[..., None]
    out = torch.zeros(len(n), samples, dtype=model.columns.dtype, device=n.device)
    return out.scatter_add_(1, n.clamp(0, samples - 1).flatten(1), (model.columns * inside).flatten(1)).to(torch.complex64)


def _changed(before: dict[int, Decided], after: dict[int, Decided]) -> bool:
    """Whether a window of a source differs by more than a network wavers."""
    return before.keys() != after.keys() or any(
        bool(((it.wave - before[k].wave).abs().square().mean(1) > _CHANGED).any()) for k, it in after.items())
