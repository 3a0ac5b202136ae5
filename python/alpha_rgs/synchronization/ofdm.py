# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame offset and phase of an OFDM interference, its level and the noise variance, found from the mixture where the signal of
interest is known: from prefixes, from what neither source can reach, and from the carriers that it does not reach."""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.kept import kept
from ..signals.carrier import carrier, column
from ..signals.framing import frame_pulses
from ..signals.mixed import subset
from ..sources.linear_modulation import LinearModulation
from ..sources.ofdm import prefix_start
from ..sources.ofdm_demodulator import by_pilots
from .levels import amplitude_std, scattered

_ON_GRID = 1 / 32       # of a sample: frames that lie nearer to whole samples are left there, -27 dB at the band's edge
_SURE = 0.2             # samples: a delay less certain than this is none
_RANK = 1e-6            # of the largest eigenvalue: what is less is outside the span of both sources
_POWER = 30             # steps of the power method, which finds the largest eigenvalue to within a few per cent
_PAD = 64               # zeros beyond a window's ends


def frame_offset(y: Any, soi: Any, ofdm: Any) -> Tensor:
    """Where the cyclic prefixes lie, int64 [batch], by maximum likelihood on the prefix and its copy.

    The SOI is narrower than the band: a short prediction-error filter for it takes it out first, which leaves every prefix
    equal to its copy except for its first samples. Then van de Beek's metric, |correlation| - rho*energy, rho -> 1.
    """
    signal = ofdm.signal
    period, prefix = signal.frame_length, signal.cyclic_prefix
    if prefix == 0:
        raise ParameterError("frame_offset: cannot be estimated without a cyclic prefix; give it in the prior")
    taps = torch.tensor(_whitener(soi.signal, min(2, prefix - 1)), dtype=torch.complex64, device=y.device)
    x = y * carrier(0.0, soi.carrier_offset, y).conj()
    x = sum(t * x[:, len(taps) - 1 - i:x.shape[1] - i] for i, t in enumerate(taps))   # x[n] belongs to sample n + order
    order = len(taps) - 1
    usable = prefix - order - ofdm.delay_spread
    if usable < 1:
        order, usable, x = 0, max(prefix - ofdm.delay_spread, 1), y
    a, b = x[:, :-signal.fft_size], x[:, signal.fft_size:]
    turn = torch.exp(2j * torch.pi * (column(ofdm.carrier_offset, y) - column(soi.carrier_offset, y)) * signal.fft_size).to(y)
    product, energy = b * a.conj() * turn.conj(), (a.abs() ** 2 + b.abs() ** 2) / 2
    return (prefix_start(product, energy, usable, period, y.shape[1]) - ofdm.delay_spread) % period


@lru_cache
def _whitener(signal: Any, order: int) -> np.ndarray:
    n = np.arange(-4096, 4096)
    acf = np.fft.ifft(abs(np.fft.fft(signal.pulse_at(n))) ** 2).real / signal.samples_per_symbol
    r = acf[:order + 1] + np.r_[1e-3, np.zeros(order)]
    toeplitz = r[abs(np.subtract.outer(np.arange(order), np.arange(order)))]
    return np.r_[1.0, -np.linalg.solve(toeplitz, r[1:])] if order else np.ones(1)


def aligned(y: Tensor, soi: Any, ofdm: Any) -> tuple[Tensor, Any, Any, Tensor]:
    """(y, SOI, OFDM, delay) so that frames begin on whole samples: y complex64 [batch, samples], moved by `delay`, float64
    [batch], a fraction of a sample; the SOI as it is there; the OFDM with the frame offset that its prefixes and the slope of its
    carriers' phases give. Nothing moves where the constellation is unknown, or where frames lie on whole samples as far as can
    be seen."""
    ofdm = replace(ofdm, frame_offset=frame_offset(y, soi, ofdm))
    none = torch.zeros(len(y), dtype=torch.float64)
    if not ofdm.decided:
        return y, soi, ofdm, none
    late, spread = _slope(y, soi, ofdm)
    whole = torch.where(spread < _SURE, torch.round(late), 0.0)
    if bool(whole.any()):
        ofdm = replace(ofdm, frame_offset=(ofdm.frame_offset + whole.long()) % ofdm.signal.frame_length)
    rest = late - whole
    delay = torch.where((spread < _SURE) & (rest.abs() > torch.maximum(4 * spread, torch.tensor(_ON_GRID))), rest, 0.0)
    return (y, soi, ofdm, none) if not bool(delay.any()) else (advanced(y, delay), soi.at(delay), ofdm, delay)


def _slope(y: Tensor, soi: Any, ofdm: Any) -> tuple[Tensor, Tensor]:
    """(by how many samples frames begin later than frame_offset, its standard deviation), float64 [batch]: from carriers of whole
    frames, lifted to the alphabet's symmetry, whose phases fall by 2π·k·delay/fft_size. What the SOI covers weighs less."""
    signal, symmetry = ofdm.signal, ofdm.signal.alphabet.symmetry
    plan = ofdm.plan(y.shape)
    frames = plan.cut(y * carrier(0.0, ofdm.carrier_offset, y).conj())
    whole = plan.inside.all(-1).to(y.device)
    body = torch.tensor(ofdm.matrix[signal.cyclic_prefix:], dtype=torch.complex64, device=y.device)
    z = (frames[..., signal.cyclic_prefix:] @ body.conj() / body.abs().square().sum(0)) * whole[..., None]
    z = z[..., :len(signal.data)].to(torch.complex128)
    reference = (signal.alphabet.points.to(torch.complex128) ** symmetry).mean()
    lifted = (z / z.abs().clamp_min(1e-12)) ** symmetry * reference.conj() * whole[..., None]
    total = lifted.sum(1)
    clear = (total.abs() / whole.sum(1, keepdim=True).clamp_min(1)).square()        # of a carrier in noise 1/frames
    k = torch.tensor(signal.data, dtype=torch.float64, device=y.device)
    reach = signal.fft_size / symmetry / 4
    late = torch.arange(-reach, reach, 1 / 16, dtype=torch.float64, device=y.device)
    turn = torch.exp(2j * torch.pi * symmetry / signal.fft_size * late[:, None] * k)
    table = ((clear * total) @ turn.mT.to(total)).abs()
    peak = table.argmax(1).clamp(1, table.shape[1] - 2)
    low, mid, high = (table.gather(1, (peak + d)[:, None])[:, 0] for d in (-1, 0, 1))
    fine = (low - high) / (2 * (low - 2 * mid + high)).clamp(max=-1e-12)
    scatter = (1 - clear.clamp(max=1)) / whole.sum(1, keepdim=True).clamp_min(1) / clear.clamp_min(1e-6)    # variance of an angle
    curvature = (2 * torch.pi * symmetry / signal.fft_size * k).square()
    spread = ((clear.square() * curvature * scatter).sum(1)).sqrt() / (clear * curvature).sum(1).clamp_min(1e-12)
    return (late[peak] + fine / 16).cpu(), spread.cpu()


