# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs fit: a Gaussian prior from recordings, with a report."""
import datetime
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from ..errors import ParameterError
from .common import Datatype, Overwrite, SampleRate, say

if TYPE_CHECKING:
    from ..io.recordings import Recording
    from ..sources import Gaussian
    from ..training.covariance_fit import Fit

_USED = 0.999           # share of samples that are not silence, below which there is a warning
_FILES = ("prior.toml", "weights.safetensors", "report.md", "spectrum.png")


def fit(
    recordings: Annotated[list[pathlib.Path], typer.Argument(metavar="REC...", help="Of the source alone: SigMF, or raw.")],
    output: Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="OUT.prior", help="Folder to write, all or nothing.")],
    period: Annotated[str | None, typer.Option(help="Samples after which its statistics repeat, or auto: estimated.")] = None,
    stationary: Annotated[bool, typer.Option("--stationary", help="Power spectrum only (the default).")] = False,
    length: Annotated[int | None, typer.Option(help="Lags of the covariance, samples; default 128, or the period.")] = None,
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a Gaussian prior (power spectrum, or covariance at a period) to recordings of a source alone, in seconds.

    Writes prior.toml, weights.safetensors, report.md and spectrum.png into the folder OUT.prior.
    """
    from ..io import recordings as files
    from ..io.checks import source_warnings
    from ..sources import folder as prior_folder
    from ..training import covariance_fit

    wanted = chosen_period(period, stationary)
    with files.all_or_nothing(output, _FILES, overwrite) as folder:
        loaded = [files.load(path, datatype, sample_rate) for path in recordings]
        rate = files.common_rate(loaded)
        warnings = [line for recording in loaded for line in source_warnings(recording)]
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("fitting", total=5)
            result = covariance_fit.fit([r.samples for r in loaded], wanted, length, rate, [r.path for r in loaded],
                                        lambda step, steps: bar.update(task, completed=step, total=steps))
        if result.used < _USED:
            warnings.append(f"{100 * (1 - result.used):.3g} % of the samples are silence and were left out; "
                            f"{100 * result.used:.3g} % were used, {result.bursts} bursts")
        if not result.curve:
            warnings.append("the last 20 % hold no stretch long enough to judge the prior on")
        verdict = _verdict(result, wanted)
        names = [path.name for path in recordings]
        prior_folder.write(result.prior, folder, _provenance(names, period, length, datatype, sample_rate))
        (folder / "report.md").write_text(_report(result, verdict, warnings, names, loaded), encoding="utf-8")
        _draw(result.prior, folder / "spectrum.png")
    for line in warnings:
        say(f"warning: {line}", err=True)
    say(verdict)
    for variance, measured, predicted in result.curve:
        say(f"held out, noise {10 * math.log10(variance):+.0f} dB: error {measured:.2f} dB, predicted {predicted:.2f} dB")
    say(f"written to {output}")


def chosen_period(period: str | None, stationary: bool) -> int | None:
    """1 for stationary, None to be estimated, or the period in samples. Raises ParameterError."""
    if stationary and period is not None:
        raise ParameterError("--stationary: excludes --period; give one of them")
    if period is None or period == "auto":
        return None if period else 1
    try:
        return int(period)
    except ValueError:
        raise ParameterError(f"--period: {period!r} must be a whole number of samples, or auto") from None


def _verdict(result: "Fit", wanted: int | None) -> str:
    """What the prior is, and how a period was estimated: a sentence."""
    prior = result.prior
    what = "stationary" if prior.period == 1 else f"period {prior.period} samples"
    text = f"{what}, {prior.lags} lags"
    if wanted is None and result.search is not None:
        _, clear, other, rest = result.search
        text += (f"; the recordings show no clear period (the best reaches {clear:.1f} standard deviations, 8 are needed)"
                 if prior.period == 1 else f"; found: {clear:.1f} standard deviations above chance, the next unrelated "
                 f"period ({other}) {rest:.1f}")
    return text


def _provenance(names: list[str], period: str | None, length: int | None, datatype: str | None,
                sample_rate: float | None) -> dict[str, Any]:
    from .. import __version__

    given = {"--period": period, "--length": length, "--datatype": datatype, "--sample-rate": sample_rate}
    command = " ".join(["alpha-rgs fit", *names, *(f"{key} {value}" for key, value in given.items() if value is not None)])
    return {"command": command, "recordings": names, "date": datetime.date.today().isoformat(), "version": __version__}


def _report(result: "Fit", verdict: str, warnings: Sequence[str], names: Sequence[str], loaded: "Sequence[Recording]") -> str:
    lines = ["# A Gaussian prior", "", f"Fitted to {', '.join(names)}: {sum(len(r.samples) for r in loaded)} samples at "
             f"{loaded[0].sample_rate:.9g} Hz, the first 80 % of each; {100 * result.used:.4g} % of the samples are not silence.",
             "",
             f"- {verdict[0].upper()}{verdict[1:]}.",
             f"- White noise added to make a covariance of the estimate: {10 * math.log10(result.added):.1f} dB of the power."]
    lines += [f"- Warning: {line}." for line in warnings]
    lines += ["", "![Power spectrum](spectrum.png)", "", f"## On the last 20 %, {result.held_out} samples",
              "White noise of known variance is added and removed again. *Measured*: what is left, relative to the power; "
              "*predicted*: what would be left if the source were Gaussian and of this covariance. Measured well above "
              "predicted: the held-out part differs from the part that was fitted.", "",
              "| noise variance per unit power | measured, dB | predicted, dB |", "|---|---|---|"]
    lines += [f"| {variance:g} | {measured:.2f} | {predicted:.2f} |" for variance, measured, predicted in result.curve]
    return "\n".join(lines) + "\n"


def _draw(prior: "Gaussian", path: pathlib.Path) -> None:
    """The power spectrum, and the covariance where it is periodic."""
    import numpy as np
    from matplotlib.figure import Figure

    rate = prior.sample_rate or 1.0
    figure = Figure(figsize=(7, 4 if prior.period == 1 else 7), layout="constrained")
    axes = figure.subplots(1 if prior.period == 1 else 2, 1, squeeze=False)[:, 0]
    density = 10 * np.log10(np.fft.fftshift(prior.psd(2048)).clip(1e-6))
    axes[0].plot(np.fft.fftshift(np.fft.fftfreq(2048, 1 / rate)) / 1e6, density, linewidth=1)
    axes[0].set(xlabel="frequency, MHz", ylabel="power density, dB (mean 0)")
    axes[0].grid(alpha=0.3)
    if prior.period > 1:
        image = axes[1].imshow(abs(prior.table).T, aspect="auto", origin="lower", vmax=abs(prior.table[:, 1:]).max() or None)
        axes[1].set(xlabel="position in the period, samples", ylabel="lag, samples", title="modulus of the covariance")
        figure.colorbar(image)
    figure.savefig(path, dpi=120)
