# SPDX-License-Identifier: GPL-3.0-or-later
"""The command alpha-rgs. torch, scipy and sigmf are imported inside the commands, so that --help is quick."""
import functools
import json
import math
import os
import pathlib
import platform
import signal
import sys
import traceback
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..errors import AlphaRgsError, ParameterError, RecordingError
from . import fit as cli_fit
from . import studies
from . import train as cli_train

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Take two signals on one frequency apart, each known only separately.")
app.add_typer(studies.app(), name="evaluate")
METHODS = ("auto", "joint", "alpha_rgs", "amortised", "lmmse", "matched_filter")

Output = Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into, all files or none.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")]
Datatype = Annotated[str | None, typer.Option(help="Of a raw file: cf32, cs16, cs8, cu8, or a SigMF name such as ci16_le.")]
SampleRate = Annotated[float | None, typer.Option(help="In Hz; needed where the file does not tell it.")]


def main():
    """The entry point. After an error or Ctrl-C the process does not wait for windows that are still being solved."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that temporary files go
    try:
        app()
        return
    except SystemExit as stop:
        if not stop.code:
            raise
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - reported with its traceback, then out
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)      # an ordinary exit would abort while the engine's thread is inside torch


def reports_errors(command):
    """Errors of the engine become one line on stderr and exit code 1; Ctrl-C exits with 130."""
    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except (AlphaRgsError, OSError) as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("interrupted; nothing was written", err=True)
            raise typer.Exit(130) from None
    return wrapped


def _version(show):
    if show:
        from .. import __version__

        typer.echo(f"alpha-rgs {__version__}")
        raise typer.Exit()


@app.callback()
def _common(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False):
    pass


@app.command()
@reports_errors
def separate(
    mix: Annotated[pathlib.Path, typer.Argument(metavar="MIX", help="SigMF recording (.sigmf-meta, .sigmf) or raw file.")],
    soi: Annotated[pathlib.Path, typer.Option(metavar="SOI.toml", help="Prior of the signal of interest.")],
    interference: Annotated[pathlib.Path, typer.Option(metavar="INT.toml", help="Prior of the interference: TOML, or a folder.")],
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
        soi_prior, soi_given = _prior(soi)
        interference_prior, interference_given = _prior(interference)
        method, reason = _method(method, soi_prior, interference_prior)
        if preset and method != "alpha_rgs":
            raise ParameterError(f"--preset: is for the method alpha_rgs, but the method is {method}; leave it out, or pass "
                                 "--method alpha_rgs")
        kappa, noise_var = _levels(soi_prior, sir_db, snr_db)
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
            "unreliable": result.unreliable, "clock_offset_ppm": result.clock_offset,
            "sir_db": _median(result.sir_db), "noise_var": result.noise_var,
            **{f"{name}_std": _finite(value) for name, value in describe.deviations(result).items()},
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
        _write_json(folder / "report.json", report)
    _print_summary(report, output)


@app.command()
@reports_errors
def simulate(
    output: Output,
    soi: Annotated[pathlib.Path | None, typer.Option(metavar="SOI.toml", help="Default: the paper's RRC-QPSK.")] = None,
    interference: Annotated[pathlib.Path | None, typer.Option(metavar="INT.toml", help="Default: the paper's OFDM.")] = None,
    sir_db: Annotated[float, typer.Option(help="Power of the signal over the interference; inf for no interference.")] = -12.0,
    snr_db: Annotated[float | None, typer.Option(help="Power of the signal over noise, per sample; default no noise.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Length of the recording.")] = 100_000,
    sample_rate: Annotated[float, typer.Option(help="In Hz.")] = 25e6,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same mixture.")] = 0,
    overwrite: Overwrite = False,
):
    """Make a mixture whose truth is known.

    Writes mixture, soi and interference (as received) as SigMF; the priors soi.toml and interference.toml with the true
    nuisances, as `alpha-rgs separate` reads them; and truth.json with the bits of all symbols inside.
    """
    from ..io import recordings
    from ..sources import mixtures
    from ..streaming import report as describe

    stems = ("mixture", "soi", "interference")
    names = [f"{stem}.sigmf-{part}" for stem in stems for part in ("meta", "data")]
    with recordings.all_or_nothing(output, [*names, "soi.toml", "interference.toml", "truth.json"], overwrite) as folder:
        if not 0 < sample_rate < math.inf:
            raise ParameterError(f"--sample-rate: {sample_rate} must be a positive number of Hz")
        soi_prior, interference_prior = mixtures.paper_priors(symbols=None)
        if soi:
            soi_prior = _prior(soi)[0]
            _check_soi(soi, soi_prior)
            _require_kind(soi, soi_prior, "linear-modulation")
        if interference:
            interference_prior = _prior(interference)[0]
            _require_kind(interference, interference_prior, *mixtures.SIMULATED)
            if interference_prior.kind == "ofdm" and interference_prior.signal.alphabet.symmetry is None:
                raise ParameterError(f"{interference}: constellation: 'gaussian' says that it is not known; name one to simulate")
        _levels(soi_prior, sir_db, snr_db)
        drawn = mixtures.draw(soi_prior, interference_prior, 1, samples, sir_db, snr_db, seed)
        levels = {"sir_db": _finite(sir_db), "snr_db": _finite(snr_db), "kappa": drawn.kappa, "noise_var": drawn.noise_var,
                  "seed": seed}
        truth = {**levels, "samples": samples, "soi": describe.plain(drawn.soi),
                 "interference": describe.plain(drawn.interference),
                 "bits": "".join(map(str, drawn.bits[0].tolist()))}
        comment = "; ".join(f"{key} {value:g}" for key, value in levels.items() if value is not None)
        note = [{"core:sample_start": 0, "core:sample_count": samples, "core:label": "simulated", "core:comment": comment}]
        parts = (("mixture", drawn.y, "Mixture"), ("soi", drawn.s, "Signal of interest alone"),
                 ("interference", drawn.kappa * drawn.b, "Interference alone, as received"))
        for stem, wave, about in parts:
            recordings.save(folder / stem, wave[0].numpy(), sample_rate, annotations=note, description=f"{about}, simulated",
                            extra=levels)
        (folder / "soi.toml").write_text(describe.to_toml(drawn.soi, "The signal of interest, as it was simulated."))
        (folder / "interference.toml").write_text(describe.to_toml(
            drawn.interference, "The interference, as it was simulated.\n"
            "Remove what alone this recording has (frame_offset or timing, phase) to have it estimated from the mixture."))
        _write_json(folder / "truth.json", truth)
    typer.echo(f"{output}: {samples} samples, {comment}")
    typer.echo(f"separate them: alpha-rgs separate {output / 'mixture.sigmf-meta'} --soi {output / 'soi.toml'} "
               f"--interference {output / 'interference.toml'} -o {output / 'separated'}")


@app.command()
@reports_errors
def info(
    file: Annotated[pathlib.Path, typer.Argument(metavar="FILE", help="A recording, or a prior (.toml, or a folder).")],
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
):
    """Say what a recording holds, or what a prior file means and what will be estimated."""
    from ..io import recordings
    from ..streaming import report as describe

    if file.suffix == ".toml" or file.is_dir():
        prior, given = _prior(file)
        _print_table(describe.prior_table(prior, given), str(file))
    else:
        _print_table(describe.recording_table(recordings.load(file, datatype, sample_rate)))


app.command()(reports_errors(cli_fit.fit))
app.command()(reports_errors(cli_train.train))


# ---- what the commands share ----------------------------------------------------------------------------------------------

def _prior(path):
    """(prior, the keys that its file sets)."""
    from .. import sources as priors
    from ..streaming import report as describe

    if not path.exists():
        raise ParameterError(f"{path}: no such prior file; a prior is a TOML file that describes one source, or a "
                             "folder made by alpha-rgs fit")
    return priors.load(path), describe.given_keys(path)


def _check_soi(path, prior):
    for key in ("timing", "phase", "gain"):
        if prior.kind == "linear-modulation" and getattr(prior, key) is None:
            raise ParameterError(f"{path}: {key} is missing; a signal cannot be drawn without it")


def _require_kind(path, prior, *kinds):
    if prior.kind not in kinds:
        raise ParameterError(f"{path}: kind: {prior.kind!r} cannot be simulated here; give a prior of kind "
                             f"{' or '.join(map(repr, kinds))}")


def _method(asked, soi, interference):
    """(name, why)."""
    from ..separators import choose

    name = choose(asked, soi, interference)
    if asked != "auto":
        return name, "as asked"
    words = [f"{'learned ' if prior.learned else ''}{prior.kind}" for prior in (soi, interference)]
    return name, "auto: both priors are structured" if name == "joint" else f"auto: {' under '.join(words)}"


def _levels(soi, sir_db, snr_db):
    """kappa and the noise variance from decibels; None stays None."""
    gain = 1.0 if getattr(soi, "gain", 1.0) is None else float(getattr(soi, "gain", 1.0))
    for option, value in (("--sir-db", sir_db), ("--snr-db", snr_db)):
        if value is not None and (math.isnan(value) or value < -200):
            raise ParameterError(f"{option}: {value} must be a number of decibels, -200 or more (inf: that source is absent)")
    kappa = None if sir_db is None else gain * 10 ** (-sir_db / 20)
    return kappa, None if snr_db is None else gain ** 2 * 10 ** (-snr_db / 10)


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

    return _finite(float(numpy.median(values)))


def _finite(value):
    return value if value is not None and math.isfinite(value) else None


def _write_json(path, value):
    try:
        path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    except ValueError as error:
        raise RecordingError(f"{path.name}: {error}") from None


def _print_table(rows, title=None):
    table = Table(show_header=False, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


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
    _print_table(rows)
    typer.echo(f"written to {output}")

