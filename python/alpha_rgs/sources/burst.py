# SPDX-License-Identifier: GPL-3.0-or-later
"""One burst of any source: the source while it is on, nothing before and after. Each burst has nuisances of its own."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..inference.linear_model import EVERY, LinearModel
from ..inference.stationary_model import stationary_model
from ..signals import constellation
from .base import Demodulated, Noise, Number, Posterior, Source, Structure

_BINS = 512             # of a density that stands for a source


@dataclass
class Burst(Source):
    """A source that is on from sample begin to the one before end, of unit mean power while it is on. within: the source as a
    window sees it that begins at sample `begin` and ends at `end`."""

    within: Source
    begin: int
    end: int
    gain: Number | None = None

    kind = "burst"
    state_names = {"gain": "gain"}
    takes_basis = False

    def __post_init__(self) -> None:
        self.linear, self.keyed, self.decided = self.within.linear, self.within.keyed, self.within.decided

    @property
    def length(self) -> int:
        """Samples."""
        return self.end - self.begin

    @property
    def unknown(self) -> tuple[str, ...]:
        """See Source.unknown."""
        return self.within.unknown

    @property
    def synchronizes(self) -> tuple[str, ...]:
        """See Source.synchronizes."""
        return self.within.synchronizes

    @property
    def steady(self) -> Source:
        """See Source.steady."""
        return self.within

    def while_on(self, samples: int) -> slice:
        """See Source.while_on."""
        return slice(self.begin, self.end)

    def between(self, begin: int, end: int) -> Self:
        """The burst with other edges; of the nuisances what stays known then."""
        return replace(self, within=self.within.at(begin - self.begin), begin=begin, end=end)

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return self.within.memory

    def at(self, start: Number) -> Self:
        """See Source.at: of a window that does not begin within the burst."""
        moved = int(start)
        if moved > self.begin:
            raise CapabilityError(f"burst: begins {moved - self.begin} samples before the window")
        return replace(self, begin=self.begin - moved, end=self.end - moved)

    def select(self, index: Any) -> Self:
        """See Source.select."""
        return replace(self, within=self.within.select(index))

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: while it is on."""
        return self.within.autocorrelation(lags)

    def psd(self, nfft: int) -> np.ndarray:
        """See Source.psd: while it is on."""
        return self.within.psd(nfft)

    def cut(self, x: Tensor) -> Tensor:
        """The samples of windows [batch, samples] while it is on, [batch, length]."""
        return x[:, self.begin:self.end]

    def padded(self, x: Tensor, samples: int) -> Tensor:
        """The inverse of `cut`, zeros before and after."""
        return torch.nn.functional.pad(x, (self.begin, samples - self.end))

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise."""
        return self.padded(self.within.denoise(self.cut(x), noise), x.shape[1])

    def posterior(self, x: Tensor, noise: Noise | Number) -> Posterior:
        """See Source.posterior: nothing is open where it is off."""
        found = self.within.posterior(self.cut(x), noise)
        return Posterior(self.padded(found.mean, x.shape[1]), found.variance * self.length / x.shape[1])

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: by the samples while it is on. What is found is said of its first sample."""
        within, found = self.within.synchronize(self.cut(x), noise)
        return replace(self, within=within), found

    def linear_model(self, shape: Sequence[int]) -> LinearModel | None:
        """See Source.linear_model."""
        model = self.within.linear_model((shape[0], self.length))
        return None if model is None else self._placed(model, shape[1])

    def _placed(self, model: LinearModel, samples: int) -> LinearModel:
        """A linear model of the samples while it is on, in windows of that many samples."""
        n = model.start[..., None] + torch.arange(model.width)
        inside = (n >= 0) & (n < self.length)
        decode, remainder = model.decode, model.remainder

        def later(mean: Tensor, var: Tensor, rows: slice = EVERY) -> tuple[Tensor, Tensor, Tensor]:
            symbols, llrs, at = cast(Any, decode)(mean, var, rows)
            return symbols, llrs, at + self.begin

        def whole(posterior: Tensor, rows: slice = EVERY) -> Tensor:
            return self.padded(cast(Any, remainder)(posterior, rows), samples)

        return replace(model, start=model.start + self.begin, columns=model.columns * inside,
                       frame=None if model.frame is None else (model.frame[0], model.frame[1] + self.begin),
                       missing=model.missing * self.length / samples,
                       decode=None if decode is None else later, remainder=None if remainder is None else whole,
                       constant=None if model.constant is None else self.padded(model.constant, samples))

    def demodulator(self) -> Any:
        """See Source.demodulator."""
        reader = self.within.demodulator()
        return None if reader is None else _Reader(self, reader)


