# SPDX-License-Identifier: GPL-3.0-or-later
"""What every separator returns, and the checks that all of them share."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CapabilityError
from ..inference.linear_model import dimensions
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .error_shape import shaped

if TYPE_CHECKING:
    from ..signals.constellations import Constellation
    from .estimate import Estimate

_COARSE, _FINE = torch.arange(-10.0, 16, 2.5), torch.arange(-2.4, 2.5, 0.8)     # dB: factors on a variance that are tried
BELIEVED = 2.0         # symbols' worth of trust in the model's own
# dB: factors tried on the variance near a symbol; symbols that are near, an odd number; the log likelihood ratio from which
# errors are uneven: chance brings even ones there in one window of a hundred
_LOCAL, _NEAR, _UNEVEN = torch.arange(-9.0, 12.1, 1.5), 33, 7.0
_CERTAIN = 17.0 * 40.0   # variances by which a point is further off than another so that float32 does not hold both, scaled by 40
_LOST = 4.0             # symbols' error power for each wrong bit in symbols drawn anew: twice theirs, and half of the bits wrong
Chosen = TypeVar("Chosen")
Out = TypeVar("Out", "Separation", "Estimate")
NOTHING = -60.0         # dB of quality of symbols that say nothing
_SHOWN = 0.15           # share of wrong bits by the root of the power that shows of them: likeliest over 12 windows under GMSK

# ᾱ_t of the published diffusion schedule, t = 0 ... 49
ALPHA_BAR = np.cumprod(1 - np.linspace(1e-4, 0.05, 50))


@dataclass
class Separation:
    """The result for a batch of windows.

    soi: E[s | y] as received (gain and phase applied), complex64 [batch, samples].
    interference: kappa*b as received, complex64 [batch, samples].
    symbols: unbiased soft symbols on the alphabet's scale, complex64 [batch, symbols], one per symbol centre in the window.
    llrs: log P(0)/P(1) of their bits, float32 [batch, symbols, bits].
    quality: estimated SINR of the soft symbols, dB, float32 [batch].
    evaluations: how often the interference's prior was asked.
    kappa: amplitude of the interference, float32 [batch]. noise_var: per complex sample, float32 or float64 [batch].
    method: which separator. estimated: what was found from the mixture, name -> tensor [batch]. sources: an Estimate of each
    source, in the order in which they were given.
    """

    soi: torch.Tensor
    interference: torch.Tensor
    symbols: torch.Tensor
    llrs: torch.Tensor
    quality: torch.Tensor
    evaluations: int
    kappa: torch.Tensor
    noise_var: torch.Tensor
    method: str = ""
    estimated: dict = field(default_factory=dict)
    sources: list = field(default_factory=list)

    @property
    def error_rate(self) -> Tensor:
        """The bit error rate that the llrs expect of each window, mean of 1/(1 + exp|llr|), float32 [batch]: quality in other
        words, which compare between alphabets. Symbols that a window does not hold do not count. NaN without symbols."""
        at = getattr(self.sources[0], "at", None) if self.sources else None
        if at is not None and bool(torch.as_tensor(at).isnan().any()) and self.sources[0].error_rate is not None:
            return self.sources[0].error_rate
        return torch.sigmoid(-torch.as_tensor(self.llrs).abs()).flatten(1).mean(1)

    def between(self, low: Tensor | int, high: Tensor | int) -> Separation:
        """The Separation as its symbols on samples low ... high-1 judge it; see Estimate.between. Where a method gives a quality
        of its own, that stays."""
        if not self.sources:
            return self
        sources = [source.between(low, high) for source in self.sources]
        first = sources[0]
        return replace(self, sources=sources, quality=self.quality if first.symbol_sinr_db is not None else first.quality)


def mapped(out: Separation, change: Callable[..., Any]) -> Separation:
    """A Separation, or a part of one, each of whose tensors or arrays [batch, ...] is change(it)."""
    def walk(value: Any) -> Any:
        if torch.is_tensor(value) or isinstance(value, np.ndarray):
            return change(value) if value.ndim else value
        if isinstance(value, dict):
            return {name: walk(v) for name, v in value.items()}
        if isinstance(value, list):
            return [walk(v) for v in value]
        if is_dataclass(value):
            return replace(cast(Any, value), **{f.name: walk(getattr(value, f.name)) for f in fields(value)})
        return value

    return walk(out)


def window_of(out: Separation, row: int) -> Separation:
    """One window of a batch; what is alike in all windows may have a batch of one."""
    return mapped(out, lambda t: t[row:row + 1] if len(t) > 1 else t)


def joined(parts: list[Separation]) -> Separation:
    """Separations of parts of a batch, as one."""
    counts = [len(part.noise_var) for part in parts]

    def cat(values: list[Any], missing: float = 0.0) -> Any:
        first = values[0]
        if any(value is None for value in values):
            return None
        if any(torch.is_tensor(value) and value.ndim for value in values):      # a part may know a number that others estimate
            each = [torch.as_tensor(v) for v in values]
            return torch.cat(_alike([v if v.ndim else v.expand(n) for v, n in zip(each, counts)], missing))
        if isinstance(first, dict):
            return {name: cat([v[name] for v in values]) for name in first if all(name in v for v in values)}
        if isinstance(first, list):
            return [cat(list(column)) for column in zip(*values)]
        if is_dataclass(first):
            return replace(cast(Any, first), **{f.name: cat([getattr(v, f.name) for v in values],
                                                            math.nan if f.name == "at" else 0.0) for f in fields(first)})
        return first

    return cat(list(parts))


def exchanged(out: Separation, rows: Tensor, other: Separation, better: Tensor) -> Separation:
    """The Separation of a batch, its windows `rows`, int64 [n], taken from one of these alone where that is `better`, bool
    [n]."""
    place = {int(row): k for k, row in enumerate(rows.tolist()) if bool(better[k])}
    if not place:
        return out
    return joined([window_of(other, place[row]) if row in place else window_of(out, row) for row in range(len(out.noise_var))])


def _alike(values: list[Tensor], missing: float) -> list[Tensor]:
    """Tensors [batch, n, ...] of one n: windows with bursts hold more or fewer symbols."""
    most = max(v.shape[1] if v.ndim > 1 else 0 for v in values)
    return [v if v.ndim < 2 or v.shape[1] == most else torch.cat(
        [v, torch.full((len(v), most - v.shape[1], *v.shape[2:]), missing, dtype=v.dtype, device=v.device)], 1) for v in values]


def finite(out: Any) -> Separation:
    """The Separation, a window of which that holds NaN or infinity says nothing: zeros, of the lowest quality, every bit open. Of
    tensors or of numpy arrays."""
    arrays = [torch.as_tensor(v) for v in (out.soi, out.interference, out.symbols, out.llrs)]
    quality = torch.as_tensor(out.quality)
    if all(bool(torch.isfinite(v.sum())) for v in (*arrays, *[quality][:arrays[2].shape[1]])):      # the usual case, fast
        return out
    sound = torch.stack([torch.isfinite(v).flatten(1).all(1) for v in arrays]).all(0)
    if arrays[2].shape[1]:                  # without symbols quality is NaN
        sound = sound & torch.isfinite(quality)
    if bool(sound.all()):
        return out
    arrays = [torch.where(sound.reshape(-1, *[1] * (v.ndim - 1)), v, 0) for v in arrays]
    replaced = dict(zip(("soi", "interference", "symbols", "llrs", "quality"), (*arrays, torch.where(sound, quality, NOTHING))))
    return replace(out, **{k: v if torch.is_tensor(out.soi) else v.numpy() for k, v in replaced.items()})


def silenced(out: Separation, lost: Tensor, cleaned: Tensor) -> Separation:
    """The Separation, of tensors or numpy arrays, windows `lost`, bool [batch], of which say nothing: zeros, of the lowest
    quality, every bit open. cleaned: complex64 [batch, samples], what a mixture less nothing is then."""
    def zero(value: Any, filler: Any = 0) -> Any:
        if value is None:
            return None
        own = torch.as_tensor(value)
        own = torch.where(lost.to(own.device).reshape(-1, *[1] * (own.ndim - 1)), torch.as_tensor(filler).to(own), own)
        return own if torch.is_tensor(value) else own.numpy()

    sources = [replace(e, waveform=zero(e.waveform), cleaned=zero(e.cleaned, cleaned), symbols=zero(e.symbols),
                       llrs=zero(e.llrs), sinr_db=zero(e.sinr_db, NOTHING), symbol_sinr_db=zero(e.symbol_sinr_db, NOTHING))
               for e in out.sources]
    return replace(out, soi=zero(out.soi), interference=zero(out.interference), symbols=zero(out.symbols), llrs=zero(out.llrs),
                   quality=zero(out.quality, NOTHING), sources=sources)


def picked(a: Any, b: Any, first: Any) -> Any:
    """Of two Separations of a batch, per window: a where `first`, bool [batch], else b; what is no window's is a's."""
    def pick(name: Any) -> Any:
        one, other = getattr(a, name), getattr(b, name)
        return torch.where(first.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    return replace(a, **{name: pick(name) for name in ("soi", "interference", "symbols", "llrs", "quality")})


_ABSENT = 1e-6          # a ratio of amplitudes, or of powers, below which what it is of counts as absent


def decibels(value: Tensor) -> float:
    """A power rounded to whole decibels: filters that depend on it are made once and kept."""
    return 10 ** (round(10 * math.log10(max(float(value), 1e-9))) / 10)


def by_levels(y: Tensor, soi: Any, interference: Any, kappa: Tensor, noise_var: Tensor,
              solve: Callable[..., Separation]) -> Separation:
    """solve(y, soi, interference, kappa, noise_var) of windows whose levels are alike to a whole decibel at a time: a denoiser is
    asked at one level for a batch, and no window may depend on the others."""
    gain = torch.as_tensor(soi.gain, dtype=torch.float64, device=y.device).reshape(-1)
    ratios = [kappa.double() / gain, noise_var.double().reshape(-1) / kappa.double().square()]
    level = torch.stack([20 * torch.log10(ratios[0].clamp_min(_ABSENT)).expand(len(y)),
                         10 * torch.log10(ratios[1].clamp(_ABSENT, 1 / _ABSENT)).expand(len(y))], 1).round()
    kinds, which = torch.unique(level, dim=0, return_inverse=True)
    if len(kinds) == 1:
        return solve(y, soi, interference, kappa, noise_var)
    parts, order = [], []
    for k in range(len(kinds)):
        rows = torch.nonzero(which == k)[:, 0]
        own = noise_var[rows] if noise_var.numel() > 1 else noise_var
        parts.append(solve(y[rows], soi.select(rows), interference.select(rows), kappa[rows] if len(kappa) > 1 else kappa, own))
        order.append(rows)
    place = torch.cat(order).argsort()
    return mapped(joined(parts), lambda t: t[place])


_NEEDED = {Structure.CHAIN: "linear-modulation", Structure.FRAMES: "ofdm", Structure.BURSTS: "802.11 ofdm"}


def require(source: Source, structure: Structure, role: str, method: str) -> None:
    """Refuse, by name, a source without the structure that the method needs."""
    if source.structure is not structure:
        raise CapabilityError(f"{method}: the {role} is a {source.kind} prior, but this method needs a {_NEEDED[structure]} "
                              "prior there")


def chosen(method: str, options: type[Chosen], given: Mapping[str, Any]) -> Chosen:
    """The options of a method, a dataclass, from keyword arguments. Raises TypeError for one that it does not have."""
    known = [f.name for f in fields(options)]       # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}; its options are {', '.join(known)}")
    return options(**given)


def variance_scale(alphabet: Constellation, symbols: Tensor, var: Tensor, dims: Tensor | int = 2) -> Tensor:
    """The factor by which the errors of soft symbols are stronger than modelled, float32 [batch], 0.06 ... 50.

    symbols: complex [batch, n], var: of their errors [batch, n]. The factor c of largest likelihood, symbols being points of the
    alphabet (none is decided: log Σ_a exp(-|z - a|²/(c·var)) - log c·var, summed over symbols) and c inverse gamma about 1: few
    symbols say little, and none nothing. dims: 1 where errors are real, var then of twice their power.
    """
    distance = _distance(alphabet, symbols, var)
    count = symbols.shape[1] * dims / 2 + BELIEVED
    place = torch.zeros(len(symbols), device=symbols.device)                # of the best so far, dB
    for steps in (_COARSE, _FINE):
        level = place + steps.to(place.device)[:, None]                     # [steps, batch]
        score = torch.stack([_log_sum(distance, c[:, None]).sum(1) - count * c.log() - BELIEVED / c
                             for c in 10 ** (level / 10)])
        best = score.argmax(0).clamp(1, len(steps) - 2)
        place = level.gather(0, best[None])[0]
    low, top, high = (score.gather(0, best[None] + k)[0] for k in (-1, 0, 1))       # the parabola through them
    bend = (low + high - 2 * top).clamp_max(-1e-9)
    return 10 ** ((place + float(_FINE[1] - _FINE[0]) * ((low - high) / (2 * bend)).clamp(-1, 1)) / 10)


def local_scale(alphabet: Constellation, symbols: Tensor, var: Tensor) -> Tensor:
    """The factors by which the errors of soft symbols are stronger, or weaker, than in the rest of their window, float32 [batch,
    n]; 1 throughout windows whose errors are even. As variance_scale, which has been applied, of the _NEAR symbols about each:
    interference that comes and goes, of which a model does not know that it does, shows in no mean."""
    def near(v: Tensor) -> Tensor:
        return _NEAR * torch.nn.functional.avg_pool1d(v[:, None], _NEAR, 1, _NEAR // 2)[:, 0]

    steps = 10 ** (_LOCAL.to(symbols.device) / 10)
    distance = _distance(alphabet, symbols, var)
    count = near(torch.ones_like(var)) + BELIEVED
    score = near(torch.cat([_log_sum(distance, c) for c in steps])).unflatten(0, (len(steps), -1)) - (
        count * steps.log()[:, None, None] + BELIEVED / steps[:, None, None])
    even = score[int((steps - 1).abs().argmin())]
    uneven = (score.amax(0) - even).amax(1, keepdim=True) > _UNEVEN
    return torch.where(uneven, steps[score.argmax(0)], 1.0)


def _distance(alphabet: Constellation, symbols: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of soft symbols, complex [batch, n], the squared distance from the nearest point over var [batch, n]; the places in
    windows, int64 [m], at which a second point may be meant; and how much further off each point is there [points, batch, m]."""
    points = alphabet.points.to(symbols.device)[:, None, None]
    distance = ((symbols.real - points.real).square() + (symbols.imag - points.imag).square()) / var
    low, second = distance.topk(min(2, len(points)), 0, largest=False, sorted=True)[0][[0, -1]]
    open_places = torch.nonzero(((second - low) < _CERTAIN).any(0))[:, 0]
    return low, open_places, distance[..., open_places] - low[..., open_places]


