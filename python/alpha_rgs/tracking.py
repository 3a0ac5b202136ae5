# SPDX-License-Identifier: GPL-3.0-or-later
"""From windows that were each acquired alone to one stream of symbols: none twice, none missing, all in one phase.

A window tells timing modulo a symbol and phase up to the alphabet's symmetry. From window to window both are predicted, and each
window's symbols are moved and turned to agree. Clocks may drift: a symbol is dropped or repeated only when the drift has grown to
two symbols. Windows that are too bad to be believed are laid as predicted. What the prior gives is not asked of the windows.
"""
from dataclasses import replace

import numpy as np

_BELIEVED = 6.0         # dB of quality below which a window tells nothing new
_SLIPPED = 2            # symbols of drift after which one is dropped or repeated


class Tracker:
    """Of one stream. soi: the prior, whose timing or phase is unknown; slips: symbols dropped or repeated (clock drift)."""

    def __init__(self, soi):
        self.soi, self.slips, self.last = soi, 0, None      # last: (symbol's centre, its number, phase, at sample, offset, gain)

    def follow(self, out, starts):
        """A Separation of numpy arrays whose windows begin at starts [n] -> the same with symbols and llrs laid as the stream has
        them: row i of a window is symbol start/samples_per_symbol + i."""
        found, sps = out.estimated, self.soi.signal.samples_per_symbol
        symbols, llrs = out.symbols.copy(), out.llrs.copy()
        for k, start in enumerate(np.asarray(starts).tolist()):
            known = {**vars(self.soi.shifted(start)), **{key: value[k] for key, value in found.items() if np.ndim(value)}}
            timing, phase, offset, gain = (float(known[key]) for key in ("timing", "phase", "carrier_offset", "gain"))
            first = int(np.ceil(-timing / sps - 1e-9))          # of the symbols inside, counted from the one at `timing`
            if self.last is None:
                self.last = start + timing, round((start + timing - timing % sps) / sps), phase, start, offset, gain
            centre, number, before, at, rate, _ = self.last
            at_timing = number + round((start + timing - centre) / sps)
            order = self.soi.signal.alphabet.symmetry
            turns = round((phase - before - 2 * np.pi * rate * (start - at)) * order / (2 * np.pi))
            move = at_timing + first - start // sps - self.slips if self.soi.timing is None else 0
            if abs(move) >= _SLIPPED:
                self.slips += int(np.sign(move))
                move -= int(np.sign(move))
            turned = symbols[k] * np.exp(2j * np.pi * turns / order)
            symbols[k] = _moved(turned, move)
            llrs[k] = _moved(self._turned(llrs[k], turned, out.quality[k], turns % order), move)
            if out.quality[k] > _BELIEVED:
                self.last = (start + timing, at_timing, phase - 2 * np.pi * turns / order, start, offset, gain)
        return replace(out, symbols=symbols.astype(np.complex64), llrs=llrs)

    def predicted(self):
        """The SOI as last seen, its nuisances referring to the stream's first sample; the prior as given before any window."""
        if self.last is None:
            return self.soi
        centre, _, phase, at, offset, gain = self.last
        known = {"timing": centre % self.soi.signal.samples_per_symbol, "carrier_offset": offset, "gain": gain,
                 "phase": phase - 2 * np.pi * offset * at}
        return replace(self.soi, **{key: value for key, value in known.items() if getattr(self.soi, key) is None})

    def _turned(self, llrs, symbols, quality, turns):
        """LLRs [symbols, bits] after the symbols were turned: QPSK's turn with them, others are made anew."""
        if not turns:
            return llrs
        alphabet = self.soi.signal.alphabet
        if alphabet.name == "qpsk":
            z = (llrs[:, 0] + 1j * llrs[:, 1]) * 1j ** turns
            return np.stack([z.real, z.imag], 1).astype(llrs.dtype)
        import torch

        return alphabet.llrs(torch.from_numpy(symbols.astype(np.complex64)), 10 ** (-float(quality) / 10)).numpy()


def _moved(values, by):
    """values[i - by] at i; the ends repeat."""
    return values[np.clip(np.arange(len(values)) - by, 0, len(values) - 1)]
