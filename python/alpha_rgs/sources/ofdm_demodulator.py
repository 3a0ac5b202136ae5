# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers of OFDM frames read one by one: their estimates, and symbols of those that carry data."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Demodulated, Number


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


def phase_of(source: Any, x: Tensor, limit: float) -> Tensor:
    """The phase, rad [batch], of an Ofdm whose phase is taken for 0, up to the symmetry of its unknowns' alphabet. limit: of an
    unknown's amplitude: weaker ones say less."""
    soft, _, begin = estimates(source, x, 1.0)
    there = whole(source, begin, x.shape[1])[0].repeat_interleave(source.signal.unknowns, 1)
    z = torch.where(there, soft.to(torch.complex64), 0).to(torch.complex128)
    found: Tensor = source.signal.unknown_alphabet.common_phase(z / z.abs().clamp_min(limit))
    return found
