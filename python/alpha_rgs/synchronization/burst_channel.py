# SPDX-License-Identifier: GPL-3.0-or-later
"""What the symbols of OFDM bursts are: carrier offset, channel, phases and alphabets, from carriers that the signal of interest
does not reach.

Of a burst whose long training field is seen the channel is known at once. Of one that began before the window it is found
blindly, from powers that take the alphabet away: E[(g·c)^M] = g^M·E[c^M], M = 2 for BPSK, else 4, carrier by carrier, while each
symbol's phase follows from all carriers. Then by decisions. Where the signal of interest lies the channel is interpolated.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp
from torch import Tensor

from ..signals.constellations import points_of
from ..signals.wifi import ALPHABETS, CARRIERS, EARLY, FFT_SIZE, HT_TRAINING, LEGACY, LONG_TRAINING, PILOTS, SHORT_TRAINING
from ..sources.ofdm_bursts import Frame
from .burst_layout import without

if TYPE_CHECKING:
    from ..sources.ofdm_bursts import Slot

_EARLY = 4              # samples of each prefix that the transform takes in, for channels that ring before their peak
_ALIKE = 0.9            # coherence of neighbouring carriers above which a training field is one
_BINARY = 0.85          # coherence of squares above which carriers are BPSK
_CLEAR = 0.06           # error, relative to its points' least distance squared, up to which an alphabet is believed
_SPREAD = 0.01          # error for which alphabets are compared
_REACH, _ORDER = 16, 7  # carriers on either side, and the order of the polynomial, by which the channel is interpolated
_GUARD = 16             # samples about a frame that are not taken for free of it
_EMPTY = 0.2            # of a burst's usual power: a symbol of less is none
_ROUNDS = 3             # of decisions
_FEWEST = 4             # symbols for a blind channel
_POINTS: dict[str, np.ndarray] = {name: points_of(name).numpy().astype(complex) for name in ALPHABETS}
_APART = {name: np.min(abs(points[1:] - points[0]) ** 2) for name, points in _POINTS.items()}


def burst_frames(y: np.ndarray, slots: list[Slot], band: tuple[float, float]) -> list[Frame]:
    """The Frames in the Slots of one window, complex [samples]. band: of the signal of interest, (low, high)."""
    near, rest = _near(band), without(y, band)
    return [frame for part in _transmissions(y, slots, near) for frame in _Burst(y, rest, part, near).frames()]


def burst_frames_again(rest: np.ndarray, slots: list[Slot], band: tuple[float, float]) -> list[Frame]:
    """The Frames in what one window, complex [samples], holds without the signal of interest, their channel being seen in all of
    the band. Carriers in `band`, the signal of interest's, stay open."""
    near = np.zeros(len(CARRIERS), bool)
    found = [frame for part in _transmissions(rest, slots, near) for frame in _Burst(rest, rest, part, near).frames()]
    for frame in found:
        if frame.decided is not None:
            frame.decided = np.where(_near(band), np.nan, frame.decided)
    return found


def open_frames(y: Tensor, slots: Any, band: Any) -> Any:
    """As burst_frames, but nothing is decided: all carriers are open, and as strong as the burst's are on average. Symbols of
    hardly any power are none."""
    near, rest, out = _near(band), without(y, band), []
    for burst, part in enumerate(_transmissions(y, slots, near)):
        offset = _carrier_offset(rest, part)
        seen = [np.mean(abs(rest[max(slot.start, 0):slot.end]) ** 2) for slot in part]
        level = float(np.median(seen) / (LEGACY & ~near).sum())
        for number, (slot, power) in enumerate(zip(part, seen)):
            kind = "gaussian" if power > _EMPTY * np.median(seen) else ""
            out.append(Frame(slot.start, slot.prefix, offset, np.full(len(CARRIERS), level ** 0.5, complex), kind, 1.0, level,
                             burst=burst, number=number))
    return out


def _near(band: tuple[float, float]) -> np.ndarray:
    """Which carriers the signal of interest may reach, bool [56]."""
    low, high = (np.round(np.array(band) * FFT_SIZE) + (-1, 1)).astype(int)
    return (CARRIERS >= low) & (CARRIERS <= high)


def _transmissions(y: Any, slots: list[Slot], near: np.ndarray) -> list[list[Slot]]:
    """Slots that follow each other closely, as lists."""
    bursts: list[list[Slot]] = []
    for slot in slots:
        if bursts and bursts[-1][-1].end == slot.start:
            bursts[-1].append(slot)
        else:
            bursts.append([slot])
    return [part for burst in bursts for part in _parts(y, burst, near)]


