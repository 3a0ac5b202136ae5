# SPDX-License-Identifier: GPL-3.0-or-later
"""Chunks of windows that are settled are spared passes, and nothing is decided otherwise for that; the extension's decisions are
torch's."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs import native
from alpha_rgs.inference.linear_mixture import LinearMixture
from alpha_rgs.separators.joint_general import PASSES, joint_general
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import Gmsk, LinearModulation
from alpha_rgs.sources.mixtures import alone, noise

SAMPLES, LEVEL = 1280, 3.0


def windows(noise_var, batch=3, seed=4):
    """(y, sources, gains, noise variance) of QPSK under GMSK, each window with timings of its own."""
    g = torch.Generator().manual_seed(seed)
    timing, phase = (scale * torch.rand(2, batch, dtype=torch.float64, generator=g) for scale in (16.0, 6.0))
    sources = (LinearModulation(Signal("qpsk", 16, "rrc", 0.5, 8), timing[0], phase[0]),
               Gmsk(timing=timing[1] % 4, phase=phase[1]))
    y = sum(level * alone(replace(s, gain=None), batch, SAMPLES, g)[0] for s, level in zip(sources, (1.0, LEVEL)))
    y = (y + noise_var ** 0.5 * noise((batch, SAMPLES), g)).to(torch.complex64)
    gains = [torch.full((batch,), level, dtype=torch.float64) for level in (1.0, LEVEL)]
    return y, sources, gains, torch.full((batch,), noise_var)


@pytest.fixture
def passes(monkeypatch):
    """Of how many passes mixtures were asked."""
    made, step = [], LinearMixture.step
    monkeypatch.setattr(LinearMixture, "step", lambda self, hot, damping: made.append(hot) or step(self, hot, damping))
    return made


@pytest.mark.parametrize("noise_var", [0.0, 0.01, 0.1])
def test_settled_windows_are_decided_as_by_all_passes(noise_var, passes, monkeypatch):
    """And told as sure."""
    found = joint_general(*windows(noise_var))
    few = len(passes)
    monkeypatch.setattr(LinearMixture, "settled", lambda self, out: False)
    wanted = joint_general(*windows(noise_var))
    assert few < 0.8 * PASSES and len(passes) - few == PASSES
    for one, other in zip(found, wanted):
        inside = ~other.demodulated.at.isnan()
        sure = other.demodulated.llrs[inside].abs() > 1
        assert torch.equal((one.demodulated.llrs[inside] < 0)[sure], (other.demodulated.llrs[inside] < 0)[sure])
        assert (torch.sigmoid(one.demodulated.llrs) - torch.sigmoid(other.demodulated.llrs))[inside].abs().max() < 0.02
        assert torch.allclose(one.waveform[:, 64:-64], other.waveform[:, 64:-64], atol=0.02 * LEVEL)


def test_noise_that_leaves_symbols_undecided_takes_all_passes(passes):
    """As strong as what decides a symbol."""
    joint_general(*windows(30.0))
    assert len(passes) == PASSES


def test_what_no_decision_explains_takes_all_passes(passes):
    """A third signal in the windows, of which nobody was told: all symbols are decided, and much is left."""
    y, sources, gains, noise_var = windows(0.001)
    g = torch.Generator().manual_seed(9)
    other = alone(LinearModulation(Signal("qpsk", 16, "rrc", 0.5, 8), 3.0, 1.0), len(y), SAMPLES, g)[0]
    joint_general(y + 0.2 * other.to(y), sources, gains, noise_var)
    assert len(passes) == PASSES


@pytest.mark.skipif(not native.built(), reason="the extension is not built")
@pytest.mark.parametrize("noise_var", [0.0, 0.1, 2.0])
def test_the_extension_decides_as_torch(noise_var, monkeypatch):
    """Wherever torch is sure, and the waveforms are as good."""
    monkeypatch.setenv(native.VARIABLE, "1")
    found = joint_general(*windows(noise_var, batch=17))
    monkeypatch.setenv(native.VARIABLE, "0")
    for one, other in zip(found, joint_general(*windows(noise_var, batch=17))):
        inside = ~other.demodulated.at.isnan()
        llrs, wanted = one.demodulated.llrs[inside], other.demodulated.llrs[inside]
        assert not llrs.isnan().any() and torch.equal((llrs < 0)[wanted.abs() > 1], (wanted < 0)[wanted.abs() > 1])
        assert torch.allclose(one.variance, other.variance, rtol=0.02, atol=1e-5)
        assert (one.waveform - other.waveform).abs().square().mean() < 1e-4
