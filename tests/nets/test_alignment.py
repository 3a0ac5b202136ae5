# SPDX-License-Identifier: GPL-3.0-or-later
"""Aligning windows to a network's grid: timing and phase estimated from the window itself by its squares, or known."""
import functools
import pathlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.cli.main import app
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.nets import build
from alpha_rgs.nets.alignment import improper, locate, on_grid, pseudo_covariance, slip_correction
from alpha_rgs.nets.denoiser import CONDITIONS, Denoiser, Finder
from alpha_rgs.separators import separate
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import Gaussian, Gmsk, LinearModulation, with_network
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import alone, draw, noise, paper_case, paper_priors
from alpha_rgs.training import (
    datasets,
    denoising_metrics,
)
from alpha_rgs.training.dataset_builder import CLEAR
from typer.testing import CliRunner

SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "priors"
GMSK, DSSS, (SOI, OFDM) = Gmsk(), paper_case("dsss")[1], paper_priors(symbols=80)
QPSK = replace(SOI, symbols=None)
SOURCES = {"gmsk": (GMSK, 8, 16), "dsss": (DSSS, 25, 32)}           # prior, period, lags
FINDER = {"kind": "fast", "stride": 8, "kernel": 40, "channels": 4, "dilations": [1], "conditions": CONDITIONS, "pseudo_lags": 16}


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@functools.cache
def still(name, samples=100_000):
    """A long wave of a source that lies still: complex64 [samples]."""
    return alone(replace(SOURCES[name][0], timing=0.0, phase=0.0), 1, samples, generator())[0][0]


@functools.cache
def table_of(name):
    _, period, lags = SOURCES[name]
    return pseudo_covariance(still(name), period, lags)


def turned(x, phase):
    return x * torch.polar(torch.ones(1), torch.as_tensor(phase, dtype=torch.float32).reshape(-1, 1))


def windows(name, samples=1024, batch=16):
    """Windows of known timing and phase, cut from the still wave between its samples: (x, timing [batch], phase [batch])."""
    prior, period, _ = SOURCES[name]
    timing, phase = (torch.rand(batch, generator=generator(seed), dtype=torch.float64) for seed in (3, 4))
    timing, phase = timing * period, 2 * torch.pi * phase
    x = torch.cat([alone(replace(prior, timing=float(t), phase=float(p)), 1, samples, generator(i))[0]
                   for i, (t, p) in enumerate(zip(timing, phase))])
    return x, timing.float(), phase.float()


def apart(a, b, period):
    """The greatest difference of numbers that are known modulo a period."""
    return float(((a - b + period / 2) % period - period / 2).abs().max())


# ---- found in the window ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "noise_var", "timing_off", "phase_off"), [
    ("gmsk", 0.0, 0.1, 0.02), ("gmsk", 0.5, 0.25, 0.08), ("gmsk", 2.0, 0.5, 0.2),
    ("dsss", 0.0, 0.15, 1e-4), ("dsss", 0.5, 0.2, 0.06), ("dsss", 2.0, 0.25, 0.12)])
def test_timing_and_phase_are_found_in_a_window(name, noise_var, timing_off, phase_off):
    """1024 samples, symbols unknown. DSSS: up to half a turn. GMSK's squares turn by half a turn each symbol: a symbol later is
    the same as a quarter turn, which is which hangs on the symbols before."""
    x, timing, phase = windows(name)
    found, turn = locate(x + noise_var ** 0.5 * noise(x.shape, generator(5)), table_of(name))
    assert found.dtype == turn.dtype == torch.float32 and found.shape == turn.shape == (16,)
    period, symmetry = (4, 4) if name == "gmsk" else (25, 2)
    assert apart(found, timing, period) < timing_off
    assert apart(turn, phase, 2 * torch.pi / symmetry) < phase_off
    assert bool((found > -1).all()) and bool((found < SOURCES[name][1] + 1).all())


def test_gmsk_laid_where_it_was_found_has_the_table_of_the_still_wave():
    """Timing and phase belong together: moved and turned by both, every window has the sign of squares that the table has."""
    x = windows("gmsk")[0]
    timing, phase = locate(x, table_of("gmsk"))
    for row in range(len(x)):
        there = on_grid(lambda y, presence: y, 8, turned(x[row:row + 1], -phase[row]), torch.zeros(1))
        moved = torch.nn.functional.pad(there, (8 - round(float(timing[row])), 0))
        likeness = (pseudo_covariance(moved, 8, 16) * table_of("gmsk").conj()).sum() / table_of("gmsk").abs().square().sum()
        assert likeness.real > 0.6 and likeness.imag.abs() < 0.2


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize(("later", "phase"), [(1, 0.0), (3, 0.7), (8, -1.2), (29, 3.0)])
def test_what_is_found_follows_shifts_and_turns(name, later, phase):
    """So many samples later and turned: timing and phase differ by just that, noise or no noise."""
    x = windows(name)[0]
    x = x + noise(x.shape, generator(6))
    period = SOURCES[name][1]
    before = locate(x, table_of(name))
    after = locate(turned(torch.nn.functional.pad(x, (later, 0)), phase), table_of(name))
    assert apart(after[0], before[0] + later, period) < 1e-3
    assert apart(after[1], before[1] + phase, torch.pi) < 1e-3


