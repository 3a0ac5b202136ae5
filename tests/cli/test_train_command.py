# SPDX-License-Identifier: GPL-3.0-or-later
"""alpha-rgs train: a prior with its report comes out, stopping and going on, beginning with another's weights, bad input."""
import functools
import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.io import recordings
from alpha_rgs.sources.folder import read_header
from alpha_rgs.sources.mixtures import alone, draw, paper_priors
from alpha_rgs.streaming import report
from alpha_rgs.training import datasets, denoising_metrics
from commands import fails, run, works
from safetensors.torch import load_file

SOI, OFDM = paper_priors(symbols=80)            # bursts that fill windows of 1280 samples
TINY = ("--steps", 4, "--batch", 2, "--channels", 4, "--window", 128, "--device", "cpu")
FILES = ["denoising.png", "prior.toml", "report.md", "weights.safetensors"]


@pytest.fixture
def quick(monkeypatch):
    """The report measures one level on two windows only."""
    monkeypatch.setattr(denoising_metrics, "curve", functools.partial(denoising_metrics.curve, levels=(1.0,), windows=2))


@pytest.fixture
def qpsk_toml(tmp_path):
    (tmp_path / "soi.toml").write_text(report.to_toml(replace(SOI, symbols=None)))
    return tmp_path / "soi.toml"


@pytest.fixture
def recording(tmp_path):
    """A SigMF recording of OFDM."""
    return recordings.save(tmp_path / "r", alone(OFDM, 1, 20_000, torch.Generator().manual_seed(7))[0][0].numpy(), 1e6)


def mixed(tmp_path, samples=2560):
    soi = replace(SOI, symbols=None)
    m = draw(soi, OFDM, 1, samples, -12.0, 20.0, 3)
    return recordings.save(tmp_path / "mix", m.y[0].numpy(), 1e6), m


def test_train_from_a_description_end_to_end(tmp_path, qpsk_toml):
    """A prior with its report out, which compares with the exact posterior mean in white and in coloured noise; info and separate
    take it."""
    out = tmp_path / "x.prior"
    result = works("train", "--synthetic", qpsk_toml, "-o", out, *TINY)
    assert f"written to {out}" in result.stdout and "noise variance 1.2: error" in result.stdout and "exact" in result.stdout
    assert sorted(p.name for p in out.iterdir()) == FILES
    text, header = (out / "report.md").read_text(), (out / "prior.toml").read_text()
    assert "alpha-rgs train --synthetic soi.toml" in text and "denoising.png" in text and "1 process." in text
    assert text.count("\n### ") == 2 and text.count("\n| 1.2 |") == 1 and "–" not in text
    assert str(tmp_path) not in header + text and "--steps 4" in header
    prior = priors.load(out)
    assert prior.learned and (prior.signal, prior.timing, prior.symbols) == (SOI.signal, 8.0, None)
    assert prior.network.stride == 16 and prior.network.net.kernel == 80
    assert "Fast of" in works("info", out).stdout
    mix, m = mixed(tmp_path)
    (tmp_path / "int.toml").write_text(report.to_toml(OFDM))
    result = works("separate", mix, "--soi", out, "--interference", tmp_path / "int.toml", "-o", tmp_path / "out")
    written = json.loads((tmp_path / "out/report.json").read_text())
    assert written["method"] == "alpha_rgs" and written["symbols"] == 160
    wrong = recordings.load(tmp_path / "out/soi").samples - m.s[0].numpy()
    assert np.mean(abs(wrong) ** 2) < 1.0
    fails(run("separate", mix, "--soi", out, "--interference", tmp_path / "int.toml", "-o", tmp_path / "o2", "--method", "joint"),
          "joint", "learned", "alpha_rgs")


