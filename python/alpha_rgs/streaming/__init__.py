# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings and streams: engine, windows, tracking, and what is reported of them."""
from .engine import Engine
from .stream import StreamResult, separate_stream

__all__ = ["Engine", "StreamResult", "separate_stream"]
