# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols that share noise, decided together: the M-algorithm over a triangular model."""
from collections.abc import Sequence

import torch
from torch import Tensor


def list_mean(z: Tensor, factor: Tensor, points: Tensor | Sequence[Tensor | None], width: int,
              logs: Tensor | None = None) -> Tensor:
    """The mean of c under exp(-|z - R·c|² + |c|²)·Π share(c), over the `width` best decisions that a tree search finds.

    z: complex64 [n, d]; factor: R, [n, d, d], upper triangular, RᴴR = J + I with J the precision of c that the samples give;
    points: complex64 [k], or those of each of d, None of one that is CN(0, 1); logs: of their probabilities, float32 [k], equal
    where left out. Returns complex64 [n, d].
    """
    d = z.shape[1]
    # entries from i on are decided, those before it what is left to explain
    state, metric = z[:, None], torch.zeros(len(z), 1, device=z.device)
    for i in range(d - 1, -1, -1):
        here = points if isinstance(points, Tensor) else points[i]
        if here is None:                    # what the decided ones leave, in the mean
            value = state[..., i] / factor[:, None, i, i]
            left = state[..., :i] - value[..., None] * factor[:, None, :i, i]
            state = torch.cat([left, value[..., None], state[..., i + 1:]], 2)
            continue
        own = here.abs().square() if logs is None else here.abs().square() + logs
        scaled = factor[:, i, i].real[:, None] * here
        cost = (state[:, :, i, None] - scaled[:, None]).abs().square() - own
        cost = (metric[..., None] + cost).flatten(1)
        metric, best = torch.topk(cost, min(width, cost.shape[1]), largest=False)
        value = here[best % len(here)]
        state = state.gather(1, (best // len(here))[..., None].expand(-1, -1, d))
        left = state[..., :i] - value[..., None] * factor[:, None, :i, i]
        state = torch.cat([left, value[..., None], state[..., i + 1:]], 2)
    return (torch.softmax(-metric, 1)[..., None] * state).sum(1)
