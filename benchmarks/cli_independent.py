# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate independent: frames that receivers of others read."""
import json
import pathlib
from typing import Annotated, Any

import typer


def independent(
    case: Annotated[str, typer.Option(help="Cases whose name contains this, e.g. \"Mode S\"; default all.")] = "",
    recordings: Annotated[int, typer.Option(min=1, help="Of each case.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the recordings.")] = 1,
    peers: Annotated[pathlib.Path | None, typer.Option(metavar="DIR", help="Virtual environment that has pyais, adsb-generator, "
                                                       "lora-phy and softlora.")] = None,
    save: Annotated[pathlib.Path | None, typer.Option("--json", help="Write the rows to this file, after each.")] = None,
) -> None:
    """Signals of generators that are not ours, nothing known but the kinds: frames that receivers of others read without
    interference, with it, and after separation. Cases whose programs are missing are skipped, and say how to install them."""
    from .independent import study
    from .independent.peers import Peers

    names = study.chosen(case)
    if not names:
        raise typer.BadParameter(f"{case!r}: no such case; there are {', '.join(study.CASES)}", param_hint="--case")
    if save and not save.absolute().parent.is_dir():
        raise typer.BadParameter(f"{save}: there is no such folder", param_hint="--json")
    done: list[dict[str, Any]] = []
    for row in study.rows(names, recordings, seed, Peers(peers)):
        done.append(row)
        typer.echo(_line(row))
        if save:
            save.write_text(json.dumps({"seed": seed, "recordings": recordings, "rows": done}, indent=1) + "\n")
    if all("skipped" in row for row in done):
        raise typer.Exit(1)


def _line(row: dict[str, Any]) -> str:
    if "skipped" in row:
        return f"{row['case']}, {row['receiver']}: skipped; {row['skipped']}"
    return (f"{row['case']}, {row['receiver']}: of {row['frames']} frames {row['without']} without interference, "
            f"{row['not_separated']} not separated, {row['separated']} separated ({row['false']} false), {row['seconds']:.0f} s")
