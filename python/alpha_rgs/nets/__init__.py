# SPDX-License-Identifier: GPL-3.0-or-later
"""Score networks: DiffWave as the paper has it, a small fast one, one that knows OFDM's shape; each a denoiser."""
from .denoiser import Denoiser, Scheduled
from .ofdm import OfdmDenoiser
from .table import build

__all__ = ["Denoiser", "OfdmDenoiser", "Scheduled", "build"]
