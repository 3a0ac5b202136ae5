# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a separator says of itself, as streams of numbers for GNU Radio's own displays."""

import math
import time

import numpy as np
import pmt
from gnuradio import gr

KEYS = ("quality", "sir_db", "error_rate", "clock_offset", "locked", "load", "latency", "latency_p50", "latency_p99",
        "window_time", "samples_per_second", "windows", "overloads", "unusable", "bypassed", "gated", "queue")


class probe(gr.sync_block):
    """In: messages of a separator's port `stats`. Out: for each of `keys` (of KEYS; what they mean: WindowStats.table) a stream
    of float32, `rate` items per second: the value said last, 0 before any and where it is none. Raises ValueError."""

    def __init__(self, keys=("quality", "sir_db"), rate=10.0):
        keys = tuple(keys)
        unknown = next((key for key in keys if key not in KEYS), None)
        if not keys or unknown is not None:
            raise ValueError(f"probe: keys: {unknown!r} must be of {', '.join(KEYS)}" if keys else "probe: keys: none are given")
        if not 0 < rate <= 1000:
            raise ValueError(f"probe: rate: {rate!r} must be above 0 and at most 1000 items per second")
        gr.sync_block.__init__(self, "Separator Probe", None, [np.float32] * len(keys))
        self.keys, self.rate, self._last, self._next = keys, float(rate), dict.fromkeys(keys, 0.0), None
        self.message_port_register_in(pmt.intern("stats"))
        self.set_msg_handler(pmt.intern("stats"), self.hear)
        self.msg_handlers.clear()  # the block would own itself; the handler is called by its name

    def hear(self, message):
        """What a separator has said; keys that it does not have stay as they are."""
        said = pmt.to_python(message)
        for key in self.keys if isinstance(said, dict) else ():
            value = said.get(key)
            if isinstance(value, (int, float)):
                self._last[key] = float(value) if math.isfinite(value) else 0.0

    def start(self):
        """Begin to count time."""
        self._next = time.monotonic()
        return True

    def work(self, input_items, output_items):
        """The items that are due, or the next one after a wait of a tenth of a second at most."""
        now = time.monotonic()
        if now < self._next:
            time.sleep(min(self._next - now, 0.1))
            return 0
        count = min(len(output_items[0]), 1 + int((now - self._next) * self.rate))
        self._next += count / self.rate
        for key, out in zip(self.keys, output_items):
            out[:count] = self._last[key]
        return count
