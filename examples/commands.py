# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separator that is given commands while it runs; the answer to each is printed."""

import argparse
import pathlib
import time

import pmt
from gnuradio import blocks, gr, scoresep
from mixture import mixture

HERE = pathlib.Path(__file__).resolve().parent
COMMANDS = (("method", "lmmse"), ("sir_db", -12.0), ("sir_db", "estimate"), ("gate_db", 10.0), ("bypass", True),
            ("bypass", False), ("latency", 0.5), ("volume", 11))


class flowgraph(gr.top_block):
    """mixture -> throttle -> separator -> sink; its answers are kept."""

    def __init__(self, samples, samp_rate):
        gr.top_block.__init__(self, "commands")
        self.source = mixture(samples, -12, 20, 1)
        self.separator = scoresep.separator(str(HERE / "qpsk.toml"), str(HERE / "ofdm.toml"))
        self.answers = blocks.message_debug()
        self.sink = blocks.null_sink(gr.sizeof_gr_complex)
        self.connect(self.source, blocks.throttle(gr.sizeof_gr_complex, samp_rate), self.separator, self.sink)
        self.msg_connect(self.separator, "response", self.answers, "store")

    def send(self, key, value):
        """A command; its answer, or None after 10 s."""
        before = self.answers.num_messages()
        self.separator.command(**{key: value})
        for _ in range(1000):
            if self.answers.num_messages() > before:
                return pmt.to_python(self.answers.get_message(before))
            time.sleep(0.01)
        return None


def main():
    """Print each command, its answer, and how it goes half a second later."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samp-rate", type=float, default=50e3)
    parser.add_argument("--pause", type=float, default=1.0, help="s between two commands")
    args = parser.parse_args()
    top = flowgraph(int(args.samp_rate * (args.pause * len(COMMANDS) + 30)), args.samp_rate)
    top.start()
    for key, value in COMMANDS:
        time.sleep(args.pause)
        answer = top.send(key, value)
        said = "no answer" if answer is None else "ok" if answer["ok"] else answer["error"]
        stats = top.separator.stats()
        print(f"{key} = {value}: {said}; so far {stats['windows']} windows, {stats['method']}, {stats['quality']:.1f} dB, "
              f"{stats['bypassed']} bypassed, {stats['gated']} gated", flush=True)
    top.stop()
    top.wait()
    if top.separator.error is not None:
        raise top.separator.error


if __name__ == "__main__":
    main()
