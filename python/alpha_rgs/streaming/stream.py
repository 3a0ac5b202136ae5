# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording separated in overlapping windows."""
from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from .. import options as checks
from ..errors import ParameterError
from ..separators.base import NOTHING, Separation
from ..sources.base import Source
from ..sources.linear_modulation import LinearModulation
from ..sources.toml import sources_of
from . import reliability
from .engine import Engine
from .resampling import inside, plan, restored, touched
from .symbol_rates import at_true_rates
from .symbol_tracker import symbols_before
from .task import Count, Task


def windows_for(sources: Any) -> Any:
    """(window, hop) that suit these sources: whole symbols of the linear modulations, eight symbols or frames of any, and a
    context on both sides of two of them; of a linear modulation, whose half overlaps with the neighbours, half as much."""
    unit = math.lcm(*(int(source.symbol_period) or 1 for source in sources if source.symbol_period == int(source.symbol_period)))
    longest = max((source.memory // (2 if source.symbol_period else 1) for source in sources), default=0)
    context = -(-max((WINDOW - HOP) // 2, 2 * longest) // unit) * unit
    hop = -(-max(HOP, 8 * longest) // unit) * unit
    return hop + 2 * context, hop


def windows_of(samples: int, window: int, hop: int) -> np.ndarray:
    """First sample of each window of a stream: int [max(1, ceil((samples - window)/hop) + 1)].

    Window k covers [k·hop, k·hop + window); the last may reach past the end. Of each window the middle is kept, from
    (window - hop)//2 on; of the first also its head, of the last its tail: the rule of the GNU Radio blocks.
    """
    if not 1 <= hop <= window:
        raise ParameterError(f"hop: {hop} must lie between 1 and window ({window})")
    return np.arange(max(1, -(-(samples - window) // hop) + 1)) * hop

WINDOW, HOP = 2560, 2048     # samples
BATCH = 64                   # windows of a job
_SIR_LIMIT = 120.0           # dB: beyond it there is no interference


@dataclass
class StreamSource:
    """One source of a separated stream, numpy. waveform: as received; cleaned: the mixture less all other sources, complex64
    [samples]. symbols: complex64 [n]; llrs: float32 [n, bits]; at: the sample on which each symbol is centred, float64 [n]
    (None of symbols that are tracked); all None where the source has no symbols. quality: dB, error_rate, gain: of each window;
    carrier_offset: cycles per sample, as estimated in each, None where it was not. bits: uint8 [n·bits], None where the phase's
    ambiguity is not resolved."""

    waveform: np.ndarray
    cleaned: np.ndarray
    symbols: np.ndarray | None = None
    llrs: np.ndarray | None = None
    at: np.ndarray | None = None
    quality: np.ndarray | None = None
    error_rate: np.ndarray | None = None
    gain: np.ndarray | None = None
    carrier_offset: np.ndarray | None = None
    bits: np.ndarray | None = None


@dataclass
class StreamResult:
    """A separated stream, numpy: soi, interference complex64 [samples], symbols complex64 [symbols]; quality dB, error_rate (the
    bit error rate that the llrs expect) and sir_db per window; noise_var mean; method; evaluations; estimated: name -> [windows]
    (a short last window takes over what the one before it reported); seconds of solving; clock_offset: how much faster than given
    the SOI's symbols come, ppm, None where it is not seen (timing given, fewer than eight good windows). Then symbols are more,
    or fewer, than samples/samples_per_symbol. sources: a StreamSource of each source, in the order in which they were given.
    settled: whether the preamble was found, without which the symbols' phase is known up to the alphabet's symmetry only; None
    where the prior has none, or of the phase.
    unreliable: [[first sample, one past the last]] of windows not to be trusted: quality too low for the alphabet, or more than
    10 dB below what gain and noise promise. warnings: sentences on what the samples contradict. least_quality: dB, that quality
    must exceed."""

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
    sources: list[StreamSource] = field(default_factory=list)
    window: int = WINDOW
    hop: int = HOP
    unreliable: list[list[int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    least_quality: float = reliability.LEAST


def separate_stream(samples: np.ndarray, sources: Any, interference: Any = None, window: int | None = None,
                    hop: int | None = None, method: str = "auto", kappa: Any = None, noise_var: Any = None,
                    progress: Callable[..., Any] | None = None, engine: Engine | None = None, **options: Any) -> StreamResult:
    """Separate a recording, complex64 [samples], in overlapping windows; the context on both sides is thrown away.

    sources: two or more; or, with a third argument, the signal of interest and the interference, as in `separate`. progress(done,
    total) is called in windows, from several threads. window, hop: samples per window, and from one to the next; default what the
    sources need (windows_for): 2560 and 2048, or more. options: sample_rate, Hz, where files give rates in Hz; then the samples
    are resampled as the sources need it, and the result is at the recording's rate (resampling.py); batch, windows of a
    job, default 64; the others go to the method. Returns a StreamResult. Raises what `separate` raises, and ParameterError where
    window, hop or the context (window - hop)/2 is no multiple of samples_per_symbol.
    """
    samples = checks.samples("samples", samples)
    window, hop = checks.whole("window", window), checks.whole("hop", hop)
    batch = checks.whole("batch", options.pop("batch", BATCH), most=checks.MOST_WINDOWS) or BATCH
    to = plan(sources_of(sources, interference), checks.rate("sample_rate", options.pop("sample_rate", None)))
    checks.of_separation("", method, options, kappa=kappa, noise_var=noise_var)
    window, hop = (None if v is None else round(v * to.ratio) for v in (window, hop))
    noise_var = None if noise_var is None else noise_var * min(to.ratio, 1.0)
    bad = checks.unusable(samples)
    samples = np.where(bad, 0, samples) if bad.any() else samples
    mixture, lost = inside(samples, to), touched(bad, to)

    def separated(own: list[Source]) -> StreamResult:
        first, second = (own, None) if interference is None else (own[0], own[1])
        return _separated(mixture, first, second, window, hop, progress, engine, method=method, kappa=kappa, noise_var=noise_var,
                          batch=batch, lost=lost, **options)

    result = at_true_rates(separated(to.sources), to.sources, separated)
    return restored(replace(result, warnings=[*reliability.lost_warnings(bad), *result.warnings]), samples, to)


def _separated(samples: np.ndarray, sources: Any, interference: Source | None, window: int | None, hop: int | None,
               progress: Callable[..., Any] | None, engine: Engine | None, batch: int = BATCH,
               lost: np.ndarray | None = None, **options: Any) -> StreamResult:
    """separate_stream, of sources in samples. lost: bool [samples], samples that cost the windows that hold them."""
    usual = windows_for(sources if interference is None else [sources, interference])
    window, hop = usual[0] if window is None else window, usual[1] if hop is None else hop
    began, own = time.perf_counter(), engine or Engine(max_pending=4 * batch)
    flying: collections.deque[tuple[np.ndarray, Future]] = collections.deque()
    task: Task | None = None
    try:
        task = own.task(sources, interference, **options)
        windows_of(len(samples), window, hop)           # refuses what no window can be
        _check_window(task.soi, window, hop)
        stream = _Stream(samples, task, window, hop, lost)
        jobs = stream.jobs(batch)
        if progress:
            task.finished = Count(progress, len(stream.starts))
        for i in range(len(jobs) + 2):          # two in flight: the engine never waits for the caller
            if i < len(jobs):
                flying.append((jobs[i], task.submit(stream.cut(jobs[i]), jobs[i])))
            if i < 2 or not flying:
                continue
            starts, future = flying.popleft()
            stream.take(future.result(), starts)
    finally:
        if task is not None:
            task.give_up()
        if engine is None:
            own.close()
    return stream.result(time.perf_counter() - began)


def _check_window(soi: LinearModulation, window: int, hop: int) -> None:
    """Raise ParameterError where windows do not suit a linear modulation."""
    sps = soi.symbol_period
    if not sps:
        return
    if isinstance(sps, int):
        check_tiling(window, hop, sps)
    if window < soi.signal.taps_count:
        raise ParameterError(f"window: {window} samples are shorter than the signal of interest's pulse, {soi.signal.taps_count} "
                             "samples")
    if soi.preamble and soi.phase is None and len(soi.word) * sps > window:
        raise ParameterError(f"preamble: {len(soi.word)} symbols do not fit in a window of {window} samples; give fewer "
                             "bits, or a longer window")


class _Stream:
    """Windows of a recording on their way: cut, and put together again."""

    def __init__(self, samples: np.ndarray, task: Task, window: int, hop: int, lost: np.ndarray | None) -> None:
        self.samples, self.task, self.window, self.hop, self.lost = samples, task, window, hop, lost
        self.context, self.sps = (window - hop) // 2, task.soi.symbol_period
        self.starts = windows_of(len(samples), window, hop)
        self.shortest = task.soi.signal.taps_count if self.sps else 1
        follows = task.tracker and not (task.several and task.soi.intermittent)    # the last window, what was seen before
        if not follows and len(samples) > window and (task.several or not self.sps):
            self.starts[-1] = len(samples) - window         # a whole window at the end, seen with more context
        self.waves = [np.zeros_like(samples) for _ in task.sources]
        self.read: list[list[tuple[np.ndarray, ...]]] = [[] for _ in task.sources]      # (symbols, llrs, at) of each window
        self.symbols: list[np.ndarray] = []
        self.llrs: list[np.ndarray] = []
        self.results: list[Any] = []                        # Separations of numpy arrays
        # as judged by what is kept of each window; and by those symbols of it that the recording's ends do not cut
        self.judged: list[Separation] = []
        self.inner: list[Separation] = []
        self.kept = 0
        self.spans: list[list[int]] = []                    # [first sample, one past the last] that was taken of each window

    def jobs(self, batch: int) -> list[np.ndarray]:
        """First samples of the windows of each job; a last window that the recording cuts goes by itself."""
        whole = self.starts[self.starts + self.window <= len(self.samples)]
        if not isinstance(self.sps, int):       # together, windows are read as far as the one with fewest symbols
            whole = whole[whole < self.starts[-1]]
        jobs = [whole[i:i + batch] for i in range(0, len(whole), batch)]
        return jobs + [self.starts[-1:]] if len(whole) < len(self.starts) else jobs

    def cut(self, starts: np.ndarray) -> np.ndarray:
        """The windows that begin there, [n, window]; a last one that the recording cuts, [1, rest], no shorter than
        `shortest`."""
        rest = self.samples[starts[-1]:]
        if len(rest) < self.window:
            out = np.pad(rest, (0, max(0, self.shortest - len(rest))))[None]
        else:
            out = np.lib.stride_tricks.sliding_window_view(self.samples, self.window)[starts]
        if self.lost is not None:               # the engine says nothing of a window with NaN
            out[[bool(self.lost[start:start + self.window].any()) for start in starts]] = np.nan
        return out

    def take(self, out: Any, starts: np.ndarray) -> None:
        """Put the middle of each window where it belongs."""
        if len(out.sources) == len(self.waves):                 # in the engine's order again, in which self.task.sources are
            places = sorted(range(len(self.waves)), key=lambda k: self.task.order[k])
            out = replace(out, sources=[out.sources[k] for k in places])
        self.results.append(out)
        estimates = out.sources if len(out.sources) == len(self.waves) else []
        waves = [e.waveform for e in estimates] if estimates else [out.soi, out.interference]
        for k, start in enumerate(starts):
            low = self.kept - start
            high = self.context + self.hop if start != self.starts[-1] else len(self.samples) - start
            for whole, part in zip(self.waves, waves):
                whole[start + low:start + high] = part[k, low:high]
            if self.sps:
                self._take_symbols(out, k, start, low, high)
            for e, kept in zip(estimates, self.read):
                if e.at is not None:
                    rows = np.flatnonzero((e.at[k] >= low - 1e-6) & (e.at[k] < high - 1e-6))
                    kept.append((e.symbols[k, rows], e.llrs[k, rows], start + e.at[k, rows]))
            self.spans.append([int(self.kept), int(start + high)])
            self.kept = start + high
        self._judge(out, starts)

    def _judge(self, out: Separation, starts: np.ndarray) -> None:
        """Keep of windows that were taken what their own symbols say of them."""
        spans = np.array(self.spans[-len(starts):])
        reach = 2 * max(source.memory for source in self.task.sources)      # a cut symbol, and those that it touches
        uncut = np.stack([np.maximum(spans[:, 0], reach), np.minimum(spans[:, 1], len(self.samples) - reach)], 1)
        for to, where in ((self.judged, spans), (self.inner, uncut)):
            low, high = torch.as_tensor(where - starts[:, None]).T
            to.append(out.between(low, high))

    def _take_symbols(self, out: Any, k: int, start: int, low: int, high: int) -> None:
        """Symbols of a linear modulation, aligned by the tracker where it is tracked."""
        tracker = self.task.tracker
        moved = sum(step for at, step in tracker.slipped if at == start) if tracker and start else 0
        rows = _kept_symbols(self.task.soi, len(out.symbols[k]), start, low, high, self.sps, moved)
        self.symbols.append(out.symbols[k][rows])
        self.llrs.append(out.llrs[k][rows])

    def result(self, seconds: float) -> StreamResult:
        """The StreamResult."""
        results, task = self.results, self.task
        tracker, late = task.tracker, task.tracker.settled if task.tracker else None
        symbols = np.concatenate(self.symbols) if self.symbols else self._own_symbols()
        if late:                                # what came before the first preamble
            symbols[:sum(map(len, self.symbols[:int(np.searchsorted(self.starts, late[0]))]))] *= np.exp(1j * late[1])
        kappas = np.concatenate([r.kappa for r in results])
        settled = bool(late) if tracker and tracker.word is not None else None
        sources, gains = self._sources(symbols, settled), self._gains(kappas)
        quality = np.concatenate([np.asarray(r.quality) for r in self.inner])
        faultless = np.concatenate([np.asarray(r.sources[0].faultless) if r.sources else np.zeros(len(r.quality), bool)
                                    for r in self.inner])
        of_qpsk = any(r.sources and r.sources[0].symbol_sinr_db is None for r in results)
        where, noise = np.array(self.spans), np.concatenate([r.noise_var for r in results])
        if self.sps:
            noise = np.maximum(noise, reliability.noise_beside(self.samples - sum(self.waves), self.waves[0], where, task.soi))
        told = np.concatenate([np.asarray(r.error_rate) for r in self.judged])
        bad, broken = reliability.unreliable_windows(task.sources, results[0].method, np.where(faultless, np.inf, quality), told,
                                                     gains, noise, of_qpsk)
        strange = np.isin(self.starts, list(task.lock.strange) if task.lock else [])
        if task.lock and 2 * broken.sum() < len(broken):        # what is left in them says that they are right
            kept = broken & task.lock.vouches(self.starts)
            bad, broken = bad & ~kept, broken & ~kept
        taken, right = np.zeros_like(bad), np.zeros_like(bad)
        if self.sps:
            taken = reliability.carriers_taken(task.sources, self.symbols)
            right = reliability.confirmed(task.sources, self.symbols, sources[0].carrier_offset, self.window,
                                          bad | strange)
        bad = (bad & (broken | ~right)) | (strange & ~(right & (told < reliability.NONE))) | taken
        bad |= reliability.among_bad(bad, told)
        warnings = [*reliability.carrier_warnings(taken), *reliability.strange_warnings(strange),
                    *reliability.broken_warnings(broken)]
        if self.sps and (doubted := reliability.alphabet_warnings(task.soi, symbols)):
            bad[:], warnings = True, [*doubted, *warnings]
        if self.sps:
            warnings = [*reliability.gain_warnings(self.samples, self.waves[0], task.soi, results[0].method, quality, where),
                        *warnings]
        return StreamResult(
            self.waves[0], np.asarray(sum(self.waves[1:])), symbols, quality, told, _sir_db(gains, kappas, quality),
            float(np.mean(np.concatenate([r.noise_var for r in results]))), results[0].method, results[0].evaluations,
            {k: np.concatenate([r.estimated[k] for r in results if k in r.estimated]) for k in results[0].estimated}, seconds,
            tracker.clock_offset if tracker else None, settled, [sources[k] for k in task.order], self.window, self.hop,
            reliability.merged(bad, where), warnings, reliability.least_quality(task.soi, of_qpsk))

    def _own_symbols(self) -> Any:
        """Of a first source that is no linear modulation."""
        parts = self.read[0]
        return np.concatenate([symbols for symbols, _, _ in parts]) if parts else np.zeros(0, np.complex64)

    def _gains(self, like: np.ndarray) -> float | np.ndarray:
        """Amplitude of the first source in each window."""
        found: list[Any] = [getattr(r.sources[0].state, "gain", None) if r.sources else None for r in self.results]
        gain = self.task.soi.state.gain
        if gain is not None:
            return gain
        if self.sps and "gain" in self.results[0].estimated:
            return np.concatenate([np.broadcast_to(r.estimated.get("gain", self.results[0].estimated["gain"][-1:]), r.kappa.shape)
                                   for r in self.results])
        return 1.0 if any(g is None for g in found) else np.concatenate(found)

    def _sources(self, symbols: np.ndarray, settled: bool | None) -> list[StreamSource]:
        """A StreamSource of each source, in the engine's order."""
        total, out = sum(self.waves), []
        for number, (source, wave) in enumerate(zip(self.task.sources, self.waves)):
            one = StreamSource(wave, self.samples - (total - wave))
            if number == 0 and self.symbols:
                one.symbols, one.llrs = symbols, np.concatenate(self.llrs)
                if source.differential:         # each step from two symbols of one window
                    one.llrs[:1] = 0.0          # before the first symbol of all nothing is known
                    one.bits = (one.llrs < 0).astype(np.uint8).reshape(-1)
                elif settled or (settled is None and source.state.phase is not None):
                    one.bits = source.signal.alphabet.slice(torch.from_numpy(symbols)).numpy()
            elif self.read[number]:
                one.symbols, one.llrs, one.at = (np.concatenate(part) for part in zip(*self.read[number]))
                if source.differential:
                    one.llrs[:1] = 0.0
                if all(r.sources[number].decided for r in self.results) and one.llrs.shape[1]:
                    one.bits = (one.llrs < 0).astype(np.uint8).reshape(-1)
            estimates = [r.sources[number] for r in self.judged] if all(r.sources for r in self.judged) else []
            if estimates:
                one.quality = np.concatenate([np.asarray(r.sources[number].quality) for r in self.inner])
                if all(e.error_rate is not None for e in estimates):
                    one.error_rate = np.concatenate([np.asarray(e.error_rate) for e in estimates])
                if all(e.state.gain is not None for e in estimates):
                    one.gain = np.concatenate([np.broadcast_to(e.state.gain, len(e.waveform)) for e in estimates])
            one.carrier_offset = self._carrier_offset(number, source)
            out.append(one)
        return out

    def _carrier_offset(self, number: int, source: Source) -> np.ndarray | None:
        """Of the source at that place in the engine's order, where it was estimated: float64 [windows]."""
        if "carrier_offset" not in source.unknown:
            return None
        other = "carrier_offset" if number == 0 else "" if self.task.several else "interference_carrier_offset"
        for name in (f"carrier_offset_{number + 1}", other):
            if values := [np.atleast_1d(r.estimated[name]) for r in self.results if name in r.estimated]:
                return np.concatenate(values).astype(float)
        return None


def _sir_db(gain: float | np.ndarray, kappa: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """Of each window, dB; at most _SIR_LIMIT, and NaN where the samples say nothing."""
    said = (quality > NOTHING) & (np.asarray(gain) > 0)
    ratio = np.divide(kappa, gain, out=np.full(np.shape(kappa), np.nan), where=said)
    return np.asarray(-20 * np.log10(np.maximum(ratio, 10 ** (-_SIR_LIMIT / 20))))


def _kept_symbols(soi: Any, count: int, start: int, low: int, high: int, sps: float,
                  slipped: int) -> np.ndarray | slice:
    """Which of a window's symbols have their centres in [low, high), a slice or bool [count]; slipped: by how many it was moved
    against the window before."""
    if soi.timing is None:                                      # aligned by a Tracker
        before = symbols_before(start, sps)
        return slice(max(0, symbols_before(start + low, sps) - before - slipped), symbols_before(start + high, sps) - before)
    here = soi.at(int(start))
    centre = float(here.timing) + sps * (int(here.centred_symbols(high)[0][0]) + np.arange(count))
    return (centre >= low - 1e-6) & (centre < high - 1e-6)


def check_tiling(window: int, hop: int, samples_per_symbol: int) -> None:
    """Raise ParameterError unless windows fall on the symbol grid."""
    for name, value in (("window", window), ("hop", hop), ("(window - hop)/2", (window - hop) / 2)):
        if value % samples_per_symbol:
            low = int(value // samples_per_symbol) * samples_per_symbol
            raise ParameterError(f"{name}: {value:g} must be a multiple of samples_per_symbol ({samples_per_symbol}), so that "
                                 f"symbols tile: {low} or {low + samples_per_symbol}")
