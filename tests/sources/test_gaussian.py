# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussian priors: their closed forms against dense linear algebra, their folders, and what alpha-rgs fit makes of recordings."""
import pathlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.cli.main import app
from alpha_rgs.errors import CapabilityError, ParameterError, RecordingError
from alpha_rgs.io import recordings
from alpha_rgs.separators import separate
from alpha_rgs.sources import Gaussian
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import draw, noise, paper_priors
from alpha_rgs.streaming import report as describe
from alpha_rgs.streaming import separate_stream
from alpha_rgs.synchronization import acquire
from alpha_rgs.training import covariance_fit as fitting
from typer.testing import CliRunner

WIFI = pathlib.Path(__file__).parents[3] / "shared/captures/wifi"
SOI, OFDM = paper_priors()


def true_table(ofdm=OFDM):
    """The covariance of OFDM as a Gaussian prior has it: [frame, frame]."""
    covariance, period = ofdm.matrix @ ofdm.matrix.conj().T, ofdm.signal.frame_length
    return np.array([[covariance[m + lag, m] if m + lag < period else 0 for lag in range(period)] for m in range(period)])


def ofdm_wave(samples, seed=7):
    return draw(SOI, OFDM, 1, samples, 0.0, None, seed).b[0].numpy()


def symbol_errors(out, mixture):
    bits = mixture.soi.signal.alphabet.slice(out.symbols).reshape(len(out.symbols), -1)
    return float((bits != mixture.bits).float().mean())


@pytest.fixture(scope="module")
def fitted():
    """(cyclostationary, stationary) priors fitted to 300 000 samples of OFDM."""
    wave = ofdm_wave(300_000)
    return fitting.fit([wave], 80).prior, fitting.fit([wave], 1).prior


@pytest.fixture
def folder(tmp_path):
    """A prior's folder as save writes it."""
    priors.save(Gaussian(true_table(), sample_rate=20e6), tmp_path / "x.prior", {"command": 'a "b"', "recordings": ["c.dat"]})
    return tmp_path / "x.prior"


def fit(*arguments):
    return CliRunner().invoke(app, ["fit", *map(str, arguments)])


@pytest.mark.parametrize("colour", [None, SOI, replace(SOI, symbols=None, carrier_offset=0.01, timing=3.5)])
@pytest.mark.parametrize("period", [1, 80])
def test_the_posterior_mean_is_that_of_dense_algebra(period, colour):
    """Closed form: C·(C + V)⁻¹·x in white and coloured noise, stationary and not, every window with its own offset."""
    prior, samples = Gaussian(true_table(), period_offset=torch.tensor([0, 17, 63])), 400
    prior = prior.stationary() if period == 1 else prior
    x = noise((3, samples), torch.Generator().manual_seed(1))
    out = prior.denoise(x, 0.3 if colour is None else Noise(1e-2, colour, 0.3))
    v = 0.3 * np.eye(samples)
    if colour is not None:
        centre = colour.timing + 16 * np.arange(-4 if colour.symbols is None else 0, 30)
        h = colour.signal.pulse_at(np.arange(samples)[:, None] - centre) * np.exp(
            2j * np.pi * colour.carrier_offset * np.arange(samples))[:, None]
        v = 0.3 * h @ h.conj().T + 1e-2 * np.eye(samples)
    for row, offset in enumerate((0, 17, 63)):
        n = np.arange(samples)
        lag, at = n[:, None] - n, (np.minimum(n[:, None], n) - offset) % 80
        c = true_table()[at, abs(lag).clip(max=79)] * (abs(lag) < 80)
        c = np.where(lag < 0, c.conj(), c)
        if period == 1:
            mean = true_table().mean(0)[abs(lag).clip(max=79)] * (abs(lag) < 80)
            c = np.where(lag < 0, mean.conj(), mean)
        assert np.allclose(prior.covariance(samples, 0 if period == 1 else offset), c)
        want = c @ np.linalg.solve(c + v, x[row].numpy())
        assert np.abs(out[row].numpy() - want).max() < 1e-5


