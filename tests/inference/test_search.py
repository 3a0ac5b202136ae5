# SPDX-License-Identifier: GPL-3.0-or-later
"""What the searches and solves inside the separators promise, on small fixed cases."""
import importlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import ParameterError
from alpha_rgs.inference.decisions import marginal, stretch_energy
from alpha_rgs.inference.list_search import ListSearch
from alpha_rgs.separators.newton import conjugate_gradients
from alpha_rgs.signals.constellations import constellation
from alpha_rgs.signals.tree_search import list_mean
from alpha_rgs.sources import Source
from alpha_rgs.sources.mixtures import draw, draw_case, paper_case, paper_priors
from alpha_rgs.sources.ofdm_coloured import left_open

joint = importlib.import_module("alpha_rgs.separators.joint")       # the package has a function of that name
SOI, OFDM = paper_priors()


def esn0(value):
    """SNR per sample of 16 samples per symbol."""
    return value - 10 * np.log10(16)


def wrong_bits(out, mixture, skip=0):
    wrong = SOI.signal.alphabet.slice(out.symbols) != mixture.bits
    return int(wrong[:, 2 * skip:wrong.shape[1] - 2 * skip].sum())


def random_positive(n, d, generator):
    a = torch.randn(n, d, 2 * d, dtype=torch.complex128, generator=generator)
    return a @ a.mH / d


def problem(sir_db, es, windows=6, seed=5, passes=6):
    mixture = draw(SOI, OFDM, windows, 2560, sir_db, es and esn0(es), seed=seed)
    levels = (torch.full((windows,), v) for v in (mixture.kappa, mixture.noise_var))
    out = joint._Problem(mixture.y, SOI, mixture.interference, *levels)
    for _ in range(passes):
        out.infer(0.7)
    return mixture, out


def test_list_mean_is_the_posterior_mean_when_the_list_holds_all():
    g = torch.Generator().manual_seed(1)
    points = constellation("qpsk").points
    precision = random_positive(3, 3, g)
    factor = torch.linalg.cholesky(precision + torch.eye(3)).mH
    z = torch.randn(3, 3, dtype=torch.complex128, generator=g)
    every = points[torch.tensor(list(itertools.product(range(4), repeat=3)))].to(torch.complex128)
    energy = (z[:, None] - (factor[:, None] @ every[None, ..., None])[..., 0]).abs().square().sum(-1)
    expected = torch.softmax(-energy, 1).to(torch.complex128) @ every       # |c|² is the same for all
    got = list_mean(z.to(torch.complex64), factor.to(torch.complex64), points, 64)
    assert torch.allclose(got, expected.to(torch.complex64), atol=1e-4)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", pytest.param("16qam", marks=pytest.mark.slow), "gaussian"])
def test_what_a_denoiser_leaves_open_matches_a_simulation(name):
    g, alphabet = torch.Generator().manual_seed(2), constellation(name)
    var = np.array([0.05, 0.5, 5.0])
    n = torch.randn(200_000, dtype=torch.complex64, generator=g)
    c = torch.randn(200_000, dtype=torch.complex64, generator=g) if name == "gaussian" else \
        alphabet.points[torch.randint(len(alphabet.points), (200_000,), generator=g)]
    for v, left in zip(var, left_open(alphabet, var)):
        error = (alphabet.mean(c + v ** 0.5 * n, torch.tensor(v)) - c).abs().square().mean()
        assert abs(float(error) - left) < 0.02 * left + 2e-3


def test_integrating_out_is_exact():
    """Marginal precision and information against the joint mean of the dense system."""
    g = torch.Generator().manual_seed(3)
    precision, site = random_positive(2, 5, g), torch.rand(2, 3, generator=g, dtype=torch.float64) + 0.5
    information, shift = (torch.randn(2, n, dtype=torch.complex128, generator=g) for n in (5, 3))
    kept = torch.tensor([1, 3, 4])      # carrier 1, and two symbols
    inner, h = marginal(precision, information, site, shift, kept)
    full, right = precision.clone(), information.clone()
    for k in (0, 2):
        full[:, k, k] += site[:, k]
        right[:, k] += shift[:, k]
    assert torch.allclose(torch.linalg.solve(inner, h), torch.linalg.solve(full, right)[:, kept])


def test_search_never_accepts_a_worse_fit_and_finds_better_ones():
    """At -12 dB in noise expectation propagation alone errs where the truth fits better."""
    mixture, p = problem(-12, 14)
    search = ListSearch(p, 32)
    evidence = search.evidence()

    def energy(u):
        return sum(float(stretch_energy(u[w[:, None], at], j, h).sum()) for w, _, at, j, h in evidence)

    before = search.decided()
    found = search.search(evidence, before, torch.arange(6))
    assert energy(found) < energy(before) - 10
    none = torch.zeros(6, dtype=torch.bool)
    site = p.sites.precision.clone()
    assert not search.run(none).any() and torch.equal(p.sites.precision, site)      # windows not in doubt stay as they are
    assert search.run(~none).any()


