# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block: a signal of interest and an interference."""

from types import SimpleNamespace

from .settings import at_rate, check_rate, engine_settings, prior_table, resampler
from .window_job import SOI_AND_INTERFERENCE
from .windowed import check_hop, check_overload, check_source, windowed


class separator(windowed):
    """Takes two transmissions that share a frequency apart.

    In 0: the mixture (complex). Out 0: the signal of interest (SOI) as received, out 1: the interference as received, both
    with as many samples as came in and every tag on its sample; out 2: the SOI's soft symbols at the symbol rate, the first
    being the first one centred at or after sample 0 (nothing, where the SOI is no linear modulation). Outputs 1 and 2 may
    stay unconnected. A tag leaves output 2 on the first symbol centred at or after its sample; after the last centre there
    is none. Message out `stats`: the dictionary of stats(), a few times a second and at the end.

    soi, interference: paths of prior files (TOML), names of descriptions ("ais"), or priors of alpha_rgs. Their nuisances refer
    to the stream's first sample. samp_rate: of the stream, Hz, for files and descriptions that give rates in Hz; nothing is
    resampled here, so it must suit them. 0: all are in samples.
    window, hop: samples; see stream_to_windows. With a linear modulation, window, hop and (window - hop)/2 must be multiples
    of samples_per_symbol. method: of alpha_rgs.separate. on_overload: "wait" holds the source up; "pass" (live sources)
    sends windows through unseparated that find the queue full: SOI = mixture, interference and symbols 0, with a tag
    `unseparated` on their first sample. engine: name; all separators that name it share it. sir_db: power of SOI over
    interference, snr_db: power of SOI over noise per sample; None means estimated. options: go to the method.

    Raises ValueError for what can be checked now. What fails later ends the flowgraph and is found in `error`.
    """

    def __init__(self, soi, interference, window=2560, hop=2048, method="auto", on_overload="wait", engine="default",
                 sir_db=None, snr_db=None, samp_rate=0, **options):
        soi, interference = check_source("separator", "soi", soi), check_source("separator", "interference", interference)
        check_rate("separator", samp_rate)
        sps = samples_per_symbol(soi, samp_rate)
        check_windows(window, hop, sps)
        check_overload("separator", on_overload)
        known = SimpleNamespace(method=method, engine=engine, sir_db=sir_db, snr_db=snr_db, samp_rate=samp_rate,
                                options=options)
        windowed.__init__(self, "separator", _Tasks(soi, interference, known), SOI_AND_INTERFERENCE[: 3 if sps else 2], window,
                          hop, outputs=3, required=1, samples_per_symbol=sps, on_overload=on_overload)


class _Tasks:
    """Makes the engine's task when the flowgraph starts; it is here that torch is loaded."""

    def __init__(self, soi, interference, known):
        self.priors, self.known = (soi, interference), known

    def __call__(self):
        from alpha_rgs.signals.levels import amplitude, noise_variance
        from alpha_rgs.streaming import Engine

        known = self.known
        soi, interference = (at_rate(prior, known.samp_rate) for prior in self.priors)
        gain = getattr(soi, "gain", None)
        gain = 1.0 if gain is None else float(gain)
        kappa, noise_var = amplitude(gain, known.sir_db), noise_variance(gain, known.snr_db)
        engine = Engine.named(known.engine, **engine_settings(known.engine))
        return engine.task(soi, interference, method=known.method, kappa=kappa, noise_var=noise_var, **known.options)


def samples_per_symbol(soi, samp_rate=0):
    """Of a prior, or of the prior file at a path, at a sample rate in Hz; 0 for one that is no linear modulation."""
    table = prior_table(soi) if isinstance(soi, str) else getattr(soi, "table", {})
    remedy = "resample the recording first, for instance with GNU Radio's Rational Resampler or Polyphase Arbitrary Resampler"
    if isinstance(soi, str) or hasattr(soi, "at_rate"):
        kind, rate = table.get("kind", getattr(soi, "kind", "")), table.get("symbol_rate")
        sps = table.get("samples_per_symbol", 16) if kind == "linear-modulation" else 0
        if sps and isinstance(rate, (int, float)) and rate > 0:
            if not samp_rate:
                raise ValueError(f"{soi if isinstance(soi, str) else soi.name}: symbol_rate: is in Hz; set samp_rate, the sample "
                                 "rate of the stream")
            sps, remedy = samp_rate / rate, resampler(samp_rate, rate)
            sps = round(sps) if abs(sps - round(sps)) < 1e-6 * sps else sps
    else:
        sps = soi.symbol_period
    if isinstance(sps, bool) or not isinstance(sps, (int, float)) or sps != int(sps) or sps < 0:
        raise ValueError(f"{soi}: samples_per_symbol: {sps!r} must be a whole number; {remedy}")
    return int(sps)


def check_windows(window, hop, sps):
    """Raise ValueError where the windows do not fit each other or the symbols; the message names good values nearby."""
    check_hop("separator", window, hop)
    if sps and (window % sps or hop % sps or (window - hop) % (2 * sps)):
        good_window = max(1, round(window / sps)) * sps
        good_hop = good_window - max(0, round((good_window - hop) / (2 * sps))) * 2 * sps
        good_hop = good_hop if good_hop > 0 else good_window
        raise ValueError(f"separator: window ({window}), hop ({hop}) and (window - hop)/2 must be multiples of the signal of "
                         f"interest's samples_per_symbol ({sps}); near by are window {good_window}, hop {good_hop}")