@pytest.mark.parametrize("period", [1, 2, 5, 8])
def test_tables_of_any_period_find_themselves(period):
    """Periods of one sample, odd and even: a long wave of white noise whose squares follow a table is found to lie still, and
    later by what it is moved."""
    shape = 1 + 0.9 * torch.cos(2 * torch.pi * torch.arange(period) / period) if period > 1 else torch.ones(1)
    x = torch.randn(1, 40_000, generator=generator()) * shape.repeat(40_000 // period) + 0j
    table = pseudo_covariance(x, period, 2)
    for later in range(period):
        timing, phase = locate(torch.nn.functional.pad(x, (later, 0)), table)
        assert apart(timing, torch.tensor([float(later)]), period) < 0.05 and apart(phase, torch.zeros(1), torch.pi) < 0.01


@pytest.mark.parametrize("samples", [1, 3, 8, 15, 16, 17])
def test_windows_shorter_than_the_table_do_not_fail(samples):
    """As the end of a stream may be: lags that do not fit in are none, and a network that finds answers all the same."""
    x = alone(GMSK, 3, samples, generator())[0]
    timing, phase = locate(x, table_of("gmsk"))
    assert bool(torch.isfinite(timing).all()) and bool(torch.isfinite(phase).all())
    assert apart(locate(torch.nn.functional.pad(x, (0, 40)), table_of("gmsk"))[0], timing, 8) < 1e-3
    out = finder()(x, torch.ones(1, 1))
    assert out.shape == x.shape and bool(torch.isfinite(torch.view_as_real(out)).all())
    assert bool(torch.isfinite(torch.view_as_real(pseudo_covariance(x[0], 8, 16))).all())


@pytest.mark.parametrize("density", [torch.ones(1, 1), 0.2 + torch.rand(1, 1024, generator=generator())])
def test_what_an_estimate_has_slip_correction_by_is_made_good(density):
    """An estimate that lies 0.1 samples and 0.06 rad beside what is observed is laid over it to a hundredth of its error, by a
    laying that is free; by one that is sure of itself it stays; and noise that the observation carries is not let in."""
    late, ahead = 0.1, 0.06
    w = alone(replace(GMSK, timing=3.0, phase=0.2), 4, 1024, generator())[0]
    s = alone(replace(GMSK, timing=3.0 + late, phase=0.2 + ahead), 4, 1024, generator())[0]
    free, sure = torch.full((1, 2), 1e-3), torch.full((1, 2), 1e9)

    def error(x, ridge):
        return float(((w + slip_correction(x, w, 1 / density, ridge) - s)[:, 8:-8]).abs().square().mean())

    before = error(s, sure)
    assert before == pytest.approx(float((w - s)[:, 8:-8].abs().square().mean()), rel=1e-3)
    assert error(s, free) < 0.01 * before
    assert error(s + 0.3 * noise(s.shape, generator(2)), free) < 0.1 * before
    assert float(slip_correction(w, w, 1 / density, free).abs().max()) == 0


def test_sources_whose_squares_average_out_are_told_from_others():
    """BPSK and GMSK stand out by far; QPSK, OFDM and noise are what chance gives, about 1 (above 10 a network is a Finder)."""
    for name, (_, period, lags) in SOURCES.items():
        assert improper(pseudo_covariance(still(name), period, lags), 100_000) > 100
    for x, period in ((alone(QPSK, 1, 100_000, generator())[0], 16), (alone(OFDM, 1, 100_000, generator())[0], 80),
                      (noise((1, 100_000), generator()), 25)):
        assert improper(pseudo_covariance(x, period, 32), 100_000) < 3


def test_chance_does_not_make_qpsk_a_source_of_squares():
    """At 32 samples per symbol a table of squares is made of few independent ones: by chance it has five times their mean energy
    once in thirty recordings (these are of the worst), which is no reason to lay windows by it."""
    qpsk = LinearModulation(Signal("qpsk", 32, "rrc", 0.5, 4), 0.0, 0.0, 1.0)
    for seed in (5, 20):
        x = alone(qpsk, 1, 1 << 17, generator(seed))[0]
        assert 4 < improper(pseudo_covariance(x, 32, 32), 1 << 17) < CLEAR


# ---- the grid ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("room", [0, 8, 24])
@pytest.mark.parametrize("samples", [64, 101])
def test_laying_on_the_grid_undoes_itself(room, samples):
    """With a network that changes nothing the window comes back, whatever its offset, many windows of different offsets together
    or one at a time; the network sees whole hops, the source on its grid, and zeros where it sees nothing."""
    later, x, seen = torch.arange(-9, 27), noise((36, samples), generator()), []

    def network(y, presence):
        seen.append((y, presence))
        return y

    assert torch.equal(on_grid(network, 8, x, later, room), x)
    y, presence = seen[0]
    assert y.shape == presence.shape and y.shape[1] % 8 == 0 and y.shape[1] >= samples + 2 * room
    assert bool(((presence == 0) | (presence == 1)).all()) and presence.sum(1).tolist() == [samples] * 36
    assert y[presence == 0].abs().max() == 0
    begin = presence.argmax(1)
    assert bool(((begin + later) % 8 == 0).all()) and bool((begin >= room).all())
    for row, offset in enumerate(later):
        one = x[row:row + 1]
        assert torch.equal(on_grid(network, 8, one, offset.reshape(1), room), one)
        assert torch.equal(on_grid(network, 8, x, offset.reshape(1), room), x)      # one for all


def test_where_there_is_nothing_the_network_is_told_and_not_believed():
    """Samples marked absent: -1, unseen, and zero in the answer, also in the room around the window."""
    x, seen = noise((2, 40), generator()), []

    def network(y, presence):
        seen.append(presence)
        return y + 1

    out = on_grid(network, 8, x, torch.tensor([0, 3]), 16, lambda n: (n < 5) | (n > 30))
    assert out[:, :5].abs().max() == 0 and out[:, 31:].abs().max() == 0 and torch.equal(out[:, 5:31], x[:, 5:31] + 1)
    assert bool((seen[0][:, :16] == -1).all()) and (seen[0] == 1).sum(1).tolist() == [26, 26]


# ---- a network that finds -----------------------------------------------------------------------------------------------------

def finder(seed=1, **changes):
    """A Finder of GMSK with random weights."""
    torch.manual_seed(seed)
    denoiser = build({**FINDER, **changes})
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn_like(p))
    denoiser.spectrum = datasets.averaged(alone(GMSK, 64, 1024, generator())[0], 512)
    denoiser.pseudo = torch.view_as_real(table_of("gmsk")).float().contiguous()
    return denoiser.eval().requires_grad_(False)


