# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of soft symbols that are not Gaussian: what is told of a window beside a signal that is not listed."""
import pytest
import torch
from alpha_rgs.separators.error_shape import shaped
from alpha_rgs.signals.constellations import constellation

WINDOWS, SYMBOLS = 20, 128


def _received(name, errors):
    """(alphabet, sent, received) of drawn symbols and given errors [WINDOWS, SYMBOLS]."""
    alphabet, g = constellation(name), torch.Generator().manual_seed(3)
    sent = alphabet.points[torch.randint(0, len(alphabet.points), (WINDOWS, SYMBOLS), generator=g)]
    return alphabet, sent, sent + errors


def _told(llrs):
    return torch.sigmoid(-llrs.abs()).flatten(1).mean(1)


def _noise(power):
    return power ** 0.5 * torch.randn(WINDOWS, SYMBOLS, dtype=torch.complex64, generator=torch.Generator().manual_seed(4))


def _tone(amplitude):
    """A tone of some phase and frequency in each window, which no source stands for."""
    turns = torch.rand(WINDOWS, 2, generator=torch.Generator().manual_seed(5))
    phase = 2 * torch.pi * (turns[:, :1] + turns[:, 1:] * torch.arange(SYMBOLS))
    return torch.polar(torch.full_like(phase, amplitude), phase)


@pytest.mark.parametrize("name", ["qpsk", "8psk"])
def test_a_tone_that_never_reaches_a_threshold_is_not_told_as_errors(name):
    """Gaussian errors of that power would cross the thresholds in every twentieth bit: a window without a wrong bit was named."""
    alphabet, sent, received = _received(name, _tone(0.33 if name == "8psk" else 0.55) + _noise(1e-4))
    assert torch.equal(alphabet.slice(received), alphabet.slice(sent))
    var = torch.full(received.shape, 0.11 if name == "8psk" else 0.3)
    gaussian = alphabet.llrs(received, var).float()
    assert _told(gaussian).mean() > 0.02
    assert _told(shaped(alphabet, received, var, gaussian)).median() < _told(gaussian).median() / 4


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "8psk", "16qam"])
@pytest.mark.parametrize("wrong", [0.01, 0.1])
def test_gaussian_errors_stay_gaussian(name, wrong):
    """Noise must not be told as something that cannot do harm: the LLRs are the very same."""
    alphabet = constellation(name)
    power = {0.01: 0.05, 0.1: 0.2}[wrong] * alphabet.least_distance ** 2
    alphabet, _, received = _received(name, _noise(float(power)))
    var = torch.full(received.shape, float(power))
    gaussian = alphabet.llrs(received, var).float()
    assert torch.equal(shaped(alphabet, received, var, gaussian), gaussian)


def test_symbols_that_say_nothing_are_not_believed():
    """Noise alone, twice as strong as the alphabet: nothing bounded is seen in it."""
    alphabet = constellation("qpsk")
    received, var = _noise(2.0), torch.full((WINDOWS, SYMBOLS), 1.0)
    assert _told(shaped(alphabet, received, var, alphabet.llrs(received, var).float())).min() > 0.05


def test_no_symbols():
    """A window may hold none."""
    alphabet = constellation("qpsk")
    assert shaped(alphabet, torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0, 2)).shape == (2, 0, 2)
