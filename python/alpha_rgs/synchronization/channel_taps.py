# SPDX-License-Identifier: GPL-3.0-or-later
"""A channel of the signal of interest by least squares, whatever noise model weighed them."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

TAP_POWER = 0.1         # expected of a tap, relative to the signal's: the band that the pulse leaves empty says nothing of them


def direct(soi: Any) -> Any:
    """The SOI without a channel, and with none to be estimated."""
    return replace(soi, signal=replace(soi.signal, channel=()), channel_length=None)


@dataclass(frozen=True)
class Taps:
    """Taps as received, complex128 [n]; their standard deviations [n]; how much likelier they make the samples, in nats; and the
    carrier offset found with them, cycles per sample."""

    values: Tensor
    spread: Tensor
    nats: float
    carrier_offset: float = 0.0


def fit_taps(gram: Tensor, right: Tensor, gain: Any, now: Tensor, most: float | None = None) -> Taps:
    """Taps about `now`, complex [n], of a signal of amplitude `gain`, each small a priori (TAP_POWER).

    gram: Re(JᴴJ)/noise_var, real [2n, 2n], J the waveforms of the taps' real parts, then of their imaginary parts; right:
    Re(Jᴴr)/noise_var, [2n], r what `now` leaves. most: with a last row for the carrier offset, which moves at most so far.
    """
    count, ridge = len(now), 1 / (TAP_POWER * float(gain) ** 2)
    small = torch.full((2 * count,), ridge, dtype=gram.dtype)
    pull = torch.cat([now.real, now.imag]) * ridge
    if most is not None:
        small, pull = (torch.cat([v, v.new_tensor([end])]) for v, end in ((small, 1 / most ** 2), (pull, 0.0)))
    bent, first = gram + torch.diag(small), right - pull
    step = torch.linalg.solve(bent, first)
    deviations = torch.linalg.inv(2 * bent).diagonal()
    spread = (deviations[:count] + deviations[count:2 * count]).sqrt()
    moved = 0.0 if most is None else float(step[-1].clamp(-most, most))
    return Taps(now + torch.complex(step[:count], step[count:2 * count]), spread, float(first @ step), moved)


def received(soi: Any, taps: Tensor, delay: int, reference: Tensor) -> dict[str, Any]:
    """Timing, phase (relative to what it was about) and gain of the SOI, name -> number or tensor, where its `taps` begin `delay`
    samples past its own and are relative to `reference`."""
    timing = soi.timing + delay
    return {"timing": timing % soi.signal.samples_per_symbol if soi.symbols is None else timing,
            "phase": float(torch.angle(reference)), "gain": direct(soi).signal.gain_through(taps)}


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
