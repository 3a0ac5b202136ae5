# SPDX-License-Identifier: GPL-3.0-or-later
"""One burst of pulses fitted to the samples about it, in noise of any density.

Gauss-Newton steps on begin, carrier and complex amplitude (generalised least squares), between which each symbol is decided
softly in what its neighbours leave. A fit is confirmed where what it explains is coherent over the burst, and chips that are off
are weak: other signals have no such gaps.
"""
from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..signals.ppm import Ppm, integrated
from .base import resampled_density
from .ppm_bursts import Burst
from .ppm_scan import REAL, Weighted

_COHERENT = 0.3     # share of the energy of chips that are on which one carrier must explain; of noise it does 5/chips
_CHANCE = 15.0      # nats: noise of n chips is as coherent as c with (1 - c)^(n - 1), at one of a few hundred frequencies
_OFF = 0.5          # energy of chips that are off, of those that are on, at most
_EDGE = 0.05        # samples: the step of the derivative by the begin, at last; a pulse's edge shows one sample far only
_FAR = 0.75         # chips that a fit may move a begin
_STILL = 2e-3       # samples and chips' probabilities: a fit that moves less is done
_BESIDE = 32        # samples beside a burst that are looked at; four times as many where the noise has a colour
_FLAT = 4.0         # of the greatest density and the least one: more is a colour


@dataclass(frozen=True, eq=False)
class Fit:
    """A burst as it is fitted. amplitude: of its chips, its phase at sample `middle`. chips: how likely on, float64 [n]."""

    begin: float
    symbols: int
    carrier: float
    amplitude: complex
    middle: float
    chips: Tensor

    def burst(self, signal: Ppm, carrier: float) -> Burst:
        """The Burst, in samples that were turned by a carrier before."""
        phase = 2 * math.pi * (self.carrier * (self.begin - self.middle) + carrier * self.begin)
        return Burst(self.begin, self.symbols, self.amplitude / signal.amplitude * cmath.exp(1j * phase), self.carrier + carrier)


def waveforms(signal: Ppm, fit: Fit, n: Tensor, later: Tensor) -> Tensor:
    """The burst at samples n, consecutive, as it is and begun `later`, float64 [k], samples: complex128 [k, samples]."""
    angle = 2 * math.pi * fit.carrier * (n - fit.middle)
    turn = fit.amplitude * torch.polar(torch.ones_like(angle), angle)
    return turn * integrated(fit.chips.expand(len(later), -1), fit.begin - float(n[0]) + later, signal.chip, len(n))


