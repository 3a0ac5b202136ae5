# SPDX-License-Identifier: GPL-3.0-or-later
"""The statements of docs/theory.md hold, for the engine's own step where they are about it."""
import numpy as np
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.signals import constellation
from alpha_rgs.sources.mixtures import draw, paper_priors

from benchmarks import objective_landscape as landscape
from benchmarks.objective_landscape import COMPLEX, FiniteSource

KAPPA = 10 ** (12 / 20)
QPSK = FiniteSource(constellation("qpsk").points.numpy())
IRREGULAR = FiniteSource(np.array([1.1 + 0.2j, -0.7 + 0.9j, -0.4 - 1.2j, 0.3 + 0.1j, 0.9 - 0.8j]))


def random(shape, seed):
    return torch.randn(shape, dtype=COMPLEX, generator=torch.Generator().manual_seed(seed))


def test_step_is_score_distillation_of_both_sources():
    """The gradient of the SDS loss, by automatic differentiation, is the step, the same draws on both sides."""
    s, y, draws = random(50, 1), random(50, 2), (random(50, 3), random(50, 4))
    for alpha_t, alpha_u, omega in ((0.99, 0.5, KAPPA ** 2), (0.3, 0.9988, 1.0)):
        snr_t, snr_u = alpha_t / (1 - alpha_t), alpha_u / (1 - alpha_u)
        theta = s.clone().requires_grad_()
        landscape.sds_loss(theta, y, KAPPA, QPSK.denoise, IRREGULAR.denoise, alpha_t, alpha_u, draws, omega).backward()
        means = (QPSK.denoise(s + draws[0] / snr_t ** 0.5, 1 / snr_t),
                 IRREGULAR.denoise((y - s) / KAPPA + draws[1] / snr_u ** 0.5, 1 / snr_u))
        step = landscape.direction(s, y, KAPPA, *means, snr_t, snr_u, omega / KAPPA ** 2)
        torch.testing.assert_close(-theta.grad, step, rtol=1e-9, atol=1e-9)


def test_mean_of_score_distillation_is_the_gradient_of_the_smoothed_objective():
    """-E log p(s̃) - omega·E log p(b̃), by automatic differentiation through the exact densities. Over draws and their
    negatives the drawn noise averages to zero, so both sides agree to rounding, not just in the limit."""
    s, y, v, omega = random(20, 1), random(20, 2), 0.4, KAPPA ** 2
    alpha, half = 1 / (1 + v), (random((200, 20), 3), random((200, 20), 4))
    draws = tuple(torch.cat([n, -n]) for n in half)
    theta = s.clone().requires_grad_()
    landscape.sds_loss(theta, y, KAPPA, QPSK.denoise, IRREGULAR.denoise, alpha, alpha, draws, omega).backward()
    exact = s.clone().requires_grad_()
    loss = -QPSK.log_density(exact + v ** 0.5 * draws[0], v) \
        - omega * IRREGULAR.log_density((y - exact) / KAPPA + v ** 0.5 * draws[1], v)
    loss.sum().backward()
    # automatic differentiation returns twice the gradient with respect to the conjugate
    torch.testing.assert_close(theta.grad / 400, exact.grad / 2 / 400, rtol=1e-8, atol=1e-8)


def test_published_preset_takes_the_score_distillation_step(monkeypatch):
    """The engine's first step, its noise recorded, is minus step times the gradient of the SDS loss at one of the 49 levels."""
    torch_randn, drawn = torch.randn, []

    def recorded(*args, **kwargs):
        drawn.append(torch_randn(*args, **kwargs))
        return drawn[-1]

    mixture = draw(*paper_priors(), 2, 2560, -12, seed=3)
    soi, ofdm, y, seen, asked = mixture.soi, mixture.interference, mixture.y, [], []
    denoise = ofdm.denoise
    monkeypatch.setattr(ofdm, "denoise", lambda x, v, **k: asked.append((x.clone(), float(v))) or denoise(x, v, **k))
    monkeypatch.setattr(torch, "randn", recorded)
    separate(y, soi, ofdm, "alpha_rgs", kappa=mixture.kappa, noise_var=0.0, preset="paper", iterations=1, step=(5e-3, 5e-3),
             callback=lambda i, s, eta: seen.append(s.clone()))
    monkeypatch.setattr(torch, "randn", torch_randn)
    start = soi.modulate(soi.signal.alphabet.nearest(soi.matched_filter(y)), 2560)
    by_length = {n.shape[1]: n for n in drawn if n.ndim == 2}
    kappa, best = torch.tensor(mixture.kappa, dtype=torch.float32), []
    input_u, var_u = asked[0]                                   # unit variance per real component: twice the level
    mean_u = denoise(input_u, var_u)
    for v in landscape.published_levels():
        alpha_t, alpha_u = 1 / (1 + v), 1 / (1 + var_u)

        def interference(x, var):       # at every t the same input, which is the engine's
            assert var == pytest.approx(var_u)
            torch.testing.assert_close(x, input_u, rtol=1e-4, atol=1e-4)
            return mean_u

        def pulse(x, var):      # noise inside the pulses' span; its level is that of a symbol
            return soi.modulate(soi.signal.alphabet.mean(soi.matched_filter(x), var), 2560)

        draws = (soi.modulate(by_length[160], 2560), by_length[2560])
        theta = start.clone().requires_grad_()
        # the published weight of b is that of the level per real component: twice the weight per complex sample
        landscape.sds_loss(theta, y, kappa, pulse, interference, alpha_t, alpha_u, draws, 2 * mixture.kappa ** 2).backward()
        best.append(float((start - 5e-3 * theta.grad - seen[0]).abs().square().mean()))
    moved = float((seen[0] - start).abs().square().mean())
    # the pulse is not quite orthogonal to its neighbours: matched filter and modulation undo each other to -38 dB
    assert min(best) < 1e-5 * moved


