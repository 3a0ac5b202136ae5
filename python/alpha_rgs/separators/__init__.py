# SPDX-License-Identifier: GPL-3.0-or-later
"""One file per method, all called the same way; `separate` checks, acquires and calls."""
from .alpha_rgs import alpha_rgs
from .api import BRIEF, METHODS, choose, separate
from .base import Separation
from .joint import joint, lmmse
from .matched_filter import matched_filter

__all__ = ["BRIEF", "METHODS", "Separation", "alpha_rgs", "choose", "joint", "lmmse", "matched_filter", "separate"]
