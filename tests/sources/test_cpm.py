# SPDX-License-Identifier: GPL-3.0-or-later
"""GMSK: its waveform, and a denoiser that is the exact posterior mean, nuisances known or not."""
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.signals import Gmsk as Signal
from alpha_rgs.sources import Gmsk, from_dict
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import draw, noise, paper_priors
from alpha_rgs.streaming import report as describe

SIGNALS = [Signal(), Signal(3, 0.3, 3), Signal(5, 0.5, 2), Signal(2, 0.3, 1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def symbols(batch, count, seed=0):
    return 2 * torch.randint(0, 2, (batch, count), generator=generator(seed)) - 1


def mse_db(got, truth):
    return 10 * float(torch.log10((got - truth).abs().square().mean()))


# waveform

@pytest.mark.parametrize("signal", SIGNALS)
def test_the_waveform_is_its_definition_with_unit_modulus(signal):
    a, timing = symbols(3, 20), torch.tensor([2.3, -7.0, 31.9], dtype=torch.float64)
    x = signal.modulate(a, 77, timing)
    assert x.dtype == torch.complex64 and torch.allclose(x.abs(), torch.ones(3, 77), atol=1e-6)
    tau = torch.arange(77)[:, None] - timing[:, None, None] - signal.samples_per_symbol * torch.arange(20)
    phase = torch.pi / 2 * (signal.phase_pulse(tau) * a[:, None]).sum(-1)
    assert torch.allclose(x.to(torch.complex128), torch.polar(torch.ones_like(phase), phase), atol=1e-6)
    assert torch.allclose(signal.modulate(a[1:2], 77, -7.0), x[1:2], atol=1e-6)


def test_the_phase_pulse_is_a_gaussian_filtered_rectangle():
    q = Signal(4, 0.3, 4).phase_pulse(torch.tensor([-9.0, -8.0, 0.0, 8.0, 99.0]))
    assert torch.allclose(q, torch.tensor([0, 0, 0.5, 1, 1], dtype=torch.float64), atol=1e-12)
    t = np.arange(-8, 8, 1e-3) + 5e-4
    sigma = np.sqrt(np.log(2)) / (2 * np.pi * 0.3)
    pulse = np.convolve(np.exp(-t ** 2 / 2 / sigma ** 2), np.ones(1000) / 1000, "same")
    expected = np.cumsum(pulse) / pulse.sum()
    assert np.allclose(Signal(4, 0.3, 8).phase_pulse(4 * t).numpy(), expected, atol=2e-3)


def test_constant_symbols_turn_a_quarter_turn_each():
    x = Signal(4).modulate(torch.ones(1, 60), 160, 0.0)[0, 20:]
    assert torch.allclose(x[4:] * x[:-4].conj(), torch.full((136,), 1j), atol=1e-5)


def test_the_spectrum_is_narrow_and_its_autocorrelation_is_that_of_the_prior():
    x = Gmsk(Signal(4)).draw(64, 2048, generator())[0]
    power = torch.fft.fft(x * torch.hann_window(2048)).abs().square().mean(0)
    outside = abs(np.fft.fftfreq(2048, 1 / 4)) > 1         # symbol rates from the middle
    assert float(10 * torch.log10(power[outside].sum() / power.sum())) < -40
    lags = np.arange(-30, 31)
    measured = [complex((x[:, 40 + lag:2000 + lag] * x[:, 40:2000].conj()).mean()) for lag in lags]
    exact = Gmsk(Signal(4)).autocorrelation(lags)
    assert exact[30] == 1 and np.allclose(exact, measured, atol=0.02)
    assert np.allclose(Gmsk(Signal(4), timing=1.0, carrier_offset=0.1).autocorrelation(lags), exact * np.exp(0.2j * np.pi * lags),
                       atol=5e-3)


# the denoiser against the enumeration of all sequences

def enumerated(prior, samples):
    """Every waveform that may be in a window: complex128 [waveforms, samples], by Signal.modulate."""
    count = -(-samples // prior.signal.samples_per_symbol) + prior.signal.span
    words = torch.tensor(list(itertools.product((-1, 1), repeat=count)))
    turns = torch.arange(prior.symmetry)[:, None, None] * 2 * torch.pi / prior.symmetry
    waves = prior.modulate(words, samples).to(torch.complex128)
    return (waves * torch.exp(1j * turns)).flatten(0, 1)


def posterior_mean(x, waves, noise_var):
    fit = -(x.to(torch.complex128)[:, None] - waves).abs().square().sum(-1) / noise_var
    return torch.softmax(fit, 1).to(waves.dtype) @ waves


@pytest.mark.parametrize("symmetry", [1, 2, 4])
@pytest.mark.parametrize("timing", [0.0, 1.7, -6.0])
@pytest.mark.parametrize("signal", SIGNALS)
def test_denoise_is_the_posterior_mean(signal, timing, symmetry):
    prior = Gmsk(signal, timing, 0.7, 0.01, symmetry)
    x = prior.draw(6, 12, generator())[0] + noise((6, 12), generator(1))
    for noise_var in (0.3, 2.0):
        exact = posterior_mean(x, enumerated(prior, 12), noise_var)
        assert torch.allclose(prior.denoise(x, noise_var).to(torch.complex128), exact, atol=2e-5)


def test_denoise_with_unknown_nuisances_is_the_posterior_mean_over_them_too():
    unknown = Gmsk(Signal(3, 0.3, 3))
    x = unknown.draw(3, 12, generator(3))[0] + noise((3, 12), generator(4))
    timings, phases = 3 * (np.arange(30) + 0.5) / 30, np.pi / 2 * (np.arange(16) + 0.5) / 16
    for given, db in (({}, -60), ({"timing": 1.3}, -60), ({"phase": 0.4, "symmetry": 2}, -35)):
        prior = replace(unknown, **given)
        many = [enumerated(replace(prior, timing=t, phase=p, symmetry=given.get("symmetry", 4)), 12)
                for t in (timings if prior.timing is None else [prior.timing])
                for p in (phases if prior.phase is None else [prior.phase])]
        got, exact = prior.denoise(x, 1.0), posterior_mean(x, torch.cat(many), 1.0)
        assert mse_db(got, exact) < db


def test_little_noise_leaves_the_signal_and_much_noise_nothing():
    b, truth = Gmsk(Signal(4), carrier_offset=2e-3).draw(8, 640, generator())
    n = noise((8, 640), generator(1))
    assert mse_db(truth.denoise(b + 1e-3 ** 0.5 * n, 1e-3), b) < -40
    assert mse_db(truth.denoise(b + 1e4 ** 0.5 * n, 1e4), 0) < -20
    level = torch.tensor([1e-3, 0.1, 1.0, 10.0] * 2)
    together = truth.denoise(b + n, level)
    alone = torch.cat([truth.select(slice(k, k + 1)).denoise((b + n)[k:k + 1], float(level[k])) for k in range(8)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_not_to_know_timing_and_phase_costs_little_and_never_helps():
    unknown = Gmsk(Signal(4))
    b, truth = unknown.draw(6, 320, generator(5))
    for noise_var, loss in ((0.01, 15.0), (0.3, 9.0), (3.0, 0.5), (30.0, 0.5)):
        x = b + noise_var ** 0.5 * noise((6, 320), generator(6))
        known, less = mse_db(truth.denoise(x, noise_var), b), mse_db(unknown.denoise(x, noise_var), b)
        assert known < less < known + loss
    assert mse_db(unknown.denoise(b + 0.1 * noise(b.shape, generator(7)), 0.01), b) < -40


def test_the_mean_is_calibrated():
    """E|s - mean|^2 is 1 - E|mean|^2 for any posterior mean of a source of unit power."""
    b, truth = Gmsk(Signal(4)).draw(32, 640, generator(8))
    for noise_var in (1.0, 4.0):
        mean = truth.denoise(b + noise_var ** 0.5 * noise(b.shape, generator(9)), noise_var)
        error = float((mean - b).abs().square().mean())
        assert error == pytest.approx(1 - float(mean.abs().square().mean()), abs=0.02)


@pytest.mark.parametrize("start", [0, 1, 4, 37])
def test_at_is_how_a_later_window_sees_the_signal(start):
    b, truth = Gmsk(Signal(4), carrier_offset=1e-3).draw(5, 400, generator(10))
    later = truth.at(start)
    x = b + 0.05 ** 0.5 * noise(b.shape, generator(11))
    assert mse_db(later.denoise(x[:, start:], 0.05), b[:, start:]) < -30
    middle = slice(60, 300)         # far from both edges the windows agree
    assert mse_db(later.denoise(x[:, start:], 0.05)[:, middle], truth.denoise(x, 0.05)[:, start:][:, middle]) < -60
    assert later.symmetry == (2 if start > 4 else later.symmetry)
    here = torch.full((5,), start)
    assert torch.equal(truth.at(here).timing, later.timing) and torch.equal(truth.at(here).phase, later.phase)
    assert Gmsk(Signal(4)).at(start) == Gmsk(Signal(4))
    plain = Gmsk(Signal(4), 1.0, 0.3).at(start)
    assert isinstance(plain.timing, float) and plain.timing == 1.0 - start
    assert Gmsk(Signal(4), phase=0.3).at(start).symmetry == 4


def test_noise_with_a_basis_is_refused():
    with pytest.raises(CapabilityError, match="gmsk: .* white noise only, not in the span"):
        Gmsk(timing=0.0, phase=0.0).denoise(torch.zeros(1, 100), Noise(1e-4, paper_priors()[0], 1.0))
    assert not Gmsk().takes_basis


# files and mixtures

def test_a_prior_file_says_gmsk(tmp_path):
    prior = Gmsk(Signal(8, 0.5, 3), 1.5, -0.25, 1e-3)
    path = tmp_path / "gsm.toml"
    for p in (prior, Gmsk(), replace(prior, symmetry=2)):
        path.write_text(describe.to_toml(p, "a comment"))
        assert priors.load(path) == p
    rows = {key: (value, meaning) for key, value, meaning in describe.prior_table(from_dict({"kind": "gmsk"}), {"kind"})}
    assert rows["timing"][0] == rows["phase"][0] == "estimated" and rows["bandwidth_time"][0] == "0.3 (not given)"
    assert all(meaning for _, meaning in rows.values())
    assert "bandwidth_time of the interference: 0.3 (not given)" in describe.assumptions(
        paper_priors()[0], Gmsk(), describe.values(paper_priors()[0]), {"kind"}, ())


@pytest.mark.parametrize(("table", "words"), [
    ({"rolloff": 0.3}, ["'rolloff'", "gmsk", "bandwidth_time"]),
    ({"bandwidth": 0.3}, ["did you mean 'bandwidth_time'"]),
    ({"bandwidth_time": 0.0}, ["bandwidth_time", "0.05"]),
    ({"samples_per_symbol": 1.7}, ["samples_per_symbol", "1.7", "GNU Radio", "whole"]),
    ({"samples_per_symbol": 0}, ["samples_per_symbol"]),
    ({"span": 0}, ["span", "1 to 8"]),
    ({"span": 9}, ["span", "1 to 8"]),
    ({"span": 2.5}, ["span", "whole"]),
    ({"carrier_offset": 0.7}, ["carrier_offset", "cycles per sample"]),
    ({"symmetry": 3}, ["symmetry", "1, 2 or 4"]),
    ({"timing": "now"}, ["timing", "a number"]),
])
def test_bad_keys_are_named(table, words):
    with pytest.raises(ParameterError) as error:
        from_dict({"kind": "gmsk", **table}, "gsm.toml")
    for word in ("gsm.toml", *words):
        assert word in str(error.value)


def test_mixtures_hold_gmsk_of_unit_power_with_its_truth():
    x = draw(paper_priors()[0], Gmsk(carrier_offset=1e-3), 4, 2560, -12, seed=2)
    assert torch.allclose(x.b.abs(), torch.ones_like(x.b.abs()), atol=1e-5) and x.kappa == pytest.approx(10 ** 0.6)
    assert torch.allclose(x.y, x.s + x.kappa * x.b)
    assert x.interference.timing.shape == x.interference.phase.shape == (4,) and float(x.interference.timing.max()) < 4
    assert mse_db(x.interference.denoise(x.b, 0.01), x.b) < -60
    given = draw(paper_priors()[0], Gmsk(timing=1.0, phase=0.5), 2, 2560, -12, seed=2).interference
    assert given.timing.tolist() == [1.0, 1.0] and given.phase.tolist() == [0.5, 0.5]
