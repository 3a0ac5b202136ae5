# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, carrier offset, phase and gain of a linear modulation under frames of OFDM, in bursts or without end.

Of y = g·H(timing, offset)·a + A·c + w everything but the signal's own nuisances is known in second moments, so the evidence of
a timing and an offset is that of Gaussian vectors, with symbols and open carriers integrated out: it needs no decision and weighs
prefixes, null carriers and gaps as they deserve. It is periodic in the timing with hardly a second harmonic (excess bandwidth
under 100 %), so its peak follows from four timings; offsets are searched over a grid. Phase and the last of the offset are those
under which the symbols' estimates fit the alphabet best.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.block_tridiagonal import block_tridiagonal
from ..signals.wifi import ALPHABETS
from ..sources.linear_modulation import LinearModulation

if TYPE_CHECKING:
    from ..inference.frame_tiling import OfdmTiles
    from ..sources.ofdm_bursts import Tiles

OFFSETS = 0.02         # cycles per sample, either side: how far carrier offsets are looked for
_STEP = 0.25            # of the symbol rate over the alphabet's symmetry: between the offsets that are tried
TIMINGS = 4            # per symbol
BPSK = ALPHABETS.index("bpsk")
_WIDEST = 0.6           # of the band
_LINE, _COARSE, _PHASES = 4096, 4, 8    # offsets per symbol rate (every 4th first), phases per turn, that are tried last
_UNSURE = 0.05          # variance of a symbol's estimate at least, of its power


def acquire_soi(soi: LinearModulation, tiles: Tiles) -> LinearModulation:
    """The SOI with what it lacks (timing, phase, gain, carrier_offset) filled in, tensors [batch].

    tiles: priors.tiles.Tiling of the mixture. A given value is kept. Phase up to the alphabet's symmetry.
    """
    return ranked(soi, tiles, _STEP, 1)[0]


def ranked(soi: Any, tiles: OfdmTiles | Tiles, reach: float, ranks: int) -> list[LinearModulation]:
    """As acquire_soi, with each of so many lines (see line), the likeliest first: a list."""
    white = _White(tiles)
    sps, batch = soi.signal.samples_per_symbol, tiles.batch

    def each(value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).reshape(-1).expand(batch)

    step = spacing(soi)
    steps = int(np.ceil(OFFSETS / step))
    offsets = [each(soi.carrier_offset)] if soi.carrier_offset is not None else [
        each(k * step) for k in range(-steps, steps + 1)]
    if soi.timing is not None:
        timing = each(soi.timing)
        scores = torch.stack([white.evidence(soi.signal, timing, f)[0] for f in offsets])
    else:
        grid = [each(k * sps / TIMINGS) for k in range(TIMINGS)]
        table = torch.stack([torch.stack([white.evidence(soi.signal, t, f)[0] for t in grid]) for f in offsets])
        turn = torch.polar(torch.ones(TIMINGS, dtype=torch.float64), 2 * torch.pi * torch.arange(TIMINGS).double() / TIMINGS)
        wave = (table * turn[:, None]).sum(1)
        scores = table.mean(1) + 2 * wave.abs() / TIMINGS
        timing = torch.angle(wave) % (2 * torch.pi) / (2 * torch.pi) * sps
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


def spacing(soi: LinearModulation) -> float:
    """Between the carrier offsets that are tried, cycles per sample."""
    return _STEP / soi.signal.samples_per_symbol / soi.signal.alphabet.symmetry


