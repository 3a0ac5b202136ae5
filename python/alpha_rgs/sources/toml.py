# SPDX-License-Identifier: GPL-3.0-or-later
"""Priors from TOML files, one source each, unknown keys refused; and back into TOML."""
from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ParameterError
from ..parsing import shown, toml_file
from ..signals import preset
from . import ofdm_bursts, shipped
from .base import Source, Structure
from .description import Description, check_hertz, hertz_keys
from .folder import HEADER, WEIGHTS, load_folder, refuse_pickle
from .keys import UNKNOWN, Role
from .registry import KINDS

_MOSTLY_NONE = ("taps", "radii", "channel", "channel_length", "preamble", "differential", "pilots", "pilot_values")
MOST_NESTED = 4         # sums in a sum


def load(path: str | pathlib.Path) -> Any:
    """The source that a TOML file describes, or a folder holds (folder.py), or a description that comes with the package, by its
    name (shipped.py): a Source, or a Description where rates are in Hz. Raises ParameterError naming the file and the key."""
    return _load(shipped.found(path), 0)


def _load(path: pathlib.Path, depth: int) -> Any:
    """load, of a file that lies so many sums deep in another."""
    refuse_pickle(path)
    if path.name == HEADER and (path.parent / WEIGHTS).exists():       # file dialogues pick no folders
        path = path.parent
    if path.is_dir():
        return load_folder(path)
    try:
        table = toml_file(path)
    except FileNotFoundError:
        raise ParameterError(f"{path}: no such prior file{shipped.hint(path)}") from None
    return _from_dict(table, shipped.called(path), path.parent, depth)


def load_in_samples(path: str | pathlib.Path) -> Any:
    """As load, but a Description is refused (ParameterError)."""
    prior = load(path)
    if isinstance(prior, Description):
        raise ParameterError(f"{path}: gives rates in Hz; give a file in samples here (samples_per_symbol, fft_size, ...)")
    return prior


def sources_of(sources: Any, interference: Any = None, read: Callable[[str | pathlib.Path], Any] = load) -> list[Any]:
    """The sources that a caller gave, in a list or as a pair: each a Source, a Description, or the path or name of one, which is
    read. Raises ParameterError that names what is none of these by its number."""
    if interference is not None:
        sources = [sources, interference]
    elif isinstance(sources, (str, pathlib.Path, Source, Description)) or not isinstance(sources, Iterable):
        raise ParameterError(f"sources: {shown(sources)} is one; give a list of two or more, or an interference too")
    out = [read(source) if isinstance(source, (str, pathlib.Path)) else source for source in sources]
    for number, source in enumerate(out, 1):
        if isinstance(source, Description) and read is load_in_samples:
            raise ParameterError(f"{source.name}: gives rates in Hz; make it a source by at_rate(sample_rate)")
        if not isinstance(source, (Source, Description)):
            raise ParameterError(f"sources: number {number} is {type(source).__name__}, neither a source nor the path of one")
    return out


def from_dict(table: dict[str, Any], source: str = "prior", folder: pathlib.Path | None = None) -> Any:
    """The prior that a table of TOML keys describes; `source` names it in errors (ParameterError).

    folder: to which the names of files in a sum's `sources` refer; default the working directory. preset: keys of an OFDM
    numerology (signals.preset), each of which the table may override.
    """
    return _from_dict(table, source, folder, 0)


def _from_dict(table: dict[str, Any], source: str, folder: pathlib.Path | None, depth: int) -> Any:
    """from_dict, of a table that lies so many sums deep in another."""
    table = dict(table)
    kind = table.pop("kind", None)
    if kind == "gaussian":
        raise ParameterError(f"{source}: kind: a 'gaussian' prior is a folder, made by alpha-rgs fit; give the folder")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ParameterError(f"{source}: kind: {shown(kind)} must be one of {', '.join(map(repr, KINDS))}")
    if kind == "ofdm" and table.get("preset") == "802.11":
        if len(table) > 1:
            raise ParameterError(f"{source}: preset: '802.11' finds all else in the signal; leave out "
                                 f"{', '.join(sorted(set(table) - {'preset'}))}")
        return ofdm_bursts.OfdmBursts()
    if kind == "ofdm" and "preset" in table:
        try:
            table = {**{key: list(v) if isinstance(v, tuple) else v for key, v in preset(table.pop("preset")).items()}, **table}
        except (ParameterError, TypeError) as error:
            raise ParameterError(f"{source}: {error}") from None
    cls: Any = KINDS[kind]
    keys = {**cls.keys, **hertz_keys(cls)}
    for key, value in list(table.items()):
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(keys)}"
            raise ParameterError(f"{source}: unknown key {shown(key)} for kind {kind!r}; {hint}")
        if value == UNKNOWN and keys[key].role is Role.FREQUENCY and _finds(cls, key):
            table[key] = None
            continue
        if problem := keys[key].problem(value):
            raise ParameterError(f"{source}: {key}: {shown(value)} {problem}")

    def made(keys: dict[str, Any]) -> Any:
        try:
            for key, value in keys.items():         # some follow from a sample rate
                if isinstance(value, (int, float)) and (problem := cls.keys[key].problem(value)):
                    raise ParameterError(f"{key}: {shown(value)} {problem}")
            return _made(cls, keys, source, folder, depth)
        except (TypeError, ValueError) as error:            # a ParameterError is one
            raise ParameterError(f"{source}: {error}") from None

    if check_hertz(cls, table, source):
        return Description(cls, table, source, made)
    return made(table)


