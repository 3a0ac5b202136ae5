# SPDX-License-Identifier: GPL-3.0-or-later
"""Aligning a window to a network's grid: timing and phase of the source are known or estimated from the window itself.

A source whose squares do not average out (BPSK, DSSS, GMSK) has a complementary covariance K(m, l) = E[s(n + l)·s(n)], m = n
modulo a period P: it gives timing and phase (up to half a turn), symbols unknown. With z = x whitened by 1/(S + N),
    M(t) = Σ_l Σ_m conj(K(m, l))·Z(m + t, l),    Z(m, l) = Σ_{n ≡ m} z(n + l)·z(n),    timing = argmax |M|, phase = arg(M)/2,
the derivative of the likelihood at a weak source (Gardner, 1988, for the proper kind); fractions of a sample by Fourier series.
"""
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_FINE = 16          # grid points per sample


def pseudo_covariance(x: Any, period: int, lags: int) -> Tensor:
    """K of a long waveform, complex [samples], of constant timing and phase: complex64 [period, lags]."""
    x = torch.as_tensor(x).to(torch.complex128).reshape(1, -1)
    count = torch.as_tensor([[len(range(m, x.shape[1] - lag, period)) for lag in range(lags)] for m in range(period)])
    return (_folded(x, period, lags)[0] / count.clamp_min(1)).to(torch.complex64)


def improper(table: Tensor, samples: int) -> float:
    """By how much the energy of K, complex64 [period, lags], exceeds what chance would give over so many samples of unit power:
    a ratio of powers."""
    return float(table.abs().square().mean() * samples / len(table))


def locate(z: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Timing float32 [batch], 0 … P, and phase float32 [batch] of whitened windows z, complex64 [batch, samples]."""
    period, lags = table.shape
    folded = torch.fft.fft(_folded(z, period, lags), dim=1)
    weight = torch.full((lags,), 2.0, device=z.device)
    weight[0] = 1.0
    lines = (folded * torch.fft.fft(table, dim=0).conj() * weight).sum(2)              # [batch, P]
    k = torch.arange(period, device=z.device)
    k = torch.where(k > (period - 1) // 2, k - period, k)
    even = period % 2 == 0
    if even:                                        # the line in the middle belongs to both sides
        lines = torch.cat([lines, lines[:, period // 2:period // 2 + 1]], 1)
        k = torch.cat([k, torch.tensor([period // 2], device=z.device)])
        lines[:, [period // 2, -1]] = lines[:, [period // 2, -1]] / 2
    size = _FINE * period
    spread = torch.zeros(len(z), size, dtype=lines.dtype, device=z.device).index_add_(1, k % size, lines)
    metric = torch.fft.ifft(spread).abs()
    best = metric.argmax(1)
    low, top, high = (metric.gather(1, ((best + d) % size)[:, None])[:, 0] for d in (-1, 0, 1))
    step = (0.5 * (low - high) / (low - 2 * top + high).clamp_max(-1e-20)).clamp(-0.5, 0.5).nan_to_num(0.0)
    timing = (best + step) / _FINE
    value = (lines * torch.polar(torch.ones_like(timing)[:, None], 2 * torch.pi * k * timing[:, None] / period)).sum(1)
    return timing.float(), (torch.angle(value) / 2).float()


def slip_correction(x: Tensor, w: Tensor, weight: Tensor, ridge: Tensor) -> Tensor:
    """What aligns w, an estimate of x's source, with x in time and phase when added to it, complex64 [batch, samples]: x - w
    projected on jw and w' by least squares, so for slips of less than half a sample and half a radian.

    weight: reciprocal of the noise's density, [1 or batch, 1 or bins]; ridge: of samples and radians, reciprocals of twice the
    variance that is expected of them, [1 or batch, 2].
    """
    if w.shape[1] < 5:              # there is no derivative to speak of
        return torch.zeros_like(w)
    early = torch.nn.functional.pad((8 * (w[:, 3:-1] - w[:, 1:-3]) - w[:, 4:] + w[:, :-4]) / 12, (2, 2))
    tangents = torch.stack([-early, 1j * w, x - w], 1)
    if weight.shape[1] == 1:
        seen = tangents * weight[:, None]
    else:
        size = weight.shape[1]
        seen = torch.fft.ifft(torch.fft.fft(tangents, size) * weight[:, None])[..., :x.shape[1]]
    moments = (tangents[:, :2].conj() @ seen.mT).real           # [batch, 2, 3]
    (a, b, d), (_, c, e) = moments[:, 0].unbind(1), moments[:, 1].unbind(1)
    a, c = a + ridge[:, 0], c + ridge[:, 1]
    by = (a * c - b * b).clamp_min(1e-12)
    late, ahead = (c * d - b * e) / by, (a * e - b * d) / by
    return late.clamp(-1, 1)[:, None] * tangents[:, 0] + ahead.clamp(-1, 1)[:, None] * tangents[:, 1]


def _folded(z: Tensor, period: int, lags: int) -> Tensor:
    """Z(m, l): complex [batch, period, lags]."""
    samples = z.shape[1]
    whole, out = -(-samples // period) * period, []
    for lag in range(lags):
        product = z[:, lag:] * z[:, :max(samples - lag, 0)]         # none where the window is shorter than the lag
        out.append(torch.nn.functional.pad(product, (0, whole - product.shape[1])).unflatten(1, (-1, period)).sum(1))
    return torch.stack(out, 2)


def on_grid(network: Callable[[Tensor, Tensor], Tensor], stride: int, x: Tensor, later: Tensor, room: int = 0,
            absent: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """network(x', presence) for windows whose source lies `later` samples (whole, [batch] or [1]) behind its grid of `stride`:
    so many unseen samples are put before x, complex64 [batch, samples], that it is aligned. Returns complex64 like x.

    room: samples that are added at both ends besides; absent: of sample numbers [batch, n], whether there is nothing of the
    source, bool likewise.
    """
    samples = x.shape[1]
    lead = (room + (-later.long().cpu()) % stride).expand(len(x)).tolist()
    most = max(lead)
    size = -(-(samples + most) // stride) * stride + room
    begin = [most - i for i in lead]
    padded = torch.nn.functional.pad(x, (most, size - samples))
    presence = torch.nn.functional.pad(torch.ones(1, samples, device=x.device), (most, size - samples))
    padded, presence = _cut(padded, begin, size), _cut(presence.expand(len(x), -1), begin, size)
    if absent is not None:
        gone = absent(torch.arange(size) - torch.tensor(lead)[:, None]).to(x.device)
        padded, presence = padded * ~gone, torch.where(gone, -1.0, presence)
    out = network(padded, presence)
    return _cut(out if absent is None else out * ~gone, lead, samples)


def _cut(x: Tensor, begin: list[int], size: int) -> Tensor:
    """Of each row [batch, samples] the `size` samples from its own `begin` on."""
    return torch.stack([row[i:i + size] for row, i in zip(x.unbind(), begin)])
