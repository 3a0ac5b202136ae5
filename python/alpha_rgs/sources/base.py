# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of every source: its state, the noise it is asked under, and what it can do.

A method asks a source for a capability and never for its kind:

    denoise         E[s | s + noise]: every source
    psd             its mean power spectral density: every source whose autocorrelation is known
    linear_model    the waveform as a linear map of independent discrete unknowns, else None
    demodulator     symbols and log-likelihood ratios of the bits in a waveform, else None
    synchronize     estimates its own unknown state in a mixture (default: estimates nothing)
    structure       how its unknowns are coupled, by which methods find a fast elimination
    parts           the sources that it consists of, which joint detection takes one by one
"""
from __future__ import annotations

import dataclasses
import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from .keys import Key

if TYPE_CHECKING:
    from ..inference.linear_model import LinearModel

Number = float | Tensor
FIELDS = ("gain", "delay", "phase", "carrier_offset", "clock_offset", "channel")      # of a State


class Structure(enum.Enum):
    """How the discrete unknowns of a source are coupled. Pairs of structures have eliminations of their own."""

    NONE = "none"           # no discrete unknowns, or none that a linear map explains
    CHAIN = "chain"         # one symbol per period, each overlapping with its neighbours
    FRAMES = "frames"       # frames of carriers that begin at known samples
    BURSTS = "bursts"       # frames of carriers that come and go, found in each window


@dataclass(frozen=True)
class State:
    """Nuisances of one source in one recording, or their standard deviations. None: unknown, or not a nuisance of that source.

    gain: amplitude as received, the source having unit mean power. delay: samples from the first sample to the source's time
    reference (a symbol's centre, a frame's first sample). phase: rad, at the first sample. carrier_offset: cycles per
    sample. clock_offset: relative. channel: complex taps. Numbers, or tensors [batch] (channel: [batch, taps]).
    """

    gain: Number | None = None
    delay: Number | None = None
    phase: Number | None = None
    carrier_offset: Number | None = None
    clock_offset: Number | None = None
    channel: Any = None

    def known(self) -> dict[str, Any]:
        """The fields that are not None."""
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Noise:
    """Gaussian noise that disturbs a source: x = s + sqrt(white)*n, plus sqrt(basis_var)*H*m where there is a basis, plus a
    stationary part of density psd.

    white: variance per complex sample, a number or [batch]. basis: a source with Structure.CHAIN whose pulses H carry the second
    part, one m ~ CN(0, 1) per symbol; basis_var: its variance per symbol. psd: float64 [1 or batch, n], at frequencies k/n in FFT
    order; its mean is its variance per sample. A denoiser may take the last part for white; a synchronizer should not.
    """

    white: Number = 0.0
    basis: Source | None = None
    basis_var: Number = 0.0
    psd: Tensor | None = None

    @classmethod
    def of(cls, noise: Noise | Number) -> Noise:
        """White noise of that variance, or the Noise itself."""
        return noise if isinstance(noise, Noise) else cls(noise)

    @property
    def flat(self) -> Number:
        """Variance per sample of what is white, and of the stationary part as if it were: a number or [batch]."""
        return self.white if self.psd is None else torch.as_tensor(self.white).double() + self.psd.mean(-1)

    def density(self, samples: int) -> Tensor:
        """Power density of all but the basis at frequencies k/samples, FFT order: float64 [1 or batch, samples]."""
        white = torch.as_tensor(self.white, dtype=torch.float64).reshape(-1, 1)
        if self.psd is None:
            return white.expand(-1, samples)
        return white + resampled_density(self.psd, samples)


@dataclass(frozen=True)
class Posterior:
    """What samples say about a source. mean: E[s | x], complex64 [batch, samples]; variance: E|s - mean|² per complex sample,
    averaged over the window, float32 [batch]."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Demodulated:
    """Symbols of a batch of windows. symbols: soft, complex64 [batch, n]. llrs: log P(0)/P(1) of their bits, float32 [batch, n,
    bits]. at: the sample on which each symbol is centred, float64 [batch, n]; NaN where a window has no such symbol."""

    symbols: Tensor
    llrs: Tensor
    at: Tensor