def advanced(y: Tensor, delay: Tensor) -> Tensor:
    """y(n + delay), complex64 [batch, samples], delay float64 [batch]: the few samples at the ends see zeros beyond."""
    padded = torch.nn.functional.pad(y.to(torch.complex128), (_PAD, _PAD))
    turn = 2 * torch.pi * torch.fft.fftfreq(padded.shape[1], dtype=torch.float64, device=y.device) * delay.to(y.device)[:, None]
    moved = torch.fft.ifft(torch.fft.fft(padded) * torch.polar(torch.ones_like(turn), turn))
    return moved[:, _PAD:-_PAD].to(y.dtype)


def noise_level(y: Tensor, soi: LinearModulation, ofdm: Any) -> tuple[Tensor, Tensor] | None:
    """(noise per complex sample, its standard deviation), float32 [batch]: the power where neither source can be (prefix minus
    copy, null carriers, less the span of the SOI's pulses). What the model misses counts as noise too. None where both leave no
    such place."""
    plan = ofdm.plan(y.shape, soi)
    signal, skip = ofdm.signal, ofdm.delay_spread
    reached = [k for k, (low, high, *_) in enumerate(plan.classes) if high - max(low, skip) >= plan.length - skip]
    place = torch.full((len(plan.classes),), -1)
    place[reached] = torch.arange(len(reached))     # cut frames leave hardly anything
    place = place[plan.index]
    whole = place >= 0
    free = signal.frame_length - skip - signal.unknowns
    spans = [_reach(ofdm.matrix_key, plan.classes[k], plan.pulse_key, skip)[0].to(y.device) for k in reached]
    count = torch.tensor([free - span.shape[0] for span in spans] + [0])[place] * whole
    if not spans or bool((count.sum(1) < 8).any()):
        return None
    frames = plan.cut(y * carrier(0.0, ofdm.carrier_offset, y).conj())[whole.to(y.device)].to(torch.complex128)
    rest, _ = _beside(ofdm.matrix_key, skip, frames)
    left = rest.abs().square().sum(1)
    for k, span in enumerate(spans):
        rows = (place[whole] == k).to(y.device)
        left[rows] -= (rest[rows] @ span.mH).abs().square().sum(1)
    total = torch.zeros(count.shape, dtype=torch.float64, device=y.device)
    total[whole.to(y.device)] = left.clamp_min(0)
    level, error = scattered(total, count.to(y.device))
    error = torch.maximum(error, level / count.sum(1).to(y.device) ** 0.5)       # few frames do not scatter
    return level.float().clamp_min(1e-9), error.float().clamp_min(1e-9)


