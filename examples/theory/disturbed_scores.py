# SPDX-License-Identifier: GPL-3.0-or-later
"""How good must a denoiser be? Bit error rate of α-RGS with errors put into the OFDM prior's posterior means.

Random errors, drawn anew at every call or once for all (as a network's are: the same input gives the same error), relative to
the exact denoiser's own error at that level or to unit power; and systematic ones: too small, or for a wrong noise level.
"""
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources import Ofdm
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import draw, paper_priors
from common import BLUE, GREEN, OCHRE, RED, VIOLET, options, plt, save

KINDS = {"fresh, re MMSE": (-5, 0, 5, 10), "frozen, re MMSE": (-5, 0, 5, 10), "fresh, re unit power": (-30, -20, -10),
         "frozen, re unit power": (-30, -20, -10), "shrunk": (-30, -20, -10), "wrong level": (-6, -3, 3, 6)}
LEVELS = np.geomspace(1e-3, 20, 12)


@dataclass
class Disturbed(Ofdm):
    """An Ofdm whose posterior means are wrong on purpose: disturbance is a key of KINDS, size in dB.

    shrunk: multiplied by 1 - g with g² = size, error relative to the mean's power. wrong level: the denoiser is told a noise
    variance `size` dB too high. Random errors are white; mmse: (levels, mean square errors of the exact denoiser there).
    """

    disturbance: str = ""
    size: float = 0.0
    mmse: tuple = ()
    generator: object = None
    memory: dict = field(default_factory=dict)

    def denoise(self, x, noise):
        """See Ofdm.denoise."""
        size = 10 ** (self.size / 10)
        if self.disturbance == "wrong level":
            return super().denoise(x, louder(noise, size))
        mean = super().denoise(x, noise)
        if self.disturbance == "shrunk":
            return mean * (1 - size ** 0.5)
        if not self.disturbance:
            return mean
        if "MMSE" in self.disturbance:
            size = size * float(np.interp(np.log(float(self.asked(noise)[0])), np.log(self.mmse[0]), self.mmse[1]))
        if "frozen" not in self.disturbance:
            error = torch.randn(x.shape, dtype=x.dtype, generator=self.generator)
        else:
            if "error" not in self.memory:
                self.memory["error"] = torch.randn(x.shape, dtype=x.dtype, generator=self.generator)
            error = self.memory["error"]
        return mean + size ** 0.5 * error


def louder(noise, factor):
    """The noise at `factor` times its level: that of its basis where it has one, and of the white noise else."""
    noise = Noise.of(noise)
    return replace(noise, white=noise.white * factor) if noise.basis is None else replace(
        noise, basis_var=noise.basis_var * factor)


def exact_errors(mixture, colour=None):
    """E|b - E[b | x]|² per sample at LEVELS: the table for errors relative to it."""
    g = torch.Generator().manual_seed(0)
    out = []
    for v in LEVELS:
        n = torch.randn(mixture.b.shape, dtype=mixture.b.dtype, generator=g)
        if colour is not None:
            n = colour.modulate(torch.randn(len(n), colour.inside(n.shape[1])[1], dtype=n.dtype, generator=g), n.shape[1])
        x = mixture.b + v ** 0.5 * n
        whole = mixture.interference.plan(x.shape).whole
        noise = v if colour is None else Noise(1e-4, colour, v)
        out.append(float((mixture.interference.denoise(x, noise) - mixture.b)[whole].abs().square().mean()))
    return LEVELS, np.array(out)


def disturbed(mixture, kind, size, table, seed):
    """The mixture's true OFDM prior with that error; nuisances known, so that the denoiser is all that is wrong."""
    true = mixture.interference
    return Disturbed(true.signal, true.frame_offset, true.phase, disturbance=kind, size=size, mmse=table,
                     generator=torch.Generator().manual_seed(seed))


