# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user did not give, found from the mixture: the interference's own nuisances (of OFDM: ofdm.py; of a linear modulation:
linear_modulation.py; of others: levels.py; of bursts of OFDM: burst_layout.py and burst_channel.py), kappa and the noise
variance; under bursts the signal of interest's too (evidence.py). Under other interference that is found first (stationary.py,
separators/blind.py).

Each window is judged alone.
"""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..sources.base import Number, Source, Structure
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..sources.ofdm_bursts import Tiles
from .burst_channel import burst_frames, open_frames, thermal_noise
from .burst_layout import slots
from .evidence import acquire_soi, bands_of
from .levels import acquire_gaussian
from .linear_modulation import acquire_linear
from .ofdm import frame_offset, noise_level, phase_and_kappa
from .powers import estimate_powers

if TYPE_CHECKING:
    from ..sources.ofdm_bursts import Frame

_BESIDE = 0.008         # cycles per sample, beside the SOI's band, that bursts are not judged by
# of what is found under bursts, measured: share of kappa that is wrong where carriers are decided, and where none is; noise by
# chance, times 1/√samples; share of the window's power that is taken for noise (see thermal_noise)
_VAGUE, _FEW, _MISSED = (0.012, 0.05), 5.0, 0.006
_LEAST = 1e-6           # noise variance
_BESIDE_DC, _LINE = (2, 26), 8.0       # bins beside frequency zero, and how far a line stands out of their power


def acquire(y: Tensor, soi: Any, interference: Any, kappa: Number | None = None,
            noise_var: Number | None = None) -> tuple[Any, ...]:
    """Fill in what is None: returns (soi, interference, kappa [batch], noise_var [batch], estimated).

    estimated: name -> [batch] of what was None; kappa_std and noise_var_std: standard deviations of those two.

    y: complex64 [batch, samples]. Raises ParameterError where the SOI's own nuisances are missing, unless the interference is one
    of bursts (see separators.separate, which finds them).
    """
    if interference.structure is Structure.BURSTS:
        return _bursts(y, soi, interference, noise_var)
    soi, interference = (replace(p, carrier_offset=0.0) if "carrier_offset" in set(p.unknown) - set(p.synchronizes) else p
                         for p in (soi, interference))
    for key in soi.estimable:
        if getattr(soi, key) is None:
            raise ParameterError(f"signal of interest: {key} is missing")
    interference, found = _ACQUIRE.get(interference.structure, acquire_gaussian)(y, soi, interference, kappa, noise_var)
    kappa, noise_var = found.get("kappa", kappa), found.get("noise_var", noise_var)
    full = [torch.as_tensor(v, dtype=torch.float32).reshape(-1).expand(len(y)).to(y.device) for v in (kappa, noise_var)]
    return soi, interference, *full, found


def _frames(y: Tensor, soi: LinearModulation, interference: Any, kappa: Number | None,
            noise_var: Number | None) -> tuple[Source, dict[str, Any] | dict[str, Tensor]]:
    """(interference, found) of OFDM: frame offset, noise, phase and level in turn."""
    found = {}
    if interference.frame_offset is None:
        found["frame_offset"] = frame_offset(y, soi, interference)
        interference = replace(interference, frame_offset=found["frame_offset"])
    rough = replace(interference, phase=0.0 if interference.phase is None else interference.phase)
    if noise_var is None:
        found["noise_var"], found["noise_var_std"] = noise_level(y, soi, rough) or _by_density(y, soi, rough, kappa)
    if interference.phase is None or kappa is None:
        phase, level, error = phase_and_kappa(y, soi, rough, found.get("noise_var", noise_var))
        if interference.phase is None:
            interference = replace(interference, phase=phase)
            if interference.signal.unknown_alphabet.symmetry:
                found["phase"] = phase
        if kappa is None:
            found["kappa"], found["kappa_std"] = level, error
    return interference, found


def _by_density(y: Tensor, soi: LinearModulation, ofdm: Any, kappa: Number | None) -> tuple[Tensor, Tensor]:
    """(noise per complex sample, its standard deviation, as much again), float32 [batch], by power densities alone."""
    found = []
    for k in range(len(y)):
        own, other = (source.select(slice(k, k + 1)) for source in (soi, ofdm))
        gain, level = (None if v is None else torch.as_tensor(v, dtype=torch.float64).reshape(-1)[-1:] for v in (
            own.gain, kappa if not torch.is_tensor(kappa) or kappa.numel() == 1 else kappa[k:k + 1]))
        known = [None if v is None else v.square() for v in (gain, level)]
        found.append(estimate_powers(y[k:k + 1], [own, other], known, None)[-1])
    noise = torch.cat(found).float().to(y.device)
    return noise, noise


def _chain(y: Tensor, soi: LinearModulation, interference: LinearModulation, kappa: Number | None,
           noise_var: Number | None) -> tuple[LinearModulation, dict[str, Any] | dict[str, Tensor]]:
    """(interference, found) of a linear modulation, where anything is unknown."""
    if all(v is not None for v in (interference.timing, interference.phase, kappa, noise_var)):
        return interference, {}
    return acquire_linear(y, soi, interference, kappa, noise_var)


_ACQUIRE = {Structure.FRAMES: _frames, Structure.CHAIN: _chain}       # others: by their power spectral density


def offset_of_zero(y: Tensor) -> Tensor:
    """The line at frequency zero that a receiver adds, complex64 [batch]: the windows' mean where it stands out of the density
    beside it, else 0."""
    x = torch.fft.fft(y.to(torch.complex128))
    beside = torch.cat([x[:, _BESIDE_DC[0]:_BESIDE_DC[1]], x[:, -_BESIDE_DC[1] + 1:1 - _BESIDE_DC[0]]], 1)
    stands_out = x[:, 0].abs().square() > _LINE * beside.abs().square().mean(1)
    return torch.where(stands_out, x[:, 0] / y.shape[1], 0).to(torch.complex64)


def _undecided(frames: list[Frame]) -> float:
    """The share of frames in which no carrier is decided, 0 … 1."""
    held = [frame.alphabet == "gaussian" for frame in frames if frame.alphabet]
    return sum(held) / max(len(held), 1)


def _bursts(y: Tensor, soi: LinearModulation, bursts: Any, noise_var: Number | None) -> tuple[Any, ...]:
    """acquire, under bursts: frames first, by what the SOI leaves of the band; then the SOI among them; both once more with a
    narrower band, where the SOI's carrier offset was unknown. kappa is in the frames' gains and not asked for."""
    given = soi
    level: Any = noise_var
    unknown = [key for key in NUISANCES if getattr(soi, key) is None]
    windows = y.detach().cpu().numpy().astype(complex)
    for narrow in (False, True) if soi.carrier_offset is None else (True,):
        bands = bands_of(soi, len(y), _BESIDE)
        look = open_frames if bursts.learned else burst_frames
        frames = bursts.frames or [look(x, slots(x, band), band) for x, band in zip(windows, bands)]
        here = replace(bursts, frames=frames)
        if noise_var is None:
            level = torch.tensor([thermal_noise(*row) for row in zip(windows, frames, bands)])
        level = torch.as_tensor(level, dtype=torch.float32).reshape(-1).expand(len(y))
        if unknown:
            own = acquire_soi(given, Tiles(y, here, level.clamp_min(_LEAST)))
            soi = own if narrow else replace(given, carrier_offset=own.carrier_offset)
            given = soi
    found = {key: getattr(soi, key) for key in unknown} | _levels(y, bursts, here, level, noise_var)
    return soi, here, here.kappa(len(y)).float().to(y.device), level.to(y.device), found


def _levels(y: Tensor, bursts: Any, here: Any, level: Any, noise_var: Number | None) -> Any:
    """What acquire reports of kappa and noise under bursts. By what was measured on drawn traffic, both estimates being made of
    decisions: the scatter of what is seen says nothing of carriers that are not."""
    found = {}
    if not bursts.frames:
        kappa, open_ = here.kappa(len(y)), torch.tensor([_undecided(window) for window in here.frames], dtype=torch.float64)
        found = {"kappa": kappa, "kappa_std": kappa * torch.hypot(_VAGUE[1] * open_, torch.full_like(open_, _VAGUE[0]))}
    if noise_var is None:
        missed = _MISSED * y.abs().square().mean(1).cpu()
        found |= {"noise_var": level, "noise_var_std": torch.hypot(_FEW * level / y.shape[1] ** 0.5, missed)}
    return {name: value.float() for name, value in found.items()}
