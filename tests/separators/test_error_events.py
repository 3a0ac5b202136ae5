# SPDX-License-Identifier: GPL-3.0-or-later
"""Error events beside a Gaussian interference: what is told of a bit is the likelihood's, wrong decisions are mended, and error
rates that are told come true."""
import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.separators.base import soft_output
from alpha_rgs.separators.error_events import improved
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation
from alpha_rgs.sources.gaussian import Gaussian

SAMPLES, PERIOD = 2048, 8


def interference(width: int = 40) -> Gaussian:
    """Coloured noise, narrower than the signal."""
    pulse = np.hanning(width)
    table = np.correlate(pulse, pulse, "full")[width - 1:]
    return Gaussian(table=(table / table[0])[None])


def mixture(name, kappa, noise, seed, windows=1):
    """(y, symbols, SOI, interference): all known."""
    g, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    soi = LinearModulation(Signal(name, PERIOD, "rrc", 0.35, 8), 2.3, 0.4, 1.0, 0.002)
    count = soi.centred_symbols(SAMPLES)[1]
    symbols = soi.signal.alphabet.map(torch.randint(0, 2, (windows, count * soi.signal.alphabet.bits_per_symbol), generator=g))
    source = interference()
    root = np.linalg.cholesky(source.covariance(SAMPLES) + 1e-9 * np.eye(SAMPLES))
    white = (rng.normal(size=(2, windows, SAMPLES, 2)) * 0.5 ** 0.5) @ [1, 1j]
    y = soi.modulate(symbols, SAMPLES).numpy() + kappa * white[0] @ root.T + noise ** 0.5 * white[1]
    return torch.tensor(y, dtype=torch.complex64), symbols, soi, source


def test_a_single_flip_costs_what_the_likelihood_says():
    y, symbols, soi, source = mixture("bpsk", 0.3, 0.05, 1)
    _, ratios = improved(y, symbols, soi, source, torch.tensor([[0.3]]), torch.tensor([[0.05]]))
    inverse = np.linalg.inv(0.09 * source.covariance(SAMPLES) + 0.05 * np.eye(SAMPLES))

    def cost(a):
        rest = (y - soi.modulate(a, SAMPLES)).numpy()[0].astype(complex)
        return float((rest.conj() @ inverse @ rest).real)

    rest = (y - soi.modulate(symbols, SAMPLES)).numpy()[0].astype(complex)
    left = (rest.conj() * (inverse @ rest)).real
    for k in (60, 100, 150):
        flipped = symbols.clone()
        flipped[0, k] *= -1
        near = left[round(2.3 + 8 * k) - 128:][:257].mean()
        assert float(ratios[0, k, 0]) <= (cost(flipped) - cost(symbols)) / near * (1 + 1e-3)       # others may join


def test_wrong_decisions_are_mended():
    y, symbols, soi, source = mixture("qpsk", 0.5, 0.01, 2)
    wrong = symbols.clone()
    wrong[0, [70, 71, 120]] *= -1
    found, ratios = improved(y, wrong, soi, source, torch.tensor([[0.5]]), torch.tensor([[0.01]]))
    whole = slice(8, -8)
    assert torch.allclose(found[:, whole], symbols[:, whole], atol=1e-4) and bool((ratios >= 0).all())


@pytest.mark.parametrize("name, kappa, noise", [("qpsk", 1.4, 0.2), ("8psk", 0.6, 0.1)])
def test_told_error_rates_come_true(name, kappa, noise):
    """Before, a tenth was told of what was wrong."""
    y, symbols, soi, source = mixture(name, kappa, noise, 3, windows=6)
    out = separate(y, soi, source, kappa=kappa, noise_var=noise)
    alphabet = soi.signal.alphabet
    wrong = (alphabet.slice(out.symbols) != alphabet.slice(symbols)).float().mean()
    told = out.error_rate.mean()
    assert 0.02 < float(wrong) < 0.2 and 0.5 * wrong < told < 2 * wrong


def test_errors_that_come_and_go_are_told_where_they_are():
    """In a third of a window errors are ten times as strong: LLRs of one strength for all would be sure of what is wrong."""
    g = torch.Generator().manual_seed(4)
    alphabet = Signal("qpsk", PERIOD, "rrc", 0.35, 8).alphabet
    symbols = alphabet.map(torch.randint(0, 2, (8, 600), generator=g))
    var = torch.full((8, 300), 0.03)
    var[:, 100:200] = 0.4
    noisy = symbols + (var / 2).sqrt() * torch.view_as_complex(torch.randn(8, 300, 2, generator=g))
    source = LinearModulation(Signal("qpsk", PERIOD, "rrc", 0.35, 8), 0.0, 0.0, 1.0, 0.0)
    out = soft_output(source, noisy, torch.full((8, 1), 0.1), soi=None, interference=None,
                      evaluations=0, kappa=None, noise_var=None)
    share = torch.sigmoid(-out.llrs.abs()).mean(2)
    assert float(share[:, :80].max()) < 0.01 and 0.03 < float(share[:, 120:180].mean()) < 0.12
