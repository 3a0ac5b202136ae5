# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of any set of sources whose nuisances are known.

Sources with a linear model are detected together by expectation propagation (inference/linear_mixture.py). The others are
cancelled: each is denoised in what the means of all others leave, with the noise raised by the variance that these still have.
Both take one pass in turn, the strongest first. The noise is annealed: it starts thirty times too strong, where nothing is
decided, and falls to what it is. Windows in which all is decided while it is still too strong, and fits, are spared passes.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..inference.linear_mixture import LinearMixture
from ..inference.linear_model import as_complex
from ..inference.sites import schedule
from ..signals.mixed import parts_of
from ..sources.base import Demodulated, Source
from ..sources.linear_modulation import LinearModulation
from .base import Separation, doubted, expected_near, soft_output, variance_scale, with_quadrature
from .error_shape import shaped

if TYPE_CHECKING:
    from ..inference.linear_mixture import Unknowns
    from ..inference.linear_model import LinearModel

NOISE_FLOOR = 1e-3      # of the weakest source's power (30 dB below): without it underdetermined symbols at the ends diverge
PASSES = 20             # BER of GMSK under OFDM at -10 dB is the same from 16 on
SETTLE = 5              # passes at the end with the noise as it is
DAMPING = 0.5           # weight of what a pass finds: 0.7 oscillates where two sources are equally strong
HEAT = 30.0             # factor on the noise at first; without it GMSK under OFDM at -10 dB has four times the errors
_CHUNK = 16             # windows of the linear system at once: the lanes of the widest vectors; in torch 200 MB
# Symbols of several sources are wrong together, which variances of each do not say: so many times the share that is expected of a
# symbol and its neighbours is wrong besides. Fitted to OQPSK under OFDM and under QPSK, 5 dB weaker, seed 1201.
_SPREAD, _REACH = 1.5, 12
_STEP_DB = 0.5          # to which levels are rounded: filters that depend on them are made once and kept


@dataclass
class Part:
    """One source of the result. waveform: E[g·s | y], complex64 [batch, samples]. variance: its expected squared error per
    sample, float64 [batch]. demodulated: as its linear model decodes it, or None. symbol_variance: of its symbols' errors,
    [batch, n]."""

    waveform: Tensor
    variance: Tensor
    demodulated: Demodulated | None = None
    symbol_variance: Tensor | None = None


def each(change: Callable[..., Any], *parts: Any) -> Any:
    """A Part, or Demodulated, each of whose tensors is change(theirs); None where one has none."""
    if any(part is None for part in parts):
        return None
    if torch.is_tensor(parts[0]):
        return change(*parts)
    return type(parts[0])(*(each(change, *(getattr(part, f.name) for part in parts)) for f in fields(parts[0])))


def chosen(first: Tensor, a: Part, b: Part) -> Part:
    """Per window a Part's, where `first`, bool [batch], else b's, of the same source."""
    return each(lambda v, w: torch.where(first.reshape(-1, *[1] * (v.ndim - 1)).to(v.device), v, w), a, b)


def joint_general(y: Tensor, sources: Sequence[Source], gains: Sequence[Tensor], noise_var: Tensor, linear: bool = True,
                  passes: int = PASSES, damping: float = DAMPING, heat: float = HEAT,
                  models: Sequence[LinearModel | None] | None = None,
                  callback: Callable[..., Any] | None = None) -> list[Part]:
    """A Part of each source. y: complex64 [batch, samples]; gains, noise_var: float64 [batch]. linear: whether linear models are
    used; False: denoisers alone. models: LinearModels to use instead. callback(pass, parts). Raises CapabilityError where a
    source has neither."""
    models = models or [source.linear_model(y.shape) if linear else None for source in sources]
    if sum(model is not None for model in models) == 1 and len(models) > 1:
        models = [None] * len(sources)          # with nothing to be eliminated beside it a denoiser does as well, and faster
    linear_ones, powers = [k for k, model in enumerate(models) if model is not None], [g.square() for g in gains]
    noise = torch.maximum(noise_var, NOISE_FLOOR * torch.stack(powers).amin(0))
    parts = [Part(torch.zeros_like(y), power) for power in powers]
    own = [model for model in models if model is not None]
    system = _System(y, own, [gains[k] for k in linear_ones], noise) if own else None
    groups = sorted([[k] for k, model in enumerate(models) if model is None] + ([linear_ones] if linear_ones else []),
                    key=lambda group: -float(sum(powers[k].mean() for k in group)))
    for turn in schedule(passes, damping, heat, SETTLE):
        last = turn.damping is None
        for group in groups:
            rest, level = without(y, parts, group, noise)
            if system and group == linear_ones:
                fresh = system.step(rest, level, turn.heat, turn.damping, last or len(groups) > 1)
            else:
                fresh = [denoised(sources[group[0]], rest, gains[group[0]], level + (turn.heat - 1) * noise)]
                fresh = fresh if turn.number == 0 else [_damped(parts[group[0]], fresh[0], 1.0 if last else damping)]
            for k, part in zip(group, fresh):
                parts[k] = part
        if callback:
            callback(turn.number, parts)
    return parts


def _damped(old: Part, new: Part, weight: float) -> Part:
    return Part(torch.lerp(old.waveform, new.waveform, weight), torch.lerp(old.variance, new.variance, weight))


def without(y: Tensor, parts: Sequence[Part], group: Sequence[int], noise: Tensor) -> tuple[Tensor, Tensor]:
    """What the other parts leave of y, and the variance of what is left over."""
    away = [part for k, part in enumerate(parts) if k not in group]
    if not away:
        return y, noise
    return y - sum(p.waveform for p in away), noise + sum(p.variance for p in away)


