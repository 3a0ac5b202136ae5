# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate live: how fast streams are separated."""
import importlib.util
import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

_COLUMNS = {"method": "method", "sir_db": "SIR, dB", "snr_db": "SNR, dB", "kernel": "kernel", "through": "through",
            "threads": "threads", "ms_per_s": "MS/s", "per_cpu": "MS per CPU s", "wrong": "wrong bits", "bits": "of"}


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
         unknown: Annotated[bool, typer.Option("--unknown/--known", help="Measure also streams of which the kinds alone are "
                                               "told, latency, a copy, and the paper's iterations; with GNU Radio. Some "
                                               "minutes.")] = True,
         save: Annotated[pathlib.Path | None, typer.Option("--json", help="Write rates and rows to this file.")] = None,
         ) -> None:
    """QPSK under OFDM of which everything is known: million samples per second and wrong bits, native and torch side by side."""
    from . import live as study

    ways = through.split(",") if through else ["engine", *(["flowgraph"] if importlib.util.find_spec("gnuradio") else [])]
    levels = [None if text == "none" else float(text) for text in snr_db.split(",")]
    table = Table(*_COLUMNS.values())
    rows: list[dict[str, Any]] = []

    def measured(case: study.Case, kernel: str, way: str, count: int, size: float, runs: int) -> None:
        rows.append(study.row(case, kernel, way, count, int(size), seed, runs))
        table.add_row(*("none" if rows[-1][key] is None else str(rows[-1][key]) for key in _COLUMNS))
        if save:
            save.write_text(json.dumps(study.summary(rows), indent=1) + "\n")

    counts = [int(text) for text in threads.split(",")]
    for sir, snr, kernel, way, count in itertools.product(sir_db.split(","), levels, kernels.split(","), ways, counts):
        slow = kernel == "torch"
        measured(study.Case(float(sir), snr), kernel, way, count, torch_samples if slow else samples, 1 if slow else 5)
    measured(study.Case(-12.0, 20.0, "alpha_rgs"), "native", ways[-1], counts[-1], torch_samples, 1)
    Console().print(table)
    if unknown and "flowgraph" in ways:
        figures = study.summary(rows)
        for more in _unknown(seed, figures["known_joint"]):
            figures |= more
            Console().print(*(f"{key}: {value:.4g}" if value is not None else f"{key}: none" for key, value in more.items()))
            if save:
                save.write_text(json.dumps(figures, indent=1) + "\n")


def _unknown(seed: int, known: float | None) -> Iterator[Mapping[str, float | None]]:
    """The figures of streams of which the kinds alone are told, and those that everything is compared with."""
    from . import live, live_tracked

    yield {"copy": round(live.copied(), 2)}
    yield {"published_over_joint": live.published_over_joint(seed)}
    fastest = 0.0
    for key, interference in (("ofdm", "OFDM-QPSK"), ("gmsk", "GMSK"), ("wifi", "802.11 bursts")):
        found = live_tracked.rates(interference, seed)
        fastest = max(fastest, found["ms_per_s"])
        yield {f"tracked_{key}": found["ms_per_s"], f"ber_tracked_{key}": found["ber"]}
    if known:
        yield {"tracked_over_known": known / fastest}
    yield live_tracked.locks(seed)
    yield live_tracked.latencies(seed, fastest)
