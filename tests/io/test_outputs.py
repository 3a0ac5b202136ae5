# SPDX-License-Identifier: GPL-3.0-or-later
"""Results are whole or not there, whoever else writes and however the process ends."""
import os
import signal
import subprocess
import sys

import pytest
from alpha_rgs.errors import RecordingError
from alpha_rgs.io.outputs import all_or_nothing

NAMES = ["a", "b", "c"]


def write(folder, content, overwrite=False, before_the_end=lambda: None):
    """Write all names with one content."""
    with all_or_nothing(folder, NAMES, overwrite) as inside:
        for name in NAMES:
            (inside / name).write_text(content)
        before_the_end()


def content(folder):
    """Of each file that is there."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def whole(text):
    return dict.fromkeys(NAMES, text)


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("there", [False, True], ids=["new folder", "folder with other files"])
def test_the_second_of_two_processes_is_refused_at_the_end_too(tmp_path, there):
    """Both began when nothing was there: the first result stays as it is."""
    out = tmp_path / "out"
    if there:
        out.mkdir()
        (out / "other").write_text("mine")
    with pytest.raises(RecordingError, match="out/a: was written by another process meanwhile"):
        write(out, "second", before_the_end=lambda: write(out, "first"))
    assert content(out) == whole("first") | ({"other": "mine"} if there else {}) and not hidden(tmp_path)


def test_a_part_that_is_there_meanwhile_refuses_all(tmp_path):
    """Of one file the name is taken: the others are taken back."""
    out = tmp_path / "out"

    def meanwhile():
        out.mkdir()
        (out / "b").write_text("theirs")

    with pytest.raises(RecordingError, match="out/b: was written by another process"):
        write(out, "mine", before_the_end=meanwhile)
    assert content(out) == {"b": "theirs"} and not hidden(tmp_path)


def test_overwriting_replaces_all(tmp_path):
    """What was asked for: also what came meanwhile."""
    out = tmp_path / "out"
    write(out, "second", overwrite=True, before_the_end=lambda: write(out, "first"))
    assert content(out) == whole("second") and not hidden(tmp_path)
    with pytest.raises(RecordingError, match="exists already"):
        write(out, "third")


def killed(tmp_path, kill):
    """Run a process that writes "new" over "old" and ends by SIGKILL where `kill` says."""
    script = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_outputs import write
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
{kill}
"""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_leaves_is_cleared_by_the_next(tmp_path):
    """While it writes: the old result stays."""
    out = tmp_path / "out"
    write(out, "old")
    killed(tmp_path, 'write("out", "new", True, die)')
    assert hidden(out) and content(out) == whole("old")
    with pytest.raises(RecordingError, match="exists already"):
        write(out, "x")
    assert not hidden(out) and content(out) == whole("old")
    killed(tmp_path, 'write("fresh", "new", False, die)')
    assert hidden(tmp_path)
    write(tmp_path / "fresh", "x")
    assert not hidden(tmp_path) and content(tmp_path / "fresh") == whole("x")


def test_what_a_process_was_killed_in_moving_is_finished_by_the_next(tmp_path):
    """After the first file: no mixture of two results stays."""
    out = tmp_path / "out"
    write(out, "old")
    killed(tmp_path, """
replace, count = os.replace, []
def after_some(*arguments):
    replace(*arguments)
    count.append(1)
    if len(count) == 3:
        die()
os.replace = after_some
write("out", "new", True)
""")
    assert set(content(out).values()) == {"old", "new"} or len(content(out)) < 3
    with pytest.raises(RecordingError, match="exists already"):
        write(out, "x")
    assert content(out) == whole("new") and not hidden(out)


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    """It holds a lock."""
    write(tmp_path / "out", "mine", before_the_end=lambda: write(tmp_path / "other", "theirs"))
    assert content(tmp_path / "out") == whole("mine") and content(tmp_path / "other") == whole("theirs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_ended_leaves_nothing(tmp_path, number):
    """By a batch system, a terminal that closes, Ctrl-C."""
    script = f"""
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)        # nohup and shells in the background, which tests may run under, ignore both
signal.signal(signal.SIGINT, signal.default_int_handler)
import alpha_rgs.sources.mixtures as mixtures
from alpha_rgs.cli import main
mixtures.draw = lambda *_, **__: (os.kill(os.getpid(), {int(number)}), time.sleep(30))
sys.argv = ["alpha-rgs", "simulate", "-o", "out", "--samples", "100"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + number and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
