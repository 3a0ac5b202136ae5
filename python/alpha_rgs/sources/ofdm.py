# SPDX-License-Identifier: GPL-3.0-or-later
"""OFDM whose numerology is known."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import ParameterError
from ..inference.linear_model import EVERY, LinearModel, as_complex, some
from ..signals import Ofdm as Signal
from ..signals.carrier import carrier, column, rotation
from ..signals.framing import FramePlan
from ..signals.ofdm import ofdm_matrix
from .base import Noise, Number, Source, Structure
from .keys import CARRIERS, Role, flag, frequency, grid, listed, number, text, whole
from .ofdm_carrier import REACH, carrier_offset
from .ofdm_demodulator import CarrierDemodulator, phase_of, read
from .ofdm_filters import unbiased_filters

_SMEARED = 1            # samples of a prefix that a resampler's filter mixes with the frame before, beyond use
_LIMIT = 0.5            # of a carrier's amplitude: weaker ones say less of the phase
_FINE = 8192            # frequencies of the other source's spectrum: 128 to a carrier of 64
_CLEAN = 10 ** -2.5     # a carrier is clean where the other source's spectrum lies this far below its peak


def prefix_start(product: Tensor, energy: Tensor, usable: int, period: int, samples: int) -> Tensor:
    """The first of prefix_sums, by the greatest real product less the energy."""
    sums, level = prefix_sums(product, energy, usable, period, samples)
    return (sums.real - level).argmax(1)


def prefix_sums(product: Tensor, energy: Tensor, usable: int, period: int, samples: int) -> tuple[Tensor, Tensor]:
    """Of prefixes that begin at each sample of a frame of `period` samples: products of samples one FFT apart, complex128 [batch,
    period], and their energy (van de Beek, Sandell and Börjesson, 1997); both are [batch, n] and are summed over `usable` samples
    and over frames.

    samples: of the window, for the message. Raises ParameterError where there is no whole period.
    """
    whole = (product.shape[1] - usable + 1) // period * period
    if whole < period:
        raise ParameterError(f"frame_offset: a window of {samples} samples is too short to find it; {3 * period} or more")

    def runs(v: Tensor) -> Tensor:      # sums over the usable part of a prefix that begins at n, then over frames
        total = torch.nn.functional.pad(v.cumsum(1), (1, 0))
        return (total[:, usable:] - total[:, :-usable])[:, :whole].reshape(len(v), -1, period).sum(1)

    return runs(product.to(torch.complex128)), runs(energy.double())


@dataclass
class Ofdm(Source):
    """OFDM of unit mean power: frames A·c, rotated by phase and carrier_offset.

    frame_offset: samples from the first sample to the first whole cyclic prefix, 0 ... frame_length-1. phase: rad.
    carrier_offset: cycles per sample; None: unknown, within ±ofdm_carrier.REACH.
    channel: complex taps, acting within the cyclic prefix (one gain per carrier).
    delay_spread: samples at the head of each prefix that are not trusted, for echoes of the frame before.
    gain: amplitude as received. resampled: whether a resampler has smeared the edges of frames. on: samples (first, one past the
    last) between which frames are sent, of one burst alone; None: always.
    """

    signal: Signal = field(default_factory=Signal)
    frame_offset: int | torch.Tensor | None = None
    phase: float | torch.Tensor | None = None
    carrier_offset: float | torch.Tensor | None = 0.0
    channel: tuple = (1.0,)
    delay_spread: int | None = None
    gain: float | torch.Tensor | None = None
    resampled: bool = False
    on: tuple[int, int] | None = None

    kind = "ofdm"
    linear = True
    keys = {
        "sample_rate": grid("Hz, in whose samples fft_size and cyclic_prefix are; default the recording's"),
        "fft_size": whole("carriers, samples of a frame without its prefix", most=CARRIERS),
        "cyclic_prefix": whole("samples"),
        "guards": listed("unused carriers at the lower and upper edge of the band", 2, CARRIERS),
        "dc_null": flag("whether carrier 0 is unused"),
        "constellation": text("alphabet of the symbols or carriers"),
        "pilots": listed("carriers that carry ±1 and no data, numbers relative to DC", CARRIERS, CARRIERS),
        "pilot_values": listed("±1 of each pilot, times one unknown sign for all in a frame; left out: signs of their own",
                               CARRIERS),
        "frame_offset": whole("samples from the first sample to the first whole cyclic prefix", Role.INSTANT),
        "phase": number("rad, at the first sample"),
        "carrier_offset": frequency("cycles per sample", "carrier_frequency"),
        "channel": listed("complex taps that act within the cyclic prefix", CARRIERS),
        "delay_spread": whole("samples at the head of each prefix that are not trusted"),
        "gain": number("amplitude as received; 1 is unit mean power"),
    }
    structure = Structure.FRAMES
    whole_delay = True
    dc_free = True
    state_names = {"gain": "gain", "delay": "frame_offset", "phase": "phase", "carrier_offset": "carrier_offset",
                   "channel": "channel"}
    estimable = synchronizes = ("frame_offset", "phase", "carrier_offset")
    needs = ("frame_offset", "phase")

    def __post_init__(self) -> None:
        self.channel = tuple(complex(tap) for tap in self.channel)
        if not any(self.channel):
            raise ParameterError("channel: give at least one tap that is not zero")
        if self.delay_spread is None:
            self.delay_spread = len(self.channel) - 1
        if not 0 <= self.delay_spread <= self.signal.cyclic_prefix:
            raise ParameterError(f"delay_spread: {self.delay_spread} (or channel, {len(self.channel)} taps) must fit into the "
                                 f"cyclic prefix, {self.signal.cyclic_prefix} samples")
        period = self.signal.frame_length
        if isinstance(self.frame_offset, (int, float)) and not 0 <= self.frame_offset < period:
            raise ParameterError(f"frame_offset: {self.frame_offset} must lie between 0 and {period - 1}")
        if isinstance(self.carrier_offset, (int, float)) and abs(self.carrier_offset) > 0.5:
            raise ParameterError(f"carrier_offset: {self.carrier_offset} must lie within ±0.5 cycles per sample")
        self._plans: dict[Any, FramePlan] = {}

    @classmethod
    def oversampled(cls, table: dict[str, Any], factor: int, resampled: bool) -> dict[str, Any]:
        """See Source.oversampled: the same carriers in a longer transform."""
        given: Any = {key: table[key] for key in ("fft_size", "cyclic_prefix", "guards") if key in table}
        signal = Signal(**given)
        if len(table.get("channel", [])) > 1:
            raise ParameterError("channel: is in samples of the recording; leave it out where sample_rate is another")
        more = (factor - 1) * signal.fft_size
        spread = {"delay_spread": factor * min(table.get("delay_spread", _SMEARED if resampled else 0), signal.cyclic_prefix)}
        if not any(spread.values()):
            spread = {}
        return {**table, **spread, "fft_size": factor * signal.fft_size, "cyclic_prefix": factor * signal.cyclic_prefix,
                "guards": [signal.guards[0] + more // 2, signal.guards[1] + more - more // 2]}

    def through_resampler(self) -> Self:
        """See Source.through_resampler."""
        return replace(self, resampled=True)

    @property
    def matrix(self) -> np.ndarray:
        """A with the channel's gain on each carrier, complex128 [frame_length, unknowns]; unit mean power."""
        return self.signal.through(self.channel)

    def at(self, start: Number) -> Self:
        """See Source.at."""
        offset: Any = self.frame_offset
        on = None if self.on is None else (self.on[0] - int(start), self.on[1] - int(start))
        return replace(self, on=on, frame_offset=None if offset is None else (offset - start) % self.signal.frame_length,
                       phase=None if self.phase is None or self.carrier_offset is None else
                       self.phase + 2 * np.pi * self.carrier_offset * start)

    def plan(self, shape: Sequence[int], soi: Any = None) -> FramePlan:
        """The FramePlan of windows of this shape; kept, since iterations ask again."""
        key = (tuple(shape), id(soi))
        plan = self._plans.get(key)             # threads may share a prior
        if plan is None:
            offset, turn = cast(Any, self.frame_offset), cast(Any, self.carrier_offset)         # known
            plan = FramePlan(self.signal.frame_length, offset, shape, soi, turn, on=self.on)
            self._plans = {**dict(list(self._plans.items())[-1:]), key: plan}
        return plan

    def blocks(self, shape: Sequence[int]) -> Any:
        """See Source.blocks: the frames, if the carriers' constellation is known."""
        return None if self.signal.alphabet.symmetry is None else self.plan(shape)

    def denoise(self, x: Tensor, noise: Noise | Number) -> Tensor:
        """See Source.denoise. Per frame: linear estimate of each carrier under that noise, made unbiased, then the posterior
        mean over the alphabet, then A again. Under noise with a basis see ofdm_coloured.py."""
        noise_var, colour, floor = self.asked(noise)
        plan = self.plan(x.shape, colour)
        turn = carrier(self.phase, self.carrier_offset, x)
        frames = plan.cut(x * turn.conj())
        if colour is None:
            mean = self._means(frames, plan, float(noise_var))
        else:
            from .ofdm_coloured import coloured_means

            # a burst ends in this window: none beside it will see its cut frames whole
            edges = colour.symbols is not None
            mean = coloured_means(frames, plan, self, noise_var, floor, self.clean_carriers(colour), edges)
        return plan.join(self._waves(mean, plan)) * turn

    def _means(self, frames: Tensor, plan: FramePlan, noise_var: float, whole: bool = False) -> Tensor:
        """Posterior means of the unknowns of frames in white noise, complex64 [batch, frames, unknowns]. whole: those of frames
        that are cut are not wanted."""
        device = frames.device
        filters, var = plan.kept((noise_var, str(device), whole),
                                 lambda: unbiased_filters(plan, self.matrix_key, noise_var, device, whole))
        mean: Tensor = self.signal.unknown_alphabet.mean(plan.grouped(frames, filters), var)
        return mean

    def _waves(self, mean: Tensor, plan: FramePlan) -> Tensor:
        """The frames of these unknowns, complex64 [batch, frames, length], where they are sent."""
        matrix = torch.tensor(ofdm_matrix(self.matrix_key), dtype=torch.complex64, device=mean.device)
        return mean @ matrix.T * plan.here[..., None].to(mean.device)

    def draw(self, batch: int, samples: int, generator: torch.Generator) -> Any:
        """See Source.draw: random points of the alphabet on data carriers, or Gaussian ones, and random signs of pilots."""
        period, frames = self.signal.frame_length, -(-samples // self.signal.frame_length) + 1
        offset = torch.randint(0, period, (batch,), generator=generator) if self.frame_offset is None else torch.as_tensor(
            self.frame_offset).expand(batch)
        phase = 2 * torch.pi * torch.rand(batch, generator=generator) if self.phase is None else torch.as_tensor(
            self.phase).expand(batch)
        alphabet, count = self.signal.alphabet, len(self.signal.data)
        if alphabet.symmetry is None:
            c = torch.randn(batch, frames, count, dtype=torch.complex64, generator=generator)
        else:
            bits = torch.randint(0, 2, (batch, frames * count * alphabet.bits_per_symbol), generator=generator)
            c = alphabet.map(bits).reshape(batch, frames, -1)
        if self.signal.pilots:
            signs = torch.randint(0, 2, (batch, frames, self.signal.unknowns - count), generator=generator)
            c = torch.cat([c, (1 - 2 * signs).to(c.dtype)], 2)
        whole = (c @ torch.tensor(self.matrix.T, dtype=torch.complex64)).flatten(1)
        n = torch.arange(samples, dtype=torch.float64)
        b = whole.gather(1, (period - offset)[:, None] % (2 * period) + torch.arange(samples))
        turn: Any = self.carrier_offset
        if turn is None:
            turn = REACH * (2 * torch.rand(batch, generator=generator, dtype=torch.float64) - 1)
        angle = phase[:, None].double() + 2 * torch.pi * column(turn, b) * n
        b = b * torch.polar(torch.ones(batch, samples), angle.float())
        return b, Ofdm(self.signal, offset, phase, turn, self.channel, self.delay_spread)

    def synchronize(self, x: Tensor, noise: Noise | Number) -> tuple[Self, dict[str, Tensor]]:
        """See Source.synchronize: the frame offset from prefixes and their copies (van de Beek, 1997), the phase from the
        carriers of whole frames, lifted to the alphabet's symmetry, up to half a turn where there are pilots. Raises
        ParameterError without a prefix."""
        found: dict[str, Tensor] = {}
        here = self
        if self.carrier_offset is None:
            found["carrier_offset"] = carrier_offset(x, self, Noise.of(noise))[1]
            here = replace(here, carrier_offset=found["carrier_offset"])
        if self.frame_offset is None:
            found["frame_offset"] = here.prefixes(x, Noise.of(noise).flat)[0]
            here = replace(here, frame_offset=found["frame_offset"])
        if self.phase is None:
            here = replace(here, phase=0.0)
            if self.signal.unknown_alphabet.symmetry is not None:
                found["phase"] = phase_of(here, x, Noise.of(noise), _LIMIT)
                here = replace(here, phase=found["phase"])
        return here, found

    def prefixes(self, x: Tensor, noise_var: Number, any_phase: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """(frame offset, int64 [batch], of largest likelihood, other sources taken for white noise of that variance; by how much
        the phase turns from a prefix to its copy, rad [batch]; the standard deviation of that). any_phase: where the carrier
        offset is not known."""
        period, size = self.signal.frame_length, self.signal.fft_size
        spread = self.delay_spread or 0
        usable = self.signal.cyclic_prefix - spread
        if usable < 1:
            raise ParameterError("frame_offset: cannot be estimated without a cyclic prefix; give it in the prior")
        a, b = x[:, :-size].to(torch.complex128), x[:, size:].to(torch.complex128)
        known = 0.0 if any_phase else self.carrier_offset
        turn = torch.polar(torch.ones(1, dtype=torch.float64), -2 * torch.pi * column(known, torch.empty(0)) * size)
        rho = 1 / (1 + torch.as_tensor(noise_var, dtype=torch.float64, device=x.device).reshape(-1, 1))
        product, energy = b * a.conj() * turn.to(x.device), (a.abs().square() + b.abs().square()) / 2
        sums, level = prefix_sums(product, rho * energy, usable, period, x.shape[1])
        best = ((sums.abs() if any_phase else sums.real) - level).argmax(1)
        if any_phase and self.frame_offset is not None:
            known_offset = torch.as_tensor(self.frame_offset, device=x.device).reshape(-1).expand(len(x))
            best = (known_offset.round().long() + spread) % period
        total, energy = sums.gather(1, best[:, None])[:, 0], level.gather(1, best[:, None])[:, 0] / rho[:, 0]
        alike, terms = (total.abs() / energy.clamp_min(1e-30)).clamp(1e-3, 1 - 1e-3), usable * (product.shape[1] // period)
        return (best - spread) % period, torch.angle(total), ((1 / alike.square() - 1) / (2 * terms)).sqrt()

    def linear_model(self, shape: Sequence[int]) -> Any:
        """See Source.linear_model: one column per unknown and frame."""
        period, samples = self.signal.frame_length, shape[1]
        offset = torch.as_tensor(self.frame_offset, dtype=torch.int64).reshape(-1, 1) % period - period
        frames = -(-samples // period) + 1
        begin = offset + period * torch.arange(frames)
        start = begin.repeat_interleave(self.signal.unknowns, 1)
        phase, frequency = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1, 1, 1) for v in (
            self.phase, self.carrier_offset))
        angle = phase + 2 * torch.pi * frequency * (begin[:, :, None, None] + torch.arange(period))
        columns = torch.polar(torch.ones_like(angle), angle) * torch.tensor(self.matrix.T)
        columns = columns.expand(len(columns), frames, -1, -1).flatten(1, 2)
        first, end = self.on or (0, samples)
        exists = ((start + period > max(first, 0)) & (start < min(end, samples))).expand(max(len(start), len(columns)), -1)

        def decode(mean: Tensor, var: Tensor, rows: slice = EVERY) -> tuple[Tensor, Tensor, Tensor]:
            return read(self, *as_complex(mean, var), some(begin, rows).to(mean.device), samples)

        return LinearModel(start, columns, self.signal.unknown_alphabet, exists, decode, (period, offset[:, 0]))

    @property
    def decided(self) -> bool:
        """See Source.decided: not where the constellation is unknown."""
        return self.signal.alphabet.symmetry is not None

    @property
    def plain_frames(self) -> bool:
        """See Source.plain_frames: not with pilots, echoes beyond the prefix, a resampler's edges, or in a burst."""
        return self.decided and not (self.signal.pilots or self.delay_spread or self.resampled or self.on)

    @property
    def memory(self) -> int:
        """See Source.memory."""
        return self.signal.frame_length

    @property
    def frame_period(self) -> int:
        """See Source.frame_period."""
        return self.signal.frame_length

    @property
    def repeats(self) -> tuple[float, int] | None:
        """See Source.repeats."""
        return None if self.on or self.learned else (self.frame_period, self.signal.unknown_alphabet.symmetry or 1)

    @property
    def intermittent(self) -> bool:
        """See Source.intermittent: unless its frames or phase are known."""
        return self.frame_offset is None and self.phase is None

    def demodulator(self) -> Any:
        """See Source.demodulator: one tap per carrier; None where the constellation is unknown."""
        return None if self.signal.alphabet.symmetry is None else CarrierDemodulator(self)

    def autocorrelation(self, lags: Any) -> np.ndarray:
        """See Source.autocorrelation: A·Aᴴ is a Toeplitz matrix, whose diagonals shorten as 1 - |lag|/frame. Pilots are taken for
        independent of each other."""
        period, size, lags = self.signal.frame_length, self.signal.fft_size, np.asarray(lags)
        power = np.zeros(size)
        power[self.signal.carriers % size] = abs(self.signal.gains(self.channel)) ** 2 / len(self.signal.carriers)
        along = size * np.fft.ifft(power)
        return (1 - abs(lags) / period).clip(0) * along[lags % size] * rotation(
            0.0 if self.carrier_offset is None else self.carrier_offset, lags)

    def reconstruct(self, x: Tensor, noise_var: float) -> Tensor:
        """See Source.reconstruct. In frames cut by the window's edge, where carriers are underdetermined, x only shrinks."""
        plan = self.plan(x.shape)
        sent = plan.join(plan.here[..., None].expand(-1, -1, plan.length)).to(x.device)
        turn = carrier(self.phase, self.carrier_offset, x)
        waves = self._waves(self._means(plan.cut(x * turn.conj()), plan, noise_var, whole=True), plan)
        return torch.where(plan.whole.to(x.device), plan.join(waves) * turn, x * sent / (1 + noise_var))

    def covered(self, other: Any) -> np.ndarray:
        """The power spectrum of `other`, a LinearModulation, at each active carrier, of mean 1 over the band,
        float64 [offsets, carriers]: for each carrier offset that windows have."""
        spectrum = other.signal.power_spectrum(_FINE)
        apart = torch.as_tensor(other.carrier_offset).double() - torch.as_tensor(self.carrier_offset).double()
        centre = self.signal.carriers / self.signal.fft_size - np.unique(apart.reshape(-1).cpu().numpy())[:, None]
        edge = np.arange(-8, 9) / 8 * 1.5 / self.signal.fft_size        # a carrier sees its neighbourhood too
        at = np.round((centre[..., None] + edge) * _FINE).astype(int) % _FINE
        density: np.ndarray = spectrum[at].mean(2)
        return density

    def clean_carriers(self, other: Any) -> np.ndarray:
        """Indices (into a frame's unknowns) where the spectrum of `other`, a LinearModulation, is weak; the weakest quarter if
        none is."""
        spectrum = other.signal.power_spectrum(_FINE)
        level = (self.covered(other) / spectrum.max()).max(0)           # clean in all windows
        level = self.signal.of_unknowns(level[None], lambda own, _: own.max(1, keepdims=True))[0]
        weak = np.flatnonzero(level < _CLEAN)
        return weak if len(weak) else np.sort(np.argsort(level)[:max(1, len(level) // 4)])

    @property
    def matrix_key(self) -> tuple[Signal, tuple[complex, ...]]:
        """A hashable key from which `matrix` can be made again."""
        return (self.signal, self.channel)
