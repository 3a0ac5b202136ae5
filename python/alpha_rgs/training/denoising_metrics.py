# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a denoiser is: its error at every level against the least there can be, and against the best linear one.

The least error is that of the exact posterior mean (timing, phase and alphabet known), for sources whose prior has one.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..errors import ParameterError
from ..nets.bursts import WIDTH
from ..nets.denoiser import resampled
from ..signals import LinearModulation as Signal
from ..signals.constellations import constellation
from ..sources import LinearModulation, mixtures
from ..sources.base import Noise
from ..sources.learned import pulse_noise
from . import datasets

LEVELS = (30.0, 20.0, 14.0, 10.0, 7.0, 5.0, 3.5, 2.5, 1.8, 1.2, 0.8, 0.5, 0.3, 0.1, 0.03, 0.01)
COLOUR = LinearModulation(Signal("qpsk", 16, "rrc", 0.5, 4), 8.0, 0.0, 1.0)     # the signal of interest of the paper
_FLOOR = 0.01           # of white noise beside the coloured
FRAMES, CLEAN = 24, 0.01        # of bursts: symbols, and variance of the noise on carriers that are not judged


@dataclass
class Point:
    """noise_var: per complex sample. Errors relative to the source's power, dB: network; exact (None: no closed form); linear, of
    the best time-invariant filter."""

    noise_var: float
    network: float
    exact: float | None
    linear: float

    @property
    def gap(self) -> float | None:
        """dB above the exact one."""
        return None if self.exact is None else self.network - self.exact


def curve(denoiser: Any, source: Any, prior: Any = None, levels: Sequence[float] = LEVELS, windows: int = 64, seed: int = 1,
          colour: Any = None, chunk: int = 64) -> list[Point]:
    """Points, from the noisiest level on. source: as in datasets.py, drawn with its `exact`. prior: whose exact posterior mean to
    compare with, a LinearModulation or what mixtures can draw; None: there is none.

    colour: None for white noise; else noise in the span of that linear modulation's pulses, over white noise of variance 0.01.
    All levels see the same windows; noise by a generator of `seed`.
    """
    points: list[Point] = []
    generator = torch.Generator().manual_seed(seed)
    batch, truth = _draw(source, prior, windows, generator)
    spectrum = denoiser.spectrum[None]
    for level in levels:
        density = torch.tensor([[level]]) if colour is None else torch.tensor(
            level * colour.psd(512), dtype=torch.float32)[None] + _FLOOR
        noise = _noise(batch.s.shape, level, colour, generator)
        total = torch.zeros(3, dtype=torch.float64)
        for i in range(0, windows, chunk):
            rows = slice(i, i + chunk)
            s, x = batch.s[rows], batch.s[rows] + noise[rows]
            with torch.inference_mode():
                more = {}
                if colour is not None and denoiser.cyclic:
                    more["colour"] = pulse_noise(colour, torch.tensor([[level]]), torch.tensor([[_FLOOR]]))
                found = [denoiser(x, density, batch.fraction[rows], batch.presence[rows], **more),
                         linear_estimate(x, spectrum, density)]
                if truth is not None:
                    here = truth.select(rows)
                    found.append(here.denoise(x, level) if colour is None else here.denoise(x, Noise(_FLOOR, colour, level)))
            for k, mean in enumerate(found):
                total[k] += float((mean - s).abs().square().sum())
        error = 10 * torch.log10(total / batch.s.abs().square().sum() + 1e-12)
        points.append(Point(level, float(error[0]), float(error[2]) if truth is not None else None, float(error[1])))
    return points


def recorded(prior: Any, reference: Any, windows: Any, levels: Sequence[float] = LEVELS[4:12], clean: float = 0.05,
             seed: int = 1, draws: int = 1) -> list[Point]:
    """Points of windows of a recording, complex [n, samples], each of unit power: noise is added, and removed by both priors,
    `draws` noises to each window.

    The truth is the reference's estimate of the recording as it is, whose own errors count as noise of variance `clean`: the
    nearest signal of that kind. exact: the reference's error; linear: that of the recording itself, with the noise on it. Raises
    ParameterError where timing, phase or frame offset would have to be given.
    """
    for given in (prior, reference):
        unknown = [name for name in ("timing", "frame_offset", "phase") if getattr(given, name, 0) is None]
        if unknown and not given.integrates_nuisances:
            raise ParameterError(f"{given.kind}: {unknown[0]} is missing and not estimated in recordings; set it in its file")
    x = torch.as_tensor(windows).to(torch.complex64)
    points: list[Point] = []
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        truth = reference.denoise(x, clean).repeat(draws, 1)
        x = x.repeat(draws, 1)
        for level in levels:
            noisy = x + level ** 0.5 * mixtures.noise(x.shape, generator)
            found = prior.denoise(noisy, level + clean), reference.denoise(noisy, level + clean), noisy
            network, exact, raw = (float(10 * torch.log10((m - truth).abs().square().mean() / truth.abs().square().mean()))
                                   for m in found)
            points.append(Point(level, network, exact, raw))
    return points


