# SPDX-License-Identifier: GPL-3.0-or-later
"""The command alpha-rgs as tests call it."""
from alpha_rgs.cli.main import app
from typer.testing import CliRunner


def run(*arguments):
    """The result of the command."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def works(*arguments):
    """The result of a command that must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fails(result, *words):
    """One error line with these words."""
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.output
    for word in words:
        assert word in result.stderr
