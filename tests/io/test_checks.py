# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings about a recording's samples."""
import numpy as np
import pytest
from alpha_rgs.io.checks import clipped_share, dc_share, peak_level, source_warnings
from alpha_rgs.io.recordings import Recording

RNG = np.random.default_rng(1)
NOISE = (RNG.standard_normal(10_000) + 1j * RNG.standard_normal(10_000)).astype(np.complex64) / 8


def recording(samples, datatype="cf32_le"):
    return Recording(np.asarray(samples, np.complex64), 1e6, datatype=datatype, path="folder/rec.sigmf-data")


def test_a_clean_recording_has_no_warnings():
    assert source_warnings(recording(NOISE)) == []
    assert dc_share(recording(NOISE)) < 1e-3 and clipped_share(recording(NOISE)) == 0


def test_dc_is_named_with_its_share():
    dc = recording(NOISE + 0.1)
    assert dc_share(dc) == pytest.approx(0.01 / (0.01 + np.mean(abs(NOISE) ** 2)), rel=0.05)
    warning, = source_warnings(dc)
    assert warning.startswith("rec.sigmf-data: ") and "DC" in warning


def test_clipping_of_integers_is_at_their_full_scale():
    samples = np.round(NOISE.view(np.float32) * 128) / 128
    clean = samples.clip(-126 / 128, 126 / 128).view(np.complex64)
    assert clipped_share(recording(clean, "ci8")) == 0
    clipped = (samples * 4).clip(-1, 127 / 128).view(np.complex64)
    assert clipped_share(recording(clipped, "ci8")) > 1e-3
    assert "clipped" in source_warnings(recording(clipped, "ci8"))[0]


def test_a_float_recording_clips_where_its_peak_is_met_often():
    limited = NOISE.view(np.float32).clip(-0.2, 0.2).view(np.complex64)
    assert clipped_share(recording(limited)) > 0.1
    assert clipped_share(recording(np.zeros(8))) == 0


def test_peak_level_counts_quantization_levels():
    samples = np.array([5 / 128, -3j / 128])
    assert peak_level(recording(samples, "ci8")) == 5
    assert peak_level(recording(samples, "ci16_le")) == 5 * 256
    assert peak_level(recording(samples)) is None
