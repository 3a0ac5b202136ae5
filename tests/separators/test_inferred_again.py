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
SAMPLES, EDGE, OFDM_DB, ES_N0_DB = 4096, 120, 5.0, 20.0


def _wrong(samples_per_symbol, windows, seed):
    """(wrong symbols, symbols) of QPSK under stronger OFDM, all nuisances known."""
    generator, kappa = torch.Generator().manual_seed(seed), 10 ** (OFDM_DB / 20)
    soi, ofdm = LinearModulation(LinearSignal("qpsk", samples_per_symbol, "rrc", 0.35, 8)), Ofdm()
    s, soi = alone(soi, windows, SAMPLES, generator)
    b, ofdm = alone(ofdm, windows, SAMPLES, generator)
    noise_var = samples_per_symbol * 10 ** (-ES_N0_DB / 10)
    y = s + kappa * b + noise_var ** 0.5 * noise(s.shape, generator)
    out = separate(y, replace(soi, gain=1.0), ofdm, kappa=kappa, noise_var=noise_var)
    reader, alphabet = soi.demodulator(), soi.signal.alphabet
    read, sent = reader(out.soi, noise_var), reader(s, 1e-3)
    there = (read.at > EDGE) & (read.at < SAMPLES - EDGE)
    wrong = (alphabet.nearest(read.symbols) - alphabet.nearest(sent.symbols)).abs() > 1e-3
    return int((wrong & there).sum()), int(there.sum())


@pytest.mark.parametrize("samples_per_symbol", [2.5, 4])
def test_frames_that_the_first_passes_miss_are_found(samples_per_symbol, monkeypatch):
    wrong, symbols = _wrong(samples_per_symbol, 4, 5)
    assert wrong < 2e-3 * symbols
    monkeypatch.setattr(joint, "_AGAIN", ())
    assert _wrong(samples_per_symbol, 4, 5)[0] > 3 * wrong


def test_a_window_does_not_depend_on_its_batch():
    generator = torch.Generator().manual_seed(6)
    soi, ofdm = LinearModulation(LinearSignal("qpsk", 4, "rrc", 0.35, 8)), Ofdm()
    s, soi = alone(soi, 3, 2048, generator)
    b, ofdm = alone(ofdm, 3, 2048, generator)
    y = s + 1.8 * b + 0.03 ** 0.5 * noise(s.shape, generator)
    soi = replace(soi, gain=1.0)
    together = separate(y, soi, ofdm, kappa=1.8, noise_var=0.03)
    for k in range(3):
        row = torch.tensor([k])
        by_itself = separate(y[row], soi.select(row), ofdm.select(row), kappa=1.8, noise_var=0.03)
        assert torch.allclose(by_itself.llrs, together.llrs[row], rtol=1e-2, atol=0.05)
