# SPDX-License-Identifier: GPL-3.0-or-later
"""Expectation propagation over linear models: against dense algebra, and that windows do not see each other."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs import native
from alpha_rgs.inference.linear_mixture import LinearMixture
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals.constellations import constellation
from alpha_rgs.sources import Gmsk, LinearModulation, Ofdm
from alpha_rgs.sources.mixtures import alone, noise

A = LinearModulation(Signal("qpsk", 4, "rrc", 0.5, 3), 1.3, 0.4)
B = LinearModulation(Signal("qpsk", 5, "rrc", 0.5, 3), torch.tensor([3.9, 0.6, 2.2]), -1.0, None, 0.02)
C = Ofdm(OfdmSignal(16, 4, (2, 1)), torch.tensor([3, 0, 17]), 0.2)
SAMPLES = 90


@pytest.fixture(params=["torch", pytest.param("native", marks=pytest.mark.skipif(not native.built(), reason="not built"))])
def exact(request, monkeypatch):
    """What digits are kept: of double precision, and of the extension's single precision."""
    monkeypatch.setenv(native.VARIABLE, "0" if request.param == "torch" else "1")
    return 1e-8 if request.param == "torch" else 2e-4


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def waves(batch=3, samples=SAMPLES):
    return noise((batch, samples), generator())


def models(*sources, batch=3, samples=SAMPLES, alphabet=None):
    found = [source.linear_model((batch, samples)) for source in sources]
    return found if alphabet is None else [replace(m, alphabet=constellation(alphabet)) for m in found]


def dense(model, row, gain, samples):
    """H of one window, complex128 [samples, unknowns]; unknowns that are not there have no column."""
    start, columns, exists = (v[row] if len(v) > 1 else v[0] for v in (model.start, model.columns, model.exists))
    n = start[:, None] + torch.arange(model.width)
    inside = (n >= 0) & (n < samples)
    out = torch.zeros(samples, len(start), dtype=torch.complex128)
    out.index_put_((n.clamp(0, samples - 1), torch.arange(len(start))[:, None].expand_as(n)), columns * inside, accumulate=True)
    return gain * out * exists


@pytest.mark.parametrize("sources", [(A,), (A, B), (C,), (A, C), (B, C, A)])
def test_gaussian_unknowns_have_the_posterior_of_dense_algebra(sources, exact):
    """(HᴴH/v + I)⁻¹Hᴴy/v and its covariance, whatever is eliminated first; one pass is exact."""
    y, v = waves(), torch.tensor([0.1, 0.03, 0.5], dtype=torch.float64)
    gains = [torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64) * (k + 1) for k in range(len(sources))]
    mine = models(*sources, alphabet="gaussian")
    mixture = LinearMixture(y, mine, gains, v)
    found = mixture.step(1.0, None)
    for row in range(3):
        h = torch.cat([dense(m, row, g[row], SAMPLES) for m, g in zip(mine, gains)], 1)
        precision = h.mH @ h / v[row] + torch.eye(h.shape[1])
        covariance = torch.linalg.inv(precision)
        mean = covariance @ h.mH @ y[row].to(h) / v[row]
        at = 0
        for m, u in zip(mine, found):
            part = slice(at, at + m.start.shape[1])
            at = part.stop
            there = m.exists[row if len(m.exists) > 1 else 0]
            assert torch.allclose(torch.view_as_complex(u.posterior[row].contiguous())[there], mean[part][there], atol=exact)
            assert torch.allclose(u.spread[row].sum(-1)[there], covariance.diagonal().real[part][there], atol=exact)
    for k, (m, g, u) in enumerate(zip(mine, gains, found)):
        wave = torch.stack([dense(m, row, g[row], SAMPLES) @ torch.view_as_complex(u.posterior[row].contiguous())
                            for row in range(3)])
        assert torch.allclose(mixture.waveform(k, u), wave.to(torch.complex64), atol=max(1e-5, 5 * exact))
        energy = torch.stack([dense(m, row, g[row], SAMPLES).abs().square().sum(0) for row in range(3)])
        assert (mixture.variance(k, u) <= g.square()).all()
        assert ((u.spread.sum(-1) * energy).sum(1) / SAMPLES <= mixture.variance(k, u) + exact).all()


