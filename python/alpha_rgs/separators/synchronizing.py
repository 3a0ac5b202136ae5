# SPDX-License-Identifier: GPL-3.0-or-later
"""Nuisances of any number of sources, found in their mixture.

The strongest source first: it is synchronized with all others as noise of their density, and its posterior mean is subtracted. So
each source is synchronized in what those before it leave; then all once more, in what all others leave. A source finds its
nuisances itself (Source.synchronize); linear modulations are found by synchronization/stationary.py, or with one other source by
the search of such a pair (blind.py), in what the rest leaves.

Where spectra are alike and a carrier is unknown, densities tell what such sources have together, and not who has it. Then the one
that is looked for first is taken for the stronger one, and its waveform tells what it leaves to the others.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.background import Background
from ..sources.base import Noise, Source, Structure
from ..sources.burst import Burst
from ..sources.cpm_synchronizer import Guesses
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.powers import densities, regressed_gains
from ..synchronization.stationary import by_likelihood, refine_sync
from .base import Separation
from .joint_general import Part, denoised, without
from .joint_keyed import keyed_pair, undecided
from .keyed_nuisances import followed

_SWEEPS = 2             # over the sources; a third changes timings by hundredths of a sample
_ALIKE = 0.8            # overlap of two spectra (Bhattacharyya) from which on a carrier of 0.02 moves power from one to the other
_FIRST = 0.8            # of what sources with like spectra have together, of the one that is looked for first: 6 dB more
_LEAST = 0.02           # of that, what one that was not looked for yet may have at least


@dataclass
class Synchronized:
    """sources: with their nuisances; found: for each source, name -> tensor [batch] of what was estimated; gains: [batch] each,
    other ones than before where spectra are alike. core: the linear modulation and the other source that were searched as a pair,
    or None."""

    sources: list[Source]
    found: list[dict[str, Tensor]]
    gains: list[Tensor]
    core: tuple[int, int] | None = None


def lacking(source: Source) -> tuple[str, ...]:
    """Nuisances without which a source cannot take part, and which nobody estimates. A network may do without."""
    if source.learned or source.structure is Structure.CHAIN:
        return ()
    return tuple(name for name in source.unknown if name not in source.synchronizes and name != "carrier_offset")


def synchronized(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise: Tensor,
                 parts: Sequence[Part] | None = None, pair: Callable[..., Separation] | None = None,
                 backwards: bool = False, free: Sequence[int] = (), thorough: bool = True,
                 places: Sequence[float] = (0.5,)) -> Synchronized:
    """Sources whose unknown nuisances were found in windows y, complex64 [batch, samples]. gains, noise: [batch], about. parts:
    what is known of each already, where that is so: then one sweep in what the others leave. pair(y, chain, other): separates a
    linear modulation from one other source, what both lack being unknown. backwards: the weakest source first. free: sources
    whose gains are not given. thorough: False where only the linear sources' nuisances are asked for. places: see
    keyed_nuisances.followed."""
    task = _Mixture(y, sources, gains, noise, parts, thorough)
    core = task.core() if pair is not None and parts is None else None
    if parts is None and core is None:
        task.share_alike(free)
    if backwards:
        task.order.reverse()
    if task.searched:
        for sweep in range(1 if parts is not None else _SWEEPS):
            for k in task.order:
                if core is None or k not in core:
                    task.find(k)
            if core is not None and pair is not None and sweep == 0:
                task.find_pair(*core, pair)
        task.choose(places)
    return Synchronized(task.found, task.reported, task.gains, core)


def beside(y: Tensor, sources: Sequence[Source], unknown: int, gains: Sequence[Tensor], noise: Tensor) -> Synchronized:
    """See synchronized: all sources but one, of which nothing is known but its density and power. It keeps what it is given, and
    has 0 for each nuisance that it lacks."""
    task = _Mixture(y, sources, gains, noise, None, False)
    for k in task.order:
        if k in task.searched and k != unknown:
            task.find(k)
    own: Any = sources[unknown]
    task.found[unknown] = replace(own, **dict.fromkeys(own.unknown, 0.0))
    return Synchronized(task.found, task.reported, task.gains)


class _Mixture:
    """Sources of windows y while they are found one after the other."""

    def __init__(self, y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise: Tensor,
                 parts: Sequence[Part] | None, thorough: bool) -> None:
        self.y, self.gains, self.noise = y, [g.double() for g in gains], noise.double()
        self.given = [_settled(source) for source in sources]
        self.found = list(self.given)
        self.searched = [k for k, source in enumerate(self.given) if self._looked_for(source)]
        self.reported: list[dict[str, Tensor]] = [{} for _ in sources]
        self.order = sorted(range(len(sources)), key=lambda k: -float(self.gains[k].mean()))
        self.parts = list(parts) if parts is not None else [Part(torch.zeros_like(y), g.square()) for g in self.gains]
        self.seen = set(range(len(sources))) if parts is not None else set()
        self.alike: dict[int, set[int]] = {}
        self.whole = parts is not None
        self.wide = thorough and not self.whole
        self.guesses: list[Guesses] = []        # what each sweep takes a continuous-phase source for

    def _looked_for(self, source: Source) -> bool:
        return bool(set(source.unknown) & set(source.unknown if source.structure is Structure.CHAIN else source.synchronizes))

    def share_alike(self, free: Sequence[int]) -> None:
        """Note which of the sources `free` have spectra alike, so that only their power together is known."""
        own = [k for k in free if not self.given[k].own_levels and self.given[k].lines(self.y) is None]
        shapes = {k: densities(self.given[k], *self.y.shape).mean(0) for k in own}
        roots = {k: (shape / shape.sum()).sqrt() for k, shape in shapes.items()}
        moves = {k for k in own if "carrier_offset" in self.given[k].unknown}
        self.alike = {k: {j for j in own if j != k and {j, k} & moves and float((roots[j] * roots[k]).sum()) > _ALIKE}
                      for k in own}
        # levels do not order these; a linear source is found more surely beneath a continuous-phase one than that beneath it
        self.order.sort(key=lambda k: self.given[k].keyed and any(not self.given[j].keyed for j in self.alike.get(k, ())))

    def _unseen(self, k: int) -> list[int]:
        """Sources alike to k that were not looked for yet."""
        return [j for j in self.alike.get(k, ()) if j not in self.seen]

    def _shared(self, k: int) -> None:
        """Most of the power that k has together with those alike to it goes to k."""
        if others := self._unseen(k):
            total = sum((self.gains[j].square() for j in others), self.gains[k].square())
            self._given_out(k, others, total, _FIRST * total)

    def _given_out(self, k: int, others: Sequence[int], total: Tensor, power: Tensor) -> None:
        """`power` to k, and what it leaves of `total` to the others in equal parts."""
        self.gains[k] = power.sqrt()
        rest = torch.maximum(total - power, _LEAST * total) / len(others)
        for j in others:
            self.gains[j] = rest.sqrt()
            self.parts[j] = Part(torch.zeros_like(self.y), rest)

    def _regressed(self, k: int, rest: Tensor) -> None:
        """The gain of k, once found, from its waveform in `rest`; what is left over goes to those alike to it."""
        if others := self._unseen(k):
            total = sum((self.gains[j].square() for j in others), self.gains[k].square())
            moved = regressed_gains(rest, [self.parts[k].waveform], [self.gains[k]], [0], None)[0][0]
            power = torch.minimum(moved.square(), total)
            self._given_out(k, others, total, power)

    def core(self) -> tuple[int, int] | None:
        """(linear modulation that lacks something, frames that are best searched with it); None where there is no such pair."""
        chain = next((k for k in self.searched if self.given[k].structure is Structure.CHAIN), None)
        if chain is None or len(self.given) < 3:
            return None
        framed = [k for k in self.order if self.given[k].structure is Structure.FRAMES]
        return (chain, framed[0]) if framed else None

    def find_pair(self, chain: int, other: int, pair: Callable[..., Separation]) -> None:
        """Find a linear modulation and another source together in what the rest leaves."""
        rest, _ = without(self.y, self.parts, [chain, other], self.noise)
        out = pair(rest, self.given[chain], self.given[other])
        for k, wave, role in ((chain, out.soi, ""), (other, out.interference, "interference_")):
            own = [n for n in self.given[k].unknown if f"{role}{n}" in out.estimated or (role and n in out.estimated)]
            values = {n: out.estimated.get(f"{role}{n}", out.estimated.get(n)) for n in own}
            self.found[k] = replace(cast(Any, self.given[k]), **values)
            self.reported[k] = {n: v for n, v in values.items() if v is not None}
            left = (rest - out.soi - out.interference).abs().square().mean(1).double()
            self.parts[k] = Part(wave, left / 2)
            self.seen.add(k)

    def _noise(self, k: int) -> Noise:
        """What disturbs source k, in units of its power: white noise, and the others, or what is left of them."""
        psd = torch.zeros(len(self.y), self.y.shape[1], dtype=torch.float64)
        for j in range(len(self.found)):
            if j == k:
                continue
            shape = densities(self.found[j], *self.y.shape)
            power = self.parts[j].variance if j in self.seen else self.gains[j].square()
            psd = psd + power[:, None].cpu() * shape
        own = self.gains[k].square().clamp_min(1e-30)
        white = torch.maximum(self.noise / own, torch.full_like(own, NOISE_FLOOR))
        return Noise(white.cpu(), psd=psd / own[:, None].cpu())

    def _undecided(self, k: int, rest: Tensor, noise: Noise) -> tuple[Tensor, Noise]:
        """What one linear source leaves of a continuous-phase one, and the noise in that, as `find` takes them: decided where the
        other one's spectrum lets it be, whatever was found of its symbols. As given where there is no such source."""
        other = [j for j in range(len(self.found)) if j != k]
        if len(other) != 1 or other[0] not in self.seen or not self.found[other[0]].linear:
            return rest, noise
        own = self.gains[k].clamp_min(1e-12)
        out = undecided(self.y, self.found[other[0]], self.found[k], (self.gains[other[0]], own), self.noise)
        if out is None:
            return rest, noise
        return self.y - out[0], Noise(noise.white, psd=out[1] / own.square()[:, None])

    def choose(self, places: Sequence[float]) -> None:
        """Of what the sweeps have guessed of a continuous-phase source beside a linear one, in each window what fits best once
        both are detected: interference that nobody has decided yet hides a carrier."""
        pair = keyed_pair(self.found, self.y.shape) if self.guesses else None
        if pair is None:
            return
        k, other = pair
        noise = torch.maximum(self.noise, NOISE_FLOOR * self.gains[k].square())
        rows = []
        for row in range(len(self.y)):
            index = slice(row, row + 1)
            own = Guesses.joined([guesses.select(row) for guesses in self.guesses])
            model: Any = self.found[other].select(torch.tensor([row])).linear_model((1, self.y.shape[1]))
            rows.append(followed(self.given[k].select(torch.tensor([row])), self.y[index], model,
                                 (self.gains[k][index], self.gains[other][index]), noise[index], own, places))
        values = {name: torch.cat([found[name] for found in rows]) for name in self.reported[k]}
        self.found[k], self.reported[k] = replace(cast(Any, self.found[k]), **values), values

    def find(self, k: int) -> None:
        """Synchronize source k in what the others leave, and subtract its mean from what they see."""
        if k not in self.seen:
            self._shared(k)
        rest, _ = without(self.y, self.parts, [k], self.noise)
        noise, scale = self._noise(k), self.gains[k].clamp_min(1e-12)
        if self.given[k].keyed and k in self.searched and not self.whole:
            rest, noise = self._undecided(k, rest, noise)
        if k in self.searched:
            x = rest / scale[:, None].float()
            if self.wide and self.given[k].structure is not Structure.CHAIN:
                self.found[k], self.reported[k], guesses = self.given[k].guess(x, noise)
                self.guesses += [guesses] if guesses is not None else []
            else:
                self.found[k], self.reported[k] = located(x, self.given[k], noise)
        level = torch.as_tensor(noise.flat).to(scale) * scale.square()
        self.parts[k] = denoised(self.found[k], rest, self.gains[k], level)
        if k not in self.seen:
            self._regressed(k, rest)
        self.seen.add(k)


