# SPDX-License-Identifier: GPL-3.0-or-later
"""`alpha-rgs evaluate paper`: work is resumed and paired, no row is left out, and the arithmetic of the report is right.

Numbers of the table itself are no test's matter: a few windows and quick methods stand for it here.
"""
import csv
import json
import math
import pathlib

import matplotlib.image
import numpy as np
import pytest
from alpha_rgs.cli.main import app
from typer.testing import CliRunner

from benchmarks.paper import report, sweeps, table, text, units
from benchmarks.paper.table import Cell
from benchmarks.paper.units import Unit

PRIORS = pathlib.Path(__file__).resolve().parents[2] / "priors"
QUICK = ("--rows", "matched filter,joint", "--cases", "ofdm-qpsk", "--windows", 3, "--sir-db=-12,-3", "--part", "table")


def paper(*args, code=0):
    result = CliRunner().invoke(app, ["evaluate", "paper", *map(str, args)], env={"COLUMNS": "100"})
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small table, by the command itself: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("paper")
    return folder, paper("-o", folder, *QUICK)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "units.jsonl").read_text().splitlines()]


def record(row, errors, sir=-12.0, **more):
    """A record as the store holds it."""
    fields = dict(part="table", case="ofdm-qpsk", row=row, method="joint", options={}, sir_db=sir, snr_db=None, chunk=0,
                  samples=0, windows=len(errors), seed=1, errors=errors, bits=320,
                  interior_errors=[0] * len(errors), interior_bits=256,
                  mse=[0.01] * len(errors), evaluations=3, seconds=0.1, commit="abc", machine="m", date="2026-01-01T00:00:00Z")
    return fields | more


def test_a_second_run_measures_nothing_again_and_more_windows_only_what_is_new(made):
    folder, _ = made
    before = (folder / "units.jsonl").read_text()
    paper("-o", folder, *QUICK)
    assert (folder / "units.jsonl").read_text() == before
    paper("-o", folder, *[4 if a == 3 else a for a in QUICK])
    table_lines = [r for r in lines_of(folder) if r["part"] == "table"]
    found = table.cells(table_lines, "table", 1)
    assert {cell.windows for cell in found.values()} == {4}, "the smaller chunk must not be counted beside the larger"


def test_a_line_cut_short_is_passed_over_and_measured_again(tmp_path):
    path = tmp_path / "units.jsonl"
    first, second = (Unit("table", "ofdm-qpsk", "matched filter", "matched_filter", {}, sir, windows=2) for sir in (-3, -12))
    units.run([first, second], units.Store(path))
    whole = path.read_text()
    path.write_text(whole[:-40])
    store = units.Store(path)
    assert first in store and second not in store
    units.run([first, second], store)
    again = units.Store(path)
    assert first in again and second in again and len(again.records) == 2


def test_all_rows_see_the_same_mixtures_also_with_fewer_windows_or_noise():
    one = units.mixtures(Unit("table", "ofdm-bpsk", "joint detection", "joint", {}, -12, windows=4, chunk=2))
    other = units.mixtures(Unit("budget", "ofdm-bpsk", "another", "another", {"x": 1}, -12.0, windows=2, chunk=2))
    assert np.array_equal(one.y[:2], other.y) and np.array_equal(one.bits[:2], other.bits)
    seeds = {units.mixture_seed(seed, case, sir, chunk) for seed in (0, 1) for case in ("ofdm-qpsk", "dsss")
             for sir in (None, -12, -12.5) for chunk in (0, 1)}
    assert len(seeds) == 24


def test_a_unit_is_the_same_by_what_it_measures_not_by_how_its_numbers_are_written():
    unit = Unit("table", "ofdm-qpsk", "joint detection", "joint", {"passes": 6, "damping": 0.5}, -12)
    assert unit.key == Unit("table", "ofdm-qpsk", "joint detection", "joint", {"damping": 0.5, "passes": 6}, -12.0).key
    assert unit.key != Unit("table", "ofdm-qpsk", "joint detection", "joint", {"damping": 0.5, "passes": 7}, -12).key