def covariance():
    return Gaussian(GMSK.autocorrelation(np.arange(64))[None], sample_rate=1e6)


@pytest.fixture(params=["random weights", "shipped"])
def network(request):
    if request.param == "random weights":
        return finder()
    if not (SHIPPED / "gmsk.prior").exists():
        pytest.skip("priors/gmsk.prior is not there (yet)")
    return priors.load(SHIPPED / "gmsk.prior").network


def test_a_finders_answer_follows_a_turn(network):
    """Turned windows, turned answers, to rounding; but where the phase that is found passes half a turn the network sees the
    opposite sign, and answers alike up to its own errors."""
    x = alone(GMSK, 16, 640, generator())[0]
    x, density = x + noise(x.shape, generator(2)), torch.ones(1, 1)
    before, after = network(x, density), network(turned(x, 0.3), density)
    off = (turned(after, -0.3) - before).abs().square().mean(1)
    assert int((off < 1e-8).sum()) >= 8
    assert off.max() < 0.1 * before.abs().square().mean()


def test_a_finders_answer_follows_a_shift(network):
    """Inside windows that begin a few samples later, the same answer later, but for what the ends do to what is found and where
    it lies between two samples: nothing like what a network that takes all windows to lie alike would do."""
    x = alone(GMSK, 16, 680, generator())[0]
    x, density = x + noise(x.shape, generator(2)), torch.ones(1, 1)

    def fixed(window, density):
        return Denoiser.forward(network, window, density)

    def inside(answer, later):
        return answer(x[:, later:later + 640], density)[:, 160 - later:480 - later]

    for later in (1, 3, 8, 13):
        off, blind = ((inside(answer, later) - inside(answer, 0)).abs().square().mean(1) for answer in (network, fixed))
        assert off.median() < 4e-3 and off.max() < 0.1
        if later % 8:
            assert off.mean() < 0.5 * blind.mean()


@pytest.mark.parametrize(("key", "value", "word"), [
    ("pseudo_lags", "4", "whole number"), ("pseudo_lags", 0, "whole number"), ("pseudo_lags", 1.5, "whole number"),
    ("pseudo_lags", True, "whole number"), ("pseudo_lags", [4], "whole number"), ("white", 1, "true or false"),
    ("white", "yes", "true or false"), ("plain", 0, "true or false")])
