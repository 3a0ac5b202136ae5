# SPDX-License-Identifier: GPL-3.0-or-later
"""GFSK, LoRa chirps, tones and sums of sources: their waveforms, and denoisers against brute force and the linear estimate."""
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.signals import Gfsk as GfskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.sources import Gfsk, Gmsk, LinearModulation, Lora, Ofdm, Sum, Tones
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import alone, noise, paper_priors

SAMPLES = 1024


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mse_db(got, truth):
    return 10 * float(torch.log10((got - truth).abs().square().mean()))


def noisy(b, noise_var, seed=1):
    return b + noise_var ** 0.5 * noise(b.shape, generator(seed))


# GFSK

@pytest.mark.parametrize("index", [1 / 3, 2 / 3, 1.0, 0.25, 1.5, 0.3, 2.0])
@pytest.mark.parametrize(("timing", "roots"), [(1.7, False), (-6.0, True)])
def test_gfsk_is_the_posterior_mean_over_all_sequences(index, timing, roots):
    signal = GfskSignal(3, 0.5, 2, index)
    prior = Gfsk(signal, timing, 0.7, 0.01, signal.index.denominator if roots else 1)
    x = noisy(prior.draw(5, 12, generator())[0], 1.0)
    words = torch.tensor(list(itertools.product((-1, 1), repeat=12 // 3 + 2)))
    turns = 2 * torch.pi * torch.arange(prior.symmetry)[:, None, None] / prior.symmetry
    waves = (prior.modulate(words, 12).to(torch.complex128) * torch.exp(1j * turns)).flatten(0, 1)
    for noise_var in (0.3, 2.0):
        fit = -(x.to(torch.complex128)[:, None] - waves).abs().square().sum(-1) / noise_var
        exact = torch.softmax(fit, 1).to(waves.dtype) @ waves
        assert torch.allclose(prior.denoise(x, noise_var).to(torch.complex128), exact, atol=2e-5)


def test_gfsk_of_index_one_half_is_gmsk():
    gmsk, gfsk = Gmsk(GmskSignal(4, 0.5, 3), carrier_offset=1e-3), Gfsk(GfskSignal(4, 0.5, 3, 0.5), carrier_offset=1e-3)
    (a, truth), (b, same) = (prior.draw(4, 320, generator()) for prior in (gmsk, gfsk))
    assert torch.equal(a, b) and torch.equal(truth.timing, same.timing)
    x = noisy(a, 0.5)
    assert torch.equal(truth.denoise(x, 0.5), same.denoise(x, 0.5)) and torch.equal(gmsk.denoise(x, 0.5), gfsk.denoise(x, 0.5))


@pytest.mark.parametrize("index", [1 / 3, 2 / 3, 1.0, 0.3])
def test_gfsk_unknown_nuisances_shifts_and_statistics(index):
    unknown = Gfsk(GfskSignal(6, 0.5, 3, index), carrier_offset=1e-3)
    b, truth = unknown.draw(6, 480, generator(5))
    assert torch.allclose(b.abs(), torch.ones_like(b.abs()), atol=1e-5)
    x = noisy(b, 0.05)
    linear = 10 * np.log10(0.05 / 1.05)
    assert mse_db(truth.denoise(x, 0.05), b) < linear - 10 and mse_db(unknown.denoise(x, 0.05), b) < linear - 9
    found, new = unknown.synchronize(x, 0.05)
    off = (found.timing - truth.timing + 3) % 6 - 3
    assert set(new) == {"timing", "phase"} and off.abs().max() < 0.2 and mse_db(found.denoise(x, 0.05), b) < linear - 9
    for start in (3, 40):
        later = truth.at(start)
        assert mse_db(later.denoise(x[:, start:], 0.05)[:, 60:300], truth.denoise(x, 0.05)[:, start:][:, 60:300]) < -50
    assert truth.at(40).symmetry == unknown.signal.index.denominator
    blind = replace(unknown, phase=0.3).at(3)
    assert blind.symmetry == unknown.signal.index.denominator * (1 + unknown.signal.index.numerator % 2)
    many = unknown.draw(400, 480, generator(6))[0]
    lags = np.arange(-60, 61)
    measured = np.array([complex((many[:, 100 + lag:400 + lag] * many[:, 100:400].conj()).mean()) for lag in lags])
    assert np.allclose(unknown.autocorrelation(lags), measured, atol=0.05)


# LoRa

def test_chirps_are_cyclic_shifts_of_constant_modulus_and_continuous_phase():
    signal = LoraSignal(6, 4)
    m = torch.randint(0, 64, (2, 5), generator=generator())
    x = signal.modulate(m, 5 * 256, 0.0)
    assert torch.allclose(x.abs(), torch.ones(2, 1280), atol=1e-5)
    chirp = signal.chirp()
    for k in range(5):
        shifted = chirp.roll(-4 * int(m[0, k]))
        assert torch.allclose(x[0, 256 * k:256 * (k + 1)].to(torch.complex128), shifted / shifted[0], atol=1e-4)
    step = torch.angle(x[:, 1:] * x[:, :-1].conj())
    assert float(step.abs().max()) < np.pi / 4 + 1e-3            # half the bandwidth: a quarter of the rate is ±pi/4
    gram = signal.modulate(torch.arange(64)[:, None], 256, 0.0)
    cross = (gram @ gram.mH / 256).abs()
    assert float((cross - torch.eye(64)).max()) < 0.2 and torch.allclose(cross.diagonal(), torch.ones(64), atol=1e-5)
    outside = signal.modulate(m, 2000, 100.5)
    assert not outside[:, :101].any() and not outside[:, 1381:].any() and outside[:, 101:1380].abs().min() > 0.99


@pytest.mark.parametrize("phase", [0.4, None])
@pytest.mark.parametrize("timing", [20.0, 9.3, -70.6, 64.0])
def test_lora_is_the_posterior_mean_over_all_symbols_and_phases(phase, timing):
    prior = Lora(LoraSignal(6, 1), timing, phase, 0.003)
    b, truth = prior.draw(4, 100, generator(1))
    edges = np.r_[0, [n for n in np.ceil(timing % 64 + 64 * np.arange(-1, 4)) if 0 < n < 100], 100].astype(int)
    for noise_var in (0.5, 8.0):
        x = noisy(b, noise_var)
        mean = torch.empty_like(x, dtype=torch.complex128)
        for number, (low, high) in enumerate(itertools.pairwise(edges)):
            symbols = torch.zeros(64, len(edges) + 1, dtype=torch.int64)
            symbols[:, number] = torch.arange(64)
            waves = replace(prior, phase=phase or 0.0).modulate(symbols, 100)[:, low:high].to(torch.complex128)
            if phase is None:
                waves = (waves * torch.exp(2j * torch.pi * torch.arange(96) / 96)[:, None, None]).flatten(0, 1)
            fit = 2 / noise_var * (x[:, low:high].to(torch.complex128) @ waves.mH).real
            mean[:, low:high] = torch.softmax(fit, 1).to(waves.dtype) @ waves
        assert torch.allclose(prior.denoise(x, noise_var).to(torch.complex128), mean, atol=1e-4)
        level = torch.full((4,), noise_var)
        assert torch.equal(prior.denoise(x, level), prior.denoise(x, noise_var))


@pytest.mark.parametrize("signal", [LoraSignal(6, 1), LoraSignal(7, 2), LoraSignal(7, 4), LoraSignal(8, 2)])
def test_lora_denoises_and_finds_its_timing(signal):
    for prior in (Lora(signal, carrier_offset=1e-3), Lora(signal, phase=0.4)):
        b, truth = prior.draw(3, 2560, generator(2))
        for noise_var in (0.1, 1.0):
            x, linear = noisy(b, noise_var), 10 * np.log10(noise_var / (1 + noise_var))
            assert mse_db(truth.denoise(x, noise_var), b) < linear - 15
            assert mse_db(prior.denoise(x, noise_var), b) < linear - 13
        found = prior.synchronize(noisy(b, 0.1), 0.1)[1]["timing"]
        length = signal.symbol_length
        assert ((found - truth.timing + length / 2) % length - length / 2).abs().max() < 0.1
        later = truth.at(333)
        assert mse_db(later.denoise(x[:, 333:], 1.0)[:, 600:], truth.denoise(x, 1.0)[:, 933:]) < -60


def test_loras_density_is_its_own():
    prior = Lora(LoraSignal(7, 4), timing=0.0)
    b = prior.draw(200, 4096, generator(3))[0]
    measured = torch.fft.fft(b[:, 128:3968]).abs().square().mean(0).numpy()
    density = prior.psd(3840)
    measured /= measured.mean()
    smooth = [np.convolve(v, np.ones(31) / 31, "same") for v in (measured, density)]
    assert np.allclose(*smooth, atol=0.25) and density[abs(np.fft.fftfreq(3840)) > 0.15].max() < 0.15


# tones

@pytest.mark.parametrize("count", [1, 3, 6])
def test_tones_reach_the_bound_and_noise_alone_gives_none(count):
    prior = Tones(count)
    b, _ = prior.draw(24, SAMPLES, generator(count))
    assert float(b.abs().square().mean()) == pytest.approx(1, abs=0.02)
    for noise_var in (1e-3, 0.1, 1.0):
        x, bound = noisy(b, noise_var), 10 * math.log10(1.5 * count * noise_var / SAMPLES)      # amplitude and frequency free
        for given in (prior, Tones(count + 4)):
            assert mse_db(given.denoise(x, noise_var), b) < min(bound + 3, 10 * math.log10(noise_var / (1 + noise_var)) - 8)
        lines, power = prior.lines(x)
        assert power == pytest.approx(np.ones(24), abs=0.15) and mse_db(lines, b) < bound + 3
    level = torch.full((24,), 0.1)
    assert torch.allclose(prior.denoise(x, level), prior.denoise(x, 0.1)) and prior.at(9) is prior
    assert not prior.denoise(noise((200, SAMPLES), generator(9)), 1.0).abs().square().sum(1).gt(1e-3).any()
    assert not prior.denoise(torch.zeros(2, SAMPLES, dtype=torch.complex64), 0.1).any()


def test_tones_hold_through_a_drawn_out_interval_and_do_not_mind_neighbours():
    """Windows with fewer lines than their neighbours in the batch come out as by themselves."""
    one, three = (Tones(n).draw(1, SAMPLES, generator(n))[0] for n in (1, 3))
    x = noisy(torch.cat([one, three]), 0.1)
    together = Tones(4).denoise(x, 0.1)
    for k in range(2):
        assert torch.allclose(together[k:k + 1], Tones(4).denoise(x[k:k + 1], 0.1), atol=1e-4)


# sums

def test_sums_have_unit_power_the_parts_densities_and_truths():
    prior = Sum((Gmsk(), Lora(), paper_priors()[1]), (1.0, 0.5, 0.7))
    assert sum(g * g for g in prior.amplitudes) == pytest.approx(1)
    b, truth = alone(prior, 32, SAMPLES, generator())
    assert float(b.abs().square().mean()) == pytest.approx(1, abs=0.05)
    assert truth.sources[0].timing.shape == truth.sources[2].frame_offset.shape == (32,)
    parts = sum(g * g * p.psd(256) for g, p in zip(prior.amplitudes, prior.sources))
    assert np.allclose(prior.psd(256), parts, rtol=0.05, atol=0.05)
    assert truth.select(slice(3, 5)).sources[1].timing.shape == (2,)
    assert torch.equal(truth.at(7).sources[0].timing, truth.sources[0].at(7).timing)


@pytest.mark.parametrize(("sources", "gains", "better"), [
    ((Gmsk(GmskSignal(4)), Tones(2)), (1.0, 0.5), 20),
    ((Lora(LoraSignal(7, 2)), Gmsk(GmskSignal(4))), (1.0, 0.5), 8),
    ((paper_priors()[1], Tones(1)), (1.0, 1.0), 6),
    ((LinearModulation(LinearSignal("qpsk", 8), gain=1.0), Lora(LoraSignal(7, 2)), Tones(1)), (1.0, 1.0, 0.7), 8),
])
def test_sums_denoise_better_than_the_linear_estimate(sources, gains, better):
    b, truth = alone(Sum(sources, gains), 6, 2560, generator(4))
    for noise_var in (0.02, 0.1):
        linear = 10 * np.log10((1 / (1 / noise_var + 1 / truth.psd(2560).clip(1e-9))).mean())      # Wiener
        assert mse_db(truth.denoise(noisy(b, noise_var), noise_var), b) < linear - better
    assert mse_db(truth.denoise(noisy(b, 300.0), 300.0), 0 * b) < -5


def test_sums_refuse_what_they_cannot():
    x = torch.zeros(1, 400, dtype=torch.complex64)
    with pytest.raises(ParameterError, match="frame_offset of source 1 .ofdm."):
        Sum((Tones(), Ofdm())).denoise(x, 1.0)
    for prior in (Sum((Tones(), Gmsk())), Tones(), Lora(), Gfsk()):
        with pytest.raises(CapabilityError, match=f"{prior.kind}: .* white noise only, not in the span"):
            prior.denoise(x, Noise(1e-4, paper_priors()[0], 1.0))
        assert not prior.takes_basis
    with pytest.raises(ParameterError, match="two"):
        Sum((Tones(),))
