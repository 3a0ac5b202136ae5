# SPDX-License-Identifier: GPL-3.0-or-later
"""A QPSK signal under each family of interference at SIR -10 dB, its nuisances and levels given, and found."""
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.signals import Gfsk as GfskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.sources import Gfsk, Gmsk, LinearModulation, Lora, Sum, Tones
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.synchronization import acquire

SOI = paper_priors()[0]
SIR, SNR = -10.0, 20.0


def wrong(out, mixture):
    return float((mixture.soi.signal.alphabet.slice(out.symbols) != mixture.bits).float().mean())


FAMILIES = {                    # prior, matched filter's BER at least, BER at most: given, found
    "gmsk": (Gmsk(GmskSignal(4)), 0.2, 0, 1e-3),
    "gmsk16": (Gmsk(GmskSignal(16)), 0.3, 0, 1e-3),             # all of it within the SOI's band
    "bluetooth": (Gfsk(GfskSignal(8)), 0.3, 0, 1e-3),
    "gfsk": (Gfsk(GfskSignal(8, 0.5, 3, 1 / 3)), 0.3, 0, 1e-3),
    "lora": (Lora(LoraSignal(7, 4)), 0.1, 0, 1e-3),
    "lora-phase": (Lora(LoraSignal(7, 4), phase=0.3), 0.1, 0, 1e-3),
    "tones": (Tones(3), 0.02, 0, 1e-3),
    "gmsk+tones": (Sum((Gmsk(GmskSignal(8, 0.3, 3)), Tones(2)), (1.0, 0.5)), 0.2, 0, 1e-2),
}


def drawn(prior):
    """Two windows: of a sum, which takes long, shorter ones."""
    return draw(SOI, prior, 2, 1280 if prior.kind == "sum" else 2560, SIR, SNR, seed=3)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_known_interference_is_separated(name):
    prior, blind, given, _ = FAMILIES[name]
    m = drawn(prior)
    assert wrong(separate(m.y, SOI, m.interference, "matched_filter", kappa=m.kappa, noise_var=m.noise_var), m) > blind
    out = separate(m.y, SOI, m.interference, kappa=m.kappa, noise_var=m.noise_var)
    assert out.method == ("joint" if m.interference.linear else "alpha_rgs") and wrong(out, m) <= given
    assert (out.soi - m.s).abs().square().mean() < 0.02


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "gmsk16"])
def test_an_interference_is_found_and_separated(name):
    prior, _, _, found = FAMILIES[name]
    m = drawn(prior)
    out = separate(m.y, SOI, prior)
    assert wrong(out, m) <= found
    assert out.kappa.tolist() == pytest.approx([m.kappa] * 2, rel=0.05)
    most = (10 if prior.kind == "sum" else 2) * m.noise_var
    assert m.noise_var / 2 < float(out.noise_var.min()) and float(out.noise_var.max()) < most
    assert {"kappa", "noise_var"} <= set(out.estimated)


@pytest.mark.parametrize(("constellation", "pulse"), [("pi/4-dqpsk", "rrc"), ("16apsk", "rrc"), ("32apsk", "rrc"),
                                                      ("qpsk", "taps")])
def test_linear_modulations_of_all_kinds_are_separated(constellation, pulse):
    taps = tuple(LinearSignal("qpsk", 5, "rrc", 0.35, 8).pulse_at(torch.arange(-20, 21).numpy())) if pulse == "taps" else ()
    prior = LinearModulation(LinearSignal(constellation, 5, pulse, 0.35, 8, taps), gain=1.0)
    m = draw(SOI, prior, 2, 2560, SIR, SNR, seed=3)
    blind = wrong(separate(m.y, SOI, m.interference, "matched_filter", kappa=m.kappa, noise_var=m.noise_var), m)
    out = separate(m.y, SOI, m.interference, kappa=m.kappa, noise_var=m.noise_var)
    assert out.method == ("alpha_rgs" if constellation == "pi/4-dqpsk" else "joint") and wrong(out, m) < 0.04 < 0.2 < blind


def test_levels_are_found_without_separating():
    for prior in (Gmsk(GmskSignal(4)), Lora(LoraSignal(7, 4)), Tones(2)):
        m = draw(SOI, prior, 3, 2560, -6.0, 15.0, seed=4)
        truth, kappa, noise_var, found = acquire(m.y, SOI, m.interference)[-4:]
        assert kappa.tolist() == pytest.approx([m.kappa] * 3, rel=0.1)
        assert noise_var.tolist() == pytest.approx([m.noise_var] * 3, rel=0.7)
        assert set(found) == {"kappa", "noise_var", "kappa_std", "noise_var_std"}             # nothing else was unknown
        given = acquire(m.y, SOI, m.interference, 2.0, 0.1)
        assert given[-3].tolist() == [2.0] * 3 and given[-1] == {}
    with pytest.raises(ParameterError, match="noise_var: .*flat"):
        acquire(m.y, SOI, Lora(LoraSignal(7, 1)))
