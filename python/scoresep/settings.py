# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GNU Radio Companion's variables for priors and engines stand for. Nothing here loads the engine (torch)."""

import difflib
import importlib.util
import os
import sys

from alpha_rgs.options import engine_settings as alpha_rgs_settings
from alpha_rgs.parsing import toml_file

_engines = {}


def prior(path):
    """The path of a prior file, or of a folder that holds prior.toml, checked to be there; `path` itself where it is a prior.

    A relative path is looked for in the working directory, then beside the running script, then among the installed
    examples, where the trained priors (priors/*.prior) lie too, then among the descriptions of well-known signals ("ais",
    "wifi": `alpha-rgs info --list`). Raises ValueError where the file is nowhere, or is no TOML.
    """
    if not isinstance(path, (str, os.PathLike)):
        return path
    path = os.fspath(path)
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    folders = [os.curdir, *([os.path.dirname(script)] if script else []), *example_folders()]
    for folder in folders:
        candidate = os.path.join(folder, path)
        if path and (os.path.isfile(candidate) or os.path.isfile(os.path.join(candidate, "prior.toml"))):
            return candidate if folder != os.curdir else path
    described = descriptions()
    if path.lower() in described:
        return described[path.lower()]
    near = difflib.get_close_matches(path.lower(), described, 1)
    meant = f"; did you mean the description {near[0]!r}?" if near else ""
    raise ValueError(f"{path or 'prior'}: no such prior file; give the path of a TOML file or of a prior's folder (looked in "
                     f"{', '.join(os.path.abspath(folder) for folder in folders)}), or a description's name{meant}")


def descriptions():
    """Paths of the descriptions that come with the engine, by name."""
    engine_package = importlib.util.find_spec("alpha_rgs")  # does not load it
    folders = engine_package.submodule_search_locations if engine_package else []
    found = [(folder, file) for folder in (os.path.join(root, "sources", "shipped") for root in folders)
             if os.path.isdir(folder) for file in os.listdir(folder)]
    return {file.removesuffix(".toml"): os.path.join(folder, file) for folder, file in found if file.endswith(".toml")}


def prior_table(path):
    """What a prior file, or a folder's prior.toml, says of the source: its keys, as they stand there; of a learned prior those
    of [source]. Raises ValueError where it is no TOML.
    """
    table = toml_file(os.path.join(path, "prior.toml") if os.path.isdir(path) else path)
    source = table.get("source")
    return source if isinstance(source, dict) else table


def engine(name="default", **settings):
    """The name of an engine, whose settings (device, threads, ...) are kept until a flowgraph starts and makes it.

    An engine of that name that is running already keeps the settings it has. Raises ValueError.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"engine: name: {name!r} must be a text")
    given = {key: value for key, value in settings.items() if value not in (None, "", 0)}
    _engines[name] = alpha_rgs_settings("engine: ", given)
    return name


def engine_settings(name):
    """The settings given to engine() for that name; none where it was not called."""
    return dict(_engines.get(name, {}))


def example_folders():
    """Where the module's example files and priors may be installed: share/gnuradio/examples/scoresep of its own prefix."""
    here = os.path.abspath(__file__)  # PREFIX/lib/python3.N/site-packages/gnuradio/scoresep/settings.py
    prefixes = dict.fromkeys([os.path.normpath(os.path.join(here, *[os.pardir] * 6)), sys.prefix])
    return [os.path.join(prefix, "share", "gnuradio", "examples", "scoresep") for prefix in prefixes]
