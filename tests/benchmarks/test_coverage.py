# SPDX-License-Identifier: GPL-3.0-or-later
"""The grid of conditions: what is sent, what is counted, what is said of it; and the variances behind quality and LLRs."""
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators.base import false_lock_penalty, soft_output, spread_error_probability, variance_scale
from alpha_rgs.separators.matched_filter import matched_filter
from alpha_rgs.signals import constellation
from alpha_rgs.sources import LinearModulation
from alpha_rgs.sources.mixtures import noise
from matplotlib.image import imread
from typer.testing import CliRunner

from benchmarks import cli, cli_coverage, coverage
from benchmarks.coverage import SAMPLES, SOIS, STATES, Condition, bins, cell, grid, judged, known, summary, transmit
from benchmarks.coverage_figure import draw

QPSK, EASY = SOIS[0], Condition("−10 dB, strong", -10.0, 10.0)
REST = dict(soi=None, interference=None, evaluations=0, kappa=None, noise_var=None)
EVERYTHING = Condition("all", timing=True, carrier=True, channel=True, clock=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def filtered(sent, prior=None):
    """What the matched filter makes of a signal by itself."""
    n = len(sent.wave)
    return matched_filter(sent.wave, prior or sent.prior, None, torch.zeros(n), torch.full((n,), 0.01))


@pytest.fixture
def few(monkeypatch):
    """A short interference-free curve."""
    monkeypatch.setattr(coverage, "REFERENCE_WINDOWS", 20)
    coverage.reference.cache_clear()
    yield
    coverage.reference.cache_clear()


# what is sent

@pytest.mark.parametrize("soi", SOIS, ids=lambda s: s.name)
def test_without_impairments_it_is_the_linear_modulation(soi):
    sent = transmit(soi.signal, Condition("none"), 2, generator())
    timing = sent.prior.timing + sent.first * soi.samples_per_symbol
    same = soi.signal.modulate(sent.symbols, SAMPLES, timing) * np.exp(1j * sent.prior.phase)
    assert torch.allclose(sent.wave, same.to(torch.complex64), atol=1e-4)
    assert sent.prior.carrier_offset == 0.0 and sent.wave.abs().square().mean() == pytest.approx(1, abs=0.15)


def test_each_impairment_is_what_it_says():
    signal = QPSK.signal
    clock, channel = (transmit(signal, Condition(name, **{name: True}), 4, generator(2)) for name in ("clock", "channel"))
    for sent, most in ((clock, 1e-3), (channel, 0.03)):
        symbols = filtered(sent).symbols[:, 16:144]
        error = (symbols - sent.symbols[:, 16 - sent.first:][:, :128]).abs().square().mean(1)
        assert torch.all(error < most) and torch.all(error > most / 1e4)
    hidden = transmit(signal, EVERYTHING, 8, generator(3)).prior
    assert len(torch.unique(hidden.timing)) == len(torch.unique(hidden.carrier_offset)) == 8
    assert hidden.carrier_offset.abs().max() <= 0.01 and hidden.timing.min() >= 0 and hidden.timing.max() < 16
    assert all(getattr(known(EVERYTHING, hidden), key) is None for key in ("timing", "phase", "gain", "carrier_offset"))
    assert known(Condition("timing", timing=True), hidden).phase is hidden.phase


def test_what_is_told_wrongly_is_sent_otherwise():
    """The prior says what the file says; the waveform, what was sent."""
    plain, shaped, fast = (transmit(QPSK.signal, Condition("any", wrong=wrong), 2, generator(5)) for wrong in (
        "", "roll-off", "rate"))
    assert plain.prior.signal == shaped.prior.signal == fast.prior.signal == QPSK.signal
    assert torch.equal(plain.symbols, shaped.symbols) and 1e-3 < (plain.wave - shaped.wave).abs().square().mean() < 0.1
    late = (filtered(fast).symbols[:, 16:144] - fast.symbols[:, 16 - fast.first:][:, :128]).abs().square()
    assert late[:, -8:].mean() > 20 * late[:, :8].mean()


# what is counted

def test_bits_are_matched_by_the_symbols_centres_and_up_to_the_alphabets_symmetry():
    for soi in SOIS[:2] + SOIS[3:]:
        sent = transmit(soi.signal, Condition("both", timing=True, carrier=True), 3, generator(4))
        symmetry = soi.signal.alphabet.symmetry
        turned = sent.prior.phase + 2 * math.pi / symmetry
        off = replace(sent.prior, timing=sent.prior.timing - soi.samples_per_symbol, phase=turned)
        out = filtered(sent, off)
        out.estimated = {"timing": off.timing}
        wrong, llrs, sinr = judged(out, sent, known(EVERYTHING, off), True)
        assert not wrong.any() and bool((llrs > 0).all()) and bool((sinr > 20).all())
        assert wrong.shape == (3, 2048 // soi.samples_per_symbol * soi.signal.alphabet.bits_per_symbol)
        assert judged(out, sent, off, False)[0].any()


@pytest.mark.usefixtures("few")
def test_the_reference_has_two_per_cent_two_decibels_down():
    for soi in SOIS[::4]:
        points, rates = coverage.reference(soi)
        assert np.interp(soi.es_n0_db - 2, points, rates) == pytest.approx(0.02, rel=0.25)
        assert np.all(np.diff(rates) <= 1e-3)


@pytest.mark.usefixtures("few")
def test_an_easy_cell_is_within_two_decibels_and_repeats_to_the_digit():
    row = cell(QPSK, "LoRa", EASY, 2)
    assert row["state"] == "within" and row["errors"] == 0 and row["matched_filter"] > 0.03
    assert row["bits"] == 512 == sum(n for n, *_ in row["bins"]) and len(row["quality"]) == len(row["stated"]) == 2
    assert {k: v for k, v in cell(QPSK, "LoRa", EASY, 2).items() if k != "ms"} == {k: v for k, v in row.items() if k != "ms"}


@pytest.mark.usefixtures("few")
def test_another_seed_is_another_draw():
    """torch takes 32 bits of a seed: what lies above is lost."""
    first, second = (cell(QPSK, "3 tones", Condition("-15 dB", -15.0), 1, seed) for seed in (1, 2))
    assert first["sinr"] != second["sinr"]


@pytest.mark.usefixtures("few")
def test_a_refusal_is_a_cell_too(monkeypatch):
    def refuse(*args, **options):
        raise ParameterError("no")

    monkeypatch.setattr(coverage, "separate", refuse)
    row = cell(QPSK, "OFDM-QPSK", EASY, 1)
    assert row["state"] == "refused" and row["message"] == "no" and "ber" not in row


# what is said of it

def rows():
    table = bins(torch.tensor([2.2] * 90 + [-2.2] * 10))
    return [dict(soi=soi.name, interference=name, condition=c.name, state=STATES[k % 4], es_n0_db=soi.es_n0_db, loss_db=3.2,
                 wrong=[k, 2 * k], bits=200, quality=[-k, -2 * k], sinr=[k, k], stated=[k / 100, k / 50], bins=table)
            for k, (soi, name, c) in enumerate(grid(True))]


def test_the_quick_grid_is_a_part_of_the_whole():
    assert len(grid()) == 450 and len(grid(True)) == 90 and set(grid(True)) <= set(grid())


def test_the_summary_counts_states_ranks_windows_and_gives_calibration():
    found = summary(rows())
    assert found["states"] == dict(zip(STATES, (23, 23, 22, 22)))
    assert found["rank_correlation"] == pytest.approx(1) and found["quality_correlation"] == pytest.approx(1)
    assert found["sinr_correlation_all"] < -0.5
    assert found["calibration"] == (6800, pytest.approx(0.9), pytest.approx(0.9002, abs=1e-3))
    assert sum(n for *_, (n, _, _) in found["reliability"]) == 6800
    assert summary([])["calibration"] == (0, None, None)


def test_the_picture_is_drawn_of_whatever_there_is(tmp_path):
    for part in (rows(), rows()[:1]):
        image = imread(draw(part, tmp_path / "coverage.png"))
        assert image.shape[1] == 1800 and image.std() > 0.02


def test_the_command_saves_cells_and_picture(tmp_path, monkeypatch):
    made = iter(rows())
    monkeypatch.setattr(coverage, "cell", lambda *where: next(made))
    app = typer.Typer()
    app.command()(cli_coverage.coverage)
    paths = [tmp_path / "e.json", tmp_path / "e.png"]
    result = CliRunner().invoke(app, ["--quick", "--json", str(paths[0]), "--figure", str(paths[1])])
    assert result.exit_code == 0 and "rank correlation" in result.output and paths[1].exists()
    saved = json.loads(paths[0].read_text())
    assert len(saved["cells"]) == 90 and saved["summary"]["states"]["within"] == 23
    assert CliRunner().invoke(app, ["--json", str(tmp_path / "no" / "e.json")]).exit_code == 2


def test_the_command_keeps_the_name_that_it_had():
    works = [CliRunner().invoke(cli.app, arguments) for arguments in (["coverage", "--help"], ["envelope", "--help"], ["--help"])]
    assert all(result.exit_code == 0 for result in works)
    assert "coverage" in works[2].output and "envelope" not in works[2].output


# the variances behind quality and LLRs

@pytest.mark.parametrize("name, level", [("bpsk", 0.6), ("qpsk", 0.3), ("8psk", 0.1), ("16qam", 0.04)])
@pytest.mark.parametrize("off", [0.25, 1.0, 4.0])
def test_a_wrong_variance_is_put_right_by_the_scatter(name, level, off):
    alphabet, g = constellation(name), generator(5)
    bits = torch.randint(0, 2, (40, 300 * alphabet.bits_per_symbol), generator=g)
    z = alphabet.map(bits) + level ** 0.5 * noise((40, 300), g)
    factor = variance_scale(alphabet, z, torch.full(z.shape, level * off))
    assert float(factor.log().mean().exp()) * off == pytest.approx(1, rel=0.1)
    prior = LinearModulation(replace(QPSK.signal, constellation=name))
    out = soft_output(prior, z, torch.full((40, 1), level * off), **REST)
    assert float(out.quality.mean()) == pytest.approx(-10 * math.log10(level), abs=0.4)
    n, right, stated = bins(out.llrs * (1 - 2 * bits.reshape(40, 300, -1)))[4]
    assert n > 200 and abs(right / n - 0.9) < 0.01 + 2 * (0.09 / n) ** 0.5 and 0.88 < stated / n < 0.92
    wrong = (out.llrs.flatten(1) < 0) != bits.bool()
    assert float(out.error_rate.mean()) == pytest.approx(float(wrong.float().mean()), rel=0.15)


def test_few_symbols_say_little_and_exact_ones_leave_everything_finite():
    alphabet = constellation("qpsk")
    prior = LinearModulation(QPSK.signal)
    z = alphabet.map(torch.randint(0, 2, (2, 400), generator=generator(6)))
    assert 0.5 < float(variance_scale(alphabet, z[:, :1], torch.full((2, 1), 0.1))[0]) < 2
    for var in (0.0, 1e-9, 1e-3, 1e9):
        out = soft_output(prior, z, torch.full((2, 1), var), **REST)
        assert bool(out.llrs.isfinite().all()) and bool(out.quality.isfinite().all())
    out = soft_output(prior, z[:, :0], torch.zeros(2, 1), **REST)
    assert bool(out.quality.isnan().all()) and out.llrs.shape == (2, 0, 2) and bool(out.error_rate.isnan().all())


def test_errors_that_do_not_scatter_are_told_by_their_power():
    """The share of wrong bits goes with its root; each is four times their power to the error, as in symbols drawn anew."""
    alphabet, prior = constellation("qpsk"), LinearModulation(QPSK.signal)
    z = alphabet.map(torch.randint(0, 2, (2, 400), generator=generator(7)))
    out = soft_output(prior, z, torch.full((2, 1), 0.01), torch.tensor([[0.0], [0.5]]), **REST)
    share = 0.15 * 0.5 ** 0.5
    assert float(out.quality[0]) > 20 and float(out.quality[1]) == pytest.approx(-10 * math.log10(4 * share), abs=0.02)
    assert float(out.error_rate[0]) < 1e-6 and float(out.error_rate[1]) == pytest.approx(share, rel=1e-3)


def test_a_signal_that_may_be_found_wrongly_is_doubted_as_a_whole():
    """Half of the bits are lost where as many errors as `level` are expected already, next to none where there are few."""
    alphabet, prior, g = constellation("qpsk"), LinearModulation(QPSK.signal), generator(9)
    level = torch.tensor([[0.7], [0.1]])
    z = alphabet.map(torch.randint(0, 2, (2, 800), generator=g)) + level.sqrt() * noise((2, 400), g)
    alone = soft_output(prior, z, level, factor=1, **REST)
    e = alone.error_rate
    both = false_lock_penalty(replace(alone), float(e[0]), 4.0)
    assert torch.equal(both.llrs < 0, alone.llrs < 0)
    assert float(both.error_rate[0]) == pytest.approx(0.25 + float(e[0]) / 2, rel=1e-3)
    assert float(both.error_rate[1]) < 1.01 * float(e[1]) + 1e-6 and torch.allclose(both.quality[1], alone.quality[1], atol=0.01)
    assert float(10 ** (-both.quality[0] / 10)) == pytest.approx(0.7 + 1.0, rel=1e-3)


def test_decisions_that_hang_together_are_no_surer_than_those_beside_them():
    alphabet, prior = constellation("qpsk"), LinearModulation(QPSK.signal)
    z = alphabet.map(torch.randint(0, 2, (2, 200), generator=generator(8)))
    z[1, 50] *= 0.05
    alone = soft_output(prior, z, torch.full((2, 1), 0.05), factor=1, **REST)
    both = spread_error_probability(replace(alone), prior, 2.0, 4)
    beside, far = both.llrs[1, 46:55].abs(), both.llrs[1, 60:].abs()
    assert float(beside.max()) < 5 and torch.allclose(far, alone.llrs[1, 60:].abs(), rtol=0.05)
    assert torch.equal(both.llrs < 0, alone.llrs < 0) and bool((both.llrs.abs() <= alone.llrs.abs()).all())
    assert torch.allclose(both.quality[0], alone.quality[0], atol=0.01) and float(alone.quality[1] - both.quality[1]) > 0.5
    assert float(both.error_rate[1]) == pytest.approx(3 * float(alone.error_rate[1]), rel=0.3)