def test_without_an_offset_the_denoiser_is_the_stationary_one():
    """As documented: an unknown offset is averaged over; a window seen later has a smaller one."""
    prior, x = Gaussian(true_table()), noise((2, 300), torch.Generator().manual_seed(1))
    assert torch.equal(prior.denoise(x, 1.0), prior.stationary().denoise(x, 1.0))
    assert prior.at(100).period_offset is None
    assert replace(prior, period_offset=30).at(100).period_offset == 10
    assert replace(prior, period_offset=30).at(torch.tensor([0, 31])).period_offset.tolist() == [30, 79]
    assert replace(prior, period_offset=torch.tensor([1, 2, 3])).select(slice(1, 3)).period_offset.tolist() == [2, 3]


def test_the_autocorrelation_is_the_mean_over_the_period():
    """It must agree with the structured prior's own, and with the spectrum."""
    prior, lags = Gaussian(true_table()), np.arange(-100, 101)
    assert np.allclose(prior.autocorrelation(lags), OFDM.autocorrelation(lags))
    n = np.arange(512)
    spectrum = (prior.autocorrelation(lags) @ np.exp(-2j * np.pi * np.outer(lags, n) / 512)).real
    assert np.allclose(prior.psd(512), spectrum.clip(0), atol=1e-9)


@pytest.mark.parametrize(("table", "offset", "word"), [
    (np.ones((2, 3, 4)), None, "shape"), (np.full((1, 4), np.nan), None, "finite"), (2 * np.eye(1, 4), None, "lag 0"),
    (np.array([[1j, 0]]), None, "lag 0"), (np.ones((2, 1)), 2, "period_offset"), (np.ones((2, 1)), 0.5, "period_offset")])
def test_a_table_that_is_no_covariance_is_refused(table, offset, word):
    """Bad input."""
    with pytest.raises(ParameterError, match=word):
        Gaussian(table, offset)
    with pytest.raises(ParameterError, match="positive definite"):
        Gaussian([[1.0, 0.9]]).denoise(torch.zeros(1, 20, dtype=torch.complex64), 1e-3)


def test_colour_of_another_kind_is_refused():
    """By name, and so is a colour without timing."""
    x = torch.zeros(1, 100, dtype=torch.complex64)
    with pytest.raises(CapabilityError, match="ofdm"):
        Gaussian().denoise(x, Noise(1e-4, OFDM, 1.0))
    with pytest.raises(ParameterError, match="timing"):
        Gaussian().denoise(x, Noise(1e-4, replace(SOI, timing=None), 1.0))


@pytest.mark.parametrize("snr_db", [None, 10.0])
def test_level_noise_and_offset_are_found(snr_db):
    """At -12 dB: each offset, kappa within 3 %, noise within a quarter (or near nothing)."""
    mixture = draw(SOI, OFDM, 16, 2560, -12.0, snr_db, 3)
    _, prior, kappa, noise_var, found = acquire(mixture.y, mixture.soi, Gaussian(true_table()))
    assert torch.equal(found["period_offset"], mixture.interference.frame_offset)
    assert (kappa / mixture.kappa - 1).abs().max() < 0.05
    assert (kappa / mixture.kappa - 1).abs().mean() < 0.02
    assert (noise_var - mixture.noise_var).abs().max() < max(0.25 * mixture.noise_var, 5e-3)
    _, given, _, _, nothing = acquire(mixture.y, mixture.soi, replace(prior, period_offset=5), 4.0, 0.1)
    assert given.period_offset == 5 and not nothing


def test_noise_cannot_be_told_from_a_flat_spectrum():
    """It must be given then; with it the level is found."""
    y = draw(SOI, OFDM, 2, 2560, -12.0, 10.0, 3).y
    with pytest.raises(ParameterError, match="noise_var"):
        acquire(y, SOI, Gaussian())
    assert acquire(y, SOI, Gaussian(), noise_var=0.1)[2].shape == (2,)


