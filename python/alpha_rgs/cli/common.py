# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands share: options, errors, prior files and what is printed."""
import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import AlphaRgsError, ParameterError, RecordingError

if TYPE_CHECKING:
    import torch

MOST_SAMPLES = 2**30    # of a recording: what is drawn of it takes some 50 GB
MOST_SEED = 2**62       # torch's generators take no more, and others are counted from it

TRACEBACK = "ALPHA_RGS_TRACEBACK"       # in the environment: errors are printed as Python does

P = ParamSpec("P")
R = TypeVar("R")
Output = Annotated[pathlib.Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into, all files or none.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")]
Datatype = Annotated[str | None, typer.Option(help="Of a raw file: cf32, cs16, cs8, cu8, or a SigMF name such as ci16_le.")]
SampleRate = Annotated[float | None, typer.Option(help="In Hz; needed where the file does not say it.")]


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Every error becomes one line on stderr and exit code 1; Ctrl-C exits with 130."""
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            say("interrupted; nothing was written", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if TRACEBACK in os.environ:
                raise
            say(f"error: {' '.join(_described(error).split())}", err=True)
            raise typer.Exit(1) from None
    return wrapped


def _described(error: Exception) -> str:
    """An error in words: the engine's own, those of the machine, and those that nobody has thought of."""
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return f"this machine's memory does not suffice{text and ': '}{text.partition(chr(10))[0]}"
    if isinstance(error, (AlphaRgsError, OSError)):
        return text
    return (f"unexpected {type(error).__name__}{text and ': '}{text.partition(chr(10))[0]} (a fault of alpha-rgs; please report "
            f"it, with what is printed if {TRACEBACK}=1 is set)")


def plain(text: str) -> str:
    """A text without what a terminal would obey (escape sequences) or cannot show: file names and descriptions may hold it."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def say(text: object, err: bool = False, nl: bool = True) -> None:
    """Print a text, made plain."""
    typer.echo(plain(str(text)), err=err, nl=nl)


def prior_of(path: pathlib.Path) -> tuple[Any, set[str]]:
    """(prior, the keys that its file sets). Raises ParameterError."""
    from .. import sources
    from ..sources import shipped
    from ..sources.description import Description
    from ..streaming import report

    path = shipped.found(path)
    if not path.exists():
        raise ParameterError(f"{path}: no such prior file; a prior is a TOML file that describes one source, a folder made by "
                             f"alpha-rgs fit or train, or the name of a description{shipped.hint(path)}")
    prior, given = sources.load(path), report.given_keys(path)
    if shipped.called(path) != str(path):
        given |= {"span"}       # of a pulse that the standard knows
    if isinstance(prior, Description):
        given |= {name for name, key in prior.source.keys.items() if key.hertz in given}
    return prior, given


def at_rate(prior: Any, sample_rate: float) -> Any:
    """The source that a file describes, in samples of that rate, Hz. Raises ParameterError."""
    from ..sources.description import Description

    return prior.at_rate(sample_rate) if isinstance(prior, Description) else prior


def levels(soi: Any, sir_db: float | None, snr_db: float | None) -> tuple[float | None, float | None]:
    """kappa and the noise variance from decibels; None stays None."""
    gain = 1.0 if getattr(soi, "gain", 1.0) is None else float(getattr(soi, "gain", 1.0))
    from .. import options

    sir_db, snr_db = options.decibels("--sir-db", sir_db), options.decibels("--snr-db", snr_db)
    from ..signals.levels import amplitude, noise_variance

    return amplitude(gain, sir_db), noise_variance(gain, snr_db)


def finite(value: float | None) -> float | None:
    """The value, or None where it is infinite, NaN or None: JSON has no such numbers."""
    return value if value is not None and math.isfinite(value) else None


def write_json(path: pathlib.Path, value: Any) -> None:
    """Write a value as JSON; RecordingError where it holds a number that is not finite."""
    try:
        path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    except ValueError as error:
        raise RecordingError(f"{path.name}: {error}") from None


def print_table(rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print rows of cells, without a header; what looks like markup is printed as it stands."""
    table = Table(show_header=False, title=None if title is None else Text(plain(title)), title_justify="left")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    Console().print(table)


def chosen_device(device: str) -> "torch.device":
    """The torch.device that --device names (ParameterError)."""
    import torch

    from ..streaming.engine import available

    return available("--device", ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
