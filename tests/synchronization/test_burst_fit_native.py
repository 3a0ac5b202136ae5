# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension finds of bursts what numpy finds: whatever its instructions, with training fields and without, and in noise."""
import numpy as np
import pytest
import torch
from alpha_rgs import native
from alpha_rgs.signals.wifi import CARRIERS, LEGACY, LONG_TRAINING, SHORT, Burst, received, traffic
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.synchronization.burst_channel import burst_frames
from alpha_rgs.synchronization.burst_fit import BurstFit
from alpha_rgs.synchronization.burst_layout import slots

pytestmark = pytest.mark.skipif(not native.built(), reason="the extension is not built")
SAMPLES, BAND, CLEAR = 2560, (-0.06, 0.06), abs(CARRIERS) > 4
FORMS = {"legacy": [Burst(12, "16qam", start=30, carrier_offset=0.002, taps=(1, 0.3j))],
         "ht": [Burst(8, "64qam", 8, True, start=100, phase=1.0)],
         "begun": [Burst(30, "qpsk", start=-700)], "begun, BPSK": [Burst(30, "bpsk", 16, True, start=-900)],
         "training alone": [Burst(0, start=400)]}


def window(bursts, noise_var=1e-3, seed=1):
    g = torch.Generator().manual_seed(seed)
    return (received(bursts, SAMPLES, g) + noise_var ** 0.5 * noise((SAMPLES,), g)).numpy()


def both(monkeypatch, instructions, found):
    """found() with the extension, and without."""
    out = []
    for told in (instructions, "0"):
        monkeypatch.setenv(native.VARIABLE, told)
        out.append(found())
    return out


def same_frames(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other):
        assert (a.start, a.prefix, a.alphabet) == (b.start, b.prefix, b.alphabet)
        assert a.error == pytest.approx(b.error, rel=1e-5, abs=1e-9)
        for name in ("gain", "decided", "echo"):
            mine, wanted = getattr(a, name), getattr(b, name)
            assert (mine is None) == (wanted is None)
            assert mine is None or np.allclose(mine, wanted, rtol=1e-5, atol=1e-6, equal_nan=True), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("noise_var", [1e-3, 0.2])
def test_frames_are_the_same(form, noise_var, monkeypatch):
    """Training, what follows it, and bursts of which no training is seen."""
    y = window(FORMS[form], noise_var)
    placed = slots(y, BAND)
    if not placed:
        pytest.skip("nothing is found in so much noise")
    same_frames(*both(monkeypatch, "1", lambda: burst_frames(y, placed, BAND)))


@pytest.mark.parametrize("instructions", native.instruction_sets())
def test_every_instruction_set_finds_them(instructions, monkeypatch):
    """Whose vectors are of different lengths, in traffic of all kinds."""
    y = window(traffic(SAMPLES, torch.Generator().manual_seed(5)))
    same_frames(*both(monkeypatch, instructions, lambda: burst_frames(y, slots(y, BAND), BAND)))


@pytest.mark.parametrize("seen", ["none", "one", "silence", "training"])
def test_few_symbols_are_judged_alike(seen, monkeypatch):
    """None that is seen, one, such without power, and fields of training without data."""
    rng = np.random.default_rng(2)
    u = 0.01 * rng.normal(size=(5, len(CARRIERS), 2)) @ (1, 1j)
    u[2] += 0 if seen == "silence" else LONG_TRAINING
    u[1] += LONG_TRAINING if seen == "training" else 0
    u[0] += SHORT if seen == "training" else 0
    there = np.array({"none": [0] * 5, "one": [0, 0, 1, 0, 0], "silence": [1] * 5, "training": [1, 1, 1, 0, 0]}[seen], bool)
    noise_var = 0.1 if seen == "silence" else 2e-4
    one, other = both(monkeypatch, "1", lambda: BurstFit(u, there, CLEAR, noise_var))
    assert one.kinds == other.kinds and one.power == pytest.approx(other.power)
    assert np.allclose(one.known, other.known) and np.allclose(one.off, other.off) and (one.used == LEGACY).all()
    assert (one.state is None) == (other.state is None) == (seen in ("none", "silence"))
    if one.state is not None:
        assert one.state.data == other.state.data and np.allclose(one.state.gain, other.state.gain, atol=1e-6)
        assert np.allclose(one.state.phase, other.state.phase, atol=1e-6)
