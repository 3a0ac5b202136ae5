# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of sources that prior files describe. A new kind is one line here, and a module of its own."""
from .base import Source
from .cpm import Gmsk
from .fsk import Fsk, Gfsk
from .linear_modulation import LinearModulation
from .lora import Lora
from .ofdm import Ofdm
from .offset_qpsk import OffsetQpsk
from .ppm import Ppm
from .sum import Sum
from .tones import Tones

KINDS: dict[str, type[Source]] = {cls.kind: cls for cls in (LinearModulation, Ofdm, Gmsk, Gfsk, Fsk, OffsetQpsk, Lora, Ppm,
                                                            Tones, Sum)}
