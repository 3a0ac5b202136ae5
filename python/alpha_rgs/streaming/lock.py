# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream whose sources were found stays found: SEARCH, LOCKED, SEARCH.

To search sources in each window anew costs ten to a hundred times what it costs to separate them once they are known, and one
window in twenty or so is found wrongly. So the first windows are searched; then each source's nuisances are predicted
(lock_prediction.py), the next windows are separated as if all were known, and what they leave says how far the prediction was
off: one Gauss-Newton step for all sources at once (lock_correction.py). Half as many windows are predicted at once as there are
windows to predict them from.

A window is astray whose residual is much stronger than that of the windows before, or whose symbols are much worse: a gap, a
slip, a source that vanished. It is searched, as without a lock. Where many windows are astray, the lock is lost.

Sources lock one by one: beside one that is found anew in each window (Source.per_window) a linear modulation is predicted by
itself, and lock_alone.py judges it.
"""
from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..separators.base import Separation, left_over
from ..sources.base import Source, Structure
from . import lock_alone
from .lock_correction import Corrected, corrected
from .lock_prediction import Noted, Track, number

SEARCHED = 8            # windows that are searched before anything is predicted
# windows that are predicted at once, and from which they are predicted, at least (half as many of a familiar stream); at most
_LEAST, _TOGETHER = 4, 32
# times the power that good windows leave, from which a window is astray: locked ones leave at most 1.06 times, and a sample
# dropped, a signal gone or 1 dB more leave 2 to 1000 times (DESIGN.md, 5)
_ASTRAY = 1.35
_EXACT = 1e-3           # of the weakest source's power: what estimates leave where there is no noise
_STRANGE = 3.0          # times that power, from which a window that was searched is not believed: a half of it is another's
_WORSE = 3.0            # dB of quality under that of good windows, likewise; unless it is more than
_CLEAR = 12.0           # dB, where quality itself is known to some dB only, and the residual says more
_GOOD = 4.0             # dB of quality from which a window is good
_FARTHEST = 2.0         # times the time that windows were noted in, for which what they say is carried on
_LISTED = 2**17         # windows that are listed, at most: live streams have no end
_REMEMBERED = 32        # windows whose residual and quality are remembered
WHOLE = 1 / 16         # samples that the delay of frames may lie off a whole one: windows are not shifted by less
# differences between windows that nobody sees: of a gain, relative; rad at a window's ends, of an offset
_SAME_GAIN, _SAME_PHASE = 2e-3, 0.01
_UNSEEN, _NO_NOISE = 0.01, 3e-4     # of the noise, what a delay may leave; of a source's power, what counts as noise at least
_TRACKED = ("delay", "phase", "carrier_offset", "gain")


def lockable(sources: Sequence[Source], method: str = "auto") -> bool:
    """Whether the nuisances of all sources go on from window to window, or those of a linear modulation that is detected jointly
    with one source that is found in each window, and something is not known of them beforehand."""
    steady = [_steady(source) for source in sources]
    alone = steady == [True, False] and sources[0].structure is Structure.CHAIN and sources[1].per_window
    alone = alone and method in ("auto", "joint")
    return (all(steady) or alone) and any(map(_open, sources))


def _steady(source: Source) -> bool:
    """Whether its nuisances go on from window to window."""
    return (source.repeats is not None and not (source.own_levels or source.per_window) and len(source.parts) == 1
            and source.in_packets() is None)


def _open(source: Source) -> tuple[str, ...]:
    """Fields of its State that are tracked: those that are not known, and go on."""
    return tuple(name for name in _TRACKED
                 if _steady(source) and name in source.state_names and getattr(source.state, name) is None)


@dataclass
class Predicted:
    """sources: as each of n windows sees them, known but for those that are found in each; states: of each, field -> float64 [n];
    noise_var: per sample. fitted: nuisances of the first source of which the separation itself is to say how far they are off,
    since what is left does not; then noise is found with what else is."""

    sources: list[Any]
    states: list[dict[str, np.ndarray]]
    noise_var: float
    fitted: tuple[str, ...] = ()


@dataclass
class Familiar:
    """What is known of a stream that was lost: the first source's carrier offset, cycles per sample, and quality, dB; missed:
    windows since in which it was not."""

    carrier_offset: float
    quality: float
    missed: int = 0


class Lock:
    """Of one stream. sources: as they were given, in the order of a Separation's; see lockable."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self.sources = list(sources)
        self.alone = not all(map(_steady, sources))     # whether the first source locks by itself
        self.tracks = [Track(period, turns, _open(source)) for source in sources
                       for period, turns in [source.repeats or (1.0, 1)]]
        self._left: deque[float] = deque(maxlen=_REMEMBERED)
        self._quality: deque[float] = deque(maxlen=_REMEMBERED)
        self._noise: deque[float] = deque(maxlen=_REMEMBERED)
        self.familiar: Familiar | None = None   # where the lock was lost
        self.good = 0                           # windows noted since the lock was lost
        self.weakest = 0.0                      # power of the weakest source, of late
        self.before: dict[str, Any] = {}        # what windows that were searched reported
        # first samples of windows that leave much more than others, however they are separated; and of those that were searched
        self.strange: deque[int] = deque(maxlen=_LISTED)
        self.searched: deque[int] = deque(maxlen=_LISTED)

    @property
    def reach(self) -> int:
        """How many windows can be predicted now; 0 while the sources must be searched."""
        least = _LEAST if self.familiar is None else _LEAST // 2
        ahead = _LEAST // 2 if self.alone else least            # fewer windows were searched
        return min(max(self.good // 2, ahead), _TOGETHER) if self.good >= least else 0

    def predicts(self, start: float) -> bool:
        """Whether a window that begins at that sample of the stream is near enough to those before."""
        noted = self.tracks[0].noted
        return bool(self.reach and noted and start - noted[-1].at <= _FARTHEST * max(noted[-1].at - noted[0].at, 0.0))

    def predicted(self, starts: np.ndarray, samples: int) -> Predicted | None:
        """The sources in windows of so many samples that begin at `starts`, int [n]; None where frames do not begin at whole
        samples, so that windows would have to be shifted."""
        own = [self._seen(source, track, starts, samples) for source, track in zip(self.sources, self.tracks)]
        if any(seen is None for seen in own):
            return None
        states = []
        for seen, track in zip(own, self.tracks):
            states.append({name: torch.as_tensor(getattr(seen.state, name)).double().numpy() for name in track.fields})
            if "delay" in track.fields:
                states[-1]["delay"] = states[-1]["delay"] % track.period
        names = self.sources[0].state_names
        return Predicted(own, states, self.noise_var, tuple(names[name] for name in states[0]) if self.alone else ())

    @property
    def noise_var(self) -> float:
        """Per sample, of windows that are predicted."""
        return float(np.median(self._noise))

    @property
    def quality(self) -> float:
        """dB, of good windows."""
        return float(np.median(self._quality))

    def _seen(self, source: Any, track: Track, starts: np.ndarray, samples: int) -> Any:
        """A source as these windows see it, all known; None where they would have to be shifted."""
        middle = starts + (samples - 1) / 2
        values = track.at(middle)
        gain = float(values["gain"].mean()) if "gain" in values else max(number(source.state.gain), 1e-30)
        values = _shared(values, samples, track.period, self.noise_var / gain ** 2)
        if "phase" in values:                   # as the stream has it: at its first sample
            offset = values.get("carrier_offset", number(source.state.carrier_offset))
            values["phase"] = values["phase"] - 2 * np.pi * offset * middle
        start = torch.from_numpy(starts.astype(np.float64))
        if "delay" in values and source.whole_delay:
            if float(np.abs(values["delay"] - np.round(values["delay"])).max()) > WHOLE:
                return None
            values["delay"], start = np.round(values["delay"]).astype(np.int64), torch.from_numpy(starts.astype(np.int64))
        return source.with_state(**{name: torch.from_numpy(np.asarray(value)) for name, value in values.items()}).at(start)

    def astray(self, seen: Corrected, quality: np.ndarray) -> np.ndarray:
        """Which windows, bool [n], do not go on as those before; quality: dB [n]."""
        return lock_alone.astray(seen, self._left) if self.alone else self.strays(seen.left) | self.worse(quality)

    def searchable(self, seen: Corrected) -> np.ndarray:
        """Which windows that are astray a search may mend, bool [n]."""
        return lock_alone.lost(seen, self._left) if self.alone else np.ones(len(seen.left), bool)

    def mended(self, y: Tensor, again: Separation, seen: Corrected) -> Tensor:
        """Which windows y that were searched are better than `seen` of them, bool [n]."""
        if self.alone:
            return torch.from_numpy(lock_alone.told(again) <= seen.left + lock_alone.ALIKE)
        return left_over(y, again) < torch.from_numpy(seen.left)

    def found(self, seen: Corrected, quality: np.ndarray, starts: np.ndarray, samples: int) -> np.ndarray:
        """Which windows of so many samples that were searched are good, bool [n]; quality: dB [n]."""
        return lock_alone.found(seen, self.tracks[0], starts, samples) if self.alone else good(quality)

    def again(self, seen: Corrected, quality: np.ndarray) -> np.ndarray:
        """Which windows, searched near the carrier offset of a stream that was lost, are the same stream again, bool [n]."""
        if self.alone:
            return ~lock_alone.lost(seen, ())
        return np.asarray(quality > self.familiar.quality - _WORSE) if self.familiar else np.zeros(len(quality), bool)

    def strays(self, left: np.ndarray) -> np.ndarray:
        """Which windows, bool [n], leave much more power than those before."""
        return np.asarray(left > _ASTRAY * self._usual)

    def worse(self, quality: np.ndarray) -> np.ndarray:
        """Which windows, bool [n], are of a much lower quality, dB, than those before."""
        return ~(quality > min(self.quality - _WORSE, _CLEAR))

    def corrected(self, y: Tensor, out: Separation) -> Corrected:
        """What windows y, complex64 [n, samples], say of the states that they were separated with."""
        if self.alone:
            return lock_alone.said(out, y.shape[1], self.sources, self.tracks)
        return corrected(y, out, self.sources, self.tracks)

    def note(self, out: Separation, starts: np.ndarray, samples: int, seen: Corrected, believed: np.ndarray) -> None:
        """Learn from windows of so many samples that were separated. believed: which, bool [n]."""
        rows = np.flatnonzero(believed)
        if not len(rows):
            return
        half = (samples - 1) / 2
        states = [(_of_stream(source, {name: value[rows] for name, value in values.items()}, starts[rows], half),
                   {name: value[rows] for name, value in deviations.items()})
                  for source, (values, deviations) in zip(self.sources, seen.states)]
        self.weakest = min(float(torch.as_tensor(e.waveform)[int(rows[-1])].abs().square().mean()) for e in out.sources)
        quality, noise = (torch.as_tensor(told).double().numpy()[rows] for told in (out.quality, out.noise_var))
        self.learn(starts[rows] + half, states, seen.left[rows], quality, noise)

    def learn(self, middles: np.ndarray, states: Sequence[tuple[Any, Any]], left: np.ndarray, quality: np.ndarray,
              noise_var: np.ndarray, placed: bool = False) -> None:
        """Learn from windows that are centred on these samples of the stream: of each source (field -> value as the stream has
        it, field -> standard deviation), the power that they leave, quality in dB and noise_var, all [n]. placed: see
        Track.note."""
        for track, (values, deviations) in zip(self.tracks, states):
            track.note(*(Noted(float(at), {name: float(value[k]) for name, value in values.items()},
                               {name: float(value[k]) for name, value in deviations.items()}) for k, at in enumerate(middles)),
                       placed=placed)
        for kept, told in ((self._left, left), (self._quality, quality), (self._noise, noise_var)):
            kept.extend(told.tolist())
        self.good += len(middles)

    @property
    def _usual(self) -> float:
        """The power that good windows leave; no less than what is wrong with any estimate where there is no noise."""
        return max(float(np.median(self._left)), _EXACT * self.weakest)

    def suspect(self, starts: np.ndarray, left: np.ndarray) -> None:
        """Keep in `strange` which of these windows leave too much, having been separated as well as they can be."""
        if self._left and not self.alone:
            self.strange += starts[left > _STRANGE * self._usual].tolist()

    def held(self, starts: np.ndarray) -> np.ndarray:
        """Which windows, bool [n], were separated as predicted, and left as little as those before."""
        return ~np.isin(starts, [*self.searched, *self.strange])

    def vouches(self, starts: np.ndarray) -> np.ndarray:
        """Which windows, bool [n], are right since they are held and leave as little as those before."""
        return self.held(starts) & (not self.alone)

    def lose(self, sample: float) -> None:
        """Search again, from that sample of the stream on; the first source's carrier is where it was."""
        track = self.tracks[0]
        if "carrier_offset" in track.fields and len(track.noted) >= SEARCHED:
            self.familiar = Familiar(float(track.at(np.array([sample]))["carrier_offset"][0]), self.quality)
        for track in self.tracks:
            track.forget()
        for kept in (self._left, self._quality, self._noise):
            kept.clear()
        self.good = 0


def good(quality: np.ndarray) -> np.ndarray:
    """Which windows of a search are good, bool [n]: those that are nearly as good as the best."""
    return np.asarray((quality > _GOOD) & (quality > np.nanmax(quality) - _WORSE))


def _shared(values: dict[str, np.ndarray], samples: int, period: float, noise: float) -> dict[str, np.ndarray]:
    """field -> values of windows of so many samples, those that nobody could tell apart made equal: a delay is off by as much
    as leaves _UNSEEN of the noise, of a waveform that repeats itself no faster than in `period` samples. noise: variance of the
    noise, or of what counts as none, over the source's power."""
    tolerance = {"carrier_offset": _SAME_PHASE / (math.pi * samples),
                 "gain": _SAME_GAIN * float(values["gain"].mean()) if "gain" in values else 0.0}
    shared = {name: _alike(value, tolerance[name]) if name in tolerance else value for name, value in values.items()}
    if "delay" in values:
        step = 2.0 ** math.floor(math.log2(2 * period / math.pi * math.sqrt(_UNSEEN * max(noise, _NO_NOISE))))
        shared["delay"] = np.round(values["delay"] / step) * step
    return shared


def _alike(values: np.ndarray, tolerance: float) -> np.ndarray:
    """The values [n], or their mean where none is further from it: windows that are alike share tables and filters."""
    mean = np.full_like(values, values.mean())
    return mean if bool((abs(values - mean) <= tolerance).all()) else values


def _of_stream(source: Source, values: dict[str, np.ndarray], starts: np.ndarray, half: float) -> dict[str, np.ndarray]:
    """The values [n] of windows that begin at `starts`, as the stream has them; phases stay those of the windows' middle, `half`
    samples on. A phase may depend on how many symbols were sent since: the source knows."""
    out = dict(values)
    if "delay" in values and source.whole_delay:
        out["delay"] = values["delay"] + starts
    elif "delay" in values:
        offset = values.get("carrier_offset", np.float64(number(source.state.carrier_offset)))
        known = {name: value for name, value in values.items() if name != "gain"}
        if "phase" in values:
            known["phase"] = values["phase"] - 2 * math.pi * offset * half
        state = source.with_state(**{name: torch.from_numpy(value) for name, value in known.items()}).at(
            torch.from_numpy(-starts.astype(np.float64))).state
        out["delay"] = _all(state.delay, len(starts))
        if "phase" in values:
            out["phase"] = _all(state.phase, len(starts)) + 2 * math.pi * offset * (starts + half)
    return out


def _all(value: Any, n: int) -> np.ndarray:
    return torch.as_tensor(value).double().reshape(-1).expand(n).numpy()


def reported(predicted: Predicted, before: dict[str, Any], pair: bool, kappa: Tensor) -> dict[str, Tensor]:
    """`estimated` of windows that were predicted, under the names that those before reported (`before`)."""
    count, out = len(kappa), {}
    for k, (source, values) in enumerate(zip(predicted.sources, predicted.states)):
        for field, own in source.state_names.items():
            if field in values:
                roles = (f"interference_{own}" if pair else f"{own}_{k + 1}", own)[0 if k or not pair else 1:]
                name = next((role for role in roles if role in before and role not in out), None)
                if name is not None:
                    out[name] = torch.from_numpy(np.asarray(values[field], float))
    out |= {"kappa": kappa, "noise_var": torch.full((count,), predicted.noise_var)} if "kappa" in before else {}
    for name, value in before.items():          # what nobody predicts stays as it was
        if name not in out:
            last = torch.as_tensor(value)[-1:]
            out[name] = last.expand(count, *last.shape[1:]).clone()
    return out


def with_reports(out: Separation, predicted: Predicted, before: dict[str, Any], pair: bool) -> Separation:
    """The Separation of predicted windows, as if they had been searched."""
    known = reported(predicted, before, pair, torch.as_tensor(out.kappa))
    if predicted.fitted:                        # all but what was predicted was found in these windows
        known |= {name: value for name, value in out.estimated.items() if name not in predicted.fitted}
    return replace(out, estimated={name: known[name] for name in before})
