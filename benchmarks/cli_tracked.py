# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate tracked: streams of which the kinds alone are told."""
import json
import pathlib
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

# clock, relative; drift, cycles per sample²
_CONDITIONS = {"OFDM-QPSK": ((0.0, 0.0), (5e-5, 0.0), (0.0, 1e-9)), "GMSK": ((0.0, 0.0),)}


def tracked(windows: Annotated[int, typer.Option(min=20, help="Of a stream.")] = 200,
            seed: Annotated[int, typer.Option(min=0, help="Of the streams.")] = 1,
            save: Annotated[pathlib.Path | None, typer.Option("--json", help="Write the rows to this file.")] = None) -> None:
    """QPSK under OFDM and GMSK, the kinds alone told: million samples per second while they are searched, and once locked; and as
    the separator block has streams under OFDM separated: other alphabets, numerologies, clocks and drift."""
    from . import tracked as study
    from . import tracked_engine

    rows: list[dict[str, Any]] = []

    def add(made: dict[str, Any]) -> None:
        rows.append(made)
        if save:
            save.write_text(json.dumps(rows, indent=1) + "\n")

    for interference, conditions in _CONDITIONS.items():
        for clock, drift in conditions:
            add(study.row(interference, windows if interference == "OFDM-QPSK" else min(windows, 40), clock=clock, drift=drift,
                          seed=seed))
    _print(rows)
    count = len(rows)
    for name in tracked_engine.CASES:
        add(tracked_engine.row(name, seed=seed))
    _print(rows[count:])


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=160).print(table)
