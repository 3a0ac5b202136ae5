# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRa: chirp spread spectrum, each symbol a cyclic shift of one up-chirp.

With N = 2**spreading_factor chips of R samples, M = N·R samples to a symbol and the up-chirp
    c(t) = exp(j·pi/R·(t²/M - t)),   0 <= t < M,   from -1/(2R) to 1/(2R) cycles per sample,
symbol m is s(t) = c((t + m·R) mod M)/c(m·R). c ends where it began (phase 0), so a shift is continuous, and a symbol begins
and ends at the phase of its neighbours. (Vangelista, Frequency shift chirp modulation: the LoRa modulation, IEEE SPL 2017.)
"""
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ParameterError


@dataclass(frozen=True)
class Lora:
    """Chirps of unit modulus.

    spreading_factor: bits per symbol, 6 to 12. samples_per_chip: sample rate over bandwidth, a whole number, 1 to 64 (a bandwidth
    of 125 kHz at 1 MS/s: 8); with 1 the chirp fills the band.
    """

    spreading_factor: int = 7
    samples_per_chip: int = 2

    def __post_init__(self) -> None:
        for key, low, high in (("spreading_factor", 6, 12), ("samples_per_chip", 1, 64)):
            value = getattr(self, key)
            if isinstance(value, bool) or value != int(value) or not low <= value <= high:
                remedy = "; resample the recording to a multiple of the bandwidth first" if key == "samples_per_chip" else ""
                raise ParameterError(f"{key}: {value} must be a whole number, {low} to {high}{remedy}")
            object.__setattr__(self, key, int(value))

    @property
    def chips(self) -> int:
        """N: chips to a symbol, and how many symbols there are."""
        return 2 ** self.spreading_factor

    @property
    def symbol_length(self) -> int:
        """M, samples."""
        return self.chips * self.samples_per_chip

    def chirp(self, lead: float | Tensor = 0.0) -> Tensor:
        """c(lead + n), n = 0 ... M-1, complex128 [..., M]: lead, 0 <= lead < 1, any shape [...]."""
        t = torch.as_tensor(lead, dtype=torch.float64)[..., None] + torch.arange(self.symbol_length)
        angle = torch.pi / self.samples_per_chip * (t * t / self.symbol_length - t)
        return torch.polar(torch.ones_like(angle), angle)

    def starts(self) -> Tensor:
        """conj(c(m·R)) of all symbols: complex128 [N]."""
        m = torch.arange(self.chips, dtype=torch.float64)
        angle = -torch.pi * (m * m / self.chips - m)
        return torch.polar(torch.ones_like(angle), angle)

    def modulate(self, symbols: Tensor, samples: int, timing: float | Tensor) -> Tensor:
        """symbols 0 ... N-1, integers [batch, n] -> complex64 [batch, samples] of unit modulus; symbol 0 begins at sample
        `timing`, any real number or one per window, [batch]. Zero before symbol 0 and after the last."""
        symbols = torch.as_tensor(symbols).long()
        timing = torch.as_tensor(timing, dtype=torch.float64).reshape(-1, 1)
        t = torch.arange(samples) - timing
        number = torch.floor(t / self.symbol_length).long().expand(len(symbols), samples)
        inside = (number >= 0) & (number < symbols.shape[1])
        m = symbols.gather(1, number.clamp(0, symbols.shape[1] - 1))
        u = (t - number * self.symbol_length + m * self.samples_per_chip) % self.symbol_length
        angle = torch.pi / self.samples_per_chip * (u * u / self.symbol_length - u)
        return (torch.polar(torch.ones_like(angle), angle) * self.starts()[m] * inside).to(torch.complex64)
