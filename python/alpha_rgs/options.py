# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be given to a separation, checked in one place for Python, the command and the GNU Radio blocks.

Each function takes the name that its caller knows the option by, and the value; it returns the value as the engine takes it, or
raises ParameterError. Nothing here loads torch: blocks are made while a flowgraph is built.
"""
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ParameterError
from .methods import METHODS, OPTIONS
from .parsing import shown

MOST_WINDOW = 2**24         # samples: 128 MB
MOST_THREADS = 256
MOST_WINDOWS = 2**16        # that wait, or are solved together
LEAST_DB = -200.0           # of a power ratio: what float32 holds of one beside the other
MOST_AMPLITUDE = 1e38       # what float32 holds
_REAL = np.typecodes["Float"] + np.typecodes["AllInteger"]      # of dtypes: numbers, no truth values and no times
STRONGEST = 1e9             # a sample over the median of its row's that are not 0: 180 dB; converters of 24 bits have 144 dB
ESTIMATE = "estimate"       # in place of a level: None, in words
LONGEST = 3600.0            # s of latency
ON_OVERLOAD, GATE_ACTIONS = ("wait", "pass"), ("mute", "pass")
_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?")       # torch keeps an index in eight bits


def decibels(name: str, value: Any) -> float | None:
    """A power ratio, dB; inf where the other source is absent; None, or "estimate", is None."""
    if value is None or _is_estimate(value):
        return None
    if not _is_number(value) or math.isnan(value) or value < LEAST_DB:
        raise ParameterError(f"{name}: {shown(value)} must be a number of decibels, {LEAST_DB:g} or more (inf: that source is "
                             "absent)")
    return float(value)


def whole(name: str, value: Any, least: int = 1, most: int = MOST_WINDOW) -> int | None:
    """A whole number, which may be written as 2048.0; None stays None."""
    if value is None:
        return None
    if not _is_number(value) or not math.isfinite(value) or value != int(value) or not least <= value <= most:
        raise ParameterError(f"{name}: {shown(value)} must be a whole number from {least} to {most}")
    return int(value)


def rate(name: str, value: Any) -> float | None:
    """A sample rate, Hz; None stays None."""
    if value is None:
        return None
    if not _is_number(value) or not 0 < value < math.inf:
        raise ParameterError(f"{name}: {shown(value)} must be a positive number of Hz")
    return float(value)


def frequency(name: str, value: Any) -> float | None:
    """A frequency, Hz, of either sign; None stays None."""
    if value is None:
        return None
    if not _is_number(value) or not math.isfinite(value):
        raise ParameterError(f"{name}: {shown(value)} must be a number of Hz")
    return float(value)


def latency(name: str, value: Any) -> float | None:
    """A limit of the time from sample in to sample out, s; None for none, which may be written as 0."""
    if value is None:
        return None
    if not _is_number(value) or not 0 <= value <= LONGEST:
        raise ParameterError(f"{name}: {shown(value)} must be a number of seconds from 0 to {LONGEST:g} (0: no limit)")
    return float(value) or None


def quality(name: str, value: Any) -> float | None:
    """A quality, dB, below which something is done; None for never."""
    if value is None:
        return None
    if not _is_number(value) or not abs(value) <= -LEAST_DB:
        raise ParameterError(f"{name}: {shown(value)} must be a number of decibels from {LEAST_DB:g} to {-LEAST_DB:g}, or None")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name}: {shown(value)} must be True or False")
    return bool(value)


def choice(name: str, value: Any, values: tuple[str, ...]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in values:
        raise ParameterError(f"{name}: {shown(value)} must be {' or '.join(map(repr, values))}")
    return value


def level(name: str, value: Any) -> Any:
    """An amplitude or a variance, or an array or tensor of one per window: 0 or more; None stays None."""
    if value is None:
        return None
    array = _array(value)
    sound = array is not None and array.ndim <= 1 and array.dtype.char in _REAL and bool(
        (np.isfinite(array) & (array >= 0) & (array <= MOST_AMPLITUDE)).all())
    if not sound:
        raise ParameterError(f"{name}: {shown(value)} must be a number, 0 or more, or one for each window")
    return value


def variance(name: str, value: Any) -> float | None:
    """The variance of noise per complex sample; None, or "estimate", is None."""
    return None if _is_estimate(value) else level(name, value)


def method(name: str, value: Any) -> str:
    """The name of a method, or auto."""
    if not isinstance(value, str) or value not in ("auto", *METHODS):
        raise ParameterError(f"{name}: {shown(value)} is not known; one of auto, {', '.join(METHODS)}")
    return value


def of_separation(prefix: str, name: Any, options: Mapping[str, Any], **levels: Any) -> None:
    """Check what goes to a method: its name, its options, and levels such as noise_var, by their names after the prefix."""
    method(f"{prefix}method", name)
    for key, value in levels.items():
        level(f"{prefix}{key}", value)
    names = [*OPTIONS["joint"], *OPTIONS["alpha_rgs"]] if name == "auto" else OPTIONS[name]
    for key in options:
        known(f"{prefix}{key}", key, dict.fromkeys(names))


def device(name: str, value: Any) -> str:
    """The name of a device of torch; whether the machine has it is asked where it is used (streaming.engine)."""
    if _DEVICE.fullmatch(str(value)) is None:
        raise ParameterError(f"{name}: {shown(str(value))} is not known; cpu, cuda, cuda:1 ...")
    return str(value)


def engine_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a streaming.Engine; name: a prefix of theirs, such as "engine: "."""
    checks = {"device": device, "threads": lambda key, value: whole(key, value, 1, MOST_THREADS),
              "max_batch": lambda key, value: whole(key, value, 1, MOST_WINDOWS),
              "max_pending": lambda key, value: whole(key, value, 1, MOST_WINDOWS)}
    for key in settings:
        known(f"{name}{key}", key, checks)
    return {key: checks[key](f"{name}{key}", value) for key, value in settings.items()}


