# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure separators on recorded signals: QPSK under and over WiFi (both recorded), and under and over recordings of others.

folder, throughout: the one that holds real_mix.py and other receivers, with ../captures beside it; neither is part of this
repository. Raises ParameterError where they are missing. Of what the receivers read only counts are kept.
"""
import contextlib
import importlib
import io
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.separators.base import picked
from alpha_rgs.sources import Source, from_dict, load
from alpha_rgs.sources.linear_modulation import NUISANCES
from alpha_rgs.sources.mixtures import draw
from alpha_rgs.streaming import separate_stream
from alpha_rgs.training import covariance_fit as fitting
from scipy import signal

RECORDINGS = ("wifi_11n_6.5M_radiated", "wifi_11a_6M_conducted", "wifi_11n_7.2M_sgi_conducted", "wifi_11a_12M_conducted",
              "wifi_11n_19.5M_radiated", "wifi_11a_24M_conducted")
_QPSK = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8}
_WIFI = {"kind": "ofdm", "preset": "802.11"}
_SPS = 16
_ALIKE_DB = 1.0         # apart, at least, are qualities of forty symbols that differ
TRUSTED_DB = 7.0        # quality at which one symbol in forty is wrong


def recorded(folder, sir_db, wifi=RECORDINGS[0], seeds=6, inside=False, first=0, prior=None, given=False):
    """A recorded RRC-QPSK frame under recorded WiFi, of which the kinds alone are known.

    first: seed of the first draw. inside: windows within one WiFi frame's data, else from any busy place. prior: of the WiFi, a
    path, default preset = "802.11". given: timing, carrier offset, phase and gain of the QPSK are, as found in its frame alone.
    Returns a dict: wifi,
    sir_db, errors (mean of 280 bits, as real_mix counts them in the separated waveform, looking for the frame itself), worst,
    matched_filter (mean, nothing separated), quality (dB, mean), ms (per window).
    """
    real_mix, = _scoring(folder, "real_mix")
    wifi_prior = load(prior) if prior else from_dict(_WIFI)
    soi = _alone(str(folder)) if given else from_dict(_QPSK)
    mixtures = [real_mix.mix(sir_db, seed, wifi=wifi, whole_frame=inside) for seed in range(first, first + seeds)]
    began = time.perf_counter()
    out = separate(np.stack([m["y"] for m in mixtures]), soi, wifi_prior)
    spent = time.perf_counter() - began
    errors = [real_mix.bit_errors(s, m["bits"]) for s, m in zip(out.soi.numpy(), mixtures)]
    baseline = [real_mix.bit_errors(m["y"], m["bits"]) for m in mixtures]
    return dict(wifi=wifi, sir_db=sir_db, errors=float(np.mean(errors)), worst=int(max(errors)),
                matched_filter=float(np.mean(baseline)), quality=float(out.quality.mean()), ms=1e3 * spent / seeds)


@lru_cache(maxsize=1)
def _alone(folder):
    """The recorded QPSK's prior, its nuisances as they are found in the frame by itself."""
    real_mix, = _scoring(folder, "real_mix")
    soi = from_dict(_QPSK)
    found = separate(real_mix.soi()[0], soi, from_dict(_WIFI)).estimated
    return replace(soi, **{key: float(found[key][0]) for key in NUISANCES})


