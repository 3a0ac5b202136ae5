# SPDX-License-Identifier: GPL-3.0-or-later
"""A small network for sources built of pulses: a long first layer, a trunk at the pulses' rate, conditions as gains.

The exact denoiser of a linear modulation is a matched filter, a function of each symbol (tanh, for QPSK) whose slope follows
the signal-to-noise ratio, and the modulator. This network can be just that: its stem is a bank of matched filters, one hop per
`stride` samples; gated blocks apply tanh and sigmoid to mixtures of neighbouring hops, with gains that are exponentials of
functions of the noise level; the head is a bank of pulses. What it knows of a source it has from training alone.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional

_HIDDEN = 96        # of the conditions' own network


class Gains(nn.Module):
    """Conditions [batch, n] -> a gain and an offset for each channel, [batch, channels, 1]; at first 1 and 0."""

    def __init__(self, channels: int, exponential: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(_HIDDEN, 2 * channels)
        self.exponential = exponential
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        gain, offset = self.layer(embedded)[..., None].chunk(2, 1)
        return h * (torch.exp(gain.clamp(-8, 8)) if self.exponential else 1 + gain) + offset


class Block(nn.Module):
    """Residual and gated: h + W·tanh(a)·sigmoid(b), (a, b) a dilated convolution of h under gains."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(channels, 2 * channels, 3, padding=dilation, dilation=dilation)
        self.gains = Gains(2 * channels, exponential=True)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        a, b = self.gains(self.mix(h), embedded).chunk(2, 1)
        return h + self.out(torch.tanh(a) * torch.sigmoid(b))


class Fast(nn.Module):
    """stride: samples per hop; kernel: taps of the first and the last layer, stride·(an odd number); channels of the trunk;
    dilations: of its blocks, in hops; conditions: how many numbers describe noise and alignment.

    forward(x, presence, conditions): x complex64 [batch, samples], samples a multiple of stride; presence float32, likewise;
    conditions float32 [batch, conditions] -> (waveform complex64 [batch, samples], how much of the linear estimate belongs to it
    [batch, 1]).
    """

    def __init__(self, stride: int, kernel: int, channels: int, dilations: list[int], conditions: int) -> None:
        super().__init__()
        self.stride, self.kernel = stride, kernel
        pad = (kernel - stride) // 2
        self.embed = nn.Sequential(nn.Linear(conditions, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU())
        self.stem = nn.Conv1d(3, channels, kernel, stride, pad)
        self.stem_gains = Gains(channels, exponential=False)
        self.blocks = nn.ModuleList(Block(channels, d) for d in dilations)
        self.head_gains = Gains(channels, exponential=False)
        self.head = nn.ConvTranspose1d(channels, 2, kernel, stride, pad, bias=False)
        self.linear = nn.Linear(_HIDDEN, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.linear.weight)
        nn.init.ones_(self.linear.bias)

    def forward(self, x: Tensor, presence: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.embed(conditions)
        h = self.stem_gains(self._filters(x, presence), embedded)
        for block in self.blocks:
            h = block(h, embedded)
        return self._pulses(self.head_gains(h, embedded)), self.linear(embedded)

    # Where the taps are an odd number of hops, the last layer is a product and shifted sums, samples lying as they are wanted;
    # the first too, if it is short: its products would outgrow the caches.

    def _filters(self, x: Tensor, presence: Tensor) -> Tensor:
        """The stem: [batch, channels, hops]."""
        reach = self.kernel // self.stride
        if self.kernel not in (self.stride, 3 * self.stride):
            return self.stem(torch.stack([x.real, x.imag, presence], 1))
        taps = self.stem.weight.unflatten(2, (reach, self.stride)).permute(3, 1, 2, 0)      # [stride, 3, reach, channels]
        parts = torch.view_as_real(x).unflatten(1, (-1, self.stride)).flatten(2) @ taps[:, :2].flatten(2).flatten(0, 1)
        parts = (parts + presence.unflatten(1, (-1, self.stride)) @ taps[:, 2].flatten(1)).unflatten(2, (reach, -1))
        count, half = parts.shape[1], reach // 2
        out = parts[:, :, half] + self.stem.bias
        for i in range(reach):
            d = i - half                            # what hop h + d holds of tap block i belongs to hop h
            if d and abs(d) < count:
                out[:, max(-d, 0):count - max(d, 0)] += parts[:, max(d, 0):count + min(d, 0), i]
        return out.mT

    def _pulses(self, h: Tensor) -> Tensor:
        """The head: complex64 [batch, samples]."""
        reach, rest = divmod(self.kernel, self.stride)
        if rest or not reach % 2:
            out = self.head(h).float()
            return torch.complex(out[:, 0], out[:, 1])
        count, half = h.shape[2], reach // 2
        taps = self.head.weight.unflatten(2, (reach, self.stride)).permute(0, 2, 3, 1)      # [channels, reach, stride, 2]
        parts = (h.mT @ taps.flatten(1)).unflatten(2, (reach, -1))
        out = parts.new_zeros(len(h), count + reach - 1, 2 * self.stride)
        for i in range(reach):
            out[:, i:i + count] += parts[:, :, i]
        return torch.view_as_complex(out[:, half:half + count].float().reshape(len(h), -1, 2))


def window(x: Tensor, stride: int, kernel: int) -> tuple[Tensor, int]:
    """Pad x [..., samples] so that hops of `stride` fill it, with half a kernel of room at both ends: (padded, lead)."""
    room = -(-(kernel - stride) // 2 // stride) * stride
    return functional.pad(x, (room, room + -x.shape[-1] % stride)), room
