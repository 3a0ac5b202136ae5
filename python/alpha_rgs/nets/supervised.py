# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervised reference: networks of the RF Challenge's sizes (Jayashankar et al., ICASSP 2024), trained on mixtures.

They are given nothing but the mixture, not its level either, and find the signal of interest in it; what is left of the mixture
is the other source, and so they fit the contract of a denoiser for one pass. What the signal of interest is, and how it lies in
the window, they know from training alone.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional

from .denoiser import Named

_SILENT = 1e-20         # amplitude, of windows that hold nothing
GROUPS = 4              # of channels that are normalised together


class Supervised(Named):
    """net: float32 [batch, 2, samples] -> the same, real and imaginary parts of the signal of interest. spectrum: as Denoiser's;
    kept with the weights, not used."""

    supervised, plain = True, True

    def __init__(self, net: nn.Module, spectrum: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("spectrum", torch.as_tensor(spectrum, dtype=torch.float32))

    def forward(self, x: Tensor, density: Tensor | None = None, fraction: Tensor | None = None,
                presence: Tensor | None = None) -> Tensor:
        """x complex64 [batch, samples], any number of them -> x less the signal of interest, likewise. The rest is for other
        denoisers and not asked for."""
        scale = x.abs().square().mean(1, keepdim=True).sqrt()
        s = self.net(torch.view_as_real(x / scale.clamp_min(_SILENT)).mT).float()
        return x - scale * torch.complex(s[:, 0], s[:, 1])


def _start(module: nn.Conv1d) -> nn.Conv1d:
    """The head begins with nothing for an answer: the mixture is the other source."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) in one dimension. kernel: taps of the first layer, odd, so long that it sees a period of
    the interference at once; channels: of that layer, a multiple of 4, twice as many after each of `halvings`; 3 taps within."""

    def __init__(self, channels: int = 32, halvings: int = 5, kernel: int = 101) -> None:
        super().__init__()
        width = [channels << i for i in range(halvings + 1)]
        self.step = 1 << halvings
        self.stem = _layer(nn.Conv1d(2, channels, kernel, padding=kernel // 2))
        self.down = nn.ModuleList(nn.Sequential(_layer(nn.Conv1d(a, b, 3, 2, 1)), _layer(nn.Conv1d(b, b, 3, padding=1)))
                                  for a, b in zip(width, width[1:]))
        self.up = nn.ModuleList(_layer(nn.ConvTranspose1d(b, a, 4, 2, 1)) for a, b in zip(width, width[1:]))
        self.join = nn.ModuleList(nn.Sequential(_layer(nn.Conv1d(2 * a, a, 3, padding=1)), _layer(nn.Conv1d(a, a, 3, padding=1)))
                                  for a in width[:-1])
        self.head = _start(nn.Conv1d(channels, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        samples = x.shape[2]
        h, kept = self.stem(functional.pad(x, (0, -samples % self.step))), []
        for down in self.down:
            kept.append(h)
            h = down(h)
        for up, join, skip in zip(reversed(self.up), reversed(self.join), reversed(kept)):
            h = join(torch.cat([up(h), skip], 1))
        return self.head(h)[..., :samples]


def _layer(convolution: nn.Conv1d | nn.ConvTranspose1d) -> nn.Sequential:
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, convolution.out_channels), nn.ReLU())


class WaveNet(nn.Module):
    """WaveNet (van den Oord et al., 2016), not causal: DiffWave's layers without a noise level. Dilations 1, 2, ... 2^(cycle-1),
    again and again."""

    def __init__(self, channels: int = 128, layers: int = 30, cycle: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, channels, 1)
        self.mix = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 3, padding=2 ** (i % cycle), dilation=2 ** (i % cycle))
                                 for i in range(layers))
        self.out = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 1) for _ in range(layers))
        self.collect, self.head = nn.Conv1d(channels, channels, 1), _start(nn.Conv1d(channels, 2, 1))
        for layer in (self.stem, *self.mix, *self.out, self.collect):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        h, total = torch.relu(self.stem(x)), torch.zeros((), device=x.device)
        for mix, out in zip(self.mix, self.out):
            gate, filtered = mix(h).chunk(2, 1)
            on, skip = out(torch.sigmoid(gate) * torch.tanh(filtered)).chunk(2, 1)
            h, total = (h + on) / 2 ** 0.5, total + skip
        return self.head(torch.relu(self.collect(total / len(self.mix) ** 0.5)))
