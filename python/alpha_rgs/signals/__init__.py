# SPDX-License-Identifier: GPL-3.0-or-later
"""Waveforms as linear maps of symbols."""
from .constellations import Constellation, Gaussian, constellation
from .linear import LinearModulation, root_raised_cosine
from .ofdm import Ofdm

__all__ = ["Constellation", "Gaussian", "LinearModulation", "Ofdm", "constellation", "root_raised_cosine"]
