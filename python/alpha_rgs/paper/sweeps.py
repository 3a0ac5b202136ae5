# SPDX-License-Identifier: GPL-3.0-or-later
"""Beyond the table: BER against evaluations (budget), against Es/N0 (noise), over a million bits (floor), against ω (omega).

Each part is a plan, a list of units, and a section of the report made from what there is of them.
"""
import math

import numpy as np

from .table import PUBLISHED, SIRS, cells, notes_of, select
from .text import Grid, Section, count, duration, rate
from .units import CHUNK, Unit

COLOUR, WHITE, JOINT = "α-RGS accelerated, SOI colour", "α-RGS accelerated, white", "joint detection"
ESN0 = (6, 8, 10, 12, 14, 16, 18, 20)
NOISE_SIRS = (-24, -18, -15, -12, -9, -6, -3)
FREE = "no interference, matched filter"
RATIOS = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-4, 5))
OMEGA_SIRS = (-18, -12, -6)
CONDITIONS = ((-12, None), (-18, None), (-12, 14), (-18, 14))       # SIR and Es/N0 of the budget's curves, dB
BUDGETS = (
    (COLOUR, "alpha_rgs", {"preset": "fast"}, "evaluations", (2, 4, 6, 8, 10, 14, 20)),
    (WHITE, "alpha_rgs", {"preset": "white"}, "evaluations", (10, 20, 50, 100, 200)),
    (PUBLISHED, "alpha_rgs", {"preset": "paper"}, "iterations", (200, 1000, 4000, 20000)),
    (JOINT, "joint", {}, "passes", (1, 2, 4, 6, 8, 12)),
)


def per_sample(esn0_db, samples_per_symbol=16):
    """The SNR per sample of a given Es/N0, both dB; None stays None."""
    return None if esn0_db is None else esn0_db - 10 * math.log10(samples_per_symbol)


def _chunks(windows, size=CHUNK):
    """chunk, its windows, and how many it draws."""
    for chunk, first in enumerate(range(0, windows, size)):
        yield dict(chunk=chunk, windows=min(size, windows - first), drawn=size)


def _main(cases):
    """The sweeps that take long run on the paper's first case, unless others alone were asked for."""
    return ["ofdm-qpsk"] if "ofdm-qpsk" in cases else list(cases)


def _ofdm(cases):
    return [case for case in cases if case.startswith("ofdm")]


def _budget(cases, windows, slow_windows, seed):
    for case in _main(cases):
        for sir, esn0 in CONDITIONS:
            for label, method, options, name, values in BUDGETS:
                for value in values:
                    most = min(windows, slow_windows) if value >= 1000 else windows
                    for chunk in _chunks(most):
                        yield Unit("budget", case, label, method, options | {name: value}, sir, per_sample(esn0), seed=seed,
                                   **chunk)


def _noise(cases, windows, slow_windows, seed):
    for case in _main(cases):
        for esn0 in ESN0:
            for chunk in _chunks(4 * windows, 100):
                yield Unit("noise", case, FREE, "matched_filter", {}, None, per_sample(esn0), seed=seed, **chunk)
            for sir in NOISE_SIRS:
                for label, method, options, *_ in (BUDGETS[3], BUDGETS[0], BUDGETS[1]):
                    for chunk in _chunks(windows):
                        yield Unit("noise", case, label, method, options, sir, per_sample(esn0), seed=seed, **chunk)


def _floor(cases, windows, slow_windows, seed):
    for case in _ofdm(cases):
        for label, method, options, *_ in (BUDGETS[3], BUDGETS[0]):
            for sir in SIRS:
                for chunk in _chunks(32 * windows, 100):
                    yield Unit("floor", case, label, method, options, sir, seed=seed, **chunk)
                for piece in range(8):      # 1 % more than a million bits, since the ends do not count
                    yield Unit("floor", case, label, method, options, sir, chunk=piece, windows=1, drawn=1, seed=seed,
                               samples=10_100 * windows)


def _omega(cases, windows, slow_windows, seed):
    for case in cases:
        for sir in OMEGA_SIRS:
            for ratio in (*RATIOS, "auto"):
                options = {"preset": "white", "omega_ratio": ratio}
                for chunk in _chunks(windows):
                    yield Unit("omega", case, WHITE, "alpha_rgs", options, sir, seed=seed, **chunk)


