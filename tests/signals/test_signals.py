# SPDX-License-Identifier: GPL-3.0-or-later
"""Waveforms: scale, adjointness, and agreement with formulas that do not share their code."""
import numpy as np
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.signals import LinearModulation, Ofdm, constellation


def symbols(n, name="qpsk", batch=2, seed=0):
    c = constellation(name)
    bits = torch.randint(0, 2, (batch, n * c.bits_per_symbol), generator=torch.Generator().manual_seed(seed))
    return c.map(bits), bits.to(torch.uint8)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "8psk", "16qam", "64qam"])
def test_alphabet_has_unit_power_and_its_decisions_return_the_bits(name):
    a, bits = symbols(2000, name)
    assert abs(float(constellation(name).points.abs().square().mean()) - 1) < 1e-6
    assert torch.equal(constellation(name).slice(a), bits)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "8psk", "16qam"])
def test_posterior_and_llrs_agree_with_bayes_rule_summed_over_the_points(name):
    c, var = constellation(name), torch.tensor(0.3)
    x = torch.randn(50, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    p = torch.exp(-(x[:, None] - c.points).abs().square() / var)
    p = p / p.sum(1, keepdim=True)
    mean = (p * c.points).sum(1)
    second = (p * c.points.abs().square()).sum(1)
    got_mean, got_var = c.posterior(x, var)
    assert torch.allclose(got_mean, mean, atol=1e-5)
    assert torch.allclose(got_var, second - mean.abs().square(), atol=1e-5)
    log = -(x[:, None].to(torch.complex128) - c.points).abs().square() / var.double()
    p = torch.exp(log - log.max())
    zero, one = ((p[:, :, None] * mask).sum(1) for mask in (~c.labels, c.labels))
    assert torch.allclose(c.llrs(x, var).double(), torch.log(zero / one), atol=1e-3, rtol=1e-3)


def test_bit_zero_is_the_positive_side_in_phase_first():
    points = constellation("qpsk").map(torch.tensor([0, 0, 0, 1, 1, 0])).numpy() * np.sqrt(2)
    assert np.allclose(points, [1 + 1j, 1 - 1j, -1 + 1j], atol=1e-6)


@pytest.mark.parametrize("name", ["qpsk", "8psk", "16qam", "16apsk"])
def test_the_posterior_of_any_phase_is_that_of_points_turned_by_all_angles(name):
    """Carriers are decided beside symbols whose phase is not known yet; sums over a fine grid of angles say the same."""
    c, var = constellation(name), 0.2
    x = torch.tensor([0.1 + 0.05j, 0.9 - 0.3j, -1.4 + 0.2j, 0.0], dtype=torch.complex128)
    turned = (c.points.to(torch.complex128)[:, None] * torch.exp(2j * torch.pi * torch.arange(720) / 720)).flatten()
    weight = torch.softmax(-(x[:, None] - turned).abs().square() / var, 1)
    mean, spread = c.posterior_of_any_phase(x, torch.full((4,), var, dtype=torch.float64))
    expected = (weight * turned).sum(1)
    assert torch.allclose(mean, expected, atol=1e-4)
    assert torch.allclose(spread, (weight * turned.abs().square()).sum(1) - expected.abs().square(), atol=1e-4)


@pytest.mark.parametrize("timing", [8.0, 0.0, -37.3, 100.25])
@pytest.mark.parametrize("pulse", ["rrc", "rc", "rect"])
def test_modulation_is_the_sum_of_shifted_pulses(timing, pulse):
    signal = LinearModulation("qpsk", 8, pulse, 0.35, 6)
    a, _ = symbols(20)
    n = np.arange(150)
    expected = sum(np.outer(a[:, m].numpy(), signal.pulse_at(n - timing - 8 * m)) for m in range(20))
    assert np.allclose(signal.modulate(a, 150, timing).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("sps", [8, 5.3])
def test_a_raised_cosine_is_zero_at_all_other_symbols(sps):
    """And of unit power; its spectrum is the square of the root's."""
    signal = LinearModulation("8psk", sps, "rc", 0.6, 16)
    pulse = signal.pulse_at(sps * np.arange(-7, 8))
    assert np.allclose(pulse / pulse[7], np.arange(15) == 7, atol=1e-6)
    spectrum, root = (s.power_spectrum(4096) for s in (signal, LinearModulation("8psk", sps, "rrc", 0.6, 16)))
    assert abs(spectrum.mean() - 1) < 1e-3
    assert np.allclose(spectrum / spectrum[0], (root / root[0]) ** 2, atol=0.01)


def test_correlate_is_the_adjoint_of_modulate():
    signal = LinearModulation("qpsk", 5, "rrc", 0.3, 7)
    g = torch.Generator().manual_seed(3)
    a, x = torch.randn(1, 30, dtype=torch.complex64, generator=g), torch.randn(1, 111, dtype=torch.complex64, generator=g)
    left = (signal.modulate(a, 111, 12.4).conj() * x).sum()
    right = (a.conj() * signal.correlate(x, 30, 12.4)).sum()
    assert abs(left - right) < 1e-3


def test_sources_have_unit_mean_power():
    a, _ = symbols(2000)
    assert abs(float(LinearModulation().modulate(a, 32000, 8.0).abs().square().mean()) - 1) < 0.02
    c, _ = symbols(56 * 100)
    frames = Ofdm().modulate(c.reshape(2, 100, 56))
    assert abs(float(frames.abs().square().mean()) - 1) < 0.05


def test_ofdm_frame_starts_with_a_copy_of_its_end():
    c, _ = symbols(56)
    frame = Ofdm().modulate(c.reshape(2, 1, 56))
    assert torch.allclose(frame[:, :16], frame[:, 64:], atol=1e-5)
    spectrum = torch.fft.fft(frame[:, 16:])
    unused = [0, *range(29, 36)]
    assert float(spectrum[:, unused].abs().max()) < 1e-4


@pytest.mark.parametrize("kwargs, word", [
    (dict(samples_per_symbol=0.5), "between 1 and"), (dict(constellation="qam"), "constellation"), (dict(pulse="sinc"), "pulse"),
    (dict(rolloff=1.5), "rolloff"), (dict(span=0), "span")])
def test_wrong_linear_modulation_names_the_parameter(kwargs, word):
    with pytest.raises(ParameterError, match=word):
        LinearModulation(**kwargs)


@pytest.mark.parametrize("kwargs, word", [
    (dict(cyclic_prefix=80), "cyclic_prefix"), (dict(guards=(40, 40)), "guards"), (dict(constellation="foo"), "constellation")])
def test_wrong_ofdm_names_the_parameter(kwargs, word):
    with pytest.raises(ParameterError, match=word):
        Ofdm(**kwargs)
