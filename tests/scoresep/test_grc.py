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


FLOWGRAPH = """
options:
  parameters: {{id: several_{count}, generate_options: no_gui, output_language: python}}
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
EXAMPLES = sorted((ROOT / "examples").glob("*.grc"))


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """What grcc makes, in one go, of the examples and of FLOWGRAPH with 2 and with 4 sources: name -> script."""
    if which("grcc") is None:
        pytest.skip("grcc is not installed")
    folder, flowgraphs = tmp_path_factory.mktemp("grc"), [*EXAMPLES]
    for count, port in ((2, 3), (4, 7)):
        files = ", ".join(f"source{k + 1}: {name}.toml" for k, name in enumerate("abcd"[:count]))
        flowgraphs.append(folder / f"several_{count}.grc")
        flowgraphs[-1].write_text(FLOWGRAPH.format(count=count, port=port, files=files))
    paths = os.pathsep.join([str(ROOT / "grc"), os.environ.get("GRC_BLOCKS_PATH", "")]).strip(os.pathsep)
    done = subprocess.run([sys.executable, which("grcc"), "-o", str(folder), *map(str, flowgraphs)],
                          env=dict(os.environ, GRC_BLOCKS_PATH=paths), capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: path.read_text() for path in folder.glob("*.py")}


@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES])
def test_the_example_flowgraphs_compile(scripts, name):
    """grcc finds no error in them, and their scripts are Python that uses this module."""
    compile(scripts[name], name, "exec")
    assert "scoresep." in scripts[name]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("count, port, sources", [
    (2, 3, "sources=['a.toml', 'b.toml'],"), (4, 7, "sources=['a.toml', 'b.toml', 'c.toml', 'd.toml'],")])
def test_a_separator_of_several_sources_compiles(scripts, count, port, sources):
    """With as many files and outputs as there are sources, of which only the last output is connected."""
    script = scripts[f"several_{count}"]
    compile(script, "several", "exec")
    assert sources in script and f"self.connect((self.separator, {port})" in script
