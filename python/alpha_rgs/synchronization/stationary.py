# SPDX-License-Identifier: GPL-3.0-or-later
"""Timing, carrier offset, phase and gain of a linear modulation under continuous interference of any kind.

All but the signal is modelled as Gaussian with density N(f) = kappa²·S_b(f) + noise_var. The three powers follow from the
periodogram, for each carrier offset that is tried (Whittle's likelihood, by multiplicative steps; Févotte, Bertin and Durrieu,
2009). Timing and offset then are those of the greatest evidence with Gaussian symbols: in frequency the symbols' transform at q
sees N folded to the symbol rate, so it costs a few transforms. Phase and the last of the offset are those under which the
symbols' estimates fit the alphabet best (evidence.line).

A channel of the signal is fitted to the residual of a separation instead: see `fit_channel`.

Under OFDM of short frames, prefixes and unused carriers show the signal without interference: the evidence of frames
(evidence.py) uses them. Much stronger interference is estimated first, with the signal as coloured noise, and subtracted. The
result is a start: `refine_sync` makes it as good as a separation allows.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import AlphaRgsError, ParameterError
from ..inference.frame_tiling import OfdmTiles
from ..inference.gauss_newton import damped_step
from ..signals.folding import whole_symbols
from ..sources.base import Noise, Number, Source, Structure
from ..sources.linear_modulation import NUISANCES, LinearModulation
from .chain_refinement import Refinement
from .channel_taps import Taps, absent, direct, fit_taps, received, strongest, through
from .evidence import OFFSETS, line, ranked, spacing, timings
from .folded import Folded, pulse_spectra
from .levels import NOISE_FLOOR, acquire_gaussian
from .linear_modulation import acquire_linear
from .ofdm import frame_offset, noise_level
from .whittle import BinnedPeriodogram, fit_powers

_STEPS = 60             # multiplicative steps of the powers
_AS_TOLD = 0.5          # of the symbol rate over the alphabet's symmetry: how far a line is looked for
_RANKS = 4              # of lines that are tried, one after the other, while none is clear
_STRONGER = 3.0         # times the power of OFDM, from which a signal is looked for by densities first
_GUESSES = 3            # carrier offsets of the coarse grid whose lines are refined
_FAINT = 1e-3           # of the power: a weaker SOI counts as absent
_LONGEST = 160          # samples of an OFDM frame, whose covariance is inverted
_NATS = 3.0             # by which a later first tap may fit worse
_LIMITS = (0.5, 2e-5, 0.5, 0.3)         # samples, cycles per sample, rad, share of the gain: a step of `refine_sync`, at most


def candidates(y: Tensor, soi: LinearModulation, interference: Source, kappa: Number | None = None,
               noise_var: Number | None = None) -> Iterator[Any]:
    """The SOI with what it lacks (NUISANCES) filled in, numbers, found in one way after the other: an iterator. y: complex
    [samples], one window. Phase up to the alphabet's symmetry. Raises ParameterError (window too short), CapabilityError (the
    interference has no density)."""
    if _framed(interference):
        plain = _hypotheses(y, soi, interference, kappa, noise_var)[0]
        levels = plain.levels
        if levels[0] > _STRONGER * levels[1]:           # seen well enough without the frames, which take twenty times as long
            yield plain.lines(soi, 1)[0]
        (first,), levels = _among_frames(y, soi, interference, kappa, noise_var, 1, initial=levels)
        yield first
        ranks = _RANKS if soi.carrier_offset is None else 1
        yield from _among_frames(y, soi, interference, kappa, noise_var, ranks, first, levels)[0]
        return
    if (lines := interference.lines(y[None])) is not None:
        y = y - lines[0][0]
    first, levels = _stationary(y, soi, interference, kappa, noise_var)
    yield first
    rest = _without(y, first, interference, levels)
    if rest is not None:
        yield _stationary(rest, soi, interference, None, noise_var)[0]


def _framed(interference: Any) -> bool:
    """Whether it is OFDM whose frames, one by one, show what else is there."""
    return (interference.structure is Structure.FRAMES and interference.signal.frame_length <= _LONGEST
            and interference.signal.cyclic_prefix > 0)


def _among_frames(y: Tensor, soi: Any, ofdm: Any, kappa: Number | None, noise_var: Number | None, ranks: int,
                  about: LinearModulation | None = None, levels: Any = None,
                  initial: Any = None) -> tuple[list[LinearModulation], np.ndarray]:
    """([SOI] of the likeliest lines, powers) by the evidence of OFDM frames; about, levels: from a first round, for what depends
    on the SOI; initial: powers by densities, for the first round."""
    here = about or replace(soi, carrier_offset=0.0 if soi.carrier_offset is None else soi.carrier_offset)
    offset = ofdm.frame_offset
    if offset is None:
        offset = frame_offset(y[None], here, ofdm)
    ofdm = replace(ofdm, frame_offset=offset, phase=0.0)
    if levels is None:
        levels = initial
    elif noise_var is None:
        seen = noise_level(y[None], here, ofdm)
        noise = max(float(levels[2] if seen is None else seen[0]), NOISE_FLOOR * min(levels[0], levels[1]))
        levels = np.array([levels[0], max(float(y.abs().square().mean()) - levels[0] - noise, 1e-2 * levels[1]), noise])
    found = ranked(soi, OfdmTiles(y[None], ofdm, levels[1] ** 0.5, max(levels[2], 1e-6)), _AS_TOLD, ranks)
    return [replace(soi, **{key: float(getattr(own, key)) for key in NUISANCES}) for own in found], levels


class _Coloured(LinearModulation):
    """A linear modulation of which only the spectrum is known."""

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: Wiener's filter."""
        density = torch.as_tensor(self.psd(x.shape[1]), device=x.device)
        share = density / (density + torch.as_tensor(self.white(noise), dtype=torch.float64).reshape(-1, 1))
        return torch.fft.ifft(torch.fft.fft(x) * share).to(x.dtype)


