# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of `alpha-rgs evaluate paper`: its rows and columns, the units to be measured, and what the units add up to."""
import csv
import functools
import json
import math
import pathlib
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from alpha_rgs.errors import ParameterError
from alpha_rgs.sources import load
from alpha_rgs.sources.mixtures import CASES, HELD_OUT

from .units import CHUNK, Unit

SIRS = (-24, -21, -18, -15, -12, -9, -6, -3)
TITLES = {"ofdm-qpsk": "RRC-QPSK under OFDM-QPSK", "ofdm-bpsk": "RRC-QPSK under OFDM-BPSK",
          "dsss": "RRC-QPSK under the CommSignal2 stand-in", "dsss-noise": "RRC-QPSK under the stand-in, noise 13.5 dB below it"}
WINDOWS = 100       # of each point, as in the paper
REFERENCE = {"ofdm-qpsk": "ofdm_qpsk", "ofdm-bpsk": "ofdm_bpsk", "dsss": "commsignal2", "dsss-noise": "commsignal2"}
SPREAD = (-12, -24, -3, -18, -6, -21, -9, -15)      # far apart first: a curve shows early
TIMING_WINDOWS, TIMING_SIR = 10, -12


@dataclass(frozen=True)
class Row:
    """A method as it is called. slow: it asks the interference's prior more than 1000 times; `short` are its options in a
    twentieth of that, for timing. quick: its options under --quick, with what is then said behind the label. needs: roles whose
    priors must be trained. curve: the paper's own curve of it. seconds: a first guess, per window. windows: no more than these
    for a point, 0 for no such bound."""

    label: str
    method: str
    options: dict = field(default_factory=dict)
    colour: str = "black"
    curve: str = ""
    needs: tuple = ()
    slow: bool = False
    short: dict = field(default_factory=dict)
    quick: tuple = ()
    seconds: float = 0.01
    windows: int = 0


_PAPER: dict[str, Any] = dict(slow=True, short={"iterations": 1000}, quick=({"iterations": 200}, "200 iterations"), seconds=7.0)
# BASIS hardly moves at its published step: it stays as far off as its start, and ten windows show that
_BASIS: dict[str, Any] = dict(slow=True, short={"inner_steps": 5}, quick=({"inner_steps": 4}, "4 inner steps"), seconds=2.0,
                              windows=10)
PUBLISHED = "α-RGS published, analytic"
COLOUR, WHITE, JOINT = "α-RGS accelerated, SOI colour", "α-RGS accelerated, white", "joint detection"
LMMSE = "LMMSE, cyclostationary"
BASELINES = ("matched filter", "LMMSE, stationary", "BASIS, published")
ROWS = (
    Row("matched filter", "matched_filter", colour="#7f7f7f", curve="matched_filter"),
    Row("LMMSE, stationary", "lmmse", {"covariance": "stationary"}, "#8c564b", "lmmse"),
    Row(LMMSE, "lmmse", {}, "#c49c94"),
    Row("BASIS, published", "basis", {"variant": "published"}, "#ff7f0e", "basis", **_BASIS),
    Row("BASIS, constrained", "basis", {"variant": "constrained"}, "#e7a33e", **_BASIS),
    Row("BASIS, constrained, α-weight", "basis", {"variant": "weighted"}, "#bcbd22", **_BASIS),
    Row("BASIS, published, learned both", "basis", {"variant": "published"}, "#ffbb78", needs=("soi", "interference"), **_BASIS),
    Row("BASIS, constrained, learned both", "basis", {"variant": "constrained"}, "#dbdb8d", needs=("soi", "interference"),
        **_BASIS),
    Row("reverse diffusion", "reverse_diffusion", {}, "#e377c2", seconds=0.1),
    Row("reverse diffusion, learned both", "reverse_diffusion", {}, "#c5b0d5", needs=("soi", "interference"), seconds=0.1),
    Row(PUBLISHED, "alpha_rgs", {"preset": "paper"}, "#1f77b4", "alpha_rgs_analytic_soi", **_PAPER),
    Row("α-RGS published, learned SOI", "alpha_rgs", {"preset": "paper"}, "#6baed6", "alpha_rgs_trained_soi", ("soi",), **_PAPER),
    Row("α-RGS published, learned both", "alpha_rgs", {"preset": "paper"}, "#9ecae1", "", ("soi", "interference"), **_PAPER),
    Row(WHITE, "alpha_rgs", {"preset": "white"}, "#2ca02c", seconds=0.1),
    Row(COLOUR, "alpha_rgs", {"preset": "fast"}, "#d62728"),
    Row("α-RGS accelerated, learned SOI", "alpha_rgs", {"preset": "fast"}, "#ff9896", needs=("soi",)),
    Row("α-RGS accelerated, learned both", "alpha_rgs", {"preset": "fast"}, "#f7b6d2", needs=("soi", "interference")),
    Row("α-RGS white, learned both", "alpha_rgs", {"preset": "white"}, "#98df8a", needs=("soi", "interference")),
    Row("amortised, one pass", "amortised", {}, "#aec7e8", needs=("soi", "once")),
    Row(JOINT, "joint", {}, "#9467bd"),
    Row("U-Net, supervised", "amortised", {}, "#17becf", "unet_supervised", ("unet",)),
)


