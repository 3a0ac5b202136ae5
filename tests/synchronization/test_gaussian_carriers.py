# SPDX-License-Identifier: GPL-3.0-or-later
"""Nuisances of a linear modulation beside OFDM whose constellation is unknown."""
import torch
from alpha_rgs import separate
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import preset
from alpha_rgs.signals.carrier import carrier
from alpha_rgs.sources import LinearModulation, Ofdm
from alpha_rgs.sources.mixtures import alone, noise


def test_a_carrier_offset_is_not_biased_and_its_deviation_is_right():
    """The posterior mean of Gaussian carriers takes most of what a wrong carrier offset leaves: it is no decision."""
    generator, offset, samples = torch.Generator().manual_seed(60), 3.455e-4, 2560
    wanted = Ofdm(OfdmSignal(**{**preset("802.11a"), "constellation": "qpsk"}))
    s, _ = alone(wanted, 2, samples, generator)
    b, _ = alone(LinearModulation(LinearSignal("qpsk", 4, "rrc", 0.35, 8), gain=1.0, carrier_offset=0.0), 2, samples, generator)
    b = b * carrier(0.0, offset, b)
    y = s + 10 ** 0.5 * b + 0.1 * noise(s.shape, generator)
    out = separate(y, [Ofdm(OfdmSignal(**{**preset("802.11a"), "constellation": "gaussian"})),
                       LinearModulation(LinearSignal("qpsk", 4, "rrc", 0.35, 8), carrier_offset=None)])
    error = out.estimated["carrier_offset"] - offset
    assert (error.abs() < 4 * out.estimated["carrier_offset_std"]).all() and (error.abs() < 1e-6).all()     # it was 5e-6
    left = (out.sources[0].cleaned - s).abs().square().mean(1)
    assert (left < 0.0115).all()                                                                        # noise alone: 0.01
