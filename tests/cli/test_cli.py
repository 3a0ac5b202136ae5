# SPDX-License-Identifier: GPL-3.0-or-later
"""The command alpha-rgs: what it writes is right, and what goes wrong is one line that leaves nothing behind."""
import json
import pathlib
import subprocess
import sys

import commands
import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs import streaming
from alpha_rgs.cli.main import app
from alpha_rgs.io import recordings
from typer.testing import CliRunner

SAMPLES = 6 * 2048 + 700


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def works(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A mixture at -12 dB, by the command itself."""
    folder = tmp_path_factory.mktemp("simulated") / "mix"
    works("simulate", "-o", folder, "--samples", SAMPLES, "--seed", 3, "--sample-rate", 1e6)
    return folder


def separate(folder, output, *options, mix=None, soi=None, interference=None):
    return run("separate", mix or folder / "mixture.sigmf-meta", "--soi", soi or folder / "soi.toml",
               "--interference", interference or folder / "interference.toml", "-o", output, *options)


def without(folder, tmp_path, name, *keys):
    """A copy of a prior file that lacks some keys."""
    lines = (folder / name).read_text().splitlines()
    (tmp_path / name).write_text("\n".join(line for line in lines if line.split(" =")[0] not in keys) + "\n")
    return tmp_path / name


def bit_errors(folder, output, edge=0):
    """Wrong bits, without `edge` bits at either end, where the frames of the recording are cut."""
    truth = json.loads((folder / "truth.json").read_text())
    symbols = recordings.load(output / "symbols.sigmf-meta").samples
    bits = priors.load(folder / "soi.toml").signal.alphabet.slice(torch.from_numpy(symbols)).tolist()
    assert len(bits) == len(truth["bits"])
    pairs = list(zip(bits, truth["bits"], strict=True))
    return sum(str(bit) != true for bit, true in pairs[edge:len(pairs) - edge])


def fails(result, *words, left=None, code=1):
    """One error line with these words, no traceback, and (left) an output folder that does not exist."""
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr
    if left:
        assert not left.exists()
        assert not list(left.parent.glob(".*")), "temporary files were left behind"


def test_simulate_writes_a_mixture_that_is_the_sum_of_its_parts(simulated):
    """The truth beside a mixture must be the truth: parts add up, powers are in the ratio asked for, the seed repeats it."""
    y, s, b = (recordings.load(simulated / stem).samples for stem in ("mixture", "soi", "interference"))
    assert len(y) == SAMPLES
    assert np.allclose(y, s + b, atol=1e-5)
    assert 10 * np.log10(np.mean(abs(s) ** 2) / np.mean(abs(b) ** 2)) == pytest.approx(-12, abs=0.5)
    truth = json.loads((simulated / "truth.json").read_text())
    assert truth["kappa"] == pytest.approx(10 ** (12 / 20))
    assert 0 <= truth["interference"]["frame_offset"] < 80
    note = recordings.load(simulated / "mixture").annotations[0]
    assert (note["core:sample_count"], note["core:label"]) == (SAMPLES, "simulated")
    works("simulate", "-o", simulated.parent / "again", "--samples", SAMPLES, "--seed", 3, "--sample-rate", 1e6)
    assert (simulated.parent / "again" / "mixture.sigmf-data").read_bytes() == (simulated / "mixture.sigmf-data").read_bytes()


@pytest.mark.parametrize(("method", "options"), [("auto", ()), ("alpha_rgs", ()), ("alpha_rgs", ("--preset", "fast")),
                                                 ("lmmse", ()), ("matched_filter", ())])
def test_each_method_separates_a_simulated_mixture(simulated, tmp_path, method, options):
    """The whole path from files to files at -12 dB: no bit wrong where the method can do it, sample counts exact."""
    out = tmp_path / "out"
    result = separate(simulated, out, "--method", method, *options)
    assert result.exit_code == 0, result.output
    errors = bit_errors(simulated, out, edge=10)
    report = json.loads((out / "report.json").read_text())
    assert report["method"] == ("joint" if method == "auto" else method)
    assert (report["method_chosen"] == "auto: both priors are structured") == (method == "auto")
    soi, interference = (recordings.load(out / stem) for stem in ("soi", "interference"))
    assert len(soi.samples) == len(interference.samples) == report["samples"] == SAMPLES
    assert (soi.sample_rate, recordings.load(out / "symbols").sample_rate) == (1e6, 1e6 / 16)
    if method == "matched_filter":
        assert 0.05 < errors / (SAMPLES / 8) < 0.25
        return
    assert errors <= (10 if method == "lmmse" else 0)
    if method != "lmmse":
        assert np.mean(abs(soi.samples - recordings.load(simulated / "soi").samples) ** 2) < 0.01
    assert report["sir_db"] == pytest.approx(-12, abs=0.2)
    stems = ("soi", "interference", "symbols", "soi.cleaned")
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [f"{stem}.sigmf-{part}" for stem in stems for part in ("meta", "data")] + ["soi.bits", "report.json"])
    cleaned = recordings.load(out / "soi.cleaned").samples
    assert np.allclose(cleaned, recordings.load(simulated / "mixture").samples - interference.samples, atol=1e-5)
    bits = "".join(map(str, np.fromfile(out / "soi.bits", np.uint8)))
    truth = json.loads((simulated / "truth.json").read_text())["bits"]
    wrong = sum(a != b for a, b in zip(bits[20:-20], truth[20:-20]))
    assert len(bits) == len(truth) and wrong <= (10 if method == "lmmse" else 0)


def test_the_report_says_what_was_estimated_and_assumed(simulated, tmp_path):
    """A user must see what the result rests on: others script against report.json."""
    blind = without(simulated, tmp_path, "interference.toml", "frame_offset", "phase", "carrier_offset")
    soi = without(simulated, tmp_path, "soi.toml", "carrier_offset")
    result = separate(simulated, tmp_path / "out", interference=blind, soi=soi)
    assert result.exit_code == 0, result.output
    assert bit_errors(simulated, tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    truth = json.loads((simulated / "truth.json").read_text())["interference"]
    assert report["estimated"]["frame_offset"] == {  # the short last window takes over
        "first_window": truth["frame_offset"], "windows_that_agree_with_the_first": report["windows"] - 1}
    turn = (report["estimated"]["interference_phase"]["first_window"] - truth["phase"]) / (np.pi / 2)
    assert abs(turn - round(turn)) < 0.02
    assert abs(report["estimated"]["carrier_offset"]["first_window"]) < 1e-6
    assert report["estimated"]["kappa"]["mean"] == pytest.approx(10 ** (12 / 20), rel=0.01)
    assert "carrier_offset of the interference: 0 (not given)" in report["assumed"]
    assert "channel of the interference: flat (not given)" in report["assumed"]
    assert any("quarter turn" in sentence for sentence in report["assumed"])
    for key in ("quality_db", "noise_var", "evaluations", "seconds", "samples_per_second", "windows", "sample_rate", "versions"):
        assert report[key] is not None
    assert {"mean", "min", "p5", "median", "p95"} <= report["quality_db"].keys()
    assert "assumed" in result.stdout and "-12.0" in result.stdout


def test_given_levels_are_used_and_not_estimated(simulated, tmp_path):
    """--sir-db and --snr-db are what the user knows; the report then lists nothing as estimated."""
    result = separate(simulated, tmp_path / "out", "--sir-db", -12, "--snr-db", 60)
    assert result.exit_code == 0, result.output
    assert bit_errors(simulated, tmp_path / "out") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["estimated"] == {}
    assert report["sir_db"] == pytest.approx(-12)
    assert report["noise_var"] == pytest.approx(1e-6)


@pytest.mark.parametrize("given", [(), ("--sir-db", "inf")])
@pytest.mark.parametrize("method", ["joint", "alpha_rgs"])
def test_an_absent_interference_divides_nothing_by_kappa(tmp_path, method, given):
    """Bad input: one source absent. The SOI comes through, every sample is finite, the report is valid JSON."""
    works("simulate", "-o", tmp_path / "mix", "--samples", 2 * 2048, "--sir-db", "inf", "--snr-db", 20)
    result = separate(tmp_path / "mix", tmp_path / "out", "--method", method, *given)
    assert result.exit_code == 0, result.output
    assert bit_errors(tmp_path / "mix", tmp_path / "out") == 0
    assert np.mean(abs(recordings.load(tmp_path / "out" / "interference").samples) ** 2) < 0.1
    json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)


def test_raw_files_separate_like_sigmf(simulated, tmp_path):
    """A raw cs16 capture with --datatype and --sample-rate gives the same bits."""
    x = recordings.load(simulated / "mixture").samples
    scale = 0.5 / np.abs(x.view(np.float32)).max()
    np.round(x.view(np.float32) * scale * 32768).astype("<i2").tofile(tmp_path / "capture.bin")
    soi = tmp_path / "soi.toml"
    soi.write_text((simulated / "soi.toml").read_text().replace("gain = 1.0", f"gain = {scale:.9f}"))
    result = separate(simulated, tmp_path / "out", "--datatype", "cs16", "--sample-rate", 1e6, mix=tmp_path / "capture.bin",
                      soi=soi)
    assert result.exit_code == 0, result.output
    assert bit_errors(simulated, tmp_path / "out") == 0
    fails(separate(simulated, tmp_path / "bad", mix=tmp_path / "capture.bin"), "capture.bin", "--datatype", left=tmp_path / "bad")


@pytest.mark.parametrize("samples", [65, 200, 1000, 2560, 2561, 2048 + 2560 + 16])
def test_recordings_of_any_length_keep_their_length(tmp_path, samples):
    """Shorter than a window, and with a tail: as many samples out as in, and all symbols whose centres lie inside."""
    works("simulate", "-o", tmp_path / "mix", "--samples", samples)
    out = tmp_path / "out"
    result = separate(tmp_path / "mix", out, "--sir-db", -12, "--snr-db", 60)
    assert result.exit_code == 0, result.output
    assert len(recordings.load(out / "soi").samples) == len(recordings.load(out / "interference").samples) == samples
    bit_errors(tmp_path / "mix", out)       # compares the counts


@pytest.mark.parametrize(("options", "words"), [
    (("--hop", 4096), ["hop", "4096", "2560"]),
    (("--hop", 0), ["hop", "0"]),
    (("--hop", -16), ["hop"]),
    (("--window", 48, "--hop", 16), ["window", "48", "pulse", "65"]),
    (("--window", 0, "--hop", 0), ["window", "0", "whole number"]),
    (("--window", 2568, "--hop", 2048), ["window", "2568", "samples_per_symbol (16)"]),
    (("--hop", 2040), ["hop", "2040", "samples_per_symbol (16)"]),
    (("--hop", 2544), ["(window - hop)/2", "samples_per_symbol (16)"]),
    (("--method", "magic"), ["'magic'", "joint", "alpha_rgs"]),
    (("--preset", "fast"), ["--preset", "joint"]),
    (("--method", "alpha_rgs", "--preset", "slow"), ["'slow'", "fast"]),
    (("--sir-db", "nan"), ["--sir-db", "nan"]),
    (("--snr-db=-inf",), ["--snr-db", "-inf"]),
])
def test_a_wrong_option_is_named_and_nothing_is_written(simulated, tmp_path, options, words):
    """Bad input: hop > window, a window shorter than the pulse, windows off the symbol grid, unknown method, no number."""
    fails(separate(simulated, tmp_path / "out", *options), *words, left=tmp_path / "out")


def test_bad_files_are_named_and_nothing_is_written(simulated, tmp_path):
    """Bad input of the issue's list, through the command."""
    out = tmp_path / "out"
    x = recordings.load(simulated / "mixture").samples.copy()
    fails(separate(simulated, out, mix=tmp_path / "none.sigmf-meta"), "none.sigmf-meta", "no such file", left=out)
    fails(separate(simulated, out, soi=tmp_path / "none.toml"), "none.toml", "no such prior file", left=out)
    fails(separate(simulated, out, interference=tmp_path), tmp_path.name, left=out)
    (tmp_path / "empty.cf32").touch()
    fails(separate(simulated, out, "--sample-rate", 1, mix=tmp_path / "empty.cf32"), "empty.cf32", "empty", left=out)
    (tmp_path / "cut.cf32").write_bytes(x.tobytes()[:-3])
    fails(separate(simulated, out, "--sample-rate", 1, mix=tmp_path / "cut.cf32"), "cut.cf32", "middle of a sample", left=out)
    x[1000:] = np.nan
    x.tofile(tmp_path / "nan.cf32")
    fails(separate(simulated, out, "--sample-rate", 1, mix=tmp_path / "nan.cf32"), "nan.cf32", "sample 1000", left=out)
    odd = tmp_path / "odd.toml"
    odd.write_text((simulated / "soi.toml").read_text().replace("= 16", "= 0.2"))
    fails(separate(simulated, out, soi=odd), "odd.toml", "samples_per_symbol", "between 1 and", left=out)


def test_any_number_of_sources_in_any_order(simulated, tmp_path):
    """--source names each; files are called after theirs, also where stems repeat; what is cleaned and the rest make the
    mixture."""
    out, ofdm, qpsk = tmp_path / "out", tmp_path / "a" / "x.toml", tmp_path / "b" / "x.toml"
    for path, name in ((ofdm, "interference.toml"), (qpsk, "soi.toml")):
        path.parent.mkdir()
        path.write_text((simulated / name).read_text())
    works("separate", simulated / "mixture.sigmf-meta", "--source", ofdm, "--source", qpsk, "-o", out)
    stems = [f"x-{k}{part}" for k in (1, 2) for part in ("", ".cleaned", ".symbols")]
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [f"{stem}.sigmf-{part}" for stem in stems for part in ("meta", "data")] + ["x-1.bits", "x-2.bits", "report.json"])
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["sources"]] == ["x-1", "x-2"] and report["unreliable"] == []
    truth = json.loads((simulated / "truth.json").read_text())["bits"]
    bits = "".join(map(str, np.fromfile(out / "x-2.bits", np.uint8)))
    assert len(bits) == len(truth) and bits[20:-20] == truth[20:-20]
    mixture, wave = recordings.load(simulated / "mixture").samples, recordings.load(out / "x-2").samples
    assert np.allclose(recordings.load(out / "x-1.cleaned").samples, mixture - wave, atol=1e-5)


