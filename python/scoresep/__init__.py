# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio blocks that take overlapping transmissions apart.

An import that fails here is meant to be seen: a compiled part that does not fit this
interpreter must not show up later as a missing attribute.
"""

from .multi_separator import multi_separator
from .probe import probe
from .scoresep_python import stream_to_windows, windows_to_stream
from .separator import separator
from .settings import engine, prior

__all__ = ["engine", "multi_separator", "prior", "probe", "separator", "stream_to_windows", "windows_to_stream"]