def known(name: str, key: str, keys: Iterable[str]) -> None:
    """Raise ParameterError where an option is none of those that there are."""
    keys = list(keys)
    if key not in keys:
        raise ParameterError(f"{name}: is no option here; there {'are ' + ', '.join(keys) if keys else 'is none'}")


def samples(name: str, value: Any, dimensions: tuple[int, ...] = (1,)) -> npt.NDArray[np.complex64]:
    """Samples as complex64, contiguous, of so many dimensions: [samples], or [windows, samples]. One or more."""
    array = _array(value)
    if array is None or array.dtype.char not in _REAL + np.typecodes["Complex"]:
        raise ParameterError(f"{name}: must be an array of complex numbers, not {_kind(value, array)}")
    if array.ndim not in dimensions:
        forms = " or ".join(("[samples]", "[windows, samples]")[d - 1] for d in dimensions)
        raise ParameterError(f"{name}: must be of the shape {forms}, not {list(array.shape)}")
    if array.size == 0:
        raise ParameterError(f"{name}: there are none")
    with np.errstate(over="ignore"):        # what float32 does not hold becomes infinite, and is named as such
        return np.ascontiguousarray(array, np.complex64)


def unusable(rows: npt.NDArray[np.complex64]) -> npt.NDArray[np.bool_]:
    """Which samples, of [samples] or [windows, samples], cost the window that holds them: those that are not finite, or so strong
    beside the others of their row that float32 holds nothing of these. No receiver has such a range."""
    if _usable(rows):
        return np.zeros(rows.shape, bool)
    odd = ~np.isfinite(rows)
    strength = np.abs(np.where(odd, 0, rows).astype(np.complex128))     # of 1e38·(1 + j) too
    limit = STRONGEST * np.median(strength, axis=-1, keepdims=True)
    if (strength > limit).any():
        limit = STRONGEST * np.ma.filled(np.ma.median(np.ma.masked_equal(strength, 0), axis=-1, keepdims=True), np.inf)
    return np.asarray(odd | (strength > limit))


def _usable(rows: npt.NDArray[np.complex64]) -> bool:
    """Whether all samples are surely usable, by a bound that costs a twentieth of the median: of all real and imaginary parts
    fewer than a row has samples, half of them, are so weak that the limit could be below the strongest sample."""
    if rows.dtype != np.complex64 or not rows.size:
        return False
    rows = np.ascontiguousarray(rows)
    energy = float(np.vdot(rows, rows).real)        # NaN or infinite where a sample is
    if not 0 < energy < np.inf:
        return False
    parts, limit = rows.view(np.float32), np.float32(2 * energy ** 0.5 / STRONGEST)
    strong = np.count_nonzero(parts > limit) + np.count_nonzero(parts < -limit)
    return 2 * rows.size - int(strong) < rows.shape[-1] // 2


def _array(value: Any) -> npt.NDArray[Any] | None:
    """An array, of a tensor too; None where there is none."""
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _kind(value: Any, array: npt.NDArray[Any] | None) -> str:
    return type(value).__name__ + (f" of {array.dtype}" if array is not None and isinstance(value, np.ndarray) else "")


def _is_estimate(value: Any) -> bool:
    return isinstance(value, str) and value == ESTIMATE


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.bool_))
