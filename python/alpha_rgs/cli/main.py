# SPDX-License-Identifier: GPL-3.0-or-later
"""The command alpha-rgs. torch, scipy and sigmf are imported inside the commands, so that --help is quick."""
import os
import signal
import sys
import traceback
from typing import Annotated

import typer

from . import fit, info, separate, simulate, studies, train
from .common import reports_errors

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Separate signals that share a frequency. A prior file describes each.")
app.add_typer(studies.app(), name="evaluate")


def main() -> None:
    """The entry point. After an error or Ctrl-C the process does not wait for windows that are still being solved."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:      # nohup ignores a hangup
            signal.signal(number, lambda number, _: sys.exit(128 + number))     # so that temporary files go
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


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        typer.echo(f"alpha-rgs {__version__}")
        raise typer.Exit()


@app.callback()
def _common(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                  help="Print it.")] = False) -> None:
    pass


for _command in (separate.separate, simulate.simulate, info.info, fit.fit, train.train):
    app.command()(reports_errors(_command))
