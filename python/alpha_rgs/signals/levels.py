# SPDX-License-Identifier: GPL-3.0-or-later
"""Amplitudes and variances from ratios of mean powers in dB."""


def amplitude(gain: float, sir_db: float | None) -> float | None:
    """Amplitude of an interference `sir_db` below a signal of amplitude `gain`; None stays None. inf dB: 0."""
    return None if sir_db is None else gain * 10 ** (-sir_db / 20)


def noise_variance(gain: float, snr_db: float | None) -> float | None:
    """Noise variance per complex sample, `snr_db` below the power of a signal of amplitude `gain`; None stays None."""
    return None if snr_db is None else gain ** 2 * 10 ** (-snr_db / 10)
