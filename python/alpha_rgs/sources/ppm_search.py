# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds bursts of pulses in one window: scan (ppm_scan.py), fit, check.

Fit: a transform of the chips that are likely on gives the carrier; then Gauss-Newton steps on begin, carrier and complex amplitude
(generalised least squares in noise of that density), between which each symbol is decided softly in what its neighbours leave.
Check: what the fit explains must be coherent over the burst, and chips that are off must be weak; other signals have no such
gaps. What was found is subtracted, the noise there raised by what a rounded pulse leaves, and the window scanned again.
"""
from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..signals.ppm import Ppm, integrated
from .ppm_bursts import Burst
from .ppm_scan import COMPLEX, REAL, STEPS, Grid, Scan, Weighted

REACH = 0.02        # cycles per sample: an unknown carrier offset lies within, or a quarter of a cycle per chip if that is more
NEAR = 0.005        # cycles per sample, of each burst's carrier about one that is known
_TURN = 0.25        # cycles that a carrier offset may turn within a chip of the scan: 0.9 dB
_COHERENT = 0.3     # share of the energy of chips that are on which one carrier must explain; of noise it does 5/chips
_SEEN = 12.0        # and that share times the chips: noise exceeds it with 5e-6 per frequency
_OFF = 0.5          # energy of chips that are off, of those that are on, at most
_LEFT = 0.03        # of a burst's power (-15 dB) may be left where it was subtracted: rounded pulses
_SCANS, _MOST = 3, 64       # of a window; bursts
_FITS, _POLISH = 6, 3       # Gauss-Newton steps of a new burst, and of each beside the others
_EDGE = 0.05        # samples: the step of the derivative by the begin
_FAR = 0.75         # chips that a fit may move a begin


@dataclass(frozen=True)
class _Fit:
    """A burst as it is fitted. amplitude: of its chips, its phase at sample `middle`. chips: how likely on, float64 [n]."""

    begin: float
    symbols: int
    carrier: float
    amplitude: complex
    middle: float
    chips: Tensor


def find_bursts(signal: Ppm, x: Tensor, density: Tensor, carrier: float | None) -> list[Burst]:
    """Bursts in x, complex [samples], in order of time. density: of all else, float64 [samples], FFT order; its level may be
    wrong. carrier: cycles per sample; None: unknown."""
    about = 0.0 if carrier is None else carrier
    samples = len(x)
    turn = torch.polar(torch.ones(samples, dtype=REAL), -2 * math.pi * about * torch.arange(samples, dtype=REAL))
    search = _Search(signal, x.to(COMPLEX) * turn, density.to(REAL).roll(-round(about * samples)),
                     max(REACH, _TURN / signal.chip) if carrier is None else NEAR)
    return [_burst(fit, about, signal) for fit in sorted(search.run(), key=lambda fit: fit.begin)]


def _burst(fit: _Fit, about: float, signal: Ppm) -> Burst:
    phase = 2 * math.pi * (fit.carrier * (fit.begin - fit.middle) + about * fit.begin)
    return Burst(fit.begin, fit.symbols, fit.amplitude / signal.amplitude * cmath.exp(1j * phase), fit.carrier + about)


def _short_chips(signal: Ppm, parts: int) -> Ppm:
    """The same waveform in chips a `parts`-th as long."""
    if parts == 1:
        return signal
    cut = str.maketrans({"0": "0" * parts, "1": "1" * parts})
    return _Fine(signal.samples_per_symbol, signal.preamble.translate(cut), tuple(w.translate(cut) for w in signal.patterns),
                 signal.symbols)


class _Fine(Ppm):
    """Chips of any number, which nobody gave."""

    def __post_init__(self) -> None:
        pass


class _Search:
    def __init__(self, signal: Ppm, x: Tensor, density: Tensor, reach: float) -> None:
        self.signal, self.x, self.reach = signal, x, reach
        self.parts = max(1, math.ceil(signal.chip * reach / _TURN - 1e-9))
        self.table, self.heading = signal.table(), signal.heading()
        self.n = torch.arange(len(x), dtype=REAL)
        self.product = Weighted(density, float(x.abs().square().mean()))
        self.grid = Grid(_short_chips(signal, self.parts), self.product, x)

    def run(self) -> list[_Fit]:
        """What is found, in no order."""
        found: list[_Fit] = []
        for _ in range(_SCANS):
            fresh = self._scanned(self.x - self._sum(found))
            found = found + fresh[:_MOST - len(found)]
            if not fresh:
                break
            for fit in fresh:
                self._raise(fit)
            found = self._polished(found)
        return found

    def _sum(self, fits: list[_Fit]) -> Tensor:
        return sum((self._wave(fit) for fit in fits), torch.zeros_like(self.x))

    def _raise(self, fit: _Fit) -> None:
        place, end = self.grid.place, fit.begin + self.signal.length(fit.symbols)
        inside = (place > fit.begin - self.signal.chip) & (place < end)
        self.grid.calm = self.grid.calm + _LEFT * abs(fit.amplitude) ** 2 * self.grid.unit * inside

    def _scanned(self, x: Tensor) -> list[_Fit]:
        """Bursts in x that the scan finds and the fit confirms; none of them overlap."""
        scan, found = Scan(self.grid, x), []
        while len(found) < _MOST and (start := scan.best()) is not None:
            fit = self._fitted(x, self._guess(scan, x, *start), _FITS)
            if self._confirmed(x, fit):
                found.append(fit)
        return found

    def _polished(self, found: list[_Fit]) -> list[_Fit]:
        """All of them once more, each in what the others leave."""
        if len(found) < 2:
            return found
        found, total = list(found), self._sum(found)
        for k, fit in enumerate(found):
            rest = self.x - total + self._wave(fit)
            found[k] = self._fitted(rest, fit, _POLISH)
            total = self.x - rest + self._wave(found[k])
        return found

    # ---- fit ---------------------------------------------------------------------------------------------------------------
    def _guess(self, scan: Scan, x: Tensor, index: int, symbols: int, level: float) -> _Fit:
        """The carrier from a transform of the chips' sums, each as far as it is likely on; then the amplitude."""
        on, z = scan.chips(index, symbols, level)
        chip = self.grid.signal.chip
        size = 2 ** math.ceil(math.log2(4 * len(on)))
        spectrum, frequency = torch.fft.fft(on * z, size).abs(), torch.fft.fftfreq(size, dtype=REAL)
        best = int(torch.where(frequency.abs() <= max(self.reach * chip, 1.5 / size), spectrum, -1).argmax())
        begin = index * chip / STEPS
        middle = (max(begin, 0.0) + min(begin + self.signal.length(symbols), len(x))) / 2
        fit = _Fit(begin, symbols, float(frequency[best]) / chip, 1.0, middle, on.reshape(-1, self.parts).mean(1))
        wave = self._wave(fit)
        weighted = self.product(wave)
        return replace(fit, amplitude=complex((weighted.conj() * x).sum()) / max(float((wave.conj() * weighted).sum().real), 1e-30))

    def _carrier(self, fit: _Fit) -> Tensor:
        angle = 2 * math.pi * fit.carrier * (self.n - fit.middle)
        return fit.amplitude * torch.polar(torch.ones_like(angle), angle)

    def _wave(self, fit: _Fit, later: float = 0.0) -> Tensor:
        begin = torch.tensor(fit.begin + later, dtype=REAL)
        return self._carrier(fit) * integrated(fit.chips, begin, self.signal.chip, len(self.n))

    def _fitted(self, x: Tensor, fit: _Fit, steps: int) -> _Fit:
        """Gauss-Newton steps on amplitude, carrier and begin, the symbols decided anew after each."""
        start, length = fit.begin, min(self.signal.length(fit.symbols), len(x))
        for _ in range(steps):
            wave = self._wave(fit)
            edge = (self._wave(fit, _EDGE) - self._wave(fit, -_EDGE)) / (2 * _EDGE)
            columns = torch.stack([wave, 1j * wave, 2j * math.pi * (self.n - fit.middle) / length * wave, edge])
            weighted = self.product(columns).conj()
            normal, right = (weighted @ columns.mT).real, (weighted @ (x - wave)).real
            scale = normal.diagonal() + 1e-30
            move = torch.linalg.solve(normal + torch.diag_embed(1e-6 * scale), right)
            turn = complex(1 + float(move[0].clamp(-0.5, 1)), float(move[1].clamp(-1, 1)))
            far = _FAR * self.signal.chip
            begin = min(max(fit.begin + float(move[3].clamp(-far / 3, far / 3)), start - far), start + far)
            fit = replace(fit, amplitude=fit.amplitude * turn, begin=begin,
                          carrier=fit.carrier + float(move[2].clamp(-0.25, 0.25)) / length)
            fit = replace(fit, chips=self._decided(x, fit))
        return fit

    def _decided(self, x: Tensor, fit: _Fit) -> Tensor:
        """Each chip's probability to be on, the other symbols as they were."""
        rest = (self._carrier(fit).conj() * self.product(x - self._wave(fit))).real
        begin = fit.begin + self.signal.chip * torch.arange(len(fit.chips), dtype=REAL)
        along = self.product.chip_sums(rest, begin, self.signal.chip)
        energy = abs(fit.amplitude) ** 2 * self.product.chip_energy(begin, self.signal.chip)
        head = len(self.heading)
        along, energy, old = (v[head:].unflatten(0, (fit.symbols, 1, -1)) for v in (along, energy, fit.chips))
        change = self.table - old
        p = torch.softmax((2 * along * change - energy * change.square()).sum(-1), 1)
        return torch.cat([self.heading, (p @ self.table).flatten()])

    # ---- check -------------------------------------------------------------------------------------------------------------
    def _confirmed(self, x: Tensor, fit: _Fit) -> bool:
        """Whether chips that are on hold one carrier, and those that are off little."""
        begin = fit.begin + self.signal.chip * torch.arange(len(fit.chips), dtype=REAL)
        unit = self.product.chip_energy(begin, self.signal.chip)
        whole = (begin > -0.5 * self.signal.chip) & (begin < len(x) - 0.5 * self.signal.chip)
        angle = -2 * math.pi * fit.carrier * (self.n - fit.middle)
        turned = self.product(x) * torch.polar(torch.ones_like(angle), angle)
        z = self.product.chip_sums(turned, begin, self.signal.chip) / unit.clamp_min(1e-30).sqrt()
        on = fit.chips * whole
        count, energy = float(on.sum()), float((on * z.abs().square()).sum())
        off = (1 - fit.chips) * whole
        coherent = float((on * z).sum().abs()) ** 2 / max(count * energy, 1e-30)
        weak = float((off * z.abs().square()).sum() / off.sum().clamp_min(1e-9))
        return coherent > max(_COHERENT, _SEEN / max(count, 1e-9)) and weak < _OFF * energy / max(count, 1e-9)
