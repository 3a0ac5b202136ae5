# SPDX-License-Identifier: GPL-3.0-or-later
"""Separators measured against the truth: isolated windows, streams, families of signals, all synthetic (recorded ones:
recorded.py). The same seed gives the same figures."""
import math
import time
from typing import Any

import numpy as np
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.streaming import separate_stream

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


_LINE5 = {"kind": "linear-modulation", "samples_per_symbol": 5, "rolloff": 0.35, "span": 8, "gain": 1.0}
_LORA, _GFSK, _TONES = ({"kind": "lora", "spreading_factor": 7, "samples_per_chip": 4}, {"kind": "gfsk", "samples_per_symbol": 8},
                        {"kind": "tones", "count": 2})
FAMILIES: dict[str, dict[str, Any]] = {
    "GMSK, BT 0.3, 4 samples per symbol": {"kind": "gmsk", "samples_per_symbol": 4, "bandwidth_time": 0.3},
    "GFSK, h = 1/2, 8 samples per symbol": {**_GFSK, "modulation_index": 0.5},
    "GFSK, h = 1/3, 8 samples per symbol": {**_GFSK, "modulation_index": 0.33333},
    "LoRa, SF 7, 4 samples per chip": _LORA,
    "1 tone": {"kind": "tones", "count": 1}, "3 tones": {"kind": "tones", "count": 3},
    "LoRa and 2 tones": {"kind": "sum", "sources": [_LORA, _TONES]},
    "QPSK, 5 samples per symbol": {**_LINE5, "constellation": "qpsk"},
    "π/4-DQPSK, 5 samples per symbol": {**_LINE5, "constellation": "pi/4-dqpsk"},
    "16APSK, 5 samples per symbol": {**_LINE5, "constellation": "16apsk"},
    "32APSK, 5 samples per symbol": {**_LINE5, "constellation": "32apsk"},
    "802.11a, QPSK carriers": {"kind": "ofdm", "preset": "802.11a", "constellation": "qpsk"},
    "LTE 1.4 MHz, QPSK carriers": {"kind": "ofdm", "preset": "lte-1.4", "constellation": "qpsk"}}
BEATING = ("1 tone", "3 tones")         # their power in a window is not their mean power


def family(name, sir_db=-10.0, snr_db=20.0, windows=4, seed=1):
    """The paper's QPSK under an interference of FAMILIES, its nuisances drawn. Returns a dict: family, bit error rates of the
    matched_filter, with kappa, noise and nuisances known, and with all of the interference estimated; ms per window of the last;
    kappa_off, noise_off: rms error of the estimates over their reported standard deviation (of BEATING: kappa in that window),
    None where none is reported."""
    soi, interference = paper_priors(symbols=None)[0], from_dict(dict(FAMILIES[name]))
    mixture = draw(soi, interference, windows, 2560, sir_db, snr_db, seed)
    levels: dict[str, Any] = {"kappa": mixture.kappa, "noise_var": mixture.noise_var}

    def wrong(out):
        return float((soi.signal.alphabet.slice(out.symbols) != mixture.bits).float().mean())

    filtered, given = (wrong(separate(mixture.y, soi, mixture.interference, method, **levels)) for method in
                       ("matched_filter", "auto"))
    began = time.perf_counter()
    out = separate(mixture.y, soi, interference)
    ms, found = 1e3 * (time.perf_counter() - began) / windows, out.estimated
    if name in BEATING:
        levels["kappa"] = mixture.kappa * mixture.b.abs().square().mean(1).sqrt()
    off = [float(((found[key] - truth) / found[f"{key}_std"]).square().mean().sqrt()) if f"{key}_std" in found else None
           for key, truth in levels.items()]
    return dict(family=name, matched_filter=filtered, given=given, found=wrong(out), ms=ms, kappa_off=off[0], noise_off=off[1])


def _decibels(values):
    return float(10 * np.log10(max(np.mean(values), 1e-12)))
