# SPDX-License-Identifier: GPL-3.0-or-later
"""What else the interference may have been: learned by asking its denoiser, decided together with the SOI's symbols.

Where both sources are about equally strong within the SOI's band, iterations that carry means alone settle on decisions of
symbols and interference that fit each other, though others fit the samples better. The likelihood can tell, the iterations cannot
go there: several symbols and the interference have to change at once. Three steps, white denoiser calls only:

1. *Learn.* From b = D((y - H·a)/kappa) the denoiser D is pushed to neighbouring waveforms of the interference, block after block
   (inference/moves.py): its *moves*.
2. *Decide.* Given the interference, the best symbols are the nearest points: the pulses are orthogonal. So only the moves
   are searched, block after block, each complete decision judged by
   |y - H·a - kappa·b|² = |e|² - Σ_m E_m·max_p(2·Re(p*·z_m) - |p|²),  e = y - kappa·b,  z = Hᴴ·e/E,
   and the best few go on to the next block.
3. The caller iterates on from the symbols found; where a block is cut by the window's edge too short for this, they are not
   `firm`.
"""
from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..inference.moves import USABLE, block_moves
from ..sources.base import Number, Source
from ..sources.linear_modulation import LinearModulation
from .base import decibels

_DOUBT = 0.1            # a symbol's residual power, its energy being 1, above which its window is searched
_SHARP = 0.01           # the level of the calls, relative to the noise: they are to decide, not to weigh
_WIDTH, _KEEP = 256, 4  # decisions kept within a block, and from one to the next


