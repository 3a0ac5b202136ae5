# SPDX-License-Identifier: GPL-3.0-or-later
"""Direct-sequence interference, the stand-in for CommSignal2: waveform, prior, acquisition, joint detection."""
import pathlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.inference.linear_model import moments
from alpha_rgs.inference.linear_pair import LinearPair
from alpha_rgs.separators import choose, separate
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import constellation
from alpha_rgs.signals.linear import scrambled_symbols
from alpha_rgs.sources import LinearModulation, Ofdm, from_dict
from alpha_rgs.sources.background import Background
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import CASES, alone, autocorrelation, draw, draw_case, noise, paper_case
from alpha_rgs.synchronization import acquire
from alpha_rgs.synchronization.stationary import likeliest

BARKER = Signal("bpsk", 25, "barker")
REFERENCE = pathlib.Path(__file__).parents[3] / "shared/captures/reference/rfchallenge2021_mean_autocorr.npz"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ber(out, mixture):
    return float((mixture.soi.signal.alphabet.slice(out.symbols) != mixture.bits).float().mean())


def rms(error):
    return float(error.double().square().mean().sqrt())


def dense(prior, samples):
    """The pulses of every symbol that reaches a window, complex128 [batch, samples, symbols], by the definition."""
    tau = torch.arange(samples)[:, None] - prior.centres(samples)[:, None]
    turn = torch.as_tensor(prior.phase, dtype=torch.float64).reshape(-1, 1, 1)
    return torch.tensor(prior.signal.pulse_at(tau.numpy())) * torch.polar(torch.ones_like(turn), turn)


# waveform

def test_barker_pulses_have_unit_power_and_are_orthogonal_within_a_per_cent_at_any_timing():
    n, timings = np.arange(-60, 61), np.arange(0, 1, 0.01)
    pulses = np.array([[BARKER.pulse_at(n - t - 25 * k) for k in range(2)] for t in timings])
    gram = np.einsum("tin,tjn->tij", pulses, pulses)
    assert abs(gram[:, 0, 0].mean() / 25 - 1) < 1e-3 and np.ptp(gram[:, 0, 0]) < 0.15 * 25
    assert abs(gram[:, 0, 1]).max() < 0.012 * 25


def test_whole_chips_are_the_barker_code():
    signal = Signal("bpsk", 22, "barker")                                   # two samples a chip, edges between samples
    chips = signal.pulse_at(np.arange(22) - 10.5).reshape(11, 2)
    assert np.allclose(chips / chips[0, 0], np.repeat([[1, -1, 1, 1, -1, 1, 1, 1, -1, -1, -1]], 2, 0).T)


def test_a_barker_pulse_needs_a_sample_per_chip():
    with pytest.raises(ParameterError, match="samples_per_symbol: 10"):
        Signal("bpsk", 10, "barker")


def test_autocorrelation_ends_after_a_symbol_and_has_the_codes_side_lobes():
    x = draw(*paper_case("dsss"), 20, 2560, 0, seed=1)
    r = abs(autocorrelation(x.b, 200).numpy())
    lobes = [lag for lag in range(4, 30) if r[lag] > r[lag - 1] and r[lag] > r[lag + 1] and r[lag] > 0.05]
    assert lobes == [4, 9, 14, 18, 23] and r[27:].max() < 0.02


def test_autocorrelation_follows_the_recordings():
    if not REFERENCE.exists():
        pytest.skip(f"no {REFERENCE.name}: the averaged autocorrelation of the recordings is not here")
    recorded = abs(np.load(REFERENCE)["CommSignal2_acf"])
    made = abs(autocorrelation(draw(*paper_case("dsss"), 15, 8192, 0, seed=1).b, 4000).numpy())
    assert np.corrcoef(made[1:26], recorded[1:26])[0, 1] > 0.93
    assert abs(made[5:26] - recorded[5:26]).max() < 0.05
    assert 30 + recorded[30:4000].argmax() == 30 + made[30:].argmax() == 127 * 25


def test_scrambler_repeats_after_127_symbols_and_not_before():
    a = scrambled_symbols(3, 254, generator()).real
    assert torch.equal(a[:, :127], a[:, 127:])
    correlation = torch.stack([(a * a.roll(k, 1)).mean(1) for k in range(1, 127)])
    assert float(correlation.abs().max()) < 0.05


# windows of timings of their own

