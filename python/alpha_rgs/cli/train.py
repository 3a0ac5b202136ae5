# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs train: a learned prior from recordings of a source, or from the file that describes it, with a report."""
import contextlib
import datetime
import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import ParameterError
from .common import MOST_SEED, Datatype, Overwrite, SampleRate, chosen_device, say
from .fit import chosen_period

if TYPE_CHECKING:
    import torch

    from ..training import trainer as training
    from ..training.dataset_builder import DatasetBuilder

_FILES = ("prior.toml", "weights.safetensors", "report.md", "denoising.png")

Recordings = Annotated[list[pathlib.Path] | None, typer.Argument(metavar="[REC...]", show_default=False,
                                                                 help="Of the source alone: SigMF, or raw.")]
Output = Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="OUT.prior", show_default=False,
                                              help="Folder to write, all or nothing.")]
Synthetic = Annotated[pathlib.Path | None, typer.Option(metavar="SOURCE.toml", help="Instead of recordings: draw the source that "
                                                        "this prior file describes.")]
Against = Annotated[pathlib.Path | None, typer.Option(metavar="SOI", help="Train on mixtures with this signal of interest (a "
                                                      "prior), for one pass: --method amortised.")]
SirDb = Annotated[str, typer.Option("--sir-db", help="With --against: least and greatest ratio of the signal of interest to this "
                                    "source.")]
NoiseDb = Annotated[str | None, typer.Option("--noise-db", help="With unet and wavenet: least and greatest power of white noise "
                                             "in the mixtures over this source; default: no noise.")]
Begin = Annotated[pathlib.Path | None, typer.Option("--from", metavar="PRIOR", help="Begin with the weights of this prior, a "
                                                    "network of the same sizes, instead of random ones.")]
Network = Annotated[str, typer.Option(help="fast, ofdm (it knows a Fourier transform behind a cyclic prefix), bursts (for "
                                      "802.11: carrier by carrier), or diffwave (as the paper has it; for a GPU); with --against "
                                      "also unet or wavenet (the supervised reference).")]
Channels = Annotated[int, typer.Option(min=4, max=1024, help="Of the network; the paper's diffwave: 64, 128 or 256, unet 32, "
                                       "wavenet 128.")]
Blocks = Annotated[int | None, typer.Option(min=1, max=64, help="Of the network; default 3 for a linear modulation, else 8; "
                                            "diffwave and wavenet 30; of unet: halvings, 5; of bursts: rounds of decisions, 3.")]
Stride = Annotated[int | None, typer.Option(min=1, max=512, help="Samples per hop of fast; a linear modulation's is its "
                                            "samples_per_symbol; default 4.")]
Period = Annotated[str | None, typer.Option(help="Of recordings: samples after which the statistics repeat, or auto (estimated); "
                                            "the stride then, and where periods begin is estimated in each window.")]
Window = Annotated[int | None, typer.Option(min=64, max=65536, help="Samples of a training window; default about 1280.")]
Steps = Annotated[int, typer.Option(min=1, max=10**9, help="Of training.")]
Batch = Annotated[int, typer.Option(min=1, max=65536, help="Windows per step and process.")]
Rate = Annotated[float, typer.Option(help="Of learning, at its peak.")]
White = Annotated[bool, typer.Option("--white", help="Train fast on white noise only.")]
Colour = Annotated[bool, typer.Option("--colour", help="Train diffwave on noise of random colour too, whose density it is given: "
                                      "as a denoiser, not by the paper's noise prediction.")]
Precision = Annotated[str, typer.Option(help="float32, or bfloat16 (mixed).")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: cuda where there is one.")]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of weights, windows and noise.")]


@dataclass(frozen=True)
class Options:
    """The options of the command, by their names there."""

    recordings: list[pathlib.Path] | None
    output: pathlib.Path
    synthetic: pathlib.Path | None
    against: pathlib.Path | None
    sir_db: str
    noise_db: str | None
    begin: pathlib.Path | None
    network: str
    channels: int
    blocks: int | None
    stride: int | None
    period: str | None
    window: int | None
    steps: int
    batch: int
    rate: float
    white: bool
    colour: bool
    precision: str
    device: str
    seed: int
    datatype: str | None
    sample_rate: float | None
    overwrite: bool

    def given(self) -> dict[str, Any]:
        """What the header's command says: option -> value, None where it is left out."""
        return {"--from": self.begin and self.begin.name, "--against": self.against and self.against.name,
                "--sir-db": self.sir_db if self.against else None, "--noise-db": self.noise_db, "--network": self.network,
                "--channels": None if self.network in ("ofdm", "bursts") else self.channels,
                "--blocks": self.blocks, "--stride": self.stride, "--period": self.period, "--window": self.window,
                "--steps": self.steps, "--batch": self.batch, "--rate": self.rate, "--white": self.white or None,
                "--colour": self.colour or None, "--precision": self.precision, "--seed": self.seed}


