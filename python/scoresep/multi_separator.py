# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block for several sources, none of which is preferred."""

from alpha_rgs.options import frequency, of_separation, variance

from .commands import controls
from .cutting import cut
from .tasks import Tasks, sources_of
from .window_job import Port
from .window_stats import SourcesStats
from .windowed import setter, windowed


class multi_separator(windowed):
    """Takes 2 to 4 transmissions that share a frequency apart.

    In 0: the mixture (complex). Of n sources, out 0 ... n-1: the estimate of each as received; out n ... 2n-1: the `cleaned`
    waveform of each, the mixture minus the estimates of all others. A cleaned waveform keeps the receiver's noise, which is what
    a demodulator with loops and soft decisions of its own wants. All have as many samples as came in and every tag on its
    sample; any may stay unconnected. Message out `stats`: the dictionary of stats(), a few times a second and at the end.
    Message in `command`, out `response`: what may be changed while the flowgraph runs, docs/blocks.md.

    sources: 2 to 4 paths of prior files (TOML) or of priors' folders, names of descriptions ("ais"), or priors of alpha_rgs.
    Their timings, phases and so on refer to the stream's first sample. samp_rate, window, hop: see separator; so are latency,
    bypass, gate_db (of each source by itself), gate_action, window_tags, center_freq. method: of alpha_rgs.separate.
    on_overload: "wait" holds the source up; "pass" (live sources) sends windows through unseparated that would be later than
    latency, or 1 s: estimates 0, cleaned waveforms = mixture, with a tag `unseparated` (true) on their first sample. Windows
    that hold NaN, infinity or a sample that is beyond all others have estimates of 0, with a tag `unseparated` ("unusable").
    engine: name; all separators that name it share it. noise_var: the receiver's noise, variance per complex sample; None means
    estimated. options: go to the method.

    Raises ValueError for what can be checked now. What fails later ends the flowgraph and is found in `error`.
    """

    set_sources, set_noise_var = map(setter, ("sources", "noise_var"))

    def __init__(self, sources, window=None, hop=None, method="auto", on_overload="wait", engine="default", noise_var=None,
                 samp_rate=0, latency=None, gate_db=None, gate_action="mute", window_tags=False, bypass=False, center_freq=None,
                 **options):
        sources = sources_of("multi_separator", sources)
        live = controls("multi_separator", latency=latency, on_overload=on_overload, gate_db=gate_db, gate_action=gate_action,
                        window_tags=window_tags, bypass=bypass)
        noise_var = variance("multi_separator: noise_var", noise_var)
        of_separation("multi_separator: ", method, options)
        center = frequency("multi_separator: center_freq", center_freq)
        to = cut("multi_separator", sources, samp_rate, window, hop)
        tasks = Tasks("multi_separator", engine, to, method=method, noise_var=noise_var, center=center, options=options)
        windowed.__init__(self, "multi_separator", tasks, source_ports(len(sources)), to, make_stats=SourcesStats, controls=live)


def source_ports(count):
    """The ports of so many sources: their estimates, then their cleaned waveforms."""
    def take(number, name):
        return lambda result: getattr(result.sources[number], name)

    return (*(Port(f"source{n}", take(n, "waveform"), source=n) for n in range(count)),
            *(Port(f"cleaned{n}", take(n, "cleaned"), passes=True, source=n) for n in range(count)))
