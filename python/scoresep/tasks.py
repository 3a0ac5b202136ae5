# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's task of a separator, made when its flowgraph starts, and made anew where something of it is changed."""

from dataclasses import replace
from fractions import Fraction

from alpha_rgs import options

from .settings import engine_settings
from .windowed import check_source

LEVELS = {"sir_db": options.decibels, "snr_db": options.decibels}
# of all separators, and what checks each
CHECKS = {
    "method": options.method,
    "samp_rate": options.rate,
    "center_freq": options.frequency,
}


class Tasks:
    """Of one block. block: its name; engine: the engine's; to: a Cut (cutting.py); session: what more a Session takes
    (alpha_rgs.streaming.session). names: what the block calls its sources, soi and interference; None for a list of `sources`.

    Called when the flowgraph starts; it is here that torch is loaded. What commands have changed stays so when it starts again,
    and what was loaded serves when a file has gone meanwhile.
    """

    def __init__(self, block, engine, to, names=None, **session):
        self.block, self.engine, self.to, self.names = block, engine, to, names
        self.rate, self._given, self._session, self._kept = to.rate, session, None, None

    @property
    def checks(self):
        """Of the keys that change() takes."""
        if self.names:
            mine = {name: lambda name, value: check_source(self.block, name.removeprefix(f"{self.block}: "), value)
                    for name in self.names}
            return {**CHECKS, **LEVELS, **mine}
        return {**CHECKS, "noise_var": options.variance, "sources": lambda _, value: self._as_many(value)}

    def _as_many(self, sources):
        sources, has = sources_of(self.block, sources), len(self._session.sources)
        if len(sources) != has:
            raise ValueError(f"{self.block}: sources: {len(sources)} given, the block has outputs for {has}")
        return sources

    @property
    def symbols(self):
        """Whether the output of symbols holds those of the signal of interest."""
        return self._session is None or not self._session.period or self._session.symbols

    @property
    def warnings(self):
        """Sentences on what is so since the latest change."""
        return [] if self._session is None else list(self._session.warnings)

    def __call__(self):
        if self._kept is None:
            from alpha_rgs.streaming.session import Session

            sources, plan = self.to.make()
            center = self._given.get("center")
            self._session = Session(tuple(sources), plan, Fraction(self.to.samples_per_symbol), bool(self.names),
                                    reference=center, sample_rate=self.rate or None, **self._given)
        else:
            self._session = self._kept
        return self._task(self._session)

    def change(self, changes, again=False, receiver=False):
        """Take other values, key -> value as `checks` has them. (the task, or None where the one that is there serves; what
        restore() takes; whether the stream begins anew, at another sample rate). again: a task in any case, that has found
        nothing yet. receiver: the receiver has changed, and the next start does not know it. Raises ValueError, and nothing
        changes then."""
        changes = {key: self._loaded(key, value) for key, value in changes.items()}
        before, kept = self._session, self._kept
        new = self._with(before, changes)
        task = None if new.separates_as(before) and not again else self._task(new)
        self._session = new
        if changes and not receiver:
            self._kept = self._with(kept or before, changes)
        return task, (before, kept), before.sample_rate is not None and new.sample_rate != before.sample_rate

    def restore(self, before):
        """Go back to how it was before a change."""
        self._session, self._kept = before
        return self._task(self._session)

    def _loaded(self, key, value):
        """The priors of a value that names files."""
        from .cutting import in_samples, loaded

        if key != "sources" and key not in (self.names or ()):
            return value
        fits = loaded if self._session.sample_rate else lambda source: in_samples(loaded(source))
        return [fits(source) for source in value] if key == "sources" else fits(value)

    def _with(self, session, changes):
        """The Session with other values."""
        changes, sources = dict(changes), list(session.sources)
        sources = changes.pop("sources", sources)
        for number, name in enumerate(self.names or ()):
            sources[number] = changes.pop(name, sources[number])
        rate, center = changes.pop("samp_rate", None), changes.pop("center_freq", None)
        new = replace(session, **changes)
        if rate is not None:
            new = new.at_rate(rate)
        if any(source is not before for source, before in zip(sources, new.sources)):
            new = new.with_sources(sources)
        return new if center is None else new.retuned(center)

    def _task(self, session):
        from alpha_rgs.streaming.engine import Engine

        return session.task(Engine.named(self.engine, **engine_settings(self.engine)))


def sources_of(block, sources, least=2, most=4):
    """A list of absolute paths and priors. Raises ValueError."""
    if isinstance(sources, str) or not hasattr(sources, "__iter__"):
        raise ValueError(f"{block}: sources: {sources!r} must be a list of prior files or priors")
    sources = [check_source(block, f"sources[{k}]", source) for k, source in enumerate(sources)]
    if not least <= len(sources) <= most:
        raise ValueError(f"{block}: sources: {len(sources)} given, {least} to {most} are possible")
    return sources
