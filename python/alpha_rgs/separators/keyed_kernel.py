# SPDX-License-Identifier: GPL-3.0-or-later
"""The sweep of keyed_search.py in machine code, position after position.

A move replaces the word at a position: its neighbouring symbols. The words that leave the same phase behind them form a class. A
table holds the waveforms of all words, class after class, so that the changes of a class are
x[w, n] = s(n)·(turn[w, n]/turn[old, n] - 1), and the loop takes no sine. Most of the time goes into what x changes of an unknown,
Σ_n match(n)·x[w, n]: eight sums, of four words and of real and imaginary part, stay in registers.

This module needs Numba; keyed_native.py imports it where it is installed. Numba keeps the compiled code on disk.
"""
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SAFE = 4               # samples at a time: rows are rounded up to so many, the last of them zeros
_VECTOR = 8             # words at a time: classes are rounded up to so many
_FAST: Any = {"nogil": True, "cache": True, "fastmath": {"contract", "reassoc", "nsz"}}
_FOLD = 100.0           # log2 of what products of sums may be before their logarithm is taken
_UNLIKELY = 60.0        # nats at which a word is never drawn
_EXP = tuple(np.polynomial.Chebyshev.interpolate(lambda v: np.exp(-v), 6, [0, 1]).convert(kind=np.polynomial.Polynomial).coef
             .astype(np.float32))


class Words(NamedTuple):
    """All words of neighbouring symbols, sorted by class. head, tail: int64 [words], numbers of a word's first and second half;
    first, size: int64 [classes]; rank: int64 [words], the place of a word of that number; levels: of a symbol; long: symbols
    of a word; modulus: sums of digits that differ by it leave the same phase."""

    head: NDArray[np.int64]
    tail: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    rank: NDArray[np.int64]
    levels: int
    long: int
    modulus: int
    half_turns: float


class Layout(NamedTuple):
    """What sweeps do not change. columns, match: complex64 [windows, n, width], so that c = Σ columns·r and z = Σ match·r; start:
    int64 [windows, n]; window: int64 [rows]; weight: float32 [rows, n], over the noise; noise: float32 [rows]; low, head,
    tail: int64 [rows, positions], first sample of a move, first unknown and the one after the last; pulse: float32 [rows,
    positions or 1, long, samples of a move]; points: complex64 [points]; amplitude: of QPSK's ±1 ± j, else 0; matched: c =
    weight·noise·z."""

    columns: NDArray[np.complex64]
    match: NDArray[np.complex64]
    start: NDArray[np.int64]
    window: NDArray[np.int64]
    weight: NDArray[np.float32]
    noise: NDArray[np.float32]
    low: NDArray[np.int64]
    head: NDArray[np.int64]
    tail: NDArray[np.int64]
    pulse: NDArray[np.float32]
    points: NDArray[np.complex64]
    amplitude: float
    matched: bool


class State(NamedTuple):
    """What sweeps change: symbols float64 [rows, k]; s, r complex64 [rows, samples]; c, z complex64 [rows, n]; least float32
    [rows, positions]."""

    symbols: NDArray[np.float64]
    s: NDArray[np.complex64]
    r: NDArray[np.complex64]
    c: NDArray[np.complex64]
    z: NDArray[np.complex64]
    least: NDArray[np.float32]


class Scratch(NamedTuple):
    """Memory of a sweep, float32. turn: [words, 2, samples], real and imaginary parts; half: [2, 2, words], of its halves;
    near: [4, samples], of s without its old word, and of 2·r; x: [words, 2·samples], real and imaginary parts by turns; less:
    [unknowns, 4, words], real and imaginary parts of z's changes, and of c's; pair: [2, 2·samples], of a column; cost, product,
    best: [words]."""

    turn: NDArray[np.float32]
    half: NDArray[np.float32]
    near: NDArray[np.float32]
    x: NDArray[np.float32]
    less: NDArray[np.float32]
    pair: NDArray[np.float32]
    cost: NDArray[np.float32]
    product: NDArray[np.float32]
    best: NDArray[np.float32]