def test_a_folder_gives_back_what_was_saved(folder):
    """Round trip, to the precision of the file; what was there is not replaced unasked."""
    prior = priors.load(folder)
    assert np.allclose(prior.table, true_table(), atol=1e-7)
    assert (prior.kind, prior.period, prior.lags, prior.sample_rate, prior.period_offset) == ("gaussian", 80, 80, 20e6, None)
    assert np.array_equal(priors.load(folder / "prior.toml").table, prior.table)        # as a file dialogue gives it
    assert {"kind", "period", "lags"} <= describe.given_keys(folder)
    assert any("estimated" in row for row in describe.prior_table(prior))
    with pytest.raises(RecordingError, match="exists already"):
        priors.save(prior, folder)
    priors.save(replace(prior, period_offset=7), folder, overwrite=True)
    assert priors.load(folder).period_offset == 7


def _set(key, value):
    def change(folder):
        file = folder / "prior.toml"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(key)]
        file.write_text("\n".join(([f"{key} = {value}"] if value else []) + lines))
    return change


def _weights(action):
    return lambda folder: action(folder / "weights.safetensors")


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def _as_pickle(path):
    path.rename(path.with_name("weights.pt"))


@pytest.mark.parametrize(("change", "words"), [
    (_set("format", "2"), ["prior.toml", "format", "newer"]),
    (_set("format", None), ["prior.toml", "format"]),
    (_set("kind", '"magic"'), ["prior.toml", "kind", "gaussian", "diffusion"]),
    (_set("kind", '"diffusion"'), ["prior.toml", "network is missing"]),
    (_set("period", "40"), ["weights.safetensors", "shape", "[40, 80, 2]"]),
    (_set("period", '"x"'), ["prior.toml", "period"]),
    (_set("lags", None), ["prior.toml", "lags is missing"]),
    (_set("zzz", "1"), ["prior.toml", "'zzz'"]),
    (_set("sample_rate", "-1.0"), ["prior.toml", "sample_rate"]),
    (_set("period_offset", "80"), ["prior.toml", "period_offset", "79"]),
    (lambda folder: (folder / "prior.toml").write_text("kind = "), ["prior.toml", "not TOML"]),
    (lambda folder: (folder / "prior.toml").unlink(), ["prior.toml", "no such file"]),
    (_weights(lambda path: path.unlink()), ["weights.safetensors", "no such file"]),
    (_weights(lambda path: path.write_bytes(path.read_bytes()[:-100])), ["weights.safetensors", "cut or changed"]),
    (_weights(_flip), ["weights.safetensors", "cut or changed"]),
    (_weights(_as_pickle), ["weights.pt", "pickle", "runs"]),
])
def test_a_bad_folder_is_refused_with_one_sentence(folder, change, words):
    """Newer, incomplete, cut, changed, of another shape: each names its file."""
    change(folder)
    with pytest.raises(ParameterError) as error:
        priors.load(folder)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_are_no_safetensors_are_refused_even_with_their_checksum(folder):
    """A checksum says that nothing was lost, not that it is right."""
    import hashlib

    (folder / "weights.safetensors").write_bytes(b"not safetensors")
    _set("sha256", f'"{hashlib.sha256(b"not safetensors").hexdigest()}"')(folder)
    with pytest.raises(ParameterError, match="no safetensors"):
        priors.load(folder)


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.ckpt", "x.bin"])
def test_pickles_are_refused_unread(tmp_path, name):
    """By name, with the reason."""
    with pytest.raises(ParameterError, match="pickle.*runs"):
        priors.load(tmp_path / name)


def test_gaussian_as_a_toml_file_is_refused(tmp_path):
    """It cannot be written by hand: say what it is."""
    (tmp_path / "x.toml").write_text('kind = "gaussian"\n')
    with pytest.raises(ParameterError, match="x.toml: kind.*alpha-rgs fit"):
        priors.load(tmp_path / "x.toml")


def test_a_full_disk_leaves_nothing_half(folder, monkeypatch):
    """The old prior survives, and no temporary folder is left."""
    def full(self, data):
        raise OSError(28, "No space left on device")

    before = (folder / "weights.safetensors").read_bytes()
    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(RecordingError, match="No space left"):
        priors.save(Gaussian(), folder, overwrite=True)
    monkeypatch.undo()
    assert (folder / "weights.safetensors").read_bytes() == before
    assert priors.load(folder).period == 80
    assert [p.name for p in folder.parent.iterdir()] == ["x.prior"]


