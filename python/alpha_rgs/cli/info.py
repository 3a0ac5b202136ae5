# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs info: what a recording holds, what a prior file means, which descriptions come with the package, and what the engine
computes with."""
import pathlib
from typing import Annotated

import typer

from ..errors import ParameterError
from .common import Datatype, SampleRate, print_table, prior_of, say


def info(
    file: Annotated[pathlib.Path | None, typer.Argument(metavar="FILE", help="A recording, a prior (.toml, or a folder), or the "
                                                        "name of a description; without it all of these are listed.")] = None,
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
    names: Annotated[bool, typer.Option("--list", help="List the descriptions that come with the package.")] = False,
    engine: Annotated[bool, typer.Option("--engine", help="Report what the engine computes with: kernels, threads, "
                                         "versions.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="Print a prior's file as it stands, to be copied and changed.")] = False,
) -> None:
    """Report what a recording holds, or what a prior file means and what will be estimated."""
    from ..sources import shipped
    from ..streaming import report

    if engine:
        if file is not None or names or toml:
            raise ParameterError("--engine: reports on this machine; leave out FILE, --list and --toml")
        print_table(report.engine_table(), "engine")
        return
    if names or file is None:
        if file is not None or toml:
            raise ParameterError("--list: lists all descriptions; leave out FILE and --toml")
        width = max(map(len, shipped.names()))
        for name in shipped.names():
            say(f"{name:{width}}  {shipped.summary(name)}")
        return
    prior = shipped.found(file)
    if toml:
        say(_file(prior).read_text(encoding="utf-8"), nl=False)
    elif prior.suffix == ".toml" or prior.is_dir():
        _describe(file)
    else:
        _recording(file, datatype, sample_rate)


def _describe(file: pathlib.Path) -> None:
    from ..sources import shipped
    from ..streaming import report

    prior, given = prior_of(file)
    name = shipped.called(shipped.found(file))
    if name in shipped.names():
        say(f"{name}: {shipped.summary(name)}")
    print_table(report.prior_table(prior, given), str(file))


def _recording(file: pathlib.Path, datatype: str | None, sample_rate: float | None) -> None:
    from ..io import recordings
    from ..sources import shipped
    from ..streaming import report

    stem = file.with_suffix("") if file.suffix.startswith(".sigmf-") else file
    if not file.exists() and not stem.with_name(f"{stem.name}.sigmf-meta").exists():
        raise ParameterError(f"{file}: no such recording or prior file{shipped.hint(file)}")
    print_table(report.recording_table(recordings.load(file, datatype, sample_rate)))


def _file(prior: pathlib.Path) -> pathlib.Path:
    """The TOML file of a prior. Raises ParameterError."""
    from ..sources import shipped

    file = prior / "prior.toml" if prior.is_dir() else prior
    if file.suffix != ".toml" or not file.is_file():
        raise ParameterError(f"{prior}: no such prior file{shipped.hint(prior)}")
    return file
