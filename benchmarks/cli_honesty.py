# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate honesty: whether what is told of windows is true, also where what the receiver was told is not."""
import json
import pathlib
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def honesty(
    seed: Annotated[int, typer.Option(help="Of the recordings.")] = 1,
    condition: Annotated[str, typer.Option(help="Conditions whose name holds this; default all.")] = "",
    save: Annotated[pathlib.Path | None, typer.Option("--json", help="Write the windows and their summary, after each.")] = None,
) -> None:
    """Whether error rates and warnings are true: linear modulations under seven kinds of interference, the kinds alone told, and
    one thing otherwise than told in each recording. About half an hour."""
    from .honesty import CONDITIONS, KINDS, study, summary

    chosen = [name for name in CONDITIONS if condition in name]
    if not chosen:
        raise typer.BadParameter(f"{condition!r} is in none of {', '.join(CONDITIONS)}", param_hint="--condition")
    if save and not save.absolute().parent.is_dir():
        raise typer.BadParameter(f"{save}: there is no such folder", param_hint="--json")
    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        for some in bar.track(study(seed, condition), len(chosen) * len(KINDS), description="measuring"):
            rows += some
            if save:
                save.write_text(json.dumps({"seed": seed, "summary": summary(rows), "windows": rows}, indent=1) + "\n")
    table = Table("otherwise than told", "windows", "wrong", "told falsely", "named", "false alarms", "refused")
    for name in [*chosen, "all"]:
        found = summary([row for row in rows if name in (row["condition"], "all")])
        if name == "all":
            table.add_section()
        table.add_row(name, *map(str, found.values()))
    Console(width=max(Console().width, 100)).print(table)
