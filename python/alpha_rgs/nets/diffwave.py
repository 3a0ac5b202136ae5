# SPDX-License-Identifier: GPL-3.0-or-later
"""DiffWave (Kong et al., 2021) for complex baseband, with the sizes of Jayashankar et al. (2023), appendix on training."""
import math

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    """One residual layer: dilated convolution of h + level, gate, half goes on and half to the skip sum."""

    def __init__(self, channels: int, dilation: int, embedding: int) -> None:
        super().__init__()
        self.level = nn.Linear(embedding, channels)
        self.mix = nn.Conv1d(channels, 2 * channels, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv1d(channels, 2 * channels, 1)
        for layer in (self.mix, self.out):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, h: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        gate, filtered = self.mix(h + self.level(embedded)[..., None]).chunk(2, 1)
        on, skip = self.out(torch.sigmoid(gate) * torch.tanh(filtered)).chunk(2, 1)
        return (h + on) / math.sqrt(2), skip


class DiffWave(nn.Module):
    """layers residual layers with dilations 1, 2, ... 2^(cycle-1), again and again.

    forward(x, presence, t), as Fast has it: t: step of the schedule, any real number [batch] -> (the noise in x, None); presence
    is not asked for. With `conditions`, how many numbers describe noise and alignment, these stand for the step, and it answers
    with a waveform and the linear estimate's share.
    """

    frequencies: Tensor

    def __init__(self, channels: int = 64, layers: int = 30, cycle: int = 10, embedding: int = 512, conditions: int = 0,
                 stride: int = 1) -> None:
        super().__init__()
        self.conditions, self.stride, self.kernel = conditions, stride, stride
        self.stem = nn.Conv1d(3 if conditions else 2, channels, 1)
        self.embed = nn.Sequential(nn.Linear(conditions or 128, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.layers = nn.ModuleList(Layer(channels, 2 ** (i % cycle), embedding) for i in range(layers))
        self.collect = nn.Conv1d(channels, channels, 1)
        self.head = nn.Conv1d(channels, 2, 1)
        for layer in (self.stem, self.collect):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(self.head.weight)
        if conditions:
            if self.head.bias is not None:
                nn.init.zeros_(self.head.bias)
            self.linear = nn.Linear(embedding, 1)
            nn.init.zeros_(self.linear.weight)
            nn.init.ones_(self.linear.bias)
        self.register_buffer("frequencies", 10.0 ** (torch.arange(64) * 4.0 / 63), persistent=False)

    def forward(self, x: Tensor, presence: Tensor | None, t: Tensor) -> tuple[Tensor, Tensor | None]:
        x = torch.stack([x.real, x.imag, *([] if presence is None or not self.conditions else [presence])], 1)
        if self.conditions:
            embedded = self.embed(t)
        else:
            angle = t[:, None] * self.frequencies
            embedded = self.embed(torch.cat([angle.sin(), angle.cos()], 1))
        h, total = torch.relu(self.stem(x)), torch.zeros((), device=x.device)
        for layer in self.layers:
            h, skip = layer(h, embedded)
            total = total + skip
        out = self.head(torch.relu(self.collect(total / math.sqrt(len(self.layers))))).float()
        return torch.complex(out[:, 0], out[:, 1]), self.linear(embedded) if self.conditions else None
