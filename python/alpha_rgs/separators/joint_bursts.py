# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of a linear modulation under bursts of OFDM whose channel, phases and alphabets were found.

As joint.py: expectation propagation on y = H·a + Σ_frames A·c + w. Here each frame has its own carriers, gains and noise (the
residue after decisions). Carriers that the signal of interest does not reach are decided and subtracted. The noise is annealed:
inference starts with a hundred times the noise, where the posterior has one peak, and follows that peak down. Without
annealing, a frame occasionally ends in a wrong but stable decision of all its symbols.

A learned prior's carriers stay undecided, and its network decides those of a burst together. The result depends on the
starting point: of several starts, each window keeps the result that fits best.

The signal of interest may pause: each symbol is a point of the alphabet or belongs to a pause, by a Markov chain. Without
pauses, the symbols decided in a gap are subtracted from the bursts there at full power.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..inference.bursts_native import Chained, Pauses, Tiled, passed
from ..inference.frame_family import COMPLEX, REAL
from ..inference.frame_tiling import GAUSSIAN
from ..inference.gauss_newton import damped_step
from ..inference.sites import Sites, schedule
from ..inference.symbol_chain import BlockChain
from ..signals import constellation
from ..signals.carrier import column
from ..signals.wifi import ALPHABETS
from ..sources.base import Structure
from ..sources.linear_modulation import NUISANCES, LinearModulation
from ..sources.ofdm_bursts import Tiles
from ..synchronization.channel_taps import absent, direct, fit_taps, received, strongest, through
from .base import Separation, false_lock_penalty, joined, picked, require, soft_output, spread_error_probability, variance_scale

if TYPE_CHECKING:
    from ..signals.constellations import Constellation

_PASSES, _DAMPING, _SETTLE = (24, 30), (0.4, 0.3), 4    # for structured and learned; passes at the end with the noise as it is
# passes and damping where nuisances are reported only, as in a stream that is locked: 24 of 0.4 leave no fewer wrong bits (274 of
# 163 792 under traffic at -10 dB, noise 20 dB below the signal, where these leave 245)
_LOCKED = 8, 0.6
_HEATS = (100.0,), (100.0, 30.0, 10.0, 3.0)             # factors on the noise at first, likewise; each a beginning of its own
_EXPECTED = (0.3, 1e-5, 0.2, 0.1)           # samples, cycles per sample, rad, share of the gain: steps of a fit, at most
_MORE, _FAR = 6, 0.9                        # fits more while the timing moves by this much of what it may
_BENT, _REACH = 0.15, 120                   # of together, measured at -5 ... -15 dB; samples: one and a half frames
# of false_lock_penalty: likeliest over 54 windows of the coverage study, 16 of them found wrongly
_FOUND = 0.115, 2.0
_GONE, _BACK, _REST = 1e-4, 0.1, 0.1        # chance per symbol that the SOI pauses, and goes on; power of a pause's symbols
_STRAY, _SURE = 0.05, 50.0                  # share of symbols that are there and fit no point; nats that one may say of a pause
_COOL = 20.0                                # factor on the noise from which down pauses are looked for
_LOUDER = 1.25                              # factor by which the gain through a fitted channel may differ from the usual one
_LEAST = 1e-4                               # noise at least, relative to the signal of interest's power
_ALPHABETS = [constellation(name) for name in ALPHABETS]
PAUSES = Pauses(_GONE, _BACK, _REST, _STRAY, _SURE, _COOL)


