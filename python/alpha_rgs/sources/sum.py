# SPDX-License-Identifier: GPL-3.0-or-later
"""Several sources at once, taken for one: the posterior mean of their sum by asking each in turn.

Where all nuisances are known, a separation takes the parts one by one instead (`parts`). As one denoiser, each part is denoised
in what the means of the others leave, with the noise raised by the variances that the others' means still have (for a source of
unit power and its posterior mean m, E|s - m|² = 1 - E|m|²): parallel interference cancellation with soft values, damped.
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
from .keys import ROUNDS, SUMMED, listed, number, whole

_DAMPING = 0.7          # weight of a new mean after the first round


@dataclass
class Sum(Source):
    """s = sum_i g_i·s_i of independent sources, unit mean power together.

    sources: two or more priors. gains: their amplitudes relative to each other, positive; default all alike. rounds: how often
    each is asked in one denoising, 1 or more.
    """

    sources: tuple = ()
    gains: Any = None       # None, or a tuple of floats
    rounds: int = 3
    gain: float | None = None

    kind = "sum"
    keys = {
        "sources": listed("what is summed", SUMMED, numbers=False),
        "gains": listed("amplitudes of the sources, relative to each other", SUMMED),
        "rounds": whole("how often each source is asked in one denoising", most=ROUNDS),
        "gain": number("amplitude as received; 1 is unit mean power"),
    }
    state_names = {"gain": "gain"}
    takes_basis = False

    def __post_init__(self) -> None:
        self.sources = tuple(self.sources)
        if len(self.sources) < 2 or not all(isinstance(source, Source) for source in self.sources):
            raise ParameterError("sources: give two priors or more")
        gains = (1.0,) * len(self.sources) if self.gains is None else tuple(self.gains)
        numbers = all(isinstance(g, (int, float)) and not isinstance(g, bool) for g in gains)
        if len(gains) != len(self.sources) or not numbers or not all(0 < g < math.inf for g in gains):
            raise ParameterError(f"gains: {list(gains)} must be {len(self.sources)} positive amplitudes, one for each source")
        self.gains = tuple(float(g) for g in gains)
        if isinstance(self.rounds, bool) or self.rounds != int(self.rounds) or self.rounds < 1:
            raise ParameterError(f"rounds: {self.rounds} must be a whole number, 1 or more")

    @property
    def amplitudes(self) -> tuple[float, ...]:
        """The gains scaled so that their squares sum to 1."""
        norm = math.sqrt(sum(g * g for g in self.gains))
        return tuple(g / norm for g in self.gains)

    @property
    def parts(self) -> tuple[Source, ...]:
        """See Source.parts: sums among them come apart too; without a gain of the sum theirs are unknown."""
        known = [None if self.gain is None else self.gain * g for g in self.amplitudes]
        return tuple(part for source, gain in zip(self.sources, known) for part in source.with_state(gain=gain).parts)

    @property
    def _order(self) -> list[int]:
        """Strongest first."""
        return sorted(range(len(self.sources)), key=lambda i: -self.gains[i])

    def in_file(self, fields: dict[str, Any]) -> dict[str, Any]:
        """See Source.in_file."""
        from .toml import known_values  # which knows all kinds, this one too

        return {**fields, "sources": tuple({"kind": part.kind, **known_values(part)} for part in self.sources)}

    def at(self, start: Number) -> Self:
        """See Source.at."""
        return replace(self, sources=tuple(source.at(start) for source in self.sources))

    def select(self, index: Any) -> Self:
        """See Source.select."""
        return replace(self, sources=tuple(source.select(index) for source in self.sources))

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Self]:
        """See Source.draw."""
        parts = [source.draw(batch, samples, generator) for source in self.sources]
        b = sum(g * part for g, (part, _) in zip(self.amplitudes, parts))
        return b, replace(self, sources=tuple(truth for _, truth in parts))

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: the parts', weighted by their powers."""
        return sum(g * g * source.autocorrelation(lags) for g, source in zip(self.amplitudes, self.sources))

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: each part in what the means of the others leave, as in denoise; the strongest first, and all
        once more."""
        noise_var = Noise.of(noise).flat
        sources, found = list(self.sources), {}
        means, var = [torch.zeros_like(x) for _ in sources], [1.0] * len(sources)
        for _ in range(2):
            for i in self._order:
                rest, level = self._rest(x, noise_var, means, var, i)
                sources[i], new = self.sources[i].synchronize(rest, level)
                found.update({f"{name}_{i}": value for name, value in new.items()})
                _require_known(sources[i], i)
                means[i] = sources[i].denoise(rest, _rounded(level))
                var[i] = _variance(means[i])
            if not found:
                break
        return replace(self, sources=tuple(sources)), found

    def _rest(self, x: Tensor, noise_var: Any, means: list[Tensor], var: list[float], i: int) -> tuple[Tensor, float]:
        """What the others leave of x, in units of part i, and its noise level, float."""
        g, others = self.amplitudes[i], [j for j in range(len(means)) if j != i]
        level = float(torch.as_tensor(noise_var, dtype=torch.float64).mean())
        level += sum(self.amplitudes[j] ** 2 * var[j] for j in others)
        return (x - sum(self.amplitudes[j] * means[j] for j in others)) / g, level / g ** 2

    def denoise(self, x: Tensor, noise: Noise | Number) -> Any:
        """See Source.denoise: approximate, see above; white noise alone, its variance a float, or [batch] of which the mean
        counts (parts may know one level for all windows only)."""
        noise_var = self.white(noise)
        for i, source in enumerate(self.sources):
            _require_known(source, i)
        means, var = [torch.zeros_like(x) for _ in self.sources], [1.0] * len(self.sources)
        for step in range(self.rounds):
            for i in self._order:
                rest, level = self._rest(x, noise_var, means, var, i)
                new = self.sources[i].denoise(rest, _rounded(level))
                means[i] = new if step == 0 else torch.lerp(means[i], new, _DAMPING)
                var[i] = _variance(means[i])
        return sum(g * mean for g, mean in zip(self.amplitudes, means))


def _variance(mean: Tensor) -> float:
    """What a posterior mean of a source of unit power leaves, per sample."""
    return min(max(1 - float(mean.abs().square().mean()), 0.0), 1.0)


def _require_known(source: Source, number: int) -> None:
    """Refuse a part that cannot be denoised since a nuisance is missing."""
    for name in source.unknown:
        if name in source.needs:
            raise ParameterError(f"sources: {name} of source {number} ({source.kind}) is unknown and cannot be estimated in a "
                                 "sum; give it in that source's prior")


def _rounded(level: float) -> float:
    """A level in steps of half a decibel: filters that depend on it are made once and kept."""
    return 10 ** (round(20 * math.log10(max(level, 1e-9))) / 20)
