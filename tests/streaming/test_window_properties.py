# SPDX-License-Identifier: GPL-3.0-or-later
"""Window arithmetic, for any numbers: what is kept of windows is the stream, once."""
import numpy as np
import torch
from alpha_rgs.options import unusable
from alpha_rgs.separators.scale import scale_of
from alpha_rgs.streaming.reliability import lost_warnings, merged, spans
from alpha_rgs.streaming.stream import windows_of
from hypothesis import given, settings
from hypothesis import strategies as st

CUTS = st.tuples(st.integers(1, 5000), st.integers(1, 400), st.integers(1, 400)).map(
    lambda drawn: (drawn[0], max(drawn[1:]), min(drawn[1:])))


@given(CUTS)
@settings(max_examples=500, deadline=None)
def test_windows_cover_a_stream_and_what_is_kept_of_them_tiles_it(cut):
    """Every sample is kept of one window that holds it."""
    samples, window, hop = cut
    starts = windows_of(samples, window, hop)
    kept = spans(len(starts), window, hop, samples)
    assert kept[0, 0] == 0 and kept[-1, 1] == samples and (kept[1:, 0] == kept[:-1, 1]).all()
    assert (kept[:, 0] >= starts).all() and (kept[:, 1] <= starts + window).all()
    assert len(starts) == 1 or (len(starts) - 2) * hop + window < samples


@given(st.lists(st.booleans(), min_size=1, max_size=60))
@settings(deadline=None)
def test_stretches_are_the_windows_that_are_bad(bad):
    """No sample more, no sample less, and no two that touch."""
    bad = np.array(bad)
    where = spans(len(bad), 30, 20, 20 * len(bad) + 10)
    found = merged(bad, where)
    inside = np.zeros(where[-1, 1], bool)
    for low, high in found:
        inside[low:high] = True
    assert all(inside[low:high].all() == flag for flag, (low, high) in zip(bad, where.tolist()))
    assert all(b[0] > a[1] for a, b in zip(found, found[1:]))


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_what_is_unusable_says_itself(parts):
    """What is not finite, or beyond 180 dB over the median of what is not 0; at any level; a warning names it."""
    x = np.array([complex(*part) for part in parts], np.complex64)
    bad = unusable(x)
    strength = np.abs(np.where(np.isfinite(x), x, 0).astype(complex))
    usual = np.median(strength[strength > 0]) if strength.any() else 0.0
    if (strength > 1e9 * np.median(strength)).any():
        assert (bad == (~np.isfinite(x) | (strength > 1e9 * usual))).all()
    else:
        assert (bad == ~np.isfinite(x)).all()
    assert bool(lost_warnings(bad)) == bool(bad.any())


@given(st.floats(1e-37, 1e37), st.integers(1, 5))
@settings(deadline=None)
def test_the_scale_follows_the_level(level, rows):
    """A power of two that brings the samples to about 1."""
    scale = scale_of(torch.full((rows, 64), level, dtype=torch.complex64))
    assert np.log2(scale) == round(np.log2(scale)) and 0.2 < level / scale < 65
