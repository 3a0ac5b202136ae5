# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block: overlapping windows, a worker that takes them apart, and streams again."""

import os
from types import SimpleNamespace

from gnuradio import blocks, gr

from .scoresep_python import stream_to_windows, windows_to_stream
from .settings import engine_settings, prior, prior_table
from .window_worker import window_worker

ON_OVERLOAD = ("wait", "pass")
_kept = []  # GNU Radio holds only the C++ half of a Python block; without this, connect(a, separator(...), b) would crash


class separator(gr.hier_block2):
    """Takes two transmissions that share a frequency apart.

    In 0: the mixture (complex). Out 0: the signal of interest (SOI) as received, out 1: the interference as received, both
    with as many samples as came in and every tag on its sample; out 2: the SOI's soft symbols at the symbol rate, the first
    being the first one centred at or after sample 0 (nothing, where the SOI is no linear modulation). Outputs 1 and 2 may
    stay unconnected. A tag leaves output 2 on the first symbol centred at or after its sample; after the last centre there
    is none. Message out `stats`: the dictionary of stats(), a few times a second and at the end.

    soi, interference: paths of prior files (TOML), or priors of alpha_rgs. Their nuisances refer to the stream's first sample.
    window, hop: samples; see stream_to_windows. With a linear modulation, window, hop and (window - hop)/2 must be multiples
    of samples_per_symbol. method: of alpha_rgs.separate. on_overload: "wait" holds the source up; "pass" (live sources)
    sends windows through unseparated that find the queue full: SOI = mixture, interference and symbols 0, with a tag
    `unseparated` on their first sample. engine: name; all separators that name it share it. sir_db: power of SOI over
    interference, snr_db: power of SOI over noise per sample; None means estimated. options: go to the method.

    Raises ValueError for what can be checked now. What fails later ends the flowgraph and is found in `error`.
    """

    def __init__(self, soi, interference, window=2560, hop=2048, method="auto", on_overload="wait", engine="default",
                 sir_db=None, snr_db=None, **options):
        gr.hier_block2.__init__(self, "separator", gr.io_signature(1, 1, gr.sizeof_gr_complex),
                                gr.io_signature(3, 3, gr.sizeof_gr_complex))
        self._soi, self._interference = _checked(soi, "soi"), _checked(interference, "interference")
        sps = samples_per_symbol(self._soi)
        check_windows(window, hop, sps)
        if on_overload not in ON_OVERLOAD:
            raise ValueError(f"separator: on_overload: {on_overload!r} must be 'wait' or 'pass'")
        self._known = SimpleNamespace(method=method, engine=engine, sir_db=sir_db, snr_db=snr_db, options=options)

        cut = stream_to_windows(window, hop)
        self.worker = window_worker(_Tasks(self._soi, self._interference, self._known), window, hop, sps, on_overload)
        join = [windows_to_stream(window, hop), windows_to_stream(window, hop),
                windows_to_stream(window // sps, hop // sps) if sps else blocks.vector_source_c([])]
        unused = [blocks.null_sink(gr.sizeof_gr_complex) for _ in (1, 2)]
        self._parts = [cut, self.worker, *join, *unused]
        _kept.append(self.worker)
        self.connect(self, cut, self.worker)
        for port, block in enumerate(join):
            if port < 2 or sps:
                self.connect((self.worker, port), block)
            self.connect(block, (self, port))
            if port:
                self.connect(block, unused[port - 1])
        self.message_port_register_hier_out("stats")
        self.msg_connect(self.worker, "stats", self, "stats")

    @property
    def error(self):
        """The exception that ended the flowgraph, or None."""
        return self.worker.error

    def stats(self):
        """How it goes, or went: see window_stats.WindowStats.table for the keys."""
        return self.worker.stats.table(len(self.worker._held), self.error)


class _Tasks:
    """Makes the engine's task when the flowgraph starts; it is here that torch is loaded."""

    def __init__(self, soi, interference, known):
        self.priors, self.known = (soi, interference), known

    def __call__(self):
        from alpha_rgs import sources as priors
        from alpha_rgs.streaming import Engine

        known = self.known
        soi, interference = (priors.load(p) if isinstance(p, str) else p for p in self.priors)
        gain = getattr(soi, "gain", None)
        gain = 1.0 if gain is None else float(gain)
        kappa = None if known.sir_db is None else gain * 10 ** (-known.sir_db / 20)
        noise_var = None if known.snr_db is None else gain**2 * 10 ** (-known.snr_db / 10)
        engine = Engine.named(known.engine, **engine_settings(known.engine))
        return engine.task(soi, interference, method=known.method, kappa=kappa, noise_var=noise_var, **known.options)


def samples_per_symbol(soi):
    """Of a prior, or of the prior file at a path; 0 for one that is no linear modulation."""
    if isinstance(soi, str):
        table = prior_table(soi)
        sps = table.get("samples_per_symbol", 16) if table.get("kind") == "linear-modulation" else 0
    else:
        sps = soi.signal.samples_per_symbol if soi.kind == "linear-modulation" else 0
    if isinstance(sps, bool) or not isinstance(sps, (int, float)) or sps != int(sps) or sps < 0:
        raise ValueError(f"{soi}: samples_per_symbol: {sps!r} must be a whole number; resample the recording first, for "
                         "instance with GNU Radio's Rational Resampler or Polyphase Arbitrary Resampler")
    return int(sps)


def check_windows(window, hop, sps):
    """Raise ValueError where the windows do not fit each other or the symbols; the message names good values nearby."""
    if not 1 <= hop <= window:
        raise ValueError(f"separator: hop ({hop}) must be at least 1 and at most window ({window})")
    if sps and (window % sps or hop % sps or (window - hop) % (2 * sps)):
        good_window = max(1, round(window / sps)) * sps
        good_hop = good_window - max(0, round((good_window - hop) / (2 * sps))) * 2 * sps
        good_hop = good_hop if good_hop > 0 else good_window
        raise ValueError(f"separator: window ({window}), hop ({hop}) and (window - hop)/2 must be multiples of the signal of "
                         f"interest's samples_per_symbol ({sps}); near by are window {good_window}, hop {good_hop}")


def _checked(source, name):
    """The path of a prior file that is there, or the prior."""
    if source is None or source == "":
        raise ValueError(f"separator: {name}: give the path of a prior file (TOML) or a prior")
    source = prior(source)
    return os.path.abspath(source) if isinstance(source, str) else source
