# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows that hold two bursts of one source, each of another timing, phase, carrier offset and gain, beside a source that is
always on, nothing known but the kinds."""
import time
from dataclasses import replace

import numpy as np
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import noise

PULSE = {"pulse": "rrc", "rolloff": 0.35, "span": 8, "carrier_offset": "unknown"}
BURSTY = {
    "GMSK": {"kind": "gmsk", "samples_per_symbol": 5, "bandwidth_time": 0.4, "span": 4},
    "Bluetooth": {"kind": "fsk", "samples_per_symbol": 8, "levels": 2, "modulation_index": 0.32, "pulse": "gaussian",
                  "bandwidth_time": 0.5},
    "DMR": {"kind": "fsk", "samples_per_symbol": 10, "levels": 4, "modulation_index": 0.27, "pulse": "rrc", "rolloff": 0.2},
    "QPSK": {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 5, **PULSE},
    "LoRa": {"kind": "lora", "spreading_factor": 6, "samples_per_chip": 2},
    "OFDM": {"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"},
}
STEADY = {
    "QPSK": {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 8, **PULSE},
    "OFDM": {"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"},
}
CASES = [(name, other, sir) for name in BURSTY for other in STEADY if name != other for sir in (-5.0, -10.0)]
SNR_DB = 15.0               # of a burst of unit power, per sample
SAMPLES, REACH = 2560, 0.003    # of a window; carrier offsets up to this, cycles per sample, either side
LAYOUT = ((200, 1000), (1500, 2300))    # about where bursts are
MOVED = 100                 # samples by which edges differ from that, at most
_EDGE = 40                  # samples beside an edge that are not counted


def label(name, other, sir_db):
    """How a case is called."""
    return f"{name} in bursts, {other} {-sir_db:g} dB stronger"


def case(name, other, sir_db, draws=3, seed=1):
    """Draws of one pair. sir_db: of bursts against the other source. Returns a dict: case, draws, burst_db, other_db (SINR of
    both), worst_db (the least of both), edge (samples by which the worst edge is off), gap_db (power claimed in gaps), seconds
    per window; medians over the draws but for worst_db."""
    rows = np.array([window(name, other, sir_db, seed * 1000 + k) for k in range(draws)])
    burst, steady, edge, gap, seconds = rows.T
    return dict(case=label(name, other, sir_db), draws=draws, burst_db=float(np.median(burst)), other_db=float(np.median(steady)),
                worst_db=float(min(burst.min(), steady.min())), edge=float(np.median(edge)), gap_db=float(np.median(gap)),
                seconds=float(np.median(seconds)))


def window(name, other, sir_db, seed):
    """(SINR of bursts, of the other source, dB; samples by which the worst edge is off; power claimed in gaps, dB; seconds)."""
    generator = torch.Generator().manual_seed(seed)
    bursty, steady = (from_dict(dict(table)) for table in (BURSTY[name], STEADY[other]))
    s, spans = torch.zeros(1, SAMPLES, dtype=torch.complex64), []
    for about in LAYOUT:
        begin, end = (int(v + torch.randint(-MOVED, MOVED + 1, (1,), generator=generator)) for v in about)
        gain = 0.8 + 0.4 * float(torch.rand(1, generator=generator))
        s[:, begin:end] = gain * _drawn(bursty, end - begin, generator)
        spans.append((begin, end))
    b = 10 ** (-sir_db / 20) * _drawn(steady, SAMPLES, generator)
    y = s + b + 10 ** (-SNR_DB / 20) * noise(s.shape, generator)
    start = time.perf_counter()
    out = separate(y, [bursty, steady])
    seconds = time.perf_counter() - start
    on, off = places(spans)
    found = out.sources[0].waveform
    power = float(s[:, on].abs().square().mean())
    return (_decibels(power, (found - s)[:, on]), _decibels(10 ** (-sir_db / 10), (out.sources[1].waveform - b)[:, _EDGE:-_EDGE]),
            worst_edge(found[0] != 0, spans), -_decibels(1.0, found[:, off]), seconds)


def _drawn(source, samples, generator):
    """A waveform, complex64 [1, samples], of random content and, where the source knows it, a carrier offset within ±REACH."""
    offset = REACH * (2 * float(torch.rand(1, generator=generator)) - 1)
    if "carrier_offset" in source.unknown:
        source = replace(source, carrier_offset=offset)
    return source.draw(1, samples, generator)[0]


def places(spans):
    """Samples well within bursts and well within gaps, bool [SAMPLES] each."""
    on, off = torch.zeros(SAMPLES, dtype=torch.bool), torch.ones(SAMPLES, dtype=torch.bool)
    for begin, end in spans:
        on[begin + _EDGE:end - _EDGE] = True
        off[begin - _EDGE:end + _EDGE] = False
    return on, off


def worst_edge(on, spans):
    """Samples by which the worst edge of a burst is off; SAMPLES where there are more or fewer bursts."""
    step = torch.nn.functional.pad(on.int(), (1, 1)).diff()
    found = list(zip(torch.nonzero(step == 1)[:, 0].tolist(), torch.nonzero(step == -1)[:, 0].tolist()))
    if len(found) != len(spans):
        return SAMPLES
    return max(abs(a - b) for one, true in zip(found, spans) for a, b in zip(one, true))


def _decibels(power, error):
    return 10 * float(np.log10(power / (float(error.abs().square().mean()) + 1e-12)))
