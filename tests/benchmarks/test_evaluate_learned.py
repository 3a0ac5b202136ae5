# SPDX-License-Identifier: GPL-3.0-or-later
"""What learned priors are measured by: cost against errors, error on recordings, what one pass leaves, signals as noise."""
import functools
import json
import pathlib
import shutil
from dataclasses import replace

import commands
import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import ParameterError, RecordingError
from alpha_rgs.io import recordings
from alpha_rgs.sources import Gmsk
from alpha_rgs.sources.mixtures import alone, noise, paper_case
from alpha_rgs.training import datasets, denoising_metrics
from commands import fails

from benchmarks import learned as study

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "priors"
SOI, DSSS = paper_case("dsss-noise")
KEYS = ["case", "sir_db", "label", "options", "evaluations", "ms_per_window", "ber", "ber_se"]


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


run, works = functools.partial(commands.run, "evaluate"), functools.partial(commands.works, "evaluate")


# ---- cost -------------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_the_cost_of_learned_priors_is_measured_and_drawn(tmp_path):
    """Every method is a row with all keys, in the file and on the terminal; the passes that it says, errors a fifth of the
    matched filter's and less; and a figure."""
    result = works("learned", "--priors", FOLDER, "--cases", "dsss-noise:-18", "--windows", 4, "--iterations", "3", "--figure",
                   tmp_path / "x.png", "--json", tmp_path / "x.json")
    rows = json.loads((tmp_path / "x.json").read_text())
    assert all(list(row) == KEYS and (row["case"], row["sir_db"]) == ("dsss-noise", -18) for row in rows)
    assert [row["label"] for row in rows] == [study.ESTIMATION, *(label for label, *_ in study.methods(True, True, (3,)))]
    assert all(row["ms_per_window"] > 0 and row["label"] in result.stdout for row in rows)
    assert rows[0]["ber"] is None and rows[0]["evaluations"] == 0
    by_label = {}
    for row in rows[1:]:
        assert 0 <= row["ber"] < 0.5 and row["ber_se"] >= 0 and "amortised" not in row["options"]
        by_label.setdefault(row["label"], []).append(row)
    assert [row["evaluations"] for row in by_label["α-RGS, SOI colour"]] == list(study.EVALUATIONS)
    assert [row["evaluations"] for row in by_label["α-RGS as published"]] == [3]
    assert by_label[study.ONCE][0]["evaluations"] == 1 and by_label["one pass so, and one of α-RGS"][0]["evaluations"] == 2
    filtered = by_label["matched filter"][0]["ber"]
    assert all(row["ber"] < filtered / 5 for label in ("α-RGS, SOI colour", study.ONCE) for row in by_label[label])
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_throughput_is_measured_at_the_quality_that_it_tells(tmp_path):
    """Each batch is a row; speeds agree with each other, errors are those of separation; missing priors and devices are named."""
    works("throughput", "--priors", FOLDER, "--cases", "dsss-noise:-18", "--batches", "4,8", "--json", tmp_path / "x.json")
    rows = json.loads((tmp_path / "x.json").read_text())
    assert [(row["case"], row["batch"], row["evaluations"]) for row in rows] == [("dsss-noise", n, 4) for n in (4, 8)]
    for row in rows:
        assert row["windows_per_s"] * row["ms_per_window"] == pytest.approx(1e3)
        assert row["megasamples_per_s"] == pytest.approx(row["windows_per_s"] * 2560e-6) and row["ber"] < 0.05
    fails(run("throughput", "--priors", tmp_path), "rrc-qpsk.prior", "--priors")
    fails(run("throughput", "--priors", FOLDER, "--device", "warp"), "--device: 'warp'")
    for options in (("--cases", "dsss"), ("--cases", "a:b:c"), ("--batches", "x"), ("--batches", "1")):
        assert run("throughput", "--priors", FOLDER, *options).exit_code == 2


@pytest.mark.slow
def test_an_interference_without_a_network_stays_analytic(tmp_path):
    """A folder with the SOI's prior alone: no rows of one pass, windows of two batches, two cases in one figure."""
    shutil.copytree(FOLDER / "rrc-qpsk.prior", tmp_path / "rrc-qpsk.prior")
    reported = []
    rows = study.cost(tmp_path, "dsss-noise", -12.0, 4, (), report=reported.append)
    assert rows == reported and [row["label"] for row in rows[1:]] == [label for label, *_ in study.methods(False, False, ())]
    assert {row["label"]: row["ber"] for row in rows[1:]}["α-RGS, SOI colour"] < 0.01
    study.draw(rows + [{**row, "sir_db": -6.0} for row in rows], tmp_path / "two.png")
    assert (tmp_path / "two.png").stat().st_size > 10_000