def rows_of(quick=False):
    """The rows; under --quick the long ones are cut short, and say so in their labels."""
    return tuple(replace(row, options=row.options | row.quick[0], label=f"{row.label} ({row.quick[1]})", slow=False, seconds=0.1)
                 if quick and row.quick else row for row in ROWS)


def select(text, names, what):
    """The name that is the text; or those that hold it, or one of its parts between commas; all without a text (ParameterError
    on no match)."""
    if not text:
        return list(names)
    exact = [name for name in names if name.lower() == text.strip().lower()]
    if exact:
        return exact
    whole = any(text.strip().lower() in name.lower() for name in names)        # a name may have a comma of its own
    parts = [part.strip().lower() for part in ([text] if whole else text.split(",")) if part.strip()]
    for part in parts:
        if not any(part in name.lower() for name in names):
            raise ParameterError(f"{what}: {part!r} matches none of: {'; '.join(names)}")
    return [name for name in names if any(part in name.lower() for part in parts)]


def select_cases(text):
    """Cases, the held-out one among them, by their exact names, or by a part where no name is exact (ParameterError)."""
    names, parts = (*CASES, HELD_OUT), [part.strip() for part in (text or "").split(",") if part.strip()]
    if parts and all(part in names for part in parts):
        return [case for case in names if case in parts]
    return select(text, names, "--cases")


def trained(row, case, folder):
    """(files, trouble) of a row that needs trained priors: role -> path, and "" or what is amiss with them, in words. For one
    pass any network of the interference will do, where none was trained on mixtures."""
    source = case.removesuffix("-noise")
    names = {"soi": "rrc-qpsk.prior", "interference": f"{source}.prior", "once": f"{source}-once.prior",
             "unet": f"unet-{source}.prior"}
    paths = {role: pathlib.Path(folder) / names[role] for role in row.needs}
    if "once" in paths and not paths["once"].exists():
        paths["once"] = pathlib.Path(folder) / names["interference"]
    for path in paths.values():
        if not path.exists():
            return {}, f"no checkpoint ({path.name})"
        trouble = _unreadable(path)
        if trouble:
            return {}, trouble
    return {"interference" if role in ("unet", "once") else role: str(path) for role, path in paths.items()}, ""


@functools.lru_cache(maxsize=32)
def _unreadable(path):
    try:
        load(path)
    except ParameterError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever a file may do to the reader
        return f"{path.name}: {type(error).__name__}: {error}"
    return ""


def plan(rows, cases, sirs, windows, slow_windows, seed, folder):
    """(units, notes): what to measure, first a chunk of everything, and (case, label) -> why a row cannot be measured. Cases
    that are none of the table's are passed over."""
    units, notes, cases = [], {}, [case for case in cases if case in CASES]
    for r, row in enumerate(rows):
        most = min(windows, slow_windows if row.slow else windows, row.windows or windows)
        for c, case in enumerate(cases):
            files, trouble = trained(row, case, folder)
            if trouble:
                notes[case, row.label] = trouble
                continue
            for sir in sirs:
                turn = SPREAD.index(sir) if sir in SPREAD else len(SPREAD)
                for chunk, first in enumerate(range(0, most, CHUNK)):
                    unit = Unit("table", case, row.label, row.method, row.options, sir, chunk=chunk, seed=seed,
                                windows=min(CHUNK, most - first), priors=files)
                    units.append(((chunk, row.slow, turn, c, r), unit))
    return [unit for _, unit in sorted(units, key=lambda pair: pair[0])], notes


