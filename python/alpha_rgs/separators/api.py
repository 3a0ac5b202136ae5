# SPDX-License-Identifier: GPL-3.0-or-later
"""The one call: separate(mixture, sources), or separate(mixture, soi, interference)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import options as checks
from ..errors import CapabilityError, ParameterError
from ..sources.base import Number, Source, Structure
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..sources.toml import load_in_samples, sources_of
from ..synchronization import acquire, offset_of_zero
from ..synchronization.ofdm import advanced, aligned
from .alpha_rgs import alpha_rgs
from .amortised import amortised
from .base import (
    NOTHING,
    Separation,
    by_levels,
    exchanged,
    finite,
    left_over,
    mapped,
    one_by_one,
    require,
)
from .basis import basis
from .blind import separate_unknown
from .carriers import carrier_lacking, looked_over, placed, with_carriers
from .framed_bursts import by_framed_bursts, come_and_go
from .holes import unread
from .joint import joint, lmmse
from .local_misfit import locally_doubted
from .matched_filter import matched_filter
from .packets import with_packets
from .results import pair_estimates
from .reverse_diffusion import reverse_diffusion
from .scale import rescaled, scale_of, scaled
from .several import by_itself, check_apart, linear_pair, separate_several

METHODS: dict[str, Callable[..., Separation]] = {
    "joint": joint, "alpha_rgs": alpha_rgs, "lmmse": lmmse, "matched_filter": matched_filter, "basis": basis,
    "reverse_diffusion": reverse_diffusion, "amortised": amortised}
BRIEF = ("matched_filter", "amortised")         # over in a few operations of torch

_SEARCHED: dict[str, dict[str, Any]] = {"joint": {"search": 0}, "alpha_rgs": {"mend": False}}    # options without their searches
_UNDECIDED = {"passes": 16, "damping": 0.4}        # while symbols may be turned by any angle, which says less of the carriers
_EQUALISING = ("joint", "lmmse", "alpha_rgs", "matched_filter")       # what these do in a channel (the last: no worse than else)
_ASKING = ("alpha_rgs", "basis", "reverse_diffusion")       # who ask a denoiser again and again
_LEVELLED = (*_ASKING, "amortised")                         # who ask at levels of noise that are those of all windows
_FITS, _ECHOED = 3, 8   # of an SOI that had to be found among bursts, and of one in a channel
_LOST, _BETTER = 0.1, 0.9   # share of wrong bits from which a pair is looked over; what that must leave, of what was left
_BLOCK, _UNEVEN = 256, 3.0  # samples of a part, in which noise varies by a quarter; times the least of a window that is left
_STRONGER = 2.0         # times the least of a window, of the mixture: an interference as strong as the signal, when it comes
_TRACE = 1e-4           # of the power, what is none if it had to be found


def separate(mixture: Tensor | np.ndarray, sources: Any, interference: Source | None = None, method: str = "auto",
             kappa: Any = None, noise_var: Number | None = None, start: Any = 0, free: Sequence[str] = (),
             **options: Any) -> Separation:
    """Separate mixture = Σ g_k·s_k + w into its sources: separate(y, [a, b, ...]), or separate(y, soi, interference).

    mixture: complex64 [batch, samples] or [samples], array or tensor. sources: two or more Sources, in any order; what is not
    known of them is None. A third argument makes it a pair: the signal of interest and the interference, as the first two
    sources are then called.
    method: a key of METHODS, or "auto". noise_var: variance per complex sample; kappa: amplitude of the interference (a source's
    gain says the same): numbers or [batch]; None: estimated per window. start: position of each window's first sample in the
    stream to which the sources' nuisances refer, a number or [batch]. free: nuisances of the signal of interest that are given
    approximately and refined. options: go to the method.
    Returns a Separation, with an Estimate for each source. Raises ParameterError (bad numbers, window shorter than the pulse),
    CapabilityError.
    """
    if not torch.is_tensor(mixture):
        mixture = torch.from_numpy(checks.samples("mixture", mixture, (1, 2)))
    elif mixture.ndim not in (1, 2) or not mixture.numel():
        raise ParameterError(f"mixture: must be of the shape [samples] or [windows, samples], not {list(mixture.shape)}")
    y = torch.atleast_2d(mixture.to(torch.complex64))
    if not bool(torch.isfinite(torch.view_as_real(y)).all()):
        raise ParameterError("mixture: holds NaN or infinite samples; mend the recording or the source")
    checks.of_separation("", method, options, kappa=kappa, noise_var=noise_var)
    pair = interference is not None
    given = sources_of(sources, interference, load_in_samples)
    check_apart(given)
    scale = scale_of(y)
    y, given, kappa, noise_var = scaled(y, given, kappa, noise_var, scale)
    if torch.is_tensor(start) or isinstance(start, np.ndarray) or start:
        start = torch.as_tensor(start)
        given = [given[0].at(start.double()), *(source.at(start) for source in given[1:])]
    endless = partial(_endless, pair, method, free, options)
    if method in ("auto", "joint") and not options and come_and_go(given):
        out = by_framed_bursts(y, given, kappa if pair else None, noise_var, free, endless)
    else:
        out = endless(y, given, kappa, noise_var)
    return rescaled(unread(y, out), scale)


def _endless(pair: bool, method: str, free: Sequence[str], options: dict[str, Any], y: Tensor, given: list[Any], kappa: Any,
             noise_var: Any) -> Separation:
    """Windows whose frames, if any, are sent without gaps."""
    if any(carrier_lacking(source) for source in given):
        return one_by_one(y, given, (kappa, noise_var), partial(_by_carriers, pair, method, free, options))
    return _dispatched(y, given, pair, method, kappa, noise_var, free, options)


def _by_carriers(pair: bool, method: str, free: Sequence[str], options: dict[str, Any], y: Tensor, given: list[Any], kappa: Any,
                 noise_var: Any) -> Separation:
    """One window, the carrier offsets of frames being found first."""
    known, found = with_carriers(y, given, noise_var)
    out = _dispatched(y, known, pair, method, kappa, noise_var, free, options)
    if found and (moved := looked_over(given, out, found)):        # what a strong neighbour hid shows once it is taken away
        found = moved
        out = _dispatched(y, placed(given, found), pair, method, kappa, noise_var, free, options)
    names = {k: "interference_carrier_offset" if pair else f"carrier_offset_{k + 1}" for k in found}
    return replace(out, estimated=out.estimated | {names[k]: value for k, value in found.items()})


def _dispatched(y: Tensor, given: list[Any], pair: bool, method: str, kappa: Any, noise_var: Any, free: Sequence[str],
                options: dict[str, Any]) -> Separation:
    """By a pair's own method, or that of any sources. Windows of sources that may come in packets are searched each by itself."""
    if len(y) > 1 and any(source.in_packets() is not None for source in given):
        return one_by_one(y, given, (kappa, noise_var), lambda y, given, kappa, noise_var: _dispatched(
            y, given, pair, method, kappa, noise_var, free, options))
    if pair and given[0].structure is Structure.CHAIN and not found_together(given[0], given[1], method):
        # whose files have always named a gain that nobody read
        if kappa is None and given[1].structure is not Structure.CHAIN:
            kappa = given[1].state.gain
        out = _separate_pair(y, given[0], given[1], method=method, kappa=kappa, noise_var=noise_var, free=free, **options)
        out = replace(out, sources=pair_estimates(y, given, out))
        if method in ("auto", "joint") and not options and by_itself(given[1]):
            out = _as_any_two(y, given, kappa, noise_var, out)
        if options or method not in ("auto", "joint", "alpha_rgs") or given[1].in_packets() is None:
            return out
        known = [given[0], given[1] if kappa is None else given[1].with_state(gain=kappa)]
        return with_packets(y, known, noise_var, out, lambda y, sources, level: _dispatched(
            y, sources, True, method, None, level, free, {}))
    if pair and kappa is not None:
        given[1] = given[1].with_state(gain=kappa)
    elif pair and given[0].structure is given[1].structure is Structure.CHAIN:      # see above
        given[1] = replace(given[1], gain=None)
    out = separate_several(y, given, method, noise_var, _separate_pair, free, **options)
    if pair and given[1].state.gain is None:
        out.estimated.setdefault("kappa", out.kappa)
    return out


