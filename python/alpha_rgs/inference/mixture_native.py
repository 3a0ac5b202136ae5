# SPDX-License-Identifier: GPL-3.0-or-later
"""Posteriors of a linear mixture by the extension, in single precision with windows side by side in the lanes of vectors
(native/src/mixture_*.h); LinearMixture's own algebra is the reference, and does what single precision cannot."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import native

if TYPE_CHECKING:
    from .linear_mixture import LinearMixture

MOST_SLOTS = 600       # of a front: beyond it torch's blocked algebra is as fast, and memory grows with the square


class NativeMixture:
    """The extension's Mixture of a LinearMixture whose layout is known. Its statistics are those of the samples it was told of
    last."""

    def __init__(self, mixture: LinearMixture, instructions: str) -> None:
        self.threads = native.threads_to_use()
        sources = [arrays_of(m, gain, index) for m, gain, index in zip(mixture.models, mixture.gains, mixture.index)]
        shape = {"local": mixture.local_slots, "chain": mixture.chain_slots, "segments": mixture.segments,
                 "samples": mixture.samples, "windows": mixture.batch, "sources": sources}
        self.module = native.extension().Mixture(shape, instructions, self.threads)

    @staticmethod
    def of(mixture: LinearMixture) -> NativeMixture | None:
        """None where torch has to do it."""
        if mixture.y.device.type != "cpu" or mixture.local_slots + 2 * mixture.chain_slots > MOST_SLOTS:
            return None
        chosen = native.instructions()
        return None if chosen is None else NativeMixture(mixture, chosen)

    def tell(self, rest: Tensor) -> None:
        """Take other samples, complex [batch, samples]."""
        self.module.statistics(_complexes(rest), self.threads)

    def posterior(self, noise: Tensor, precision: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(means and variances of all slots [batch, slots], windows in which single precision has sufficed, bool [batch]). noise:
        per real dimension, [batch]; precision, shift: of the sites, [batch, slots]."""
        mean, var, sound = self.module.posterior(*(_floats(v) for v in (noise, precision, shift)), self.threads)
        return torch.from_numpy(mean).to(noise), torch.from_numpy(var).to(noise), torch.from_numpy(sound)

    def waveform(self, number: int, symbols: Tensor) -> Tensor:
        """Of unknowns [batch, n] of one source, with its gain and without what is constant: complex64 [batch, samples]."""
        return torch.from_numpy(self.module.waveform(number, _complexes(symbols), self.threads))


def _complexes(value: Tensor) -> Any:
    return np.ascontiguousarray(value.to(torch.complex64).numpy())


def _floats(value: Tensor) -> Any:
    return np.ascontiguousarray(value.to(torch.float32).numpy())


def arrays_of(model: Any, gain: Tensor, index: Tensor) -> dict[str, Any]:
    """One source, a LinearModel, as the extension takes it. index: slots of its unknowns, [batch, n, dimensions]."""
    shared = len(model.start) == 1 and len(model.columns) == 1
    rows = 1 if shared else len(index)
    slot = torch.where(model.exists[..., None], index, -1)
    return {"count": index.shape[1], "width": model.width, "dimensions": index.shape[2], "shared": shared,
            "start": _rows(model.start, rows, np.int64), "columns": _rows(model.columns, rows, np.complex64),
            "gain": _floats(gain), "slot": np.ascontiguousarray(slot.to(torch.int32).numpy())}


def _rows(value: Tensor, rows: int, kind: Any) -> Any:
    return np.ascontiguousarray(value.expand(rows, *value.shape[1:]).numpy().astype(kind))