def annealed(mixture, prior, evaluations=100):
    """White smoothing without drawn noise: s ← s + ½[(ŝ - s) + (y - kappa·b̂ - s)], both levels falling from 3 to 1e-3; the
    same minima in a hundred evaluations where 20 000 published steps cannot be run for every point."""
    soi, y, kappa = mixture.soi, mixture.y, mixture.kappa
    s = torch.zeros_like(y)
    for v in np.geomspace(3, 1e-3, evaluations):
        mean = soi.denoise(s, v * soi.signal.samples_per_symbol)        # v is the variance of a symbol's noise here
        s = s + 0.5 * ((mean - s) + (y - kappa * prior.denoise((y - s) / kappa, v) - s))
    return soi.matched_filter(s)


def rate(mixture, method, prior, args):
    """Bit error rate."""
    if method == "annealed":
        symbols = annealed(mixture, prior)
    else:
        budget = {"iterations": args.iterations} if method == "paper" else {}
        symbols = separate(mixture.y, mixture.soi, prior, "alpha_rgs", kappa=mixture.kappa, noise_var=0.0, preset=method,
                           **budget).symbols
    return float((mixture.soi.signal.alphabet.slice(symbols) != mixture.bits).double().mean())


def main():
    args = options(__doc__, "disturbed_scores", windows=20, iterations=300)
    began = time.perf_counter()
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.8), layout="constrained")
    colours = dict(zip(KINDS, (BLUE, RED, BLUE, RED, OCHRE, VIOLET)))
    print(f"{args.windows} windows, {args.windows * 320} bits a point; preset paper, at -6 dB, with {args.iterations} iterations")
    for sir_db, style in ((-12, "-"), (-6, "--")):
        soi, ofdm = paper_priors()
        ofdm = replace(ofdm, frame_offset=37)       # one for all windows: coloured filters are per offset, level and kappa
        mixture = draw(soi, ofdm, args.windows, 2560, sir_db, seed=args.seed)
        for method in ("annealed", "fast", "paper")[:3 if sir_db == -6 else 2]:
            table = exact_errors(mixture, mixture.soi if method == "fast" else None)
            if method != "paper" and sir_db == -12:
                print(f"{'coloured' if method == 'fast' else 'white'} noise, exact mean square error, dB: " + ", ".join(
                    f"{10 * np.log10(max(e, 1e-9)):.0f} at v = {v:.2g}" for v, e in zip(*table)))
            clean = rate(mixture, method, disturbed(mixture, "", 0.0, table, args.seed), args)
            print(f"{method:8} SIR {sir_db:3}: undisturbed {clean:.4f}", flush=True)
            for kind, sizes in KINDS.items():
                sizes = sizes if method != "paper" else sizes[-2:]
                bers = [rate(mixture, method, disturbed(mixture, kind, x, table, args.seed), args) for x in sizes]
                print(f"{method:8} SIR {sir_db:3}: {kind:22}" + "".join(f"  {x:+3} dB {b:.4f}" for x, b in zip(sizes, bers)),
                      flush=True)
                index = 0 if "MMSE" in kind else 2 if kind == "wrong level" else 1
                if method != "paper":
                    marker, fill = ("s", "white") if method == "fast" else ("o", colours[kind])
                    axes[index].plot(sizes, np.maximum(bers, 1e-4), marker + style, ms=4.5, lw=1.2, color=colours[kind], mfc=fill,
                                     label=f"{kind.split(',')[0]}, {method}" if style == "-" else None)
            for ax in axes if method != "paper" else ():
                ax.axhline(max(clean, 1e-4), color=GREEN if method == "fast" else "#8a9199", ls=style, lw=0.9, zorder=0)
    titles = ("Random, relative to the exact error", "Relative to unit power", "Told a wrong noise level")
    for ax, title, label in zip(axes, titles, ("error, dB re MMSE", "error, dB re unit power", "noise level told − true, dB")):
        ax.set(yscale="log", xlabel=label, title=title, ylim=(7e-5, 0.9))
        ax.legend(fontsize=8, ncols=2)
    axes[1].set_xticks((-30, -20, -10))
    axes[0].set_ylabel("bit error rate (none drawn at 1e-4)")
    axes[2].text(0.02, 0.03, "full −12 dB, dashed −6 dB; thin: undisturbed", transform=axes[2].transAxes, fontsize=8)
    print(f"{time.perf_counter() - began:.0f} s")
    save(figure, args, __file__)


if __name__ == "__main__":
    main()