def test_train_from_a_recording_end_to_end(tmp_path, recording, quick):
    """Held-out windows judge it; the covariance for its level comes along; info and separate take it."""
    out = tmp_path / "x.prior"
    result = works("train", recording, "-o", out, *TINY, "--blocks", 1, "--white")
    assert "warning" not in result.stderr and "exact" not in result.stdout
    assert sorted(p.name for p in out.iterdir()) == FILES
    text, header = (out / "report.md").read_text(), (out / "prior.toml").read_text()
    assert "the last 20 % of the recordings" in text and "| – | – |" in text and "exact one" not in text
    assert 'recordings = ["r.sigmf-meta"]' in header and str(tmp_path) not in header + text
    prior = priors.load(out)
    assert (prior.kind, prior.period, prior.sample_rate, prior.learned) == ("gaussian", 1, 1e6, True)
    assert "1e+06" in works("info", out).stdout
    mix, _ = mixed(tmp_path)
    (tmp_path / "soi.toml").write_text(report.to_toml(replace(SOI, symbols=None)))
    works("separate", mix, "--soi", tmp_path / "soi.toml", "--interference", out, "-o", tmp_path / "out")
    assert json.loads((tmp_path / "out/report.json").read_text())["method"] == "alpha_rgs"
    assert np.isfinite(recordings.load(tmp_path / "out/soi").samples).all()


def test_diffwave_is_trained_on_recordings_too(tmp_path, recording, quick):
    """The paper's network, small: it knows white noise only, and separate takes the preset for that by itself."""
    out = tmp_path / "x.prior"
    works("train", recording, "-o", out, *TINY, "--network", "diffwave", "--blocks", 2)
    assert not priors.load(out).takes_basis and (out / "report.md").read_text().count("\n### ") == 1
    mix, _ = mixed(tmp_path, 1280)
    (tmp_path / "soi.toml").write_text(report.to_toml(replace(SOI, symbols=None)))
    arguments = ("separate", mix, "--soi", tmp_path / "soi.toml", "--interference", out, "--window", 1280, "--hop", 1024)
    works(*arguments, "-o", tmp_path / "out")
    fails(run(*arguments, "-o", tmp_path / "o2", "--method", "alpha_rgs", "--preset", "fast"), "white noise only",
          "white or paper")


def test_an_interrupted_training_goes_on_with_the_same_command(tmp_path, qpsk_toml, quick, monkeypatch):
    """Ctrl-C: exit code 130, no prior, a line that tells how to go on; then the very weights of a training that was
    not stopped."""
    command = ["train", "--synthetic", qpsk_toml, *TINY, "--white", "-o"]
    works(*command, tmp_path / "whole.prior")
    draw, drawn, out = datasets.Linear.draw, [], tmp_path / "x.prior"

    def interrupted(self, *arguments):      # in the fourth step
        drawn.append(1)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw(self, *arguments)

    monkeypatch.setattr(datasets.Linear, "draw", interrupted)
    result = run(*command, out)
    assert result.exit_code == 130 and "stopped at step 3" in result.stderr and "same command" in result.stderr
    assert not out.exists() and not list(tmp_path.glob(".*"))
    monkeypatch.setattr(datasets.Linear, "draw", draw)
    assert "going on from step 3 of 4" in works(*command, out).stderr
    first, second = (load_file(folder / "weights.safetensors") for folder in (tmp_path / "whole.prior", out))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    fails(run(*command[:-1], "--seed", 1, "--overwrite", "-o", out), "checkpoint.safetensors", "other settings", "remove it")


def test_a_training_may_begin_with_the_weights_of_a_prior(tmp_path, qpsk_toml, quick):
    """At a rate of next to nothing they stay as they are; the report and the header tell whose they were, and the checkpoint is
    its own."""
    first, out = tmp_path / "first.prior", tmp_path / "x.prior"
    works("train", "--synthetic", qpsk_toml, *TINY, "--white", "-o", first)
    command = ("train", "--synthetic", qpsk_toml, *TINY, "--white", "--seed", 5, "--rate", 1e-12)
    works(*command, "--from", first, "-o", out)
    works(*command, "-o", tmp_path / "other.prior")
    before, after, other = (load_file(folder / "weights.safetensors") for folder in (first, out, tmp_path / "other.prior"))
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)
    assert not all(torch.allclose(before[key], other[key], atol=1e-3) for key in before)
    command = read_header(first)["provenance"]["command"]
    assert f"Begun with the weights of `{command}`" in (out / "report.md").read_text()
    assert read_header(out)["provenance"]["begun"] == command and "--from first.prior" in (out / "report.md").read_text()


