# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, carrier offset, phase and gain of a linear modulation under frames of OFDM, in bursts or without end.

Of y = g·H(timing, offset)·a + A·c + w everything but the signal's own nuisances is known in second moments, so the evidence of
a timing and an offset is that of Gaussian vectors, with symbols and open carriers integrated out: it needs no decision and weighs
prefixes, null carriers and gaps as they deserve. It is periodic in the timing with hardly a second harmonic (excess bandwidth
under 100 %), so its peak follows from four timings; offsets are searched over a grid. Phase and the last of the offset are those
under which the symbols' estimates fit the alphabet best.
"""
from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.block_tridiagonal import block_tridiagonal, fit_and_determinant
from ..signals.wifi import ALPHABETS
from ..sources.linear_modulation import LinearModulation

if TYPE_CHECKING:
    from ..inference.frame_tiling import Tiling

OFFSETS = 0.02         # cycles per sample, either side: how far carrier offsets are looked for
_STEP = 0.25            # of the symbol rate over the alphabet's symmetry: between the offsets that are tried
TIMINGS = 4            # per symbol, of a signal with less than one symbol rate of excess bandwidth
_TOGETHER = 512         # tiles, times carrier offsets, that are tried at once: they stay in a core's cache
_SAME = 1e-6            # samples, by which symbols may lie differently in tiles that count as alike
_FINE = 2.5             # times the bandwidth in symbol rates: timings of a wider one, whose pulse is spread by chips
BPSK = ALPHABETS.index("bpsk")
_BINS, _OUTSIDE = 4096, 5e-3    # of a spectrum; share of the power that lies outside the band on each side
_WIDEST = 0.6           # of the band
_PHASES = 8            # at least, in the range in which a phase is unambiguous, that are tried
# variance of a symbol's estimate at least, of its power; or a quarter of the least distance squared, if less
_UNSURE = 0.05


def acquire_soi(soi: LinearModulation, tiles: Tiling) -> LinearModulation:
    """The SOI with what it lacks (timing, phase, gain, carrier_offset) filled in, tensors [batch].

    tiles: priors.tiles.Tiling of the mixture. A given value is kept. Phase up to the alphabet's symmetry.
    """
    return ranked(soi, tiles, _STEP, 1)[0]


def ranked(soi: Any, tiles: Tiling, reach: float, ranks: int) -> list[LinearModulation]:
    """As acquire_soi, with each of so many lines (see line), the likeliest first: a list."""
    white = _White(tiles)
    sps, batch = soi.signal.samples_per_symbol, tiles.batch

    def each(value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).reshape(-1).expand(batch)

    step = spacing(soi)
    steps = int(np.ceil(OFFSETS / step)) if step < OFFSETS else 0
    offsets = [each(soi.carrier_offset)] if soi.carrier_offset is not None else [
        each(k * step) for k in range(-steps, steps + 1)]
    if soi.timing is not None:
        timing = each(soi.timing)
        scores = white.scores(soi.signal, timing, torch.stack(offsets))
    else:
        count = timings(soi.signal)
        grid = [each(k * sps / count) for k in range(count)]
        table = torch.stack([white.scores(soi.signal, t, torch.stack(offsets)) for t in grid], 1)
        turn, score = peak(table.movedim(1, -1).numpy())
        timing, scores = torch.from_numpy(turn * sps), torch.from_numpy(score)
    best = scores.argmax(0)
    rows = torch.arange(batch)
    offset = torch.stack(offsets)[best, rows]
    if soi.timing is None:
        timing = timing[best, rows]
    _, power, cavity = white.evidence(soi.signal, timing, offset)
    cavity = cavity[0] / power.sqrt()[:, None], cavity[1] / power[:, None]
    lines = line(soi, cavity, offset, timing, white.first, reach, ranks)
    filled = [{"timing": timing, "carrier_offset": f, "phase": phase, "gain": power.sqrt()} for f, phase in lines]
    return [replace(soi, **{key: value for key, value in found.items() if getattr(soi, key) is None}) for found in filled]


def timings(signal: Any) -> int:
    """How many timings of a symbol show how the evidence depends on it."""
    steps = np.abs(np.fft.fftshift(signal.power_spectrum(_BINS, 0.0)))
    share = np.cumsum(steps) / steps.sum()
    wide = np.count_nonzero((share > _OUTSIDE) & (share < 1 - _OUTSIDE)) / _BINS * signal.samples_per_symbol
    return TIMINGS if wide < 2 else math.ceil(_FINE * wide)


def peak(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(timing in symbols, 0 to 1; evidence there), each [...], of evidences [..., timings] at equal steps of one symbol: that of
    the fundamental of four, since these have hardly a second harmonic; of more the greatest, by a parabola."""
    count = table.shape[-1]
    if count == TIMINGS:
        wave = np.sum(table * np.exp(2j * np.pi * np.arange(count) / count), -1)
        return np.angle(wave) % (2 * np.pi) / (2 * np.pi), table.mean(-1) + 2 * abs(wave) / count
    best = table.argmax(-1)[..., None]
    low, top, high = (np.take_along_axis(table, (best + k) % count, -1)[..., 0] for k in (-1, 0, 1))
    step = np.clip(0.5 * (high - low) / np.maximum(2 * top - low - high, 1e-12), -0.5, 0.5)
    return (best[..., 0] + step) / count % 1, top