def search(y: Tensor, a: Tensor, soi: LinearModulation, interference: Source, kappa: Tensor, noise_var: Tensor,
           tones: int | None = None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Better decisions than `a` [batch, symbols] of the SOI's symbols, where there are some.

    y: complex64 [batch, samples] and kappa, noise_var [batch, 1] in units of the SOI's gain. tones: pushed in each block, two
    calls each; default as many as a block's length resolves within the SOI's symbol rate; 0, or an interference without
    `blocks`: nothing is searched. Returns (symbols, rows, firm, evaluations): rows: indices of the windows that were
    searched; firm: bool [rows, symbols].
    """
    blocks = interference.blocks(y.shape)
    if tones == 0 or blocks is None:
        return a, torch.arange(0, device=y.device), torch.ones(0, a.shape[1], dtype=torch.bool, device=y.device), 0
    level = max(decibels((noise_var / kappa.square()).mean()) * _SHARP, 1e-4)
    rest = y - soi.modulate(a, y.shape[1])
    b = interference.denoise(rest / kappa, level)
    doubt = soi.matched_filter(rest - kappa * b).abs().square()
    if soi.symbols is None:         # symbols beyond the window's ends disturb there; overlapping windows see these whole
        outer = math.ceil((blocks.length + soi.signal.half_length) / soi.signal.samples_per_symbol)
        doubt = doubt[:, outer:-outer]
    rows = torch.nonzero((doubt > _DOUBT).any(1))[:, 0]
    if len(rows) == 0:
        return a, rows, torch.ones(len(rows), a.shape[1], dtype=torch.bool, device=y.device), 1
    some, source = soi.select(rows), interference.select(rows)
    blocks = source.blocks((len(rows), y.shape[1]))
    tones = tones or round(blocks.length / soi.signal.samples_per_symbol)
    band = signal_band(some, blocks.length, y.device)
    moves = kappa[rows, None, None] * block_moves(lambda x: source.denoise(x, level), b[rows], blocks, band, tones)
    usable = (blocks.inside.float().mean(-1) >= USABLE).to(y.device)
    found = decide(y[rows] - kappa[rows] * b[rows], moves, some, blocks, noise_var[rows].clamp_min(1e-6))
    firm = blocks.join(usable[..., None].expand(-1, -1, blocks.length))
    first, count = some.centred_symbols(y.shape[1])
    centre = (some.timing_of(first)[:, None] + torch.arange(count) * some.signal.samples_per_symbol).round().long()
    firm = firm.gather(1, centre.clamp(0, y.shape[1] - 1).expand(len(rows), -1).to(y.device))
    return a.index_copy(0, rows, found), rows, firm, 1 + 2 * tones


def signal_band(soi: Any, length: Any, device: Any) -> Any:
    """How well the SOI sees each frequency of a block's zero-padded transform: float32 [4·length], at most 1."""
    offset = float(torch.as_tensor(soi.carrier_offset).flatten()[0])
    spectrum = torch.as_tensor(soi.signal.power_spectrum(4 * length, offset), dtype=torch.float32)
    return (spectrum / spectrum.max()).to(device)


def decide(rest: Any, moves: Any, soi: Any, blocks: Any, noise_var: Number) -> Any:
    """The SOI's symbols: rest = y - kappa·b [batch, samples], moves in the same units, noise_var [batch, 1].

    First the best decision of all moves that is found; then, in each block, which symbols are likely over the moves of that
    block, those of the others staying as decided."""
    samples, alphabet = rest.shape[1], soi.signal.alphabet
    z = soi.matched_filter(rest)
    energy = torch.nn.functional.pad(soi.energy(samples).expand(z.shape).to(rest.device), (0, 1))
    reach, own = (part.to(rest.device) for part in _reach(soi, blocks, samples))    # [batch, blocks, symbols]; z.shape[1]: none
    seen = _seen(moves, soi, blocks, reach)                                         # [batch, blocks, moves, symbols]
    linear = (moves.conj() @ blocks.cut(rest)[..., None])[..., 0].real
    gram = (moves.conj() @ moves.mT).real
    some = [f for f in range(moves.shape[1]) if bool((gram[:, f].diagonal(dim1=1, dim2=2) > 0).any())]

    def expand(f: Any, z: Any, metric: Any) -> Any:
        return _expand(z, metric, reach[:, f], energy.gather(1, reach[:, f]), linear[:, f], gram[:, f], seen[:, f], alphabet)

    z = torch.nn.functional.pad(z, (0, 1))[:, None]
    metric, history = torch.zeros(len(z), 1, device=rest.device), []
    for f in some:
        metric, local, taken, parent = expand(f, z, metric)
        metric, best = torch.topk(metric, min(_KEEP, metric.shape[1]), largest=False)       # sorted: the first is the best
        parent, taken = parent.gather(1, best), taken.gather(1, best[..., None].expand(-1, -1, taken.shape[2]))
        local = local.gather(1, best[..., None].expand(-1, -1, local.shape[2]))
        z = z.gather(1, parent[..., None].expand(-1, -1, z.shape[2]))
        z = z.scatter(2, reach[:, f, None].expand(-1, z.shape[1], -1), local)
        history.append((parent, taken))
    z, at, rows = z[:, :1], torch.zeros(len(z), dtype=torch.int64, device=rest.device), torch.arange(len(z), device=rest.device)
    done = torch.zeros_like(linear)
    for f, (parent, taken) in zip(reversed(some), reversed(history)):
        done[:, f], at = taken[rows, at], parent[rows, at]
    # from here on moves lead away from the decision, those that were made back
    sign = 1 - 2 * done
    linear = sign * (linear - (gram @ done[..., None])[..., 0])
    gram, seen = gram * sign[..., None] * sign[..., None, :], seen * sign[..., None]
    mean = alphabet.nearest(z[:, 0])
    for f in some:
        metric, local, _, _ = expand(f, z, metric.new_zeros(len(z), 1))
        likely = torch.softmax(-metric / noise_var, 1)
        mine = torch.where(own[:, f], reach[:, f], mean.shape[1] - 1)
        mean = mean.scatter(1, mine, (likely[..., None] * alphabet.nearest(local)).sum(1))
    return alphabet.nearest(mean[:, :-1])


def _expand(z: Any, metric: Any, reach: Any, energy: Any, linear: Any, gram: Any, seen: Any, alphabet: Any) -> Any:
    """All decisions of one block's moves that are worth keeping, from those before it, z [batch, n, symbols + 1] and their
    metric [batch, n]: (metric [batch, m], z at the symbols that it reaches [batch, m, k], moves taken [batch, m, moves],
    number of the decision before it [batch, m])."""
    def fit(local: Any) -> Any:
        return (energy[:, None] * alphabet.fit(local)).sum(-1)

    count, most = z.shape[1], len(linear[0])
    local = z.gather(2, reach[:, None].expand(-1, count, -1))
    metric = metric + fit(local)            # these symbols' part is counted anew
    parent = torch.arange(count, device=z.device).expand(len(z), -1)
    taken = torch.zeros(len(z), count, most, device=z.device)
    for j in range(most):
        size = gram[:, j, j, None]
        if not bool((size > 0).any()):
            continue
        step = size - 2 * linear[:, j, None] + 2 * (taken @ gram[:, j, :, None])[..., 0]
        moved = taken.clone()
        moved[..., j] = 1
        local = torch.cat([local, local - seen[:, j, None]], 1)
        metric = torch.cat([metric, torch.where(size > 0, metric + step, torch.inf)], 1)
        taken, parent = torch.cat([taken, moved], 1), torch.cat([parent, parent], 1)
        if local.shape[1] > _WIDTH:
            metric, best = torch.topk(metric - fit(local), _WIDTH, largest=False)
            local = local.gather(1, best[..., None].expand(-1, -1, local.shape[2]))
            taken = taken.gather(1, best[..., None].expand(-1, -1, most))
            metric, parent = metric + fit(local), parent.gather(1, best)
    return metric - fit(local), local, taken, parent


def _reach(soi: Any, blocks: Any, samples: int) -> Any:
    """Which symbols reach each block: int64 [batch, blocks, symbols], counted from the window's first, beyond the last: none;
    and which of them are centred in it, bool."""
    first, count = soi.centred_symbols(samples)
    sps, half = soi.signal.samples_per_symbol, soi.signal.half_length
    zero = soi.timing_of(first)[:, None]
    begin = torch.ceil((blocks.start - half - zero) / sps).long()
    index = begin[..., None] + torch.arange(int((blocks.length - 1 + 2 * half) // sps) + 1)
    centre = zero[..., None] + index * sps - blocks.start[..., None]
    index = torch.where((index >= 0) & (index < count), index, count)
    return index, (index < count) & (centre >= 0) & (centre < blocks.length)


def _seen(moves: Any, soi: Any, blocks: Any, reach: Any) -> Any:
    """The matched filter's response at those symbols to each move: complex64 [batch, blocks, moves, symbols]."""
    batch, count, most, length = moves.shape
    apart = 1 + math.ceil(soi.signal.taps_count / length)       # blocks so far apart share no symbol
    out = torch.zeros(batch, count, most, reach.shape[-1], dtype=moves.dtype, device=moves.device)
    for phase in range(min(apart, count)):
        mine = torch.zeros_like(moves)
        mine[:, phase::apart] = moves[:, phase::apart]
        z = torch.stack([soi.matched_filter(blocks.join(mine[:, :, j])) for j in range(most)], 1)
        z = torch.nn.functional.pad(z, (0, 1))[:, None].expand(-1, len(range(phase, count, apart)), -1, -1)
        where = reach[:, phase::apart, None].expand(-1, -1, most, -1)
        out[:, phase::apart] = z.gather(3, where)
    return out
