# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension of the engine: python/alpha_rgs/native/src. All else is in pyproject.toml.

Where there is no compiler the engine installs without it, and torch does its work. Each file kernel_<instructions>.cc is compiled
for these instructions; which of them is used is decided at run time.
"""
import pathlib
import platform
import sys
import sysconfig
import tempfile

from setuptools import setup
from setuptools.command.build_ext import build_ext

SOURCE = pathlib.Path("python/alpha_rgs/native/src")
X86 = platform.machine().lower() in ("x86_64", "amd64")
# -ffast-math would reorder sums; these keep them in order and still let a maximum be one instruction
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only",
         "-fvisibility=hidden", "-g0"]
OWN_FLAGS = {"kernel_avx2.cc": ["-mavx2", "-mfma"],
             "kernel_avx512.cc": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]} if X86 else {}


class Build(build_ext):
    """Compiles each file with flags of its own."""

    def build_extensions(self):
        """See build_ext."""
        compile_one = self.compiler._compile

        def with_flags(obj, src, ext, cc_args, extra, pp_opts):
            compile_one(obj, src, ext, cc_args, [*extra, *OWN_FLAGS.get(pathlib.Path(src).name, [])], pp_opts)

        self.compiler._compile = with_flags
        super().build_extensions()


def compiles():
    """Whether a compiler is there that knows what the extension needs; else says so."""
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    include = sysconfig.get_paths()["include"]
    text = ("#include <Python.h>\n#include <thread>\ntypedef float V __attribute__((vector_size(16)));\n"
            "V twice(V x) { return x > 1.0f ? x + x : x; }\n")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "probe.cc"
        file.write_text(text)
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            compiler.compile([str(file)], folder, include_dirs=[include], extra_postargs=FLAGS)
        except Exception:       # of whatever kind: the engine works without
            print("alpha-rgs: the native detector is left out, because C++ does not compile here; torch does its work, about a "
                  "hundred times slower. Install g++ and Python's header files to have it", file=sys.stderr)
            return False
    return True


def extensions():
    """The extension, or nothing."""
    try:
        from pybind11.setup_helpers import Pybind11Extension
    except ImportError:
        return []
    if not compiles():
        return []
    return [Pybind11Extension("alpha_rgs.native._kernels", sorted(str(path) for path in SOURCE.glob("*.cc")),
                              depends=sorted(str(path) for path in SOURCE.glob("*.h")), cxx_std=17,
                              extra_compile_args=FLAGS, extra_link_args=["-pthread"], optional=True)]


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
