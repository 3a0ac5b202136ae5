# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""QPSK under OFDM 12 dB stronger, taken apart in a GNU Radio flowgraph; bit errors before and after."""

import argparse
import json
import math
import pathlib
import sys
import time

import numpy as np
from gnuradio import blocks, gr, scoresep
from mixture import bit_error_rate, demodulator, mixture

HERE = pathlib.Path(__file__).resolve().parent


class flowgraph(gr.top_block):
    """mixture -> demodulator, and mixture -> separator -> the same demodulator."""

    def __init__(self, args):
        gr.top_block.__init__(self, "demo")
        self.source = mixture(args.samples, args.sir_db, args.snr_db, args.seed)
        self.separator = scoresep.separator(str(HERE / "qpsk.toml"), str(HERE / "ofdm.toml"), method=args.method)
        self.sinks = {}
        for name, stream in ("before", self.source), ("after", self.separator):
            receiver = demodulator()
            for port, sink in enumerate((blocks.vector_sink_b(), blocks.vector_sink_c())):
                self.connect((receiver, port), sink)
                self.sinks[name, ("decided", "symbols")[port]] = sink
            self.sinks[name, "samples"] = blocks.vector_sink_c()
            self.connect((stream, 0), receiver)
            self.connect((stream, 0), self.sinks[name, "samples"])
        self.sinks["soft", "symbols"] = blocks.vector_sink_c()
        self.connect(self.source, self.separator)
        self.connect((self.separator, 2), self.sinks["soft", "symbols"])

    def result(self, name, what):
        """What a sink holds, as an array."""
        return np.array(self.sinks[name, what].data())


def run(args):
    """Run the flowgraph; the report (dictionary) and the flowgraph."""
    began = time.perf_counter()
    top = flowgraph(args)
    top.run()
    if top.separator.error:
        raise top.separator.error
    stats = top.separator.stats()
    report = {
        "ber_before": bit_error_rate(top.result("before", "decided"), top.source.sent),
        "ber_after": bit_error_rate(top.result("after", "decided"), top.source.sent),
        "sir_db": stats["sir_db"],
        "samples_per_second": stats["samples_per_second"],
        "method": stats["method"],
        "quality": stats["quality"],
        "samples": args.samples,
        "bits": 2 * len(top.result("after", "decided")),
        "seconds": time.perf_counter() - began,
        "sir_db_true": args.sir_db,
        "snr_db_true": args.snr_db,
        "seed": args.seed,
        "estimated": stats["estimated"].split(),
    }
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in report.items()}, top


def main():
    """Run it, say what came out, and write the report and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--samples", type=int, default=400_000)
    parser.add_argument("--sir-db", type=float, default=-12.0, help="power of the QPSK over the OFDM")
    parser.add_argument("--snr-db", type=float, default=20.0, help="power of the QPSK over the noise, per sample")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=HERE.parent / "demo", help="folder")
    args = parser.parse_args()
    print(f"QPSK under OFDM {-args.sir_db:g} dB stronger, noise {args.snr_db:g} dB below the QPSK: "
          f"{args.samples} samples through GNU Radio ...", flush=True)
    try:
        report, top = run(args)
    except ValueError as error:
        sys.exit(f"demo: {error}")
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    from picture import draw

    draw(args.output / "separated.png", report, symbols_soft=top.result("soft", "symbols"),
         **{f"{what}_{name}": top.result(name, what) for name in ("before", "after") for what in ("symbols", "samples")})
    print(f"bit error rate   before {report['ber_before']:.3g}, after {report['ber_after']:.3g} "
          f"({report['bits']} bits)\n"
          f"estimated SIR    {report['sir_db']:.2f} dB\n"
          f"throughput       {report['samples_per_second'] / 1e6:.3f} MS/s with method {report['method']}\n"
          f"took             {report['seconds']:.1f} s, loading included\n"
          f"written          {args.output / 'report.json'}, {args.output / 'separated.png'}")


if __name__ == "__main__":
    main()
