# SPDX-License-Identifier: GPL-3.0-or-later
"""separate(mixture, [source, source, ...]): any source in any place, two or more of them.

Gains and noise are estimated always, and so are the nuisances that a source lacks (synchronizing.py; a train of pulses beside one
other source by the search of such a pair, blind.py). With all of them known, sources are detected jointly (joint_general.py), by
the elimination of a pair where there is one (core.py), or by their denoisers alone (probing.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError, ParameterError
from ..sources.base import Demodulated, Number, Source, State, Structure
from ..sources.linear_modulation import NUISANCES
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import estimate_powers, regressed_gains
from .base import Separation, joined, mapped
from .bursts import levelled
from .core import by_core, by_elimination, pair_of
from .estimate import Estimate
from .joint_general import Part, joint_general
from .joint_keyed import by_keyed, keyed_pair
from .probing import by_denoisers
from .synchronizing import Synchronized, lacking, refined, synchronized

MOST = 6                # sources at once: memory and time grow with each, and their differences shrink
_GAIN_ROUNDS = 2        # separations by which gains that are not given are refined
_SEARCH_ROUNDS = 3      # and nuisances that had to be found
_LOOK = 10              # passes of each of these: half of what a result takes
_UNDECIDED = 6.0        # dB of a waveform's SINR below which a source of finitely many waveforms was not found
_MUCH, _ALIKE = 0.1, 6.0    # noise over the weakest source's power that is worth a second look, where powers differ by less
_BETTER = 0.9           # of what is left, at most, for a second look to replace a first
Pair = Callable[..., Separation]


def separate_several(y: Tensor, sources: Sequence[Source], method: str, noise_var: Any, pair: Pair, free: Sequence[str] = (),
                     **options: Any) -> Separation:
    """A Separation whose `sources` holds one Estimate per source, in order.

    y: complex64 [batch, samples]; sources as these windows see them. method: "auto", "joint" or "alpha_rgs" of any sources;
    other methods of a pair one of whose sources is a train of pulses. noise_var: per complex sample, a number, [batch] or None:
    estimated. pair(y, wanted, other, method, noise_var, **options): separates a train of pulses from one other source. options:
    go to the method. Raises ParameterError, CapabilityError.
    """
    check_count(sources)
    chains = [k for k, source in enumerate(sources) if source.structure is Structure.CHAIN]
    two = len(sources) == 2 and not (_lacking(sources) and any(_by_itself(source) for source in sources))
    if two and chains and (method not in ("auto", "joint") or _fast(sources, chains[0]) or _lacking(sources)):
        return _by_pair(y, sources, chains[0], method, noise_var, pair, {**options, "free": free} if free else options)
    groups = [source.parts for source in sources]
    if any(len(group) > 1 for group in groups):
        flat = [part for group in groups for part in group]
        return _regrouped(y, sources, [len(group) for group in groups],
                          separate_several(y, flat, method, noise_var, pair, free, **options))
    if method not in ("auto", "joint", "alpha_rgs"):
        raise CapabilityError(f"{method}: separates one linear-modulation from one other source; here the sources are "
                              f"{_names(sources)}; use joint, alpha_rgs or auto")
    for number, source in enumerate(sources, 1):
        if missing := lacking(source):
            raise CapabilityError(f"source {number} ({source.kind}): {missing[0]} is unknown, and no source of this kind "
                                  f"estimates it. Give {', '.join(missing)} in its file")
    name = _chosen(method, sources)
    return _known(y, sources, name, noise_var, options, free, pair)


def check_count(sources: Sequence[Any]) -> None:
    """Raises ParameterError unless 2 to MOST sources are given."""
    if not 2 <= len(sources) <= MOST:
        alone = "one source alone needs no separation, " if len(sources) == 1 else ""
        raise ParameterError(f"sources: {len(sources)} given; {alone}2 to {MOST} can be separated at once")


def _names(sources: Sequence[Source]) -> str:
    return " and ".join(f"{'learned ' if source.learned else ''}{source.kind}" for source in sources)


def _by_itself(source: Source) -> bool:
    """Whether a source is synchronized by itself also beside a train of pulses, and not by the search of such a pair: a sum, or
    one that finds its nuisances in noise of any density and then is detected jointly."""
    return len(source.parts) > 1 or source.own_levels or (source.structure is Structure.NONE and source.linear) or source.keyed


def _lacking(sources: Sequence[Source]) -> bool:
    return any(source.unknown for source in sources)


def _fast(sources: Sequence[Source], chain: int) -> bool:
    """Whether the pair has an elimination of its own."""
    other = sources[1 - chain]
    return other.structure is not Structure.NONE and not (other.learned and other.structure is not Structure.BURSTS)


def _chosen(method: str, sources: Sequence[Source]) -> str:
    """joint where at least one source has a linear model, alpha_rgs where denoisers are all there is."""
    linear = [source.linear for source in sources] if method != "alpha_rgs" else []
    if method == "joint" and not any(linear):
        raise CapabilityError(f"joint: none of the sources ({_names(sources)}) has a linear model; use alpha_rgs, or give the "
                              "TOML file of the structure of one")
    return "joint" if any(linear) else "alpha_rgs"


# ---- by synchronization and joint detection --------------------------------------------------------------------------------

def _known(y: Tensor, sources: Sequence[Source], name: str, noise_var: Any, options: dict, free: Sequence[str] = (),
           pair: Pair | None = None) -> Separation:
    """Sources whose nuisances are known, or are found first. free: nuisances of the first source that are refined. pair: see
    separate_several. Windows in which a source that was looked for stays undecided are looked through once more in the opposite
    order: where spectra are alike, they do not tell which source is the stronger one."""
    out = _attempt(y, sources, name, noise_var, options, free, pair)
    rows = _doubtful(out, sources)
    if not len(rows):
        return out
    some = noise_var[rows] if torch.is_tensor(noise_var) and noise_var.numel() > 1 else noise_var
    other = _attempt(y[rows], [source.select(rows) for source in sources], name, some, options, free, pair, backwards=True)
    ones, twos = (mapped(v, lambda t: t.unsqueeze(1)) for v in (out, other))
    better = _left(y[rows], other) < _BETTER * _left(y[rows], mapped(out, lambda t: t[rows]))
    place = {int(row): k for k, row in enumerate(rows.tolist()) if bool(better[k])}
    return joined([mapped(twos, lambda t, k=place[row]: t[k]) if row in place else mapped(ones, lambda t, k=row: t[k])
                   for row in range(len(y))]) if place else out


def _doubtful(out: Separation, sources: Sequence[Source]) -> Tensor:
    """Windows, int64 [n], in which linear sources that were looked for are undecided, or leave much of two of like power."""
    sought = [e for e, s in zip(out.sources, sources) if s.linear and s.decided and s.unknown]
    if len(sought) < 2:
        return torch.zeros(0, dtype=torch.int64)
    powers = torch.stack([torch.as_tensor(e.state.gain).double().square() for e in sought])
    weakest, strongest = powers.amin(0), powers.amax(0)
    unclear = torch.stack([e.sinr_db < _UNDECIDED for e in sought]).any(0)
    return torch.nonzero(unclear | ((out.noise_var > _MUCH * weakest) & (strongest < _ALIKE * weakest)))[:, 0]


def _left(y: Tensor, out: Separation) -> Tensor:
    """Power that no source of a Separation explains, and what its estimates may be wrong by, [batch]."""
    error = sum((e.waveform.abs().square().mean(1) * 10 ** (-e.sinr_db / 10) for e in out.sources),
                torch.zeros_like(y.real[:, 0]))
    return (y - sum((e.waveform for e in out.sources), torch.zeros_like(y))).abs().square().mean(1) + error


def _attempt(y: Tensor, sources: Sequence[Source], name: str, noise_var: Any, options: dict, free: Sequence[str],
             pair: Pair | None, backwards: bool = False) -> Separation:
    """_known, once. backwards: the weakest source is looked for first."""
    given = [source.state.gain for source in sources]
    gains, noise = initial_levels(y, sources, given, noise_var)
    unknown = [k for k, g in enumerate(given) if g is None and not sources[k].own_levels]
    lines = [k for k in unknown if sources[k].lines(y) is not None]
    with torch.inference_mode():
        sync = synchronized(y, sources, gains, noise, pair=pair, backwards=backwards, free=unknown)
        gains, noise = _levelled(y, sync, sync.gains, noise, given, noise_var)
        sought = {k: [n for n in s.unknown if n in NUISANCES] for k, s in enumerate(sources) if s.structure is Structure.CHAIN}
        if 0 in sought and free:
            sought[0] = [key for key in NUISANCES if key in (*free, *sought[0])]
        searched = any(sync.found) or any(sought.values())
        core = pair_of(sync.sources) if searched and name == "joint" and not options else None
        keyed = keyed_pair(sync.sources, y.shape) if searched and name == "joint" and not options else None
        rounds = 1 if keyed else _SEARCH_ROUNDS if searched else _GAIN_ROUNDS
        for turn in range(rounds + 1):
            last = turn == rounds or not (unknown or noise_var is None or searched)
            own = options if last or not searched else {"passes": _LOOK, **options}
            parts = by_keyed(y, sync.sources, gains, noise, keyed, last) if keyed else by_core(
                y, sync.sources, gains, noise, core, last) if core else (by_denoisers if last else joint_general)(
                y, sync.sources, gains, noise, name == "joint", **own)
            if last:
                break
            gains, noise = regressed_gains(y, [p.waveform for p in parts], [p.variance for p in parts], gains, unknown,
                                           noise if noise_var is not None else None)
            for k in lines:         # a waveform of lines has the amplitude that they have, whatever the gain
                gains[k] = parts[k].waveform.abs().square().mean(1).double().clamp_min(1e-12).sqrt()
            if noise_var is None and any(sync.found):
                noise = torch.maximum(noise, NOISE_FLOOR * torch.stack([g.square() for g in gains]).amin(0))
            _refine(y, sources, sync, sought, parts, gains, noise, turn == 0)
            gains, noise = _levelled(y, sync, gains, noise, given, noise_var, parts)
        if name == "joint" and core is None:
            parts = by_elimination(y, sync.sources, parts, gains, noise)
        out = _result(y, sync.sources, parts, gains, noise, name, given, noise_var is None)
    return _reported(out, sources, sync, gains)


def _refine(y: Tensor, sources: Sequence[Source], sync: Synchronized, sought: dict[int, list[str]], parts: Sequence[Part],
            gains: Sequence[Tensor], noise: Tensor, again: bool) -> None:
    """Better nuisances in `sync`, from what was separated: of trains of pulses `sought` (names), by Gauss-Newton; of the others,
    where `again`, found anew in what all others leave."""
    others = [k for k, source in enumerate(sources) if source.structure is not Structure.CHAIN and source.unknown
              and (again and sync.found[k] and k not in (sync.core or ()) or source.own_levels)]
    if others:
        given = [source if k in others else sync.sources[k] for k, source in enumerate(sources)]
        new = synchronized(y, given, gains, noise, parts)
        for k in others:
            sync.sources[k], sync.found[k] = new.sources[k], new.found[k]
    total = sum((part.waveform for part in parts), torch.zeros_like(y))
    for k, names in sought.items():
        if names and parts[k].demodulated is not None:
            own = replace(cast(Any, sync.sources[k]), gain=gains[k])
            moved, found = refined(y, own, names, parts[k], total - parts[k].waveform, gains[k])
            sync.sources[k] = replace(moved, gain=cast(Any, sync.sources[k]).gain)
            sync.found[k] = found


def _levelled(y: Tensor, sync: Synchronized, gains: Sequence[Tensor], noise: Tensor, given: Sequence[Any], noise_var: Any,
              parts: Sequence[Part] = ()) -> tuple[list[Tensor], Tensor]:
    """(gains, noise) where sources find amplitudes of their own (bursts.py), which then are of unit power in `sync`. parts: of a
    separation, beside such sources what it leaves is noise, however much of it the variances claim."""
    if not any(source.own_levels for source in sync.sources):
        return list(gains), noise
    sync.sources, moved, least = levelled(y, sync.sources, gains, given)
    if noise_var is not None:
        return moved, noise
    if parts:
        least = torch.maximum(least, (y - sum(p.waveform for p in parts)).abs().square().mean(1).double())
    return moved, torch.maximum(noise, least)


def _reported(out: Separation, sources: Sequence[Source], sync: Synchronized, gains: Sequence[Tensor]) -> Separation:
    """The Separation that reports what was found: of a first source that is a train of pulses by the names of its nuisances, of
    others as name_2, name_3, ..."""
    for k, found in enumerate(sync.found):
        own = k == 0 and sources[0].structure is Structure.CHAIN
        out.estimated |= {key if own else f"{key}_{k + 1}": value for key, value in found.items() if torch.is_tensor(value)}
        if own and found and sources[0].state.gain is None:
            out.estimated["gain"] = gains[0]
    if any(sync.found):
        for source, estimate in zip(sources, out.sources):
            estimate.decided = estimate.decided and (not estimate.ambiguous or source.state.phase is not None)
    return out


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
    return [v.to(y.device) for v in each[:-1]], each[-1].to(y.device)


def _result(y: Tensor, sources: list[Source], parts: Sequence[Part], gains: list[Tensor], noise: Tensor, name: str, given: Any,
            noise_estimated: bool) -> Separation:
    total = sum(part.waveform for part in parts)
    left = sum(part.variance for part in parts)
    estimates = []
    for source, part, gain in zip(sources, parts, gains):
        cleaned = y - (total - part.waveform)
        read = part.demodulated or _demodulated(source, cleaned, gain, noise + left - part.variance)
        power = part.waveform.abs().square().mean(1).double() if source.own_levels else gain.square()
        sinr = 10 * torch.log10(power.clamp_min(1e-12 * gain.square()) / part.variance.clamp_min(1e-12 * gain.square())).float()
        state = replace(source.state, gain=gain)
        estimates.append(_estimate(source, part.waveform, cleaned, sinr, read, state))
    rest = torch.stack([g.square() for g in gains[1:]]).sum(0)
    found = {f"gain_{k + 1}": gain for k, (gain, known) in enumerate(zip(gains, given)) if known is None}
    if noise_estimated:
        found["noise_var"] = noise.float()
    return separation(y, estimates, rest.sqrt(), noise, name, found)


def _demodulated(source: Source, cleaned: Tensor, gain: Tensor, noise: Tensor) -> Demodulated | None:
    reader = source.demodulator()
    return None if reader is None else reader(cleaned / gain[:, None].float(), noise / gain.square())


def _estimate(source: Source, waveform: Tensor, cleaned: Tensor, sinr: Tensor, read: Demodulated | None,
              state: State) -> Estimate:
    reader = source.demodulator()
    settled = reader is not None and (not reader.coherent or reader.ambiguity == 1 or source.state.phase is not None)
    decided = read is not None and settled
    symbols, llrs, at = (None, None, None) if read is None else _centred(read, source)
    ambiguous = reader is not None and reader.coherent and reader.ambiguity > 1
    return Estimate(waveform, cleaned, sinr, state, State(), symbols, llrs, at, decided, ambiguous)


def _centred(read: Demodulated, source: Source) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols, LLRs and positions; of a train of pulses without symbols that are centred outside the window."""
    there = ~read.at.isnan()
    count = there.sum(1)
    if source.structure is not Structure.CHAIN or bool((count != count[0]).any()):
        return read.symbols, read.llrs, read.at
    batch, kept = len(there), int(count[0])
    return (read.symbols[there].view(batch, kept), read.llrs[there].view(batch, kept, read.llrs.shape[-1]),
            read.at[there].view(batch, kept))