def line(soi: LinearModulation, cavity: Any, offset: Any, timing: Tensor, first: Tensor, reach: float = _STEP,
         ranks: int = 1) -> list[tuple[Tensor, Tensor]]:
    """(carrier offset, phase at sample 0), [batch] each, by the likelihood of the alphabet's points, given symbols' estimates
    (mean, var) in units of the alphabet, [batch, symbols], turned back by `offset`: the best of a grid, coarse, then fine; and of
    the next best peaks, `ranks` of them. reach: how far from `offset`, of the symbol rate over the alphabet's symmetry (0.5 is as
    far as it is unambiguous)."""
    mean, var = cavity
    alphabet, sps = soi.signal.alphabet, soi.signal.samples_per_symbol
    points, k = alphabet.points.to(torch.complex128), torch.arange(mean.shape[1]).double() - mean.shape[1] // 2
    phases = torch.arange(_PHASES).double() * (2 * torch.pi / alphabet.symmetry / _PHASES)
    var = var.clamp_min(_UNSURE)[:, None]

    def fit(f: Tensor) -> tuple[Tensor, Tensor]:
        """(likelihood, phase) of offsets f, cycles per symbol, [batch]."""
        turn = -phases[:, None] - 2 * torch.pi * f[:, None, None] * k
        z = mean[:, None] * torch.polar(torch.ones_like(turn), turn)
        near = (2 * (z[..., None] * points.conj()).real - points.abs().square()) / var[..., None]
        value, at = torch.logsumexp(near, -1).sum(-1).max(1)
        return value, phases[at]

    def table(about: Tensor, steps: Tensor) -> Iterator[Any]:
        tried = [fit(about + float(step) / _LINE) for step in steps]
        return (torch.stack(column) for column in zip(*tried))

    rows, none = torch.arange(len(mean)), torch.zeros(len(mean), dtype=torch.float64)
    middle = timing + (first.double() + mean.shape[1] // 2) * sps
    count = 0 if soi.carrier_offset is not None else int(np.ceil(reach / alphabet.symmetry * _LINE / _COARSE))
    steps = _COARSE * torch.arange(-count, count + 1)
    values, angles = table(none, steps)
    out = []
    for _ in range(min(ranks, 2 * count + 1)):
        at = values.argmax(0)
        about, phase = steps[at].double() / _LINE, angles[at, rows]
        if count:
            near = torch.arange(1 - _COARSE, _COARSE)
            fine, turned = table(about, near)
            about, phase = about + near[fine.argmax(0)].double() / _LINE, turned[fine.argmax(0), rows]
        out.append((offset + about / sps, phase - 2 * torch.pi * about / sps * middle))
        values = torch.where((steps[:, None] - steps[at]).abs() <= _LINE / mean.shape[1], -torch.inf, values)
    return out


class _White:
    """The Gaussian model of everything but the signal of interest: the inverse covariance of each tile, in real and imaginary
    parts (BPSK carriers leave the axis across theirs to the signal of interest)."""

    def __init__(self, tiles: OfdmTiles | Tiles) -> None:
        self.tiles = tiles
        shape = tiles.received.shape
        self.inverse = torch.zeros(shape[0], 2 * shape[1], 2 * shape[1], dtype=torch.float64)
        for rows, waves, alphabet, noise in tiles.groups:
            along = torch.where(alphabet == BPSK, 1.0, 0.5 ** 0.5)[:, None]
            real = _real(waves) * torch.cat([along, torch.where(alphabet == BPSK, 0.0, 0.5 ** 0.5)[:, None]], 2)
            weight = 2 / torch.cat([noise, noise], 1)
            weighted = real.mT * weight[:, None]
            inner = weighted @ real + torch.eye(real.shape[2], dtype=real.dtype)
            self.inverse[rows] = torch.diag_embed(weight) - weighted.mT @ torch.linalg.solve(inner, weighted)
        self.seen = self.inverse @ torch.cat([tiles.received.real, tiles.received.imag], 1)[..., None]

    def evidence(self, signal: Any, timing: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """(log evidence [batch], g² [batch], cavities of g·a: (mean, var) [batch, symbols])."""
        tiles, one = self.tiles, torch.ones(self.tiles.batch, dtype=torch.complex128)
        pulses = _real(tiles.pulses(signal, timing, offset, one))
        symbol, count = tiles.symbols(signal, timing)
        self.first = torch.full((tiles.batch,), 1 << 40).scatter_reduce(0, tiles.window, symbol, "amin")
        local = symbol - self.first[tiles.window]
        total = int(local.max()) + count
        gram, stat = pulses.mT @ (self.inverse @ pulses), (pulses.mT @ self.seen)[..., 0]
        chain = _RealChain(tiles.window, local, count, tiles.batch, total)
        (main, side), h = chain.summed(gram), chain.gathered(stat)
        own = main.diagonal(dim1=2, dim2=3)
        energy = main.square().sum((1, 2, 3)) + 2 * side.square().sum((1, 2, 3))                # of the whole matrix J
        power = (2 * (h.square() - own).sum((1, 2)) / energy).clamp_min(1e-6)                   # E[hhᵀ] = g²/2·JJᵀ + J
        prior = (2 / power)[:, None, None].expand(h.shape)
        mean, cov, _, log_determinant = block_tridiagonal(main + torch.diag_embed(prior), side, h)
        log = ((h * mean).sum((1, 2)) - log_determinant - h[0].numel() * (power / 2).log()) / 2
        var = cov.diagonal(dim1=2, dim2=3)
        precision = (1 / var - prior).clamp_min(1e-9)
        mean, var = (chain.parts(v) for v in (mean / var / precision, 1 / precision))
        return log, power, (torch.complex(mean[:, 0], mean[:, 1]), var.sum(1))


class _RealChain:
    """Real and imaginary parts of symbols, of which each tile couples `count` neighbours: in blocks of `count` symbols, real
    parts first, their precision is block tridiagonal. window, local: of each tile, int64 [tiles], the window and its first
    symbol's position among `total`."""

    def __init__(self, window: Tensor, local: Tensor, count: int, batch: int, total: int) -> None:
        self.batch, self.total, self.q, self.blocks = batch, total, 2 * count, -(-total // count)
        k = local[:, None] + torch.arange(count)
        block, row = (torch.cat([v, w], 1) for v, w in ((k // count, k // count), (k % count, k % count + count)))
        self.place = (window[:, None] * self.blocks + block) * self.q + row             # of each unknown, [tiles, 2·count]
        self.step = block[:, None] - block[:, :, None]                                  # from a row's block to a column's
        self.entry = self.place[:, :, None] * self.q + row[:, None]

    def gathered(self, values: Tensor) -> Tensor:
        """Sums over tiles of values [tiles, 2·count]: [batch, blocks, 2·count]."""
        out = torch.zeros(self.batch * self.blocks * self.q, dtype=values.dtype)
        return out.index_add_(0, self.place.flatten(), values.flatten()).reshape(self.batch, self.blocks, self.q)

    def summed(self, gram: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over tiles of matrices [tiles, 2·count, 2·count]: (blocks with themselves, with the next ones)."""
        out = []
        for step in (0, 1):
            here = self.step == step
            part = torch.zeros(self.batch * self.blocks * self.q ** 2, dtype=gram.dtype)
            part.index_add_(0, self.entry[here], gram[here])
            out.append(part.reshape(self.batch, self.blocks, self.q, self.q))
        return out[0], out[1][:, :-1]

    def parts(self, values: Tensor) -> Tensor:
        """Values [batch, blocks, 2·count] as real and imaginary parts of the symbols, [batch, 2, total]."""
        both = values.unflatten(2, (2, -1)).movedim(2, 1)
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
