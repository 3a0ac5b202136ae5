# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a separator cuts its stream: windows in samples of the stream, and whether the engine resamples them."""

import os
from dataclasses import dataclass, field

from alpha_rgs.methods import WHOLE_SYMBOLS
from alpha_rgs.options import rate, whole

from .settings import prior_table

WINDOW, HOP = 2560, 2048  # samples, where priors are in samples


@dataclass(frozen=True)
class Cut:
    """window, hop: samples of the stream. make(): (the sources, the engine's plan of it, see alpha_rgs.streaming.live.Live).
    samples_per_symbol: of the symbols that leave, 0 for none. resamples: whether the engine has a rate of its own. rate: of the
    stream, Hz, 0 where all is in samples."""

    window: int
    hop: int
    make: object
    samples_per_symbol: object = 0
    resamples: bool = False
    rate: float = 0.0
    warnings: list = field(default_factory=list)


def cut(block, sources, samp_rate, window=None, hop=None, symbols=False):
    """The Cut of a stream of a sample rate, Hz, for sources: paths of prior files, or priors. window, hop: None or 0 for what
    suits the sources. symbols: those of the first source leave too. Raises ValueError.

    With a sample rate the engine is loaded, which plans the cut; priors in samples (rate 0) are loaded when the flowgraph starts.
    """
    rate(f"{block}: samp_rate", samp_rate or None)
    window, hop = whole(f"{block}: window", window or None), whole(f"{block}: hop", hop or None)
    if window and hop:
        check_hop(block, window, hop)
    if not samp_rate:
        return _in_samples(block, sources, window, hop, symbols)
    from alpha_rgs.streaming.live import live

    sources = [loaded(source) for source in sources]
    plan = live(sources, samp_rate, window, hop, symbols)
    sps = plan.symbol_period
    sps = int(sps) if sps == int(sps) else sps
    if window and hop and not plan.resamples and isinstance(sps, int):
        check_windows(block, window, hop, sps)
    return Cut(plan.window, plan.hop, lambda: (sources, plan), sps, plan.resamples, float(samp_rate), plan.warnings)


def _in_samples(block, sources, window, hop, symbols):
    sps = samples_per_symbol(sources[0]) if symbols else 0
    chosen = not window and not hop
    window, hop = window or WINDOW, hop or HOP
    if chosen and sps:
        window, hop = nearby(window, hop, sps)
    check_hop(block, window, hop)
    check_windows(block, window, hop, sps)

    kept = {}

    def make():
        from alpha_rgs.streaming.live import in_windows

        for number, source in enumerate(sources):
            if number not in kept or not isinstance(source, str) or os.path.exists(source):  # else it has gone meanwhile
                kept[number] = in_samples(loaded(source))
        found = [kept[number] for number in range(len(sources))]
        return found, in_windows(found, None, window, hop, sps)

    return Cut(window, hop, make, sps)


def loaded(source):
    """A prior, or the one in the file at a path."""
    from alpha_rgs import sources

    return sources.load(source) if isinstance(source, str) else source


def in_samples(prior):
    """The prior. Raises ValueError for one that gives rates in Hz."""
    if hasattr(prior, "at_rate"):
        raise ValueError(f"{prior.name}: gives rates in Hz; set samp_rate, the sample rate of the stream")
    return prior


def samples_per_symbol(soi):
    """Of a prior in samples, or of the prior file at a path; 0 for one that does not ask for windows of whole symbols."""
    if isinstance(soi, str):
        table = prior_table(soi)
        usual = WHOLE_SYMBOLS.get(str(table.get("kind")), 0)
        if usual and "symbol_rate" in table:
            raise ValueError(f"{soi}: symbol_rate: is in Hz; set samp_rate, the sample rate of the stream")
        sps = table.get("samples_per_symbol", usual) if usual else 0
    else:
        sps = in_samples(soi).symbol_period
    if isinstance(sps, bool) or not isinstance(sps, (int, float)) or sps != int(sps) or sps < 0:
        raise ValueError(f"{soi}: samples_per_symbol: {sps!r} must be a whole number; resample the recording first, for "
                         "instance with GNU Radio's Rational Resampler, or give symbol_rate in Hz and set samp_rate")
    return int(sps)


def check_hop(block, window, hop):
    """Raise ValueError where windows leave gaps."""
    if not 1 <= hop <= window:
        raise ValueError(f"{block}: hop ({hop}) must be at least 1 and at most window ({window})")


def check_windows(block, window, hop, sps):
    """Raise ValueError where the windows do not fit the symbols; the message names good values nearby."""
    if sps and (window % sps or hop % sps or (window - hop) % (2 * sps)):
        good = nearby(window, hop, sps)
        raise ValueError(f"{block}: window ({window}), hop ({hop}) and (window - hop)/2 must be multiples of the signal of "
                         f"interest's samples_per_symbol ({sps}); near by are window {good[0]}, hop {good[1]}")


def nearby(window, hop, sps):
    """(window, hop) that fit symbols of so many samples."""
    good_window = max(1, round(window / sps)) * sps
    good_hop = good_window - max(0, round((good_window - hop) / (2 * sps))) * 2 * sps
    return good_window, good_hop if good_hop > 0 else good_window
