# SPDX-License-Identifier: GPL-3.0-or-later
"""Spectra that alias when a waveform is sampled once per symbol."""
from typing import Any

import numpy as np

_AT_LEAST = 0.75        # of the samples are kept where a window is cut to whole symbols


def fold(spectrum: Any, symbols: int) -> Any:
    """A spectrum [n] in FFT order, added up a symbol rate apart: [symbols]. n samples hold `symbols` periods, nearly."""
    n = len(spectrum)
    if n % symbols == 0:
        return spectrum.reshape(-1, symbols).sum(0)
    before = -(n // 2) % symbols            # so that frequency zero comes to lie on a multiple of `symbols`
    padded = np.pad(np.fft.fftshift(spectrum), (before, -(n + before) % symbols))
    return padded.reshape(-1, symbols).sum(0)


def whole_symbols(samples: int, samples_per_symbol: float) -> int:
    """How many of so many samples hold a whole number of symbols, or where samples_per_symbol is not whole the nearest to that,
    of the last quarter."""
    if samples_per_symbol == int(samples_per_symbol):
        return int(samples // samples_per_symbol * samples_per_symbol)
    n = np.arange(int(_AT_LEAST * samples), samples + 1)
    return int(n[abs(n / samples_per_symbol - np.round(n / samples_per_symbol)).argmin()])
