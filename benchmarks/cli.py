# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate: separators measured against the truth, a row at a time, or (paper) the whole table."""
import json
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .cli_coverage import coverage
from .cli_fuzz import fuzz
from .cli_honesty import honesty
from .cli_independent import independent
from .cli_live import live
from .cli_paper import paper
from .cli_tracked import tracked

app = typer.Typer(no_args_is_help=True, help="Measure separators against the truth. The same seed gives the same figures.")

Method = Annotated[str, typer.Option(help="joint, alpha_rgs, lmmse, basis, reverse_diffusion or matched_filter.")]
Sirs = Annotated[str, typer.Option("--sir-db", help="Ratios of powers, comma-separated.")]
Snr = Annotated[float | None, typer.Option(help="Signal to noise per sample, dB; left out: no noise.")]
Seed = Annotated[int, typer.Option(help="Of the mixtures.")]
Preset = Annotated[str | None, typer.Option(help="Of alpha_rgs: fast, white or paper.")]
Passes = Annotated[int | None, typer.Option(help="Of joint.")]
Save = Annotated[pathlib.Path | None, typer.Option("--json", help="Write the rows to this file, after each.")]
_ALL = "-3,-6,-9,-12,-15,-18,-21,-24"
app.command()(paper)
app.command()(coverage)
app.command()(honesty)
app.command()(independent)
app.command()(fuzz)
app.command()(live)
app.command()(tracked)
app.command("envelope", hidden=True)(coverage)         # its name before


@app.command()
def isolated(method: Method = "joint", sir_db: Sirs = _ALL, windows: Annotated[int, typer.Option(min=1)] = 100,
             snr_db: Snr = None, constellation: Annotated[str, typer.Option(help="Of the OFDM carriers.")] = "qpsk",
             seed: Seed = 1, preset: Preset = None, passes: Passes = None, save: Save = None) -> None:
    """Isolated windows of 160 QPSK symbols under OFDM of random offset and phase: the experiment of arXiv 2306.14411."""
    from . import families as evaluation

    options = _options(preset=preset, passes=passes)
    _rows(save, sir_db, lambda sir: evaluation.isolated(method, sir, windows, snr_db, seed, constellation, **options))


@app.command()
def stream(method: Method = "joint", sir_db: Sirs = _ALL, samples: Annotated[int, typer.Option(min=10_000)] = 800_000,
           snr_db: Snr = None, seed: Seed = 1, passes: Passes = None, save: Save = None) -> None:
    """One continuous mixture in overlapping windows: errors, also near the windows' seams, and speed."""
    from . import families as evaluation

    options = _options(passes=passes)
    _rows(save, sir_db, lambda sir: evaluation.stream(method, sir, samples, snr_db, seed, **options))


@app.command()
def families(windows: Annotated[int, typer.Option(min=1)] = 4, sir_db: Annotated[float, typer.Option()] = -10.0,
             snr_db: Annotated[float, typer.Option(help="Per sample.")] = 20.0, save: Save = None) -> None:
    """The paper's QPSK under interference of all families: bit error rates, the interference known and estimated;
    and errors of the estimates, in reported standard deviations (1 is right; a few windows say little of that: take a dozen)."""
    from . import families as evaluation

    _table(save, list(evaluation.FAMILIES), lambda name: evaluation.family(name, sir_db, snr_db, windows))


@app.command("any-wanted")
def any_wanted(recordings: Annotated[int, typer.Option(min=1, help="Of 20480 samples, at each SNR.")] = 4, seed: Seed = 1,
               case: Annotated[str, typer.Option(help="One of the cases; default all.")] = "", save: Save = None) -> None:
    """Any source wanted, all nuisances known: GMSK, OFDM and QPSK under stronger ones, and how many dB each loses against a
    receiver without interference."""
    from . import any_wanted as study

    names = [case] if case else list(study.CASES)
    rows = ((name, row) for name in names for row in study.curves(name, recordings, seed))
    _stream_rows(save, (row for _, row in rows))


