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
    """QPSK under OFDM and GMSK, the kinds alone told: million samples per second while they are searched, and once locked."""
    from . import tracked as study

    rows: list[dict[str, Any]] = []
    for interference, conditions in _CONDITIONS.items():
        for clock, drift in conditions:
            rows.append(study.row(interference, windows if interference == "OFDM-QPSK" else min(windows, 40), clock=clock,
                                  drift=drift, seed=seed))
            if save:
                save.write_text(json.dumps(rows, indent=1) + "\n")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=160).print(table)
