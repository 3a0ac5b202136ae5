# SPDX-License-Identifier: GPL-3.0-or-later
"""Rational resampling of any part of a stream: the filter, and the products of matrices that apply it.

The filter has the phases of `up` times the rate that comes in. `up` results in a row are one block; the next block sees the
same phases `down` samples later. A block is a product of the samples that it reaches with one matrix. Its phases follow from its
number in the stream, so parts of a stream agree with the whole.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import signal

_CROSSINGS = 24         # of zero on each side of the filter's impulse response: 3 % transition
_KAISER = 8.0           # of its window: images 80 dB down
_LARGEST = 2**20        # numbers in a matrix; beyond, the filter is applied by upfirdn
_AT_ONCE = 2**20        # numbers in a product of matrices


def reach(up: int, down: int) -> int:
    """Half the length of the filter's impulse response, in steps of `up` times the rate that comes in."""
    return _CROSSINGS * max(up, down)


@lru_cache(maxsize=8)
def _taps(up: int, down: int) -> np.ndarray:
    """Of a filter at `up` times the rate that comes in, whose half-power point is half of the lower of the two rates."""
    slow = max(up, down)
    return up * signal.firwin(2 * _CROSSINGS * slow + 1, 1 / slow, window=("kaiser", _KAISER)).astype(np.float32)


def section(samples: np.ndarray, up: int, down: int, first: int, begin: int, count: int) -> np.ndarray:
    """Samples begin ... begin + count - 1 at up/down times the rate of a stream, complex64 [count].

    samples [n]: what is known of the stream, from number `first` on; all else counts as zeros. Sample k at that rate lies on
    sample k·down/up of the stream, exactly, however far from its beginning.
    """
    if count < 1 or len(samples) == 0:
        return np.zeros(max(count, 0), np.complex64)
    late = begin * down - first * up + reach(up, down)          # steps from the first known sample to the end of the first reach
    skip = -(-(late - 2 * reach(up, down)) // up)               # known samples before all that is reached; negative: unknown ones
    late -= skip * up
    blocks = -(-count // up)
    width = (2 * reach(up, down) + (up - 1) * down) // up + 1   # samples that a block reaches
    need = (blocks - 1) * down + width
    known = samples[max(skip, 0):max(skip + need, 0)]
    known = np.pad(known, (min(max(-skip, 0), need - len(known)), 0)).astype(np.complex64, copy=False)
    if up * width > _LARGEST:
        return _filtered(known, up, down, late, count)
    known = np.pad(known, (0, need + down - len(known)))
    planes = np.ascontiguousarray(np.stack([known.real, known.imag]))
    out = (_by_block if up >= down else _by_stride)(planes, _matrix(up, down, late, width), down, blocks)
    return (out[0] + 1j * out[1]).astype(np.complex64, copy=False)[:count]


def _filtered(known: np.ndarray, up: int, down: int, late: int, count: int) -> np.ndarray:
    before = -(-late // down)                                   # results of upfirdn that come before
    taps = np.concatenate([np.zeros(before * down - late, np.float32), _taps(up, down)])
    out = signal.upfirdn(taps, known, up, down)[before:before + count]
    return np.pad(out, (0, count - len(out))).astype(np.complex64)


@lru_cache(maxsize=16)
def _matrix(up: int, down: int, late: int, width: int) -> np.ndarray:
    """What each sample adds to each result of a block, float32 [width, up]."""
    step = np.arange(up) * down + late - up * np.arange(width)[:, None]
    taps = _taps(up, down)
    return np.where((step >= 0) & (step < len(taps)), taps[step.clip(0, len(taps) - 1)], 0).astype(np.float32)


def _by_block(planes: np.ndarray, matrix: np.ndarray, down: int, blocks: int) -> np.ndarray:
    """Where many results come of few samples: the samples of each block side by side, [2, samples] to [2, blocks·up]."""
    width, up = matrix.shape
    out = np.empty((2, blocks, up), np.float32)
    seen = np.lib.stride_tricks.sliding_window_view(planes, width, axis=1)[:, ::down]
    step = max(1, _AT_ONCE // (2 * width))
    for k in range(0, blocks, step):
        part = slice(k, min(k + step, blocks))
        out[:, part] = np.ascontiguousarray(seen[:, part]) @ matrix
    return out.reshape(2, -1)


def _by_stride(planes: np.ndarray, matrix: np.ndarray, down: int, blocks: int) -> np.ndarray:
    """Where few results come of many samples: what each stretch of `down` samples adds to this block and to those before it."""
    width, up = matrix.shape
    spans = -(-width // down)
    columns = np.pad(matrix, ((0, spans * down - width), (0, 0))).reshape(spans, down, up)
    columns = np.ascontiguousarray(columns.transpose(1, 0, 2)).reshape(down, spans * up)
    rows = blocks + spans - 1
    planes = np.pad(planes, ((0, 0), (0, max(0, rows * down - planes.shape[1]))))[:, :rows * down].reshape(2, rows, down)
    out = np.zeros((2, blocks, up), np.float32)
    step = max(1, _AT_ONCE // (2 * spans * up))
    for k in range(0, rows, step):
        added = (planes[:, k:k + step] @ columns).reshape(2, -1, spans, up)
        for span in range(spans):                   # row j adds to block j - span
            low, high = max(k - span, 0), min(k + added.shape[1] - span, blocks)
            if low < high:
                out[:, low:high] += added[:, low + span - k:high + span - k, span]
    return out.reshape(2, -1)