def test_the_same_seed_gives_the_same_errors(tmp_path, monkeypatch):
    """Only the time differs, whatever thread took a half of the batch."""
    shutil.copytree(FOLDER / "rrc-qpsk.prior", tmp_path / "rrc-qpsk.prior")
    few = study.methods(False, False, ())[2:4]
    monkeypatch.setattr(study, "methods", lambda *_: few)
    monkeypatch.setattr(study, "BATCH", 4)
    runs = [study.cost(tmp_path, "dsss-noise", -18.0, 6, seed=seed) for seed in (1, 1, 2)]
    first, again, other = ([row["ber"] for row in rows[1:]] for rows in runs)
    assert first == again and first != other


@pytest.mark.parametrize(("cases", "words"), [
    ("dsss-noise:-18", ["rrc-qpsk.prior", "--priors"]), ("dsss-noise", ["float"]), ("dsss-noise:loud", ["'loud'"])])
def test_what_cannot_be_measured_is_one_line(tmp_path, cases, words):
    """No learned SOI in the folder, or no ratio."""
    fails(run("learned", "--priors", tmp_path, "--cases", cases, "--windows", 2), *words)
    with pytest.raises(ParameterError, match="rrc-qpsk.prior"):
        study.cost(tmp_path, "dsss-noise", -18.0, 2)


def test_an_unknown_case_is_one_line():
    """With those that are known."""
    fails(run("learned", "--priors", FOLDER, "--cases", "magic:-3", "--windows", 2), "'magic'", "dsss-noise")


# ---- recordings ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def gmsk(tmp_path_factory):
    """A SigMF recording of GMSK, 2600 samples, five times as strong as unit power, the middle silent."""
    x = 5 ** 0.5 * alone(Gmsk(), 1, 2600, generator())[0][0].numpy()
    x[1024:1536] = 0
    return recordings.save(tmp_path_factory.mktemp("r") / "gmsk", x, 1e6)


def test_denoising_a_recording_is_measured(tmp_path, gmsk):
    """By the very reference: no gap, and less error where there is less noise. Silent windows are left out."""
    prior = FOLDER / "gmsk.toml"
    works("denoising", prior, gmsk, "--reference", prior, "--window", 512, "--json", tmp_path / "x.json")
    rows = json.loads((tmp_path / "x.json").read_text())
    assert [row["noise_var"] for row in rows] == list(denoising_metrics.LEVELS[4:12])
    assert all(row["gap_db"] == 0 and row["prior_db"] == row["exact_db"] and row["windows"] == 4 for row in rows)
    assert all(a["exact_db"] > b["exact_db"] and a["noisy_db"] > b["noisy_db"] for a, b in zip(rows, rows[2:]))
    assert rows[0]["exact_db"] > -6 and rows[-1]["exact_db"] < -20


def test_a_network_is_measured_on_a_recording(gmsk):
    """Half a decibel above the exact one at high noise."""
    if not (FOLDER / "gmsk.prior").exists():
        pytest.skip("priors/gmsk.prior is not there (yet)")
    cut = recordings.windows_of_recording(gmsk, 512, 512)
    point, = denoising_metrics.recorded(priors.load(FOLDER / "gmsk.prior"), priors.load(FOLDER / "gmsk.toml"), cut, levels=(5.0,))
    assert -0.3 < point.gap < 0.8 and point.network < point.linear - 8


def test_a_recording_is_denoised_as_it_is_told_to_be_cut(tmp_path):
    """--first, --hop and --carrier-offset reach the windows: two of them, GMSK once the carrier is off, and nothing like it with
    the carrier on."""
    x = alone(Gmsk(), 1, 700, generator())[0][0].numpy() * np.exp(2j * np.pi * 0.07 * np.arange(700))
    recording, toml = recordings.save(tmp_path / "r", x, 1e6), FOLDER / "gmsk.toml"
    last = []
    for offset in (0.07, 0.0):
        works("denoising", toml, recording, "--reference", toml, "--window", 256, "--first", 300, "--hop", 100,
              "--carrier-offset", offset, "--json", tmp_path / "x.json")
        rows = json.loads((tmp_path / "x.json").read_text())
        assert all(row["windows"] == 2 for row in rows)
        last.append(rows[-1]["noisy_db"])
    assert last[0] == pytest.approx(-3, abs=0.5) and last[1] > last[0] + 2


