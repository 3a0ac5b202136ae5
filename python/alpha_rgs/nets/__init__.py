# SPDX-License-Identifier: GPL-3.0-or-later
"""Score networks, each wrapped into a denoiser: DiffWave as the paper has it, a small fast one, one that knows OFDM's cyclic
prefix, one for bursts of OFDM. For comparison supervised networks, which separate by themselves."""
from .bursts import BurstDenoiser
from .denoiser import Denoiser, Scheduled
from .ofdm import OfdmDenoiser
from .supervised import Supervised
from .table import SUPERVISED, build

__all__ = ["SUPERVISED", "BurstDenoiser", "Denoiser", "OfdmDenoiser", "Scheduled", "Supervised", "build"]
