# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of `alpha-rgs evaluate paper`. Each names commit, seed, machine and time in its footer."""
import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from . import sweeps, table
from .table import REFERENCE, ROWS, TITLES
from .units import now, provenance

_MARKS = "osD^vP*XhpdH<>"
_STYLE = {row.label: (row.colour, _MARKS[i % len(_MARKS)]) for i, row in enumerate((*ROWS, *sweeps.EXTRA))}
_BOUND, _FAN, _ASIDE = "v", 7, 2.2 / 72     # mark of rates that are only bounded; of so many rows side by side, inches apart
_BOUNDS = Line2D([], [], color="#555555", marker=_BOUND, mfc="white", ls="", label="open triangle: no wrong bit;\n"
                 "an upper bound, 3/bits")
_MOST_NEGATIVE = -60        # MSE in dB: below it there is only rounding
_SHOWN = 4                   # commits in a footer


def draw(folder, results, reference=None):
    """All figures that the measured units allow. A dict: section (a case, "costs", or a sweep's title) -> list of paths.

    reference: the autocorrelation of CommSignal2, or None."""
    made = {}
    for case in results.cases:
        if any(results.cell(case, row, sir) for row in results.rows for sir in results.sirs):
            made[case] = [_save(_curves(case, results), folder / f"{case}.png", results.used, results.seed)]
    records, seed = results.store.records, results.seed
    if results.cells:
        made["costs"] = [_save(_costs(results), folder / "costs.png", results.used, seed)]
    for part, picture in (("floor", _floor), ("noise", _noise), ("budget", _budget), ("omega", _omega)):
        used = [r for r in records if r["part"] == part and r["seed"] == seed and "unavailable" not in r]
        if used:
            made[sweeps.TITLES[part]] = [_save(picture(records, seed), folder / f"{part}.png", used, seed)]
    if sweeps.has_stand_in(records, reference):
        made[sweeps.TITLES["stand-in"]] = [_save(_stand_in(reference), folder / "stand-in.png",
                                                 [provenance() | {"date": now()}], 1)]
    return made


def style(label):
    """(colour, marker) of a row, also of its short version under --quick."""
    return _STYLE.get(label.split(" (")[0], ("black", "."))


def _save(figure, path, used, seed):
    dates = sorted(r["date"] for r in used) or [""]
    span = dates[-1] if dates[0][:10] == dates[-1][:10] else f"{dates[0][:10]} … {dates[-1]}"
    names = table.commits(used).split(", ")
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    text = f"commit {shown} · seed {seed} · {table.machines(used)} · {span}"
    figure.supxlabel(text, fontsize=6.5, color="#555555", x=0.01, ha="left")
    figure.savefig(path, dpi=130)
    return path