def _settled(source: Source) -> Source:
    """A carrier offset that nobody estimates is 0."""
    finds = source.structure is Structure.CHAIN or "carrier_offset" in source.synchronizes
    if "carrier_offset" in source.unknown and not finds:
        return replace(cast(Any, source), carrier_offset=0.0)
    return source


def located(x: Tensor, source: Source, noise: Noise) -> tuple[Source, dict[str, Tensor]]:
    """(a source at unit power, or a burst of it, with its unknown nuisances found in x = s + noise, complex64 [batch, samples];
    name -> tensor [batch] of these): by its own `synchronize`, or of a linear modulation by its cyclic lines."""
    if isinstance(source, Burst):
        within, found = located(source.cut(x), source.within, noise)
        return replace(source, within=within), found
    chain = source.structure is Structure.CHAIN
    return _chain(x, cast(LinearModulation, source), noise) if chain else source.synchronize(x, noise)


def _chain(x: Tensor, soi: LinearModulation, noise: Noise) -> tuple[LinearModulation, dict[str, Tensor]]:
    """A linear modulation at unit power in noise of known density, window by window."""
    found: dict[str, list[float]] = {key: [] for key in NUISANCES if key in soi.unknown}
    for row in range(len(x)):
        best = trains_within(x, soi, noise, row)[0]
        for key in found:
            found[key].append(float(getattr(best, key)))
    values = {key: torch.tensor(column, dtype=torch.float64) for key, column in found.items()}
    return replace(cast(Any, soi), **values), values


