# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of prior files: their types and bounds, what `alpha-rgs info` says of them, and what a sample rate makes of them."""
import enum
import math
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"         # of a frequency: it is to be found
LEVELS = 1e38               # amplitudes, and whatever else has no bound of its own: what float32 holds
SAMPLES = 2**24             # of a window, at most, and so of whatever lies in one
PERIODS = 2**16             # samples per something: a pulse of a few symbols still fits in memory
INSTANTS = 2**53            # a sample's number: whole up to there in float64
SLOWEST, HERTZ = 1e-6, 1e15     # rates beyond all radio
NAMES, TEXTS = 64, 2**14    # characters of a name, and of any text, such as the bits of a preamble
CARRIERS = 2**14            # of OFDM: the matrix of a frame then takes 4 GB (DVB-T has 2^13)
SPAN, TAPS = 2**10, 2**16   # of a pulse, symbols and samples
SUMMED, ROUNDS = 16, 64     # sources of a sum, and how often each is asked


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
    role: see Role. hertz: the key that says the same in Hz or baud, "" where there is none; of Role.GRID the key is in Hz.
    most: the largest number, either sign, that it may hold, also in a list; longest: entries of a list, characters of a text.
    numbers: a list holds nothing else. They are bounds of what a machine can hold: a kind may narrow them.
    """

    types: tuple[type, ...]
    called: str
    meaning: str
    role: Role = Role.FIXED
    hertz: str = ""
    most: float = LEVELS
    longest: int = TEXTS
    numbers: bool = False

    def problem(self, value: Any) -> str:
        """What is wrong with a value that TOML gave, as the end of a sentence that begins with it; "" where nothing is."""
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            return f"must be {self.called}"
        if isinstance(value, (list, str)) and len(value) > self.longest:
            what = "entries" if isinstance(value, list) else "characters"
            return f"must have no more than {self.longest} {what}, not {len(value)}"
        leaves = _leaves(value)
        if self.numbers and any(isinstance(leaf, (str, bool, dict)) for leaf in leaves):
            return "must hold numbers"
        for leaf in leaves:
            if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
                if not (isinstance(leaf, int) or math.isfinite(leaf)):
                    return "must be finite"
                if not -self.most <= leaf <= self.most:
                    return f"must be no {'more' if leaf > 0 else 'less'} than {self.most if leaf > 0 else -self.most:.16g}"
            elif not isinstance(leaf, (str, bool, dict)):
                return "must hold numbers or texts"
        return ""


def _leaves(value: Any) -> list[Any]:
    """The values of a list, and of lists in it, which hold no more."""
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in (item if isinstance(item, list) else [item])]


def number(meaning: str, most: float = LEVELS) -> Key:
    """A real number."""
    return Key((int, float), "a number", meaning, most=most)


def period(meaning: str, hertz: str) -> Key:
    """Samples per something whose rate is `hertz`."""
    return Key((int, float), "a number", meaning, Role.PERIOD, hertz, most=PERIODS)


def instant(meaning: str) -> Key:
    """A sample's number."""
    return Key((int, float), "a number", meaning, Role.INSTANT, most=INSTANTS)


def frequency(meaning: str, hertz: str) -> Key:
    """Cycles per sample, or UNKNOWN where the source finds it; `hertz` says the same in Hz."""
    return Key((int, float), "a number", meaning, Role.FREQUENCY, hertz)


def grid(meaning: str) -> Key:
    """Hz: the rate of the samples in which the other keys are."""
    return Key((int, float), "a number", meaning, Role.GRID, most=HERTZ)


def rate(meaning: str) -> Key:
    """Hz or baud."""
    return Key((int, float), "a number", meaning, most=HERTZ)


def whole(meaning: str, role: Role = Role.FIXED, most: int = SAMPLES) -> Key:
    """A whole number."""
    return Key((int,), "a whole number", meaning, role, most=most)


def text(meaning: str, longest: int = NAMES) -> Key:
    """A string."""
    return Key((str,), "a text", meaning, longest=longest)


def listed(meaning: str, longest: int, most: float = LEVELS, numbers: bool = True) -> Key:
    """A list of numbers, or of what the source makes of it."""
    return Key((list,), "a list", meaning, most=most, longest=longest, numbers=numbers)


def flag(meaning: str) -> Key:
    """True or false."""
    return Key((bool,), "true or false", meaning)