@pytest.mark.parametrize(("count", "words"), [(1, ["1 given", "2 to 6"]), (8, ["8 given", "2 to 6"])])
def test_too_few_and_too_many_sources_are_refused(simulated, tmp_path, count, words):
    """Bad input: one source needs no separation, eight cannot be told apart."""
    sources = ["--source", simulated / "soi.toml"] * count
    fails(run("separate", simulated / "mixture.sigmf-meta", *sources, "-o", tmp_path / "out"), *words, left=tmp_path / "out")


def test_sources_are_named_in_one_way(simulated, tmp_path):
    """Bad input: both ways at once, or half of one."""
    mixture, soi = simulated / "mixture.sigmf-meta", simulated / "soi.toml"
    fails(run("separate", mixture, "--source", soi, "--soi", soi, "-o", tmp_path / "out"), "--source", "--soi")
    fails(run("separate", mixture, "--soi", soi, "-o", tmp_path / "out"), "--interference", "--source")


def test_results_are_not_replaced_without_being_asked(simulated, tmp_path):
    """Existing files stop the command before it works for minutes; --overwrite replaces them, and only them."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    (out / "notes.txt").write_text("mine")
    fails(separate(simulated, out), "report.json", "--overwrite")
    assert sorted(p.name for p in out.iterdir()) == ["notes.txt", "report.json"]
    assert separate(simulated, out, "--overwrite", "--method", "matched_filter").exit_code == 0
    assert json.loads((out / "report.json").read_text())["method"] == "matched_filter"
    assert (out / "notes.txt").read_text() == "mine"
    fails(separate(simulated, out / "notes.txt"), "notes.txt", "folder")


@pytest.mark.parametrize(("problem", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left on device"), 1)])
def test_an_interrupted_separation_leaves_nothing(simulated, tmp_path, monkeypatch, problem, code):
    """Ctrl-C exits with 130 without a traceback; a full disk is one error line; neither leaves a file."""
    def interrupted(*args, **kwargs):
        raise problem

    monkeypatch.setattr(streaming, "separate_stream", interrupted)
    result = separate(simulated, tmp_path / "out")
    assert result.exit_code == code
    assert result.stderr.startswith("interrupted" if code == 130 else "error: ")
    assert not list(tmp_path.iterdir())


def test_info_describes_recordings_and_priors(simulated, tmp_path):
    """Before separating, a user can see the level of a recording, and what of a prior will be estimated."""
    out = works("info", simulated / "mixture.sigmf-meta").stdout
    for word in ("1000000 Hz", str(SAMPLES), "power", "peak", "DC", "clipped"):
        assert word in out
    (tmp_path / "x.cu8").write_bytes(bytes([255, 0, 128, 128] * 50))
    assert "50 %" in works("info", tmp_path / "x.cu8", "--sample-rate", 1e3).stdout
    out = works("info", without(simulated, tmp_path, "interference.toml", "frame_offset", "channel")).stdout
    assert "estimated" in out and "flat (not given)" in out
    assert "estimated" in works("info", without(simulated, tmp_path, "soi.toml", "timing")).stdout
    fails(run("info", tmp_path / "none.toml"), "none.toml")
    fails(run("info", tmp_path / "none.cf32"), "none.cf32")


def test_simulate_takes_priors_and_refuses_what_it_cannot_draw(simulated, tmp_path):
    """Other constellations than the paper's, a burst instead of a stream, and clear errors."""
    bpsk = tmp_path / "bpsk.toml"
    bpsk.write_text('kind = "linear-modulation"\nconstellation = "bpsk"\nsamples_per_symbol = 8\ntiming = 100.5\nphase = 0.3\n'
                    'gain = 2.0\nsymbols = 50\n')
    works("simulate", "-o", tmp_path / "a", "--soi", bpsk, "--samples", 3000)
    assert len(json.loads((tmp_path / "a" / "truth.json").read_text())["bits"]) == 50
    assert separate(tmp_path / "a", tmp_path / "out").exit_code == 0
    assert bit_errors(tmp_path / "a", tmp_path / "out") == 0
    learned = pathlib.Path(__file__).parents[2] / "priors" / "wifi.prior"
    fails(run("simulate", "-o", tmp_path / "b", "--interference", learned), "wifi.prior", "structure", left=tmp_path / "b")
    fails(run("simulate", "-o", tmp_path / "b", "--soi", learned), "wifi.prior", "structure", left=tmp_path / "b")
    fails(run("simulate", "-o", tmp_path / "b", "--sir-db", "nan"), "--sir-db", left=tmp_path / "b")
    fails(run("simulate", "-o", tmp_path / "b", "--sample-rate", 0), "--sample-rate", left=tmp_path / "b")
    fails(run("simulate", "-o", simulated), "mixture.sigmf-meta", "--overwrite")