@pytest.mark.parametrize("signal", [BARKER, Signal("qpsk", 8, "rrc", 0.35, 6)])
def test_windows_of_different_timing_are_modulated_as_each_alone(signal):
    timing = torch.tensor([3.25, -40.1, 17.0, 24.99], dtype=torch.float64)
    a = noise((4, 30), generator())
    together = signal.modulate(a, 301, timing)
    for row, t in enumerate(timing):
        tau = np.arange(301)[:, None] - float(t) - signal.samples_per_symbol * np.arange(30)
        assert np.allclose(together[row].numpy(), signal.pulse_at(tau) @ a[row].numpy(), atol=1e-4)


def test_correlate_is_the_adjoint_of_modulate_for_timings_of_their_own():
    timing = torch.tensor([3.25, -7.1, 17.0], dtype=torch.float64)
    a, x = noise((3, 14), generator(1)), noise((3, 301), generator(2))
    left = (BARKER.modulate(a, 301, timing).conj() * x).sum(1)
    assert torch.allclose(left, (a.conj() * BARKER.correlate(x, 14, timing)).sum(1), atol=1e-3)


def test_matched_filter_gives_back_the_symbols_of_a_window_also_those_cut_by_its_edge():
    prior = LinearModulation(BARKER, timing=torch.tensor([0.5, 3.7, 11.2], dtype=torch.float64), phase=0.4)
    a = constellation("bpsk").map(torch.randint(0, 2, (3, 10), generator=generator()))
    assert torch.allclose(prior.matched_filter(prior.modulate(a, 250)), a, atol=0.03)


# drawing

@pytest.mark.parametrize("case", CASES)
def test_cases_are_drawn_with_the_powers_that_they_name(case):
    x = draw_case(case, 30, -12, seed=4)
    assert x.y.shape == (30, 2560) and x.bits.shape == (30, 320)
    assert abs(float(x.b.abs().square().mean()) - 1) < 0.05
    rest = (x.y - x.s - x.kappa * x.b).abs().square().mean()
    assert float(rest) == pytest.approx(x.kappa ** 2 * 10 ** -1.35 if case == "dsss-noise" else 0, rel=0.02, abs=1e-9)
    assert paper_case(case)[1].phase is None


def test_a_drawn_interference_is_what_its_truth_denoises_to():
    x = draw_case("dsss", 5, -12, seed=4)
    assert float((x.interference.denoise(x.b, 0.1) - x.b).abs().max()) < 1e-3       # edges of the window too


def test_unknown_cases_and_a_second_noise_are_refused():
    with pytest.raises(ParameterError, match="case: 'gsm'"):
        paper_case("gsm")
    with pytest.raises(ParameterError, match="snr_db"):
        draw_case("dsss-noise", 1, -12, snr_db=10)


# denoiser

def brute_force(prior, x, covariance):
    """E[s | x] for s + noise of this covariance [samples, samples], over all sequences of symbols."""
    pulses = dense(prior, x.shape[1])[0]
    count = pulses.shape[1]
    words = torch.tensor([[1 - 2 * (k >> i & 1) for i in range(count)] for k in range(2 ** count)], dtype=torch.complex128)
    waves = words @ pulses.T
    error = x[0].to(torch.complex128) - waves
    fit = (error.conj() * torch.linalg.solve(covariance, error.T).T).sum(1).real
    return (torch.softmax(-fit, 0).to(waves.dtype) @ waves)[None]


@pytest.mark.parametrize("timing", [12.3, 0.0, 22.75])
def test_denoise_is_the_posterior_mean(timing):
    prior = LinearModulation(BARKER, timing=timing, phase=0.7)
    a = constellation("bpsk").map(torch.randint(0, 2, (1, prior.overlapping_symbols(160)[1]), generator=generator(3)))
    x = prior.modulate_overlapping(a, 160) + 20 ** 0.5 * noise((1, 160), generator(5))
    exact = brute_force(prior, x, 20 * torch.eye(160, dtype=torch.complex128))
    assert float((prior.denoise(x, 20.0) - exact).abs().max()) < 0.05


def test_denoise_in_the_colour_of_the_soi_is_close_to_the_posterior_mean_and_far_better_than_in_white():
    soi = paper_case("dsss")[0]
    prior = LinearModulation(BARKER, timing=7.3, phase=0.7)
    pulses = dense(soi, 160)[0]
    covariance = 40 * pulses @ pulses.mH + 2 * torch.eye(160)
    a = constellation("bpsk").map(torch.randint(0, 2, (1, prior.overlapping_symbols(160)[1]), generator=generator(3)))
    clean = prior.modulate_overlapping(a, 160)
    n = 40 ** 0.5 * noise((1, pulses.shape[1]), generator(6)) @ pulses.T.to(torch.complex64)
    n = n + 2 ** 0.5 * noise((1, 160), generator(7))
    exact = brute_force(prior, clean + n, covariance)
    got = prior.denoise(clean + n, Noise(2.0, soi, 40.0))
    assert float((got - exact).abs().max()) < 0.05
    assert rms((got - clean).abs()) < 0.05 < 10 * rms((prior.denoise(clean + n, 42.0) - clean).abs())


