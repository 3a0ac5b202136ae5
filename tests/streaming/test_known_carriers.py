# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of one stream that are separated anew with the carrier offsets that their neighbours report."""
import numpy as np
import torch
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.sources import Gmsk, LinearModulation
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.streaming.engine import Engine


def test_carrier_offsets_of_several_sources_may_differ_from_window_to_window():
    generator, samples = torch.Generator().manual_seed(5), 1024
    gmsk, qpsk = Gmsk(GmskSignal(4, 0.4)), LinearModulation(LinearSignal("qpsk", 4, "rrc", 0.35, 8), gain=1.0)
    s, _ = alone(gmsk, 2, samples, generator)
    b, truth = alone(qpsk, 2, samples, generator)
    y = s + 3 * b + 0.1 * noise(s.shape, generator)
    engine = Engine()
    try:
        task = engine.task([Gmsk(GmskSignal(4, 0.4), carrier_offset=0.0), LinearModulation(qpsk.signal)], None)
        known = {"carrier_offset": torch.tensor([1e-6, -1e-6], dtype=torch.float64),
                 "timing": torch.as_tensor(truth.timing, dtype=torch.float64).reshape(-1).expand(2)}
        out = task.separate(y, np.array([0, 0]), known)
    finally:
        engine.close()
    assert len(out.soi) == 2 and (out.soi - 3 * b).abs().square().mean() < 0.1
