# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples per second through the parts of the separator: python -m gnuradio.scoresep.benchmark [--method joint]."""

import argparse
import time
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
from gnuradio import blocks, gr, scoresep
from gnuradio.scoresep.window_worker import window_worker


class CopyTask:
    """A separation that gives back what it gets, at once: what is left is the block's own cost."""

    method = "copy"

    def __init__(self, samples_per_symbol):
        self.sps = samples_per_symbol

    def submit(self, windows, start=0, block=True):
        """See alpha_rgs.engine.Task.submit."""
        future = Future()
        symbols = windows[:, :: self.sps] if self.sps else None
        future.set_result(SimpleNamespace(soi=windows, interference=windows, symbols=symbols))
        return future


def flow(samples, source, *parts):
    """Seconds that `samples` samples of the source take through the parts."""
    top = gr.top_block()
    head, sink = blocks.head(gr.sizeof_gr_complex, samples), blocks.null_sink(gr.sizeof_gr_complex)
    top.connect(source, head, *parts, sink)
    began = time.perf_counter()
    top.run()
    return time.perf_counter() - began


def windows_with_copy(window, hop, sps):
    """The parts with a copy in place of the separation: out 0 alone is looked at, the others are made all the same."""
    worker = window_worker(lambda: CopyTask(sps), window, hop, sps, name="copy")
    top = gr.hier_block2("copy", gr.io_signature(1, 1, 8), gr.io_signature(1, 1, 8))
    join = scoresep.windows_to_stream(window, hop)
    top.connect(top, scoresep.stream_to_windows(window, hop), worker, join, top)
    sinks = [blocks.null_sink(8 * window)] + ([blocks.null_sink(8 * (window // sps))] if sps else [])
    for port, sink in enumerate(sinks, 1):
        top.connect((worker, port), sink)
    top.parts = [worker, join, *sinks]
    return top


def main():
    """Print one line per part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, default=2560)
    parser.add_argument("--hop", type=int, default=2048)
    parser.add_argument("--method", default="auto", help="of the whole separator; none to leave it out")
    parser.add_argument("--soi", default="qpsk.toml")
    parser.add_argument("--interference", default="ofdm.toml")
    parser.add_argument("--samples", type=int, default=1_000_000, help="through the whole separator")
    parser.add_argument("--repeat", type=int, default=3, help="the fastest of so many counts")
    args = parser.parse_args()
    window, hop, many = args.window, args.hop, 20_000_000

    def show(name, samples, make, repeat=args.repeat):
        times = [flow(samples, blocks.null_source(gr.sizeof_gr_complex), *make()) for _ in range(repeat)]
        print(f"{name:48s}{samples / min(times) / 1e6:10.2f} MS/s", flush=True)

    pair = [lambda: (scoresep.stream_to_windows(window, hop), scoresep.windows_to_stream(window, hop))]
    show(f"C++ window pair, {window}/{hop}", many, pair[0])
    keep = []
    for sps in (0, 16):
        def make(sps=sps):
            keep.append(windows_with_copy(window, hop, sps))
            return keep[-1:]
        show(f"with the Python block, copy, {2 + bool(sps)} outputs", many, make)
    if args.method == "none":
        return
    from alpha_rgs import sources as priors
    from alpha_rgs.sources import mixtures

    soi, interference = priors.load(scoresep.prior(args.soi)), priors.load(scoresep.prior(args.interference))
    y = mixtures.draw(soi, interference, 1, args.samples, -12, 20, seed=1).y[0].numpy()
    times = []
    for _ in range(args.repeat):
        block = scoresep.separator(soi, interference, window, hop, method=args.method)
        times.append(flow(args.samples, blocks.vector_source_c(np.asarray(y).tolist()), block))
        if block.error:
            raise block.error
    stats = block.stats()
    print(f"{'the separator, ' + stats['method']:48s}{args.samples / min(times) / 1e6:10.2f} MS/s  "
          f"({stats['samples_per_second'] / 1e6:.2f} without loading)")


if __name__ == "__main__":
    main()