def test_only_a_linear_modulation_can_be_the_colour():
    with pytest.raises(CapabilityError, match="ofdm"):
        LinearModulation(BARKER, timing=0.0, phase=0.0).denoise(torch.zeros(1, 100), Noise(1e-4, Ofdm(), 1.0))


def test_moments_of_parts_with_errors_of_their_own_agree_with_bayes_rule():
    alphabet = constellation("qpsk")
    mean, var = torch.randn(20, 2, generator=generator()), torch.rand(20, 2, generator=generator(1)) + 0.1
    other = constellation("16qam")
    for c in (alphabet, other):
        points = torch.view_as_real(c.points)
        p = torch.exp(-((mean[:, None] - points) ** 2 / (2 * var[:, None])).sum(-1))
        p = p / p.sum(1, keepdim=True)
        got, spread = moments(c, mean, var)
        assert torch.allclose(got, p @ points, atol=1e-5)
        assert torch.allclose(spread, p @ points ** 2 - (p @ points) ** 2, atol=1e-5)


# the banded system

def test_the_banded_posterior_is_the_dense_one():
    soi = paper_case("dsss")[0]
    timing = torch.tensor([3.3, 21.8], dtype=torch.float64)
    other = LinearModulation(BARKER, timing=timing, phase=torch.tensor([0.4, 2.0]), carrier_offset=1e-3)
    pair = LinearPair((2, 2560), soi, other)
    y, var, kappa = noise((2, 2560), generator()), torch.tensor([0.1, 0.4]), torch.tensor([3.0, 0.5])
    site = pair.spread(0, pair.prior(0)) + pair.spread(1, pair.prior(1))
    mean, spread = pair.posterior(pair.statistics(y), site, 0.0, var, kappa)
    h = dense(soi, 2560).expand(2, -1, -1)
    drift = torch.exp(2j * torch.pi * 1e-3 * torch.arange(2560, dtype=torch.float64))[:, None]
    g = kappa[:, None, None] * drift * dense(other, 2560)
    c = torch.cat([h, 1j * h, g], 2)                                # BPSK: one real unknown a symbol
    precision = (c.mH @ c).real * 2 / var[:, None, None] + torch.diag(torch.tensor([2.0] * 320 + [1.0] * g.shape[2]))
    cov = torch.linalg.inv(precision)
    expected = (cov @ ((c.mH @ y[..., None].to(c.dtype)).real * 2 / var[:, None, None]))[..., 0]
    diagonal = cov.diagonal(dim1=1, dim2=2)
    for values, want in ((mean, expected), (spread, diagonal)):
        got = torch.cat([*pair.gather(0, values).unbind(-1), pair.gather(1, values)[..., 0]], 1)
        assert torch.allclose(got, want, atol=1e-9)


# acquisition and separation

@pytest.mark.parametrize("case", ["dsss", "dsss-noise"])
@pytest.mark.parametrize("sir_db", [-24, -12, -3])
def test_acquisition_finds_timing_phase_kappa_and_noise(case, sir_db):
    x = draw_case(case, 8, sir_db, seed=9)
    _, prior, kappa, noise_var, found = acquire(x.y, *paper_case(case))
    timing = (prior.timing - x.interference.timing + 12.5) % 25 - 12.5
    phase = (prior.phase - x.interference.phase + torch.pi / 2) % torch.pi - torch.pi / 2
    assert set(found) == {"timing", "phase", "kappa", "noise_var", "kappa_std", "noise_var_std"}
    assert float(timing.abs().max()) < 0.015 and float(phase.abs().max()) < 0.015
    assert float((kappa / x.kappa - 1).abs().max()) < 0.015
    assert float((noise_var - x.noise_var).abs().max()) < 0.1 * x.noise_var + 1e-3


def test_what_is_given_is_kept():
    x = draw_case("dsss", 4, -6, seed=2)
    _, prior, kappa, noise_var, found = acquire(x.y, x.soi, x.interference, noise_var=0.01)
    assert set(found) == {"kappa", "kappa_std"} and prior.timing is x.interference.timing
    assert torch.allclose(kappa, torch.full((4,), x.kappa), rtol=5e-3) and float(noise_var[0]) == pytest.approx(0.01)


