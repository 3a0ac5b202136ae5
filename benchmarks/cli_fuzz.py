# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate fuzz: the parsers under files that nobody meant to write."""
import pathlib
import tempfile
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID


def _show(bar: Progress, task: TaskID, done: int) -> None:
    bar.update(task, completed=done)


def fuzz(executions: Annotated[int, typer.Option(min=1, help="Of each parser.")] = 1_000_000,
         parser: Annotated[str, typer.Option(help="description, metadata, header, weights, or all.")] = "all",
         seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same files.")] = 1,
         save: Annotated[pathlib.Path, typer.Option("--save", help="Folder for files that a parser does not cope with.")] =
         pathlib.Path("fuzz-findings")) -> None:
    """Files changed at random: each is read, or refused with a message; anything else is a finding, and the exit code 1."""
    from . import fuzzing

    if parser != "all" and parser not in fuzzing.PARSERS:
        raise typer.BadParameter(f"{parser!r}: one of {', '.join(fuzzing.PARSERS)}, all", param_hint="--parser")
    found = 0
    for name in fuzzing.PARSERS if parser == "all" else [parser]:
        console = Console(stderr=True)
        with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True,
                                                               disable=not console.is_terminal) as bar:
            task = bar.add_task(name, total=executions)
            read, corpus = fuzzing.PARSERS[name](pathlib.Path(folder))
            out = fuzzing.fuzz(read, corpus, executions, seed, partial(_show, bar, task))
        typer.echo(f"{name}: {out.executions} files, {out.read} read, {out.refused} refused, {len(out.faults)} findings; "
                   f"{out.executions / out.seconds:,.0f} per second")
        for number, (what, data) in enumerate(out.faults.items()):
            save.mkdir(parents=True, exist_ok=True)
            path = save / f"{name}-{seed}-{number}"
            path.write_bytes(data)
            typer.echo(f"  {what}: {path}")
        found += len(out.faults)
    raise typer.Exit(1 if found else 0)