def _without(y: Tensor, soi: Any, interference: Any, levels: Any) -> Any:
    """y less the interference, as it is seen with the SOI as coloured noise; None where that is not known."""
    noise = float(levels[2])
    soi = _Coloured(**{f.name: getattr(soi, f.name) for f in fields(LinearModulation) if f.init})       # less its network
    try:
        if interference.structure is Structure.CHAIN:
            interference, found = acquire_linear(y[None], soi, interference, None, noise)
        else:
            interference, found = acquire_gaussian(y[None], soi, interference, None, noise)
    except AlphaRgsError:
        return None
    scale = float(found.get("kappa", levels[1] ** 0.5))
    if scale < 1e-6:
        return None
    return y - scale * interference.denoise(y[None] / scale, (float(soi.gain) ** 2 + noise) / scale ** 2)[0]


@dataclass
class _Hypothesis:
    """A carrier offset, cycles per sample, with the likeliest timing there; levels: powers of SOI, interference and noise."""

    score: float
    timing: float
    offset: float
    model: Folded
    levels: np.ndarray

    def lines(self, soi: Any, ranks: int) -> list[LinearModulation]:
        """The SOI at the likeliest lines (evidence.line)."""
        gain = float(np.sqrt(self.levels[0])) if soi.gain is None else float(soi.gain)
        mean, var = self.model.cavity(self.timing)
        mean = mean * np.exp(-2j * np.pi * self.offset * (self.timing + self.model.sps * np.arange(len(mean))))
        cavity = tuple(torch.from_numpy(v)[None] for v in (mean / gain, var / gain ** 2))
        lines = line(soi, cavity, torch.tensor([self.offset]), torch.tensor([self.timing]), torch.zeros(1, dtype=torch.int64),
                     _AS_TOLD, ranks)
        filled = [{"timing": self.timing, "carrier_offset": float(f[0]), "phase": float(phase[0]), "gain": gain}
                  for f, phase in lines]
        return [replace(soi, **{key: value for key, value in one.items() if getattr(soi, key) is None}) for one in filled]


