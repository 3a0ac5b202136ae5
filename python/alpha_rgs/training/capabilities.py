# SPDX-License-Identifier: GPL-3.0-or-later
"""What training asks of a source. Two answers are concluded from the kind as yet: they stand for attributes that a source is to
have."""
from typing import Any

from ..sources.base import Structure


def has_symbol_grid(source: Any) -> bool:
    """Whether it is one symbol per period, to whose grid a network can be aligned (signal.samples_per_symbol)."""
    return bool(source.structure is Structure.CHAIN)


def has_frames(source: Any) -> bool:
    """Whether it is OFDM, frame behind frame (signal.fft_size, signal.cyclic_prefix)."""
    return bool(source.structure is Structure.FRAMES)


def has_bursts(source: Any) -> bool:
    """Whether it is bursts of OFDM, whose carriers a BurstDenoiser decides."""
    return bool(source.structure is Structure.BURSTS)


def can_be_drawn(source: Any) -> bool:
    """Whether waveforms of it can be drawn from its description alone."""
    return not (source.learned or source.fitted)


def pseudo_period(source: Any) -> int | None:
    """Samples after which its complementary covariance repeats, where that is not zero and no symbol grid says so; else None."""
    return 2 * source.signal.samples_per_symbol if source.kind == "gmsk" else None


def denoises_unknown_state(source: Any) -> bool:
    """Whether denoise is the posterior mean for unknown timing and phase too."""
    return bool(source.kind == "gmsk")
