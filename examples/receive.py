# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver, a separator, and a file of what was wanted; how it goes is said once a second. Of the two signals nothing is known
but the kinds, in two prior files."""

import argparse
import pathlib
import sys
import time

from gnuradio import blocks, gr, scoresep
from radios import add_arguments, source

HERE = pathlib.Path(__file__).resolve().parent


class flowgraph(gr.top_block):
    """source -> separator -> file of the signal of interest (or nothing)."""

    def __init__(self, args):
        gr.top_block.__init__(self, "receive")
        self.separator = live_separator(args)
        stream = [source(args)]
        if args.seconds:
            stream.append(blocks.head(gr.sizeof_gr_complex, int(args.seconds * args.samp_rate)))
        self.connect(*stream, self.separator)
        self.connect(self.separator, sink(args.output))


def add_separator(parser):
    """What live_separator() and sink() need, as options of a command."""
    parser.add_argument("--soi", default=str(HERE / "qpsk_kind.toml"), help="prior file of the signal of interest")
    parser.add_argument("--interference", default=str(HERE / "ofdm_kind.toml"), help="prior file of the interference")
    parser.add_argument("--latency", type=float, default=0.5, help="s; windows that would be later pass unseparated")
    parser.add_argument("-o", "--output", default="", help="file of complex float32")


def live_separator(args):
    """A separator that lets the stream go on while it looks for the sources."""
    return scoresep.separator(args.soi, args.interference, on_overload="pass", latency=args.latency, samp_rate=args.samp_rate)


def sink(path):
    """A file of complex float32; without a path, nothing."""
    return blocks.file_sink(gr.sizeof_gr_complex, path) if path else blocks.null_sink(gr.sizeof_gr_complex)


def said(stats):
    """One line."""
    state = "locked" if stats["locked"] > 0.5 else "searching"
    return (f"{stats['samples_per_second'] / 1e6:.2f} MS/s, load {stats['load']:.2f}, latency {1e3 * stats['latency']:.0f} ms, "
            f"{state}, SIR {stats['sir_db']:.1f} dB, quality {stats['quality']:.1f} dB, "
            f"error rate {stats['error_rate']:.2g}, {stats['overloads']} of {stats['windows']} windows passed")


def main():
    """Run until it ends, or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_arguments(parser)
    add_separator(parser)
    args = parser.parse_args()
    try:
        top = flowgraph(args)
    except ValueError as error:
        sys.exit(f"receive: {error}")
    began = time.monotonic()
    top.start()
    try:
        while top.separator.error is None and not (args.seconds and time.monotonic() - began > args.seconds + 1):
            time.sleep(1.0)
            print(said(top.separator.stats()), flush=True)
    except KeyboardInterrupt:
        pass
    top.stop()
    top.wait()
    if top.separator.error is not None:
        sys.exit(f"receive: {top.separator.error}")


if __name__ == "__main__":
    main()
