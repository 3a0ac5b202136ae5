# SPDX-License-Identifier: GPL-3.0-or-later
"""Score networks: DiffWave as the paper has it, a small fast one, one that knows OFDM's shape, one for bursts of it;
each a denoiser.
Supervised networks, which separate by themselves, for comparison."""
from .bursts import BurstDenoiser
from .denoiser import Denoiser, Scheduled
from .ofdm import OfdmDenoiser
from .supervised import Supervised
from .table import SUPERVISED, build

__all__ = ["SUPERVISED", "BurstDenoiser", "Denoiser", "OfdmDenoiser", "Scheduled", "Supervised", "build"]
