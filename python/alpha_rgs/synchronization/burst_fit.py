# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel, phases and alphabet of one burst of OFDM, by expectation and maximization.

Whatever is taken for known is weighed by the noise: which symbols are training fields by how much likelier a channel of few taps
makes them; which alphabet the data have by the likelihood of all of the burst's carriers together; and the channel is found from
what carriers are likely to be, not from decisions. So bursts are found in noise in which each carrier by itself is often wrong.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..signals.wifi import ALPHABETS, CARRIERS, EARLY, FFT_SIZE, HT_TRAINING, LEGACY, LONG_TRAINING, PILOTS, SHORT, SHORT_TRAINING
from . import burst_taps
from .burst_alphabets import LEVELS, by_axes, likely, unknown
from .burst_blind import blind
from .burst_fit_native import Constants, fast
from .burst_state import State, Symbol
from .burst_taps import echoes, first_strong, response

Array = np.ndarray[Any, Any]

_TRAINED = 8.0          # nats from which a symbol is a training field: of a window's thirty symbols chance makes none that
_PREAMBLE = 7           # symbols at the head of a burst that may be BPSK whatever its data are
_TURNS = (3, 4)         # of expectation and maximization, to tell alphabets apart; and of the one that is taken
EMPTY = 0.2            # of a burst's usual power: a symbol of less is none
_SPARSE = 0.2           # of the others' power: short training has less on the carriers that it leaves out
_FEWEST = 4             # symbols for a channel that no training field shows, or for a line through phases
_ROUGH = 0.1            # of a burst's power, by how much a channel that no training field shows is off at first
_LIKELY = 2             # alphabets that are looked at to the end
_COOLING = 0.5          # of the noise, turn by turn, which dense alphabets let go of slowly
_ASIDE = 1              # samples that a channel may lie beside where symbols begin, unless they are shifted cyclically
_HEAD, _STRANGE = 4, 0.1   # samples at the head of such symbols that are disturbed, by so much of the power
_TRUST = 4.0            # symbols that the mean noise counts for beside what a carrier's own scatter says
_SLIP = 6.0             # nats that pilots must tell for a quarter turn between two symbols
_FAR, _FIT = 4.0, 0.02   # times the noise, and share of the power, by which carriers of short training may be off the channel
SHORT_GAIN = (LEGACY.sum() / np.count_nonzero(SHORT)) ** 0.5        # of short training's carriers: they have a symbol's power
_OUTER = abs(CARRIERS) > 24                 # of a legacy burst
_TURNED = np.where(PILOTS, 1, 1j)           # HT-SIG: 19.3.9.4.3
_NOTHING = np.zeros(len(CARRIERS), complex)
_WAYS = [(LONG_TRAINING, np.ones(len(CARRIERS))), (LONG_TRAINING, EARLY), (HT_TRAINING, np.ones(len(CARRIERS)))]
_CONSTANTS = Constants(_PREAMBLE, _FEWEST, _LIKELY, *_TURNS, _COOLING, _TRUST, _SLIP, _TRAINED, EMPTY, _SPARSE, _FAR, _FIT,
                       SHORT_GAIN, _OUTER, _TURNED, _WAYS)


