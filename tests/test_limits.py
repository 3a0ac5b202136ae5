# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and functions stay short enough to be read, and what is concluded from a source's kind does not spread."""
import ast
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("python", "benchmarks", "tests")
FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 10
# Exceptions, to be mended: these lists and the count only shrink.
LONG_FILES = set()
LONG_FUNCTIONS = set()
MANY_PARAMETERS = set()
COMMANDS = re.compile(r"python/alpha_rgs/cli/|benchmarks/cli")       # an option each
# A method asks a source for a capability, since any source may take any place. Only what reads and writes files may
# look at the kind.
KIND_COMPARED = re.compile(r"\.kind (==|!=|in|not in)")
MAY_COMPARE = re.compile(r"python/alpha_rgs/(sources/(registry|toml|folder)\.py|cli/)")
KIND_COMPARISONS = 0


@functools.cache
def files():
    """(name, text) of each."""
    return [(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
            for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@functools.cache
def functions():
    """(file:function, its node)."""
    return [(f"{name}:{node.name}", node) for name, text in files() for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def parameters(node):
    arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return len(arguments) - (bool(arguments) and arguments[0].arg in ("self", "cls"))


def test_files_are_short():
    assert {name for name, text in files() if text.count("\n") > FILE_LINES} <= LONG_FILES


def test_functions_are_short():
    long = {name for name, node in functions() if node.end_lineno - node.lineno + 1 > FUNCTION_LINES}
    assert long <= LONG_FUNCTIONS


def test_public_functions_have_few_parameters():
    many = {name for name, node in functions() if not node.name.startswith("_") and parameters(node) > PARAMETERS}
    assert {name for name in many if not COMMANDS.match(name)} <= MANY_PARAMETERS


def test_comparisons_of_kinds_do_not_grow():
    found = [f"{name}:{number}: {line.strip()}" for name, text in files()
             if name.startswith(("python/", "benchmarks/")) and not MAY_COMPARE.match(name)
             for number, line in enumerate(text.split("\n"), 1) if KIND_COMPARED.search(line) and ".dtype.kind" not in line]
    assert len(found) <= KIND_COMPARISONS, "\n".join(found)
