# SPDX-License-Identifier: GPL-3.0-or-later
"""How many levels, and which: bit error rate of α-RGS on the paper's mixtures with fewer levels and other ranges.

White smoothing of both sources, both denoisers exact, nuisances known. The mean step E[step*SNR] is the same for all sets, so
that only the shape of the smoothing differs.
"""
import time

import numpy as np
import torch
from alpha_rgs.sources.mixtures import draw, paper_priors
from common import BLUE, GREEN, INK, OCHRE, PALE, options, plt, save

from benchmarks.objective_landscape import descend, published_levels


def rate(mixtures, levels, args):
    """Bit error rate and its standard error over groups of windows, each with a sequence of levels of its own: windows that
    share the sequence share its luck."""
    rates = []
    for seed, mixture in enumerate(mixtures):
        soi, ofdm, y = mixture.soi, mixture.interference, mixture.y
        start = soi.modulate(soi.signal.alphabet.nearest(soi.matched_filter(y)), y.shape[1])
        s = descend(y, mixture.kappa, soi.denoise, ofdm.denoise, start, levels, args.iterations, seed=args.seed + seed)
        rates.append(float((soi.signal.alphabet.slice(soi.matched_filter(s)) != mixture.bits).double().mean()))
    return np.mean(rates), np.std(rates, ddof=1) / len(rates) ** 0.5


def main():
    args = options(__doc__, "levels_ablation", windows=5, groups=4, iterations=300)
    began = time.perf_counter()
    mixtures = [draw(*paper_priors(), args.windows, 2560, -12, seed=1000 * args.seed + i) for i in range(args.groups)]
    every = published_levels()
    counts, lows, highs = (1, 4, 16, 25), (1e-2, 0.1, 0.5), (0.1, 0.5, 10.0)
    print(f"SIR -12 dB, {args.groups} groups of {args.windows} windows, {args.groups * args.windows * 320} bits, "
          f"{args.iterations} iterations")
    published = rate(mixtures, None, args)
    print(f"published 49 levels              BER {published[0]:.4f} ± {published[1]:.4f}", flush=True)
    thinned = [every[np.linspace(0, 48, n).round().astype(int)] for n in counts]
    highest = [every[every <= h] if h < every[-1] else np.r_[every, np.geomspace(every[-1], h, 9)[1:]] for h in highs]
    sets = [("published, thinned to", counts, thinned),
            ("geometric, as many", (4, 16), [np.geomspace(every[0], every[-1], n) for n in (4, 16)]),
            ("published, none below", lows, [every[every >= low] for low in lows]),
            ("published, none above", highs, highest),
            ("one level alone", (0.01, 0.1, 0.5, 2.6), [[v] for v in (0.01, 0.1, 0.5, 2.6)])]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained", sharey=True)
    places = {0: (axes[0], BLUE, "o-"), 1: (axes[0], OCHRE, "s-"), 2: (axes[1], OCHRE, "s-"), 3: (axes[1], BLUE, "o-"),
              4: (axes[2], GREEN, "^-")}
    for index, (name, values, levels) in enumerate(sets):
        measured = np.array([rate(mixtures, v, args) for v in levels])
        for value, (ber, error) in zip(values, measured):
            print(f"{name:24}{value:8.3g}  BER {ber:.4f} ± {error:.4f}", flush=True)
        ax, colour, style = places[index]
        ax.errorbar(values, 100 * measured[:, 0], 100 * measured[:, 1], fmt=style, color=colour, ms=5, capsize=2, label=name)
    for ax, label in zip(axes, ("levels", "lowest or highest level v, re unit power", "level v, re unit power")):
        ax.axhspan(100 * (published[0] - published[1]), 100 * (published[0] + published[1]), color=PALE, zorder=0)
        ax.axhline(100 * published[0], color=INK, lw=0.9, ls="--", label="published 49 levels")
        ax.set(xscale="log", xlabel=label, ylim=(0, 14))
        ax.legend(loc="lower left", fontsize=8)
    axes[0].set(ylabel="bit error rate, %", title="How many")
    axes[1].set_title("Which range")
    axes[2].set_title("A single one")
    print(f"{time.perf_counter() - began:.0f} s")
    save(figure, args, __file__)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
