# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves with the windows of a job beside their samples: tags, and what a gate makes of windows of low quality."""

import numpy as np
import pmt

WINDOW_TAG, WINDOW_SAMPLES = pmt.intern("window_tag"), pmt.intern("window_samples")
UNSEPARATED, SEPARATION, SOURCE = pmt.intern("unseparated"), pmt.intern("separation"), pmt.intern("separator")
GATED = pmt.intern("gated")  # why a window leaves unseparated


def gate(job, ports, pair, level, action):
    """Mute windows of a finished job of a quality below a level, dB, or let them pass; how many. pair: all outputs go by the
    first source, else each by its own."""
    from alpha_rgs.streaming.window_reports import qualities

    bad = [quality < level for quality in qualities(job.separation, *job.kept, pair)]
    if pair:
        bad = [bad[0]] * len(bad)
    job.gate(ports, bad, action)
    for source, rows in enumerate(bad):
        job.unseparated += [(int(row), GATED, source) for row in np.flatnonzero(rows)]
    return int(np.any(bad, 0).sum())


def describe(job, pair):
    """Have the tags that say how each window of a finished job went."""
    from alpha_rgs.streaming.window_reports import reports

    states = getattr(job.task, "states", lambda starts: ["known"] * len(starts))(job.starts())
    job.reports = []
    for report in reports(job.separation, *job.kept, pair):
        rows = [{key: float(values[row]) for key, values in report.items() if np.isfinite(values[row])}
                for row in range(len(job.windows))]
        job.reports.append([pmt.to_pmt({**row, "lock": str(state)}) for row, state in zip(rows, states)])


def add_tags(block, ports, job, rows):
    """Put the tags of some of a job's windows on a block's outputs."""
    for row, tag in job.tags:
        if rows.start <= row < rows.stop:
            _forward(block, ports, job, job.first + row, tag)
    for row, why, source in job.unseparated:
        if rows.start <= row < rows.stop:
            _add(block, ports, job.first + row, UNSEPARATED, why, source)
    for source, values in enumerate(job.reports or ()):
        for row in range(rows.start, min(rows.stop, len(values))):
            _add(block, ports, job.first + row, SEPARATION, values[row], source)


def _add(block, ports, index, key, value, source):
    """Put a tag on a window of the outputs of a source, None: of all."""
    for number, port in enumerate(ports):
        if source is None or port.source == source:
            block.add_item_tag(number, index, key, value, SOURCE)


def _forward(block, ports, job, index, tag):
    """Put a window's tag on the same window of each output, in the terms of that output."""
    for number, port in enumerate(ports):
        value = tag.value
        if port.symbols and pmt.eqv(tag.key, WINDOW_SAMPLES):
            value = pmt.from_uint64(job.grid.count(job.begin, job.begin + job.valid))
        elif port.symbols and pmt.eqv(tag.key, WINDOW_TAG):
            offset = max(job.grid.index(pmt.to_uint64(pmt.tuple_ref(value, 0)), job.anchor), 0)
            value = pmt.make_tuple(pmt.from_uint64(offset), *(pmt.tuple_ref(value, k) for k in (1, 2, 3)))
        block.add_item_tag(number, index, tag.key, value, tag.srcid)
