# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure separators against the truth: isolated windows, streams, recorded signals. The same seed gives the same figures."""
import importlib
import math
import pathlib
import sys
import time

import numpy as np
import torch

from .engine import separate_stream
from .errors import ParameterError
from .mixtures import draw, paper_priors
from .priors import LinearModulation, Ofdm
from .separators import separate
from .signals import LinearModulation as LinearSignal
from .signals import Ofdm as OfdmSignal

SIRS = (-3, -6, -9, -12, -15, -18, -21, -24)
BATCH = 50


def isolated(method, sir_db, windows=100, snr_db=None, seed=1, constellation="qpsk", **options):
    """The experiment of the paper: windows of 160 symbols each, OFDM offset and phase drawn and then estimated.

    Returns a dict: sir_db, errors, bits, ber, standard_error, interior_errors (all but the 16 outer symbols of each side),
    offset_errors, mse_db (of the soi waveform), quality_db, true_quality_db, milliseconds (per window), evaluations.
    """
    soi, ofdm = paper_priors(constellation)
    errors, interior, mse, scatter, quality, wrong, seconds = [], 0, [], [], [], 0, 0.0
    for first in range(0, windows, BATCH):
        mixture = draw(soi, ofdm, min(BATCH, windows - first), 2560, sir_db, snr_db, seed=seed * 1000 + first)
        began = time.perf_counter()
        out = separate(mixture.y, soi, ofdm, method, **options)
        seconds += time.perf_counter() - began
        wrong_bits = soi.signal.alphabet.slice(out.symbols) != mixture.bits
        errors += wrong_bits.sum(1).tolist()
        interior += int(wrong_bits[:, 32:-32].sum())
        mse += (out.soi - mixture.s).abs().square().mean(1).tolist()
        truth = soi.signal.alphabet.map(mixture.bits)
        scatter += (out.symbols - truth).abs().square().mean(1).tolist()
        quality += out.quality.tolist()
        wrong += int((out.estimated["frame_offset"] != mixture.interference.frame_offset).sum())
    per_window = 2 * soi.symbols
    return dict(sir_db=sir_db, errors=sum(errors), bits=windows * per_window, ber=sum(errors) / (windows * per_window),
                standard_error=float(np.std(errors) / per_window / math.sqrt(windows)), interior_errors=interior,
                offset_errors=wrong, mse_db=_decibels(mse), quality_db=float(np.mean(quality)),
                true_quality_db=-_decibels(scatter), milliseconds=1e3 * seconds / windows, evaluations=out.evaluations)


def stream(method, sir_db, samples=800_000, snr_db=None, seed=1, window=2560, hop=2048, progress=None, **options):
    """One continuous mixture, separated in overlapping windows. Returns a dict: sir_db, errors, bits, ber, seam_errors (within
    two symbols of a window's seam), sir_estimate_db, quality_db, samples_per_second."""
    soi, ofdm = paper_priors(symbols=None)
    mixture = draw(soi, ofdm, 1, samples, sir_db, snr_db, seed=seed)
    y = mixture.y[0].numpy()
    separate_stream(y[:8 * window], soi, ofdm, window, hop, method, **options)      # filters are made once
    out = separate_stream(y, soi, ofdm, window, hop, method, progress=progress, **options)
    wrong_bits = soi.signal.alphabet.slice(torch.from_numpy(out.symbols)) != mixture.bits[0]
    wrong = wrong_bits.reshape(-1, 2).any(1).numpy()
    sps = soi.signal.samples_per_symbol
    centre = float(soi.timing) + sps * np.arange(len(wrong))
    seam = ((centre - (window - hop) / 2 + hop / 2) % hop - hop / 2)
    bits, errors = int(mixture.bits.numel()), int(wrong_bits.sum())
    return dict(sir_db=sir_db, errors=errors, bits=bits, ber=errors / bits, seam_errors=int(wrong[abs(seam) <= 2 * sps].sum()),
                sir_estimate_db=float(np.median(out.sir_db)), quality_db=float(np.mean(out.quality)),
                samples_per_second=samples / out.seconds)


def recorded(folder, sir_db, wifi="wifi_11n_6.5M_radiated", seeds=6, method="joint", **options):
    """A recorded RRC-QPSK frame under recorded WiFi: windows inside one WiFi frame's data (folder: of real_mix.py).

    Given: SIR, the QPSK's timing, phase and gain (fitted to it alone), the WiFi's frame and carrier offset. The carriers are
    Gaussian. Returns a dict: wifi, sir_db, errors (mean of 280 bits), matched_filter (the same, nothing separated).
    """
    folder = pathlib.Path(folder)
    if not (folder / "real_mix.py").exists():
        raise ParameterError(f"{folder}: there is no real_mix.py; name the folder that holds it")
    sys.path.insert(0, str(folder))
    try:
        real_mix = importlib.import_module("real_mix")
    finally:
        sys.path.remove(str(folder))
    soi, bits = _fit(*real_mix.soi())
    errors, baseline = [], []
    guards = (6, 5) if "11a" in wifi else (4, 3)
    for seed in range(seeds):
        mixture = real_mix.mix(sir_db, seed, wifi=wifi, whole_frame=True)
        prefix = int(mixture["frame_length"]) - 64
        ofdm = Ofdm(OfdmSignal(64, prefix, guards, True, "gaussian"), frame_offset=int(mixture["frame_offset"]),
                    carrier_offset=float(mixture["carrier_offset"]), delay_spread=3)
        for name, counts in ((method, errors), ("matched_filter", baseline)):
            out = separate(mixture["y"], soi, ofdm, name, kappa=mixture["kappa"] * soi.gain,
                           **(options if name == method else {}))
            found = soi.signal.alphabet.slice(out.symbols)[0].numpy()
            skip = -2 * int(soi.inside(2560)[0])
            counts.append(int((found[skip:skip + len(bits)] != bits).sum()))
    return dict(wifi=wifi, sir_db=sir_db, errors=float(np.mean(errors)), matched_filter=float(np.mean(baseline)))


def _fit(frame, bits):
    """The recorded frame's prior, its timing, phase and gain fitted to the frame alone (least squares)."""
    signal = LinearSignal("qpsk", 16, "rrc", 0.35, 8)
    symbols = signal.alphabet.map(torch.from_numpy(bits.astype(np.int64)))[None]
    best = (np.inf, 0.0, 0j)
    for timing in np.arange(140, 180, 0.1):
        reference = signal.modulate(symbols, len(frame), timing)[0].numpy()
        gain = np.vdot(reference, frame) / np.vdot(reference, reference)
        inside = slice(300, 2200)
        best = min(best, (np.mean(abs(frame - gain * reference)[inside] ** 2), float(timing), gain), key=lambda b: b[0])
    return LinearModulation(signal, timing=best[1], phase=float(np.angle(best[2])), gain=float(abs(best[2]))), bits


def _decibels(values):
    return float(10 * np.log10(max(np.mean(values), 1e-12)))
