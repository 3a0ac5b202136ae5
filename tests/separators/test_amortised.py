# SPDX-License-Identifier: GPL-3.0-or-later
"""One pass of a denoiser, and the priors that are shipped: as good as their provenance says, on mixtures and by themselves."""
import functools
import pathlib
import tomllib
from dataclasses import replace

import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError
from alpha_rgs.nets import build
from alpha_rgs.separators import separate
from alpha_rgs.sources import Gaussian, Gmsk, with_network
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import draw_case, paper_case
from alpha_rgs.training import datasets as sources
from alpha_rgs.training import denoising_metrics as yardstick

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "priors"
SHIPPED = sorted(path.name for path in FOLDER.glob("*.prior"))
SOI, DSSS = paper_case("dsss-noise")
OFDM = paper_case("ofdm-qpsk")[1]


@functools.cache
def load(name):
    if not (FOLDER / f"{name}.prior").exists():
        pytest.skip(f"priors/{name}.prior is not there (yet)")
    return priors.load(FOLDER / f"{name}.prior")


def learned(source, name):
    """What is known of a source, with a shipped network."""
    return with_network(source, load(name).network)


@functools.cache
def mixture(sir_db, windows=25, seed=1, case="dsss-noise"):
    return draw_case(case, windows, sir_db, seed=seed)


def wrong(out, m):
    """How many bits."""
    return int((m.soi.signal.alphabet.slice(out.symbols).reshape(len(out.symbols), -1) != m.bits).sum())


def sinr_db(out, m):
    """Of the soft symbols, per window."""
    sent = m.soi.signal.alphabet.map(m.bits.long()).reshape(out.symbols.shape)
    return -10 * torch.log10((out.symbols - sent).abs().square().mean(1))


def run(method, y, soi, interference, **options):
    """separate, the method first."""
    return separate(y, soi, interference, method, **options)


# ---- one pass ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sir_db", [-12, -18])
def test_one_pass_makes_hardly_more_errors_than_the_iterations(sir_db):
    """8000 bits under DSSS and noise: at most 1.5 times those of α-RGS with both learned priors, and a tenth of the matched
    filter's, by the network for mixtures and by the one for Gaussian noise too; the interference's denoiser is asked once."""
    m, soi = mixture(sir_db), learned(SOI, "rrc-qpsk")
    least = wrong(separate(m.y, soi, learned(DSSS, "dsss"), "alpha_rgs", preset="fast"), m)
    filtered = wrong(separate(m.y, soi, DSSS, "matched_filter"), m)
    for name in ("dsss-once", "dsss"):
        out = separate(m.y, soi, learned(DSSS, name), "amortised")
        assert out.evaluations == 1 and out.method == "amortised"
        assert wrong(out, m) <= 1.5 * least and wrong(out, m) < 0.1 * filtered
        assert out.soi.shape == out.interference.shape == m.y.shape and out.symbols.shape == (25, 160)
        for estimate, truth in ((out.soi, m.s), (out.interference, m.kappa * m.b)):
            assert (estimate - truth).abs().square().mean() < 0.1 * (m.y - truth).abs().square().mean()
        assert bool(torch.isfinite(out.llrs).all())
        assert torch.equal((out.llrs < 0).flatten(1), SOI.signal.alphabet.slice(out.symbols).reshape(25, -1) == 1)


def test_the_network_is_asked_once():
    """What `evaluations` claims."""
    asked, interference = [], learned(DSSS, "dsss-once")
    handle = interference.network.register_forward_pre_hook(lambda *_: asked.append(1))
    separate(mixture(-12).y[:2], SOI, interference, "amortised", kappa=4.0, noise_var=0.7)
    handle.remove()
    assert len(asked) == 1


def test_one_pass_of_an_analytic_prior():
    """The exact posterior mean of OFDM given Gaussian noise in the SOI's colour, no network anywhere."""
    m = mixture(-12, 8, case="ofdm-qpsk")
    out = separate(m.y, SOI, OFDM, "amortised")
    assert out.evaluations == 1 and wrong(out, m) <= 5
    assert wrong(out, m) < 0.05 * wrong(separate(m.y, SOI, OFDM, "matched_filter"), m)


