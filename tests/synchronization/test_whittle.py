# SPDX-License-Identifier: GPL-3.0-or-later
"""Powers of known spectra, fitted to a periodogram."""
import numpy as np
import pytest
from alpha_rgs.synchronization.whittle import BinnedPeriodogram, fit_powers


def noise(spectrum, batch, seed):
    """Gaussian windows of that power spectral density, complex [batch, samples]."""
    generator = np.random.default_rng(seed)
    n = len(spectrum)
    white = (generator.normal(size=(batch, n)) + 1j * generator.normal(size=(batch, n))) / 2 ** 0.5
    return np.fft.ifft(white * np.sqrt(spectrum * n))


def test_powers_of_two_spectra_and_noise_are_found():
    """Of 2048 samples, bands that do not overlap: within 10 % each, and the noise with them."""
    bands = np.zeros((2, 2048))
    bands[0, 100:600], bands[1, 900:1500] = 1, 1
    x = noise(4 * bands[0] + 0.5 * bands[1] + 0.05, 6, 1)
    periodogram = BinnedPeriodogram(x)
    columns = np.stack([*periodogram.binned(bands), np.ones(periodogram.density.shape[1])])[None]
    powers = fit_powers(periodogram.density, columns, np.ones((6, 3)), [None, None, None], 200)
    assert powers.mean(0) == pytest.approx([4, 0.5, 0.05], rel=0.1)


def test_a_given_power_stays_and_bends_the_others():
    bands = np.zeros((1, 2048))
    bands[0, :1024] = 1
    periodogram = BinnedPeriodogram(noise(bands[0] + 0.1, 4, 2))
    columns = np.stack([*periodogram.binned(bands), np.ones(periodogram.density.shape[1])])[None]
    powers = fit_powers(periodogram.density, columns, np.ones((4, 2)), [None, 0.1], 100)
    assert (powers[:, 1] == 0.1).all() and powers[:, 0].mean() == pytest.approx(1, rel=0.1)


def test_silence_has_no_power_and_no_nan():
    periodogram = BinnedPeriodogram(np.zeros((2, 64), complex))
    powers = fit_powers(periodogram.density, np.ones((1, 1, periodogram.density.shape[1])), np.ones((2, 1)), [None], 10)
    assert powers == pytest.approx(0, abs=1e-12)