def spacing(soi: LinearModulation) -> float:
    """Between the carrier offsets that are tried, cycles per sample."""
    return _STEP / soi.signal.samples_per_symbol / soi.signal.alphabet.symmetry


def line(soi: LinearModulation, cavity: Any, offset: Any, timing: Tensor, first: Tensor, reach: float = _STEP,
         ranks: int = 1) -> list[tuple[Tensor, Tensor]]:
    """(carrier offset, phase at sample 0), [batch] each, by the likelihood of the alphabet's points, given symbols' estimates
    (mean, var) in units of the alphabet, [batch, symbols], turned back by `offset`: the best of a grid; and of the next best
    peaks, `ranks` of them. reach: how far from `offset`, of the symbol rate over the alphabet's symmetry (0.5 is as far as it is
    unambiguous)."""
    return lines(soi, cavity, offset, timing, first, reach, ranks)[0]


def lines(soi: LinearModulation, cavity: Any, offset: Any, timing: Tensor, first: Tensor, reach: float,
          ranks: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """(as line, by how many standard deviations of the likelihood over all offsets the best exceeds their mean [batch])."""
    mean, var = cavity
    alphabet, sps = soi.signal.alphabet, soi.signal.samples_per_symbol
    values, angles, step = rotation_likelihood(alphabet, mean, var, 0.0 if soi.carrier_offset is not None else reach)
    count, rows = values.shape[1] // 2, torch.arange(len(mean))
    steps = torch.arange(-count, count + 1)
    middle = timing + (first.double() + mean.shape[1] // 2) * sps
    clear = (values.amax(1) - values.mean(1)) / values.std(1, correction=0).clamp_min(1e-12)
    out = []
    for _ in range(min(ranks, 2 * count + 1)):
        at = values.argmax(1)
        about = step * steps[at].double()
        out.append((offset + about / sps, angles[rows, at] - 2 * torch.pi * about / sps * middle))
        values = torch.where((steps - steps[at][:, None]).abs() * step <= 1 / mean.shape[1], -torch.inf, values)
    return out, clear


def told_of_rotation(alphabet: Any, var: Tensor) -> Tensor:
    """By how many nats the right rotation of symbols is likelier than a wrong one, on average, [batch], where their estimates
    have variances var [batch, symbols]: of points drawn."""
    generator = torch.Generator().manual_seed(0)
    points = alphabet.points.to(torch.complex128)[torch.randint(len(alphabet.points), var.shape, generator=generator)]
    seen = points + var.sqrt() * torch.randn(var.shape, dtype=torch.complex128, generator=generator)
    turn = 2 * math.pi / alphabet.symmetry / phases_per_turn(alphabet)
    table = torch.stack([_log_mixture(alphabet, seen * np.exp(1j * turn * i), var).sum(1)
                         for i in range(phases_per_turn(alphabet))])
    return table[0] - table.mean(0)


def rotation_likelihood(alphabet: Any, mean: Tensor, var: Tensor, reach: float) -> tuple[Tensor, Tensor, float]:
    """(log-likelihood, phase rad) [batch, offsets] under the best phase, and the step between offsets, cycles per symbol: of
    symbols' estimates mean, var [batch, symbols] as points of the alphabet, rotated by a phase (at the middle symbol) and a
    carrier offset of up to `reach` of the unambiguous range 1/symmetry to either side; offsets in ascending order.

    The log-likelihood of one symbol is periodic in its rotation. So it has a Fourier series in the rotation, and of each
    harmonic one transform over the symbols gives the sum for all offsets.
    """
    symmetry, count, phases = alphabet.symmetry, mean.shape[1], phases_per_turn(alphabet)
    length = 1 << math.ceil(math.log2(max(phases * count / 2, 1)))             # offsets in the unambiguous range
    turn = 2 * torch.pi / symmetry / phases
    own = torch.stack([_log_mixture(alphabet, mean * np.exp(-1j * turn * i), var) for i in range(phases)], 2)
    series = torch.fft.rfft(own, dim=2)                                        # [batch, symbols, harmonics]
    harmonic = torch.arange(series.shape[2])
    most = min(int(math.ceil(reach * length)), length // 2)
    steps = torch.arange(-most, most + 1)
    if most == 0:
        summed = series.sum(1, keepdim=True)
    else:
        middle = count // 2
        circle = torch.zeros(len(mean), length, len(harmonic), dtype=series.dtype)
        circle[:, :count - middle], circle[:, length - middle:] = series[:, middle:], series[:, :middle]
        summed = torch.fft.ifft(circle, dim=1, norm="forward")[:, (steps[:, None] * harmonic) % length, harmonic]
    table = torch.fft.irfft(summed, phases, dim=2)
    values, at = table.max(2)
    low, high = (table.gather(2, ((at + k) % phases)[..., None])[..., 0] for k in (-1, 1))
    bend = (low + high - 2 * values).clamp_max(-1e-12)
    return values, turn * (at + ((low - high) / (2 * bend)).clamp(-0.5, 0.5)), 1 / symmetry / length


def phases_per_turn(alphabet: Any) -> int:
    """How many phases of the alphabet's unambiguous range are told apart: four from one point of the outermost ring to its
    neighbour, a power of two."""
    apart = 2 * math.asin(min(alphabet.least_distance / 2 / float(alphabet.points.abs().max()), 1.0))
    return max(_PHASES, 1 << math.ceil(math.log2(4 * 2 * math.pi / alphabet.symmetry / apart) - 1e-6))


def _log_mixture(alphabet: Any, z: Tensor, var: Tensor) -> Tensor:
    """log Σ_a exp(−|z − a|²/var) + |z|²/var, which a rotation leaves as it is, of each symbol: float64, shape of z."""
    points = alphabet.points.to(torch.complex128)
    near = torch.view_as_real(z) @ torch.view_as_real(points).mT
    near = (2 * near - points.abs().square()) / var.clamp_min(min(_UNSURE, alphabet.least_distance ** 2 / 4))[..., None]
    return torch.logsumexp(near, -1)


class _White:
    """The Gaussian model of everything but the signal of interest: the inverse covariance of each tile. In real and imaginary
    parts, which cost more, with carriers of BPSK, which leave the axis across theirs to the signal of interest."""

    def __init__(self, tiles: Tiling) -> None:
        self.tiles = tiles
        shape = tiles.received.shape
        self.proper = not any(bool((alphabet == BPSK).any()) for _, _, alphabet, _ in tiles.groups)
        size = shape[1] if self.proper else 2 * shape[1]
        self.inverse = torch.zeros(shape[0], size, size, dtype=torch.complex128 if self.proper else torch.float64)
        for rows, waves, alphabet, noise in tiles.groups:
            weight = 1 / noise
            if not self.proper:
                along = torch.where(alphabet == BPSK, 1.0, 0.5 ** 0.5)[:, None]
                waves = _real(waves) * torch.cat([along, torch.where(alphabet == BPSK, 0.0, 0.5 ** 0.5)[:, None]], 2)
                weight = 2 * torch.cat([weight, weight], 1)
            weighted = waves.mH * weight[:, None]
            inner = weighted @ waves + torch.eye(waves.shape[2], dtype=waves.dtype)
            self.inverse[rows] = torch.diag_embed(weight) - weighted.mH @ torch.linalg.solve(inner, weighted)
        seen = tiles.received if self.proper else torch.cat([tiles.received.real, tiles.received.imag], 1)
        self.seen = self.inverse @ seen[..., None]
        # a number for each run of tiles with the same covariance
        alike = (tiles.window[1:] == tiles.window[:-1]) & (tiles.inside[1:] == tiles.inside[:-1]).all(1) & (
            self.inverse[1:] == self.inverse[:-1]).flatten(1).all(1)
        self.kind = torch.cat([torch.zeros(1, dtype=torch.int64), (~alike).long().cumsum(0)])

    def evidence(self, signal: Any, timing: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """(log evidence [batch], g² [batch], cavities of g·a: (mean, var) [batch, symbols])."""
        tiles, one = self.tiles, torch.ones(self.tiles.batch, dtype=torch.complex128)
        pulses = tiles.pulses(signal, timing, offset, one)
        if not self.proper:
            pulses = _real(pulses)
        local, total, count = self._symbols(signal, timing)
        parts = 1 if self.proper else 2
        gram, stat = pulses.mH @ (self.inverse @ pulses), (pulses.mH @ self.seen)[..., 0]
        chain = _Chain(tiles.window, local, count, tiles.batch, total, parts)
        (main, side), h = chain.summed(gram), chain.gathered(stat)
        power = _power(main, side, h, parts)
        prior = (parts / power)[:, None, None].expand(h.shape)
        mean, cov, _, log_determinant = block_tridiagonal(main + torch.diag_embed(prior), side, h)
        fit = (h.conj() * mean).real.sum((1, 2))
        log = (fit - log_determinant - h[0].numel() * (power / parts).log()) / parts
        var = cov.diagonal(dim1=2, dim2=3).real
        precision = (1 / var - prior).clamp_min(1e-9)
        mean, var = (chain.parts(v) for v in (mean / var / precision, 1 / precision))
        return log, power, (mean[:, 0] if self.proper else torch.complex(mean[:, 0], mean[:, 1]), var.sum(1))

    def scores(self, signal: Any, timing: Tensor, offsets: Tensor) -> Tensor:
        """log evidence [offsets, batch] of carrier offsets [offsets, batch], many together: pulses differ by a rotation, most of
        the time is the cost of operations, and tiles that are alike have one matrix."""
        if not self.proper:
            return torch.stack([self.evidence(signal, timing, offset)[0] for offset in offsets])
        tiles, (local, total, count) = self.tiles, self._symbols(signal, timing)
        pulses = tiles.pulses(signal, timing, torch.zeros_like(timing), torch.ones(tiles.batch, dtype=torch.complex128))
        first, kind = self._alike(signal, timing)
        out = []
        for some in offsets.split(max(1, _TOGETHER // len(local))):
            angle = 2 * torch.pi * some[:, tiles.window] * tiles.start          # [offsets, tiles]
            along = 2 * torch.pi * some[:, tiles.window, None] * torch.arange(tiles.length)
            turn = torch.polar(torch.ones_like(along), along)                   # within a tile, of whose matrix no more counts
            turned = pulses[first] * turn[:, first, :, None]                    # [offsets, kinds, samples, count]
            weighted = self.inverse[first] @ turned.permute(1, 2, 0, 3).flatten(2)
            gram = turned.mH @ weighted.unflatten(2, (len(some), count)).permute(2, 0, 1, 3)
            seen = self.seen[..., 0] * (turn * torch.polar(torch.ones_like(angle), angle)[..., None]).conj()
            stat = (pulses.mH @ seen.permute(1, 2, 0)).permute(2, 0, 1)
            window = (tiles.window + tiles.batch * torch.arange(len(some))[:, None]).flatten()
            chain = _Chain(window, local.repeat(len(some)), count, tiles.batch * len(some), total, 1)
            (main, side), h = chain.summed(gram[:, kind].flatten(0, 1)), chain.gathered(stat.flatten(0, 1))
            power = _power(main, side, h, 1)
            prior = (1 / power)[:, None, None].expand(h.shape)
            fit, log_determinant = fit_and_determinant(main + torch.diag_embed(prior), side, h)
            out.append((fit - log_determinant - h[0].numel() * power.log()).unflatten(0, (len(some), -1)))
        return torch.cat(out)

    def _alike(self, signal: Any, timing: Tensor) -> tuple[Tensor, Tensor]:
        """(the first tile of each kind, int64 [kinds]; the kind of each tile, int64 [tiles]): tiles of one window that have one
        covariance, and in which symbols lie alike."""
        tiles = self.tiles
        place = timing[tiles.window] + tiles.symbols(signal, timing)[0] * signal.samples_per_symbol - tiles.start
        _, where = torch.unique((place / _SAME).round().long(), return_inverse=True)
        _, kind, count = torch.unique(self.kind * len(where) + where, return_inverse=True, return_counts=True)
        first = torch.full_like(count, len(kind)).scatter_reduce(0, kind, torch.arange(len(kind)), "amin")
        return first, kind

    def _symbols(self, signal: Any, timing: Tensor) -> tuple[Tensor, int, int]:
        """(position, among its window's symbols, of the first that reaches each tile; how many a window has at most; a tile)."""
        symbol, count = self.tiles.symbols(signal, timing)
        self.first = torch.full((self.tiles.batch,), 1 << 40).scatter_reduce(0, self.tiles.window, symbol, "amin")
        local = symbol - self.first[self.tiles.window]
        return local, int(local.max()) + count, count


def _power(main: Tensor, side: Tensor, h: Tensor, parts: int) -> Tensor:
    """g² [batch] of symbols of precision J, in blocks, and h = J·mean: E[hhᴴ] = g²/parts·JJᴴ + J."""
    own = main.diagonal(dim1=2, dim2=3).real
    energy = main.abs().square().sum((1, 2, 3)) + 2 * side.abs().square().sum((1, 2, 3))        # of the whole matrix
    return (parts * (h.abs().square() - own).sum((1, 2)) / energy).clamp_min(1e-6)


class _Chain:
    """Symbols, or their real and imaginary parts, of which each tile couples `count` neighbours: in blocks of `count` symbols,
    real parts first, their precision is block tridiagonal. window, local: of each tile, int64 [tiles], the window and its first
    symbol's position among `total`; parts: 1, or 2 of real and imaginary parts."""

    def __init__(self, window: Tensor, local: Tensor, count: int, batch: int, total: int, parts: int) -> None:
        self.batch, self.total, self.number, self.q, self.blocks = batch, total, parts, parts * count, -(-total // count)
        k = local[:, None] + torch.arange(count)
        block, row = (torch.cat(values, 1) for values in zip(*((k // count, k % count + i * count) for i in range(parts))))
        self.place = (window[:, None] * self.blocks + block) * self.q + row             # of each unknown, [tiles, parts·count]
        self.step = block[:, None] - block[:, :, None]                                  # from a row's block to a column's
        self.entry = self.place[:, :, None] * self.q + row[:, None]

    def gathered(self, values: Tensor) -> Tensor:
        """Sums over tiles of values [tiles, parts·count]: [batch, blocks, parts·count]."""
        out = torch.zeros(self.batch * self.blocks * self.q, dtype=values.dtype)
        return out.index_add_(0, self.place.flatten(), values.flatten()).reshape(self.batch, self.blocks, self.q)

    def summed(self, gram: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over tiles of matrices [tiles, parts·count, parts·count]: (blocks with themselves, with the next ones)."""
        out = []
        for step in (0, 1):
            here = self.step == step
            part = torch.zeros(self.batch * self.blocks * self.q ** 2, dtype=gram.dtype)
            part.index_add_(0, self.entry[here], gram[here])
            out.append(part.reshape(self.batch, self.blocks, self.q, self.q))
        return out[0], out[1][:, :-1]

    def parts(self, values: Tensor) -> Tensor:
        """Values [batch, blocks, parts·count] as those of the symbols, [batch, parts, total]."""
        both = values.unflatten(2, (self.number, -1)).movedim(2, 1)
        return both.flatten(2)[..., :self.total]


def _real(waves: Tensor) -> Tensor:
    """Complex columns [tiles, n, d] as real ones of their real and imaginary parts [tiles, 2n, 2d]."""
    return torch.cat([torch.cat([waves.real, waves.imag], 1), torch.cat([-waves.imag, waves.real], 1)], 2)


def bands_of(soi: LinearModulation, batch: int, margin: float = 0.0) -> list[tuple[float, float]]:
    """The frequencies that a linear modulation takes in each window, (low, high), cycles per sample, wider by `margin` on either
    side, and by what its offset may be where that is not known."""
    density = replace(soi, timing=0.0, phase=0.0, carrier_offset=0.0).psd(1024)
    inside = np.fft.fftfreq(1024)[density > 1e-2 * density.max()]
    unknown = soi.carrier_offset is None
    centres = torch.as_tensor(0.0 if unknown else soi.carrier_offset, dtype=torch.float64).reshape(-1).expand(batch).tolist()
    margin = margin + (OFFSETS if unknown else 0.0)
    width = inside.max() - inside.min() + 2 * margin
    if width > _WIDEST:
        raise ParameterError(f"signal of interest: takes {width:.2g} of the band, with what its carrier offset may be; too "
                             "little is left to see the bursts by; give a higher samples_per_symbol, or the carrier_offset")
    return [(c + inside.min() - margin, c + inside.max() + margin) for c in centres]
