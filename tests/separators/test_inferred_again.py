# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of joint detection whose first passes end in a wrong peak are inferred again, by hot and by slow passes."""
import importlib
from dataclasses import replace

import pytest
import torch
from alpha_rgs.separators import separate
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.sources import LinearModulation, Ofdm
from alpha_rgs.sources.mixtures import alone, noise

joint = importlib.import_module("alpha_rgs.separators.joint")
joint_linear = importlib.import_module("alpha_rgs.separators.joint_linear")
SAMPLES, EDGE, KAPPA, ES_N0_DB = 4096, 120, 10 ** (5 / 20), 20.0


def _qpsk(samples_per_symbol):
    return LinearModulation(LinearSignal("qpsk", samples_per_symbol, "rrc", 0.35, 8))


def _wrong(soi, other, kappa, windows, seed):
    """(wrong symbols, symbols) of the first of two sources, all nuisances known; those at the windows' ends do not count."""
    generator = torch.Generator().manual_seed(seed)
    s, soi = alone(soi, windows, SAMPLES, generator)
    b, other = alone(other, windows, SAMPLES, generator)
    noise_var = soi.signal.samples_per_symbol * 10 ** (-ES_N0_DB / 10)
    y = s + kappa * b + noise_var ** 0.5 * noise(s.shape, generator)
    out = separate(y, replace(soi, gain=1.0), other, kappa=kappa, noise_var=noise_var)
    reader, alphabet = soi.demodulator(), soi.signal.alphabet
    read, sent = reader(out.soi, noise_var), reader(s, 1e-3)
    there = (read.at > EDGE) & (read.at < SAMPLES - EDGE)
    wrong = (alphabet.nearest(read.symbols) - alphabet.nearest(sent.symbols)).abs() > 1e-3
    return int((wrong & there).sum()), int(there.sum())


@pytest.mark.parametrize("samples_per_symbol", [2.5, 4])
def test_frames_that_the_first_passes_miss_are_found(samples_per_symbol, monkeypatch):
    mixture = _qpsk(samples_per_symbol), Ofdm(), KAPPA, 4, 5
    wrong, symbols = _wrong(*mixture)
    assert wrong < 2e-3 * symbols
    monkeypatch.setattr(joint, "_AGAIN", ())
    assert _wrong(*mixture)[0] > 3 * wrong


def test_symbols_beside_another_linear_modulation_that_the_first_passes_miss_are_found(monkeypatch):
    mixture = _qpsk(4), _qpsk(3), 1.2, 6, 5
    wrong, symbols = _wrong(*mixture)
    assert wrong < 2e-3 * symbols
    monkeypatch.setattr(joint_linear, "_EXCEEDS", float("inf"))
    assert _wrong(*mixture)[0] > 3 * wrong


def test_a_window_does_not_depend_on_its_batch():
    generator = torch.Generator().manual_seed(6)
    soi, ofdm = _qpsk(4), Ofdm()
    s, soi = alone(soi, 3, 2048, generator)
    b, ofdm = alone(ofdm, 3, 2048, generator)
    y = s + 1.8 * b + 0.03 ** 0.5 * noise(s.shape, generator)
    soi = replace(soi, gain=1.0)
    together = separate(y, soi, ofdm, kappa=1.8, noise_var=0.03)
    for k in range(3):
        row = torch.tensor([k])
        by_itself = separate(y[row], soi.select(row), ofdm.select(row), kappa=1.8, noise_var=0.03)
        assert torch.allclose(by_itself.llrs, together.llrs[row], rtol=1e-3, atol=1e-3)
