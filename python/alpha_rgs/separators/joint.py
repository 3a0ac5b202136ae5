# SPDX-License-Identifier: GPL-3.0-or-later
"""Joint detection of a linear modulation under OFDM by expectation propagation.

y = H·a + kappa·A·c + w is one linear model with discrete unknowns. Every unknown keeps a Gaussian *site* that stands for
its alphabet; a pass computes the joint Gaussian posterior, and for each unknown the *cavity* (the posterior without its own
site), whose moments over the alphabet give the next site (Minka, 2001). Carriers are eliminated frame by frame
(inference/frame_family.py), which leaves a chain of symbols (inference/symbol_chain.py). With carriers of unknown constellation
only the symbols have sites.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.decisions import Decisions
from ..inference.frame_family import COMPLEX, REAL, FrameFamily
from ..inference.list_search import refine
from ..inference.open_frames import OpenFrames
from ..inference.sites import Sites, schedule
from ..inference.symbol_chain import BlockChain
from ..signals.carrier import carrier, column
from ..signals.framing import frame_pulses
from ..sources.base import Source, Structure
from ..sources.linear_modulation import LinearModulation
from .base import Separation, chosen, exchanged, interference_estimate, require, soft_output, spread_error_probability
from .joint_bursts import joint_bursts
from .joint_general import joint_pair
from .joint_linear import joint_linear
from .joint_native import SPREAD, native_joint, reach
from .stationary_lmmse import stationary_lmmse

_NOISE_FLOOR = 3e-3      # relative to the SOI's power (a symbol at 37 dB): below it the cut frames, underdetermined, diverge
_MISFIT = 4.0            # with carriers unknown: echoes, oscillator noise ... exceed what shows where no carrier is
_CUT_DAMPING = 0.6       # cut frames leave carriers underdetermined: their sites commit too soon otherwise
# decisions that are listed of windows that the native detector leaves in doubt, and where noise is too strong for it. Of 855
# wrong bits (64 windows of QPSK, BPSK, 8PSK and 16QAM under OFDM, Es/N0 5 to 15 dB) 806 are left, in 1.3 times the time
_LIST, _LONG_LIST = 32, 128
_POLISH, _ROUNDS = 3, 2  # passes after a search, searches
_FITS = 0.1              # of the noise allowed for: a decision that leaves less than this in every frame is not searched
_HOPELESS = 0.1          # share of wrong bits from which a list of decisions holds no right one
_STRONG, _EXCEEDS = 2.5e-3, 2.0      # Es/N0 above 26 dB: a wrong decision leaves three times the noise in a frame
# (passes, damping, heat) that are tried where decisions leave more than noise: hot ones find the right peak, slow ones stay with
# it. Of 408 frames (QPSK of 2.2 to 8 samples per symbol under OFDM 0 to 10 dB stronger, Es/N0 15 to 20 dB) the first passes miss
# up to 19, and all but two of them are found so
_AGAIN = ((12, 0.7, 100.0), (12, 0.3, 1.0), (20, 0.5, 100.0))
_SETTLE = 2              # passes at the noise's own level after hot ones
_UNTRUSTED = 30.0        # the noise on the untrusted head of a prefix (delay_spread), relative to elsewhere


@dataclass(frozen=True)
class Options:
    """Of `joint`. passes: default 6 (12 where the carriers are Gaussian); damping: weight of the new sites; search: length of
    the list, 0 for none; default 128 (0 where the carriers are Gaussian). thorough: whether all windows are searched, not only
    those whose decisions leave more than noise. undecided: whether symbols may be turned by any angle while carriers are decided,
    for an SOI whose phase and exact carrier offset are not known yet; `estimated` then has symbol_variance. fits: under bursts,
    how often what was found of the SOI is fitted anew to what was decided; free: the names of that, None for all."""

    passes: int | None = None
    damping: float | None = None
    search: int | None = None
    thorough: bool = False
    undecided: bool = False
    fits: int = 0
    free: Sequence[str] | None = None


def joint(y: Tensor, soi: LinearModulation, interference: Any, kappa: Tensor, noise_var: Tensor,
          callback: Callable[..., Any] | None = None, **options: Any) -> Separation:
    """Expectation propagation, a list search where its decision does not fit, and some passes more from what that found.
    options: see Options; without any, the native detector does it where it can (joint_native.py), and torch what
    that leaves in doubt. Raises TypeError, naming them, where one is not known."""
    settings = chosen("joint", Options, options)
    passes, damping, search = settings.passes, settings.damping, settings.search
    if interference.structure is Structure.CHAIN:
        return joint_linear(y, soi, interference, kappa, noise_var, passes or 6, damping or 0.7, callback=callback)
    if interference.structure is Structure.NONE:
        return joint_pair(y, soi, interference, kappa, noise_var, callback, **({"passes": passes} if passes else {}))
    if interference.structure is Structure.BURSTS:
        return joint_bursts(y, soi, interference, noise_var, passes, damping, settings.fits, settings.free, callback)
    usual = settings == Options() and callback is None
    if usual and (found := native_joint(y, soi, interference, kappa, noise_var)) is not None:
        out, rows = found
        return out if not len(rows) else exchanged(out, rows, _solve(
            y[rows], soi.select(rows), interference.select(rows), kappa[rows], noise_var[rows], 6, 0.7, _LIST, "joint", None),
            torch.ones(len(rows), dtype=torch.bool))
    known = interference.structure is Structure.FRAMES and interference.decided
    listed = (_LONG_LIST if known else 0) if search is None else search
    return _solve(y, soi, interference, kappa, noise_var, passes or (6 if known else 12), damping or (0.7 if known else 0.3),
                  listed, "joint", callback, settings.undecided, settings.thorough)


def lmmse(y: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
          covariance: str = "cyclostationary", callback: Callable[..., Any] | None = None) -> Separation:
    """covariance "cyclostationary": the periodically time-varying linear filter, the first pass of `joint`, all sources
    Gaussian; "stationary": one filter for all windows, blind to frames (stationary.py). Raises ParameterError."""
    if covariance not in ("cyclostationary", "stationary"):
        raise ParameterError(f"lmmse: covariance {covariance!r} is not known; one of cyclostationary, stationary")
    if covariance == "stationary":
        return stationary_lmmse(y, soi, interference, kappa, noise_var)
    if interference.structure is Structure.CHAIN:
        return joint_linear(y, soi, interference, kappa, noise_var, 1, proper=True, method="lmmse", callback=callback)
    return _solve(y, soi, interference, kappa, noise_var, 1, 1.0, 0, "lmmse", callback)


def _solve(y: Tensor, soi: LinearModulation, ofdm: Source, kappa: Tensor, noise_var: Tensor, passes: int, damping: float,
           search: int, method: str, callback: Callable[..., Any] | None, undecided: bool = False,
           thorough: bool = False) -> Separation:
    require(soi, Structure.CHAIN, "signal of interest", method)
    require(ofdm, Structure.FRAMES, "interference", method)
    problem = _Problem(y, soi, ofdm, kappa, noise_var, undecided)
    for turn in schedule(passes, damping, more=search > 0):
        problem.infer(turn.damping)
        if callback:
            callback(turn.number, *problem.cavity)
    if search:
        _refine(problem, search, damping, thorough, lambda step, *cavity: callback and callback(passes + step, *cavity))
    return problem.result(linear=method == "lmmse")


def _refine(problem: Any, width: int, damping: float, thorough: bool, callback: Callable[..., Any]) -> None:
    """Search the windows whose decisions do not fit, and go on from what was found there; once more those that changed. The
    others stay as they were: more passes without a reason make some of them worse, and no window may depend on its batch."""
    hopeful = problem.expected_errors() < _HOPELESS
    for ways in _AGAIN:
        wrong = (problem.misfit() > _EXCEEDS) & hopeful
        if bool(wrong.any()):
            changed = _inferred_again(problem, wrong, *ways)
            if bool(changed.any()):
                _polish(problem, changed, damping, True, lambda *_: None)
    doubtful = (problem.misfit() > (_FITS if thorough else problem.tolerance())) & hopeful
    for turn in range(_ROUNDS):
        if not bool(doubtful.any()):
            return
        doubtful = refine(problem, width, doubtful)
        if not bool(doubtful.any()):
            return
        _polish(problem, doubtful, damping, turn < _ROUNDS - 1, partial(_counted, callback, turn * _POLISH))


def _counted(callback: Callable[..., Any], before: int, number: int, *cavity: Tensor) -> None:
    """The callback, after so many passes before these."""
    callback(before + number, *cavity)


def _inferred_again(problem: Any, doubtful: Tensor, passes: int, damping: float, heat: float) -> Tensor:
    """Infer the doubtful windows [B] anew, by other passes; the better stretches go into the problem's sites. Returns which
    changed [B]."""
    rows = torch.nonzero(doubtful)[:, 0]
    other = problem.part(rows)
    for turn in schedule(passes, damping, heat, _SETTLE if heat > 1 else 0):
        for family in other.families:
            family.heated(turn.heat)
        other.infer(turn.damping)
    found, here = Decisions(other), Decisions(problem)
    old = here.decided()
    new = old.clone()
    new[rows] = here.placed(found.decided()[:, found.position])
    return here.adopt(new, old, here.evidence())


def _polish(problem: Any, rows: Tensor, damping: float, more: bool, callback: Callable[..., Any]) -> None:
    """Some passes over windows `rows` [B]; the others stay as they are."""
    before = problem.state()
    for again in schedule(_POLISH, damping, more=more):
        problem.infer(again.damping)
        callback(again.number, *problem.cavity)
    problem.restore(before, ~rows)


class _Problem:
    """One batch of windows: B windows of F frames, K symbols reach a frame, M a window. Units of the SOI's gain inside. like: a
    problem of which this is a part."""

    def __init__(self, y: Tensor, soi: LinearModulation, ofdm: Any, kappa: Tensor, noise_var: Tensor,
                 undecided: bool = False, like: _Problem | None = None) -> None:
        self.undecided = undecided
        self.y, self.soi, self.ofdm, device = y, soi, ofdm, y.device
        self.kappa, self.noise_var = kappa, noise_var
        self.gain = torch.as_tensor(soi.gain, dtype=REAL).reshape(-1).expand(len(y)).to(device)
        known = ofdm.decided
        noise = (noise_var / self.gain.square() * (1.0 if known else _MISFIT)).clamp_min(_NOISE_FLOOR)
        self.plan = plan = ofdm.plan(y.shape, soi)
        self.mean: Tensor               # of the symbols' posterior, and their cavities, after a pass
        self.cavity: tuple[Tensor, Tensor]
        self.total: int | None = None if like is None else like.total
        self.turn = carrier(ofdm.phase, ofdm.carrier_offset, y)
        received = plan.cut((y * self.turn.conj()).to(COMPLEX)) / self.gain[:, None, None]
        everything = np.arange(ofdm.signal.unknowns)
        data = everything[:len(ofdm.signal.data)]           # of pilots the alphabet is known anyway
        self.clean: np.ndarray = like.clean if like is not None else ofdm.clean_carriers(soi) if known else data
        self.near = near = np.setdiff1d(everything, self.clean)
        clean = self.clean
        present, whole = plan.inside.any(-1).flatten(), plan.inside.all(-1).flatten()
        seen, scale = received.flatten(0, 1), kappa.to(REAL) / self.gain
        # in frames cut by the window's edge no carrier is clean
        cut = (everything, everything[:0]) if known else (near, clean)
        here, nothing = plan.here.flatten(), (everything[:0], everything[:0])
        family = FrameFamily if known else OpenFrames
        self.families = [family(ofdm, plan, torch.nonzero(rows)[:, 0], seen, scale, noise, near, clean, _UNTRUSTED)
                         for rows, (near, clean) in ((whole & here, (near, clean)), (present & ~whole & here, cut),
                                                     (present & ~here, nothing)) if bool(rows.any())]
        self._symbols(device)

    def part(self, rows: Tensor) -> _Problem:
        """The problem of some windows (indices), symbols and carriers being numbered as here."""
        return _Problem(self.y[rows], self.soi.select(rows), self.ofdm.select(rows), self.kappa[rows], self.noise_var[rows],
                        self.undecided, self)

    def _symbols(self, device: torch.device) -> None:
        """Number the symbols of each window from the first that reaches it."""
        plan, soi = self.plan, self.soi
        first = plan.symbol[:, :1]
        local = (plan.symbol - first).flatten().to(device)
        self.total = total = self.total or int(local.max()) + plan.count
        number = first + torch.arange(total)
        timing = column(soi.timing, torch.empty(0)) + number * soi.signal.samples_per_symbol
        delta = column(soi.carrier_offset, timing) - column(self.ofdm.carrier_offset, timing)
        angle = column(soi.phase, timing) - column(self.ofdm.phase, timing) + 2 * torch.pi * delta * timing
        self.rotation = torch.polar(torch.ones_like(angle), angle).to(COMPLEX).expand(plan.batch, -1).to(device)
        exists = (number >= 0) & (number < (soi.symbols if soi.symbols is not None else torch.inf))
        self.exists = exists.expand(plan.batch, -1).to(device) if soi.symbols is not None else torch.ones(
            plan.batch, total, dtype=torch.bool, device=device)
        inside, self.count = soi.centred_symbols(plan.samples)
        self.first_inside = (inside[:, None].to(first) - first).to(device)
        self.sites = Sites(torch.where(self.exists, 1.0, 1e6).to(REAL),
                           torch.zeros(plan.batch, total, dtype=COMPLEX, device=device), self.exists)
        self.chain = BlockChain(torch.cat([f.window for f in self.families]), torch.cat([local[f.rows] for f in self.families]),
                                plan.count, plan.batch, total)

    def state(self) -> tuple[Any, ...]:
        """What passes change."""
        families = [family.state() for family in self.families]
        return self.sites.precision.clone(), self.sites.shift.clone(), self.mean, *self.cavity, families

    def restore(self, state: tuple[Any, ...], windows: Tensor) -> None:
        """Give some windows, bool [B], back what `state` returned."""
        *old, families = state
        now = self.sites.precision, self.sites.shift, self.mean, *self.cavity
        self.sites.precision, self.sites.shift, self.mean, *cavity = (torch.where(windows[:, None], *v) for v in zip(old, now))
        self.cavity = cavity[0], cavity[1]
        for family, own in zip(self.families, families):
            family.restore(own, windows)
            family.evidence()               # whose weights follow from that

    def infer(self, damping: float | None) -> None:
        """The joint Gaussian posterior under the present sites, every cavity, and (unless damping is None) the next sites."""
        precision, information = (torch.cat(parts) for parts in zip(*(f.evidence() for f in self.families)))
        self.mean, var, local_cov = self.chain.solve(precision, information, self.sites.precision, self.sites.shift)
        self.cavity = cavity = self.sites.cavity(self.mean, var)
        if damping is None:
            return
        sizes = [len(f.rows) for f in self.families]
        parts = zip(self.families, self.chain.gather(self.mean).split(sizes), local_cov.split(sizes))
        for family, local_mean, cov in parts:
            if family.decides:
                family.update(local_mean, cov, damping * (_CUT_DAMPING if family.cut else 1.0))
        alphabet = self.soi.signal.alphabet
        posterior = alphabet.posterior_of_any_phase if self.undecided else alphabet.posterior
        mean, var = posterior(cavity[0] * self.rotation.conj(), cavity[1])
        self.sites.update((mean * self.rotation, var), cavity, damping)

    def misfit(self) -> Tensor:
        """What the decisions leave in the whole frame where they fit worst, relative to the noise allowed for: [batch]."""
        out = torch.zeros(self.plan.batch, dtype=REAL, device=self.y.device)
        if not self.ofdm.decided:
            return torch.full_like(out, torch.inf)
        for f in self.families:
            if not f.cut:
                symbols = self.chain.gather(self.decided())[self._rows(f)]
                left = f.misfit(symbols) / self.plan.length
                out.scatter_reduce_(0, f.window, left, "amax")
        return out

    def expected_errors(self) -> Tensor:
        """The share of wrong bits that the cavities expect, [batch]."""
        soft, var = self.cavity[0] * self.rotation.conj(), self.cavity[1]
        llrs = self.soi.signal.alphabet.llrs(soft.to(torch.complex64), var.float().clamp_min(1e-6))
        return torch.sigmoid(-llrs.abs()).mean((1, 2))

    def tolerance(self) -> Tensor:
        """The misfit above which a window is searched [batch]. In a stream, where other windows see the edges of this one in
        context, strong symbols give away a wrong decision by it; otherwise whatever is left by noise is searched."""
        strong = self.noise_var / self.gain.square() / self.soi.signal.samples_per_symbol < _STRONG
        return torch.where(strong & torch.tensor(self.soi.symbols is None), _EXCEEDS, _FITS)

    def decided(self) -> Tensor:
        """The alphabet's points nearest to the cavities, as the OFDM's phase sees them [batch, symbols]."""
        points = self.soi.signal.alphabet.nearest(self.cavity[0] * self.rotation.conj()).to(COMPLEX) * self.rotation
        return torch.where(self.exists, points, 0)

    def _rows(self, family: FrameFamily) -> Any:
        """Where a family's frames lie among those of all families."""
        begin = 0
        for f in self.families:
            if f is family:
                return slice(begin, begin + len(f.rows))
            begin += len(f.rows)

    def result(self, linear: bool) -> Separation:
        """Soft symbols inside the window, and both waveforms."""
        plan, device = self.plan, self.y.device
        index = self.first_inside + torch.arange(self.count, device=device)
        soft, var = self.cavity[0] * self.rotation.conj(), self.cavity[1]
        mean = self.mean
        if not (linear or self.undecided):
            mean = torch.where(self.exists, self.soi.signal.alphabet.posterior(soft, var)[0] * self.rotation, 0)
        first = (plan.symbol - plan.symbol[:, :1]).to(device)
        local = mean.gather(1, (first[..., None] + torch.arange(plan.count, device=device)).flatten(1))
        local = local.unflatten(1, (plan.frames, plan.count)).to(torch.complex64)
        pulses = [torch.tensor(frame_pulses(plan.pulse_key, c[2:], plan.length), dtype=torch.complex64, device=device)
                  for c in plan.classes]
        s = plan.join(plan.grouped(local, pulses))
        s = s * self.turn * self.gain[:, None].float()
        out = soft_output(self.soi, soft.gather(1, index).to(torch.complex64), var.gather(1, index).float(), soi=s,
                          interference=interference_estimate(self.y - s, self.ofdm, self.kappa, self.noise_var),
                          evaluations=0, kappa=self.kappa, noise_var=self.noise_var)
        if self.undecided:
            out.estimated["symbol_variance"] = var.gather(1, index)
        if linear or self.undecided or not self.ofdm.decided:
            return out
        return spread_error_probability(out, self.soi, SPREAD, reach(self.soi, self.ofdm))
