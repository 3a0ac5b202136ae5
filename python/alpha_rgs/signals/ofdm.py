# SPDX-License-Identifier: GPL-3.0-or-later
"""OFDM with a cyclic prefix: per frame, samples = A c with A = [prefix; body] of an inverse Fourier transform.

    >>> lte = Ofdm(**preset("lte-1.4"))
    >>> lte.fft_size, lte.cyclic_prefix, len(lte.carriers)
    (128, 9, 72)
    >>> frame = Ofdm(fft_size=64, cyclic_prefix=16, guards=(4, 3)).modulate(torch.ones(1, 2, 56))
    >>> frame.shape             # two frames of 80 samples, one window
    torch.Size([1, 160])
    >>> wifi = Ofdm(**preset("802.11a"), pilots=(-21, -7, 7, 21), pilot_values=(1, 1, 1, -1))
    >>> len(wifi.carriers), len(wifi.data), wifi.unknowns     # the pilots' common sign is the last unknown of a frame
    (52, 48, 49)
"""
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ParameterError
from ..parsing import shown
from .constellations import Constellation, Gaussian, constellation
from .mixed import mixed

# LTE downlink (3GPP TS 36.211, 6.12; TS 36.104, 5.6): 15 kHz carriers, DC unused, at the customary rates of 1.92, 3.84, 7.68,
# 15.36, 23.04 and 30.72 MHz
_LTE = {"1.4": (128, 72), "3": (256, 180), "5": (512, 300), "10": (1024, 600), "15": (1536, 900), "20": (2048, 1200)}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    **{f"lte-{mhz}": {"fft_size": n, "cyclic_prefix": 144 * n // 2048, "guards": ((n - used) // 2, (n - used) // 2 - 1)}
       for mhz, (n, used) in _LTE.items()},
    # IEEE 802.11-2020, 17.3.5 and 19.3.6, at 20 MHz; the short guard interval of 802.11n: cyclic_prefix = 8
    "802.11a": {"fft_size": 64, "cyclic_prefix": 16, "guards": (6, 5)},
    "802.11n": {"fft_size": 64, "cyclic_prefix": 16, "guards": (4, 3)},
}


