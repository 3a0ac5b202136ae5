# SPDX-License-Identifier: GPL-3.0-or-later
"""Waveforms: linear maps of symbols, offset QPSK, continuous-phase modulations, chirps, pulses."""
from .constellations import Constellation, Gaussian, constellation
from .cpm import Gfsk, Gmsk
from .fsk import Fsk
from .linear import LinearModulation, root_raised_cosine
from .lora import Lora
from .ofdm import PRESETS, Ofdm, preset
from .offset_qpsk import OffsetQpsk
from .ppm import Ppm

__all__ = ["PRESETS", "Constellation", "Fsk", "Gaussian", "Gfsk", "Gmsk", "LinearModulation", "Lora", "Ofdm", "OffsetQpsk", "Ppm",
           "constellation", "preset", "root_raised_cosine"]
