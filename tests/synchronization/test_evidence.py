# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of timings and carrier offsets under frames, of all offsets together: right, and of each window by itself."""
import numpy as np
import pytest
import torch
from alpha_rgs.inference.frame_tiling import OfdmTiles
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.synchronization.evidence import ranked


def _windows(sps, prefix, offsets):
    """(mixtures complex64 [n, 2560], QPSK as told, OFDM): 10 dB weaker, at carrier offsets [n], timing 3.3, noise at 20 dB."""
    told = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": sps, "rolloff": 0.5, "span": 8}
    ofdm, g = from_dict({"kind": "ofdm", "frame_offset": 11, "cyclic_prefix": prefix}), torch.Generator().manual_seed(1)
    rows = []
    for f in offsets:
        own = alone(from_dict(told | {"timing": 3.3, "phase": 0.7, "carrier_offset": f}), 1, 2560, g)[0][0]
        other = alone(ofdm, 1, 2560, g)[0][0]
        rows.append(own + 10 ** 0.5 * other + 0.1 * torch.randn(2560, dtype=torch.complex64, generator=g))
    return torch.stack(rows).to(torch.complex64), from_dict(told), ofdm


@pytest.mark.parametrize(("sps", "prefix"), [(16, 16), (12, 16), (11.3, 17)])
def test_offsets_and_timings_are_found_whether_or_not_frames_are_alike(sps, prefix):
    """Symbols lie alike in all frames, in every third, in none."""
    offsets = (-0.013, 0.0021)
    y, soi, ofdm = _windows(sps, prefix, offsets)
    together = ranked(soi, OfdmTiles(y, ofdm, 10 ** 0.5, 0.01), 0.5, 1)[0]
    for k, right in enumerate(offsets):
        alone_ = ranked(soi, OfdmTiles(y[k:k + 1], ofdm, 10 ** 0.5, 0.01), 0.5, 1)[0]
        for name in ("timing", "carrier_offset", "gain"):
            assert float(getattr(together, name)[k]) == pytest.approx(float(getattr(alone_, name)[0]), rel=1e-6, abs=1e-9)
        assert abs(float(together.carrier_offset[k]) - right) < 2e-5 and abs(float(together.gain[k]) - 1) < 0.2
        off = (float(together.timing[k]) - 3.3 + sps / 2) % sps - sps / 2
        assert abs(off) < 0.06 * sps, np.round(off, 2)
