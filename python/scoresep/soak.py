# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random streams through the separator's blocks: python -m gnuradio.scoresep.soak [--streams 10000] [--seed 1].

Length, window, hop, symbols, tags and the room that GNU Radio gives a call are drawn; the separation is a copy. As many samples
must leave as came, each on its place, and every tag once, on its sample.
"""

import argparse
import random
import sys
import time

import numpy as np
import pmt
from gnuradio import blocks, gr, scoresep
from gnuradio.scoresep.benchmark import CopyTask
from gnuradio.scoresep.window_worker import window_worker

LONGEST = 6000  # samples of a stream
SYMBOLS = (0, 1, 2, 5, 16)  # samples per symbol that are drawn; 0: none
MOST_TAGS = 40


class Copy(CopyTask):
    """Gives back what it gets; its symbols are the samples of the stream whose numbers are multiples of samples_per_symbol."""

    def submit(self, windows, start=0, block=True):
        """See alpha_rgs.streaming.task.Task.submit."""
        future = super().submit(windows, start, block)
        if self.sps:
            future.result().symbols = windows[:, -int(np.ravel(start)[0]) % self.sps :: self.sps]
        return future


def case(rng):
    """A stream, drawn: length, window, hop, samples per symbol, sorted offsets of tags, items per call."""
    sps = rng.choice(SYMBOLS)
    unit = max(sps, 1)
    context = rng.choice((0, 0, 1, rng.randrange(1, 20))) * unit
    hop = rng.choice((1, 2, rng.randrange(1, 40), rng.randrange(1, 200))) * unit
    window = hop + 2 * context
    edges = (0, 1, window - 1, window, window + 1, window + hop, 3 * hop + window + 1)
    length = min(LONGEST, rng.choice((*edges, rng.randrange(LONGEST), rng.randrange(LONGEST))))
    length = min(length, 2000 * hop)  # a window per sample takes its time
    tags = sorted(rng.randrange(length) for _ in range(rng.randrange(MOST_TAGS))) if length else []
    return length, window, hop, sps, tags, rng.choice((1, 3, 17, 500, 100_000))


def fault(length, window, hop, sps, tags, room):
    """What is wrong with a stream that went through, "" where nothing is."""
    samples = (np.arange(length) + 1 + 1j).astype(np.complex64)
    top, sinks = gr.top_block(), [blocks.vector_sink_c() for _ in range(2)]
    source = blocks.vector_source_c(samples, False, 1, [_tag(place, number) for number, place in enumerate(tags)])
    worker = window_worker(lambda: Copy(sps), window, hop, sps, name="copy")
    top.connect(source, scoresep.stream_to_windows(window, hop), worker)
    for port, sink in enumerate(sinks):
        top.connect((worker, port), scoresep.windows_to_stream(window, hop), sink)
    if sps:
        symbols = blocks.vector_sink_c()
        top.connect((worker, 2), scoresep.windows_to_stream(window // sps, hop // sps), symbols)
    top.run(room)
    if worker.error is not None:
        return f"error {worker.error!r}"
    for port, sink in enumerate(sinks):
        if not np.array_equal(sink.data(), samples):
            return f"output {port}: {len(sink.data())} samples for {length}, or others"
        found = [(tag.offset, pmt.to_python(tag.value)) for tag in sink.tags()]
        if found != [(place, number) for number, place in enumerate(tags)]:
            return f"output {port}: {len(found)} tags for {len(tags)}, or on other samples"
    if sps and not np.array_equal(symbols.data(), samples[::sps]):
        return f"output 2: {len(symbols.data())} symbols for {len(samples[::sps])}, or others"
    return ""


def _tag(place, number):
    out = gr.tag_t()
    out.offset, out.key, out.value, out.srcid = place, pmt.intern("mark"), pmt.from_long(number), pmt.intern("soak")
    return out


def main():
    """Print the streams that fail; exit code 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    gr.logging().set_default_level(gr.log_levels.err)  # buffers of odd sizes are meant
    rng, faults, began = random.Random(args.seed), 0, time.monotonic()
    for number in range(args.streams):
        drawn = case(rng)
        if wrong := fault(*drawn):
            faults += 1
            print(f"stream {number}, (length, window, hop, samples per symbol, tags, room) = {drawn}: {wrong}", flush=True)
    print(f"{args.streams} streams, {faults} with faults, {args.streams / (time.monotonic() - began):.0f} per second")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
