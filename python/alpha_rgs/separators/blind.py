# SPDX-License-Identifier: GPL-3.0-or-later
"""Separation where timing, carrier offset, phase, gain or channel of the signal of interest are unknown: found in each window,
then made better by what was separated."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..sources.base import Number, Source, Structure
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..sources.spectrum import occupied
from ..synchronization.evidence import OFFSETS, lines, told_of_rotation
from ..synchronization.levels import NOISE_FLOOR
from ..synchronization.stationary import candidates, fit_channel, refine_sync
from .base import Separation, false_lock_penalty, joined

_ROUNDS, _BETTER = 4, 0.3       # of refinement at most; dB that a round must gain for another
_ECHOED, _STALLED = 12, 5       # rounds where a channel is looked for; that may pass without a gain while nothing is clear
_CLEAR = 6.0                    # dB of quality above half the alphabet's least distance at which no other start is tried
# of false_lock_penalty: likeliest over 92 windows of the coverage study under OFDM and QPSK, 40 found wrongly
_FOUND = 0.044, 4.0
# for noise below the floor of the search to be believed: what is left, of it. Of 96 windows right ones leave 0.7 to 1.1 times the
# noise, wrong ones 0.12 to 0.32 of the signal's power
_AGREES = 2.0
_LINES = 2                      # carrier offsets that are tried of those that fit symbols best
# share of the band from which symbols are looked at once carriers are decided, before all else: a detection there takes 0.1 s
# and more, and carriers that count as Gaussian leave too little
_WIDE = 0.2
# standard deviations by which a line stands out: of 36 windows at 2 to 4 samples per symbol, SIR 0 dB, lines that were right have
# 5.8 to 17, but for one of 4.3, wrong ones 3.3 to 5.2
_PROMINENT = 6.0
_ASIDE = 0.1            # of the symbol rate: where symbols are looked at too while no line stands out
# likewise of narrow signals: of 24 windows of 16QAM under OFDM lines that were right have 4.1 to 11, wrong ones up to 4.7
_STANDS_OUT = 4.9
_RIVAL = 3.0            # dB of quality before a search of decisions, by which the better of two turns may be behind
_TELLS = 3.0                    # nats, below which symbols do not tell their rotation: one of a thousand offsets needs 7 and more
# share of wrong bits that is expected, from which a start of a wide signal is not refined unless its line stands out
_LOST = 0.3
_INEXACT = 1e-3                 # of the weaker source's power: what cut frames and nuisances leave without noise is up to 7e-5

Found = tuple[Separation, LinearModulation, dict[str, Any]]


def separate_unknown(y: Tensor, soi: LinearModulation, interference: Source, kappa: Number | None, noise_var: Number | None,
                     missing: list[str], solve: Callable[..., Any]) -> Separation:
    """solve(y [batch, samples], soi, interference, kappa, noise_var) -> Separation. missing: names of the SOI's nuisances that
    are to be found. A Separation of all windows; `estimated` holds them too, and their standard deviations as name_std."""
    search = _Search(y, soi, interference, (kappa, noise_var), missing, solve)
    best = search.quieter(search.best())
    return joined([_told(*best[row], missing, row in search.sure) for row in range(len(y))])


class _Search:
    """Windows whose SOI's nuisances are looked for, each by itself; what is found is a tuple (Separation, SOI, name -> standard
    deviation of its nuisances)."""

    def __init__(self, y: Tensor, soi: LinearModulation, interference: Source, levels: Any, missing: list[str],
                 solve: Callable[..., Any]) -> None:
        self.y, self.soi, self.interference, self.solve = y, soi, interference, solve
        self.kappa, self.noise_var = levels
        self.sought, self.echoed = [key for key in missing if key != "channel"], "channel" in missing
        self.given_up: set[int] = set()     # rows whose symbols do not tell their phase and carrier offset
        self.sure: set[int] = set()         # rows of which one line stands out
        self.lined: set[int] = set()        # rows whose next start is such a line, of a narrow signal
        low, high = occupied(replace(soi.select(slice(0, 1)), timing=0.0, phase=0.0, carrier_offset=0.0))
        self.wide = high - low > _WIDE
        self.clear = _CLEAR - 10 * math.log10(soi.signal.alphabet.least_distance ** 2 / 4)

    def _levels(self, index: list[int] | slice) -> Any:
        return [_rows(v, index) for v in (self.kappa, self.noise_var)]

    def _free(self, soi: LinearModulation) -> list[str]:       # a channel holds the timing too
        return [key for key in self.sought if key != "timing" or not soi.signal.channel]

    def best(self) -> dict[int, Found]:
        """{row: what is best of all starts}; further starts only where nothing is clear."""
        ways = {row: self._starts(row) for row in range(len(self.y))}
        fitted = self.interference.by_autocorrelation
        trial = fitted or self.interference.structure is Structure.FRAMES
        best: dict[int, Found] = {}
        while ways:
            starts = {row: start for row, way in ways.items() if (start := next(way, None)) is not None}
            for row, found in self._settled(starts, trial=trial).items() if starts else ():
                if row in self.lined:           # what came before is not to be believed
                    self.lined.remove(row)
                    best.pop(row, None)
                if row not in best or float(found[0].quality) > float(best[row][0].quality):
                    best[row] = found
            ways = {row: ways[row] for row in starts if float(best[row][0].quality) < self.clear}
        if trial:
            self._searched(best, fitted)
        nothing = {"carrier_offset": OFFSETS / 3 ** 0.5, "phase": math.pi / self.soi.signal.alphabet.symmetry / 3 ** 0.5}
        return best | {row: (*best[row][:2], best[row][2] | nothing) for row in self.given_up}

    def _starts(self, row: int) -> Iterator[Any]:
        """An iterator over SOIs to begin with."""
        index = slice(row, row + 1)
        own = self.soi.select(index)
        if self.echoed and not any(getattr(self.soi, key) is None for key in self.sought):
            return iter([own])
        ways = candidates(self.y[row], own, self.interference.select(index), *self._levels(index))
        if self.interference.structure is not Structure.FRAMES or not self.interference.decided or self.echoed:
            return ways
        if own.phase is None and self.wide:
            return self._by_symbols_first(row, next(ways))
        return self._by_symbols(row, ways)

    def _by_symbols(self, row: int, ways: Iterator[Any]) -> Iterator[Any]:
        """SOIs to begin with: the first of `ways`; then those whose phase and carrier offset fit the symbols as they are seen
        once carriers are decided. Unless one of these stands out, the other `ways` too."""
        first = next(ways)
        yield first
        found, clear = ([], 0.0) if self.soi.phase is not None else self._lines(row, first)[:2]
        if found and clear < _PROMINENT and self.soi.carrier_offset is None:    # may be too far off for symbols to be seen
            for aside in (-_ASIDE, _ASIDE):
                at = float(torch.as_tensor(first.carrier_offset)) + aside / self.soi.signal.samples_per_symbol
                other, clearer, _ = self._lines(row, replace(first, carrier_offset=at))
                if clearer > clear:
                    found, clear = other, clearer
        if clear > _STANDS_OUT:
            self.lined.add(row)
            yield from (found[0], *self._one_turn_on(found[0]))
            return
        yield from (*found, *ways)

    def _by_symbols_first(self, row: int, first: LinearModulation) -> Iterator[Any]:
        """As _by_symbols, and `first` if no line stands out. Where symbols do not tell their rotation, one SOI, without a carrier
        offset, and the row is among those given up."""
        found, clear, told = self._lines(row, first)
        if self.soi.carrier_offset is None and told < _TELLS:
            self.given_up.add(row)
            yield found[0]
            return
        yield found[0]
        if clear > _PROMINENT:
            self.sure.add(row)
            return
        yield from (*found[1:], first)

    def _lines(self, row: int, first: LinearModulation) -> tuple[list[Any], float, float]:
        """([SOI] of the phases and carrier offsets that fit symbols best, by how many standard deviations the best stands out,
        nats that symbols tell of their rotation), of symbols as they are seen once carriers are decided, the symbols being
        turned by any angle: where a signal takes most of the band, Gaussian carriers leave too little of it."""
        index = slice(row, row + 1)
        known = self.soi.carrier_offset
        own = replace(first, phase=0.0, carrier_offset=0.0 if known is None and self.wide else first.carrier_offset)
        out = self.solve(self.y[index], own, self.interference.select(index), *self._levels(index), noise_floor=NOISE_FLOOR,
                         undecided=True)
        number, _ = own.centred_symbols(self.y.shape[1])
        cavity = out.symbols.to(torch.complex128).cpu(), out.estimated["symbol_variance"].cpu()
        told = float(told_of_rotation(own.signal.alphabet, cavity[1]))
        reach = min(0.5, OFFSETS * own.signal.samples_per_symbol * own.signal.alphabet.symmetry)
        if told < _TELLS and self.wide:
            reach = 0.0
        begin, centre = (torch.as_tensor(v, dtype=torch.float64).reshape(1) for v in (own.timing, own.carrier_offset))
        found, clear = lines(self.soi.select(index), cavity, centre, begin, number, reach, _LINES)
        best, *others = [replace(first, carrier_offset=float(f), phase=float(phase)) for f, phase in found]
        return [best, *(self._one_turn_on(best) if known is None else ()), *others], float(clear), told

    def _one_turn_on(self, own: LinearModulation) -> list[LinearModulation]:
        """The SOI with the carrier offsets below and above, as far as they are looked for, under which its symbols are points of
        the alphabet too."""
        signal, at, out = own.signal, float(torch.as_tensor(own.carrier_offset)), []
        for turns in (-1, 1):
            step = turns / (signal.samples_per_symbol * signal.alphabet.symmetry)
            if abs(at + step) <= OFFSETS:
                phase = float(torch.as_tensor(own.phase) - 2 * math.pi * step * torch.as_tensor(own.timing))
                out.append(replace(own, carrier_offset=at + step, phase=phase))
        return out

    def _searched(self, best: dict[int, Found], fitted: bool) -> None:
        """Separate windows once more with a search of decisions, each also one turn on, and keep in `best` what is better: where
        decisions hold, the pulse's place in the band alone tells these carrier offsets apart."""
        last = {row: self._refined(row, own, out)[0] for row, (out, own, _) in best.items() if row not in self.given_up}
        turned = self.soi.carrier_offset is None and self.interference.structure is Structure.FRAMES and not self.echoed
        self._bettered(best, last, fitted)
        ways = {row: iter(self._one_turn_on(own) if turned else ()) for row, own in last.items()}
        while starts := {row: start for row, way in ways.items() if (start := next(way, None)) is not None}:
            tried = self._settled(starts, rounds=2, trial=True)
            self._bettered(best, {row: own for row, (out, own, _) in tried.items()
                                  if float(out.quality) > float(best[row][0].quality) - _RIVAL}, fitted)

    def _bettered(self, best: dict[int, Found], starts: dict[int, LinearModulation], fitted: bool) -> None:
        """Keep in `best` what is better of these, searched."""
        for row, (out, own, spread) in self._settled(starts, rounds=1).items() if starts else ():
            # that decisions were searched beside a fitted interference shows in no symbol's scatter
            if fitted or float(out.quality) > float(best[row][0].quality):
                best[row] = out, own, best[row][2] | spread

    def quieter(self, best: dict[int, Found]) -> dict[int, Found]:
        """`best`, separated once more with the noise as it was measured where what is left agrees with that."""
        quiet = {row: self._refined(row, own, out)[0] for row, (out, own, _) in best.items()
                 if row not in self.given_up and agrees(self.y[row], out, self._levels(slice(row, row + 1))[1])}
        for row, (out, own, spread) in self._settled(quiet, 0.0, 1).items() if quiet else ():
            if agrees(self.y[row], out, float(out.noise_var), kept=True):
                best[row] = out, own, best[row][2] | spread
        return best

    def _settled(self, starts: dict[int, LinearModulation], floor: float = NOISE_FLOOR, rounds: int | None = None,
                 trial: bool = False) -> dict[int, Found]:
        """{row: SOI} -> {row: what is found}: separated, nuisances fitted to that, and again while it gets better. trial: without
        a search of decisions, which costs most of the time, and is for the last round."""
        going, since = dict(starts), dict.fromkeys(starts, 0)
        best: dict[int, Found] = {}
        reported: dict[int, dict[str, Any]] = {row: {} for row in starts}
        for _ in range(rounds or (_ECHOED if self.echoed else _ROUNDS)):
            for row, out in self._solved(going, floor, trial).items():
                gained = float(out.quality) - float(best[row][0].quality) if row in best else math.inf
                moved, spread = self._refined(row, going[row], out)
                reported[row] = reported[row] | spread
                if gained > 0:
                    best[row] = out, going[row], reported[row]
                settling = not self.echoed or float(out.quality) > self.clear
                since[row] = since[row] + 1 if gained < _BETTER else 0
                lost = self.wide and row not in self.sure and float(out.error_rate) > _LOST
                if row in self.given_up or lost or since[row] and (settling or since[row] == _STALLED):
                    del going[row]
                    continue
                going[row] = moved
                if self.echoed:
                    going[row], taps = fit_channel(self.y[row], moved, self.interference, out, self.soi.channel_length,
                                                   self.sought, settling)
                    reported[row] = reported[row] | {"channel": taps}
            if not going:
                break
        return {row: (out, own, reported[row] | spread) for row, (out, own, spread) in best.items()}

    def _refined(self, row: int, own: LinearModulation, out: Separation) -> tuple[LinearModulation, dict[str, float]]:
        """refine_sync of one window; Gaussian carriers are noise to it. As it was where the symbols say nothing of it."""
        if self.interference.structure is not Structure.FRAMES or self.interference.decided or self.echoed:
            found = refine_sync(self.y[row], own, out, self._free(own))
        else:
            alone = replace(out, interference=torch.zeros_like(out.interference))
            found = refine_sync(self.y[row], own, alone, self._free(own), self.interference.select(slice(row, row + 1)))
        values = [torch.as_tensor(getattr(found[0], key)) for key in self.sought]
        return found if all(bool(torch.isfinite(value).all()) for value in values) else (own, {})

    def _solved(self, starts: dict[int, LinearModulation], floor: float, trial: bool) -> dict[int, Separation]:
        """{row: SOI} -> {row: Separation}; floor: of the noise, relative to the weaker source."""
        parts = [[row] for row in starts] if not self.interference.own_carrier or self.echoed else [list(starts)]
        out: dict[int, Separation] = {}
        for part in parts:
            known = replace(self.soi.select(part),
                            **{key: _column([getattr(starts[row], key) for row in part]) for key in self.sought})
            if self.echoed:
                known = replace(known, signal=starts[part[0]].signal, channel_length=None)
            found = self.solve(self.y[part], known, self.interference.select(part), *self._levels(part), noise_floor=floor,
                               trial=trial)
            out |= {row: _row(found, i) for i, row in enumerate(part)}
        return out


