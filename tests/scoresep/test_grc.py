# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio Companion: the block descriptions agree with the code, and the examples compile."""

import inspect
import os
import pathlib
import subprocess
import sys
from shutil import which

import pytest
import yaml
from gnuradio import scoresep

ROOT = pathlib.Path(__file__).resolve().parents[2]


def description(name):
    """Of a block."""
    return yaml.safe_load((ROOT / "grc" / f"scoresep_{name}.block.yml").read_text())


def parameters(block):
    """Names of what a block's constructor takes."""
    return set(inspect.signature(block.__init__).parameters) - {"self"}


def compiled(flowgraph, folder):
    """The script that grcc makes of a flowgraph."""
    if which("grcc") is None:
        pytest.skip("grcc is not installed")
    paths = os.pathsep.join([str(ROOT / "grc"), os.environ.get("GRC_BLOCKS_PATH", "")]).strip(os.pathsep)
    done = subprocess.run([sys.executable, which("grcc"), "-o", str(folder), str(flowgraph)],
                          env=dict(os.environ, GRC_BLOCKS_PATH=paths), capture_output=True, text=True, timeout=90)
    script = folder / f"{flowgraph.stem}.py"
    assert done.returncode == 0 and script.is_file(), done.stdout + done.stderr
    compile(script.read_text(), str(script), "exec")
    return script.read_text()


def test_block_descriptions_fit_the_code():
    """Each parses, explains every parameter, and offers those of its block."""
    for path in (ROOT / "grc").glob("*.block.yml"):
        block = yaml.safe_load(path.read_text())
        assert block["id"] == path.name.removesuffix(".block.yml") and block["documentation"]
        assert "torch" not in str(block["templates"])
    assert {p["id"] for p in description("separator")["parameters"]} == parameters(scoresep.separator)
    several = {p["id"] for p in description("multi_separator")["parameters"]}
    files = {"num_sources", "source1", "source2", "source3", "source4"}
    assert several - files == parameters(scoresep.multi_separator) - {"sources"}


@pytest.mark.timeout(100)
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.grc")), ids=lambda path: path.stem)
def test_the_example_flowgraphs_compile(tmp_path, path):
    """grcc finds no error in them, and their scripts are Python that uses this module."""
    assert "scoresep." in compiled(path, tmp_path)


FLOWGRAPH = """
options:
  parameters: {{id: several, generate_options: no_gui, output_language: python}}
  states: {{coordinate: [8, 8], rotation: 0, state: enabled}}
blocks:
- name: source
  id: blocks_null_source
  parameters: {{type: complex, num_outputs: '1'}}
  states: {{coordinate: [8, 200], rotation: 0, state: enabled}}
- name: separator
  id: scoresep_multi_separator
  parameters: {{num_sources: '{count}', {files}}}
  states: {{coordinate: [200, 200], rotation: 0, state: enabled}}
- name: sink
  id: blocks_null_sink
  parameters: {{type: complex, num_inputs: '1'}}
  states: {{coordinate: [400, 200], rotation: 0, state: enabled}}
connections:
- [source, '0', separator, '0']
- [separator, '{port}', sink, '0']
metadata: {{file_format: 1}}
"""


@pytest.mark.timeout(100)
@pytest.mark.parametrize("count, port, sources", [
    (2, 3, "sources=['a.toml', 'b.toml'],"), (4, 7, "sources=['a.toml', 'b.toml', 'c.toml', 'd.toml'],")])
def test_a_separator_of_several_sources_compiles(tmp_path, count, port, sources):
    """With as many files and outputs as there are sources, of which only the last output is connected."""
    path = tmp_path / "several.grc"
    files = ", ".join(f"source{k + 1}: {name}.toml" for k, name in enumerate("abcd"[:count]))
    path.write_text(FLOWGRAPH.format(count=count, port=port, files=files))
    script = compiled(path, tmp_path)
    assert sources in script and f"self.connect((self.separator, {port})" in script
