# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded signals and the gate: where separation is no good, what was there before stays."""
import pathlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.cli.main import app
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.sources import Gaussian
from alpha_rgs.sources.mixtures import draw, noise, paper_priors
from typer.testing import CliRunner

from benchmarks import recorded as study

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCORING = ROOT.parent / "shared" / "scoring"
recordings = pytest.mark.skipif(not (SCORING / "real_mix.py").exists(),
                                reason="the recordings (../shared) are not on this machine")


def narrow(batch, samples, frequency, generator):
    """Noise of 0.02 cycles per sample about a frequency, unit power, complex64 [batch, samples]; and its autocorrelation."""
    taps = torch.hann_window(128, periodic=False).to(torch.complex64)
    turn = torch.polar(torch.ones(samples), 2 * torch.pi * frequency * torch.arange(samples))
    x = torch.fft.ifft(torch.fft.fft(noise((batch, samples), generator)) * torch.fft.fft(taps, samples)) * turn
    r = np.correlate(taps.numpy(), taps.numpy(), "full")[127:] * np.exp(2j * np.pi * frequency * np.arange(128))
    return x / x.abs().square().mean().sqrt(), r / r[0].real


@pytest.fixture(scope="module")
def half_wrong():
    """QPSK under narrow noise, which the prior knows in the even windows and looks for elsewhere in the odd ones:
    (mixture, soi, waveform of the soi, bits, separated, filtered)."""
    soi, generator = paper_priors(symbols=None)[0], torch.Generator().manual_seed(3)
    qpsk = draw(soi, soi, 16, 1280, None, 0.0, seed=4)
    known, table = narrow(16, 1280, 0.03, generator)
    other, _ = narrow(16, 1280, -0.02, generator)
    y = qpsk.y + 10 ** (4 / 20) * torch.where(torch.arange(16)[:, None] % 2 == 0, known, other)
    prior = Gaussian(table)
    levels = {"kappa": 10 ** (4 / 20), "noise_var": 1.0}
    separated = separate(y, soi, prior, "lmmse", covariance="stationary", **levels)
    return y, soi, qpsk.s, qpsk.bits, separated, separate(y, soi, prior, "matched_filter", **levels)


def wrong(soi, out, bits):
    return (soi.signal.alphabet.slice(out.symbols) != bits).float().mean(1)


def test_the_gate_keeps_what_is_good_and_nothing_else(half_wrong):
    _, soi, _, bits, separated, filtered = half_wrong
    gated, kept = study.gate(separated, filtered)
    before, after, chosen = (wrong(soi, out, bits) for out in (filtered, separated, gated))
    assert after[::2].mean() < 0.5 * before[::2].mean() and after[1::2].mean() > before[1::2].mean()
    assert kept[::2].all() and not kept[1::2].any()
    assert torch.equal(chosen, torch.where(kept, after, before))
    for name in ("soi", "interference", "symbols", "llrs", "quality"):
        for row, source in ((0, separated), (1, filtered)):
            assert torch.equal(getattr(gated, name)[row], getattr(source, name)[row]), name


def test_no_quality_passes_no_gate(half_wrong):
    *_, separated, filtered = half_wrong
    for quality in (torch.full_like(filtered.quality, torch.nan), filtered.quality, filtered.quality + 0.5):
        assert not study.gate(replace(separated, quality=quality), filtered)[1].any()
    assert study.gate(replace(separated, quality=filtered.quality + 2), filtered)[1].all()


def test_only_a_trusted_soi_is_taken_off(half_wrong):
    y, _, s, _, separated, _ = half_wrong
    out = replace(separated, soi=s, quality=torch.where(torch.arange(16) < 8, 12.0, 3.0))
    rest = study.remainder(y, out)
    assert torch.equal(rest[8:], y[8:])
    assert torch.equal(rest[:8], (y - s)[:8])


@recordings
@pytest.mark.parametrize(("name", "sir_db", "gain"), [("gsm", -10, 5), ("v2x", -10, 1)])
def test_others_under_and_over_recordings(name, sir_db, gain):
    """GSM, which a network knows, is taken off; of V2X, flat under the QPSK, nothing can be: nothing is lost."""
    row = study.others(SCORING, name, sir_db, ROOT / "priors")
    assert row["gated"] <= row["matched_filter"] / gain
    if name == "gsm":
        assert row["separated"] <= row["matched_filter"] / gain
        assert row["less_gated"] >= row["mixed"] and row["alone"] == 2
        assert 0.5 < row["kept"] <= 1
    else:
        assert {row[key] for key in ("alone", "mixed", "less_soi", "less_gated")} == {None}


@recordings
@pytest.mark.slow
@pytest.mark.parametrize(("wifi", "sir_db", "least"), [("wifi_11a_24M_conducted", 5, 18), ("wifi_11a_12M_conducted", 0, 18)])
def test_wifi_is_read_once_the_qpsk_over_it_is_off(wifi, sir_db, least):
    """The recorded QPSK pauses every 2560 samples: what was decided there once cost the frames in those places."""
    row = study.wanted(SCORING, sir_db, wifi)
    assert row["separated"] >= least and row["mixed"] <= 2


@recordings
def test_a_gate_where_the_separation_is_worse():
    """NB-IoT elsewhere in its band than where the prior was fitted."""
    row = study.others(SCORING, "nbiot", -15)
    assert row["separated"] > 1.3 * row["matched_filter"] and row["gated"] <= 1.01 * row["matched_filter"]


@recordings
def test_a_signal_that_is_not_known():
    result = CliRunner().invoke(app, ["evaluate", "others", str(SCORING), "--signals", "dab"])
    assert result.exit_code == 1 and "'dab' is not known; one of gsm, gfsk" in result.stderr


def test_a_folder_without_receivers(tmp_path):
    with pytest.raises(ParameterError, match="real_mix.py"):
        study.others(tmp_path, "gsm", 0)
    result = CliRunner().invoke(app, ["evaluate", "others", str(tmp_path)])
    assert result.exit_code == 1 and "name the folder that holds it" in result.stderr