def _beside(matrix_key: Any, skip: int, frames: Tensor) -> tuple[Tensor, Tensor]:
    """(what of whole frames, complex128 [n, frame_length], less their first `skip` samples, no carrier can make; the unknowns
    that make the rest, [n, unknowns])."""
    signal, channel = matrix_key
    root, scale, _ = (part.to(frames.device) for part in _factor(matrix_key, skip))
    kept_part = frames * (torch.arange(signal.frame_length, device=frames.device) >= skip)
    seen = signal.matched(channel, kept_part) * scale
    carriers = torch.cholesky_solve(seen.mT, root).mT * scale
    made = signal.made(channel, carriers)
    made[:, :skip] = 0
    return kept_part - made, carriers


@kept
def _factor(matrix_key: Any, skip: int) -> list[Tensor]:
    """Of A less its first `skip` rows, with columns scaled to unit energy: (Cholesky factor of Aᴴ·A [n, n], the scale of each
    column [n], the largest eigenvalue of A·Aᴴ)."""
    signal, channel = matrix_key
    gram = torch.from_numpy(signal.gram(channel, (np.arange(signal.frame_length) >= skip).astype(float)))
    energy = gram.diagonal().real
    scale = energy.clamp_min(_RANK * energy.max()) ** -0.5
    along = torch.ones(len(gram), dtype=gram.dtype)
    for _ in range(_POWER):
        along = gram @ along
        along /= along.norm()
    scaled = gram * scale[:, None] * scale + _RANK ** 2 * torch.eye(len(gram))
    return [torch.linalg.cholesky(scaled), scale, (gram @ along).norm()]


@kept
def _reach(matrix_key: Any, cls: tuple[Any, ...], pulse_key: tuple[LinearModulation, int], skip: int) -> list[Tensor]:
    """An orthonormal basis, complex128 [k, frame_length], of what no carrier can make and the SOI's pulses can, in a class of
    whole frames. A small eigenvalue of A·Aᴴ + H·Hᴴ is one of H·(I + Hᴴ·(A·Aᴴ)⁺·H)⁻¹·Hᴴ beside the carriers."""
    period = matrix_key[0].frame_length
    pulses = torch.from_numpy(frame_pulses(pulse_key, cls[2:], period).T.copy())
    pulses[:, :skip] = 0
    rest, carriers = _beside(matrix_key, skip, pulses)
    shared = torch.eye(len(pulses), dtype=pulses.dtype) + carriers @ carriers.mH
    rest = torch.linalg.solve_triangular(torch.linalg.cholesky(shared), rest, upper=False)
    # by torch: scipy's decompositions can exhaust the stack of a thread that is not the main one
    values, vectors = torch.linalg.eigh(rest @ rest.mH)
    strongest = torch.maximum(_factor(matrix_key, skip)[2], torch.linalg.matrix_norm(pulses @ pulses.mH, 2))
    seen = values > _RANK * strongest
    return [(vectors[:, seen] * values[seen] ** -0.5).mH @ rest]


