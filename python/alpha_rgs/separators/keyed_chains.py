# SPDX-License-Identifier: GPL-3.0-or-later
"""Posterior means by the collapsed search of keyed_search.py: several chains are cooled, the best of them is made, and draws at
temperature 1 are averaged.

Where two chains differ, their symbols do so in stretches that are far apart, and the energy of one hardly depends on the others.
So the best chain takes each stretch of each other one that lowers its energy: what one has missed, another has found.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from .keyed_search import Search

# Temperatures of the sweeps. Cooled from 2.5 on, C4FM under OFDM-QPSK 10 dB stronger sticks in wrong decisions of whole frames,
# five times as many as from 6 on.
THOROUGH = tuple(6.0 - 5.0 * k / 13 for k in range(14))
BRIEF = (2.0, 1.4)              # where levels are refined by what is found
CHAINS = 8              # of a thorough search: of 4 recordings of C4FM under OFDM 8 leave 18 wrong bits, 3 leave 70
_MEASURED = (3, 2)      # sweeps whose means count, of several chains and of one
_EVERY = 6              # sweeps, in one of which all moves are drawn


def means(search: Search, temperatures: Sequence[float], chains: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """(means of the source's waveform, complex64 [batch, samples], of the linear one's unknowns and of their squared moduli,
    [batch, n]). The search's symbols are the best ones then."""
    generator, batch = torch.Generator().manual_seed(0), len(search.y)
    many = search.select(torch.arange(batch).repeat_interleave(chains))
    least = torch.zeros(many.centre.shape)
    for number, temperature in enumerate(temperatures):
        many.sweep(temperature, least, number % _EVERY in (0, 1), generator, chains)
    best = recombined(many, chains)
    many.symbols = best.repeat_interleave(chains, 0)
    count = _MEASURED[chains == 1]
    total = [torch.zeros_like(many.y), torch.zeros_like(many.linear.weight, dtype=torch.complex64), torch.zeros(1)]
    for number in range(count):
        many.sweep(1.0, least, number == 0, generator, chains)
        many.refresh()
        total = [a + b / count for a, b in zip(total, (many.s, *many.linear.means(many.z, many.scaled)))]
    search.symbols = recombined(many, chains)
    wave, mean, square = (v.unflatten(0, (batch, chains)).mean(1) for v in total)
    return wave, mean, square


def recombined(many: Search, chains: int) -> Tensor:
    """The best symbols that the chains of each window, rows next to each other, make together: [windows, symbols]."""
    rows = torch.arange(len(many.y)).view(-1, chains)
    each = many.energy()[rows]
    best = rows.gather(1, each.argmin(1, keepdim=True))[:, 0]
    if chains == 1:
        return many.symbols
    own, energy, one = many.symbols[best].clone(), each.amin(1), many.select(best)
    for number in range(chains):
        other = many.symbols[rows[:, number]]
        label = _stretches(many, own, other)
        for stretch in range(1, int(label.amax()) + 1):
            one.symbols = torch.where(label == stretch, other, own)
            now = one.energy()
            better = now < energy
            own = torch.where(better[:, None], one.symbols, own)
            energy = torch.where(better, now, energy)
    return own


def _stretches(search: Search, a: Tensor, b: Tensor) -> Tensor:
    """Numbers from 1 of the stretches in which symbols a and b [windows, n] or their phases differ, 0 elsewhere."""
    turns = ((b - a) / 2).cumsum(1)
    away = turns != 0 if search.signal.drift else turns % search.signal.index.denominator != 0
    reach = search.signal.span // 2 + 1         # symbols beside a stretch that share its samples
    there = max_pool1d(((a != b) | away).float()[:, None], 2 * reach + 1, 1, reach)[:, 0] > 0
    return (there & ~pad(there, (1, 0))[:, :-1]).cumsum(1) * there
