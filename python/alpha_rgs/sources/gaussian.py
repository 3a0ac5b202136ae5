# SPDX-License-Identifier: GPL-3.0-or-later
"""A source known by its covariance alone: stationary, or periodic in time (cyclostationary).

All in closed form: under noise of covariance V the posterior mean is C·(C + V)⁻¹·x = x - V·(C + V)⁻¹·x. The covariance ends after
L lags, so C + V is a band matrix: a banded Cholesky factor (of a few megabytes, and kept) takes milliseconds to make and
to use.
"""
from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded
from scipy.sparse import csc_matrix
from torch import Tensor

from ..errors import ParameterError
from ..signals.carrier import column
from .base import Noise, Number, Source

if TYPE_CHECKING:
    from .linear_modulation import LinearModulation

_LEAST = 1e-8           # variance of white noise, at least: a covariance read from a file is exact to 1e-7 only
_BYTES = 256 << 20      # of factors that are kept


@dataclass(eq=False)
class Gaussian(Source):
    """A circular Gaussian source of zero mean and unit mean power with E[s(n + l)·conj(s(n))] = R((n - period_offset) mod P, l).

    table: R(m, l), complex128 [P, L], period P in samples (1: stationary), lags l = 0 ... L-1, zero beyond; R(m, -l) follows.
    period_offset: samples from the first sample to the first whole period, a whole number, or a tensor [batch]. None: `separate`
    finds it in the mixture; a denoiser that is asked without it averages over all offsets, which is the stationary prior.
    sample_rate: Hz, of the recordings behind it, or None. Raises ParameterError where the table cannot be a covariance.
    """

    table: np.ndarray = field(default_factory=lambda: np.ones((1, 1)), repr=False)
    period_offset: int | torch.Tensor | None = None
    sample_rate: float | None = None
    gain: float | torch.Tensor | None = None

    kind = "gaussian"
    fitted = True
    own_carrier = False
    state_names = {"gain": "gain", "delay": "period_offset"}
    estimable = synchronizes = ("period_offset",)       # without it the covariance is averaged over the period

    def __post_init__(self) -> None:
        self.table = np.array(self.table, dtype=np.complex128, ndmin=2)
        power = self.table[:, 0]
        if self.table.ndim != 2 or not np.isfinite(self.table).all():
            raise ParameterError(f"covariance: shape {self.table.shape} must be [period, lags], and all values finite")
        if abs(power.imag).max() > 1e-6 or power.real.min() < 0 or abs(power.real.mean() - 1) > 1e-3:
            raise ParameterError("covariance: lag 0 must hold powers, real and positive, that are 1 on average")
        if isinstance(self.period_offset, (int, float)) and not (
                self.period_offset == int(self.period_offset) and 0 <= self.period_offset < self.period):
            raise ParameterError(f"period_offset: {self.period_offset} must be a whole number between 0 and {self.period - 1}")
        self.key = hashlib.sha256(repr(self.table.shape).encode() + self.table.tobytes()).digest()

    @property
    def period(self) -> int:
        """P, samples; 1 for a stationary source."""
        return len(self.table)

    @property
    def frame_period(self) -> int:
        """See Source.frame_period."""
        return self.period

    @property
    def lags(self) -> int:
        """L: the covariance is zero from this lag on."""
        return self.table.shape[1]

    def stationary(self) -> Source:
        """The same source with its covariance averaged over the period."""
        return self if self.period == 1 else replace(self, table=self.table.mean(0, keepdims=True), period_offset=None)

    def in_file(self, fields: dict[str, Any]) -> dict[str, Any]:
        """See Source.in_file."""
        aligned = {key: value for key, value in fields.items() if key != "period_offset" or self.period > 1}
        return {"period": self.period, "lags": self.lags, **aligned}

    def arrays(self) -> dict[str, np.ndarray]:
        """See Source.arrays: real and imaginary parts of its covariance, float32 [..., 2]."""
        return {"covariance": np.stack([self.table.real, self.table.imag], -1).astype(np.float32)}

    def at(self, start: Number) -> Self:
        """See Source.at."""
        offset: Any = self.period_offset
        return self if offset is None else replace(self, period_offset=(offset - start) % self.period)

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: the table, averaged over the period."""
        lags, mean = np.asarray(lags), self.table.mean(0)
        value = np.where(abs(lags) < self.lags, mean[np.minimum(abs(lags), self.lags - 1)], 0)
        return np.where(lags < 0, value.conj(), value)

    def psd(self, nfft: int) -> np.ndarray:
        """See Source.psd; averaged over the period. Lags beyond nfft are folded."""
        lags = np.arange(self.lags)
        r = np.zeros(nfft, complex)
        np.add.at(r, lags % nfft, self.table.mean(0))
        np.add.at(r, -lags[1:] % nfft, self.table.mean(0)[1:].conj())
        density = np.fft.fft(r).real.clip(0)
        return density / density.mean()

    def covariance(self, samples: int, offset: int = 0) -> np.ndarray:
        """C of a window whose first whole period begins at sample `offset`: complex128 [samples, samples]."""
        band, out = self.band(samples, offset), np.zeros((samples, samples), complex)
        for lag in range(min(self.lags, samples)):
            n = np.arange(samples - lag)
            out[n + lag, n], out[n, n + lag] = band[lag, :samples - lag], band[lag, :samples - lag].conj()
        return out

    def band(self, samples: int, offset: int = 0) -> np.ndarray:
        """The lower diagonals of `covariance`, [l, n] that of n + l and n: complex128 [L, samples]."""
        return self.table[(np.arange(samples) - offset) % self.period].T

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: the linear estimate, which is exact.

        On another device than the processor the samples travel to it and back.
        """
        noise_var, colour, floor = self.asked(noise)
        if self.period > 1 and self.period_offset is None:
            return self.stationary().denoise(x, noise)
        batch, samples = x.shape
        offset = np.broadcast_to(np.asarray(0 if self.period == 1 else self.period_offset, dtype=np.int64), batch)
        timing = np.zeros(batch)
        if colour is not None:
            if colour.timing is None:
                raise ParameterError("gaussian: smoothing in the colour of a signal needs that signal's timing")
            timing = np.broadcast_to(column(colour.timing, torch.empty(0))[:, 0].cpu().numpy(), batch)
            if colour.symbols is None:
                timing = timing % colour.signal.samples_per_symbol
        data = x.detach().cpu().numpy().astype(np.complex128)
        out = np.empty_like(data)
        classes, index = np.unique(np.stack([offset, np.round(timing, 4)], 1), axis=0, return_inverse=True)
        for number, (start, centre) in enumerate(classes):
            rows = index.reshape(-1) == number
            levels = (float(noise_var), 0.0) if colour is None else (float(floor), float(noise_var))
            pulses = None if colour is None else (colour.signal, float(centre), samples, colour.symbols,
                                                  float(torch.as_tensor(colour.carrier_offset).reshape(-1)[0]))
            out[rows] = self._class(data[rows].T, int(start), levels, pulses).T
        return torch.as_tensor(out, dtype=x.dtype).to(x.device)

    def _class(self, x: np.ndarray, offset: int, noise: Any,
               pulses: tuple[LinearModulation, float, int, int | None, float] | None) -> np.ndarray:
        """x - V·(C + V)⁻¹·x, x complex128 [samples, n], V = noise[0]·I + noise[1]·H·Hᴴ, `pulses`: what _pulses makes H of."""
        white, coloured = max(noise[0], _LEAST), noise[1]
        h = None if pulses is None else _pulses(*pulses)

        def make() -> np.ndarray:
            band = self.band(len(x), offset)
            if h is not None:
                product = (h @ h.conj().T).tocoo()
                reach = int((product.row - product.col).max()) + 1
                product = product.tocsc()
                band = np.pad(band, ((0, max(reach - len(band), 0)), (0, 0)))
                for lag in range(min(reach, len(x))):
                    band[lag, :len(x) - lag] += coloured * product.diagonal(-lag)
            band = band[:len(x)].copy()
            band[0] += white
            try:
                return cholesky_banded(band, lower=True, overwrite_ab=True, check_finite=False)
            except LinAlgError:
                raise ParameterError("covariance: the table is not positive definite; fit it again") from None

        z = cho_solve_banded((_kept((self.key, len(x), offset, white, coloured, pulses), make), True), x, check_finite=False)
        return x - white * z if h is None else x - white * z - coloured * (h @ (h.conj().T @ z))


