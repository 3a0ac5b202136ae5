# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's picture: constellation and spectrum, before and after."""

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D  # noqa: E402

BEFORE, AFTER, SOFT, INK, PALE = "#c8553d", "#1b6ca8", "#9ecae9", "#22262b", "#d9dde1"


def spectrum(samples, size=512):
    """Power spectral density, dB, and frequencies in cycles per sample (Welch, Hann window, half overlap)."""
    window = np.hanning(size)
    count = (len(samples) - size) // (size // 2) + 1
    blocks = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2][:count]
    power = (abs(np.fft.fft(blocks * window)) ** 2).mean(0) / (window**2).sum()
    return np.fft.fftshift(np.fft.fftfreq(size)), 10 * np.log10(np.fft.fftshift(power) + 1e-12)


def draw(path, report, symbols_before, symbols_after, symbols_soft, samples_before, samples_after):
    """Write the picture to `path`."""
    plt.rcParams.update({"font.size": 11, "axes.edgecolor": "#8a9199", "axes.labelcolor": INK, "text.color": INK,
                         "xtick.color": "#5b626a", "ytick.color": "#5b626a", "axes.titlesize": 13,
                         "axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(12, 7.6), dpi=130, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1.35, 1))
    for column, (title, symbols, rate, colour) in enumerate((
            ("Before separation", symbols_before, report["ber_before"], BEFORE),
            ("After separation", symbols_after, report["ber_after"], AFTER))):
        axes = figure.add_subplot(grid[0, column])
        some = symbols[:4000]
        axes.axhline(0, color=PALE, lw=1, zorder=0)
        axes.axvline(0, color=PALE, lw=1, zorder=0)
        if column:
            soft = symbols_soft[:4000]
            axes.scatter(soft.real, soft.imag, s=5, color=SOFT, linewidths=0)
        axes.scatter(some.real, some.imag, s=5, color=colour, alpha=0.35 if not column else 0.8, linewidths=0)
        corner = np.sqrt(0.5)
        axes.scatter([corner, corner, -corner, -corner], [corner, -corner, corner, -corner], s=420, marker="o",
                     facecolors="none", edgecolors=INK, linewidths=1)
        dots = [(SOFT, "soft symbols"), (AFTER, "demodulated")] if column else [(BEFORE, "demodulated")]
        handles = [Line2D([], [], color=c, marker="o", ls="", ms=6, label=text) for c, text in dots]
        handles.append(Line2D([], [], color=INK, marker="o", mfc="none", ls="", ms=9, label="QPSK points"))
        axes.legend(handles=handles, loc="upper right", fontsize=9, handletextpad=0.2, framealpha=0.95,
                    edgecolor="white", borderaxespad=0)
        axes.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal", xlabel="in-phase", ylabel="quadrature")
        said = f"{rate:.2g}" if rate else f"0 of {report['bits']} bits"
        axes.set_title(f"{title}\n", loc="left", color=colour)
        axes.text(0, 1.03, f"bit error rate {said}", transform=axes.transAxes, fontsize=11)
    axes = figure.add_subplot(grid[1, :])
    for samples, colour, label, above in ((samples_before, BEFORE, "received: QPSK under OFDM, and noise", True),
                                         (samples_after, AFTER, "separated: the QPSK alone", False)):
        frequency, level = spectrum(samples)
        axes.plot(frequency, level, color=colour, lw=1.8)
        at = np.searchsorted(frequency, 0.17 if above else 0.06)
        axes.annotate(label, (frequency[at], level[at]), xytext=(8, 9 if above else 4),
                      textcoords="offset points", color=colour, fontsize=11, fontweight="bold")
    axes.grid(color=PALE, lw=0.7)
    axes.set(xlim=(-0.5, 0.5), ylim=(-45, 25), xlabel="frequency (cycles per sample)", ylabel="density (dB)")
    axes.set_title("Spectrum", loc="left")
    figure.suptitle(f"QPSK under OFDM {-report['sir_db_true']:g} dB stronger, taken apart by scoresep.separator "
                    f"({report['method']})", fontsize=15, fontweight="bold", x=0.01, ha="left")
    figure.savefig(path)
    plt.close(figure)
