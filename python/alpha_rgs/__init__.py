# SPDX-License-Identifier: GPL-3.0-or-later
"""Score-based separation of two signals on one frequency: the engine of gr-scoresep."""
from .separators import Separation, separate

__all__ = ["Separation", "separate"]
__version__ = "0.1.0"
