# SPDX-License-Identifier: GPL-3.0-or-later
"""Tones: a few narrow lines of unknown frequency, phase and amplitude.

The posterior mean by detection: the strongest line of what is left (zero-padded Fourier transform), all frequencies refined by
Gauss-Newton steps and all amplitudes by least squares together (CLEAN with joint least squares; Rife and Boorstyn, 1974 and 1976,
of one and several tones), until no line stands out of the noise; then each amplitude is weighted by the probability that the line
is one, and shrunk. A line may drift or be keyed within a window (line_shapes.py).
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from .base import Noise, Number, Source
from .keys import number, whole
from .line_shapes import Lines, middle_times, shaped

_PAD = 4                # zero padding: a peak is at most 0.2 dB off its bin
_STEPS = 2              # of Gauss-Newton after each new line, and _LAST at the end
_LAST = 3
_FALSE = 1e-3           # probability with which noise alone passes for a line, per window
_NEIGHBOURS = 64        # bins (of the window's own resolution) to each side that give the local level
_RIDGE = 1e-6


@dataclass
class Tones(Source):
    """s(n) = sum_k A_k·exp(2j*pi*f_k·n), f_k anywhere in the band; unit mean power together. In a window f_k may drift linearly,
    and A_k be keyed on and off.

    count: how many lines at most, 1 to 32: no more are looked for. Frequencies closer than about one over the window's length
    count as one line. Their density is flat on the mean, so kappa and noise_var follow from the lines themselves (`lines`).
    """

    count: int = 1
    gain: float | torch.Tensor | None = None

    kind = "tones"
    decided = True
    keys = {
        "count": whole("how many lines at most"),
        "gain": number("amplitude as received; 1 is unit mean power"),
    }
    state_names = {"gain": "gain"}
    takes_basis = False
    hides = False                       # a few numbers for a whole window

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or self.count != int(self.count) or not 1 <= self.count <= 32:
            raise ParameterError(f"count: {self.count} must be a whole number of lines, 1 to 32")
        self.count = int(self.count)

    def at(self, start: Number) -> Self:
        """See Source.at: nothing refers to the first sample."""
        return self

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: averaged over all frequencies, a unit pulse."""
        return (np.asarray(lags) == 0).astype(complex)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """Windows of `count` lines at random frequencies, two bins of the window apart or more where there is room, of random
        phases and of powers 0.5 … 1.5 relative to each other: complex64 [batch, samples], and this prior."""
        frequency = torch.rand(batch, self.count, generator=generator, dtype=torch.float64)
        apart = 2 * self.count / samples
        if apart < 0.5:         # sorted, and the rest of the band dealt out between them
            frequency = frequency.sort(1).values * (1 - apart) + torch.arange(self.count) * apart / self.count
        power = 0.5 + torch.rand(batch, self.count, generator=generator, dtype=torch.float64)
        phase = 2 * torch.pi * torch.rand(batch, self.count, generator=generator, dtype=torch.float64)
        amplitude = torch.polar((power / power.sum(1, keepdim=True)).sqrt(), phase + torch.pi * (samples - 1) * frequency)
        waves = Lines(frequency, torch.zeros_like(frequency), torch.ones(batch, self.count, samples, dtype=torch.bool)).waves
        return (waves @ amplitude[..., None])[..., 0].to(torch.complex64), self

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise, white noise alone, its variance a float or [batch].

        A line counts where its energy exceeds what noise would reach once in 1000 windows: noise of noise_var, or of the level
        around it (median of the neighbouring bins), whichever is more, since in a mixture some of the other source is left.
        """
        return self._fit(x, self.white(noise))[0].to(torch.complex64)

    def lines(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """See Source.lines: the level around them alone is known."""
        lines = self._fit(x, 0.0)[0]
        return lines.to(torch.complex64), lines.abs().square().mean(1).float()

    def _fit(self, x: Tensor, noise_var: Number) -> tuple[Tensor, Tensor, Tensor]:
        """(the sum of all lines found, complex128 [batch, samples], frequencies [batch, count], amplitudes [batch, count], zero
        for those that are none)."""
        batch, samples = x.shape
        x = x.to(torch.complex128)
        noise_var = torch.as_tensor(noise_var, dtype=torch.float64, device=x.device).reshape(-1, 1).expand(batch, 1)
        limit = math.log(_PAD * samples / _FALSE)           # a bin's energy over the noise is exponential of mean 1
        lines, floors = Lines.none(batch, samples, x.device), x.new_zeros(batch, 0).real
        amplitude, rest = x.new_zeros(batch, 0), x
        going = torch.ones(batch, dtype=torch.bool, device=x.device)
        for _ in range(self.count):
            energy = torch.fft.fft(rest, _PAD * samples).abs().square() / samples
            peak, at = energy.max(1, keepdim=True)
            floor = torch.maximum(noise_var, _around(energy[:, ::_PAD], at // _PAD)).clamp_min(1e-30)
            going = going & (peak > limit * floor)[:, 0]
            if not bool(going.any()):
                break
            # a window that is done gets a line that is switched off: its place in the batch must hold something
            lines = lines.with_line(torch.where(going[:, None], at / (_PAD * samples), torch.nan))
            floors = torch.cat([floors, floor], 1)
            lines, amplitude, rest = _refine(x, lines, _STEPS)
            least = torch.full_like(floor, limit)
            if lines.frequency.shape[1] < self.count:       # two lines beat: another line is the simpler explanation
                another = torch.fft.fft(rest, _PAD * samples).abs().square().amax(1, keepdim=True) / samples
                least = torch.maximum(least, another / floor)
            lines, amplitude, rest = _shaped(x, lines, amplitude, rest, -1, floor, least)
        if lines.frequency.shape[1] == 0:
            return torch.zeros_like(x), lines.frequency, amplitude
        for k in range(lines.frequency.shape[1] - 1):       # what another line hid
            floor = floors[:, k:k + 1]
            lines, amplitude, rest = _shaped(x, lines, amplitude, rest, k, floor, torch.full_like(floor, limit))
        lines, amplitude, rest = _refine(x, lines, _LAST)
        ratio = lines.on.sum(2) * amplitude.abs().square() / floors
        present = torch.sigmoid(ratio - limit) * (1 - 1 / ratio.clamp_min(1.0))
        amplitude = torch.where(lines.frequency.isnan(), 0, amplitude * present)
        return (lines.waves @ amplitude[..., None])[..., 0], lines.frequency, amplitude


def _around(energy: Tensor, at: Tensor) -> Tensor:
    """The level about bin `at` [batch, 1]: the median of its neighbours, on the scale of a mean of exponentials."""
    bins = energy.shape[1]
    reach = min(_NEIGHBOURS, (bins - 1) // 2)
    away = torch.cat([torch.arange(-reach, -2), torch.arange(3, reach + 1)]).to(at.device)
    return energy.gather(1, (at + away) % bins).median(1, keepdim=True).values / math.log(2)


def _shaped(x: Tensor, lines: Lines, amplitude: Tensor, rest: Tensor, k: int, floor: Tensor,
            least: Tensor) -> tuple[Lines, Tensor, Tensor]:
    """As _refine, once line k is looked at by itself; see line_shapes.shaped."""
    k = k % lines.frequency.shape[1]
    own = amplitude[:, k:k + 1] * lines.waves[..., k]
    return _refine(x, shaped(lines, k, rest + own, floor, least), _STEPS)


def _refine(x: Tensor, lines: Lines, steps: int) -> tuple[Lines, Tensor, Tensor]:
    """(lines, amplitudes [batch, count], rest [batch, samples]): least squares in all amplitudes, and Gauss-Newton steps of all
    frequencies with them, and of drifts, no more than half a bin each."""
    samples, k = x.shape[1], lines.frequency.shape[1]
    n = middle_times(samples, x.device)[:, None] / samples
    drifting = lines.drift != 0
    for step in range(steps + 1):
        e = lines.waves
        amplitude = _solve(e, x)
        rest = x - (e @ amplitude[..., None])[..., 0]
        if step == steps:
            break
        # dx = sum_k dA_k·e_k + A_k·2j*pi*N·df_k·n/N·e_k: with all A_k free, real parts alone belong to df
        columns = [e, e * n, e * n.square() * drifting[:, None]] if bool(drifting.any()) else [e, e * n]
        both = _solve(torch.cat(columns, 2), x)
        moves = [(part / (2j * torch.pi * amplitude)).real.nan_to_num(0.0, 0.0, 0.0).clamp(-0.5, 0.5)
                 for part in both.split(k, 1)[1:]]
        drift = lines.drift + 2 * moves[1] * drifting / samples ** 2 if len(moves) > 1 else lines.drift
        lines = replace(lines, frequency=lines.frequency + moves[0] / samples, drift=drift)
    return lines, amplitude, rest


def _solve(columns: Tensor, x: Tensor) -> Tensor:
    """Least squares: columns complex128 [batch, samples, k], x [batch, samples] -> [batch, k]; hardly damped, so that columns
    that are zero or alike do no harm."""
    gram = columns.mH @ columns
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).real + 1e-9
    return torch.linalg.solve(gram + torch.diag_embed(ridge.to(gram.dtype)), columns.mH @ x[..., None])[..., 0]
