# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the stationary points of E_t[-log p_t] approach the modes: BPSK, 8PSK, 16QAM and an irregular alphabet.

One level: exponentially, exp(-d²/(4v)). Levels averaged: as the share that the larger levels have in E[SNR], a power of the
smallest level that their density near zero decides.
"""
import time

import numpy as np
import torch
from alpha_rgs.signals import constellation
from common import BLUE, GREEN, INK, OCHRE, PALE, RED, VIOLET, options, plt, save

from benchmarks.objective_landscape import FiniteSource, pairwise_overlap, published_levels, stationary_point

LOWEST = np.geomspace(3e-2, 3e-6, 9)
LARGEST = 2.6                                           # as published


def alphabets(seed):
    """name -> (source, index of the mode looked at): an outer point, as inner ones of a lattice are held from all sides."""
    g = np.random.default_rng(seed)
    irregular = g.standard_normal(7) + 1j * g.standard_normal(7)
    irregular = irregular / np.sqrt(np.mean(abs(irregular) ** 2))
    points = {"BPSK": np.array([1.0, -1.0]), "8PSK": constellation("8psk").points.numpy(),
              "16QAM": constellation("16qam").points.numpy(), "irregular, 7 points": irregular}
    return {name: (FiniteSource(p), int(np.argmax(abs(p)))) for name, p in points.items()}


def near(source, mode):
    """(d, |sum of (a_j - a_k) over the nearest j|): the distance of the nearest points and where they pull together."""
    offset = (source.points - source.points[mode]).numpy()
    distance = abs(offset)
    distance[mode] = np.inf
    return distance.min(), abs(offset[distance < distance.min() * (1 + 1e-6)].sum())


def single(name, source, mode, axes, colour):
    """One level: distance of the stationary point against d²/v, beside |sum (a_j - a_k)|*sqrt(pi v)/(2d)*exp(-d²/4v)."""
    d, pull = near(source, mode)
    x = np.arange(24, 101, 12.0)
    error = np.array([abs(stationary_point(source, complex(source.points[mode]), [d ** 2 / q])[1]) for q in x])
    predicted = pull * pairwise_overlap(d, d ** 2 / x)
    far = x >= 50
    # the rate with the factor 1/sqrt(x) of the prediction taken out
    rate = np.polyfit(x[far], np.log(error[far] * np.sqrt(x[far])), 1)[0]
    print(f"one level   {name:20} d = {d:.3f}: rate of exp(-c d²/v) fitted c = {-rate:.4f} (theory 0.25); "
          f"distance/theory {error[-1] / predicted[-1]:.3f} at d²/v = {x[-1]:.0f}")
    axes.semilogy(x, error / d, "o", color=colour, ms=5, label=name)
    axes.semilogy(x, predicted / d, "-", color=colour, lw=1)


def level_sets(lowest, count=12):
    """name -> (levels, weights), the smallest of them `lowest`; a density v^-q near zero is a midpoint rule in v^(1-q)."""
    log = np.geomspace(lowest, LARGEST, count)
    cells = np.geomspace(lowest, LARGEST, 3 * count + 1)
    v = np.sqrt(cells[1:] * cells[:-1])
    return {"0.1, 0.4, 1.0, 2.6 and one below": (np.r_[lowest, 0.1, 0.4, 1.0, 2.6], None),
            "geometric, 12 levels": (log, None),
            "density v^(-1/2)": (v, np.diff(cells ** 0.5)),
            "density v^0 (uniform)": (v, np.diff(cells))}


def averaged(name, source, mode, panels):
    """Several levels: distance against the smallest, for each rule of choosing the others; prints the slopes."""
    for label, (rule, colour) in panels.items():
        error = []
        for low in LOWEST:
            levels, weights = level_sets(low)[rule]
            error.append(abs(stationary_point(source, complex(source.points[mode]), levels, weights)[1]))
        error = np.array(error)
        slope = np.polyfit(np.log(LOWEST[-4:]), np.log(error[-4:]), 1)[0]
        yield label, colour, error, slope
        print(f"{rule:32} {name:20} slope {slope:.3f} in the smallest level; distance {error[0]:.1e} at {LOWEST[0]:.0e}, "
              f"{error[-1]:.1e} at {LOWEST[-1]:.0e}")


def main():
    args = options(__doc__, "mode_convergence")
    began = time.perf_counter()
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    colours = dict(zip(alphabets(args.seed), (INK, BLUE, GREEN, RED)))
    rules = {"0.1, 0.4, 1.0, 2.6 and one below: slope 1": ("0.1, 0.4, 1.0, 2.6 and one below", BLUE),
             "geometric: slope 1": ("geometric, 12 levels", GREEN),
             "density v^(−1/2): slope ½": ("density v^(-1/2)", OCHRE),
             "uniform density: 1/log": ("density v^0 (uniform)", VIOLET)}
    for name, (source, mode) in alphabets(args.seed).items():
        single(name, source, mode, axes[0], colours[name])
        shift = abs(stationary_point(source, complex(source.points[mode]), published_levels())[1])
        print(f"published   {name:20} stationary point {shift:.2e} from the mode ({shift / near(source, mode)[0]:.1e} of d)")
        some = rules if name in ("BPSK", "16QAM") else dict(list(rules.items())[:2])
        for label, colour, error, _ in averaged(name, source, mode, some):
            if name == "16QAM":
                axes[2].loglog(LOWEST, error, "o-", color=colour, ms=4, label=label)
            if colour == GREEN:
                axes[1].loglog(LOWEST, error, "o-", color=colours[name], ms=4, label=name)
    axes[0].set(xlabel="d²/v", ylabel="distance from the mode, units of d", title="One level: exponential (lines: theory)")
    axes[1].loglog(LOWEST[2:], LOWEST[2:] * 0.06, "--", color=PALE, lw=2, label="slope 1")
    axes[1].set(xlabel="smallest level v, re unit power", ylabel="distance from the mode",
                title="12 geometric levels: a power law")
    axes[2].set(xlabel="smallest level v, re unit power", title="16QAM: the power is the levels' choice")
    for ax in axes:
        ax.legend()
    print(f"{time.perf_counter() - began:.0f} s")
    save(figure, args, __file__)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
