# SPDX-License-Identifier: GPL-3.0-or-later
"""What is believed about one source."""
from .base import Source
from .cpm import Gmsk
from .folder import save
from .fsk import Fsk, Gfsk
from .gaussian import Gaussian
from .learned import with_network
from .linear_modulation import LinearModulation
from .lora import Lora
from .ofdm import Ofdm
from .offset_qpsk import OffsetQpsk
from .ppm import Ppm
from .sum import Sum
from .toml import from_dict, load
from .tones import Tones

__all__ = ["Fsk", "Gaussian", "Gfsk", "Gmsk", "LinearModulation", "Lora", "Ofdm", "OffsetQpsk", "Ppm", "Source", "Sum", "Tones",
           "from_dict", "load", "save", "with_network"]