def words(levels: int, long: int, modulus: int, half_turns: float) -> Words:
    """The Words of so many levels and symbols; modulus 0: only equal sums leave the same phase."""
    number = np.arange(levels ** long)
    digits = number[:, None] // levels ** np.arange(long - 1, -1, -1) % levels
    modulus = modulus or long * levels
    kind = digits.sum(1) % modulus
    order = np.argsort(kind, kind="stable")
    count = np.bincount(kind, minlength=modulus)
    half = levels ** (long - long // 2)
    spare = np.zeros(_VECTOR, np.int64)
    return Words(np.concatenate([order // half, spare]), np.concatenate([order % half, spare]), np.cumsum(count) - count, count,
                 np.argsort(order), levels, long, modulus, half_turns)


def sweep(layout: Layout, state: State, some: Words, likely: NDArray[np.bool_], chance: NDArray[np.float32],
          temperature: float) -> None:
    """Draw a word at all positions of the rows that are likely [rows, positions], one after the other. chance: uniform variates
    [chains, positions]; row k takes chain k % chains."""
    _sweep(layout, state, some, likely, chance, temperature)


@njit(**_FAST)
def _scratch(layout: Layout, most: int) -> Scratch:
    near = 1
    for row in range(len(layout.head)):
        for k in range(layout.head.shape[1]):
            near = max(near, layout.tail[row, k] - layout.head[row, k])
    width, f = layout.pulse.shape[3], np.float32
    tall = width + 2 * _SAFE
    return Scratch(np.zeros((most, 2, width), f), np.empty((2, 2, most), f), np.empty((4, width), f),
                   np.zeros((most, 2 * tall), f), np.zeros((near, 4, most), f), np.empty((2, 2 * tall), f), np.empty(most, f),
                   np.empty(most, f), np.empty(most, f))


@njit(**_FAST)
def _sweep(layout: Layout, state: State, some: Words, likely: Any, chance: Any, temperature: float) -> None:
    most = len(some.head)
    scratch = _scratch(layout, most)
    alike = layout.pulse.shape[1] == 1
    for row in range(len(layout.head)):
        tabled = False
        for k in range(layout.head.shape[1]):
            if likely[row, k]:
                number, kind = _word(state.symbols[row], k, some)
                if not alike:
                    first = some.first[kind]
                    _table(layout.pulse[row, k], some, scratch, first, first + some.size[kind])
                elif not tabled:
                    _table(layout.pulse[row, 0], some, scratch, 0, most)
                    tabled = True
                _draw(layout, state, some, scratch, row, k, number, kind, temperature, chance[row % len(chance), k])


@njit(**_FAST)
def _word(symbols: Any, k: int, some: Words) -> tuple[int, int]:
    """(number of the word at position k, its class)."""
    number, total = 0, 0
    for j in range(some.long):
        digit = int(round((symbols[k + j] + (some.levels - 1)) / 2))
        number, total = number * some.levels + digit, total + digit
    return number, total % some.modulus


@njit(**_FAST)
def _table(pulse: Any, some: Words, scratch: Scratch, low: int, high: int) -> None:
    """The waveforms of words low to high, by those of their halves."""
    turn, half = scratch.turn, scratch.half
    long, levels = some.long, some.levels
    for n in range(pulse.shape[1]):
        for side in range(2):
            begin, end = (0, long // 2) if side == 0 else (long // 2, long)
            half[side, 0, 0], half[side, 1, 0] = 1.0, 0.0
            size = 1
            for j in range(end - 1, begin - 1, -1):         # the last symbol is a number's last digit
                angle = np.float32(math.pi * some.half_turns) * pulse[j, n]
                for digit in range(levels - 1, -1, -1):
                    own = angle * (2 * digit - (levels - 1))
                    real, imag = np.float32(math.cos(own)), np.float32(math.sin(own))
                    for v in range(size):
                        a, b = half[side, 0, v], half[side, 1, v]
                        half[side, 0, digit * size + v] = a * real - b * imag
                        half[side, 1, digit * size + v] = a * imag + b * real
                size *= levels
        for w in range(low, high):
            a, b = half[0, 0, some.head[w]], half[0, 1, some.head[w]]
            real, imag = half[1, 0, some.tail[w]], half[1, 1, some.tail[w]]
            turn[w, 0, n], turn[w, 1, n] = a * real - b * imag, a * imag + b * real


@njit(**_FAST)
def _draw(layout: Layout, state: State, some: Words, scratch: Scratch, row: int, k: int, number: int, kind: int,
          temperature: float, chance: float) -> None:
    """Draw the word at position k of a row, and put it there."""
    first, count = some.first[kind], some.size[kind]
    old = some.rank[number] - first
    many = (count + _VECTOR - 1) // _VECTOR * _VECTOR
    width, samples = layout.pulse.shape[3], state.s.shape[1]
    low = min(max(layout.low[row, k], -width), samples)         # a move beyond the window's ends changes none of its samples
    begin, end = max(low, 0), min(low + width, samples)
    head, tail, window = layout.head[row, k], layout.tail[row, k], layout.window[row]
    noise, fold = layout.noise[row], int(_FOLD / math.log2(len(layout.points)))
    _changes(state.s[row, begin:end], state.r[row, begin:end], scratch, begin - low, first, old, many, noise)
    for u in range(head, tail):
        weight, z, start = layout.weight[row, u], state.z[row, u], layout.start[window, u]
        a = max(begin, start)
        b = max(a, min(end, start + layout.match.shape[2]))
        less = scratch.less[u - head]
        _seen(layout.match[window, u, a - start:b - start], scratch, less[0], less[1], a - begin, many)
        if layout.matched:
            _power_matched(scratch.cost[:many], less[0], less[1], z, weight)
        else:
            _seen(layout.columns[window, u, a - start:b - start], scratch, less[2], less[3], a - begin, many)
            _power(scratch.cost[:many], less, state.c[row, u], z, noise)
        if (u - head) % fold == fold - 1:
            _fold(scratch, many)
        if layout.amplitude > 0:
            _fit_square(scratch, less[0], less[1], z, weight, np.float32(layout.amplitude), many)
        else:
            _fit_points(scratch, less[0], less[1], z, weight, layout.points, many)
    pick, state.least[row, k] = _picked(scratch, old, count, temperature, chance)
    if pick == old:
        return
    for i in range(end - begin):
        change = complex(scratch.x[pick, 2 * i], scratch.x[pick, 2 * i + 1])
        state.s[row, begin + i] += change
        state.r[row, begin + i] -= change
    for u in range(head, tail):
        less, energy = scratch.less[u - head], layout.weight[row, u] * noise
        z = complex(less[0, pick], less[1, pick])
        state.z[row, u] -= z
        state.c[row, u] -= z * energy if layout.matched else complex(less[2, pick], less[3, pick])
    half = some.levels ** (some.long - some.long // 2)
    number = some.head[first + pick] * half + some.tail[first + pick]
    for j in range(some.long - 1, -1, -1):
        state.symbols[row, k + j] = 2 * (number % some.levels) - (some.levels - 1)
        number //= some.levels


@njit(**_FAST)
def _changes(s: Any, r: Any, scratch: Scratch, skip: int, first: int, old: int, many: int, noise: float) -> None:
    """x of the words from `first` on in the samples s, the first of which is a word's sample `skip`, and zeros after them; cost:
    what |r|² gains; product: 1."""
    near, size = scratch.near, len(s)
    before, beside = scratch.turn[first + old, 0, skip:skip + size], scratch.turn[first + old, 1, skip:skip + size]
    a, b, p, q = near[0, :size], near[1, :size], near[2, :size], near[3, :size]
    for i in range(size):
        a[i], b[i] = s[i].real * before[i] + s[i].imag * beside[i], s[i].imag * before[i] - s[i].real * beside[i]
        p[i], q[i] = np.float32(2) * r[i].real, np.float32(2) * r[i].imag
    for w in range(many):
        scratch.cost[w] = _change(scratch.turn[first + w, 0, skip:skip + size], scratch.turn[first + w, 1, skip:skip + size],
                                  before, beside, a, b, p, q, scratch.x[w]) / noise
        scratch.product[w] = 1.0


@njit(**_FAST)
def _change(real: Any, imag: Any, before: Any, beside: Any, a: Any, b: Any, p: Any, q: Any, x: Any) -> Any:
    total = np.float32(0)
    size = len(real)
    for i in range(size):
        up, side = real[i] - before[i], imag[i] - beside[i]
        c, d = a[i] * up - b[i] * side, a[i] * side + b[i] * up
        x[2 * i], x[2 * i + 1] = c, d
        total += c * (c - p[i]) + d * (d - q[i])
    for i in range(2 * size, 2 * (size + _SAFE)):
        x[i] = np.float32(0)
    return total


@njit(**_FAST)
def _seen(column: Any, scratch: Scratch, real: Any, imag: Any, low: int, many: int) -> None:
    """real + j·imag [words] = Σ_i column[i]·x[w, low + i]."""
    size = (len(column) + _SAFE - 1) // _SAFE * _SAFE
    a, b = scratch.pair[0, :2 * size], scratch.pair[1, :2 * size]
    for i in range(len(column)):
        v = column[i]
        a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1] = v.real, -v.imag, v.imag, v.real
    for i in range(2 * len(column), 2 * size):
        a[i], b[i] = np.float32(0), np.float32(0)
    x, begin, end = scratch.x, 2 * low, 2 * (low + size)
    for w in range(0, many, 4):
        (real[w], real[w + 1], real[w + 2], real[w + 3], imag[w], imag[w + 1], imag[w + 2], imag[w + 3]) = _products(
            a, b, x[w, begin:end], x[w + 1, begin:end], x[w + 2, begin:end], x[w + 3, begin:end])


@njit(**_FAST)
def _products(a: Any, b: Any, e: Any, f: Any, g: Any, h: Any) -> tuple[Any, ...]:
    """Inner products of a with e, f, g and h, then those of b."""
    p = q = r = s = t = u = v = w = np.float32(0)
    for i in range(len(a)):
        p += a[i] * e[i]
        q += a[i] * f[i]
        r += a[i] * g[i]
        s += a[i] * h[i]
        t += b[i] * e[i]
        u += b[i] * f[i]
        v += b[i] * g[i]
        w += b[i] * h[i]
    return p, q, r, s, t, u, v, w


@njit(**_FAST)
def _power(cost: Any, less: Any, c: complex, z: complex, noise: float) -> None:
    """cost: what an unknown's share conj(c)·z of the power loses."""
    scale = np.float32(1) / noise
    a, b, p, q = c.real, c.imag, z.real, z.imag
    g, h, e, f = less[0], less[1], less[2], less[3]
    for w in range(len(cost)):
        cost[w] += scale * (e[w] * (p - g[w]) + f[w] * (q - h[w]) + a * g[w] + b * h[w])


@njit(**_FAST)
def _power_matched(cost: Any, g: Any, h: Any, z: complex, weight: float) -> None:
    """As _power, where c = weight·noise·z."""
    p, q = np.float32(2) * z.real, np.float32(2) * z.imag
    for w in range(len(cost)):
        cost[w] += weight * (g[w] * (p - g[w]) + h[w] * (q - h[w]))


@njit(inline="always")
def _exp(y: float) -> float:
    """exp(-y) of y >= 0, to 1e-6: by a polynomial of y/16."""
    v = (y if y < np.float32(16) else np.float32(16)) * np.float32(1 / 16)
    e = _EXP[0] + v * (_EXP[1] + v * (_EXP[2] + v * (_EXP[3] + v * (_EXP[4] + v * (_EXP[5] + v * _EXP[6])))))
    e *= e
    e *= e
    e *= e
    return e * e


@njit(**_FAST)
def _fit_square(scratch: Scratch, g: Any, h: Any, z: complex, weight: float, amplitude: float, many: int) -> None:
    """cost: an unknown's -log Σ exp(-weight·|z - a|²) of a = ±1 ± j times the amplitude, of which log(1 + ...) goes to
    `product`."""
    cost, product = scratch.cost[:many], scratch.product[:many]
    four, p, q = np.float32(4) * amplitude * weight, z.real, z.imag
    for w in range(len(cost)):
        a, b = abs(p - g[w]), abs(q - h[w])
        cost[w] += weight * ((a - amplitude) * (a - amplitude) + (b - amplitude) * (b - amplitude))
        product[w] *= (np.float32(1) + _exp(four * a)) * (np.float32(1) + _exp(four * b))


@njit(**_FAST)
def _fit_points(scratch: Scratch, g: Any, h: Any, z: complex, weight: float, points: Any, many: int) -> None:
    """As _fit_square, of any points."""
    cost, product, best = scratch.cost[:many], scratch.product[:many], scratch.best[:many]
    for w in range(len(best)):
        best[w] = np.float32(np.inf)
    for point in points:
        p, q = z.real - point.real, z.imag - point.imag
        for w in range(len(best)):
            a, b = p - g[w], q - h[w]
            far = a * a + b * b
            best[w] = far if far < best[w] else best[w]
    for w in range(len(cost)):
        total = np.float32(0)
        for point in points:
            a, b = z.real - point.real - g[w], z.imag - point.imag - h[w]
            total += _exp(weight * (a * a + b * b - best[w]))
        product[w] *= total
        cost[w] += weight * best[w]


@njit(**_FAST)
def _fold(scratch: Scratch, many: int) -> None:
    for w in range(many):
        scratch.cost[w] -= np.float32(math.log(scratch.product[w]))
        scratch.product[w] = 1.0


@njit(**_FAST)
def _picked(scratch: Scratch, old: int, count: int, temperature: float, chance: float) -> tuple[int, Any]:
    """(a word drawn with the probability exp(-cost/temperature); the least cost of another than the old one)."""
    _fold(scratch, count)
    cost, share = scratch.cost, scratch.best
    here, least = cost[old], np.float32(np.inf)
    for w in range(count):
        if w != old:
            least = min(least, cost[w] - here)
    lowest, total = here + min(least, np.float32(0)), 0.0
    for w in range(count):
        share[w] = 0.0
        if cost[w] - lowest < _UNLIKELY * temperature:
            share[w] = math.exp((lowest - cost[w]) / temperature)
        total += share[w]
    left = chance * total
    for w in range(count):
        left -= share[w]
        if left < 0:
            return w, least
    return old, least