def test_simulate_draws_what_a_file_leaves_open_and_says_so(tmp_path):
    """Names leave timing, phase and carrier open: truth.json says what was drawn, and the files written have it."""
    options = ("--samples", 5000, "--sample-rate", 200e3, "--sir-db", -3, "--seed", 4)
    out = works("simulate", "--soi", "tetra", "--interference", "lrpt", *options, "-o", tmp_path / "a").stdout
    truth = json.loads((tmp_path / "a" / "truth.json").read_text())
    assert {key: set(value) for key, value in truth["drawn"].items()} == dict.fromkeys(
        ("soi", "interference"), {"timing", "phase", "carrier_offset"})
    assert f"drawn of soi: timing {truth['soi']['timing']:.6g}, " in out
    own, other = (priors.load(tmp_path / "a" / f"{name}.toml") for name in ("soi", "interference"))
    assert (own.timing, own.phase, own.gain) == (truth["soi"]["timing"], truth["soi"]["phase"], 1.0)
    assert 0 <= own.timing < 100 / 9 and all(0 < abs(v.carrier_offset) <= 0.01 for v in (own, other))
    s = torch.from_numpy(recordings.load(tmp_path / "a" / "soi").samples)[None]
    bits = (own.demodulator()(s, 1e-3).llrs < 0).int().flatten().tolist()
    assert "".join(map(str, bits[20:-20])) in truth["bits"]
    works("simulate", "--soi", "tetra", "--interference", "lrpt", *options, "-o", tmp_path / "b")
    assert (tmp_path / "a" / "mixture.sigmf-data").read_bytes() == (tmp_path / "b" / "mixture.sigmf-data").read_bytes()


