# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that are no linear modulations, under 802.11 bursts of which nothing is known."""
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.signals import Fsk as FskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ppm as PpmSignal
from alpha_rgs.signals.offset_qpsk import OffsetQpsk as OffsetQpskSignal
from alpha_rgs.signals.wifi import Burst as Frame
from alpha_rgs.signals.wifi import received
from alpha_rgs.sources import Fsk, Gmsk, Lora, Ppm
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.sources.ofdm_bursts import OfdmBursts
from alpha_rgs.sources.offset_qpsk import OffsetQpsk
from alpha_rgs.sources.open_carriers import OpenCarriers

SAMPLES = 2560


def decibels(value):
    return 10 * float(value.abs().square().mean().clamp_min(1e-12).log10())


def mixture(kind, signal, sir, seed):
    """(y, the waveform of the other source of unit power, the bursts', the other source as it is): a burst that began before, and
    one that begins."""
    generator = torch.Generator().manual_seed(seed)
    s, truth = kind(signal, carrier_offset=0.0012).draw(1, SAMPLES, generator)
    taps = (0.94 + 0.1j, 0.2 - 0.2j, 0.1j)
    bursts = [Frame(20, "qpsk", 16, False, -1000, 0.002, 1.0, taps), Frame(9, "16qam", 16, False, 1250, -0.001, 2.0, taps[::-1])]
    b = received(bursts, SAMPLES, generator).to(torch.complex64)[None] * 10 ** (-sir / 20)
    return s + b + 10 ** (-15 / 20) * noise(s.shape, generator), s, b, truth


@pytest.mark.parametrize("kind, signal, sir, reached", [
    (Gmsk, GmskSignal(8, 0.4, 4), -10, -20), (OffsetQpsk, OffsetQpskSignal(16.0), -5, -20), (Lora, LoraSignal(6, 8), -10, -15)])
def test_a_source_is_separated_from_bursts_of_which_nothing_is_known(kind, signal, sir, reached):
    """5 and 10 dB below them: its waveform, what they leave of the mixture, and an error rate that admits little."""
    y, s, b, _ = mixture(kind, signal, sir, 102)
    out = separate(y, [kind(signal, carrier_offset=None), OfdmBursts()])
    mine, bursts = out.sources
    assert decibels((mine.waveform - s)[:, 40:-40]) < reached
    assert decibels(mine.cleaned - s) < -7 and decibels(bursts.waveform - b) - decibels(b) < -14
    assert float(mine.error_rate) < 0.05 and mine.llrs.shape[2] > 0
    assert "gain_1" in out.estimated and "noise_var" in out.estimated


def test_bursts_may_be_named_first_and_wrong_decisions_are_told():
    """4FSK: some of its decisions fit those of carriers, which is told."""
    signal = FskSignal(10, 4, 0.27, "gaussian", 0.5)
    y, s, _, _ = mixture(Fsk, signal, -5, 103)
    out = separate(y, [OfdmBursts(), Fsk(signal, carrier_offset=None)])
    error = decibels((out.sources[1].waveform - s)[:, 40:-40])
    assert error < -5                       # nothing done: +5
    assert 0.005 < float(out.sources[1].error_rate) < 0.2 and float(out.sources[1].sinr_db) < 25


@pytest.mark.parametrize("kind, signal, known", [
    (Ppm, PpmSignal(4), False), (Ppm, PpmSignal(4), True), (Gmsk, GmskSignal(2, 0.5, 3), False)])
def test_a_source_that_takes_most_of_the_band_is_separated_too(kind, signal, known):
    """Bursts 10 dB stronger are seen beside its core; nor is a known one's line taken for all of its band."""
    y, s, b, truth = mixture(kind, signal, -10, 104)
    mine, bursts = separate(y, [truth if known else kind(signal, carrier_offset=None), OfdmBursts()]).sources
    assert decibels((mine.waveform - s)[:, 40:-40]) < -20 + decibels(s)
    assert decibels(bursts.waveform - b) - decibels(b) < -15


def test_open_carriers_decide_themselves_in_white_noise():
    generator = torch.Generator().manual_seed(2)
    n = torch.arange(80, dtype=torch.float64)
    columns = torch.polar(torch.ones(3, 80, dtype=torch.float64), 2 * torch.pi / 64 * n * torch.tensor([1., 2., 5.])[:, None])
    start = torch.tensor([10, 90, 90])
    carriers = OpenCarriers(start, columns / (3 * 80 / 200) ** 0.5, "qpsk", 1.0, 10)
    points = (torch.randint(0, 2, (1, 3), generator=generator) * 2 - 1 + 0j) * (1 + 1j) / 2 ** 0.5
    x = carriers.linear_model((1, 200)).waveform(points.to(torch.complex128), 200).to(torch.complex64)
    found = carriers.posterior(x + 0.1 * noise(x.shape, generator), 0.01)
    assert decibels(found.mean - x) < -30 and float(found.variance) < 1e-3
    assert float(torch.as_tensor(carriers.psd(64)).mean()) == pytest.approx(1.0)
    assert torch.equal(carriers.at(4).start, start - 4) and carriers.at(4).grid == 6
