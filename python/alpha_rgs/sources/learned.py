# SPDX-License-Identifier: GPL-3.0-or-later
"""Priors whose score is a trained network's.

The network denoises. Everything else that is known of the source stays in use: a linear modulation's pulse, alphabet and
nuisances, which align its windows to the network's grid; a recording's covariance, which gives level and noise in a mixture.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError, ParameterError
from ..nets import BurstDenoiser, Denoiser, Scheduled
from ..nets.alignment import on_grid
from ..nets.bursts import COLUMNS, UNSEEN, WIDTH
from ..signals.carrier import carrier, column
from ..signals.framing import frame_pulses
from .base import Noise, Number, Structure
from .gaussian import Gaussian, period_offset
from .linear_modulation import LinearModulation
from .ofdm import Ofdm
from .ofdm_bursts import OfdmBursts

_BINS = 512             # of a colour's density
_CLEAR, _SURE, _SHRUNK = 1e-4, 1e-5, 0.999      # variances of carriers, given and believed at least; of an estimate, left at most


class Learned:
    """Mixed in before a prior: its denoiser is `network`."""

    network: Any            # of the classes that it is mixed into
    asked: Any
    _aligned: Any
    learned = True
    linear = False

    @property
    def supervised(self) -> bool:
        """See Source.supervised."""
        return bool(getattr(self.network, "supervised", False))

    @property
    def takes_basis(self) -> bool:
        """Whether the network was built for coloured noise."""
        return self.network.coloured

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise; noise_var: a float, or a tensor [batch] or [batch, 1]. Under noise with a basis the network gets
        the basis' mean power density over the white part."""
        level, colour, floor = self.asked(noise)
        noise_var = _rows(level, x.device)
        if colour is None:
            return self._network(x, noise_var)
        frequency = _one(colour.carrier_offset) - _one(getattr(self, "carrier_offset", 0.0))
        shape, floor = _density(colour.signal, frequency), _rows(floor, x.device)
        pulses = pulse_noise(replace(colour, carrier_offset=frequency), noise_var, floor) if self.network.cyclic else None
        return self._network(x, noise_var * shape.to(x.device) + floor, pulses)

    def reconstruct(self, x: Tensor, noise_var: float) -> Tensor:
        """See Source.reconstruct."""
        return self.denoise(x, noise_var)

    def blocks(self, shape: Sequence[int]) -> Any:
        """See Source.blocks: a network knows of none."""
        return None

    def linear_model(self, shape: Sequence[int]) -> Any:
        """See Source.linear_model: the network is asked instead."""
        return None

    def _network(self, x: Tensor, density: Tensor, colour: Any = None) -> Tensor:
        """The network's answer; it goes where the samples are. colour: as OfdmDenoiser has it, for those that ask for it."""
        if self.network.spectrum.device != x.device:
            self.network.to(x.device)
        return self._aligned(x, density, colour) if self.network.cyclic else self._aligned(x, density)