def trains_within(x: Tensor, soi: LinearModulation, noise: Noise, row: int) -> list[LinearModulation]:
    """What a linear modulation, at unit power in noise of known density, may be in one window of x, the likeliest first."""
    index, density = slice(row, row + 1), noise.density(x.shape[1])
    white = float(torch.as_tensor(noise.white, dtype=torch.float64).reshape(-1).expand(len(x))[row])
    psd = (density[min(row, len(density) - 1)] - white).clamp_min(0)
    own = replace(soi.select(index), gain=None)
    return by_likelihood(x[row], own, Background(psd + 1e-12), max(float(psd.mean()), 1e-12) ** 0.5, white)


def refined(y: Tensor, source: LinearModulation, free: Sequence[str], part: Part, others: Tensor, gain: Tensor,
            weight: Tensor | None = None) -> tuple[LinearModulation, dict[str, Tensor]]:
    """A linear modulation after a separation: one Gauss-Newton step of its nuisances `free`, and the deviations, name_std.
    others: what the other sources' means add up to. weight: of samples, float64 [samples]; None: all alike."""
    found: dict[str, list[float]] = {}
    own_names = [name for name in free if name != "gain"]
    for row in range(len(y)):
        index = slice(row, row + 1)
        own: Any = replace(source.select(index), gain=float(gain[row]))
        own = replace(own, **{name: float(torch.as_tensor(getattr(own, name)).reshape(-1)[0]) for name in NUISANCES})
        read: Any = part.demodulated
        there = ~read.at[row].isnan()
        variance: Any = part.symbol_variance
        symbols, var = read.symbols[row, there][None], variance[row, there]
        if weight is not None:
            var = var[weight[read.at[row, there].long().clamp(0, len(weight) - 1)] > 0]
        var = float(var.mean()) if len(var) else 1.0
        out = SimpleNamespace(symbols=symbols, quality=-10 * torch.log10(torch.tensor(max(var, 1e-9))),
                              interference=others[index], soi=part.waveform[index])
        moved, spread = refine_sync(y[row], own, out, own_names, weight=weight)
        for name in own_names:
            found.setdefault(name, []).append(float(getattr(moved, name)))
            found.setdefault(f"{name}_std", []).append(float(spread[name]))
    values = {name: torch.tensor(column, dtype=torch.float64) for name, column in found.items()}
    return replace(cast(Any, source), **{name: values[name] for name in own_names}), values
