# SPDX-License-Identifier: GPL-3.0-or-later
"""No traceback reaches who calls the command, and nothing that a file says reaches the terminal as an order."""
import json

import commands
import numpy as np
import pytest
from alpha_rgs.cli import info
from alpha_rgs.io import recordings

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
MARKUP = "[bold]loud[/bold] [/red]"


@pytest.fixture
def recording(tmp_path):
    """A recording whose description, labels and name hold markup and escape sequences."""
    path = recordings.save(tmp_path / f"rec {MARKUP.replace('/', '')}", np.ones(64), 1e6, description=MARKUP + ESCAPE,
                           annotations=[{"core:sample_start": 0, "core:sample_count": 3, "core:label": ESCAPE,
                                         "core:comment": MARKUP}])
    return path


def test_descriptions_and_names_are_printed_as_text(recording, monkeypatch):
    """Markup as it stands, escape sequences so that they can be read."""
    monkeypatch.setenv("COLUMNS", "500")
    out = commands.works("info", recording).stdout
    assert MARKUP in out and "\x1b" not in out and "\x07" not in out and "\\x1b]0;owned\\x07" in out
    missing = recording.with_name(f"{MARKUP.replace('/', '')}{ESCAPE}.sigmf-meta")
    result = commands.run("info", missing)
    commands.fails(result, "[bold]loud[bold]", "\\x1b")
    assert "\x1b" not in result.stderr


def test_a_name_that_is_no_text_is_printed(tmp_path):
    """A file name need not be UTF-8."""
    commands.fails(commands.run("info", tmp_path / "caf\udce9.sigmf-meta"), "caf\\udce9")


@pytest.mark.parametrize(("name", "content"), [
    ("deep.toml", "a = " + "[" * 100_000), ("digits.toml", f"a = {'9' * 5000}"), ("key.toml", 'kind = "ofdm"\n"[bold]" = 1'),
    ("kind.toml", 'kind = ["ofdm"]'), ("deep.sigmf-meta", '{"global":' * 100_000), ("list.sigmf-meta", "[]"),
    ("number.sigmf-meta", "1e400"), ("global.sigmf-meta", '{"global": []}')])
def test_whatever_a_file_holds_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    commands.fails(commands.run("info", tmp_path / name), name)


@pytest.mark.parametrize(("error", "words"), [
    (MemoryError(), "memory does not suffice"), (RecursionError("deep"), "unexpected RecursionError: deep"),
    (RuntimeError("CUDA out of memory. Tried to"), "memory does not suffice"), (KeyError("x"), "report"),
    (RuntimeError("[enforce fail] can't allocate memory: you tried to allocate 9 bytes\nat x"), "memory does not suffice")])
def test_no_traceback_is_printed(monkeypatch, tmp_path, error, words):
    """Of errors that nobody has thought of either; with ALPHA_RGS_TRACEBACK set there is one."""
    def fails(file):
        raise error

    monkeypatch.setattr(info, "_describe", fails)
    (tmp_path / "a.toml").write_text("")
    commands.fails(commands.run("info", tmp_path / "a.toml"), words)
    monkeypatch.setenv("ALPHA_RGS_TRACEBACK", "1")
    assert commands.run("info", tmp_path / "a.toml").exception is error


@pytest.mark.parametrize(("command", "options", "bound"), [
    ("train", ("--synthetic", "lora.toml", "--batch", 10**9), "65536"), ("simulate", ("--samples", 10**12), str(2**30)),
    ("simulate", ("--seed", 10**30), str(2**62)), ("train", ("--synthetic", "lora.toml", "--steps", 10**12), str(10**9)),
    ("train", ("--synthetic", "lora.toml", "--channels", 10**6), "1024")])
def test_a_number_beyond_all_reason_is_refused_at_once(tmp_path, command, options, bound):
    """As an option of the command too, with its bound."""
    result = commands.run(command, *options, "-o", tmp_path / "out")
    assert result.exit_code == 2 and options[-2] in result.stderr and bound in result.stderr
    assert not list(tmp_path.iterdir())


def test_samples_that_are_no_numbers_cost_their_windows(tmp_path):
    """A file with a few of them is separated, and the report says where not."""
    commands.works("simulate", "-o", tmp_path / "mix", "--samples", 9000, "--snr-db", 20, "--seed", 1)
    path = tmp_path / "mix" / "mixture"
    samples = recordings.load(path).samples.copy()
    samples[[4000, 4001]] = np.nan, 1e30
    samples.tofile(tmp_path / "mix.cf32")
    commands.works("separate", tmp_path / "mix.cf32", "--sample-rate", 25e6, "-o", tmp_path / "out", "--soi",
                   tmp_path / "mix" / "soi.toml", "--interference", tmp_path / "mix" / "interference.toml")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("samples 4000 to 4001: NaN" in line for line in report["warnings"])
    (low, high), = report["unreliable"]
    soi, true = recordings.load(tmp_path / "out" / "soi").samples, recordings.load(tmp_path / "mix" / "soi").samples
    assert low <= 4000 < high and not soi[low:high].any()
    assert np.mean(abs(soi - true)[np.r_[0:low, high:9000]] ** 2) < 0.05
    fails = commands.run("info", tmp_path / "mix.cf32", "--sample-rate", 1)
    commands.fails(fails, "sample 4000", "NaN")
