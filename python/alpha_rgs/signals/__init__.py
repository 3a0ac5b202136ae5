# SPDX-License-Identifier: GPL-3.0-or-later
"""Waveforms: linear maps of symbols, and GMSK."""
from .constellations import Constellation, Gaussian, constellation
from .gmsk import Gmsk
from .linear import LinearModulation, root_raised_cosine
from .ofdm import Ofdm

__all__ = ["Constellation", "Gaussian", "Gmsk", "LinearModulation", "Ofdm", "constellation", "root_raised_cosine"]