@pytest.mark.slow
def test_fit_end_to_end_finds_the_period(tmp_path):
    """Two recordings in, a prior with its report out; separate and info take it; pictures and numbers are there."""
    for i in range(2):
        recordings.save(tmp_path / f"r{i}", ofdm_wave(60_000, i), 1e6)
    out = tmp_path / "x.prior"
    result = fit(tmp_path / "r0.sigmf-meta", tmp_path / "r1.sigmf-meta", "--period", "auto", "-o", out)
    assert result.exit_code == 0, result.output
    assert "period 80 samples, 80 lags; found" in result.output and "warning" not in result.stderr
    assert sorted(p.name for p in out.iterdir()) == ["prior.toml", "report.md", "spectrum.png", "weights.safetensors"]
    report, header = (out / "report.md").read_text(), (out / "prior.toml").read_text()
    assert report.count("\n| ") == 5 and "spectrum.png" in report
    assert '"r0.sigmf-meta", "r1.sigmf-meta"' in header and str(tmp_path) not in header + report
    assert priors.load(out).period == 80
    soi = replace(SOI, symbols=None)
    mixture = draw(soi, OFDM, 1, 5000, -12.0, 20.0, 3)
    recordings.save(tmp_path / "mix", mixture.y[0].numpy(), 1e6)
    (tmp_path / "soi.toml").write_text(describe.to_toml(soi))
    arguments = ["separate", tmp_path / "mix", "--soi", tmp_path / "soi.toml", "--interference", out, "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "alpha_rgs" in result.output
    assert "period_offset" in (tmp_path / "out/report.json").read_text()
    assert CliRunner().invoke(app, ["info", str(out)]).exit_code == 0
    recordings.save(tmp_path / "mix", mixture.y[0].numpy(), 2e6)
    result = CliRunner().invoke(app, [*map(str, arguments), "--overwrite"])
    assert result.exit_code == 1 and "sample_rate" in result.stderr


def test_fit_says_that_there_is_no_period(tmp_path):
    """White noise has none: the prior is stationary, and says so."""
    recordings.save(tmp_path / "r", noise((1, 40_000), torch.Generator().manual_seed(1))[0].numpy(), 1e6)
    result = fit(tmp_path / "r.sigmf-meta", "--period", "auto", "-o", tmp_path / "x.prior")
    assert result.exit_code == 0, result.output
    assert "no clear period" in result.output and priors.load(tmp_path / "x.prior").period == 1


@pytest.mark.slow
def test_bursts_are_used_without_the_silence_between(tmp_path):
    """Each burst begins its own period; the warning tells the fraction that was left out."""
    rng, parts = np.random.default_rng(0), []
    wave = ofdm_wave(80_000)
    for i in range(40):
        parts += [wave[2000 * i:2000 * i + 1500 + rng.integers(400)], 1e-3 * wave[:1700]]
    recordings.save(tmp_path / "r", np.concatenate(parts), 1e6)
    result = fit(tmp_path / "r.sigmf-meta", "--period", 80, "-o", tmp_path / "x.prior")
    assert result.exit_code == 0, result.output
    left_out = float(re.search(r"warning: ([\d.]+) % of the samples are silence", result.stderr)[1])
    assert left_out == pytest.approx(50, abs=2)
    prior = priors.load(tmp_path / "x.prior")
    best = max(np.sum(true_table().conj() * np.roll(prior.table, shift, 0)).real for shift in range(80))
    assert best > 0.9 * np.sum(abs(true_table()) ** 2)


def test_clipping_and_dc_are_named_with_their_fraction(tmp_path):
    """Warnings, not errors."""
    x = ofdm_wave(20_000) + 1
    pairs = np.stack([x.real, x.imag], -1) * 16384
    pairs.round().clip(-32768, 32767).astype("<i2").tofile(tmp_path / "r.cs16")
    result = fit(tmp_path / "r.cs16", "--sample-rate", "1e6", "-o", tmp_path / "x.prior")
    assert result.exit_code == 0, result.output
    assert "% of the power is DC" in result.stderr and "% of the samples are clipped" in result.stderr


@pytest.mark.parametrize(("samples", "arguments", "words"), [
    (50, [], ["r.cf32", "50 samples"]),
    (1500, [], ["r.cf32", "are needed"]),
    (0.0, [], ["r.cf32", "silent"]),
    (20_000, ["--period", "1.5"], ["--period", "whole"]),
    (20_000, ["--period", "9999"], ["--period", "512"]),
    (20_000, ["--length", "1"], ["--length"]),
    (20_000, ["--period", "8", "--stationary"], ["--stationary", "--period"]),
])
def test_fit_refuses_what_it_cannot_use(tmp_path, samples, arguments, words):
    """One line, no folder left behind."""
    wave = np.zeros(5000) if samples == 0.0 else ofdm_wave(20_000)[:samples]
    wave.astype("<c8").tofile(tmp_path / "r.cf32")
    result = fit(tmp_path / "r.cf32", "--sample-rate", "1e6", *arguments, "-o", tmp_path / "x.prior")
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.output
    for word in words:
        assert word in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["r.cf32"]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fast", "white"])
def test_the_more_is_known_of_the_interference_the_fewer_the_errors(fitted, preset):
    """QPSK under OFDM 12 dB stronger: cyclostationary, stationary, nothing known."""
    mixture = draw(SOI, OFDM, 12, 2560, -12.0, 20.0, 1)
    cyclic, flat, nothing = (symbol_errors(separate(mixture.y, SOI, prior, *how, **options), mixture) for prior, how, options in (
        (fitted[0], (), {"preset": preset}), (fitted[1], (), {"preset": preset}), (fitted[1], ("matched_filter",), {})))
    assert cyclic < 0.75 * flat
    assert flat <= nothing


def test_methods_that_need_structure_refuse_by_name(fitted):
    """joint cannot; alpha_rgs is chosen; lmmse with stationary covariance can."""
    y = draw(SOI, OFDM, 2, 2560, -12.0, 20.0, 1).y
    with pytest.raises(CapabilityError, match="joint.*gaussian"):
        separate(y, SOI, fitted[0], "joint")
    assert separate(y, SOI, fitted[0]).method == "alpha_rgs"
    assert separate(y, SOI, fitted[0], "lmmse", covariance="stationary").soi.shape == y.shape


@pytest.mark.slow
def test_a_stream_keeps_its_period(fitted):
    """Windows of a stream, and a short last one, see the same period."""
    soi = replace(SOI, symbols=None)
    mixture = draw(soi, OFDM, 1, 2048 * 3 + 2560 + 200, -12.0, 20.0, 1)
    out = separate_stream(mixture.y[0].numpy(), soi, fitted[0])
    begins = (out.estimated["period_offset"] + 2048 * np.arange(len(out.quality))[:len(out.estimated["period_offset"])]) % 80
    assert len(set(begins.tolist())) == 1
    assert np.mean(abs(out.soi - mixture.s[0].numpy()) ** 2) < 0.5


def test_no_pickle_is_ever_opened(folder, monkeypatch):
    """Loading goes through safetensors only."""
    import pickle

    def forbidden(*_, **__):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "load", forbidden)
    monkeypatch.setattr(pickle, "loads", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    assert priors.load(folder).period == 80


@pytest.mark.slow
@pytest.mark.skipif(not WIFI.is_dir(), reason="the recorded captures are not here (../shared/captures/wifi)")
@pytest.mark.parametrize(("name", "period"), [("wifi_11n_6.5M_radiated", 80), ("wifi_11n_7.2M_sgi_conducted", 72)])
def test_recorded_wifi(tmp_path, name, period):
    """802.11n with the long and the short guard interval: the frame's length is found in the recording."""
    raw = ("--datatype", "cs16", "--sample-rate", "20e6")
    result = fit(WIFI / f"{name}.dat", *raw, "--period", "auto", "-o", tmp_path / "x.prior")
    assert result.exit_code == 0, result.output
    assert priors.load(tmp_path / "x.prior").period == period
