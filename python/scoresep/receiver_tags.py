# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a receiver's tags say: rx_time, rx_rate, rx_freq."""

import math
from dataclasses import dataclass

import pmt

KEYS = "rx_time", "rx_freq", "rx_rate"  # of one sample, in this order: time is counted at the rate before
SAME = 1e-6  # relative, by which two rates may differ and be one


@dataclass
class Event:
    """From a sample of the stream on: the rate and the centre frequency, Hz, where they are others; samples that were lost before
    it. cuts: windows that hold both sides of it are of no use. why: what these are tagged with."""

    sample: int
    rate: object = None
    freq: object = None
    lost: int = 0
    cuts: bool = False

    @property
    def why(self):
        """In a word."""
        return "rx_rate" if self.rate else "rx_freq" if self.freq is not None else "rx_time"


class ReceiverTags:
    """Of one stream. rate: Hz, None where it is not known. What is no such tag is left out, and named in `wrong` once."""

    def __init__(self, rate=None):
        self.rate, self.freq, self.wrong = rate or None, None, []
        self._time, self._at = None, 0

    def events(self, tags):
        """What the tags, (sample, key, value), say; by sample."""
        found = {}
        for sample, key, value in sorted(tags, key=lambda tag: (tag[0], KEYS.index(tag[1]) if tag[1] in KEYS else 0)):
            if key not in KEYS:
                continue
            event = found.setdefault(sample, Event(sample))
            try:
                getattr(self, f"_{key}")(event, pmt.to_python(value))
            except (TypeError, ValueError, IndexError, OverflowError):
                self._refuse(key, value)
        return [event for event in found.values() if event.rate or event.freq is not None or event.lost]

    def _rx_rate(self, event, value):
        value = _number(value)
        if value <= 0:
            raise ValueError
        if self.rate is None or abs(value - self.rate) > SAME * self.rate:
            event.cuts = event.cuts or self.rate is not None
            event.rate = self.rate = value

    def _rx_freq(self, event, value):
        value = _number(value)
        if value != self.freq:
            event.cuts = event.cuts or self.freq is not None
            event.freq = self.freq = value

    def _rx_time(self, event, value):
        whole, part = int(value[0]), _number(value[1])
        if self._time is not None and self.rate:
            passed = (whole - self._time[0]) + (part - self._time[1])
            event.lost = round(passed * self.rate) - (event.sample - self._at)
            event.cuts = event.cuts or event.lost != 0
        self._time, self._at = (whole, part), event.sample

    def _refuse(self, key, value):
        if all(key != other for other, _ in self.wrong):
            self.wrong.append((key, f"{key}: {pmt.write_string(value)[:60]} is none, and is left out"))


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError
    return float(value)
