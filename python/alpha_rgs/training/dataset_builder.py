# SPDX-License-Identifier: GPL-3.0-or-later
"""What `alpha-rgs train` trains on: recordings, or windows drawn from a description; and on what grid they lie."""
import zlib
from dataclasses import replace

import numpy as np
import torch

from ..errors import ParameterError
from ..io import recordings as files
from ..io.checks import source_warnings
from ..nets import SUPERVISED, build
from ..nets.alignment import improper, pseudo_covariance
from ..sources import load, mixtures, with_network
from ..sources.ofdm_bursts import LENGTH
from . import covariance_fit as fitting
from . import datasets as sources

_LENGTH = 1280                  # of a window, samples, about
_FRAMES, _FEWEST = 32, 16       # symbols of a burst, and at least: a quarter of them is shown too
_STILL, _LAGS = 1 << 17, 32     # samples in which timing and phase stay where they are; lags of a complementary covariance
_CLEAR = 10.0                   # energy of one, in units of chance's, below which there is none: of QPSK 1 in 20 exceeds 3


class Corpus:
    """source, held_out: as in sources.py. structure: the prior that the file describes, or None. covariance: a Gaussian prior of
    recordings, and of what no window can be laid by. pseudo: complementary covariance by which the network finds timing and phase
    (nets/alignment.py), or None. carriers: what an OfdmDenoiser begins with and its table, or None. noise: what the network
    learns to take off, or None: Gaussian. stride, kernel: of the network; grid: on which windows lie that it sees, 1: anywhere.
    names, sample_rate (Hz or None), warnings (sentences), about: what tells this corpus from others.
    """

    def __init__(self, recordings, synthetic, network, stride, period, window, datatype, sample_rate):
        """Arguments: as `alpha-rgs train` takes them; period: samples, 1 for none, or None: found. Raises ParameterError,
        RecordingError."""
        self.names, self.warnings, self.structure, self.sample_rate = [path.name for path in recordings], [], None, None
        self.stride = stride or 4
        if period != 1 and (synthetic or stride):
            raise ParameterError("--period: is for recordings, and is the stride then; leave out " + (
                "--synthetic" if synthetic else "--stride"))
        if synthetic:
            self.structure = load(synthetic)
            self.names = [synthetic.name]
            self.about = repr(self.structure)
            if self.structure.learned or self.structure.kind == "gaussian":
                raise ParameterError(f"{synthetic}: describes no signal that could be drawn; give a TOML file of kind "
                                     "linear-modulation, ofdm or gmsk")
        self.pseudo = self.carriers = self.noise = None
        if network == "ofdm" and (not synthetic or self.structure.kind != "ofdm"):
            raise ParameterError("--network: ofdm needs --synthetic with a file of kind ofdm, for whose fft_size and "
                                 "cyclic_prefix it is built")
        if (network == "bursts") != (self.structure is not None and self.structure.kind == "ofdm-bursts"):
            raise ParameterError("--network: bursts and a file with preset = \"802.11\" (--synthetic) need each other")
        if network == "bursts":
            if stride:
                raise ParameterError("--stride: bursts has none; leave it out")
            frames = (window or _FRAMES * LENGTH) // LENGTH // 4 * 4        # so that halves and quarters are whole ones
            if frames < _FEWEST:
                raise ParameterError(f"--window: {window} samples hold {frames} symbols of 802.11; give {_FEWEST * LENGTH} or "
                                     "more")
            self.source, self.held_out = sources.Carriers(frames), sources.Carriers(_FRAMES)
            self.noise = sources.CarrierNoise()
            return
        if synthetic and self.structure.kind == "linear-modulation" and network not in SUPERVISED:
            signal = self.structure.signal
            if stride not in (None, signal.samples_per_symbol):
                raise ParameterError(f"--stride: {stride} must be the linear modulation's samples_per_symbol, "
                                     f"{signal.samples_per_symbol}; leave it out")
            self.stride = signal.samples_per_symbol
            self.source = sources.Linear(self.structure, -(-(window or _LENGTH) // self.stride), self.kernel)
            self.held_out = sources.Linear(self.structure, 2560 // self.stride, self.kernel)
            return
        samples = -(-(window or _LENGTH) // self.stride) * self.stride
        if synthetic:
            self.source, self.held_out = sources.Drawn(self.structure, samples), sources.Drawn(self.structure, 2560)
            if network == "ofdm":
                self._look()
                return
            long = self.source.draw(-(-262144 // samples), torch.Generator().manual_seed(1)).s.flatten().numpy()
            self.covariance = fitting.fit([long], 1).prior
            if self.structure.kind == "gmsk" and network == "fast":
                self.stride = 2 * self.structure.signal.samples_per_symbol      # of which its squares repeat
                still = replace(self.structure, timing=0.0, phase=0.0)
                self._find(sources.Drawn(still, 400_000).draw(1, torch.Generator().manual_seed(1)).s[0])
            return
        loaded = [files.load(path, datatype, sample_rate) for path in recordings]
        self.sample_rate = files.common_rate(loaded)
        self.warnings = [line for recording in loaded for line in source_warnings(recording)]
        waves = [r.samples for r in loaded]
        self.about = " ".join(f"{r.path} {len(r.samples)} {zlib.crc32(r.samples.tobytes())}" for r in loaded)
        fit = fitting.fit(waves, period, None, self.sample_rate, self.names)
        self.covariance, periodic = fit.prior, fit.prior.period > 1
        if periodic:
            self.stride = fit.prior.period
            samples = -(-(window or _LENGTH) // self.stride) * self.stride
        elif period is None:
            self.warnings.append("no clear period was found; the network lies anywhere")
        if periodic and network == "fast":
            self._find(max(waves, key=len)[:_STILL])
        known = fit.prior if periodic and self.pseudo is None and network not in SUPERVISED else None
        self.source = sources.Recorded(waves, self.names, samples, prior=known)
        self.held_out = sources.Recorded(waves, self.names, samples, held_out=True, prior=known)
        if fit.used < 0.999:
            self.warnings.append(f"{100 * (1 - fit.used):.3g} % of the samples are silence and were left out")

    def _look(self):
        """Where an OfdmDenoiser begins: carriers and points as the source's windows show them."""
        signal = self.structure.signal
        sizes = {"kind": "ofdm", "fft_size": signal.fft_size, "cyclic_prefix": signal.cyclic_prefix}
        seen = build(sizes | {"points": 1})
        seen.spectrum = self.source.spectrum(512)
        points, fold, places = seen.learn(self.held_out.draw(64, torch.Generator().manual_seed(1)).s)
        self.carriers = {"power": seen.power, "places": places}, sizes | {"points": points} | ({"fold": fold} if fold else {})

    def _find(self, wave):
        """Let the network find timing and phase itself, if the squares of such a source do not average out."""
        wave = wave / np.mean(abs(np.asarray(wave)) ** 2) ** 0.5
        table = pseudo_covariance(wave, self.stride, min(2 * self.stride, _LAGS))
        if improper(table, len(wave)) > _CLEAR:
            self.pseudo = table

    @property
    def kernel(self):
        """Taps of fast's first layer: five hops of short ones, three of long ones."""
        if self.structure is not None and self.structure.kind == "linear-modulation":
            reach = 2 * -(-int(self.structure.signal.half_length) // self.stride) + 1
            return self.stride * min(max(reach, 3), 9)
        return self.stride * (3 if self.stride >= 16 else 9 if self.pseudo is None else 5)

    @property
    def grid(self):
        """On which windows are laid before the network sees them; 1: anywhere."""
        return self.source.stride

    def prior(self, denoiser):
        """The learned prior."""
        if self.carriers is not None:           # of the carriers' constellation and the phase the network alone knows
            unknown = replace(self.structure.signal, constellation="gaussian")
            return with_network(replace(self.structure, signal=unknown, phase=None, frame_offset=None), denoiser)
        own = isinstance(self.source, (sources.Linear, sources.Carriers))
        return with_network(self.structure if own else self.covariance, denoiser)


class Mixtures(sources.SignalNoise):
    """What a supervised network is shown beside its source: the other one as its file lays it in the window (nuisances that the
    file lacks are drawn), and white noise of noise_db (least, greatest; dB over the source), or none for None.

    The density is the whole power's, white: by it alone are ratios told apart, for the loss.
    """

    def __init__(self, prior, sir_db, noise_db=None):
        super().__init__(prior, sir_db)
        self.prior, self.noise_db = prior, noise_db

    @property
    def floor(self):
        """Variance of the white noise where it is least, per unit power of the source."""
        return 0.0 if self.noise_db is None else 10 ** (self.noise_db[0] / 10)

    def draw(self, batch, samples, generator):
        """See SignalNoise.draw."""
        other = mixtures.alone(self.prior, batch, samples, generator)[0]
        level, noise = (torch.zeros(batch, 1) if db is None else 10 ** ((db[0] + (db[1] - db[0]) * torch.rand(
            batch, 1, generator=generator)) / 10) for db in (self.sir_db, self.noise_db))
        white = mixtures.noise((batch, samples), generator) if self.noise_db else 0
        return level.sqrt() * other + noise.sqrt() * white, level + noise, torch.ones(batch, dtype=torch.bool)