def timing_plan(rows, cases, seed, folder, windows=TIMING_WINDOWS):
    """Each row on the same windows, back to back: to be run whole, in one process. Long rows do a twentieth, scaled up."""
    units = []
    for case in (case for case in cases if case in CASES):
        for row in rows:
            files, trouble = trained(row, case, folder)
            if not trouble:
                options, scale = (row.options | row.short, 20) if row.slow else (row.options, 1)
                units.append(Unit("timing", case, row.label, row.method, options, TIMING_SIR, windows=windows, seed=seed,
                                  priors=files, scale=scale))
    return units


class Cost:
    """Seconds that a unit will take, from what its row took so far, or from a first guess."""

    def __init__(self, records):
        spent: Counter[tuple[Any, ...]] = Counter()
        count: Counter[tuple[Any, ...]] = Counter()
        for r in records:
            if r["part"] != "timing" and r.get("seconds"):
                spent[self._kind(r)] += r["seconds"]
                count[self._kind(r)] += r["windows"]
        self._known = {kind: spent[kind] / count[kind] for kind in spent}
        self._guess = {row.label: row.seconds for row in ROWS}

    @staticmethod
    def _kind(r):
        return r["row"], json.dumps(r["options"], sort_keys=True), r["samples"]

    def __call__(self, unit):
        kind = self._kind(asdict(unit))
        guess = self._guess.get(unit.row, 0.05) if not unit.samples else unit.samples / 4e5
        if "iterations" in unit.options:
            guess = 3.5e-4 * unit.options["iterations"]
        return unit.windows * self._known.get(kind, guess) + 0.02


@dataclass
class Cell:
    """What the windows of one (part, case, row, SIR, SNR, options) add up to. ber and mse_db come with standard errors, from
    the scatter between windows; without a wrong bit `limit` = 3/bits bounds the rate from above (rule of three)."""

    records: list

    def __post_init__(self):
        self.errors = self._all("errors")
        self.inner = self._all("interior_errors")
        self.mse = self._all("mse")
        self.per_window, self.windows = self.records[0]["bits"], len(self.errors)
        self.bits = self.per_window * self.windows
        self.ber, self.ber_se = self._rate(self.errors, self.per_window)
        self.interior_bits = self.records[0]["interior_bits"] * self.windows
        self.interior_ber, self.interior_se = self._rate(self.inner, self.records[0]["interior_bits"])
        self.limit, self.interior_limit = 3 / self.bits, 3 / self.interior_bits
        self.evaluations = max(r["evaluations"] or 0 for r in self.records)       # of a window; some methods stop by themselves
        self.seconds = min(r["seconds"] / r["windows"] for r in self.records)      # without making filters, if it can be
        self.mse_db, self.mse_se_db = math.nan, math.nan
        if len(self.mse):
            mean = max(self.mse.mean(), 1e-12)
            self.mse_db = 10 * math.log10(mean)
            self.mse_se_db = 10 / math.log(10) * _standard_error(self.mse) / mean

    def _all(self, name):
        return np.array([value for record in self.records for value in record[name]], float)

    @staticmethod
    def _rate(errors, bits):
        return float(errors.mean() / bits), _standard_error(errors) / bits


