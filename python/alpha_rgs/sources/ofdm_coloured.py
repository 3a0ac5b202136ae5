# SPDX-License-Identifier: GPL-3.0-or-later
"""E[b | b + √v·H·n + w] for OFDM: a frame's carriers under noise in the span of another source's pulses.

Carriers far from that source's spectrum are *clean*: linear estimate, made unbiased, posterior mean. The others overlap with
it and share errors; an estimate of each alone decides too soon. With the clean ones taken out, the few near ones are decided
together: J + I = RᴴR their precision and the alphabet's power, |z - R·c|² their energy, and the mean over the best decisions
of a tree search (the M-algorithm) stands for that over all. In a frame that the window cuts no carrier is clean: all are
decided together, where it matters (`edges`).
"""
from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..signals.framing import frame_pulses
from ..signals.mixed import parts_of, points_each, subset
from ..signals.ofdm import ofdm_matrix
from ..signals.tree_search import list_mean

if TYPE_CHECKING:
    from ..signals.constellations import Constellation, Gaussian
    from ..signals.framing import FramePlan
    from .linear_modulation import LinearModulation

_WIDTH, _WIDTH_IN_NOISE, _NOISE = 8, 32, 1e-3      # decisions kept; the second where the floor, b having unit power, is higher
_WIDTH_CUT, _ENOUGH = 64, 0.125     # in cut frames of which at least this share is seen; without it errors there are tenfold


def coloured_means(frames: Tensor, plan: FramePlan, prior: Any, noise_var: Any, floor: Any, clean: np.ndarray,
                   edges: bool) -> Tensor:
    """Posterior means of all unknowns, complex64 [batch, frames, unknowns], from frames [batch, frames, frame_length].

    noise_var: v of the colour's symbols; floor: variance of white w; clean: indices of the clean unknowns; edges: whether cut
    frames are worth a search of their own (in overlapping windows of a stream they are not)."""
    alphabet, count = prior.signal.unknown_alphabet, prior.signal.unknowns
    given = (prior.matrix_key, float(noise_var), plan.pulse_key, floor)
    out = _means(frames, plan, prior, given, clean, _WIDTH if floor < _NOISE else _WIDTH_IN_NOISE)
    length = [high - low for low, high, *_ in plan.classes]
    cut = [i for i, n in enumerate(length) if _ENOUGH * plan.length <= n < plan.length]
    if not edges or not cut or not prior.decided:
        return out
    every = tuple(range(count))
    factors, reduced = plan.kept(("cut", *given[1:]), lambda: [torch.stack(part).to(frames.device) for part in zip(*(
        _tables(plan.classes[i], *given, every, ())[2:] for i in cut))])
    place = torch.full((len(plan.classes),), -1)
    place[cut] = torch.arange(len(cut))
    place = place[plan.index].to(frames.device)
    rows = place >= 0
    z = (factors[place[rows]] @ frames[rows][..., None])[..., 0]
    out[rows] = list_mean(z, reduced[place[rows]], _points(alphabet, count, frames.device), _WIDTH_CUT)
    return out


def _means(frames: Tensor, plan: FramePlan, prior: Any, given: tuple[Any, ...], clean: np.ndarray, width: int) -> Tensor:
    device, count = frames.device, prior.signal.unknowns
    near = np.setdiff1d(np.arange(count), clean)
    alphabet, key = prior.signal.unknown_alphabet, (*given, tuple(near), tuple(clean))
    tables = plan.kept(key[1:], lambda: [[t.to(device) for t in _tables(c, *key)] for c in plan.classes])
    index = plan.index.to(device)
    out = torch.zeros(*frames.shape[:2], count, dtype=torch.complex64, device=device)
    z = plan.grouped(frames, [t[0] for t in tables])
    out[..., clean] = subset(alphabet, clean).mean(z, torch.stack([t[1] for t in tables])[index])
    if len(near):
        matrix = torch.tensor(prior.matrix[:, clean], dtype=torch.complex64, device=device)
        rest = plan.grouped(frames - out[..., clean] @ matrix.T, [t[2] for t in tables])
        factor = torch.stack([t[3] for t in tables])[index]
        open_ones = subset(alphabet, near)
        if open_ones.symmetry is None:      # Gaussian carriers: the linear estimate is the posterior mean
            mean = torch.linalg.solve_triangular(factor, rest[..., None], upper=True)[..., 0]
        else:
            mean = list_mean(rest.flatten(0, 1), factor.flatten(0, 1), _points(open_ones, len(near), device), width)
            mean = mean.unflatten(0, frames.shape[:2])
        out[..., near] = mean
    return out


