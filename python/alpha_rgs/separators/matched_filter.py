# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver that knows nothing of the interference."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..sources.base import Structure
from ..sources.linear_modulation import LinearModulation
from .base import Separation, require, soft_output


def matched_filter(y: Tensor, soi: LinearModulation, interference: Any, kappa: Tensor, noise_var: Tensor,
                   callback: Callable[..., Any] | None = None) -> Separation:
    """Filter with the SOI's pulse, decide, modulate. The interference is what remains."""
    require(soi, Structure.CHAIN, "signal of interest", "matched_filter")
    gain = torch.as_tensor(soi.gain, dtype=torch.float32).reshape(-1, 1)
    symbols = soi.matched_filter(y, gain.to(y))
    # white as seen through the filter, which a spectrum flat over the SOI's band makes true enough
    var = (kappa.square() + noise_var)[:, None] / gain.square() / soi.signal.samples_per_symbol
    soft = soi.signal.alphabet.mean(symbols, var)
    s = gain.to(y) * soi.modulate(soft, y.shape[1])
    return soft_output(soi, symbols, var, soi=s, interference=y - s, evaluations=0, kappa=kappa, noise_var=noise_var)
