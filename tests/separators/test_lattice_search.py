# SPDX-License-Identifier: GPL-3.0-or-later
"""What α-RGS's search promises: moves learned from a denoiser lead to waveforms of the source, and decisions fit better."""
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.inference.moves import block_moves
from alpha_rgs.separators import lattice_search
from alpha_rgs.signals.constellations import NAMES, constellation
from alpha_rgs.sources.mixtures import draw, draw_case, paper_case, paper_priors

SOI, OFDM = paper_priors()
LEVEL = 1e-4


def errors(case, sir_db, esn0_db, windows, seed=7, **options):
    mixture = draw_case(case, windows, sir_db, esn0_db - 10 * np.log10(16), seed=seed)
    out = separate(mixture.y, *paper_case(case), "alpha_rgs", **options)
    wrong = mixture.soi.signal.alphabet.slice(out.symbols) != mixture.bits
    return int(wrong[:, 32:-32].sum()), out


def learned(case, windows=3, tones=5):
    mixture = draw_case(case, windows, -12, 30, seed=3)
    source = mixture.interference
    b = source.denoise(mixture.b, LEVEL)
    blocks = source.blocks(b.shape)
    moves = block_moves(lambda x: source.denoise(x, LEVEL), b, blocks,
                                lattice_search.signal_band(mixture.soi, blocks.length, b.device), tones)
    return mixture, b, blocks, moves


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gaussian"])
def test_fit_is_the_distance_to_the_nearest_point(name):
    x = 2 * torch.randn(50, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    distance = (x[:, None] - constellation(name).points).abs().square().amin(1)
    assert torch.allclose(constellation(name).fit(x), x.abs().square() - distance, atol=1e-5)


@pytest.mark.parametrize(("case", "enough"), [("ofdm-qpsk", 7), ("ofdm-bpsk", 3.5)])
def test_moves_lead_from_one_waveform_of_the_source_to_another(case, enough):
    mixture, b, blocks, moves = learned(case)
    whole = blocks.inside.all(-1)
    exists = (moves.abs().square().sum(-1) > 0) & whole[..., None]
    assert exists.sum() > enough * whole.sum()
    stays = []
    for j in range(moves.shape[2]):
        x = b + blocks.join(moves[:, :, j])
        left = blocks.cut(mixture.interference.denoise(x, LEVEL) - x).abs().square().sum(-1)
        stays.append((left < 1e-2 * moves[:, :, j].abs().square().sum(-1))[exists[..., j]])
    assert torch.cat(stays).float().mean() > 0.97


def test_moves_find_every_bit_of_the_carriers_under_the_signal():
    """Four carriers of QPSK lie within a decibel or three of the signal's spectrum: eight moves, each one bit of one of them."""
    mixture, b, blocks, moves = learned("ofdm-qpsk")
    turn = torch.polar(torch.ones(len(b)), mixture.interference.phase.float())[:, None, None, None]
    carriers = (moves * turn.conj()) @ torch.linalg.pinv(torch.tensor(mixture.interference.matrix)).to(torch.complex64).mT
    near = np.isin(mixture.interference.signal.carriers, (-2, -1, 1, 2))
    bits = torch.view_as_real(carriers)[..., near, :].flatten(3).abs() > 1
    alone = bits & (bits.sum(-1, keepdim=True) == 1)
    assert alone.any(2).sum(-1)[blocks.inside.all(-1)].float().mean() > 7.8


def test_the_decision_is_the_best_of_all():
    """Against all combinations of few moves, on a short window: |y - H·a - kappa·b|² with the nearest symbols."""
    g = torch.Generator().manual_seed(5)
    mixture = draw(SOI, OFDM, 2, 640, -10, -2, seed=5)
    source, kappa = mixture.interference, mixture.kappa
    b = source.denoise(mixture.b, LEVEL)
    blocks = source.blocks(b.shape)
    moves = block_moves(lambda x: source.denoise(x, LEVEL), b, blocks, lattice_search.signal_band(SOI, 80, b.device), 5)
    keep = torch.zeros(moves.shape[:3])
    keep[:, 3:5, :4] = 1                            # eight moves in two neighbouring blocks
    moves = kappa * moves * keep[..., None]
    picked = (torch.rand(keep.shape, generator=g) < 0.5) * keep     # some were made wrongly before
    rest = mixture.y - kappa * b + blocks.join((moves * picked[..., None]).sum(2))
    found = lattice_search.decide(rest, moves, SOI, blocks, torch.full((2, 1), 1e-3))
    for i in range(2):
        best = (np.inf, None)
        for bits in itertools.product((0, 1), repeat=8):
            taken = torch.zeros_like(moves[i, :, :, :1])
            taken[3:5, :4, 0] = torch.tensor(bits, dtype=torch.complex64).reshape(2, 4)
            change = torch.zeros_like(moves[:, :, 0])
            change[i] = (moves[i] * taken).sum(1)
            left = (rest - blocks.join(change))[i:i + 1]
            a = SOI.signal.alphabet.nearest(SOI.matched_filter(left))
            best = min(best, (float((left - SOI.modulate(a, 640)).abs().square().sum()), a), key=lambda pair: pair[0])
        # the pulses are orthogonal but for a few per cent, so two decisions may be told apart by less than the search sees
        assert (found[i] - best[1][0]).abs().gt(1e-3).sum() <= 1


@pytest.mark.parametrize(("case", "most"), [("ofdm-qpsk", 6), ("ofdm-bpsk", 6)])
def test_the_search_mends_what_iterations_get_wrong_in_noise(case, most):
    without, _ = errors(case, -12, 14, 12, tones=0)
    within, out = errors(case, -12, 14, 12)
    assert without > 20 and within <= most
    assert out.evaluations <= 20


def test_white_iterations_are_searched_too():
    without, _ = errors("ofdm-qpsk", -12, 14, 6, preset="white", tones=0)
    within, out = errors("ofdm-qpsk", -12, 14, 6, preset="white")
    assert without > 10 and within <= 3
    assert out.evaluations <= 200


def test_nothing_is_searched_where_all_fits():
    """A stream without noise: one call to see that. Also where blocks are unknown (Gaussian or linear interference)."""
    soi = replace(SOI, symbols=None)
    stream = draw(soi, OFDM, 4, 2560, -12, seed=2)
    assert separate(stream.y, soi, OFDM, "alpha_rgs").evaluations == 5
    assert separate(draw_case("dsss", 2, -12, seed=1).y, *paper_case("dsss"), "alpha_rgs").evaluations == 4
    assert separate(stream.y, soi, OFDM, "alpha_rgs", tones=0).evaluations == 4


def test_windows_without_doubt_stay_as_they_are():
    mixture = draw_case("ofdm-qpsk", 6, -12, seed=4)
    a = SOI.signal.alphabet.map(mixture.bits)
    levels = (torch.full((6, 1), value) for value in (mixture.kappa, 1e-6))
    wrong = a.clone()
    wrong[2, 70:73] *= 1j
    found, rows, firm, calls = lattice_search.search(mixture.y, wrong, SOI, mixture.interference, *levels)
    assert 2 in rows and len(rows) < 6 and calls == 11
    assert torch.equal(found[rows][firm], a[rows][firm])
    others = [i for i in range(6) if i not in rows]
    assert torch.equal(found[others], a[others])
