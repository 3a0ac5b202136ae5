# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs and packages of others: where they are, how they are called, and how to install one that is missing."""
from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SCRIPTS = pathlib.Path(__file__).parent / "scripts"
_TIMEOUT = 300.0            # s, for one call


@dataclass(frozen=True)
class Peer:
    """A program on PATH, a module of the environment of peers, or GNU Radio."""

    name: str
    found_as: str           # program, module, gnuradio
    package: str            # of apt or pip

    def advice(self, folder: pathlib.Path | None) -> str:
        """How to install it."""
        if self.found_as != "module":
            return f"{self.name} is missing: apt install {self.package}"
        if folder is None:
            return f"{self.name} is missing: python3 -m venv DIR, DIR/bin/pip install {self.package}, then --peers DIR"
        return f"{self.name} is missing: {folder}/bin/pip install {self.package}"


GNURADIO = Peer("GNU Radio", "gnuradio", "gnuradio")
ATEST, GEN_PACKETS = Peer("atest", "program", "direwolf"), Peer("gen_packets", "program", "direwolf")
GNUAIS = Peer("gnuais", "program", "gnuais")
DUMP1090 = Peer("dump1090-mutability", "program", "dump1090-mutability")
PYAIS, ADSB = Peer("pyais", "module", "pyais"), Peer("adsb_generator", "module", "adsb-generator")
LORA_PHY, SOFTLORA = Peer("lora_phy", "module", "lora-phy"), Peer("softlora", "module", "softlora")


@dataclass
class Peers:
    """folder: a virtual environment that has the Python packages; None: only programs on PATH."""

    folder: pathlib.Path | None = None
    _found: dict[Peer, bool] = field(default_factory=dict)

    def missing(self, wanted: tuple[Peer, ...]) -> list[str]:
        """What to install before a case that needs these can run; one line for each package."""
        return list(dict.fromkeys(peer.advice(self.folder) for peer in wanted if not self._has(peer)))

    def _has(self, peer: Peer) -> bool:
        if peer not in self._found:
            self._found[peer] = self._look(peer)
        return self._found[peer]

    def _look(self, peer: Peer) -> bool:
        if peer.found_as == "program":
            return shutil.which(peer.name) is not None
        if peer.found_as == "gnuradio":
            return importlib.util.find_spec("gnuradio") is not None
        python, code = self._python(), f"import importlib.util, sys; sys.exit(importlib.util.find_spec({peer.name!r}) is None)"
        return python is not None and subprocess.run([python, "-c", code], capture_output=True).returncode == 0

    def _python(self) -> str | None:
        path = None if self.folder is None else self.folder / "bin" / "python"
        return str(path) if path is not None and path.exists() else None

    def script(self, name: str, arguments: dict[str, Any], samples: np.ndarray | None = None) -> tuple[Any, np.ndarray | None]:
        """Run scripts/NAME.py in the environment of peers.

        It gets the arguments as JSON, and samples, complex64; returns what it prints as JSON, and the samples that it writes.
        """
        with tempfile.TemporaryDirectory() as folder:
            inside, outside = pathlib.Path(folder) / "in.npy", pathlib.Path(folder) / "out.npy"
            if samples is not None:
                np.save(inside, samples)
            command = [self._python(), _SCRIPTS / f"{name}.py", json.dumps(arguments), inside, outside]
            printed = called([str(part) for part in command])
            return json.loads(printed), np.load(outside) if outside.exists() else None


def called(command: list[str], both: bool = False) -> str:
    """What a program prints on standard output, and on standard error too if both; raises RuntimeError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout + done.stderr * both
