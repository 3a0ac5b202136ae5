# SPDX-License-Identifier: GPL-3.0-or-later
"""What is believed about one source."""
from .base import Prior
from .folder import save
from .gaussian import Gaussian
from .gmsk import Gmsk
from .learned import with_network
from .linear_modulation import LinearModulation
from .ofdm import Ofdm
from .toml import from_dict, load

__all__ = ["Gaussian", "Gmsk", "LinearModulation", "Ofdm", "Prior", "from_dict", "load", "save", "with_network"]
