# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio Companion: the block descriptions agree with the code, and the examples compile."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from gnuradio import scoresep

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_block_descriptions_fit_the_code():
    """Each parses, documents itself, and the separator's parameters are those of the block."""
    import inspect

    for path in (ROOT / "grc").glob("*.block.yml"):
        description = yaml.safe_load(path.read_text())
        assert description["id"] == path.name.removesuffix(".block.yml") and description["documentation"]
    description = yaml.safe_load((ROOT / "grc" / "scoresep_separator.block.yml").read_text())
    known = {p["id"] for p in description["parameters"]}
    assert known == set(inspect.signature(scoresep.separator.__init__).parameters) - {"self"}
    assert "torch" not in str(description["templates"])


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", ["separate_qpsk_ofdm", "separate_learned", "separate_recorded"])
def test_the_example_flowgraphs_compile(tmp_path, name):
    """grcc finds no error in them, and their scripts are Python."""
    from shutil import which

    if which("grcc") is None:
        pytest.skip("grcc is not installed")
    paths = os.pathsep.join([str(ROOT / "grc"), os.environ.get("GRC_BLOCKS_PATH", "")]).strip(os.pathsep)
    done = subprocess.run([sys.executable, which("grcc"), "-o", str(tmp_path), str(ROOT / f"examples/{name}.grc")],
                          env=dict(os.environ, GRC_BLOCKS_PATH=paths), capture_output=True, text=True, timeout=90)
    script = tmp_path / f"{name}.py"
    assert done.returncode == 0 and script.is_file(), done.stdout + done.stderr
    assert "scoresep.separator(" in script.read_text()
    compile(script.read_text(), str(script), "exec")