def denoised(source: Source, rest: Tensor, gain: Tensor, level: Tensor) -> Part:
    """One source by its denoiser, windows of one rounded level together."""
    ratio = (level / gain.square().clamp_min(1e-12)).clamp(1e-9, 1e9)
    steps = torch.round(10 * ratio.log10() / _STEP_DB)
    mean, variance = torch.zeros_like(rest), torch.zeros_like(gain)
    for step in torch.unique(steps).tolist():
        rows = torch.nonzero(steps == step)[:, 0]
        scale = gain[rows, None].float()
        post = source.select(rows).posterior(rest[rows] / scale, 10 ** (step * _STEP_DB / 10))
        mean[rows], variance[rows] = scale * post.mean, gain[rows].square() * post.variance.double()
    return Part(mean, variance)


class _System:
    """The linear sources in chunks of windows, whose sites stay from pass to pass."""

    def __init__(self, y: Tensor, models: list[LinearModel], gains: list[Tensor], noise: Tensor) -> None:
        self.models = models
        self.rows = [slice(k, k + _CHUNK) for k in range(0, len(y), _CHUNK)]
        self.mixtures = [LinearMixture(y[rows], [m.select(rows) for m in models], [g[rows] for g in gains], noise[rows])
                         for rows in self.rows]
        self.settled = [False] * len(self.rows)

    def step(self, y: Tensor, noise: Tensor, hot: float, damping: float | None, wanted: bool) -> list[Part]:
        """One pass in windows y: the Parts of the linear sources, where somebody wants them (else none). Chunks that are settled
        wait for the noise to be what it is."""
        found = []
        for k, (rows, mixture) in enumerate(zip(self.rows, self.mixtures)):
            if self.settled[k] and hot > 1 and not wanted:
                continue
            mixture.receive(y[rows], noise[rows])
            unknowns = mixture.step(hot, damping)
            if hot > 1 and not wanted:
                self.settled[k] = mixture.settled(unknowns)
            if wanted:
                found.append([self._part(mixture, number, u, damping is None) for number, u in enumerate(unknowns)])
        return [_joined(column) for column in zip(*found)]

    def _part(self, mixture: LinearMixture, number: int, unknowns: Unknowns, read: bool) -> Part:
        model = mixture.models[number]
        found = mixture.waveform(number, unknowns), mixture.variance(number, unknowns)
        if not read or model.decode is None:
            return Part(*found)
        soft, error = as_complex(unknowns.mean, unknowns.var)
        var, (alphabet, places) = unknowns.var, parts_of(model.alphabet, unknowns.mean.shape[1])[0]
        if len(places) < soft.shape[1]:             # symbols are of the first alphabet, the others are pilots
            soft, error = soft[:, places], error[:, places]
        if alphabet.symmetry is not None:
            scale = variance_scale(alphabet, soft.to(torch.complex64), error.float(), model.dimensions)
            var = var * scale[:, None, None].clamp_min(1.0)
        demodulated = Demodulated(*model.decode(unknowns.mean, var))
        if alphabet.symmetry is not None and demodulated.llrs.shape[:2] == soft.shape:
            scattered = as_complex(unknowns.mean, var)[1][:, places].float()
            llrs = shaped(alphabet, demodulated.symbols, scattered, demodulated.llrs, ~demodulated.at.isnan())
            demodulated = replace(demodulated, llrs=llrs)
        if len(self.models) > 1 and demodulated.llrs.shape[1]:
            share = _SPREAD * expected_near(demodulated.llrs, _REACH, ~demodulated.at.isnan())
            demodulated = replace(demodulated, llrs=doubted(demodulated.llrs, share))
        return Part(*found, demodulated, error)


def _joined(parts: Sequence[Part]) -> Part:
    read = [part.demodulated for part in parts if part.demodulated is not None]
    whole = torch.cat([p.waveform for p in parts]), torch.cat([p.variance for p in parts])
    if not read:
        return Part(*whole)
    demodulated = Demodulated(*(torch.cat([getattr(d, name) for d in read]) for name in ("symbols", "llrs", "at")))
    return Part(*whole, demodulated, torch.cat([p.symbol_variance for p in parts if p.symbol_variance is not None]))


def joint_pair(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
               callback: Callable[..., Any] | None = None, **options: Any) -> Separation:
    """A linear modulation and one other source with a linear model. soi.gain and all nuisances are known; kappa, noise_var:
    [batch]. callback(pass, symbols, their variances)."""
    gains = [torch.as_tensor(soi.gain, dtype=torch.float64).reshape(-1).expand(len(y)).to(y.device), kappa.double()]
    parts = joint_general(y, [soi, interference], gains, noise_var.double(), **options)
    own: Any = parts[0]         # read by its linear model
    there, count = ~own.demodulated.at.isnan(), soi.centred_symbols(y.shape[1])[1]
    there = there & (there.cumsum(1) <= count)          # a window of a fractional rate may hold one more
    symbols, var = (v[there].view(len(y), count) for v in (own.demodulated.symbols, own.symbol_variance))
    if callback:
        callback(0, symbols, var)
    out = soft_output(soi, symbols, var.float(), soi=own.waveform, interference=parts[1].waveform, evaluations=0, kappa=kappa,
                      noise_var=noise_var)
    out.llrs = own.demodulated.llrs[there].view(len(y), count, -1)      # they know how many dimensions errors have, and of doubts
    return with_quadrature(out, soi, y - out.soi - out.interference, gains[0])