def _regrouped(y: Tensor, sources: Sequence[Source], sizes: Sequence[int], out: Separation) -> Separation:
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


# ---- by a pair's own method ------------------------------------------------------------------------------------------------

def _by_pair(y: Tensor, sources: Any, chain: int, method: str, noise_var: Number | None, pair: Pair,
             options: dict[str, Any]) -> Separation:
    """The train of pulses takes the place of the wanted signal, whichever was named first; the other one is read in what that
    leaves."""
    wanted: Any = sources[chain]
    other: Any = sources[1 - chain]
    out = pair(y, wanted, other, method=method, kappa=other.state.gain, noise_var=noise_var, **options)
    wanted, other = resolved(wanted, out.estimated), resolved(other, out.estimated, "interference_")
    if method == "auto" and not _fast(sources, chain) and not lacking(other) and other.linear_model(y.shape) is not None:
        known = [wanted, replace(cast(Any, other), gain=out.kappa.double())]
        known = known if chain == 0 else known[::-1]
        again = _known(y, known, _chosen("auto", known), out.noise_var.double(), {})
        return replace(again, estimated=out.estimated, sources=[
            replace(e, decided=e.decided and (not e.ambiguous or s.state.phase is not None))
            for e, s in zip(again.sources, sources)])
    gain = torch.as_tensor(wanted.gain, dtype=torch.float64, device=y.device).reshape(-1).expand(len(y))
    first = _chain_estimate(y, wanted, out, gain)
    left = gain.square() * 10 ** (-first.sinr_db.double() / 10)
    kappa, cleaned = out.kappa.double(), y - out.soi
    readable = not lacking(other) and not other.unknown
    read = _demodulated(other, cleaned, kappa.clamp_min(1e-9), out.noise_var.double() + left) if readable else None
    error = (cleaned - out.interference).abs().square().mean(1).double()
    sinr = 10 * torch.log10(kappa.square().clamp_min(1e-30) / error.clamp_min(1e-12 * kappa.square().clamp_min(1e-20)))
    second = Estimate(out.interference, cleaned, sinr.float(), State(gain=kappa))
    if readable:
        second = _estimate(other, out.interference, cleaned, sinr.float(), read, replace(other.state, gain=kappa))
        second.decided = second.decided and (not second.ambiguous or sources[1 - chain].state.phase is not None)
    estimates = [first, second] if chain == 0 else [second, first]
    if chain == 0:
        return replace(out, sources=estimates)
    swapped = separation(y, estimates, gain, out.noise_var, out.method, out.estimated)
    return replace(swapped, evaluations=out.evaluations)