def test_keys_of_another_type_are_refused_by_name(key, value, word):
    """A header that people edit: the message names the key and what it must be."""
    with pytest.raises(ParameterError, match=f"network: {key}: .*{word}"):
        build({**FINDER, key: value})
    with pytest.raises(ParameterError, match=f"unknown key '{key}' for kind 'diffwave'"):
        build({"kind": "diffwave", "channels": 4, "layers": 2, "cycle": 2, key: value})


def test_optional_keys_make_the_denoiser_that_they_name():
    """pseudo_lags a Finder with a table of that size, white one without colour; without them neither."""
    plain = {key: value for key, value in FINDER.items() if key != "pseudo_lags"}
    assert type(build(plain)) is Denoiser and not build(plain).finds and build(plain).coloured
    made = build({**FINDER, "white": True})
    assert type(made) is Finder and made.finds and not made.coloured and made.pseudo.shape == (8, 16, 2)
    assert build({**FINDER, "white": False}).coloured


def test_a_folder_gives_back_the_same_finder(tmp_path):
    """Table of squares and all: bit by bit the same answers, in white and in coloured noise."""
    made = with_network(covariance(), finder())
    priors.save(made, tmp_path / "g.prior", {"command": "by hand"})
    found, x = priors.load(tmp_path / "g.prior"), alone(GMSK, 3, 400, generator())[0]
    assert type(found.network) is Finder and found.takes_basis and found.learned
    assert torch.equal(found.network.pseudo, made.network.pseudo)
    assert torch.equal(found.denoise(x, 0.7), made.denoise(x, 0.7))
    assert torch.equal(found.denoise(x, Noise(0.01, SOI, 0.7)), made.denoise(x, Noise(0.01, SOI, 0.7)))
    assert not torch.allclose(found.denoise(x, 0.7), covariance().denoise(x, 0.7), atol=1e-2)
    assert torch.allclose(found.select(slice(1, 2)).denoise(x[1:2], 0.7), found.denoise(x, 0.7)[1:2], atol=1e-4)


def test_a_folder_whose_table_of_squares_has_another_size_is_refused(tmp_path):
    """pseudo_lags edited by hand: names the tensor, its shape and the one wanted."""
    priors.save(with_network(covariance(), finder()), tmp_path / "g.prior", {"command": "by hand"})
    header = tmp_path / "g.prior/prior.toml"
    header.write_text(header.read_text().replace("pseudo_lags = 16", "pseudo_lags = 8"))
    with pytest.raises(ParameterError, match=r"weights.safetensors.*pseudo"):
        priors.load(tmp_path / "g.prior")


# ---- training -----------------------------------------------------------------------------------------------------------------

def trained(monkeypatch, *arguments):
    monkeypatch.setattr(denoising_metrics, "curve", functools.partial(denoising_metrics.curve, levels=(1.0,), windows=2))
    tiny = ("--steps", 2, "--batch", 2, "--channels", 4, "--blocks", 1, "--window", 128, "--device", "cpu")
    result = CliRunner().invoke(app, list(map(str, ("train", *arguments, *tiny))))
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_prior_trained_in_white_noise_alone_is_separated_with_in_white_noise(tmp_path, monkeypatch):
    """--white is remembered: no preset that smooths in colour is chosen for it, and one that is asked for is refused."""
    (tmp_path / "gmsk.toml").write_text((SHIPPED / "gmsk.toml").read_text())
    trained(monkeypatch, "--synthetic", tmp_path / "gmsk.toml", "-o", tmp_path / "x.prior", "--white")
    prior, m = priors.load(tmp_path / "x.prior"), draw(SOI, GMSK, 2, 1280, -9.0, 20.0, 3)
    assert "white = true" in (tmp_path / "x.prior/prior.toml").read_text()
    assert not prior.takes_basis and prior.network.finds
    known = {"kappa": m.kappa, "noise_var": m.noise_var, "iterations": 3, "steps": 1, "tones": 0}
    out = separate(m.y, SOI, prior, "alpha_rgs", **known)
    assert torch.equal(out.symbols, separate(m.y, SOI, prior, "alpha_rgs", preset="white", **known).symbols)
    with pytest.raises(CapabilityError, match="white noise only.*white or paper"):
        separate(m.y, SOI, prior, "alpha_rgs", preset="fast", kappa=m.kappa, noise_var=m.noise_var)


def test_a_network_for_one_pass_is_not_trained_in_white_noise_alone(tmp_path):
    """amortised would refuse it: said before hours of training."""
    files = {"--synthetic": SHIPPED / "dsss.toml", "--against": SHIPPED / "rrc-qpsk.toml", "-o": tmp_path / "x.prior"}
    arguments = ["--white", *(word for pair in files.items() for word in pair)]
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    assert result.exit_code == 1 and result.stderr.startswith("error: --white: ") and "--against" in result.stderr
    assert result.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
