# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block for several sources, none of which is preferred."""

from types import SimpleNamespace

from alpha_rgs.options import of_separation

from .cutting import cut
from .settings import engine_settings
from .window_job import Port
from .window_stats import SourcesStats
from .windowed import check_overload, check_source, windowed

LEAST, MOST = 2, 4


class multi_separator(windowed):
    """Takes 2 to 4 transmissions that share a frequency apart.

    In 0: the mixture (complex). Of n sources, out 0 ... n-1: the estimate of each as received; out n ... 2n-1: the `cleaned`
    waveform of each, the mixture minus the estimates of all others. A cleaned waveform keeps the receiver's noise, which is what
    a demodulator with loops and soft decisions of its own wants. All have as many samples as came in and every tag on its
    sample; any may stay unconnected. Message out `stats`: the dictionary of stats(), a few times a second and at the end.

    sources: 2 to 4 paths of prior files (TOML) or of priors' folders, names of descriptions ("ais"), or priors of alpha_rgs.
    Their timings, phases and so on refer to the stream's first sample. samp_rate, window, hop: see
    separator. method: of alpha_rgs.separate. on_overload: "wait" holds the source up; "pass" (live sources) sends
    windows through unseparated that find the queue full: estimates 0, cleaned waveforms = mixture, with a tag `unseparated`
    (true) on their first sample. Windows that hold NaN, infinity or a sample that is beyond all others have estimates of 0,
    with a tag `unseparated` ("unusable"). engine: name; all separators that name it share it. noise_var: the receiver's noise,
    variance per complex sample; None means estimated. options: go to the method.

    Raises ValueError for what can be checked now. What fails later ends the flowgraph and is found in `error`.
    """

    def __init__(self, sources, window=None, hop=None, method="auto", on_overload="wait", engine="default", noise_var=None,
                 samp_rate=0, **options):
        sources = _checked(sources)
        check_overload("multi_separator", on_overload)
        of_separation("multi_separator: ", method, options, noise_var=noise_var)
        to = cut("multi_separator", sources, samp_rate, window, hop)
        known = SimpleNamespace(method=method, engine=engine, noise_var=noise_var, options=options)
        windowed.__init__(self, "multi_separator", _Tasks(to, known), source_ports(len(sources)), to, on_overload=on_overload,
                          make_stats=SourcesStats)


def source_ports(count):
    """The ports of so many sources: their estimates, then their cleaned waveforms."""
    def take(number, name):
        return lambda result: getattr(result.sources[number], name)

    return (*(Port(f"source{n}", take(n, "waveform")) for n in range(count)),
            *(Port(f"cleaned{n}", take(n, "cleaned"), passes=True) for n in range(count)))


class _Tasks:
    """Makes the engine's task when the flowgraph starts; it is here that torch is loaded."""

    def __init__(self, to, known):
        self.to, self.known = to, known

    def __call__(self):
        from alpha_rgs.streaming.engine import Engine

        known = self.known
        engine = Engine.named(known.engine, **engine_settings(known.engine))
        return self.to.make().task(engine, noise_var=known.noise_var, method=known.method, **known.options)


def _checked(sources):
    """The sources as a list of absolute paths and priors."""
    if isinstance(sources, str) or not hasattr(sources, "__iter__"):
        raise ValueError(f"multi_separator: sources: {sources!r} must be a list of prior files or priors")
    sources = [check_source("multi_separator", f"sources[{k}]", source) for k, source in enumerate(sources)]
    if not LEAST <= len(sources) <= MOST:
        raise ValueError(f"multi_separator: sources: {len(sources)} given, {LEAST} to {MOST} are possible")
    return sources
