# SPDX-License-Identifier: GPL-3.0-or-later
"""What `alpha-rgs evaluate paper` shows and writes: tables on the terminal, table.csv, report.md, figures."""
import csv
import math
import os
import pathlib

from alpha_rgs.errors import ParameterError
from alpha_rgs.sources.mixtures import CASES
from rich.console import Console

from . import figures as pictures
from . import sweeps, table
from .table import BASELINES, PUBLISHED, REFERENCE, TIMING_SIR, TITLES
from .text import Grid, Section, count, decibels, duration, markdown, rate, show

BEGIN, END = "<!-- alpha-rgs evaluate paper: begin -->", "<!-- alpha-rgs evaluate paper: end -->"
COLUMNS = ("case", "row", "sir_db", "ber", "ber_se", "mse_db", "mse_se_db", "evaluations", "seconds_per_window", "windows",
           "seed", "commit", "machine", "date", "note")
CLAIM = 0.95        # the paper's reduction of BER against classical and existing score-based methods


class Results:
    """All that the report needs of the table part: rows (Row), cases, sirs, cells, seconds, and why cells are empty.

    Cases and SIRs are all those of which something is there, whatever the last run was asked for."""

    def __init__(self, store, rows, seed, notes):
        self.store, self.rows, self.seed = store, rows, seed
        self.cells = table.cells(store.records, "table", seed)
        self.timings = table.timings(store.records, seed)
        failed = {(case, row): text for (part, case, row), text in table.notes_of(store.records, seed).items() if part == "table"}
        self.notes = failed | notes
        known = {row.label for row in rows}
        found = [key for key in self.cells if key[1] in known]
        self.cases = [case for case in CASES if case in {key[0] for key in (*found, *failed)}]
        self.sirs = sorted({sir for _, _, sir, _ in found})
        self.used = [r for c in self.cells.values() for r in c.records] + [record for _, record in self.timings.values()]

    def cell(self, case, row, sir):
        return self.cells.get((case, row.label, float(sir), None))

    def note(self, case, row):
        """"" where something is measured, else the reason."""
        if any(self.cell(case, row, sir) for sir in self.sirs):
            return ""
        return self.notes.get((case, row.label), "not run")

    def seconds(self, case, row):
        """Per window, of the timing pass; nan without."""
        return self.timings.get((case, row.label), (math.nan, None))[0]

    def evaluations(self, row):
        """Least and most over cases and SIRs, as a text."""
        asked = {c.evaluations for c in (self.cell(case, row, sir) for case in self.cases for sir in self.sirs) if c}
        return " to ".join(count(n) for n in sorted({min(asked), max(asked)})) if asked else "–"

    def rates(self):
        """(case, row, sir_db) -> BER, for the headline; the short versions of --quick count as their rows."""
        base = {row.label: row.label.split(" (")[0] for row in self.rows}
        return {(case, base[label], sir): cell.ber for (case, label, sir, snr), cell in self.cells.items()
                if label in base and case in self.cases and sir in self.sirs}


def report(output, store, rows, seed, notes, into=None, reference=None):
    """Print, and write table.csv, report.md and the figures into `output`; put the report between the marks of `into`.

    notes: (case, label) -> why a row cannot be measured. reference: the autocorrelation of CommSignal2, or None.
    """
    results = Results(store, rows, seed, notes)
    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / "table.csv", results)
    drawn = pictures.draw(output, results, reference)
    beyond = sweeps.sections(store, seed, reference)
    for section in beyond:
        section.figures = drawn.get(section.title, [])
    last = _mixed(results) + _missing(results)
    console = Console(width=max(Console().width, 100))
    show(terminal_sections(results) + beyond + last, console)
    head, sections = about(results), table_sections(results, drawn) + beyond + last
    (output / "report.md").write_text(f"# The paper's table\n\n{head}\n\n{markdown(sections, output)}", encoding="utf-8")
    if into:
        replace_between(into, f"{head}\n\n{markdown(sections, into.parent)}")
    written = ["table.csv", "report.md", *sorted(p.name for paths in drawn.values() for p in paths)]
    console.print(f"\nwritten to {output}: {', '.join(written)}" + (f"; and into {into}" if into else ""), highlight=False)


