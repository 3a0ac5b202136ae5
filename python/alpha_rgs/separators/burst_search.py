# SPDX-License-Identifier: GPL-3.0-or-later
"""When a source is on: in what all others leave, or, where its band reaches beyond theirs, before anything is known of any."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..sources.base import Source
from ..synchronization.activity import stretches
from ..synchronization.powers import densities

LEAST = 4               # times a source's memory (samples of a symbol): shorter bursts are not found, shorter pauses not believed
_SHARE = 4              # of a frame: shorter gaps are not looked for, since carriers that happen to cancel leave such
_FAINT = 0.1            # of the power in gaps, that a burst has at least where the others are there too
_PAD = 64               # zeros beyond a window's ends, against the circle of the transform
Runs = list[tuple[int, int, float]]     # of each burst: first sample, one past the last, amplitude


def runs_of(rest: Tensor, source: Source) -> tuple[Runs, float] | None:
    """(a source's bursts in what all others leave, complex64 [samples]; power in the pauses); None where it does not pause, or
    there is nothing of it."""
    power, density = rest.abs().square().double().cpu().numpy(), np.asarray(source.psd(len(rest)))
    found = stretches(power, float(np.mean(density ** 2)), LEAST * source.memory)
    return _levelled(power, found, 1.0) if found else None


def runs_beside(y: Tensor, source: Source, others: Sequence[tuple[Source, Tensor]], noise: Tensor) -> Runs | None:
    """Bursts of a source with frames in one window y, complex64 [1, samples], beside others and their gains [1]; None where it
    shows no gap. Frequencies are weighed by what the others and noise have there, wherever an unknown carrier may be."""
    samples = y.shape[1] + 2 * _PAD
    disturbing = torch.full((samples,), float(noise), dtype=torch.float64)
    for other, gain in others:
        disturbing += float(gain) ** 2 * _anywhere(other, samples)
    x = torch.nn.functional.pad(y[0].to(torch.complex128), (_PAD, _PAD))
    white = torch.fft.ifft(torch.fft.fft(x) / disturbing.sqrt())[_PAD:-_PAD]
    density = densities(source, 1, samples)[0] / disturbing
    correlated = float(density.square().mean() / density.mean().square())
    found = stretches(white.abs().square().numpy(), correlated, max(1, source.frame_period // _SHARE))
    return _levelled(y[0].abs().square().double().numpy(), found, _FAINT)[0] if found else None


def _levelled(power: np.ndarray, found: Sequence[tuple[int, int]], least: float) -> tuple[Runs, float]:
    """(bursts with their amplitudes; power in the gaps, of which theirs is taken to be `least` times as much at least)."""
    off = np.ones(len(power), bool)
    for begin, end in found:
        off[begin:end] = False
    level = float(power[off].mean())
    return [(begin, end, max(float(power[begin:end].mean()) - level, least * level) ** 0.5) for begin, end in found], level


def _anywhere(source: Source, samples: int) -> Tensor:
    """Power density of a source, float64 [samples], the greatest that each frequency may hold where its carrier is unknown."""
    density = densities(source, 1, samples)[0]
    if "carrier_offset" not in source.unknown:
        return density
    reach = math.ceil(source.carrier_reach * samples)
    padded = torch.nn.functional.pad(density[None, None], (reach, reach), mode="circular")
    return torch.nn.functional.max_pool1d(padded, 2 * reach + 1, 1)[0, 0]
