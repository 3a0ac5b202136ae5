# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples that stand between a radio and a separator: ZeroMQ, a channelizer, receivers that are not there."""
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
RATE = "2e5"


def _started(*words):
    return subprocess.Popen([sys.executable, "-u", *words], cwd=EXAMPLES, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, env=dict(os.environ, PYTHONUNBUFFERED="1"), start_new_session=True)


def _says(process, wanted, seconds=90.0):
    """The first line for which wanted(line), within that time; fails where there is none."""
    began, said = time.monotonic(), []
    for line in process.stdout:
        said.append(line)
        if wanted(line):
            return line
        if time.monotonic() - began > seconds:
            break
    raise AssertionError("".join(said[-20:]))


def _windows(line):
    return int(line.rsplit(" of ", 1)[1].split()[0])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_radio_and_a_separator_apart_and_the_link_cut_in_the_middle():
    """The separator locks to what comes, waits while nothing does, and locks again to a radio that is started anew."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    radio = ("split.py", "radio", "--bind", address, "--samp-rate", RATE)
    separator = _started("split.py", "separator", "--connect", address, "--samp-rate", RATE)
    first = _started(*radio)
    second = None
    try:
        before = _says(separator, lambda line: "locked" in line and float(line.split("quality ")[1].split()[0]) > 15)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        second = _started(*radio)
        after = _says(separator, lambda line: "locked" in line and _windows(line) > _windows(before) + 300)
        assert float(after.split("quality ")[1].split()[0]) > 15
    finally:
        for process in (first, second, separator):
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_channel_of_a_wide_band_is_separated():
    done = subprocess.run([sys.executable, "channelizer.py", "--seconds", "12"], cwd=EXAMPLES, capture_output=True,
                          text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("quality ")[1].split()[0]) > 12 and "locked" in done.stdout


@pytest.mark.parametrize(("source", "words"), [("nothing.cf32", "neither a file nor"),
                                               ("soapy:nothing", "--source soapy:nothing: ")])
def test_a_source_that_is_not_there_is_named(source, words):
    """One line, and exit status 1."""
    done = subprocess.run([sys.executable, "receive.py", "--source", source], cwd=EXAMPLES, capture_output=True, text=True)
    assert done.returncode == 1 and words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
