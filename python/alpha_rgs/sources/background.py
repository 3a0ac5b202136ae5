# SPDX-License-Identifier: GPL-3.0-or-later
"""What is else in a mixture, where only its power density is known."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .base import Noise, Number, Source, resampled_density


@dataclass
class Background(Source):
    """Stationary Gaussian noise of that density, float64 [n], FFT order; unit mean power."""

    density: Tensor

    kind = "background"
    fitted = True

    def at(self, start: Number) -> Self:
        """See Source.at: nothing refers to the first sample."""
        return self

    def psd(self, nfft: int) -> np.ndarray:
        """See Source.psd."""
        values = resampled_density(self.density[None].double(), nfft)[0].clamp_min(0).numpy()
        return values / max(values.mean(), 1e-30)

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise: Wiener's filter."""
        own = torch.as_tensor(self.psd(x.shape[1]), device=x.device)
        level = Noise.of(noise).density(x.shape[1]).to(x.device)
        return torch.fft.ifft(torch.fft.fft(x) * (own / (own + level))).to(x.dtype)
