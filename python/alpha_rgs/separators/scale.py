# SPDX-License-Identifier: GPL-3.0-or-later
"""One scaling at the door: a recording's absolute level means nothing, so what follows may rely on amplitudes about 1."""
from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..sources.base import Number, Source, State
from .base import Separation

_QUIET, _LOUD = 0.25, 64.0      # root mean square amplitudes between which a mixture is left as it is
_APART = 1e6        # of power: a window that much stronger than most (a crash, a switch) does not set the scale for them
_AMPLITUDES = ("gain", "kappa", "dc")
_POWERS = ("noise_var",)


def scale_of(y: Tensor) -> float:
    """A power of two by which to divide y, complex [batch, samples], so that its samples are about 1; 1.0 where they are. A power
    of two changes no mantissa: the result is the same to the last bit, wherever no threshold is met."""
    power = y.abs().double().square().mean(1) if y.numel() else torch.zeros(1)
    usual = power[power <= _APART * power[power > 0].median()] if bool((power > 0).any()) else power
    rms = float(usual.mean().sqrt())
    if not 0 < rms < math.inf or _QUIET <= rms <= _LOUD:
        return 1.0
    return 2.0 ** math.floor(math.log2(rms))


def scaled(y: Tensor, sources: list[Source], kappa: Number | None, noise_var: Number | None, scale: float) -> tuple[Any, ...]:
    """Mixture, sources, amplitude of the interference and noise variance in samples divided by `scale`."""
    if scale == 1:
        return y, sources, kappa, noise_var
    return ((y.to(torch.complex128) / scale).to(y.dtype), [source.scaled(1 / scale) for source in sources],
            None if kappa is None else kappa / scale, None if noise_var is None else noise_var / scale ** 2)


def rescaled(out: Separation, scale: float) -> Separation:
    """A Separation in the mixture's own units again."""
    if scale == 1:
        return out

    def own(name: str, value: Any) -> Any:
        stem = name.removesuffix("_std").rstrip("0123456789").rstrip("_")
        return value * scale if stem in _AMPLITUDES else _power(value, scale) if stem in _POWERS else value

    estimated = {name: own(name, value) for name, value in out.estimated.items()}
    sources = [replace(e, waveform=e.waveform * scale, cleaned=e.cleaned * scale, state=_amplified(e.state, scale),
                       state_std=_amplified(e.state_std, scale)) for e in out.sources]
    return replace(out, soi=out.soi * scale, interference=out.interference * scale, kappa=out.kappa * scale,
                   noise_var=_power(out.noise_var, scale), estimated=estimated, sources=sources)


def _power(value: Tensor, scale: float) -> Tensor:
    """In double precision: in single precision the square of 1e-23 is 0."""
    return value.double() * scale ** 2


def _amplified(state: State, scale: float) -> State:
    return state if state.gain is None else replace(state, gain=state.gain * scale)
