# SPDX-License-Identifier: GPL-3.0-or-later
"""Separation against known truth, on small fixed cases."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.inference.symbol_chain import BlockChain
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Ofdm
from alpha_rgs.sources.mixtures import draw, paper_priors

SOI, OFDM = paper_priors()
STREAM, _ = paper_priors(symbols=None)


def errors(out, mixture, skip=0):
    wrong = SOI.signal.alphabet.slice(out.symbols) != mixture.bits
    return int(wrong[:, 2 * skip:wrong.shape[1] - 2 * skip].sum())


@pytest.mark.parametrize("sir_db, expected", [(-3, 2e-4), (-9, 6.7e-2), (-12, 0.15), (-24, 0.40)])
def test_matched_filter_has_the_known_error_rate(sir_db, expected):
    """The generator's scale, pulse and labels: a wrong one moves these figures."""
    mixture = draw(SOI, OFDM, 30, 2560, sir_db, seed=1)
    rate = errors(separate(mixture.y, SOI, OFDM, "matched_filter"), mixture) / mixture.bits.numel()
    assert abs(rate - expected) < 4 * np.sqrt(expected / mixture.bits.numel() * 4) + 1e-3


@pytest.mark.parametrize("sir_db", [-3, -12, -24])
def test_acquisition_finds_offset_phase_level_and_noise(sir_db):
    mixture = draw(SOI, OFDM, 20, 2560, sir_db, 20, seed=2)
    out = separate(mixture.y, SOI, OFDM, "matched_filter")
    truth = mixture.interference
    assert torch.equal(out.estimated["frame_offset"], truth.frame_offset)
    turns = (out.estimated["phase"] - truth.phase) * 4 / (2 * torch.pi)          # known up to a quarter turn
    assert float((turns - turns.round()).abs().max()) < 0.02
    assert float((out.kappa / mixture.kappa - 1).abs().max()) < 0.02
    assert float((out.noise_var / mixture.noise_var - 1).abs().max()) < 0.4


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("constellation", ["qpsk", "bpsk"])
@pytest.mark.parametrize("method, skip", [("joint", 0), ("alpha_rgs", 16)])
def test_separates_without_noise(method, skip, constellation):
    """joint also at the window's edges; alpha_rgs in the interior, where frames are whole."""
    _, ofdm = paper_priors(constellation)
    for sir_db in (-3, -12, -21):
        mixture = draw(SOI, ofdm, 10, 2560, sir_db, seed=3)
        out = separate(mixture.y, SOI, ofdm, method)
        assert errors(out, mixture, skip) == 0
        inside = slice(256, -256)
        assert float((out.soi - mixture.s)[:, inside].abs().square().mean()) < 1e-2
        assert float((out.interference - mixture.kappa * mixture.b)[:, inside].abs().square().mean()) < 1e-2


@pytest.mark.usefixtures("detector")
def test_joint_beats_lmmse_beats_matched_filter_in_noise():
    mixture = draw(SOI, OFDM, 20, 2560, -12, 20, seed=4)
    counts = [errors(separate(mixture.y, SOI, OFDM, m), mixture) for m in ("joint", "lmmse", "matched_filter")]
    assert counts[0] <= 4 and counts[0] < counts[1] / 5 and counts[1] < counts[2] / 3


@pytest.mark.slow
def test_quality_of_alpha_rgs_follows_the_true_error():
    """In noise the fast preset errs: it must say so."""
    true, said = [], []
    for sir_db, snr_db in ((-3, 20), (-12, 20), (-12, 10), (-6, 20), (-9, 5), (-24, 20)):
        mixture = draw(SOI, OFDM, 8, 2560, sir_db, snr_db, seed=15)
        out = separate(mixture.y, SOI, OFDM, "alpha_rgs")
        error = (out.symbols - SOI.signal.alphabet.map(mixture.bits)).abs().square().mean(1)
        true += (-10 * torch.log10(error)).tolist()
        said += out.quality.tolist()
    ranks = [np.argsort(np.argsort(v)) for v in (true, said)]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
    assert np.mean(said) - np.mean(true) < 3


