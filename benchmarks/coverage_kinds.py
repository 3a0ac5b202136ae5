# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the coverage study whose wanted signal is of another kind than a linear modulation.

The signal is read in `cleaned` (the mixture less all others) by its own demodulator, which knows timing, phase and carrier.
Without interference the same demodulator reads it in noise alone. The noise is such that it has 2 % of the bits wrong with
2 dB more of it, as in the other rows.
"""
from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from alpha_rgs.errors import AlphaRgsError
from alpha_rgs.separators import separate
from alpha_rgs.signals import Fsk, Gmsk, Lora, OffsetQpsk, Ppm
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Fsk as FskSource
from alpha_rgs.sources import Gmsk as GmskSource
from alpha_rgs.sources import Lora as LoraSource
from alpha_rgs.sources import Ofdm, Source, from_dict
from alpha_rgs.sources import OffsetQpsk as OffsetSource
from alpha_rgs.sources import Ppm as PpmSource
from alpha_rgs.sources.base import Demodulated
from alpha_rgs.sources.mixtures import alone, noise
from scipy.stats import binom

from .coverage import CONDITIONS, INTERFERENCES, SAMPLES, STRONGER_DB, SURE, WITHIN_DB, Condition, bins
from .wanted import forgotten

_REFERENCE_WINDOWS = 48             # windows for each point of the interference-free curve
_SNR_DB = np.arange(-20.0, 24.1, 2.0)       # per sample, of its points
_AIM = 0.02                         # of the bits, wrong with WITHIN_DB more noise


@dataclass(frozen=True)
class Kind:
    """A row: the wanted source, of which what may vary is unknown, and its samples per symbol."""

    name: str
    source: Source
    samples_per_symbol: int


KINDS = (Kind("GMSK, 4", GmskSource(Gmsk(4, 0.3), carrier_offset=None), 4),
         Kind("C4FM, 8", FskSource(Fsk(8, 4, 0.25, "rc"), carrier_offset=None), 8),
         Kind("OQPSK, 8", OffsetSource(OffsetQpsk(8, "rrc", 0.35, 8), carrier_offset=None), 8),
         Kind("OFDM, 80", Ofdm(OfdmSignal(), carrier_offset=None), 80),
         Kind("LoRa, 512", LoraSource(Lora(7, 4), carrier_offset=None), 512),
         Kind("PPM, 4", PpmSource(Ppm(4)), 4))
# everything of the wanted signal known, and the kinds alone
_MEASURED = tuple(c for line in CONDITIONS for c in line if c.name in ("−10 dB", "all"))


def grid() -> list[tuple[Kind, str, Condition]]:
    """The (kind, interference, condition) of all cells, row by row; a kind under itself is left out."""
    return [(kind, name, condition) for kind in KINDS for name in INTERFERENCES for condition in _MEASURED
            if INTERFERENCES[name]["kind"] != kind.source.kind]


def _bits(read: Demodulated) -> torch.Tensor:
    """Which bits are 1, NaN where a symbol is not in the window: float64."""
    return torch.where(read.at[..., None].isnan(), torch.nan, (read.llrs < 0).double()).flatten(1)


def _reader(truth: Source) -> Any:
    return replace(cast(Any, truth), gain=1.0).demodulator()


@lru_cache
def _curve(name: str, seed: int = 1) -> np.ndarray:
    """Bit error rates of a row without interference at _SNR_DB."""
    kind, rates = next(kind for kind in KINDS if kind.name == name), []
    for k, snr in enumerate(_SNR_DB):
        g = torch.Generator().manual_seed(seed * 1000 + k)
        s, truth = alone(kind.source, _REFERENCE_WINDOWS, SAMPLES, g)
        level = 10 ** (-snr / 10)
        wrong, bits = _wrong(_reader(truth)(s + level ** 0.5 * noise(s.shape, g), level), _reader(truth)(s, 1e-3))
        rates.append(float(wrong.sum() / bits))
    return np.minimum.accumulate(np.maximum(rates, 1e-7))


def _wrong(read: Demodulated, sent: Demodulated) -> tuple[torch.Tensor, int]:
    """(wrong bits of each window, bits of all)."""
    differs = (_bits(read) - _bits(sent)).abs()
    return differs.nansum(1), int((~differs.isnan()).sum())


def level_db(kind: Kind) -> float:
    """SNR per sample, dB, of the row: WITHIN_DB above that at which _AIM of the bits are wrong."""
    return float(np.interp(-np.log(_AIM), -np.log(_curve(kind.name)), _SNR_DB)) + WITHIN_DB


def cell(kind: Kind, interference: str, condition: Condition, windows: int = 2, seed: int = 1) -> dict[str, Any]:
    """One cell, as coverage.cell returns it; es_n0_db is of a symbol."""
    snr = level_db(kind) + (STRONGER_DB if condition.stronger_db else 0.0)
    g = torch.Generator().manual_seed(zlib.crc32(f"{kind.name} {interference} {condition.name}".encode(), seed - 1))
    s, truth = alone(kind.source, windows, SAMPLES, g)
    other = from_dict(dict(INTERFERENCES[interference]))
    b, level = alone(other, windows, SAMPLES, g)[0], 10 ** (-snr / 10)
    y = s + 10 ** (-condition.sir_db / 20) * b + level ** 0.5 * noise(s.shape, g)
    reader, curve = _reader(truth), _curve(kind.name)
    sent, plain = reader(s, 1e-3), reader(y, level + 10 ** (-condition.sir_db / 10))
    limit = float(np.exp(np.interp(snr - WITHIN_DB, _SNR_DB, np.log(curve))))
    before, bits = _wrong(plain, sent)
    row: dict[str, Any] = dict(soi=kind.name, interference=interference, condition=condition.name, sir_db=condition.sir_db,
               es_n0_db=snr + 10 * float(np.log10(kind.samples_per_symbol)), limit=limit,
               matched_filter=float(before.sum() / bits))
    known = forgotten(kind.source) if condition.blind else replace(cast(Any, truth), gain=1.0)
    began = time.perf_counter()
    try:
        out = separate(y, [known, other])
    except AlphaRgsError as error:
        return row | dict(state="refused", message=str(error))
    spent = time.perf_counter() - began
    read = reader(out.sources[0].cleaned, level)
    wrong, bits = _wrong(read, sent)
    errors = int(wrong.sum())
    better = "better" if errors < row["matched_filter"] * bits else "no better"
    state = "within" if errors <= binom.ppf(SURE, bits, limit) else better
    loss = snr - float(np.interp(-np.log(max(errors / bits, 1e-7)), -np.log(curve), _SNR_DB))
    sign = torch.where(sent.llrs < 0, -1.0, 1.0) * torch.where(sent.at[..., None].isnan(), torch.nan, 1.0)
    llrs = (read.llrs * sign).flatten()
    return row | dict(state=state, method=out.method, errors=errors, bits=bits, ber=errors / bits, loss_db=loss,
                      ms=1e3 * spent / windows, wrong=wrong.tolist(), bins=bins(llrs[~llrs.isnan()]))
