# SPDX-License-Identifier: GPL-3.0-or-later
"""GMSK as a linear modulation (Laurent, IEEE Trans. Commun. 34, 1986), modulation index 1/2.

With r_k = ±1 the product of all symbols up to k,
s(n) = Σ_k j^k·r_k·c0(n - kT) + j^(k-1)·r_k·r_(k-1)·r_(k-2)·c1(n - kT) + ...: the r_k are independent and equally likely. c0 holds
99.6 % of the power at bandwidth_time 0.3; c1, what the linear map leaves out, nearly all of the rest.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..inference.linear_model import EVERY, LinearModel, some
from ..signals import constellation
from ..signals.sampled import carried, sampled
from . import staggered
from .base import Noise, Number

if TYPE_CHECKING:
    from .cpm import Gmsk

_COMPLEX = torch.complex128


@lru_cache(maxsize=32)
def _missing(signal: Any) -> float:
    """Mean power of what c0 leaves out: 1 less its energy per symbol, over fractions of a sample."""
    steps = 16
    t = np.arange(math.ceil((signal.span + 1) * signal.samples_per_symbol * steps)) / steps
    return max(1 - float(np.sum(pulse(signal, t, 0) ** 2)) / steps / signal.samples_per_symbol, 0.0)


def pulse(signal: Any, t: np.ndarray, order: int) -> np.ndarray:
    """c0 or c1 (order 0, 1) at `t` samples after the symbol's frequency pulse begins, float64 of the shape of t."""
    t, period, span = np.asarray(t, float), signal.samples_per_symbol, signal.span

    def arc(u: np.ndarray) -> np.ndarray:
        turn = signal.phase_pulse(torch.as_tensor(np.where(u < span * period, u, u - span * period) - signal.half_length)).numpy()
        value = np.sin(np.pi / 2 * np.where(u < span * period, turn, 1 - turn))
        return np.where((u < 0) | (u > 2 * span * period), 0.0, value)

    out = arc(t)
    for i in range(1, span):
        out = out * arc(t + (i + span * (order == 1 and i == 1)) * period)
    length = (span + 1 if order == 0 else span - 1) * period
    return np.where((t < 0) | (t > length), 0.0, out)


@lru_cache(maxsize=32)
def train(signal: Any) -> staggered.Train:
    """c0, about its middle."""
    reach = (signal.span + 1) * signal.samples_per_symbol / 2
    return staggered.Train(signal.samples_per_symbol, reach, lambda t: pulse(signal, t + reach, 0))


def synchronize(source: Any, x: Tensor, noise: Noise | Number) -> tuple[Any, dict[str, Tensor]]:
    """(the source with timing, phase and carrier offset where they were None, what was found), see Source.synchronize.

    The unknown r of symbol `first` - 1 has the phase that the source states, and its c0 is centred half a symbol after that
    symbol's frequency pulse; the sign of all r is of no account, so the phase is known up to half a turn (symmetry 2).
    """
    period = source.signal.samples_per_symbol
    half = period / 2
    low = -source.signal.half_length - half             # of the centre of that c0, which moves by less than a symbol
    timing = source.timing
    if timing is not None:
        timing = torch.as_tensor(timing, dtype=torch.float64).reshape(-1) + half + (source.first() - 1) * period
    found = staggered.synchronize(x, noise, train(source.signal), staggered.Asked.of(
        len(x), timing, source.phase, source.carrier_offset, low, 4 if source.symmetry > 2 else 2))
    values: dict[str, Any] = {"phase": found.phase, "carrier_offset": found.carrier_offset}
    if timing is None:
        values["timing"] = (found.timing - half) % period
        first = replace(source, timing=values["timing"]).first()
        later = torch.round((values["timing"] + half + (first - 1) * period - found.timing) / period)
        values["phase"] = found.phase + torch.pi / 2 * later
    known = source.phase is not None and source.symmetry <= 2
    values["phase"] = source.phase if known else values["phase"] % torch.pi
    out = {name: value for name, value in values.items() if getattr(source, name) is None}
    return replace(source, **{**out, "phase": values["phase"]}, symmetry=source.symmetry if known else 2), out


def linear_model(source: Gmsk, shape: Sequence[int]) -> LinearModel:
    """The LinearModel of a GMSK source, see Source.linear_model. Its unknowns are the r_k; it decodes the symbols themselves."""
    signal, samples = source.signal, shape[1]
    period = signal.samples_per_symbol
    first = source.first() - 1                          # one symbol before: its c0 still reaches the window
    count = int((samples - 1) // period) + signal.span + 3
    number = first[:, None] + torch.arange(count)
    centre = torch.as_tensor(source.timing, dtype=torch.float64).reshape(-1, 1) + number * period
    begin = centre - signal.half_length
    phase = torch.as_tensor(source.phase, dtype=torch.float64).reshape(-1, 1)
    turn = torch.polar(torch.ones_like(begin), phase + torch.pi / 2 * (torch.arange(count) % 4))

    def columns(order: int, turn: Tensor) -> tuple[Tensor, Tensor]:
        start = torch.ceil(begin - 1e-9).long()
        width = math.ceil((signal.span + 1 if order == 0 else signal.span - 1) * period)
        wave = sampled(lambda t: pulse(signal, t, order), start - begin, width)
        return start, wave * (carried(source.carrier_offset, start, width) * turn[..., None])

    start, wave = columns(0, turn)

    def decode(mean: Tensor, var: Tensor, rows: slice = EVERY) -> tuple[Tensor, Tensor, Tensor]:
        """a_k = r_k·r_(k-1): its log-likelihood ratio from theirs; a_k = 1 is bit 1."""
        soft = torch.tanh(mean[..., 0] / var[..., 0])
        product = (soft[:, 1:] * soft[:, :-1]).clamp(-1 + 1e-12, 1 - 1e-12)
        at = some(centre, rows)[:, 1:].to(mean.device).expand(len(mean), -1)
        at = torch.where((at >= 0) & (at < samples), at, torch.nan)
        return product.to(torch.complex64), (-2 * torch.atanh(product))[..., None].float(), at

    alphabet: Any = constellation("bpsk")
    return LinearModel(start, wave, alphabet, torch.ones(len(start), count, dtype=torch.bool), decode,
                       missing=_missing(signal), remainder=_remainder(columns, turn, samples) if signal.span > 1 else None)


def _remainder(columns: Callable[..., Any], turn: Tensor, samples: int) -> Callable[..., Any]:
    """The second pulse's share, given the r_k's posterior means: products of three neighbours."""
    start, wave = columns(1, turn * -1j)
    where = start[..., None] + torch.arange(wave.shape[-1])
    inside = (where >= 0) & (where < samples)
    where = where.clamp(0, samples - 1)

    def remainder(posterior: Tensor, rows: slice = EVERY) -> Tensor:
        r = torch.nn.functional.pad(posterior[..., 0], (2, 0))
        product = r[:, 2:] * r[:, 1:-1] * r[:, :-2]
        own, place, there = (some(v, rows).to(r.device) for v in (wave, where, inside))
        parts = own * product[..., None] * there
        out = torch.zeros(len(r), samples, dtype=_COMPLEX, device=r.device)
        return out.scatter_add_(1, place.expand(len(r), -1, -1).flatten(1), parts.flatten(1))

    return remainder
