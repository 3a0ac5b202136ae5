# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that the README prints work as printed, on small captures made here.

The README says what is run: each of its ```sh blocks is a test, in a folder of its own that looks like the project's.
Captures and prior files that a line names and that no line before it has made are made first: *.toml as the README's ```toml
blocks have them, recordings by `alpha-rgs simulate`.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from commands import works

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SAMPLES = 5_000
SMALL = {  # what makes a command small
    "train": "--steps 2 --batch 4 --channels 8 --window 512",
    "simulate": f"--samples {SAMPLES}",
    "demo": "--samples 20000",
}
RECORDED = (".sigmf-meta", ".cs16", ".cs8", ".cu8", ".cf32")


def blocks(language):
    """The fenced blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def lines(block):
    """The command lines of a block, as lists of words."""
    words = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in words if line]


SHELL = [lines(block) for block in blocks("sh")]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A folder with mixture.* and interference.*, as `alpha-rgs simulate` makes them."""
    folder = tmp_path_factory.mktemp("simulated") / "mix"
    works("simulate", "-o", folder, "--samples", SAMPLES, "--snr-db", 20)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: what a checkout holds, and the prior files that the README describes."""
    for name in ("examples", "priors", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    for text in blocks("toml"):
        table = tomllib.loads(text)
        name = table["constellation"] if table["kind"] == "linear-modulation" else table["kind"]
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def provide(word, simulated, alone):
    """Make the capture or prior file that a command line names, where it is not there; `alone`: of one source only."""
    path = pathlib.Path(word)
    if path.suffix == ".toml" and not path.exists() and not path.parent.name:
        path.write_text(f'kind = "{path.stem}"\n')
    if path.suffix not in RECORDED or path.exists():
        return
    name = "interference" if alone else "mixture"
    if path.suffix == ".sigmf-meta":
        for end in ".sigmf-meta", ".sigmf-data":
            shutil.copy(simulated / f"{name}{end}", path.with_suffix(end))
        return
    samples = np.fromfile(simulated / f"{name}.sigmf-data", np.float32)
    samples /= abs(samples).max()
    kinds = {".cf32": samples, ".cs16": (32767 * samples).astype(np.int16), ".cs8": (127 * samples).astype(np.int8),
             ".cu8": (127 * samples + 127.5).astype(np.uint8)}
    kinds[path.suffix].tofile(path)


def alpha_rgs(arguments, simulated):
    """Run the command as printed but for its size, in an empty output folder."""
    command = arguments[0]
    for before, word in zip(arguments, arguments[1:]):
        if before not in ("-o", "--output"):
            provide(word, simulated, alone=command in ("fit", "train"))
    outputs = [pathlib.Path(word) for before, word in zip(arguments, arguments[1:]) if before in ("-o", "--output")]
    for output in outputs:  # lines of one block are alternatives where they write into one folder
        shutil.rmtree(output, ignore_errors=True)
    works(*arguments, *SMALL.get(command, "").split())
    assert all(output.exists() for output in outputs)


def test_there_are_command_lines():
    """The README shows how to run things, and each ./run command it names is one."""
    commands = {line[1] for block in SHELL for line in block if line[0] == "./run"}
    usage = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True).stdout
    assert commands and commands <= set(re.findall(r"^  (\w+) ", usage, re.MULTILINE))
    assert any(line[:3] == ["./run", "exec", "alpha-rgs"] for block in SHELL for line in block)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(?:\./run exec )?alpha-rgs ([a-z]+(?: [a-z]+)?)\b", README))))
def test_commands_that_the_text_names_are_there(command):
    """`alpha-rgs evaluate paper` and the like."""
    works(*command.split(), "--help")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", SHELL, ids=[" ".join(block[0][:4]).replace("/", "") for block in SHELL])
def test_command_lines_work_as_printed(block, folder, recording):
    """Those that need neither a screen nor root; of the others, the files that they name are there."""
    for line in block:
        if line[0] == "./run" and line[1] == "exec":
            line = line[2:]
        if line[0] == "alpha-rgs":
            alpha_rgs(line[1:], recording)
        elif line[0] == "python":
            subprocess.run([sys.executable, *line[1:]], check=True, timeout=200, env=environment())
        elif line[:2] == ["./run", "demo"]:
            command = [sys.executable, "examples/demo.py", "-o", "demo", *SMALL["demo"].split()]
            subprocess.run(command, check=True, timeout=200, env=environment(), stdout=subprocess.DEVNULL)
            assert json.loads(pathlib.Path("demo/report.json").read_text())["ber_after"] < 1e-3
            assert pathlib.Path("demo/separated.png").is_file()
        elif line[0] == "./run":
            assert all(pathlib.Path(word).is_file() for word in line[2:] if word.endswith((".grc", ".toml")))
        else:
            pytest.fail(f"this test knows no command {line[0]}")


def environment():
    """Of a command in another process: the packages that this one has."""
    return dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