@pytest.mark.parametrize(("options", "words"), [
    (("--resample", "3"), ["--resample", "'3'", "P/Q"]), (("--resample", "a/b"), ["--resample", "'a/b'"]),
    (("--resample", "3/2/1"), ["--resample", "'3/2/1'"]), (("--resample", "0/2"), ["--resample", "'0/2'"]),
    (("--resample", "3/0"), ["--resample", "'3/0'"]), (("--window", 4096), ["gmsk", "2600", "4096"]),
    (("--first", 2100, "--window", 512), ["gmsk", "2600", "512", "sample 2100"]),
    (("--resample", "1/4", "--window", 1024), ["gmsk", "650", "1024"])])
def test_recordings_that_cannot_be_cut_are_one_line(gmsk, options, words):
    """The option, or the recording and its length."""
    fails(run("denoising", FOLDER / "gmsk.toml", gmsk, "--reference", FOLDER / "gmsk.toml", *options), *words)


def test_files_that_are_not_there_are_one_line(tmp_path, gmsk):
    """Source, recording and reference."""
    toml, none = FOLDER / "gmsk.toml", tmp_path / "none"
    for arguments in ((none, gmsk, toml), (toml, none, toml), (toml, gmsk, none)):
        fails(run("denoising", *arguments[:2], "--reference", arguments[2], "--window", 256), "none", "no such")


def test_priors_of_unknown_place_are_one_line(tmp_path, gmsk):
    """Nobody tells where the symbols or frames of a recording lie, but for a prior that finds it (GMSK, or a network): names
    what is missing, prior or reference."""
    (tmp_path / "ofdm.toml").write_text('kind = "ofdm"\n')
    toml, cases = FOLDER / "gmsk.toml", {FOLDER / "dsss.toml": ("linear", "timing"), tmp_path / "ofdm.toml": ("ofdm", "offset")}
    for unknown, words in cases.items():
        fails(run("denoising", toml, gmsk, "--reference", unknown, "--window", 256), *words)
        fails(run("denoising", unknown, gmsk, "--reference", toml, "--window", 256), *words)


@pytest.fixture
def wave(tmp_path):
    """A raw recording of 1000 samples, each its own: (path, samples)."""
    x = (noise((1, 1000), generator())[0].numpy() * 7).astype(np.complex64)
    x.tofile(tmp_path / "r.cf32")
    return tmp_path / "r.cf32", x


def unit(x):
    return x / np.sqrt(np.mean(abs(x) ** 2))


def test_windows_of_a_recording_are_those_samples_at_unit_power(wave):
    """From `first` on, every `hop`, none that is not whole; carrier taken off before; raw files by their rate."""
    path, x = wave
    cut = recordings.windows_of_recording(path, 100, 150, 30, sample_rate=1e6)
    assert cut.shape == (6, 100) and cut.dtype == np.complex64      # 30 ... 780, the next would end at 1030
    for row, begin in zip(cut, range(30, 900, 150)):
        assert np.allclose(row, unit(x[begin:begin + 100]), atol=1e-5)
    assert np.allclose(np.mean(abs(cut) ** 2, 1), 1, atol=1e-5)
    assert len(recordings.windows_of_recording(path, 1000, 1, sample_rate=1e6)) == 1
    off = recordings.windows_of_recording(path, 100, 150, 30, carrier_offset=0.01, sample_rate=1e6)
    turn = np.exp(-2j * np.pi * 0.01 * np.arange(1000))
    assert np.allclose(off[2], unit((x * turn)[330:430]), atol=1e-5)
    with pytest.raises(RecordingError, match="--sample-rate"):
        recordings.windows_of_recording(path, 100, 100)


def test_faint_windows_of_a_recording_are_left_out(tmp_path, wave):
    """Those below a tenth of the median power: silence does not count as well denoised; weaker ones stay, at unit power."""
    x = wave[1].copy()
    x[200:300] *= 0.1
    x[600:700] *= 0.5
    x[800:900] = 0
    x.tofile(tmp_path / "g.cf32")
    cut = recordings.windows_of_recording(tmp_path / "g.cf32", 100, 100, sample_rate=1e6)
    assert len(cut) == 8 and np.allclose(np.mean(abs(cut) ** 2, 1), 1, atol=1e-5)
    assert np.allclose(cut[5], unit(x[600:700]), atol=1e-5)