def _hypotheses(y: Tensor, soi: Any, interference: Source, kappa: Number | None, noise_var: Number | None) -> list[_Hypothesis]:
    """The carrier offsets that are tried, the likeliest first."""
    signal, sps = soi.signal, soi.signal.samples_per_symbol
    samples = whole_symbols(len(y), sps)
    if samples < 16 * sps:
        raise ParameterError(f"timing: a window of {len(y)} samples is too short to find the signal of interest in it; "
                             f"{16 * sps} or more")
    x = y.detach().cpu().numpy().astype(complex)[:samples]
    shape = interference.psd(samples)
    step = spacing(soi)
    steps, count = int(np.ceil(OFFSETS / step)), timings(signal)
    offsets = np.arange(-steps, steps + 1) * step if soi.carrier_offset is None else np.array([float(soi.carrier_offset)])
    pulses = pulse_spectra(signal, offsets, samples)
    levels = _levels(x, abs(pulses) ** 2 / sps, shape, (soi.gain, kappa, noise_var))
    levels[:, 2] = np.maximum(levels[:, 2], NOISE_FLOOR * levels[:, :2].min(1))
    found = []
    for k in range(len(offsets)):
        model = Folded(np.fft.fft(x), pulses[k], levels[k, 1] * shape + levels[k, 2], levels[k, 0], sps)
        timing, score = model.peak(count) if soi.timing is None else (float(soi.timing), model.evidence(float(soi.timing)))
        found.append(_Hypothesis(score, timing, offsets[k], model, levels[k]))
    return sorted(found, key=lambda one: -one.score)


def _stationary(y: Tensor, soi: Any, interference: Source, kappa: Number | None,
                noise_var: Number | None) -> tuple[LinearModulation, np.ndarray]:
    """(SOI, its power, the interference's and the noise's)."""
    best = _hypotheses(y, soi, interference, kappa, noise_var)[0]
    return best.lines(soi, 1)[0], best.levels


def likeliest(y: Tensor, soi: Any, interference: Source, kappa: Number | None, noise_var: Number | None) -> LinearModulation:
    """The SOI with what it lacks, in a window y, complex [samples]: of several carrier offsets and lines, each refined with soft
    decisions, the one whose waveform explains the most. See candidates for the rest."""
    return by_likelihood(y, soi, interference, kappa, noise_var)[0]


def by_likelihood(y: Tensor, soi: Any, interference: Source, kappa: Number | None,
                  noise_var: Number | None) -> list[LinearModulation]:
    """All those that `likeliest` tries, the likeliest first."""
    tried = []
    for one in _hypotheses(y, soi, interference, kappa, noise_var)[:_GUESSES]:
        for start in one.lines(soi, _RANKS if soi.carrier_offset is None else 1):
            tried.append(Refinement(y, one.model.noise).refined(start, [key for key in NUISANCES if key in soi.unknown]))
    tried.sort(key=lambda pair: -pair[1])
    return [replace(soi, **{key: getattr(own, key) for key in NUISANCES if getattr(soi, key) is None}) for own, _ in tried]


def _levels(x: np.ndarray, own: np.ndarray, shape: np.ndarray, known: Any) -> Any:
    """Powers (SOI, interference, noise), float64 [offsets, 3], under each hypothesis own [offsets, samples] of the SOI's density.
    known: amplitude, amplitude, variance, or None."""
    power = max(np.mean(abs(x) ** 2), 1e-20)
    periodogram = BinnedPeriodogram(x[None])
    shapes = np.broadcast_to(periodogram.binned(shape), (len(own), periodogram.density.shape[1]))
    columns = np.stack([periodogram.binned(own), shapes, np.ones_like(shapes)], 1)
    given = [None if known[0] is None else float(known[0]) ** 2, None if known[1] is None else float(known[1]) ** 2,
             None if known[2] is None else float(known[2])]
    start = np.full((len(own), 3), power) * np.array([0.1, 0.8, 0.05])
    values = fit_powers(periodogram.density, columns, start, given, _STEPS)
    return np.maximum(values, [_FAINT * power, 0.0, 1e-6 * power])