def train(output: Output, recordings: Recordings = None, synthetic: Synthetic = None, against: Against = None,
          sir_db: SirDb = "-27,0", noise_db: NoiseDb = None, begin: Begin = None, network: Network = "fast",
          channels: Channels = 64, blocks: Blocks = None, stride: Stride = None, period: Period = None, window: Window = None,
          steps: Steps = 8000, batch: Batch = 64, rate: Rate = 3e-3, white: White = False, colour: Colour = False,
          precision: Precision = "float32", device: Device = "auto", seed: Seed = 0, datatype: Datatype = None,
          sample_rate: SampleRate = None, overwrite: Overwrite = False) -> None:
    """Train a prior: a network that denoises one source, from recordings of it alone, or from its description.

    Writes prior.toml, weights.safetensors, report.md and denoising.png into the folder OUT.prior. While it trains,
    OUT.prior.training holds a checkpoint, from which the same command goes on after Ctrl-C or a crash, and a log for
    TensorBoard. Several processes: torchrun --nproc-per-node 2 -m alpha_rgs.cli train ...
    """
    options = Options(**locals())

    from ..io import recordings as files

    _check(options)
    with files.all_or_nothing(output, _FILES, overwrite) as folder, _processes(device) as (place, first):
        data, lines = _made(options, folder, place, first)
    for line in data.warnings:
        say(f"warning: {line}", err=True)
    for line in lines:
        say(line)
    say(f"written to {output}")


def _check(options: Options) -> None:
    """ParameterError where options do not go together."""
    from ..nets import SUPERVISED
    from ..training.network_table import NETWORKS

    if bool(options.recordings) == bool(options.synthetic):
        raise ParameterError("train: give either recordings of the source or --synthetic with the file that describes it" + (
            ", not both" if options.recordings else ""))
    if not 0 < options.rate < float("inf"):
        raise ParameterError(f"--rate: {options.rate} must be a positive number")
    if options.against and options.white:
        raise ParameterError("--white: a network for one pass (--against) takes the colour of mixtures; leave one of the two out")
    network = _one_of("--network", options.network, NETWORKS)
    if network in SUPERVISED and not options.against:
        raise ParameterError(f"--network: {network} learns from mixtures; give the signal of interest with --against")
    if options.white and network == "bursts":
        raise ParameterError("--white: bursts is given the noise of each carrier; leave it out")
    if options.noise_db and network not in SUPERVISED:
        raise ParameterError(f"--noise-db: is for --network {' and '.join(SUPERVISED)}; leave it out")
    if options.colour and (network != "diffwave" or options.white):
        raise ParameterError("--colour: is for --network diffwave, and excludes --white; fast takes colour anyway")
    _one_of("--precision", options.precision, ("float32", "bfloat16"))


def _made(options: Options, folder: pathlib.Path, place: "torch.device",
          first: bool) -> "tuple[DatasetBuilder, list[str]]":
    """Train, and write the prior and its report into `folder`: (what it was trained on, lines for the terminal)."""
    from ..sources import folder as prior_folder
    from ..training import model_card
    from ..training.dataset_builder import DatasetBuilder
    from ..training.trainer import Settings, Trainer

    coloured = (options.network in ("fast", "ofdm", "bursts") or options.colour) and not options.white
    settings = Settings(options.steps, options.batch, options.rate, coloured=coloured, precision=options.precision,
                        seed=options.seed)
    noise, about = _against(options)
    data = DatasetBuilder(options.recordings or [], options.synthetic, options.network, options.stride,
                          chosen_period(options.period, False), options.window, options.datatype, options.sample_rate)
    denoiser, start = _untrained(options, data)
    work = options.output.with_name(options.output.name + ".training")
    work.mkdir(parents=True, exist_ok=True)
    about = " ".join(text for text in (data.about, about, str(denoiser.table), start) if text)
    trainer = Trainer(denoiser, data.source, settings, work, place, about, noise or data.noise)
    if first and trainer.step:
        say(f"going on from step {trainer.step} of {options.steps}, in {work}", err=True)
    history = _run(trainer, work, first)
    if not first:
        raise typer.Exit()      # the folder is the first one's to move into place
    prior, provenance = data.prior(trainer.finished()), _provenance(data, options)
    prior_folder.write(prior, folder, provenance)
    return data, model_card.write(folder, prior, data, provenance, history, trainer, noise)


