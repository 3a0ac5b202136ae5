# SPDX-License-Identifier: GPL-3.0-or-later
"""Score networks: DiffWave as the paper has it, and a small fast one; each wrapped once into a denoiser."""
from .denoiser import Denoiser, Scheduled, build

__all__ = ["Denoiser", "Scheduled", "build"]