def about(results):
    """Where the numbers come from, a paragraph."""
    if not results.store.records:
        return "Nothing is measured yet."
    records = results.store.records
    dates = sorted(r["date"][:10] for r in records)
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return (f"Made by `alpha-rgs evaluate paper`: seed {results.seed}; commit {table.commits(records)} (+: with changes); "
            f"{table.machines(records)}; {span}. BER is of the 320 bits of each window of 160 QPSK symbols, MSE of the waveform "
            "s of unit power; ± is one standard error, from the scatter between windows. κ, noise, offset and phase of the "
            "interference are estimated. All methods see the same windows; without a wrong bit, 3/bits bounds the rate from "
            "above (rule of three).")


def table_sections(results, drawn):
    """The headline, the first case's table, all others folded; evaluations and seconds; the comparison with the paper's curve."""
    made = []
    for i, case in enumerate(results.cases):
        rates = Grid([f"BER, `{case}`", *_heads(results), "windows"],
                     [[row.label, *_filled(results, case, row, _ber), _windows(results, case, row)] for row in results.rows])
        errors = Grid([f"MSE, dB, `{case}`", *_heads(results)],
                      [[row.label, *_filled(results, case, row, _mse)] for row in results.rows], f"MSE, {TITLES[case]}.", not i)
        made.append(Section(TITLES[case], "", [rates, errors], drawn.get(case, []), folded=i > 0))
    if made:
        made.append(Section("Evaluations of the interference's prior, and seconds per window", _timing_text(results),
                            [_costs(results)], drawn.get("costs", [])))
    return _headline(results) + made + _comparison(results)


def terminal_sections(results):
    """The same for a terminal of 100 columns: standard errors below their numbers, one note in a row's first cell."""
    made = []
    for case in results.cases:
        for name, text in (("BER", _ber), ("MSE, dB", _mse)):
            lines = []
            for row in results.rows:
                note = results.note(case, row)
                label = row.label + (f"\n  {note.split(': ')[0]}" if note else "")
                cells = [text(results.cell(case, row, sir), "\n") for sir in results.sirs]
                lines.append([label, *(["–"] * len(cells) if note else cells)])
            made.append(Section(f"{TITLES[case]}: {name}", grids=[Grid([name, *_heads(results)], lines)]))
    if made:
        made.append(Section("Evaluations and seconds per window", _timing_text(results), grids=[_costs(results)]))
    return made + _comparison(results) + _headline(results)


def _heads(results):
    return [f"{sir:g} dB" for sir in results.sirs]


def _ber(cell, separator=" "):
    return rate(cell.ber, cell.ber_se, cell.limit, separator) if cell else "–"


def _mse(cell, separator=" "):
    return decibels(cell.mse_db, cell.mse_se_db, separator) if cell else "–"


def _filled(results, case, row, text):
    note = results.note(case, row)
    if note:
        return [note.split(": ")[0], *["–"] * (len(results.sirs) - 1)]
    return [text(results.cell(case, row, sir)) for sir in results.sirs]


def _windows(results, case, row):
    counts = sorted({c.windows for c in (results.cell(case, row, sir) for sir in results.sirs) if c})
    return "–" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def _costs(results):
    lines = []
    for row in results.rows:
        cells = []
        for case in results.cases:
            seconds = results.seconds(case, row)
            cells.append("–" if math.isnan(seconds) else duration(seconds) + ("*" if row.slow else ""))
        lines.append([row.label, results.evaluations(row), *cells])
    return Grid(["", "evaluations", *results.cases], lines)


def _timing_text(results):
    if not results.timings:
        return "Not timed yet."
    windows = next(iter(results.timings.values()))[1]["windows"]
    runs = {record.get("run") for _, record in results.timings.values()}
    text = (f"Seconds: one process, one thread, {'one run' if len(runs) == 1 else f'{len(runs)} runs'}, each row on the same "
            f"{windows} windows of each case at {TIMING_SIR} dB, back to back, all estimation included; the median of three, "
            "filters that are made once being there.")
    if any(record["scale"] > 1 for _, record in results.timings.values()):
        text += " Rows with * did a twentieth of their iterations, once, scaled up."
    return text


def _comparison(results):
    """Published α-RGS against the paper's own curve, per SIR."""
    label = next(row.label for row in results.rows if row.label.startswith(PUBLISHED))
    lines = []
    for case in (case for case in results.cases if case.startswith("ofdm")):
        found = {f["sir_db"]: f for f in table.faithful(results.cells, case, label)}
        if found:
            points = [found.get(sir) for sir in results.sirs]
            lines += [[f"{case}: {name}", *("–" if f is None else text(f) for f in points)] for name, text in (
                ("ours", lambda f: rate(f["ours"])), ("the paper's", lambda f: rate(f["paper"])),
                ("ratio", lambda f: f"{f['ratio']:.2f}"), ("σ", lambda f: f"{f['sigma']:.0e}"),
                ("within", lambda f: "yes" if f["within"] else "no"))]
    if not lines:
        return []
    text = ("Within: by a factor of at most 1.5, or by two standard errors of both (σ: ours, 10 % of reading the paper's figure, "
            "and a binomial of its 32 000 bits with wrong bits gathered in windows as ours are). The paper's score of the "
            f"interference is a trained one; ours is analytic. Row: {label}.")
    return [Section("α-RGS as published, against the paper's curve", text, [Grid(["BER", *_heads(results)], lines)])]


