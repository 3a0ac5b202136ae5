# SPDX-License-Identifier: GPL-3.0-or-later
"""OFDM with a cyclic prefix: per frame, samples = A c with A = [prefix; body] of an inverse Fourier transform."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..errors import ParameterError
from .constellations import constellation


@dataclass(frozen=True)
class Ofdm:
    """OFDM of unit mean power, all active carriers alike.

    fft_size, cyclic_prefix: samples. guards: (lower, upper) unused carriers at the edges of the band.
    dc_null: whether carrier 0 is unused. constellation: of the carriers, or "gaussian" if unknown.
    """

    fft_size: int = 64
    cyclic_prefix: int = 16
    guards: tuple = (4, 3)
    dc_null: bool = True
    constellation: str = "qpsk"

    def __post_init__(self):
        object.__setattr__(self, "guards", tuple(int(g) for g in self.guards))
        if self.fft_size < 2:
            raise ParameterError(f"fft_size: {self.fft_size} must be 2 or more")
        if not 0 <= self.cyclic_prefix <= self.fft_size:
            raise ParameterError(f"cyclic_prefix: {self.cyclic_prefix} must lie between 0 and fft_size ({self.fft_size})")
        if len(self.guards) != 2 or min(self.guards) < 0:
            raise ParameterError(f"guards: {list(self.guards)} must be two counts of carriers, [lower, upper]")
        constellation(self.constellation)
        if len(self.carriers) == 0:
            raise ParameterError("guards: they leave no active carrier")

    @property
    def alphabet(self):
        """The Constellation of the carriers (or the Gaussian)."""
        return constellation(self.constellation)

    @property
    def frame_length(self):
        """Prefix and body, samples."""
        return self.fft_size + self.cyclic_prefix

    @cached_property
    def carriers(self):
        """Active carriers as signed indices, ascending: int [n]."""
        k = np.arange(-(self.fft_size // 2), self.fft_size - self.fft_size // 2)
        k = k[self.guards[0]:len(k) - self.guards[1]]
        return k[k != 0] if self.dc_null else k

    @cached_property
    def matrix(self):
        """A, complex128 [frame_length, carriers]: unit-power symbols to a unit-power frame."""
        n = np.arange(-self.cyclic_prefix, self.fft_size)
        return np.exp(2j * np.pi * np.outer(n, self.carriers) / self.fft_size) / np.sqrt(len(self.carriers))

    def modulate(self, symbols):
        """symbols complex [batch, frames, carriers] -> complex64 [batch, frames*frame_length]."""
        a = torch.tensor(self.matrix, dtype=torch.complex64)
        return (torch.as_tensor(symbols).to(torch.complex64) @ a.T).flatten(1)
