# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of LoRa chirps in one window of noise, of which nothing is known but the modulation.

1. Scan. At each sixteenth of a symbol: the power of the strongest up-chirp of any shift, over the noise's, less what noise
   reaches by chance. The same of two down-chirps. Viterbi's algorithm finds the likeliest sequence of chirps and gaps, then once
   more with the amplitude of what it found. Misplaced by a few chips, or with a carrier offset, a chirp is one of another shift
   but for its ends: so the scan shows when packets are on before their timing is known.
2. Fit. Timing, carrier offset, amplitude and length of each packet by the evidence of its chirps, the others subtracted.
3. What all leave is scanned again, with the noise that is left.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..inference.stretch import largest_stretch
from ..signals import Lora as Signal
from .lora_packet import DOWN, Chirps, Packet, packet_means

REACH = 0.02            # cycles per sample to each side: an unknown carrier offset lies within it
_STEPS = 16             # places to a symbol that are scanned
_RARE = 4.0             # nats: noise looks like a chirp once in exp(4) places
_SWITCH = 7.0           # nats against each begin and each end of a packet
_FAINT = 0.7            # of the amplitude of the weakest run: that of chirps which continue one
_SHOWS = 20.0          # nats in favour of a packet, or of down-chirps
_MOST = 8               # packets in a window
_WEAK = 0.05            # of the power of a packet that another one lies upon: less is what errors leave of the first
_SWEEPS = 2             # over the packets with the noise that they leave
_AT_ONCE = 1 << 21      # samples of all chirps that are compared in one go
_SILENT = 1e-9          # of the window's power: noise at least
_CHIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)     # chips, to each side, by which places are wrong after the scan
_FINE = (1, 2, 4, 8, 16)                        # parts of a chip: the last steps

_CLEAR = 40.0           # nats in favour of each chirp, on the average, where a missing one is no accident
_NONE = 0.5             # of the amplitude that chirps would have: weaker ones are not theirs
_LEAST = 0.1            # of a packet's power, noise at least while its ends are looked for
_MORE = 2               # chirps before and after a packet that may belong to it

Grid = list[tuple[float, float]]        # places, chips later, and carrier offsets, tones of 1/M cycles per sample higher
Run = tuple[int, int, int | None]       # a packet in steps of the scan: first, up-chirps, those before the down-chirps


# ---- scan ------------------------------------------------------------------------------------------------------------------

def scanned(signal: Signal, x: Tensor) -> list[Run]:
    """Runs of chirps in a window x, complex [samples], about where they are. Steps of M/16 samples, from the window's first
    sample."""
    places = _Places(signal, x)
    runs = [run for run in _likeliest(*places.scores(), places.lead) if run[1]]
    if runs:        # chirps of one packet are equally strong: noise in a gap is not one of them
        runs = _likeliest(*places.scores(_FAINT * min(places.amplitude(run) for run in runs)), places.lead)
    return [run for run in _merged(runs) if run[1]]


