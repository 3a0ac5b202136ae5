# SPDX-License-Identifier: GPL-3.0-or-later
"""A network wrapped once into a denoiser: E[s | s + noise], for any level, in white or coloured noise.

`Denoiser` generalises the scalings of Karras et al. (2022, EDM) from a variance to spectra: S(f) the source's mean power
density (mean 1), N(f) the noise's. The network sees x through 1/√(N + ε·S), which whitens the noise and spares the network what
is drowned; the linear estimate S/(S + N)·x is what its answer adds to. (A plain one, for one pass in one colour, learns the
filters too.)
`Scheduled` adapts a network that was trained to predict the noise on the paper's schedule (DiffWave).
"""
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn

from ..errors import CapabilityError
from .alignment import locate, on_grid, slip_correction
from .fast import window

BANDS = 32                  # in which the network is given the noise's density
_SPARED = 0.05              # ε
_SURE = 5.3                 # log of 1/(2·variance), 0.05 samples and 0.05 rad
_RANGE = (1e-5, 1e4)        # of densities: beyond, the network is given the nearer end
BETA: npt.NDArray[np.float64] = np.linspace(1e-4, 0.05, 50)
ALPHA_BAR: npt.NDArray[np.float64] = np.cumprod(1 - BETA)
CONDITIONS = BANDS + 6      # band densities, signal-to-noise ratio and its square, fraction of a sample (4)


class Named(nn.Module):
    """What all denoisers share.

    digest: of the weights, where they come from a file: two that print alike are alike. table: what `build` made it from.
    coloured: takes noise of any density. finds: estimates timing and phase itself. plain: without filters beside the network.
    cyclic: takes a cyclostationary covariance of the noise (ofdm.py). supervised: separates mixtures by itself. stride: the grid
    to which the source is aligned, samples. net: the network. spectrum: of the source, float32 [bins], mean 1.
    """

    digest: str = ""
    table: dict[str, Any] | None = None
    coloured, finds, plain, cyclic, supervised = True, False, False, False, False
    stride: int = 1
    net: Any
    spectrum: Tensor

    def weight(self, density: Tensor) -> float | Tensor:
        """How much errors count in training, by the noise's density [batch, 1 or samples]: a number, or a tensor like it."""
        return 1.0

    def __repr__(self) -> str:
        return f"{type(self.net).__name__}({self.digest or id(self)})"


class Denoiser(Named):
    """net: a Fast, or a DiffWave with conditions. spectrum: S, float32 [bins], frequencies k/bins in FFT order, mean 1."""

    def __init__(self, net: Any, spectrum: Tensor) -> None:
        super().__init__()
        self.net, self.stride = net, net.stride
        self.register_buffer("spectrum", torch.as_tensor(spectrum, dtype=torch.float32))

    def forward(self, x: Tensor, density: Tensor, fraction: Tensor | None = None, presence: Tensor | None = None) -> Tensor:
        """x complex64 [batch, samples]; density: N(f), float32 [1 or batch, 1 or bins], frequencies in FFT order; fraction: of a
        sample, how much later than the grid the source lies [batch]; presence: float32 [batch or 1, samples], 1 observed, 0 not
        seen, -1 nothing of the source there; default: all observed. Returns E[s | x], complex64 [batch, samples]."""
        batch, samples = x.shape
        presence = torch.ones(1, samples, device=x.device) if presence is None else presence
        padded, lead = window(x, self.net.stride, self.net.kernel)
        there = window(presence, self.net.stride, self.net.kernel)[0].expand(batch, -1)
        if self.plain:
            bins = len(self.spectrum)
            s, n = self.spectrum[None], resampled(density, bins).clamp(*_RANGE)
            u = padded * (s + n).mean(1, keepdim=True).rsqrt()
            return self.net(u, there, self.conditions(s, n, fraction, batch))[0][:, lead:lead + samples]
        long, size = padded.shape[1], next_fast_len(padded.shape[1])
        s, n = resampled(self.spectrum[None], size), resampled(density, size).clamp(*_RANGE)
        spectrum = torch.fft.fft(padded, size)
        weight = 1 / (n + _SPARED * s)
        scale = (weight / ((s + n) * weight).mean(1, keepdim=True)).sqrt()
        u, linear = torch.fft.ifft(spectrum * scale)[:, :long], torch.fft.ifft(spectrum * (s / (s + n)))[:, :long]
        wave, share = self.net(u, there, self.conditions(s, n, fraction, batch))
        return (share * linear + wave)[:, lead:lead + samples]

    def conditions(self, s: Tensor, n: Tensor, fraction: Tensor | None, batch: int) -> Tensor:
        """Noise and alignment as the network takes them: float32 [batch, CONDITIONS]."""
        bands = torch.log10(n)
        if n.shape[1] == 1:
            bands = bands.expand(-1, BANDS)
        elif n.shape[1] % BANDS == 0:
            bands = bands.unflatten(1, (BANDS, -1)).mean(2)
        else:
            edges, last = torch.linspace(0, n.shape[1], BANDS + 1).round().long().tolist(), n.shape[1] - 1
            bands = torch.stack([bands[:, min(a, last):max(a + 1, b)].mean(1) for a, b in zip(edges, edges[1:])], 1)
        ratio = torch.log10((s / n).mean(1, keepdim=True))
        fraction = torch.zeros(batch, device=s.device) if fraction is None else fraction.to(s).expand(batch)
        angle = 2 * torch.pi * fraction[:, None]
        levels = torch.cat([bands / 2, ratio, (ratio / 2).square() - 0.5], 1).expand(batch, -1)
        return torch.cat([levels, fraction[:, None] * 2, 4 * fraction[:, None].square() - 1 / 3, angle.sin(), angle.cos()], 1)


