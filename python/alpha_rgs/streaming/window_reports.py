# SPDX-License-Identifier: GPL-3.0-or-later
"""What a separation says of each window: quality, error rate and power ratio of each source."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def qualities(out: Any, low: int, high: int, pair: bool) -> list[Array]:
    """Estimated SINR of the sources, dB, of each one [windows]; NaN where it is not known. low, high: the samples that are kept
    of each window. pair: of a signal of interest and an interference."""
    return [_numbers(getattr(each, "quality", None), _count(out)) for each in _judged(out, low, high, pair)]


def reports(out: Any, low: int, high: int, pair: bool) -> list[dict[str, Array]]:
    """Of each source quality (dB), error_rate, and sir_db (its power over that of all others, dB), each [windows]; NaN where it
    is not known."""
    judged, waves, count = _judged(out, low, high, pair), _waveforms(out), _count(out)
    powers = [np.square(np.abs(np.asarray(wave)[:, low:high])).mean(1, dtype=float) for wave in waves]
    made = []
    for k, each in enumerate(judged):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = 10 * np.log10(powers[k] / (sum(powers) - powers[k])) if k < len(powers) else np.full(count, np.nan)
        made.append({"quality": _numbers(getattr(each, "quality", None), count),
                     "error_rate": _numbers(getattr(each, "error_rate", None), count), "sir_db": ratio})
    return made


def _judged(out: Any, low: int, high: int, pair: bool) -> Sequence[Any]:
    """What has quality and error_rate of each source: of a pair the Separation itself judges the first."""
    if not pair:
        return [source.between(low, high) if hasattr(source, "between") else source for source in out.sources]
    part = out.between(low, high) if hasattr(out, "between") else out
    return [part, *(list(getattr(part, "sources", []))[1:] or [None])]


def _waveforms(out: Any) -> list[Any]:
    sources = list(getattr(out, "sources", []))
    return [source.waveform for source in sources] if sources else [out.soi, out.interference]


def _count(out: Any) -> int:
    return len(_waveforms(out)[0])


def _numbers(value: Any, count: int) -> Array:
    """float64 [count]."""
    if value is None:
        return np.full(count, np.nan)
    return np.broadcast_to(np.asarray(value, np.float64).reshape(-1), count)