def period_offset(x: np.ndarray, prior: Any, density: np.ndarray) -> Any:
    """Where the first whole period begins, int64 [batch]: x complex [batch, samples], its density [batch or 1, samples]."""
    samples, period = x.shape[1], prior.period
    z = np.fft.ifft(np.fft.fft(x) / np.maximum(density, 1e-3 * density.max(1, keepdims=True)))
    wanted = np.fft.fft(prior.table - prior.table.mean(0), axis=0)
    metric = np.zeros((len(x), period), complex)
    whole = -(-samples // period) * period
    for lag in range(min(prior.lags, samples)):
        product = z[:, lag:] * z[:, :samples - lag].conj()
        folded = np.pad(product, ((0, 0), (0, whole - product.shape[1]))).reshape(len(x), -1, period).sum(1)
        metric += (1 if lag == 0 else 2) * np.fft.fft(folded, axis=1) * wanted[:, lag].conj()
    return np.fft.ifft(metric, axis=1).real.argmax(1)


@lru_cache(maxsize=64)
def _pulses(signal: Any, timing: float, samples: int, symbols: int | None, carrier_offset: float) -> Any:
    """H, sparse complex [samples, symbols], of all symbols that reach into a window, of a burst or without end (symbols None)."""
    sps, half = signal.samples_per_symbol, signal.half_length
    first, last = int(np.ceil((-half - timing) / sps - 1e-9)), int(np.floor((samples - 1 + half - timing) / sps + 1e-9))
    if symbols is not None:
        first, last = max(first, 0), min(last, symbols - 1)
    n = np.arange(samples)
    pulses = signal.pulse_at(n[:, None] - timing - sps * np.arange(first, last + 1))
    return csc_matrix(pulses * np.exp(2j * np.pi * carrier_offset * n)[:, None])


_factors: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
_lock = threading.Lock()


def _kept(key: tuple[Any, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
    """make(), an array, once for each key as long as there is room; the one used longest ago goes first."""
    with _lock:
        value = _factors.get(key)
        if value is not None:
            _factors.move_to_end(key)
            return value
    value = make()
    with _lock:
        _factors[key] = value
        while len(_factors) > 1 and sum(v.nbytes for v in _factors.values()) > _BYTES:
            _factors.popitem(last=False)
    return value
