# SPDX-License-Identifier: GPL-3.0-or-later
"""Learned priors: what is stored, what the known structure does around the network, and who takes them."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.nets import build
from alpha_rgs.separators import separate
from alpha_rgs.sources import with_network
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import draw, paper_case
from alpha_rgs.streaming import Engine, report, separate_stream
from learned_priors import DIFFWAVE, OFDM, QPSK, SOI, covariance, fast, learned, saved, waves

DSSS = paper_case("dsss")[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: folder}; not to be changed."""
    top = tmp_path_factory.mktemp("priors")
    return {"linear": saved(top / "linear.prior", QPSK), "gaussian": saved(top / "gaussian.prior", covariance()),
            "diffwave": saved(top / "diffwave.prior", covariance(), "diffwave")}


# ---- folders ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["linear", "gaussian", "diffwave"])
def test_a_folder_gives_back_the_same_denoiser(folders, name):
    """Round trip: bit by bit the same answers, in white noise and (where it can) in coloured, and the rest of the prior too."""
    source = QPSK if name == "linear" else covariance()
    made, found, x = learned(source, "diffwave" if name == "diffwave" else "fast"), priors.load(folders[name]), waves(2, 200)
    assert type(found) is type(made) and found.learned and found.kind == source.kind
    assert torch.equal(found.denoise(x, 0.7), made.denoise(x, 0.7))
    assert not torch.allclose(found.denoise(x, 0.7), source.denoise(x, 0.7), atol=1e-2)     # it is the network's
    assert found.takes_basis == (name != "diffwave")
    if found.takes_basis:
        assert torch.equal(found.denoise(x, Noise(0.01, SOI, 0.7)), made.denoise(x, Noise(0.01, SOI, 0.7)))
        assert not torch.allclose(found.denoise(x, Noise(0.01, SOI, 0.7)), found.denoise(x, 0.7), atol=1e-2)
    else:
        with pytest.raises(CapabilityError, match="white noise only.*white or paper"):
            found.denoise(x, Noise(1e-4, SOI, 0.7))
    if name == "linear":
        assert (found.signal, found.timing, found.gain, found.symbols) == (QPSK.signal, 4.0, 1.0, None)
    else:
        assert np.allclose(found.table, covariance().table, atol=1e-7) and found.sample_rate == 1e6
    assert not any(p.requires_grad for p in found.network.parameters()) and not found.network.training
    assert type(priors.load(folders[name] / "prior.toml")) is type(made)        # as a file dialogue gives it


def test_levels_may_be_numbers_or_one_for_each_window(folders):
    """Separators hand over floats, tensors [batch] and [batch, 1]."""
    prior, x = priors.load(folders["linear"]), waves(3, 100)
    each = prior.denoise(x, torch.tensor([0.1, 1.0, 10.0]))
    assert torch.equal(each, prior.denoise(x, torch.tensor([[0.1], [1.0], [10.0]])))
    for row, level in enumerate((0.1, 1.0, 10.0)):
        assert torch.allclose(prior.denoise(x[row:row + 1], level), each[row:row + 1], atol=1e-5)
    assert torch.equal(prior.reconstruct(x, 0.5), prior.denoise(x, 0.5))
    assert torch.allclose(prior.score(x, 0.5), (prior.denoise(x, 0.5) - x) / 0.5)
    with pytest.raises(CapabilityError, match="ofdm"):
        prior.denoise(x, Noise(1e-4, OFDM, 0.5))