def test_smoothed_loss_has_the_gradient_that_the_fixed_point_states():
    s = random(8, 5)
    for source, v in ((QPSK, 0.3), (IRREGULAR, 0.1)):
        theta = s.clone().requires_grad_()
        source.smoothed_loss(theta, v).sum().backward()
        torch.testing.assert_close(theta.grad / 2, (s - source.smoothed_mean(s, v)) / v, rtol=1e-6, atol=1e-6)


def test_one_level_approaches_the_mode_exponentially():
    """Distance = |a_j - a_k|·sqrt(pi v)/(2d)·exp(-d²/4v), within the next order, 1/(d²/v)."""
    bpsk = FiniteSource([1.0, -1.0])
    for ratio in (30.0, 60.0, 120.0):
        shift = abs(landscape.stationary_point(bpsk, 1.0, [4 / ratio])[1])
        assert shift == pytest.approx(2 * landscape.pairwise_overlap(2.0, 4 / ratio), rel=4 / ratio)


@pytest.mark.parametrize("name", ["bpsk", "8psk", "16qam", "irregular"])
def test_averaged_levels_approach_the_mode_as_the_smallest_level(name):
    """A hundredth of the smallest level, a hundredth of the distance: slope 1, for every alphabet, larger levels fixed."""
    source = IRREGULAR if name == "irregular" else FiniteSource(constellation(name).points.numpy())
    mode = complex(source.points[int(source.points.abs().argmax())])
    far, close = (abs(landscape.stationary_point(source, mode, [low, 0.5, 2.6])[1]) for low in (1e-3, 1e-5))
    assert close < 1e-4 and far / close == pytest.approx(100, rel=0.05)


def test_wrong_decision_is_a_minimum_below_kappa_squared_only():
    """With sharp levels there is a minimum at (rho - 1)/(rho + 1), rho = omega/kappa², for rho < 1 and none for rho >= 1."""
    soi, other, kappa = FiniteSource([-1, 1]), FiniteSource([-3, -1, 1, 3]), 8.0
    s, y = torch.linspace(-1.5, 1.5, 601, dtype=torch.float64), 1 + kappa
    for rho in (0.1, 0.5, 1.0, 2.0):
        loss = landscape.two_source_loss(s.to(COMPLEX), y, kappa, soi, other, [1e-3], rho * kappa ** 2)
        low = landscape.local_minima(s, loss).tolist()
        expected = [(rho - 1) / (rho + 1), 1.0] if rho < 1 else [1.0]
        assert low == pytest.approx(expected, abs=0.02)


def test_descent_finds_the_truth_from_the_wrong_decision_at_kappa_squared():
    """...and stays at the wrong decision at omega = 1, as the paper's first figure says."""
    soi, other, kappa = FiniteSource([-1, 1]), FiniteSource([-3, -1, 1, 3]), 8.0
    y = torch.full((50,), 1 + kappa, dtype=COMPLEX)
    for weight, expected in ((1.0, 1.0), (1 / kappa ** 2, -1.0)):
        s = landscape.descend(y, kappa, soi.denoise, other.denoise, -torch.ones_like(y), [1e-2, 0.1], 200, step=(0.3, 0.01),
                              weight=weight, normalised=True)
        assert (s.real - expected).abs().max() < 0.1


def test_a_source_needs_two_values():
    with pytest.raises(ParameterError, match="points"):
        FiniteSource([1.0])
