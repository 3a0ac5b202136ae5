# SPDX-License-Identifier: GPL-3.0-or-later
"""What is learned of a source by asking its denoiser: its other waveforms near one of them, bit by bit, as a linear model."""
import pytest
import torch
from alpha_rgs.inference import moves
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.sources import Gmsk, LinearModulation
from alpha_rgs.sources.mixtures import alone

SAMPLES = 400


def drawn(source, level, seed=1):
    """(a waveform of two windows, its denoiser of any number of them)."""
    s, truth = alone(source, 2, SAMPLES, torch.Generator().manual_seed(seed))

    def denoise(x):
        own = truth.select(torch.arange(2).repeat(len(x) // 2))
        return own.denoise(own.denoise(x, level), level)

    return denoise(s), denoise


def pulses(alphabet):
    return LinearModulation(LinearSignal(alphabet, 4, "rrc", 0.35, 8), gain=1.0)


@pytest.mark.parametrize(("source", "duration", "each"), [
    (Gmsk(GmskSignal(4, 0.3)), 4.3, 1), (pulses("bpsk"), 3.4, 1), (pulses("qpsk"), 3.4, 2)])
def test_every_bit_is_a_move(source, duration, each):
    s, denoise = drawn(source, 0.2)
    model = moves.local_model(moves.local_moves(denoise, s, duration))
    expected = each * 2 * SAMPLES // 4
    energy = (2 * model.columns).abs().square().sum(-1)[model.exists]
    inside = energy > energy.median() / 2           # at the ends of a window less of a bit is seen
    assert 0.98 * expected <= int(inside.sum()) <= 1.05 * expected
    assert bool((model.start.diff() >= 0).all())


def test_a_move_leads_to_another_waveform_of_the_source():
    s, denoise = drawn(Gmsk(GmskSignal(4, 0.3)), 0.2)
    model = moves.local_model(moves.local_moves(denoise, s, 4.3))
    for k in range(20, 60, 7):
        x = s.clone()
        begin = int(model.start[0, k])
        x[0, begin:begin + model.width] -= 2 * model.columns[0, k].to(x.dtype)
        assert (x - s)[0].abs().square().sum() > 8
        assert (denoise(x) - x)[0].abs().square().sum() < 0.1


def test_combinations_come_apart():
    """Pushed apart are u + v, then v, then u - v: what is left is u and v."""
    u, v = torch.zeros(2, 1, 8, dtype=torch.complex64)
    u[0, :4], v[0, 3:] = 1, 1j
    basis = torch.zeros(1, 4, 8, dtype=torch.complex64)
    for x in (u + v, v, u - v, u):
        moves.insert(basis, x, torch.tensor([0.5]))
    energy = moves.power(basis)[0]
    assert int((energy > 0).sum()) == 2
    assert sorted(energy[energy > 0].tolist()) == pytest.approx([4, 5])


def test_what_does_not_decide_has_no_moves_worth_the_name():
    """A push of a whole symbol leads nowhere where symbols are a hundred times longer."""
    source = LinearModulation(LinearSignal("qpsk", 100, "rrc", 0.35, 8), gain=1.0)
    s, denoise = drawn(source, 0.2)
    assert not moves.local_moves(denoise, s, 3.4).wave.any()
