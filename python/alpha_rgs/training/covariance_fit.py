# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussian priors from recordings: power spectrum, or covariance at a period that is given or estimated.

R(m, l) is averaged over whole periods. Its Fourier coefficients over m are estimates of variance Σ|R(l)|²/samples each; those
that do not stand out are shrunk. Then the nearest covariance (no negative eigenvalue) that ends after L lags is approached by
alternating projections, and what is left negative is made up by white noise.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import ParameterError
from ..sources.gaussian import Gaussian, period_offset

NOISE = (1e-2, 1e-1, 1.0, 10.0)         # per unit power: where a prior is judged
MAX_PERIOD = 512
_BLOCK, _SILENT, _GAP = 32, 0.1, 3      # blocks of so many samples below this share of the power, so many in a row, are silence
_TRAINED = 0.8
_SHRINK, _PROJECTIONS = 2.0, 30
_PIECE, _LAGS, _CLEAR = 32768, 128, 8.0
_WINDOW, _WINDOWS = 1024, 64
_STEPS = 5                              # of a fit, as its progress counts them

Wave = npt.NDArray[np.complex128]       # [samples]
Search = tuple[int | None, float, int, float]       # what find_period returns


@dataclass
class Fit:
    """prior: a Gaussian. used: share of the samples that are not silence. bursts: stretches between silences. added: variance of
    white noise added to make a covariance of the estimate. search: what find_period returned, or None. curve: per noise variance
    of NOISE (variance, error measured dB, error predicted dB), relative to the power. held_out: samples behind the curve."""

    prior: Gaussian
    used: float
    bursts: int
    added: float
    search: Search | None
    curve: list[tuple[float, float, float]] = field(default_factory=list)
    held_out: int = 0


def fit(recordings: Sequence[npt.NDArray[Any]], period: int | None = 1, lags: int | None = None,
        sample_rate: float | None = None, names: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None) -> Fit:
    """A Fit to recordings, a list of complex arrays [n], each of any power.

    period: samples, 1 for stationary, None: estimated (stationary if there is none). lags: L; default the larger of 64
    (stationary: 128) and the period, at most 256. sample_rate: Hz. progress(step, steps). Fitted to the first 80 % of each,
    judged on the rest. Raises ParameterError naming the recording: silent, too short; or the option: period, lags.
    """
    names = names or [f"recording {i + 1}" for i in range(len(recordings))]
    if period is not None and not 1 <= period <= MAX_PERIOD:
        raise ParameterError(f"--period: {period} must lie between 1 and {MAX_PERIOD} samples")
    if lags is not None and not 2 <= lags <= 1024:
        raise ParameterError(f"--length: {lags} must lie between 2 and 1024 samples")
    report, search = progress or (lambda step, steps: None), None
    stretches = [active(name, np.asarray(x)) for name, x in zip(names, recordings)]
    train, test = _training_and_test(names, stretches, 20 * max(period or 64, lags or 64))
    report(1, _STEPS)
    if period is None:
        search = find_period(train)
        period = search[0] or 1
    report(2, _STEPS)
    lags = lags or min(max(128 if period == 1 else 64, period), 256)
    train = [x for x in train if len(x) >= lags + 2 * period]
    if sum(map(len, train)) < 20 * max(period, lags):
        raise ParameterError(f"{names[0]}: has too few stretches of {lags + 2 * period} samples without silence for a period of "
                             f"{period} and {lags} lags; give a longer recording, or fewer lags (--length of alpha-rgs fit)")
    train.sort(key=len, reverse=True)
    offsets = [0] * len(train)
    if period > 1 and len(train) > 1:       # every burst begins its own period
        table = _project(_estimate(train[:1], [0], period, lags))[0]
        for _ in range(2):
            offsets = [_offset(x, Gaussian(table)) for x in train]
            table, added = _project(_estimate(train, offsets, period, lags))
    else:
        table, added = _project(_estimate(train, offsets, period, lags))
    report(3, _STEPS)
    prior = Gaussian(table, sample_rate=sample_rate)
    used = sum(len(x) for pieces in stretches for x in pieces) / sum(map(len, recordings))
    out = Fit(prior, used, sum(map(len, stretches)), added, search)
    out.curve, out.held_out = _judge(prior, test)
    report(_STEPS, _STEPS)
    return out


def _training_and_test(names: Sequence[str], stretches: list[list[Wave]], need: int) -> tuple[list[Wave], list[Wave]]:
    """The first 80 % of each recording's stretches, `need` samples at least (ParameterError), and the rest."""
    train: list[Wave] = []
    test: list[Wave] = []
    for name, pieces in zip(names, stretches):
        first, last = split(pieces)
        if sum(map(len, first)) < need:
            raise ParameterError(f"{name}: its first 80 % hold {sum(map(len, first))} samples that are not silence, but {need} "
                                 "are needed")
        train, test = train + first, test + last
    return train, test