def phase_and_kappa(y: Tensor, soi: LinearModulation, ofdm: Any, noise_var: Any) -> Any:
    """(phase rad, kappa, its standard deviation), [batch] each, from the carriers of whole frames that the SOI does not reach."""
    signal = ofdm.signal
    plan = ofdm.plan(y.shape, soi)
    frames = plan.cut(y * carrier(ofdm.phase, ofdm.carrier_offset, y).conj())
    whole = (plan.inside.all(-1)).float().to(y.device)
    if bool((whole.sum(1) < 1).any()):
        raise ParameterError(f"kappa: a window of {y.shape[1]} samples holds no whole OFDM frame; {2 * plan.length} or more")
    clean = ofdm.clean_carriers(soi)

    def read(waves: np.ndarray) -> tuple[Tensor, Tensor]:
        body = waves[signal.cyclic_prefix:]
        estimator = torch.tensor((body / (abs(body) ** 2).sum(0)).conj(), dtype=torch.complex64, device=y.device)
        return (frames[..., signal.cyclic_prefix:] @ estimator) * whole[..., None], estimator

    z, estimator = read(ofdm.matrix[:, clean])
    power, error = _scattered(z.abs().square(), whole[..., None].expand(z.shape))
    leak = float(estimator.abs().square().sum(0).mean()) * torch.as_tensor(noise_var, device=y.device)
    level = (power - leak).clamp_min(0).sqrt()
    error = amplitude_std(level, error)
    data = z[..., clean < len(signal.data)]
    phase = _lifted(signal, data / power.sqrt()[:, None, None].clamp_min(1e-9))
    if signal.pilots:
        apart = replace(signal, pilot_values=()).through(ofdm.channel)[:, len(signal.data):]
        density = _density(soi, ofdm, power, noise_var)
        known = signal.alphabet.symmetry is not None and data.shape[2] > 0
        phase = by_pilots(signal, phase if known else None, read(apart)[0], density).float()
    turned = (phase + torch.as_tensor(ofdm.phase, device=y.device)).float()
    if not ofdm.decided:
        return turned if signal.pilots else phase, level, error
    rotated = z * torch.polar(torch.ones_like(phase), -phase)[:, None, None]
    level = level.clamp_min(3e-5)
    decided = subset(signal.unknown_alphabet, clean).nearest(rotated / level[:, None, None])
    fit, spread = _scattered((rotated * decided.conj()).real, decided.abs().square() * whole[..., None])
    trusted = (fit / level - 1).abs() < 0.05            # with many wrong decisions the fit is biased: keep the power
    return turned, torch.where(trusted, fit, level).clamp_min(0), torch.where(trusted, spread, error)


def _lifted(signal: Any, data: Tensor) -> Tensor:
    """The phase, float32 [batch], that estimates of data carriers, complex64 [batch, frames, n], of about unit power, show up to
    the symmetry of their alphabet; 0 where it has none."""
    symmetry = signal.alphabet.symmetry
    if symmetry is None:
        return torch.zeros(len(data), device=data.device)
    for _ in range(symmetry.bit_length() - 1):          # data ** symmetry, a power of two
        data = data * data
    reference = (signal.alphabet.points.to(torch.complex128) ** symmetry).mean()
    return (torch.angle(data.sum((1, 2)) * reference.conj()) / symmetry).float()


def _density(soi: LinearModulation, ofdm: Any, power: Tensor, noise_var: Any) -> Tensor:
    """The density of noise and SOI at the pilots, relative to that of the OFDM, of this power [batch]: [batch, pilots]."""
    signal = ofdm.signal
    over = ofdm.covered(soi).max(0)[np.isin(signal.carriers, signal.pilots)]
    gain = torch.as_tensor(1.0 if soi.gain is None else soi.gain, dtype=torch.float64, device=power.device).reshape(-1, 1)
    level = torch.as_tensor(noise_var, dtype=torch.float64, device=power.device).reshape(-1, 1)
    own = power.double()[:, None].clamp_min(1e-9) * signal.fft_size / len(signal.carriers)
    return (gain.square() * torch.from_numpy(over).to(power.device) + level) / own


def _scattered(values: Tensor, weights: Tensor) -> Any:
    """scattered, of terms [batch, frames, carriers]: the larger of what frames and what single carriers say. The SOI's
    leakage errs alike within a frame, and of few frames the scatter says little."""
    level, error = scattered(values.sum(2), weights.sum(2))
    return level, torch.maximum(error, scattered(values.flatten(1), weights.flatten(1))[1])
