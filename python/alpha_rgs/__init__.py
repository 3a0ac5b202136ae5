# SPDX-License-Identifier: GPL-3.0-or-later
"""Score-based separation of two signals on one frequency: the engine of gr-scoresep."""
from . import priors
from .engine import Engine, separate_stream
from .errors import AlphaRgsError
from .separators import Separation, separate

__all__ = ["AlphaRgsError", "Engine", "Separation", "priors", "separate", "separate_stream"]
__version__ = "0.1.0"