# ---- what is known besides ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("colour", [None, SOI])
@pytest.mark.parametrize(("later", "phase"), [(8, 0.0), (3, 1.1), (-5, -2.0), (131, 0.4), (-1, 3.0)])
def test_a_later_signal_is_denoised_alike_when_its_timing_says_so(folders, later, phase, colour):
    """A window that begins earlier or later in a turned signal, timing and phase set accordingly: inside, the same answer, turned
    and moved. The network's grid is laid where the timing is."""
    prior, y = priors.load(folders["linear"]), waves(2, 1600)
    begin, noise = 200, 1.0 if colour is None else Noise(0.1, colour, 1.0)
    here = prior.denoise(y[:, begin:begin + 1200], noise)
    turn = torch.polar(torch.ones(1), torch.tensor([phase]))
    moved = replace(prior, timing=prior.timing + later, phase=phase)
    there = moved.denoise(turn * y[:, begin - later:begin - later + 1200], noise)
    inside = slice(300, 900)
    assert (there[:, inside] - (turn * here)[:, 300 - later:900 - later]).abs().max() < 1e-3
    unmoved = replace(prior, phase=phase).denoise(turn * y[:, begin - later:begin - later + 1200], noise)
    if later % 8:
        assert (unmoved[:, inside] - (turn * here)[:, 300 - later:900 - later]).abs().max() > 1e-2


def test_a_carrier_offset_is_taken_off_and_put_back(folders):
    """A signal beside 0 Hz is denoised as it is at 0 Hz."""
    prior, y = priors.load(folders["linear"]), waves(2, 800)
    turn = torch.polar(torch.ones(800), 2 * torch.pi * 0.0123 * torch.arange(800) + 0.4)
    moved = replace(prior, carrier_offset=0.0123, phase=0.4)
    assert (moved.denoise(turn * y, 1.0) - turn * prior.denoise(y, 1.0)).abs().max() < 1e-4
    colour = replace(SOI, carrier_offset=0.05)
    there = moved.denoise(turn * y, Noise(0.01, replace(colour, carrier_offset=0.0623), 1.0))
    assert (there - turn * prior.denoise(y, Noise(0.01, colour, 1.0))).abs().max() < 1e-4


def test_each_window_may_have_its_own_timing_and_phase(folders):
    """As windows of one batch do: row by row the same as alone, with whole and with broken timings."""
    prior, x = priors.load(folders["linear"]), waves(4, 400)
    timing, phase = torch.tensor([4.0, 7.3, -2.0, 100.75]), torch.tensor([0.0, 1.0, -2.0, 3.0])
    out = replace(prior, timing=timing, phase=phase).denoise(x, 0.5)
    for row in range(4):
        alone_ = replace(prior, timing=float(timing[row]), phase=float(phase[row])).denoise(x[row:row + 1], 0.5)
        assert (alone_[0] - out[row])[50:-50].abs().max() < 1e-3
    rows = replace(prior, timing=timing, phase=phase).select(slice(1, 3))
    assert rows.network is prior.network and rows.timing.tolist() == timing[1:3].tolist()
    assert (rows.denoise(x[1:3], 0.5) - out[1:3])[:, 50:-50].abs().max() < 1e-3


def test_the_fraction_of_a_sample_reaches_the_network(folders):
    """A quarter of a sample later is no whole number: the network is told the rest."""
    prior, told = priors.load(folders["linear"]), []
    prior.network.register_forward_pre_hook(lambda module, arguments: told.append(arguments[2]))
    for timing, fraction in ((4.0, 0.0), (4.25, 0.25), (11.75, -0.25), (-3.6, 0.4), (1004.4, 0.4)):
        replace(prior, timing=timing).denoise(waves(1, 100), 1.0)
        assert told[-1].tolist() == pytest.approx([fraction], abs=1e-4)


def test_where_a_burst_does_not_reach_nothing_is_answered(folders):
    """Before its first pulse and after its last one the source is zero, whatever is received."""
    prior = replace(priors.load(folders["linear"]), timing=100.0, symbols=20)       # 84 ... 268
    out = prior.denoise(waves(2, 400), 1.0)
    assert out[:, :84].abs().max() == 0 and out[:, 269:].abs().max() == 0
    assert out[:, 84:269].abs().mean() > 0.05


