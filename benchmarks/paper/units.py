# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of work behind `alpha-rgs evaluate paper`: what one is, how it is measured, kept, and run in several processes.

A unit is one method on one chunk of windows. Its mixtures depend on seed, case, SIR and chunk alone, so all methods see the
same ones (paired). Each unit done is one line of JSON in a file; one that is there already is not measured again.
"""
import concurrent.futures
import datetime
import functools
import gc
import hashlib
import json
import multiprocessing
import os
import pathlib
import platform
import signal
import subprocess
import time
import zlib
from dataclasses import asdict, dataclass, field, replace

import alpha_rgs
import numpy as np
import torch
from alpha_rgs import __version__
from alpha_rgs.errors import AlphaRgsError, ParameterError
from alpha_rgs.separators import api
from alpha_rgs.sources import load, with_network
from alpha_rgs.sources.base import Structure
from alpha_rgs.sources.mixtures import draw, draw_case, paper_case

CHUNK = 25          # windows drawn together
OUTER = 16          # symbols of each side of a window that do not count as its interior
SAMPLES = 2560


@dataclass(frozen=True)
class Unit:
    """One method on the first `windows` of chunk `chunk` of a case's mixtures.

    part: table, timing, floor, noise, budget, omega. sir_db: None for no interference. snr_db: per sample; None is the case's
    own noise. drawn: windows that the chunk's generator draws. priors: role ("soi", "interference") -> file of a trained prior.
    scale: 1, or the factor by which a shortened run's seconds are multiplied (timing). samples: 0 for isolated windows, else
    a stream of that many samples, cut into overlapping windows.
    """

    part: str
    case: str
    row: str
    method: str
    options: dict
    sir_db: float | None
    snr_db: float | None = None
    chunk: int = 0
    windows: int = CHUNK
    seed: int = 1
    drawn: int = CHUNK
    priors: dict = field(default_factory=dict)
    scale: int = 1
    samples: int = 0

    def __post_init__(self):
        for name in ("sir_db", "snr_db"):       # -12 and -12.0 are one
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))

    @property
    def key(self):
        """What makes two units the same measurement: a digest of all fields; trained priors count by their content."""
        fields = asdict(self) | {"priors": {role: _digest(path) for role, path in self.priors.items()}}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def mixture_seed(seed, case, sir_db, chunk):
    """The generator's seed of a chunk: the same for every method, and for every noise level."""
    sir = 0 if sir_db is None else 1 + round(1000 * (sir_db + 1000))
    return int(np.random.SeedSequence([seed, zlib.crc32(case.encode()), sir, chunk]).generate_state(1)[0])


def mixtures(unit):
    """The unit's windows, a Mixture; the first `windows` of those that its chunk draws."""
    seed = mixture_seed(unit.seed, unit.case, unit.sir_db, unit.chunk)
    if unit.samples:
        soi, interference = paper_case(unit.case)
        return draw(replace(soi, symbols=None), interference, 1, unit.samples, unit.sir_db, unit.snr_db, seed=seed)
    whole = draw_case(unit.case, unit.drawn, unit.sir_db, unit.snr_db, seed=seed)
    return replace(whole, **{name: getattr(whole, name)[:unit.windows] for name in ("y", "s", "b", "bits")})


