# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of `alpha-rgs evaluate paper`. Each names commit, seed, machine and time in its footer."""
import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import paper_sweeps, paper_table
from .table import REFERENCE, ROWS, TITLES

_MARKS = "osD^vP*XhpdH<>"
_STYLE = {row.label: (row.colour, _MARKS[i % len(_MARKS)]) for i, row in enumerate(ROWS)}
_STYLE[paper_sweeps.FREE] = ("black", ".")
_MOST_NEGATIVE = -60        # MSE in dB: below it there is only rounding


def draw(folder, results):
    """All figures that the measured units allow. A dict: section (a case, "costs", or a sweep's title) -> list of paths."""
    made = {}
    for case in results.cases:
        if any(results.cell(case, row, sir) for row in results.rows for sir in results.sirs):
            made[case] = [_save(_curves(case, results), folder / f"{case}.png", results.used, results.seed)]
    records, seed = results.store.records, results.seed
    if results.timings or results.cells:
        made["costs"] = [_save(_costs(results), folder / "costs.png", results.used, seed)]
    for title, part, picture in (("BER against the budget", "budget", _budget), ("BER against Es/N0", "noise", _noise),
                                 ("Choosing ω", "omega", _omega)):
        used = [r for r in records if r["part"] == part and r["seed"] == seed and "unavailable" not in r]
        if used:
            made[title] = [_save(picture(records, seed), folder / f"{part}.png", used, seed)]
    return made


def style(label):
    """(colour, marker) of a row, also of its short version under --quick."""
    return _STYLE.get(label.split(" (")[0], ("black", "."))


def _save(figure, path, used, seed):
    dates = sorted(r["date"] for r in used) or [""]
    span = dates[-1] if dates[0][:10] == dates[-1][:10] else f"{dates[0][:10]} … {dates[-1]}"
    text = f"commit {paper_table.commits(used)} · seed {seed} · {paper_table.machines(used)} · {span}"
    figure.supxlabel(text, fontsize=6.5, color="#555555", x=0.01, ha="left")
    figure.savefig(path, dpi=130)
    return path


def _rates(ax, x, cells, label, interior=False, line="-", width=1.5):
    """BER with standard errors against x; cells without a wrong bit as an upper limit, an arrow at 3/bits."""
    colour, mark = style(label)
    pick = (lambda c: (c.interior_ber, c.interior_se, c.interior_limit)) if interior else (lambda c: (c.ber, c.ber_se, c.limit))
    values = [pick(c) for c in cells]
    if line:        # solid between rates that were seen, faint to those that are but bounds
        ax.plot(x, [ber or limit for ber, _, limit in values], ":", color=colour, lw=0.8, alpha=0.6)
        ax.plot(x, [ber or math.nan for ber, _, _ in values], line, color=colour, lw=width, alpha=0.9)
    for xi, (ber, se, limit) in zip(x, values):
        if ber == 0:
            ax.errorbar(xi, limit, yerr=[[0.45 * limit], [0]], uplims=True, color=colour, marker=mark, ms=4, mfc="white", lw=1)
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
            theirs = paper_table.curves().get((REFERENCE[case], metric, row.curve), {})
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
    extra = [Line2D([], [], color="#555555", ls="--", lw=1.1, label=f"dashed: the paper's curves\n{name}".rstrip()),
             Line2D([], [], color="#555555", marker="o", mfc="white", ls="", label="arrow: no wrong bit, 3/bits")]
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
    cases, sir = results.cases, paper_table.TIMING_SIR
    figure = Figure(figsize=(3.2 * len(cases) + 3.4, 7), layout="constrained")
    axes, present = figure.subplots(2, len(cases), squeeze=False, sharey=True), []
    budgets = paper_sweeps.budget_points(results.store.records, results.seed)
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
    _legend(figure, list(dict.fromkeys(present)), extra)
    return figure