def test_a_recording_is_resampled_before_all_else(tmp_path):
    """A tone of 0.02 cycles per sample is one of 0.04/3 at 3/2 the rate, and at 0 when that is taken off; first and window
    count new samples."""
    np.exp(2j * np.pi * 0.02 * np.arange(4000)).astype(np.complex64).tofile(tmp_path / "t.cf32")
    cut = recordings.windows_of_recording(tmp_path / "t.cf32", 1000, 1000, 2000, "3/2", 0.04 / 3, sample_rate=1e6)
    assert cut.shape == (4, 1000)
    assert abs(cut[:3] - cut[0, 0]).max() < 0.02


# ---- yardsticks and noise ---------------------------------------------------------------------------------------------------

def test_what_one_pass_leaves_falls_with_the_other_signals_power():
    """Relative to that power: less and less, finite, below what the best filter leaves; the same seed, the same figures."""
    network = priors.load(FOLDER / "dsss-once.prior").network
    other, source = datasets.SignalNoise(SOI, (-27.0, 0.0)), datasets.Linear(DSSS, 60, network.net.kernel)
    sirs = (-27, -21, -15, -9, -3)
    rows = denoising_metrics.left_over(network, source, other, sirs, windows=8)
    assert [row[0] for row in rows] == list(sirs) and np.isfinite(rows).all()
    for column in (1, 2):
        assert all(a[column] > b[column] - 0.5 for a, b in zip(rows, rows[1:]))
    assert all(row[1] < row[2] - 20 for row in rows)
    assert rows == denoising_metrics.left_over(network, source, other, sirs, windows=8)


def test_what_is_left_over_of_an_untrained_network_is_what_the_filter_leaves():
    """A yardstick that reads the same for the same answer: a denoiser that is the linear estimate."""
    class Linear(torch.nn.Module):
        spectrum = datasets.Linear(DSSS, 60, 75).spectrum(512)

        def forward(self, x, density, fraction, presence):
            return denoising_metrics.linear_estimate(x, self.spectrum[None], density)

    source, other = datasets.Linear(DSSS, 40, 75), datasets.SignalNoise(SOI, (0, 0))
    for _, network, linear in denoising_metrics.left_over(Linear(), source, other, (-20, 0), windows=4):
        assert network == linear


@pytest.mark.parametrize("sir_db", [(-20.0, 5.0), (-3.0, -3.0)])
def test_signals_as_noise_have_the_levels_that_are_asked_for(sir_db):
    """The other signal's power within the ratios, white noise within FLOORS, both log-uniform; all of it tells of its density:
    out of the other's band there is the floor alone, in it both."""
    noise_, density, coloured = datasets.SignalNoise(SOI, sir_db).draw(400, 1024, generator())
    assert noise_.shape == (400, 1024) and noise_.dtype == torch.complex64 and bool(coloured.all())
    floor = density.amin(1)
    level = 10 * torch.log10(density.mean(1) - floor)
    low, high = np.log10(datasets.FLOORS)
    assert low - 0.01 < floor.log10().min() < low + 0.2 and high - 0.2 < floor.log10().max() < high + 0.01
    assert sir_db[0] - 0.1 < level.min() and level.max() < sir_db[1] + 0.1
    assert level.mean() == pytest.approx(sum(sir_db) / 2, abs=1)
    taper = torch.hann_window(1024)
    power = torch.fft.fft(noise_ * taper).abs().square() / taper.square().sum()
    outside, inside = torch.arange(128, 896), torch.cat([torch.arange(16), torch.arange(1008, 1024)])
    for band, bins in ((outside, torch.arange(64, 448)), (inside, torch.cat([torch.arange(8), torch.arange(504, 512)]))):
        ratio = power[:, band].mean(1) / density[:, bins].mean(1)
        assert ratio.mean() == pytest.approx(1, abs=0.05)


def test_signals_as_noise_lie_anywhere():
    """Whatever timing, phase and length the file of the other one gives: the windows are full, and no two lie alike."""
    other = datasets.SignalNoise(replace(SOI, timing=8.0, phase=0.0, symbols=3), (0.0, 0.0))
    x = other.draw(64, 640, generator())[0]
    power = x.abs().square().reshape(64, 4, 160).mean(2)
    assert (power.mean(0) / power.mean() - 1).abs().max() < 0.2
    fourth = torch.angle(replace(SOI, symbols=None).matched_filter(x)[:, 4:-4].pow(4).sum(1)) / 4      # phase, mod a quarter turn
    assert np.ptp(fourth.numpy()) > 1.2 and 0.3 < fourth.std() < 0.6
