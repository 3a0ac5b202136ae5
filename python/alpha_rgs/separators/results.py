# SPDX-License-Identifier: GPL-3.0-or-later
"""What was separated, in the terms of a Separation: an Estimate for each source, and the first of them against all others."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..sources.base import Demodulated, Source, State, Structure
from .base import Separation, with_quadrature
from .estimate import Estimate
from .joint_general import Part


def result(y: Tensor, sources: list[Source], parts: Sequence[Part], gains: list[Tensor], noise: Tensor, name: str, given: Any,
           noise_estimated: bool) -> Separation:
    """The Separation of Parts, one for each source, with the gains and the noise [batch] with which they were detected; given:
    the gains that were told, or None."""
    total = sum(part.waveform for part in parts)
    left = sum(part.variance for part in parts)
    estimates = []
    for source, part, gain in zip(sources, parts, gains):
        cleaned = y - (total - part.waveform)
        read = part.demodulated or demodulated(source, cleaned, gain, noise + left - part.variance)
        power = part.waveform.abs().square().mean(1).double() if source.own_levels else gain.square()
        sinr = 10 * torch.log10(power.clamp_min(1e-12 * gain.square()) / part.variance.clamp_min(1e-12 * gain.square())).float()
        state = replace(source.state, gain=gain)
        estimates.append(estimate_of(source, part.waveform, cleaned, sinr, read, state))
    rest = torch.stack([g.square() for g in gains[1:]]).sum(0)
    found = {f"gain_{k + 1}": gain for k, (gain, known) in enumerate(zip(gains, given)) if known is None}
    if noise_estimated:
        found["noise_var"] = noise.float()
    return separation(y, estimates, rest.sqrt(), noise, name, found)


def demodulated(source: Source, cleaned: Tensor, gain: Tensor, noise: Tensor) -> Demodulated | None:
    """The symbols of a source in what the others leave, [batch, samples]; None where it has none. gain, noise: [batch]."""
    reader = source.demodulator()
    return None if reader is None else reader(cleaned / gain[:, None].float(), noise / gain.square())


def estimate_of(source: Source, waveform: Tensor, cleaned: Tensor, sinr: Tensor, read: Demodulated | None,
                state: State) -> Estimate:
    """The Estimate of a source whose nuisances are known."""
    reader = source.demodulator()
    settled = reader is not None and (not reader.coherent or reader.ambiguity == 1 or source.state.phase is not None)
    decided = read is not None and settled
    symbols, llrs, at = (None, None, None) if read is None else _centred(read, source)
    ambiguous = reader is not None and reader.coherent and reader.ambiguity > 1
    out = Estimate(waveform, cleaned, sinr, state, State(), symbols, llrs, at, decided, ambiguous)
    return out if state.gain is None else with_quadrature(out, source, cleaned - waveform, torch.as_tensor(state.gain))


def _centred(read: Demodulated, source: Source) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols, LLRs and positions; of a linear modulation without symbols that are centred outside the window."""
    there = ~read.at.isnan()
    count = there.sum(1)
    if source.structure is not Structure.CHAIN or bool((count != count[0]).any()):
        return read.symbols, read.llrs, read.at
    batch, kept = len(there), int(count[0])
    return (read.symbols[there].view(batch, kept), read.llrs[there].view(batch, kept, read.llrs.shape[-1]),
            read.at[there].view(batch, kept))


def regrouped(y: Tensor, sources: Sequence[Source], sizes: Sequence[int], out: Separation) -> Separation:
    """The Separation of sources of which some were taken apart, `sizes` parts each."""
    estimates, rest = [], list(out.sources)
    for size in sizes:
        own, rest = rest[:size], rest[size:]
        estimates.append(own[0] if size == 1 else _together(own))
    gains = [torch.as_tensor(e.state.gain, dtype=torch.float64, device=y.device).reshape(-1).expand(len(y)) for e in estimates]
    found = {name: value for name, value in out.estimated.items() if not name.startswith("gain_")}
    found |= {f"gain_{k + 1}": gain for k, (gain, source) in enumerate(zip(gains, sources)) if source.state.gain is None}
    others = torch.stack(gains[1:]).square().sum(0).sqrt()
    return separation(y, estimates, others, out.noise_var, out.method, found)


