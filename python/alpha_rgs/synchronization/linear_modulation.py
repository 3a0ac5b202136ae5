# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, phase and kappa of an interference that is a linear modulation, and the noise variance, found from the mixture.

The SOI is coloured noise to it: everything is weighted by 1/(S(f) + c), S the SOI's spectrum and c what is white. Timing and
phase come first from a search that knows no symbols (quadratic in their matched-filter outputs, as the likelihood is where one
symbol alone is drowned), then from least squares with the symbols decided (Gauss-Newton).
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..signals.carrier import carrier, column
from ..sources.base import Number
from ..sources.linear_modulation import LinearModulation
from .levels import HANN, amplitude_std, scattered

_FRACTIONS = 8          # of a sample, in the search
_STEPS = 4              # of the least squares: each decides the symbols anew
_WHITE = 0.02           # c of the search, relative to the mixture's power: SOI at -3 … -24 dB, SNR unknown
_CLEAR = 0.5            # share of the interference's power outside the SOI's band without which decisions would be wrong
_SIGMAS = 3.0           # beyond which what is left, shaped like the interference, is no chance
_LEFT = 1e-3            # what is white at least, relative to the SOI's power


def acquire_linear(y: Tensor, soi: Any, interference: Any, kappa: Number | None = None,
                   noise_var: Number | None = None) -> Any:
    """As acquisition.acquire, for an interference of kind linear-modulation: returns (interference, found)."""
    signal, samples = interference.signal, y.shape[1]
    if samples < 4 * signal.samples_per_symbol + 2 * signal.half_length:
        raise ParameterError(f"timing: a window of {samples} samples is too short to find the interference in it; "
                             f"{int(4 * signal.samples_per_symbol + 2 * signal.half_length)} or more")
    if interference.symbols is not None and interference.timing is None:
        raise ParameterError("timing: that of an interference of a given number of symbols cannot be found; give it in the prior")
    x = torch.fft.fft((y * carrier(0.0, interference.carrier_offset, y).conj()).to(torch.complex128))
    gain = column(soi.gain, x).real
    spectrum = gain.square() * _spectrum(soi, float(soi.carrier_offset) - float(interference.carrier_offset), x)
    own = _spectrum(interference, 0.0, x)
    clear = float((own * (spectrum < 0.01 * spectrum.max(1, keepdim=True).values)).sum(1).min() / own.sum())
    if clear < _CLEAR:
        raise ParameterError(f"interference: only {100 * clear:.0f} % of its power lies outside the signal of interest's band, "
                             "too little to find its timing, phase and kappa; give them, and noise_var (--snr-db), or give both "
                             "as sources, none preferred (--source)")
    if noise_var is None and bool((_weak(spectrum).sum(1) < 16).any()):
        raise ParameterError("noise_var: the signal of interest leaves no band from which to estimate the noise; give it")
    power = y.abs().square().mean(1, keepdim=True).double().clamp_min(1e-12)
    weight = 1 / (spectrum + _WHITE * power)
    timing = interference.timing if interference.timing is not None else _search(x, weight, signal)
    fit = _Fit(replace(interference, timing=torch.as_tensor(timing, dtype=torch.float64).reshape(-1).expand(len(y)),
                       phase=0.0, carrier_offset=0.0), x, samples)
    for _ in range(_STEPS):
        fit.decide(weight, interference.phase)
        fit.solve(weight, move=interference.timing is None)
        white = fit.noise(x, spectrum)[:, None] if noise_var is None else column(noise_var, x)
        weight = 1 / (spectrum + white + _LEFT * gain.square())
    fit.decide(weight, interference.phase)
    fit.solve(weight, move=False)
    (white, error, missed), found, filled = fit.deviations(x, spectrum, own), {}, {}
    if interference.timing is None:
        found["timing"] = filled["timing"] = fit.prior.timing
    if interference.phase is None:
        found["phase"] = filled["phase"] = torch.angle(fit.amplitude)
    if kappa is None:
        level = fit.amplitude.abs()
        if interference.phase is not None:          # along the given phase, up to the alphabet's symmetry
            turn = torch.angle(fit.amplitude) - column(interference.phase, x)[:, 0]
            period = 2 * torch.pi / interference.signal.alphabet.symmetry
            level = level * torch.cos((turn + period / 2) % period - period / 2)
        error_of_kappa = torch.hypot(fit.spread, amplitude_std(level, missed))
        found["kappa"], found["kappa_std"] = level.float(), error_of_kappa.float()
    if noise_var is None:
        found["noise_var"], found["noise_var_std"] = white.float().clamp_min(1e-9), error.float()
    return replace(interference, **filled), found


