# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions of well-known signals that come with the package, by name."""
from __future__ import annotations

import difflib
import pathlib

_FOLDER = pathlib.Path(__file__).parent / "shipped"


def names() -> list[str]:
    """Names of all descriptions, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def text(name: str) -> str:
    """The file of a description: TOML."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """One line on a description: its file's first one below the licence's."""
    return next(line.removeprefix("# ") for line in text(name).splitlines() if not line.startswith("# SPDX"))


def found(path: str | pathlib.Path) -> pathlib.Path:
    """The file that is meant: `path` where it is a file or a prior's folder; else, of a bare name, NAME.toml in the working
    directory, or the description of that name; else `path`."""
    path = pathlib.Path(path)
    if path.is_file() or (path / "prior.toml").is_file() or path.name != str(path):
        return path
    own, shipped = pathlib.Path(f"{path}.toml"), _FOLDER / f"{str(path).lower()}.toml"
    return own if own.is_file() else shipped if shipped.is_file() else path


def called(path: pathlib.Path) -> str:
    """How messages call a file: a description by its name."""
    return path.stem if path.parent == _FOLDER else str(path)


def hint(path: str | pathlib.Path) -> str:
    """What a name may have meant, as the end of a message; of a bare name nothing is near, where to find all of them; else
    empty."""
    path = pathlib.Path(path)
    near = difflib.get_close_matches(path.name.lower().removesuffix(".toml"), names(), 1)
    if near:
        return f"; did you mean the description {near[0]!r}?"
    bare = path.name == str(path) and not path.suffix
    return "; alpha-rgs info --list names the descriptions that come with it" if bare else ""
