# SPDX-License-Identifier: GPL-3.0-or-later
"""No module imports from a layer above its own: the contracts are in pyproject.toml, [tool.importlinter]."""
import pathlib

import pytest

importlinter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed: pip install 'alpha-rgs[test]'")
ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_imports_point_down(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = importlinter.lint_imports(no_cache=True)
    assert status == importlinter.EXIT_STATUS_SUCCESS, capsys.readouterr().out
