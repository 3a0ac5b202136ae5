# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrier offsets of frames, found before anything else is asked of a mixture: joint detection of frames knows their carrier."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from ..sources.base import Noise, Number, Source, Structure
from ..sources.ofdm_carrier import carrier_offset
from .attempt import initial_levels
from .base import Separation
from .synchronizing import lacking, synchronized

_MOVED = 1e-3       # cycles per sample: found again further off, it was wrong by a carrier spacing or by the prefixes


def carrier_lacking(source: Source) -> bool:
    """Whether a source is frames whose carrier offset is unknown, and finds it."""
    return source.structure is Structure.FRAMES and "carrier_offset" in set(source.unknown) & set(source.synchronizes)


def with_carriers(y: Tensor, sources: Sequence[Source], noise_var: Number | None) -> tuple[list[Source], dict[int, Tensor]]:
    """(the sources, frames with their carrier offsets; these, [1], by the source's place), in one window y, complex64 [1,
    samples]: each source is found in what the stronger ones leave (synchronizing.py)."""
    given = [source.state.gain for source in sources]
    gains, noise = initial_levels(y, sources, given, noise_var)
    found: dict[int, Tensor] = {}
    if not any(lacking(source) for source in sources):
        free = [k for k, gain in enumerate(given) if gain is None]
        sync = synchronized(y, sources, gains, noise, free=free, thorough=False)
        found = {k: row["carrier_offset"] for k, row in enumerate(sync.found) if carrier_lacking(sources[k])}
    return placed(sources, found), found


def placed(sources: Sequence[Source], found: dict[int, Tensor]) -> list[Source]:
    """The sources with the carrier offsets that were found, others of frames being 0."""
    return [replace(cast(Any, source), carrier_offset=float(found[k][0]) if k in found else 0.0) if carrier_lacking(source) else
            source for k, source in enumerate(sources)]


def looked_over(sources: Sequence[Source], out: Separation, found: dict[int, Tensor]) -> dict[int, Tensor]:
    """The carrier offsets once more, in what a separation with `found` leaves of the others; empty where they are the same."""
    moved = dict(found)
    for k in found:
        gain = torch.as_tensor(out.kappa if out.sources[k].state.gain is None else out.sources[k].state.gain).double().reshape(-1)
        level = Noise((out.noise_var.double() / gain.square().clamp_min(1e-30)).cpu())
        again = carrier_offset(out.sources[k].cleaned / gain[:, None].clamp_min(1e-12), sources[k], level)[1]
        if bool((again - found[k]).abs() > _MOVED):
            moved[k] = again
    return moved if any(moved[k] is not found[k] for k in found) else {}
