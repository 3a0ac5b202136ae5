#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""QPSK that came by several paths, under interference: bit error rates with its channel ignored, found in each window, and given.

    python examples/soi_channel.py [--windows 8] [--interference nothing,ofdm,gmsk,wifi] [--unknown-offset]

Timing, phase and gain are found in any case; the carrier offset is told, unless --unknown-offset. Windows of 2560 samples, the
interference 10 dB stronger, Es/N0 as the table says. Every path but the first has a random phase.
"""
import argparse
from dataclasses import replace

import numpy as np
import torch
from alpha_rgs.separators import separate
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation, Ofdm, from_dict
from alpha_rgs.sources.mixtures import draw

ES_N0_DB, SIR_DB, SAMPLES, OFFSET = 12.0, -10.0, 2560, 0.003
MARGIN = 256                    # samples at each end, not counted: a stream keeps the middle of each window
CASES = ((16, ((4, -3.0),)), (16, ((3, -3.0), (6, -6.0))), (16, ((6, -10.0),)), (4, ((5, -6.0),)), (4, ((5, -3.0),)))
LENGTH = 8                      # taps that are looked for
INTERFERENCE = {"nothing": Ofdm(frame_offset=0, phase=0.0), "ofdm": Ofdm(),
                "gmsk": from_dict({"kind": "gmsk", "samples_per_symbol": 4, "bandwidth_time": 0.3}),
                "wifi": from_dict({"kind": "ofdm", "preset": "802.11"})}


def wrong(out, sent, alphabet, sps):
    """Share of wrong bits in the middle; a symbol or two, and a turn of the alphabet, may be anybody's: echoes are as good."""
    bits = sent.reshape(-1, alphabet.bits_per_symbol)
    keep, n = slice(MARGIN // sps, -MARGIN // sps), min(len(bits), out.symbols.shape[1])
    shares = []
    for turn in range(alphabet.symmetry):
        turned = out.symbols[0, :n] * np.exp(2j * np.pi * turn / alphabet.symmetry)
        decided = alphabet.slice(turned.to(torch.complex64)[None])[0].reshape(n, -1)
        shares += [float((torch.roll(decided, shift, 0)[keep] != bits[:n][keep]).float().mean()) for shift in range(-2, 3)]
    return min(shares)


def measure(sps, paths, name, windows, unknown_offset):
    """Mean bit error rates, and the share of windows below 2 %, of the three: dicts."""
    rates = {"ignored": [], "found": [], "given": []}
    for seed in range(windows):
        rng, taps = np.random.default_rng(seed), np.zeros(paths[-1][0] + 1, complex)
        taps[0] = 1
        for delay, level in paths:
            taps[delay] = 10 ** (level / 20) * np.exp(2j * np.pi * rng.random())
        signal = Signal("qpsk", sps, "rrc", 0.35, 8)
        truth = LinearModulation(replace(signal, channel=tuple(taps)), sps * rng.random(), 0.4, 1.0, OFFSET)
        none = name == "nothing"
        mixture = draw(truth, INTERFERENCE[name], 1, SAMPLES, None if none else SIR_DB, ES_N0_DB - 10 * np.log10(sps), seed)
        unknown = LinearModulation(signal, carrier_offset=None if unknown_offset else OFFSET)
        for told, soi in (("ignored", unknown), ("found", replace(unknown, channel_length=LENGTH)),
                          ("given", replace(unknown, signal=truth.signal))):
            out = separate(mixture.y, soi, INTERFERENCE[name], kappa=1e-3 if none else None)
            rates[told].append(wrong(out, mixture.bits[0], signal.alphabet, sps))
    return {told: np.mean(v) for told, v in rates.items()}, {told: np.mean(np.array(v) < 0.02) for told, v in rates.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--interference", default="nothing,ofdm,gmsk")
    parser.add_argument("--unknown-offset", action="store_true")
    args = parser.parse_args()
    print("| samples per symbol | echoes: samples, dB | under | ignored | found | given | windows below 2 %, each |")
    print("|---|---|---|---|---|---|---|")
    for name in args.interference.split(","):
        for sps, paths in CASES:
            rates, good = measure(sps, paths, name, args.windows, args.unknown_offset)
            echoes = "; ".join(f"{delay}, {level:g}" for delay, level in paths)
            print(f"| {sps} | {echoes} | {name} | " + " | ".join(f"{v:.2g}" for v in rates.values()) + " | "
                  + ", ".join(f"{100 * v:.0f} %" for v in good.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
