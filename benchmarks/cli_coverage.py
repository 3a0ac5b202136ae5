# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate coverage: where separation works, as a picture."""
import json
import pathlib
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def coverage(
    quick: Annotated[bool, typer.Option("--quick", help="Two signals of interest under three kinds of interference.")] = False,
    figure: Annotated[pathlib.Path | None, typer.Option(help="Draw the cells into this PNG.")] = None,
    save: Annotated[pathlib.Path | None, typer.Option("--json", help="Write the cells and their summary, after each.")] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Of 2560 samples, in each cell; default 4, or 2 if quick.")] = None,
    seed: Annotated[int, typer.Option(help="Of the mixtures.")] = 1,
) -> None:
    """Where separation works: signals of interest under kinds of interference, each at several levels and with something of the
    signal unknown; and whether quality and LLRs agree with the errors. About an hour, --quick two minutes."""
    from . import coverage_kinds as kinds
    from .coverage import cell, grid, summary
    from .coverage_figure import draw

    for path in (figure, save):
        if path and not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"{path}: there is no such folder", param_hint="--figure" if path is figure else "--json")
    rows: list[dict[str, Any]] = []
    console, windows = Console(stderr=True), windows or (2 if quick else 4)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        cells: list[Any] = [partial(cell, *where) for where in grid(quick)]
        cells += [] if quick else [partial(kinds.cell, *where) for where in kinds.grid()]
        for measure in bar.track(cells, description="measuring"):
            rows.append(measure(windows, seed))
            if save:
                save.write_text(json.dumps({"windows": windows, "seed": seed, "summary": summary(rows), "cells": rows}, indent=1)
                                + "\n")
    if figure:
        draw(rows, figure)
    _print(rows, summary(rows))


def _print(rows: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """A line for each block, then what is true of all of them."""
    table = Table("signal of interest", "interference", *found["states"])
    for soi, interference in dict.fromkeys((r["soi"], r["interference"]) for r in rows):
        here = [r["state"] for r in rows if (r["soi"], r["interference"]) == (soi, interference)]
        table.add_row(soi, interference, *(str(here.count(state)) for state in found["states"]))
    table.add_section()
    table.add_row("all", "", *map(str, found["states"].values()))
    Console(width=max(Console().width, 100)).print(table)
    names = ("rank_correlation", "quality_correlation", "quality_correlation_all", "sinr_correlation_all")
    ranks = ["none" if found[k] is None else f"{found[k]:.2f}" for k in names]
    typer.echo(f"rank correlation with the true bit error rate of a window: of its stated rate {ranks[0]}, of -quality "
               f"{ranks[1]} within a signal of interest, {ranks[2]} over all (the true SINR's own: {ranks[3]})")
    typer.echo("confidence in a bit    bits      stated  right")
    for low, high, (bits, right, stated) in found["reliability"]:
        typer.echo(f"{low:6.3f} … {high:<6.3f} {bits:12d}" + (f"      {stated:.4f}  {right:.4f}" if bits else ""))
