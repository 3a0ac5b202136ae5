# SPDX-License-Identifier: GPL-3.0-or-later
"""A denoiser of OFDM bursts, carrier by carrier. Of a burst's frames, each a transform of one symbol, it is given the noise
variance of every carrier and nothing else; it estimates channel, phases and alphabets itself. Its unfolded steps:

1. Powers that take the alphabet away, E[(g·c)^m] = g^m·E[c^m], m = 2 for BPSK, else 4: averaged over frames, by how much noise
   each holds, and over neighbouring carriers, by Wiener filters for channels of learned delay profiles.
2. Each carrier's posterior over the points of every alphabet; frames say which it is, all data carriers of one alike, and the
   burst's frames each other. Carriers that fit no alphabet are Gaussian.
3. Gains and frames' phases anew by those, and 2. again, `rounds` times.

Learned: the delay profiles, what a power's scatter is worth, how far frames say something of each other and gains err.
"""
import math

import torch
from torch import Tensor, nn

from ..signals.constellations import points_of
from ..signals.wifi import ALPHABETS, CARRIERS, PILOTS
from .denoiser import Named

WIDTH = int(max(CARRIERS)) * 2 + 1          # of a frame: carriers -28 ... 28, of which the middle one is silent
COLUMNS = torch.as_tensor(CARRIERS) + WIDTH // 2
UNSEEN = 1e3                                # variance of what no frame observes
_LEAST, _FAINT = 1e-6, 0.02                 # variance; power of a carrier, at least, of the burst's mean
_MOST = 60.0                                # nats that a carrier may say of its alphabet
_DELAYS = {"second": 12, "fourth": 24, "power": 12}     # samples, either side, of squared, fourth and absolute channels


