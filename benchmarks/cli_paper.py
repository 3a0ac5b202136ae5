# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate paper: the paper's table beside ours, and what goes beyond it."""
import pathlib
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PARTS = "table, floor, noise, budget, omega or all, comma-separated."


def paper(output: Annotated[pathlib.Path | None, typer.Option("--output", "-o", help="Folder for units.jsonl, table.csv, "
                                                              "report.md and figures; default out/paper, or "
                                                              "out/paper-quick.")] = None,
          quick: Annotated[bool, typer.Option("--quick", help="A version of one or two minutes.")] = False,
          part: Annotated[str, typer.Option(help=f"What to measure: {_PARTS}")] = "all",
          cases: Annotated[str | None, typer.Option(help="Only these, or those with this in their names.")] = None,
          rows: Annotated[str | None, typer.Option(help="Only the rows with this in their labels, comma-separated.")] = None,
          sir_db: Annotated[str | None, typer.Option("--sir-db", help="Of all parts; by default each has its own.")] = None,
          esn0_db: Annotated[str | None, typer.Option("--esn0-db", help="Of part noise: numbers, or all for 6 to 20; default "
                                                      "10,14,18.")] = None,
          windows: Annotated[int | None, typer.Option(min=2, help="For each point; default 100 in the table, 3125 in floor, else "
                                                      "50.")] = None,
          slow_windows: Annotated[int, typer.Option(min=0, help="Likewise, rows of over 1000 evaluations; 0: none.")] = 25,
          again: Annotated[str | None, typer.Option(help="Drop what is measured of these rows, in the parts and cases chosen, "
                                                    "and measure them anew.")] = None,
          seed: Annotated[int, typer.Option(min=0, help="Of the mixtures.")] = 1,
          jobs: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 1,
          priors: Annotated[pathlib.Path, typer.Option(help="Folder of the trained priors.")] = pathlib.Path("priors"),
          reference: Annotated[pathlib.Path | None, typer.Option(help="An .npz with CommSignal2_acf, the autocorrelation of its "
                                                                 "recordings, to be drawn beside the stand-in's.")] = None,
          report_only: Annotated[bool, typer.Option("--report-only", help="Measure nothing.")] = False,
          into: Annotated[pathlib.Path | None, typer.Option(help="Put the report into this file, between the lines "
                                                            "<!-- alpha-rgs evaluate paper: begin --> and end.")] = None):
    """Every method on the paper's mixtures, on the same windows; resumable: what is measured is kept in units.jsonl."""
    from alpha_rgs.errors import AlphaRgsError

    output = output or pathlib.Path("out/paper-quick" if quick else "out/paper")
    try:
        _paper(output, quick, part, cases, rows, sir_db, esn0_db, windows, slow_windows, again, seed, jobs, priors, reference,
               report_only, into)
    except (AlphaRgsError, OSError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        more = " without --again" if again else ""
        typer.echo(f"interrupted; what is measured is kept in {output / 'units.jsonl'}: the same command{more} goes on from "
                   "there, with --report-only it shows what there is", err=True)
        raise typer.Exit(130) from None


def _decibels(option, text, default=None):
    """A tuple of numbers; the default for None (ParameterError)."""
    from alpha_rgs.errors import ParameterError

    try:
        return default if text is None else tuple(float(value) for value in text.split(","))
    except ValueError:
        raise ParameterError(f"{option}: {text!r}: numbers of decibels, comma-separated") from None


def _paper(output, quick, part, cases, rows, sir_db, esn0_db, windows, slow_windows, again, seed, jobs, priors, reference,
           report_only, into):
    from .paper import report, sweeps, table, units

    sirs = _decibels("--sir-db", sir_db, (-24, -12, -3) if quick else None)
    esn0s = sweeps.ESN0_ALL if esn0_db == "all" else _decibels("--esn0-db", esn0_db)
    if into:
        report.replace_between(into, None)        # before hours of work
    reference = sweeps.read_reference(reference)
    every = table.rows_of(quick)
    names = [row.label for row in (*every, *sweeps.EXTRA)]
    labels, anew = table.select(rows, names, "--rows"), table.select(again, names, "--again") if again else []
    cases = table.select_cases(cases)
    windows = windows or (4 if quick else None)
    parts = sweeps.select_parts("table" if quick and part == "all" else part)
    store = units.Store(output / "units.jsonl")
    todo, notes = table.plan(every, table.CASES, sirs or table.SIRS, windows or table.WINDOWS, slow_windows, seed, priors)
    if not report_only:
        _drop(store, anew, parts, cases, seed)
        todo = [unit for unit in todo if unit.case in cases] if "table" in parts else []
        for name in parts:
            todo += sweeps.plan(name, sweeps.Scope(tuple(cases), sirs, esn0s, windows, slow_windows, seed))
        _run([unit for unit in todo if unit.row in (*labels, sweeps.FREE)], store, jobs, "measuring")
        if "table" in parts:
            failed = table.notes_of(store.records, seed)
            timing = [unit for unit in table.timing_plan([row for row in every if row.label in labels], cases, seed, priors,
                                                         4 if quick else table.TIMING_WINDOWS)
                      if ("table", unit.case, unit.row) not in failed]
            if any(unit not in store for unit in timing):       # all or none: seconds are of one run
                _run(timing, store, 1, "timing", again=True)
    report.report(output, store, every, seed, notes, into, reference)


def _drop(store, labels, parts, cases, seed):
    """For --again: the rows' lines out of the store, the timing's with the table's."""
    parts = (*parts, "timing") if "table" in parts else parts
    dropped = store.drop(lambda r: r["row"] in labels and r["part"] in parts and r["case"] in cases and r["seed"] == seed)
    if dropped:
        typer.echo(f"{dropped} units dropped, to be measured anew", err=True)


def _run(wanted, store, jobs, name, again=False):
    """Measure under a progress bar; the time left follows from each row's seconds per window as known so far."""
    from .paper import table, units

    console = Console(stderr=True)
    weight = table.Cost(store.records)
    todo = [unit for unit in wanted if again or unit not in store]
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn(elapsed_when_finished=False))
    if len(wanted) > len(todo):
        console.print(f"{len(wanted) - len(todo)} of {len(wanted)} units are there already", highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=600) as bar:
        task = bar.add_task(name, total=sum(map(weight, todo)))

        def step(unit, result, cost):
            sir = "" if unit.sir_db is None else f" {unit.sir_db:g} dB"
            bar.update(task, advance=cost, description=f"{name}: {unit.row}, {unit.case}{sir}")
            if result and "unavailable" in result:
                console.print(f"[yellow]{unit.case}, {unit.row}:[/] {result['unavailable']}", highlight=False)

        units.run(todo, store, jobs, weight, step, again)
