# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension detects symbols under bursts of OFDM as torch does, and lays bursts out as Python does: whatever its
instructions, threads, and windows of one batch."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import native
from alpha_rgs.inference import bursts_native
from alpha_rgs.inference.sites import schedule
from alpha_rgs.separators import joint_bursts as model
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals.constellations import constellation
from alpha_rgs.signals.wifi import ALPHABETS, CARRIERS
from alpha_rgs.sources import LinearModulation
from alpha_rgs.sources.mixtures import draw
from alpha_rgs.sources.ofdm_bursts import OfdmBursts
from alpha_rgs.synchronization.burst_channel import burst_frames
from alpha_rgs.synchronization.burst_layout import slots

pytestmark = pytest.mark.skipif(not native.built(), reason="the extension is not built")
SAMPLES, BAND = 2560, (-0.06, 0.06)
TRUE = LinearModulation(Signal("qpsk", 16, "rrc", 0.35, 8), timing=5.3, phase=0.4, gain=1.5, carrier_offset=0.0)


def soi_of(name):
    return replace(TRUE, signal=replace(TRUE.signal, constellation=name))


def case(how="open", name="qpsk", windows=2, seed=8, sir_db=-5, samples=SAMPLES):
    """(y, soi, bursts, noise variance [windows], bits). how: "open", frames as they are, all carriers undecided; "band", those
    undecided that the signal of interest reaches; "vague", their alphabets unknown too."""
    m = draw(soi_of(name), OfdmBursts(), windows, samples, sir_db, 30, seed=seed)
    frames = [[replace(f, gain=m.kappa * f.gain, power=m.kappa ** 2 * f.power) for f in window]
              for window in m.interference.frames]
    if how == "band":
        frames = [burst_frames(y, slots(y, BAND), BAND) for y in m.y.numpy().astype(complex)]
    elif how == "vague":
        frames = [[replace(f, decided=None) for f in window] for window in frames]
    return m.y, soi_of(name), OfdmBursts(frames), torch.full((windows,), float(m.noise_var)), m.bits


def settled(monkeypatch, told, y, soi, bursts, noise_var, passes=24, seen=None):
    """The problem of joint_bursts after its passes. seen: list that the cavities of each pass go into."""
    monkeypatch.setenv(native.VARIABLE, told)
    problem = model._Problem(y, soi, bursts, noise_var)
    heats = [turn.heat for turn in schedule(passes, 0.4, 100.0, min(4, passes - 1), more=True)]
    problem.settle(heats, 0.4, True, lambda *cavity: seen is None or seen.append(cavity))
    return problem


def same(found, wanted, tolerance):
    """Estimates, and what is fitted to them. Torch has the squares of an alphabet's points in single precision."""
    for one, other in zip((*found.cavity, *found.moments()), (*wanted.cavity, *wanted.moments())):
        assert ((one - other).abs() <= tolerance * (1 + other.abs())).all()
    (_, told), (_, expected) = found.refine_sync(model.NUISANCES), wanted.refine_sync(model.NUISANCES)
    for key, value in expected.items():
        assert torch.allclose(told[key], value, rtol=0.01)
    (one, away), (other, gone) = found.result()[0:2], wanted.result()[0:2]
    sure = other.llrs.abs() > 1
    assert torch.equal(one.llrs.sign()[sure], other.llrs.sign()[sure]) and sure.float().mean() > 0.9
    assert torch.allclose(one.soi, other.soi, atol=1e-3) and torch.allclose(away, gone, atol=1e-3)


@pytest.mark.parametrize("how, passes", [("open", 1), ("open", 24), ("band", 24), ("vague", 24)])
def test_extension_and_torch_agree(how, passes, monkeypatch):
    """After one pass to rounding errors; after all of them still."""
    told = case(how)
    found, wanted = (settled(monkeypatch, native, *told[:4], passes) for native in "10")
    assert found.posterior is not None and wanted.posterior is None
    if passes == 1:
        for one, other in zip((*found.cavity, *found.moments()), (*wanted.cavity, *wanted.moments())):
            assert torch.allclose(one, other, rtol=1e-8, atol=1e-9)
        for one, other in zip(found.families, wanted.families):
            assert not one.d or torch.allclose(one.inverse, other.inverse, rtol=1e-8, atol=1e-12)
    else:
        same(found, wanted, 1e-3)