@pytest.mark.parametrize("name", ["linear", "gaussian", "diffwave"])
def test_a_later_or_a_smaller_part_of_a_stream_keeps_the_network(folders, name):
    """at and select are how streams and batches are cut up."""
    prior, x = priors.load(folders[name]), waves(3, 200)
    later = prior.at(100)
    assert later.network is prior.network and later.learned and type(later) is type(prior)
    assert prior.select(slice(1, 2)).network is prior.network
    if name == "linear":
        assert later.timing == -96.0
        assert torch.equal(later.denoise(x, 1.0), replace(prior, timing=-96.0).denoise(x, 1.0))
    assert torch.allclose(prior.select(slice(1, 2)).denoise(x[1:2], 1.0), prior.denoise(x, 1.0)[1:2], atol=1e-5)
    assert prior.blocks((3, 200)) is None


def test_symbol_means_are_the_networks(folders):
    """α-RGS asks the SOI's prior for its symbols: through modulator, network and matched filter."""
    prior = priors.load(folders["linear"])
    r = waves(2, 25)

    def modulate(a):
        return prior.modulate(a, 200)

    out = prior.symbol_means(r, torch.tensor([[0.1], [0.3]]), modulate, prior.matched_filter)
    want = prior.matched_filter(prior.denoise(modulate(r), torch.tensor([0.8, 2.4])))
    assert out.shape == r.shape and torch.equal(out, want)
    assert not torch.allclose(out, QPSK.symbol_means(r, torch.tensor([[0.1], [0.3]]), modulate, None), atol=1e-2)


@pytest.mark.parametrize(("source", "table", "words"), [
    (QPSK, fast(4), ["stride, 4", "samples_per_symbol, 8"]), (QPSK, DIFFWAVE, ["stride"]), (OFDM, fast(4), ["ofdm"])])
def test_a_network_that_does_not_fit_the_source_is_refused(source, table, words):
    """Another grid, white noise only, or a structure that has no use for it."""
    with pytest.raises((ParameterError, CapabilityError)) as error:
        with_network(source, build(table))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(("name", "words"), [
    ("linear", ["linear-modulation", "Fast of", "white and coloured noise", "timing", "endless"]),
    ("gaussian", ["gaussian", "Fast of", "period", "sample_rate"]),
    ("diffwave", ["gaussian", "DiffWave of", "white noise only"])])
def test_a_learned_prior_is_described_in_words(folders, name, words):
    """For alpha-rgs info: the network's kind and size, and what is known besides."""
    prior = priors.load(folders[name])
    rows = report.prior_table(prior, report.given_keys(folders[name]))
    text = "\n".join(" ".join(row) for row in rows)
    for word in (*words, str(sum(p.numel() for p in prior.network.parameters()))):
        assert word in text
    assert all(isinstance(cell, str) for row in rows for cell in row) and "not given" not in text.replace("symbols", "")


# ---- separating -------------------------------------------------------------------------------------------------------------

def mixture(interference=OFDM, batch=2):
    return draw(SOI, interference, batch, 1280, -9.0, 20.0, 3)


@pytest.mark.parametrize("method", ["joint", "lmmse"])
def test_methods_that_know_structure_only_refuse_a_learned_prior_by_name(method):
    """They would not ask its network: say so, and what would; a stationary covariance is another matter."""
    m = mixture(DSSS)
    for soi, interference, role in ((learned(SOI), OFDM, "signal of interest"), (learned(SOI), DSSS, "signal of interest"),
                                    (SOI, learned(DSSS), "interference")):
        with pytest.raises(CapabilityError, match=f"{method}: the {role} is a learned prior.*alpha_rgs"):
            separate(m.y, soi, interference, method)
    with pytest.raises(CapabilityError, match=f"{method}.*gaussian"):
        separate(m.y, SOI, learned(covariance()), method)
    assert separate(m.y, SOI, learned(covariance()), "lmmse", covariance="stationary").soi.shape == m.y.shape


