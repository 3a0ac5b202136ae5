# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""A channelizer in front of a separator: 2.4 MS/s come in, 100 kHz of it matter, and these alone are separated.

The simulation is QPSK of 6250 baud under OFDM of 100 kHz, both 400 kHz above the centre, and noise over all of the band.
"""

import argparse
import math
import pathlib
import sys

from gnuradio import analog, blocks, filter, gr, scoresep
from mixture import mixture
from radios import add_arguments, source
from receive import said, sink
from scipy import signal

HERE = pathlib.Path(__file__).resolve().parent
CHANNEL = 100e3  # Hz, and samples per second of the channel
LENGTH = 12  # samples of the channel that a filter delays by


def low_pass(factor):
    """Taps, float64: the channel, half of it at its edges. They delay by whole samples of the channel, since frames of OFDM are
    looked for on whole ones."""
    return signal.firwin(2 * LENGTH * factor + 1, 0.5 / factor, window=("kaiser", 6.0), fs=1.0)


class wideband(gr.hier_block2):
    """The simulation, `samples` of it at `samp_rate`: a mixture of 100 kS/s, resampled and moved, under noise."""

    def __init__(self, samples, samp_rate, offset):
        gr.hier_block2.__init__(self, "wideband", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex))
        factor = round(samp_rate / CHANNEL)
        add, noise = blocks.add_cc(), analog.noise_source_c(analog.GR_GAUSSIAN, 0.1 * math.sqrt(factor), 3)
        self.connect(mixture(samples // factor, -10.0, 30.0, 1), filter.interp_fir_filter_ccf(factor, factor * low_pass(factor)),
                     blocks.rotator_cc(2 * math.pi * offset / samp_rate), blocks.head(gr.sizeof_gr_complex, samples), add, self)
        self.connect(noise, (add, 1))


class flowgraph(gr.top_block):
    """source -> translating filter -> separator -> file."""

    def __init__(self, args):
        gr.top_block.__init__(self, "channelizer")
        factor = round(args.samp_rate / CHANNEL)
        if factor < 1 or abs(args.samp_rate / CHANNEL - factor) > 1e-9:
            raise ValueError(f"--samp-rate: {args.samp_rate:g} must be a multiple of {CHANNEL:g}")
        channel = filter.freq_xlating_fir_filter_ccc(factor, low_pass(factor), args.offset, args.samp_rate)
        count = int((args.seconds or 10.0) * args.samp_rate)
        wide = wideband(count, args.samp_rate, args.offset) if args.source == "simulated" else source(args)
        self.separator = scoresep.separator(str(HERE / "qpsk_kind.toml"), str(HERE / "ofdm_kind.toml"))
        self.symbols = blocks.vector_sink_c()
        self.connect(wide, channel, self.separator)
        self.connect(self.separator, sink(args.output))
        self.connect((self.separator, 2), self.symbols)


def main():
    """Run it and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--offset", type=float, default=400e3, help="of the channel from the centre, Hz")
    parser.add_argument("-o", "--output", default="", help="file of complex float32, of the channel's rate")
    args = parser.parse_args()
    try:
        top = flowgraph(args)
    except ValueError as error:
        sys.exit(f"channelizer: {error}")
    top.run()
    if top.separator.error is not None:
        sys.exit(f"channelizer: {top.separator.error}")
    print(said(top.separator.stats()))


if __name__ == "__main__":
    main()