def preset(name: str) -> dict[str, Any]:
    """The numerology called `name`, the keys of Ofdm: a dict to be overridden. Raises ParameterError naming the known ones.

    lte-1.4, -3, -5, -10, -15, -20: downlink, normal cyclic prefix. The first prefix of a slot of seven is longer (160 instead of
    144 samples in 2048): all are taken for the short one, so frames agree with this grid within one slot only, and a window that
    spans slots needs a frame_offset for each. 802.11a: 52 carriers; 802.11n: 56, both at 20 MHz. Carriers are Gaussian, since
    their constellation changes from frame to frame. None has pilots: those of LTE depend on cell and slot; those of 802.11
    (carriers ±7 and ±21) say something only where the channel is flat, and a numerology is also used without them.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ParameterError(f"preset: {shown(name)} is not known; one of {', '.join(PRESETS)}")
    return {"dc_null": True, "constellation": "gaussian", **PRESETS[name]}


@dataclass(frozen=True)
class Ofdm:
    """OFDM of unit mean power, all active carriers equally strong.

    fft_size, cyclic_prefix: samples. guards: (lower, upper) unused carriers at the edges of the band.
    dc_null: whether carrier 0 is unused. constellation: of the carriers, or "gaussian" if unknown. pilots: those among them that
    carry ±1 and no data, numbers relative to DC. pilot_values: what they carry, ±1 each, times one sign for all in a frame, which
    is not known (IEEE 802.11-2020, 17.3.5.10: values 1, 1, 1, -1; the sign is of a sequence of 127 that begins with each packet);
    (): each has a sign of its own that is not known (as in 19.3.11.10, where values move from carrier to carrier).
    """

    fft_size: int = 64
    cyclic_prefix: int = 16
    guards: tuple[int, int] = (4, 3)
    dc_null: bool = True
    constellation: str = "qpsk"
    pilots: tuple[int, ...] = ()
    pilot_values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "guards", tuple(int(g) for g in self.guards))
        if self.fft_size < 2:
            raise ParameterError(f"fft_size: {self.fft_size} must be 2 or more")
        if not 0 <= self.cyclic_prefix <= self.fft_size:
            raise ParameterError(f"cyclic_prefix: {self.cyclic_prefix} must lie between 0 and fft_size ({self.fft_size})")
        if len(self.guards) != 2 or min(self.guards) < 0:
            raise ParameterError(f"guards: {list(self.guards)} must be two counts of carriers, [lower, upper]")
        if getattr(constellation(self.constellation), "rotation", 0):
            raise ParameterError(f"constellation: {self.constellation!r} rotates from symbol to symbol; it is for linear "
                                 "modulation")
        if len(self.carriers) == 0:
            raise ParameterError("guards: they leave no active carrier")
        self._check_pilots()

    def _check_pilots(self) -> None:
        """Put pilots in ascending order. Raises ParameterError where they or their values cannot be so."""
        for name in ("pilots", "pilot_values"):
            given = getattr(self, name)
            if not all(isinstance(k, (int, float, np.integer)) and k == int(k) for k in given):
                raise ParameterError(f"{name}: {list(given)} must be whole numbers")
            object.__setattr__(self, name, tuple(int(k) for k in given))
        pilots, values = self.pilots, self.pilot_values
        unused = [k for k in pilots if k not in self.carriers]
        if unused:
            raise ParameterError(f"pilots: carrier {unused[0]} is not used; guards and dc_null leave {self.carriers[0]} to "
                                 f"{self.carriers[-1]}{' without 0' if self.dc_null else ''}")
        if len(set(pilots)) < len(pilots):
            raise ParameterError(f"pilots: {list(pilots)} must name each carrier once")
        if len(pilots) == len(self.carriers):
            raise ParameterError("pilots: they leave no carrier for data")
        if values and len(values) != len(pilots):
            raise ParameterError(f"pilot_values: {list(values)} must be one for each of {len(pilots)} pilots, or left out")
        if any(abs(v) != 1 for v in values):
            raise ParameterError(f"pilot_values: {list(values)} must be 1 or -1 each")
        order = sorted(range(len(pilots)), key=pilots.__getitem__)
        object.__setattr__(self, "pilots", tuple(pilots[i] for i in order))
        object.__setattr__(self, "pilot_values", tuple(values[i] for i in order if values))

    @property
    def alphabet(self) -> Constellation | Gaussian:
        """The Constellation of the data carriers (or the Gaussian)."""
        return constellation(self.constellation)

    @cached_property
    def unknown_alphabet(self) -> Any:
        """The alphabet of a frame's unknowns, in the order of the columns of `matrix`: a Mixed where there are pilots, else that
        of the data carriers."""
        pilots = self.unknowns - len(self.data)
        return mixed([self.alphabet] * len(self.data) + [constellation("bpsk")] * pilots, f"{self.constellation} with pilots")

    @property
    def unknowns(self) -> int:
        """How many a frame has: data carriers, then pilots, or their common sign where their values are known."""
        return len(self.data) + (1 if self.pilot_values else len(self.pilots))

    @property
    def frame_length(self) -> int:
        """Prefix and body, samples."""
        return self.fft_size + self.cyclic_prefix

    @cached_property
    def carriers(self) -> npt.NDArray[np.int64]:
        """Active carriers as signed indices, ascending: int [n]."""
        k = np.arange(-(self.fft_size // 2), self.fft_size - self.fft_size // 2)
        k = k[self.guards[0]:len(k) - self.guards[1]]
        return k[k != 0] if self.dc_null else k

    @cached_property
    def data(self) -> npt.NDArray[np.int64]:
        """Active carriers that are no pilots, ascending: int [n]."""
        return self.carriers[~np.isin(self.carriers, self.pilots)]

    @cached_property
    def told_by(self) -> tuple[npt.NDArray[np.int64], int | None]:
        """(carriers that show the phase one by one, int [n]; up to 2π over which number): those of data where their constellation
        is known, else pilots; None where neither is so."""
        if self.alphabet.symmetry is not None or not self.pilots:
            return self.data, self.alphabet.symmetry
        return np.array(self.pilots), 2

    @cached_property
    def matrix(self) -> npt.NDArray[np.complex128]:
        """A, complex128 [frame_length, unknowns]: unit-power symbols to a unit-power frame."""
        return self.of_unknowns(self._waves)

    @cached_property
    def _waves(self) -> npt.NDArray[np.complex128]:
        """The carriers' samples, complex128 [frame_length, carriers]."""
        n = np.arange(-self.cyclic_prefix, self.fft_size)
        waves: npt.NDArray[np.complex128] = np.exp(2j * np.pi * np.outer(n, self.carriers) / self.fft_size)
        return waves / np.sqrt(len(self.carriers))

    def of_unknowns(self, waves: npt.NDArray[Any], join: Callable[..., Any] = np.matmul) -> npt.NDArray[Any]:
        """Columns of the carriers [n, carriers] as those of the unknowns [n, unknowns]. join: (the pilots' columns, their values
        [pilots, 1]) -> the column of their common sign."""
        if not self.pilots:
            return waves
        is_pilot = np.isin(self.carriers, self.pilots)
        pilots = waves[:, is_pilot]
        if self.pilot_values:
            pilots = join(pilots, np.array(self.pilot_values)[:, None])
        return np.hstack([waves[:, ~is_pilot], pilots])

    def gains(self, channel: tuple[complex, ...]) -> npt.NDArray[np.complex128]:
        """The channel's gain on each carrier, complex128 [carriers], of unit mean power."""
        k = self.carriers[:, None] * np.arange(len(channel))
        gain: npt.NDArray[np.complex128] = np.exp(-2j * np.pi * k / self.fft_size) @ np.array(channel)
        return gain / np.sqrt(np.mean(abs(gain) ** 2))

    def through(self, channel: tuple[complex, ...]) -> npt.NDArray[np.complex128]:
        """A with the channel's gain on each carrier, complex128 [frame_length, unknowns]; unit mean power."""
        return self.of_unknowns(self._waves * self.gains(channel))

    def gram(self, channel: tuple[complex, ...], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
        """Aᴴ·diag(weight)·A, complex128 [unknowns, unknowns], A as `through` gives it, weight of each sample [frame_length]. Two
        carriers' product depends on their distance alone, so that one transform gives them all."""
        along = np.fft.fft(self._folded(torch.from_numpy(weight)).numpy()) / len(self.carriers)
        gain = self.gains(channel)
        apart = (self.carriers[:, None] - self.carriers) % self.fft_size
        whole: npt.NDArray[np.complex128] = along[apart] * gain.conj()[:, None] * gain
        return self.of_unknowns(self.of_unknowns(whole).conj().T).conj().T if self.pilots else whole

    def centred(self, channel: tuple[complex, ...], centre: float) -> npt.NDArray[np.complex128]:
        """Each carrier's phase at a sample of the frame, with the channel's: complex128 [carriers], of modulus 1. Divided by
        it, carriers have a real `gram` over weights that are even about that sample."""
        gain = self.gains(channel) * np.exp(2j * np.pi * self.carriers * ((centre - self.cyclic_prefix) / self.fft_size))
        phase: npt.NDArray[np.complex128] = np.exp(1j * np.angle(gain))
        return phase

    def matched(self, channel: tuple[complex, ...], frames: Tensor) -> Tensor:
        """Aᴴ·frames by one transform: complex [..., frame_length] -> complex128 [..., unknowns]."""
        spectrum = torch.fft.fft(self._folded(frames.to(torch.complex128)))[..., torch.from_numpy(self.carriers % self.fft_size)]
        seen = spectrum * torch.from_numpy(self.gains(channel).conj() / np.sqrt(len(self.carriers))).to(frames.device)
        return seen @ self._joined.to(seen) if self.pilots else seen

    def made(self, channel: tuple[complex, ...], symbols: Tensor) -> Tensor:
        """A·symbols by one transform: complex [..., unknowns] -> complex128 [..., frame_length]."""
        each = symbols.to(torch.complex128)
        each = each @ self._joined.to(each).mT if self.pilots else each
        spectrum = each.new_zeros(*each.shape[:-1], self.fft_size)
        gain = torch.from_numpy(self.gains(channel) * (self.fft_size / np.sqrt(len(self.carriers)))).to(each.device)
        spectrum[..., torch.from_numpy(self.carriers % self.fft_size)] = each * gain
        body = torch.fft.ifft(spectrum)
        return torch.cat([body[..., self.fft_size - self.cyclic_prefix:], body], -1)

    @cached_property
    def _joined(self) -> Tensor:
        """Which carriers each unknown is on, with what sign: [carriers, unknowns]."""
        return torch.from_numpy(self.of_unknowns(np.eye(len(self.carriers))))

    def _folded(self, frames: Tensor) -> Tensor:
        """Frames [..., frame_length] with their prefixes added to where these were copied from: [..., fft_size]."""
        prefix, body = frames[..., :self.cyclic_prefix], frames[..., self.cyclic_prefix:]
        return body + torch.nn.functional.pad(prefix, (self.fft_size - self.cyclic_prefix, 0))

    def modulate(self, symbols: Tensor) -> Tensor:
        """symbols complex [batch, frames, unknowns] -> complex64 [batch, frames*frame_length]."""
        a = torch.tensor(self.matrix, dtype=torch.complex64)
        return (torch.as_tensor(symbols).to(torch.complex64) @ a.T).flatten(1)


@lru_cache(maxsize=8)
def ofdm_matrix(matrix_key: tuple[Ofdm, tuple[complex, ...]]) -> npt.NDArray[np.complex128]:
    """Ofdm.through of (signal, channel), kept."""
    signal, channel = matrix_key
    return signal.through(channel)