def carriers(denoiser: Any, alphabet: str, levels: Sequence[float] = LEVELS[4:], windows: int = 64, seed: int = 1) -> list[Point]:
    """Points of a BurstDenoiser, of bursts of that alphabet (a name) alone: seven carriers in the middle of each, in noise of the
    given level. exact: gains and alphabet known."""
    points: list[Point] = []
    source, generator = datasets.Carriers(FRAMES), torch.Generator().manual_seed(seed)
    own = constellation(alphabet)
    middle = slice(WIDTH // 2 - 3, WIDTH // 2 + 4)
    s, gains = source.known(windows, generator, alphabet)[:2]
    for level in levels:
        var = torch.full(s.shape, CLEAN)
        var[..., middle] = level
        r = s + var.sqrt() * mixtures.noise(s.shape, generator)
        with torch.inference_mode():
            network = denoiser.posterior(r, var)[0]
        size = gains.abs().square().clamp_min(1e-9)
        exact = gains * own.posterior(r * gains.conj() / size, var / size)[0]
        error = [10 * math.log10(float((m - s)[..., middle].abs().square().sum() / s[..., middle].abs().square().sum()))
                 for m in (network, exact, r / (1 + var))]
        points.append(Point(level, *error))
    return points


def left_over(denoiser: Any, source: Any, noise: datasets.SignalNoise, sirs_db: Sequence[float], floor: float = 0.045,
              windows: int = 64, seed: int = 1) -> list[tuple[float, float, float]]:
    """What one pass leaves of the source in the other signal's band, dB over that one's power there: [(SIR, network, linear)].

    noise: a datasets.SignalNoise; floor: variance of white noise per unit power of the source, 0.045 being -13.5 dB.
    """
    rows: list[tuple[float, float, float]] = []
    generator, spectrum = torch.Generator().manual_seed(seed), denoiser.spectrum[None]
    batch = source.draw(windows, generator, exact=True)
    for sir in sirs_db:
        level = 10 ** (sir / 10)
        other = mixtures.alone(noise.prior, len(batch.s), batch.s.shape[1], generator)[0]
        x = batch.s + level ** 0.5 * other + floor ** 0.5 * mixtures.noise(batch.s.shape, generator)
        density = level * noise.shape[None] + floor
        with torch.inference_mode():
            found = denoiser(x, density, batch.fraction, batch.presence), linear_estimate(x, spectrum, density)
        shape = resampled(noise.shape[None], x.shape[1])
        left = [(torch.fft.fft(mean - batch.s).abs().square() * shape).sum() for mean in found]
        own = (torch.fft.fft(level ** 0.5 * other).abs().square() * shape).sum()
        network, linear = (float(10 * torch.log10(e / own)) for e in left)
        rows.append((sir, network, linear))
    return rows


def _draw(source: Any, prior: Any, windows: int, generator: Generator) -> tuple[datasets.Batch, Any]:
    """(Batch, the prior as it truly is or None)."""
    if isinstance(source, datasets.Drawn):
        s, truth = mixtures.alone(source.prior, windows, source.samples, generator)
        truth = source.prior if source.prior.integrates_nuisances else truth
        return datasets.Batch(s, torch.zeros(windows), torch.ones(windows, source.samples)), None if prior is None else truth
    batch = source.draw(windows, generator, exact=True)
    if prior is None:
        return batch, None
    return batch, replace(prior, timing=source.stride / 2 + batch.fraction.double(), phase=0.0, gain=1.0, carrier_offset=0.0,
                          symbols=None)


def _noise(shape: tuple[int, int] | torch.Size, level: float, colour: Any, generator: Generator) -> Tensor:
    if colour is None:
        return level ** 0.5 * mixtures.noise(shape, generator)
    count = colour.overlapping_symbols(shape[1])[1]
    return level ** 0.5 * colour.modulate_overlapping(mixtures.noise((shape[0], count), generator), shape[1]) + (
        _FLOOR ** 0.5 * mixtures.noise(shape, generator))


def linear_estimate(x: Tensor, spectrum: Tensor, density: Tensor) -> Tensor:
    """The best time-invariant linear estimate of a source of that spectrum, [1, bins], in noise of that density, [1 or batch, 1
    or bins]: complex64 like x [batch, samples]."""
    size = x.shape[1]
    s, n = resampled(spectrum, size), resampled(density, size)
    return torch.fft.ifft(torch.fft.fft(x) * (s / (s + n)))