class BurstDenoiser(Named):
    """rounds: of gains by decisions. Carriers of a burst have unit mean power."""

    finds = True                            # training shows bursts of any number of frames
    second: nn.Parameter
    fourth: nn.Parameter
    power: nn.Parameter

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds
        self.register_buffer("spectrum", torch.ones(1))
        for name, most in _DELAYS.items():
            self.register_parameter(name, nn.Parameter(-1 - torch.arange(-most, most + 1).abs() / (most / 4)))
        self.worth = nn.Parameter(torch.zeros(3))           # logarithms of factors on the scatter of powers
        self.told = nn.Parameter(torch.tensor([-1.5, -1.5]))        # logits: of a frame's evidence, of the burst's
        self.share = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 0.0, -2.0]))     # logarithms, of the alphabets; none of them
        self.scatter = nn.Parameter(torch.tensor(-4.5))     # logarithm, about a point; relative to the carrier's power
        self.held = nn.Parameter(torch.tensor([-2.0, 3.0]))         # logarithms: a gain's first variance; what holds phases
        for name in ALPHABETS:
            self.register_buffer(f"points_{name}", torch.view_as_real(points_of(name)), persistent=False)

    @property
    def net(self) -> "BurstDenoiser":
        """Itself: there are no layers to be wrapped."""
        return self

    def weight(self, density: Tensor) -> Tensor:
        """See Named.weight: errors count in units of what a carrier by itself leaves."""
        return (1 + density) / (density + 1e-3)

    def forward(self, x: Tensor, density: Tensor, fraction: Tensor | None = None, presence: Tensor | None = None) -> Tensor:
        """x: complex64 [batch, frames·WIDTH]; density: variance of the noise on each, float32. Returns E[s | x]. The rest is for
        other denoisers."""
        r, var = (v.unflatten(1, (-1, WIDTH)) for v in (x, density))
        return self.posterior(r, var)[0].flatten(1)

    def posterior(self, r: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """(mean complex64, variance float32) of carriers of r = s + √var·n; all [bursts, frames, WIDTH]."""
        gains, power = self._first(r, var)
        start, phase = gains, torch.ones_like(r[..., :1])
        spread = self.held[0].exp() * torch.ones_like(gains[0].real)
        spreads = [spread] * len(ALPHABETS)
        for turn in range(self.rounds + 1):
            parts = [self._decided(r, var, g[:, None] * phase, v[:, None], power[:, None], name)
                     for g, v, name in zip(gains, spreads, ALPHABETS)]
            share = self._shares(r, var, power, [part[0] for part in parts])
            if turn < self.rounds:
                gains, spreads, phase = self._gains(r, share, parts, start, phase, power)
        linear = power[:, None] / (var + power[:, None])    # of a Gaussian carrier
        mean = share[-1] * r * linear
        square = share[-1] * (var * linear + (r * linear).abs().square())
        for own, (_, a, second, gain, level) in zip(share, parts):
            seen = (level - var) / level                    # what the sample says beyond the points
            m = a * gain + (r - a * gain) * seen
            rest = (second - a.abs().square()).clamp_min(0) * gain.abs().square() * (1 - seen).square() + var * seen
            mean, square = mean + own * m, square + own * (rest + m.abs().square())
        return mean, (square - mean.abs().square()).clamp_min(_LEAST)

    def _first(self, r: Tensor, var: Tensor) -> tuple[list[Tensor], Tensor]:
        """(gains of each alphabet, complex64 [bursts, WIDTH], up to its symmetry; the carriers' power, float32 likewise)."""
        size, square = r.abs().square(), r * r
        second = 1 / (0.1 + 4 * var + 2 * var.square())     # one over the scatter of a power in noise
        fourth = 1 / (0.5 + 16 * var + 72 * var ** 2 + 96 * var ** 3 + 24 * var ** 4)
        first = 1 / (0.3 + 2 * var + var.square())
        weights = [w.sum(1) for w in (second, fourth, first)]
        powers = square, -square * square, size - var       # E[c⁴] < 0 but for BPSK
        means = [(w * m).sum(1) / total for w, m, total in zip((second, fourth, first), powers, weights)]
        slopes = [self._slope(m, w) for m, w in zip(means[:2], weights)]
        whole = (weights[2] * means[2]).sum(1, keepdim=True) / weights[2].sum(1, keepdim=True)
        of = [means[0] * slopes[0].conj(), means[1] * slopes[1].conj(), (means[2] - whole).to(r.dtype)]
        squared, doubled, power = (self._smooth(m, c.exp() / w, profile) for m, c, w, profile in zip(
            of, self.worth, weights, (self.second, self.fourth, self.power)))
        power = (power.real + whole).clamp(_FAINT, 30)
        two, four = (torch.polar(power.sqrt(), (m * slope + _LEAST).angle() / order)
                     for m, slope, order in ((squared, slopes[0], 2), (doubled, slopes[1], 4)))
        return [two, *[four] * (len(ALPHABETS) - 1)], power

    def _numbers(self, like: Tensor) -> Tensor:
        return torch.arange(WIDTH, device=like.device) - WIDTH // 2

    def _slope(self, m: Tensor, weight: Tensor) -> Tensor:
        """The phase that a delay common to all gives carriers, of modulus one [bursts, WIDTH]."""
        step = (m[:, 1:] * m[:, :-1].conj() * (weight[:, 1:] * weight[:, :-1]).sqrt()).sum(1, keepdim=True) + _LEAST
        angle = step.angle() * self._numbers(m)
        return torch.polar(torch.ones_like(angle), angle)

    def _smooth(self, m: Tensor, var: Tensor, profile: Tensor) -> Tensor:
        """The linear estimate of m, [bursts, WIDTH], seen with errors of variance var, of a channel with that delay profile."""
        delay = torch.arange(len(profile), device=m.device) - len(profile) // 2
        angle = 2 * math.pi * self._numbers(m)[:, None] * delay / 64
        wave = torch.polar(torch.ones_like(angle), angle)
        covariance = (wave * profile.exp()) @ wave.mH
        seen = covariance + torch.diag_embed(var.clamp(1e-5, 1e4)).to(m.dtype)
        return (covariance @ torch.linalg.solve(seen, m[..., None]))[..., 0]

    def _decided(self, r: Tensor, var: Tensor, gain: Tensor, spread: Tensor, power: Tensor, name: str) -> tuple[Tensor, ...]:
        """Of carriers with points of an alphabet: (log-likelihood, mean and second moment of the point, gain, variance about
        them)."""
        points = torch.view_as_complex(getattr(self, f"points_{name}"))
        level = var + (self.scatter.exp() + spread) * power
        distance = -(r[..., None] - gain[..., None] * points).abs().square() / level[..., None]
        share = torch.softmax(distance, -1)
        likely = torch.logsumexp(distance, -1) - math.log(len(points)) - level.log()
        return likely, (share * points).sum(-1), (share * points.abs().square()).sum(-1), gain, level

    def _shares(self, r: Tensor, var: Tensor, power: Tensor, likely: list[Tensor]) -> Tensor:
        """Probability of each alphabet, and of none, of every carrier [5, bursts, frames, WIDTH]."""
        total = var + power[:, None]
        none = -r.abs().square() / total - total.log()
        data = torch.ones(WIDTH, dtype=torch.bool)
        data[COLUMNS[torch.as_tensor(PILOTS)]] = data[WIDTH // 2] = False
        data = data.to(r.device)
        evidence = torch.stack([((one - none).clamp(-_MOST, _MOST) * data).sum(2) for one in likely]
                               + [torch.zeros_like(r[..., 0].real)])
        own, others = torch.sigmoid(self.told)
        frame = own * evidence + others * evidence.clamp(-20, 20).sum(2, keepdim=True)
        share = torch.softmax(frame.clamp(-200, 200) + self.share[:, None, None], 0)[..., None]
        pilot = torch.zeros_like(share)
        pilot[0] = 1
        return torch.where(data, share, pilot)

    def _gains(self, r: Tensor, share: Tensor, parts: list[tuple[Tensor, ...]], start: list[Tensor], phase: Tensor,
               power: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """(gains, their variance of the power, frames' phases) by what was decided."""
        gains: list[Tensor] = []
        spreads: list[Tensor] = []
        turn = torch.zeros_like(phase)
        hold = 1 / (self.held[0].exp() * power)
        for own, first, (_, a, second, _, level) in zip(share, start, parts):
            weight = own / level
            precision = (weight * second).sum(1) + hold
            gain = ((weight * r * (phase * a).conj()).sum(1) + hold * first) / precision
            turn = turn + (weight * r * (gain[:, None] * a).conj()).sum(2, keepdim=True)
            gains, spreads = gains + [gain], spreads + [1 / (precision * power)]
        turn = turn + self.held[1].exp()
        return gains, spreads, turn / turn.abs().clamp_min(_LEAST)
