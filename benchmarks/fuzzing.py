# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that nobody meant to write: each parser either reads them or refuses them with an AlphaRgsError that names the file.

Inputs are made from good ones: bytes changed, parts doubled, exchanged and cut, and values that break parsers (huge numbers, NaN,
deep lists, other types) put in the place of others.
"""
from __future__ import annotations

import hashlib
import json
import pathlib
import random
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from alpha_rgs.errors import AlphaRgsError
from alpha_rgs.io import recordings
from alpha_rgs.nets import build
from alpha_rgs.sources import folder as prior_folder
from alpha_rgs.sources import load, shipped
from alpha_rgs.sources.description import Description

SLOW = 5.0          # s: a file that takes longer has made the parser compute what the file asks for
LONGEST = 20_000    # bytes of an input
RATE = 1e6          # Hz, at which descriptions are made sources
_VALUES = [b"0", b"-1", b"1e308", b"-1e400", b"nan", b"inf", b"9" * 400, b"9" * 5000, b'""', b'"a"', b"true", b"[]", b"{}",
           b"null", b"[" * 40, b"[" * 5000, b"[[1, 2], [3]]", b'["x", 1]', b"1e-320", b"65536", b"1000000000000", b"0x10",
           b"'\\x00'",
           b'"../../etc/passwd"', b'"\\u0000"', "\u202e".encode(), b"\x1b[31m", b"1979-05-27", b"0.5", b"2", b"-0.0"]
_VALUE = re.compile(rb"(?<=[=:\[,])\s*[^,\]\}\n]+")


@dataclass
class Findings:
    """Of one parser: executions, how many inputs were read, refused, and what else happened: (what, the input)."""

    executions: int = 0
    read: int = 0
    refused: int = 0
    faults: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """An input made from good ones."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        what = rng.randrange(7)
        if what == 0 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif what == 1:
            del data[at:min(end, at + 40)]
        elif what == 2:
            data[at:at] = data[at:min(end, at + 200)]
        elif what == 3:
            other = rng.choice(corpus)
            begin = rng.randrange(len(other) + 1)
            data[at:at] = other[begin:begin + rng.randrange(200)]
        elif what == 4:
            data[at:at] = rng.choice(_VALUES)
        elif places := list(_VALUE.finditer(data)):
            place = rng.choice(places)
            data[place.start():place.end()] = b" " + rng.choice(_VALUES)
    return bytes(data[:LONGEST])


def fuzz(read: Callable[[bytes], None], corpus: list[bytes], executions: int, seed: int,
         progress: Callable[[int], None] | None = None) -> Findings:
    """Findings of so many inputs; the same seed makes the same inputs."""
    rng, out, began = random.Random(seed), Findings(), time.perf_counter()
    for number in range(executions):
        data = mutated(rng, corpus)
        start, fault = time.perf_counter(), ""
        try:
            read(data)
            out.read += 1
        except AlphaRgsError as error:
            out.refused += 1
            fault = "" if str(error).strip() and len(str(error)) < 2000 else f"a message of {len(str(error))} characters"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__} in {pathlib.Path(last.filename).name}:{last.lineno}"
        if time.perf_counter() - start > SLOW:
            fault = fault or "slow"
        if fault:
            out.faults.setdefault(fault, data)
        if progress and number % 1000 == 0:
            progress(number)
    out.executions, out.seconds = executions, time.perf_counter() - began
    return out


# ---- the parsers, each with good inputs: (read, corpus) of a folder to work in --------------------------------------------

Parser = tuple[Callable[[bytes], None], list[bytes]]


def description(folder: pathlib.Path) -> Parser:
    """Prior files of all kinds, made sources."""
    path = folder / "prior.toml"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        source = load(path)
        if isinstance(source, Description):
            source.at_rate(RATE)

    corpus = [shipped.text(name).encode() for name in shipped.names()]
    corpus += [b'kind = "linear-modulation"\nconstellation = "16qam"\nsamples_per_symbol = 16\nrolloff = 0.35\nspan = 8\n'
               b'timing = 3.5\nphase = 0.0\ngain = 1.0\nchannel = [1.0, [0.2, 0.1]]\npreamble = "010011000111"\n',
               b'kind = "ofdm"\nfft_size = 64\ncyclic_prefix = 16\nguards = [4, 3]\ndc_null = true\nframe_offset = 3\n',
               b'kind = "sum"\nrounds = 3\ngains = [1.0, 0.5]\n'
               b'sources = [{kind = "ofdm"}, {kind = "lora", spreading_factor = 7}]\n',
               b'kind = "tones"\ncount = 3\ngain = 1.0\n']
    return read, corpus


def metadata(folder: pathlib.Path) -> Parser:
    """SigMF metadata beside 64 samples."""
    path = recordings.save(folder / "rec", np.ones(64), 1e6, 433e6, [{"core:sample_start": 3, "core:label": "x"}], "about")
    good = json.loads(path.read_text())
    good["global"].pop("core:sha512")

    def read(data: bytes) -> None:
        path.write_bytes(data)
        recordings.load(path)

    return read, [json.dumps(good).encode(), json.dumps(good, indent=1).encode(), path.read_bytes()]


def header(folder: pathlib.Path) -> Parser:
    """prior.toml of a learned prior; its weights stay."""
    _learned(folder)
    path = folder / prior_folder.HEADER

    def read(data: bytes) -> None:
        path.write_bytes(data)
        load(folder)

    return read, [path.read_bytes()]


def weights(folder: pathlib.Path) -> Parser:
    """weights.safetensors of a learned prior, whose checksum is made right."""
    _learned(folder)
    path, text = folder / prior_folder.WEIGHTS, (folder / prior_folder.HEADER).read_text()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        own = re.sub(r'sha256 = "\w+"', f'sha256 = "{hashlib.sha256(data).hexdigest()}"', text)
        (folder / prior_folder.HEADER).write_text(own)
        load(folder)

    return read, [path.read_bytes()]


def _learned(folder: pathlib.Path) -> None:
    from alpha_rgs.sources import from_dict
    from alpha_rgs.sources.learned import with_network

    torch.manual_seed(1)
    network = build({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "points": 4}, 8)
    prior_folder.write(with_network(from_dict({"kind": "ofdm"}), network), folder)


PARSERS: dict[str, Callable[[pathlib.Path], Parser]] = {"description": description, "metadata": metadata, "header": header,
                                                        "weights": weights}