class Finder(Denoiser):
    """A Denoiser that estimates timing and phase of an improper source in each window.

    It does so by the source's complementary covariance (alignment.py), pseudo, float32 [stride, lags, 2], real and imaginary
    parts. The phase is known up to half a turn, so the source must be the same turned by it. presence and fraction are not asked
    for.

    Squares see patterns of symbols as noise, so what the network answers is then aligned with the window's samples
    (alignment.slip_correction): its symbols are right long before it could see half a degree itself.
    """

    finds = True
    pseudo: Tensor

    def __init__(self, net: Any, spectrum: Tensor, lags: int) -> None:
        super().__init__(net, spectrum)
        self.register_buffer("pseudo", torch.zeros(net.stride, lags, 2))
        self.trust = nn.Linear(CONDITIONS, 2)           # logarithms of the ridge of slip_correction
        nn.init.zeros_(self.trust.weight)
        nn.init.constant_(self.trust.bias, _SURE)

    def forward(self, x: Tensor, density: Tensor, fraction: Tensor | None = None, presence: Tensor | None = None) -> Tensor:
        size = next_fast_len(x.shape[1])
        s, n = resampled(self.spectrum[None], size), resampled(density, size).clamp(*_RANGE)
        ridge = torch.exp(self.trust(self.conditions(s, n, None, len(x))))
        with torch.no_grad():
            z = torch.fft.ifft(torch.fft.fft(x, size) / (s + n + _SPARED))[:, :x.shape[1]]
            timing, phase = locate(z, torch.view_as_complex(self.pseudo))
        later = timing.round()
        turn = torch.polar(torch.ones_like(phase), phase)[:, None]

        def network(y: Tensor, there: Tensor) -> Tensor:
            return super(Finder, self).forward(y, density, timing - later, there)

        mean = turn * on_grid(network, self.stride, x * turn.conj(), later)
        return mean + slip_correction(x, mean, 1 / n, ridge)


class Scheduled(Named):
    """net: predicts the noise in √ᾱ_t·s + √(1-ᾱ_t)·n, n of unit variance per real component, as published (DiffWave). White
    noise alone. For x = s + √v·n per complex sample the step is that with 2·(1-ᾱ)/ᾱ = v, between the trained ones by the
    logarithm of v; beyond them the nearest."""

    coloured, finds = False, False

    def __init__(self, net: Any, spectrum: Tensor | None = None, stride: int = 1) -> None:
        super().__init__()
        self.net, self.stride = net, stride
        self.register_buffer("spectrum", torch.ones(1) if spectrum is None else torch.as_tensor(spectrum, dtype=torch.float32))

    def forward(self, x: Tensor, density: Tensor, fraction: Tensor | None = None, presence: Tensor | None = None) -> Tensor:
        if density.shape[1] != 1:
            raise CapabilityError("diffwave: this network knows white noise only; one of kind fast takes coloured noise")
        variance = np.log(2 * (1 - ALPHA_BAR) / ALPHA_BAR)
        level = density[:, 0].double().log().cpu().numpy()
        t = torch.as_tensor(np.interp(level, variance, np.arange(50)), dtype=torch.float32, device=x.device).expand(len(x))
        # the paper's level for it, and x brought to the amplitude that this level has
        v = torch.as_tensor(np.exp(np.interp(level, variance, variance)), dtype=torch.float32, device=x.device)[:, None]
        alpha = 1 / (1 + v / 2)
        y = x * alpha.sqrt()
        return x - self.net(y, None, t)[0] * (v / 2).sqrt()


def resampled(density: Tensor, size: int) -> Tensor:
    """A periodic density [rows, bins] at `size` frequencies, by linear interpolation; a single bin (white) stays one."""
    bins = density.shape[1]
    if bins == 1 or bins == size:
        return density
    at = torch.arange(size, device=density.device) * (bins / size)
    low = at.floor().long()
    return torch.lerp(density[:, low % bins], density[:, (low + 1) % bins], (at - low).to(density))