def joint_bursts(y: Tensor, soi: LinearModulation, bursts: Any, noise_var: Tensor, passes: Any = None, damping: Any = None,
                 fits: Any = 0, free: Any = None, callback: Callable[..., Any] | None = None) -> Separation:
    """bursts: an OfdmBursts whose frames are known; passes, damping: as joint.joint has them, default 24 and 0.4 (learned priors:
    30 and 0.3; reported only: 8 and 0.6). fits: how often timing, carrier offset, phase and gain of the SOI (those of them that
    are `free`; None: all) are fitted to what was decided, and all begun anew; 0: those that are `free` are reported as one more
    fit would have them."""
    require(soi, Structure.CHAIN, "signal of interest", "joint")
    free, reported = NUISANCES if free is None else free, not (free is None or fits or soi.channel_length)
    if fits and len(y) > 1:                         # each window goes on for as long as it needs
        return joined([joint_bursts(y[row:row + 1], soi.select([row]), replace(bursts, frames=[bursts.frames[row]]), noise_var[
            row:row + 1], passes, damping, fits, free, callback) for row in range(len(y))])
    usual = _LOCKED if reported and not bursts.learned else (_PASSES[bursts.learned], _DAMPING[bursts.learned])
    passes, damping, count = passes or usual[0], damping or usual[1], itertools.count()

    def settled(problem: _Problem, hot: float, fitted: bool = False) -> _Problem:
        problem.settle([turn.heat for turn in schedule(passes, damping, hot, _SETTLE, more=True)], damping, fitted,
                       lambda *cavity: callback and callback(next(count), *cavity))
        return problem

    heats, length, gain = _HEATS[bursts.learned], soi.channel_length, soi.gain
    tiles = None
    for turn in range(fits + _MORE if fits and not length else fits):
        problem, before = settled(_Problem(y, soi, bursts, noise_var, tiles), heats[0], True), soi.timing
        tiles = problem.tiles
        soi, spread = problem.fit_channel(free, length, gain, turn == 0) if length else problem.refine_sync(free)
        if turn >= fits - 1 and not _at_limit(before, soi.timing):
            break
    problem = _Problem(y, soi, bursts, noise_var, tiles)
    out, away = settled(problem, heats[0], reported).result()
    for hot in heats[1:]:
        other, gone = settled(problem, hot, reported).result()
        better = other.quality > out.quality
        out, away = picked(other, out, better), torch.where(better[:, None, None], gone, away)
    # a wrong symbol bends its frame's carriers, and they its neighbours; with a wrong carrier offset all decisions are wrong
    out.llrs = torch.where(away > 0.5, _SURE * out.llrs.sign(), out.llrs)       # a pause is no wrong decision
    out = spread_error_probability(out, soi, _BENT, math.ceil(_REACH / soi.signal.samples_per_symbol))
    if fits and "carrier_offset" in free:
        out = false_lock_penalty(out, *_FOUND)
    right = torch.sigmoid(out.llrs.double())
    out.llrs = torch.logit(right + away * (0.5 - right), 1e-15).float()         # and holds no bits
    if reported:
        soi, spread = problem.refine_sync(free)
    if fits or reported:
        out.estimated = {key: torch.as_tensor(getattr(soi, key), dtype=REAL).reshape(-1) for key in spread if key != "channel"}
        out.estimated |= {f"{key}_std": value for key, value in spread.items() if value is not None}
        if length:
            out.estimated["channel"] = torch.tensor([soi.signal.channel], dtype=COMPLEX)
    return out


def _at_limit(before: Any, after: Any) -> bool:
    """Whether a fit moved the timing as far as it may, so that another will move it on."""
    step = torch.as_tensor(after, dtype=REAL) - torch.as_tensor(before, dtype=REAL)
    return bool((step.abs() > _FAR * _EXPECTED[0]).any())


