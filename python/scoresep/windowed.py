# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the separators share: overlapping windows, a worker that takes them apart, and streams again."""

import os

from gnuradio import blocks, gr

from .scoresep_python import adopt, stream_to_windows, windows_to_stream
from .settings import prior
from .window_worker import window_worker

ON_OVERLOAD = ("wait", "pass")


class windowed(gr.hier_block2):
    """In 0: a stream (complex). Out: one stream per port of the worker; without samples, where there are more outputs.

    make_task, ports and **of_worker: see window_worker. to: a Cut (cutting.py). outputs: how many (the number of ports).
    required: so many of them must be connected, the others may stay unconnected. Message out `stats`: the dictionary of stats().
    """

    def __init__(self, name, make_task, ports, to, outputs=None, required=0, **of_worker):
        outputs = len(ports) if outputs is None else outputs
        gr.hier_block2.__init__(self, name, gr.io_signature(1, 1, gr.sizeof_gr_complex),
                                gr.io_signature(outputs, outputs, gr.sizeof_gr_complex))
        self.worker = window_worker(make_task, to.window, to.hop, name=name, ports=ports, ends=to.resamples, **of_worker)
        cut = stream_to_windows(to.window, to.hop, to.window > to.hop)  # the end is marked: it is separated to its end
        self.connect(self, cut, self.worker)
        for number in range(outputs):
            if number < len(ports):
                join = windows_to_stream(*self.worker.shape(number))
                self.connect((self.worker, number), join)
            else:
                join = blocks.vector_source_c([])
            self.connect(join, (self, number))
            if number >= required:
                self.connect(join, blocks.null_sink(gr.sizeof_gr_complex))
        for sentence in to.warnings:
            self.worker.logger.warn(f"{name}: {sentence}")
        adopt(self, self.worker, "stats")  # else connect(a, separator(...), b) would crash, or the separator never be freed

    @property
    def window(self):
        """Samples of a window."""
        return self.worker.window

    @property
    def hop(self):
        """Samples from one window to the next."""
        return self.worker.hop

    @property
    def error(self):
        """The exception that ended the flowgraph, or None."""
        return self.worker.error

    def stats(self):
        """How it goes, or went: see window_stats for the keys."""
        return self.worker.report()


def check_overload(block, on_overload):
    """Raise ValueError where it is no way to meet an overload."""
    if on_overload not in ON_OVERLOAD:
        raise ValueError(f"{block}: on_overload: {on_overload!r} must be 'wait' or 'pass'")


def check_source(block, name, source):
    """The absolute path of a prior file that is there, or the prior itself; ValueError for neither."""
    if source is None or source == "":
        raise ValueError(f"{block}: {name}: give the path of a prior file (TOML) or a prior")
    source = prior(source)
    return os.path.abspath(source) if isinstance(source, str) else source
