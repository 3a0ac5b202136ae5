# SPDX-License-Identifier: GPL-3.0-or-later
"""separate(mixture, [source, source, ...]): any source in any place, two or more of them.

Gains and noise are estimated always, and so are the nuisances that a source lacks (synchronizing.py; a linear modulation beside
one other source by the search of such a pair, blind.py). With all of them known, sources are detected jointly (joint_general.py),
by the elimination of a pair where there is one (core.py), or by their denoisers alone (probing.py).
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import CapabilityError, ParameterError
from ..sources.base import Number, Source, State, Structure
from ..sources.linear_modulation import NUISANCES
from .attempt import Pair, attempt, initial_levels
from .base import Separation, exchanged, joined, left_over, mapped, one_by_one, window_of
from .estimate import Estimate
from .intermittent import in_bursts, quietest
from .packets import with_packets
from .pair_hypotheses import by_hypotheses
from .results import chain_estimate, demodulated, estimate_of, regrouped, resolved, separation
from .synchronizing import lacking
from .under_bursts import among_bursts, under_bursts

MOST = 6                # sources at once: memory and time grow with each, and their differences shrink
_UNDECIDED = 6.0        # dB of a waveform's SINR below which a source of finitely many waveforms was not found
_MUCH, _ALIKE = 0.1, 6.0    # noise over the weakest source's power that is worth a second look, where powers differ by less
_EXCESS = 1.4           # times the noise that densities show: more is left where a source was not found
_BETTER = 0.9           # of what is left, at most, for a second look to replace a first


def separate_several(y: Tensor, sources: Sequence[Source], method: str, noise_var: Any, pair: Pair, free: Sequence[str] = (),
                     **options: Any) -> Separation:
    """A Separation whose `sources` holds one Estimate per source, in order.

    y: complex64 [batch, samples]; sources as these windows see them. method: "auto", "joint" or "alpha_rgs" of any sources;
    other methods of a pair one of whose sources is a linear modulation. noise_var: per complex sample, a number, [batch] or None:
    estimated. pair(y, wanted, other, method, noise_var, **options): separates a linear modulation from one other source. options:
    go to the method. Raises ParameterError, CapabilityError.
    """
    check_count(sources)
    chains = [k for k, source in enumerate(sources) if source.structure is Structure.CHAIN]
    trains = _estimated_linear_pair(sources, method)
    two = len(sources) == 2 and not (trains or _lacking(sources) and any(by_itself(source) for source in sources))
    # whose elimination takes a carrier for each window; to find the linear modulation takes one density for all
    framed = two and bool(chains) and _fast(sources, chains[0]) and not _lacking(sources)
    if len(y) > 1 and not framed and (trains or any(map(_differing, sources))):
        return one_by_one(y, sources, (noise_var,), lambda window, own, level: separate_several(
            window, own, method, level, pair, free, **options))

    def again(y: Tensor, sources: Sequence[Source], noise_var: Any) -> Separation:
        return separate_several(y, sources, method, noise_var, pair, free)

    out = _separated(y, sources, method, noise_var, pair, free, chains[0] if two and chains else None, options)
    return out if options else with_packets(y, sources, noise_var, out, again)


def _separated(y: Tensor, sources: Sequence[Source], method: str, noise_var: Any, pair: Pair, free: Sequence[str],
               chain: int | None, options: dict[str, Any]) -> Separation:
    """See separate_several. chain: the linear modulation of a pair."""
    if chain is not None and (method not in ("auto", "joint") or _fast(sources, chain) or _lacking(sources)):
        own = {**options, "free": free} if free else options
        if method not in ("auto", "joint") or own or not _may_pause(sources, chain):
            return _by_pair(y, sources, chain, method, noise_var, pair, own)
        return _by_pauses(y, sources, chain, noise_var, lambda y, sources, noise_var: _by_pair(
            y, sources, chain, method, noise_var, pair, {}))
    if among_bursts(sources) and method in ("auto", "joint") and not options:
        return one_by_one(y, sources, (noise_var,), under_bursts)
    groups = [source.parts for source in sources]
    if any(len(group) > 1 for group in groups):
        flat = [part for group in groups for part in group]
        return regrouped(y, sources, [len(group) for group in groups],
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


def check_apart(sources: Sequence[Source]) -> None:
    """Raises ParameterError where two sources are described alike and what could tell them apart is unknown of both."""
    for second, source in enumerate(sources):
        for first, other in enumerate(sources[:second]):
            if type(source) is type(other) and not source.learned and source.unknown and repr(source) == repr(other):
                raise ParameterError(f"sources {first + 1} and {second + 1} ({source.kind}): described alike, and their "
                                     f"{', '.join(source.unknown)} are unknown, so nothing tells them apart; give one of them "
                                     "what it differs by, such as its carrier_offset or timing")


def _names(sources: Sequence[Source]) -> str:
    return " and ".join(f"{'learned ' if source.learned else ''}{source.kind}" for source in sources)


def by_itself(source: Source) -> bool:
    """Whether a source is synchronized by itself also beside a linear modulation, and not by the search of such a pair: a sum, or
    one that finds its nuisances in noise of any density and then is detected jointly."""
    return len(source.parts) > 1 or source.own_levels or (source.structure is Structure.NONE and source.linear) or source.keyed


def _estimated_linear_pair(sources: Sequence[Source], method: str) -> bool:
    """Whether anything of two linear modulations is estimated, if only a gain."""
    return linear_pair(sources, method) and any(source.unknown or source.state.gain is None for source in sources)


def linear_pair(sources: Sequence[Any], method: str) -> bool:
    """Whether two sources are linear modulations without channels, and the method is joint detection: each is found by its own
    cyclic lines. The search of a pair needs an interference whose band lies mostly beside the wanted signal's, estimates no
    carrier offset of it, and loses 4 to 17 dB of 16QAM."""
    return method in ("auto", "joint") and len(sources) == 2 and all(
        source.structure is Structure.CHAIN and not (source.channel_length or source.signal.channel or source.learned)
        for source in sources)


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
    separate_several. Windows in which a source that was looked for stays undecided are looked through once more: while one
    of two is quiet, or in the opposite order: where spectra are alike, they do not tell which source is the stronger one."""
    out = attempt(y, sources, name, noise_var, options, free, pair)
    rows = _doubtful(y, out, sources, noise_var)
    if not len(rows):
        return out
    some = noise_var[rows] if torch.is_tensor(noise_var) and noise_var.numel() > 1 else noise_var
    again = _pair_again if len(sources) == 2 else partial(attempt, backwards=True)
    other = again(y[rows], [source.select(rows) for source in sources], name, some, options, free, pair=pair)
    better = left_over(y[rows], other) < _BETTER * left_over(y[rows], mapped(out, lambda t: t[rows]))
    return exchanged(out, rows, other, better)


