# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs evaluate: the studies of a checkout's folder benchmarks, which are not installed with the engine."""
import importlib.util
import pathlib
import sys
import types
from typing import Any

import typer

from .common import reports_errors

_CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
_MISSING = ("the studies are not installed with the engine: clone the repository of gr-scoresep and run ./run exec alpha-rgs "
            "evaluate there")


def app() -> typer.Typer:
    """The commands of `alpha-rgs evaluate`; elsewhere than in a checkout one that says where they are."""
    if (_CHECKOUT / "benchmarks" / "cli.py").is_file():
        commands: typer.Typer = _load("benchmarks.cli").app
        for command in commands.registered_commands:
            if command.callback is not None:
                command.callback = reports_errors(command.callback)
        return commands
    out = typer.Typer(help="Studies and tables. In a checkout of the repository only.", invoke_without_command=True)

    @out.callback(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def missing() -> None:
        """Studies and tables. In a checkout of the repository only."""
        typer.echo(f"error: evaluate: {_MISSING}", err=True)
        raise typer.Exit(1)

    return out


def _load(name: str) -> Any:
    """A module of the checkout's package benchmarks, without a change to sys.path."""
    if "benchmarks" not in sys.modules:
        place = _CHECKOUT / "benchmarks"
        spec = importlib.util.spec_from_file_location("benchmarks", place / "__init__.py",
                                                      submodule_search_locations=[str(place)])
        if spec is None or spec.loader is None:
            raise ImportError(f"{place}: is no package")
        module: types.ModuleType = importlib.util.module_from_spec(spec)
        sys.modules["benchmarks"] = module
        spec.loader.exec_module(module)
    return importlib.import_module(name)