def test_wrong_usage_exits_with_2_and_help_does_not_wait_for_torch(simulated):
    """Scripts tell usage errors from data errors by the code; --help must be instant."""
    assert run("separate", simulated / "mixture.sigmf-meta").exit_code == 2
    assert run("nonsense").exit_code == 2
    assert run("simulate", "-o", simulated, "--samples", 0).exit_code == 2
    assert run("--version").stdout.startswith("alpha-rgs ")
    code = "import sys, alpha_rgs.cli; sys.exit(any(m in sys.modules for m in ('torch', 'scipy', 'numpy', 'sigmf')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_study_that_lacks_a_prior_says_so_in_one_line(tmp_path):
    commands.fails(commands.run("evaluate", "any-learned", "--gmsk", tmp_path / "no.prior"), "no.prior: no such prior file")


@pytest.mark.parametrize("name", ["ais", "dmr", "lora-sf7", "zigbee", "wifi"])
def test_any_kind_is_simulated_as_the_signal_of_interest(tmp_path, name):
    """What may be wanted may be simulated; the carrier lies where `separate` looks for it, and the bits are those inside."""
    rate = {"zigbee": 22e6, "wifi": 20e6, "lora-sf7": 250e3}.get(name, 240e3)
    other = {"zigbee": "wifi-b", "wifi": "bluetooth"}.get(name, "tetra")
    works("simulate", "--soi", name, "--interference", other, "--samples", 6000, "--sample-rate", rate, "--snr-db", 20,
          "--sir-db", -3, "-o", tmp_path / "a")
    truth = json.loads((tmp_path / "a" / "truth.json").read_text())
    own = priors.load(tmp_path / "a" / "soi.toml")
    assert "carrier_offset" in truth["drawn"]["soi"] and own.kind == truth["soi"]["kind"]
    s = recordings.load(tmp_path / "a" / "soi").samples
    assert np.mean(abs(s) ** 2) == pytest.approx(1, rel=0.15)
    mixture, b = (recordings.load(tmp_path / "a" / part).samples for part in ("mixture", "interference"))
    assert np.mean(abs(mixture - s - b) ** 2) == pytest.approx(0.01, rel=0.15)
    period = {"ais": 25, "dmr": 50, "zigbee": 22}.get(name)
    if period:
        bits = 2 if name in ("dmr", "zigbee") else 1
        assert abs(len(truth["bits"]) - bits * 6000 / period) <= 4 * bits