def _pair_again(y: Tensor, sources: Sequence[Source], name: str, noise_var: Any, options: dict, free: Sequence[str],
                pair: Pair | None) -> Separation:
    """A second look at windows of two sources, each by itself: where one of them pauses, the other is found while that is quiet;
    else two linear modulations by guesses, other sources in the opposite order."""
    if len(y) > 1:
        return one_by_one(y, sources, (noise_var,), lambda y, sources, noise_var: _pair_again(
            y, sources, name, noise_var, options, free, pair))
    tried: list[Separation] = []
    for out, explained in _in_gaps(y, sources, noise_var) if not options and not free else ():
        if explained:
            return out
        tried.append(out)
    if _estimated_linear_pair(sources, name):
        tried.append(by_hypotheses(y, sources, name, noise_var, options, free))
    else:
        tried.append(attempt(y, sources, name, noise_var, options, free, pair, backwards=True))
    return min(tried, key=lambda out: float(left_over(y, out)))


def _in_gaps(y: Tensor, sources: Sequence[Source], noise_var: Any) -> Iterator[tuple[Separation, bool]]:
    """Separations of one window of two sources, each of which may pause, the stronger one first, and whether each explains it."""
    gains, _ = initial_levels(y, sources, [source.state.gain for source in sources], noise_var)
    for k in sorted(range(2), key=lambda k: -float(gains[k])):
        if sources[k].intermittent and sources[k].structure is not Structure.FRAMES:
            for out, explained in _while_quiet(y, sources, k, noise_var):
                weakest = min(float(torch.as_tensor(e.state.gain)) ** 2 for e in out.sources)
                yield out, explained and float(left_over(y, out)) < _MUCH * weakest


def _while_quiet(y: Tensor, sources: Sequence[Source], k: int, noise_var: Any) -> Iterator[tuple[Separation, bool]]:
    """Separations of one window of two sources, the second of which (k) comes in bursts, and whether each explains it: the other
    one is found where the window is most quiet, and then in what those bursts leave."""
    span = quietest(y)
    gains, noise = initial_levels(y[:, span], sources, [source.state.gain for source in sources], noise_var)
    power = y.abs().square().mean(1).double()
    gains[k] = torch.maximum(power - gains[1 - k].square() - noise, gains[k].square()).sqrt()
    found = in_bursts(y, sources, k, gains, noise, noise_var, span)
    yield from found.values()
    for out, _ in found.values():
        levels = [torch.as_tensor(e.state.gain).double().reshape(-1) for e in out.sources]
        yield from in_bursts(y, sources, k, levels, noise, noise_var, taken=out.sources[k].waveform).values()


def _differing(source: Source) -> bool:
    """Whether a source's carrier offset is known and another one in each window: no density is one for all then."""
    offset = source.state.carrier_offset
    return torch.is_tensor(offset) and offset.numel() > 1 and bool((offset != offset.reshape(-1)[0]).any())