def test_weights_to_begin_with_must_fit(tmp_path, qpsk_toml, recording, quick):
    """Another size is named with both values; a prior without a network, and a path that is none, are refused."""
    first = tmp_path / "first.prior"
    works("train", "--synthetic", qpsk_toml, *TINY, "--white", "-o", first)
    command = ("train", "--synthetic", qpsk_toml, *TINY, "--white", "-o", tmp_path / "x.prior", "--from")
    fails(run(*command, first, "--blocks", 2), "first.prior", "dilations", "[1, 1]", "[1, 1, 1]")
    fails(run(*command, qpsk_toml), "soi.toml", "no network")
    fails(run(*command, tmp_path / "none.prior"), "none.prior")
    assert not (tmp_path / "x.prior").exists()


def test_a_prior_that_exists_stops_the_training_before_it_begins(tmp_path, qpsk_toml, quick):
    """Not after hours; --overwrite replaces it."""
    out = tmp_path / "x.prior"
    out.mkdir()
    (out / "prior.toml").write_text("old")
    fails(run("train", "--synthetic", qpsk_toml, "-o", out, *TINY, "--white"), "prior.toml", "--overwrite")
    assert not (tmp_path / "x.prior.training").exists()
    works("train", "--synthetic", qpsk_toml, "-o", out, *TINY, "--white", "--overwrite")
    assert priors.load(out).learned


@pytest.mark.parametrize("spoil", ["clipping and DC", "silence"])
def test_what_is_odd_about_a_recording_is_told_with_its_fraction(tmp_path, quick, spoil):
    """Warnings, at the end and in the report; the training is done all the same."""
    x = alone(OFDM, 1, 20_000, torch.Generator().manual_seed(7))[0][0].numpy()
    if spoil == "silence":
        x[6000:8000] = 0
        x.astype("<c8").tofile(tmp_path / "r.cf32")
    else:
        pairs = np.stack([x.real + 1, x.imag], -1) * 16384
        pairs.round().clip(-32768, 32767).astype("<i2").tofile(tmp_path / "r.cs16")
    file = tmp_path / ("r.cf32" if spoil == "silence" else "r.cs16")
    result = works("train", file, "--sample-rate", 1e6, "-o", tmp_path / "x.prior", *TINY, "--blocks", 1, "--white")
    words = ["% of the samples are silence"] if spoil == "silence" else ["% of the power is DC", "% of the samples are clipped"]
    for word in words:
        assert word in result.stderr and word in (tmp_path / "x.prior/report.md").read_text()
    if spoil == "silence":
        assert float(result.stderr.split("warning: ")[1].split(" %")[0]) == pytest.approx(10, abs=1)


WAVE = alone(OFDM, 1, 4000, torch.Generator().manual_seed(7))[0][0].numpy()