@app.command("wanted")
def wanted(recordings: Annotated[int, typer.Option(min=1, help="Of 10752 samples, of each case.")] = 2, seed: Seed = 1,
                 case: Annotated[str, typer.Option(help="Cases whose name holds this, or fractional; default all.")] = "",
                 save: Save = None) -> None:
    """Any kind wanted, nothing known but the kinds: how many dB each loses against a receiver without interference; and QPSK at
    any number of samples per symbol under OFDM of another rate."""
    from . import wanted as study

    names = [name for name in (*study.CASES, "fractional") if case.lower() in name.lower()]
    if not names:
        raise typer.BadParameter(f"{case}: no such case; the cases are {'; '.join((*study.CASES, 'fractional'))}",
                                 param_hint="--case")
    _stream_rows(save, (row for name in names for row in (
        study.fractional(seed=seed) if name == "fractional" else study.rows(name, recordings, seed))))


@app.command()
def pilots(recordings: Annotated[int, typer.Option(min=1, help="Of 10752 samples, of each case.")] = 4, seed: Seed = 1,
           save: Save = None) -> None:
    """802.11a with pilots beside QPSK, nothing known but the kinds: what it helps to say which carriers are pilots, and what it
    costs where they are not."""
    from . import pilots as study

    _stream_rows(save, study.rows(recordings, seed))


@app.command("any-learned")
def any_learned(gmsk: Annotated[pathlib.Path, typer.Option(help="Source of GMSK.")] = pathlib.Path("priors/gmsk.prior"),
                ofdm: Annotated[pathlib.Path, typer.Option(help="Source of OFDM.")] = pathlib.Path("priors/ofdm-qpsk.prior"),
                recordings: Annotated[int, typer.Option(min=1, help="Of 20480 samples, at each SNR.")] = 2, seed: Seed = 1,
                save: Save = None) -> None:
    """GMSK under OFDM by denoisers alone, exact ones and networks: how many dB the networks lose."""
    from alpha_rgs.sources import load

    from . import any_wanted as study

    _stream_rows(save, study.learned(load(gmsk), load(ofdm), recordings, seed))


