# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrier offsets and noise: isolated windows of QPSK under stronger OFDM, kinds alone known, with little noise or none.

Little noise is where a search goes wrong with confidence: a wrong carrier offset leaves symbols on the alphabet's points, and
what it leaves of the mixture is laid on the interference's carriers.
"""
from dataclasses import replace

import numpy as np
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import draw

SOI = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "pulse": "rrc", "rolloff": 0.35, "span": 8}
OFDM = {"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"}
SAMPLES, OFFSET = 2560, 0.01        # of a window; carrier offsets up to this, cycles per sample, either side
_EDGE, _LAGS = 9, 1                 # symbols not counted at each end, where a frame and a pulse are cut; of symbols, tried
_WRONG = 0.05                       # share of wrong bits from which a window is wrong
_TOLD = 4.0                         # of the reported error rate: a wrong window with a larger share of wrong bits is confident


def cell(sir_db, snr_db, windows=48, seed=1):
    """Windows of one SIR and SNR (dB per sample; None: no noise). Returns a dict: sir_db, snr_db, windows, wrong (more than 5 %
    of the bits), confident (wrong, and more than four times the reported error rate), ber of the others, offset_wrong (off by
    more than 2e-5), quality_db median, noise_db (found noise over the SOI's power, median; of no noise a bound)."""
    rows = [window(sir_db, snr_db, seed * 1000 + k) for k in range(windows)]
    ber, told, offset, quality, noise = np.array(rows).T
    wrong = ber > _WRONG
    return dict(sir_db=sir_db, snr_db=snr_db, windows=windows, wrong=int(wrong.sum()),
                confident=int((wrong & (ber > _TOLD * told)).sum()), ber=float(ber[~wrong].mean()) if (~wrong).any() else None,
                offset_wrong=int((offset > 2e-5).sum()), quality_db=float(np.median(quality)),
                noise_db=float(10 * np.log10(np.median(noise) + 1e-12)))


def window(sir_db, snr_db, seed):
    """(share of wrong bits, reported error rate, error of the carrier offset, quality in dB, noise over power) of one window."""
    rng = np.random.default_rng(seed)
    soi = from_dict(dict(SOI))
    true = replace(soi, timing=rng.uniform(0, 16), phase=rng.uniform(-np.pi, np.pi), gain=1.0,
                   carrier_offset=rng.uniform(-OFFSET, OFFSET))
    mixture = draw(true, from_dict(dict(OFDM)), 1, SAMPLES, sir_db, snr_db, seed)
    out = separate(mixture.y, soi, from_dict(dict(OFDM)))
    off = abs(float(out.estimated["carrier_offset"][0]) - true.carrier_offset)
    return (wrong_bits(soi, out.symbols[0], mixture.bits[0]), float(out.error_rate[0]), off, float(out.quality[0]),
            float(out.noise_var[0]))


def wrong_bits(soi, symbols, bits):
    """The share of wrong bits, in the best turn and lag: the phase is known up to the alphabet's symmetry."""
    alphabet, shares = soi.signal.alphabet, []
    bits = bits.reshape(-1, alphabet.bits_per_symbol)
    for turn in range(alphabet.symmetry):
        got = alphabet.slice(symbols * np.exp(2j * np.pi * turn / alphabet.symmetry)).reshape(-1, alphabet.bits_per_symbol)
        for lag in range(-_LAGS, _LAGS + 1):
            ours, truth = got[max(lag, 0):], bits[max(-lag, 0):]
            n = min(len(ours), len(truth))
            shares.append(float((ours[_EDGE:n - _EDGE] != truth[_EDGE:n - _EDGE]).to(torch.float64).mean()))
    return min(shares)
