# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrier offset of OFDM whose numerology is known, in noise of any density.

Between a prefix and its copy one transform later the phase turns by 2πf·fft_size: that gives f but for whole carrier spacings, to
about 1e-4 cycles per sample (van de Beek, Sandell and Börjesson, 1997). Which spacing, the carriers that are not used say: the
likelihood of each frequency's power in whole frames. Where the alphabet is known, carriers lifted to its symmetry turn from
frame to frame by what is left of f, which gives it to 1e-6.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from .base import Noise
from .burst import Burst

REACH = 0.02        # cycles per sample to each side: an unknown carrier offset lies within it
_OVERSAMPLED = 8    # frequencies per frequency of the frames' transform, before a parabola
_REACHES = 8.0      # standard deviations of the prefixes' answer, within which it is made exact: other sources scatter it more
_FEWEST = 2         # frames that a burst has at least whose frames are looked for
_EARLY = 6          # samples to each side by which prefixes may be wrong in a short burst under another source
_FLOOR = 0.01       # of the source's power: less noise is not believed, or leakage between carriers would count


def carrier_offset(x: Tensor, ofdm: Any, noise: Noise) -> tuple[Tensor, Tensor]:
    """(frame offset int64, carrier offset float64, cycles per sample), [batch] each, of an Ofdm of unit power in windows x,
    complex [batch, samples]; its frame offset is kept where it is known."""
    x = x.detach().cpu().to(torch.complex128)
    size = ofdm.signal.fft_size
    begin, turn, error = ofdm.prefixes(x, noise.flat, any_phase=True)
    fraction, error = turn / (2 * torch.pi * size), error / (2 * torch.pi * size)
    spacings = range(-int(REACH * size) - 1, int(REACH * size) + 2)
    density = (noise.density(size).cpu().double() + _FLOOR).expand(len(x), -1)
    tried = [fraction + k / size for k in spacings]
    fits = torch.stack([_likelihood(x, ofdm, begin, f, density) for f in tried])
    fits = torch.where(torch.stack(tried).abs() <= REACH + 0.5 / size, fits, -torch.inf)
    offset = torch.stack(tried).gather(0, fits.argmax(0, keepdim=True))[0]
    if ofdm.signal.told_by[1] is not None:
        here = replace(ofdm, frame_offset=begin, carrier_offset=offset, phase=0.0)
        offset = offset + _drift(x, here, density, _REACHES * error)
    return begin, offset