def test_one_pass_where_there_is_no_interference():
    """kappa 0: the matched filter's symbols, nothing for the interference, and all finite."""
    m = mixture(0, 4)
    for interference in (m.interference, replace(learned(DSSS, "dsss-once"), timing=0.0, phase=0.0)):
        out = separate(m.s, SOI, interference, "amortised", kappa=0.0, noise_var=1e-3)
        plain = separate(m.s, SOI, interference, "matched_filter", kappa=0.0, noise_var=1e-3)
        assert out.interference.abs().max() == 0 and torch.allclose(out.symbols, plain.symbols, atol=1e-5)
        assert bool(torch.isfinite(torch.view_as_real(out.soi)).all()) and bool(torch.isfinite(out.quality).all())


def test_windows_of_different_levels_go_together():
    """Each row by its own level: as alone, but for what differs by less than 5 %."""
    first, second = mixture(-6, 8, 3), mixture(-15, 8, 3)
    interference, y = learned(DSSS, "dsss-once"), torch.cat([first.y[:2], second.y[:2]])
    both = separate(y, SOI, interference, "amortised")
    for m, rows in ((first, slice(0, 2)), (second, slice(2, 4))):
        alone = separate(m.y[:2], SOI, interference, "amortised")
        assert (both.symbols[rows] - alone.symbols).abs().square().mean() < 0.01
        assert (both.quality[rows] - alone.quality).abs().max() < 0.2


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_a_louder_mixture_is_separated_alike(gain):
    """Gain is all that differs: the same symbols, by one pass and by iterations that begin with one."""
    m, soi = mixture(-3, 4), learned(SOI, "rrc-qpsk")
    for method, interference, options in (("amortised", learned(DSSS, "dsss-once"), {}), ("alpha_rgs", learned(DSSS, "dsss"), {
            "preset": "fast", "evaluations": 1, "tones": 0, "amortised": load("dsss-once")})):
        one, other = (run(method, g * m.y, replace(soi, gain=g), interference, **options) for g in (1.0, gain))
        assert torch.allclose(other.symbols, one.symbols, atol=1e-4) and torch.allclose(other.soi / gain, one.soi, atol=1e-3)


def test_denoisers_without_colour_are_refused():
    """GMSK's exact one, DiffWave, one trained with --white: by name, with what would do."""
    m = mixture(-12)
    network = build({"kind": "diffwave", "channels": 4, "layers": 2, "cycle": 2})
    covariance = Gaussian(OFDM.autocorrelation(range(80))[None])
    table = {**load("dsss-once").network.table, "white": True, "plain": False}
    for interference in (Gmsk(timing=0.0, phase=0.0), with_network(covariance, network), replace(
            with_network(DSSS, build(table)), timing=0.0, phase=0.0)):
        with pytest.raises(CapabilityError, match="amortised: .*white noise only.*takes a colour"):
            separate(m.y[:1], SOI, interference, "amortised", kappa=4.0, noise_var=0.7)
    with pytest.raises(CapabilityError, match="amortised: separates one linear-modulation .*ofdm and gmsk"):
        separate(m.y[:1], OFDM, Gmsk(), "amortised")


def test_quality_is_the_error_that_was_made():
    """Estimated from decisions alone, it orders windows of all ratios, and is right to 1 dB where most bits are."""
    soi, interference, found = learned(SOI, "rrc-qpsk"), learned(DSSS, "dsss-once"), []
    for sir_db in (-24, -18, -12, -6, 0):
        m = mixture(sir_db, 8)
        out = separate(m.y, soi, interference, "amortised")
        assert (out.quality - sinr_db(out, m)).abs().max() < 1
        found.append((float(out.quality.min()), float(out.quality.max())))
    assert all(a[1] < b[0] for a, b in zip(found, found[1:]))


# ---- one pass, then α-RGS ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sir_db", [-12, -18])
def test_a_first_pass_costs_one_evaluation_and_no_errors(sir_db):
    """Option `amortised`: one evaluation more, and with one of the iterations' own no more errors, but for one in 300."""
    m, soi, interference = mixture(sir_db), learned(SOI, "rrc-qpsk"), learned(DSSS, "dsss")
    for more, count in (({"evaluations": 1}, 1), ({"evaluations": 1, "levels": (0.3, 0.3)}, 1), ({}, 4)):
        options = {"preset": "fast", "tones": 0, **more}
        without, started = (run("alpha_rgs", m.y, soi, interference, **options, **first) for first in (
            {}, {"amortised": load("dsss-once")}))
        assert (without.evaluations, started.evaluations) == (count, count + 1)
        assert wrong(started, m) <= 1.05 * wrong(without, m) + 1


