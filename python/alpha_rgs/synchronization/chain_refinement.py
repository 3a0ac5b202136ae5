# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, phase and carrier offset of a linear modulation made exact, under noise of known density, before anything is separated.

The whitened matched filter gives each symbol's estimate, the others integrated out. Its posterior mean, a soft decision, makes a
waveform. A Gauss-Newton step moves the nuisances by least squares of the whitened samples. The evidence says which of several
starts is right: that of Gaussian symbols, and how much better the alphabet's points explain the estimates.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inference.gauss_newton import damped_step
from ..sources.linear_modulation import NUISANCES, LinearModulation
from .folded import Folded, pulse_spectra

_STEPS = 3              # of Gauss-Newton: a fourth moves the timing by less than a hundredth of a sample
_ORDER = ("timing", "carrier_offset", "phase")
_MORE = 1.2             # times the gain, in a step
_LIMITS = (0.1, 0.3, 0.3)       # of a step: of a symbol; of the window's reciprocal; rad


class Refinement:
    """A window y, complex [samples], and the density of all but the signal at len(density) frequencies, FFT order; a whole
    number of symbols is taken from the window's beginning, as many samples as the density has."""

    def __init__(self, y: Tensor, density: np.ndarray) -> None:
        self.y = y.detach().cpu()[:len(density)].to(torch.complex128)
        self.density, self.noise = density, torch.as_tensor(density, dtype=torch.float64)
        self.spectrum = np.fft.fft(self.y.numpy())
        self.seen = self._whitened(self.y)
        self.n = torch.arange(len(density), dtype=torch.float64)

    def _whitened(self, waves: Tensor) -> Tensor:
        return torch.fft.ifft(torch.fft.fft(waves) / self.noise)

    def refined(self, soi: Any, free: Sequence[str]) -> tuple[LinearModulation, float]:
        """(the signal with its nuisances `free` moved, numbers; their log-evidence, nats, but for a constant). All nuisances are
        known."""
        soi = replace(soi, **{name: float(torch.as_tensor(getattr(soi, name)).reshape(-1)[0]) for name in NUISANCES})
        for _ in range(_STEPS):
            soi = self._step(soi, free)
        return soi, self._evidence(soi)

    def _estimates(self, soi: Any) -> tuple[Tensor, float, float]:
        """(estimates of the symbols 0, 1, ... of a circle, unbiased and without their own prior, [symbols]; their error's
        variance; the log-evidence of Gaussian symbols)."""
        sps = soi.signal.samples_per_symbol
        pulse = pulse_spectra(soi.signal, np.array([soi.carrier_offset]), len(self.n))[0]
        model = Folded(self.spectrum, pulse, self.density, float(soi.gain) ** 2, sps)
        mean, var = (torch.from_numpy(v) for v in model.cavity(soi.timing))
        centre = soi.timing + sps * torch.arange(len(mean)).double()
        turn = _turn(-soi.phase - 2 * torch.pi * soi.carrier_offset * centre)
        return mean / soi.gain * turn, float(var[0]) / float(soi.gain) ** 2, float(model.evidence(soi.timing))

    def _evidence(self, soi: Any) -> float:
        """Of Gaussian symbols, and what the alphabet's points explain better than these: the marginal of each estimate."""
        mean, var, log = self._estimates(soi)
        points = soi.signal.alphabet.points.to(torch.complex128)
        turns = soi.signal.turns(torch.zeros(1, dtype=torch.int64), len(mean))
        mean = mean if turns is None else mean * turns[0].conj()
        each = torch.logsumexp(-(mean[:, None] - points).abs().square() / var, 1) - float(np.log(len(points) * var))
        return log + float((each + mean.abs().square() / (1 + var) + float(np.log(1 + var))).sum())

    def _soft(self, soi: Any) -> tuple[Tensor, Tensor]:
        """(posterior means of the symbols that overlap the window, [1, symbols]; the number of the first): those of a circle
        of symbols, so that the ends are of little account."""
        mean, var, _ = self._estimates(soi)
        first, total = soi.overlapping_symbols(len(self.n))
        turned = soi._turned(torch.ones(1, total, dtype=torch.complex64), first)
        mean = mean[(first + torch.arange(total)) % len(mean)][None] / turned
        return soi.signal.alphabet.mean(mean.to(torch.complex64), torch.full(mean.shape, var)) * turned, first

    def _wave(self, soi: Any, soft: tuple[Tensor, Tensor], ahead: float = 0.0) -> Tensor:
        symbols, first = soft
        moved = replace(soi, timing=soi.timing + ahead)
        wave = soi.signal.modulate(symbols.to(torch.complex64), len(self.n), moved.timing_of(first))[0].to(torch.complex128)
        return soi.gain * wave * _turn(soi.phase + 2 * torch.pi * soi.carrier_offset * self.n)

    def _step(self, soi: Any, free: Sequence[str]) -> LinearModulation:
        soft, sps, middle = self._soft(soi), soi.signal.samples_per_symbol, len(self.n) / 2
        own = self._wave(soi, soft)
        slope = (self._wave(soi, soft, 0.05) - self._wave(soi, soft, -0.05)) / 0.1
        columns = torch.stack([slope, 2j * torch.pi * (self.n - middle) * own, 1j * own])
        white = torch.stack([self._whitened(column) for column in columns])
        level = (own.conj() * self.seen).sum().real / (own.conj() * self._whitened(own)).sum().real.clamp_min(1e-9)
        rest = self.y - level * own
        scale = (sps, 1 / len(self.n), 1.0)
        limit = torch.tensor([most * size * (name in free) + 1e-12 for name, most, size in zip(_ORDER, _LIMITS, scale)],
                             dtype=torch.float64)
        step, _ = damped_step((columns.conj() @ white.T).real, (white.conj() @ rest).real, limit)
        moved = {"timing": soi.timing + float(step[0]), "carrier_offset": soi.carrier_offset + float(step[1]),
                 "phase": soi.phase + float(step[2]) - 2 * torch.pi * float(step[1]) * middle}
        moved["gain"] = soi.gain * float(level.clamp(1 / _MORE, _MORE))
        return replace(soi, **{name: moved[name] for name in free})



def _turn(angle: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(angle), angle)