class BurstFit:
    """Symbols of one transmitter, one after the other. u: their carriers, complex [symbols, 56]; seen: which lie in the window,
    bool [symbols]; clear: carriers that no other signal reaches, bool [56]; noise: variance of a carrier.

    kinds: of each symbol: "short", "long" (training), "data", or "" for nothing there. turn: of training that lies early, and of
    HT-SIG, [symbols, 56]. known: what training fields are, likewise, 0 elsewhere; off: error power of short ones, relative. used:
    the carriers that the burst has. state: None where too little is seen."""

    def __init__(self, u: Array, seen: Array, clear: Array, noise: float) -> None:
        self.u, self.seen, self.noise = u, seen, max(noise, 1e-30)
        self._fast = fast(_CONSTANTS)
        self._taps: Any = self._fast or burst_taps
        self.power, self.clear, self.used = 0.0, clear & LEGACY, LEGACY
        self.kinds, self.turn = ["data"] * len(u), np.ones_like(u)
        self.known, self.off = np.zeros_like(u), np.zeros(len(u))
        self.state: State | None = None
        if self._fast:
            found = self._fast.fitted(self.u, seen, clear, self.noise)
            self.power, self.clear, self.used, self.kinds = found.power, found.clear, found.used, found.kinds
            self.turn, self.known, self.off, self.state = found.turn, found.known, found.off, found.state
            start = self._blind() if found.untrained else None
        else:
            start = (self._trained() or self._blind()) if self._look(clear) else None
        if start is not None:
            self.state = self._best(start)
            self._short(self.state)

    def _look(self, clear: Array) -> bool:
        """Find the power, and what symbols seem to be; whether there is anything."""
        seen, on = self.seen, bool(self.clear.any())
        level = np.mean(abs(self.u[:, self.clear]) ** 2, 1) if on else np.zeros(len(self.u))
        self.power = max(float(np.median(level[seen])) - self.noise, 0.0) if seen.any() else 0.0
        if self.power <= 0:
            return False
        for t, sparse in zip(np.flatnonzero(seen), self._sparse(self.u[seen])):
            if level[t] - self.noise < EMPTY * self.power:
                self.kinds[t] = ""
            elif sparse:
                self.kinds[t] = "short"
        self._width(clear)
        return True

    def _sparse(self, u: Array) -> Array:
        """Which symbols, bool [n], are of short training: power on every fourth carrier alone."""
        off, on = (np.mean(abs(u[:, part & self.clear]) ** 2, 1) - self.noise for part in (~SHORT_TRAINING, SHORT_TRAINING))
        return np.asarray(off < _SPARSE * on)

    def _width(self, clear: Array) -> None:
        """Whether the burst has the outermost carriers, too."""
        data = self._rows("data")
        edge, inner = clear & ~LEGACY, clear & LEGACY & _OUTER
        if not len(data) or not edge.any() or not inner.any():
            return
        size = np.mean(abs(self.u[data]) ** 2, 0) - self.noise
        if size[edge].mean() > 0.5 * size[inner].mean():
            self.used, self.clear = np.ones(len(CARRIERS), bool), clear

    def _rows(self, kind: str) -> Array:
        return np.array([t for t in np.flatnonzero(self.seen) if self.kinds[t] == kind], int)

    def clear_all(self) -> None:
        """There is nothing in any of the symbols."""
        self.kinds = [""] * len(self.kinds)

    def _gains(self, state: State) -> Array:
        """Of each symbol's carriers as received, complex [symbols, 56]."""
        return np.asarray(np.where(self.used, state.gain, 0) * self.turn * np.exp(1j * state.phase[:, None]))

    def waves(self) -> Array | None:
        """One period of each symbol, from its body's first sample on, without the carrier offset, complex [symbols, 64]; zeros
        for what is not known. None where nothing is."""
        state = self.state
        if state is None or state.mean is None:
            return None
        points = np.where(self.known.any(1)[:, None], self.known, state.mean)
        spectra = np.zeros((len(points), FFT_SIZE), complex)
        spectra[:, CARRIERS % FFT_SIZE] = self._gains(state) * points
        return np.asarray(FFT_SIZE * np.fft.ifft(spectra))

    def echo(self, length: int, later: int) -> Array | None:
        """Power of what reaches each sample of a symbol of so many from its neighbours, where symbols begin so many samples later
        than they were taken to; None where no channel is known. One whose taps lie elsewhere does not say it."""
        if self.state is None:
            return None
        usual = int(self.used.sum())
        if abs(first_strong(self.state.taps) - later) > _ASIDE:
            return np.where(np.arange(length) < _HEAD, _STRANGE * self.power * usual, 0.0)
        return echoes(self.state.taps, later, length) * usual

    def symbols(self, near: Array) -> list[Symbol]:
        """All symbols; near: carriers of which the error counts, bool [56]."""
        state = self.state
        if state is None:
            return [self._unfitted(kind) for kind in self.kinds]
        gains = self._gains(state)
        error = float(state.spread[near].mean()) if near.any() else 0.0
        error = (error + max(float(np.median(state.noise[self.clear])) - self.noise, 0.0)) / self.power + state.scatter
        open_ = np.zeros(gains.shape)
        if state.mean is not None and state.power is not None:
            open_ = state.power - state.mean.real ** 2 - state.mean.imag ** 2
        return [self._symbol(t, state, gains[t], open_[t], error) for t in range(len(gains))]

    def _unfitted(self, kind: str) -> Symbol:
        """A symbol whose channel is not known: flat, and as strong as what is seen of it."""
        if kind == "":
            return Symbol(_NOTHING, "", False, _NOTHING, _NOTHING.real, 1.0)
        on = SHORT_TRAINING & LEGACY if kind == "short" else self.used
        flat = np.where(on, (self.power * self.used.sum() / on.sum()) ** 0.5, 0).astype(complex)
        return Symbol(flat, "gaussian", False, _NOTHING, _NOTHING.real, 1.0)

    def _symbol(self, t: int, state: State, gain: Array, open_: Array, error: float) -> Symbol:
        """Symbol t, of these gains, whose carriers are so uncertain."""
        kind = self.kinds[t]
        if kind == "":
            return self._unfitted(kind)
        if kind == "short":
            gain = np.where(SHORT_TRAINING & LEGACY, SHORT_GAIN * gain, 0)
        if kind != "data" and (known := self.known[t]).any():
            return Symbol(np.where(known != 0, gain, 0), "bpsk", True, known, _NOTHING.real, error + float(self.off[t]))
        name = state.kinds[t] if self.seen[t] and state.kinds else state.data
        if kind == "short" or state.data not in LEVELS or state.mean is None or state.power is None:
            return Symbol(gain, "gaussian", False, _NOTHING, _NOTHING.real, 1.0 if kind == "short" else error)
        mean = state.mean[t]
        if name == "turned":
            return Symbol(gain * _TURNED, "bpsk", False, mean / _TURNED, open_, error)
        return Symbol(gain, name, False, mean, open_, error)

    # ---- where to begin ----------------------------------------------------------------------------------------------------

    def _trained(self) -> State | None:
        """A State from training fields, or None."""
        use, rows = self.clear, self._rows("data")
        found = np.array([burst_taps.evidence(self.u[rows] / turn * sequence, use & (sequence != 0), self.noise, self.power)
                          for sequence, turn in _WAYS])
        total, weight = np.zeros(len(CARRIERS), complex), 0.0
        for t, told in zip(rows, found.T):
            if told.max() < _TRAINED:
                continue
            sequence, turn = _WAYS[int(np.argmax(told))]
            self.kinds[t], self.known[t] = "long", sequence
            self.turn[t] = turn
            z = self.u[t] / turn * sequence
            if weight:
                z = z * np.exp(-1j * np.angle(np.vdot(total[use], z[use])))
            total, weight = total + z * use, weight + 1
        if not weight:
            return None
        on = use & (abs(total) > 0)
        start = self._state(total / self.noise * on, weight / self.noise * on, np.zeros(len(self.u)), self.noise, "")
        return self._tracked(start)

    def _state(self, information: Array, precision: Array, phase: Array, noise: float, data: str) -> State:
        """A State to begin with, of a channel of which so much is seen."""
        kind = int(np.argmax(self._taps.shapes(information, precision, self.power)))
        gain, spread, taps = self._taps.response(information, precision, self.power, kind)
        return State(gain, spread, phase, np.full(len(CARRIERS), noise), data, kind, taps)

    def _tracked(self, state: State) -> State:
        """The State with a phase of each symbol, from the training on in both directions, each from the one before: as the
        alphabet says that is likeliest for that symbol alone."""
        phase, at = state.phase.copy(), self._rows("long")
        if not len(at):
            return state
        for t in (*range(at[0], len(self.u)), *range(at[0] - 1, -1, -1)):
            before = phase[t - 1] if t > at[0] else phase[min(t + 1, len(phase) - 1)] if t < at[0] else 0.0
            phase[t] = before
            if self.seen[t] and self.kinds[t] in ("data", "long"):
                phase[t] += self._turned_by(t, state, before)
        return replace(state, phase=phase)

    def _turned_by(self, t: int, state: State, before: float) -> float:
        """By how much, rad, symbol t is turned beyond `before`."""
        use = self.clear & (abs(state.gain) > 0)
        own = self.u[t] / self.turn[t] * np.exp(-1j * before)
        if self.kinds[t] == "long":
            return float(np.angle(np.vdot((state.gain * self.known[t])[use], own[use])))
        z, snr = own[use][None] / state.gain[use], abs(state.gain[use]) ** 2 / state.noise[use]
        best, angle = -np.inf, 0.0
        for name in ALPHABETS:
            padded, weights = np.zeros((1, len(CARRIERS)), complex), np.zeros(len(CARRIERS))
            padded[:, use], weights[use] = z, snr
            found = likely(padded, weights, name)
            if float(found.evidence[0]) > best:
                best = float(found.evidence[0])
                angle = float(np.angle(np.sum(weights * padded[0] * found.mean[0].conj())))
        return angle

    def _blind(self) -> State | None:
        """A State from the data alone, or None where too few symbols are seen."""
        rows = self._rows("data")
        use = self.clear & ~PILOTS
        if len(rows) < _FEWEST or not use.any():
            return None
        gain, phase, binary = blind(self.u[rows], use, self.noise / self.power)
        every = np.zeros(len(self.u))
        every[rows] = phase
        noise = max(self.noise, _ROUGH * self.power)
        precision = len(rows) / noise * use
        symmetry = 2 if binary else 4           # beyond the widest gap phases may go on another way
        upper = CARRIERS > _gap(use)
        ways = [gain * np.where(upper, np.exp(2j * np.pi * k / symmetry), 1) for k in range(symmetry)]
        best = max(ways, key=lambda way: float(self._taps.shapes(way * precision, precision, self.power).max()))
        return self._state(best * precision, precision, every, noise, "bpsk" if binary else "blind")

    # ---- expectation and maximization --------------------------------------------------------------------------------------

    def _best(self, start: State) -> State:
        """The State of the likeliest alphabet."""
        rows = self._rows("data")
        if not len(rows):
            return replace(start, data="gaussian", kinds=tuple(self.kinds))
        if self._fast:
            return self._fast.best(self, start)
        anew = start.data in ("bpsk", "blind")
        found = [replace(start, data=name) for name in (("bpsk",) if start.data == "bpsk" else ALPHABETS)]
        for turn in range(_TURNS[0] * (1 + anew)):
            if turn == _TURNS[0] * (1 + anew) // 2:             # those that are far from it will not be the best
                found = sorted(found, key=lambda state: -state.evidence)[:_LIKELY]
            cooler = [np.maximum(self.noise, _COOLING * state.noise) if anew else state.noise for state in found]
            found = [self._turn(replace(state, noise=noise), pilots=not anew) for state, noise in zip(found, cooler)]
        if anew:
            found = [self._by_pilots(state) for state in found]
        best = max(found, key=lambda state: state.evidence)
        for turn in range(_TURNS[1]):
            best = self._turn(best, each=turn > 0)
        scale = abs(best.gain) ** 2 / best.noise * self.clear * self.used
        z = self.u[rows] * np.exp(-1j * best.phase[rows, None]) / np.where(abs(best.gain) > 0, best.gain, 1)
        nothing = float(unknown(z, scale).sum() - len(rows) * np.log(best.noise[self.clear]).sum())
        return best if best.evidence > nothing else replace(best, data="gaussian")

    def _by_pilots(self, state: State) -> State:
        """The State, symbols turned by a quarter where pilots are BPSK then: data alone do not tell."""
        if state.data == "bpsk":
            return self._turn(state)
        use = self.clear & self.used & PILOTS & (abs(state.gain) > 0)
        z = self.u[:, use] / self.turn[:, use] * np.exp(-1j * state.phase[:, None]) / state.gain[use]
        snr = abs(state.gain[use]) ** 2 / state.noise[use]
        told = [by_axes(z * turn, np.broadcast_to(snr, z.shape), "bpsk")[2].sum(1) for turn in (1, -1j)]
        gained = np.where(self.seen & (np.array(self.kinds) == "data"), told[1] - told[0], 0.0)
        return self._turn(replace(state, phase=state.phase + np.pi / 2 * _quarters(gained)))

    def _turn(self, state: State, pilots: bool = True, each: bool = False) -> State:
        """The State after one turn. pilots: whether they count. each: whether carriers have noise of their own."""
        use = self.clear & self.used & (abs(state.gain) > 0) & (pilots | ~PILOTS)
        gain = np.where(use, state.gain, 1.0)
        snr = np.where(use, abs(gain) ** 2 / state.noise, 0.0)
        own = self.u / self.turn * np.exp(-1j * state.phase[:, None])
        rows = self._rows("data")
        mean, power = self.known.copy(), abs(self.known) ** 2
        kinds = list(self.kinds)
        total = 0.0
        z = own[rows] / gain
        head = z[rows < _PREAMBLE]
        found = {"bpsk": likely(head, snr, "bpsk"), "turned": likely(head / _TURNED, snr, "bpsk"),
                 state.data: likely(z, snr, state.data)}
        for j, t in enumerate(rows):
            names = (state.data,) if t >= _PREAMBLE else ("bpsk", "turned", state.data)
            name = max(names, key=lambda name: float(found[name].evidence[j]))
            turn = _TURNED if name == "turned" else 1
            mean[t], power[t], kinds[t] = found[name].mean[j] * turn, found[name].power[j], name
            total += float(found[name].evidence[j])
        active = np.array([t for t in np.flatnonzero(self.seen) if kinds[t] not in ("", "short")], int)
        total -= len(rows) * float(np.log(state.noise[use]).sum())
        phase, scatter = self._phases(state, own, mean, power, active, use)
        own = own * np.exp(-1j * (phase - state.phase))[:, None]
        weight = use / state.noise
        told = (own[active] * mean[active].conj()).sum(0) * weight
        gain, spread, taps = response(told, power[active].sum(0) * weight, self.power, state.shape)
        left = abs(own[active]) ** 2 - 2 * (own[active].conj() * gain * mean[active]).real + abs(gain) ** 2 * power[active]
        noise = self._noise(left[:, use], use, each)
        return State(gain, spread, phase, noise, state.data, state.shape, taps, total, mean, power, tuple(kinds), scatter)

    def _noise(self, left: Array, use: Array, each: bool) -> Array:
        """Of carriers, variance [56], from what is left of those that are used."""
        own = left.mean(0) if left.size else np.full(1, self.noise)
        usual = max(float(np.median(own) if each else own.mean()), 0.5 * self.noise)
        noise = np.full(len(CARRIERS), usual)
        if each:
            noise[use] = (left.sum(0) + _TRUST * usual) / (len(left) + _TRUST)
        return np.maximum(noise, 0.25 * self.noise)

    def _phases(self, state: State, own: Array, mean: Array, power: Array, active: Array, use: Array) -> tuple[Array, float]:
        """(phases, rad [symbols]; variance of what is not known of them): own ones, drawn to the line through all as far as noise
        explains what they are off."""
        weight = use / state.noise
        seen = (own[active] * (state.gain * mean[active]).conj() * weight).sum(1)
        info = 2 * np.maximum((abs(state.gain) ** 2 * power[active] * weight).sum(1), 1e-12)
        measured = state.phase[active] + np.angle(seen)
        phase = state.phase.copy()
        if len(active) < _FEWEST:
            phase[active] = measured
            return phase, float(np.mean(1 / info)) if len(active) else 0.0
        measured = np.unwrap(measured)
        line = np.polynomial.Polynomial.fit(active, measured, 1, w=info ** 0.5)
        off = measured - line(active)
        rough = max(float(np.mean(off ** 2 - 1 / info)), 0.0)
        share = rough / (rough + 1 / info)
        phase = np.asarray(line(np.arange(len(phase))), float)
        phase[active] += share * off
        return phase, float(np.mean(share / info + 2 / (len(active) * info)))

    def _short(self, state: State) -> None:
        """Short training whose carriers are what the channel says is known."""
        use = self.clear & (SHORT != 0)
        for t in self._rows("short"):
            want = SHORT_GAIN * state.gain * SHORT
            angle = np.angle(np.vdot(want[use], self.u[t][use]))
            off = np.mean(abs(self.u[t][use] - want[use] * np.exp(1j * angle)) ** 2)
            noise, power = float(np.mean(state.noise[use])), SHORT_GAIN ** 2 * self.power
            if off < max(_FAR * noise, _FIT * power):
                self.known[t] = SHORT
                state.phase[t] = angle
                self.off[t] = max(off - noise, 0.0) / power


def _gap(use: Array) -> int:
    """The number of the last carrier before the widest gap between those that are used, bool [56]."""
    numbers = CARRIERS[use]
    return int(numbers[int(np.argmax(np.diff(numbers)))]) if len(numbers) > 1 else 0


def _quarters(gained: Array) -> Array:
    """Which symbols are turned, bool [symbols]: the likeliest sequence, given by how many nats each is likelier turned."""
    values, came = np.zeros((len(gained) + 1, 2)), np.zeros((len(gained), 2), int)
    for t, own in enumerate(gained):
        for state in (0, 1):
            stays, comes = values[t, state], values[t, 1 - state] - _SLIP
            values[t + 1, state] = max(stays, comes) + state * own
            came[t, state] = state if stays >= comes else 1 - state
    out, state = np.zeros(len(gained), bool), int(np.argmax(values[-1]))
    for t in range(len(gained) - 1, -1, -1):
        out[t], state = bool(state), came[t, state]
    return out