def _carrier_offset(rest: np.ndarray, slots: list[Slot]) -> float:
    """Of a burst, cycles per sample, from its prefixes; rest: the window without the signal of interest's band."""
    total = 0j
    for slot in slots:
        a, b = max(slot.start + _EARLY, 0), min(slot.start + slot.prefix, len(rest) - FFT_SIZE)
        total += np.vdot(rest[a:b], rest[a + FFT_SIZE:b + FFT_SIZE]) if b > a else 0
    return float(np.angle(total)) / (2 * np.pi * FFT_SIZE)


def thermal_noise(y: np.ndarray, found: list[Frame], band: tuple[float, float]) -> float:
    """Noise of one window, complex [samples], per complex sample: by how prefixes differ from their copies in the Frames found,
    and by what is between them, the median of all places; seen outside the SOI's band and taken to be white. Errs upwards: the
    filter lets the symbols on either side into a prefix, about 20 dB below the bursts. What this model misses of recordings is of
    that size too: with a figure true to synthetic windows they lost a twelfth of their bits at -10 dB."""
    x, seen, free = without(y, band), [], np.ones(len(y), bool)
    for frame in found:
        free[max(frame.start - _GUARD, 0):max(frame.end + _GUARD, 0)] = False
        a, b = max(frame.start + _EARLY, 0), min(frame.start + frame.prefix, len(y) - FFT_SIZE)
        if frame.alphabet and b > a:
            turn = np.exp(2j * np.pi * frame.carrier_offset * FFT_SIZE)
            seen.append(np.mean(abs(x[a:b] * turn - x[a + FFT_SIZE:b + FFT_SIZE]) ** 2) / 2)
    idle = abs(x[free]) ** 2
    seen += list(idle[:len(idle) // _GUARD * _GUARD].reshape(-1, _GUARD).mean(1))
    return float(np.median(seen)) / (1 - band[1] + band[0]) if seen else 0.0


def _carriers(y: np.ndarray, slot: Slot, offset: float) -> np.ndarray | None:
    """The carriers of a symbol whose body lies in the window, complex [56], else None."""
    first = slot.end - FFT_SIZE - _EARLY
    if first < 0 or first + FFT_SIZE > len(y):
        return None
    n = np.arange(FFT_SIZE)
    body = y[first:first + FFT_SIZE] * np.exp(-2j * np.pi * offset * (first + n))
    return np.exp(-2j * np.pi * np.outer(CARRIERS, n - _EARLY) / FFT_SIZE) @ body / FFT_SIZE


def _sparse(u: np.ndarray, inner: np.ndarray) -> bool:
    """Whether a symbol is one of short training: power on every fourth carrier alone."""
    return np.mean(abs(u[~SHORT_TRAINING & inner]) ** 2) < 0.1 * np.mean(abs(u[SHORT_TRAINING & inner]) ** 2)


def _parts(y: np.ndarray, burst: list[Slot], near: np.ndarray) -> list[list[Slot]]:
    """A burst cut where short training comes in its middle: HT frames train anew there."""
    inner, last = ~near & LEGACY, False
    parts: list[list[Slot]] = [[]]
    for slot in burst:
        u = _carriers(y, slot, 0.0)
        sparse = u is not None and _sparse(u, inner)
        if sparse and not last and parts[-1]:
            parts.append([])
        parts[-1].append(slot)
        last = sparse
    return parts


class _Burst:
    """Symbols of one transmitter, one after the other."""

    def __init__(self, y: np.ndarray, rest: np.ndarray, slots: list[Slot], near: np.ndarray) -> None:
        self.slots, self.near, self.clear = slots, near, ~near & LEGACY
        self.offset = _carrier_offset(rest, slots)
        found = [_carriers(y, slot, self.offset) for slot in slots]
        self.seen = [t for t, u in enumerate(found) if u is not None]
        self.u = np.array([np.zeros(len(CARRIERS)) if u is None else u for u in found], complex)
        power = np.mean(abs(self.u[:, self.clear]) ** 2, 1)
        self.power = float(np.median(power[self.seen])) if self.seen else 0.0
        self.kind, self.error, self.phase = ["gaussian"] * len(slots), np.ones(len(slots)), np.zeros(len(slots))
        self.turn = np.ones((len(slots), len(CARRIERS)), complex)       # of training that lies early
        for t in self.seen:
            if power[t] < _EMPTY * self.power:
                self.kind[t] = ""
            elif _sparse(self.u[t], self.clear):
                self.kind[t] = "short"
        data, outer = self._unknown(), (abs(CARRIERS) > 24) & ~near
        self.used = LEGACY
        if data and (outer & ~LEGACY).any() and (outer & LEGACY).any():
            size = np.median(abs(self.u[data]), 0)
            if size[outer & ~LEGACY].mean() > 0.5 * size[outer & LEGACY].mean():
                self.used, self.clear = np.ones(len(CARRIERS), bool), ~near
        self.gain: Any = self._trained()
        if self.gain is None:
            self.gain = self._blind()
        if self.gain is not None:
            self._decide()
            self.gain = _interpolated(self.gain, near)

    def _unknown(self) -> list[int]:
        return [t for t in self.seen if self.kind[t] == "gaussian"]

    def _trained(self) -> np.ndarray | None:
        """The channel from training fields, or None."""
        outer = abs(CARRIERS) > 24
        for sequence in (HT_TRAINING, LONG_TRAINING):
            fields = [t for t in self._unknown() if self._coherence(self.u[t] * sequence) > _ALIKE]
            wide = np.mean(abs(self.u[fields][:, outer & ~LEGACY])) > 0.5 * np.mean(abs(self.u[fields][:, outer & LEGACY])) if (
                fields) else False
            if not fields or wide != (sequence is HT_TRAINING):
                continue
            for t in fields:
                if not wide and (t + 1 in fields or t and self.kind[t - 1] == "short" and t - 1 not in fields):
                    self.turn[t], self.u[t] = EARLY, self.u[t] / EARLY
            found = [self.u[t] * sequence for t in fields]
            return np.mean([g * np.exp(-1j * np.angle(np.vdot(found[0][self.clear], g[self.clear]))) for g in found], 0)
        return None

    def _coherence(self, z: np.ndarray) -> float:
        """|Σ conj(z_k)·z_(k+1)| of neighbours that are seen, relative to what it is for a flat channel."""
        both = np.flatnonzero(self.clear[:-1] & self.clear[1:] & (np.diff(CARRIERS) == 1) & (abs(z[:-1]) > 0) & (abs(z[1:]) > 0))
        if not len(both):
            return 0.0
        return abs(np.vdot(z[both], z[both + 1])) / max(np.sum(abs(z[both]) * abs(z[both + 1])), 1e-30)

    def _blind(self) -> np.ndarray | None:
        """The channel up to the alphabet's symmetry, or None where too few symbols are seen."""
        data = self._unknown()
        if len(data) < _FEWEST:
            return None
        use = self.clear & ~PILOTS
        u = self.u[data]
        scaled = u / np.maximum(np.mean(abs(u), 0), 1e-12)
        for order in (2, 4):
            phase = np.zeros((len(data), 1))
            for _ in range(5):
                lifted = (scaled * np.exp(-1j * phase)) ** order
                phase = phase + np.angle((lifted * lifted.mean(0).conj())[:, use].sum(1, keepdims=True)) / order
            lifted = (scaled * np.exp(-1j * phase)) ** order
            mean = lifted.mean(0)
            if np.median(abs(mean[use]) / np.mean(abs(lifted), 0)[use]) > _BINARY:
                break
        else:
            mean = -mean                        # E[c⁴] < 0 for QPSK and square QAM
        self.phase[data] = phase[:, 0]
        size = np.sqrt(np.mean(abs(u) ** 2, 0))
        if order == 4:                          # amplitudes play into powers: neighbours help
            size = np.exp(np.polyval(np.polyfit(CARRIERS[use] / 32, np.log(size[use]), _ORDER), CARRIERS / 32))
        return size * np.exp(1j * _unwrapped(mean, use, 2 if order == 4 else 0) / order) * self.clear

    def _decide(self) -> None:
        """Alphabets, phases and errors of all symbols, and the channel by their decisions."""
        use = self.clear & ~PILOTS
        alive = [t for t in self.seen if self.kind[t] not in ("", "short")]
        for turn in range(_ROUNDS):
            over, under = np.zeros(len(CARRIERS), complex), np.zeros(len(CARRIERS))
            for t in alive:
                z = self.u[t] / np.where(abs(self.gain) < 1e-9, 1, self.gain)
                weight = abs(self.gain) ** 2 * use
                last = self.phase[t] if turn else self.phase[t - 1] if t else 0.0
                self.kind[t], self.phase[t], self.error[t] = _alphabet(z, weight, use, last)
                if self.kind[t] == "gaussian":
                    continue
                z = z * np.exp(-1j * self.phase[t])
                if np.sum(((abs(self.gain) * z) ** 2)[PILOTS & self.clear]).real < 0:
                    if self.kind[t] == "bpsk":                  # HT-SIG: its data is turned, its pilots are not
                        quarter = np.where(PILOTS, 1j, 1)
                        self.turn[t], self.u[t], z = self.turn[t] * quarter, self.u[t] / quarter, z / quarter
                    else:                                       # a blind channel's phase: pilots resolve the quarter turn
                        self.phase[t], z = self.phase[t] + np.pi / 2, z / 1j
                c = _decided(z, self.kind[t])
                over += self.u[t] * np.exp(-1j * self.phase[t]) * c.conj()
                under += abs(c) ** 2
            if under.min() > 0:
                self.gain = np.where(self.clear, over / under, 0)

    def frames(self) -> list[Frame]:
        """The Frames."""
        out = []
        for t, slot in enumerate(self.slots):
            gain = self.gain
            if gain is None:                    # flat, and as strong as what is seen of it
                gain = np.where(self.used, self.power ** 0.5, 0)
            gain = gain * self.turn[t] * np.exp(1j * self.phase[t])
            kind = self.kind[t]
            if kind == "short":
                gain, kind = np.where(SHORT_TRAINING & LEGACY, 2.0 * gain, 0), "gaussian"
            decided = None
            if kind in _POINTS:
                z = self.u[t] / np.where(abs(self.gain) < 1e-9, 1, self.gain) * np.exp(-1j * self.phase[t])
                decided = np.where(self.near, np.nan, np.where(abs(self.gain) < 1e-9, 0, _decided(z, kind)))
            out.append(Frame(slot.start, slot.prefix, self.offset, gain, kind, float(self.error[t]), self.power, decided))
        return out


def _nearest(z: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points[abs(z[..., None] - points).argmin(-1)]


def _decided(z: np.ndarray, kind: str) -> np.ndarray:
    """The points nearest to a symbol's carriers [56], pilots being BPSK."""
    return np.where(PILOTS, _nearest(z, _POINTS["bpsk"]), _nearest(z, _POINTS[kind]))


def _alphabet(z: np.ndarray, weight: np.ndarray, use: np.ndarray, last: float) -> tuple[str, float, float]:
    """(name, phase, error) of one symbol's equalised carriers [56]; the phase is the one nearest to `last` that fits."""
    best = (-np.inf, "gaussian", last, 1.0)
    for name, turned in (("bpsk", 0.0), ("bpsk", np.pi / 2), *((other, 0.0) for other in ALPHABETS[1:])):     # HT-SIG is turned
        points = _POINTS[name] * np.exp(1j * turned)
        order = 2 if name == "bpsk" else 4
        lifted = np.sum(weight * z ** order / np.maximum(abs(z), 1e-9) ** (order - 2)) * np.mean(points ** order).conj()
        phase = np.angle(lifted) / order
        phase = last + (phase - last + np.pi / order) % (2 * np.pi / order) - np.pi / order
        tried = []
        for at in (phase, last)[:1 + (len(points) > 16)]:       # a power says little of the phase of so many points
            for _ in range(2 * (len(points) > 4)):
                at += np.angle(np.sum(weight * z * np.exp(-1j * at) * _nearest(z * np.exp(-1j * at), points).conj()))
            y = z * np.exp(-1j * at)
            tried.append((np.sum(weight * abs(y - _nearest(y, points)) ** 2) / np.sum(weight), at))
        error, phase = min(tried)
        y = z * np.exp(-1j * phase)
        fit = logsumexp(-abs(y[use, None] - points) ** 2 / _SPREAD, axis=1).sum() - use.sum() * np.log(len(points))
        if fit > best[0]:
            best = fit, name, phase + turned, error
    return best[1:] if best[3] < _CLEAR * _APART.get(best[1], 0) else ("gaussian", last, 1.0)


def _unwrapped(g: np.ndarray, use: np.ndarray, smooth: int = 0) -> np.ndarray:
    """The phase of g, rad [56], as smooth as can be: unwrapped over the carriers `use` (each with `smooth` neighbours on either
    side), interpolated on the others."""
    k, z = CARRIERS[use].astype(float), g[use] / np.maximum(abs(g[use]), 1e-30)
    slopes = np.linspace(-np.pi, np.pi, 2001)
    slope = slopes[np.argmax(abs(np.exp(-1j * np.outer(slopes, k)) @ z))]
    z = np.convolve(z * np.exp(-1j * slope * k), np.ones(2 * smooth + 1), "same")
    return np.interp(CARRIERS, k, np.unwrap(np.angle(z))) + slope * CARRIERS


def _interpolated(g: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The channel with the carriers `near` filled in: polynomials of logarithm and phase."""
    use = ~near & (abs(CARRIERS) <= _REACH) & (abs(g) > 1e-9)
    if use.sum() <= 2 * _ORDER:
        return np.where(near, np.sqrt(np.mean(abs(g[~near & LEGACY]) ** 2)), g)
    at = CARRIERS / _REACH
    size, angle = np.polyfit(at[use], np.log(abs(g[use])), _ORDER), np.polyfit(at[use], _unwrapped(g, use)[use], _ORDER)
    out, at = g.copy(), at[near]
    out[near] = np.exp(np.polyval(size, at) + 1j * np.polyval(angle, at))
    return out
