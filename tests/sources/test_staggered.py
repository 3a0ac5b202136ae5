# SPDX-License-Identifier: GPL-3.0-or-later
"""Synchronization of staggered modulations: GMSK, its conventions, and stronger interference."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.signals import Gmsk as Signal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Gfsk, Gmsk, LinearModulation, Ofdm, from_dict
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import noise

GMSK = Gmsk(Signal(4, 0.3, 4))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(source, batch, samples, seed, carrier=0.02):
    """(symbols from source.first() on, waveform, the source as it is): any timing within three symbols, phase and carrier."""
    g, period = generator(seed), source.signal.samples_per_symbol
    timing, phase, offset = torch.rand(3, batch, generator=g, dtype=torch.float64)
    truth = replace(source, timing=3 * period * (timing - 0.3), phase=2 * torch.pi * phase,
                    carrier_offset=2 * carrier * (offset - 0.5))
    a = 2 * torch.randint(0, 2, (batch, samples // period + source.signal.span + 3), generator=g) - 1
    return a, truth.modulate(a, samples), truth


def errors(truth, found, x, noise_var, a):
    """Wrong bits of each window, of those that both read; bits that lie at the window's ends left out."""
    period = truth.signal.samples_per_symbol
    read = found.demodulator()(x, noise_var)
    number = torch.round((read.at - truth.timing[:, None]) / period) - truth.first()[:, None]
    good = (read.at > 4 * period) & (read.at < x.shape[1] - 4 * period)
    sent = a.gather(1, number.nan_to_num().long().clamp(0, a.shape[1] - 1))
    return ((read.symbols.real > 0) != (sent > 0)).logical_and(good).sum(1)


@pytest.mark.parametrize("signal", [Signal(4, 0.3, 4), Signal(8, 0.5, 3), Signal(5, 0.25, 4), Signal(2, 0.3, 4)])
def test_bits_are_the_sent_ones_after_synchronization(signal):
    a, s, truth = drawn(Gmsk(signal), 50, 1600, 1)
    x = s + 0.1 * noise(s.shape, generator(2))
    found, values = Gmsk(signal, carrier_offset=None).synchronize(x, 0.01)
    assert set(values) == {"timing", "phase", "carrier_offset"} and found.symmetry == 2 and not found.unknown
    assert (values["timing"] >= 0).all() and (values["timing"] < signal.samples_per_symbol).all()
    assert errors(truth, found, x, 0.01, a).sum() == 0
    period = signal.samples_per_symbol
    late = found.timing - truth.timing
    assert (late - period * torch.round(late / period)).abs().max() < 0.02 * period
    assert (found.carrier_offset - truth.carrier_offset).abs().max() < 1e-5
    assert ((found.denoise(x, 0.01) - s).abs().square().mean(1) < 5e-3).all()


@pytest.mark.parametrize("given", [("timing",), ("carrier_offset",), ("timing", "carrier_offset"), ("phase", "carrier_offset"),
                                   ("phase",), ("timing", "phase")])
def test_what_is_known_is_kept(given):
    a, s, truth = drawn(GMSK, 40, 1280, 3, 0.01)
    x = s + 0.1 * noise(s.shape, generator(4))
    unknown = {name: None for name in ("timing", "phase", "carrier_offset") if name not in given}
    found, values = replace(truth, **unknown).synchronize(x, 0.01)
    assert set(values) == set(unknown) and found.symmetry == (1 if "phase" in given else 2)
    assert all(torch.equal(getattr(found, name), getattr(truth, name)) for name in given)
    assert errors(truth, found, x, 0.01, a).sum() == 0
    assert ((found.denoise(x, 0.01) - s).abs().square().mean(1) < 5e-3).all()


def test_a_phase_of_either_parity_is_resolved():
    """As at() leaves it of a stream whose timing is not known."""
    a, s, truth = drawn(GMSK, 30, 1280, 5)
    x = s + 0.1 * noise(s.shape, generator(6))
    turned = truth.phase + torch.pi / 2 * torch.randint(0, 4, (30,), generator=generator(7))
    found, values = replace(truth, timing=None, phase=turned, symmetry=4).synchronize(x, 0.01)
    assert set(values) == {"timing"} and found.symmetry == 2
    assert errors(truth, found, x, 0.01, a).sum() == 0 and ((found.denoise(x, 0.01) - s).abs().square().mean(1) < 5e-3).all()


