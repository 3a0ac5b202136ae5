# SPDX-License-Identifier: GPL-3.0-or-later
"""No module imports from a layer above its own: the contracts are in pyproject.toml, [tool.importlinter]."""
import pathlib
import re

import pytest

importlinter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed: pip install 'alpha-rgs[test]'")
ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_imports_point_down(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = importlinter.lint_imports(no_cache=True)
    assert status == importlinter.EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_modules_that_are_named_exist():
    """A reader follows `(inference/moves.py)` in a docstring or a page: it must be there."""
    files = [path for folder in ("python", "benchmarks", "examples", "tests", "docs", "grc")
             for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".yml", ".grc")] + [ROOT / "setup.py"]
    places = {path.relative_to(ROOT).as_posix() for path in files if path.suffix == ".py"}
    missing = []
    for path in (*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        text = path.read_text(errors="ignore").replace("real_mix.py", "").replace("NAME.py", "")      # of another repository; any
        missing += [f"{path.relative_to(ROOT)}: {name}" for name in re.findall(r"(?<![\w/.<*-])[a-z][\w/]*\.py\b", text)
                    if not any(f"/{place}".endswith(f"/{name}") for place in places)]
    assert not missing, "\n".join(missing)


def test_tests_use_public_names():
    """A test that reads a private name holds an implementation, not a promise."""
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"^\s*from alpha_rgs[\w.]* import .*\b_[a-z]|(?<!self)\b[a-z]\w*\._[a-z]\w*", line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)
