# SPDX-License-Identifier: GPL-3.0-or-later
"""Beyond the table: BER over a million bits (floor), against Es/N0 (noise), against evaluations (budget), against ω (omega), and
the stand-in's autocorrelation. Each part is a plan, units to be measured, and a section of the report made from what there is.
"""
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from alpha_rgs.errors import ParameterError
from alpha_rgs.sources.mixtures import CASES, autocorrelation, draw, paper_case

from .table import COLOUR, JOINT, LMMSE, PUBLISHED, ROWS, SIRS, WHITE, Row, cells, notes_of, select
from .text import Grid, Section, count, duration, rate
from .units import CHUNK, OUTER, SAMPLES, Unit

EP = "joint, EP without search"
FREE = "no interference, matched filter"
COLOUR_ALONE, WHITE_ALONE = f"{COLOUR}, no search", f"{WHITE}, no search"
EXTRA = (Row(EP, "joint", {"search": 0}, "#c5b0d5"), Row(COLOUR_ALONE, "alpha_rgs", {"preset": "fast", "tones": 0}, "#ff9896"),
         Row(WHITE_ALONE, "alpha_rgs", {"preset": "white", "tones": 0}, "#98df8a"), Row(FREE, "matched_filter", {}, "#555555"))
_ROWS = {row.label: row for row in (*ROWS, *EXTRA)}

NOISE_ROWS = (JOINT, EP, LMMSE, WHITE, COLOUR)
NOISE_SIRS, ESN0, ESN0_ALL = (-24, -18, -15, -12, -9, -6), (10, 14, 18), (6, 8, 10, 12, 14, 16, 18, 20)
STUDY = {(-24, 10): 1e-3, (-18, 10): 2e-3, (-18, 14): 0.0, (-12, 10): 2e-2, (-12, 14): 8e-3, (-12, 18): 2e-3, (-6, 10): 1e-2}
STUDY_SOURCE = "study quoted in the issue"      # (SIR, Es/N0), both dB: its interior BER, joint detection, 20 windows
RATIOS = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-4, 5))
OMEGA_SIRS = (-18, -12, -6)
BUDGET_SIRS, BUDGET_ESN0 = (-12,), (None, 14)
PASSES = (1, 2, 3, 4, 6, 8, 12)
BUDGETS = ((COLOUR, "evaluations", (2, 3, 4, 6)), (COLOUR_ALONE, "evaluations", (2, 4, 6, 8, 10, 14, 20)),
           (WHITE, "iterations", (15, 30, 60, 100)), (WHITE_ALONE, "iterations", (4, 8, 15, 30, 60, 100)),
           (PUBLISHED, "iterations", (200, 1000, 4900, 20000)), (JOINT, "passes", PASSES), (EP, "passes", PASSES))
FLOOR_ROWS, FLOOR_CHUNK, PIECE = (JOINT, COLOUR), 125, 1_000_000
NEAR, COMB = 61, (3125, 3150, 3173, 3174, 3175, 3176, 3177, 3200, 3225)     # lags, samples
TITLES = {"floor": "The floor, without noise", "noise": "BER against Es/N0", "budget": "BER against the budget",
          "omega": "Choosing ω", "stand-in": "The stand-in's autocorrelation"}


@dataclass(frozen=True)
class Scope:
    """What a part is wanted for; None: the part's own choice. sirs, esn0s: dB. windows: for each point."""

    cases: tuple
    sirs: tuple | None = None
    esn0s: tuple | None = None
    windows: int | None = None
    slow_windows: int = 25
    seed: int = 1


def per_sample(esn0_db, samples_per_symbol=16):
    """The SNR per sample of a given Es/N0, both dB; None stays None."""
    return None if esn0_db is None else esn0_db - 10 * math.log10(samples_per_symbol)


def _units(part, case, label, sir, snr, windows, seed, size=CHUNK, **options):
    """A point's units, chunk by chunk."""
    row = _ROWS[label]
    for chunk, first in enumerate(range(0, windows, size)):
        yield Unit(part, case, label, row.method, row.options | options, sir, snr, chunk=chunk,
                   windows=min(size, windows - first), seed=seed, drawn=size)


def _main(scope):
    """The sweeps that take long run on the paper's first case, unless others alone were asked for."""
    return ("ofdm-qpsk",) if "ofdm-qpsk" in scope.cases else [case for case in scope.cases if case in CASES]