CASES = {
    "analytic under learned OFDM": lambda: (SOI, learned(covariance()), OFDM),
    "analytic under DiffWave OFDM": lambda: (SOI, learned(covariance(), "diffwave"), OFDM),
    "analytic under learned DSSS": lambda: (SOI, learned(DSSS), DSSS),
    "learned under analytic OFDM": lambda: (learned(SOI), OFDM, OFDM),
    "learned under analytic DSSS": lambda: (learned(SOI), DSSS, DSSS),
    "learned under learned DSSS": lambda: (learned(SOI), learned(DSSS), DSSS),
    "learned under DiffWave OFDM": lambda: (learned(SOI), learned(covariance(), "diffwave"), OFDM),
}


@pytest.mark.parametrize("case", CASES)
def test_separation_runs_from_end_to_end(case):
    """auto takes alpha_rgs; levels (and DSSS's timing and phase) are found by what is known besides the network; all is
    finite; the default preset is fast, or white for a network without colour."""
    soi, interference, true = CASES[case]()
    m = mixture(true)
    out = separate(m.y, soi, interference)
    assert out.method == "alpha_rgs"
    assert out.soi.shape == out.interference.shape == m.y.shape and out.symbols.shape == (2, 80)
    for part in (out.soi, out.interference, out.symbols):
        assert bool(torch.isfinite(torch.view_as_real(part)).all())
    assert bool(torch.isfinite(out.llrs).all()) and bool(torch.isfinite(out.quality).all())
    assert (out.kappa / m.kappa - 1).abs().max() < 0.2
    preset = "white" if "DiffWave" in case else "fast"
    again = separate(m.y, soi, interference, preset=preset)
    assert torch.equal(again.symbols, out.symbols) and again.evaluations == out.evaluations


def test_a_network_without_colour_cannot_do_the_fast_preset():
    """By name, with the presets that it can do; these run."""
    prior, m = learned(covariance(), "diffwave"), mixture()
    with pytest.raises(CapabilityError, match="white noise only.*white or paper"):
        separate(m.y, SOI, prior, "alpha_rgs", preset="fast")
    assert separate(m.y, SOI, prior, "alpha_rgs", preset="paper", iterations=3).evaluations == 3
    assert separate(m.y, learned(SOI), prior, "alpha_rgs", preset="paper", iterations=3).soi.shape == m.y.shape


def test_a_stream_is_separated_with_learned_priors():
    """Windows, and a short last one, through the engine: as many samples out as in."""
    soi = replace(SOI, symbols=None)
    m = draw(soi, OFDM, 1, 1024 * 3 + 1280 + 200, -9.0, 20.0, 1)
    out = separate_stream(m.y[0].numpy(), learned(soi), learned(covariance()), window=1280, hop=1024)
    assert out.method == "alpha_rgs" and len(out.soi) == len(out.interference) == m.y.shape[1]
    assert np.isfinite(out.soi).all() and np.isfinite(out.symbols).all() and len(out.symbols) == m.bits.shape[1] // 2


def test_windows_of_different_networks_are_not_batched_together(folders, tmp_path):
    """Same structure, other weights: another key. The same file, loaded by two callers: one key, so that windows share a
    batch."""
    other = priors.load(saved(tmp_path / "other.prior", QPSK, seed=2))
    one, same = priors.load(folders["linear"]), priors.load(folders["linear"])
    gaussian, diffwave = priors.load(folders["gaussian"]), priors.load(folders["diffwave"])
    with Engine(threads=1) as engine:
        keys = [engine.task(soi, gaussian).key for soi in (one, same, other, QPSK, learned(QPSK), learned(QPSK))]
        assert keys[0] == keys[1] and len(set(keys)) == 5           # networks without a file are each their own
        assert engine.task(SOI, gaussian).key != engine.task(SOI, diffwave).key
        assert engine.task(SOI, one).key != engine.task(SOI, replace(one, timing=5.0)).key
