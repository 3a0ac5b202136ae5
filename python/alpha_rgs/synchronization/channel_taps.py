# SPDX-License-Identifier: GPL-3.0-or-later
"""A channel of the signal of interest from least squares, whatever noise model weighed them: what all fits share."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

TAP_POWER = 0.1         # expected of a tap, relative to the signal's: the band that the pulse leaves empty says nothing of them


def direct(soi: Any) -> Any:
    """The SOI without a channel, and with none to be estimated."""
    return replace(soi, signal=replace(soi.signal, channel=()), channel_length=None)


def ridge(soi: Any) -> float:
    """What the expected power of a tap adds to the diagonal of the normal equations of taps as received."""
    return 1 / (TAP_POWER * float(soi.gain) ** 2)


def absent(soi: Any, length: int) -> Any:
    """The SOI where nothing was received: one tap of `length`."""
    return through(soi, torch.tensor([1.0, *[0.0] * (length - 1)]), torch.ones(()))


def through(soi: Any, taps: Tensor, reference: Tensor) -> Any:
    """The SOI whose channel are these taps, complex [n], relative to `reference` (the strongest, or its amplitude)."""
    sent = direct(soi)
    return replace(sent, signal=replace(sent.signal, channel=tuple((taps / reference).tolist())))


def strongest(taps: Tensor) -> Tensor:
    """The tap of the largest amplitude, complex []."""
    return taps[taps.abs().argmax()]
