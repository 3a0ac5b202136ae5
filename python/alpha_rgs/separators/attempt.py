# SPDX-License-Identifier: GPL-3.0-or-later
"""One separation of any number of sources: what they lack is found, and they are detected jointly (rounds.py), burst by burst
where some come and go (intermittent.py)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..sources.base import Source
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import estimate_powers
from .base import Separation
from .intermittent import separated
from .rounds import Rounds, relevelled
from .synchronizing import synchronized

_SILENT = 1e-9          # gain of nothing
Pair = Callable[..., Separation]


def attempt(y: Tensor, sources: Sequence[Source], name: str, noise_var: Any, options: dict, free: Sequence[str],
            pair: Pair | None, backwards: bool = False) -> Separation:
    """A Separation of windows y. name: joint or alpha_rgs; free: nuisances of the first source that are refined; pair: see
    several.separate_several; backwards: the weakest source is looked for first."""
    given = [source.state.gain for source in sources]
    gains, noise = initial_levels(y, sources, given, noise_var)
    unknown = [k for k, g in enumerate(given) if g is None and not sources[k].finds_level]
    with torch.inference_mode():
        sync = synchronized(y, sources, gains, noise, pair=pair, backwards=backwards, free=unknown)
        gains, noise = relevelled(y, sync, sync.gains, noise, given, noise_var)
        return separated(Rounds(y, sources, sync, gains, noise, noise_var, name, options, free))


def initial_levels(y: Tensor, sources: Sequence[Source], given: Sequence[Any], noise_var: Any) -> tuple[list[Tensor], Tensor]:
    """Gains [batch] of each source, and the noise variance [batch], estimated where None by their power spectral densities."""
    each: list[Any] = [None if v is None else torch.as_tensor(v, dtype=torch.float64).reshape(-1).expand(len(y))
            for v in (*given, noise_var)]
    rest, dense = y, list(range(len(sources)))
    for k, source in enumerate(sources):        # a flat density passes for noise; lines stand out
        if each[k] is None and (lines := source.lines(y)) is not None:
            each[k], rest = lines[1].cpu().double().clamp_min(1e-12).sqrt(), rest - lines[0]
            dense.remove(k)
    if any(v is None for v in each):
        known = [None if each[k] is None else each[k].square() for k in dense]
        powers = estimate_powers(rest, [sources[k] for k in dense], known, each[-1])
        least = [*powers[:-1], *(each[k].square() for k in range(len(sources)) if k not in dense)]
        floor = NOISE_FLOOR * torch.stack(least).amin(0)
        for k, power in zip(dense, powers):
            each[k] = power.sqrt() if each[k] is None else each[k]
        each[-1] = torch.maximum(powers[-1], floor) if each[-1] is None else each[-1]
    # of a window of about unit power; a silent one has nothing to divide by
    return [v.to(y.device).clamp_min(_SILENT) for v in each[:-1]], each[-1].to(y.device).clamp_min(_SILENT ** 2)
