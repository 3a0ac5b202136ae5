# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs separate: a recording taken apart, with a report."""
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ParameterError
from ..methods import OFFERED
from .common import Datatype, Output, Overwrite, SampleRate, print_table, say

if TYPE_CHECKING:
    import numpy as np

    from ..streaming.stream import StreamResult


def separate(
    mix: Annotated[pathlib.Path, typer.Argument(metavar="MIX", help="SigMF recording (.sigmf-meta, .sigmf) or raw file.")],
    output: Output,
    soi: Annotated[pathlib.Path | None, typer.Option(metavar="SOI.toml", help="Source of the signal of interest: TOML, "
                                                            "or a name of `alpha-rgs info --list`.")] = None,
    interference: Annotated[pathlib.Path | None, typer.Option(metavar="INT.toml",
                                                              help="Source of the interference: TOML, a folder, or a "
                                                                   "name.")] = None,
    source: Annotated[list[pathlib.Path] | None, typer.Option(metavar="A.toml", help="One source: TOML, a folder, or a name; "
                                                              "give it two to six times, in place of --soi and "
                                                              "--interference.")] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(OFFERED)}.")] = "auto",
    preset: Annotated[str | None, typer.Option(help="Of alpha_rgs: fast, white or paper; default fast, white where the "
                                                    "interference's network takes white noise only.")] = None,
    sir_db: Annotated[float | None, typer.Option(help="Power of the signal over the interference; else estimated.")] = None,
    snr_db: Annotated[float | None, typer.Option(help="Power of the signal (of --source: the first one) over noise, per sample; "
                                                      "else estimated.")] = None,
    window: Annotated[int | None, typer.Option(help="Samples separated at once; default 2560, or what --source needs.")] = None,
    hop: Annotated[int | None, typer.Option(help="Samples kept of each window; the rest is context. Default 2048.")] = None,
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
    overwrite: Overwrite = False,
) -> None:
    """Separate a recording.

    With --soi and --interference: writes soi, interference and symbols (one per symbol, on the alphabet's scale), soi.cleaned
    (the mixture less the interference) and soi.bits (one byte per bit, where decisions are unambiguous). With --source: for
    each source, by its file's stem, STEM (as received), STEM.cleaned (the mixture less all others), STEM.symbols and STEM.bits.
    All are SigMF but the bits; report.json says what was estimated and what was assumed.
    """
    from . import separation_files as files

    if source and (soi or interference):
        raise ParameterError("--source: names all sources; leave out --soi and --interference, or name these two by --source")
    options = files.Options(mix, output, method, preset, sir_db, snr_db, window, hop, datatype, sample_rate, overwrite)
    if source:
        print_summary(files.several(options, source, _with_progress), output)
    elif soi and interference:
        print_summary(files.pair(options, soi, interference, _with_progress), output)
    else:
        lacking = "--interference" if soi else "--soi"
        raise ParameterError(f"{lacking}: is missing; give --soi and --interference, or --source for each of two to six sources")


_LEAST_RATE = 1e-9      # error rate below which the LLRs' model of noise is not to be believed


def _with_progress(samples: "np.ndarray", sources: Any, interference: Any = None, **options: Any) -> "StreamResult":
    """separate_stream, with its progress on stderr."""
    from ..streaming import separate_stream
    from .progress import shown

    with shown("separating", "windows") as progress:
        return separate_stream(samples, sources, interference, progress=progress, **options)


def _give_or_take(report: Mapping[str, Any], name: str, form: str) -> str:
    """A figure of the report with its standard deviation, where it has one."""
    error = report[f"{name}_std"]
    return f"{report[name]:{form}}" + (f" ± {error:.1g}" if error else "")


def _powers(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of the power ratio, or of each source."""
    if "sources" in report:
        return [(row["name"], _of_source(row)) for row in report["sources"]]
    ratio = "no interference" if report["sir_db"] is None else _give_or_take(report, "sir_db", ".2f") + " dB"
    carriers = [(f"{row['name']}", _carrier(row)) for row in report["carrier_offsets"] if row["carrier_offset_hz"] is not None]
    return [("SIR", ratio), *carriers, *([("bits", f"none: {report['no_bits']}")] if report["no_bits"] else [])]


def _of_source(row: Mapping[str, Any]) -> str:
    """One source in words."""
    rate = row["error_rate"]
    parts = [row["kind"], "" if row["gain"] is None else f"amplitude {row['gain']:.3g}",
             "" if row["carrier_offset_hz"] is None else _carrier(row),
             "" if rate is None else f"{row['symbols']} symbols, error rate {_rate(rate['mean'])}",
             f"no bits: {row['no_bits']}" if row["symbols"] and row["no_bits"] else row["no_bits"]]
    return ", ".join(filter(None, parts))


def _carrier(row: Mapping[str, Any]) -> str:
    reach = "" if row["carrier_reach_hz"] is None else f" (within ±{row['carrier_reach_hz']:.6g} Hz)"
    return f"carrier offset {row['carrier_offset_hz']:+.6g} Hz{reach}"


def _samples(report: Mapping[str, Any]) -> str:
    """How many, at what rates."""
    inside = report["sample_rate_inside"]
    rates = "" if inside == report["sample_rate"] else f", separated at {inside:.9g} Hz"
    windows = "1 window" if report["windows"] == 1 else f"{report['windows']} windows"
    return f"{report['samples']} at {report['sample_rate']:.9g} Hz in {windows}{rates}"


def _noise(report: Mapping[str, Any]) -> str:
    """Its variance, and the band that this refers to: the noise is measured in the sources' bands, and may not be white."""
    return _give_or_take(report, "noise_var", ".3g") + (f" per sample, if it is white over all {report['sample_rate']:.9g} Hz; "
                                                        "estimated in the sources' bands")


def _rate(value: float) -> str:
    """An error rate that LLRs expect."""
    return f"{value:.2g}" if value >= _LEAST_RATE else f"below {_LEAST_RATE:g}"


def print_summary(report: Mapping[str, Any], output: pathlib.Path) -> None:
    """The table that ends `alpha-rgs separate`."""
    quality = report["quality_db"]
    rows = [("method", f"{report['method']} ({report['method_chosen']})"),
            ("samples", _samples(report)),
            *_powers(report),
            ("noise", _noise(report)),
            ("quality", "no symbols" if quality is None else f"{quality['mean']:.1f} dB, lowest {quality['min']:.1f} dB"),
            ("speed", f"{report['samples_per_second']:,.0f} samples/s, {report['seconds']:.2f} s")]
    rows += [("assumed", sentence) for sentence in report["assumed"]]
    rows += [("warning", sentence) for sentence in report["warnings"]]
    print_table(rows)
    say(f"written to {output}")