@pytest.mark.parametrize(("wave", "options", "words"), [
    (WAVE[:90], (), ["r.cf32", "90 samples"]),
    (WAVE, ("--window", 2048), ["r.cf32", "4000 samples", "2048", "--window"]),
    (WAVE[:3000], (), ["r.cf32", "longer recording"]),
    (WAVE, ("--window", 1280), ["r.cf32", "last 20 %", "1280", "--window"]),
    (np.zeros(4000), (), ["r.cf32", "silent"]),
    (np.r_[WAVE[:300], np.nan], (), ["r.cf32", "NaN", "sample 300"]),
    (WAVE, ("--datatype", "cs17"), ["r.cf32", "'cs17'", "cs16"]),
    (WAVE[:3999], ("--datatype", "cf64"), ["r.cf32", "middle of a sample"]),
    (WAVE, ("--network", "magic"), ["--network", "'magic'", "fast, ofdm, bursts, diffwave"]),
    (WAVE, ("--precision", "float16"), ["--precision", "'float16'", "bfloat16"]),
    (WAVE, ("--rate", "nan"), ["--rate", "nan"]),
    (WAVE, ("--rate", "-1"), ["--rate", "-1"]),
    (WAVE, ("--device", "toaster"), ["--device", "'toaster'", "cuda"]),
    (WAVE, ("--device", "meta"), ["--device", "'meta'", "cpu"]),
])
def test_train_refuses_what_it_cannot_use(tmp_path, wave, options, words):
    """One line that names the file or the option, and no prior."""
    wave.astype("<c8").tofile(tmp_path / "r.cf32")
    fails(run("train", tmp_path / "r.cf32", "--sample-rate", 1e6, "-o", tmp_path / "x.prior", *TINY, *options), *words)
    assert not (tmp_path / "x.prior").exists() and not list(tmp_path.glob(".*"))


def test_train_refuses_recordings_of_different_rates(tmp_path):
    """They would not be one source."""
    for name, rate in (("a", 1e6), ("b", 2e6)):
        recordings.save(tmp_path / name, WAVE, rate)
    files = (tmp_path / "a.sigmf-meta", tmp_path / "b.sigmf-meta")
    fails(run("train", *files, "-o", tmp_path / "x.prior", *TINY), "b.sigmf", "2000000", "resample")


def test_train_wants_recordings_or_a_description(tmp_path, recording, qpsk_toml):
    """One of them, and something that can be drawn."""
    out = ("-o", tmp_path / "x.prior", *TINY)
    fails(run("train", *out), "recordings", "--synthetic")
    fails(run("train", recording, "--synthetic", qpsk_toml, *out), "recordings", "--synthetic", "not both")
    fails(run("train", "--synthetic", tmp_path / "none.toml", *out), "none.toml", "no such")
    fails(run("train", tmp_path / "none.sigmf-meta", *out), "none.sigmf-meta", "no such file")
    priors.save(priors.Gaussian(OFDM.autocorrelation(np.arange(80))[None], sample_rate=1e6), tmp_path / "g.prior")
    fails(run("train", "--synthetic", tmp_path / "g.prior", *out), "g.prior", "no signal that could be drawn", "gmsk")
    fails(run("train", "--synthetic", qpsk_toml, "--stride", 4, *out), "--stride", "4", "16")
    (tmp_path / "slow.toml").write_text('kind = "linear-modulation"\nsamples_per_symbol = 128\n')
    fails(run("train", "--synthetic", tmp_path / "slow.toml", *out), "--window", "256")
    assert not (tmp_path / "x.prior").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_named(tmp_path, qpsk_toml, device):
    """Not trained on the processor instead: that would take days."""
    result = run("train", "--synthetic", qpsk_toml, "-o", tmp_path / "x.prior", *TINY, "--device", device)
    fails(result, "--device", device, "cpu")


def test_a_training_that_a_batch_system_ends_keeps_a_checkpoint(tmp_path, qpsk_toml):
    """SIGTERM and a hangup end it between two steps, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        out = tmp_path / f"{number.name}.prior"
        script = f"""
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)        # nohup, which the tests may run under, ignores it
from alpha_rgs.cli import main
from alpha_rgs.training import datasets
draw, drawn = datasets.Linear.draw, []
def ended(self, *arguments):
    drawn.append(1)
    if len(drawn) == 3:
        os.kill(os.getpid(), {int(number)})
    return draw(self, *arguments)
datasets.Linear.draw = ended
sys.argv = {["alpha-rgs", "train", "--synthetic", str(qpsk_toml), *map(str, TINY), "--white", "-o", str(out)]!r}
main()
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
        assert done.returncode == 128 + number and "stopped at step 3" in done.stderr and "Traceback" not in done.stderr
        assert out.with_name(f"{out.name}.training").joinpath("checkpoint.safetensors").is_file() and not out.exists()