@pytest.mark.usefixtures("detector")
def test_quality_follows_the_true_error_and_llrs_are_honest():
    """Over SNR and SIR, quality orders windows as their true SINR does; of the bits given 99 %, nearly all are right."""
    true, said, right, bits = [], [], 0, 0
    for sir_db, snr_db in ((-3, 20), (-12, 0), (-12, -5), (-6, 5), (-20, 10)):
        mixture = draw(SOI, OFDM, 8, 2560, sir_db, snr_db, seed=5)
        out = separate(mixture.y, SOI, OFDM, "joint")
        truth = SOI.signal.alphabet.map(mixture.bits)
        true += (-10 * torch.log10((out.symbols - truth).abs().square().mean(1))).tolist()
        said += out.quality.tolist()
        sure = out.llrs.flatten(1).abs() > np.log(99)
        right += int(((out.llrs.flatten(1) < 0) == mixture.bits.bool())[sure].sum())
        bits += int(sure.sum())
    ranks = [np.argsort(np.argsort(v)) for v in (true, said)]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
    assert right / bits > 0.97


def test_gaussian_carriers_need_no_constellation():
    mixture = draw(SOI, OFDM, 10, 2560, -9, 25, seed=6)
    blind = Ofdm(OfdmSignal(constellation="gaussian"))
    out = separate(mixture.y, SOI, blind, "joint")
    assert errors(out, mixture) < errors(separate(mixture.y, SOI, OFDM, "matched_filter"), mixture) / 10


@pytest.mark.usefixtures("detector")
def test_carrier_offsets_of_both_sources_are_used():
    soi = replace(STREAM, carrier_offset=0.003, phase=0.7, gain=2.5, timing=3.4)
    ofdm = replace(OFDM, carrier_offset=-0.001)
    mixture = draw(soi, ofdm, 4, 2560, -9, seed=7)
    for method in ("joint", "alpha_rgs"):
        assert errors(separate(mixture.y, soi, ofdm, method), mixture, 8) == 0, method


@pytest.mark.usefixtures("detector")
def test_channel_within_the_prefix():
    ofdm = Ofdm(OFDM.signal, channel=(1.0, 0.3j, -0.1), frame_offset=0)
    flat = torch.randint(0, 2, (1, 40 * 112), generator=torch.Generator().manual_seed(8))
    frames = OFDM.signal.modulate(OFDM.signal.alphabet.map(flat).reshape(1, 40, 56))[0].numpy()
    echoed = np.convolve(frames, ofdm.channel)[:2560] / np.sqrt(1.1)
    mixture = draw(STREAM, replace(OFDM, frame_offset=0, phase=0.0), 1, 2560, None, 30, seed=8)
    y = mixture.y + 3 * torch.tensor(echoed, dtype=torch.complex64)
    out = separate(y, STREAM, ofdm, "joint")
    assert errors(out, mixture, 4) == 0
    assert errors(separate(y, STREAM, OFDM, "joint"), mixture, 4) > 0


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("method", ["joint", "alpha_rgs", "lmmse", "matched_filter"])
def test_an_absent_source_gives_finite_output(method):
    """Nothing is divided by kappa; with no interference the SOI comes through."""
    alone = draw(SOI, OFDM, 3, 2560, None, 20, seed=9)
    out = separate(alone.y, SOI, OFDM, method, kappa=0.0)
    assert errors(out, alone) == 0
    assert bool(torch.isfinite(torch.view_as_real(out.soi)).all())
    estimated = separate(alone.y, SOI, OFDM, method)
    assert bool(torch.isfinite(torch.view_as_real(estimated.soi)).all())
    only = separate(alone.y - alone.s + 4 * alone.b, SOI, OFDM, method)
    assert bool(torch.isfinite(torch.view_as_real(only.interference)).all())


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("method", ["joint", "alpha_rgs"])
def test_symbols_per_symbol_of_five_and_a_long_pulse(method):
    """Nothing is special about 16: here a frame is no whole number of 7-sample symbols."""
    soi = replace(STREAM, signal=replace(SOI.signal, samples_per_symbol=7, span=8, rolloff=0.25), timing=2.0)
    mixture = draw(soi, OFDM, 2, 7 * 300, 3, 25, seed=10)
    out = separate(mixture.y, soi, OFDM, method)
    plain = separate(mixture.y, soi, OFDM, "matched_filter")
    assert errors(out, mixture, 20) <= errors(plain, mixture, 20)


