# SPDX-License-Identifier: GPL-3.0-or-later
"""The baselines of the paper: stationary LMMSE, BASIS, reverse diffusion; each against its equation written out."""
import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.inference.toeplitz import ToeplitzInverse
from alpha_rgs.separators.reverse_diffusion import SCHEDULE, levels
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import LinearModulation, Ofdm
from alpha_rgs.sources.base import Source
from alpha_rgs.sources.mixtures import draw, paper_priors
from scipy.linalg import toeplitz

SOI, OFDM = paper_priors()
SAMPLES = 2560
RECT = LinearModulation(LinearSignal("qpsk", 25, "rect"), timing=7.0, phase=0.4, gain=1.0)
LAGS = np.arange(-100, 101)


def errors(out, bits):
    return int((SOI.signal.alphabet.slice(out.symbols) != bits).sum())


def linear_mixture(sir_db, batch=4, seed=1, samples=SAMPLES):
    """(y, s, b, kappa, bits): the SOI under a rectangular QPSK of 25 samples per symbol."""
    g = torch.Generator().manual_seed(seed)
    alphabet = SOI.signal.alphabet
    bits = torch.randint(0, 2, (batch, 320), generator=g)
    s = SOI.modulate(alphabet.map(bits), samples)
    b = RECT.modulate(alphabet.map(torch.randint(0, 2, (batch, 2 * RECT.centred_symbols(samples)[1]), generator=g)), samples)
    kappa = 10 ** (-sir_db / 20)
    return s + kappa * b, s, b, kappa, bits.to(torch.uint8)


@pytest.mark.parametrize("prior", [
    Ofdm(OfdmSignal(), frame_offset=0, phase=0.0, carrier_offset=0.01), Ofdm(OfdmSignal(64, 8, (6, 5)), channel=(1, 0.5j)), SOI,
    RECT, LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.25, 6), timing=None, carrier_offset=-0.03)],
    ids=["ofdm", "channel", "rrc", "rect", "untimed"])