def _log_sum(distance: tuple[Tensor, Tensor, Tensor], c: Tensor) -> Tensor:
    """log Σ_a exp(-|z - a|²/(c·var)), [batch, n], for c up to 40."""
    low, places, further = distance
    out = low / -c
    out[:, places] += (further / -c).exp_().sum(0).log_()
    return out


def soft_output(prior: LinearModulation, symbols: Tensor, var: Tensor, undetected_error_power: Tensor | None = None,
                factor: Tensor | int | None = None, **rest: Any) -> Separation:
    """A Separation from soft symbols [batch, n] and the modelled variance of their error [batch, n] or [batch, 1].

    A model can be wrong: its variances are scaled, per window, as the symbols' scatter about the alphabet says (variance_scale;
    factor: [batch, 1], or 1, where that was done). undetected_error_power: power, [batch, 1], that shows errors that do not
    scatter: wrong decisions that the rest of the mixture was bent to. quality and llrs follow from the same.
    """
    var = torch.as_tensor(var, dtype=torch.float32).expand(symbols.shape).clamp(1e-6, 1e6)
    quality = torch.full((len(symbols),), float("nan"))
    if symbols.shape[1]:
        var = var * (variance_scale(prior.signal.alphabet, symbols, var)[:, None] if factor is None else factor)
        var = var.clamp_min(1e-6)
        quality = -10 * torch.log10(var.mean(1))
        if factor is None:
            var = (var * local_scale(prior.signal.alphabet, symbols, var)).clamp_min(1e-6)
    alphabet = prior.signal.alphabet
    llrs = shaped(alphabet, symbols, var, alphabet.llrs(symbols, var).float())
    out = Separation(symbols=symbols, llrs=llrs, quality=quality, **rest)
    return out if undetected_error_power is None else _besides(out, _SHOWN * undetected_error_power.float().sqrt(), _LOST)


