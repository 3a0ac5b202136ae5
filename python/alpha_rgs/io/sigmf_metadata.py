# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF metadata from files that others wrote: of the form that the standard has, as far as anything here reads them."""
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ..errors import RecordingError
from ..parsing import json_file, shown

_CALLED = "SigMF metadata (JSON with a global object)"
_BOUND = 2**53          # of counts of bytes and samples
_TEXT, _COUNT, _NUMBER, _NAME = "a text", "a whole number, 0 or more", "a finite number", "the name of a file in the same folder"
_GLOBAL = {"core:datatype": _TEXT, "core:dataset": _NAME, "core:description": _TEXT, "core:sha512": _TEXT,
           "core:num_channels": _COUNT, "core:trailing_bytes": _COUNT, "core:offset": _COUNT}
_CAPTURE = {"core:sample_start": _COUNT, "core:header_bytes": _COUNT, "core:frequency": _NUMBER}
_ANNOTATION = {"core:sample_start": _COUNT, "core:sample_count": _COUNT, "core:label": _TEXT, "core:comment": _TEXT,
               "core:description": _TEXT, "core:freq_lower_edge": _NUMBER, "core:freq_upper_edge": _NUMBER}


def metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of a .sigmf-meta file: a dictionary with global, captures and annotations. Raises RecordingError that names
    the file and the field, and FileNotFoundError."""
    path = pathlib.Path(path)
    value = json_file(path, _CALLED)
    if not isinstance(value, dict) or not isinstance(value.get("global"), dict):
        raise RecordingError(f"{path}: is not {_CALLED}")
    value.setdefault("captures", [])
    value.setdefault("annotations", [])
    check(path, value)
    return value


def check(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Raise RecordingError where a field of global, captures or annotations that is read here is of another form."""
    _fields(path, "global", value["global"], _GLOBAL)
    for part, known in (("captures", _CAPTURE), ("annotations", _ANNOTATION)):
        if not isinstance(value[part], list):
            raise RecordingError(f"{path}: is not SigMF metadata: {part}: must be a list of objects")
        for number, one in enumerate(value[part]):
            _fields(path, f"{part}[{number}]", one, known)
            if "core:sample_start" not in one:
                raise RecordingError(f"{path}: {part}[{number}]: core:sample_start is missing")


def _fields(path: pathlib.Path, where: str, value: Any, known: Mapping[str, str]) -> None:
    if not isinstance(value, dict):
        raise RecordingError(f"{path}: is not SigMF metadata: {where}: must be an object")
    for field, form in known.items():
        if field in value and not _fits(value[field], form):
            raise RecordingError(f"{path}: {where}: {field}: {shown(value[field])} must be {form}")


def _fits(value: Any, form: str) -> bool:
    if form == _TEXT:
        return isinstance(value, str)
    if form == _NAME:
        return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & {"/", "\\", "\0"}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if form == _COUNT:
        return isinstance(value, int) and 0 <= value <= _BOUND
    return -1e38 <= value <= 1e38 and math.isfinite(value)
