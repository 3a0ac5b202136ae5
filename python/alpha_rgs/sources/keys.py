# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of prior files: their types, and what `alpha-rgs info` says of them."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """One key. types: Python's, of the values that TOML has for it. called: these types in words. meaning: unit and meaning."""

    types: tuple[type, ...]
    called: str
    meaning: str


def number(meaning: str) -> Key:
    """A real number."""
    return Key((int, float), "a number", meaning)


def whole(meaning: str) -> Key:
    """A whole number."""
    return Key((int,), "a whole number", meaning)


def text(meaning: str) -> Key:
    """A string."""
    return Key((str,), "a text", meaning)


def listed(meaning: str) -> Key:
    """A list of numbers, or of what the source makes of it."""
    return Key((list,), "a list", meaning)


def flag(meaning: str) -> Key:
    """True or false."""
    return Key((bool,), "true or false", meaning)
