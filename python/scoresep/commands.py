# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be changed while a flowgraph runs: how a message says it, and what is answered."""

import math
from dataclasses import dataclass

import pmt
from alpha_rgs import options
from alpha_rgs.parsing import shown

NOTHING = {"latency": None, "bypass": False, "gate_db": None, "gate_action": "mute", "window_tags": False, "on_overload": "wait"}
# of every separator, and what checks each; those of NOTHING need no other task
CHECKS = {
    "latency": options.latency,
    "bypass": options.flag,
    "gate_db": options.quality,
    "gate_action": lambda name, value: options.choice(name, value, options.GATE_ACTIONS),
    "window_tags": options.flag,
    "on_overload": lambda name, value: options.choice(name, value, options.ON_OVERLOAD),
    "reacquire": options.flag,
}


def controls(block, **given):
    """What was given of NOTHING's keys, checked. Raises ValueError."""
    return {**NOTHING, **{key: CHECKS[key](f"{block}: {key}", value) for key, value in given.items()}}


@dataclass
class Change:
    """Something to change. controls: of NOTHING's keys; others: of the task's (tasks.py), None: none of them. asked: what is
    answered, None: no answer where all goes well. event: of the receiver, see receiver_tags. sample: the first one of the stream
    that it holds for."""

    controls: dict
    others: object = None
    asked: object = None
    event: object = None
    sample: int = 0


class Commands:
    """Of one block. block: its name; checks: of keys beside CHECKS."""

    def __init__(self, block, checks=None):
        self.block, self.checks = block, {**CHECKS, **(checks or {})}

    def read(self, message):
        """What a message asks for, key -> value, as it stands there. Raises ValueError."""
        if pmt.is_dict(message) and not pmt.is_null(message):
            items = pmt.dict_items(message)
            pairs = [pmt.nth(k, items) for k in range(pmt.length(items))]
        elif pmt.is_pair(message):
            pairs = [message]
        else:
            text = pmt.write_string(message)[:60]
            raise ValueError(f"{self.block}: command: {text} must be a pair (key . value) or a dictionary")
        asked = {}
        for pair in pairs:
            key = pmt.car(pair)
            if not pmt.is_symbol(key):
                raise ValueError(f"{self.block}: command: {pmt.write_string(key)[:60]} must be a key, a symbol")
            asked[pmt.symbol_to_string(key)] = _value(pmt.cdr(pair))
        return asked

    def change(self, asked, sample=0):
        """The Change that is asked for; all of it, or a ValueError."""
        checked = {}
        for key, value in asked.items():
            options.known(f"{self.block}: {key}", key, self.checks)
            checked[key] = self.checks[key](f"{self.block}: {key}", value)
        again = checked.pop("reacquire", False)
        own = {key: checked.pop(key) for key in [*checked] if key in NOTHING}
        return Change(own, checked if checked or again else None, asked, sample=sample)


def answer(asked, error=None, warnings=()):
    """The message that answers a command: command, ok, and error or warnings where there are some."""
    out = {"command": {key: _plain(value) for key, value in (asked or {}).items()}, "ok": error is None}
    if error is not None:
        out["error"] = str(error)
    if warnings:
        out["warnings"] = " ".join(warnings)
    return pmt.to_pmt(out)


def _value(value):
    """In Python's terms. What pmt has no such value for stays, and is refused by its key."""
    try:
        found = pmt.to_python(value)
    except Exception:  # whatever pmt raises
        return pmt.write_string(value)
    return list(found) if isinstance(found, (tuple, list)) else found


def _plain(value):
    """As answers say it."""
    if value is None or isinstance(value, (bool, str)) or isinstance(value, (int, float)) and math.isfinite(value):
        return "None" if value is None else value
    return [_plain(item) for item in value] if isinstance(value, list) else shown(value)
