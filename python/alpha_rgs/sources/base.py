# SPDX-License-Identifier: GPL-3.0-or-later
"""What every prior promises."""
import dataclasses
from abc import ABC, abstractmethod

import numpy as np
import torch

from ..errors import CapabilityError


class Prior(ABC):
    """What is believed about one source of unit mean power, seen alone.

    A prior's nuisances (timing, phase, ...) are numbers, tensors of shape [batch] (one per window), or None: unknown.
    """

    kind = ""
    learned = False         # whether denoise asks a trained network
    takes_colour = True     # whether denoise takes a colour

    @abstractmethod
    def denoise(self, x, noise_var, colour=None):
        """E[s | x] for x = s + noise, complex64 [batch, samples] -> the same.

        noise_var: variance per complex sample, float. colour: None for white noise sqrt(noise_var)*n, n ~ CN(0, I); or a
        LinearModulation prior, whose pulses then carry the noise: sqrt(noise_var)*H*n with one n ~ CN(0, 1) per symbol.
        Raises CapabilityError where the prior cannot.
        """

    def reconstruct(self, x, noise_var):
        """As denoise with white noise, for handing over: a prior may do better here where its denoiser approximates."""
        return self.denoise(x, noise_var)

    def score(self, x, noise_var):
        """The gradient of log p(x), by Tweedie's formula: (E[s | x] - x)/noise_var."""
        return (self.denoise(x, noise_var) - x) / noise_var

    def blocks(self, shape):
        """How windows of this shape [batch, samples] fall into stretches that are independent of each other and hold one of
        finitely many waveforms each: None where they do not, or where nobody knows; else an object like FramePlan: start
        [batch, blocks], length, inside, cut, join."""
        return None

    def autocorrelation(self, lags):
        """R(l) = E[s(n + l)·conj(s(n))], averaged over time: complex128, shape of lags (samples, whole numbers); R(0) = 1.

        Raises CapabilityError where the prior cannot tell.
        """
        raise CapabilityError(f"{self.kind}: this prior gives no autocorrelation, which a stationary covariance needs")

    def density(self, bins):
        """Mean power density at frequencies k/bins, FFT order: float64 [bins], mean 1, not negative. Raises CapabilityError where
        the prior gives no autocorrelation."""
        lags = np.fft.ifftshift(np.arange(-(bins // 2), bins - bins // 2))
        density = np.fft.fft(self.autocorrelation(lags)).real.clip(0)
        return density / density.mean()

    def acquired(self, x, noise_var):
        """The same source with nuisances found that are None, in x = s + noise of about that white variance, complex64 [batch,
        samples], noise_var a float or [batch]: (prior, name -> tensor [batch] of what was found). Here: nothing is looked for."""
        return self, {}

    @abstractmethod
    def shifted(self, start):
        """The same source as windows see it that begin `start` samples later (number or tensor [batch])."""

    def rows(self, index):
        """The same source as some windows of a batch see it: `index` (a slice or indices) into nuisances of shape [batch]."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return dataclasses.replace(self, **{name: value[index] for name, value in given.items()
                                            if torch.is_tensor(value) and value.ndim == 1 and len(value) > 1})


def column(value, like, dtype=torch.float64):
    """A nuisance as a tensor [batch, 1] or [1, 1] beside `like`."""
    return torch.as_tensor(value, dtype=dtype, device=like.device).reshape(-1, 1)


def rotation(frequency, lags):
    """exp(j*2*pi*frequency*l): what a carrier offset (cycles per sample) does to an autocorrelation, complex128 like lags."""
    frequency = torch.as_tensor(frequency, dtype=torch.float64).reshape(-1)
    if bool((frequency != frequency[0]).any()):
        raise CapabilityError("carrier_offset: differs from window to window, but a stationary covariance is one for all of them")
    return np.exp(2j * np.pi * float(frequency[0]) * np.asarray(lags))


def carrier(phase, frequency, like):
    """exp(j*(phase + 2*pi*frequency*n)), complex64, broadcastable to like [batch, samples]; frequency None (unknown) means 0."""
    angle = column(phase, like)
    if frequency is None:
        frequency = 0.0
    if torch.is_tensor(frequency) or frequency != 0:        # most sources have none: one factor per window will do
        n = torch.arange(like.shape[-1], dtype=torch.float64, device=like.device)
        angle = angle + 2 * torch.pi * column(frequency, like) * n
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