def test_the_noise_is_annealed_by_its_factor():
    """hot times the noise is that noise."""
    y, gains = waves(), [torch.ones(3), torch.ones(3)]
    hot = LinearMixture(y, models(A, C, alphabet="gaussian"), gains, torch.full((3,), 0.1)).step(4.0, None)
    loud = LinearMixture(y, models(A, C, alphabet="gaussian"), gains, torch.full((3,), 0.4)).step(1.0, None)
    for one, other in zip(hot, loud):
        assert torch.allclose(one.posterior, other.posterior) and torch.allclose(one.spread, other.spread)


def decided(mixture, passes=12):
    """The Unknowns after annealed passes."""
    for k in range(passes):
        mixture.step(30.0 ** max(0.0, 1 - k / (passes - 4)), 0.5)
    return mixture.step(1.0, None)


def test_two_qpsk_signals_of_one_band_are_told_apart_by_their_timing():
    """Same pulse, symbol period and power, timing half a symbol apart, next to no noise: all symbols inside are right."""
    one = replace(A, signal=Signal("qpsk", 8, "rrc", 0.5, 4), timing=2.0)
    other = replace(one, timing=6.0, phase=-1.0)
    samples, symbols, y = 640, [], 0
    for k, source in enumerate((one, other)):
        bits = torch.randint(0, 2, (4, 2 * source.overlapping_symbols(samples)[1]), generator=generator(k))
        symbols.append(source.signal.alphabet.map(bits))
        y = y + source.modulate_overlapping(symbols[-1], samples)
    mine = models(one, other, batch=4, samples=samples)
    mixture = LinearMixture(y, mine, [torch.ones(4)] * 2, torch.full((4,), 1e-3))
    for k, unknowns in enumerate(decided(mixture)):
        soft, llrs, at = mine[k].decode(unknowns.mean, unknowns.var)
        there = ~at.isnan()
        bits = (1 - torch.view_as_real(symbols[k]).sign()) / 2
        inside = there & (at > 32) & (at < samples - 32)
        assert torch.equal((llrs < 0)[inside], bits.bool()[inside]) and there.sum() == 4 * 80
        assert (torch.view_as_complex(unknowns.posterior.contiguous()) - symbols[k])[inside].abs().max() < 1e-2


@pytest.mark.parametrize("sources", [(A, B), (A, C), (Gmsk(timing=torch.tensor([0.3, 1.7, 3.1]), phase=0.4), C)])
def test_a_window_does_not_depend_on_its_batch(sources, exact):
    """Rows with timings and frame offsets of their own, and with others' for neighbours."""
    y = sum(alone(replace(s, gain=None), 3, SAMPLES, generator(k))[0] for k, s in enumerate(sources)) + 0.2 * waves()
    mine, v = models(*sources), torch.full((3,), 0.05, dtype=torch.float64)
    gains = [torch.ones(3)] * 2
    together = LinearMixture(y, mine, gains, v)
    all_rows = decided(together)
    for rows in (slice(1, 2), slice(1, 3)):
        few = LinearMixture(y[rows], [m.select(rows) for m in mine], [g[rows] for g in gains], v[rows])
        for k, (u, whole) in enumerate(zip(decided(few), all_rows)):
            assert torch.allclose(u.posterior, whole.posterior[rows], atol=max(1e-6, 10 * exact))
            assert torch.allclose(few.waveform(k, u), together.waveform(k, whole)[rows], atol=max(1e-5, 10 * exact))
            assert torch.allclose(few.variance(k, u), together.variance(k, whole)[rows], atol=max(1e-6, exact))


def test_other_samples_keep_the_sites():
    """receive: the same samples again change nothing; other ones start from what is decided."""
    y, v = waves(), torch.full((3,), 0.1, dtype=torch.float64)
    straight, told = (LinearMixture(y, models(A, C), [torch.ones(3)] * 2, v) for _ in range(2))
    for mixture in (straight, told):
        mixture.step(2.0, 0.5)
    told.receive(y, v)
    for one, other in zip(straight.step(1.0, None), told.step(1.0, None)):
        assert torch.equal(one.posterior, other.posterior)