def find_period(pieces: Sequence[Wave]) -> Search:
    """(period in samples or None, clearness, the runner-up's period, its clearness) from the cyclic autocorrelation.

    At each lag l: the lines |Σ x(n+l)·conj(x(n))·exp(-2πj·k·n/P)|², k = 1 ... P-1, over what is around them (within 1/256 cycle
    per sample, so that what lasts shorter, such as a preamble, draws no line). clearness: their sum in standard deviations, at
    the best lag. Below 8 there is no period. Multiples and divisors are no runners-up.
    """
    size = max(1024, min(_PIECE, 1 << int(np.log2(max(map(len, pieces))))))
    cut = [x[i:i + size] for x in pieces for i in range(0, max(len(x) - size // 2, 1), size)]
    cut = sorted(cut, key=len, reverse=True)[:24]
    lags = min(_LAGS, len(cut[-1]) // 4)
    lines = np.zeros((lags, size))
    for x in cut:
        y = np.stack([np.pad(x[lag:] * x[:len(x) - lag].conj(), (0, lag)) for lag in range(lags)])
        lines += abs(np.fft.fft((y - y.mean(1, keepdims=True)) * np.hanning(len(x)), size)) ** 2
    width = max(size // 256, 8)
    around = np.median(lines.reshape(lags, -1, width), 2)
    level = np.stack([np.interp(np.arange(size), (np.arange(-1, size // width + 1) + 0.5) * width, row)
                      for row in np.pad(around, ((0, 0), (1, 1)), mode="wrap")])
    high = lines / np.maximum(level, 1e-300) - 1
    high[:, :2] = high[:, -2:] = 0
    spread, mean, score = high.std(1), high.mean(1), np.zeros(MAX_PERIOD + 1)
    spread = np.minimum(spread, 2.5 * np.median(abs(high), 1))      # lines shall not hide themselves
    at = [np.round(np.arange(1, p) * size / p).astype(int) % size for p in range(2, min(MAX_PERIOD, size // 32) + 1)]
    for period, where in enumerate(at, 2):
        score[period] = ((high[:, where] - mean[:, None]).sum(1) / (spread * np.sqrt(period - 1))).max()
    best = int(np.flatnonzero(score >= 0.75 * score.max())[0])      # 239 may look a little like 240
    for multiple in range(2 * best, len(at) + 2, best):             # a divisor whose lines are the strongest is not all
        more = at[multiple - 2][np.arange(1, multiple) % (multiple // best) > 0]
        clear = ((high[:, more] - mean[:, None]).sum(1) / (spread * np.sqrt(len(more)))).max()
        if clear >= max(_CLEAR, 0.05 * score[best]):
            best, score[multiple] = multiple, max(score[multiple], clear)
            break
    others = score.copy()
    others[[p for p in range(len(score)) if np.gcd(p, best) > 1 or abs(p - best) <= 2]] = 0
    return (best if score[best] >= _CLEAR else None), float(score[best]), int(others.argmax()), float(others.max())


def active(name: str, x: npt.NDArray[Any]) -> list[Wave]:
    """The stretches of x, complex [samples], that are not silence, at unit mean power together. name: of the recording, for the
    ParameterError where there is none."""
    if len(x) < 4 * _BLOCK:
        raise ParameterError(f"{name}: holds {len(x)} samples, too few for anything")
    power = (abs(x[:len(x) // _BLOCK * _BLOCK].astype(complex)) ** 2).reshape(-1, _BLOCK).mean(1)
    if not power.sum() > 0:
        raise ParameterError(f"{name}: is silent: all samples are zero")
    quiet = power < _SILENT * np.sum(power ** 2) / np.sum(power)
    edges = np.flatnonzero(np.diff(np.r_[0, quiet, 0]))
    out, at = [], 0
    for begin, end in zip(edges[::2], edges[1::2]):
        if end - begin >= _GAP:
            out.append(x[at * _BLOCK:begin * _BLOCK])
            at = end
    out.append(x[at * _BLOCK:])
    out = [piece.astype(complex) for piece in out if len(piece) >= 4 * _BLOCK]
    if not out:
        raise ParameterError(f"{name}: holds no stretch of {4 * _BLOCK} samples that is not silence")
    scale = np.sqrt(sum(np.sum(abs(p) ** 2) for p in out) / sum(map(len, out)))
    return [p / scale for p in out]


def split(pieces: Sequence[Wave]) -> tuple[list[Wave], list[Wave]]:
    """The first 80 % of the samples, and the rest: two lists of stretches."""
    first: list[Wave] = []
    last: list[Wave] = []
    left = int(_TRAINED * sum(map(len, pieces)))
    for x in pieces:
        if left > 0:
            first.append(x[:left])
        if len(x) > max(left, 0):
            last.append(x[max(left, 0):])
        left -= len(x)
    return first, last


def _estimate(pieces: Sequence[Wave], offsets: Sequence[int], period: int, lags: int) -> npt.NDArray[np.complex128]:
    """R(m, l), complex128 [period, lags], of pieces whose first whole periods begin at offsets; shrunk, unit mean power."""
    total, count = np.zeros((period, lags), complex), np.zeros((period, lags))
    for x, offset in zip(pieces, offsets):
        whole = -(-len(x) // period) * period
        for lag in range(lags):
            y = np.zeros(whole, complex)
            y[:len(x) - lag] = x[lag:] * x[:len(x) - lag].conj()
            total[:, lag] += np.roll(y.reshape(-1, period).sum(0), -offset)
            seen = np.zeros(whole)
            seen[:len(x) - lag] = 1
            count[:, lag] += np.roll(seen.reshape(-1, period).sum(0), -offset)
    table = total / np.maximum(count, 1)
    mean = abs(table.mean(0)) ** 2
    variance = (mean[0] + 2 * mean[1:].sum()) / sum(map(len, pieces))
    lines = np.fft.fft(table, axis=0) / period
    shrink = 1 - _SHRINK * variance / np.maximum(abs(lines) ** 2, 1e-300)
    lines[1:] *= shrink[1:].clip(0)
    return np.fft.ifft(lines, axis=0) * period / lines[0, 0].real


def _project(table: npt.NDArray[np.complex128]) -> tuple[npt.NDArray[np.complex128], float]:
    """(a table that is a covariance, near the given one, of unit mean power; the variance of white noise in it)."""
    period, lags = table.shape
    reach = (lags + period - 2) // period               # blocks on either side of the diagonal that the lags reach into
    count = max(16, 1 << int(np.ceil(np.log2(4 * reach + 2))))
    i, j, q = np.meshgrid(np.arange(period), np.arange(period), np.arange(-reach, reach + 1), indexing="ij")
    lag = i + q * period - j                            # block q: E[s(i + q·P)·conj(s(j))]
    above, below = (lag >= 0) & (lag < lags), (lag < 0) & (lag > -lags)

    def spread(table: npt.NDArray[np.complex128], count: int = count) -> npt.NDArray[np.complex128]:
        blocks = np.zeros((count, period, period), complex)
        blocks[q[above] % count, i[above], j[above]] = table[j[above], lag[above]]
        blocks[q[below] % count, i[below], j[below]] = table[i[below], -lag[below]].conj()
        return np.fft.fft(blocks, axis=0)

    def gather(spectra: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
        blocks, out = np.fft.ifft(spectra, axis=0), np.zeros_like(table)
        out[j[above], lag[above]] = blocks[q[above] % count, i[above], j[above]]
        out[:, 0] = out[:, 0].real
        return out

    steps = max(3, min(_PROJECTIONS, int(2e9 / (count * period ** 3))))
    for step in range(steps + 1):
        if step == steps:
            value = np.linalg.eigvalsh(spread(table, 4 * count))
            break
        value, vector = np.linalg.eigh(spread(table))
        table = gather((vector * value.clip(0)[:, None]) @ vector.conj().swapaxes(1, 2))
    added = 1.05 * max(-float(value.min()), 0.0) + 1e-5
    table[:, 0] += added
    power = table[:, 0].real.mean()
    return table / power, added / power


def _offset(x: Wave, prior: Gaussian, noise: float = 1e-2) -> int:
    if prior.period == 1:
        return 0
    return int(period_offset(x[None], prior, prior.psd(len(x))[None] + noise)[0])


def _judge(prior: Gaussian, pieces: Sequence[Wave]) -> tuple[list[tuple[float, float, float]], int]:
    """(curve, samples): the error of denoising held-out pieces, and what the model predicts of its own."""
    size = min(_WINDOW, max(map(len, pieces), default=0))
    cut = [x[i:i + size] for x in pieces for i in range(0, len(x) - size + 1, max(size, 1))]
    if not cut or size < prior.lags + 2 * prior.period:
        return [], 0
    cut = cut[::max(1, len(cut) // _WINDOWS)]
    offsets = torch.tensor([_offset(x, prior) for x in cut])
    x = torch.from_numpy(np.array(cut)).to(torch.complex64)
    aligned = Gaussian(prior.table, offsets if prior.period > 1 else None, prior.sample_rate)
    noise = torch.randn(*x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    power = float(x.abs().square().mean())
    eigenvalues = np.linalg.eigvalsh(prior.covariance(size)).clip(0)
    curve = []
    for variance in NOISE:
        left = aligned.denoise(x + (variance * power) ** 0.5 * noise, variance * power) - x
        error = float(left.abs().square().mean()) / power
        predicted = float(np.mean(eigenvalues * variance / (eigenvalues + variance)))
        curve.append((variance, 10 * np.log10(max(error, 1e-12)), 10 * np.log10(max(predicted, 1e-12))))
    return curve, x.numel()