PARTS = {"budget": _budget, "noise": _noise, "floor": _floor, "omega": _omega}


def select_parts(text):
    """The parts named, a list that may hold "table" (ParameterError)."""
    return select(None if text == "all" else text, ["table", *PARTS], "--part")


def plan(name, cases, windows, slow_windows, seed):
    """The part's units, first chunks first. "table" has none here."""
    units = list(PARTS[name](cases, windows, slow_windows, seed)) if name in PARTS else []
    return sorted(units, key=lambda unit: unit.chunk)


def sections(store, seed):
    """The sections of all parts of which something is measured or was tried."""
    made = [make(store.records, seed) for make in (_budget_section, _noise_section, _floor_section, _omega_section)]
    return [section for section in made if section]


def budget_points(records, seed):
    """(case, row, sir_db, snr_db) -> list of (budget, Cell), ascending."""
    found, names = {}, {label: name for label, _, _, name, _ in BUDGETS}
    for (case, row, sir, snr, options, _), cell in cells(records, "budget", seed, options=True).items():
        found.setdefault((case, row, sir, snr), []).append((dict(options)[names[row]], cell))
    return {key: sorted(points, key=lambda p: p[0]) for key, points in found.items()}


def _budget_section(records, seed):
    points, notes = budget_points(records, seed), _notes(records, "budget", seed)
    if not points and not notes:
        return None
    grids = []
    for case in dict.fromkeys(key[0] for key in points):
        lines = []
        for label, _, _, name, values in BUDGETS:
            for value in values:
                cell = [dict(points.get((case, label, float(sir), per_sample(esn0)), ())).get(value) for sir, esn0 in CONDITIONS]
                known = [c for c in cell if c]
                if known:
                    lines.append([f"{label}: {count(value)} {name}", duration(known[0].seconds),
                                  *(rate(c.ber, c.ber_se, c.limit, "\n") if c else "–" for c in cell)])
        header = ["", "s/window", *(f"{sir} dB" + (f",\nEs/N0 {esn0}" if esn0 else "") for sir, esn0 in CONDITIONS)]
        grids.append(Grid(header, lines, f"Case {case}."))
    return Section("BER against the budget", "More evaluations may not make a method worse. Seconds: of the fastest chunk of "
                   "windows, while other processes may have run." + notes, grids)


def noise_cells(records, seed):
    """(case, row, sir_db or None, snr_db) -> Cell."""
    return cells(records, "noise", seed)


def free_ber(esn0_db):
    """Q(sqrt(Es/N0)): QPSK without interference through the matched filter."""
    return 0.5 * math.erfc(math.sqrt(10 ** (esn0_db / 10) / 2))


def _noise_section(records, seed):
    found, notes = noise_cells(records, seed), _notes(records, "noise", seed)
    if not found and not notes:
        return None
    grids = []
    for case in dict.fromkeys(key[0] for key in found):
        for what, value in (("interior bits (without 16 symbols of each side)",
                             lambda c: rate(c.interior_ber, None, c.interior_limit, "\n")),
                            ("all bits of the windows", lambda c: rate(c.ber, None, c.limit, "\n"))):
            lines = [["no interference: Q(√(Es/N0))", *(rate(free_ber(e)) for e in ESN0)]]
            for sir, label in [(None, FREE)] + [(float(s), name) for s in NOISE_SIRS for name in (JOINT, COLOUR, WHITE)]:
                row = [found.get((case, label, sir, per_sample(esn0))) for esn0 in ESN0]
                if any(row):
                    name = label if sir is None else f"{sir:g} dB: {label}"
                    lines.append([name, *(value(c) if c else "–" for c in row)])
            grids.append(Grid(["Es/N0, dB", *map(str, ESN0)], lines, f"Case {case}, {what}."))
    return Section("BER against Es/N0", "Where there was no wrong bit, 3/bits bounds the rate from above." + notes, grids)