def _stream_rows(save: pathlib.Path | None, rows: Iterable[dict[str, Any]]) -> None:
    """Print rows as they come, and save them."""
    done: list[dict[str, Any]] = []
    for row in rows:
        done.append(row)
        typer.echo(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
        if save:
            save.write_text(json.dumps(done, indent=1) + "\n")


@app.command()
def recorded(folder: Annotated[pathlib.Path, typer.Argument(help="That holds real_mix.py and, beside it, the captures.")],
             wifi: Annotated[str, typer.Option(help="Recordings, comma-separated; default all six.")] = "",
             sir_db: Sirs = "-5,-10,-15", seeds: Annotated[int, typer.Option(min=1, help="Draws of each.")] = 24,
             first: Annotated[int, typer.Option(min=0, help="Seed of the first draw.")] = 0,
             inside: Annotated[bool, typer.Option("--inside", help="Windows inside one WiFi frame's data only.")] = False,
             prior: Annotated[pathlib.Path | None, typer.Option(help="Of the WiFi; default preset = \"802.11\".")] = None,
             given: Annotated[bool, typer.Option("--given", help="Timing, carrier offset, phase and gain of the QPSK are given, "
                                                 "as found in its frame alone.")] = False,
             save: Save = None) -> None:
    """A recorded QPSK frame under recorded WiFi, nothing known but the two kinds: mean bit errors of 280."""
    from . import recorded as study

    cases = [(name, sir) for sir in _decibels(sir_db) for name in (wifi.split(",") if wifi else study.RECORDINGS)]
    _table(save, cases, lambda case: study.recorded(folder, case[1], case[0], seeds, inside, first, prior, given))


@app.command("wifi-wanted")
def wifi_wanted(folder: Annotated[pathlib.Path, typer.Argument(help="As for recorded.")],
           wifi: Annotated[str, typer.Option(help="Recording.")] = "wifi_11a_24M_conducted",
           sir_db: Annotated[str, typer.Option(help="WiFi over QPSK, comma-separated.")] = "10,5,0", save: Save = None) -> None:
    """Recorded WiFi is wanted, a recorded QPSK signal disturbs it: frames with a valid checksum before and after."""
    from . import recorded as study

    _table(save, _decibels(sir_db), lambda sir: study.wanted(folder, sir, wifi))


@app.command()
def others(folder: Annotated[pathlib.Path, typer.Argument(help="As for recorded.")],
           signals: Annotated[str, typer.Option(help="Comma-separated; default gsm,gfsk,adsb,lte,nbiot,v2x.")] = "",
           sir_db: Annotated[str, typer.Option(help="QPSK over recording, comma-separated.")] = "10,5,0,-5,-10,-15",
           priors: Annotated[pathlib.Path, typer.Option(help="Folder that holds gmsk.prior.")] = pathlib.Path("priors"),
           seed: Annotated[int, typer.Option(help="Of the QPSK's bits.")] = 1, save: Save = None) -> None:
    """A known QPSK under and over recorded GSM, GFSK, ADS-B, LTE: its bit error rate, and what a receiver gets of the recorded
    signal; separated, and separated where the quality says so."""
    from . import recorded as study

    pairs = [(name, sir) for name in (signals.split(",") if signals else study.OTHERS) for sir in _decibels(sir_db)]
    _table(save, pairs, lambda pair: study.others(folder, pair[0], pair[1], priors, seed))


@app.command()
def learned(priors: Annotated[pathlib.Path, typer.Option(help="Folder of the learned priors.")] = pathlib.Path("priors"),
            cases: Annotated[str, typer.Option(help="case:SIR, comma-separated.")] = "dsss-noise:-18,ofdm-qpsk:-12",
            windows: Annotated[int, typer.Option(min=2)] = 128,
            iterations: Annotated[str, typer.Option(help="Of the published setting.")] = "30,100,300,1000", seed: Seed = 1,
            figure: Annotated[pathlib.Path | None, typer.Option(help="Draw the rows into this PNG.")] = None,
            save: Save = None) -> None:
    """Learned priors: bit error rate against time per window, on two cores."""
    from alpha_rgs.errors import AlphaRgsError

    from . import learned as study

    rows: list[dict[str, Any]] = []
    try:
        for text in cases.split(","):
            case, _, sir = text.partition(":")
            rows += study.cost(priors, case, float(sir), windows, [int(n) for n in iterations.split(",") if n], seed,
                               _print_row)
            if save:
                save.write_text(json.dumps(rows, indent=1) + "\n")
    except (AlphaRgsError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if figure:
        study.draw(rows, figure)


@app.command()
def throughput(priors: Annotated[pathlib.Path, typer.Option(help="Folder of the learned priors.")] = pathlib.Path("priors"),
               cases: Annotated[str, typer.Option(help="case:SIR, comma-separated.")] = "dsss-noise:-18,ofdm-qpsk:-12",
               batches: Annotated[str, typer.Option(help="Windows at once, comma-separated; thousands on a GPU.")] = "64,512",
               device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: cuda where there is one.")] = "auto",
               seed: Seed = 1, save: Save = None) -> None:
    """Both sources learned, α-RGS: windows and samples per second on one device, all else found in the mixture; and the bit
    error rate at that speed."""
    from alpha_rgs.cli.common import chosen_device

    from . import learned as study

    try:
        pairs = [text.split(":") for text in cases.split(",")]
        rows = [(case, float(sir), int(n)) for case, sir in pairs for n in batches.split(",")]
    except ValueError:
        raise typer.BadParameter("case:SIR in dB and windows, whole numbers, comma-separated",
                                 param_hint="--cases, --batches") from None
    if min(n for *_, n in rows) < 2:
        raise typer.BadParameter("two windows or more at once", param_hint="--batches")
    _table(save, rows, lambda row: study.throughput(priors, row[0], row[1], row[2], chosen_device(device), seed))


@app.command()
def denoising(
    prior: Annotated[pathlib.Path, typer.Argument(metavar="PRIOR", help="Whose denoiser is judged.")],
    recording: Annotated[pathlib.Path, typer.Argument(metavar="REC", help="Of its source alone.")],
    reference: Annotated[pathlib.Path, typer.Option(metavar="REF.toml", help="An exact prior of the same source.")],
    window: Annotated[int, typer.Option(min=16, help="Samples denoised at once.")] = 2560,
    hop: Annotated[int | None, typer.Option(min=1, help="From one window's first sample to the next's; default window.")] = None,
    first: Annotated[int, typer.Option(min=0, help="First sample of the first window.")] = 0,
    resample: Annotated[str | None, typer.Option(help="P/Q: to be done first; all else refers to the new rate.")] = None,
    carrier_offset: Annotated[float, typer.Option(help="Of the recording, to be removed, cycles per sample.")] = 0.0,
    datatype: Annotated[str | None, typer.Option(help="Of a raw file.")] = None,
    sample_rate: Annotated[float | None, typer.Option(help="In Hz, where the file does not say it.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Noises per window.")] = 1, save: Save = None,
) -> None:
    """Noise added to a recording and removed again, by a prior and by an exact one; windows of a tenth of the median power and
    less are left out."""
    from alpha_rgs.errors import AlphaRgsError
    from alpha_rgs.io.recordings import windows_of_recording
    from alpha_rgs.sources import load
    from alpha_rgs.training import denoising_metrics

    try:
        cut = windows_of_recording(recording, window, hop or window, first, resample, carrier_offset, datatype, sample_rate)
        points = denoising_metrics.recorded(load(prior), load(reference), cut, draws=draws)
    except AlphaRgsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    _table(save, points, lambda p: dict(noise_var=p.noise_var, noisy_db=p.linear, prior_db=p.network, exact_db=p.exact,
                                        gap_db=p.gap, windows=len(cut)))


@app.command("noise-floor")
def noise_floor(sir_db: Annotated[str, typer.Option(help="QPSK over OFDM, comma-separated.")] = "-5,-10",
                snr_db: Annotated[str, typer.Option(help="Per sample, comma-separated; inf: no noise.")] = "inf,30,20",
                windows: Annotated[int, typer.Option(min=1, help="Of each pair, 2560 samples.")] = 48,
                seed: Seed = 1, save: Save = None) -> None:
    """Isolated windows of QPSK under OFDM with little noise or none, kinds alone known, carrier offsets up to 0.01 cycles per
    sample: how many are separated wrongly, and how many of those are reported as right."""
    from . import noise_floor as study

    cases = [(sir, None if snr == math.inf else snr) for sir in _decibels(sir_db) for snr in _decibels(snr_db)]
    _table(save, cases, lambda case: study.cell(case[0], case[1], windows, seed))


@app.command()
def bursts(case: Annotated[str, typer.Option(help="Only those whose name holds this, such as \"DMR in bursts\".")] = "",
           draws: Annotated[int, typer.Option(min=1, help="Windows of each case.")] = 3, seed: Seed = 1,
           save: Save = None) -> None:
    """Windows with two bursts of one source beside a source that is always on, kinds alone known: the SINR of both, how far the
    edges of bursts are off, and what is claimed in gaps."""
    from . import bursts as study

    named = [one for one in study.CASES if case.lower() in study.label(*one).lower()]
    if not named:
        raise typer.BadParameter(f"{case!r}: no case holds this; there are {', '.join(study.label(*one) for one in study.CASES)}",
                                 param_hint="--case")
    _table(save, named, lambda one: study.case(one[0], one[1], one[2], draws, seed))


def _print_row(row: dict[str, Any]) -> None:
    ber = "" if row["ber"] is None else f", BER {row['ber']:.3g} ±{row['ber_se']:.2g}"
    typer.echo(f"{row['case']} {row['sir_db']:g} dB, {row['label']}: {row['evaluations']} evaluations, "
               f"{row['ms_per_window']:.3g} ms per window{ber}")


def _options(**given: Any) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _decibels(sir_db: str) -> list[float]:
    try:
        return [float(sir) for sir in sir_db.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{sir_db!r}: numbers of decibels, comma-separated", param_hint="--sir-db") from None


def _rows(save: pathlib.Path | None, sir_db: str, measure: Callable[[float], dict[str, Any]]) -> None:
    _table(save, _decibels(sir_db), measure)


def _table(save: pathlib.Path | None, cases: Iterable[Any], measure: Callable[[Any], dict[str, Any]]) -> None:
    """Measure each case, under a progress bar; print all, and save as they come."""
    from alpha_rgs.errors import AlphaRgsError

    rows: list[dict[str, Any]] = []
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            for case in bar.track(cases, description="measuring"):
                rows.append(measure(case))
                if save:
                    save.write_text(json.dumps(rows, indent=1) + "\n")
    except AlphaRgsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=max(Console().width, 150)).print(table)