def test_a_first_pass_is_told_the_same_whatever_the_gain():
    """The density that the network for mixtures is told is relative to the interference: that of the same mixture, louder."""
    m, told, once = mixture(-3, 4), [], load("dsss-once")
    handle = once.network.register_forward_pre_hook(lambda module, arguments: told.append(arguments[1]))
    for gain in (1.0, 10.0):
        run("alpha_rgs", gain * m.y, replace(SOI, gain=gain), learned(DSSS, "dsss"), evaluations=1, tones=0, amortised=once)
    handle.remove()
    half = len(told) // 2               # windows of unlike levels are asked for by themselves
    assert half and all(torch.allclose(a, b, rtol=1e-3) for a, b in zip(told[:half], told[half:], strict=True))
    shape = torch.tensor(SOI.psd(512), dtype=torch.float32)
    assert torch.allclose(told[0], (10 ** -0.3 * shape + 10 ** -1.35)[None], rtol=0.15, atol=0.01)


# ---- the priors that are shipped ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sir_db", [-24, -21, -18, -15, -12, -9, -6, -3])
def test_learned_priors_separate_as_the_exact_ones(sir_db):
    """2560 bits: as many wrong as with both exact denoisers, give or take one in twenty and three, in no more than four
    evaluations."""
    m = mixture(sir_db, 8, 2)
    out = separate(m.y, learned(SOI, "rrc-qpsk"), learned(DSSS, "dsss"), "alpha_rgs", preset="fast")
    exact = wrong(separate(m.y, SOI, DSSS, "alpha_rgs", preset="fast"), m)
    assert abs(wrong(out, m) - exact) <= 3 + 0.05 * exact and out.evaluations <= 4


@pytest.mark.parametrize("sir_db", [-24, -12])
def test_learned_priors_separate_in_white_noise_too(sir_db):
    """Newton steps, DSSS without noise: none of 1280 bits more than with the exact priors, though a network's Jacobian is not the
    certainty that it looks like (smoothed as little as an exact one's: 73 wrong at -24 dB)."""
    m = mixture(sir_db, 4, case="dsss")
    out = separate(m.y, learned(SOI, "rrc-qpsk"), learned(DSSS, "dsss"), "alpha_rgs", preset="white")
    assert wrong(out, m) <= wrong(separate(m.y, SOI, DSSS, "alpha_rgs", preset="white"), m) + 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_prior_is_whole(name):
    """It loads, is small, has a report with its picture, and tells the command that made it, without anyone's folders."""
    folder = FOLDER / name
    prior, header = priors.load(folder), tomllib.loads((folder / "prior.toml").read_text())
    picture = "denoising.png" if prior.learned else "spectrum.png"
    assert sorted(p.name for p in folder.iterdir()) == sorted(["prior.toml", "report.md", "weights.safetensors", picture])
    assert sum(p.stat().st_size for p in folder.iterdir()) < 16e6
    assert (folder / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    command = header["provenance"]["command"]
    assert command.startswith("alpha-rgs train " if prior.learned else "alpha-rgs fit ")
    report = (folder / "report.md").read_text()
    assert picture in report and (command in report or not prior.learned)
    assert all((FOLDER / word).exists() for word in command.split() if word.endswith(".toml"))     # it can be repeated
    for text in (command, report, *header["provenance"]["recordings"]):
        assert "/home" not in text and "/work" not in text and "/tmp" not in text
    if prior.kind == "ofdm-bursts":         # decides carriers, has no denoiser of waveforms
        assert prior.learned and not prior.network.training
    elif prior.learned:
        assert prior.takes_basis and not prior.network.training
        x = torch.randn(2, 700, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
        if prior.kind == "linear-modulation":
            prior = replace(prior, timing=3.0, phase=0.0)
        assert bool(torch.isfinite(torch.view_as_real(prior.denoise(x, Noise(0.05, SOI, 1.0)))).all())


@pytest.mark.parametrize(("name", "source", "level", "worse_db"), [
    ("rrc-qpsk", SOI, 5.0, 0.5), ("dsss", DSSS, 14.0, 0.5), ("gmsk", Gmsk(), 2.5, 0.5)])
def test_a_shipped_denoiser_is_nearly_exact(name, source, level, worse_db):
    """At the noise at which the exact posterior mean errs by about -10 dB (16 windows), the network by no more than half a
    decibel more, and by far less than the best filter."""
    network = load(name).network
    windows = sources.Drawn(source, 1024) if source.kind == "gmsk" else sources.Linear(
        source, 2560 // source.signal.samples_per_symbol, network.net.kernel)
    point, = yardstick.curve(network, windows, source, levels=(level,), windows=16)
    assert -11.5 < point.exact < -8.5
    assert -0.2 < point.gap < worse_db and point.network < point.linear - 3
