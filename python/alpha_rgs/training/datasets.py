# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks are trained on: windows of one source alone, without end, and noise of random level and colour.

A source whose structure is known is drawn by the signals themselves, a linear modulation on the network's grid (symbols centred
in the middle of a hop, but for a fraction of a sample that the network is given); one that is not is cut out of recordings at
random, turned by a random phase and a small carrier offset. The first 80 % of a recording train, the rest validates: split by
time, so that no window of one overlaps one of the other.
"""
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from ..errors import ParameterError
from ..nets.bursts import COLUMNS, WIDTH
from ..nets.denoiser import resampled
from ..nets.fast import window
from ..signals.constellations import points_of
from ..signals.wifi import ALPHABETS, PILOTS
from ..sources import mixtures
from ..sources.gaussian import period_offset
from .covariance_fit import active, split

LEVELS = (3e-3, 100.0)          # of the noise's density, log-uniform
FLOORS = (1e-4, 1.0)            # of white noise beside another source
_BAND, _COLOURED = 0.35, 0.5     # shares of noises: a band, and together with those of the source's own spectrum
_DEPTH = 4.0                    # decades between a coloured noise's peak and its floor, at most
_BURSTS, _UNSEEN = 0.35, 0.5    # shares of windows that a burst begins or ends in, and of those that begin between hops
_TIMING, _PHASE = 0.01, 0.005   # errors of timing (samples) and phase (rad) as acquisition makes them, standard deviations
_STRETCH = 8192         # samples over which a period stays where it is
_OFFSET = 1e-4                  # cycles per sample, of recordings
# of carriers: shares of alphabets; of bursts with fields before their data; rad from frame to frame, usually and in some; a
# channel's taps, samples; by how many a transform begins before the first of them, and after
_ALPHABETS, _TRAINED, _DRIFT, _JITTER = (0.3, 0.3, 0.25, 0.15), 0.4, 0.02, 0.015
_TAPS, _EARLY, _LATE = 8, 6.0, 3.0


@dataclass
class Batch:
    """s complex64 [batch, samples], the truth; fraction float32 [batch] of a sample that it lies later than the grid; presence
    float32 [batch, samples] as nets.Denoiser has it."""

    s: Tensor
    fraction: Tensor
    presence: Tensor

    def first(self, samples: int) -> "Batch":
        """The batch, no more than so many samples of each window."""
        return Batch(self.s[:, :samples], self.fraction, self.presence[:, :samples])


class Linear:
    """A linear modulation (prior: whatever timing, phase and length it has play no part) in windows of `hops` symbols."""

    def __init__(self, prior: Any, hops: int, kernel: int) -> None:
        if hops < 2:
            raise ParameterError(f"--window: {hops * prior.signal.samples_per_symbol} samples hold {hops} symbol; give "
                                 f"{2 * prior.signal.samples_per_symbol} or more")
        self.prior = replace(prior, timing=0.0, phase=0.0, gain=1.0, carrier_offset=0.0, symbols=None)
        self.stride, self.samples = prior.signal.samples_per_symbol, hops * prior.signal.samples_per_symbol
        self.room = window(torch.zeros(self.samples), self.stride, kernel)[1]

    def spectrum(self, bins: int) -> Tensor:
        """S: float32 [bins]."""
        return torch.tensor(self.prior.psd(bins).clip(1e-6), dtype=torch.float32)

    def draw(self, batch: int, generator: Generator, exact: bool = False) -> Batch:
        """A Batch. exact: no errors of timing and phase, every window full (to be compared with exact posterior means)."""
        signal, alphabet, samples = self.prior.signal, self.prior.signal.alphabet, self.samples
        timing = self.stride / 2 + torch.rand(batch, generator=generator, dtype=torch.float64) - 0.5
        here = replace(self.prior, timing=timing)
        first, count = here.overlapping_symbols(samples)
        symbols = alphabet.map(torch.randint(0, 2, (batch, count * alphabet.bits_per_symbol), generator=generator))
        presence, n = torch.ones(batch, samples), torch.arange(samples)
        if not exact:
            number = first[:, None] + torch.arange(count)
            begin, end = self._ends(batch, generator)
            symbols = symbols * ((number >= begin) & (number < end))
            low = timing[:, None] + begin * self.stride - signal.half_length
            high = timing[:, None] + (end - 1) * self.stride + signal.half_length
            presence[(n < low) | (n > high)] = -1
            cut = torch.rand(batch, 1, generator=generator) < _UNSEEN
            lead = torch.randint(0, self.stride, (batch, 1), generator=generator)
            presence[cut & ((n < lead) | (n >= samples - self.stride + lead)) & (presence > 0)] = 0
        s = replace(here, phase=0.0).modulate_overlapping(symbols, samples)
        fraction = (timing - self.stride / 2).float()
        if exact:
            return Batch(s, fraction, presence)
        fraction = fraction + _TIMING * torch.randn(batch, generator=generator)
        turn = _PHASE * torch.randn(batch, 1, generator=generator)
        return Batch(s * torch.polar(torch.ones_like(turn), turn), fraction, presence)

    def _ends(self, batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Numbers of the first symbol and of the one after the last, int64 [batch, 1]: beyond the window, or a burst's: often
        as a burst lies that fills a window of its own, its ends in the room that is padded."""
        hops, room = self.samples // self.stride, self.room // self.stride
        places = torch.randint(0, hops // 2, (2, batch, 1), generator=generator)
        places = torch.where(torch.rand(2, batch, 1, generator=generator) < 0.7, room, places)
        there = torch.rand(2, batch, 1, generator=generator) < _BURSTS
        begin = torch.where(there[0], places[0], -10 * hops)
        return begin, torch.where(there[1], hops - places[1], 10 * hops)


class Drawn:
    """Any source that mixtures can draw, its nuisances drawn too where its prior lacks them, in windows of `samples`."""

    stride = 1

    def __init__(self, prior: Any, samples: int) -> None:
        self.prior, self.samples = prior, samples

    def spectrum(self, bins: int) -> Tensor:
        """S: float32 [bins]."""
        return averaged(self.draw(512, torch.Generator().manual_seed(0)).s, bins)

    def draw(self, batch: int, generator: Generator, exact: bool = False) -> Batch:
        """A Batch."""
        s = mixtures.alone(self.prior, batch, self.samples, generator)[0]
        return Batch(s, torch.zeros(batch), torch.ones(1, self.samples).expand(batch, -1))


class Recorded:
    """Windows of `samples` from recordings, a list of complex arrays [n]; names: of the recordings, for the ParameterError of one
    that is too short. held_out: from the last 20 % of each. Unit mean power over all of what is not silence; stretches shorter
    than a window are not used.

    prior: a Gaussian of some period, where windows are to begin as a period does; where that is, is estimated anew every 8192
    samples, since clocks drift.
    """

    def __init__(self, recordings: Sequence[npt.NDArray[Any]], names: Sequence[str], samples: int, held_out: bool = False,
                 prior: Any = None) -> None:
        self.samples = samples
        self.pieces: list[Tensor] = []
        self.stride = 1 if prior is None else prior.period
        samples = samples + self.stride - 1         # there is room to begin later
        for name, x in zip(names, recordings):
            if len(x) < 2 * samples:
                raise ParameterError(f"{name}: holds {len(x)} samples, but a window takes {samples} and two are needed, one to "
                                     "train on and one to validate; give a longer recording, or a smaller --window")
            pieces = [p for p in split(active(name, np.asarray(x)))[held_out] if len(p) >= samples]
            if not pieces:
                raise ParameterError(f"{name}: its {'last 20' if held_out else 'first 80'} % hold no stretch of {samples} "
                                     "samples without silence; give a longer recording, or a smaller --window")
            self.pieces += [torch.from_numpy(p).to(torch.complex64) for p in pieces]
        self.begin = None if prior is None else [self._begins(p.numpy(), prior) for p in self.pieces]
        weight = np.array([len(p) - samples + 1 for p in self.pieces], float)
        self.edges = torch.as_tensor(np.cumsum(weight))

    def spectrum(self, bins: int) -> Tensor:
        """S: float32 [bins]."""
        return averaged(self.draw(512, torch.Generator().manual_seed(0)).s, bins)

    def draw(self, batch: int, generator: Generator, exact: bool = False) -> Batch:
        """A Batch. exact: as recorded, neither turned nor shifted in frequency."""
        at = (torch.rand(batch, generator=generator, dtype=torch.float64) * self.edges[-1]).floor()
        which = torch.searchsorted(self.edges, at, right=True)
        start = (at - torch.cat([torch.zeros(1), self.edges])[which]).long()
        places = list(zip(which.tolist(), start.tolist()))
        if self.begin is not None:
            places = [(w, i + (int(self.begin[w][min(i // _STRETCH, len(self.begin[w]) - 1)]) - i) % self.stride)
                      for w, i in places]
        s = torch.stack([self.pieces[w][i:i + self.samples] for w, i in places])
        if not exact:
            angle = 2 * torch.pi * torch.rand(batch, 1, generator=generator)
            angle = angle + 2 * torch.pi * _OFFSET * torch.randn(batch, 1, generator=generator) * torch.arange(self.samples)
            s = s * torch.polar(torch.ones_like(angle), angle)
        return Batch(s, torch.zeros(batch), torch.ones(1, self.samples).expand(batch, -1))

    @staticmethod
    def _begins(x: npt.NDArray[Any], prior: Any) -> npt.NDArray[np.int64]:
        """Where a period begins, modulo the period, in each stretch of a piece: int64 [stretches]."""
        found = []
        for i in range(0, max(len(x) - _STRETCH // 2, 1), _STRETCH):
            part = x[i:i + _STRETCH].astype(complex)
            offset = period_offset(part[None], prior, prior.psd(len(part))[None] + 1e-2)[0]
            found.append((int(offset) + i) % prior.period)
        return np.array(found)


def averaged(s: Tensor, bins: int) -> Tensor:
    """The mean power density of windows [batch, samples]: float32 [bins], mean 1, no bin below -50 dB."""
    taper = torch.hann_window(bins)
    s = torch.nn.functional.pad(s, (0, max(0, bins - s.shape[1])))
    pieces = s.unfold(1, bins, max(bins // 2, 1))
    density = torch.fft.fft(pieces * taper).abs().square().mean((0, 1))
    density = density / density.mean()
    density = density.clamp_min(1e-5)
    return density / density.mean()


class GaussianNoise:
    """What a denoiser learns to remove: Gaussian noise of random level, and of random colour where `coloured` is set (half of
    the time: a band of random place and width, or the source's own spectrum, over a floor)."""

    def __init__(self, spectrum: Tensor, coloured: bool) -> None:
        self.spectrum, self.coloured = spectrum, coloured

    def densities(self, batch: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """N(f), float32 [batch, bins or 1], levels log-uniform over LEVELS, and which are coloured, bool [batch]."""
        bins = len(self.spectrum)
        level = 10 ** _uniform(batch, _decades(LEVELS), generator)
        if not self.coloured:
            return level, torch.zeros(batch, dtype=torch.bool)
        centre, width = _uniform(batch, (-0.5, 0.5), generator), 10 ** _uniform(batch, (-1.7, -0.2), generator)
        distance = ((torch.arange(bins) / bins - centre + 0.5) % 1 - 0.5).abs()
        edge = _uniform(batch, (0.05, 1.0), generator) * width / 2            # raised cosine, as wide as this
        band = 0.5 * (1 + torch.cos(torch.pi * ((distance - width / 2 + edge / 2) / edge).clamp(0, 1)))
        choice = _uniform(batch, (0, 1), generator)
        shape = torch.where(choice < _BAND, band, (self.spectrum / self.spectrum.max())[None])
        floor, white = 10 ** -_uniform(batch, (0, _DEPTH), generator), choice >= _COLOURED
        return torch.where(white, level, level * (floor + (1 - floor) * shape)), ~white[:, 0]

    def draw(self, batch: int, samples: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(noise complex64 [batch, samples], its density, which windows' is coloured)."""
        density, coloured = self.densities(batch, generator)
        n = mixtures.noise((batch, samples), generator)
        if density.shape[1] > 1:
            n = torch.fft.ifft(torch.fft.fft(n) * resampled(density, samples).sqrt())
        else:
            n = n * density.sqrt()
        return n, density, coloured


class SignalNoise:
    """Another source, at random timing and phase, and white noise under both: so a network learns from mixtures drawn from two
    priors. prior: of the other; sir_db: (least, greatest) power of the other over the source."""

    def __init__(self, prior: Any, sir_db: tuple[float, float], bins: int = 512) -> None:
        nuisances = {own: None for name, own in prior.state_names.items() if name in ("delay", "phase")}
        self.prior = replace(prior, **nuisances, **({"symbols": None} if hasattr(prior, "symbols") else {}))
        self.sir_db, self.shape = sir_db, torch.tensor(prior.psd(bins), dtype=torch.float32)

    def draw(self, batch: int, samples: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As GaussianNoise.draw; the density is the other's mean one, and the noise's."""
        other = mixtures.alone(self.prior, batch, samples, generator)[0]
        level = 10 ** (_uniform(batch, self.sir_db, generator) / 10)
        floor = 10 ** _uniform(batch, _decades(FLOORS), generator)
        density = level * self.shape + floor
        return level.sqrt() * other + floor.sqrt() * mixtures.noise((batch, samples), generator), density, torch.ones(
            batch, dtype=torch.bool)


def _decades(limits: tuple[float, float]) -> tuple[float, float]:
    return math.log10(limits[0]), math.log10(limits[1])


def _uniform(batch: int, limits: tuple[float, float], generator: Generator) -> Tensor:
    """Uniform between two limits: float32 [batch, 1]."""
    low, high = limits
    return low + (high - low) * torch.rand(batch, 1, generator=generator)


class Carriers:
    """Bursts as a BurstDenoiser sees them: carriers of `frames` symbols behind each other, of unit mean power, without what is
    known of a window's layout. Data of any alphabet, pilots, training and signal fields before it in some; channels, delays (a
    transform may begin early or late), phases and their drift at random."""

    stride = 1

    def __init__(self, frames: int) -> None:
        self.samples = frames * WIDTH

    def spectrum(self, bins: int) -> Tensor:
        """S: of carriers alike, float32 [1]."""
        return torch.ones(1)

    def draw(self, batch: int, generator: Generator, exact: bool = False) -> Batch:
        """A Batch."""
        return Batch(self.known(batch, generator)[0].flatten(1), torch.zeros(batch), torch.ones(1, self.samples))

    def known(self, batch: int, generator: Generator, alphabet: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(carriers, their gains, complex64 [batch, frames, WIDTH]; number of the data's alphabet, int64 [batch]). alphabet: a
        name: of all bursts, which hold data alone; None: any, behind fields or not."""
        def share(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        frames, number = self.samples // WIDTH, torch.arange(WIDTH) - WIDTH // 2
        gains = self._channels(batch, number, share, normal)
        which = torch.multinomial(torch.tensor(_ALPHABETS), batch, True, generator=generator)
        if alphabet:
            which = torch.full_like(which, ALPHABETS.index(alphabet))
        binary = 1.0 - 2 * torch.randint(0, 2, (batch, frames, WIDTH), generator=generator)
        points = torch.zeros(batch, frames, WIDTH, dtype=torch.complex64)
        for index, name in enumerate(ALPHABETS):
            rows, own = which == index, points_of(name)
            points[rows] = own[torch.randint(0, len(own), (int(rows.sum()), frames, WIDTH), generator=generator)]
        pilots = COLUMNS[torch.as_tensor(PILOTS)]
        points[:, :, pilots] = binary[:, :, pilots].to(points)
        fields = torch.where(share(batch) < _TRAINED, torch.randint(0, 6, (batch,), generator=generator), 0) * (not alphabet)
        early = torch.arange(frames) < fields[:, None]
        turned, short = early & (share(batch, frames) < 0.25), early & (share(batch, frames) < 0.3)
        points = torch.where(early[..., None], binary.to(points), points)
        points = torch.where(turned[..., None], 1j * points, points)
        sparse = (number % 4 == 0) & (number.abs() <= 24)
        points = torch.where(short[..., None], 2.08 * sparse * points * (1 + 1j) / 2 ** 0.5, points)
        phase = 2 * torch.pi * share(batch, 1) + _DRIFT * normal(batch, 1) * torch.arange(frames) + (
            _DRIFT + _JITTER * (share(batch, 1) < 0.3)) * normal(batch, frames)
        gains = gains[:, None] * torch.polar(torch.ones_like(phase), phase)[..., None]
        return points * gains, gains, which

    @staticmethod
    def _channels(batch: int, number: Tensor, share: Callable[..., Tensor], normal: Callable[..., Tensor]) -> Tensor:
        """Responses of unit mean power, complex64 [batch, WIDTH]."""
        taps = torch.arange(_TAPS)
        response = torch.view_as_complex(normal(batch, _TAPS, 2)) * torch.exp(-taps / (0.2 + 4.8 * share(batch, 1)))
        response[:, 0] += 3 * share(batch)
        delay = -_EARLY + (_EARLY + _LATE) * share(batch, 1)
        angle = 2 * torch.pi / 64 * number
        gains = response @ torch.polar(torch.ones(()), -angle * taps[:, None]) * torch.polar(torch.ones(()), angle * delay)
        wide = share(batch, 1) < 0.5
        gains = gains * ((number != 0) & ((number.abs() <= 26) | wide))
        return gains / gains.abs().square().sum(1, keepdim=True).div(52).sqrt()


class CarrierNoise:
    """What a BurstDenoiser learns to remove: noise of random level on all carriers, as another signal leaves it: much more on
    some neighbouring ones, and in a window's first and last frame."""

    def draw(self, batch: int, samples: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As GaussianNoise.draw; the density is each carrier's variance."""
        def share(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(shape, generator=generator)

        frames, number = samples // WIDTH, torch.arange(WIDTH) - WIDTH // 2
        centre = torch.where(share(0, 1, batch, 1, 1) < 0.5, share(-6, 6, batch, 1, 1), share(-24, 24, batch, 1, 1))
        width = share(1, 7, batch, 1, 1)
        band = torch.sigmoid(4 * (width - (number - centre).abs()))
        level = share(-3, 1.2, batch, 1, 1) + 0.25 * torch.randn(batch, frames, 1, generator=generator)
        level = level + 0.15 * torch.randn(batch, frames, WIDTH, generator=generator)
        variance = 10 ** share(-3.3, -1, batch, 1, 1) + band * 10 ** level
        for edge in (0, -1):
            variance[:, edge] += 10 ** share(-2, 1, batch, 1) * (share(0, 1, batch, 1) < 0.5)
        variance = variance.flatten(1)
        return variance.sqrt() * mixtures.noise(variance.shape, generator), variance, torch.ones(batch, dtype=torch.bool)
