# SPDX-License-Identifier: GPL-3.0-or-later
"""Unknowns side by side that are of several alphabets, such as the data carriers and the pilots of an OFDM frame.

Who asks for points, means or decisions of unknowns in a row asks here, and need not know which of them are pilots. Where all are
of one alphabet that alphabet itself stands for them.

    >>> from alpha_rgs.signals import constellation
    >>> both = mixed([constellation("qpsk"), constellation("qpsk"), constellation("bpsk")])
    >>> both.nearest(torch.tensor([0.9 + 0.1j, -0.2 - 1j, 0.3 - 2j])).abs().round(decimals=3).tolist()
    [1.0, 1.0, 1.0]
    >>> both.symmetry, subset(both, [0, 1])
    (2, Constellation('qpsk'))
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .constellations import Constellation, Gaussian

Alphabet = Constellation | Gaussian


class Mixed:
    """The alphabets of unknowns in a row, whose pattern repeats from row to row.

    alphabets: of each unknown of a row. name: for messages. symmetry: the pattern repeats under rotation by 2*pi/symmetry.
    parts: (alphabet, places in the row int64 [n]), in order of their first unknowns.
    """

    rotation = 0.0

    def __init__(self, alphabets: Sequence[Alphabet], name: str = "") -> None:
        self.alphabets = tuple(alphabets)
        kinds = list(dict.fromkeys(self.alphabets))
        self.name = name or " and ".join(kind.name for kind in kinds)
        self.symmetry = math.gcd(*(kind.symmetry or 0 for kind in kinds)) or None
        self.parts = [(kind, torch.tensor([k for k, own in enumerate(self.alphabets) if own is kind])) for kind in kinds]

    def __repr__(self) -> str:
        return f"Mixed({self.name!r})"

    def each(self, function: Callable[..., Any], *values: Tensor, axis: int = -1) -> Any:
        """function(alphabet, *values of its unknowns) of all alphabets, put together: a tensor, or a tuple of tensors, that keep
        the shape. values: tensors along whose `axis`, negative, the unknowns stand, any number of rows."""
        rows = values[0].shape[axis] // len(self.alphabets)
        out: Any = None
        for alphabet, places in self.parts:
            at = self.places(places, rows).to(values[0].device)
            found = function(alphabet, *(value.index_select(axis, at) for value in values))
            own = found if isinstance(found, tuple) else (found,)
            out = out or [part.new_empty(values[0].shape) for part in own]
            for whole, part in zip(out, own):
                whole.index_copy_(axis, at, part)
        return tuple(out) if isinstance(found, tuple) else out[0]

    def places(self, own: Tensor, rows: int) -> Tensor:
        """Where unknowns `own` of a row stand among those of all rows, ascending, int64 [rows·n]."""
        return (len(self.alphabets) * torch.arange(rows)[:, None] + own).flatten()

    def mean(self, x: Tensor, var: float | Tensor) -> Tensor:
        """As Constellation.mean: x complex [..., n], var real, broadcastable to x."""
        found: Tensor = self.each(lambda alphabet, *own: alphabet.mean(*own), x, _like(x, var))
        return found

    def posterior(self, x: Tensor, var: float | Tensor) -> tuple[Tensor, Tensor]:
        """As Constellation.posterior: x complex [..., n], var real, broadcastable to x."""
        mean, left = self.each(lambda alphabet, *own: alphabet.posterior(*own), x, _like(x, var))
        return mean, left

    def nearest(self, symbols: Tensor) -> Tensor:
        """As Constellation.nearest, complex64 [..., n]; of Gaussian unknowns the value itself."""
        found: Tensor = self.each(lambda alphabet, own: own.to(torch.complex64) if alphabet.symmetry is None
                                  else alphabet.nearest(own), symbols)
        return found


def _like(x: Tensor, var: float | Tensor) -> Tensor:
    return torch.as_tensor(var, dtype=x.real.dtype, device=x.device).expand(x.shape)


def resolved(phase: Tensor, symmetry: int, alphabet: Any, symbols: Tensor) -> Tensor:
    """A phase, rad [batch], known up to 2π/symmetry, in the turn in which other symbols, noisy and complex [batch, ...], fit
    their own alphabet best, whose symmetry divides that one: the product of their power of that order with its noiseless mean."""
    turns = 2 * math.pi / symmetry * torch.arange(max(symmetry // alphabet.symmetry, 1), device=phase.device)
    order = alphabet.symmetry
    reference = (alphabet.points.to(torch.complex128) ** order).mean()
    lifted = (symbols.to(torch.complex128) ** order).flatten(1).sum(1) * reference.conj()
    angle = (phase[:, None] + turns).double()
    fit = (lifted[:, None] * torch.polar(torch.ones_like(angle), -order * angle)).real
    return phase + turns[fit.argmax(1)].to(phase.dtype)


def mixed(alphabets: Sequence[Alphabet], name: str = "") -> Any:
    """The alphabet of unknowns of these: a Mixed, or the one alphabet that all have."""
    return Mixed(alphabets, name) if len(set(alphabets)) > 1 else alphabets[0]


def subset(alphabet: Any, places: Any) -> Any:
    """The alphabet of some unknowns of a row (their places, integers); of none it is the first unknown's."""
    if not isinstance(alphabet, Mixed):
        return alphabet
    return mixed([alphabet.alphabets[int(k)] for k in places] or alphabet.alphabets[:1])


def parts_of(alphabet: Any, count: int) -> list[tuple[Alphabet, Tensor]]:
    """(alphabet, places int64 [n]) of `count` unknowns, whole rows: each alphabet once."""
    if not isinstance(alphabet, Mixed):
        return [(alphabet, torch.arange(count))]
    return [(own, alphabet.places(places, count // len(alphabet.alphabets))) for own, places in alphabet.parts]


def points_each(alphabet: Any, count: int) -> list[Tensor | None]:
    """The points, complex64 [k], of each of `count` unknowns, whole rows; None of a Gaussian one."""
    out: list[Tensor | None] = [None] * count
    for own, places in parts_of(alphabet, count):
        if isinstance(own, Constellation):
            for place in places.tolist():
                out[place] = own.points
    return out
