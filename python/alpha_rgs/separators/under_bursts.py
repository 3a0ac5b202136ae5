# SPDX-License-Identifier: GPL-3.0-or-later
"""Any sources but linear modulations beside bursts of OFDM of which only the family is known (802.11).

Frames, channels and alphabets of the bursts are found from what the others leave of the band (synchronization/burst_layout.py,
burst_channel.py); carriers there are decided and subtracted. Those within the band of the others stay open, and are sources of
their own, one for each alphabet (sources/open_carriers.py). The others are synchronized in what the decided carriers leave, and
all are detected together, burst by burst. Channels and alphabets then are found once more in what the others' means leave.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..sources.base import Noise, Source, State, Structure
from ..sources.ofdm_bursts import HEAD, Frame, OfdmBursts, Tiles
from ..sources.open_carriers import open_carriers
from ..synchronization.burst_channel import burst_frames, burst_frames_again, thermal_noise
from ..synchronization.burst_layout import slots
from ..synchronization.powers import densities, regressed_gains
from .attempt import initial_levels
from .base import Separation, doubted
from .estimate import Estimate
from .framed_bursts import owned, summed
from .joint_general import PASSES, Part, denoised, joint_general, without
from .joint_keyed import by_keyed, keyed_pair
from .results import demodulated, estimate_of, separation
from .synchronizing import lacking, located

_BINS, _EDGE = 1024, 1e-2   # of a spectrum; of its peak, and of its power, what may lie outside a source's band
_BESIDE = 0.008         # cycles per sample beside a source's band by which bursts are not judged
_WIDEST = 0.6           # of the band, that others may take: bursts are to be seen beside them
# of the band, what is taken for the others' where they take more: half of the carriers then are seen beside it. Four windows of
# known PPM at -10 dB, seeds 15 and 21: 84, 30 and 29 bits are wrong with 0.2, 0.4 and 0.6, in 5, 9 and 13 s a window
_CORE = 0.4
_ROUNDS = 3             # of detection and of what it says of the others' nuisances and gains
_LOOK = 10              # passes of a detection that is not the last
# share of bits that are wrong in decisions that fit those of carriers, where these are as strong within the source's band as it
# is; 4FSK of 10 samples a symbol, SIR -5 and -10 dB, seeds 100 to 104
_ASTRAY = 0.04
_KEYED = 2              # searches with one alphabet in what the others leave
_LEAST = 1e-6           # noise variance


def among_bursts(sources: Sequence[Source]) -> bool:
    """Whether one of the sources are bursts that nobody has decided, and no other one is a linear modulation, which is detected
    together with them by an elimination of their own (joint_bursts.py)."""
    kinds = [source.structure for source in sources]
    return kinds.count(Structure.BURSTS) == 1 and Structure.CHAIN not in kinds and not any(source.learned for source in sources)


def under_bursts(y: Tensor, sources: Sequence[Source], noise_var: Any) -> Separation:
    """A Separation of one window y, complex64 [1, samples]. Raises CapabilityError."""
    place = next(k for k, source in enumerate(sources) if source.structure is Structure.BURSTS)
    others = [source for k, source in enumerate(sources) if k != place]
    for source in others:
        if missing := lacking(source):
            raise CapabilityError(f"{source.kind}: {missing[0]} is unknown, and no source of this kind estimates it. Give "
                                  f"{', '.join(missing)} in its file")
    with torch.inference_mode():
        return _Window(y, others, cast(OfdmBursts, sources[place]), noise_var).separated(place)


class _Window:
    """One window. others: the sources but the bursts, as given."""

    def __init__(self, y: Tensor, others: Sequence[Source], bursts: OfdmBursts, noise_var: Any) -> None:
        self.y, self.others, self.bursts, self.noise_var = y, list(others), bursts, noise_var
        self.found, self.reported = list(others), [dict[str, Tensor]() for _ in others]

    def separated(self, place: int) -> Separation:
        """The Separation; place: of the bursts among the sources."""
        self._look()
        if any("carrier_offset" in source.unknown for source in self.others):
            self._look()                            # a narrower band leaves more of the bursts to be seen
        for turn in range(_ROUNDS):
            parts = self._detected(_LOOK)
            self._improve(parts)
            if turn < _ROUNDS - 1:
                self._look_again(parts)
        return self._result(self._detected(PASSES), place)

    def _look(self) -> None:
        """Find the bursts' frames, and the others in what their decided carriers leave."""
        window = self.y[0].detach().cpu().numpy().astype(complex)
        self.band = _band(self.found)
        # what sources that take all of the band have beside their core is noise to who looks for bursts
        core = self.band if self.band[1] - self.band[0] <= _WIDEST else _core(self.found)
        self.slots = slots(window, core)
        frames = burst_frames(window, self.slots, core, settled=True)
        level = thermal_noise(window, frames, core) if self.noise_var is None else self.noise_var
        self.thermal = torch.as_tensor(level, dtype=torch.float64).reshape(-1)[:1].clamp_min(_LEAST)
        self._take(frames)
        sources = [*self.others, *self.carriers]
        levels = initial_levels(self.rest, sources, [source.state.gain for source in sources], self.noise)[0]
        self.gains = levels[:len(self.others)]
        nothing = torch.zeros_like(self.y)
        self._find([Part(nothing, gain.square()) for gain in levels])

    def _take(self, frames: list[Frame]) -> None:
        """Take the bursts to be these frames: what their decided carriers leave, open carriers, and noise."""
        self.known = replace(self.bursts, frames=[frames])
        tiles = Tiles(self.y, self.known, self.thermal)
        self.rest = tiles.joined(tiles.received).to(self.y)
        self._cut(tiles, frames)
        self.noise = torch.cat([noise.median(1).values for *_, noise in tiles.groups]).mean().reshape(1)
        self.heads = torch.zeros(self.y.shape[1], dtype=torch.bool)
        for frame in frames:
            self.heads[max(frame.start, 0):max(frame.start + HEAD, 0)] = True

    def _cut(self, tiles: Tiles, frames: list[Frame]) -> None:
        """Regions (begin, end, limits of what is theirs), each a run of frames with the gaps around it; the carriers of each."""
        samples, runs = self.y.shape[1], [[0, 0]]
        for frame in sorted((frame for frame in frames if frame.alphabet), key=lambda frame: frame.start):
            if runs[-1][1] == frame.start:
                runs[-1][1] = frame.end
            else:
                runs.append([frame.start, frame.end])
        runs = [run for run in runs if run[1] > 0 and run[0] < samples] or [[0, samples]]
        begins = [0, *(max(run[1], 0) for run in runs[:-1])]
        ends = [*(min(run[0], samples) for run in runs[1:]), samples]
        middle = [(a + b) // 2 for a, b in zip(begins[1:], ends)]
        self.regions = list(zip(begins, ends, zip([0, *middle], [*middle, samples])))
        own = [open_carriers(tiles, (begin, end)) for begin, end in runs]
        self.carriers = [carriers for some in own for carriers in some]
        self.owner = [place for place, some in enumerate(own) for _ in some]

    def _look_again(self, parts: Sequence[Part]) -> None:
        """The bursts' channels and alphabets once more, the others' means being subtracted, unless that explains less."""
        own = sum((part.waveform for part in parts[:len(self.others)]), torch.zeros_like(self.y))
        rest = (self.y - own)[0].detach().cpu().numpy().astype(complex)
        before = {name: getattr(self, name) for name in ("known", "rest", "carriers", "noise", "regions", "owner", "heads")}
        left = float((self.rest - sum(part.waveform for part in parts)).abs().square().mean())
        self._take(burst_frames_again(rest, self.slots, self.band, settled=True))
        again = self._detected(_LOOK)
        if float((self.rest - sum(part.waveform for part in again)).abs().square().mean()) > left:
            vars(self).update(before)
        else:
            self._improve(again)

    def _find(self, parts: Sequence[Part]) -> None:
        """Synchronize the others, the strongest first, in what all else leaves."""
        parts = list(parts)
        for j in sorted(range(len(self.others)), key=lambda j: -float(self.gains[j])):
            source, power = self.others[j], self.gains[j].square()
            rest = self.rest - sum((part.waveform for k, part in enumerate(parts) if k != j), torch.zeros_like(self.rest))
            density = torch.zeros(1, self.y.shape[1], dtype=torch.float64)
            for k, (part, other) in enumerate(zip(parts, [*self.found, *self.carriers])):
                density += 0 if k == j else part.variance[:, None] * densities(other, 1, self.y.shape[1])
            noise = Noise(self.noise / power, psd=density / power[:, None])
            self.found[j], self.reported[j] = located(rest / self.gains[j][:, None].float(), source, noise)
            if len(self.others) > 1 and not bool(parts[j].waveform.any()):
                parts[j] = denoised(self.found[j], rest, self.gains[j], self.noise + density.mean(1))

    def _detected(self, passes: int) -> list[Part]:
        """The Parts of the others and of all carriers, region by region."""
        count = len(self.others)
        found: list[list[Part]] = [[] for _ in (*self.others, *self.carriers)]
        for place, (begin, end, limits) in enumerate(self.regions):
            mine = [k for k, owner in enumerate(self.owner) if owner == place]
            sources = [source.at(begin) for source in (*self.found, *(self.carriers[k] for k in mine))]
            gains = [*self.gains, *(torch.as_tensor(self.carriers[k].gain) for k in mine)]
            parts = _in_region(self.rest[:, begin:end], sources, gains, self.noise, passes)
            for j, part in zip((*range(count), *(count + k for k in mine)), parts):
                found[j].append(owned(part, begin, limits if j < count else (begin, end), self.y.shape[1]))
        return [summed(parts) for parts in found]

    def _improve(self, parts: Sequence[Part]) -> None:
        """Gains and nuisances of the others, from what was detected."""
        count = len(self.others)
        total = sum((part.waveform for part in parts), torch.zeros_like(self.y))
        self.rest = torch.where(self.heads, total, self.rest)       # of echoes of the frame before nothing is known
        gains = [*self.gains, *(torch.as_tensor(carriers.gain) for carriers in self.carriers)]
        free = [j for j, source in enumerate(self.others) if source.state.gain is None and not source.finds_level]
        self.gains = regressed_gains(self.rest, [part.waveform for part in parts], gains, free, self.noise)[0][:count]
        self._find(parts)

    def _result(self, parts: Sequence[Part], place: int) -> Separation:
        count = len(self.others)
        own, carriers = parts[:count], parts[count:]
        nothing = torch.zeros_like(self.y)
        waves = sum((part.waveform for part in own), nothing)
        bursts = self.y - self.rest + sum((part.waveform for part in carriers), nothing)
        bursts = torch.where(self.heads, self.y - waves, bursts)
        left = sum((part.variance for part in parts), torch.zeros(1, dtype=torch.float64))
        estimates: list[Estimate] = []
        found: dict[str, Tensor] = {}
        for j, part in enumerate(own):
            cleaned = self.y - bursts - (waves - part.waveform)
            estimates.append(self._estimate(j, part, cleaned, self.noise + left - part.variance))
            number = j + 1 + (j >= place)
            found |= {f"{name}_{number}": value for name, value in self.reported[j].items() if torch.is_tensor(value)}
            found |= {f"gain_{number}": self.gains[j]} if self.others[j].state.gain is None else {}
        error = sum((part.variance for part in carriers), self.noise)
        sinr = 10 * torch.log10(bursts.abs().square().mean(1).double().clamp_min(1e-12) / error).float()
        estimates.insert(place, Estimate(bursts, self.y - waves, sinr, State(gain=self.known.kappa(1))))
        if self.noise_var is None:
            found["noise_var"] = self.noise.float()
        rest = torch.stack([torch.as_tensor(e.state.gain).double().reshape(-1) for e in estimates[1:]]).square().sum(0).sqrt()
        return separation(self.y, estimates, rest, self.noise, "joint", found)

    def _estimate(self, j: int, part: Part, cleaned: Tensor, noise: Tensor) -> Estimate:
        """The Estimate of one of the others, noise [1] being in what the rest leaves of it."""
        source, power = self.found[j], self.gains[j].square()
        read, variance = part.demodulated or demodulated(source, cleaned, self.gains[j], noise), part.variance
        if source.keyed and read is not None and read.llrs.shape[2]:
            carriers = sum((torch.as_tensor(own.gain).square() for own in self.carriers), torch.zeros(1, dtype=torch.float64))
            share = (_ASTRAY * carriers / power).clamp(max=0.5)
            read = replace(read, llrs=doubted(read.llrs, share[:, None].to(read.llrs)))
            variance = torch.maximum(variance, share * power)
        level = part.waveform.abs().square().mean(1).double() if source.own_levels else power
        sinr = 10 * torch.log10(level.clamp_min(1e-12 * power) / variance.clamp_min(1e-6 * power)).float()
        out = estimate_of(source, part.waveform, cleaned, sinr, read, replace(source.state, gain=self.gains[j]))
        out.decided = out.decided and (not out.ambiguous or self.others[j].state.phase is not None)
        return out


def _in_region(y: Tensor, sources: Sequence[Any], gains: list[Tensor], noise: Tensor, passes: int) -> list[Part]:
    """The Parts of sources in a part of a window, the carriers being the last of them. Beside one source without a linear model
    the alphabet that most carriers have is searched with it, in what the others' means leave."""
    sizes = [len(source.start) * (source.decided) for source in sources[1:]] if sources[0].keyed else []
    pair = keyed_pair([sources[0], sources[1 + int(np.argmax(sizes))]], y.shape) if any(sizes) else None
    if pair is None or any(source.keyed for source in sources[1:]):
        return joint_general(y, sources, gains, noise, passes=passes)
    main = 1 + int(np.argmax(sizes))
    others = [k for k in range(1, len(sources)) if k != main]
    parts = [Part(torch.zeros_like(y), gain.square()) for gain in gains]
    for _ in range(_KEYED if others else 1):
        rest, level = without(y, parts, [0, main], noise)
        some = by_keyed(rest, [sources[0], sources[main]], [gains[0], gains[main]], level, pair, passes > _LOOK)
        parts[0], parts[main] = some
        for k in others:
            rest, level = without(y, parts, [k], noise)
            parts[k] = denoised(sources[k], rest, gains[k], level)
    return parts


def _band(sources: Sequence[Source]) -> tuple[float, float]:
    """The frequencies that the sources take together, (low, high), cycles per sample."""
    frequency, lows, highs = np.fft.fftfreq(_BINS), [], []
    for source in sources:
        density = densities(source, 1, _BINS)[0].numpy()
        inside = frequency[density >= _least(density)]
        margin = _BESIDE + (source.carrier_reach if "carrier_offset" in source.unknown else 0.0)
        lows.append(float(inside.min()) - margin)
        highs.append(float(inside.max()) + margin)
    return min(lows), max(highs)


def _least(density: np.ndarray) -> float:
    """The density from which on a frequency belongs to a source's band: _EDGE of the peak, or less where more than _EDGE of the
    power would lie outside, as of a keyed carrier, whose line is far above all else."""
    falling = np.sort(density)[::-1]
    held = falling.cumsum() / falling.sum()
    return float(min(_EDGE * falling[0], falling[int((held < 1 - _EDGE).sum())]))


def _core(sources: Sequence[Source]) -> tuple[float, float]:
    """The part of the band, as wide as _CORE, that holds most of the sources' power, (low, high), cycles per sample."""
    total = sum((densities(source, 1, _BINS)[0].numpy() for source in sources), np.zeros(_BINS))
    wide = round(_CORE * _BINS)
    held = np.convolve(np.fft.fftshift(total), np.ones(wide), "valid")
    low = float(np.flatnonzero(held >= (1 - 1e-9) * held.max()).mean()) / _BINS - 0.5        # the middle of equal ones
    return low, low + _CORE