def spread_error_probability(out: Separation, prior: LinearModulation, times: float, reach: int) -> Separation:
    """The Separation, llrs and quality of which allow for wrong decisions that make others wrong, and so do not show: `times` the
    share of wrong bits that is expected of a symbol and `reach` others to either side is added to what is expected of its own."""
    if out.symbols.shape[1]:
        alphabet = prior.signal.alphabet
        _besides(out, times * expected_near(out.llrs, reach), alphabet.bits_per_symbol * alphabet.least_distance ** 2)
    return out


def expected_near(llrs: Tensor, reach: int, there: Tensor | None = None) -> Tensor:
    """The share of wrong bits that LLRs [batch, symbols, bits] expect of each symbol and `reach` others to either side, [batch,
    symbols]. there: which symbols lie in the window, bool [batch, symbols]: others, of which it holds an edge, do not count."""
    wrong = torch.sigmoid(-llrs.abs()).mean(2)
    if there is None:
        return torch.nn.functional.avg_pool1d(wrong[:, None], 2 * reach + 1, 1, reach, count_include_pad=False)[:, 0]
    counted = there.to(wrong)
    total, count = (torch.nn.functional.avg_pool1d(v[:, None], 2 * reach + 1, 1, reach)[:, 0] for v in (wrong * counted, counted))
    return total / count.clamp_min(1e-6)


