# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of text files that others wrote, within bounds: what is no such file is refused before it costs memory or time.

Nothing here loads torch: the GNU Radio blocks read prior files while a flowgraph is built.
"""
import json
import math
import os
import pathlib
import tomllib
from collections.abc import Callable
from typing import Any

from .errors import AlphaRgsError, ParameterError, RecordingError

MOST_TOML = 2**20       # bytes of a prior file: the largest that is shipped has 2^12
MOST_JSON = 2**26       # bytes of SigMF metadata: a million annotations
_SHOWN = 200            # characters of what a parser says, which may quote the file
_DEEPEST = "it nests too deeply"


def toml_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The table of a TOML file. Raises FileNotFoundError, and ParameterError where it is no file, too large or no TOML."""
    table: dict[str, Any] = _parsed(pathlib.Path(path), MOST_TOML, tomllib.loads, "TOML", ParameterError)
    return table


def json_file(path: str | os.PathLike[str], called: str = "JSON") -> Any:
    """The value of a JSON file, in messages `called` so. Raises FileNotFoundError, and RecordingError where it is no file, too
    large or no JSON."""
    return _parsed(pathlib.Path(path), MOST_JSON, json.loads, called, RecordingError)


def shown(value: Any, most: int = 60) -> str:
    """A value as messages show it, its middle left out where it is long. A number of thousands of digits has no text."""
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, int) and abs(value) >= 10**most:
        return f"a number of {int(value.bit_length() * math.log10(2)) + 1} digits"
    text = f"[{', '.join(shown(item) for item in value[:8])}{', ...' if len(value) > 8 else ''}]" if isinstance(
        value, list) else repr(value[:2 * most] if isinstance(value, str) else value)
    return text if len(text) <= most else f"{text[:most // 2]}...{text[-most // 2:]}"


def _parsed(path: pathlib.Path, most: int, parse: Callable[[str], Any], language: str, error: type[AlphaRgsError]) -> Any:
    if path.exists() and not path.is_file():
        raise error(f"{path}: is no regular file, but a {'folder' if path.is_dir() else 'device, pipe or socket'}")
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise error(f"{path}: is larger than {most} bytes; no {language} file that is read here is")
    try:
        return parse(data.decode("utf-8"))
    except RecursionError:
        raise error(f"{path}: is not {language}: {_DEEPEST}") from None
    except ValueError as wrong:         # of the language, of UTF-8, and of numbers with thousands of digits
        what = "a number in it has too many digits" if "integer string conversion" in str(wrong) else str(wrong)[:_SHOWN]
        raise error(f"{path}: is not {language}: {what}") from None
