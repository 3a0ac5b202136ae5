# SPDX-License-Identifier: GPL-3.0-or-later
"""How windows are cut into frames, OFDM's or others of one length."""
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_GRID = 32          # steps per sample, in which pulses lie in frames where samples_per_symbol is not whole: -40 dB at 2 a symbol


class FramePlan:
    """Which samples of each window form which OFDM frame, and which symbols of the other source reach it.

    length: samples of a frame; offset: of the first whole one, a number or int64 [batch]; shape: of windows, [batch, samples];
    soi: with signal, timing, symbols, carrier_offset as a LinearModulation prior has them; carrier_offset: of the frames, cycles
    per sample; row: numbers, int64 [batch], of windows the frames of which are not alike though they look so; on: samples (first,
    one past the last) between which frames are sent, None for all.
    here: which frames are sent, bool [batch, frames].
    Frames alike (the same samples present, the same symbol pattern) form a class and share their matrices.
    classes: list of (low, high[, centre, first, stop, frequency]); index: class of each frame, int64 [batch, frames]; rows: of
    classes; symbol: number of the first symbol that reaches each frame, int64 [batch, frames] (with soi).
    """

    def __init__(self, length: int, offset: int | Tensor, shape: Sequence[int], soi: Any = None,
                 carrier_offset: float | Tensor = 0.0, row: Tensor | None = None, on: tuple[int, int] | None = None) -> None:
        self.batch, self.samples = shape
        self.soi = soi          # kept alive: plans differ by its id
        self.length = period = length
        offset = torch.as_tensor(offset, dtype=torch.int64).reshape(-1, 1).expand(self.batch, 1).cpu()
        self.frames = -(-self.samples // period) + 1
        self.start = offset + period * (torch.arange(self.frames) - 1)
        first_on, end_on = on or (-period, self.samples + period)
        self.here = (self.start < end_on) & (self.start + period > first_on)
        low = (-self.start).clamp(0, period)
        high = (self.samples - self.start).clamp(0, period)
        low = torch.minimum(low, high)
        rows = [low.double(), high.double()]
        self.pulse_key: tuple[Any, int] | None = None
        if soi is not None:
            signal = soi.signal
            sps, half = signal.samples_per_symbol, signal.half_length
            timing = torch.as_tensor(soi.timing, dtype=torch.float64).reshape(-1, 1).cpu()
            self.count = int((period - 1 + 2 * half) // sps) + 1
            self.symbol = torch.ceil((self.start - half - timing) / sps - 1e-9).long()
            centre = timing + self.symbol * sps - self.start
            # no two frames of a fractional rate are alike: to within a few hundredths of a sample they are
            centre = torch.round(centre, decimals=4) if isinstance(sps, int) else torch.round(centre * _GRID) / _GRID
            first, stop = torch.zeros_like(self.symbol), torch.full_like(self.symbol, self.count)
            if soi.symbols is not None:
                first = (-self.symbol).clamp(0, self.count)
                stop = torch.maximum((soi.symbols - self.symbol).clamp(0, self.count), first)
            own, other = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1).cpu() for v in (soi.carrier_offset,
                                                                                                 carrier_offset))
            rows += [centre, first.double(), stop.double(), (own - other).expand_as(centre)]
            self.pulse_key = (signal, self.count)
        alike = rows if row is None else [*rows, row[:, None].expand(self.batch, self.frames)]
        index, first = _alike(alike)
        self.rows = None if row is None else alike[-1].flatten()[first]
        self.index = index.reshape(self.batch, self.frames)
        chosen = torch.stack([row.flatten()[first] for row in rows], 1).tolist()
        self.classes: list[tuple[Any, ...]] = [
            (int(r[0]), int(r[1]), *([r[2], int(r[3]), int(r[4]), r[5]] if len(r) > 2 else [])) for r in chosen]
        self.order = torch.argsort(index, stable=True)
        self.sizes = torch.bincount(index, minlength=len(self.classes)).tolist()
        self.inverse = torch.argsort(self.order)
        where = self.start[..., None] + torch.arange(period)
        self._kept: dict[Hashable, Any] = {}
        self.inside = (where >= 0) & (where < self.samples)
        self.where = torch.where(self.inside, where + 1, 0).flatten(1)

    @property
    def whole(self) -> Tensor:
        """Which samples belong to a frame that lies wholly in the window, bool [batch, samples]."""
        return self.join(self.inside.all(-1, keepdim=True).expand(-1, -1, self.length))

    def cut(self, x: Tensor) -> Tensor:
        """complex [batch, samples] -> frames [batch, frames, frame_length], zero outside the window."""
        padded = torch.nn.functional.pad(x, (1, 0))
        return padded.gather(1, self.where.to(x.device)).reshape(self.batch, self.frames, self.length)

    def join(self, frames: Tensor) -> Tensor:
        """The inverse of cut: frames [batch, frames, length] -> [batch, samples]."""
        where = torch.arange(self.samples) - self.start[:, :1]
        return frames.flatten(1).gather(1, where.to(frames.device))

    def grouped(self, frames: Tensor, matrices: list[Tensor]) -> Tensor:
        """Each frame [batch, frames, q] times its class's matrix [p, q] (transposed for the product): [batch, frames, p]."""
        flat = frames.flatten(0, 1)[self.order.to(frames.device)]
        parts = [rows @ m.T for rows, m in zip(flat.split(self.sizes), matrices)]
        return torch.cat(parts)[self.inverse.to(frames.device)].unflatten(0, (self.batch, self.frames))

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """make(), computed once for each key and kept, up to 64 of them."""
        value = self._kept.get(key)
        if value is None:
            if len(self._kept) >= 64:
                self._kept.clear()
            value = self._kept[key] = make()
        return value


def _alike(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Number the places where all rows agree: (class of each place, a place of each class). One row at a time: several
    times as fast as torch.unique over a dimension."""
    index = torch.zeros(rows[0].numel(), dtype=torch.int64)
    for row in rows:
        values, inverse = torch.unique(row, return_inverse=True)
        index = torch.unique(index * len(values) + inverse.flatten(), return_inverse=True)[1]
    first = torch.empty(int(index.max()) + 1, dtype=torch.int64)
    first[index] = torch.arange(len(index))
    return index, first


def frame_pulses(pulse_key: tuple[Any, int], pattern: Sequence[Any], length: int) -> npt.NDArray[np.complex128]:
    """H of one frame: column k is the pulse of the k-th symbol that reaches it, complex128 [length, symbols].

    pattern: (centre of the first symbol from the frame's first sample, first existing, one past the last existing, carrier offset
    between the two sources). pulse_key: (linear modulation, count of symbols).
    """
    signal, count = pulse_key
    centre, first, stop, frequency = pattern
    tau = np.arange(length)[:, None] - (centre + signal.samples_per_symbol * np.arange(count))
    pulses: npt.NDArray[np.complex128] = signal.pulse_at(tau) * np.exp(2j * np.pi * frequency * tau)
    pulses[:, :first] = 0
    pulses[:, stop:] = 0
    return pulses
