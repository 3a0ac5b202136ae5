# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of `alpha-rgs train` to datasets: recordings, or windows drawn from a description; and the grid on which they
are aligned."""
import pathlib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from ..errors import ParameterError
from ..io import recordings as files
from ..io.checks import source_warnings
from ..nets import SUPERVISED, build
from ..nets.alignment import improper, pseudo_covariance
from ..sources import mixtures, with_network
from ..sources.base import Structure
from ..sources.ofdm_bursts import LENGTH
from ..sources.toml import load_in_samples
from . import covariance_fit, datasets

CLEAR = 10.0                    # energy of a complementary covariance, in units of chance's, below which there is none: of QPSK
                                # 1 in 20 exceeds 3
_LENGTH, _HELD_OUT = 1280, 2560         # of a window, samples, about; of one that is held out
_FRAMES, _FEWEST = 32, 16       # symbols of a burst, and at least: a quarter of them is shown too
_CONSTANT, _LAGS = 1 << 17, 32  # samples in which timing and phase are constant; lags of a complementary covariance
_LONG = 262_144                 # samples that a covariance is fitted to
_USED = 0.999                   # share of samples that are not silence, below which there is a warning


class DatasetBuilder:
    """What a network is trained and judged on.

    source, held_out: datasets (datasets.py). structure: the source that the file describes, or None. covariance: a Gaussian prior
    of recordings, and of sources whose windows are not aligned. pseudo: complementary covariance by which the network estimates
    timing and phase (nets/alignment.py), complex64 [stride, lags], or None. carriers: what an OfdmDenoiser begins with and its
    table, or None. noise: what the network learns to remove, or None: Gaussian. stride, kernel: of the network, samples. grid: to
    which the windows are aligned that it sees, samples, 1: none. names: of the files. sample_rate: Hz, or None. warnings:
    sentences. about: a text that differs where the datasets do.
    """

    def __init__(self, recordings: Sequence[pathlib.Path], synthetic: pathlib.Path | None, network: str, stride: int | None,
                 period: int | None, window: int | None, datatype: str | None, sample_rate: float | None) -> None:
        """Arguments: as `alpha-rgs train` takes them; period: samples, 1 for none, or None: to be estimated. Raises
        ParameterError, RecordingError."""
        self.names = [path.name for path in recordings]
        self.warnings: list[str] = []
        self.sample_rate: float | None = None
        self.stride, self.network, self.about = stride or 4, network, ""
        self.structure: Any = None
        self.covariance: Any = None
        self.source: Any = None
        self.held_out: Any = None
        self.noise: Any = None
        self.pseudo: Tensor | None = None
        self.carriers: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        if period != 1 and (synthetic or stride):
            raise ParameterError("--period: is for recordings, and is the stride then; leave out " + (
                "--synthetic" if synthetic else "--stride"))
        if synthetic:
            self._describe(synthetic)
        self._check_network()
        if network == "bursts":
            self._draw_bursts(stride, window)
        elif self.structure is None:
            self._cut([files.load(path, datatype, sample_rate) for path in recordings], period, window)
        elif self.structure.structure is Structure.CHAIN and network not in SUPERVISED:
            self._draw_symbols(stride, window)
        else:
            self._draw(self._window(window))

    def _describe(self, path: pathlib.Path) -> None:
        self.structure = load_in_samples(path)
        self.names, self.about = [path.name], repr(self.structure)
        if self.structure.learned or self.structure.fitted:
            raise ParameterError(f"{path}: describes no signal that could be drawn; give a TOML file of kind "
                                 "linear-modulation, ofdm or gmsk")

    def _check_network(self) -> None:
        if self.network == "ofdm" and (self.structure is None or self.structure.structure is not Structure.FRAMES):
            raise ParameterError("--network: ofdm needs --synthetic with a file of kind ofdm, for whose fft_size and "
                                 "cyclic_prefix it is built")
        if (self.network == "bursts") != (self.structure is not None and self.structure.structure is Structure.BURSTS):
            raise ParameterError("--network: bursts and a file with preset = \"802.11\" (--synthetic) need each other")

    def _window(self, window: int | None) -> int:
        """Samples of a training window, whole strides."""
        return -(-(window or _LENGTH) // self.stride) * self.stride

    def _draw_bursts(self, stride: int | None, window: int | None) -> None:
        """Carriers of 802.11 bursts."""
        if stride:
            raise ParameterError("--stride: bursts has none; leave it out")
        frames = (window or _FRAMES * LENGTH) // LENGTH // 4 * 4        # so that halves and quarters are whole ones
        if frames < _FEWEST:
            raise ParameterError(f"--window: {window} samples hold {frames} symbols of 802.11; give {_FEWEST * LENGTH} or more")
        self.source, self.held_out = datasets.Carriers(frames), datasets.Carriers(_FRAMES)
        self.noise = datasets.CarrierNoise()

    def _draw_symbols(self, stride: int | None, window: int | None) -> None:
        """A linear modulation, aligned to its symbols."""
        signal = self.structure.signal
        if stride not in (None, signal.samples_per_symbol):
            raise ParameterError(f"--stride: {stride} must be the linear modulation's samples_per_symbol, "
                                 f"{signal.samples_per_symbol}; leave it out")
        self.stride = signal.samples_per_symbol
        self.source = datasets.Linear(self.structure, -(-(window or _LENGTH) // self.stride), self.kernel)
        self.held_out = datasets.Linear(self.structure, _HELD_OUT // self.stride, self.kernel)

    def _draw(self, samples: int) -> None:
        """Any other source that can be drawn."""
        self.source, self.held_out = datasets.Drawn(self.structure, samples), datasets.Drawn(self.structure, _HELD_OUT)
        if self.network == "ofdm":
            self._learn_carriers()
            return
        generator = torch.Generator().manual_seed(1)
        self.covariance = covariance_fit.fit([self.source.draw(-(-_LONG // samples), generator).s.flatten().numpy()], 1).prior
        repeats = self.structure.pseudo_period
        if repeats and self.network == "fast":
            self.stride, constant = repeats, replace(self.structure, timing=0.0, phase=0.0)
            self._estimate_pseudo(datasets.Drawn(constant, 400_000).draw(1, torch.Generator().manual_seed(1)).s[0])

    def _cut(self, loaded: list[files.Recording], period: int | None, window: int | None) -> None:
        """Windows of recordings, aligned to a period where there is one."""
        self.sample_rate = files.common_rate(loaded)
        self.warnings = [line for recording in loaded for line in source_warnings(recording)]
        waves = [r.samples for r in loaded]
        self.about = " ".join(f"{r.path} {len(r.samples)} {zlib.crc32(r.samples.tobytes())}" for r in loaded)
        fit = covariance_fit.fit(waves, period, None, self.sample_rate, self.names)
        self.covariance, periodic, samples = fit.prior, fit.prior.period > 1, self._window(window)
        if periodic:
            self.stride = fit.prior.period
            samples = self._window(window)
        elif period is None:
            self.warnings.append("no clear period was found; the windows are not aligned to any")
        if periodic and self.network == "fast":
            self._estimate_pseudo(max(waves, key=len)[:_CONSTANT])
        aligned = fit.prior if periodic and self.pseudo is None and self.network not in SUPERVISED else None
        self.source = datasets.Recorded(waves, self.names, samples, prior=aligned)
        self.held_out = datasets.Recorded(waves, self.names, samples, held_out=True, prior=aligned)
        if fit.used < _USED:
            self.warnings.append(f"{100 * (1 - fit.used):.3g} % of the samples are silence and were left out")

    def _learn_carriers(self) -> None:
        """Where an OfdmDenoiser begins: carriers and points as the source's windows show them."""
        signal = self.structure.signal
        sizes = {"kind": "ofdm", "fft_size": signal.fft_size, "cyclic_prefix": signal.cyclic_prefix}
        seen = build(sizes | {"points": 1})
        seen.spectrum = self.source.spectrum(512)
        points, fold, places = seen.learn(self.held_out.draw(64, torch.Generator().manual_seed(1)).s)
        self.carriers = {"power": seen.power, "places": places}, sizes | {"points": points} | ({"fold": fold} if fold else {})

    def _estimate_pseudo(self, wave: Any) -> None:
        """Let the network estimate timing and phase itself, if the squares of such a source do not average out."""
        wave = wave / np.mean(abs(np.asarray(wave)) ** 2) ** 0.5
        table = pseudo_covariance(wave, self.stride, min(2 * self.stride, _LAGS))
        if improper(table, len(wave)) > CLEAR:
            self.pseudo = table

    @property
    def kernel(self) -> int:
        """Taps of fast's first layer: five hops of short ones, three of long ones."""
        if self.structure is not None and self.structure.structure is Structure.CHAIN:
            reach = 2 * -(-int(self.structure.signal.half_length) // self.stride) + 1
            return self.stride * min(max(reach, 3), 9)
        return self.stride * (3 if self.stride >= 16 else 9 if self.pseudo is None else 5)

    @property
    def grid(self) -> int:
        """To which windows are aligned before the network sees them, samples; 1: to none."""
        return int(self.source.stride)

    def prior(self, denoiser: Any) -> Any:
        """The learned prior of that trained network."""
        if self.carriers is not None:           # of the carriers' constellation and the phase the network alone knows
            unknown = replace(self.structure.signal, constellation="gaussian")
            return with_network(replace(self.structure, signal=unknown, phase=None, frame_offset=None), denoiser)
        own = isinstance(self.source, (datasets.Linear, datasets.Carriers))
        return with_network(self.structure if own else self.covariance, denoiser)


class Mixtures(datasets.SignalNoise):
    """What a supervised network is shown beside its source: the other one as its file aligns it in the window (nuisances that the
    file lacks are drawn), and white noise of noise_db (least, greatest; dB over the source), or none for None.

    The density is the whole power's, white: the loss has no other measure of the ratio.
    """

    def __init__(self, prior: Any, sir_db: tuple[float, float], noise_db: tuple[float, float] | None = None) -> None:
        super().__init__(prior, sir_db)
        self.prior, self.noise_db = prior, noise_db

    @property
    def floor(self) -> float:
        """Variance of the white noise where it is least, per unit power of the source."""
        return 0.0 if self.noise_db is None else 10 ** (self.noise_db[0] / 10)

    def draw(self, batch: int, samples: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """See SignalNoise.draw."""
        other = mixtures.alone(self.prior, batch, samples, generator)[0]
        level, noise = (torch.zeros(batch, 1) if db is None else 10 ** ((db[0] + (db[1] - db[0]) * torch.rand(
            batch, 1, generator=generator)) / 10) for db in (self.sir_db, self.noise_db))
        white = mixtures.noise((batch, samples), generator) if self.noise_db else torch.zeros(())
        return level.sqrt() * other + noise.sqrt() * white, level + noise, torch.ones(batch, dtype=torch.bool)