def _points(alphabet: Any, count: int, device: torch.device) -> list[Tensor | None]:
    return [None if own is None else own.to(device) for own in points_each(alphabet, count)]


@lru_cache(maxsize=20000)
def _tables(cls: tuple[Any, ...], matrix_key: Any, noise_var: float,
            pulse_key: tuple[LinearModulation, int], floor: float, near: Any,
            clean: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For one class of frames: (F, var): clean + error of variance var = F·x; (T, R): z = T·(x - clean ones), energy |z - R·c|².

    F complex64 [clean, P], var float32 [clean], T complex64 [near, P], R complex64 [near, near] upper triangular.
    """
    low, high, *pattern = cls
    near, clean, period = list(near), list(clean), matrix_key[0].frame_length
    a = ofdm_matrix(matrix_key)[low:high]
    pulses = frame_pulses(pulse_key, pattern, period)[low:high]
    noise = np.eye(high - low) * floor + noise_var * pulses @ pulses.conj().T
    f = np.linalg.solve(noise + a @ a.conj().T, a[:, clean]).conj().T
    gain = np.clip(np.einsum("kn,nk->k", f, a[:, clean]).real, 1e-6, 1 - 1e-6)
    var = 1 / gain - 1
    left = np.empty_like(var)
    for own, places in parts_of(subset(matrix_key[0].unknown_alphabet, clean), len(clean)):
        left[places] = left_open(own, var[places])
    t = np.linalg.solve(noise + (a[:, clean] * left) @ a[:, clean].conj().T, a[:, near]).conj().T
    r = np.linalg.cholesky(t @ a[:, near] + np.eye(len(near))).conj().T
    t = np.linalg.solve(r.conj().T, t)

    def full(part: np.ndarray, width: int) -> Any:
        out = np.zeros((width, period), complex)
        out[:, low:high] = part
        return torch.tensor(out, dtype=torch.complex64)

    return full(f / gain[:, None], len(clean)), torch.tensor(var, dtype=torch.float32), full(t, len(near)), torch.tensor(
        r, dtype=torch.complex64)


def left_open(alphabet: Constellation | Gaussian, var: np.ndarray) -> np.ndarray:
    """E Var[c | c + √var·n] over the alphabet: float64 like var."""
    grid, left = _left_open_table(alphabet)
    return np.interp(np.log10(np.maximum(var, 1e-12)), grid, left)


@lru_cache
def _left_open_table(alphabet: Any) -> tuple[np.ndarray, np.ndarray]:
    """left_open at powers of ten from -4 to 4, by quadrature."""
    grid = np.linspace(-4, 4, 161)
    var = torch.tensor(10 ** grid)
    node, weight = np.polynomial.hermite.hermgauss(40)
    n = torch.tensor(node[:, None] + 1j * node, dtype=torch.complex128).flatten()       # E over CN(0, 1)
    weight = torch.tensor(np.outer(weight, weight).flatten() / np.pi)
    points = torch.zeros(1, dtype=torch.complex128) if alphabet.symmetry is None else alphabet.points.to(torch.complex128)
    x = points[:, None, None] + var.sqrt()[:, None] * n
    return grid, (alphabet.posterior(x, var[:, None])[1] * weight).sum(-1).mean(0).numpy()
