# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that are known by their denoisers alone are detected as well as those whose structure is known."""
import pathlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.separators import probing
from alpha_rgs.separators.joint_general import Part, joint_general
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Gaussian, Gmsk, LinearModulation, Ofdm, load
from alpha_rgs.sources.mixtures import alone, noise

PRIORS = pathlib.Path(__file__).parents[2] / "priors"
GMSK, OFDM = Gmsk(GmskSignal(4, 0.3)), Ofdm(OfdmSignal())


def mixture(sources, gains, snr_db, batch=2, samples=1280, seed=2000):
    """(y, waveforms, the sources as they truly are, noise variance)."""
    g, noise_var = torch.Generator().manual_seed(seed), 10 ** (-snr_db / 10)
    drawn = [alone(source, batch, samples, g) for source in sources]
    y = sum(a * s for a, (s, _) in zip(gains, drawn)) + noise_var ** 0.5 * noise((batch, samples), g)
    return y, [s for s, _ in drawn], [replace(t, gain=a) for a, (_, t) in zip(gains, drawn)], noise_var


def wrong(out, waves, sources, number=0, edge=80):
    """Share of wrong bits of one source, read in the mixture less the others."""
    reader, gain = sources[number].demodulator(), sources[number].gain
    read, sent = reader(out.sources[number].cleaned / gain, 0.1), reader(waves[number], 1e-3)
    inside = ~sent.at.isnan() & (sent.at > edge) & (sent.at < waves[number].shape[1] - edge)
    return float(((read.llrs < 0) != (sent.llrs < 0))[inside].float().mean())


def test_gmsk_under_ofdm_by_denoisers_alone():
    """10 dB under OFDM: cancelled one by the other, 3 to 5 % of the bits are wrong, at any noise."""
    y, waves, sources, noise_var = mixture((GMSK, OFDM), (1.0, 10 ** 0.5), 6)
    assert wrong(separate(y, sources, method="alpha_rgs", noise_var=noise_var), waves, sources) < 2e-3
    parts = joint_general(y, sources, [torch.full((2,), float(s.gain), dtype=torch.float64) for s in sources],
                          torch.full((2,), noise_var, dtype=torch.float64), linear=False)
    reader = sources[0].demodulator()
    read, sent = reader(y - parts[1].waveform, 0.3), reader(waves[0], 1e-3)
    assert ((read.llrs < 0) != (sent.llrs < 0)).float().mean() > 0.02       # which is what probing mends


def test_networks_lose_nothing():
    y, waves, sources, noise_var = mixture((GMSK, OFDM), (1.0, 10 ** 0.5), 5)
    gmsk, ofdm = load(PRIORS / "gmsk.prior"), load(PRIORS / "ofdm-qpsk.prior")
    networks = [replace(gmsk, gain=1.0), replace(ofdm, frame_offset=sources[1].frame_offset, phase=sources[1].phase,
                                                 gain=sources[1].gain)]
    assert wrong(separate(y, networks, method="alpha_rgs", noise_var=noise_var), waves, sources) < 4e-3


def test_three_denoisers():
    qpsk = LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.5, 8), gain=1.0)
    y, waves, sources, noise_var = mixture((qpsk, OFDM, GMSK), (1.0, 10 ** 0.25, 10 ** 0.15), 10)
    out = separate(y, sources, method="alpha_rgs", noise_var=noise_var)
    assert wrong(out, waves, sources, 0) < 0.02 and wrong(out, waves, sources, 2) < 0.02


def test_gaussian_sources_stay_as_they_are():
    density = 1.0 + 0.9 * np.cos(2 * np.pi * np.arange(64) / 64)
    lags = np.fft.ifft(density / density.mean()).real[:2]
    shaped = Gaussian(np.array([[1.0, lags[1]]], dtype=complex))
    y = noise((2, 640), torch.Generator().manual_seed(1))
    sources, gains = [shaped, shaped.at(0)], [torch.full((2,), g, dtype=torch.float64) for g in (0.8, 0.5)]
    noise_var = torch.full((2,), 0.1, dtype=torch.float64)
    for a, b in zip(probing.by_denoisers(y, sources, gains, noise_var), joint_general(y, sources, gains, noise_var)):
        assert torch.equal(a.waveform, b.waveform)


def test_what_fits_worse_is_not_taken(monkeypatch):
    y, _, sources, noise_var = mixture((GMSK, OFDM), (1.0, 10 ** 0.5), 6, samples=640)
    gains = [torch.full((2,), float(s.gain), dtype=torch.float64) for s in sources]
    level = torch.full((2,), noise_var, dtype=torch.float64)
    before = joint_general(y, sources, gains, level, linear=False)
    monkeypatch.setattr(probing, "jointly", lambda *_, **__: [Part(0 * p.waveform, 0 * p.variance) for p in before])
    after = probing.by_denoisers(y, sources, gains, level, linear=False)
    assert all(torch.equal(a.waveform, b.waveform) for a, b in zip(after, before))


@pytest.mark.parametrize(("density", "share"), [(np.ones(100), 0.99), (np.repeat([1.0, 0.0], [25, 75]), 0.25)])
def test_occupied_bandwidth(density, share):
    assert probing.occupied_bandwidth(density) == pytest.approx(share, abs=0.011)


def test_a_window_does_not_depend_on_its_batch():
    y, _, sources, noise_var = mixture((GMSK, OFDM), (1.0, 10 ** 0.5), 4, batch=3, samples=640)
    out = separate(y, sources, method="alpha_rgs", noise_var=noise_var)
    alone_ = separate(y[1:2], [source.select(torch.tensor([1])) for source in sources], method="alpha_rgs", noise_var=noise_var)
    assert torch.allclose(out.soi[1], alone_.soi[0], atol=1e-3)