def doubted(llrs: Tensor, share: Tensor) -> Tensor:
    """LLRs [batch, symbols, bits] of bits of which a share [batch, symbols] or [batch, 1] is wrong besides those that they
    expect."""
    wrong = torch.sigmoid(-llrs.abs())
    wrong = (wrong + share[..., None] * (1 - 2 * wrong)).clamp(1e-30, 0.5)
    return torch.copysign(torch.minimum(llrs.abs(), torch.log((1 - wrong) / wrong)), llrs)


def false_lock_penalty(out: Separation, level: float, power: float) -> Separation:
    """The Separation, llrs and quality of which allow for a signal that was found wrongly, whose symbols then fit the alphabet
    not much worse: with e, its error_rate, that is taken to be so with probability 1/(1 + (level/e)^power), and then half of the
    bits are wrong."""
    if out.symbols.shape[1]:
        _besides(out, 0.5 / (1 + (level / out.error_rate[:, None].clamp_min(1e-9)) ** power), _LOST)
    return out


def _besides(out: Separation, share: Tensor, power: float) -> Separation:
    """The Separation; a share [batch, symbols] or [batch, 1] of its bits is wrong besides those that its llrs expect, and adds
    that times `power` to the symbols' error."""
    out.llrs = doubted(out.llrs, share)
    out.quality = -10 * torch.log10(10 ** (-out.quality / 10) + power * share.mean(1))
    return out