def pair_estimates(y: Tensor, out: Separation) -> list[Estimate]:
    """The Estimates of a train of pulses and of what it was separated from, whose symbols nobody asked for."""
    first = Estimate(out.soi, y - out.interference, out.quality, State(), State(), out.symbols, out.llrs,
                     symbol_sinr_db=out.quality)
    error = (y - out.soi - out.interference).abs().square().mean(1)
    sinr = 20 * torch.log10(out.kappa.clamp_min(1e-9)) - 10 * torch.log10(error.clamp_min(1e-18))
    return [first, Estimate(out.interference, y - out.soi, sinr, State(gain=out.kappa))]


def _chain_estimate(y: Tensor, wanted: Any, out: Separation, gain: Tensor) -> Estimate:
    first, count = wanted.centred_symbols(y.shape[1])
    at = wanted.timing_of(first)[:, None] + torch.arange(count) * wanted.symbol_period
    soft = wanted.signal.alphabet.mean(out.symbols, 10 ** (-out.quality.clamp(-30, 90) / 10)[:, None])
    sinr = -10 * torch.log10((1 - soft.abs().square().mean(1)).clamp(1e-9, 1.0)) if count else torch.zeros(len(y))
    estimate = _estimate(wanted, out.soi, y - out.interference, sinr.float(),
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