def _bodies(x: Tensor, ofdm: Any, begin: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """(all carriers of whole frames, complex128 [batch, frames, fft_size], of unit variance in white noise of variance 1; which
    frames are whole)."""
    signal = ofdm.signal
    n = torch.arange(x.shape[1], dtype=torch.float64)
    x = x * torch.polar(torch.ones_like(n), -2 * torch.pi * offset[:, None] * n)
    frames = x.shape[1] // signal.frame_length
    start = begin[:, None] + signal.cyclic_prefix + signal.frame_length * torch.arange(frames)
    whole = start + signal.fft_size <= x.shape[1]
    where = (start[..., None] + torch.arange(signal.fft_size)).clamp(max=x.shape[1] - 1)
    cut = x.gather(1, where.flatten(1)).view(where.shape) * whole[..., None]
    return torch.fft.fft(cut) / signal.fft_size ** 0.5, whole


def _likelihood(x: Tensor, ofdm: Any, begin: Tensor, offset: Tensor, density: Tensor) -> Tensor:
    """Whittle's, of the carriers' mean powers, where the unused ones hold noise alone: [batch]."""
    signal = ofdm.signal
    z, whole = _bodies(x, ofdm, begin, offset)
    power = z.abs().square().sum(1) / whole.sum(1, keepdim=True).clamp_min(1)
    own = torch.zeros(signal.fft_size, dtype=torch.float64)
    own[torch.as_tensor(signal.carriers) % signal.fft_size] = signal.fft_size / len(signal.carriers)
    at = (torch.arange(signal.fft_size) + torch.round(offset * signal.fft_size).long()[:, None]) % signal.fft_size
    total = own + density.gather(1, at)
    return -((total.log() + power / total).sum(1)) * whole.sum(1)


def _drift(x: Tensor, ofdm: Any, density: Tensor, most: Tensor) -> Tensor:
    """What is left of the carrier offset, [batch], and at most `most`, from the turn of lifted carriers from frame to frame;
    carriers in noise weigh less."""
    signal = ofdm.signal
    z, whole = _bodies(x, ofdm, ofdm.frame_offset, ofdm.carrier_offset)
    own, symmetry = signal.told_by
    carriers = torch.as_tensor(own) % signal.fft_size
    at = (carriers + torch.round(ofdm.carrier_offset * signal.fft_size).long()[:, None]) % signal.fft_size
    clear = 1 / (1 + density.gather(1, at) * len(signal.carriers) / signal.fft_size).square()
    z = z[..., carriers]
    length = _OVERSAMPLED * z.shape[1]
    # _bodies turns back from sample 0 of the window, so a frame's phase is what is left of the offset alone
    lifted = (z / z.abs().clamp_min(1e-12)) ** symmetry * whole[..., None]
    table = (torch.fft.fft(lifted, length, 1).abs().square() * clear[:, None]).sum(2)
    unit = 1 / (symmetry * signal.frame_length)
    far = torch.fft.fftfreq(length, dtype=torch.float64).abs() * unit > most[:, None].clamp_min(unit / length)
    peak = table.masked_fill(far, -1).argmax(1)
    low, mid, high = (table.gather(1, ((peak + d) % length)[:, None])[:, 0] for d in (-1, 0, 1))
    fine = (low - high) / (2 * (low - 2 * mid + high)).clamp(max=-1e-12)
    cycles = (peak + fine) / length
    return torch.where(cycles > 0.5, cycles - 1, cycles) * unit


# ---- bursts ------------------------------------------------------------------------------------------------------------------

def burst_of_frames(x: Tensor, burst: Burst, noise: Noise) -> tuple[Burst, Burst]:
    """(a Burst of an Ofdm that begins and ends with a frame; the same with its nuisances found), in a window x, complex64 [1,
    samples], where it is of unit power. noise: beside it, of the whole window. A burst that holds no two frames is taken for
    Gaussian, of no certain frames."""
    given: Any = burst.within
    period = given.signal.frame_length
    if burst.length < _FEWEST * period:
        return burst, replace(burst, within=_unframed(given))
    cut, density = burst.cut(x), noise.density(given.signal.fft_size).cpu().double() + _FLOOR
    found = given
    if given.carrier_offset is None:
        begin, offset = carrier_offset(cut, given, noise)
        found = replace(found, carrier_offset=float(offset))
    else:
        begin = given.prefixes(cut, noise.flat)[0]
    if given.decided:
        begin = (begin + _late(cut, found, begin, density)) % period
    moved = _on_frames(burst, int(begin), x.shape[1])
    shift = moved.begin - burst.begin
    found = replace(found, frame_offset=(int(begin) - shift) % period)
    found = found.synchronize(moved.cut(x), noise)[0]
    return replace(moved, within=replace(given.at(shift), frame_offset=given.frame_offset)), replace(
        moved, within=replace(found, phase=found.phase if found.phase is not None else 0.0))


def _on_frames(burst: Burst, begin: int, samples: int) -> Burst:
    """A burst whose first and last sample are those of the nearest frames, but where the window cuts it. begin: of a frame, from
    the burst's first sample."""
    period = cast(Any, burst.within).signal.frame_length

    def nearest(n: int) -> int:
        return n + (begin - (n - burst.begin) + period // 2) % period - period // 2

    first = 0 if burst.begin <= 0 else max(nearest(burst.begin), 0)
    last = samples if burst.end >= samples else min(nearest(burst.end), samples)
    return replace(burst, begin=first, end=last)


def _unframed(ofdm: Any) -> Any:
    """An Ofdm of the same density without prefixes, whose carriers are Gaussian: nothing is said of when frames begin."""
    signal = replace(ofdm.signal, cyclic_prefix=0, constellation="gaussian", pilots=(), pilot_values=())
    return replace(ofdm, signal=signal, delay_spread=0, frame_offset=0, phase=0.0, carrier_offset=ofdm.carrier_offset or 0.0)


def _late(x: Tensor, ofdm: Any, begin: Tensor, density: Tensor) -> Tensor:
    """By how many samples frames begin later than the prefixes say, int64 [batch]: lifted carriers of whole frames turn by
    2π·k·symmetry/fft_size for each. Carriers in noise weigh less."""
    signal, symmetry = ofdm.signal, ofdm.signal.alphabet.symmetry
    z, whole = _bodies(x, ofdm, begin, torch.as_tensor(ofdm.carrier_offset, dtype=torch.float64).reshape(-1).expand(len(x)))
    carriers = torch.as_tensor(signal.data)
    at = (carriers + round(float(ofdm.carrier_offset) * signal.fft_size)) % signal.fft_size
    clear = 1 / (1 + density[:, at] * len(signal.carriers) / signal.fft_size).square()
    z = z[..., carriers % signal.fft_size]
    lifted = ((z / z.abs().clamp_min(1e-12)) ** symmetry * whole[..., None]).sum(1) * clear
    late = torch.arange(-_EARLY, _EARLY + 1)
    turn = 2 * torch.pi * symmetry / signal.fft_size * late[:, None] * carriers
    table = (lifted[:, None] * torch.polar(torch.ones_like(turn), turn)).sum(2).abs()
    return late[table.argmax(1)]
