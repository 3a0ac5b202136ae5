# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, carrier offset and phase of any continuous-phase modulation, in noise of any density.

1. Where the carrier offset is unknown: the likeliest symbols (cpm_detection.py) whose phase is remembered for a few of them, at
   a grid of timings and carrier offsets. Else blocks of a few symbols of any phase: log sum over words of I0(2|<a·s_w, W·x>|)·
   exp(-<a·s_w, W·a·s_w>), W = 1/density, summed over the blocks, at a grid of timings. a: half a sine over the block, without
   which the block's edges would be wider in frequency than the signal, and see noise beside the interference's band.
2. The best few: the likeliest symbols there (cpm_detection.py), and Gauss-Newton steps of timing and carrier offset on their
   waveform, of a phase of its own for each stretch of the window. Then again with longer stretches, the best of all to the end.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.gauss_newton import damped_step
from .base import Noise, Number
from .cpm_detection import TAPS as _TAPS
from .cpm_detection import Detection, Whitened, whitened

REACH = 0.02            # cycles per sample: how far an unknown carrier offset may lie from zero
_FLOOR = 0.03           # of the signal's power, per sample: no less noise is believed, so that no word is ever excluded
_BLOCK = {2: 5, 4: 3}   # levels -> symbols of a block: 128 and 1024 words at span 3
_TIMINGS = 6            # to a symbol: block starts that are tried
_HOP = 2                # symbols from block to block: half a sine over three or more sees the ones between too
_KEPT = 4               # points of the grid that are looked at more closely
# Symbols that detection remembers the phase of; symbols of a stretch of one phase, of steps (0: the window); how many of the
# candidates go on.
_STAGES = ((5, 12, 3), (12, 40, 2), (32, 0, 1))
_NEARBY = ((0.5, 3), (1.0, 1))      # before the last: share of the window, grid points to each side
_NEARBY_STEP = 0.4      # cycles over that share, from one to the next
_SEEN = 40              # symbols in the middle of the window by which the phase of a guess is read off
_STRETCH = 16           # symbols of one phase, where the phase is read off at last
_PHASES = 2             # corrections of the phase by the posterior mean
_MEMORY = 4             # symbols that the phase is remembered where carrier offsets are searched
_FINE = 0.05            # cycles over these, between carrier offsets
_PART = 320             # symbols of the window that are searched: of half as many the right carrier is missed in one of four
_PLACES = 5             # timings to a symbol there
_GOING = 3              # points that go on from there
_BRIEF = {2: 3, 4: 2}   # levels -> symbols of a state there
_STEPS = 3              # of Gauss-Newton on the same symbols
_TURN = 0.25            # cycles over a stretch: the longest step of the carrier offset
_ELEMENTS = 2 ** 22     # fits that are held at once


@dataclass
class Guesses:
    """What a continuous-phase source may be. timing, carrier, phase (of the waveform before its first symbol, at sample 0):
    float64 [..., c]; first: number of the first symbol, int64 [..., c]; symbols: float64 [..., c, n]."""

    timing: Tensor
    carrier: Tensor
    phase: Tensor
    first: Tensor
    symbols: Tensor

    def select(self, rows: Any) -> Guesses:
        """Of some windows, or some guesses of one."""
        return Guesses(*(getattr(self, own.name)[rows] for own in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Guesses]) -> Guesses:
        """Several sets of guesses of one window."""
        return cls(*(torch.cat([getattr(part, own.name) for part in parts]) for own in fields(cls)))


