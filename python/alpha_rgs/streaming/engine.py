# SPDX-License-Identifier: GPL-3.0-or-later
"""Where separation runs: one thread that owns the device and batches the windows of many callers."""
import atexit
import collections
import os
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from ..errors import ParameterError
from ..separators import BRIEF, Separation, choose, separate
from ..separators.base import joined
from ..sources.linear_modulation import NUISANCES
from . import reliability
from .tracker import Tracker


def windows_of(samples, window, hop):
    """First sample of each window of a stream: int [max(1, ceil((samples - window)/hop) + 1)].

    Window k covers [k·hop, k·hop + window); the last may reach past the end. Of each window the middle is kept, from
    (window - hop)//2 on; of the first also its head, of the last its tail: the rule of the GNU Radio blocks.
    """
    if not 1 <= hop <= window:
        raise ParameterError(f"hop: {hop} must lie between 1 and window ({window})")
    return np.arange(max(1, -(-(samples - window) // hop) + 1)) * hop


class Task:
    """What one caller wants done: priors, method, and what is known. Made by Engine.task."""

    def __init__(self, engine, soi, interference, method, kappa, noise_var, options):
        self.engine, self.soi, self.interference = engine, soi, interference
        self.method = choose(method, soi, interference)
        self.kappa, self.noise_var, self.options = kappa, noise_var, options
        self.longest, self.memory = 0, None         # what the last whole window told, for a short one at the end
        linear = soi.kind == "linear-modulation"
        self.tracker = Tracker(soi) if linear and None in (soi.timing, soi.phase, soi.carrier_offset) else None
        self.key = (self.method, *map(_identity, (soi, interference)), kappa, noise_var,
                    *((k, _identity(v)) for k, v in sorted(options.items())))

    def symbols(self, window):
        """How many soft symbols a window of `window` samples gives at the start of the stream; 0 if the SOI has none."""
        if self.soi.kind != "linear-modulation":
            return 0
        return window // self.soi.signal.samples_per_symbol if self.soi.timing is None else self.soi.inside(window)[1]

    def remember(self, out, row, start, samples):
        """Keep what a whole window told, in the stream's terms."""
        self.longest = max(self.longest, samples)
        if samples == self.longest and self.interference.kind == "ofdm":
            found, prior = out.estimated, self.interference
            phase = found.get("interference_phase", None if self.tracker else found.get("phase"))
            offset = found.get("frame_offset")
            turn = 2 * np.pi * float(prior.carrier_offset) * start
            self.memory = (replace(
                prior,
                frame_offset=prior.frame_offset if offset is None else (int(offset[row]) + start) % prior.signal.frame_length,
                phase=prior.phase if phase is None else float(phase[row]) - turn),
                float(out.kappa[row]), float(out.noise_var[row]))
        elif samples == self.longest and self.interference.kind == "gaussian":
            offset, prior = out.estimated.get("period_offset"), self.interference
            prior = prior if offset is None else replace(prior, period_offset=(int(offset[row]) + start) % prior.period)
            self.memory = prior, float(out.kappa[row]), float(out.noise_var[row])

    def remembered(self, samples):
        """(soi, interference, kappa, noise_var): as given, or for a window shorter than others as the last whole one told."""
        short = samples < self.longest
        soi = self.tracker.predicted() if short and self.tracker else self.soi
        return (soi, *(self.memory if self.memory and short else (self.interference, self.kappa, self.noise_var)))

    def submit(self, windows, start=0, block=True):
        """Queue windows, complex64 [n, samples], that begin at `start` (int or [n]) of the caller's stream.

        Returns a Future of a Separation of numpy arrays. block=False raises queue.Full where the queue is full. Raises
        RuntimeError after the engine was closed. Errors of the separation come out of the Future.
        """
        windows = np.atleast_2d(np.asarray(windows, np.complex64))
        start = np.broadcast_to(np.asarray(start, np.int64), len(windows))
        return self.engine._put(_Job(self, windows, start, Future()), block)


@dataclass(eq=False)     # jobs are told apart by identity: arrays have no truth value
class _Job:
    task: Task
    windows: np.ndarray
    start: np.ndarray
    future: Future


class Engine:
    """Batches windows over time and over callers.

    device: of torch. threads: windows of a batch are shared out among so many, each with one of torch's threads; None for
    the number of processors (at most 8), 1 on a GPU. max_batch: windows solved together.
    max_pending: windows that may wait; then submit blocks, or refuses.
    """

    _named, _lock = {}, threading.RLock()

    def __init__(self, device="cpu", threads=None, max_batch=64, max_pending=256):
        self.device, self.max_batch, self.max_pending = torch.device(device), max_batch, max_pending
        threads = threads or (min(os.cpu_count() or 1, 8) if self.device.type == "cpu" else 1)
        self._pool = ThreadPoolExecutor(threads, "alpha-rgs solver", lambda: torch.set_num_threads(1)) if threads > 1 else None
        self._threads = threads
        self._jobs, self._waiting, self._closed = [], 0, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="alpha-rgs engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)     # Python aborts where it ends while a thread is in torch's code

    @classmethod
    def named(cls, name="default", **settings):
        """The engine of that name, made with `settings` on first use (they are ignored afterwards)."""
        with cls._lock:
            if name not in cls._named or cls._named[name]._closed:
                cls._named[name] = cls(**settings)
            return cls._named[name]

    def task(self, soi, interference, method="auto", kappa=None, noise_var=None, **options):
        """A Task; raises ParameterError for an unknown method."""
        return Task(self, soi, interference, method, kappa, noise_var, options)

    @property
    def pending(self):
        """Windows that wait."""
        return self._waiting

    def close(self):
        """Finish what was submitted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._pool:
            self._pool.shutdown()
        atexit.unregister(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _put(self, job, block):
        with self._changed:
            while not self._closed and self._waiting and self._waiting + len(job.windows) > self.max_pending:
                if not block:
                    raise queue.Full
                self._changed.wait()
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._jobs.append(job)
            self._waiting += len(job.windows)
            self._changed.notify_all()
        return job.future

    def _take(self):
        """The oldest job and later ones that can be solved with it; None when closed and empty."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return None
                self._changed.wait()
            head, batch, count = self._jobs[0], [], 0
            for job in list(self._jobs):
                alike = job.task.key == head.task.key and job.windows.shape[1] == head.windows.shape[1]
                if alike and (not batch or count + len(job.windows) <= self.max_batch):
                    batch.append(job)
                    self._jobs.remove(job)
                    count += len(job.windows)
            return batch

    def _run(self):
        while (batch := self._take()) is not None:
            batch = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if batch:
                try:
                    self._solve(batch)
                except Exception as error:      # to the callers: this thread serves others too
                    for job in batch:
                        if not job.future.done():
                            job.future.set_exception(error)
            with self._changed:
                self._waiting = sum(len(job.windows) for job in self._jobs)
                self._changed.notify_all()

    def _share_out(self, task, windows, start, known=None):
        """Separate, the batch cut in as many parts as there are threads: its small operations do not fill several. Where they are
        few, threads would only wait for the interpreter. known: of the SOI, name -> [n], where other than the task's; fitted."""
        soi, interference, *levels = task.remembered(windows.shape[1])
        options = task.options
        if known:
            options = {"free": tuple(key for key in NUISANCES if getattr(soi, key) is None), **options}
            known = {key: torch.from_numpy(value) for key, value in known.items()}

        def solve(rows):
            own = replace(soi, **{key: value[rows] for key, value in known.items()}) if known else soi
            return separate(windows[rows], own, interference, task.method, *levels, start[rows], **options)

        parts = 1 if task.method in BRIEF else min(self._threads, len(windows) // 4)
        if parts < 2:
            return solve(slice(None))
        edges = np.linspace(0, len(windows), parts + 1).astype(int)
        return joined(list(self._pool.map(solve, map(slice, edges[:-1], edges[1:]))))

    def _one_by_one(self, batch):
        for job in batch:
            self._solve([job])

    def _solve(self, batch):
        task, samples = batch[0].task, batch[0].windows.shape[1]
        for job in batch:
            job.task.longest = max(job.task.longest, samples)
        if len(batch) > 1 and any((job.task.memory or job.task.tracker) and samples < job.task.longest for job in batch):
            self._one_by_one(batch)             # each caller has its own memory
            return
        windows = torch.from_numpy(np.concatenate([job.windows for job in batch])).to(self.device)
        start = np.concatenate([job.start for job in batch])
        try:
            out = self._share_out(task, windows, start)
        except Exception as error:
            if len(batch) > 1:                  # one caller's error must not fail another's windows
                self._one_by_one(batch)
            else:
                batch[0].future.set_exception(error)
            return
        at = 0
        for job in batch:
            rows = slice(at, at + len(job.windows))
            job.task.remember(out, rows.stop - 1, int(job.start[-1]), samples)
            try:
                job.future.set_result(self._followed(job, windows[rows], _rows(out, rows)))
            except Exception as error:
                job.future.set_exception(error)
            at = rows.stop

    def _followed(self, job, windows, part):
        """A job's part of a Separation, laid as its stream has it; what does not fit the stream is separated once more."""
        if not job.task.tracker:
            return part

        def again(rows, known):
            return _rows(self._share_out(job.task, windows[torch.from_numpy(rows)], job.start[rows], known), slice(None))

        if windows.shape[1] < job.task.longest:         # its SOI was as the tracker had it: what is found is the interference's
            names = {key: f"interference_{key}" for key in NUISANCES}
            part = replace(part, estimated={names.get(key, key): value for key, value in part.estimated.items()})
        return job.task.tracker.follow(part, job.start, again)


def _identity(value):
    """A key that is equal only for equal values: what prints in full, or else the object itself."""
    held = vars(value).values() if hasattr(value, "__dict__") else (value,)
    return id(value) if any(torch.is_tensor(v) or isinstance(v, np.ndarray) for v in held) else repr(value)


def _rows(out, rows):
    """Some windows of a Separation, as numpy."""
    def take(value):
        return value[rows].cpu().numpy() if torch.is_tensor(value) and value.ndim else value
    return replace(out, estimated={k: take(v) for k, v in out.estimated.items()},
                   **{f.name: take(getattr(out, f.name)) for f in fields(Separation) if f.name != "estimated"})


@dataclass
class StreamResult:
    """A separated stream, numpy: soi, interference complex64 [samples], symbols complex64 [symbols]; quality dB, error_rate (the
    bit error rate that the llrs expect) and sir_db per window; noise_var mean; method; evaluations; estimated: name -> [windows]
    (a short last window takes over what the one before it told); seconds of solving; clock_offset: how much faster than given
    the SOI's symbols come, ppm, None where it is not seen (timing given, fewer than eight good windows). Then symbols are more,
    or fewer, than samples/samples_per_symbol. settled: whether the preamble was found, without which the symbols' phase is known
    up to the alphabet's symmetry only; None where the prior tells of none, or of the phase. unreliable: [[first sample, one past
    the last]] of windows not to be trusted: quality too low for the alphabet, or more than 10 dB below what gain and noise
    promise. warnings: sentences on what the samples contradict."""

    soi: np.ndarray
    interference: np.ndarray
    symbols: np.ndarray
    quality: np.ndarray
    error_rate: np.ndarray
    sir_db: np.ndarray
    noise_var: float
    method: str
    evaluations: int
    estimated: dict = field(default_factory=dict)
    seconds: float = 0.0
    clock_offset: float | None = None
    settled: bool | None = None
    unreliable: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def separate_stream(samples, soi, interference, window=2560, hop=2048, method="auto", kappa=None, noise_var=None,
                    progress=None, engine=None, batch=64, **options):
    """Separate a recording, complex64 [samples], in overlapping windows; the context on both sides is thrown away.

    progress(done, total) is called in samples. Raises what `separate` raises, and ParameterError where window, hop or the
    context (window - hop)/2 is no multiple of samples_per_symbol.
    """
    samples = np.ascontiguousarray(samples, np.complex64)
    if len(samples) == 0:
        raise ParameterError("samples: there are none")
    starts = windows_of(len(samples), window, hop)
    context, sps = (window - hop) // 2, 0
    if soi.kind == "linear-modulation":
        sps = soi.signal.samples_per_symbol
        check_tiling(window, hop, sps)
        if window < soi.signal.taps_count:
            raise ParameterError(f"window: {window} samples are shorter than the signal of interest's pulse, "
                                 f"{soi.signal.taps_count} samples")
        if soi.preamble and soi.phase is None and len(soi.word) * sps > window:
            raise ParameterError(f"preamble: {len(soi.word)} symbols do not fit in a window of {window} samples; give fewer "
                                 "bits, or a longer window")
    began, own = time.perf_counter(), engine or Engine(max_pending=4 * batch)
    soi_out, interference_out = np.zeros_like(samples), np.zeros_like(samples)
    symbols, results, flying = [], [], collections.deque()
    shortest = soi.signal.taps_count if sps else 1
    try:
        task = own.task(soi, interference, method, kappa, noise_var, **options)
        whole = starts[starts + window <= len(samples)]
        jobs = [whole[i:i + batch] for i in range(0, len(whole), batch)]
        if len(whole) < len(starts):
            jobs.append(starts[-1:])
        for i in range(len(jobs) + 2):          # two in flight: the engine never waits for the caller
            if i < len(jobs):
                flying.append((jobs[i], task.submit(_cut(samples, jobs[i], window, shortest), jobs[i])))
            if i < 2 or not flying:
                continue
            rows, future = flying.popleft()
            out = future.result()
            results.append(out)
            for k, start in enumerate(rows):
                low = 0 if start == 0 else context
                high = context + hop if start != starts[-1] else len(samples) - start
                soi_out[start + low:start + high] = out.soi[k, low:high]
                interference_out[start + low:start + high] = out.interference[k, low:high]
                if sps:
                    moved = sum(step for at, step in task.tracker.slipped if at == start) if task.tracker and start else 0
                    symbols.append(_kept_symbols(soi, out.symbols[k], start, low, high, sps, moved))
            if progress:
                progress(int(min(rows[-1] + hop, len(samples))), len(samples))
    finally:
        for _, future in flying:
            future.cancel()
        if engine is None:
            own.close()
    late = task.tracker.settled if task.tracker else None
    if late:                                    # what came before the first preamble
        count = sum(map(len, symbols[:int(np.searchsorted(starts, late[0]))]))
        symbols = [np.concatenate(symbols)]
        symbols[0][:count] *= np.exp(1j * late[1])
    kappas = np.concatenate([r.kappa for r in results])
    gain = 1.0 if not sps else soi.gain if soi.gain is not None else np.concatenate(
        [np.broadcast_to(r.estimated.get("gain", results[0].estimated["gain"][-1:]), r.kappa.shape) for r in results])
    quality, unreliable, warnings = np.concatenate([r.quality for r in results]), [], []
    if sps:
        where = reliability.spans(len(starts), window, hop, len(samples))
        bad, broken = reliability.untrusted(soi, interference, results[0].method, quality, gain,
                                            np.concatenate([r.noise_var for r in results]))
        unreliable = reliability.merged(bad, where)
        warnings = reliability.gain_warnings(samples, soi_out, soi, results[0].method, quality, where)
        warnings += reliability.broken_warnings(broken)
    return StreamResult(
        soi_out, interference_out, np.concatenate(symbols) if symbols else np.zeros(0, np.complex64),
        quality, np.concatenate([r.error_rate.numpy() for r in results]),
        -20 * np.log10(np.maximum(kappas, 1e-6) / gain),
        float(np.mean(np.concatenate([r.noise_var for r in results]))), results[0].method, results[0].evaluations,
        {k: np.concatenate([r.estimated[k] for r in results if k in r.estimated]) for k in results[0].estimated},
        time.perf_counter() - began, task.tracker and task.tracker.clock_offset,
        bool(late) if task.tracker and task.tracker.word is not None else None, unreliable, warnings)


def _cut(samples, starts, window, shortest):
    """The windows that begin there, [n, window]; a last one that the stream cuts, [1, rest], no shorter than `shortest`."""
    rest = samples[starts[-1]:]
    if len(rest) < window:
        return np.pad(rest, (0, max(0, shortest - len(rest))))[None]
    return np.lib.stride_tricks.sliding_window_view(samples, window)[starts]


def _kept_symbols(soi, symbols, start, low, high, sps, slipped):
    """The symbols whose centres lie in [low, high) of the window; slipped: by how many it was moved against the one before."""
    if soi.timing is None:                                      # laid by a Tracker
        return symbols[max(0, -(-int(low) // sps) - slipped):-(-int(high) // sps)]
    here = soi.shifted(int(start))
    centre = float(here.timing) + sps * (int(here.inside(high)[0][0]) + np.arange(len(symbols)))
    return symbols[(centre >= low - 1e-6) & (centre < high - 1e-6)]


def check_tiling(window, hop, samples_per_symbol):
    """Raise ParameterError unless windows fall on the symbol grid."""
    for name, value in (("window", window), ("hop", hop), ("(window - hop)/2", (window - hop) / 2)):
        if value % samples_per_symbol:
            low = int(value // samples_per_symbol) * samples_per_symbol
            raise ParameterError(f"{name}: {value:g} must be a multiple of samples_per_symbol ({samples_per_symbol}), so that "
                                 f"symbols tile: {low} or {low + samples_per_symbol}")
