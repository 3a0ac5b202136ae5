# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts of OFDM of a known family (IEEE 802.11) of which nothing else is known: when they come, guard intervals, carrier
offsets, channels and alphabets are found in each window (synchronization/burst_layout.py, burst_channel.py)."""
from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..inference.frame_tiling import GAUSSIAN, Tiling
from ..signals import Ofdm as Signal
from ..signals.wifi import ALPHABETS, CARRIERS, FFT_SIZE, PILOTS, PREFIXES, received, traffic
from .base import Noise, Number, Source, Structure
from .ofdm import Ofdm

LENGTH = FFT_SIZE + max(PREFIXES)           # of the longest frame, samples
HEAD, _UNTRUSTED = 3, 10.0                  # samples of each prefix that echoes reach, factor on their noise
_VAGUE = 3e-3                               # noise of a frame whose carriers are not known, of its power
_SEEN = 16                                  # of FFT_SIZE: how much of the error on carriers counts as noise between them too
_UNMODELLED = 0.01                          # of a window's power, what no model of recorded signals explains: taken for noise too
_REAL, _COMPLEX = torch.float64, torch.complex128


@dataclass
class Slot:
    """The place of an OFDM symbol: start, of its prefix (may lie before the window, and the end after it); prefix, samples."""

    start: int
    prefix: int

    @property
    def length(self) -> int:
        """Samples."""
        return self.prefix + FFT_SIZE

    @property
    def end(self) -> int:
        """The first sample after it."""
        return self.start + self.length


@dataclass
class Frame(Slot):
    """A Slot and what is in it: carrier_offset, cycles per sample; gain, complex [56], of each carrier as received, with the
    phase of the body's sample 0; alphabet: a name, "gaussian" where it is not known, or "" for nothing there; error: what
    decisions leave, of the power; power: of the burst's carriers on average; decided: complex [56], of the carriers that the
    signal of interest does not reach, NaN on those that it does; or None. burst, number: which of the window's bursts it is of,
    and its place there, where somebody counted. echo: power of what reaches each sample from symbols beside it, [length]; None
    where the channel is not known."""

    carrier_offset: float
    gain: np.ndarray
    alphabet: str
    error: float
    power: float
    decided: np.ndarray | None = None
    burst: int = 0
    number: int = 0
    echo: np.ndarray | None = None


@dataclass
class OfdmBursts(Source):
    """frames: of each window, a list of lists of Frame, as received: their gains hold kappa; None: unknown."""

    frames: list | None = None

    kind = "ofdm-bursts"
    structure = Structure.BURSTS
    dc_free = True
    per_window = True
    decided = True
    takes_basis = False

    def kappa(self, batch: int) -> Tensor:
        """Amplitude of the bursts over the time that they take, float64 [batch]; 0 where there are none."""
        out = torch.zeros(batch, dtype=_REAL)
        for w, window in enumerate(self.frames or ()):
            gains = [f.gain for f in window if f.alphabet]
            out[w] = float(np.linalg.norm(np.concatenate(gains))) / len(gains) ** 0.5 if gains else 0.0
        return out

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """Windows of random traffic (signals.wifi), complex64 [batch, samples], of unit mean power while there is any; and the
        prior with its frames as they truly are, carriers open (their gains are of these windows: times kappa in a mixture)."""
        windows = [traffic(samples, generator) for _ in range(batch)]
        frames = [[Frame(start, prefix, b.carrier_offset, b.gains(field), b.alphabet_of(field), 0.0, b.amplitude ** 2 / FFT_SIZE,
                         None if field == "short" else np.where(b.gains(field) == 0, 0, np.nan + 0j))
                   for b in bursts for start, prefix, field in b.layout() if start < samples and start + prefix + FFT_SIZE > 0]
                  for bursts in windows]
        return torch.stack([received(bursts, samples, generator) for bursts in windows]).to(torch.complex64), replace(
            self, frames=frames)

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: of 52 carriers alike."""
        return Ofdm(Signal(64, 16, (6, 5), True, "gaussian")).autocorrelation(lags)

    def deciding(self, tiles: Tiles, rows: Tensor) -> Any:
        """What decides open carriers of the Tiles' rows, int64 [n], all together: (mean, var) [n, 56] of their estimates ->
        (mean, var) of the posterior; None where each is by itself, or Gaussian."""
        return None

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: not yet; joint detection asks for frames instead."""
        raise CapabilityError("ofdm-bursts: this prior gives frames, not a denoiser; use method joint beside a linear-modulation")

    def in_file(self, fields: dict[str, Any]) -> dict[str, Any]:
        """See Source.in_file: its preset says all."""
        return {"preset": "802.11"}

    def at(self, start: Number) -> Self:
        """See Source.at: what is found is found anew in each window."""
        return replace(self, frames=None)


def _nothing(at: int, end: int) -> list[Frame]:
    return [Frame(k, min(end - k, LENGTH) - FFT_SIZE, 0.0, np.zeros(0), "", 0.0, 0.0) for k in range(at, end, LENGTH)]


class Tiles(Tiling):
    """Windows cut into frames and the gaps between them, as a Tiling. Decided carriers are subtracted from `received`; the
    others are open. full: bool [tiles], whether a tile is a frame; frames: the Frame of each."""

    def __init__(self, y: Tensor, bursts: Any, noise_var: Tensor) -> None:
        tiles = [(w, tile) for w, window in enumerate(bursts.frames) for tile in _filled(window, y.shape[1])]
        self.frames = [tile for _, tile in tiles]
        super().__init__(y, [w for w, _ in tiles], [tile.start for _, tile in tiles], [tile.length for _, tile in tiles], LENGTH)
        self.full = torch.tensor([bool(tile.alphabet) for _, tile in tiles])
        self.power = y.abs().square().mean(1).to(_REAL).cpu()
        sorts: dict[Any, list[int]] = {}
        for index, (_, tile) in enumerate(tiles):
            held = "nothing" if not tile.alphabet else "open" if tile.decided is None else "decided"
            which = np.isnan(tile.decided).tobytes() if held == "decided" and tile.decided is not None else b""
            sorts.setdefault((held, which), []).append(index)       # frames with the same open carriers go together
        for (sort, _), members in sorts.items():
            rows = torch.tensor(members)
            here = [tiles[i][1] for i in members]
            self.groups.append((rows, *self._carriers(here, rows, sort, noise_var.cpu()[self.window[rows]])))

    def _carriers(self, tiles: list[Frame], rows: Tensor, sort: str, floor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(waves of the open carriers, their alphabets, noise); decided carriers are subtracted from `received`."""
        noise = (floor.to(_REAL) + _UNMODELLED * self.power[self.window[rows]])[:, None].expand(-1, LENGTH).clone()
        if sort == "nothing":
            return torch.zeros(len(rows), LENGTH, 0, dtype=_COMPLEX), torch.zeros(len(rows), 0, dtype=torch.int64), noise
        gain = torch.tensor(np.array([tile.gain for tile in tiles]))
        decided, use = torch.zeros_like(gain), (gain.abs() > 0).any(0)
        if sort == "decided":
            decided = torch.tensor(np.array([tile.decided for tile in tiles]))
            use = decided.isnan().any(0)
        waves = self._waves(tiles, rows, gain, use)
        left = [_SEEN * tile.power * (tile.error if sort == "decided" else _VAGUE) for tile in tiles]
        echoes = np.zeros((len(tiles), LENGTH))
        for own, tile in zip(echoes, tiles):
            if tile.echo is not None:
                own[:tile.length] = tile.echo
        noise = noise + torch.tensor(left, dtype=_REAL)[:, None] + torch.from_numpy(echoes)
        noise[torch.tensor([tile.echo is None for tile in tiles]), :HEAD] *= _UNTRUSTED
        if sort == "open":
            return waves, torch.full((len(rows), int(use.sum())), GAUSSIAN), noise
        self.received[rows] -= self._sent(tiles, rows, gain * torch.where(use, 0, decided))
        alphabet = torch.tensor([ALPHABETS.index(tile.alphabet) for tile in tiles])[:, None].expand(-1, len(CARRIERS)).clone()
        alphabet[:, torch.tensor(PILOTS)] = 0
        return waves, alphabet[:, use], noise

    def _turns(self, tiles: list[Frame], rows: Tensor) -> Tensor:
        """What carrier offsets make of each sample, complex128 [n, LENGTH]; 0 outside."""
        offset = torch.tensor([tile.carrier_offset for tile in tiles], dtype=_REAL)
        angle = 2 * torch.pi * offset[:, None] * self.n[rows]
        return torch.polar(self.inside[rows].to(_REAL), angle)

    def _waves(self, tiles: list[Frame], rows: Tensor, gain: Tensor, use: Tensor) -> Tensor:
        """Waves of the carriers `use`, bool [56], as received, complex128 [n, LENGTH, used]."""
        each = {prefix: _period(prefix)[:, use] for prefix in {tile.prefix for tile in tiles}}
        waves = torch.stack([each[tile.prefix] for tile in tiles])
        return waves.mul_(gain[:, None, use]).mul_(self._turns(tiles, rows)[..., None])

    def _sent(self, tiles: list[Frame], rows: Tensor, points: Tensor) -> Tensor:
        """The wave of points, complex128 [n, 56], as received, [n, LENGTH]."""
        out, prefixes = torch.zeros(len(rows), LENGTH, dtype=_COMPLEX), torch.tensor([tile.prefix for tile in tiles])
        for prefix in {tile.prefix for tile in tiles}:
            own = prefixes == prefix
            out[own] = points[own] @ _period(prefix).T
        return out * self._turns(tiles, rows)


@functools.cache
def _period(prefix: int) -> Tensor:
    """The carriers from the first sample of a prefix of so many on, complex128 [LENGTH, 56]."""
    angle = 2 * torch.pi * torch.outer(torch.arange(LENGTH) - prefix, torch.tensor(CARRIERS)).to(_REAL) / FFT_SIZE
    return torch.polar(torch.ones_like(angle), angle)


def _filled(frames: list[Frame], samples: int) -> list[Frame]:
    """The Frames of one window in order, and Frames of nothing between them."""
    out, at = [], 0
    for frame in sorted(frames, key=lambda f: f.start):
        out += _nothing(at, frame.start) + [frame]
        at = frame.end
    return out + _nothing(at, samples)