def synchronized(source: Any, x: Tensor, noise: Noise | Number,
                 wide: bool = False) -> tuple[Any, dict[str, Tensor], Guesses | None]:
    """(a continuous-phase source with what it lacks estimated, name -> tensor [batch] of that), see Source.synchronize; where
    `wide`, also what else it may be, which only the detection of all sources tells apart. Raises ParameterError where the window
    is too short."""
    signal, samples = source.signal, x.shape[1]
    missing = source.unknown
    if not missing:
        return source, {}, None
    least = math.ceil((_BLOCK[signal.levels] + _HOP + 1) * signal.samples_per_symbol) + _TAPS
    if samples < least:
        raise ParameterError(f"{source.kind}: {', '.join(missing)} of a window of {samples} samples cannot be estimated; give "
                             f"{least} samples or more")
    timing, carrier, found, seen, near = synchronize(signal, x, noise, source.timing, source.carrier_offset)
    values = {"timing": timing.cpu(), "carrier_offset": carrier.cpu()}
    here = replace(source, **{name: values[name] for name in missing if name != "phase"})
    if "phase" in missing:
        s, z = _filtered(seen, waveform(signal, found, timing, carrier, samples)[0][:, None])
        # a symbol found wrong turns all that follows by a root of one: the power by which roots do not show
        parts = torch.stack([p.sum(1) for p in (s[:, 0].conj() * z).split(math.ceil(_STRETCH * signal.samples_per_symbol), 1)], 1)
        order = signal.index.denominator
        phase = torch.angle((parts.abs() * torch.sgn(parts) ** order).sum(1)).double() / order
        number = found.first[:, None] + torch.arange(found.symbols.shape[1], device=x.device)
        over = (found.symbols * (number < here.first().to(x.device)[:, None])).sum(1)       # symbols before the source's first
        values["phase"] = (phase + math.pi * signal.half_turns * over).cpu()
        here = replace(here, phase=values["phase"], symmetry=signal.index.denominator)
        for _ in range(_PHASES):
            error = torch.angle((here.denoise(x, Noise.of(noise).flat).conj() * x).sum(1)).double()
            values["phase"] = values["phase"] + error.cpu()
            here = replace(here, phase=values["phase"])
    guesses = _guesses(source, seen, near, (timing, carrier)) if wide else None
    return here, {name: values[name] for name in missing}, guesses