def _spectrum(source: LinearModulation, offset: float, like: Tensor) -> Tensor:
    """Power spectral density of a unit-power linear modulation at like's frequencies, float64 [1, samples]; mean 1."""
    return torch.tensor(source.signal.power_spectrum(like.shape[1], offset)[None], device=like.device)


def _search(x: Tensor, weight: Tensor, signal: Any) -> Tensor:
    """Timing by a grid, float64 [batch], 0 … samples_per_symbol: x, weight [batch, samples] in frequency."""
    n, sps, reach = x.shape[1], signal.samples_per_symbol, int(np.ceil(signal.half_length)) + 1
    seen, power = [], []
    for fraction in np.arange(_FRACTIONS) / _FRACTIONS:
        pulse = np.roll(np.pad(signal.pulse_at(np.arange(-reach, reach + 1) - fraction), (0, n - 2 * reach - 1)), -reach)
        h = torch.tensor(np.fft.fft(pulse), device=x.device)
        seen.append(torch.fft.ifft(x * weight * h.conj()))
        power.append((weight * h.abs().square()).mean(1))
    timing = torch.arange(round(sps * _FRACTIONS), device=x.device)           # in steps of the grid, as the times of symbols
    at = timing + torch.round(torch.arange(int(n // sps), device=x.device)[:, None] * sps * _FRACTIONS).long()
    at = at.clamp(max=n * _FRACTIONS - 1)
    z = torch.stack(seen, 2).flatten(1)[:, at]                                # [batch, symbols, timings]
    metric = z.abs().square().sum(1)
    if signal.alphabet.name == "bpsk":                  # the best axis: half the sum and half its modulus
        metric = (metric + z.square().sum(1).abs()) / 2
    return (metric / torch.stack(power, 1)[:, timing % _FRACTIONS]).argmax(1).double() / _FRACTIONS


def _weak(spectrum: Tensor) -> Tensor:
    """Where a spectrum [1 or batch, samples] is all but zero: float64, 1 there, 0 elsewhere."""
    return (spectrum < 1e-3 * spectrum.max(1, keepdim=True).values).double()


class _Fit:
    """Least squares of amplitude·b(timing) in the mixture, b modulated from decided symbols. prior: of unit phase and gain, with
    timing [batch]; x: the mixture in frequency."""

    def __init__(self, prior: Any, x: Tensor, samples: int) -> None:
        self.prior, self.samples, self.x = prior, samples, x
        self.amplitude: Any = None
        taper = torch.tensor(np.hanning(samples + 2)[1:-1], device=x.device)
        self.taper = taper / taper.square().mean().sqrt()

    def decide(self, weight: Tensor, phase: Any) -> None:
        """Decide the symbols from x (weighted) with the present timing, and modulate them."""
        signal, alphabet = self.prior.signal, self.prior.signal.alphabet
        first, count = self.prior.overlapping_symbols(self.samples)
        centre = self.prior.timing_of(first)
        energy = signal.energy_inside(count, centre, self.samples).expand(len(self.x), -1).to(self.x.device)
        trusted = energy > 0.1 * signal.samples_per_symbol
        z = signal.correlate(torch.fft.ifft(self.x * weight).to(torch.complex64), count, centre) / energy.clamp_min(1e-3)
        turns = signal.turns(first, count)
        z = torch.where(trusted, z if turns is None else z * turns.conj().to(z.device), 0)
        z = z / (z.abs().square().sum(1, keepdim=True) / trusted.sum(1, keepdim=True)).sqrt().clamp_min(1e-20)
        if phase is not None:
            turn = column(phase, z)
        else:
            reference = (alphabet.points.to(torch.complex128) ** alphabet.symmetry).mean()
            lifted = (z.to(torch.complex128) ** alphabet.symmetry).sum(1, keepdim=True) * reference.conj()
            turn = torch.angle(lifted) / alphabet.symmetry
        turn = torch.polar(torch.ones_like(turn), turn).to(torch.complex64)
        self.symbols = torch.where(trusted, alphabet.nearest(z * turn.conj()), 0)
        exists = self.prior.exists(first, count)
        if exists is not None:
            self.symbols = self.symbols * exists.to(self.x.device)

    def solve(self, weight: Tensor, move: bool) -> Any:
        """Complex amplitude [batch], and (move) one Gauss-Newton step of the timing, by weighted least squares."""
        columns = [self._modulate(0.0)] + ([(self._modulate(0.05) - self._modulate(-0.05)) / 0.1] if move else [])
        a = torch.stack([torch.fft.fft(c) for c in columns], 2)                             # [batch, samples, 1 or 2]
        left = a.mH * weight[:, None]
        gram = left @ a
        gram = gram + torch.diag_embed((1e-12 * gram.diagonal(dim1=1, dim2=2).real + 1e-30).to(gram.dtype))
        solution = torch.linalg.solve(gram, left @ self.x[..., None])[..., 0]
        self.amplitude = solution[:, 0]
        if not move:
            turned = a[:, :, 0] * (self.amplitude / self.amplitude.abs().clamp_min(1e-30))[:, None]
            self.spread = scattered((turned.conj() * self.x).real * weight, a[:, :, 0].abs().square() * weight)[1]
        else:
            step = (solution[:, 1] / solution[:, 0]).real.clamp(-0.2, 0.2).nan_to_num(0.0)
            self.prior = replace(self.prior, timing=self.prior.timing + step.cpu())

    def _modulate(self, ahead: Any) -> Tensor:
        moved = replace(self.prior, timing=self.prior.timing + ahead)
        return moved.modulate_overlapping(self.symbols, self.samples).to(torch.complex128)

    def noise(self, x: Tensor, spectrum: Tensor) -> Tensor:
        """What the fit leaves where the SOI's spectrum is weak, per complex sample, float64 [batch]."""
        weak = _weak(spectrum)
        return (self._density(torch.fft.ifft(x) - self._fitted()) * weak).sum(1) / weak.sum(1)

    def _fitted(self) -> Tensor:
        return self.amplitude[:, None] * self._modulate(0.0)

    def _density(self, wave: Tensor) -> Tensor:
        return torch.fft.fft(wave * self.taper).abs().square() / self.samples

    def deviations(self, x: Tensor, spectrum: Tensor, own: Tensor) -> Any:
        """(noise, its standard deviation, the interference's power where the SOI is weak, beyond the amplitude's square), float64
        [batch]. In the noise is also what the SOI leaves there, and what wrong decisions leave, recognised by its having the
        interference's spectrum `own` [1, samples]: both count as deviation."""
        y, weak = torch.fft.ifft(x), _weak(spectrum)
        seen, density = self._density(y), self._density(y - self._fitted())
        level, error = scattered(density * weak, weak, HANN)
        mean = (own * weak).sum(1, keepdim=True) / weak.sum(1, keepdim=True)
        lean = (own - mean) * weak
        soi = (spectrum * weak).sum(1) / weak.sum(1)
        left, spread = scattered(lean * (density - spectrum - (level - soi)[:, None]), lean.square(), HANN)
        left = torch.where(left > _SIGMAS * spread, left, 0) * mean[:, 0]
        power = ((seen - level[:, None]) * weak).sum(1) / (own * weak).sum(1) + left / mean[:, 0]
        missed = torch.where(left > 0, power - self.amplitude.abs().square(), 0).clamp_min(0)
        return level, (error.square() + soi.square() + left.square()).sqrt(), missed
