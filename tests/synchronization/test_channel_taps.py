# SPDX-License-Identifier: GPL-3.0-or-later
"""One least-squares fit of a channel serves every noise model: it finds the taps, and says how far they may be off."""
import torch
from alpha_rgs.synchronization.channel_taps import fit_taps

TAPS = torch.tensor([1.0, 0.2 - 0.3j, 0.1j], dtype=torch.complex128)
OFFSET = 3e-6       # cycles per sample
N, NOISE = 4000, 0.04


def normal_equations(generator, with_offset):
    """Of white waveforms at three delays, received through TAPS with a carrier offset: Re(JᴴJ)/noise, Re(Jᴴr)/noise."""
    sent = torch.randn(N + 2, dtype=torch.complex128, generator=generator)
    waves = torch.stack([sent[2 - d:N + 2 - d] for d in range(3)], 1)
    n = torch.arange(N, dtype=torch.float64) - N / 2
    received = (waves @ TAPS) * torch.exp(2j * torch.pi * OFFSET * n)
    received = received + NOISE ** 0.5 * torch.randn(N, dtype=torch.complex128, generator=generator)
    columns = [waves, 1j * waves] + ([(2j * torch.pi * n * (waves @ TAPS))[:, None]] if with_offset else [])
    jacobian = torch.cat(columns, 1)
    return (jacobian.mH @ jacobian).real / NOISE, (jacobian.mH @ received).real / NOISE, jacobian, received


def test_taps_are_found_within_what_is_said_of_them():
    """Squared errors over squared standard deviations average to one, over 200 draws of three taps."""
    g = torch.Generator().manual_seed(3)
    ratios = []
    for _ in range(200):
        gram, right, *_ = normal_equations(g, False)
        found = fit_taps(gram, right, 1.0, torch.zeros(3, dtype=torch.complex128))
        ratios.append((found.values - TAPS * torch.sinc(torch.tensor(OFFSET * N))).abs().square() / found.spread.square())
    assert 0.85 < float(torch.stack(ratios).mean()) < 1.15


def test_the_carrier_offset_is_found_with_them_and_bounded():
    """About the taps, what they leave shows the offset; a bound below it holds."""
    gram, _, jacobian, received = normal_equations(torch.Generator().manual_seed(4), True)
    right = (jacobian.mH @ (received - jacobian[:, :3] @ TAPS)).real / NOISE
    assert abs(fit_taps(gram, right, 1.0, TAPS, most=1e-4).carrier_offset - OFFSET) < 0.3 * OFFSET
    assert fit_taps(gram, right, 1.0, TAPS, most=1e-7).carrier_offset <= 1e-7