def _standard_error(values):
    """Of the mean; nan for a single window."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def cells(records, part, seed, options=False):
    """(case, row, sir_db, snr_db) -> Cell; with options=True (case, row, sir_db, snr_db, options as sorted pairs) -> Cell.

    Where a chunk was measured more than once (fewer windows, older options), the largest and then the latest counts.
    """
    best: dict[tuple[Any, ...], dict[int, Any]] = {}
    for record in records:
        if record["part"] != part or record["seed"] != seed or "unavailable" in record:
            continue
        key: tuple[Any, ...] = (record["case"], record["row"], record["sir_db"], record["snr_db"])
        if options:
            key += (tuple(sorted(record["options"].items())), record["samples"])
        chunks = best.setdefault(key, {})
        old = chunks.get(record["chunk"])
        if old is None or (record["windows"], record["date"]) >= (old["windows"], old["date"]):
            chunks[record["chunk"]] = record
    return {key: Cell([chunks[c] for c in sorted(chunks)]) for key, chunks in best.items()}


def notes_of(records, seed):
    """(part, case, row) -> the reason why it could not be measured, of those of which the latest attempt failed."""
    found: dict[tuple[str, str, str], str] = {}
    for record in records:
        if record["seed"] == seed:
            found[record["part"], record["case"], record["row"]] = record.get("unavailable", "")
    return {key: f"not available: {reason}" for key, reason in found.items() if reason}


def timings(records, seed):
    """(case, row) -> (seconds per window, record) of the timing pass; the latest counts."""
    return {(r["case"], r["row"]): (r["seconds"] / r["windows"], r) for r in records
            if r["part"] == "timing" and r["seed"] == seed and "unavailable" not in r}


@functools.cache
def curves():
    """The paper's curves: (interference, metric, method) -> {sir_db: value}."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    with open(pathlib.Path(__file__).with_name("curves.csv"), encoding="utf-8") as f:
        for line in csv.DictReader(row for row in f if not row.startswith("#")):
            if line["value"]:
                found.setdefault((line["interference"], line["metric"], line["method"]), {})[int(line["sir_db"])] = float(
                    line["value"])
    return found


def headline(rates, baselines=BASELINES):
    """rates: (case, row, sir_db) -> BER. (row, baseline) -> (mean over all (case, SIR) of 1 - BER/BER of the baseline, how many).

    A method without a wrong bit counts 1; pairs where the baseline itself has none are left out.
    """
    found = {}
    for row in dict.fromkeys(row for _, row, _ in rates):
        for base in baselines:
            values = [1 - ber / rates[case, base, sir] for (case, name, sir), ber in rates.items()
                      if name == row and rates.get((case, base, sir), 0) > 0]
            if row != base and values:
                found[row, base] = (float(np.mean(values)), len(values))
    return found


def clustering(cell_list):
    """By how much wrong bits gathered in windows raise the variance over a binomial's: pooled over cells, at least 1."""
    ratio = [(np.var(c.errors, ddof=1), c.per_window * c.ber * (1 - c.ber)) for c in cell_list if c.windows > 1 and c.ber > 0]
    return max(1.0, sum(v for v, _ in ratio) / sum(b for _, b in ratio)) if ratio else 1.0


def faithful(found, case, row=PUBLISHED, curve="alpha_rgs_analytic_soi", paper_bits=32_000):
    """Our BER against the paper's, per SIR: a list of dicts sir_db, ours, paper, ratio, sigma (of the difference), within.

    within: a factor of 1.5, or two standard errors of both. Ours: from the windows, no less than one wrong bit's. The paper's:
    10 % of reading its figure, and a binomial of 100 windows with wrong bits clustered as ours are.
    """
    theirs = curves().get((REFERENCE[case], "ber", curve), {})
    ours = {key[2]: cell for key, cell in found.items() if key[:2] == (case, row) and key[3] is None and key[2] in theirs}
    factor, lines = clustering(list(ours.values())), []
    for sir, cell in sorted(ours.items()):
        p = theirs[sir]
        smallest = math.sqrt(factor) / cell.bits
        mine = max(smallest, 0.0 if math.isnan(cell.ber_se) else cell.ber_se)
        sigma = math.sqrt(mine ** 2 + factor * p * (1 - p) / paper_bits + (0.1 * p) ** 2)
        ratio = cell.ber / p
        lines.append(dict(sir_db=sir, ours=cell.ber, paper=p, ratio=ratio, sigma=sigma,
                          within=1 / 1.5 <= ratio <= 1.5 or abs(cell.ber - p) <= 2 * sigma))
    return lines


def commits(records):
    """The commits that the records were measured at, the most frequent first, as a text."""
    return ", ".join(name for name, _ in Counter(r["commit"] for r in records).most_common())


def mixed(records, seed):
    """(part, row) -> commits, a text, of the rows whose units that count were measured at more than one."""
    found: dict[tuple[str, str], list[Any]] = {}
    for part in dict.fromkeys(r["part"] for r in records):
        for (_, row, *_), cell in cells(records, part, seed, options=part not in ("table", "timing")).items():
            found.setdefault((part, row), []).extend(cell.records)
    return {key: commits(used) for key, used in found.items() if len({r["commit"] for r in used}) > 1}


def machines(records):
    """The machines, likewise."""
    return "; ".join(name for name, _ in Counter(r["machine"] for r in records).most_common())