class _Places:
    """The places of a window at which chirps may begin, from `lead` steps before its first sample on. ups, downs: power |z|² of
    the likeliest up-chirp there, and of two down-chirps in a row as if in phase, float64 [places]; seen, energy: samples of an
    up-chirp inside and their energy, and those of two."""

    def __init__(self, signal: Signal, x: Tensor) -> None:
        length, step = signal.symbol_length, signal.symbol_length // _STEPS
        self.signal, self.lead = signal, int(DOWN * _STEPS)
        self.floor = math.log(2 * signal.chips) + _RARE
        before, count = self.lead * step, self.lead - (-len(x) // step)
        padded = torch.zeros(count * step + int((DOWN + 1) * length), dtype=torch.complex64)
        padded[before:before + len(x)] = x
        inside = np.clip(np.arange(count + 3 * _STEPS) * step - before, 0, len(x))
        total = np.concatenate([[0.0], np.cumsum(x.abs().square().double().numpy())])[inside]
        self.seen, self.energy = ([v[k * _STEPS:count + k * _STEPS] - v[:count] for k in (1, 2)] for v in (inside, total))
        ups, downs = torch.zeros(count), torch.zeros(count)
        chirp, chunk = signal.chirp().to(torch.complex64), max(1, _AT_ONCE // length)
        for half in (0.0, 0.5):             # of a tone's spacing: carrier offsets and places between whole chips
            angle = -2 * math.pi * half / length * torch.arange(len(padded), dtype=torch.float64)
            windows = (padded * torch.polar(torch.ones_like(angle), angle).to(torch.complex64)).unfold(0, length, step)
            for k in range(0, count, chunk):
                own = slice(k, min(count, k + chunk))
                ups[own] = torch.maximum(ups[own], _matched(signal, chirp, windows[own]).amax(1))
                power = _matched(signal, chirp, windows[k:own.stop + _STEPS].conj())
                downs[own] = torch.maximum(downs[own], (power[:-_STEPS] + power[_STEPS:]).amax(1))
        one, two = self.seen            # two phases, as if they were one
        both = one ** 2 + (two - one) ** 2
        self.ups, self.downs = ups.double().numpy(), downs.double().numpy() * two ** 2 / both.clip(1)

    def scores(self, amplitude: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Nats in favour of an up-chirp, and of down-chirps, at each place: float64. amplitude: of chirps; None: any."""
        up, down = (self._nats(power, seen, energy, amplitude) for power, seen, energy in zip(
            (self.ups, self.downs), self.seen, self.energy))
        return up, np.where(down > _SHOWS, down, -np.inf)

    def _nats(self, power: np.ndarray, seen: np.ndarray, energy: np.ndarray, amplitude: float | None) -> np.ndarray:
        """In noise of any level of its own at each place: what the other sources leave is not equally strong everywhere."""
        there, count = energy > 0, seen.clip(1)
        share = np.where(there, power / np.where(there, count * energy, 1.0), 0.0).clip(0, 1 - 1e-9)
        if amplitude is None:
            nats = -count * np.log1p(-share)
        else:
            nats = (2 * amplitude * np.sqrt(power) - amplitude ** 2 * count) * count / np.where(there, energy, 1.0)
        return np.where(there, nats - self.floor, -np.inf)

    def _places(self, run: Run) -> list[int]:
        """Of a run's up-chirps."""
        places = (run[0] + self.lead + k * _STEPS + (run[2] is not None and k >= run[2]) * int(DOWN * _STEPS)
                  for k in range(run[1]))
        return [p for p in places if 0 <= p < len(self.ups)]

    def mean_nats(self, runs: Sequence[Run]) -> float:
        """In favour of the up-chirps of runs."""
        up = self.scores()[0]
        return float(np.mean([up[p] for run in runs for p in self._places(run)]))

    def amplitude(self, run: Run) -> float:
        """Of a run's up-chirps."""
        own = [(self.ups[p] ** 0.5, self.seen[0][p]) for p in self._places(run)]
        whole = [(size, seen) for size, seen in own if 2 * seen > self.signal.symbol_length] or own
        return float(np.median([size / seen for size, seen in whole]))


def _matched(signal: Signal, chirp: Tensor, rows: Tensor) -> Tensor:
    """|z|² of all shifts, [n, N], of stretches of a symbol [n, M]."""
    product = torch.fft.fft(chirp).conj() * torch.fft.fft(rows)
    folded = product.unflatten(1, (signal.samples_per_chip, signal.chips)).sum(1)
    return (torch.fft.fft(folded) / signal.symbol_length).abs().square()


def _likeliest(up: np.ndarray, down: np.ndarray, lead: int) -> list[Run]:
    """The likeliest runs; up, down: nats from step -lead on. A packet that begins with down-chirps begins before the window."""
    last, block = len(up) + lead, int(DOWN * _STEPS)
    off, on, late = (np.full(last + 1, -np.inf) for _ in range(3))      # late: behind down-chirps
    came_off = np.zeros(last + 1, np.int8)          # from off, on or late
    came_on = np.zeros(last + 1, np.int8)           # begun there (0), or went on (1)
    came_late = np.zeros(last + 1, np.int8)         # down-chirps first (0), behind up-chirps (1), up-chirp behind late (2)
    off[0] = 0.0
    for p in range(1, last + 1):
        b = p - _STEPS
        if 0 <= b < len(up):
            begun, went = off[b] - _SWITCH, on[b]
            on[p], came_on[p] = up[b] + max(begun, went), went > begun
            late[p], came_late[p] = up[b] + late[b], 2
        d = p - block
        if 0 <= d < len(down):
            first = off[d] - _SWITCH if d < lead else -np.inf
            best = max(first, on[d])
            if down[d] + best > late[p]:
                late[p], came_late[p] = down[d] + best, on[d] > first
        ways = (off[p - 1], on[p] - _SWITCH, late[p] - _SWITCH)
        came_off[p] = int(np.argmax(ways))
        off[p] = ways[came_off[p]]
    return _traced(came_off, came_on, came_late, lead, block)


def _traced(came_off: np.ndarray, came_on: np.ndarray, came_late: np.ndarray, lead: int, block: int) -> list[Run]:
    """The runs of the best way, from its end."""
    runs: list[Run] = []
    p, state, ups, after = len(came_off) - 1, 0, 0, None        # after: up-chirps behind the down-chirps
    while p > 0:
        if state == 0:
            state = int(came_off[p])
            ups, after = 0, None
            p -= state == 0
            continue
        if state == 1:
            went, p, ups = bool(came_on[p]), p - _STEPS, ups + 1
            begun = not went
        elif came_late[p] == 2:
            begun, p, ups = False, p - _STEPS, ups + 1
        else:
            begun, after = not came_late[p], ups
            p, state = p - block, 1
        if begun:
            runs.append((p - lead, ups, None if after is None else ups - after))
            state = 0           # from off at p, which may itself be the end of a packet
    return runs[::-1]


def _ended(run: Run) -> int:
    return run[0] + run[1] * _STEPS + (run[2] is not None) * int(DOWN * _STEPS)


def _merged(runs: list[Run]) -> list[Run]:
    """Runs less than half a symbol apart as one: about where chirps are, many places are as good."""
    out: list[Run] = []
    for run in runs:
        if not out or run[0] - _ended(out[-1]) >= _STEPS // 2 or (out[-1][2] is not None and run[2] is not None):
            out.append(run)
            continue
        first, ups, header = out[-1]
        if run[2] is not None:          # the grid of what has down-chirps
            before = round((run[0] - first) / _STEPS)
            out[-1] = run[0] - before * _STEPS, run[1] + before, run[2] + before
        else:
            out[-1] = first, ups + round((_ended(run) - _ended(out[-1])) / _STEPS), header
    return out


def gaps(signal: Signal, x: Tensor, mixed: bool = False) -> bool:
    """Whether a window x, complex [samples], shows that chirps of unit power are not always on, or their down-chirps. mixed: x
    holds all other sources too, and says nothing unless chirps stand out."""
    runs = scanned(signal, x)
    if mixed and not (runs and _Places(signal, x).mean_nats(runs) > _CLEAR):
        return False
    step, half = signal.symbol_length // _STEPS, signal.symbol_length / 2
    if len(runs) != 1 or runs[0][2] is not None or _Places(signal, x).amplitude(runs[0]) < _NONE:
        return True
    return runs[0][0] * step > half or _ended(runs[0]) * step < len(x) - half


# ---- fit -------------------------------------------------------------------------------------------------------------------

def find_packets(signal: Signal, x: Tensor, carrier_offset: float | None) -> list[Packet]:
    """The packets in a window x, complex [samples], in order of time. carrier_offset: of all, cycles per sample; None: of each
    another one within ±REACH."""
    x, found = x.cpu().to(torch.complex128), list[Packet]()
    floor = _SILENT * float(x.abs().square().mean()) + 1e-300
    while len(found) < _MOST:
        rest = x - _total(signal, found, x, floor)
        noise = max(float(rest.abs().square().mean()), floor)
        new: list[Packet] = []
        for run in sorted(scanned(signal, rest), key=lambda run: -run[1]):
            packet = _begun(signal, run, rest, noise, carrier_offset)
            fitted = _fitted(signal, packet, rest, noise, carrier_offset is None)
            if fitted is not None and _own(signal, fitted, [*found, *new]):
                new.append(fitted)
                rest = rest - Chirps(signal, fitted, rest).mean(noise)      # what a run shared with it is gone
        if not new:
            break
        found += new[:_MOST - len(found)]
        found = _swept(signal, found, x, floor, carrier_offset is None)
    return sorted(found, key=lambda packet: packet.begin)


def _total(signal: Signal, packets: Sequence[Packet], x: Tensor, floor: float) -> Tensor:
    """What packets add up to in x."""
    noise = max(float(x.abs().square().mean()), floor)
    for _ in range(_SWEEPS):            # the noise is what they leave
        total = sum(packet_means(signal, packets, x, noise), torch.zeros_like(x))
        noise = max(float((x - total).abs().square().mean()), floor)
    return total


def _own(signal: Signal, packet: Packet, found: Sequence[Packet]) -> bool:
    """Whether a packet is none that errors of stronger ones look like."""
    length = signal.symbol_length
    return not any(packet.begin < other.end(length) and other.begin < packet.end(length)
                   and packet.amplitude ** 2 < _WEAK * other.amplitude ** 2 for other in found)


def _swept(signal: Signal, found: list[Packet], x: Tensor, floor: float, moves: bool) -> list[Packet]:
    """The packets, each fitted closer in what the others leave."""
    if len(found) < 2:
        return found
    noise = max(float((x - _total(signal, found, x, floor)).abs().square().mean()), floor)
    for k in range(len(found)):
        others = [Chirps(signal, packet, x).mean(noise) for j, packet in enumerate(found) if j != k]
        moved = _refined(signal, found[k], x - sum(others), noise, _close(moves))
        found[k] = moved
    return found


def _begun(signal: Signal, run: Run, x: Tensor, noise: float, carrier_offset: float | None) -> Packet:
    first, ups, header = run
    packet = Packet(float(first * (signal.symbol_length // _STEPS)), ups, header, 1.0, carrier_offset or 0.0)
    return replace(packet, amplitude=_amplitude(Chirps(signal, packet, x), noise))


def _amplitude(chirps: Chirps, noise: float) -> float:
    """By the power of the strongest shifts; 0 of a packet none of which is in the window."""
    z, count, down, seen = chirps.matched()
    power = float(z.abs().square().amax(-1).sum() + down.abs().square().sum())
    count, total = torch.cat([count, seen], 1), float((count ** 2).sum() + (seen ** 2).sum())
    return max((power - noise * float(count.sum())) / total, 1e-3 * power / total) ** 0.5 if total else 0.0


def _fitted(signal: Signal, packet: Packet, x: Tensor, noise: float, moves: bool) -> Packet | None:
    """A packet whose place and carrier offset are about known; None where its chirps do not show."""
    span = math.ceil(REACH * signal.symbol_length) if moves else 0
    half = np.arange(-span, span + 0.25, 0.5)
    late: Grid = [(float(c), 0.0) for c in (0, *_CHIPS, *(-c for c in _CHIPS))]
    tones: Grid = [(0.0, float(f)) for f in range(-span, span + 1)]
    if packet.header is not None:       # chirps up and down move apart with a carrier offset, and together with time
        shift = _down_shift(signal, packet, x)
        grids: list[Grid] = [[(-shift - f, f) for f in half], *_close(moves), late, tones, *_close(moves)]
    elif moves:
        grids = [list(zip(half, half)), late, tones, late, tones, *_close(True), late, tones, *_close(True)[2:]]
    else:
        grids = [[(d / 2, 0.0) for d in range(-2 * _CHIPS[-1], 2 * _CHIPS[-1] + 1)], *_close(False), late, *_close(False)]
    packet = _refined(signal, packet, x, noise, grids)
    if packet.header is not None and float(Chirps(signal, packet, x).evidence(noise)[1].sum()) < 0:
        plain = replace(packet, symbols=packet.symbols + round(DOWN), header=None)      # noise looked like down-chirps
        return _fitted(signal, plain, x, noise, moves)
    packet = replace(packet, amplitude=_amplitude(Chirps(signal, packet, x), noise))
    if not packet.amplitude:
        return None
    left = noise - packet.amplitude ** 2 * min(1.0, packet.end(signal.symbol_length) / len(x))
    bounded = _bounded(signal, packet, x, max(left, _LEAST * packet.amplitude ** 2))
    return None if bounded is None else replace(bounded, amplitude=_amplitude(Chirps(signal, bounded, x), noise))


def _close(moves: bool) -> list[Grid]:
    """Finer and finer grids about a place."""
    about = range(-2, 3)
    return [[(d / q, (d + e / 2) / q) for d in about for e in about] if moves else [(d / q, 0.0) for d in about] for q in _FINE]


def _down_shift(signal: Signal, packet: Packet, x: Tensor) -> float:
    """By how many chips down-chirps seem to be early, to a half."""
    begin, length = round(packet.downs(signal.symbol_length)[0]), signal.symbol_length
    padded = torch.nn.functional.pad(x, (3 * length, 3 * length))[begin + 3 * length:begin + 5 * length].conj()
    best = (-1.0, 0.0)
    for half in (0.0, 0.5):
        angle = -2 * math.pi * half / length * torch.arange(2 * length, dtype=torch.float64)
        rows = (padded * torch.polar(torch.ones_like(angle), angle)).unflatten(0, (2, length))
        power = _matched(signal, signal.chirp(), rows).sum(0)
        best = max(best, (float(power.max()), (int(power.argmax()) + half)))
    return (best[1] + signal.chips / 2) % signal.chips - signal.chips / 2


def _refined(signal: Signal, packet: Packet, x: Tensor, noise: float, grids: Sequence[Grid]) -> Packet:
    """A packet moved as its evidence says, grid by grid about the best so far."""
    length, chip = signal.symbol_length, signal.samples_per_chip
    size = max(1, _AT_ONCE // (length * (packet.symbols + 3)))
    for grid in grids:
        apart = torch.tensor(grid, dtype=torch.float64)
        late, higher = chip * apart[:, 0], apart[:, 1] / length
        log = torch.cat([_evidence(signal, packet, x, noise, a, b) for a, b in zip(late.split(size), higher.split(size))])
        outside = (packet.carrier_offset + higher).abs() > REACH + 1e-12
        best = int(torch.where(outside & (higher != 0), -torch.inf, log).argmax())
        packet = replace(packet, begin=packet.begin + float(late[best]),
                         carrier_offset=packet.carrier_offset + float(higher[best]))
    return packet


def _evidence(signal: Signal, packet: Packet, x: Tensor, noise: float, late: Tensor, higher: Tensor) -> Tensor:
    ups, downs = Chirps(signal, packet, x, late, higher).evidence(noise)
    return ups.sum(1) + downs.sum(1)


def _bounded(signal: Signal, packet: Packet, x: Tensor, noise: float) -> Packet | None:
    """A packet with the up-chirps that show; None where these are too few."""
    length, header = signal.symbol_length, packet.header
    wide = replace(packet, begin=packet.begin - _MORE * length, symbols=packet.symbols + 2 * _MORE,
                   header=None if header is None else header + _MORE)
    ups, downs = (v[0].tolist() for v in Chirps(signal, wide, x).evidence(noise))
    if wide.header is None:
        low, high, total = largest_stretch(ups)
        found = replace(wide, begin=wide.begin + low * length, symbols=high - low)
    else:
        before, after = ups[:wide.header], ups[wide.header:]
        low = max(range(len(before) + 1), key=lambda k: sum(before[k:]))
        high = max(range(len(after) + 1), key=lambda k: sum(after[:k]))
        total = sum(before[low:]) + sum(after[:high]) + sum(downs)
        found = replace(wide, begin=wide.begin + low * length, symbols=wide.header - low + high, header=wide.header - low)
    return found if total > _SHOWS else None
