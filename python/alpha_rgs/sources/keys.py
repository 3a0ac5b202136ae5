# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of prior files: their types, what `alpha-rgs info` says of them, and what a sample rate makes of them."""
import enum
from dataclasses import dataclass

UNKNOWN = "unknown"         # of a frequency: it is to be found


class Role(enum.Enum):
    """How a value in samples follows another sample rate."""

    FIXED = "fixed"             # not at all
    PERIOD = "period"           # samples per something: proportional to the rate
    INSTANT = "instant"         # a sample's number: proportional, and of the recording's first sample
    FREQUENCY = "frequency"     # cycles per sample: inversely
    GRID = "grid"               # the rate of which the source's own must be a multiple


@dataclass(frozen=True)
class Key:
    """One key. types: Python's, of the values that TOML has for it. called: these types in words. meaning: unit and meaning.
    role: see Role. hertz: the key that says the same in Hz or baud, "" where there is none; of Role.GRID the key is in Hz."""

    types: tuple[type, ...]
    called: str
    meaning: str
    role: Role = Role.FIXED
    hertz: str = ""


def number(meaning: str) -> Key:
    """A real number."""
    return Key((int, float), "a number", meaning)


def period(meaning: str, hertz: str) -> Key:
    """Samples per something whose rate is `hertz`."""
    return Key((int, float), "a number", meaning, Role.PERIOD, hertz)


def instant(meaning: str) -> Key:
    """A sample's number."""
    return Key((int, float), "a number", meaning, Role.INSTANT)


def frequency(meaning: str, hertz: str) -> Key:
    """Cycles per sample, or UNKNOWN where the source finds it; `hertz` says the same in Hz."""
    return Key((int, float), "a number", meaning, Role.FREQUENCY, hertz)


def grid(meaning: str) -> Key:
    """Hz: the rate of the samples in which the other keys are."""
    return Key((int, float), "a number", meaning, Role.GRID)


def whole(meaning: str, role: Role = Role.FIXED) -> Key:
    """A whole number."""
    return Key((int,), "a whole number", meaning, role)


def text(meaning: str) -> Key:
    """A string."""
    return Key((str,), "a text", meaning)


def listed(meaning: str) -> Key:
    """A list of numbers, or of what the source makes of it."""
    return Key((list,), "a list", meaning)


def flag(meaning: str) -> Key:
    """True or false."""
    return Key((bool,), "true or false", meaning)
