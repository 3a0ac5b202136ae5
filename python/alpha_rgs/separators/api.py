# SPDX-License-Identifier: GPL-3.0-or-later
"""The one call: separate(mixture, soi, interference)."""
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from ..errors import CapabilityError, ParameterError
from ..sources.linear_modulation import NUISANCES
from ..synchronization import acquire, offset_of_zero
from .alpha_rgs import alpha_rgs
from .amortised import amortised
from .base import NOTHING, finite, require
from .basis import basis
from .blind import separate_unknown
from .joint import joint, lmmse
from .matched_filter import matched_filter
from .reverse_diffusion import reverse_diffusion

METHODS = {"joint": joint, "alpha_rgs": alpha_rgs, "lmmse": lmmse, "matched_filter": matched_filter, "basis": basis,
           "reverse_diffusion": reverse_diffusion, "amortised": amortised}
BRIEF = ("matched_filter", "amortised")         # over in a few operations of torch

_EQUALISING = ("joint", "lmmse", "alpha_rgs", "matched_filter")       # what these do in a channel (the last: no worse than else)
_ASKING = ("alpha_rgs", "basis", "reverse_diffusion")       # who ask a denoiser again and again
_FITS, _ECHOED = 3, 8   # of an SOI that had to be found among bursts, and of one in a channel
_STRUCTURED = ("ofdm", "linear-modulation", "ofdm-bursts")     # linear in discrete unknowns, which joint detection needs
_TRACE = 1e-4           # of the power, what is none if it had to be found
_DC_FREE = ("ofdm", "linear-modulation", "ofdm-bursts", "gmsk", "gfsk", "lora")       # a line at zero is none of theirs


def choose(method, soi, interference):
    """The separator's name: `auto` takes joint where both priors are structured and none is learned, amortised where a network
    was trained on mixtures for nothing else, alpha_rgs otherwise (ParameterError, CapabilityError)."""
    supervised = getattr(getattr(interference, "network", None), "supervised", False)
    if supervised and method in _ASKING:
        raise CapabilityError(f"{method}: the interference's network is for one pass over mixtures, it cannot be asked at levels "
                              "of noise; use amortised")
    if method == "auto" and supervised:
        return "amortised"
    if method == "auto":
        structured = soi.kind == "linear-modulation" and interference.kind in _STRUCTURED
        return "joint" if structured and not (_asks(soi) or _asks(interference) or _turning(soi, interference)) else "alpha_rgs"
    if method not in METHODS:
        raise ParameterError(f"method: {method!r} is not known; one of auto, {', '.join(METHODS)}")
    return method


def _asks(prior):
    """Whether a prior's network denoises waveforms, and is no part of joint detection."""
    return prior.learned and prior.kind != "ofdm-bursts"


def _turning(*sources):
    """The first of the sources whose alphabet turns from symbol to symbol (π/4-DQPSK), which joint detection does not know."""
    alphabets = [getattr(getattr(prior, "signal", None), "alphabet", None) for prior in sources]
    return next((prior for prior, alphabet in zip(sources, alphabets) if getattr(alphabet, "rotation", 0)), None)