def _soft(soi: LinearModulation, out: Any) -> Tensor:
    """The posterior means of a Separation's symbols, complex64 [symbols], of one window."""
    var = 10 ** (-float(out.quality) / 10)
    return soi.signal.alphabet.mean(out.symbols[0], torch.full(out.symbols[0].shape, var))


def _weighted(x: Tensor, interference: Any, out: Any, noise: Any) -> Any:
    """R⁻¹·x for windows x, complex128 [n, samples], R the covariance of an interference not yet made out, as a Separation `out`
    of this window has found it, over noise of that variance."""
    kappa = float(out.kappa)
    if _framed(interference):
        offset = out.estimated.get("frame_offset", interference.frame_offset)
        tiles = OfdmTiles(x, replace(interference, frame_offset=int(torch.as_tensor(offset)), phase=0.0), kappa, noise)
        weighted = torch.zeros_like(tiles.received)
        for rows, waves, _, level in tiles.groups:
            across, own = waves.mH / level[:, None], tiles.received[rows][..., None]
            inner = across @ waves + torch.eye(waves.shape[2], dtype=waves.dtype)
            weighted[rows] = (own - waves @ torch.linalg.solve(inner, across @ own))[..., 0] / level
        return tiles.joined(weighted)
    count = x.shape[1]
    shape = interference.psd(count)
    return torch.fft.ifft(torch.fft.fft(x) / torch.as_tensor(kappa ** 2 * shape + noise))


def fit_channel(y: Tensor, soi: Any, interference: Any, out: Any, length: Any, free: Any, clear: Any) -> Any:
    """The SOI with the channel of `length` taps that fits best, by least squares of y on the soft symbols' waveform at delays one
    sample apart, given a Separation `out` of this window y, complex [samples]; and the taps' standard deviations [length]:
    (LinearModulation, array). The interference is Gaussian noise there, so that no decision biases it, or is subtracted, where a
    separation is `clear` and the interference has no frames that show the signal bare.

    The strongest tap is 1 (all are small a priori, channel_taps.TAP_POWER); level and
    phase go into gain and phase, where these are among the names `free`. So does a whole number of samples into a timing that is
    free: where several delays of the first tap do as well, the latest, nearest to the strongest.
    """
    sent = direct(soi)
    if not bool(y.abs().any()):
        return absent(soi, length), np.ones(length)
    samples, first = len(y), soi._first()
    n = torch.arange(samples, dtype=torch.float64)
    angle = float(soi.phase) + 2 * torch.pi * float(soi.carrier_offset) * n
    turn = torch.polar(torch.ones_like(angle), angle)
    begin = torch.arange(1 - length, length) if "timing" in free else torch.zeros(1, dtype=torch.int64)
    reach = int(np.ceil(sent.signal.half_length)) + length          # symbols beyond the window's ends are not known
    sure = torch.ones(samples, dtype=torch.float64)
    if samples > 4 * reach:
        sure[:reach] = sure[-reach:] = 0
    symbols = _soft(soi, out)[None].to(torch.complex64)
    delays = torch.arange(int(begin[0]), int(begin[-1]) + length)
    columns = torch.stack([sent.signal.modulate(symbols, samples, sent.timing_of(first) + int(d))[0] * turn for d in delays], 1)
    columns, seen = (columns * sure[:, None]).to(torch.complex128), y.to(torch.complex128).cpu() * sure
    rest = seen - out.interference[0].cpu() * sure
    if clear and not _framed(interference):
        noise = max(float((rest - out.soi[0].cpu() * sure).abs().square().sum() / sure.sum()), 1e-9)
        weighted, seen = columns / noise, rest
    else:
        unsure = max(1 - float(symbols.abs().square().mean()), 0) * float(soi.gain) ** 2
        weighted = _weighted(columns.T.contiguous(), interference, out, float(out.noise_var) + unsure).T
    columns, weighted = (torch.cat([v, 1j * v], 1) for v in (columns, weighted))        # real and imaginary parts of the taps
    gram, right = (weighted.mH @ columns).real, (weighted.mH @ seen).real
    nothing = torch.zeros(length, dtype=torch.complex128)

    def fit(start: int) -> Taps:
        rows = torch.arange(start, start + length)
        rows = torch.cat([rows, rows + len(delays)])
        return fit_taps(gram[rows][:, rows], right[rows], soi.gain, nothing)

    fits = [fit(k) for k in range(len(begin))]
    best = max(found.nats for found in fits)
    at = max(k for k, found in enumerate(fits) if found.nats > best - _NATS)
    taps = fits[at].values
    reference = strongest(taps) if "phase" in free else strongest(taps).abs()
    values = received(replace(soi, timing=float(soi.timing)), taps, int(begin[at]), reference)
    values["phase"] += float(soi.phase)
    spread = (fits[at].spread / reference.abs()).numpy()
    return replace(through(soi, taps, reference), **{key: values[key] for key in values if key in free}), spread