def _finds(cls: Any, key: str) -> bool:
    """Whether a source of this class finds the value of a key: a linear modulation is found by the separation."""
    return cls.structure is Structure.CHAIN or key in cls.synchronizes


def _made(cls: Any, table: dict[str, Any], source: str, folder: pathlib.Path | None, depth: int = 0) -> Any:
    """The source of a class whose keys, all in samples, are known to be right in type."""
    table = dict(table)
    if "sources" in table:
        table["sources"] = [_part(part, i, source, folder, depth + 1) for i, part in enumerate(table["sources"])]
    if "signal" not in cls.__dataclass_fields__:
        return cls(**table)
    if "channel" in table:
        table["channel"] = [complex(*tap) if isinstance(tap, list) else complex(tap) for tap in table["channel"]]
        if not table["channel"]:
            raise ParameterError("channel: give at least one tap that is not zero")
    signal_type = cls.__dataclass_fields__["signal"].default_factory
    names = {f.name for f in dataclasses.fields(signal_type)}
    signal = signal_type(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items() if k in names})
    rest = {k: v for k, v in table.items() if k not in names}
    if cls.carrier_unknown:
        rest.setdefault("carrier_offset", None)
    return cls(signal, **rest)


def _part(part: Any, number: Any, source: Any, folder: Any, depth: int) -> Any:
    """One of a sum's sources: a file's name, or a table."""
    if not isinstance(part, (str, dict)):
        raise ParameterError(f"sources: {shown(part)} must be the name of a prior file, or a table of its keys")
    if depth > MOST_NESTED:
        raise ParameterError(f"sources: sums lie more than {MOST_NESTED} deep in each other; name all sources in one")
    made = _load(pathlib.Path(folder or ".") / part, depth) if isinstance(part, str) else _from_dict(
        part, f"{source}: sources[{number}]", folder, depth)
    if isinstance(made, Description):
        raise ParameterError(f"sources[{number}]: gives rates in Hz, which a sum does not take; name each source by itself "
                             "(--source), or give rates in samples")
    return made


def described(source: Source, sample_rate: float) -> Description | None:
    """A source in samples of that rate, Hz, as a Description; None of one that knows no other rate (fitted, learned)."""
    if KINDS.get(source.kind) is not type(source) or source.learned or source.parts != (source,):
        return None
    table: dict[str, Any] = {key: list(v) if isinstance(v, tuple) else v for key, v in known_values(source).items()}
    for name, key in type(source).keys.items():
        if key.role is Role.GRID:
            table[name] = sample_rate
        elif key.hertz and name in table:
            value = table.pop(name)
            table[key.hertz] = sample_rate / value if key.role is Role.PERIOD else value * sample_rate
    return Description(type(source), table, source.kind, lambda keys: _made(type(source), keys, source.kind, None))


def values(prior: Any) -> dict[str, float | str | tuple[int, int] | None]:
    """key -> value of a prior and its signal, as its TOML file would name them."""
    out = {}
    for part in (getattr(prior, "signal", None), prior):
        if dataclasses.is_dataclass(part):
            out.update({f.name: getattr(part, f.name) for f in dataclasses.fields(part)
                        if f.name not in ("signal", "table", "network", "bursts", "resampled")})
    for key in _MOSTLY_NONE:
        if not out.get(key, True) and not (key == "preamble" and hasattr(prior.signal, key)):
            del out[key]
    return prior.in_file(out) if isinstance(prior, Source) else out


def to_toml(prior: Source, comment: str = "") -> str:
    """The text of a prior file; nuisances that are not known are left out. Raises ValueError for nuisances per window."""
    return "\n".join([f"# {line}" for line in comment.splitlines()] + toml_lines(prior)) + "\n"


def toml_lines(prior: Source) -> list[str]:
    """The lines of to_toml, without a comment."""
    kind = prior.kind.removesuffix("-bursts")
    return [f'kind = "{kind}"', *(f"{key} = {text_of(value)}" for key, value in known_values(prior).items())]


def known_values(prior: Any) -> dict[str, float | str | tuple[int, int]]:
    """`values` less those that are unknown or say nothing; a carrier offset that would else be 0 is said to be unknown."""
    own = values(prior)
    if "carrier_offset" in own and own["carrier_offset"] is None and not prior.carrier_unknown:
        own["carrier_offset"] = UNKNOWN if _finds(type(prior), "carrier_offset") else None
    return {key: value for key, value in own.items() if not (
        value is None or (key == "channel" and value == (1,)) or (key == "symmetry" and value == 1)
        or (key == "delay_spread" and value == len(prior.channel) - 1))}


def text_of(value: Any) -> str:
    """A value as TOML writes it."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        value = "".join(c if c.isprintable() else " " for c in value)
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, complex):
        return f"[{value.real!r}, {value.imag!r}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {text_of(v)}" for key, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(text_of, value))}]"
    return repr(value)