@pytest.mark.parametrize("name", ["bpsk", "8psk", "16qam", "16apsk", "pi/4-dqpsk"])
def test_every_alphabet_agrees(name, monkeypatch):
    """Signs, levels of either axis, and points that have none."""
    told = case("band", name)
    found, wanted = (settled(monkeypatch, native, *told[:4]) for native in "10")
    for one, other in zip((*found.cavity, *found.moments()), (*wanted.cavity, *wanted.moments())):
        assert torch.allclose(one, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("instructions", native.instruction_sets())
def test_every_instruction_set_agrees(instructions, monkeypatch):
    """Whose vectors are of different lengths."""
    told = case("band")
    same(settled(monkeypatch, instructions, *told[:4]), settled(monkeypatch, "0", *told[:4]), 1e-3)


def test_neither_threads_nor_the_batch_matter(monkeypatch):
    """Windows are independent, also where tiles of several stand side by side in the lanes: to the last bit."""
    y, soi, bursts, noise_var, _ = case("band", windows=3)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(native, "threads_to_use", lambda threads=threads: threads)
        found.append(settled(monkeypatch, "1", y, soi, bursts, noise_var))
    for one, other in zip(found[0].cavity, found[1].cavity):
        assert torch.equal(one, other)
    families, (window, first), exists = found[0].families, found[0].first, found[0].exists
    own = window == 1
    tiled = [bursts_native.Tiled(*(value[rows] for value in vars(family.tiled()).values()))
             for family, rows in zip(families, own.split(found[0].sizes))]
    chained = bursts_native.Chained(window[own] - 1, first[own], exists[1:2], soi.signal.alphabet, model.PAUSES)
    heats = [turn.heat for turn in schedule(24, 0.4, 100.0, 4, more=True)]
    alone = bursts_native.passed(tiled, chained, [constellation(name) for name in ALPHABETS], heats, 0.4).cavities[-1]
    for one, other in zip(alone, found[0].cavity):
        assert torch.equal(one[0], other[1])
    alone = settled(monkeypatch, "1", y[1:2], soi, replace(bursts, frames=bursts.frames[1:2]), noise_var[1:2])
    for one, other in zip(alone.cavity, found[0].cavity):
        assert torch.allclose(one[0], other[1, :one.shape[1]], rtol=1e-9)


def test_each_pass_is_seen(monkeypatch):
    """A caller's callback gets the estimates after every pass, as with torch."""
    found, wanted = [], []
    told = case("band", windows=1)
    settled(monkeypatch, "1", *told[:4], passes=6, seen=found)
    settled(monkeypatch, "0", *told[:4], passes=6, seen=wanted)
    assert len(found) == len(wanted) == 6
    for one, other in zip(found, wanted):
        assert torch.allclose(one[0], other[0], atol=1e-3) and torch.allclose(one[1], other[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("why", ["environment", "extension", "network"])
def test_torch_does_what_the_extension_may_not(why, monkeypatch):
    """The environment says so, there is no extension, or a network decides the carriers."""
    y, soi, bursts, noise_var, _ = case(windows=1)
    if why == "extension":
        monkeypatch.setattr(native, "extension", lambda: None)
    elif why == "network":
        monkeypatch.setattr(OfdmBursts, "deciding", lambda *_: lambda mean, var: (0 * mean, 1 + 0 * var))
    problem = settled(monkeypatch, "0" if why == "environment" else "1", y, soi, bursts, noise_var, 3)
    assert problem.posterior is None and not problem.cavity[0].isnan().any()


def test_the_extension_refuses_what_reaches_beyond(monkeypatch):
    """Symbols and alphabets that there are not, and arrays of other sizes."""
    monkeypatch.setenv(native.VARIABLE, "1")
    d, count, total = 4, 3, 7
    one = torch.ones(1, 80, dtype=torch.complex128)
    tiled = bursts_native.Tiled(one, one.real, one[..., None].expand(-1, -1, d), one[..., None].expand(-1, -1, count),
                                torch.zeros(1, d, dtype=torch.int64))
    pauses = bursts_native.Pauses(1e-4, 0.1, 0.1, 0.05, 50.0, 20.0)
    alphabet, place = TRUE.signal.alphabet, torch.tensor([0])
    chained = bursts_native.Chained(place, place, torch.ones(1, total, dtype=torch.bool), alphabet, pauses)

    def ask(one=tiled, chain=chained):
        return bursts_native.passed([one], chain, [alphabet], [1.0], 0.4)

    assert ask() is not None
    for value in (total - count + 1, -1):
        with pytest.raises(ValueError, match="first"):
            ask(chain=replace(chained, first=torch.tensor([value])))
    with pytest.raises(ValueError, match="first"):
        ask(chain=replace(chained, window=torch.tensor([1])))
    with pytest.raises(ValueError, match="alphabet"):
        ask(replace(tiled, alphabet=tiled.alphabet + 1))
    with pytest.raises(ValueError, match="waves"):
        ask(replace(tiled, waves=tiled.waves[..., 1:]))
    for lengths in ([0], [5, 5]):
        with pytest.raises(ValueError, match="lengths"):
            bursts_native.laid_out(np.zeros(9), lengths, [np.zeros(9)], 2.0, 20.0)


@pytest.mark.parametrize("kind", ["bursts", "noise", "nothing"])
def test_bursts_are_laid_out_alike(kind, monkeypatch):
    """Chance, too, decides alike: where two layouts are as good, the same one is taken."""
    y = draw(TRUE, OfdmBursts(), 4, SAMPLES, -10, 30, seed=3).y.numpy().astype(complex)
    if kind == "noise":
        y = np.random.default_rng(1).normal(size=(2, *y.shape)).view(complex).reshape(-1, SAMPLES)
    elif kind == "nothing":
        y = 0 * y
    found = []
    for told in "10":
        monkeypatch.setenv(native.VARIABLE, told)
        found.append([slots(window, BAND) for window in y])
    assert found[0] == found[1] and (kind != "bursts" or all(found[0]))


def test_carriers_are_of_the_alphabets_told(monkeypatch):
    """Pilots among data are BPSK, and carriers of a Gaussian alphabet keep their prior: frames side by side in the lanes have
    alphabets of their own."""
    y, soi, bursts, noise_var, _ = case("open")
    found, wanted = (settled(monkeypatch, told, y, soi, bursts, noise_var, 6) for told in "10")
    seen = {int(n) for family in found.families for n in family.alphabet.unique()}
    assert len(seen) >= 3 and max(family.d for family in found.families) == len(CARRIERS)
    for one, other in zip(found.families, wanted.families):
        known = one.alphabet >= 0
        assert not one.shift[~known].any()
        assert torch.allclose(one.shift[known], other.shift[known], rtol=0.05, atol=1e-3)