def test_a_given_phase_may_be_half_a_turn_off():
    x = draw_case("dsss", 4, -6, seed=2)
    interference = replace(x.interference, phase=x.interference.phase + torch.pi)
    kappa = acquire(x.y, x.soi, interference)[2]
    assert torch.allclose(kappa, torch.full((4,), x.kappa), rtol=5e-3)


def test_a_mixture_without_interference_or_without_anything_is_no_trouble():
    x = draw(*paper_case("dsss"), 4, 2560, None, 20, seed=2)
    assert ber(separate(x.y, *paper_case("dsss"), "joint"), x) == 0
    assert torch.isfinite(separate(0 * x.y, *paper_case("dsss"), "joint").symbols.abs()).all()


def test_an_interference_inside_the_band_of_the_soi_is_not_guessed_at():
    with pytest.raises(ParameterError, match="outside the signal of interest's band"):
        separate(torch.ones(1, 2560), paper_case("dsss")[0], LinearModulation(Signal("bpsk", 16, "rrc", 0.5, 4)), "alpha_rgs")


def test_joint_detection_separates_two_signals_in_one_band_once_they_are_known():
    soi, other = paper_case("dsss")[0], LinearModulation(Signal("qpsk", 10, "rrc", 0.35, 8))
    x = draw(soi, other, 6, 2560, -12, 15, seed=3)
    assert ber(separate(x.y, soi, x.interference, "lmmse", kappa=x.kappa, noise_var=x.noise_var), x) > 0.1
    for passes in (4, 12):
        assert ber(separate(x.y, soi, x.interference, "joint", kappa=x.kappa, noise_var=x.noise_var, passes=passes), x) < 1e-3


def test_a_short_window_is_refused():
    with pytest.raises(ParameterError, match="timing"):
        acquire(torch.zeros(1, 100, dtype=torch.complex64), *paper_case("dsss"))


@pytest.mark.parametrize("method", ["lmmse", "joint", "alpha_rgs"])
@pytest.mark.parametrize("case", ["dsss", "dsss-noise"])
def test_methods_separate_what_a_matched_filter_cannot(case, method):
    x = draw_case(case, 8, -12, seed=7)
    assert ber(separate(x.y, *paper_case(case), "matched_filter"), x) > 0.1
    out = separate(x.y, *paper_case(case), method)
    error = (out.symbols - x.soi.signal.alphabet.map(x.bits)).abs().square().mean(1)
    assert ber(out, x) < 1e-3
    if method == "joint":       # of bits without any expected error quality is a lower bound
        assert float(out.quality.min()) > 14 and float(error.max()) < (0.06 if case == "dsss-noise" else 1e-3)
    elif case == "dsss-noise":
        assert float((out.quality + 10 * torch.log10(error)).abs().mean()) < 1
    else:       # what is left is less than the methods' noise floor
        assert float(out.quality.min()) > 35 and float(error.max()) < 1e-3
    assert torch.equal((out.llrs < 0).flatten(1), x.bits.bool())


def test_in_noise_joint_detection_is_as_good_as_no_interference():
    x = draw_case("dsss-noise", 20, -18, seed=5)
    alone = x.soi.signal.alphabet.slice(x.soi.matched_filter(x.y - x.kappa * x.b))
    free = float((alone != x.bits).float().mean())
    assert ber(separate(x.y, *paper_case("dsss-noise"), "joint"), x) < 1.15 * free + 5e-4


def test_auto_is_joint_and_a_prior_file_can_say_barker():
    interference = from_dict({"kind": "linear-modulation", "constellation": "bpsk", "samples_per_symbol": 25, "pulse": "barker"})
    assert choose("auto", paper_case("dsss")[0], interference) == "joint"
    assert interference.signal == BARKER and interference.timing is None


@pytest.mark.parametrize("delay", [1.2, 9.7, 18.4])
def test_a_spread_signal_is_found_to_a_fraction_of_a_chip_wherever_its_symbols_begin(delay):
    """The evidence of a spread pulse has a peak as narrow as a chip: four timings per symbol would pass it by."""
    source = from_dict({"kind": "linear-modulation", "constellation": "bpsk", "samples_per_symbol": 20, "pulse": "barker"})
    rng = torch.Generator().manual_seed(5)
    sent = replace(source, timing=delay, carrier_offset=2e-4, phase=0.3, gain=1.0)
    s = alone(sent, 1, 2560, rng)[0]
    x = s + 0.5 * torch.randn(s.shape, dtype=s.dtype, generator=rng)
    found = likeliest(x[0], source, Background(torch.full((2560,), 1e-9, dtype=torch.float64)), 1e-6, 0.25)
    assert abs((float(found.timing) - delay + 10) % 20 - 10) < 0.1 and abs(float(found.carrier_offset) - 2e-4) < 2e-5
