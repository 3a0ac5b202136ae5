# SPDX-License-Identifier: GPL-3.0-or-later
"""Carriers within the band of a dense alphabet are taken away to their last part: an amplitude that was a tenth off used to stay,
and a window in four had a seventh of its bits wrong, at -5 to -15 dB."""
import math

import pytest
import torch
from alpha_rgs.separators import separate
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation, Tones
from alpha_rgs.sources.mixtures import noise

SAMPLES, EDGE = 2560, 16
SIGNAL = Signal("16qam", 16, "rrc", 0.35, 8)


def mixture(seed, sir_db, windows=6, channel=()):
    """(y, symbols sent, the carriers): three of equal power, all within the band of the signal; Es/N0 18 dB."""
    g = torch.Generator().manual_seed(seed)
    soi = LinearModulation(SIGNAL, 5.3, 0.4, 1.0, 0.0)
    wave, truth = soi.draw(windows, SAMPLES, g)
    about = torch.tensor([[-0.02], [0.0], [0.02]])
    frequency = about + 0.02 * (torch.rand(windows, 3, 1, generator=g, dtype=torch.float64) - 0.5)
    phase = 2 * math.pi * (frequency * torch.arange(SAMPLES) + torch.rand(windows, 3, 1, generator=g, dtype=torch.float64))
    lines = (10 ** (-sir_db / 20) / 3 ** 0.5 * torch.polar(torch.ones_like(phase), phase).sum(1)).to(torch.complex64)
    y = wave + lines + (16 * 10 ** -1.8) ** 0.5 * noise((windows, SAMPLES), g)
    return y, wave, lines


@pytest.mark.parametrize("sir_db", [-5.0, -15.0])
def test_carriers_within_a_dense_alphabets_band_are_taken_away(sir_db):
    y, wave, lines = mixture(7301, sir_db)
    soi = LinearModulation(SIGNAL, 5.3, 0.4, 1.0, 0.0)
    out = separate(y, soi, Tones(3))
    sent, seen = (soi.matched_filter(w)[:, EDGE:-EDGE] for w in (wave, out.soi))
    wrong = SIGNAL.alphabet.nearest(out.symbols[:, EDGE:-EDGE]) != SIGNAL.alphabet.nearest(sent)
    assert float(wrong.float().mean()) < 0.02                   # without carriers: 0.008
    assert float((out.interference - lines).abs().square().mean()) < 0.05
    assert float((sent - seen).abs().square().mean(1).max()) < 0.02
    assert float(out.quality.min()) > 16


def test_what_a_channel_leaves_of_neighbours_is_taken_away():
    """Echoes: a symbol's neighbours reach it by the pulse; turns that forgot them would end in their scatter."""
    channel = (1.0, *[0.0] * 7, 0.2j)
    echoing = Signal("qpsk", 16, "rrc", 0.35, 8, channel=channel)
    soi, g = LinearModulation(echoing, 5.3, 0.4, 1.0, 0.0), torch.Generator().manual_seed(7302)
    wave, _ = soi.draw(4, SAMPLES, g)
    line = 3 * torch.polar(torch.ones(SAMPLES), 0.05 * torch.arange(SAMPLES))
    out = separate(wave + line + 0.1 * noise(wave.shape, g), soi, Tones(1))
    assert float(out.quality.min()) > 20
    assert float((out.soi - wave)[:, 256:-256].abs().square().mean()) < 0.01
