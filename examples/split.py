# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A radio on one host, the separator on another, and ZeroMQ between them.

    split.py radio --bind tcp://*:5555 --source rtl
    split.py separator --connect tcp://radio.local:5555 -o wanted.cf32

Either may be started first, stopped, and started again: what is lost meanwhile is a gap, after which the signals are found again.
"""

import argparse
import pathlib
import sys
import time

from gnuradio import blocks, gr, scoresep, zeromq
from radios import add_arguments, source
from receive import said

HERE = pathlib.Path(__file__).resolve().parent
MOST = 2**16  # samples of a message
QUEUE = 64  # messages that ZeroMQ keeps on either side; what comes while they are full is lost


class radio(gr.top_block):
    """source -> ZeroMQ."""

    def __init__(self, args):
        gr.top_block.__init__(self, "radio")
        stream = [source(args)]
        if args.seconds:
            stream.append(blocks.head(gr.sizeof_gr_complex, int(args.seconds * args.samp_rate)))
        link = zeromq.pub_sink(gr.sizeof_gr_complex, 1, args.bind, 100, True, QUEUE)
        link.set_max_noutput_items(MOST)
        self.connect(*stream, link)


class separator(gr.top_block):
    """ZeroMQ -> separator -> file."""

    def __init__(self, args):
        gr.top_block.__init__(self, "separator")
        self.separator = scoresep.separator(args.soi, args.interference, on_overload="pass", latency=args.latency,
                                            samp_rate=args.samp_rate)
        self.connect(zeromq.sub_source(gr.sizeof_gr_complex, 1, args.connect, 100, True, QUEUE), self.separator)
        kept = blocks.file_sink(gr.sizeof_gr_complex, args.output) if args.output else blocks.null_sink(gr.sizeof_gr_complex)
        self.connect(self.separator, kept)


def main():
    """Run one of the two until it ends, or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    part = parser.add_subparsers(dest="part", required=True)
    first, second = part.add_parser("radio", help="sends samples"), part.add_parser("separator", help="separates what comes")
    add_arguments(first)
    first.add_argument("--bind", default="tcp://127.0.0.1:5555", help="where others may connect; tcp://*:5555 for all hosts")
    second.add_argument("--connect", default="tcp://127.0.0.1:5555", help="where the radio is")
    second.add_argument("--samp-rate", type=float, default=2.4e6, help="the radio's samples per second")
    second.add_argument("--seconds", type=float, default=0.0, help="after which to stop; 0: never")
    second.add_argument("--soi", default=str(HERE / "qpsk_kind.toml"), help="prior file of the signal of interest")
    second.add_argument("--interference", default=str(HERE / "ofdm_kind.toml"), help="prior file of the interference")
    second.add_argument("--latency", type=float, default=0.5, help="s; windows that would be later pass unseparated")
    second.add_argument("-o", "--output", default="", help="file of complex float32")
    args = parser.parse_args()
    try:
        top = radio(args) if args.part == "radio" else separator(args)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"split: {error}")
    began = time.monotonic()
    top.start()
    try:
        while not (args.seconds and time.monotonic() - began > args.seconds):
            time.sleep(1.0)
            if args.part == "separator":
                print(said(top.separator.stats()), flush=True)
    except KeyboardInterrupt:
        pass
    top.stop()
    top.wait()


if __name__ == "__main__":
    main()
