# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A radio on one host, the separator on another, and ZeroMQ between them.

    split.py radio --bind tcp://*:5555 --source rtl
    split.py separator --connect tcp://radio.local:5555 -o wanted.cf32

Either may be started first, stopped, and started again: what is lost meanwhile is a gap, after which the signals are found again.
"""

import argparse
import sys
import time

from gnuradio import blocks, gr, zeromq
from radios import add_arguments, source
from receive import add_separator, live_separator, said, sink

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
        self.separator = live_separator(args)
        self.connect(zeromq.sub_source(gr.sizeof_gr_complex, 1, args.connect, 100, True, QUEUE), self.separator)
        self.connect(self.separator, sink(args.output))


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
    add_separator(second)
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
