# SPDX-License-Identifier: GPL-3.0-or-later
"""Where bursts of pulses may begin in a window of noise of any density: likelihood ratios on a grid, without any phase.

Samples are divided by the noise density and summed over chips that begin on a grid of a quarter of a chip. A chip that is on, of
energy e (mean 1 in noise), raises the log-likelihood by l(e) = log I0(2·sqrt(λ·e)) - λ, whatever its phase (λ: its energy to
noise density), a symbol by log mean_p exp(sum of l over the chips that are on in pattern p). Sums over preamble and symbols make
the likelihood ratio of a burst that begins there, for a few λ and every length. Carrier offsets do no harm: chips are cut so
short that one turns by a quarter of a cycle at most within one.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor

from ..signals.ppm import Ppm, integrated

REAL, COMPLEX = torch.float64, torch.complex128
STEPS = 4           # of the grid per chip: a chip between two of them loses 1.2 dB
THRESHOLD = 30.0    # nats: noise exceeds such a likelihood ratio with e^-30; 1e5 hypotheses a window leave 1e-8
_LEAST = 1.5        # lowest λ that is tried: two bits in five are wrong there
_FACTOR = 4.0       # from one λ to the next: between two of them 5 % of the likelihood is lost
_LEVELS = 9         # that are tried at most, up to 50 dB: far below its own a chip beside a pulse passes for one that is on
_QUANTILE = 0.1     # of the chips' energies, by which the noise is measured: few of them are on
_GAP = 15.0         # nats that symbols without a pulse may cost before a burst of any length is over: 21 of on-off keying
_DYNAMIC = 1e-6     # of the greatest density, or of the window's power, the least that is believed (60 dB)


class Weighted:
    """Inner products of one window in noise of a density, float64 [samples], FFT order: those of <a, b/density>."""

    def __init__(self, density: Tensor, power: float) -> None:
        self.density = density.clamp_min(max(_DYNAMIC * float(density.max()), _DYNAMIC * power, 1e-30))
        self.samples = len(density)
        self.scale(1.0)

    def scale(self, factor: float) -> None:
        """Multiply the density."""
        self.density = self.density * factor
        self.weight = 1 / self.density
        self.lags = torch.fft.ifft(self.weight.to(COMPLEX)).real

    def __call__(self, x: Tensor) -> Tensor:
        """x over the noise density, complex128 [..., samples]."""
        return torch.fft.ifft(torch.fft.fft(x) * self.weight)

    def chip_energy(self, begin: Tensor, duration: float) -> Tensor:
        """Energy to noise density of chips of unit amplitude that begin there [...]: of what of them lies in the window."""
        first = torch.floor(begin + 1e-9)
        width = math.ceil(duration - 1e-9) + 1
        wave = integrated(torch.ones(*begin.shape, 1, dtype=REAL), (begin - first).clamp_min(0), duration, width)
        n = first[..., None] + torch.arange(width)
        wave = wave * ((n >= 0) & (n < self.samples))
        lag = (torch.arange(width)[:, None] - torch.arange(width)).abs()
        return ((wave @ self.lags[lag % self.samples]) * wave).sum(-1)

    def chip_sums(self, x: Tensor, begin: Tensor, duration: float) -> Tensor:
        """Sums of x [samples] over [begin, begin + duration), samples cut where the edges cut them."""
        total = torch.nn.functional.pad(x.cumsum(0), (1, 1))
        total[-1] = total[-2]

        def until(t: Tensor) -> Tensor:
            t = t.clamp(0, self.samples)
            whole = t.floor()
            low, high = total[whole.long()], total[whole.long() + 1]
            return low + (t - whole) * (high - low)

        return until(begin + duration) - until(begin)


class Grid:
    """Chips of a window that begin on the grid: of the waveform `signal`, whose chips are short enough. place: their begins,
    float64 [chips]; the grid's index 0 is sample 0. calm: factor on the noise that is raised where bursts were subtracted."""

    def __init__(self, signal: Ppm, product: Weighted, x: Tensor) -> None:
        self.signal, self.product, self.step = signal, product, signal.chip / STEPS
        last = (product.samples - signal.chip) / self.step
        self.place = self.step * torch.arange(max(1, int(last + 1e-9) + 1), dtype=REAL)
        self.calm = torch.ones_like(self.place)
        self.unit = product.chip_energy(self.place, signal.chip)
        energies = self.energies(x)[1]
        level = float((torch.quantile(energies, _QUANTILE) / -math.log1p(-_QUANTILE)).clamp_min(1e-9))
        product.scale(level)
        self.unit = self.unit / level

    def energies(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over the chips, complex128 [chips], and their energies to the noise density."""
        z = self.product.chip_sums(self.product(x), self.place, self.signal.chip)
        return z, z.abs().square() / self.unit / self.calm


class Scan:
    """Likelihood ratios of bursts that begin anywhere on the grid, and outside the window by a burst's length at most."""

    def __init__(self, grid: Grid, x: Tensor) -> None:
        self.signal, self.samples = grid.signal, grid.product.samples
        self.z, energy = grid.energies(x)
        self.most = max(self.signal.symbols, default=math.ceil(self.samples / self.signal.samples_per_symbol))
        self.span = self.signal.chips_per_symbol * STEPS            # grid steps of a symbol
        self.head = len(self.signal.preamble) * STEPS
        self.reach = self.head + self.most * self.span              # and of the longest burst
        top = max(float(energy.max()), 2 * _LEAST)
        count = min(_LEVELS, 1 + math.ceil(math.log(top / _LEAST, _FACTOR)))
        self.levels = _LEAST * _FACTOR ** torch.arange(count, dtype=REAL)
        root = 2 * (self.levels[:, None] * energy).sqrt().float()
        gain = root + torch.log(torch.special.i0e(root)) - self.levels[:, None].float()
        # beyond the window nothing is known: index i of the grid is i + reach here, and a burst may begin at any of them
        self.gain = torch.nn.functional.pad(gain, (self.reach, 2 * self.reach + self.span))
        self.begins = self.reach + len(grid.place)
        self._sum()

    def _on(self, chips: str, count: int) -> Tensor:
        """Sum of the gains of the chips that are on, for the first `count` begins of that word [levels, count]."""
        out = torch.zeros(len(self.levels), count)
        for k, chip in enumerate(chips):
            if chip == "1":
                out = out + self.gain[:, k * STEPS:k * STEPS + count]
        return out

    def _sum(self) -> None:
        rows = -(-(self.begins + self.head + self.reach) // self.span)
        count = rows * self.span
        self.gain = torch.nn.functional.pad(self.gain, (0, max(0, count + self.span - self.gain.shape[1])))
        words = torch.stack([self._on(word, count) for word in self.signal.patterns])
        symbol = words.logsumexp(0) - math.log(len(words))
        self.symbol = symbol
        total = torch.nn.functional.pad(symbol.unflatten(1, (rows, self.span)).cumsum(1), (0, 0, 1, 0))
        flat = total.flatten(1)                     # total up to the symbol that begins there, of those a symbol apart
        here = torch.arange(self.head, self.head + self.begins)
        if self.signal.symbols:
            length = torch.full((len(flat), self.begins), self.signal.symbols[0])
            ratio = flat[:, here + self.signal.symbols[0] * self.span] - flat[:, here]
            for longer in self.signal.symbols[1:]:
                other = flat[:, here + longer * self.span] - flat[:, here]
                length = torch.where(other >= ratio, longer, length)        # where the window does not tell, the longer one
                ratio = torch.maximum(ratio, other)
        else:
            ahead, last = total.flip(1).cummax(1)
            length = ((rows - last.flip(1)).flatten(1)[:, here] - here // self.span).clamp_min(1)
            ratio = ahead.flip(1).flatten(1)[:, here] - flat[:, here]
        ratio = ratio + self._on(self.signal.preamble, self.begins)
        self.ratio, level = ratio.max(0)
        self.level, self.length = self.levels[level], length.gather(0, level[None])[0]

    def best(self) -> tuple[int, int, float] | None:
        """(index on the grid, symbols, λ) of the likeliest burst left, or None; others that overlap with it are left out from
        then on."""
        while float(self.ratio.max()) >= THRESHOLD:
            at = int(self.ratio.argmax())
            symbols, level = int(self.length[at]), float(self.level[at])
            if not self.signal.symbols:
                symbols, ratio = self._without_gaps(at, symbols, level)
                if ratio < THRESHOLD:
                    self.ratio[at] = ratio
                    continue
            end = at + self.head + symbols * self.span
            index = torch.arange(self.begins)
            clash = (index < end) & (index + self.head + self.length * self.span > at)
            self.ratio = torch.where(clash, -math.inf, self.ratio)
            return at - self.reach, symbols, level
        return None

    def _without_gaps(self, at: int, symbols: int, level: float) -> tuple[int, float]:
        """Symbols up to the first long gap, and the likelihood ratio of these."""
        row = self._row(level)
        total = self.symbol[row, at + self.head + self.span * torch.arange(symbols)].cumsum(0)
        over = torch.nonzero(total.cummax(0).values - total > _GAP)
        symbols = 1 + int(total[:int(over[0])].argmax()) if len(over) and int(over[0]) else symbols
        return symbols, float(total[symbols - 1] + self._on(self.signal.preamble, self.begins)[row, at])

    def _row(self, level: float) -> int:
        return int((self.levels - level).abs().argmin())

    def chips(self, index: int, symbols: int, level: float) -> tuple[Tensor, Tensor]:
        """Probabilities that the chips of a burst are on, float64 [chips], and their sums; 0 of those outside the window."""
        count = len(self.signal.preamble) + symbols * self.signal.chips_per_symbol
        place = index + STEPS * torch.arange(count)
        inside = (place >= 0) & (place < len(self.z))
        z = torch.where(inside, self.z[place.clamp(0, len(self.z) - 1)], 0)
        row = self._row(level)
        gain = self.gain[row, self.reach + place][len(self.signal.preamble):].unflatten(0, (symbols, -1)).double()
        table = self.signal.table()
        on = torch.softmax(gain @ table.T, 1) @ table
        return torch.cat([self.signal.heading(), on.flatten()]), z
