# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds bursts of pulses in one window: scan (ppm_scan.py), fit and check (ppm_fit.py). What was found is subtracted, the noise
there raised by what a rounded pulse leaves, and the window scanned again."""
from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..signals.ppm import Ppm
from .ppm_bursts import Burst
from .ppm_fit import Fit, Fitter, waveforms
from .ppm_scan import COMPLEX, REAL, STEPS, THRESHOLD, Grid, Scan, Weighted

REACH = 0.02        # cycles per sample: an unknown carrier offset lies within, or a quarter of a cycle per chip if that is more
NEAR = 0.005        # cycles per sample, of each burst's carrier about one that is known
_TURN = 0.25        # cycles that a carrier offset may turn within a chip of the scan: 0.9 dB
_LEFT = 0.03        # of a burst's power (-15 dB) is expected at most where it was subtracted: rounded pulses
_WEAK = 0.5         # amplitude (-6 dB) of what is left of a strong burst, at most
_QUARTER, _UNEVEN = 0.25, 8.0       # as much as shows by the lower quartile of the energies there, times this: edges hold most
_SCANS, _MOST = 4, 64       # of a window; bursts
_FITS, _POLISH = 8, 3       # Gauss-Newton steps of a new burst, and of each that overlaps with others
_TOGETHER = 3       # times that these are fitted in turn before a new one among them is judged


def find_bursts(signal: Ppm, x: Tensor, density: Tensor, carrier: float | None) -> list[Burst]:
    """Bursts in x, complex [samples], in order of time. density: of all else, float64 [samples], FFT order; its level may be
    wrong. carrier: cycles per sample; None: unknown."""
    about = 0.0 if carrier is None else carrier
    turn = torch.polar(torch.ones(len(x), dtype=REAL), -2 * math.pi * about * torch.arange(len(x), dtype=REAL))
    search = _Search(signal, x.to(COMPLEX) * turn, density.to(REAL).roll(-round(about * len(x))),
                     reach(signal) if carrier is None else NEAR)
    return [fit.burst(signal, about) for fit in sorted(search.run(), key=lambda fit: fit.begin)]


def reach(signal: Ppm) -> float:
    """Cycles per sample to each side, within which an unknown carrier offset lies."""
    return max(REACH, _TURN / signal.chip)


class _Fine(Ppm):
    """The same waveform in chips a part as long; nobody gave them, so nothing is checked."""

    def __post_init__(self) -> None:
        pass


def _short_chips(signal: Ppm, parts: int) -> Ppm:
    cut = str.maketrans({"0": "0" * parts, "1": "1" * parts})
    return signal if parts == 1 else _Fine(signal.samples_per_symbol, signal.preamble.translate(cut),
                                           tuple(word.translate(cut) for word in signal.patterns), signal.symbols)


class _Search:
    """A window x, complex128 [samples]; carrier offsets lie within ±reach."""

    def __init__(self, signal: Ppm, x: Tensor, density: Tensor, reach: float) -> None:
        self.signal, self.x, self.reach = signal, x, reach
        self.parts = max(1, math.ceil(signal.chip * reach / _TURN - 1e-9))
        self.n, self.here = torch.arange(len(x), dtype=REAL), torch.zeros(1, dtype=REAL)
        self.product = Weighted(density, float(x.abs().square().mean()))
        self.grid = Grid(_short_chips(signal, self.parts), self.product, x)

    def run(self) -> list[Fit]:
        """What is found, in no order. A burst under a stronger one is looked for again, once that one is fitted beside it."""
        found: list[Fit] = []
        for scan in range(_SCANS):
            before = found
            found = self._scanned(found)
            if len(found) == len(before):
                break
            if scan < _SCANS - 1:
                found = self._leading(found)
        return found

    def _wave(self, fit: Fit) -> Tensor:
        return waveforms(self.signal, fit, self.n, self.here)[0]

    def _sum(self, fits: list[Fit]) -> Tensor:
        return sum((self._wave(fit) for fit in fits), torch.zeros_like(self.x))

    def _end(self, fit: Fit) -> float:
        return fit.begin + self.signal.length(fit.symbols)

    def _near(self, fit: Fit, found: list[Fit], apart: float = 0.0) -> list[Fit]:
        """The others that overlap with it, or are less than `apart` samples away."""
        return [other for other in found if other is not fit and other.begin < self._end(fit) + apart
                and self._end(other) + apart > fit.begin]

    def _leading(self, found: list[Fit]) -> list[Fit]:
        """The strongest of each heap: of what hides under another only the end may have been seen, as a burst of its own."""
        out, left = [], sorted(found, key=lambda fit: -abs(fit.amplitude))
        while left:
            heap, grown = [left[0]], True
            while grown:
                beside = [fit for fit in left if fit not in heap and any(
                    fit in self._near(own, left, self.signal.lead + self.signal.samples_per_symbol) for own in heap)]
                heap, grown = heap + beside, bool(beside)
            out.append(heap[0])
            left = [fit for fit in left if fit not in heap]
        return out

    def _raise(self, found: list[Fit], rest: Tensor) -> None:
        """Let the scan expect what those that are subtracted leave of themselves in `rest`."""
        place, grid = self.grid.place, self.grid
        grid.calm = calm = torch.ones_like(place)
        energy = grid.energies(rest)[1] if found else calm
        for fit in found:
            inside = (place > fit.begin - self.signal.chip) & (place < self._end(fit))
            if bool(inside.any()):
                seen = float(torch.quantile(energy[inside], _QUARTER)) / -math.log1p(-_QUARTER)
                most = _LEFT * abs(fit.amplitude) ** 2 * grid.unit
                calm = calm + inside * most.clamp_max(_UNEVEN * max(0.0, seen - 1))
        grid.calm = calm

    def _scanned(self, found: list[Fit]) -> list[Fit]:
        """`found` and what a scan of the rest finds and the fit confirms; nothing new overlaps with other new."""
        rest = self.x - self._sum(found)
        self._raise(found, rest)
        scan = Scan(self.grid, rest)
        while len(found) < _MOST and (start := scan.best()) is not None:
            guess = self._guess(scan, *start)
            fitter = Fitter(self.signal, rest, self.product.density, guess)
            fit = fitter.run(fitter.scaled(guess), _FITS, self.grid.step / 2)
            others = found
            if self._near(fit, found):
                *others, fit = self._together(found, fit)
                fitter = Fitter(self.signal, self.x - self._sum(others), self.product.density, fit)
            if fitter.confirmed(fit) and not any(self._remnant(fit, other) for other in others):
                found = [*others, fit]
        return found

    def _together(self, found: list[Fit], fit: Fit) -> list[Fit]:
        """A new burst among those that it overlaps with, all fitted in turn. Its head or tail may hide under them: other lengths
        with the same begin or end are tried, and kept where they leave clearly less."""
        best: list[Fit] = []
        least, mean = math.inf, self.signal.table().mean(0)
        for count in (fit.symbols, *(k for k in self.signal.symbols if k != fit.symbols)):
            for begin in {fit.begin, self._end(fit) - self.signal.length(count)}:
                own = fit if count == fit.symbols else replace(fit, begin=begin, symbols=count, chips=torch.cat(
                    [self.signal.heading(), mean.repeat(count)]))
                trial = [*found, own]
                for _ in range(_TOGETHER):
                    trial = self._polished(trial)
                rest = self.x - self._sum(trial)
                left = float((rest.conj() * self.product(rest)).real.sum())
                if left + (THRESHOLD if best else 0.0) < least:
                    best, least = trial, left
                if count == fit.symbols:
                    break
        return best

    def _remnant(self, fit: Fit, other: Fit) -> bool:
        """Whether it may be what is left of another one, whose pulses are not rectangular: far weaker, at its carrier."""
        shared = min(self._end(fit), self._end(other)) - max(fit.begin, other.begin)
        return shared > 0 and abs(fit.amplitude) < _WEAK * abs(other.amplitude) and abs(fit.carrier - other.carrier) < 1 / shared

    def _guess(self, scan: Scan, index: int, symbols: int, level: float) -> Fit:
        """The carrier from a transform of the chips' sums, each as far as it is likely on."""
        on, z = scan.chips(index, symbols, level)
        chip = self.grid.signal.chip
        size = 2 ** math.ceil(math.log2(4 * len(on)))
        spectrum, frequency = torch.fft.fft(on * z, size).abs(), torch.fft.fftfreq(size, dtype=REAL)
        best = int(torch.where(frequency.abs() <= max(self.reach * chip, 1.5 / size), spectrum, -1).argmax())
        begin = index * chip / STEPS
        middle = (max(begin, 0.0) + min(begin + self.signal.length(symbols), len(self.x))) / 2
        return Fit(begin, symbols, float(frequency[best]) / chip, 1.0, middle, on.reshape(-1, self.parts).mean(1))

    def _polished(self, found: list[Fit]) -> list[Fit]:
        """Those that overlap with others once more, each in what the others leave."""
        found = list(found)
        for k, fit in enumerate(found):
            if self._near(fit, found):
                others = found[:k] + found[k + 1:]
                found[k] = Fitter(self.signal, self.x - self._sum(others), self.product.density, fit).run(fit, _POLISH)
        return found
