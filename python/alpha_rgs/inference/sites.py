# SPDX-License-Identifier: GPL-3.0-or-later
"""The sites and passes of expectation propagation (Minka, 2001), which all joint detectors share.

Every discrete unknown has a Gaussian *site* in place of its alphabet. A pass computes the posterior under the sites, a detector
by its own elimination. What that says of an unknown without its own site is the *cavity*; the cavity's moments over the alphabet
give the next site. Unknowns are complex, or real parts; variances are of what they are.

The noise may be annealed: inference starts as if it were stronger, where the posterior has one peak, and follows that peak.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Sites:
    """Sites of unknowns of any shape. precision: real; shift: precision times mean. exists: bool, of the same shape; the site of
    an unknown that is not there stays, about zero.

    least_var: of moments over an alphabet, which keeps precisions finite; least_site: precision of a new site, since with a
    negative one an elimination could become indefinite; least_cavity: precision of a cavity; least_posterior: variance of a
    posterior; all in units of the unknowns.
    """

    precision: Tensor
    shift: Tensor
    exists: Tensor | None = None
    least_var: float = 1e-5
    least_site: float = 1e-3
    least_cavity: float = 1e-4
    least_posterior: float = 1e-9

    def cavity(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior without its sites, (mean, variance), from the posterior's mean and variance."""
        total = 1 / var.clamp_min(self.least_posterior)
        precision = (total - self.precision).clamp_min(self.least_cavity)
        return (mean * total - self.shift) / precision, 1 / precision

    def update(self, moments: tuple[Tensor, Tensor], cavity: tuple[Tensor, Tensor], damping: float,
               rows: Tensor | None = None) -> None:
        """Sites under which the cavities have these moments, (mean, variance) each; damping: weight of the new ones. rows: which
        unknowns are meant, bool, moments and cavities being of these alone."""
        (mean, var), (own, spread) = moments, cavity
        precision = (1 / var.clamp_min(self.least_var) - 1 / spread).clamp_min(self.least_site)
        shift = mean * (precision + 1 / spread) - own / spread
        if rows is not None:
            self.precision[rows] = torch.lerp(self.precision[rows], precision, damping)
            self.shift[rows] = torch.lerp(self.shift[rows], shift, damping)
            return
        precision, shift = torch.lerp(self.precision, precision, damping), torch.lerp(self.shift, shift, damping)
        there = self.exists
        self.precision = precision if there is None else torch.where(there, precision, self.precision)
        self.shift = shift if there is None else torch.where(there, shift, 0)


@dataclass(frozen=True)
class Pass:
    """One pass. number: from 0; heat: factor on the noise; damping: weight of the new sites, None where nothing follows that
    would want them."""

    number: int
    heat: float
    damping: float | None


def schedule(passes: int, damping: float, heat: float = 1.0, settle: int = 0, more: bool = False) -> Iterator[Pass]:
    """So many passes. The noise begins `heat` times too strong and falls by equal factors, to what it is in the last `settle`
    passes. more: whether other passes follow, for which the last one finds new sites too."""
    for number in range(passes):
        falling = max(0.0, 1 - number / max(passes - settle, 1))
        yield Pass(number, heat ** falling, damping if more or number < passes - 1 else None)