def measure(unit):
    """What the unit gives, a dict: errors, interior_errors and mse (lists, one entry a window), bits and interior_bits (of
    one window), evaluations, seconds (of the unit). On failure a dict with the reason under `unavailable`."""
    try:
        mixture = mixtures(unit)
        soi, interference = paper_case(unit.case)
        soi = _trained(unit, "soi", soi)
        interference = _trained(unit, "interference", interference)
        if unit.method not in api.METHODS:
            raise ParameterError(f"no method {unit.method!r}; there are {', '.join(api.METHODS)}")
        if unit.samples:
            return _measure_stream(unit, mixture, replace(soi, symbols=None), interference)
        if unit.part == "timing" and unit.scale == 1:       # filters and plans are made once and kept
            api.separate(mixture.y, soi, interference, unit.method, **unit.options)
        spent = []
        for _ in range(3 if unit.part == "timing" and unit.scale == 1 else 1):
            began = time.perf_counter()
            out = api.separate(mixture.y, soi, interference, unit.method, **unit.options)
            spent.append(time.perf_counter() - began)
        seconds = sorted(spent)[len(spent) // 2]
        wrong = mixture.soi.signal.alphabet.slice(out.symbols) != mixture.bits
        edge = OUTER * mixture.soi.signal.alphabet.bits_per_symbol
        inner = wrong[:, edge:-edge]
        mse = (out.soi - mixture.s).abs().square().mean(1)
        if not bool(torch.isfinite(mse).all()):
            return {"unavailable": "the result is not finite"}
        return dict(errors=wrong.sum(1).tolist(), bits=wrong.shape[1], interior_errors=inner.sum(1).tolist(),
                    interior_bits=inner.shape[1], mse=[float(f"{m:.5g}") for m in mse.tolist()] if unit.part == "table" else [],
                    evaluations=out.evaluations * unit.scale, seconds=seconds * unit.scale)
    except AlphaRgsError as error:
        return {"unavailable": " ".join(str(error).split())}
    except Exception as error:  # noqa: BLE001 - one row's fault may not end a run of hours; the table says it
        return {"unavailable": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}


def _measure_stream(unit, mixture, soi, interference):
    from alpha_rgs.streaming import separate_stream

    began = time.perf_counter()
    out = separate_stream(mixture.y[0].numpy(), soi, interference, SAMPLES, 2048, unit.method, **unit.options)
    seconds = time.perf_counter() - began
    wrong = (mixture.soi.signal.alphabet.slice(torch.from_numpy(out.symbols)) != mixture.bits[0]).numpy()
    edge = OUTER * mixture.soi.signal.alphabet.bits_per_symbol
    return dict(errors=[int(wrong.sum())], bits=len(wrong), interior_errors=[int(wrong[edge:-edge].sum())],
                interior_bits=len(wrong) - 2 * edge, mse=[], evaluations=None, seconds=seconds)


def _trained(unit, role, given):
    """The trained prior; of a linear modulation with the nuisances of the case's own."""
    if role not in unit.priors:
        return given
    prior = load(unit.priors[role])
    own = prior.learned and prior.structure is given.structure is Structure.CHAIN
    return with_network(given, prior.network) if own else prior


@functools.lru_cache(maxsize=64)
def _digest(path):
    path = pathlib.Path(path)
    with open(path / "weights.safetensors" if path.is_dir() else path, "rb") as f:
        return f"{path.name}@{hashlib.file_digest(f, 'sha256').hexdigest()[:12]}"


def provenance():
    """Commit, version and machine of this run, a dict of texts that goes into each line."""
    return {"version": __version__, "commit": commit(), "machine": machine(), "threads": 1}


def commit():
    """The commit of the source tree that the package is imported from, "+" where it was changed; "none" outside of one."""
    folder = pathlib.Path(alpha_rgs.__file__).resolve().parent

    def git(*args):
        return subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".").strip()
        return git("rev-parse", "--short", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "none"


def machine():
    """The processor's name, its cores, torch's version."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            name = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def now():
    """Of the clock, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Units done, one line of JSON each. A line cut short (the machine went down) is passed over, and measured again."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.records, self._done, self._torn = [], set(), False
        if self.path.exists():
            text = self.path.read_bytes()
            self._torn = bool(text) and not text.endswith(b"\n")
            for line in text.split(b"\n"):
                try:
                    record = json.loads(line)
                    record["key"], record["row"]
                except (ValueError, KeyError, TypeError):       # torn, or no unit
                    continue
                self._take(record)

    def _take(self, record):
        self.records.append(record)
        if "unavailable" not in record:         # what failed once may work today
            self._done.add(record["key"])

    def __contains__(self, unit):
        return unit.key in self._done

    def drop(self, unwanted):
        """Remove the lines of records for which unwanted(record) holds, from the file too; how many there were."""
        kept = [record for record in self.records if not unwanted(record)]
        dropped = len(self.records) - len(kept)
        if dropped:
            new = self.path.with_name(self.path.name + ".new")
            new.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
            os.replace(new, self.path)
            self.records, self._done, self._torn = [], set(), False
            for record in kept:
                self._take(record)
        return dropped

    def add(self, unit, result, about):
        """Append the unit's line; it is on the disk when this returns."""
        record = asdict(unit) | result | about | {"date": now(), "key": unit.key}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(("\n" if self._torn else "") + json.dumps(record) + "\n")
            f.flush()
            os.fsync(f.fileno())
        self._torn = False
        self._take(record)


def run(units, store, jobs=1, weight=None, report=None, again=False):
    """Measure the units that the store lacks, in order, in `jobs` processes of one thread each, and keep each as it comes.

    A row that fails on a case is not tried there again in this run. report(unit, result, weight): called after each, also (with
    result None) for those passed over. again: measure also what is there. Raises KeyboardInterrupt as it comes; what is done is
    kept. With jobs=1 torch is left with one thread.
    """
    weight, report = weight or (lambda unit: 1.0), report or (lambda *_: None)
    about = provenance() | {"run": now()}
    pending, broken = [unit for unit in units if again or unit not in store], set()

    def finish(unit, result):
        store.add(unit, result, about)
        if "unavailable" in result:
            broken.add((unit.part, unit.case, unit.row))
        report(unit, result, weight(unit))

    def work():
        for unit in pending:
            if (unit.part, unit.case, unit.row) in broken:
                report(unit, None, weight(unit))
            else:
                yield unit

    if jobs == 1 or len(pending) < 2:
        torch.set_num_threads(1)        # and so it stays: set back, torch 2.13's LU of batches of 200 and more unknowns is wrong
        for unit in work():
            finish(unit, measure(unit))
        return
    others = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_quiet)
    waiting, queue = {}, work()
    try:
        while True:
            for unit in queue:
                waiting[pool.submit(measure, unit)] = unit
                if len(waiting) > jobs:         # one more than there are processes: few to be lost, none idle
                    break
            if not waiting:
                break
            for future in concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED).done:
                finish(waiting.pop(future), future.result())
        pool.shutdown()
    except BaseException:       # Ctrl-C too: a unit may take minutes yet
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        pool.shutdown(cancel_futures=True)
        waiting.clear()
        del pool
        gc.collect()        # semaphores go now: the command's exit may be an abrupt one
        raise


def _quiet():
    """In each process: one thread, and Ctrl-C is the parent's matter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