def test_autocorrelation_is_that_of_samples(prior):
    """Against the average over a long record: a wrong lag, sign of the carrier offset or edge of the pulse shows."""
    g, n = torch.Generator().manual_seed(1), 400_000
    alphabet, signal = prior.signal.alphabet, prior.signal
    if prior.kind == "ofdm":
        frames = n // signal.frame_length
        c = alphabet.map(torch.randint(0, 2, (frames, len(signal.carriers) * alphabet.bits_per_symbol), generator=g))
        x = (c @ torch.tensor(prior.matrix.T, dtype=torch.complex64)).flatten().numpy()
    else:
        symbols = alphabet.map(torch.randint(0, 2, (1, 2 * (n // signal.samples_per_symbol)), generator=g))
        x = signal.modulate(symbols, n, prior.timing or 0.0)[0].numpy()
    x = (x * np.exp(2j * np.pi * prior.carrier_offset * np.arange(len(x))))[:360_000].reshape(9, 40_000)
    spectrum = abs(np.fft.fft(np.pad(x, ((0, 0), (0, 40_000))), axis=1)) ** 2
    sample = np.fft.ifft(spectrum.mean(0))[LAGS] / (40_000 - abs(LAGS))
    assert abs(prior.autocorrelation(LAGS) - sample).max() < 0.03
    assert prior.autocorrelation(np.array([0, 10 ** 5])) == pytest.approx([1, 0])


def test_toeplitz_inverse_is_the_inverse():
    column = OFDM.autocorrelation(np.arange(150)) * np.exp(0.3j * np.arange(150))
    column[0] += 0.01
    v = np.random.default_rng(1).normal(size=(3, 150)) + 0j
    assert np.allclose(ToeplitzInverse(column)(v), np.linalg.solve(toeplitz(column), v.T).T, atol=1e-8)


def test_stationary_lmmse_is_the_dense_formula():
    """C_ss·(C_ss + kappa²·C_bb + noise_var·I)⁻¹·y, with gain, phase and carrier offset of the SOI."""
    soi, _ = paper_priors(symbols=20)
    soi.gain, soi.phase, soi.carrier_offset = 2.0, 0.7, 0.013
    n = 400
    mixture = draw(soi, OFDM, 3, n, -10, 20, seed=2)
    kappa, noise_var = 2 * 10 ** (10 / 20), 4 * 10 ** -2.0          # on the grid to which the filter rounds
    out = separate(mixture.y, soi, OFDM, "lmmse", kappa=kappa, noise_var=noise_var, covariance="stationary")
    pulses = 2 * soi.modulate(torch.eye(20, dtype=torch.complex64), n).numpy().T.astype(complex)
    css = pulses @ pulses.conj().T
    total = css + kappa ** 2 * toeplitz(OFDM.autocorrelation(np.arange(n))) + noise_var * np.eye(n)
    expected = (css @ np.linalg.solve(total, mixture.y.numpy().T.astype(complex))).T
    assert np.allclose(out.soi.numpy(), expected, atol=1e-4)
    assert out.evaluations == 0


def test_stationary_lmmse_has_the_papers_figures():
    """MSE -10.2 dB at -3 dB and -3.8 dB at -12 dB; its symbols unbiased, its quality true."""
    for sir_db, expected in ((-3, -10.2), (-12, -3.8)):
        mixture = draw(SOI, OFDM, 8, SAMPLES, sir_db, seed=3)
        out = separate(mixture.y, SOI, OFDM, "lmmse", covariance="stationary")
        assert abs(10 * np.log10(float((out.soi - mixture.s).abs().square().mean())) - expected) < 0.4
        truth = SOI.signal.alphabet.map(mixture.bits)
        assert abs(float((out.symbols * truth.conj()).real.mean()) - 1) < 0.05
        assert abs(float(out.quality.mean()) + 10 * np.log10(float((out.symbols - truth).abs().square().mean()))) < 0.5


def test_stationary_lmmse_knows_a_linear_interference_by_its_spectrum():
    """Also where symbols go on beyond the window, and per-window timings differ."""
    y, s, _, kappa, bits = linear_mixture(-6)
    out = separate(y, SOI, RECT, "lmmse", kappa=kappa, noise_var=0.0, covariance="stationary")
    mf = separate(y, SOI, RECT, "matched_filter", kappa=kappa, noise_var=0.0)
    assert errors(out, bits) < errors(mf, bits)
    stream, _ = paper_priors(symbols=None)
    mixture = draw(stream, OFDM, 1, 3000, -9, seed=4)
    whole = separate(mixture.y, stream, OFDM, "lmmse", kappa=mixture.kappa, noise_var=0.0, covariance="stationary")
    cut = torch.stack([mixture.y[0, :2560], mixture.y[0, 160:2720]])
    parts = separate(cut, stream, OFDM, "lmmse", kappa=mixture.kappa, noise_var=0.0, start=np.array([0, 160]),
                     covariance="stationary")
    assert torch.allclose(parts.symbols[1, 40:100], whole.symbols[0, 50:110], atol=2e-2)


def constants(t):
    alpha = np.cumprod(1 - np.linspace(1e-4, 0.05, 50))
    return (1 - alpha[t]) / alpha[t], (1 - alpha[t]) / (1 - alpha[0])


@pytest.mark.parametrize("variant", ["published", "constrained", "weighted"])
def test_one_step_of_basis_is_its_equation(variant):
    """Two steps from the matched filter's decisions, written out; both kinds of interference."""
    mixture = draw(SOI, OFDM, 2, SAMPLES, -9, seed=5)
    cases = [(mixture.y, mixture.interference, mixture.kappa), (lambda m: (m[0], RECT, m[3]))(linear_mixture(-9, 2))]
    for y, prior, kappa in cases:
        out = separate(y, SOI, prior, "basis", kappa=kappa, noise_var=0.0, variant=variant, levels=[20], inner_steps=2,
                       step=1e-5, seed=7)
        v, scale = constants(20)
        eta, g = 1e-5 * scale, torch.Generator().manual_seed(7)
        s = SOI.modulate(SOI.signal.alphabet.nearest(SOI.matched_filter(y)), SAMPLES)
        b = (y - s) / kappa
        omega = kappa ** 2 if variant == "weighted" else 1.0
        for _ in range(2):
            noise = (4 * eta) ** 0.5 * torch.randn(s.shape, dtype=torch.complex64, generator=g)
            drift, e = SOI.denoise(s, 16 * v) - s, y - s - kappa * b
            b_hat = prior.denoise(b, 2 * v)
            if variant == "published":
                s, b = s + eta / v * (drift + e) + noise, b + eta / v * (b_hat - b + kappa * e) + (4 * eta) ** 0.5 * torch.randn(
                    s.shape, dtype=torch.complex64, generator=g)
            else:
                s = s + eta / v * (drift + omega / kappa ** 2 * (y - kappa * b_hat - s)) + noise
                b = (y - s) / kappa
        assert torch.allclose(out.soi, s, atol=1e-4) and torch.allclose(out.interference, kappa * b, atol=1e-4)
        assert out.evaluations == 2


def test_basis_keeps_its_start_without_a_step_and_the_mixture_when_constrained():
    mixture = draw(SOI, OFDM, 2, SAMPLES, -6, seed=6)
    args = dict(kappa=mixture.kappa, noise_var=0.0, levels=[30, 10], inner_steps=3)
    decided = SOI.modulate(SOI.signal.alphabet.nearest(SOI.matched_filter(mixture.y)), SAMPLES)
    for variant in ("published", "weighted"):
        still = separate(mixture.y, SOI, mixture.interference, "basis", variant=variant, step=0.0, **args)
        assert torch.allclose(still.soi, decided, atol=1e-6)
        assert torch.allclose(still.soi + still.interference, mixture.y, atol=1e-4)
    for variant in ("constrained", "weighted"):
        moved = separate(mixture.y, SOI, mixture.interference, "basis", variant=variant, step=1e-4, **args)
        assert float((moved.soi - decided).abs().max()) > 1e-2
        assert torch.allclose(moved.soi + moved.interference, mixture.y, atol=1e-4)


@pytest.mark.parametrize("method, options", [("basis", dict(levels=[9], inner_steps=2, step=1e-5, init="noise", noise="pulses")),
                                             ("basis", dict(levels=[9], inner_steps=2, step=1e-5, variant="published")),
                                             ("reverse_diffusion", {})])
def test_seeds_repeat(method, options):
    mixture = draw(SOI, OFDM, 2, SAMPLES, -9, seed=8)
    runs = [separate(mixture.y, SOI, mixture.interference, method, kappa=mixture.kappa, noise_var=0.0, seed=seed, **options).soi
            for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("deterministic", [False, True])
def test_reverse_diffusion_recovers_a_strong_interference(deterministic):
    """At -30 dB the SOI hardly disturbs whole frames; a rectangular QPSK is decided right everywhere."""
    mixture = draw(SOI, OFDM, 2, SAMPLES, -30, seed=9)
    out = separate(mixture.y, SOI, mixture.interference, "reverse_diffusion", kappa=mixture.kappa, noise_var=0.0,
                   deterministic=deterministic)
    inside = slice(160, -160)
    assert float((out.interference / mixture.kappa - mixture.b)[:, inside].abs().square().mean()) < 1e-5
    y, s, b, kappa, bits = linear_mixture(-24)
    out = separate(y, SOI, RECT, "reverse_diffusion", kappa=kappa, noise_var=0.0, deterministic=deterministic)
    assert errors(out, bits) <= 4
    assert float((out.interference / kappa - b)[:, 50:-50].abs().square().mean()) < 1e-4


def test_reverse_diffusion_starts_at_the_mixtures_own_noise():
    """Beyond the schedule's largest level it goes on upward at the same pace; below the smallest one denoising is left."""
    for first in (30.0, 2.0, 0.3, 1e-5):
        found = np.array(levels(first))
        assert found[0] == first and (np.diff(found) < 0).all()
        ratio = found[:-1] / found[1:]
        assert len(found) == 1 or ratio[found[:-1] > 1.05 * SCHEDULE[0]].max(initial=1) <= SCHEDULE[0] / SCHEDULE[1] + 1e-9
    assert len(levels(1e-5)) == 1 and levels(30.0)[-1] == pytest.approx(1e-4, rel=1e-2)


class Recorded(Source):
    """A prior that can only denoise."""

    kind = "recorded"

    def denoise(self, x, noise):
        return x / (1 + self.white(noise))

    def at(self, start):
        return self


def test_nonsense_is_refused_by_name():
    y = torch.zeros(1, SAMPLES, dtype=torch.complex64)
    args = dict(kappa=1.0, noise_var=0.0)
    for method, key, value in (("lmmse", "covariance", "cyclic"), ("basis", "variant", "annealed"), ("basis", "init", "zeros"),
                               ("basis", "noise", "pink"), ("basis", "step", -1e-8), ("basis", "inner_steps", 0),
                               ("basis", "levels", [50]), ("basis", "levels", []), ("reverse_diffusion", "deterministic", "yes")):
        with pytest.raises(ParameterError, match=key):
            separate(y, SOI, Ofdm(frame_offset=0, phase=0.0), method, **args, **{key: value})
    with pytest.raises(CapabilityError, match="recorded.*autocorrelation"):
        separate(y, SOI, Recorded(), "lmmse", covariance="stationary", **args)
    for method in ("basis", "reverse_diffusion"):       # a denoiser is all that they need
        out = separate(y, SOI, Recorded(), method, **args, **(dict(levels=[3], inner_steps=1) if method == "basis" else {}))
        assert out.evaluations > 0
