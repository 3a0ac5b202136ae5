# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs separate: a recording taken apart, with a report."""
import pathlib
import platform
from typing import Annotated

import typer
from rich.console import Console

from ..errors import ParameterError
from .common import Datatype, Output, Overwrite, SampleRate, finite, levels, print_table, prior_of, write_json

METHODS = ("auto", "joint", "alpha_rgs", "amortised", "lmmse", "matched_filter")


def separate(
    mix: Annotated[pathlib.Path, typer.Argument(metavar="MIX", help="SigMF recording (.sigmf-meta, .sigmf) or raw file.")],
    soi: Annotated[pathlib.Path, typer.Option(metavar="SOI.toml", help="Source of the signal of interest.")],
    interference: Annotated[pathlib.Path, typer.Option(metavar="INT.toml", help="Source of the interference: TOML, or a folder.")],
    output: Output,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "auto",
    preset: Annotated[str | None, typer.Option(help="Of alpha_rgs: fast, white or paper; default fast, white where the "
                                                    "interference's network knows no colour.")] = None,
    sir_db: Annotated[float | None, typer.Option(help="Power of the signal over the interference; else estimated.")] = None,
    snr_db: Annotated[float | None, typer.Option(help="Power of the signal over noise, per sample; else estimated.")] = None,
    window: Annotated[int, typer.Option(help="Samples solved at once.")] = 2560,
    hop: Annotated[int, typer.Option(help="Samples kept of each window; the rest is context.")] = 2048,
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
    overwrite: Overwrite = False,
):
    """Separate a recording.

    Writes soi, interference and symbols (one per symbol, on the alphabet's scale) as SigMF, and report.json, into DIR.
    """
    from ..io import recordings
    from ..streaming import report as describe

    names = [f"{stem}.sigmf-{part}" for stem in ("soi", "interference", "symbols") for part in ("meta", "data")] + ["report.json"]
    with recordings.all_or_nothing(output, names, overwrite) as folder:
        soi_prior, soi_given = prior_of(soi)
        interference_prior, interference_given = prior_of(interference)
        method, reason = _method(method, soi_prior, interference_prior)
        if preset and method != "alpha_rgs":
            raise ParameterError(f"--preset: is for the method alpha_rgs, but the method is {method}; leave it out, or pass "
                                 "--method alpha_rgs")
        kappa, noise_var = levels(soi_prior, sir_db, snr_db)
        mixture = recordings.load(mix, datatype, sample_rate)
        rate = getattr(interference_prior, "sample_rate", None)
        if rate is not None and abs(mixture.sample_rate / rate - 1) > 1e-3:
            raise ParameterError(f"{interference}: sample_rate: it was fitted at {rate:.9g} Hz, but {mix} has "
                                 f"{mixture.sample_rate:.9g} Hz; resample one of the recordings")
        result = _with_progress(mixture.samples, soi_prior, interference_prior, window=window, hop=hop, method=method,
                                kappa=kappa, noise_var=noise_var, **({"preset": preset} if preset else {}))
        report = {
            "input": str(mix), "soi_prior": str(soi), "interference_prior": str(interference),
            "method": result.method, "method_chosen": reason,
            "samples": len(mixture.samples), "windows": len(result.quality), "window": window, "hop": hop,
            "sample_rate": mixture.sample_rate, "symbols": len(result.symbols),
            "quality_db": describe.spread(result.quality), "error_rate": describe.spread(result.error_rate),
            "not_believed": describe.unbelieved(soi_prior, result, window, hop), "clock_offset_ppm": result.clock_offset,
            "sir_db": _median(result.sir_db), "noise_var": result.noise_var,
            **{f"{name}_std": finite(value) for name, value in describe.deviations(result).items()},
            "evaluations": result.evaluations, "seconds": result.seconds,
            "samples_per_second": len(mixture.samples) / max(result.seconds, 1e-9),
            "estimated": describe.estimates(result.estimated, hop, _frame_length(interference_prior)),
            "assumed": describe.assumptions(soi_prior, interference_prior, soi_given, interference_given, result.estimated,
                                             result.settled),
            "warnings": describe.doubts(mixture, soi_prior, result),
            "versions": _versions(),
        }
        rate, about = mixture.sample_rate, f"of {mix.name} by alpha-rgs, method {result.method}"
        keep = {"frequency": mixture.frequency, "extra": {"method": result.method}}
        recordings.save(folder / "soi", result.soi, rate, description=f"Signal of interest {about}", **keep)
        recordings.save(folder / "interference", result.interference, rate, description=f"Interference {about}", **keep)
        if soi_prior.kind == "linear-modulation":
            rate = rate / soi_prior.signal.samples_per_symbol
        recordings.save(folder / "symbols", result.symbols, rate, description=f"Soft symbols {about}", **keep)
        write_json(folder / "report.json", report)
    _print_summary(report, output)


def _method(asked, soi, interference):
    """(name, why)."""
    from ..separators import choose

    name = choose(asked, soi, interference)
    if asked != "auto":
        return name, "as asked"
    words = [f"{'learned ' if prior.learned else ''}{prior.kind}" for prior in (soi, interference)]
    return name, "auto: both priors are structured" if name == "joint" else f"auto: {' under '.join(words)}"


def _with_progress(samples, *args, **kwargs):
    """separate_stream with a progress bar, when a person is watching."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from ..streaming.engine import Engine, separate_stream

    console = Console(stderr=True)
    columns = (TextColumn("separating"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} samples"),
               TimeRemainingColumn())
    engine = Engine(max_pending=128)    # own, not separate_stream's: that one is drained after Ctrl-C, which can take long
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(samples))
        result = separate_stream(samples, *args, engine=engine,
                                 progress=lambda done, total: bar.update(task, completed=done, total=total), **kwargs)
    engine.close()
    return result


def _frame_length(prior):
    return {"ofdm": lambda: prior.signal.frame_length, "gaussian": lambda: prior.period}.get(prior.kind, lambda: None)()


def _versions():
    import numpy
    import torch

    from .. import __version__

    return {"alpha_rgs": __version__, "torch": torch.__version__, "numpy": numpy.__version__, "python": platform.python_version()}


def _median(values):
    import numpy

    return finite(float(numpy.median(values)))


def _give_or_take(report, name, form):
    """A figure of the report with its standard deviation, where it has one."""
    error = report[f"{name}_std"]
    return f"{report[name]:{form}}" + (f" ± {error:.1g}" if error else "")


def _print_summary(report, output):
    quality = report["quality_db"]
    rows = [("method", f"{report['method']} ({report['method_chosen']})"),
            ("samples", f"{report['samples']} in {report['windows']} windows"),
            ("SIR", "no interference" if report["sir_db"] is None else _give_or_take(report, "sir_db", ".2f") + " dB"),
            ("noise", _give_or_take(report, "noise_var", ".3g") + " per sample"),
            ("quality", "no symbols" if quality is None else f"{quality['mean']:.1f} dB, lowest {quality['min']:.1f} dB"),
            ("speed", f"{report['samples_per_second']:,.0f} samples/s, {report['seconds']:.2f} s")]
    rows += [("assumed", sentence) for sentence in report["assumed"]]
    rows += [("warning", sentence) for sentence in report["warnings"]]
    print_table(rows)
    typer.echo(f"written to {output}")