def _doubtful(y: Tensor, out: Separation, sources: Sequence[Source], noise_var: Any) -> Tensor:
    """Windows, int64 [n], in which linear sources that were looked for are undecided, or leave much of two of like power; of two
    linear modulations, and beside a continuous-phase source, those which leave more than the noise that the densities show."""
    sought = [e for e, s in zip(out.sources, sources) if (s.linear or s.keyed) and s.decided and s.unknown]
    trains = bool(sought) and _estimated_linear_pair(sources, "joint")
    if len(sought) < 2 and not trains:
        return torch.zeros(0, dtype=torch.int64)
    if any(source.keyed for source in sources) or trains:
        seen = initial_levels(y, sources, [source.state.gain for source in sources], noise_var)[1]
        return torch.nonzero(out.noise_var > _EXCESS * seen)[:, 0]
    powers = torch.stack([torch.as_tensor(e.state.gain).double().square() for e in sought])
    weakest, strongest = powers.amin(0), powers.amax(0)
    unclear = torch.stack([e.sinr_db < _UNDECIDED for e in sought]).any(0)
    return torch.nonzero(unclear | ((out.noise_var > _MUCH * weakest) & (strongest < _ALIKE * weakest)))[:, 0]


# ---- by a pair's own method ------------------------------------------------------------------------------------------------

def _may_pause(sources: Sequence[Source], chain: int) -> bool:
    """Whether a linear modulation may come and go beside another source that is detected by its linear model."""
    other = sources[1 - chain]
    return sources[chain].intermittent and other.linear and other.decided and not (other.learned or lacking(other))


def _by_pauses(y: Tensor, sources: Sequence[Source], chain: int, noise_var: Any,
               endless: Callable[..., Separation]) -> Separation:
    """A Separation of windows burst by burst where a linear modulation pauses; endless(y, sources, noise_var) of the others, and
    where that leaves less."""
    gains, noise = initial_levels(y, sources, [source.state.gain for source in sources], noise_var)
    found = in_bursts(y, sources, chain, gains, noise, noise_var)
    doubted = torch.tensor([row for row in range(len(y)) if row not in found or not found[row][1]])
    windows = {row: out for row, (out, _) in found.items()}
    if len(doubted):
        if not found:
            return endless(y, sources, noise_var)
        some = noise_var[doubted] if torch.is_tensor(noise_var) and noise_var.numel() > 1 else noise_var
        rest = endless(y[doubted], [source.select(doubted) for source in sources], some)
        for k, row in enumerate(doubted.tolist()):
            own, seen = window_of(rest, k), y[row:row + 1]
            if row not in windows or bool(left_over(seen, own) < left_over(seen, windows[row])):
                windows[row] = own
    return joined([windows[row] for row in range(len(y))])


def _by_pair(y: Tensor, sources: Any, chain: int, method: str, noise_var: Number | None, pair: Pair,
             options: dict[str, Any]) -> Separation:
    """The linear modulation takes the place of the wanted signal, whichever was named first; the other one is read in what that
    leaves."""
    wanted: Any = sources[chain]
    other: Any = sources[1 - chain]
    out = pair(y, wanted, other, method=method, kappa=other.state.gain, noise_var=noise_var, **options)
    searched = bool(wanted.unknown or options.get("free"))      # then its names are those of no other source
    others = {name: value for name, value in out.estimated.items() if not (searched and name in NUISANCES)}
    wanted, other = resolved(wanted, out.estimated), resolved(other, others, "interference_")
    if method == "auto" and not _fast(sources, chain) and not lacking(other) and other.linear_model(y.shape) is not None:
        known = [wanted, replace(cast(Any, other), gain=out.kappa.double())]
        known = known if chain == 0 else known[::-1]
        again = _known(y, known, _chosen("auto", known), out.noise_var.double(), {})
        return replace(again, estimated=out.estimated, sources=[
            replace(e, decided=e.decided and (not e.ambiguous or s.state.phase is not None))
            for e, s in zip(again.sources, sources)])
    gain = torch.as_tensor(wanted.gain, dtype=torch.float64, device=y.device).reshape(-1).expand(len(y))
    first = chain_estimate(y, wanted, out, gain)
    left = gain.square() * 10 ** (-first.sinr_db.double() / 10)
    kappa, cleaned = out.kappa.double(), y - out.soi
    reader = other.demodulator()        # which may do without a phase
    needless = () if reader is None or reader.coherent else (other.state_names.get("phase"),)
    readable = not lacking(other) and not set(other.unknown).difference(needless)
    read = demodulated(other, cleaned, kappa.clamp_min(1e-9), out.noise_var.double() + left) if readable else None
    error = (cleaned - out.interference).abs().square().mean(1).double()
    sinr = 10 * torch.log10(kappa.square().clamp_min(1e-30) / error.clamp_min(1e-12 * kappa.square().clamp_min(1e-20)))
    second = Estimate(out.interference, cleaned, sinr.float(), State(gain=kappa))
    if readable:
        second = estimate_of(other, out.interference, cleaned, sinr.float(), read, replace(other.state, gain=kappa))
        second.decided = second.decided and (not second.ambiguous or sources[1 - chain].state.phase is not None)
    estimates = [first, second] if chain == 0 else [second, first]
    if chain == 0:
        return replace(out, sources=estimates)
    swapped = separation(y, estimates, gain, out.noise_var, out.method, out.estimated)
    return replace(swapped, evaluations=out.evaluations)