def test_synchronized_bits_are_as_good_as_with_known_parameters():
    """Es/N0 4 dB: within 0.2 dB, which is 8 % more errors there."""
    a, s, truth = drawn(GMSK, 60, 2560, 8)
    level = 4 / 10 ** 0.4
    x = s + level ** 0.5 * noise(s.shape, generator(9))
    found, _ = replace(GMSK, carrier_offset=None).synchronize(x, level)
    known = float(errors(truth, replace(truth, symmetry=2), x, level, a).sum())
    assert known > 300 and float(errors(truth, found, x, level, a).sum()) < 1.08 * known


@pytest.mark.parametrize(("other", "decibels", "least"), [
    (Ofdm(OfdmSignal(64, 16, (4, 3))), 5, 0.95), (Ofdm(OfdmSignal(64, 16, (4, 3))), 10, 0.6),
    (LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8)), 10, 0.97)])
def test_a_stronger_signal_beside_it_is_whitened(other, decibels, least):
    _, s, truth = drawn(GMSK, 40, 2560, 10)
    power = 10 ** (decibels / 10)
    b, _ = other.draw(40, 2560, generator(11))
    x = s + power ** 0.5 * b + 10 ** -0.75 * noise(s.shape, generator(12))
    density = power * torch.from_numpy(other.psd(2560))[None]
    found, _ = replace(GMSK, carrier_offset=None).synchronize(x, Noise(10 ** -1.5, psd=density))
    late = found.timing - truth.timing
    good = ((late - 4 * torch.round(late / 4)).abs() < 0.4) & ((found.carrier_offset - truth.carrier_offset).abs() < 1e-4)
    assert float(good.float().mean()) >= least


def test_an_unknown_carrier_is_estimated_before_denoising():
    _, s, truth = drawn(GMSK, 4, 1280, 13)
    x = s + 0.1 * noise(s.shape, generator(14))
    unknown = replace(truth, timing=None, phase=None, carrier_offset=None)
    assert ((unknown.denoise(x, 0.01) - s).abs().square().mean(1) < 5e-3).all()
    drawn_too = replace(GMSK, carrier_offset=None).draw(100, 16, generator(15))[1].carrier_offset
    assert drawn_too.shape == (100,) and 0.015 < float(drawn_too.abs().max()) <= 0.02


def test_a_carrier_is_found_up_to_a_quarter_of_the_symbol_rate():
    for source in (GMSK, Gfsk(carrier_offset=0.0)):
        reach = source.carrier_reach
        assert reach == max(0.02, 0.25 / source.signal.samples_per_symbol)
        true = replace(source, timing=2.0, phase=0.3, carrier_offset=0.95 * reach)
        s = true.draw(1, 1280, generator(21))[0]
        asked = replace(true, timing=None, phase=None, carrier_offset=None)
        found = asked.synchronize(s + 0.1 * noise(s.shape, generator(22)), 0.01)[1]
        assert abs(float(found["carrier_offset"][0]) - true.carrier_offset) < 1e-4


def test_a_file_without_carrier_offset_has_an_unknown_carrier():
    assert from_dict({"kind": "gmsk"}).carrier_offset is None
    assert from_dict({"kind": "gmsk", "timing": 1.0}).carrier_offset is None
    assert from_dict({"kind": "gmsk", "carrier_offset": 0.01}).carrier_offset == 0.01
    assert from_dict({"kind": "gmsk"}).unknown == ("timing", "phase", "carrier_offset") and Gmsk().carrier_offset == 0.0
    assert from_dict({"kind": "gfsk"}).carrier_offset is None and Gfsk().carrier_offset == 0.0
    assert from_dict({"kind": "linear-modulation"}).carrier_offset is None
    assert np.allclose(from_dict({"kind": "gmsk"}).autocorrelation(np.arange(5)), Gmsk().autocorrelation(np.arange(5)))
    assert from_dict({"kind": "gmsk"}).at(3).unknown == ("timing", "phase", "carrier_offset")
