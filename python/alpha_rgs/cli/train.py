# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs train: a learned prior from recordings of a source, or from the file that describes it, with a report."""
import contextlib
import datetime
import os
import pathlib
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import ParameterError
from .fit import chosen_period

_FILES = ("prior.toml", "weights.safetensors", "report.md", "denoising.png")
_NETWORKS = ("fast", "ofdm", "bursts", "diffwave", "unet", "wavenet")
_SUPERVISED = _NETWORKS[4:]


def train(
    recordings: Annotated[list[pathlib.Path] | None, typer.Argument(metavar="[REC...]", help="Of the source alone: SigMF, or "
                                                                    "raw.", show_default=False)] = None,
    output: Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="OUT.prior", help="Folder to write, all or "
                                                 "nothing.")] = ...,
    synthetic: Annotated[pathlib.Path | None, typer.Option(metavar="SOURCE.toml", help="Instead of recordings: draw the source "
                                                           "that this prior file describes.")] = None,
    against: Annotated[pathlib.Path | None, typer.Option(metavar="SOI", help="Train on mixtures with this signal of interest (a "
                                                         "prior), for one pass: --method amortised.")] = None,
    sir_db: Annotated[str, typer.Option("--sir-db", help="With --against: least and greatest ratio of the signal of interest to "
                                        "this source.")] = "-27,0",
    noise_db: Annotated[str | None, typer.Option("--noise-db", help="With unet and wavenet: least and greatest power of white "
                                                 "noise in the mixtures over this source; default: no noise.")] = None,
    begin: Annotated[pathlib.Path | None, typer.Option("--from", metavar="PRIOR", help="Begin with the weights of this prior, a "
                                                       "network of the same sizes, instead of random ones.")] = None,
    network: Annotated[str, typer.Option(help="fast, ofdm (it knows a Fourier transform behind a cyclic prefix), bursts (for "
                                         "802.11: carrier by carrier), or diffwave (as the paper has it; for a GPU); with "
                                         "--against also unet or wavenet (the supervised reference).")] = "fast",
    channels: Annotated[int, typer.Option(min=4, max=1024, help="Of the network; the paper's diffwave: 64, 128 or 256, unet 32, "
                                            "wavenet 128.")] = 64,
    blocks: Annotated[int | None, typer.Option(min=1, max=64, help="Of the network; default 3 for a linear modulation, else 8; "
                                               "diffwave and wavenet 30; of unet: halvings, 5; of bursts: rounds of decisions, "
                                               "3.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, max=512, help="Samples per hop of fast; a linear modulation's is its "
                                               "samples_per_symbol; default 4.")] = None,
    period: Annotated[str | None, typer.Option(help="Of recordings: samples after which the statistics repeat, or auto (found); "
                                               "the stride then, and where periods begin is found in each window.")] = None,
    window: Annotated[int | None, typer.Option(min=64, max=65536, help="Samples of a training window; default about "
                                               "1280.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of training.")] = 8000,
    batch: Annotated[int, typer.Option(min=1, help="Windows per step and process.")] = 64,
    rate: Annotated[float, typer.Option(help="Of learning, at its peak.")] = 3e-3,
    white: Annotated[bool, typer.Option("--white", help="Train fast on white noise only.")] = False,
    colour: Annotated[bool, typer.Option("--colour", help="Train diffwave on noise of random colour too, and tell it "
                                         "which: as a denoiser, not by the paper's noise prediction.")] = False,
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 (mixed).")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: cuda where there is one.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, windows and noise.")] = 0,
    datatype: Annotated[str | None, typer.Option(help="Of a raw file: cf32, cs16, cs8, cu8, or a SigMF name.")] = None,
    sample_rate: Annotated[float | None, typer.Option(help="In Hz; needed where the file does not tell it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
):
    """Train a prior: a network that denoises one source, from recordings of it alone, or from its description.

    Writes prior.toml, weights.safetensors, report.md and denoising.png into the folder OUT.prior. While it trains,
    OUT.prior.training holds a checkpoint, from which the same command goes on after Ctrl-C or a crash, and a log for
    TensorBoard. Several processes: torchrun --nproc-per-node 2 -m alpha_rgs.cli train ...
    """
    import torch

    from ..io import recordings as files
    from ..nets import build
    from ..sources import folder as prior_folder
    from ..training.dataset_builder import Corpus
    from ..training.trainer import Settings, Trainer

    if bool(recordings) == bool(synthetic):
        raise ParameterError("train: give either recordings of the source or --synthetic with the file that describes it" + (
            ", not both" if recordings else ""))
    if not 0 < rate < float("inf"):
        raise ParameterError(f"--rate: {rate} must be a positive number")
    if against and white:
        raise ParameterError("--white: a network for one pass (--against) takes the colour of mixtures; leave one of the two out")
    _one_of("--network", network, _NETWORKS)
    if network in _SUPERVISED and not against:
        raise ParameterError(f"--network: {network} learns from mixtures; give the signal of interest with --against")
    if white and network == "bursts":
        raise ParameterError("--white: bursts is told the noise of each carrier; leave it out")
    if noise_db and network not in _SUPERVISED:
        raise ParameterError(f"--noise-db: is for --network {' and '.join(_SUPERVISED)}; leave it out")
    if colour and (network != "diffwave" or white):
        raise ParameterError("--colour: is for --network diffwave, and excludes --white; fast takes colour anyway")
    coloured = (network in ("fast", "ofdm", "bursts") or colour) and not white
    settings = Settings(steps, batch, rate, coloured=coloured, precision=_one_of("--precision", precision, (
        "float32", "bfloat16")), seed=seed)
    noise, about = _against(against, sir_db, noise_db, network)
    with files.all_or_nothing(output, _FILES, overwrite) as folder, _processes(device) as (place, first):
        data = Corpus(recordings or [], synthetic, network, stride, chosen_period(period, False), window, datatype, sample_rate)
        table = _table(network, channels, blocks, white, colour, against, data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            denoiser = build(table)
        if begin is not None:
            start = _network(begin, table)
            denoiser.load_state_dict(start.state_dict())
        denoiser.spectrum = data.source.spectrum(512)
        if data.carriers is not None:
            denoiser.load_state_dict(denoiser.state_dict() | data.carriers[0])
        if data.pseudo is not None:
            denoiser.pseudo = torch.view_as_real(data.pseudo).float().contiguous()
        work = output.with_name(output.name + ".training")
        work.mkdir(parents=True, exist_ok=True)
        about = " ".join(filter(None, (data.about, about, str(table), begin and repr(start))))
        trainer = Trainer(denoiser, data.source, settings, work, place, about, noise or data.noise)
        if first and trainer.step:
            typer.echo(f"going on from step {trainer.step} of {steps}, in {work}", err=True)
        history = _run(trainer, work, first)
        if not first:
            raise typer.Exit()      # the folder is the first one's to move into place
        from ..training import model_card as report_training

        prior = data.prior(trainer.finished())
        given = {"--from": begin and begin.name, "--against": against and against.name,
                 "--sir-db": sir_db if against else None, "--noise-db": noise_db, "--network": network,
                 "--channels": None if network in ("ofdm", "bursts") else channels,
                 "--blocks": blocks, "--stride": stride, "--period": period, "--window": window, "--steps": steps,
                 "--batch": batch, "--rate": rate, "--white": white or None, "--colour": colour or None,
                 "--precision": precision, "--seed": seed}
        provenance = _provenance(data, given, begin)
        prior_folder.write(prior, folder, provenance)
        told = report_training.write(folder, prior, data, provenance, history, trainer, noise)
    for line in data.warnings:
        typer.echo(f"warning: {line}", err=True)
    for line in told:
        typer.echo(line)
    typer.echo(f"written to {output}")


def _against(path, sir_db, noise_db, network):
    """(what is drawn as noise, or None for Gaussian noise, and a text that tells of it)."""
    from ..sources import load
    from ..training import datasets as sources
    from ..training.dataset_builder import Mixtures

    if path is None:
        return None, ""
    sir = _range("--sir-db", sir_db)
    prior = load(path)
    if prior.kind != "linear-modulation":
        raise ParameterError(f"{path}: kind: {prior.kind!r} must be 'linear-modulation' to train against")
    if network in _SUPERVISED:
        return Mixtures(prior, sir, noise_db and _range("--noise-db", noise_db)), f"against {prior} {sir} {noise_db}"
    if network != "fast":
        raise ParameterError(f"--network: {network} is not trained on mixtures; --against needs fast, unet or wavenet")
    return sources.SignalNoise(prior, sir), f"against {prior.signal} {sir[0]} {sir[1]}"


def _range(option, text):
    try:
        low, high = (float(value) for value in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not -300 < low <= high < 300:
        raise ParameterError(f"{option}: {text!r} must be two numbers of decibels, the least and the greatest")
    return low, high


def _network(path, table):
    """The network of the prior at `path`, if it is what `table` describes (ParameterError)."""
    from ..sources import load

    prior = load(path)
    if not prior.learned:
        raise ParameterError(f"--from: {path}: holds no network; name the folder of a trained prior")
    own = prior.network.table
    for key in own | table:
        if own.get(key) != table.get(key):
            raise ParameterError(f"--from: {path}: {key} of its network is {own.get(key)!r}, but of the one to be trained "
                                 f"{table.get(key)!r}; they must agree")
    return prior.network


def _table(network, channels, blocks, white, colour, against, data):
    """The [network] of prior.toml."""
    from ..nets.denoiser import CONDITIONS

    if network == "ofdm":
        return data.carriers[1]
    if network == "bursts":
        return {"kind": network, "rounds": blocks or 3}
    if network == "diffwave":
        table = {"kind": network, "channels": channels, "layers": blocks or 30, "cycle": 10, "stride": data.grid}
        return table | ({"conditions": CONDITIONS} if colour else {})
    if network == "unet":
        return {"kind": network, "channels": channels, "halvings": blocks or 5, "kernel": 101}
    if network == "wavenet":
        return {"kind": network, "channels": channels, "layers": blocks or 30, "cycle": 10}
    laid = data.grid > 1 or data.pseudo is not None
    blocks = blocks or (3 if laid else 8)
    table = {"kind": network, "stride": data.stride, "kernel": data.kernel, "channels": channels,
             "dilations": [1] * blocks if laid else [2 ** (i % 5) for i in range(blocks)], "conditions": CONDITIONS}
    table |= {"plain": True} if against else {}
    return table | ({} if data.pseudo is None else {"pseudo_lags": data.pseudo.shape[1]}) | ({"white": True} if white else {})


def _run(trainer, work, first):
    """Train under a progress bar and with a log for TensorBoard: a list of training.Progress."""
    console = Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn(), TextColumn("{task.fields[told]}"))
    writer = _tensorboard(work, first)
    with Progress(*columns, console=console, transient=True, disable=not (first and console.is_terminal)) as bar:
        task = bar.add_task("", total=trainer.settings.steps, completed=trainer.step, told="")

        def step(now):
            told = f"loss {now.loss:.3f}, error {now.error_db:.1f} dB"
            bar.update(task, completed=now.step, told=told)
            if first and not console.is_terminal and now.step % max(trainer.settings.steps // 10, 1) == 0:
                console.print(f"step {now.step} of {trainer.settings.steps}: {told}, {now.seconds:.0f} s", highlight=False)
            if writer:
                writer.add_scalar("loss", now.loss, now.step)
                writer.add_scalar("error_db", now.error_db, now.step)

        try:
            trainer.run(step)
        except KeyboardInterrupt:
            if first:
                typer.echo(f"stopped at step {trainer.step}; the same command goes on from there ({work})", err=True)
            raise typer.Exit(130) from None
        finally:
            if writer:
                writer.close()
    return trainer.history


def _tensorboard(work, first):
    if not first:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        typer.echo("no log for TensorBoard: pip install 'alpha-rgs[train]' brings it", err=True)
        return None
    return SummaryWriter(str(work))


def chosen_device(device):
    """The torch.device that --device names (ParameterError)."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda"):
        raise ParameterError(f"--device: {device!r} is not known; cpu, cuda, cuda:1 ...")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f"--device: {device} is asked for, but this machine has no CUDA device that torch can use; leave it "
                             "out, or give cpu")
    return place


@contextlib.contextmanager
def _processes(device):
    """(device of this process, whether it is the first of those that torchrun started)."""
    import torch

    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    place = chosen_device(device)
    if world == 1:
        yield place, True
        return
    if place.type == "cuda":
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield place, int(os.environ["RANK"]) == 0
    finally:
        torch.distributed.destroy_process_group()


def _one_of(option, value, known):
    if value not in known:
        raise ParameterError(f"{option}: {value!r} is not known; one of {', '.join(known)}")
    return value


def _provenance(data, given, begin):
    from .. import __version__
    from ..sources.folder import read_header

    source = ["--synthetic", *data.names] if data.structure is not None else data.names
    command = " ".join(["alpha-rgs train", *source, *(key if value is True else f"{key} {value}" for key, value in given.items()
                                                      if value is not None)])
    before = {"begun": read_header(begin).get("provenance", {}).get("command", begin.name)} if begin else {}
    return {"command": command, **before, "recordings": data.names, "date": datetime.date.today().isoformat(),
            "version": __version__}
