# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of soft symbols that are no Gaussian noise: an unlisted signal of constant envelope errs by as much as it is strong, and
never by more. Gaussian errors of that power would cross the decision thresholds, and a window without a wrong bit would be told
to have many."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..signals.constellations import Constellation

_SHAPES = (3.0, 4.0, 6.0, 10.0)                 # of densities as exp(-|e|^shape), bounded rather, that are tried
_SCALES = torch.arange(-9.0, 9.1, 0.75)         # dB: factors on the variance that are tried
# log likelihood ratio from which errors are not Gaussian: of windows of 128 symbols with Gaussian errors chance brings none of
# 10 000 there
_EVIDENCE = 7.0
_MOST = 1e30                                    # of a distance in single precision
_DOUBTED = 1e-3                                 # share of wrong bits below which the shape decides nothing


def shaped(alphabet: Constellation, symbols: Tensor, var: Tensor, llrs: Tensor, read: Tensor | None = None) -> Tensor:
    """llrs [batch, n, bits], which take the errors of soft symbols, complex [batch, n], of variance var [batch, n], for Gaussian;
    of windows whose errors are bounded, which another density fits much better, those of that density instead. read: which
    symbols matter, bool [batch, n]; None for all."""
    if not symbols.shape[1]:
        return llrs
    doubts = torch.sigmoid(-llrs.abs()).mean(2)
    share = doubts.mean(1) if read is None else (doubts * read).sum(1) / read.sum(1).clamp_min(1)
    rows = torch.nonzero(share > _DOUBTED)[:, 0]
    if not len(rows):
        return llrs
    symbols, var = symbols[rows], var[rows]
    distance = (symbols[..., None] - alphabet.points.to(symbols.device)).abs().square() / var[..., None]
    gaussian, _ = _fitting(distance, 2.0)
    best, factor, shape = gaussian + _EVIDENCE, torch.ones_like(gaussian), torch.full_like(gaussian, 2.0)
    for each in _SHAPES:
        score, scale = _fitting(distance, each)
        better = score > best
        best, factor = torch.where(better, score, best), torch.where(better, scale, factor)
        shape[better] = each
    other = shape != 2
    if not bool(other.any()):
        return llrs
    out = llrs.clone()
    out[rows[other]] = alphabet.llrs(symbols[other], var[other] * factor[other, None], shape[other, None]).to(llrs)
    return out


def log_likelihood(alphabet: Constellation, symbols: Tensor, bounded: bool = True) -> float:
    """Of soft symbols, complex [n], each a point of the alphabet and an error, of the scale and shape that fit best. bounded:
    whether errors may be other than Gaussian."""
    distance = (symbols[:, None] - alphabet.points.to(symbols.device)).abs().square()
    scatter = distance.amin(1).mean().clamp_min(1e-12)
    best = max(float(_fitting(distance[None] / scatter, shape)[0]) for shape in ((2.0, *_SHAPES) if bounded else (2.0,)))
    return best - len(symbols) * (math.log(len(alphabet.points)) + math.log(float(scatter)))


def _fitting(distance: Tensor, shape: float) -> tuple[Tensor, Tensor]:
    """(log likelihood [batch], factor on the variance [batch]) of the best density of that shape; distance: squared, from each
    point over the variance [batch, n, points]."""
    steps = 10 ** (_SCALES / 10)
    norm = math.log(shape / 2) - math.lgamma(2 / shape)         # of the plane: 1 for Gaussian errors
    power = (distance ** (shape / 2)).clamp_max(_MOST).movedim(-1, 0).contiguous()     # a point's values side by side are quicker
    least, strength = power.amin(0), steps ** (-shape / 2)
    power -= least
    part, score = torch.empty_like(power), torch.empty(len(steps), least.shape[0])
    for k, c in enumerate(strength.tolist()):
        score[k] = torch.mul(power, -c, out=part).exp_().sum(0).log_().sub_(least, alpha=c).sum(1)
    score += distance.shape[1] * (norm - steps.log())[:, None]
    top, at = score.max(0)
    return top, steps[at]
