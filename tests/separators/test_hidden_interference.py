# SPDX-License-Identifier: GPL-3.0-or-later
"""A linear modulation that interferes from inside the wanted signal's band is found with it; it was refused before."""
import numpy as np
import pytest
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import draw

WANTED = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 8, "rolloff": 0.35, "span": 8}
OTHER = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 5, "rolloff": 0.35, "span": 8}


@pytest.mark.parametrize("known", [{"timing": 2.3, "phase": 0.4, "carrier_offset": 0.0, "gain": 1.0}, {}])
def test_wanted_symbols_are_right_under_a_stronger_signal_of_like_band(known):
    true = from_dict(WANTED | {"timing": 2.3, "phase": 0.4, "carrier_offset": 0.0, "gain": 1.0})
    mixture = draw(true, from_dict(OTHER), 1, 2560, -10.0, 12.0, 41)
    out = separate(mixture.y, from_dict(WANTED | known), from_dict(OTHER))
    error = (out.soi - mixture.s).abs().square().mean() / mixture.s.abs().square().mean()
    assert 10 * np.log10(float(error)) < -12
    assert float(out.estimated["kappa"][0]) == pytest.approx(10 ** 0.5, rel=0.05)


def test_a_sum_that_lacks_nuisances_is_found_with_the_signal():
    """A sum has no unknown nuisances of its own, its parts have."""
    from alpha_rgs.separators.api import found_together

    ofdm = {"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"}
    both = from_dict({"kind": "sum", "sources": [ofdm, {"kind": "tones", "count": 1}]})
    assert found_together(from_dict(WANTED), both) and not found_together(from_dict(WANTED), from_dict(ofdm))