def test_processes_give_the_same_counts_as_one(tmp_path):
    wanted = [Unit("table", "ofdm-qpsk", "matched filter", "matched_filter", {}, sir, windows=2) for sir in (-6, -12)]
    counts = []
    for jobs in (1, 2):
        store = units.Store(tmp_path / f"{jobs}.jsonl")
        units.run(wanted, store, jobs)
        counts.append({r["sir_db"]: r["errors"] for r in store.records})
    assert counts[0] == counts[1]


def test_the_table_as_csv_has_every_row_and_column(made):
    folder, result = made
    with open(folder / "table.csv", encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    assert tuple(lines[0]) == ("case", "row", "sir_db", "ber", "ber_se", "mse_db", "mse_se_db", "evaluations",
                               "seconds_per_window", "windows", "seed", "commit", "machine", "date", "note")
    assert [r["row"] for r in lines[::2]] == [row.label for row in table.ROWS]
    first = next(r for r in lines if r["row"] == "matched filter" and r["sir_db"] == "-12")
    assert 0.1 < float(first["ber"]) < 0.2 and float(first["seconds_per_window"]) > 0 and int(first["windows"]) >= 3
    notes = {r["row"]: r["note"] for r in lines}
    assert notes["LMMSE, cyclostationary"] == "not run"
    for shown in (result.output, (folder / "report.md").read_text()):
        for row in table.ROWS:
            assert row.label in shown
        assert "not run" in shown and "95%" in shown


def test_the_figures_are_there_and_show_something(made):
    folder, _ = made
    for name in ("ofdm-qpsk.png", "costs.png"):
        picture = matplotlib.image.imread(folder / name)
        assert picture.shape[0] > 300 and picture[..., :3].std() > 0.02
        assert name in (folder / "report.md").read_text()


def test_figures_of_all_parts_from_made_up_units(tmp_path):
    """Every part draws from what there is of it, also from cells without a wrong bit and from single windows."""
    store = units.Store(tmp_path / "units.jsonl")
    for part, options in (("budget", {"preset": "fast", "evaluations": 4}), ("noise", {"preset": "fast"}),
                          ("floor", {"preset": "fast"}), ("omega", {"preset": "white", "omega_ratio": 1.0}),
                          ("omega", {"preset": "white", "omega_ratio": "auto"})):
        row = table.WHITE if part == "omega" else table.COLOUR
        snr = sweeps.per_sample(14) if part == "noise" else None
        for sir, errors in ((-12.0, [0, 0]), (-18.0, [3])):
            store.records.append(record(row, errors, sir, part=part, options=options, snr_db=snr))
    report.report(tmp_path, store, table.ROWS, 1, {})
    page = (tmp_path / "report.md").read_text()
    for name in ("floor.png", "budget.png", "noise.png", "omega.png"):
        assert (tmp_path / name).stat().st_size > 10_000 and name in page
    floor = next(line for line in page.splitlines() if line.startswith("| α-RGS, SOI colour: windows"))
    assert "| 0 + 0 <5e-03 |" in floor, "the floor's upper limit"
    assert "| 0 + 3 9.4e-03 |" in floor and floor.endswith("| 0 + 3 3.1e-03 | 960 |"), "where the wrong bits lie, and the total"
    assert table.TITLES["ofdm-qpsk"] not in page, "nothing of the table is there"


def test_each_part_runs_alone_and_adds_to_the_same_report(made, tmp_path):
    """A part's report still shows what the others measured before, also for cases and SIRs that it was not asked for."""
    (tmp_path / "units.jsonl").write_text((made[0] / "units.jsonl").read_text())
    paper("-o", tmp_path, "--part", "noise", "--rows", "EP without", "--windows", 2, "--sir-db=-9", "--esn0-db", "12")
    page = (tmp_path / "report.md").read_text()
    assert table.TITLES["ofdm-qpsk"] in page and "| -9, 12 |" in page and "ofdm-qpsk.png" in page
    assert (tmp_path / "table.csv").read_text() == (made[0] / "table.csv").read_text()


@pytest.mark.parametrize(("part", "what"), [
    ("floor", {"bits": 320 * 3125, "cases": {"ofdm-qpsk", "ofdm-bpsk"}, "sirs": 8}), ("noise", {"sirs": 6}),
    ("budget", {"sirs": 1}), ("omega", {"cases": {"ofdm-qpsk", "ofdm-bpsk", "dsss", "dsss-noise", "held-out"}, "sirs": 3})])
def test_the_parts_plan_what_they_promise(part, what):
    cases = table.select_cases(None)
    plan = sweeps.plan(part, sweeps.Scope(tuple(cases)))
    assert len({unit.key for unit in plan}) == len(plan)
    assert {unit.case for unit in plan} == what.get("cases", {"ofdm-qpsk"})
    assert len({unit.sir_db for unit in plan if unit.row != sweeps.FREE}) == what["sirs"]
    point = [unit for unit in plan if (unit.case, unit.row, unit.sir_db) == ("ofdm-qpsk", table.JOINT, -12)]
    if part == "floor":
        assert sum(320 * unit.windows for unit in point if not unit.samples) == 1_000_000
        assert 1_005_000 < sum(unit.samples for unit in point) / 8 < 1_020_000, "two bits each 16 samples, and ends to spare"
    if part == "budget":
        assert {unit.options["passes"] for unit in point} == {1, 2, 3, 4, 6, 8, 12}
        assert {unit.row for unit in plan if unit.options.get("search") == 0} == {sweeps.EP}


def test_a_rise_with_the_budget_is_told_by_paired_windows():
    def points(*errors):
        return [(budget, Cell([record("r", e)])) for budget, e in enumerate(errors)]

    assert sweeps.rises(points([9, 9, 8, 9], [2, 2, 1, 2], [2, 3, 1, 2])) == [], "one wrong bit is no rise"
    (least, budget, rise, sigma), = sweeps.rises(points([9, 9, 8, 9], [2, 2, 1, 2], [5, 6, 4, 5], [2, 2, 1, 2]))
    assert (least, budget) == (1, 2) and rise == pytest.approx(3.25 / 320) and sigma < rise / 2


def test_again_drops_the_chosen_rows_only_and_measures_them_anew(tmp_path):
    """And a warning stands in the report while a row's units are of different commits."""
    store, about = units.Store(tmp_path / "units.jsonl"), units.provenance()
    result = {key: record("", [1, 2])[key] for key in ("errors", "bits", "interior_errors", "interior_bits", "mse", "evaluations",
                                                       "seconds")}
    for row in (row for row in table.ROWS if row.label in ("matched filter", "LMMSE, stationary")):
        for sir, commit in ((-12, "old"), (-3, "new")):
            unit = Unit("table", "ofdm-qpsk", row.label, row.method, row.options, sir, windows=2)
            store.add(unit, result, about | {"commit": commit})
    args = ("-o", tmp_path, "--cases", "ofdm-qpsk", "--sir-db=-12,-3", "--windows", 2, "--part", "table")
    for again, dropped in (((), 0), (("--again", "LMMSE, stationary"), 2)):
        paper(*args, "--rows", "LMMSE, stationary", *again)
        kept = [r for r in lines_of(tmp_path) if r["part"] == "table"]
        assert sorted(r["commit"] for r in kept if r["row"] == "matched filter") == ["new", "old"]
        assert len(kept) == 4 and sum(r["commit"] not in ("old", "new") for r in kept) == dropped
        page = (tmp_path / "report.md").read_text()
        assert "- table: matched filter: old, new" in page and ("- table: LMMSE, stationary" in page) == (not again)


def test_the_autocorrelation_is_drawn_beside_the_reference_where_one_is_given(made, tmp_path):
    """Numbers of the reference are shown; without it a line says how to get them; a wrong file is named."""
    lags = np.arange(4000)
    np.savez(tmp_path / "r.npz", CommSignal2_acf=np.exp(-lags / 3) + 0.03 * (lags == 3175))
    (tmp_path / "units.jsonl").write_text("")
    paper("-o", tmp_path, "--report-only", "--reference", tmp_path / "r.npz")
    page = (tmp_path / "report.md").read_text()
    peak = [line for line in page.splitlines() if line.startswith("| CommSignal2 |")]
    assert len(peak) == 1 and "| 0.030 |" in peak[0] and "stand-in.png" in page
    assert sweeps.stand_in()[3175] > 0.9 and sweeps.stand_in()[30:3000].max() < 0.1
    alone = sweeps.sections(type("Store", (), {"records": [record("r", [0], case="dsss")]}), 1)
    assert "--reference" in alone[-1].text
    np.savez(tmp_path / "short.npz", CommSignal2_acf=np.ones(9))
    for name, hint in (("absent.npz", "No such file"), ("short.npz", "lags")):
        assert hint in paper("-o", tmp_path, "--report-only", "--reference", tmp_path / name, code=1).stderr


def test_long_grids_are_folded_in_markdown():
    grids = [text.Grid(["x"], [["1"]], "Long.", True), text.Grid(["y"], [["2\n3"]])]
    page = text.markdown([text.Section("A", "words", grids)], ".")
    assert page.index("| 2 3 |") < page.index("<details><summary>Long</summary>\n\n| x |") < page.index("</details>")


def test_a_prior_that_cannot_be_read_shows_its_error(tmp_path):
    row = next(row for row in table.ROWS if row.needs == ("soi",))
    assert table.trained(row, "dsss-noise", tmp_path) == ({}, "no checkpoint (rrc-qpsk.prior)")
    (tmp_path / "rrc-qpsk.prior").write_bytes(b"\x80 not a prior")
    files, trouble = table.trained(row, "dsss-noise", tmp_path)
    assert not files and "rrc-qpsk.prior" in trouble


def test_a_row_that_fails_is_shown_and_tried_again_next_time(tmp_path):
    store = units.Store(tmp_path / "units.jsonl")
    wanted = [Unit("table", "ofdm-qpsk", "joint detection", "joint", {"pases": 3}, sir, windows=2) for sir in (-3, -12)]
    units.run(wanted, store)
    assert len(store.records) == 1 and "pases" in store.records[0]["unavailable"], "once in a run is enough"
    assert table.notes_of(store.records, 1)["table", "ofdm-qpsk", "joint detection"].startswith("not available")
    assert wanted[0] not in units.Store(tmp_path / "units.jsonl")


@pytest.mark.parametrize(("option", "value", "hint"), [
    ("--rows", "jiont", "joint detection"), ("--cases", "ofdm-8psk", "ofdm-bpsk"), ("--part", "tabel", "omega"),
    ("--again", "jiont", "joint detection"), ("--esn0-db", "ten", "decibels"), ("--sir-db", "-12;-3", "decibels")])
def test_an_unknown_row_case_or_part_is_named(tmp_path, option, value, hint):
    result = paper("-o", tmp_path / "x", option, value, code=1)
    assert value in result.stderr and hint in result.stderr and not (tmp_path / "x").exists()


def test_a_row_without_its_priors_says_which_is_missing(tmp_path):
    """And is not planned; one pass takes a network that was trained on mixtures, or else any of the interference."""
    rows = {row.label: row for row in table.ROWS}
    for label, name in (("α-RGS accelerated, learned both", "rrc-qpsk.prior"), ("U-Net, supervised", "unet-dsss.prior")):
        assert table.trained(rows[label], "dsss", tmp_path) == ({}, f"no checkpoint ({name})")
    units, notes = table.plan([rows["U-Net, supervised"]], ["dsss"], (-12,), 1, 1, 1, tmp_path)
    assert not units and notes == {("dsss", "U-Net, supervised"): "no checkpoint (unet-dsss.prior)"}
    for case, name in (("dsss", "dsss-once.prior"), ("ofdm-qpsk", "ofdm-qpsk.prior")):
        files, trouble = table.trained(rows["amortised, one pass"], case, PRIORS)
        assert not trouble and files["interference"] == str(PRIORS / name)


def test_a_row_whose_name_has_a_comma_can_be_chosen():
    labels = [row.label for row in table.ROWS]
    assert table.select("basis, published", labels, "--rows") == ["BASIS, published"]
    assert table.select("SIS, published", labels, "--rows") == ["BASIS, published", "BASIS, published, learned both"]
    assert table.select("joint, matched", labels, "--rows") == ["matched filter", "joint detection"]


def test_into_replaces_what_lies_between_the_marks_only(made):
    folder, _ = made
    page = folder.parent / "docs" / "page.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(f"before\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    paper("-o", folder, *QUICK, "--report-only", "--into", page)
    whole = page.read_text()
    assert whole.startswith(f"before\n\n{report.BEGIN}\n") and whole.endswith(f"{report.END}\n\nafter\n")
    assert "old" not in whole.split() and f"](../{folder.name}/ofdm-qpsk.png)" in whole
    for bad in ("no marks\n", f"{report.END}\n{report.BEGIN}\n"):
        page.write_text(bad)
        assert "begin" in paper("-o", folder, *QUICK, "--report-only", "--into", page, code=1).stderr
        assert page.read_text() == bad


def test_headline_is_the_mean_of_reductions_and_leaves_out_baselines_without_errors():
    rates = {("a", "base", -3): 0.1, ("a", "base", -6): 0.2, ("b", "base", -3): 0.0,
             ("a", "new", -3): 0.0, ("a", "new", -6): 0.05, ("b", "new", -3): 0.01}
    assert table.headline(rates, ("base",)) == {("new", "base"): (pytest.approx((1 + 0.75) / 2), 2)}


def test_standard_errors_and_limits_of_a_cell():
    cell = Cell([record("r", [0, 4]), record("r", [2, 2], chunk=1)])
    assert cell.ber == 8 / 1280 and cell.ber_se == pytest.approx(np.std([0, 4, 2, 2], ddof=1) / 2 / 320)
    assert cell.limit == 3 / 1280 and cell.mse_db == pytest.approx(-20) and cell.mse_se_db == 0
    assert cell.interior_ber == 0 and cell.interior_limit == 3 / 1024
    assert math.isnan(Cell([record("r", [1])]).ber_se)


def test_faithful_is_a_factor_or_two_standard_errors():
    """The paper's BER at -12 dB is 4.3e-3 and at -24 dB 3.7e-3: 320 windows of 1 or 2 wrong bits are near, of 20 are not."""
    near = record(table.PUBLISHED, [1, 2] * 160)
    far = record(table.PUBLISHED, [20, 21] * 160, -24.0)
    found = table.faithful(table.cells([near, far], "table", 1), "ofdm-qpsk")
    assert [(f["sir_db"], f["within"]) for f in found] == [(-24, False), (-12, True)]
    assert found[1]["ratio"] == pytest.approx(1.5 / 320 / 4.3e-3)


def test_the_choice_of_omega_is_judged_on_paired_windows():
    def cell(errors):
        return Cell([record("r", errors)])

    errors = [4, 8, 6, 6]
    more, most = ([e + k for e in errors] for k in (1, 5))
    verdict = sweeps.omega_choice({1.0: cell(errors), 10.0: cell(most), "auto": cell(more)})
    assert verdict["best"] == 1.0 and verdict["excess"] == pytest.approx(1 / 6) and not verdict["within"]
    assert verdict["sigma"] == pytest.approx(0, abs=1e-9), "a steady difference has no paired scatter"
    assert sweeps.omega_choice({1.0: cell(errors), "auto": cell(errors)})["within"]


def test_the_plan_starts_with_a_chunk_of_every_row():
    """Whoever stops early has every curve begun: no second chunk before the first of all, and slow rows are capped."""
    wanted, notes = table.plan(table.ROWS, table.select_cases("ofdm-qpsk,dsss,held-out"), table.SIRS, 60, 20, 1, "nowhere")
    chunks = [unit.chunk for unit in wanted]
    assert chunks == sorted(chunks)
    assert {u.case for u in wanted} == {"ofdm-qpsk", "dsss"}, "the held-out case is none of the table's"
    for label, most in ((table.PUBLISHED, 20), ("BASIS, published", 10), ("joint detection", 60)):
        assert sum(u.windows for u in wanted if (u.row, u.case, u.sir_db) == (label, "dsss", -3)) == most
    assert len(notes) == 2 * sum(bool(row.needs) for row in table.ROWS) and len({u.key for u in wanted}) == len(wanted)