def _as_any_two(y: Tensor, given: Sequence[Any], kappa: Any, noise_var: Any, out: Separation) -> Separation:
    """The Separation of a pair; windows whose symbols are lost, or in a part of which more is left than elsewhere, or that are
    stronger in a part of them, once more as of any two sources, either of which may come in bursts, and what leaves less is
    kept."""
    looked = (out.error_rate > _LOST) | _uneven(y - out.soi - out.interference, _UNEVEN) | _uneven(y, _STRONGER)
    rows = torch.nonzero(looked)[:, 0]
    if not len(rows):
        return out
    other = given[1] if kappa is None else given[1].with_state(gain=kappa)
    some = noise_var[rows] if torch.is_tensor(noise_var) and noise_var.numel() > 1 else noise_var
    sources = [source.select(rows) for source in (given[0], other)]
    again = locally_doubted(y[rows], sources, separate_several(y[rows], sources, "joint", some, _separate_pair))
    again.estimated.setdefault("kappa", again.kappa)
    better = left_over(y[rows], again) < _BETTER * left_over(y[rows], mapped(out, lambda t: t[rows] if len(t) > 1 else t))
    return exchanged(out, rows, again, better)


def _uneven(rest: Tensor, least: float) -> Tensor:
    """In which windows, bool [batch], a part of `rest`, complex64 [batch, samples], is `least` times as strong as another; in
    none that are shorter than two parts."""
    if rest.shape[1] < 2 * _BLOCK:
        return torch.zeros(len(rest), dtype=torch.bool, device=rest.device)
    power = rest[:, :rest.shape[1] // _BLOCK * _BLOCK].abs().square().unflatten(1, (-1, _BLOCK)).mean(2)
    return power.amax(1) > least * power.amin(1)


def found_together(soi: Source, interference: Source, method: str = "auto") -> bool:
    """Whether an interference is found with the signal of interest and not before it: a sum that lacks nuisances, bursts whose
    amplitudes are their own, or a linear modulation that lacks nuisances beside another one, which may hide it."""
    sums = len(interference.parts) > 1 and interference.unknown_parts
    alone = interference.own_levels or linear_pair([soi, interference], method)
    return bool(sums) or (bool(interference.unknown) and alone)


def choose(method: str, soi: LinearModulation, interference: Source) -> str:
    """The method's name for a pair: `auto` takes joint where both sources are structured and none is learned, amortised where a
    network was trained on mixtures for nothing else, alpha_rgs otherwise (ParameterError, CapabilityError)."""
    supervised = interference.supervised
    if supervised and method in _ASKING:
        raise CapabilityError(f"{method}: the interference's network is for one pass over mixtures, it cannot be asked at levels "
                              "of noise; use amortised")
    if method == "auto" and supervised:
        return "amortised"
    if method == "auto":
        structured = _structured(soi) and _structured(interference)
        return "joint" if structured and not _turning(soi, interference) else "alpha_rgs"
    if method not in METHODS:
        raise ParameterError(f"method: {method!r} is not known; one of auto, {', '.join(METHODS)}")
    return method


def _structured(source: Source) -> bool:
    """Whether joint detection knows the source by its structure, and not by a network that denoises waveforms."""
    return (source.structure is not Structure.NONE or source.linear) and not _asks(source)


def _asks(source: Source) -> bool:
    """Whether a source's network denoises waveforms, and is no part of joint detection."""
    return source.learned and source.structure is not Structure.BURSTS


def _turning(*sources: Any) -> Any:
    """The first of the sources whose alphabet rotates from symbol to symbol (π/4-DQPSK), which joint detection of a pair does not
    know."""
    return next((source for source in sources if source.alphabet_rotation), None)


def _check(name: str, y: Tensor, soi: LinearModulation, interference: Source, options: dict[str, Any]) -> None:
    """Refuse what the method cannot do, before anything is estimated."""
    require(soi, Structure.CHAIN, "signal of interest", name)
    structured = name == "joint" or name == "lmmse" and options.get("covariance") != "stationary"
    if structured and interference.structure is Structure.NONE and not (interference.linear and name == "joint"):
        require(interference, Structure.FRAMES, "interference", name)
    if structured and (turning := _turning(soi, interference)):
        raise CapabilityError(f"{name}: constellation: {turning.signal.constellation!r} turns from symbol to symbol, which this "
                              "method cannot do; use alpha_rgs")
    for role, source in (("signal of interest", soi), ("interference", interference)):
        if structured and _asks(source):
            raise CapabilityError(f"{name}: the {role} is a learned prior, but this method knows structure only and would not "
                                  "ask its network; use alpha_rgs, or give the TOML file of the structure")
    if y.shape[1] < soi.signal.taps_count:
        raise ParameterError(f"window: {y.shape[1]} samples are shorter than the signal of interest's pulse, "
                             f"{soi.signal.taps_count} samples")


def _separate_pair(y: Tensor, soi: LinearModulation, interference: Any, method: str = "auto", kappa: Number | None = None,
                   noise_var: Number | None = None, free: Sequence[str] = (), **options: Any) -> Separation:
    """A linear modulation from one other source; what soi lacks is estimated in the mixture."""
    name = choose(method, soi, interference)
    _check(name, y, soi, interference, options)
    _check_channel(name, soi, interference, options)
    missing = [key for key in NUISANCES if getattr(soi, key) is None]
    if "carrier_offset" in set(interference.unknown) - set(interference.synchronizes):
        interference = replace(interference, carrier_offset=0.0)            # not looked for
    if soi.channel_length:
        missing += "phase", "gain", "channel"       # it turns and scales the symbols
    power, dc = y.abs().square().mean(1), None
    if (missing or free) and interference.dc_free:      # an SOI that is looked for would be found there: a symbol repeated
        dc = offset_of_zero(y)
        y = y - dc[:, None]
    if (missing or free) and interference.structure is not Structure.BURSTS:
        solve = partial(_known, name, options=options)
        out = separate_unknown(y, soi, interference, kappa, noise_var,
                               [k for k in (*NUISANCES, "channel") if k in (*missing, *free)], solve)
    else:
        out = _known(name, y, soi, interference, kappa, noise_var, options, free)
    if free:                                # numbers only, to whoever puts them in place of others: the tracker
        out = replace(out, estimated={k: v for k, v in out.estimated.items() if k not in ("channel", "channel_std")})
    gain = out.estimated["gain"].to(power) if "gain" in missing else torch.ones_like(power)
    silent = (power == 0) | (gain.square() < _TRACE * power)
    if bool(silent.any()):                  # whatever is found in nothing is wrong
        out = replace(out, quality=torch.where(silent, NOTHING, out.quality), llrs=out.llrs * ~silent[:, None, None])
    return finite(out if dc is None else replace(out, estimated=out.estimated | {"dc": dc.abs()}))


def _check_channel(name: str, soi: LinearModulation, interference: Any, options: dict[str, Any]) -> None:
    """Raise CapabilityError where a channel of the SOI, known or to be found, asks for what is not there: most methods take
    symbols a period apart for orthogonal. ParameterError where one of the interference is to be found."""
    if interference.structure is Structure.CHAIN and interference.channel_length:
        raise ParameterError("channel_length: of the interference no channel is looked for; leave it out, or give it as channel")
    if not (soi.signal.channel or soi.channel_length):
        return
    if name not in _EQUALISING or options.get("preset", "white") != "white":
        raise CapabilityError(f"{name}: a channel of the signal of interest needs method joint, lmmse or matched_filter, or "
                              "alpha_rgs with preset white")
    if soi.channel_length and interference.structure is Structure.BURSTS and name != "joint":
        raise CapabilityError(f"{name}: among bursts a channel is found by method joint alone; give it as channel")
    if soi.channel_length and interference.structure is Structure.BURSTS and soi.carrier_offset is None:
        raise ParameterError("channel_length: among bursts carrier_offset must be given with it; leave channel_length out, or "
                             "give both")


def _known(name: Any, y: Any, soi: Any, interference: Any, kappa: Any, noise_var: Any, options: Any, free: Sequence[str] = (),
           noise_floor: float = 0.0, trial: bool = False, undecided: bool = False) -> Separation:
    """A Separation where the SOI is known, or among bursts, where it is found with them. noise_floor: of the noise variance that
    is believed, relative to the weaker source's power. trial: without a search of decisions. undecided: by joint detection, see
    joint.Options."""
    delay = None
    if interference.structure is Structure.FRAMES and interference.frame_offset is None:
        y, soi, interference, delay = aligned(y, soi, interference)
    soi, interference, kappa, noise_var, found = acquire(y, soi, interference, kappa, noise_var)
    if noise_floor:
        gain = torch.as_tensor(soi.gain, dtype=kappa.dtype, device=kappa.device)
        noise_var = torch.maximum(noise_var, noise_floor * torch.minimum(gain.square(), kappa.square()))
    sought = [*(key for key in found if key in NUISANCES), *free]
    if name == "joint" and interference.structure is Structure.BURSTS and (sought or soi.channel_length):
        options = {"fits": _ECHOED if soi.channel_length else _FITS, "free": sought, **options}
    if undecided:
        name, options = "joint", {"undecided": True, "search": 0, **_UNDECIDED}
    elif trial and name in _SEARCHED:
        options = _SEARCHED[name] | options
    if name == "alpha_rgs" and soi.signal.channel:
        options = {**options, "preset": "white", "tones": 0}       # the search takes pulses for orthogonal
    with torch.inference_mode():
        solve = partial(METHODS[name], **options)
        levelled = name in _LEVELLED and "callback" not in options      # who watches sees all windows at once
        out = by_levels(y, soi, interference, kappa, noise_var, solve) if levelled else solve(y, soi, interference, kappa,
                                                                                            noise_var)
    out.method, out.estimated = name, found | out.estimated
    return out if delay is None else _moved_back(out, interference, delay)


def _moved_back(out: Separation, ofdm: Any, delay: Tensor) -> Separation:
    """The Separation of windows that were moved by a fraction of a sample, as they were."""
    if bool(delay.any()):
        out.soi, out.interference = (advanced(wave, -delay) for wave in (out.soi, out.interference))
    out.estimated = {"frame_offset": ofdm.frame_offset.to(torch.float64) + delay, **out.estimated}
    return out
