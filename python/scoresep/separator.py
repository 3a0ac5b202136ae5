# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block: a signal of interest and an interference."""

from alpha_rgs.options import decibels, frequency, of_separation

from .commands import controls
from .cutting import cut
from .tasks import Tasks
from .window_job import SOI_AND_INTERFERENCE
from .windowed import check_source, setter, windowed


class separator(windowed):
    """Takes two transmissions that share a frequency apart.

    In 0: the mixture (complex). Out 0: the signal of interest (SOI) as received, out 1: the interference as received, both with
    as many samples as came in and every tag on its sample; out 2: the SOI's soft symbols at the symbol rate, the first being the
    first one centred at or after sample 0 (nothing, where the SOI is no linear modulation). Outputs 1 and 2 may stay
    unconnected. A tag leaves output 2 on the first symbol centred at or after its sample; after the last centre there is none.
    Message out `stats`: the dictionary of stats(), a few times a second and at the end. Message in `command`, out `response`:
    what may be changed while the flowgraph runs, docs/blocks.md.

    soi, interference: paths of prior files (TOML), names of descriptions ("ais"), or priors of alpha_rgs. Their nuisances refer
    to the stream's first sample. samp_rate: of the stream, Hz, for files and descriptions that give rates in Hz; the engine then
    resamples inside where they need it, and the outputs are at the stream's rate again, sample for sample. 0: all are in samples.
    window, hop: samples of the stream; see stream_to_windows. None or 0: what suits the sources. With a linear modulation that is
    not resampled, window, hop and (window - hop)/2 must be multiples of samples_per_symbol; where it is, they are rounded up to
    whole symbols. Where no window holds a whole number of symbols, output 2 stays empty, and a warning says so.
    method: of alpha_rgs.separate. latency: s from sample in to sample out, at most; None or 0: no limit. on_overload: "wait"
    holds the source up; "pass" (live sources) sends windows through unseparated that would be later than latency, or 1 s: SOI =
    mixture, interference and symbols 0, with a tag `unseparated` (true) on their first sample. bypass: all windows pass.
    gate_db: windows of a lower quality, dB, are muted or pass (gate_action: "mute", "pass"); None: no gate. window_tags: a tag
    `separation` says how each window went. center_freq: Hz, to which carriers refer; None: the first rx_freq. Windows that hold
    NaN, infinity or a sample that is beyond all others leave as zeros, with a tag `unseparated` ("unusable"). engine: name; all
    separators that name it share it. sir_db: power of SOI over interference, snr_db: power of SOI over noise per sample; None
    means estimated. options: go to the method.

    Raises ValueError for what can be checked now. What fails later ends the flowgraph and is found in `error`.
    """

    set_soi, set_interference, set_sir_db, set_snr_db = map(setter, ("soi", "interference", "sir_db", "snr_db"))

    def __init__(self, soi, interference, window=None, hop=None, method="auto", on_overload="wait", engine="default",
                 sir_db=None, snr_db=None, samp_rate=0, latency=None, gate_db=None, gate_action="mute", window_tags=False,
                 bypass=False, center_freq=None, **options):
        soi, interference = check_source("separator", "soi", soi), check_source("separator", "interference", interference)
        live = controls("separator", latency=latency, on_overload=on_overload, gate_db=gate_db, gate_action=gate_action,
                        window_tags=window_tags, bypass=bypass)
        of_separation("separator: ", method, options)
        known = {key: decibels(f"separator: {key}", value) for key, value in (("sir_db", sir_db), ("snr_db", snr_db))}
        known["center"] = frequency("separator: center_freq", center_freq)
        to = cut("separator", [soi, interference], samp_rate, window, hop, symbols=True)
        tasks = Tasks("separator", engine, to, ("soi", "interference"), method=method, options=options, **known)
        windowed.__init__(self, "separator", tasks, SOI_AND_INTERFERENCE[: 3 if to.samples_per_symbol else 2], to,
                          outputs=3, required=1, samples_per_symbol=to.samples_per_symbol, controls=live)