def _untrained(options: Options, data: "DatasetBuilder") -> tuple[Any, str]:
    """(the denoiser before its first step, "" or what its weights are from)."""
    import torch

    from ..nets import build
    from ..training.network_table import network_table

    table = network_table(data, options.channels, options.blocks, options.white, options.colour, options.against is not None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        denoiser, start = build(table), ""
    if options.begin is not None:
        network = _network(options.begin, table)
        denoiser.load_state_dict(network.state_dict())
        start = repr(network)
    denoiser.spectrum = data.source.spectrum(512)
    if data.carriers is not None:
        denoiser.load_state_dict(denoiser.state_dict() | data.carriers[0])
    if data.pseudo is not None:
        denoiser.pseudo = torch.view_as_real(data.pseudo).float().contiguous()
    return denoiser, start


def _against(options: Options) -> tuple[Any, str]:
    """(what is drawn as noise, or None for Gaussian noise, and a text that says what it is)."""
    from ..nets import SUPERVISED
    from ..sources.base import Structure
    from ..sources.toml import load_in_samples
    from ..training import datasets
    from ..training.dataset_builder import Mixtures

    if options.against is None:
        return None, ""
    sir, prior = _range("--sir-db", options.sir_db), load_in_samples(options.against)
    if prior.structure is not Structure.CHAIN:
        raise ParameterError(f"{options.against}: kind: {prior.kind!r} must be 'linear-modulation' to train against")
    if options.network in SUPERVISED:
        noise = _range("--noise-db", options.noise_db) if options.noise_db else None
        return Mixtures(prior, sir, noise), f"against {prior} {sir} {options.noise_db}"
    if options.network != "fast":
        raise ParameterError(f"--network: {options.network} is not trained on mixtures; --against needs fast, unet or wavenet")
    return datasets.SignalNoise(prior, sir), f"against {prior.signal} {sir[0]} {sir[1]}"


def _range(option: str, text: str) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not -300 < low <= high < 300:
        raise ParameterError(f"{option}: {text!r} must be two numbers of decibels, the least and the greatest")
    return low, high


def _network(path: pathlib.Path, table: dict[str, Any]) -> Any:
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


def _run(trainer: "training.Trainer", work: pathlib.Path, first: bool) -> "list[training.Progress]":
    """Train under a progress bar and with a log for TensorBoard."""
    console = Console(stderr=True)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn(), TextColumn("{task.fields[state]}"))
    writer = _tensorboard(work, first)
    with Progress(*columns, console=console, transient=True, disable=not (first and console.is_terminal)) as bar:
        task = bar.add_task("", total=trainer.settings.steps, completed=trainer.step, state="")

        def step(now: "training.Progress") -> None:
            state = f"loss {now.loss:.3f}, error {now.error_db:.1f} dB"
            bar.update(task, completed=now.step, state=state)
            if first and not console.is_terminal and now.step % max(trainer.settings.steps // 10, 1) == 0:
                console.print(f"step {now.step} of {trainer.settings.steps}: {state}, {now.seconds:.0f} s", highlight=False)
            if writer:
                writer.add_scalar("loss", now.loss, now.step)
                writer.add_scalar("error_db", now.error_db, now.step)

        try:
            trainer.run(step)
        except (KeyboardInterrupt, SystemExit) as stop:
            if first:
                say(f"stopped at step {trainer.step}; the same command goes on from there ({work})", err=True)
            raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else int(stop.code or 1)) from None
        finally:
            if writer:
                writer.close()
    return trainer.history


def _tensorboard(work: pathlib.Path, first: bool) -> Any:
    """A SummaryWriter, or None where the package is missing or another process writes."""
    if not first:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("no log for TensorBoard: pip install 'alpha-rgs[train]' brings it", err=True)
        return None
    return SummaryWriter(str(work))


@contextlib.contextmanager
def _processes(device: str) -> "Iterator[tuple[torch.device, bool]]":
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


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ParameterError(f"{option}: {value!r} is not known; one of {', '.join(known)}")
    return value


def _provenance(data: "DatasetBuilder", options: Options) -> dict[str, Any]:
    from .. import __version__
    from ..sources.folder import read_header

    source = ["--synthetic", *data.names] if data.structure is not None else data.names
    command = " ".join(["alpha-rgs train", *source, *(key if value is True else f"{key} {value}"
                                                      for key, value in options.given().items() if value is not None)])
    begin = options.begin
    before = {"begun": read_header(begin).get("provenance", {}).get("command", begin.name)} if begin else {}
    return {"command": command, **before, "recordings": data.names, "date": datetime.date.today().isoformat(),
            "version": __version__}