@dataclass(eq=False)
class LearnedLinearModulation(Learned, LinearModulation):
    """network: one whose stride is samples_per_symbol."""

    network: Any = None

    def symbol_means(self, r: Tensor, var: Tensor, modulate: Callable[..., Any], demodulate: Callable[..., Any]) -> Tensor:
        """See LinearModulation.symbol_means: by the network, as if white noise had gone through the matched filter; given the
        pulses' own colour it is 0.4 dB worse (RRC-QPSK)."""
        return demodulate(self.denoise(modulate(r), self.signal.samples_per_symbol * torch.as_tensor(var)))

    def _aligned(self, x: Tensor, density: Tensor) -> Tensor:
        """Without phase and carrier, aligned with the grid; samples that no symbol reaches are marked."""
        turn, stride, half = carrier(self.phase, self.carrier_offset, x), self.network.stride, self.signal.half_length
        timing = column(self.timing, torch.empty(0))[:, 0]
        later = torch.round(timing - stride / 2)
        room, absent = 0, None
        if self.symbols is not None:
            room, end = stride * -(-int(half) // stride), timing + (self.symbols - 1) * stride

            def absent(n: Tensor) -> Tensor:
                return (n < timing[:, None] - half) | (n > end[:, None] + half)
        fraction = (timing - stride / 2 - later).float().to(x.device)
        return turn * on_grid(lambda y, presence: self.network(y, density, fraction, presence), stride, x * turn.conj(), later,
                              room, absent)


@dataclass(eq=False)
class LearnedGaussian(Learned, Gaussian):
    """The denoiser of a source that is otherwise known by its covariance alone."""

    network: Any = None

    def _aligned(self, x: Tensor, density: Tensor) -> Tensor:
        """The network's output, with x aligned to the grid of periods that it was trained on, if any. An offset of the periods
        that is not given is estimated from x."""
        if self.period == 1 or self.network.stride != self.period or self.network.finds:
            return self.network(x, density)
        offset = self.period_offset
        if offset is None:
            clean = x.detach().cpu().numpy()
            offset = period_offset(clean, self, self.psd(x.shape[1])[None] + density.mean(1, keepdim=True).cpu().numpy())
        return on_grid(lambda y, presence: self.network(y, density, None, presence), self.period, x,
                       torch.as_tensor(offset).reshape(-1))


@dataclass(eq=False)
class LearnedOfdm(Learned, Ofdm):
    """network: an OfdmDenoiser of that numerology. It finds frames and phase itself, unless frame_offset is known."""

    own_carrier = False

    network: Any = None

    def reconstruct(self, x: Tensor, noise_var: float) -> Tensor:
        """See Ofdm.reconstruct."""
        return self.denoise(x, noise_var) if self.frame_offset is None else Ofdm.reconstruct(self, x, noise_var)

    def blocks(self, shape: Sequence[int]) -> Any:
        """See Source.blocks: frames of as many carriers with a point each."""
        return self.plan(shape) if self.network.fold and self.frame_offset is not None else None

    def _aligned(self, x: Tensor, density: Any, colour: Any = None) -> Any:
        turn = carrier(0.0, self.carrier_offset, x)
        offset = self.frame_offset
        if offset is not None:
            offset = torch.as_tensor(offset, device=x.device).reshape(-1).expand(len(x)).long()
        return turn * self.network(x * turn.conj(), density, colour=colour, offset=offset)


@dataclass(eq=False)
class LearnedBursts(OfdmBursts):
    """network: a BurstDenoiser. Frames say where symbols lie, carrier offset and power; of channel and alphabets the network
    alone knows. Joint detection asks it; there is no denoiser of waveforms."""

    network: Any = None

    learned = True

    def deciding(self, tiles: Any, rows: Any) -> Any:
        """See OfdmBursts.deciding."""
        frames, window = [tiles.frames[row] for row in rows.tolist()], tiles.window[rows].tolist()
        places = {(w, f.burst, f.number) for w, f in zip(window, frames)}
        if len(places) < len(frames) or not all(np.all(f.gain) and f.decided is None for f in frames):
            raise CapabilityError("ofdm-bursts: the network decides frames as synchronization.burst_channel.open_frames finds "
                                  "them, all carriers open and numbered; leave frames out, or use the prior without its network")
        names = {name: i for i, name in enumerate(dict.fromkeys((w, f.burst) for w, f in zip(window, frames)))}
        burst = torch.tensor([names[w, f.burst] for w, f in zip(window, frames)])[:, None]
        number = torch.tensor([f.number for f in frames])[:, None]
        shape = len(names), int(number.max()) + 1, WIDTH

        def ask(mean: Any, var: Any) -> Any:
            places = burst.to(mean.device), number.to(mean.device), COLUMNS.to(mean.device)
            r, v = torch.zeros(shape, dtype=torch.complex64, device=mean.device), torch.full(shape, UNSEEN, device=mean.device)
            r[places], v[places] = torch.where(var < UNSEEN, mean, 0).to(r), var.clamp(_CLEAR, UNSEEN).to(v)
            v[..., WIDTH // 2] = _CLEAR                         # nothing is there, surely
            mean, left = (part[places] for part in self.network.to(r.device).posterior(r, v))
            return mean.to(torch.complex128), torch.minimum(left.double(), _SHRUNK * var).clamp_min(_SURE)

        return ask


def pulse_noise(colour: Any, level: Any, floor: Any) -> Any:
    """What an OfdmDenoiser gets of noise √v·H·n that the pulses of `colour`, a LinearModulation prior, carry over white noise;
    level: v, floor: variance of the white, float32 [1 or batch, 1]."""
    key = (float(level), float(floor), colour.signal, float(colour.carrier_offset)) if len(level) == len(floor) == 1 else None
    return colour, partial(_covariances, level, floor), key


def _covariances(level: Any, floor: Any, plan: Any) -> Any:
    """Covariances of noise √v·H·n that the plan's pulses carry over white noise: complex128 [classes, period, period]. level: v;
    floor: variance of the white; float32 [1 or batch, 1]."""
    pulses = torch.from_numpy(np.stack([frame_pulses(plan.pulse_key, c[2:], plan.length) for c in plan.classes])).to(
        torch.complex128)
    level, floor = ((v.double().cpu() if len(v) == 1 else v.double().cpu()[plan.rows])[..., None] for v in (level, floor))
    return level * pulses @ pulses.mH + floor * torch.eye(plan.length)


def _rows(level: Number, device: torch.device) -> Tensor:
    """A level, float or per window, as float32 [batch, 1], or [1, 1] where windows differ by less than 5 %: filters are then made
    once for all."""
    level = torch.as_tensor(level, dtype=torch.float32, device=device).reshape(-1, 1)
    return level.mean(0, keepdim=True) if bool(level.max() - level.min() <= 0.05 * level.min()) else level


def _one(value: float) -> float:
    """A nuisance as one float; of windows that differ, the first's."""
    return float(torch.as_tensor(value).reshape(-1)[0])


@lru_cache(maxsize=64)
def _density(signal: Any, frequency: float) -> Tensor:
    """The mean power density of a linear modulation `frequency` cycles per sample above 0: float32 [1, bins], mean 1."""
    density = LinearModulation(signal, 0.0, 0.0, 1.0, frequency).psd(_BINS)
    return torch.tensor(density, dtype=torch.float32)[None]


def with_network(source: Any, network: Any) -> Any:
    """The prior of that structure with the network as its denoiser. Raises ParameterError, CapabilityError where they do not
    fit."""
    fields = {name: getattr(source, name) for name, f in source.__dataclass_fields__.items() if f.init and name != "network"}
    if isinstance(network, BurstDenoiser) and source.structure is not Structure.BURSTS:
        raise CapabilityError("diffusion: a network of kind bursts decides the carriers of 802.11 bursts, not of a "
                              f"{source.kind} prior")
    learned = LearnedGaussian if source.fitted else _LEARNED.get(source.structure)
    if learned is None:
        raise CapabilityError(f"diffusion: no network can stand for the denoiser of a {source.kind} prior yet")
    _CHECKS.get(source.structure, lambda *_: None)(source, network)
    return learned(**fields, network=network)


def _check_chain(source: LinearModulation, network: Denoiser | Scheduled) -> None:
    if network.stride != source.signal.samples_per_symbol:
        raise ParameterError(f"network: its stride, {network.stride}, must be the source's samples_per_symbol, "
                             f"{source.signal.samples_per_symbol}")


def _check_frames(source: Any, network: Denoiser) -> None:
    if not network.cyclic:
        raise CapabilityError("diffusion: no network but one of kind ofdm can stand for the denoiser of an ofdm prior")
    for key in ("fft_size", "cyclic_prefix"):
        if getattr(network, key, None) != getattr(source.signal, key):
            raise ParameterError(f"network: its {key}, {getattr(network, key, 'none')}, must be the source's, "
                                 f"{getattr(source.signal, key)}")


def _check_bursts(source: Any, network: Any) -> None:
    if not isinstance(network, BurstDenoiser):
        raise CapabilityError("diffusion: no network but one of kind bursts decides the carriers of 802.11 bursts")


_LEARNED = {Structure.CHAIN: LearnedLinearModulation, Structure.FRAMES: LearnedOfdm, Structure.BURSTS: LearnedBursts}
_CHECKS = {Structure.CHAIN: _check_chain, Structure.FRAMES: _check_frames, Structure.BURSTS: _check_bursts}
