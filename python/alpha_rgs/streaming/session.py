# SPDX-License-Identifier: GPL-3.0-or-later
"""How a stream that comes in windows is separated, and what may be changed of it while it runs: sources, method, levels, the
sample rate and the centre frequency. The windows stay as they are cut."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ..errors import ParameterError
from ..signals.levels import amplitude, noise_variance
from ..sources.base import Source
from ..sources.description import Description
from .engine import Engine
from .live import Live, in_windows
from .resampling import named, shifted_bands
from .retuned import RetunedTask

_SAME = 1e-6            # relative, by which two sample rates may differ and be one


@dataclass(frozen=True)
class Session:
    """sources: as they were given, of which those in Hz follow a change of the sample rate. cut: for these, of `live`.
    period: samples per symbol of the output of symbols, 0 where there is none. pair: the first source is the signal of interest,
    the second the interference; then sir_db and snr_db count, else noise_var, per complex sample of the stream. sample_rate: Hz,
    None: not known. reference, center: Hz, the centre frequency to which the sources' carriers refer, and the receiver's; None:
    not known."""

    sources: tuple[Source | Description, ...]
    cut: Live
    period: Fraction = Fraction(0)
    pair: bool = False
    method: str = "auto"
    sir_db: float | None = None
    snr_db: float | None = None
    noise_var: float | None = None
    sample_rate: float | None = None
    reference: float | None = None
    center: float | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()

    @property
    def shift(self) -> float:
        """Hz by which the receiver's centre frequency lies above that to which the sources' carriers refer."""
        return 0.0 if self.center is None or self.reference is None else self.center - self.reference

    @property
    def symbols(self) -> bool:
        """Whether the output of symbols holds those of the first source."""
        return bool(self.cut.symbol_period)

    def separates_as(self, other: Session) -> bool:
        """Whether a task of the other is one of this too."""
        names = ("sources", "cut", "options")
        return all(getattr(self, name) is getattr(other, name) for name in names) and all(
            getattr(self, name) == getattr(other, name) for name in ("method", "sir_db", "snr_db", "noise_var", "shift"))

    def task(self, engine: Engine) -> Any:
        """The engine's task for windows of the stream; see Task. Of a pair waveforms, symbols and what judges them are all that
        its caller takes."""
        if self.pair:
            gain = getattr(self.cut.plan.sources[0], "gain", None)
            gain = 1.0 if gain is None else float(gain)
            made: Any = self.cut.task(engine, pair=True, method=self.method, kappa=amplitude(gain, self.sir_db),
                                      noise_var=noise_variance(gain, self.snr_db), **self.options)
            made.brief = True
        else:
            made = self.cut.task(engine, method=self.method, noise_var=self.noise_var, **self.options)
        if self.shift and self.sample_rate:
            made = RetunedTask(made, self.shift / self.sample_rate)
        return made

    def with_sources(self, sources: Sequence[Source | Description]) -> Session:
        """Others in their place. Raises ParameterError."""
        return self._planned(tuple(sources), self.sample_rate)

    def at_rate(self, sample_rate: float) -> Session:
        """From here on the stream has another sample rate, Hz. Raises ParameterError where the sources cannot be in it, or are
        known in samples of the rate before."""
        before = self.sample_rate
        if before is not None and abs(sample_rate - before) <= _SAME * before:
            return self
        if before is None and not any(isinstance(source, Description) for source in self.sources):
            return replace(self, sample_rate=sample_rate)
        for source in self.sources:
            if before is not None and not isinstance(source, Description):
                raise ParameterError(f"samp_rate: {named(source)} is known in samples of {before:g} Hz, not of "
                                     f"{sample_rate:g} Hz; give its rates in Hz (symbol_rate, sample_rate)")
        return self._planned(self.sources, sample_rate)

    def retuned(self, center: float) -> Session:
        """From here on the receiver's centre frequency is another one, Hz; the first that is known is that to which the carriers
        refer. Raises ParameterError where a source is outside then."""
        if self.reference is None:
            return replace(self, reference=center, center=center)
        if center != self.reference and self.sample_rate is None:
            raise ParameterError("center_freq: set samp_rate, the sample rate of the stream")
        made = replace(self, center=center)
        return made._judged()

    def _planned(self, sources: tuple[Source | Description, ...], sample_rate: float | None) -> Session:
        cut = in_windows(sources, sample_rate, self.cut.window, self.cut.hop, self.period)
        return replace(self, sources=sources, cut=cut, sample_rate=sample_rate)._judged()

    def _judged(self) -> Session:
        moved = shifted_bands(self.sources, self.sample_rate, self.shift) if self.shift and self.sample_rate else []
        return replace(self, warnings=(*self.cut.warnings, *moved))