def _floor_section(records, seed):
    found, notes = cells(records, "floor", seed, options=True), _notes(records, "floor", seed)
    if not found and not notes:
        return None
    grids = []
    for case in dict.fromkeys(key[0] for key in found):
        lines = []
        for row, stream in dict.fromkeys((key[1], key[5] > 0) for key in found if key[0] == case):
            line = {key[2]: _counted(c, stream) for key, c in found.items()
                    if (key[0], key[1], key[5] > 0) == (case, row, stream)}
            sizes = sorted({f"{bits:.2g}": bits for _, bits in line.values()}.items(), key=lambda pair: pair[1])
            size = " to ".join(text for text, _ in sizes[::max(1, len(sizes) - 1)])
            name = f"{row}, {'streams' if stream else 'windows'}, {size} bits"
            lines.append([name, *(_wrong(line.get(float(sir))) for sir in SIRS)])
        grids.append(Grid(["", *(f"{sir} dB" for sir in SIRS)], lines, f"Case {case}: wrong bits; their rate, or 3/bits."))
    return Section("The floor, without noise", "Isolated windows of 160 symbols, all bits; and streams cut into overlapping "
                   "windows, without the 16 symbols at each end of each piece of stream, which have no context." + notes, grids)


def _counted(cell, stream):
    """(wrong bits, bits) that count."""
    return (int(cell.inner.sum()), cell.interior_bits) if stream else (int(cell.errors.sum()), cell.bits)


def _wrong(counted):
    if counted is None:
        return "–"
    wrong, bits = counted
    return f"{wrong}\n" + (f"{wrong / bits:.1e}" if wrong else f"<{3 / bits:.0e}")


def omega_choice(line):
    """line: omega_ratio (numbers, perhaps "auto") -> Cell on the same windows. A dict: best (the ratio of least BER), excess (of
    auto over it, relative; None where the best has no wrong bit), sigma (standard error of the paired difference, in the same
    terms; in BER where the excess is None), difference (in BER), within (10 % or one standard error)."""
    best = min((ratio for ratio in line if ratio != "auto"), key=lambda ratio: line[ratio].ber)
    least, auto = line[best], line["auto"]
    n = min(least.windows, auto.windows)
    paired = (auto.errors[:n] - least.errors[:n]) / least.per_window
    difference, sigma = float(paired.mean()), float(np.std(paired, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    scale = least.ber or None
    return dict(best=best, difference=difference, excess=difference / scale if scale else None,
                sigma=sigma / scale if scale else sigma, within=difference <= max(0.1 * least.ber, sigma))


def omega_lines(records, seed):
    """(case, sir_db) -> {omega_ratio: Cell}."""
    found = {}
    for (case, _, sir, _, options, _), cell in cells(records, "omega", seed, options=True).items():
        found.setdefault((case, sir), {})[dict(options)["omega_ratio"]] = cell
    return found


def _omega_section(records, seed):
    found, notes = omega_lines(records, seed), _notes(records, "omega", seed)
    if not found and not notes:
        return None
    lines, verdicts = [], []
    for (case, sir), line in sorted(found.items()):
        lines.append([f"{case}, {sir:g} dB", *(rate(line[r].ber, None, line[r].limit, "\n") if r in line else "–"
                                              for r in (*RATIOS, "auto"))])
        if "auto" in line and len(line) > 1:
            c = omega_choice(line)
            over = "0 at best" if c["excess"] is None else f"{100 * c['excess']:+.1f} % ±{100 * c['sigma']:.1f} %"
            verdicts.append([f"{case}, {sir:g} dB", f"{c['best']:g}", rate(line[c["best"]].ber, None, line[c["best"]].limit),
                             rate(line["auto"].ber, None, line["auto"].limit), over, "yes" if c["within"] else "no"])
    grids = [Grid(["ω/κ²", *(f"{r:g}" for r in RATIOS), "rule"], lines,
                  "BER, accelerated α-RGS with white smoothing, on the same windows.")]
    if verdicts:
        grids.append(Grid(["", "best ω/κ²", "its BER", "rule's BER", "excess", "≤10 % or 1 σ"], verdicts,
                          "The rule that needs no truth, over the best of the sweep (standard errors paired)."))
    return Section("Choosing ω", notes.strip(), grids)


def _notes(records, part, seed):
    """What could not be measured, as a sentence each."""
    told = {f"{row}, {case}: {text}" for (p, case, row), text in notes_of(records, seed).items() if p == part}
    return "".join(f"\n\n{line}" for line in sorted(told))