def _floor(scope, windows):
    for case in (case for case in scope.cases if case.startswith("ofdm")):
        for label in FLOOR_ROWS:
            for sir in scope.sirs or SIRS:
                yield from _units("floor", case, label, sir, None, windows, scope.seed, FLOOR_CHUNK)
                samples = windows * SAMPLES         # as many bits in streams, and 1 % more: their ends do not count
                pieces, row = -(-samples // PIECE), _ROWS[label]
                for piece in range(pieces):
                    yield Unit("floor", case, label, row.method, row.options, sir, chunk=piece, windows=1, drawn=1,
                               seed=scope.seed, samples=round(1.01 * samples / pieces / 16) * 16)


def _noise(scope, windows):
    for case in _main(scope):
        for esn0 in scope.esn0s or ESN0:
            yield from _units("noise", case, FREE, None, per_sample(esn0), 4 * windows, scope.seed, 100)
            for sir in scope.sirs or NOISE_SIRS:
                for label in NOISE_ROWS:
                    yield from _units("noise", case, label, sir, per_sample(esn0), windows, scope.seed)


def _budget(scope, windows):
    for case in _main(scope):
        for sir in scope.sirs or BUDGET_SIRS:
            for esn0 in BUDGET_ESN0:
                for label, name, values in BUDGETS:
                    for value in values:
                        most = min(windows, scope.slow_windows) if value >= 1000 else windows
                        yield from _units("budget", case, label, sir, per_sample(esn0), most, scope.seed, **{name: value})


def _omega(scope, windows):
    for case in scope.cases:
        for sir in scope.sirs or OMEGA_SIRS:
            for ratio in (*RATIOS, "auto"):
                yield from _units("omega", case, WHITE, sir, None, windows, scope.seed, omega_ratio=ratio)


PARTS = {"floor": (_floor, 3125), "noise": (_noise, 50), "budget": (_budget, 50), "omega": (_omega, 50)}     # and their windows


def select_parts(text):
    """The parts named, a list that may hold "table" (ParameterError)."""
    return select(None if text == "all" else text, ["table", *PARTS], "--part")


def plan(name, scope):
    """The part's units, first chunks first. "table" has none here."""
    if name not in PARTS:
        return []
    make, windows = PARTS[name]
    return sorted(make(scope, scope.windows or windows), key=lambda unit: unit.chunk)


def sections(store, seed, reference=None):
    """The sections of all parts of which something is measured or was tried."""
    made = [make(store.records, seed) for make in (_floor_section, _noise_section, _budget_section, _omega_section)]
    return [section for section in (*made, _stand_in_section(store.records, reference)) if section]


def _section(part, records, seed, text, grids):
    """With what could not be measured below; None where there is nothing."""
    reasons = {f"- {row}, {case}: {why}" for (p, case, row), why in notes_of(records, seed).items() if p == part}
    notes = "\n".join(sorted(reasons))
    return Section(TITLES[part], f"{text}\n\n{notes}".strip() if grids else notes, grids) if grids or reasons else None


def _floor_section(records, seed):
    found, grids = cells(records, "floor", seed, options=True), []
    for case in dict.fromkeys(key[0] for key in found):
        lines = []
        for label, stream in sorted({(key[1], key[5] > 0) for key in found if key[0] == case}):
            point = {key[2]: _counted(c, stream) for key, c in found.items() if (*key[:2], key[5] > 0) == (case, label, stream)}
            whole = [sum(column) for column in zip(*point.values())]
            name = "joint" if label == JOINT else label.replace(" accelerated", "")
            lines.append([f"{name}: {'streams' if stream else 'windows'}", *(_wrong(point.get(float(s))) for s in SIRS),
                          _wrong(whole), count(whole[3])])
        grids.append(Grid(["wrong bits", *(f"{sir} dB" for sir in SIRS), "all", "bits"], lines, f"Case `{case}`."))
    text = ("Wrong bits, interior + outer; with them their rate, or the upper limit 3/bits where there are none. Windows: "
            f"isolated ones of 160 symbols, of which the {OUTER} at each end are the outer ones. Streams: in pieces of about a "
            f"million samples, cut into overlapping windows; the {OUTER} symbols at each end of a piece have no context, and do "
            "not count in its rate.")
    return _section("floor", records, seed, text, grids)


def _counted(cell, stream):
    """(wrong interior bits, wrong outer bits, those of them that count, bits that count)."""
    inner, both = int(cell.inner.sum()), int(cell.errors.sum())
    return inner, both - inner, *((inner, cell.interior_bits) if stream else (both, cell.bits))


def _wrong(counted):
    if counted is None:
        return "–"
    inner, outer, wrong, bits = counted
    return f"{inner} + {outer}\n" + (f"{wrong / bits:.1e}" if wrong else f"<{3 / bits:.0e}")


def noise_cells(records, seed):
    """(case, row, sir_db or None, snr_db) -> Cell."""
    return cells(records, "noise", seed)


def noise_grid(found, case):
    """(SIRs, Es/N0s) of a case's cells, each ascending: the columns of SNRs per sample back as Es/N0."""
    sirs = sorted({key[2] for key in found if key[0] == case and key[2] is not None})
    return sirs, sorted({round(key[3] - per_sample(0), 6) for key in found if key[0] == case})


def free_ber(esn0_db):
    """Q(sqrt(Es/N0)): QPSK without interference through the matched filter."""
    return 0.5 * math.erfc(math.sqrt(10 ** (esn0_db / 10) / 2))


def _noise_section(records, seed):
    found, grids = noise_cells(records, seed), []
    heads = ["SIR, Es/N0, dB", "study", "joint", "joint,\nno search", "LMMSE,\ncyclost.", "α-RGS,\nwhite",
             "α-RGS,\nSOI colour", "interference\nabsent", "Q(√(Es/N0))"]
    for case in dict.fromkeys(key[0] for key in found):
        sirs, esn0s = noise_grid(found, case)
        for what, folded, value in (
                ("interior bits", False, lambda c: rate(c.interior_ber, c.interior_se, c.interior_limit, "\n")),
                ("all bits of the windows", True, lambda c: rate(c.ber, c.ber_se, c.limit, "\n"))):
            lines = []
            for sir in sirs:
                for esn0 in esn0s:
                    point = [found.get((case, label, None if label == FREE else sir, per_sample(esn0)))
                             for label in (*NOISE_ROWS, FREE)]
                    study = STUDY.get((sir, esn0)) if case == "ofdm-qpsk" else None
                    lines.append([f"{sir:g}, {esn0:g}", *([] if folded else ["–" if study is None else rate(study)]),
                                  *(value(c) if c else "–" for c in point), rate(free_ber(esn0))])
            shown = [head for head in heads if head != "study" or not folded]
            grids.append(Grid(shown, lines, f"Case `{case}`, {what}.", folded))
    return _section("noise", records, seed,
                    f"Interior: without the {OUTER} symbols at each end of a window. Column study: {STUDY_SOURCE}.", grids)


def budget_points(records, seed):
    """(case, row, sir_db, snr_db) -> list of (budget, Cell), ascending."""
    found: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
    names = {label: name for label, name, _ in BUDGETS}
    for (case, row, sir, snr, options, _), cell in cells(records, "budget", seed, options=True).items():
        found.setdefault((case, row, sir, snr), []).append((dict(options)[names[row]], cell))
    return {key: sorted(points, key=lambda p: p[0]) for key, points in found.items()}


def paired(one, other):
    """(mean of BER of one minus that of the other, its standard error) over the windows that both have."""
    n = min(one.windows, other.windows)
    difference = (one.errors[:n] - other.errors[:n]) / one.per_window
    return float(difference.mean()), float(np.std(difference, ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def rises(points):
    """points: (budget, Cell), ascending. Where more is worse than the best of less by over two paired standard errors: a list of
    (best of less, budget, rise in BER, its standard error)."""
    found, (least, best) = [], points[0]
    for budget, cell in points[1:]:
        rise, sigma = paired(cell, best)
        if rise > 0 and not rise <= 2 * sigma:
            found.append((least, budget, rise, sigma))
        if rise <= 0:
            least, best = budget, cell
    return found


def _budget_section(records, seed):
    points, grids, worse = budget_points(records, seed), [], []
    for case in dict.fromkeys(key[0] for key in points):
        conditions = sorted({key[2:] for key in points if key[0] == case}, key=lambda c: (c[0], c[1] is not None, c[1]))
        lines = []
        for label, name, _ in BUDGETS:
            tried = {c: dict(points.get((case, label, *c), ())) for c in conditions}
            for value in sorted(set().union(*tried.values())):
                point = [tried[c].get(value) for c in conditions]
                known = [cell for cell in point if cell]
                cost = count(known[0].evaluations or None), duration(known[0].seconds)
                lines.append([f"{label}: {name} = {count(value)}", *cost,
                              *(rate(c.ber, c.ber_se, c.limit, "\n") if c else "–" for c in point)])
            for c in conditions:
                worse += [f"- {label}, {condition(*c)}: {name} = {b} after {a}: {rise:+.1e} ±{sigma:.0e}"
                          for a, b, rise, sigma in (rises(points[(case, label, *c)]) if tried[c] else ())]
        heads = ["", "evaluations", "s/window", *(condition(c[0], c[1], ",\n") for c in conditions)]
        grids.append(Grid(heads, lines, f"All budgets, case `{case}`.", True))
    verdict = "Nowhere does it, beyond two paired standard errors." if not worse else (
        "It does, beyond two paired standard errors, over the best of less:\n" + "\n".join(worse))
    return _section("budget", records, seed, "A method's BER may not rise with its budget. " + verdict, grids)


def condition(sir_db: float, snr_db: float | None, separator: str = ", ") -> str:
    """SIR and noise as a heading; snr_db per sample."""
    return f"{sir_db:g} dB{separator}" + ("no noise" if snr_db is None else f"Es/N0 {snr_db - per_sample(0):.3g} dB")


def omega_choice(line):
    """line: omega_ratio (numbers, perhaps "auto") -> Cell on the same windows. A dict: best (the ratio of least BER), excess (of
    auto over it, relative; None where the best has no wrong bit), sigma (standard error of the paired difference, in the same
    terms; in BER where the excess is None), difference (in BER), within (10 % or one standard error)."""
    best = min((ratio for ratio in line if ratio != "auto"), key=lambda ratio: (line[ratio].ber, abs(math.log(ratio))))
    least = line[best].ber
    difference, sigma = paired(line["auto"], line[best])
    return dict(best=best, difference=difference, excess=difference / least if least else None,
                sigma=sigma / (least or 1.0), within=difference <= max(0.1 * least, sigma))


def omega_lines(records, seed):
    """(case, sir_db) -> {omega_ratio: Cell}."""
    found: dict[tuple[str, float], dict[Any, Any]] = {}
    for (case, _, sir, _, options, _), cell in cells(records, "omega", seed, options=True).items():
        found.setdefault((case, sir), {})[dict(options)["omega_ratio"]] = cell
    return found


def _omega_section(records, seed):
    lines, verdicts = [], []
    for (case, sir), line in sorted(omega_lines(records, seed).items()):
        lines.append([f"{case}, {sir:g} dB", *(rate(line[r].ber, None, line[r].limit, "\n") if r in line else "–"
                                              for r in (*RATIOS, "auto"))])
        if "auto" in line and len(line) > 1:
            c = omega_choice(line)
            over = "0 at best" if c["excess"] is None else f"{100 * c['excess']:+.1f} % ±{100 * c['sigma']:.1f} %"
            verdicts.append([f"{case}, {sir:g} dB", f"{c['best']:g}", rate(line[c["best"]].ber, None, line[c["best"]].limit),
                             rate(line["auto"].ber, None, line["auto"].limit), over, "yes" if c["within"] else "no"])
    grids = [Grid(["", "best ω/κ²", "its BER", "rule's BER", "excess", "≤10 % or 1 σ"], verdicts,
                  "The rule that needs no truth, over the best of the sweep (standard errors paired).")] if verdicts else []
    if lines:
        grids.append(Grid(["ω/κ²", *(f"{r:g}" for r in RATIOS), "rule"], lines, "BER for each ω/κ².", True))
    return _section("omega", records, seed, "Accelerated α-RGS with white smoothing, on the same windows. `held-out` is OFDM of "
                    "another numerology, none of the table's cases.", grids)


@functools.cache
def stand_in():
    """|R(l)/R(0)| of the stand-in, lags 0 ... 3299 samples, over 20 draws of 40 960 samples."""
    soi, interference = paper_case("dsss")
    return autocorrelation(draw(soi, interference, 20, 40_960, 0.0, seed=1).b, 3300).abs().numpy()


def read_reference(path):
    """|R(l)/R(0)| of CommSignal2's recordings from an archive of numpy's that holds CommSignal2_acf; None without a path. Raises
    ParameterError."""
    if path is None:
        return None
    try:
        with np.load(path) as archive:
            found = np.abs(archive["CommSignal2_acf"])
    except (OSError, KeyError, ValueError) as error:
        raise ParameterError(f"--reference: {path}: {error}") from None
    if found.ndim != 1 or len(found) <= max(COMB):
        raise ParameterError(f"--reference: {path}: CommSignal2_acf needs more than {max(COMB)} lags, not {found.shape}")
    return found


def has_stand_in(records, reference):
    """Whether its autocorrelation is to be shown."""
    return reference is not None or any(r["case"].startswith("dsss") for r in records)


def _stand_in_section(records, reference):
    if not has_stand_in(records, reference):
        return None
    lines = {"stand-in": stand_in()} | ({} if reference is None else {"CommSignal2": reference})
    text = "Magnitude, relative to lag 0. "
    if reference is None:
        text += "That of CommSignal2 is not drawn: name its file by `--reference FILE`."
    else:
        rms = math.sqrt(np.mean((reference[1:26] - lines["stand-in"][1:26]) ** 2))
        text += (f"Over lags 1 to 25 the two differ by {rms:.3f} (rms). The peak at 3175 samples, 127 symbols of the scrambler, "
                 "is high in the stand-in, whose data are constant, and low in the recordings, whose data are not.")
    grids = [Grid(["lag", *map(str, COMB)], [[name, *(f"{values[lag]:.3f}" for lag in COMB)] for name, values in lines.items()])]
    tens = [[f"{name}, {first}+", *(f"{values[lag]:.3f}" if lag < NEAR else "" for lag in range(first, first + 10))]
            for first in range(0, NEAR, 10) for name, values in lines.items()]
    return Section(TITLES["stand-in"], text, [*grids, Grid(["lag", *map(str, range(10))], tens, "Lags 0 to 60.", True)])