class _Family:
    """Tiles with equally many open carriers d, K symbols reaching each. All arrays [tiles, ...]."""

    def __init__(self, received: Tensor, waves: Tensor, alphabet: Tensor, noise: Tensor, pulses: Tensor,
                 deciding: Any = None) -> None:
        self.d, self.alphabet, self.pulses, self.waves, self.deciding = waves.shape[2], alphabet, pulses, waves, deciding
        self.received, self.noise = received, noise
        self.sites, self.inverse = self._sites(), waves[:, :0]
        self.shift = self.sites.shift

    def _sites(self) -> Sites:
        shape, device = self.alphabet.shape, self.received.device
        return Sites(torch.ones(shape, dtype=REAL, device=device), torch.zeros(shape, dtype=COMPLEX, device=device))

    def begin(self) -> None:
        """Nothing is known of the carriers."""
        both = torch.cat([self.waves, self.pulses], 2)
        weighted = both.mH / self.noise[:, None, :]
        self.gram, self.stat = weighted @ both, (weighted @ self.received[..., None])[..., 0]
        self.sites = self._sites()

    def tiled(self) -> Tiled:
        """As the extension takes it."""
        return Tiled(self.received, self.noise, self.waves, self.pulses, self.alphabet)

    def slopes(self, symbols: Tensor, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient and curvature, [n, k] and [n, k, k], of the log-likelihood along k waves [n, samples, k] that are added to the
        symbols' own, carriers following."""
        rest = self.received - (self.pulses @ symbols[..., None])[..., 0]
        weighted = torch.cat([rest[..., None], waves], 2) / self.noise[..., None]
        both = waves.mH @ weighted
        if self.d:
            seen = self.waves.mH @ weighted
            seen[..., 0] += self.shift
            both = both - seen[..., 1:].mH @ (self.inverse @ seen)
        first, second = both[..., 0], both[..., 1:]
        return first.real, second.real

    def evidence(self, heat: float) -> tuple[Tensor, Tensor]:
        """(precision [n, K, K], information [n, K]) of the symbols, the noise `heat` times as strong."""
        d, gram, stat = self.d, self.gram / heat, self.stat / heat
        if d == 0:
            return gram, stat
        own, self.shift = torch.diag_embed(self.sites.precision.to(COMPLEX)), self.sites.shift.clone()     # of one pass
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram[:, :d, :d] + own))
        self.own = self.inverse @ (stat[:, :d] + self.sites.shift)[..., None]
        self.gain = self.inverse @ gram[:, :d, d:]
        return gram[:, d:, d:] - gram[:, d:, :d] @ self.gain, stat[:, d:] - (gram[:, d:, :d] @ self.own)[..., 0]

    def update(self, mean: Tensor, cov: Tensor, damping: float) -> None:
        """New sites of the carriers, given the symbols' posterior [n, K], [n, K, K]."""
        if self.d == 0:
            return
        own = (self.own - self.gain @ mean[..., None])[..., 0]
        var = (self.inverse.diagonal(dim1=1, dim2=2) + ((self.gain @ cov) * self.gain.conj()).sum(-1)).real
        cavity = self.sites.cavity(own, var)
        if self.deciding:
            self.sites.update(self.deciding(*cavity), cavity, damping)
            return
        for number in torch.unique(self.alphabet).tolist():
            if number == GAUSSIAN:                              # these keep their prior
                continue
            rows = self.alphabet == number
            here = cavity[0][rows], cavity[1][rows]
            self.sites.update(_ALPHABETS[number].posterior(*here), here, damping, rows)