def _budget(records, seed):
    points = paper_sweeps.budget_points(records, seed)
    cases = list(dict.fromkeys(key[0] for key in points))
    conditions = paper_sweeps.CONDITIONS
    figure = Figure(figsize=(3.3 * len(conditions) + 3.2, 6.4 * len(cases)), layout="constrained")
    axes = figure.subplots(2 * len(cases), len(conditions), squeeze=False, sharey="row")
    for i, case in enumerate(cases):
        for column, (sir, esn0) in zip(axes[2 * i:2 * i + 2].T, conditions):
            for label, *_ in paper_sweeps.BUDGETS:
                found = points.get((case, label, float(sir), paper_sweeps.per_sample(esn0)))
                if found:
                    cells = [c for _, c in found]
                    _rates(column[0], [value for value, _ in found], cells, label)
                    _rates(column[1], [c.seconds for c in cells], cells, label)
            noise = "no noise" if esn0 is None else f"Es/N0 {esn0} dB"
            column[0].set(xscale="log", yscale="log", title=f"{case}, {sir} dB, {noise}", xlabel="evaluations (joint: passes)")
            column[1].set(xscale="log", yscale="log", xlabel="seconds per window, one thread", xlim=(1e-3, 30))
    for ax in axes[:, 0]:
        ax.set_ylabel("bit error rate")
    _dress(axes)
    _legend(figure, [label for label, *_ in paper_sweeps.BUDGETS if any(key[1] == label for key in points)])
    return figure


def _noise(records, seed):
    """Interior bits, a panel for each SIR."""
    found, esn0s = paper_sweeps.noise_cells(records, seed), paper_sweeps.ESN0
    cases = list(dict.fromkeys(key[0] for key in found))
    figure = Figure(figsize=(15, 6.6 * len(cases)), layout="constrained")
    axes = figure.subplots(2 * len(cases), 4, squeeze=False, sharex=True, sharey=True)
    fine, labels = np.linspace(esn0s[0], esn0s[-1], 200), (paper_sweeps.JOINT, paper_sweeps.COLOUR, paper_sweeps.WHITE)
    for i, case in enumerate(cases):
        panels = axes[2 * i:2 * i + 2].ravel()
        for ax, sir in zip(panels, (*paper_sweeps.NOISE_SIRS, None)):
            ax.plot(fine, [paper_sweeps.free_ber(e) for e in fine], "-", color="#999999", lw=1.2)
            for label in (labels if sir is not None else ()) + (paper_sweeps.FREE,):
                at = None if label == paper_sweeps.FREE else float(sir)
                cells = [(e, found.get((case, label, at, paper_sweeps.per_sample(e)))) for e in esn0s]
                cells = [(e, c) for e, c in cells if c]
                if cells:
                    _rates(ax, [e for e, _ in cells], [c for _, c in cells], label, interior=True,
                           line="" if label == paper_sweeps.FREE else "-")
            ax.set(yscale="log", ylim=(1e-6, 0.5), title=f"{case}, " + ("no interference" if sir is None else f"SIR {sir} dB"))
    for ax in axes[-1]:
        ax.set_xlabel("Es/N0, dB")
    for ax in axes[:, 0]:
        ax.set_ylabel("bit error rate, interior")
    _dress(axes, esn0s[::2])
    _legend(figure, [label for label in (*labels, paper_sweeps.FREE) if any(key[1] == label for key in found)],
            [Line2D([], [], color="#999999", label="no interference: Q(√(Es/N0))")])
    return figure


def _omega(records, seed):
    found = paper_sweeps.omega_lines(records, seed)
    cases = list(dict.fromkeys(case for case, _ in found))
    figure = Figure(figsize=(3.4 * len(cases) + 2, 4), layout="constrained")
    axes = figure.subplots(1, len(cases), squeeze=False, sharey=True)[0]
    colours, used = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd"), {}
    for ax, case in zip(axes, cases):
        for colour, (_, sir) in zip(colours, sorted(key for key in found if key[0] == case)):
            line = found[case, sir]
            ratios = sorted(r for r in line if r != "auto")
            shown = [line[r].ber or line[r].limit for r in ratios]
            ax.plot(ratios, shown, "-", color=colour, lw=1.4)
            for r, y in zip(ratios, shown):
                ax.plot(r, y, "o", color=colour, ms=4, mfc=colour if line[r].ber else "white")
            if "auto" in line:
                ax.axhline(line["auto"].ber or line["auto"].limit, color=colour, ls="--", lw=1)
            used[sir] = Line2D([], [], color=colour, marker="o", ms=4, label=f"{sir:g} dB")
        ax.set(xscale="log", yscale="log", title=case, xlabel="ω/κ²")
    axes[0].set_ylabel("bit error rate")
    _dress(axes)
    figure.legend(handles=[*used.values(), Line2D([], [], color="#555555", ls="--", lw=1, label="the rule's choice"),
                           Line2D([], [], color="#555555", marker="o", mfc="white", ls="", label="no wrong bit: 3/bits")],
                  loc="outside right upper", fontsize=8, frameon=False)
    return figure