@pytest.mark.usefixtures("detector")
def test_windows_of_a_stream_use_their_start():
    mixture = draw(STREAM, replace(OFDM, frame_offset=13, phase=0.4), 1, 2560 + 2048, -12, seed=11)
    windows = torch.stack([mixture.y[0, :2560], mixture.y[0, 2048:]])
    out = separate(windows, STREAM, mixture.interference, "joint", start=np.array([0, 2048]))
    wrong = SOI.signal.alphabet.slice(out.symbols)[1] != mixture.bits[0, 2 * 128:]
    assert int(wrong[32:-32].sum()) == 0


def test_chain_agrees_with_dense_inversion():
    g = torch.Generator().manual_seed(12)
    first, K, M = torch.tensor([0, 2, 5, 9, 0, 4]), 4, 13
    window = torch.tensor([0, 0, 0, 0, 1, 1])
    root = torch.randn(6, K, K, dtype=torch.complex128, generator=g)
    precision, info = root @ root.mH, torch.randn(6, K, dtype=torch.complex128, generator=g)
    site, shift = torch.rand(2, M, dtype=torch.float64, generator=g) + 0.1, torch.randn(2, M, dtype=torch.complex128, generator=g)
    dense, h = torch.diag_embed(site + 0j), shift.clone()
    for f in range(6):
        part = slice(int(first[f]), int(first[f]) + K)
        dense[window[f], part, part] += precision[f]
        h[window[f], part] += info[f]
    inverse = torch.linalg.inv(dense)
    mean, var, local = BlockChain(window, first, K, 2, M).solve(precision, info, site, shift)
    assert torch.allclose(mean, (inverse @ h[..., None])[..., 0])
    assert torch.allclose(var, inverse.diagonal(dim1=1, dim2=2).real)
    assert torch.allclose(local[2], inverse[0, 5:9, 5:9])


@pytest.mark.slow
def test_published_alpha_rgs_moves_towards_the_truth():
    mixture = draw(SOI, OFDM, 4, 2560, -12, seed=13)
    few = errors(separate(mixture.y, SOI, OFDM, "alpha_rgs", preset="paper", iterations=300), mixture)
    assert few < 0.8 * errors(separate(mixture.y, SOI, OFDM, "matched_filter"), mixture)


def test_same_seed_same_figures():
    mixtures = [draw(SOI, OFDM, 2, 2560, -12, 20, seed=14) for _ in range(2)]
    outs = [separate(m.y, SOI, OFDM, "alpha_rgs", preset="paper", iterations=20, seed=3) for m in mixtures]
    assert torch.equal(outs[0].soi, outs[1].soi)


@pytest.mark.parametrize("call, word", [
    (dict(mixture=torch.full((1, 2560), float("nan"))), "NaN"),
    (dict(mixture=torch.zeros(1, 40)), "shorter than the signal of interest's pulse"),
    (dict(method="magic"), "method"),
    (dict(method="alpha_rgs", preset="slow"), "preset")])
def test_bad_input_is_named(call, word):
    arguments = dict(mixture=torch.zeros(1, 2560), sources=SOI, interference=OFDM, method="joint") | call
    with pytest.raises(ParameterError, match=word):
        separate(**arguments)


def test_a_prior_without_the_capability_is_refused_by_name():
    y = draw(SOI, OFDM, 1, 2560, -3, seed=15).y
    with pytest.raises(CapabilityError, match="lmmse: separates one linear-modulation .*ofdm and ofdm"):
        separate(y, replace(OFDM, frame_offset=0, phase=0.0), OFDM, "lmmse", kappa=1.0, noise_var=0.1)
