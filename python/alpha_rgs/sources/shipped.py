# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions of well-known signals that come with the package, by name."""
from __future__ import annotations

import difflib
import pathlib

_FOLDER = pathlib.Path(__file__).parent / "shipped"


def names() -> list[str]:
    """Names of all descriptions, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def found(path: str | pathlib.Path) -> pathlib.Path:
    """The file that is meant: `path` itself where there is something, else the description of that name, else `path`."""
    path = pathlib.Path(path)
    shipped = _FOLDER / f"{str(path).lower()}.toml"
    return shipped if not path.exists() and path.name == str(path) and shipped.is_file() else path


def hint(path: str | pathlib.Path) -> str:
    """What a name may have meant, as the end of a message; empty where nothing is near."""
    near = difflib.get_close_matches(str(path).lower().removesuffix(".toml"), names(), 1)
    return f"; did you mean the description {near[0]!r}?" if near else ""
