# SPDX-License-Identifier: GPL-3.0-or-later
"""LLRs of several sources that are detected jointly: symbols that are wrong together are expected to be."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs.separators import separate
from alpha_rgs.separators.base import doubted, expected_near
from alpha_rgs.signals import OffsetQpsk as OffsetSignal
from alpha_rgs.sources import Ofdm, OffsetQpsk, from_dict
from alpha_rgs.sources.mixtures import alone, draw, noise


def test_doubt_is_added_to_what_is_expected():
    """A share of wrong bits besides makes LLRs smaller, never larger, and keeps their signs; none changes nothing."""
    llrs = torch.tensor([[[9.0, -0.1], [-3.0, 20.0]]])
    assert torch.allclose(doubted(llrs, torch.zeros(1, 2)), llrs)
    less = doubted(llrs, torch.full((1, 2), 0.01))
    assert bool((less.sign() == llrs.sign()).all()) and bool((less.abs() <= llrs.abs()).all())
    assert abs(float(torch.sigmoid(-less[0, 1, 1])) - 0.01) < 1e-4
    assert torch.allclose(expected_near(llrs, 1), torch.sigmoid(-llrs.abs()).mean((1, 2))[:, None].expand(1, 2))


def test_expected_errors_are_those_that_occur():
    """OQPSK under OFDM 5 dB stronger, all told: what its LLRs expect is within a factor of two of the bits that are wrong."""
    generator = torch.Generator().manual_seed(1401)
    s, own = alone(OffsetQpsk(OffsetSignal(8, "rrc", 0.35, 8)), 4, 2560, generator)
    b, beside = alone(Ofdm(), 4, 2560, generator)
    gain = 10 ** 0.25
    y = s + gain * b + noise(s.shape, generator)
    out = separate(y, [replace(own, gain=1.0), replace(beside, gain=gain)], noise_var=1.0)
    read, sent = out.sources[0], replace(own, gain=1.0).demodulator()(s, 1e-3)
    there = ~(read.at.isnan() | sent.at.isnan())
    assert torch.allclose(read.at[there], sent.at[there].to(read.at), atol=1e-3)
    wrong = float(((read.llrs < 0) != (sent.llrs < 0))[there].float().mean())
    expected = float(torch.sigmoid(-read.llrs[there].abs()).mean())
    assert 0.5 < expected / wrong < 2.0


@pytest.mark.parametrize("constellation", ["bpsk", "qpsk"])
def test_no_less_is_told_of_a_linear_modulation_under_gmsk_than_comes_true(constellation):
    """Errors of BPSK are real: taken for complex ones they told a third of the wrong bits."""
    soi = from_dict({"kind": "linear-modulation", "constellation": constellation, "samples_per_symbol": 16, "timing": 5.3,
                     "phase": 0.4, "gain": 1.0})
    other = from_dict({"kind": "gmsk", "samples_per_symbol": 8, "timing": 2.2, "phase": 1.1})
    m = draw(soi, other, 8, 2560, 0, -9 + 3 * (constellation == "qpsk"), seed=1402)
    out = separate(m.y, m.soi, m.interference, "joint", kappa=m.kappa, noise_var=m.noise_var)
    wrong = float(((out.llrs.reshape(8, -1) < 0) != m.bits[:, :out.llrs[0].numel()]).double().mean())
    assert 0.7 < float(out.error_rate.mean()) / wrong < 3.0
