# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites give back what they were made from, and never what would break an elimination."""
import torch
from alpha_rgs.inference.sites import Sites, schedule


def test_cavity_and_site_multiply_to_the_moments():
    g = torch.Generator().manual_seed(1)
    own, spread = torch.randn(4, 5, generator=g, dtype=torch.float64), 0.5 + torch.rand(4, 5, generator=g, dtype=torch.float64)
    mean, var = 0.5 * own, 0.3 * spread
    sites = Sites(torch.ones_like(own), torch.zeros_like(own))
    sites.update((mean, var), (own, spread), 1.0)
    total = 1 / spread + sites.precision
    assert torch.allclose(1 / total, var) and torch.allclose((own / spread + sites.shift) / total, mean)
    back = sites.cavity(mean, var)
    assert torch.allclose(back[0], own) and torch.allclose(back[1], spread)


def test_a_wider_posterior_leaves_a_positive_site():
    one = torch.ones(3)
    sites = Sites(one.clone(), 0 * one, least_site=1e-3)
    sites.update((0 * one, 2 * one), (one, one), 1.0)
    assert torch.allclose(sites.precision, torch.full((3,), 1e-3))


def test_what_is_not_there_keeps_its_site():
    exists = torch.tensor([True, False])
    sites = Sites(torch.tensor([1.0, 1e6]), torch.zeros(2), exists)
    sites.update((torch.ones(2), torch.full((2,), 0.1)), (torch.ones(2), torch.ones(2)), 0.5)
    assert sites.precision[0] > 1 and sites.precision[1] == 1e6 and sites.shift[1] == 0


def test_some_alone_are_updated():
    rows = torch.tensor([True, False, True])
    sites = Sites(torch.ones(3), torch.zeros(3))
    sites.update((torch.ones(2), torch.full((2,), 0.1)), (torch.ones(2), torch.ones(2)), 1.0, rows)
    assert sites.precision[1] == 1 and (sites.precision[rows] > 5).all()


def test_the_noise_falls_to_what_it_is_and_the_last_pass_leaves_no_sites():
    turns = list(schedule(6, 0.5, heat=16.0, settle=2))
    assert [turn.heat for turn in turns] == [16.0, 8.0, 4.0, 2.0, 1.0, 1.0]
    assert [turn.damping for turn in turns] == [0.5] * 5 + [None]
    assert [turn.damping for turn in schedule(2, 0.5, more=True)] == [0.5, 0.5]