def left_over(y: Tensor, out: Separation) -> Tensor:
    """Power that no source of a Separation explains, and what its estimates may be wrong by, [batch]."""
    error = sum((e.waveform.abs().square().mean(1) * 10 ** (-e.sinr_db / 10) for e in out.sources),
                torch.zeros_like(y.real[:, 0]))
    return (y - sum((e.waveform for e in out.sources), torch.zeros_like(y))).abs().square().mean(1) + error


def interference_estimate(rest: Tensor, prior: Source, kappa: Tensor, noise_var: Tensor) -> Tensor:
    """E[kappa·b | rest = kappa·b + noise], complex64 [batch, samples]; zero where there is no interference."""
    scale = kappa.float()[:, None].clamp_min(1e-6)
    level = decibels((noise_var / scale[:, 0].square()).mean().clamp(1e-6, 1e6))
    return torch.where(kappa[:, None] > 1e-6, scale * prior.reconstruct(rest / scale, level), 0)


def with_quadrature(out: Out, soi: Any, left: Tensor, gain: Tensor) -> Out:
    """A Separation or Estimate; to symbols of a real alphabet, of which detection gives the in-phase part, is added what is in
    quadrature in what all sources leave, complex64 [batch, samples]: noise, unless the constellation is another one. gain: of
    soi, [batch]."""
    symbols = out.symbols
    if symbols is None or soi.structure is not Structure.CHAIN or dimensions(soi.signal.alphabet) != 1:
        return out
    if symbols.shape[1] != soi.centred_symbols(left.shape[1])[1]:
        return out
    across = soi.matched_filter(left, gain.reshape(-1, 1).float()).imag
    return replace(out, symbols=torch.complex(symbols.real, across))


def one_by_one(y: Tensor, sources: Sequence[Any], values: Sequence[Any], solve: Callable[..., Separation]) -> Separation:
    """The Separation of windows y [batch, samples] of which each is separated by itself: solve(window [1, samples], the sources
    as it sees them, *values), values being numbers, None, or tensors of one number or [batch]."""
    def own(value: Any, row: int) -> Any:
        return value[row:row + 1] if torch.is_tensor(value) and value.numel() > 1 else value

    return joined([solve(y[k:k + 1], [source.select(slice(k, k + 1)) for source in sources], *(own(v, k) for v in values))
                   for k in range(len(y))])