class _Problem:
    """One batch of windows, in units of the samples; symbols in those of the alphabet. tiles: of a problem with the same
    frames and another signal of interest, whose gain may differ somewhat."""

    def __init__(self, y: Tensor, soi: Any, bursts: Any, noise_var: Tensor, tiles: Tiles | None = None) -> None:
        self.y, self.soi, self.bursts, self.noise_var, batch, device = y, soi, bursts, noise_var, len(y), y.device

        def each(value: Any, dtype: Any = REAL) -> Tensor:
            return column(value, torch.empty(0), dtype).expand(batch, 1)[:, 0].cpu()

        timing, gain = each(soi.timing), each(soi.gain)
        if tiles is None:
            tiles = Tiles(y, bursts, noise_var.cpu().clamp_min(0) + _LEAST * gain.square())
        self.tiles = tiles
        self.nuisances = timing, each(soi.carrier_offset), each(soi.phase), gain
        pulses = self._pulses(*self.nuisances)
        symbol, count = tiles.symbols(soi.signal, timing)
        first = torch.full((batch,), 1 << 40).scatter_reduce(0, tiles.window, symbol, "amin")
        local = symbol - first[tiles.window]
        total = int(local.max()) + count
        self.rows = torch.cat([rows for rows, *_ in tiles.groups])
        self.families = []
        for rows, *group in tiles.groups:
            waves, alphabet, noise = (v.to(device) for v in group)
            self.families.append(_Family(tiles.received[rows].to(device), waves, alphabet, noise, pulses[rows].to(device),
                                         bursts.deciding(tiles, rows) if group[0].shape[2] else None))
        self.sizes = [len(rows) for rows, *_ in tiles.groups]
        self.first = tiles.window[self.rows].to(device), local[self.rows].to(device)
        self.chain = BlockChain(*self.first, count, batch, total)
        self.cavity: tuple[Tensor, Tensor]
        self.posterior: tuple[Tensor, Tensor, Tensor] | None = None         # where the extension has found it
        number = first[:, None] + torch.arange(total)
        sent = torch.ones_like(number, dtype=torch.bool) if soi.symbols is None else (number >= 0) & (number < soi.symbols)
        last = torch.zeros(batch, dtype=torch.int64).scatter_reduce(0, tiles.window, local, "amax")
        self.exists = (sent & (torch.arange(total) < last[:, None] + count)).to(device)     # the others are another window's
        inside, self.count = soi.centred_symbols(y.shape[1])
        self.inside = (inside - first)[:, None].to(device)

    def begin(self) -> None:
        """Nothing is decided."""
        precision = torch.where(self.exists, 1.0, 1e6).to(REAL)
        self.sites = Sites(precision, torch.zeros_like(precision, dtype=COMPLEX), self.exists)
        for family in self.families:
            family.begin()

    def settle(self, heats: Sequence[float], damping: float, fitted: bool, callback: Callable[[Tensor, Tensor], Any]) -> None:
        """Begin anew: one pass for each of the heats. fitted: whether waves will be fitted to the samples. callback gets the
        symbols' cavities after each pass."""
        found = self.posterior = None
        if not any(family.deciding for family in self.families):
            chained = Chained(*self.first, self.exists, self.soi.signal.alphabet, PAUSES)
            found = passed([family.tiled() for family in self.families], chained, _ALPHABETS, heats, damping, fitted)
        if found is None:
            self.begin()
            for heat in heats:
                self.infer(heat, damping)
                callback(*self.cavity)
            return
        for self.cavity in found.cavities:
            callback(*self.cavity)
        self.posterior = found.posterior
        for family, shift, inverse in itertools.zip_longest(self.families, found.shifts, found.inverses):
            family.shift, family.inverse = shift, inverse

    def _pulses(self, timing: Tensor, offset: Tensor, phase: Tensor, gain: Tensor) -> Tensor:
        return self.tiles.pulses(self.soi.signal, timing, offset, torch.polar(gain, phase))

    def decided(self) -> Tensor:
        """Posterior means of the symbols, complex128 [batch, symbols]."""
        return torch.where(self.exists, self.moments()[0], 0)

    def moments(self, heat: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """(mean, variance, probability of a pause) of the symbols, [batch, symbols] each. While the noise is `heat` times too
        strong estimates scatter less than their variances say, which would look like one long pause."""
        if self.posterior is not None:
            return self.posterior
        (soft, var), alphabet = self.cavity, self.soi.signal.alphabet
        mean, own = alphabet.posterior(soft, var)
        away = paused(alphabet, soft, var, self.exists) if heat <= _COOL else torch.zeros_like(var)
        share = _REST / (_REST + var)
        weak = share * soft
        spread = torch.lerp(own, share * var, away) + away * (1 - away) * (mean - weak).abs().square()
        return torch.lerp(mean, weak, away.to(mean)), spread, away

    def refine_sync(self, free: Any) -> tuple[LinearModulation, dict[str, Tensor]]:
        """The SOI with its nuisances `free` (names) one Gauss-Newton step on, given what was decided; and their standard
        deviations, name -> [batch] (the phase's at the middle of the window)."""
        timing, offset, phase, gain = self.nuisances
        middle = self.y.shape[1] / 2 if "phase" in free else 0      # about which offset and phase are all but independent
        pulse_at = self.soi.signal.pulse_at
        decided = self.chain.gather(self.decided())
        in_order = decided.cpu()[torch.argsort(self.rows)]
        moved = self.tiles.waves(in_order, self.soi.signal, timing, offset, torch.polar(gain, phase),
                                 lambda tau: (pulse_at(tau - 0.05) - pulse_at(tau + 0.05)) / 0.1)
        turn = 2j * torch.pi * (self.tiles.n - middle)
        total = torch.zeros(len(self.y), 4, dtype=REAL), torch.zeros(len(self.y), 4, 4, dtype=REAL)
        for family, symbols, (rows, *_) in zip(self.families, decided.split(self.sizes), self.tiles.groups):
            own = (family.pulses @ symbols[..., None])[..., 0].cpu()
            waves = torch.stack([moved[rows], own * turn[rows], 1j * own, own], 2).to(self.y.device)
            for part, into in zip(family.slopes(symbols, waves), total):
                into.index_add_(0, self.tiles.window[rows], part.cpu())
        limit = torch.tensor([most * (name in free) + 1e-9 for name, most in zip(NUISANCES, _EXPECTED)], dtype=REAL)
        step, spread = damped_step(total[1], total[0], limit)
        phase = phase + step[:, 2] - 2 * torch.pi * step[:, 1] * middle
        deviations = dict(zip(("timing", "carrier_offset", "phase"), spread.T)) | {"gain": spread[:, 3] * gain}
        found = dict(zip(NUISANCES, (timing + step[:, 0], offset + step[:, 1], phase, gain * (1 + step[:, 3]))))
        return replace(self.soi, **{k: found[k] for k in found if k in free}), {k: deviations[k] for k in deviations if k in free}

    def fit_channel(self, free: Any, length: Any, usual: Any, wide: Any) -> Any:
        """As fitted, of one window: the channel, `length` taps a sample apart, and with it phase and gain, timing and carrier
        offset where they are among `free`. usual: the gain, about: a larger one and pauses would explain anything. wide: with
        delays of both signs, of which those are kept that hold most; the timing follows."""
        timing, offset, phase, gain = self.nuisances
        signal, middle = self.soi.signal, self.y.shape[1] / 2
        sent = direct(self.soi).signal
        if not bool(self.y.abs().any()):
            return absent(self.soi, length), dict.fromkeys(NUISANCES) | {"channel": torch.ones(1, length, dtype=REAL)}
        delays = range(1 - length if wide and "timing" in free else 0, length)
        now = torch.zeros(len(delays), dtype=COMPLEX)
        now[-length:][:max(len(signal.channel), 1)] = torch.tensor(signal.scaled_channel) * torch.polar(gain, phase)
        k, one = len(delays), torch.ones(1, dtype=COMPLEX)
        pulses = [self.tiles.pulses(signal, timing, offset, one, shape=lambda tau, d=d: sent.pulse_at(tau - d)) for d in delays]
        first, second = torch.zeros(2 * k + 1, dtype=REAL), torch.zeros(2 * k + 1, 2 * k + 1, dtype=REAL)
        for family, symbols, (rows, *_) in zip(self.families, self.chain.gather(self.decided()).split(self.sizes),
                                               self.tiles.groups):
            taps = torch.cat([p[rows] @ symbols[..., None].cpu() for p in pulses], 2)
            turn = 2j * torch.pi * (self.tiles.n[rows] - middle)[..., None]
            waves = torch.cat([taps, 1j * taps, turn * (taps @ now)[..., None]], 2)
            for part, into in zip(family.slopes(symbols, waves.to(self.y.device)), (first, second)):
                into += part.sum(0).cpu()
        found = fit_taps(second, first, gain, now, _EXPECTED[1] * ("carrier_offset" in free) + 1e-12)
        begin = int(found.values.abs().square().unfold(0, length, 1).sum(1).argmax())
        taps, error = (v[begin:begin + length] for v in (found.values, found.spread))
        reference, shift = strongest(taps), found.carrier_offset
        values = received(replace(self.soi, timing=timing), taps, delays[begin], reference)
        louder = min(max(values["gain"] / float(usual), 1 / _LOUDER), _LOUDER)
        phase = torch.tensor([values["phase"] - 2 * torch.pi * shift * middle], dtype=REAL)
        values |= {"carrier_offset": offset + shift, "phase": phase,
                   "gain": torch.as_tensor(usual, dtype=REAL).reshape(1) * louder}
        kept = {key: value for key, value in values.items() if key in free or key in ("phase", "gain")}
        return replace(through(self.soi, taps, reference), **kept), dict.fromkeys(NUISANCES) | {
            "channel": (error / reference.abs())[None]}

    def infer(self, heat: float, damping: float) -> None:
        """One pass: the joint Gaussian posterior under the present sites and `heat` times the noise; cavities, new sites."""
        precision, information = (torch.cat(parts) for parts in zip(*(f.evidence(heat) for f in self.families)))
        mean, var, local = self.chain.solve(precision, information, self.sites.precision, self.sites.shift)
        self.cavity = self.sites.cavity(mean, var)
        parts = zip(self.families, self.chain.gather(mean).split(self.sizes), local.split(self.sizes))
        for family, own, cov in parts:
            family.update(own, cov, damping)
        symbols, spread, _ = self.moments(heat)
        self.sites.update((symbols, spread), self.cavity, damping)

    def result(self) -> tuple[Separation, Tensor]:
        """(Separation, probability of a pause [batch, symbols, 1]). interference: what is left of the mixture where there are
        frames."""
        index = self.inside + torch.arange(self.count, device=self.y.device)
        mean, _, away = self.moments()
        soft, var, away = (v.gather(1, index) for v in (*self.cavity, away))
        parts = zip(self.families, self.chain.gather(torch.where(self.exists, mean, 0)).split(self.sizes))
        waves = torch.cat([(f.pulses @ a[..., None])[..., 0] for f, a in parts])[torch.argsort(self.rows)]
        s = self.tiles.joined(waves.cpu()).to(self.y)
        there = self.tiles.joined(self.tiles.full[:, None].expand(-1, waves.shape[1])).to(self.y.device)
        soft, var, here = soft.to(torch.complex64), var.float().clamp(1e-6, 1e6), 1 - away.float()
        # by those not paused
        factor = variance_scale(self.soi.signal.alphabet, soft, var / here.clamp_min(1e-6), 2 * here.mean(1))
        kappa = self.bursts.kappa(len(self.y)).to(s.device).float()
        return soft_output(self.soi, soft, var, factor=factor[:, None], soi=s, interference=torch.where(there, self.y - s, 0),
                           evaluations=0, kappa=kappa, noise_var=self.noise_var), away.float()[..., None]


def paused(alphabet: Constellation, soft: Tensor, var: Tensor, exists: Tensor) -> Any:
    """Probability that the SOI pauses at each symbol, float64 [batch, symbols], given estimates `soft` and their variances.

    exists: bool, whose estimates count. Forward-backward algorithm, in odds; a pause's symbols are CN(0, _REST), others points of
    the alphabet or, of a wrong phase or frame, CN(0, 1).
    """
    def strange(power: float) -> Tensor:
        return -soft.abs().square() / (var + power) - (var + power).log()

    distance = (soft[..., None] - alphabet.points.to(soft)).abs().square()
    there = torch.logsumexp(-distance / var[..., None], -1) - math.log(distance.shape[-1]) - var.log()
    there = torch.logaddexp(there, math.log(_STRAY) + strange(1.0))
    likelihood = torch.where(exists, strange(_REST) - there, 0).clamp(-_SURE, _SURE).exp().T.cpu().numpy()
    before, after = np.empty_like(likelihood), np.empty_like(likelihood)
    odds = np.full(likelihood.shape[1], _GONE / _BACK)
    for k, now in enumerate(likelihood):
        before[k], odds = odds, odds * now
        odds = (odds * (1 - _BACK) + _GONE) / (odds * _BACK + 1 - _GONE)
    odds = np.ones(likelihood.shape[1])
    for k, now in reversed(list(enumerate(likelihood))):
        after[k], odds = odds, odds * now
        odds = (odds * (1 - _BACK) + _BACK) / (odds * _GONE + 1 - _GONE)
    whole = torch.from_numpy((before * likelihood * after).T.copy()).to(var)
    return whole / (1 + whole)
