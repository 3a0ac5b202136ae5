# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols and interference by turns, where the interference is a few numbers for a whole window (tones).

Such an interference is seen by thousands of samples, so what symbols leave hardly moves it, and what it leaves in each symbol is
small: each in turn is estimated in what the other leaves, symbols by their posterior means. The turns close in on one solution
within a few.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..sources.base import Source
from ..sources.linear_modulation import LinearModulation
from .newton import Pulses

_TURNS = 16         # at most; most windows need three to six
_LEAST = 1e-4       # variance of a symbol's error


def alternating(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
                callback: Callable[..., None] | None = None) -> tuple[Tensor, Tensor, Tensor, int]:
    """y: complex64 [batch, samples], in units of the SOI's gain, as are kappa and noise_var [batch, 1].

    Returns (soft symbols [batch, n], the variance of their errors [batch, 1], s [batch, samples], evaluations).
    """
    source, alphabet = Pulses(soi, y), soi.signal.alphabet
    level = (noise_var / kappa.square())[:, 0]
    other = kappa * interference.denoise(y / kappa, level + (1 / kappa.square())[:, 0])
    mean, s = torch.zeros_like(source.matched_filter(y)), torch.zeros_like(y)
    decided = source.inside(torch.full_like(mean, torch.inf))
    for turn in range(_TURNS):
        a = mean + source.matched_filter(y - s - other)         # what a symbol's neighbours leave in it is taken away
        points = alphabet.nearest(source.inside(a))
        var = torch.maximum((source.inside(a) - points).abs().square().mean(1, keepdim=True), noise_var / source.whole)
        mean = source.means(a, (var * source.whole / source.energy).clamp_min(_LEAST))
        s = source.modulate(mean)
        if bool((points == decided).all()):
            break
        decided = points
        other = kappa * interference.denoise((y - s) / kappa, level)
        if callback:
            callback(turn, source.inside(a), float(level.mean()))
    return source.inside(a), var.clamp_min(_LEAST), s, turn + 1