def _rows(value: Any, index: list[int] | slice) -> Any:
    """Of a number or tensor [1 or batch], what belongs to some windows."""
    return value[index] if torch.is_tensor(value) and value.numel() > 1 else value


def agrees(y: Tensor, out: Separation, noise: float | None, kept: bool = False) -> bool:
    """Whether what a Separation `out` of this window y leaves is as weak as the noise that was measured, or given, and that is
    less than it was separated with (or, once kept, is what it was separated with)."""
    noise = float(out.estimated["noise_var"] if noise is None else noise)
    weakest = min(float(out.soi.abs().square().mean()), float(out.kappa.square()))
    left = float((y - out.soi[0] - out.interference[0]).abs().square().mean())
    return (kept or noise < float(out.noise_var)) and left < _AGREES * max(noise, _INEXACT * weakest)


def _column(values: list[float]) -> Any:
    return torch.tensor(values, dtype=torch.float64) if len(values) > 1 else values[0]


def _told(out: Separation, soi: LinearModulation, spread: dict[str, Any], missing: list[str],
          sure: bool = False) -> Separation:
    """A Separation that reports the SOI's nuisances; the interference's of the same names as interference_name. sure: whether the
    carrier offset is beyond doubt."""
    if "carrier_offset" in missing and out.method == "joint" and not sure:     # found wrongly, it makes all of them wrong
        out = false_lock_penalty(out, *_FOUND)
    values = {key: getattr(soi, key) for key in (NUISANCES if "channel" in missing else missing)}
    values |= {f"{key}_std": value for key, value in spread.items()}
    reported = {key: torch.tensor([v], dtype=torch.float64) for key, v in values.items() if key != "channel_std"}
    if "channel" in missing:
        taps = soi.signal.channel or (1.0, *[0.0] * (len(spread["channel"]) - 1))
        reported["channel"] = torch.tensor([taps], dtype=torch.complex128)
        reported["channel_std"] = torch.from_numpy(spread["channel"])[None]
    others = {f"interference_{key}" if key in NUISANCES else key: value for key, value in out.estimated.items()}
    return replace(out, estimated=others | reported)


def _row(out: Separation, i: int) -> Separation:
    """One window of a Separation."""
    def take(value: Any) -> Any:
        return value[i:i + 1] if torch.is_tensor(value) and value.ndim else value
    return replace(out, estimated={k: take(v) for k, v in out.estimated.items()},
                   **{f.name: take(getattr(out, f.name)) for f in fields(Separation) if f.name != "estimated"})