def _guesses(source: Any, seen: Whitened, near: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> Guesses:
    """Of what was found, and of the points of the grids [batch, c] that were looked at more closely, where the carrier is unknown
    also of those half a step of the grid to each side."""
    signal = source.signal
    side = _FINE / (2 * _MEMORY * signal.samples_per_symbol) if source.carrier_offset is None else 0.0
    shifts = torch.tensor([0.0, -side, side] if side else [0.0], dtype=torch.float64, device=near[1].device)
    f = torch.cat([found[1][:, None], (near[1][..., None] + shifts).flatten(1)], 1)
    tau = torch.cat([found[0][:, None], near[0].repeat_interleave(len(shifts), 1)], 1)
    (batch, count), samples = f.shape, seen.x.shape[1]
    rows = torch.arange(batch, device=f.device).repeat_interleave(count)
    here = seen.select(rows)
    read = Detection(signal, here, tau.flatten(), f.flatten(), _STAGES[0][0])
    model, z = _filtered(here, waveform(signal, read, tau.flatten(), f.flatten(), samples)[0][:, None])
    half = math.ceil(_SEEN / 2 * signal.samples_per_symbol)
    middle = slice(max(z.shape[1] // 2 - half, 0), z.shape[1] // 2 + half)
    phase = torch.angle((model[:, 0].conj() * z)[:, middle].sum(1)).double()
    flat = Guesses(tau.flatten(), f.flatten(), phase, read.first, read.symbols)
    return Guesses(*(getattr(flat, own.name).unflatten(0, (batch, count)).cpu() for own in fields(flat)))


def synchronize(signal: Any, x: Tensor, noise: Noise | Number, timing: Any,
                carrier: Any) -> tuple[Tensor, Tensor, Detection, Whitened, tuple[Tensor, Tensor]]:
    """(timing in samples, carrier offset in cycles per sample, float64 [batch], the symbols found, x made white, timings and
    carrier offsets [batch, c] that were looked at) of x complex64 [batch, samples], of unit power plus noise. timing, carrier: as
    known, a number or [batch], or None."""
    batch, samples = x.shape
    density = Noise.of(noise).density(samples).to(x.device).clamp_min(_FLOOR).expand(batch, -1)
    known = [None if v is None else torch.as_tensor(v, dtype=torch.float64, device=x.device).reshape(-1).expand(batch)
             for v in (timing, carrier)]
    seen = whitened(x, density)
    asked = known[0]
    timings, carriers = _carriers(signal, seen, asked) if known[1] is None else _timings(signal, x, density, asked, known[1])
    kept, near = timings.shape[1], (timings, carriers)
    rows = torch.arange(batch, device=x.device).repeat_interleave(kept)
    limit = torch.tensor([signal.samples_per_symbol / 8 if timing is None else 1e-9, 1.0], dtype=torch.float64, device=x.device)
    tau, f = timings.flatten(), carriers.flatten()
    for memory, stretch, going in _STAGES:
        here = seen.select(rows)
        if memory == _STAGES[-1][0] and carrier is None:
            for share, side in _NEARBY:
                f = _nearby(signal, here, tau, f, memory, int(samples * share), side)
        found = Detection(signal, here, tau, f, memory)
        if going < kept:
            kept = going
            order = found.metric.reshape(batch, -1).topk(kept, 1).indices
            order = (order + torch.arange(batch, device=x.device)[:, None] * (len(rows) // batch)).flatten()
            rows, tau, f = rows[order], tau[order], f[order]
            found, here = found.select(order), here.select(order)
        span = min(stretch * signal.samples_per_symbol or samples, samples)
        limit[1] = _TURN / span if carrier is None else 1e-12
        for _ in range(_STEPS):
            tau, f = stepped(signal, here, found, tau, f, int(span), limit)
    return tau, f, found, seen, near


def _nearby(signal: Any, seen: Whitened, tau: Tensor, f: Tensor, memory: float, length: int, side: int) -> Tensor:
    """The likeliest carrier offsets [k] of a fine grid about f, in that many samples in the middle of the window. Symbols that
    are found at a wrong one turn its phase back, so that steps along the slope do not lead away from there."""
    low = (seen.x.shape[1] - length) // 2
    grid = f[:, None] + _NEARBY_STEP / length * torch.arange(-side, side + 1, device=f.device)
    rows = torch.arange(len(f), device=f.device).repeat_interleave(grid.shape[1])
    part = Whitened(seen.x[rows, low:low + length], seen.taps[rows])
    metric = Detection(signal, part, tau[rows] - low, grid.flatten(), memory).metric.reshape(grid.shape)
    return grid.gather(1, metric.argmax(1, keepdim=True))[:, 0]


def _carriers(signal: Any, seen: Whitened, timing: Tensor | None) -> tuple[Tensor, Tensor]:
    """Timings and carrier offsets, float64 [batch, _GOING]: the likeliest of a fine grid of both, or at timings known."""
    batch, samples, sps, device = *seen.x.shape, signal.samples_per_symbol, seen.x.device
    places = (torch.arange(_PLACES, device=device) / _PLACES * sps)[None].double() if timing is None else timing[:, None]
    places = places.expand(batch, -1)
    side = math.ceil(REACH * _MEMORY * sps / _FINE)
    grid = torch.linspace(-REACH, REACH, 2 * side + 1, dtype=torch.float64, device=device)
    length = min(samples, int(_PART * sps) + seen.taps.shape[1])
    low = (samples - length) // 2
    part = Whitened(seen.x[:, low:low + length], seen.taps)
    shape = (batch, len(grid), places.shape[1])
    tau, f = places[:, None].expand(shape).flatten(), grid[:, None].expand(shape).flatten()
    rows = torch.arange(batch, device=device).repeat_interleave(shape[1] * shape[2])
    size = max(1, _ELEMENTS // (length * signal.levels ** max(2, signal.span)))
    state, every = _BRIEF[signal.levels], torch.arange(len(rows), device=device)
    metric = torch.cat([Detection(signal, part.select(rows[some]), tau[some] - low, f[some], _MEMORY, state).metric
                        for some in every.split(size)]).reshape(shape)
    timings, carriers = _peaks(metric, places, grid.expand(batch, -1), sps, timing is None)
    return timings[:, :_GOING], carriers[:, :_GOING]


def _timings(signal: Any, x: Tensor, density: Tensor, timing: Tensor | None, carrier: Tensor) -> tuple[Tensor, Tensor]:
    """Timings and carrier offsets, float64 [batch, kept]: of carrier offsets that are known, the likeliest timings of a grid, or
    the ones that are known."""
    sps, carriers = signal.samples_per_symbol, carrier[:, None]
    if timing is not None:
        return timing[:, None], carriers
    fractions = max(1, math.ceil(_TIMINGS / sps))               # to a sample: where blocks may start
    places = torch.arange(_TIMINGS, device=x.device) / _TIMINGS * sps
    out = torch.stack([_metric(signal, x[k], density[k], places, carriers[k], fractions) for k in range(len(x))])
    return _peaks(out, places.expand(len(x), -1) + signal.half_length, carriers, sps, True)


def _peaks(log: Tensor, timings: Tensor, carriers: Tensor, sps: float, cyclic: bool) -> tuple[Tensor, Tensor]:
    """The highest points of the grid [batch, carriers, timings] that are no lower than their neighbours, and where a parabola
    through these neighbours is highest."""
    edge = torch.full_like(log[:, :1], -torch.inf)
    up, down = torch.cat([log[:, 1:], edge], 1), torch.cat([edge, log[:, :-1]], 1)
    left, right = (log.roll(1, 2), log.roll(-1, 2)) if cyclic else (torch.full_like(log, -torch.inf),) * 2
    peak = (log >= up) & (log >= down) & (log >= left) & (log >= right)
    best = torch.where(peak, log, log - 1e9).flatten(1).topk(min(_KEPT, log[0].numel()), 1).indices

    def at(v: Tensor) -> Tensor:
        return v.flatten(1).gather(1, best)

    def vertex(low: Tensor, high: Tensor) -> Tensor:
        bend = 2 * at(log) - at(low) - at(high)
        shift = (0.5 * (at(high) - at(low)) / bend).clamp(-0.5, 0.5)
        return torch.where(torch.isfinite(shift), shift, 0.0)

    row, column = best.div(log.shape[2], rounding_mode="floor"), best % log.shape[2]
    step = (carriers[:, -1:] - carriers[:, :1]) / max(carriers.shape[1] - 1, 1)
    f = carriers.gather(1, row) + vertex(down, up) * step
    return timings.gather(1, column) + vertex(left, right) * sps / log.shape[2], f.clamp(carriers[:, :1], carriers[:, -1:])


def _metric(signal: Any, x: Tensor, density: Tensor, places: Tensor, carriers: Tensor, fractions: int) -> Tensor:
    """log p(x) up to a constant of blocks that start at places + k·samples_per_symbol, float64 [carriers, places]."""
    sps, levels, device, samples = signal.samples_per_symbol, signal.levels, x.device, len(x)
    length = _BLOCK[levels]
    width = math.ceil(length * sps)
    weight = 1 / density
    y = torch.fft.ifft(weight * torch.fft.fft(x.to(torch.complex128))).to(torch.complex64)
    ties = torch.fft.ifft(weight)                               # <s, W s> = sum of ties(i - j)·conj(s(i))·s(j)
    i = torch.arange(width, device=device)
    ties = ties[(i[:, None] - i) % samples]
    blocks = int((samples - width - sps) // (_HOP * sps))
    start = places + _HOP * sps * torch.arange(blocks, device=device)[:, None]          # [blocks, places]
    whole = torch.ceil(start - 1e-9)
    late = torch.round((whole - start) * fractions).long() % fractions          # of the first sample into the block
    whole = torch.where((whole - start) * fractions > fractions - 0.5, whole - 1, whole).long()
    out = torch.empty(len(carriers), *start.shape, device=device)
    for part in range(fractions):
        s = _words(signal, length, width, part / fractions)
        for k, f in enumerate(carriers.tolist()):
            turned = s * torch.exp(2j * math.pi * f * i)
            energy = (turned.conj() @ ties * turned).sum(1).real.float()
            here = late == part
            if bool(here.any()):
                out[k, here] = _likelihood(y, whole[here], turned.to(torch.complex64), energy)
    # half a sine weighs half of the power; blocks overlap or leave gaps
    return out.sum(1).double() * (_HOP * 2 / length)


def _likelihood(y: Tensor, starts: Tensor, words: Tensor, energy: Tensor) -> Tensor:
    """log of the mean over words of I0(2|<s_w, y>|)·exp(-energy), float32 [starts]."""
    out = []
    for some in starts.split(max(1, _ELEMENTS // len(words))):
        u = 2 * (y[some[:, None] + torch.arange(words.shape[1], device=y.device)] @ words.mH).abs()
        # log I0(u) to 0.05: u²/4 of small ones, u - log(2·pi·u)/2 of large ones
        log = u - 0.5 * torch.log1p(2 * u + (2 * math.pi - 2) * u * u / (u + 1.66))
        out.append((log - energy).logsumexp(1))
    return torch.cat(out)


def _words(signal: Any, length: int, width: int, late: float) -> Tensor:
    """All waveforms of a block, complex128 [words, width], its first sample `late` into it, times half a sine."""
    sps, count = signal.samples_per_symbol, length + signal.span - 1
    j = torch.arange(count)
    digit = torch.arange(signal.levels ** count)[:, None] // signal.levels ** j % signal.levels
    t = torch.arange(width) + late
    share = signal.phase_pulse(t - (length - 1 - j[:, None]) * sps - signal.half_length)
    angle = math.pi * signal.half_turns * ((2 * digit - (signal.levels - 1)).double() @ share)
    return torch.polar(torch.sin(math.pi * (t + 0.5) / (length * sps)).clamp_min(0).double().expand_as(angle).contiguous(), angle)


def waveform(signal: Any, found: Detection, tau: Tensor, f: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """(waveform complex64 [k, samples] of the symbols found, of phase 0 before the first; its phase's slope against time)."""
    angle = math.pi * signal.half_turns * signal.turned(found.symbols, samples, tau + found.first * signal.samples_per_symbol)
    slope = torch.gradient(angle, dim=1)[0].float()
    angle = angle + 2 * math.pi * f[:, None] * torch.arange(samples, device=tau.device)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64), slope


def _filtered(seen: Whitened, s: Tensor) -> tuple[Tensor, Tensor]:
    """s complex64 [k, m, samples] through the whitening filter, and the mixture so, where both are whole."""
    samples, lost = s.shape[-1], seen.taps.shape[1] - 1
    size = samples + lost
    out = torch.fft.ifft(torch.fft.fft(s, size) * torch.fft.fft(seen.taps, size)[:, None])
    return out[..., lost:samples], seen.x[:, lost:]


def stepped(signal: Any, seen: Whitened, found: Detection, tau: Tensor, f: Tensor, span: int,
            limit: Tensor) -> tuple[Tensor, Tensor]:
    """tau and f after one Gauss-Newton step on the symbols found, the phase of each `span` samples being its own. limit: of the
    step, samples and cycles per sample, [2]."""
    samples = seen.x.shape[1]
    s, slope = waveform(signal, found, tau, f, samples)
    both, z = _filtered(seen, torch.stack([s, -1j * slope * s], 1))
    model, by_tau = both[:, 0], both[:, 1]
    n = torch.arange(samples - z.shape[1], samples, device=z.device) - samples / 2
    count = max(1, round(len(n) / span))
    edges = torch.linspace(0, len(n), count + 1, device=z.device).round().long().tolist()
    gram = torch.zeros(len(z), 2, 2, dtype=torch.float64, device=z.device)
    right = torch.zeros(len(z), 2, dtype=torch.float64, device=z.device)
    for low, high in zip(edges, edges[1:]):
        part = slice(low, high)
        fit = (model[:, part].conj() * z[:, part]).sum(1, keepdim=True)
        left = z[:, part] * fit.conj() / fit.abs().clamp_min(1e-9) - model[:, part]
        ways = torch.stack([by_tau[:, part], 2j * math.pi * n[part] * model[:, part], 1j * model[:, part]], 1)
        square = (ways.conj() @ ways.mT).real.double()
        ahead = (ways.conj() @ left[..., None])[..., 0].real.double()
        own = square[:, :2, 2:] / square[:, 2:, 2:]                     # the phase is the stretch's own
        gram += square[:, :2, :2] - own @ square[:, 2:, :2]
        right += ahead[:, :2] - own[..., 0] * ahead[:, 2:]
    step = damped_step(gram, right, limit)[0]
    return tau + step[:, 0], f + step[:, 1]