def resampled_density(psd: Tensor, samples: int) -> Tensor:
    """A density [1 or batch, n] at frequencies k/samples, FFT order: [1 or batch, samples], each frequency's neighbours averaged
    where there are more of them than asked for."""
    if psd.shape[-1] == samples:
        return psd
    shifted = torch.fft.fftshift(psd.double(), dim=-1)
    edges = torch.linspace(0, psd.shape[-1], samples + 1, dtype=torch.float64, device=psd.device)
    total = torch.nn.functional.pad(shifted.cumsum(-1), (1, 0))
    low = edges.floor().long().clamp(max=psd.shape[-1] - 1)
    at = total[..., low] + (edges - low) * shifted[..., low]
    return torch.fft.ifftshift(at.diff(dim=-1) / edges.diff(), dim=-1)


class Demodulator(Protocol):
    """Reads symbols in a waveform. coherent: whether its decisions need the phase; ambiguity: how many rotations of the phase
    leave decisions equally likely where the phase is estimated (1: none)."""

    coherent: bool
    ambiguity: int

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        """x: the source of unit mean power plus noise of that variance, complex64 [batch, samples]."""


class Source(ABC):
    """What is believed about one source of unit mean power, seen alone.

    Nuisances (timing, phase, ...) are numbers, tensors of shape [batch] (one per window), or None: unknown.
    """

    kind: ClassVar[str] = ""
    structure: ClassVar[Structure] = Structure.NONE
    integrates_nuisances: bool = False  # whether denoise is the posterior mean where timing and phase are unknown too
    supervised: bool = False            # whether its network was trained on mixtures, for one pass over them
    alphabet_rotation: float = 0.0      # rad by which its alphabet rotates from symbol to symbol
    differential: bool = False          # whether its bits are in steps from symbol to symbol, which a turn of all does not move
    own_carrier: ClassVar[bool] = True  # whether windows of one batch may differ in the carrier offset of its noise's basis
    learned: bool = False               # whether denoise asks a trained network
    takes_basis: bool = True            # whether denoise takes a Noise with a basis
    fitted: bool = False                # whether its psd was fitted to a recording, and so is wrong by a share of itself
    linear: bool = False                # whether it has a linear model once its nuisances are known
    keyed: bool = False                 # whether it is a continuous-phase modulation that has no linear model
    decided: bool = False               # whether its waveform is one of finitely many, or lines: it can be cancelled whole
    plain_frames: bool = False          # whether it is frames of independent carriers, of one alphabet, in white noise
    whole_delay: ClassVar[bool] = False # whether its delay is a whole number of samples
    intermittent: bool = False          # whether it may come in bursts within a window, each with nuisances of its own
    least_period: ClassVar[float] = 1.0 # samples that its period (Role.PERIOD) takes at least
    carrier_reach: float = 0.02         # cycles per sample to each side, within which an unknown carrier offset is looked for
    any_rate: ClassVar[bool] = False    # whether its periods (Role.PERIOD) need not be whole numbers of samples
    carrier_unknown: ClassVar[bool] = False     # whether a file without carrier_offset has an unknown one, not 0
    hides: ClassVar[bool] = True        # whether its unknowns can take up what a signal that was found wrongly leaves
    own_levels: ClassVar[bool] = False  # whether synchronize finds its amplitudes too, so that its gain is not to be estimated
    dc_free: ClassVar[bool] = False     # whether a line at frequency zero is none of its own
    per_window: ClassVar[bool] = False  # whether nothing of it goes on from window to window: it is found in each, also by others
    keys: ClassVar[Mapping[str, Key]] = {}              # of its prior file
    state_names: ClassVar[Mapping[str, str]] = {}       # field of State -> name of the nuisance
    estimable: ClassVar[tuple[str, ...]] = ()           # nuisances that are estimated in a mixture where they are None
    needs: ClassVar[tuple[str, ...]] = ()               # nuisances without which it cannot be denoised
    synchronizes: ClassVar[tuple[str, ...]] = ()        # those of them that `synchronize` estimates

    # ---- state -----------------------------------------------------------------------------------------------------------
    @property
    def state(self) -> State:
        """The nuisances in standard terms."""
        return State(**{name: getattr(self, own) for name, own in self.state_names.items()})

    def with_state(self, **values: Any) -> Self:
        """The same source with these fields of State. Raises CapabilityError for one that it does not have."""
        for name in values:
            if name not in self.state_names:
                raise CapabilityError(f"{self.kind}: has no {name}; it has {', '.join(self.state_names) or 'no nuisances'}")
        return dataclasses.replace(cast(Any, self), **{self.state_names[name]: value for name, value in values.items()})

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the nuisances that are None."""
        return tuple(own for own in self.state_names.values() if own != "gain" and getattr(self, own) is None)

    @property
    def unknown_parts(self) -> bool:
        """Whether a part of it lacks a nuisance that it needs."""
        return any(set(part.unknown) & set(part.needs or part.synchronizes) for part in self.parts)

    @property
    def finds_level(self) -> bool:
        """Whether its gain is not to be estimated, since `synchronize` is still to find its amplitudes."""
        return self.own_levels and bool(self.unknown)

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources whose sum it is, each with its own gain; itself where it is one."""
        return (self,)

    @property
    def steady(self) -> Source:
        """The source as it is seen while it is on, from its first sample then; itself where it is always on."""
        return self

    def while_on(self, samples: int) -> slice:
        """The samples of a window of that many while it is on."""
        return slice(0, samples)

    def scaled(self, factor: float) -> Self:
        """The same source in samples that were multiplied by `factor`."""
        gain = getattr(self, "gain", None)
        return self if gain is None or factor == 1 else dataclasses.replace(cast(Any, self), gain=gain * factor)

    def in_file(self, fields: dict[str, Any]) -> dict[str, Any]:
        """key -> value as its file says it, from its fields and those of its signal."""
        return fields

    def arrays(self) -> dict[str, np.ndarray]:
        """name -> array that its folder holds beside its keys; none where a TOML file says all."""
        return {}

    def through_resampler(self) -> Self:
        """The source as a resampler's filter leaves it."""
        return self

    @classmethod
    def oversampled(cls, table: dict[str, Any], factor: int, resampled: bool) -> dict[str, Any]:
        """The keys of its file, given at the rate of Role.GRID, at `factor` times that rate. resampled: whether samples come from
        a resampler, whose filter smears what is sharp."""
        return table

    @abstractmethod
    def at(self, start: Number) -> Self:
        """The same source as windows see it that begin `start` samples later (number or tensor [batch])."""

    def select(self, index: Any) -> Self:
        """The same source as some windows of a batch see it: `index` (a slice or indices) into nuisances of shape [batch]."""
        if not dataclasses.is_dataclass(self):
            return self                                 # nothing of it is known per window
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return dataclasses.replace(self, **{name: value[index] for name, value in given.items()
                                            if torch.is_tensor(value) and value.ndim == 1 and len(value) > 1})

    # ---- second moments --------------------------------------------------------------------------------------------------
    def autocorrelation(self, lags: Any) -> np.ndarray:
        """R(l) = E[s(n + l)·conj(s(n))], averaged over time: complex128, shape of lags (samples, whole numbers); R(0) = 1.

        Raises CapabilityError where the source does not know it.
        """
        raise CapabilityError(f"{self.kind}: this source gives no autocorrelation, which a stationary covariance needs")

    def psd(self, nfft: int) -> np.ndarray:
        """Mean power spectral density at frequencies k/nfft, FFT order: float64 [nfft], mean 1, not negative. Raises
        CapabilityError where the source gives no autocorrelation."""
        lags = np.fft.ifftshift(np.arange(-(nfft // 2), nfft - nfft // 2))
        density = np.fft.fft(self.autocorrelation(lags)).real.clip(0)
        return density / density.mean()

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """(windows of random content, complex64 [batch, samples], of unit mean power; the source as it truly is, nuisances that
        it lacks drawn per window). Raises CapabilityError where its description does not suffice."""
        raise CapabilityError(f"{self.kind}: a source of this kind cannot be drawn; record it, or give the file of its structure")

    # ---- inference -------------------------------------------------------------------------------------------------------
    @abstractmethod
    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """E[s | x] for x = s + noise, complex64 [batch, samples] -> the same. noise: a Noise, or the variance of white noise.

        Raises CapabilityError where the source cannot.
        """

    def asked(self, noise: Noise | Number) -> tuple[Number, Any, Number]:
        """(variance, None, 0) of white noise; (basis_var, basis, white) of noise with a basis. Raises CapabilityError where the
        denoiser does not take it."""
        noise = Noise.of(noise)
        if noise.basis is None:
            return noise.flat, None, 0.0
        if noise.basis.structure is not Structure.CHAIN:
            raise CapabilityError(f"{self.kind}: cannot denoise under noise in the span of a {noise.basis.kind} source; its "
                                  "basis must be a linear-modulation")
        if not self.takes_basis:
            raise CapabilityError(f"{self.kind}: denoises in white noise only, not in the span of another source; use preset "
                                  "white or paper")
        return noise.basis_var, noise.basis, noise.flat

    def white(self, noise: Noise | Number) -> Number:
        """The variance of white noise. Raises CapabilityError where it has a basis."""
        return self.asked(noise)[0]

    def posterior(self, x: Tensor, noise: Noise | Number) -> Posterior:
        """The posterior mean and its variance: of a source of unit power and its mean m, E|s - m|² = 1 - E|m|²."""
        mean = self.denoise(x, noise)
        return Posterior(mean, (1 - mean.abs().square().mean(1)).clamp(0, 1).float())

    def reconstruct(self, x: Tensor, noise_var: float) -> Tensor:
        """As denoise with white noise, for handing over: a source may do better here where its denoiser approximates."""
        return self.denoise(x, noise_var)

    def score(self, x: Tensor, noise_var: float) -> Tensor:
        """The gradient of log p(x), by Tweedie's formula: (E[s | x] - x)/noise_var."""
        return (self.denoise(x, noise_var) - x) / noise_var

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """(the source with unknown nuisances estimated, name -> tensor [batch] of these), in x = s + noise, complex64 [batch,
        samples]. noise: a Noise, whose psd holds what else is in the mixture, or the variance of white noise, about. Default:
        estimates nothing."""
        return self, {}

    def guess(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor], Any]:
        """What `synchronize` returns, and what else the nuisances may be, which detection together with the other sources tells
        apart (cpm_synchronizer.Guesses, of sources that are `keyed`). Default: None, nothing else."""
        return *self.synchronize(x, noise), None

    def levelled(self) -> tuple[Self, Tensor | None]:
        """Of a source with own_levels: the same one with amplitudes of unit mean power in each window, and the factor on its gain
        float64 [batch] that this takes (0: a window holds nothing of it). (self, None) of others."""
        return self, None

    def in_packets(self) -> Source | None:
        """The same source as one that comes in packets, finds these itself with their amplitudes (own_levels), and knows whether
        there are `gaps`; None where it is taken to be always on, or where its power alone shows when it is on (intermittent)."""
        return None

    def gaps(self, x: Tensor, mixed: bool = False) -> Tensor:
        """Of a source in packets: whether windows x = s + noise, complex64 [batch, samples], show that it is not always on: bool
        [batch]. mixed: x holds all other sources too."""
        return torch.zeros(len(x), dtype=torch.bool)

    def lines(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """(narrow lines in x, complex64 [batch, samples], their mean power [batch]) of a source that is known by its lines alone,
        its mean density being flat; None of others."""
        return None

    def blocks(self, shape: Sequence[int]) -> Any:
        """How windows of this shape [batch, samples] fall into stretches that are independent of each other and hold one of
        finitely many waveforms each: None where they do not, or where nobody knows; else an object like FramePlan: start
        [batch, blocks], length, inside, cut, join."""
        return None

    # ---- capabilities ----------------------------------------------------------------------------------------------------
    def linear_model(self, shape: Sequence[int]) -> LinearModel | None:
        """The unit-power waveform of windows of this shape [batch, samples] as a linear map of independent discrete unknowns;
        None where there is none. All nuisances but the gain are known."""
        return None

    def demodulator(self) -> Demodulator | None:
        """Reads symbols and bits; None for a source that has no symbols."""
        return None

    @property
    def symbol_period(self) -> float:
        """Samples per symbol of a source with Structure.CHAIN; 0 of others. Where it is whole, an int, windows must tile them."""
        return 0

    def with_symbol_period(self, period: float) -> Self:
        """The same source with another symbol_period; itself where it has none."""
        own = cast(Any, self)
        signal = dataclasses.replace(own.signal, samples_per_symbol=period) if self.symbol_period else None
        return self if signal is None else dataclasses.replace(own, signal=signal)

    @property
    def memory(self) -> int:
        """Samples that one of its symbols takes: windows are several times as long, with a few of them as context."""
        return 0

    @property
    def pseudo_period(self) -> int | None:
        """Samples after which its complementary covariance E[s(n + l)·s(n)] repeats, where it is not zero and no symbol grid
        shows it; else None."""
        return None

    @property
    def frame_period(self) -> int:
        """Samples after which its delay repeats; 0 where it does not."""
        return 0

    @property
    def repeats(self) -> tuple[float, int] | None:
        """(samples, turns): samples alone tell its delay up to so many samples, and its phase up to so many parts of a turn. None
        where its nuisances do not go on from window to window, as in bursts."""
        return None

    @property
    def by_autocorrelation(self) -> bool:
        """Whether its autocorrelation is all that is known of it: stationary Gaussian noise, fitted to a recording."""
        return self.fitted and not self.learned and self.frame_period == 1
