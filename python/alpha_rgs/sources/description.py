# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources whose files give rates in Hz: complete once the sample rate is known."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import ParameterError
from .base import Source
from .keys import HERTZ, SLOWEST, Key, Role, rate

_WHOLE = 1e-6           # relative, by which a ratio of rates may differ from a whole number
_DENOMINATOR = 1000     # of a rate in Hz, which may be a fraction (GSM: 1625/6 kBd)
_FINE = 16              # periods of a source at a rate that shows its spectrum


@dataclass(frozen=True)
class Description:
    """What a prior file says of a source of which at least one rate is in Hz.

    source: its class; table: the file's keys, without `kind`; name: the file, for messages; make(table) -> the Source. Times
    that are in samples (timing, frame_offset) are in those of the recording.
    """

    source: type[Source]
    table: Mapping[str, Any]
    name: str
    make: Callable[[dict[str, Any]], Source]

    @property
    def kind(self) -> str:
        """The source's kind."""
        return self.source.kind

    def _given(self, role: Role) -> list[tuple[str, Key, float]]:
        """(key in samples, Key, value in Hz) of what the file gives in Hz."""
        keys = self.source.keys.items()
        return [(name, key, float(self.table[key.hertz])) for name, key in keys
                if key.role is role and key.hertz and key.hertz in self.table]

    @property
    def grid_rate(self) -> Fraction | None:
        """Of which the sample rate must be a multiple, Hz; None where any rate will do."""
        own = [self.table[name] for name, key in self.source.keys.items() if key.role is Role.GRID and name in self.table]
        if not own and not self.source.any_rate:
            own = [value for *_, value in self._given(Role.PERIOD)]
        return Fraction(own[0]).limit_denominator(_DENOMINATOR) if own else None

    @property
    def symbol_rate(self) -> float | None:
        """Symbols, chips or samples of its own per second, whichever the file gives; None where it gives none."""
        given = [value for *_, value in self._given(Role.PERIOD)] or ([float(self.grid_rate)] if self.grid_rate else [])
        return given[0] if given else None

    @property
    def centre(self) -> float:
        """Its carrier frequency, Hz from the recording's; 0 where the file gives none."""
        return next((value for *_, value in self._given(Role.FREQUENCY)), 0.0)

    def at_rate(self, sample_rate: float, recorded: float | None = None) -> Source:
        """The source in samples of that rate, Hz. recorded: the rate of the samples in which the file's times are, default the
        same. Raises ParameterError."""
        moved, table = sample_rate / (recorded or sample_rate), dict(self.table)
        for name, key in self.source.keys.items():
            if key.hertz and key.hertz in table:
                hertz = table.pop(key.hertz)
                table[name] = sample_rate / hertz if key.role is Role.PERIOD else hertz / sample_rate
                if key.role is Role.PERIOD:
                    table[name] = self._period(key, table[name])
            elif key.role is Role.GRID and name in table:
                table = self.source.oversampled(table, self._multiple(name, sample_rate, table.pop(name)), moved != 1)
            elif name in table and key.role in (Role.INSTANT, Role.PERIOD):
                table[name] = round(table[name] * moved) if key.types == (int,) else table[name] * moved
            elif table.get(name) is not None and key.role is Role.FREQUENCY:
                table[name] = table[name] / moved
        source = self.make(table)
        return source if moved == 1 else source.through_resampler()

    def _period(self, key: Key, samples: float) -> float:
        near = round(samples)
        if abs(samples - near) < _WHOLE * samples:
            return near
        if samples < 1:
            raise ParameterError(f"{self.name}: {key.hertz}: {self.table[key.hertz]:g} is above the sample rate, "
                                 f"{samples * self.table[key.hertz]:g} Hz")
        if not self.source.any_rate:
            raise ParameterError(f"{self.name}: {key.hertz}: {self.table[key.hertz]:g} does not divide the sample rate, "
                                 f"{samples * self.table[key.hertz]:g} Hz; resample the samples to a multiple of it")
        return samples

    def _multiple(self, name: str, sample_rate: float, own: float) -> int:
        factor = round(min(sample_rate / own, HERTZ))
        if factor < 1 or abs(sample_rate / own - factor) > _WHOLE * factor:
            raise ParameterError(f"{self.name}: {name}: the sample rate, {sample_rate:g} Hz, is no multiple of {own:g} Hz; "
                                 "resample the samples to one")
        return factor

    @property
    def _fine(self) -> float:
        """A rate that shows its spectrum, Hz; where its file gives none, in samples per symbol."""
        return (self.symbol_rate or 1.0) * (2 if self.grid_rate and Role.GRID in {key.role for key in self.source.keys.values()}
                                            else _FINE)

    def band(self) -> tuple[float, float]:
        """The frequencies that it takes, (low, high) in Hz from the recording's carrier; NaN where its file gives no rate."""
        from .spectrum import occupied

        if self.symbol_rate is None:
            return float("nan"), float("nan")
        still = {name: value for name, value in self.table.items() if name not in ("carrier_frequency", "carrier_offset")}
        low, high = occupied(Description(self.source, still, self.name, self.make).at_rate(self._fine))
        return low * self._fine + self.centre, high * self._fine + self.centre

    def sampled(self) -> tuple[Source, float]:
        """(the source, at a rate that shows its spectrum; that rate, Hz, 1 or more where its file gives none)."""
        return self.at_rate(self._fine), self._fine


def hertz_keys(source: type[Source]) -> dict[str, Key]:
    """Keys in Hz of a kind's files, by name."""
    out = {}
    for name, key in source.keys.items():
        if key.hertz:
            meaning = "Hz, from the recording's frequency" if key.role is Role.FREQUENCY else "Hz or baud"
            out[key.hertz] = rate(f"{meaning}; instead of {name}")
    return out


def check_hertz(source: type[Source], table: Mapping[str, Any], name: str) -> bool:
    """Whether a table gives a rate in Hz. Raises ParameterError where one is no positive number, or is given twice."""
    found = False
    for own, key in source.keys.items():
        if key.role is Role.GRID and own in table:
            found = True
            if table[own] < SLOWEST:
                raise ParameterError(f"{name}: {own}: {table[own]!r} must be a positive number of Hz, {SLOWEST:g} or more")
        if not key.hertz or key.hertz not in table:
            continue
        found = True
        if own in table:
            raise ParameterError(f"{name}: {own} and {key.hertz} say the same; leave out one of the two")
        if key.role is Role.PERIOD and table[key.hertz] < SLOWEST:
            raise ParameterError(f"{name}: {key.hertz}: {table[key.hertz]!r} must be a positive number of Hz or baud, "
                                 f"{SLOWEST:g} or more")
    return found