@dataclass
class Undecided(Burst):
    """As Burst, Gaussian with the source's density: of a burst whose timing and phase nobody knows yet, or where a transmitter
    begins and ends otherwise than its modulation says. Its nuisances need not be right."""

    kind = "undecided burst"

    @property
    def unknown(self) -> tuple[str, ...]:
        """See Source.unknown: nothing that matters."""
        return ()

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: as if it were white."""
        level = torch.as_tensor(Noise.of(noise).flat).reshape(-1, 1).to(x.real)
        return self.padded(self.cut(x) / (1 + level), x.shape[1])

    def posterior(self, x: Tensor, noise: Noise | Number) -> Posterior:
        """See Source.posterior."""
        level = torch.as_tensor(Noise.of(noise).flat).reshape(-1).float()
        return Posterior(self.denoise(x, noise), level / (1 + level) * self.length / x.shape[1])

    def __post_init__(self) -> None:
        super().__post_init__()
        self.linear, self.keyed = True, False

    def linear_model(self, shape: Sequence[int]) -> LinearModel | None:
        """See Source.linear_model: of a linear modulation two to a symbol, so that the density says all, and not a timing; of a
        source without a linear model its density."""
        if not self.within.linear and self.within.structure is Structure.NONE:
            return self._placed(stationary_model(_blurred(self.within), self.length), shape[1])
        model, alphabet = super().linear_model(shape), cast(Any, constellation("gaussian"))
        if model is not None and (period := self.within.symbol_period):
            between = replace(self, within=self.within.at(-period / 2))
            model = _interleaved(model, cast(LinearModel, Burst.linear_model(between, shape)))
        return None if model is None else replace(model, alphabet=alphabet, decode=None, remainder=None)

    def demodulator(self) -> Any:
        """See Source.demodulator: none."""
        return None


def _blurred(source: Source) -> np.ndarray:
    """A source's density, float64 [_BINS], wherever its carrier may be."""
    density = source.psd(_BINS)
    reach = round(source.carrier_reach * _BINS) if "carrier_offset" in source.unknown else 0
    return np.asarray(np.mean([np.roll(density, k) for k in range(-reach, reach + 1)], axis=0))


def _interleaved(a: LinearModel, b: LinearModel) -> LinearModel:
    """The mean in power of two linear models of one window each, without frames."""
    start = torch.cat([a.start, b.start], 1)
    order = start[0].argsort(stable=True)
    columns, exists = (torch.cat([u, v], 1)[:, order] for u, v in (
        (a.columns, b.columns), (a.exists, b.exists)))
    return replace(a, start=start[:, order], columns=columns * 0.5 ** 0.5, exists=exists)


@dataclass
class _Reader:
    """Reads symbols while a burst is on."""

    burst: Burst
    reader: Any

    def __post_init__(self) -> None:
        self.coherent, self.ambiguity = self.reader.coherent, self.reader.ambiguity

    def __call__(self, x: Tensor, noise_var: Number) -> Demodulated:
        read = self.reader(self.burst.cut(x), noise_var)
        return dataclasses.replace(read, at=read.at + self.burst.begin)