def wanted(folder, sir_db, wifi="wifi_11a_24M_conducted"):
    """Recorded WiFi is wanted, the recorded QPSK frame end to end disturbs it, the kinds alone known.

    sir_db: WiFi over QPSK, mean powers. Returns a dict: wifi, sir_db, frames with a valid checksum: alone, mixed, separated.
    """
    real_mix, iqlib, receiver = _scoring(folder, "real_mix", "iqlib", "wifi")
    x = iqlib.cs16(real_mix.CAPTURES / "wifi" / f"{wifi}.dat")
    x = x / np.sqrt(np.mean(abs(x) ** 2))
    qpsk = real_mix.soi()[0]
    gain = 10 ** (-sir_db / 20)
    y = (x + gain * np.tile(qpsk, -(-len(x) // len(qpsk)))[:len(x)]).astype(np.complex64)
    out = separate_stream(y, from_dict(_QPSK), from_dict(_WIFI))

    def valid(samples):
        return sum(bool(frame.get("fcs_ok")) for frame in receiver.decode(samples))

    return dict(wifi=wifi, sir_db=sir_db, alone=valid(x), mixed=valid(y), separated=valid(out.interference))


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded signal, prepared: x complex64 [samples], mean power 1 over the windows. These begin at `starts`, int [windows]
    (multiples of 16), and hold `window` samples, the outer `trim` on each side for context only. prior, options: of it, for
    `separate`. carrier_offset: of the QPSK added to it, cycles per sample. count: waveform [samples] -> units that a receiver
    gets out of it, or None."""

    x: np.ndarray
    starts: np.ndarray
    window: int
    trim: int
    prior: Source
    options: dict = field(default_factory=dict)
    carrier_offset: float = 0.0
    count: Callable | None = None


def others(folder, name, sir_db, priors="priors", seed=1):
    """A synthetic RRC-QPSK (16 samples per symbol, roll-off 0.35; timing, phase, gain and carrier offset given) under and over a
    recorded signal, a name of OTHERS. sir_db: QPSK over recording, mean powers; priors: folder that holds gmsk.prior.

    Returns a dict: signal, sir_db; bit error rates of the QPSK, matched_filter (nothing separated), separated, gated (see gate);
    kept: share of the windows whose separation passes the gate; units that a receiver of the recorded signal gets (None: there is
    no receiver) alone, mixed, less_soi (from the mixture less the separated QPSK), less_gated (less the gated QPSK where it is
    of quality TRUSTED_DB or more, see remainder); ms per window.
    """
    case = _prepared(str(folder), name, str(priors))
    soi = from_dict({**_QPSK, "timing": _SPS / 2, "phase": 0.4, "gain": 1.0, "carrier_offset": case.carrier_offset})
    qpsk = draw(soi, soi, 1, len(case.x), None, seed=seed)
    y = qpsk.y[0] + 10 ** (-sir_db / 20) * torch.from_numpy(case.x)
    windows = y.unfold(0, case.window, 1)[case.starts]
    filtered = separate(windows, soi, case.prior, "matched_filter", start=case.starts)
    began = time.perf_counter()
    out = separate(windows, soi, case.prior, start=case.starts, **case.options)
    spent = time.perf_counter() - began
    gated, kept = gate(out, filtered)
    number = torch.arange(case.trim // _SPS, (case.window - case.trim) // _SPS)
    bits = qpsk.bits[0].reshape(-1, 2)[torch.from_numpy(case.starts)[:, None] // _SPS + number].flatten(1)

    def wrong(result):
        return float((soi.signal.alphabet.slice(result.symbols[:, number]) != bits).float().mean())

    def units(rest=windows):
        whole, inner = y.numpy().copy(), slice(case.trim, case.window - case.trim)
        for start, piece in zip(case.starts, rest.numpy()):
            whole[start:][inner] = piece[inner]
        return case.count and int(case.count(whole))

    return dict(signal=name, sir_db=sir_db, matched_filter=wrong(filtered), separated=wrong(out), gated=wrong(gated),
                kept=float(kept.float().mean()), alone=case.count and int(case.count(case.x)), mixed=units(),
                less_soi=units(windows - out.soi), less_gated=units(remainder(windows, gated)), ms=1e3 * spent / len(windows))


def gate(separated, filtered):
    """(Separation, bool [batch]): per window the separation where its quality is the higher one by 1 dB or more, else what the
    method "matched_filter" makes of the same window; and where it is the separation. NaN is no quality."""
    kept = separated.quality >= filtered.quality + _ALIKE_DB
    return picked(separated, filtered, kept), kept


def remainder(mixture, separation, trusted_db=TRUSTED_DB):
    """The mixture [batch, samples] less the estimated SOI where its quality is trusted_db or more, elsewhere as it is: one wrong
    symbol subtracted adds four times its power."""
    return torch.where((separation.quality >= trusted_db)[:, None], mixture - separation.soi, mixture)


@lru_cache(maxsize=1)
def _prepared(folder, name, priors):
    if name not in OTHERS:
        raise ParameterError(f"signal: {name!r} is not known; one of {', '.join(OTHERS)}")
    _scoring(folder, "real_mix")
    case = OTHERS[name](folder, pathlib.Path(folder).resolve().parent / "captures", priors)
    power = np.mean([np.mean(abs(case.x[k:k + case.window]) ** 2) for k in case.starts])
    return replace(case, x=(case.x / np.sqrt(power)).astype(np.complex64))


def _gsm(folder, captures, priors):
    """A GSM carrier with all slots busy, at 4 samples per symbol; a window per slot, from the guard time before it on. Units:
    synchronisation bursts with parity right and blocks with the Fire code's."""
    iqlib, receiver = _scoring(folder, "iqlib", "gsmdec")
    x = _turned(signal.resample_poly(iqlib.cf32(captures / "gsm" / "gsm_940.8MHz_d118.cfile"), 767, 384), -0.002158)
    starts = (25 + 625 * np.arange((len(x) - 665) // 625 + 1)) // _SPS * _SPS

    def count(samples):
        with tempfile.NamedTemporaryFile() as file, contextlib.redirect_stdout(io.StringIO()):      # it prints what it reads
            samples.astype(np.complex64).tofile(file.name)
            found = receiver.run(file.name, receiver.FB * receiver.OS, 0.0)
        return len(found["sch"]) + sum(block["fire_ok"] for block in found["blocks"])

    return Recording(x, starts, 640, 0, load(pathlib.Path(priors) / "gmsk.prior"), count=count)


def _gfsk(folder, captures, priors):
    """Bursts of GFSK, h = 1/2, brought to 4 samples per bit and to the middle of the band; a window per burst, where they lie
    being known. Units: frames of which a discriminator reads all but 2 bits as documented, 6 at each end left out: QPSK symbols
    centred outside the windows reach them, and nothing takes those off."""
    iqlib, = _scoring(folder, "iqlib")
    x = _turned(signal.resample_poly(iqlib.cs8(captures / "gfsk" / "rccar_light.cs8"), 2, 1), -0.0316)
    truth = json.loads((captures / "gfsk" / "rccar_light_truth.json").read_text())
    frame = np.unpackbits(np.frombuffer(bytes.fromhex(truth["frame_hex"]), np.uint8))[6:-6]
    at = 2 * np.array([f["sample"] for f in truth["frames"]])

    def count(samples):
        turned = (samples[4:] * samples[:-4].conj()).imag > 0
        bits = at[:, None] + 4 * np.arange(6, 6 + len(frame))
        return int((np.min([(turned[bits + d] != frame).sum(1) for d in range(-8, 9)], 0) <= 2).sum())

    prior = from_dict({"kind": "gfsk", "samples_per_symbol": 4, "bandwidth_time": 0.7, "modulation_index": 0.5, "span": 3})
    # timing and phase are first estimated in all of the interference's power: from a higher level on, fewer windows end in a
    # false lock
    return Recording(x, at // _SPS * _SPS, 784, 0, prior, {"steps": 5, "levels": (3.0, 0.1)}, count=count)


def _adsb(folder, captures, priors):
    """Mode S. Units: messages with a valid checksum."""
    iqlib, receiver = _scoring(folder, "iqlib", "adsb")
    return _fitted(iqlib.cu8(captures / "adsb" / "adsb_modes1.cu8"), 640, count=lambda y: len(receiver.decode(abs(y), 2e6)))


def _lte(folder, captures, priors):
    """A downlink of 20 MHz, at 19.2 MS/s; the QPSK lies on the synchronisation signals. Units: radio frames (10 ms) in which the
    cell is found."""
    iqlib, receiver = _scoring(folder, "iqlib", "lte")
    name, length = captures / "lte" / "lte_dl_1815.3MHz_hackrf", 192_000
    cell = json.loads((name.parent / f"{name.name}_truth.json").read_text())["pci"]
    x = iqlib.cs8(name.parent / f"{name.name}.cs8")

    def count(samples):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for k in range(0, len(samples) - length + 1, length):
                receiver.run(samples[k:k + length], 19.2e6, "")
        return printed.getvalue().split().count(str(cell))         # after "PCI"

    return _fitted(x - x.mean(), 640, count=count)


def _nbiot(folder, captures, priors):
    iqlib, = _scoring(folder, "iqlib")
    return _fitted(iqlib.cs16(captures / "nbiot" / "V16-beacon-NB-IoT-uplink.sigmf-data"), 1280)


def _v2x(folder, captures, priors):
    iqlib, = _scoring(folder, "iqlib")
    return _fitted(iqlib.cf32(captures / "v2x" / "v2x_sidelink_huawei.cf32"), 1280, 0.06)


def _fitted(x, window, carrier_offset=0.0, trim=64, count=None):
    """A Recording of the second half of x, with a stationary prior fitted to the first; windows of less than a tenth of the mean
    power are left out. Linear MMSE: α-RGS takes what a Gaussian can pass for as its own, and its quality with it."""
    half = len(x) // 2
    prior, x = fitting.fit([x[:half]]).prior, x[half:]
    starts = np.arange(0, len(x) - window + 1, window - 2 * trim)
    power = np.array([np.mean(abs(x[k:k + window]) ** 2) for k in starts])
    return Recording(x, starts[power >= 0.1 * power.mean()], window, trim, prior, {"method": "lmmse", "covariance": "stationary"},
                     carrier_offset, count)


def _turned(x, cycles):
    """x with `cycles` per sample added to its frequency."""
    return x * np.exp(2j * np.pi * cycles * np.arange(len(x)))


OTHERS = {"gsm": _gsm, "gfsk": _gfsk, "adsb": _adsb, "lte": _lte, "nbiot": _nbiot, "v2x": _v2x}


def _scoring(folder, *names):
    """Modules of the folder that holds receivers and recordings."""
    folder = pathlib.Path(folder)
    if not (folder / "real_mix.py").exists():
        raise ParameterError(f"{folder}: there is no real_mix.py; name the folder that holds it")
    sys.path.insert(0, str(folder))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(folder))