@pytest.mark.parametrize("sir_db, es", [(-18, 14), (-12, 14)])
def test_search_mends_the_errors_of_expectation_propagation_in_noise(sir_db, es):
    mixture = draw(SOI, OFDM, 10, 2560, sir_db, esn0(es), seed=77)
    alone, searched = (wrong_bits(separate(mixture.y, SOI, OFDM, "joint", search=width), mixture, 16) for width in (0, 32))
    assert alone >= 5 and searched <= alone / 5


def test_search_leaves_a_mixture_without_noise_alone():
    """Decisions that fit are not searched: same result to the bit, and no window depends on its neighbours in a batch."""
    mixture = draw(SOI, OFDM, 4, 2560, -12, seed=6)
    outs = [separate(mixture.y, SOI, OFDM, "joint", search=width) for width in (0, 32)]
    assert torch.equal(outs[0].symbols, outs[1].symbols)


def test_search_in_one_window_leaves_its_neighbours_alone():
    """To the last digits: windows that share a batch are separate problems."""
    mixture = draw(SOI, OFDM, 8, 2560, -12, esn0(14), seed=77)
    both = separate(mixture.y, SOI, OFDM, "joint")
    for i in (0, 5):
        alone = separate(mixture.y[i:i + 1], SOI, OFDM, "joint")
        assert torch.allclose(both.symbols[i], alone.symbols[0], atol=1e-3)


def test_conjugate_gradients_solve_and_stop():
    g = torch.Generator().manual_seed(4)
    matrix = random_positive(3, 12, g) + torch.eye(12)
    right = torch.randn(3, 12, dtype=torch.complex128, generator=g)
    right[2] = 0        # solved before it begins: must not turn into NaN
    x, used = conjugate_gradients(lambda d: (matrix @ d[..., None])[..., 0], right, 100)
    assert used < 40
    assert torch.allclose(x, torch.linalg.solve(matrix, right), atol=1e-3)


@pytest.mark.parametrize("case, sir_db, most", [("ofdm-qpsk", -12, 8), ("ofdm-qpsk", -24, 8), ("ofdm-bpsk", -12, 4),
                                                ("dsss", -12, 0)])
def test_white_newton_steps_need_a_hundredth_of_the_evaluations(case, sir_db, most):
    soi, interference = paper_case(case)
    mixture = draw_case(case, 5, sir_db, seed=3)
    out = separate(mixture.y, soi, interference, "alpha_rgs", preset="white")
    assert out.evaluations <= 200
    assert wrong_bits(out, mixture) <= most


def test_white_asks_nothing_of_the_interference_but_its_denoiser():
    """A prior with `denoise` alone will do, as a network would be."""
    class Opaque(Source):
        kind = "diffusion"

        def __init__(self, prior):
            self.prior = prior

        def denoise(self, x, noise):
            return self.prior.denoise(x, self.white(noise))

        def at(self, start):
            raise AssertionError("no window begins later")

    mixture = draw(SOI, OFDM, 5, 2560, -18, seed=8)
    given = dict(kappa=mixture.kappa, noise_var=0.0, preset="white")
    opaque = separate(mixture.y, SOI, Opaque(mixture.interference), "alpha_rgs", **given)
    known = separate(mixture.y, SOI, mixture.interference, "alpha_rgs", tones=0, **given)     # the search needs its blocks
    assert torch.equal(opaque.symbols, known.symbols)


def test_omega_is_chosen_without_the_truth():
    newton = importlib.import_module("alpha_rgs.separators.newton")
    mixture = draw(SOI, OFDM, 4, 2560, -18, seed=9)
    levels = (torch.full((4, 1), v) for v in (mixture.kappa, 0.0))
    omega = newton.choose_omega(mixture.y, SOI, mixture.interference, *levels)
    assert omega in newton._CANDIDATES and omega >= 0.3     # 0.01 … 0.1 let the prior of the SOI outweigh the samples
    out = separate(mixture.y, SOI, OFDM, "alpha_rgs", preset="white", omega_ratio="auto")
    assert wrong_bits(out, mixture, 16) == 0


@pytest.mark.parametrize("option, value", [("omega_ratio", "best"), ("omega_ratio", 0), ("steps", 0), ("iterations", -1)])
def test_newton_names_the_option_that_is_wrong(option, value):
    mixture = draw(SOI, OFDM, 1, 2560, -12, seed=9)
    with pytest.raises(ParameterError, match=option):
        separate(mixture.y, SOI, OFDM, "alpha_rgs", preset="white", **{option: value})


def test_symbols_beyond_the_window_do_not_fill_the_list():
    """A window cut from a stream: symbols centred beyond its ends are hardly seen. When they were decided like the others, the
    search missed what it finds in a window that holds all its symbols."""
    stream = replace(SOI, symbols=None)
    mixture = draw(stream, OFDM, 8, 2560, -12, esn0(14), seed=1)
    assert wrong_bits(separate(mixture.y, stream, OFDM, "joint"), mixture, 16) == 0
