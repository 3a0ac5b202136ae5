# SPDX-License-Identifier: GPL-3.0-or-later
"""A small network for sources built of pulses: a long first layer, a trunk at the pulses' rate, conditions as gains.

The exact denoiser of a linear modulation is a matched filter, a function of each symbol (tanh, for QPSK) whose slope follows
the signal-to-noise ratio, and the modulator. This network can be just that: its stem is a bank of matched filters, one hop per
`stride` samples; gated blocks apply tanh and sigmoid to mixtures of neighbouring hops, with gains that are exponentials of
functions of the noise level; the head is a bank of pulses. What it knows of a source it has from training alone.
"""
import torch
from torch import nn
from torch.nn import functional

_HIDDEN = 96        # of the conditions' own network


class Gains(nn.Module):
    """Conditions [batch, n] -> a gain and an offset for each channel, [batch, channels, 1]; at first 1 and 0."""

    def __init__(self, channels, exponential):
        super().__init__()
        self.layer = nn.Linear(_HIDDEN, 2 * channels)
        self.exponential = exponential
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, h, embedded):
        gain, offset = self.layer(embedded)[..., None].chunk(2, 1)
        return h * (torch.exp(gain.clamp(-8, 8)) if self.exponential else 1 + gain) + offset


class Block(nn.Module):
    """Residual and gated: h + W·tanh(a)·sigmoid(b), (a, b) a dilated convolution of h under gains."""

    def __init__(self, channels, dilation):
        super().__init__()
        self.mix = nn.Conv1d(channels, 2 * channels, 3, padding=dilation, dilation=dilation)
        self.gains = Gains(2 * channels, exponential=True)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, h, embedded):
        a, b = self.gains(self.mix(h), embedded).chunk(2, 1)
        return h + self.out(torch.tanh(a) * torch.sigmoid(b))


class Fast(nn.Module):
    """stride: samples per hop; kernel: taps of the first and the last layer, stride·(an odd number); channels of the trunk;
    dilations: of its blocks, in hops; conditions: how many numbers describe noise and alignment.

    forward(x, conditions): x float32 [batch, 3, samples] (real, imaginary, presence), samples a multiple of stride;
    conditions float32 [batch, conditions] -> (waveform float32 [batch, 2, samples], how much of the linear estimate belongs to
    it [batch, 1, 1]).
    """

    def __init__(self, stride, kernel, channels, dilations, conditions):
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

    def forward(self, x, conditions):
        embedded = self.embed(conditions)
        h = self.stem_gains(self.stem(x), embedded)
        for block in self.blocks:
            h = block(h, embedded)
        return self._pulses(self.head_gains(h, embedded)), self.linear(embedded)[..., None]

    def _pulses(self, h):
        """The head; where its taps are a whole number of hops, as a product and shifted sums, a fifth of the time of all."""
        reach, rest = divmod(self.kernel, self.stride)
        if rest:
            return self.head(h)
        count = h.shape[2]
        parts = (h.mT @ self.head.weight.flatten(1)).unflatten(2, (2, reach, self.stride))     # [batch, hops, 2, reach, stride]
        out = parts.new_zeros(len(h), 2, count + reach - 1, self.stride)
        for i in range(reach):
            out[:, :, i:i + count] += parts[:, :, :, i].movedim(1, 2)
        return out[:, :, (reach - 1) // 2:(reach - 1) // 2 + count].flatten(2)


def window(x, stride, kernel):
    """Pad x [..., samples] so that hops of `stride` fill it, with half a kernel of room at both ends: (padded, lead)."""
    room = -(-(kernel - stride) // 2 // stride) * stride
    return functional.pad(x, (room, room + -x.shape[-1] % stride)), room
