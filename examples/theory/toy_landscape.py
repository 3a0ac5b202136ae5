# SPDX-License-Identifier: GPL-3.0-or-later
"""The landscape of two discrete sources, y = s + kappa*b: which minima exist, which are reached, and what colour does.

Upper row: s = ±1, b of four values (eight modes, as in the first figure of arXiv 2306.14411; values and kappa are ours). Lower
row: in the plane, with s on a line, the objective under white smoothing and under smoothing along that line only.
"""
import math

import numpy as np
import torch
from common import BLUE, GREEN, INK, OCHRE, PALE, RED, options, plt, save

from benchmarks.objective_landscape import (
    COMPLEX,
    REAL,
    FiniteSource,
    descend,
    local_minima,
    published_levels,
    quadrature,
    two_source_loss,
)

KAPPA = 10 ** (18 / 20)
SOI = FiniteSource([-1, 1])
INTERFERENCE = FiniteSource(np.array([-3, -1, 1, 3]) / 5 ** 0.5)
B_TRUE = 2                                                      # index of the value of b; s is +1
KAPPA_PLANE = 10 ** (12 / 20)


def plane_points():
    """b = c_1*u_1 + c_2*u_2 + c_3*u_3, c = ±1: eight points [8, 2]; first coordinate along the line of s, unit mean power."""
    c = np.stack(np.meshgrid(*[[1, -1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = c @ np.array([[0.75, 0.45], [0.35, -0.85], [0.20, 0.22]])
    return torch.tensor(points / np.sqrt((points ** 2).sum(1).mean()), dtype=REAL)


def plane_loss(a, y, kappa, points, noise_var, white, floor=1e-4):
    """-E log p(b̃) for b = (y - a*h)/kappa, h = (1, 0): real, the shape of a [n]. White: noise of this variance in both
    coordinates; else along h alone, the other coordinate known to the variance `floor`. Noise of both is complex."""
    b = (y - a[:, None] * torch.tensor([1.0, 0.0], dtype=REAL)) / kappa
    n, w = quadrature(True, 0.1)
    var = torch.tensor([noise_var, noise_var if white else floor], dtype=REAL)
    noise = torch.stack(torch.meshgrid(n.real, n.real, indexing="ij"), -1).reshape(-1, 2) * var.sqrt()
    weight = torch.outer(w, w).flatten()
    x = b[:, None] + noise
    exponent = -((x[:, :, None] - points).square() / var).sum(-1)
    return -(torch.logsumexp(exponent, -1) * weight).sum(-1)


def reached(y, omega, starts, levels, seed):
    """Where published stochastic descent ends from each start: real [starts]."""
    s = descend(torch.full((len(starts),), y, dtype=COMPLEX), KAPPA, SOI.denoise, INTERFERENCE.denoise, starts.to(COMPLEX),
                levels, 3000, weight=omega / KAPPA ** 2, seed=seed)
    return s.real


def scalar(args, axes):
    """The upper row; prints the minima."""
    y = 1 + KAPPA * float(INTERFERENCE.points[B_TRUE].real)
    levels = published_levels()
    s = torch.linspace(-9, 4, 651, dtype=REAL)
    plane, on_line, count = axes
    grid_s, grid_b = torch.linspace(-2.4, 2.4, 160, dtype=REAL), torch.linspace(-20, 15, 160, dtype=REAL)
    density = SOI.log_density(grid_s.to(COMPLEX), 0.15)[None] + INTERFERENCE.log_density((grid_b / KAPPA).to(COMPLEX),
                                                                                       6 / KAPPA ** 2)[:, None]
    plane.contourf(grid_s, grid_b, (density - density.max()).exp(), 12, cmap="Blues")
    plane.plot(grid_s, y - grid_s, color=RED, lw=1.5, label="what y allows: s + κb = y")
    plane.plot(1, y - 1, "o", color=INK, ms=5, label="truth")
    plane.set(xlabel="s", ylabel="κ·b", ylim=(-20, 15), title="Eight modes and one mixture, SIR −18 dB")
    plane.legend(loc="lower left", fontsize=8)
    parts = [(SOI.smoothed_loss(s.to(COMPLEX), v, 0.1), INTERFERENCE.smoothed_loss((y - s).to(COMPLEX) / KAPPA, v, 0.1))
             for v in levels]
    soi, other = (sum(p) / len(levels) for p in zip(*parts))
    starts = torch.linspace(-3, 3, 601, dtype=REAL)
    for omega, name, colour in ((1.0, "ω = 1", OCHRE), (KAPPA ** 2, "ω = κ²", BLUE)):
        raw = two_source_loss(s.to(COMPLEX), y, KAPPA, SOI, INTERFERENCE, [], omega)
        smooth = soi + omega * other
        for label, values, style in (("not smoothed", raw, ":"), ("49 levels", smooth, "-")):
            low = local_minima(s, values)
            print(f"{name:6} {label:12} local minima at {', '.join(f'{x:+.2f}' for x in low)}")
            # divided by E[SNR], the curvature of a lone well: units of s²
            scaled = (values - values.min()) * (1e-3 if style == ":" else 1 / np.mean(1 / levels))
            on_line.plot(s, scaled, style, color=colour, lw=1.6, label=f"{name}, {label}")
        on_line.plot(low, [float(scaled[(s - x).abs().argmin()]) for x in low], "o", color=colour, ms=5)
        ends = reached(y, omega, starts, levels, args.seed)
        right = ((ends - 1).abs() < 0.1).double()
        print(f"{name:6} published descent from 601 starts in -3 ... 3: {float(right.mean()):.0%} reach s = +1, of those below 0 "
              f"{float(right[starts < 0].mean()):.0%}")
    on_line.set(xlabel="s along the red line", ylabel="objective / E[SNR], units of s²", ylim=(-0.2, 8), xlim=(-3, 3),
                title="Along it: ω = 1 keeps the wrong decision")
    on_line.legend(loc="upper center", ncols=2, fontsize=8, frameon=True, edgecolor="white", framealpha=0.95)
    ratios = np.geomspace(1e-2, 1e2, 81)
    for kind, values, marker in (("49 levels", (soi, other), "o"), ("lowest level alone", parts[0], ".")):
        found = [(r, float(x)) for r in ratios for x in local_minima(s, values[0] + r * KAPPA ** 2 * values[1])]
        r, x = np.array(found).T
        count.plot(r, x, marker, ms=5 if marker == "o" else 2.5, color=PALE if marker == "o" else INK, mec="#8a9199", mew=0.4,
                   label=kind)
        wrong = [q for q, z in found if -1.1 < z < 0]
        print(f"{kind}: the minimum at the wrong decision exists up to omega = {max(wrong):.2f} kappa²")
    count.plot(ratios[ratios < 1], ((ratios - 1) / (ratios + 1))[ratios < 1], color=RED, lw=1, label="(ρ − 1)/(ρ + 1)")
    count.axvline(1, color=PALE, lw=1, zorder=0)
    count.set(xscale="log", xlabel="ρ = ω/κ²", ylabel="local minima, s", ylim=(-9, 2), title="All minima against ω")
    count.legend(loc="center left", fontsize=8, bbox_to_anchor=(0.0, 0.3))


def coloured(axes):
    """The lower row: the plane; b's part of the objective; b's and s's together."""
    points, h = plane_points(), torch.tensor([1.0, 0.0], dtype=REAL)
    a = torch.linspace(-7, 7, 561, dtype=REAL)
    y = h + KAPPA_PLANE * points[5]
    plane, part, valley = axes
    plane.plot(*points.T * KAPPA_PLANE, "o", color=BLUE, ms=6, label="κ·b, eight values")
    spread = (y[None] - a[:, None] * h)
    plane.plot(*spread.T, color=RED, lw=1.5, label="what y allows: y − a·h")
    plane.plot(*(y - h), "o", color=INK, ms=6, label="truth, a = +1")
    turn = torch.linspace(0, 2 * math.pi, 200, dtype=REAL)
    radius = KAPPA_PLANE * (0.3 / 2) ** 0.5
    plane.plot(y[0] - 1 + radius * turn.cos(), y[1] + radius * turn.sin(), "--", color=OCHRE, lw=1.3,
               label="white noise, v = 0.3")
    plane.plot([y[0] - 1 - radius, y[0] - 1 + radius], [y[1], y[1]], color=GREEN, lw=4, alpha=0.6, solid_capstyle="round",
               label="noise in the SOI's colour")
    plane.set(xlabel="along the SOI's line", ylabel="off it", aspect="equal", title="Structure off the SOI's line",
              ylim=(-11.5, 7), xlim=(-9, 9))
    plane.legend(loc="lower left", fontsize=8, ncols=2, columnspacing=0.8)
    for v, alpha in ((0.03, 0.4), (0.3, 0.7), (1.0, 1.0)):
        for white, colour in ((True, OCHRE), (False, GREEN)):
            # in units of s²: a single well of the true b is (a - 1)² at every level
            loss = plane_loss(a, y, KAPPA_PLANE, points, v, white) * v * KAPPA_PLANE ** 2
            low = local_minima(a, loss)
            best = float(a[loss.argmin()])
            second = torch.gradient(loss, spacing=(a,))[0]
            curvature = float(torch.gradient(second, spacing=(a,))[0][(a - 1).abs().argmin()]) / 2
            name = "white" if white else "in the SOI's colour"
            print(f"plane, v = {v:4}, {name:19}: minima at {', '.join(f'{x:+.2f}' for x in low)}; lowest {best:+.2f}; "
                  f"curvature at the truth {curvature:.2f} of a lone well's")
            label = f"white, v = {v}" if white else "in the SOI's colour, at every v" if v == 1.0 else None
            part.plot(a, loss - loss.min(), "--" if white else "-", color=colour, alpha=alpha, lw=1.7, label=label)
            if v == 1.0:
                wells = SOI.smoothed_loss(a.to(COMPLEX), v) * v
                total = wells + loss
                valley.plot(a, total - total.min(), "--" if white else "-", color=colour, lw=1.8, label=f"with b {name}")
                lows = local_minima(a, total)
                valley.plot(lows, [float((total - total.min())[(a - x).abs().argmin()]) for x in lows], "o", color=colour, ms=5)
                print(f"       both sources, ω = κ²: minima at {', '.join(f'{x:+.2f}' for x in lows)}")
    valley.plot(a, wells - wells.min(), ":", color=INK, lw=1.2, label="s alone")
    for ax in (part, valley):
        ax.axvline(1, color=PALE, lw=1, zorder=0)
    part.set(xlabel="a", ylabel="objective × v, units of s²", ylim=(-0.5, 24), xlim=(-7, 7),
             title="b's part: white loses the valley")
    valley.set(xlabel="a", ylabel="objective × v, units of s²", ylim=(-0.2, 7), xlim=(-3.5, 3.5),
               title="Both parts, v = 1, ω = κ²")
    part.legend(loc="upper left", fontsize=8, frameon=True, edgecolor="white", framealpha=0.9)
    valley.legend(loc="upper left", fontsize=8, frameon=True, edgecolor="white", framealpha=0.9)


def main():
    args = options(__doc__, "toy_landscape")
    figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    scalar(args, axes[0])
    coloured(axes[1])
    save(figure, args, __file__)


if __name__ == "__main__":
    main()
