# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate live: how fast streams are separated."""
import importlib.util
import itertools
import json
import pathlib
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

_COLUMNS = {"sir_db": "SIR, dB", "snr_db": "SNR, dB", "kernel": "kernel", "through": "through", "threads": "threads",
            "ms_per_s": "MS/s", "per_cpu": "MS per CPU s", "wrong": "wrong bits", "bits": "of"}


def live(sir_db: Annotated[str, typer.Option(help="Signal over interference, comma-separated.")] = "-6,-12,-18",
         snr_db: Annotated[str, typer.Option(help="Signal over noise per sample; none: no noise.")] = "none,20,10",
         kernels: Annotated[str, typer.Option(help="native, torch, or the name of an instruction set, comma-separated.")] =
         "native,torch",
         through: Annotated[str, typer.Option(help="engine, flowgraph (with GNU Radio), or both; default what is "
                                              "there.")] = "",
         threads: Annotated[str, typer.Option(help="Of the engine, comma-separated.")] = "1,2",
         samples: Annotated[float, typer.Option(min=1e4, help="Of the native detector's streams.")] = 4e6,
         torch_samples: Annotated[float, typer.Option(min=1e4, help="Of torch's, which takes a hundred times as long.")] = 2e5,
         seed: Annotated[int, typer.Option(min=0, help="Of the streams.")] = 1,
         save: Annotated[pathlib.Path | None, typer.Option("--json", help="Write rates and rows to this file.")] = None,
         ) -> None:
    """QPSK under OFDM of which everything is known: million samples per second and wrong bits, native and torch side by side."""
    from . import live as study

    ways = through.split(",") if through else ["engine", *(["flowgraph"] if importlib.util.find_spec("gnuradio") else [])]
    levels = [None if text == "none" else float(text) for text in snr_db.split(",")]
    table = Table(*_COLUMNS.values())
    rows: list[dict[str, Any]] = []
    lists = sir_db.split(","), levels, kernels.split(","), ways, threads.split(",")
    for sir, snr, kernel, way, count in itertools.product(*lists):
        size = int(torch_samples if kernel == "torch" else samples)
        rows.append(study.row(study.Case(float(sir), snr), kernel, way, int(count), size, seed, 1 if kernel == "torch" else 5))
        table.add_row(*("none" if rows[-1][key] is None else str(rows[-1][key]) for key in _COLUMNS))
        if save:
            save.write_text(json.dumps(study.summary(rows), indent=1) + "\n")
    Console().print(table)
