# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers of OFDM frames read one by one: their estimates, and symbols of those that carry data."""
from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals.constellations import constellation
from ..signals.mixed import resolved
from .base import Demodulated, Noise, Number

_FLOOR = 0.01       # of a carrier's density: pilots in less noise weigh alike


def estimates(source: Any, x: Tensor, noise_var: Number) -> tuple[Tensor, Tensor, Tensor]:
    """(the unknowns of all frames, as the bodies show them, complex128 [batch, frames·unknowns]; their variances; where frames
    begin, int64 [1 or batch, frames]) of an Ofdm whose frame offset and phase are known, in x = s + noise of that variance,
    complex64 [batch, samples]."""
    signal, model = source.signal, source.linear_model(x.shape)
    begin = model.start[:, ::signal.unknowns].to(x.device)
    body = model.columns[..., signal.cyclic_prefix:].to(x.device)
    n = (begin[..., None] + signal.cyclic_prefix + torch.arange(signal.fft_size, device=x.device)).expand(len(x), -1, -1)
    inside = (n >= 0) & (n < x.shape[1])
    cut = torch.where(inside, x.to(torch.complex128).gather(1, n.clamp(0, x.shape[1] - 1).flatten(1)).view(n.shape), 0)
    body = body.unflatten(1, (begin.shape[1], signal.unknowns))
    energy = body.abs().square().sum(-1)
    soft = (body.conj() @ cut[..., None])[..., 0] / energy
    var = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device).reshape(-1, 1, 1) / energy
    return soft.flatten(1), var.expand(soft.shape).flatten(1), begin


def whole(source: Any, begin: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """(which frames have their body in the window, bool; the first samples of bodies), like begin [1 or batch, frames]."""
    body = begin + source.signal.cyclic_prefix
    first, end = source.on or (0, samples)
    return (body >= max(first, 0)) & (body + source.signal.fft_size <= min(end, samples)), body


def read(source: Any, soft: Tensor, var: Tensor, begin: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Soft unknowns [batch, frames·unknowns] and their variances as symbols, LLRs and positions of data carriers: of frames whose
    body lies in the window, centred on the body's middle."""
    signal = source.signal
    count, alphabet = len(signal.data), signal.alphabet
    if count < signal.unknowns:
        soft, var = (v.unflatten(1, (-1, signal.unknowns))[..., :count].flatten(1) for v in (soft, var))
    inside, body = whole(source, begin, samples)
    at = torch.where(inside, body + signal.fft_size / 2, torch.nan).double()
    at = at.repeat_interleave(count, 1).expand(len(soft), -1)
    llrs = torch.zeros(*soft.shape, 0) if alphabet.symmetry is None else alphabet.llrs(soft, var)
    return soft.to(torch.complex64), llrs.float(), at


class CarrierDemodulator:
    """Data carriers of the frames whose body lies in the window, see sources.base.Demodulator."""

    coherent = True

    def __init__(self, source: Any) -> None:
        self.source, self.ambiguity = source, source.signal.unknown_alphabet.symmetry

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """See sources.base.Demodulator. symbols: carrier after carrier, ascending, frame after frame, without pilots."""
        for name in self.source.unknown:
            raise ParameterError(f"ofdm: {name} is unknown; symbols cannot be read without it")
        return Demodulated(*read(self.source, *estimates(self.source, x, noise_var), x.shape[1]))


def phase_of(source: Any, x: Tensor, noise: Noise, limit: float) -> Tensor:
    """The phase, rad [batch], of an Ofdm whose phase is taken for 0, in x = s + noise: up to the symmetry of its unknowns'
    alphabet. limit: of a data carrier's amplitude: weaker ones say less."""
    signal = source.signal
    apart = replace(source, signal=replace(signal, pilot_values=()))         # each pilot is an unknown of its own
    soft, _, begin = estimates(apart, x, 1.0)
    there = whole(source, begin, x.shape[1])[0].repeat_interleave(len(signal.carriers), 1)
    z = torch.where(there, soft.to(torch.complex64), 0).to(torch.complex128)
    data, pilots = z.unflatten(1, (-1, len(signal.carriers))).split([len(signal.data), len(signal.pilots)], 2)
    phase = None
    if signal.alphabet.symmetry is not None:
        data = data.flatten(1)
        phase = signal.alphabet.common_phase(data / data.abs().clamp_min(limit))
    if not signal.pilots:
        return cast(Tensor, phase)
    offset = torch.as_tensor(source.carrier_offset, dtype=torch.float64).reshape(-1, 1)
    at = torch.as_tensor(signal.pilots) + torch.round(offset * signal.fft_size).long()
    density = noise.density(signal.fft_size).cpu().double().expand(len(x), -1) * len(signal.carriers) / signal.fft_size
    return by_pilots(signal, phase, pilots, density.gather(1, at.expand(len(x), -1) % signal.fft_size).to(x.device))


def by_pilots(signal: Any, phase: Tensor | None, pilots: Tensor, density: Tensor) -> Tensor:
    """A phase, rad [batch], that data carriers tell up to the symmetry of their alphabet (None: not at all), told up to half a
    turn by estimates of pilots, complex [batch, frames, pilots], in noise of that density at each, relative to the carriers' own,
    [batch, pilots]."""
    signs: Any = constellation("bpsk")
    z = pilots / (density + _FLOOR)[:, None]
    if signal.pilot_values:
        z = (z * torch.tensor(signal.pilot_values, device=z.device)).sum(2, keepdim=True)
    found: Tensor = signs.common_phase(z) if phase is None else resolved(phase, signal.alphabet.symmetry, signs, z)
    return found