class Fitter:
    """Fits of one burst in x, complex128 [samples], of noise density [samples]. start: where it is about."""

    def __init__(self, signal: Ppm, x: Tensor, density: Tensor, start: Fit) -> None:
        beside = _BESIDE if float(density.max()) < _FLAT * float(density.min()) else 4 * _BESIDE
        end = start.begin + signal.length(start.symbols)
        low = min(max(0, math.floor(start.begin) - beside), len(x) - 1)
        high = max(min(len(x), math.ceil(end) + beside), low + 1)
        self.signal, self.x, self.start = signal, x[low:high], start
        self.n = torch.arange(low, high, dtype=REAL)
        self.product = Weighted(resampled_density(density[None], high - low)[0], 0.0)
        self.table, self.heading = signal.table(), signal.heading()
        self.here = torch.zeros(1, dtype=REAL)
        self.chip_places = signal.chip * torch.arange(len(start.chips), dtype=REAL)
        self.energy = self.product.chip_energy(start.begin - low + self.chip_places, signal.chip)

    def wave(self, fit: Fit) -> Tensor:
        """complex128 [samples of the part]."""
        return waveforms(self.signal, fit, self.n, self.here)[0]

    def scaled(self, fit: Fit) -> Fit:
        """The fit with its amplitude by least squares."""
        wave = self.wave(fit)
        weighted = self.product(wave).conj()
        return replace(fit, amplitude=fit.amplitude * complex((weighted * self.x).sum())
                       / max(float((weighted * wave).sum().real), 1e-30))

    def run(self, fit: Fit, steps: int, apart: float = 0.0) -> Fit:
        """After some steps, or when it stands still. apart: samples that the begin may be off at first."""
        for number in range(steps):
            edge = max(_EDGE, apart / 2 ** number)
            last, fit = fit, self._step(fit, edge)
            fit = replace(fit, chips=self._decided(fit))
            if edge == _EDGE and abs(fit.begin - last.begin) < _STILL and float((fit.chips - last.chips).abs().max()) < _STILL:
                break
        return fit

    def _step(self, fit: Fit, edge: float) -> Fit:
        """One Gauss-Newton step, the derivative by the begin taken over ±edge."""
        length, far = len(self.n), _FAR * self.signal.chip
        wave, after, before = waveforms(self.signal, fit, self.n, torch.tensor([0.0, edge, -edge], dtype=REAL))
        columns = torch.stack([wave, 1j * wave, 2j * math.pi / length * (self.n - fit.middle) * wave,
                               (after - before) / (2 * edge)])
        weighted = self.product(columns).conj()
        normal, right = (weighted @ columns.mT).real, (weighted @ (self.x - wave)).real
        normal = normal + torch.diag_embed(1e-6 * normal.diagonal() + 1e-30)
        moves = torch.linalg.solve(normal, right).tolist()

        def limited(value: float, most: float) -> float:
            return min(max(value, -most), most)

        begin = fit.begin + limited(moves[3], far / 3)
        return replace(fit, amplitude=fit.amplitude * complex(1 + limited(moves[0], 0.5), limited(moves[1], 1.0)),
                       begin=self.start.begin + limited(begin - self.start.begin, far),
                       carrier=fit.carrier + limited(moves[2], 0.25) / length)

    def _sums(self, x: Tensor, fit: Fit) -> Tensor:
        return self.product.chip_sums(x, fit.begin - float(self.n[0]) + self.chip_places, self.signal.chip)

    def _decided(self, fit: Fit) -> Tensor:
        """Each chip's probability to be on, the other symbols as they were."""
        turn = waveforms(self.signal, fit, self.n, self.here)[0]
        angle = -2 * math.pi * fit.carrier * (self.n - fit.middle)
        rest = torch.polar(torch.ones_like(angle), angle) * self.product(self.x - turn)
        along = (fit.amplitude.conjugate() * self._sums(rest, fit)).real
        energy = abs(fit.amplitude) ** 2 * self.energy
        head = len(self.heading)
        along, energy, old = (v[head:].unflatten(0, (fit.symbols, 1, -1)) for v in (along, energy, fit.chips))
        change = self.table - old
        p = torch.softmax((2 * along * change - energy * change.square()).sum(-1), 1)
        return torch.cat([self.heading, (p @ self.table).flatten()])

    def confirmed(self, fit: Fit) -> bool:
        """Whether chips that are on hold one carrier, and those that are off little."""
        angle = -2 * math.pi * fit.carrier * (self.n - fit.middle)
        turned = self.product(self.x) * torch.polar(torch.ones_like(angle), angle)
        z = self._sums(turned, fit) / self.energy.clamp_min(1e-30).sqrt()
        inside = self.energy > 0.5 * self.energy.max()
        on, off = fit.chips * inside, (1 - fit.chips) * inside
        count, energy = float(on.sum()), float((on * z.abs().square()).sum())
        coherent = min(float((on * z).sum().abs()) ** 2 / max(count * energy, 1e-30), 1 - 1e-9)
        weak = float((off * z.abs().square()).sum() / off.sum().clamp_min(1e-9))
        certain = -(count - 1) * math.log1p(-coherent) > _CHANCE
        return certain and coherent > _COHERENT and weak < _OFF * energy / max(count, 1e-9)