def separate(mixture, soi, interference, method="auto", kappa=None, noise_var=None, start=0, free=(), **options):
    """Take apart mixture = gain*s + kappa*b + w.

    mixture: complex64 [batch, samples] or [samples], array or tensor. soi, interference: priors.
    method: a key of METHODS, or "auto". kappa: amplitude of the interference, noise_var: variance per complex sample; numbers
    or [batch]; None means estimated per window. start: position of each window's first sample in the stream to which the
    priors' nuisances refer, a number or [batch]. Nuisances of the SOI that are None are found; those named in `free` are given
    about right and fitted too. options: go to the separator.
    Returns a Separation. Raises ParameterError (bad numbers, window shorter than the pulse), CapabilityError.
    """
    y = torch.as_tensor(np.asarray(mixture)) if not torch.is_tensor(mixture) else mixture
    y = torch.atleast_2d(y.to(torch.complex64))
    name = choose(method, soi, interference)
    if not bool(torch.isfinite(torch.view_as_real(y)).all()):
        raise ParameterError("mixture: holds NaN or infinite samples; mend the recording or the source")
    if soi.kind != "linear-modulation" and interference.kind == "linear-modulation":
        raise CapabilityError(f"{name}: the signal of interest is a {soi.kind} prior, but must be a linear-modulation, which the "
                              "interference is: are the two swapped?")
    require(soi, "linear-modulation", "signal of interest", name)       # all methods so far; before anything is estimated
    structured = name == "joint" or name == "lmmse" and options.get("covariance") != "stationary"
    if structured and interference.kind not in _STRUCTURED:
        require(interference, "ofdm", "interference", name)
    if structured and (turning := _turning(soi, interference)):
        raise CapabilityError(f"{name}: constellation: {turning.signal.constellation!r} turns from symbol to symbol, which this "
                              "method cannot do; use alpha_rgs")
    for role, prior in (("signal of interest", soi), ("interference", interference)):
        if structured and _asks(prior):
            raise CapabilityError(f"{name}: the {role} is a learned prior, but this method knows structure only and would not "
                                  "ask its network; use alpha_rgs, or give the TOML file of the structure")
    if y.shape[1] < soi.signal.taps_count:
        raise ParameterError(f"window: {y.shape[1]} samples are shorter than the signal of interest's pulse, "
                             f"{soi.signal.taps_count} samples")
    if torch.is_tensor(start) or isinstance(start, np.ndarray) or start:
        start = torch.as_tensor(start)
        soi, interference = soi.shifted(start.double()), interference.shifted(start)
    _check_channel(name, soi, interference, options)
    missing = [key for key in NUISANCES if getattr(soi, key) is None]
    if getattr(interference, "carrier_offset", 0.0) is None:
        interference = replace(interference, carrier_offset=0.0)            # not looked for
    if missing == ["carrier_offset"]:
        soi, missing = replace(soi, carrier_offset=0.0), []
    if soi.channel_length:
        missing += "phase", "gain", "channel"       # it turns and scales the symbols
    power, dc = y.abs().square().mean(1), None
    if missing and interference.kind in _DC_FREE:   # an SOI that is looked for would be found there: a line is a symbol repeated
        dc = offset_of_zero(y)
        y = y - dc[:, None]
    if (missing or free) and interference.kind != "ofdm-bursts":
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


def _check_channel(name, soi, interference, options):
    """Raise CapabilityError where a channel of the SOI, known or to be found, asks for what is not there: most methods take
    symbols a period apart for orthogonal. ParameterError where one of the interference is to be found."""
    if getattr(interference, "channel_length", None):
        raise ParameterError("channel_length: of the interference no channel is looked for; leave it out, or give it as channel")
    if not (soi.signal.channel or soi.channel_length):
        return
    if name not in _EQUALISING or options.get("preset", "white") != "white":
        raise CapabilityError(f"{name}: a channel of the signal of interest needs method joint, lmmse or matched_filter, or "
                              "alpha_rgs with preset white")
    if soi.channel_length and interference.kind == "ofdm-bursts" and name != "joint":
        raise CapabilityError(f"{name}: among bursts a channel is found by method joint alone; give it as channel")
    if soi.channel_length and interference.kind == "ofdm-bursts" and soi.carrier_offset is None:
        raise ParameterError("channel_length: among bursts carrier_offset must be given with it; leave channel_length out, or "
                             "give both")


def _known(name, y, soi, interference, kappa, noise_var, options, free=(), noise_floor=0.0):
    """A Separation where the SOI is known, or among bursts, where it is found with them. noise_floor: of the noise variance that
    is believed, relative to the weaker source's power."""
    soi, interference, kappa, noise_var, found = acquire(y, soi, interference, kappa, noise_var)
    if noise_floor:
        gain = torch.as_tensor(soi.gain, dtype=kappa.dtype, device=kappa.device)
        noise_var = torch.maximum(noise_var, noise_floor * torch.minimum(gain.square(), kappa.square()))
    sought = [*(key for key in found if key in NUISANCES), *free]
    if name == "joint" and interference.kind == "ofdm-bursts" and (sought or soi.channel_length):
        options = {"fits": _ECHOED if soi.channel_length else _FITS, "free": sought, **options}
    if name == "alpha_rgs" and soi.signal.channel:
        options = {**options, "preset": "white", "tones": 0}       # the search takes pulses for orthogonal
    with torch.inference_mode():
        out = METHODS[name](y, soi, interference, kappa, noise_var, **options)
    out.method, out.estimated = name, found | out.estimated
    return out