def _together(parts: Sequence[Estimate]) -> Estimate:
    """The Estimate of a sum."""
    waveform = sum((e.waveform for e in parts[1:]), parts[0].waveform)
    powers = [torch.as_tensor(e.state.gain, dtype=torch.float64, device=waveform.device).reshape(-1).square() for e in parts]
    error = sum((p * 10 ** (-e.sinr_db.double() / 10) for p, e in zip(powers, parts)), torch.zeros(1, device=waveform.device))
    power = sum(powers, torch.zeros_like(error))
    return Estimate(waveform, parts[0].cleaned + (waveform - parts[0].waveform), (10 * torch.log10(power / error)).float(),
                    State(gain=power.sqrt()))


def separation(y: Tensor, estimates: list[Estimate], rest: Tensor, noise: Tensor, name: str, found: dict) -> Separation:
    """A Separation in the terms of its first source and the sum of all others."""
    first, batch = estimates[0], len(y)
    others = sum((e.waveform for e in estimates[1:]), torch.zeros_like(y))
    symbols = torch.zeros(batch, 0, dtype=torch.complex64, device=y.device) if first.symbols is None else first.symbols
    llrs = torch.zeros(batch, 0, 0, device=y.device) if first.llrs is None else first.llrs
    return Separation(first.waveform, others, symbols, llrs, first.quality.float(), 0, rest.float(), noise.float(), name, found,
                      estimates)


def pair_estimates(y: Tensor, sources: Sequence[Source], out: Separation) -> list[Estimate]:
    """The Estimates of a linear modulation and of what it was separated from, whose symbols nobody asked for."""
    states = [resolved(source, out.estimated, role).state for source, role in zip(sources, ("", "interference_"))]
    first = Estimate(out.soi, y - out.interference, out.quality, states[0], State(), out.symbols, out.llrs,
                     symbol_sinr_db=out.quality)
    error = (y - out.soi - out.interference).abs().square().mean(1)
    sinr = 20 * torch.log10(out.kappa.clamp_min(1e-9)) - 10 * torch.log10(error.clamp_min(1e-18))
    return [first, Estimate(out.interference, y - out.soi, sinr, replace(states[1], gain=out.kappa))]


def chain_estimate(y: Tensor, wanted: Any, out: Separation, gain: Tensor) -> Estimate:
    """The Estimate of a linear modulation that its own method separated; gain: [batch]."""
    first, count = wanted.centred_symbols(y.shape[1])
    at = wanted.timing_of(first)[:, None] + torch.arange(count) * wanted.symbol_period
    soft = wanted.signal.alphabet.mean(out.symbols, 10 ** (-out.quality.clamp(-30, 90) / 10)[:, None])
    sinr = -10 * torch.log10((1 - soft.abs().square().mean(1)).clamp(1e-9, 1.0)) if count else torch.zeros(len(y))
    estimate = estimate_of(wanted, out.soi, y - out.interference, sinr.float(),
                         Demodulated(out.symbols, out.llrs, at.to(y.device).expand(len(y), -1)), wanted.state)
    deviations = {field: out.estimated.get(f"{own}_std") for field, own in wanted.state_names.items()}
    decided = estimate.decided and (not estimate.ambiguous or "phase" not in out.estimated)
    return replace(estimate, state_std=State(**deviations), decided=decided, symbol_sinr_db=out.quality)


def resolved(source: Source, estimated: dict[str, Any], role: str = "") -> Source:
    """The source with the nuisances that a Separation has estimated; role: the prefix under which they may be found. What nobody
    estimated keeps its default (carrier offset 0)."""
    values = {}
    for own in source.state_names.values():
        if own == "channel" or getattr(source, own) is not None:
            continue
        value = estimated.get(f"{role}{own}", estimated.get(own))
        if value is None and own == "carrier_offset":
            value = 0.0
        if value is not None:
            values[own] = value if not isinstance(value, np.ndarray) else torch.from_numpy(value)
    return replace(cast(Any, source), **values) if values else source


def on_grid(read: Demodulated, period: float, samples: int, timing: float) -> Demodulated:
    """The symbols of bursts in one window of a linear modulation in the places that its symbols have where it is always on, one
    of them centred on the sample `timing`; nothing is known of the others: LLR 0."""
    count = int(samples / period)
    there = torch.nonzero(~read.at[0].isnan())[:, 0]
    rows = torch.round((read.at[0, there] - timing % period) / period).long()
    inside = (rows >= 0) & (rows < count)
    rows, there = rows[inside], there[inside]
    symbols, llrs = read.symbols.new_zeros(1, count), read.llrs.new_zeros(1, count, read.llrs.shape[2])
    at = torch.full((1, count), torch.nan, dtype=read.at.dtype)
    symbols[:, rows], llrs[:, rows], at[:, rows] = read.symbols[:, there], read.llrs[:, there], read.at[:, there]
    return Demodulated(symbols, llrs, at)
