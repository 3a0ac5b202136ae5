# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate paper: the paper's table beside ours, and what goes beyond it."""
import pathlib
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PARTS = "table, noise, floor, budget, omega or all, comma-separated."


def paper(output: Annotated[pathlib.Path | None, typer.Option("--output", "-o", help="Folder for units.jsonl, table.csv, "
                                                              "report.md and figures; default out/paper, or "
                                                              "out/paper-quick.")] = None,
          quick: Annotated[bool, typer.Option("--quick", help="A version of one or two minutes.")] = False,
          part: Annotated[str, typer.Option(help=f"What to measure: {_PARTS}")] = "all",
          cases: Annotated[str | None, typer.Option(help="Only these, or those with this in their names.")] = None,
          rows: Annotated[str | None, typer.Option(help="Only the rows with this in their labels, comma-separated.")] = None,
          sir_db: Annotated[str | None, typer.Option("--sir-db", help="Of the table; default -24 to -3 in steps of 3.")] = None,
          windows: Annotated[int | None, typer.Option(min=2, help="For each point; default 100.")] = None,
          slow_windows: Annotated[int, typer.Option(min=0, help="Likewise, rows of over 1000 evaluations; 0: none.")] = 25,
          seed: Annotated[int, typer.Option(min=0, help="Of the mixtures.")] = 1,
          jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 1,
          priors: Annotated[pathlib.Path, typer.Option(help="Folder of the trained priors.")] = pathlib.Path("priors"),
          report_only: Annotated[bool, typer.Option("--report-only", help="Measure nothing.")] = False,
          into: Annotated[pathlib.Path | None, typer.Option(help="Put the report into this file, between the lines "
                                                            "<!-- alpha-rgs evaluate paper: begin --> and end.")] = None):
    """Every method on the paper's mixtures, on the same windows; resumable: what is measured is kept in units.jsonl."""
    from .errors import AlphaRgsError

    output = output or pathlib.Path("out/paper-quick" if quick else "out/paper")
    try:
        _paper(output, quick, part, cases, rows, sir_db, windows, slow_windows, seed, jobs, priors, report_only, into)
    except (AlphaRgsError, OSError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what is measured is kept in {output / 'units.jsonl'}: the same command goes on from there, "
                   "with --report-only it shows what there is", err=True)
        raise typer.Exit(130) from None


def _paper(output, quick, part, cases, rows, sir_db, windows, slow_windows, seed, jobs, priors, report_only, into):
    from . import paper_report, paper_sweeps, paper_table, paper_units
    from .errors import ParameterError

    try:
        sirs = [float(sir) for sir in (sir_db or ("-24,-12,-3" if quick else ",".join(map(str, paper_table.SIRS)))).split(",")]
    except ValueError:
        raise ParameterError(f"--sir-db: {sir_db!r}: numbers of decibels, comma-separated") from None
    if into:
        paper_report.replace_between(into, None)        # before hours of work
    every = paper_table.rows_of(quick)
    labels = paper_table.select(rows, [row.label for row in every], "--rows")
    chosen = [row for row in every if row.label in labels]
    cases = paper_table.select_cases(cases)
    windows = windows or (4 if quick else 100)
    parts = paper_sweeps.select_parts("table" if quick and part == "all" else part)
    store = paper_units.Store(output / "units.jsonl")
    units, notes = paper_table.plan(every, cases, sirs, windows, slow_windows, seed, priors)
    if not report_only:
        units = [unit for unit in units if unit.row in labels] if "table" in parts else []
        for name in parts:
            units += [unit for unit in paper_sweeps.plan(name, cases, windows, slow_windows, seed)
                      if not rows or unit.row in (*labels, paper_sweeps.FREE)]
        _run(units, store, jobs, "measuring")
        if "table" in parts:
            timing = paper_table.timing_plan(chosen, cases, seed, priors, windows=4 if quick else paper_table.TIMING_WINDOWS)
            failed = {key for key, _ in paper_table.notes_of(store.records, seed).items()}
            timing = [unit for unit in timing if ("table", unit.case, unit.row) not in failed]
            if any(unit not in store for unit in timing):       # all or none: seconds are of one run
                _run(timing, store, 1, "timing", again=True)
    paper_report.report(output, store, every, cases, sirs, seed, notes, into)


def _run(units, store, jobs, name, again=False):
    """Measure under a progress bar; the time left follows from each row's seconds per window as known so far."""
    from . import paper_table, paper_units

    console = Console(stderr=True)
    weight = paper_table.Cost(store.records)
    todo = [unit for unit in units if again or unit not in store]
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn(elapsed_when_finished=False))
    if len(units) > len(todo):
        console.print(f"{len(units) - len(todo)} of {len(units)} units are there already", highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=600) as bar:
        task = bar.add_task(name, total=sum(map(weight, todo)))

        def step(unit, result, cost):
            sir = "" if unit.sir_db is None else f" {unit.sir_db:g} dB"
            bar.update(task, advance=cost, description=f"{name}: {unit.row}, {unit.case}{sir}")
            if result and "unavailable" in result:
                console.print(f"[yellow]{unit.case}, {unit.row}:[/] {result['unavailable']}", highlight=False)

        paper_units.run(todo, store, jobs, weight, step, again)