def refine_sync(y: Any, soi: Any, out: Any, free: list[str], undecided: Any = None,
                weight: Tensor | None = None) -> tuple[LinearModulation, dict[str, float]]:
    """One Gauss-Newton step of the SOI's nuisances `free` (names) by least squares, given a Separation `out` of this window y,
    complex [samples]; and their standard deviations (the phase's at the window's middle): (LinearModulation, name -> float).

    undecided: an interference of Gaussian carriers, which out.interference does not contain. It is coloured noise here: its
    posterior mean takes most of what wrong nuisances leave, and the step would be too short by as much. weight: of samples,
    float64 [samples]; None: all alike."""
    symbols = _soft(soi, out)
    y = y - out.interference[0]
    weight = torch.ones(len(y), dtype=torch.float64) if weight is None else weight
    noise_var = ((y - out.soi[0]).abs().square().cpu() * weight).sum() / weight.sum()
    samples = len(y)
    middle = samples / 2 if "phase" in free else 0.0        # about which offset and phase are all but independent
    a, first = symbols[None].to(torch.complex64), soi._first()

    def wave(ahead: float = 0.0) -> Tensor:
        moved = replace(soi, timing=float(soi.timing) + ahead)
        shape = soi.signal.modulate(soi._turned(a, first), samples, moved.timing_of(first))[0]
        return shape.to(torch.complex128)

    n = torch.arange(samples, dtype=torch.float64)
    angle = float(soi.phase) + 2 * torch.pi * float(soi.carrier_offset) * n
    turn = float(soi.gain) * torch.polar(torch.ones_like(angle), angle)
    own = wave() * turn
    slope = (wave(0.05) - wave(-0.05)) / 0.1 * turn
    columns = torch.stack([slope, 2j * torch.pi * (n - middle) * own, 1j * own, own], 1)
    rest = y.to(torch.complex128).cpu() - own
    limit = torch.tensor([most * (name in free) + 1e-12 for name, most in zip(NUISANCES, _LIMITS)], dtype=torch.float64)
    if undecided is None:
        weighted = columns * weight[:, None] / max(float(noise_var), 1e-9)
    else:
        weighted = _weighted(columns.T.contiguous(), undecided, out, max(float(out.noise_var), 1e-9)).T
    step, spread = damped_step((weighted.mH @ columns).real, (weighted.mH @ rest).real, limit)
    values = {"timing": float(soi.timing) + float(step[0]), "carrier_offset": float(soi.carrier_offset) + float(step[1]),
              "phase": float(soi.phase) + float(step[2]) - 2 * np.pi * float(step[1]) * middle,
              "gain": float(soi.gain) * (1 + float(step[3]))}
    deviations = dict(zip(NUISANCES, spread.tolist()))
    deviations["gain"] *= float(soi.gain)
    return replace(soi, **{k: values[k] for k in free}), {k: deviations[k] for k in free}