def _headline(results):
    theirs = {(case, row.label, sir): ber for case in set(REFERENCE.values()) for row in table.ROWS if row.curve
              for sir, ber in table.curves().get((case, "ber", row.curve), {}).items()}
    ours, paper = table.headline(results.rates()), table.headline(theirs)
    lines = []
    for row in results.rows:
        line = [_percent(ours.get((row.label.split(" (")[0], base))) for base in BASELINES]
        if any(cell != "–" for cell in line):
            lines.append([row.label, *line])
    if not lines:
        return []
    for label in dict.fromkeys(label for label, _ in paper):
        if label not in BASELINES:
            lines.append([f"the paper's curve: {label}", *(_percent(paper.get((label, base))) for base in BASELINES)])
    text = (f"The paper claims a reduction of BER of {CLAIM:.0%} over classical and existing score-based methods, averaged over "
            "SIRs and types of interference. Here: the mean, over all cases and SIRs measured for both, of 1 − BER/BER of the "
            "baseline; in brackets over how many. A method without a wrong bit counts 100 %; where the baseline itself has none, "
            "the pair is left out. The last lines: the same arithmetic on the paper's own curves, wherever it shows both.")
    return [Section("Headline: BER reduction", text, [Grid(["", *(f"against\n{base}" for base in BASELINES)], lines)])]


def _mixed(results):
    """A warning where a row's units do not come from one state of the source."""
    lines = [f"- {part}: {row}: {names}" for (part, row), names in table.mixed(results.store.records, results.seed).items()]
    if not lines:
        return []
    return [Section("Rows measured at more than one commit", "Their numbers may not belong together; `--again ROWS` measures "
                    "rows anew.\n\n" + "\n".join(lines))]


def _missing(results):
    """Why rows are empty, each reason once."""
    why: dict[tuple[str, str], list[str]] = {}
    for row in results.rows:
        for case in results.cases:
            reason = results.note(case, row)
            if ": " in reason:
                why.setdefault((row.label, reason.split(": ", 1)[1]), []).append(case)
    lines = [f"- {label} ({', '.join(cases)}): {reason}" for (label, reason), cases in why.items()]
    return [Section("Not available", "\n".join(lines))] if lines else []


def _percent(value):
    return "–" if value is None else f"{100 * value[0]:.1f} % ({value[1]})"


def write_csv(path, results):
    """One line per case, row and SIR; rows that could not be measured too, with the reason under `note`."""
    with open(path, "w", encoding="utf-8", newline="") as f:
        lines = csv.writer(f)
        lines.writerow(COLUMNS)
        for case in results.cases:
            for row in results.rows:
                for sir in results.sirs:
                    c, seconds = results.cell(case, row, sir), results.seconds(case, row)
                    if c is None:
                        note = results.note(case, row) or "not run"
                        lines.writerow([case, row.label, f"{sir:g}", *[""] * 6, 0, results.seed, "", "", "", note])
                        continue
                    numbers = (c.ber, c.ber_se, c.mse_db, c.mse_se_db)
                    last = max(c.records, key=lambda r: r["date"])
                    lines.writerow([case, row.label, f"{sir:g}", *(f"{n:.6g}" for n in numbers), c.evaluations,
                                    "" if math.isnan(seconds) else f"{seconds:.4g}", c.windows, results.seed,
                                    table.commits(c.records), table.machines(c.records), last["date"], ""])


def replace_between(path, text):
    """Replace what lies between the marks in a file; text None only checks that they are there (ParameterError)."""
    path = pathlib.Path(path)
    try:
        old = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParameterError(f"--into: {path}: no such file") from None
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise ParameterError(f"--into: {path} needs one line '{BEGIN}' and, after it, one line '{END}'")
    if text is None:
        return
    head, rest = old.split(BEGIN)
    new = path.with_name(path.name + ".new")
    new.write_text(f"{head}{BEGIN}\n{text.strip()}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    os.replace(new, path)
