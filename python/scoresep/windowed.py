# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the separators share: overlapping windows, a worker that takes them apart, and streams again."""

import os

from alpha_rgs.options import latency
from gnuradio import blocks, gr

from .commands import Commands
from .scoresep_python import adopt, stream_to_windows, windows_to_stream
from .settings import prior
from .window_worker import window_worker


def setter(key):
    """A method set_KEY(value), as GNU Radio Companion calls it when a variable changes: see windowed.command."""
    def set_value(self, value):
        self.command(**{key: value})

    set_value.__name__, set_value.__doc__ = f"set_{key}", f"command({key}=value)"
    return set_value


class windowed(gr.hier_block2):
    """In 0: a stream (complex). Out: one stream per port of the worker; without samples, where there are more outputs.

    tasks: see tasks.py. ports and **of_worker: see window_worker. controls: see commands.py. to: a Cut (cutting.py). outputs: how
    many (the number of ports). required: so many of them must be connected, the others may stay unconnected. Message in
    `command`, out `stats`: the dictionary of stats(), `response`: the answer to each command.
    """

    def __init__(self, name, tasks, ports, to, outputs=None, required=0, controls=None, **of_worker):
        outputs = len(ports) if outputs is None else outputs
        gr.hier_block2.__init__(self, name, gr.io_signature(1, 1, gr.sizeof_gr_complex),
                                gr.io_signature(outputs, outputs, gr.sizeof_gr_complex))
        commands, controls = Commands(name, {**tasks.checks, "latency": _latency(to)}), controls or {}
        commands.checks["latency"](f"{name}: latency", controls.get("latency"))
        self.worker = window_worker(tasks, to.window, to.hop, name=name, ports=ports, ends=to.resamples, commands=commands,
                                    rate=to.rate, **controls, **of_worker)
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
        # else connect(a, separator(...), b) would crash, or the separator never be freed
        adopt(self, self.worker, ["stats", "response"], ["command"])

    def command(self, **changes):
        """Change something while the flowgraph runs, as a message to `command` does, from any thread: it holds from the edge of a
        window on, and the answer leaves by `response`."""
        self.worker.ask(**changes)

    set_method, set_samp_rate, set_center_freq = map(setter, ("method", "samp_rate", "center_freq"))
    set_latency, set_on_overload, set_bypass = map(setter, ("latency", "on_overload", "bypass"))
    set_gate_db, set_gate_action, set_window_tags = map(setter, ("gate_db", "gate_action", "window_tags"))

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


def _latency(to):
    """What checks a latency: a window must fit, where the sample rate is known."""
    least = (to.window + to.hop) / to.rate if to.rate else 0.0

    def check(name, value):
        value = latency(name, value)
        if value is not None and value < least:
            raise ValueError(f"{name}: {value:g} s is less than window and hop take, {least:.3g} s; give more or shorter windows")
        return value

    return check


def check_source(block, name, source):
    """The absolute path of a prior file that is there, or the prior itself; ValueError for neither."""
    if source is None or source == "":
        raise ValueError(f"{block}: {name}: give the path of a prior file (TOML) or a prior")
    source = prior(source)
    return os.path.abspath(source) if isinstance(source, str) else source