def _rates(ax, x, cells, label, interior=False, line="-", width=1.5, fan=True):
    """BER with standard errors against x, joined by lines; of cells without a wrong bit the upper bound, an open triangle at
    3/bits, which belongs to no line. fan: bounds of several rows lie side by side."""
    colour, mark = style(label)
    pick = (lambda c: (c.interior_ber, c.interior_se, c.interior_limit)) if interior else (lambda c: (c.ber, c.ber_se, c.limit))
    values = [pick(c) for c in cells]
    if line and any(ber > 0 for ber, _, _ in values):
        ax.plot(x, [ber or math.nan for ber, _, _ in values], line, color=colour, lw=width, alpha=0.9)
    for xi, (ber, se, limit) in zip(x, values):
        if ber == 0:
            aside = (list(_STYLE).index(label) % _FAN - _FAN // 2) * _ASIDE if fan and label in _STYLE else 0.0
            bound, = ax.plot(xi, limit, _BOUND, color=colour, ms=5, mfc="white", zorder=3)
            # once it is in its place, so that it does not widen the axes
            bound.set_transform(ax.transData + ScaledTranslation(aside, 0, ax.figure.dpi_scale_trans))
        else:
            down = min(0.0 if math.isnan(se) else se, 0.9 * ber)        # the axis is logarithmic
            ax.errorbar(xi, ber, yerr=[[down], [0.0 if math.isnan(se) else se]], color=colour, marker=mark, ms=4.5, lw=1)


def _legend(figure, labels, extra=(), **where):
    lines = [Line2D([], [], color=style(label)[0], marker=style(label)[1], ms=5, label=label) for label in labels]
    figure.legend(handles=[*lines, *extra], fontsize=8, frameon=False, **({"loc": "outside right upper"} | where))


def _curves(case, results):
    """BER and MSE against SIR, the paper's own curves thin and dashed behind."""
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    axes, present = figure.subplots(1, 2), []
    for row in results.rows:
        found = [(sir, results.cell(case, row, sir)) for sir in results.sirs]
        sirs, cells = [s for s, c in found if c], [c for _, c in found if c]
        colour, mark = style(row.label)
        for ax, metric in zip(axes, ("ber", "mse_db")):
            theirs = table.curves().get((REFERENCE[case], metric, row.curve), {})
            if theirs:
                ax.plot(*zip(*sorted(theirs.items())), "--", color=colour, lw=1.1, alpha=0.55, zorder=1)
        if not cells:
            continue
        present.append(row.label)
        _rates(axes[0], sirs, cells, row.label)
        mse = np.maximum([c.mse_db for c in cells], _MOST_NEGATIVE)
        spread = [c.mse_se_db if c.mse_db > _MOST_NEGATIVE else 0 for c in cells]
        axes[1].errorbar(sirs, mse, yerr=np.clip(np.nan_to_num(spread), 0, 5), color=colour, marker=mark, ms=4.5, lw=1.5)
    axes[0].set(yscale="log", xlabel="SIR, dB", ylabel="bit error rate")
    axes[1].set(xlabel="SIR, dB", ylabel=f"MSE of s, dB (no lower than {_MOST_NEGATIVE})")
    _dress(axes, results.sirs)
    name = "" if case.startswith("ofdm") else "(its recording of CommSignal2)"
    extra = [Line2D([], [], color="#555555", ls="--", lw=1.1, label=f"dashed: the paper's curves\n{name}".rstrip()), _BOUNDS]
    _legend(figure, present, extra)
    figure.suptitle(TITLES[case], fontsize=12)
    return figure


def _dress(axes, ticks=()):
    for ax in np.ravel(axes):
        ax.grid(True, which="major", color="#dddddd", lw=0.6)
        ax.set_axisbelow(True)
        if len(ticks):
            ax.set_xticks(list(ticks))


def _costs(results):
    """BER at -12 dB against evaluations and against seconds, each row a point; variants of a budget as lines."""
    cases, sir = results.cases, table.TIMING_SIR
    figure = Figure(figsize=(3.2 * len(cases) + 3.4, 7), layout="constrained")
    axes, present = figure.subplots(2, len(cases), squeeze=False, sharey=True), []
    budgets = sweeps.budget_points(results.store.records, results.seed)
    for column, case in zip(axes.T, cases):
        for (name, label, at, snr), points in budgets.items():
            if name == case and at == sir and snr is None:
                cells = [c for _, c in points]
                if cells[0].evaluations:
                    _rates(column[0], [c.evaluations for c in cells], cells, label, line=":", width=1)
                _rates(column[1], [c.seconds for c in cells], cells, label, line=":", width=1)
        for row in results.rows:
            cell, seconds = results.cell(case, row, sir), results.seconds(case, row)
            if cell:
                present.append(row.label)
                _rates(column[0], [cell.evaluations], [cell], row.label)
                if not math.isnan(seconds):
                    _rates(column[1], [seconds], [cell], row.label)
        column[0].set_xscale("symlog", linthresh=1)
        column[0].set(yscale="log", title=case, xlabel="evaluations of the interference's prior", xlim=(-0.3, 5e4))
        column[1].set(xscale="log", yscale="log", xlabel="seconds per window, one thread", xlim=(1e-3, 30))
    for ax in axes[:, 0]:
        ax.set_ylabel(f"bit error rate at {sir} dB")
    _dress(axes)
    extra = [Line2D([], [], color="#555555", ls=":", label="dotted: other budgets")] if budgets else []
    _legend(figure, list(dict.fromkeys(present)), [*extra, _BOUNDS])
    return figure


def _budget(records, seed):
    """Above against the budget, below against seconds; a column for each condition."""
    points = sweeps.budget_points(records, seed)
    columns = sorted({(key[0], *key[2:]) for key in points}, key=lambda c: (c[0], c[1], c[2] is not None, c[2]))
    figure = Figure(figsize=(4.4 * len(columns) + 2.6, 7), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False, sharey=True)
    for column, (case, sir, snr) in zip(axes.T, columns):
        for label, *_ in sweeps.BUDGETS:
            found = points.get((case, label, sir, snr))
            if found:
                cells = [c for _, c in found]
                _rates(column[0], [c.evaluations or value for value, c in found], cells, label)
                _rates(column[1], [c.seconds for c in cells], cells, label)
        column[0].set(xscale="log", yscale="log", title=f"{case}, {sweeps.condition(sir, snr)}",
                      xlabel="evaluations (joint: passes)")
        column[1].set(xscale="log", yscale="log", xlabel="seconds per window, one thread")
    for ax in axes[:, 0]:
        ax.set_ylabel("bit error rate")
    _dress(axes)
    _legend(figure, [label for label, *_ in sweeps.BUDGETS if any(key[1] == label for key in points)], [_BOUNDS])
    return figure


def _floor(records, seed):
    """A panel for each case, windows and streams; the paper's curves dashed."""
    found = sweeps.cells(records, "floor", seed, options=True)
    cases = list(dict.fromkeys(key[0] for key in found))
    figure = Figure(figsize=(4.6 * len(cases) + 3.2, 4.6), layout="constrained")
    axes = figure.subplots(1, len(cases), squeeze=False, sharey=True)[0]
    for ax, case in zip(axes, cases):
        for colour, curve in (("#1f77b4", "alpha_rgs_analytic_soi"), ("#17becf", "unet_supervised")):
            if theirs := table.curves().get((REFERENCE[case], "ber", curve), {}):
                ax.plot(*zip(*sorted(theirs.items())), "--", color=colour, lw=1.1, alpha=0.55)
        for label in sweeps.FLOOR_ROWS:
            for stream, shift in ((False, -0.15), (True, 0.15)):
                points = sorted((key[2], c) for key, c in found.items() if (*key[:2], key[5] > 0) == (case, label, stream))
                if points:
                    _rates(ax, [s + shift for s, _ in points], [c for _, c in points], label, interior=stream,
                           line="--" if stream else "-", width=1.0, fan=False)
        ax.set(yscale="log", ylim=(1e-6, 3e-2), title=case, xlabel="SIR, dB")
    axes[0].set_ylabel("bit error rate")
    _dress(axes, table.SIRS)
    lines = [Line2D([], [], color="#555555", ls=ls, lw=1, label=name)
             for ls, name in (("-", "isolated windows (marks on the left)"), ("--", "streams (marks on the right)"))]
    lines += [Line2D([], [], color=c, ls="--", lw=1.1, alpha=0.55, label=f"the paper's curve: {name}")
              for c, name in (("#1f77b4", "α-RGS"), ("#17becf", "U-Net"))]
    _legend(figure, [row for row in sweeps.FLOOR_ROWS if any(key[1] == row for key in found)], [*lines, _BOUNDS])
    return figure


def _noise(records, seed):
    """Interior bits, a panel for each SIR."""
    found = sweeps.noise_cells(records, seed)
    panels = [(case, sir) for case in dict.fromkeys(key[0] for key in found) for sir in sweeps.noise_grid(found, case)[0]]
    columns = min(3, len(panels))
    figure = Figure(figsize=(4.1 * columns + 2.9, 3.6 * -(-len(panels) // columns) + 0.3), layout="constrained")
    axes = figure.subplots(-(-len(panels) // columns), columns, squeeze=False, sharex=True, sharey=True)
    every = sorted({e for case, _ in panels for e in sweeps.noise_grid(found, case)[1]})
    fine = np.linspace(every[0] - 0.5, every[-1] + 0.5, 200)
    for ax, (case, sir) in zip(axes.ravel(), panels):
        ax.plot(fine, [sweeps.free_ber(e) for e in fine], "-", color="#999999", lw=1.2)
        for label in (*sweeps.NOISE_ROWS, sweeps.FREE):
            at = None if label == sweeps.FREE else sir
            cells = [(e, found.get((case, label, at, sweeps.per_sample(e)))) for e in every]
            cells = [(e, c) for e, c in cells if c]
            if cells:
                _rates(ax, [e for e, _ in cells], [c for _, c in cells], label, interior=True,
                       line="" if label == sweeps.FREE else "-")
        for (at, esn0), ber in sweeps.STUDY.items():
            if at == sir and case == "ofdm-qpsk" and esn0 in every and ber:
                ax.plot(esn0, ber, "x", color="black", ms=9, mew=1.8, zorder=5)
        ax.set(yscale="log", ylim=(1e-6, 0.5), title=f"{case}, SIR {sir:g} dB")
    for ax in axes.ravel()[len(panels):]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("Es/N0, dB")
    for ax in axes[:, 0]:
        ax.set_ylabel("bit error rate, interior")
    _dress(axes, every)
    _legend(figure, [label for label in (*sweeps.NOISE_ROWS, sweeps.FREE) if any(key[1] == label for key in found)],
            [Line2D([], [], color="black", marker="x", ms=8, mew=1.8, ls="", label=sweeps.STUDY_SOURCE),
             Line2D([], [], color="#999999", label="no interference: Q(√(Es/N0))"), _BOUNDS])
    return figure


def _omega(records, seed):
    found = sweeps.omega_lines(records, seed)
    cases = list(dict.fromkeys(case for case, _ in found))
    columns = min(3, len(cases))
    figure = Figure(figsize=(3.6 * columns + 2.2, 3.5 * -(-len(cases) // columns) + 0.3), layout="constrained")
    grid = figure.subplots(-(-len(cases) // columns), columns, squeeze=False, sharex=True, sharey=True)
    axes = grid.ravel()
    colours, used = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd"), {}
    for ax, case in zip(axes, cases):
        for colour, (_, sir) in zip(colours, sorted(key for key in found if key[0] == case)):
            line = found[case, sir]
            ratios = sorted(r for r in line if r != "auto")
            ax.plot(ratios, [line[r].ber or math.nan for r in ratios], "-", color=colour, lw=1.4)
            for r in ratios:
                seen = line[r].ber > 0
                ax.plot(r, line[r].ber or line[r].limit, "o" if seen else _BOUND, color=colour, ms=4,
                        mfc=colour if seen else "white")
            if "auto" in line:
                ax.axhline(line["auto"].ber or line["auto"].limit, color=colour, ls="--", lw=1)
            used[sir] = Line2D([], [], color=colour, marker="o", ms=4, label=f"{sir:g} dB")
        ax.set(xscale="log", yscale="log", title=case, xlabel="ω/κ²")
        ax.tick_params(labelbottom=True)
    for ax in axes[len(cases):]:
        ax.set_visible(False)
    for ax in grid[:, 0]:
        ax.set_ylabel("bit error rate")
    _dress(axes)
    figure.legend(handles=[*used.values(), Line2D([], [], color="#555555", ls="--", lw=1, label="the rule's choice"),
                           _BOUNDS],
                  loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _stand_in(reference):
    """Near lags on the left, around the scrambler's period on the right."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    lines = [("stand-in", sweeps.stand_in(), "#1f77b4")] + ([] if reference is None else [("CommSignal2", reference, "#d62728")])
    for ax, lags in zip(axes, (range(sweeps.NEAR), range(sweeps.COMB[0] - 10, sweeps.COMB[-1] + 11))):
        for name, values, colour in lines:
            ax.plot(lags, values[lags.start:lags.stop], ".-", color=colour, lw=1, ms=4, label=name)
        ax.set(yscale="log", ylim=(1e-4, 1.3), xlabel="lag, samples at 25 MS/s")
        _dress(ax)
    axes[0].set_ylabel("|R(l)| / R(0)")
    axes[1].legend(fontsize=9, frameon=False)
    return figure
