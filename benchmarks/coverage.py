# SPDX-License-Identifier: GPL-3.0-or-later
"""Where separation works: signals of interest x kinds of interference x conditions, each cell beside the interference-free curve.

Of the interference the kind alone is known. Bits are counted in the middle 2048 of 2560 samples, which is what a stream keeps of
each window. The noise is such that without interference and 2 dB more of it 2 % of the bits are wrong: a cell is "within" if it
has no more wrong bits than that allows.
"""
import math
import time
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from alpha_rgs.errors import AlphaRgsError
from alpha_rgs.separators import separate
from alpha_rgs.separators.matched_filter import matched_filter
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.sources import LinearModulation, from_dict
from alpha_rgs.sources.mixtures import alone, noise
from scipy.stats import binom, spearmanr

SAMPLES, MARGIN = 2560, 256         # of a window; not counted at each end
WITHIN_DB, SURE = 2.0, 0.95         # of the interference-free curve; one in twenty cells that are exactly there looks worse
STRONGER_DB = 10.0
_OFFSET, _PPM = 0.01, 50.0          # carrier offsets, cycles per sample, and clock offsets: up to this, either side
_ROLLOFF, _RATE, _ECHO = 0.25, 1e-3, (2, -20.0)     # sent for 0.35; of the symbol rate, either side; delay in samples, dB
_ECHOES = ((0.25, -15.0), (0.5, -20.0))     # delay in symbols, dB: of random phase
REFERENCE_WINDOWS = 200                    # windows for each point of the interference-free curve
STATES = ("within", "better", "no better", "refused")


@dataclass(frozen=True)
class Soi:
    """A row: alphabet, samples per symbol, and the Es/N0 (dB) at which, less 2 dB, the interference-free BER is 2 %."""

    name: str
    constellation: str
    samples_per_symbol: int
    es_n0_db: float

    @property
    def signal(self):
        """Root raised cosine, roll-off 0.35, 8 symbols long."""
        return LinearSignal(self.constellation, self.samples_per_symbol, "rrc", 0.35, 8)


@dataclass(frozen=True)
class Condition:
    """A place in each block: SIR and Es/N0 above the row's (dB), what of the SOI the receiver does not know, and what it is told
    wrongly: roll-off or symbol rate of the SOI, or that the interference comes without an echo."""

    name: str
    sir_db: float = -10.0
    stronger_db: float = 0.0
    timing: bool = False
    carrier: bool = False
    channel: bool = False
    clock: bool = False
    wrong: str = ""

    @property
    def blind(self):
        """Whether level and phase are unknown too."""
        return self.timing and self.carrier


SOIS = (Soi("QPSK, 16", "qpsk", 16, 8.25), Soi("QPSK, 8", "qpsk", 8, 8.25), Soi("BPSK, 16", "bpsk", 16, 5.25),
        Soi("8PSK, 16", "8psk", 16, 12.8), Soi("16QAM, 16", "16qam", 16, 14.7))
INTERFERENCES: dict[str, dict[str, Any]] = {
    "OFDM-QPSK": {"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "guards": [4, 3], "constellation": "qpsk"},
    "802.11 bursts": {"kind": "ofdm", "preset": "802.11"},
    "QPSK, 5": {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 5, "rolloff": 0.35, "span": 8},
    "GMSK": {"kind": "gmsk", "samples_per_symbol": 4, "bandwidth_time": 0.3},
    "LoRa": {"kind": "lora", "spreading_factor": 7, "samples_per_chip": 4},
    "3 tones": {"kind": "tones", "count": 3}}
_ALL_UNKNOWN: dict[str, Any] = {"timing": True, "carrier": True, "channel": True, "clock": True}
CONDITIONS = (
    (Condition("−5 dB", -5.0), Condition("−10 dB"), Condition("−15 dB", -15.0)),
    tuple(Condition(f"{name} dB, strong", sir, STRONGER_DB) for name, sir in (("−5", -5.0), ("−10", -10.0), ("−15", -15.0))),
    (Condition("timing", timing=True), Condition("carrier", carrier=True), Condition("channel", channel=True)),
    (Condition("clock", clock=True), Condition("all", **_ALL_UNKNOWN),
     Condition("all, strong", -10.0, STRONGER_DB, **_ALL_UNKNOWN)),
    tuple(Condition(name, timing=True, carrier=True, wrong=name) for name in ("roll-off", "rate", "echo")))
_QUICK = (SOIS[0], SOIS[4]), ("OFDM-QPSK", "802.11 bursts", "LoRa")


@dataclass
class Received:
    """A signal of interest as a window sees it. wave: complex64 [batch, samples]; symbols: complex64 [batch, n], those from
    number `first` on, of which number m is centred on sample timing + m·samples_per_symbol; prior: what is true of it."""

    wave: torch.Tensor
    symbols: torch.Tensor
    first: int
    prior: LinearModulation


def transmit(signal: LinearSignal, condition: Condition, batch: int, generator: torch.Generator) -> Received:
    """A Received: random symbols, timing and phase; carrier offset, echoes and a clock that runs fast or slow where the
    condition says so. The channel leaves amplitude and phase of the symbols' own peak as they are. `signal` is what is told."""
    sps, reach = signal.samples_per_symbol, signal.span + 2

    def share(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    timing = sps * share(batch if condition.timing else 1).expand(batch)
    phase = 2 * torch.pi * share(batch if condition.carrier else 1).expand(batch)
    carrier = _OFFSET * condition.carrier * (2 * share(batch) - 1)
    off = _RATE if condition.wrong == "rate" else _PPM * 1e-6 * condition.clock
    shaped = replace(signal, rolloff=_ROLLOFF) if condition.wrong == "roll-off" else signal
    clock = off * (2.0 * torch.randint(0, 2, (batch,), generator=generator) - 1)
    count = int(SAMPLES // sps) + 2 * reach
    bits = torch.randint(0, 2, (batch, count * signal.alphabet.bits_per_symbol), generator=generator)
    symbols = signal.alphabet.map(bits)
    taps = [(0.0, torch.ones(batch, dtype=torch.complex128))]
    if condition.channel:
        taps += [(delay * sps, 10 ** (level / 20) * torch.exp(2j * torch.pi * share(batch))) for delay, level in _ECHOES]
    n = torch.arange(SAMPLES, dtype=torch.float64)
    at = n / (1 + clock[:, None].double()) - timing[:, None]
    wave = sum(gain[:, None] * _shaped(shaped, symbols, at - delay, -reach) for delay, gain in taps)
    if condition.channel:
        lags = np.arange(-1024, 1024)
        own = sum(gain * float(signal.pulse_at(lags) @ signal.pulse_at(lags + delay)) / sps for delay, gain in taps)
        wave = wave / torch.as_tensor(own)[:, None]
    angle = phase[:, None] + 2 * torch.pi * carrier[:, None] * n
    when = timing if condition.timing else float(timing[0])         # one number where it is one
    prior = LinearModulation(signal, when, phase if condition.carrier else float(phase[0]), 1.0,
                             carrier if condition.carrier else 0.0)
    return Received((wave * torch.polar(torch.ones_like(angle), angle)).to(torch.complex64), symbols, -reach, prior)


def _shaped(signal, symbols, at, first):
    """Σ_m symbols[m]·h(at - m·sps), symbol m being column m - first: complex128 like at [batch, samples]."""
    sps, half = signal.samples_per_symbol, signal.half_length
    nearest = torch.ceil((at - half) / sps - 1e-9).long()
    out = torch.zeros(at.shape, dtype=torch.complex128)
    for k in range(int(2 * half // sps) + 1):
        m = nearest + k
        out += torch.from_numpy(signal.pulse_at((at - m * sps).numpy())) * symbols.gather(1, m - first)
    return out


def known(condition: Condition, prior: LinearModulation) -> LinearModulation:
    """The prior as the receiver knows it: without what the condition hides."""
    hidden = condition.blind
    return LinearModulation(prior.signal, None if condition.timing else prior.timing,
                            None if condition.carrier else prior.phase, None if hidden else prior.gain,
                            None if condition.carrier else prior.carrier_offset)


def judged(out, sent, prior, up_to_phase):
    """The counted bits of a Separation: (wrong bool [batch, bits], llrs float32 [batch, bits] that say so, and the SINR of their
    symbols, dB [batch]).

    prior: what was known. Symbols are matched by their centres, and, up_to_phase, turned as fits each window best: the phase is
    found up to the alphabet's symmetry only."""
    signal, batch = prior.signal, len(out.symbols)
    sps, alphabet = signal.samples_per_symbol, signal.alphabet

    def each(value):
        return torch.as_tensor(value, dtype=torch.float64).reshape(-1).expand(batch)

    timing = each(out.estimated.get("timing", prior.timing) if prior.timing is None else prior.timing)
    centre = timing + torch.ceil(-timing / sps - 1e-9) * sps                    # of the first soft symbol
    shift = torch.round((centre - each(sent.prior.timing)) / sps).long() - sent.first
    begin, count = math.ceil(MARGIN / sps), (SAMPLES - 2 * MARGIN) // sps
    index = torch.arange(begin, begin + count)
    soft, llrs = out.symbols[:, index], out.llrs[:, index].flatten(1)
    truth = sent.symbols.gather(1, shift[:, None] + index)
    turns = alphabet.symmetry if up_to_phase else 1
    turned = torch.stack([truth * np.exp(2j * np.pi * k / turns) for k in range(turns)])
    best = (soft - turned).abs().square().sum(2).argmin(0)
    truth = turned[best, torch.arange(batch)].to(torch.complex64)
    bits = alphabet.slice(truth)
    sinr = -10 * torch.log10((soft - truth).abs().square().mean(1))
    return alphabet.slice(soft) != bits, llrs * torch.where(bits.bool(), -1, 1), sinr


@lru_cache
def reference(soi, seed=1):
    """The interference-free curve: (Es/N0, dB, rates of wrong bits) of the matched filter that knows everything."""
    points = soi.es_n0_db - WITHIN_DB + np.arange(-14.0, WITHIN_DB + STRONGER_DB + 0.5, 2.0)
    rates = []
    for k, es_n0_db in enumerate(points):
        g = torch.Generator().manual_seed(seed * 1000 + k)
        sent = transmit(soi.signal, Condition("absent"), REFERENCE_WINDOWS, g)
        rates.append(float(_filtered(sent, sent.wave, es_n0_db, g).double().mean()))
    return points, np.array(rates)


def _noise_var(signal, es_n0_db):
    return signal.samples_per_symbol * 10 ** (-es_n0_db / 10)


def _filtered(sent, y, es_n0_db, generator=None):
    """Which bits the matched filter has wrong, everything known; generator: noise is added."""
    level = _noise_var(sent.prior.signal, es_n0_db)
    if generator:
        y = y + level ** 0.5 * noise(y.shape, generator)
    out = matched_filter(y, sent.prior, None, torch.zeros(len(y)), torch.full((len(y),), level))
    return judged(out, sent, sent.prior, False)[0]


def cell(soi: Soi, interference: str, condition: Condition, windows: int = 4, seed: int = 1) -> dict[str, Any]:
    """One cell of the grid. Returns a dict: soi, interference, condition, state (one of STATES), message (of a refusal), sir_db,
    es_n0_db, errors, bits, ber, limit (the interference-free BER 2 dB further down), matched_filter (BER without separation,
    everything known), loss_db (from the interference-free curve), ms (per window), method, and of each window: wrong (bits),
    sinr (of the symbols, dB), quality (its estimate), stated (that of the BER); bins: see bins."""
    signal, es_n0_db = soi.signal, soi.es_n0_db + condition.stronger_db
    # draws of its own, whatever else is measured; torch looks at 32 bits of a seed
    g = torch.Generator().manual_seed(zlib.crc32(f"{soi.name} {interference} {condition.name}".encode(), seed - 1))
    sent = transmit(signal, condition, windows, g)
    kind = from_dict(dict(INTERFERENCES[interference]))
    kappa = 10 ** (-condition.sir_db / 20)
    other = _interfering(kind, condition, windows, g)
    y = sent.wave + kappa * other + _noise_var(signal, es_n0_db) ** 0.5 * noise(sent.wave.shape, g)
    points, rates = reference(soi)
    limit = float(np.interp(es_n0_db - WITHIN_DB, points, rates))
    row = dict(soi=soi.name, interference=interference, condition=condition.name, sir_db=condition.sir_db, es_n0_db=es_n0_db,
               limit=limit, matched_filter=float(_filtered(sent, y, es_n0_db).double().mean()))
    began = time.perf_counter()
    prior = known(condition, sent.prior)
    try:
        out = separate(y, prior, kind)
    except AlphaRgsError as error:
        return row | dict(state="refused", message=str(error))
    spent = time.perf_counter() - began
    wrong, llrs, sinr = judged(out, sent, prior, condition.carrier)
    errors, bits = int(wrong.sum()), wrong.numel()
    allowed = binom.ppf(SURE, bits, limit)
    state = "within" if errors <= allowed else "better" if errors < row["matched_filter"] * bits else "no better"
    return row | dict(state=state, method=out.method, errors=errors, bits=bits, ber=errors / bits, loss_db=_loss(
        errors / bits, es_n0_db, points, rates), ms=1e3 * spent / windows, wrong=wrong.sum(1).tolist(),
        sinr=sinr.tolist(), quality=out.quality.tolist(), stated=out.error_rate.tolist(), bins=bins(llrs))


def _interfering(kind, condition, windows, generator):
    """Waveforms of the interference, complex64 [windows, SAMPLES], with an echo where the condition says so."""
    delay, level = _ECHO if condition.wrong == "echo" else (0, 0.0)
    wave = alone(kind, windows, SAMPLES + delay, generator)[0]
    if not delay:
        return wave
    turn = torch.exp(2j * torch.pi * torch.rand(windows, 1, generator=generator, dtype=torch.float64))
    return (wave[:, delay:] + 10 ** (level / 20) * turn * wave[:, :-delay]).to(torch.complex64)


def _loss(ber, es_n0_db, points, rates):
    """dB by which the interference-free curve has as many errors with less signal; at most what the curve covers."""
    return float(es_n0_db - np.interp(-math.log(max(ber, 1e-9)), -np.log(np.maximum(rates, 1e-9)), points))


EDGES = (0.5, 0.6, 0.7, 0.8, 0.88, 0.92, 0.96, 0.99, 0.999, 1.0)        # of the confidence in a bit


def bins(llrs):
    """Reliability: llrs, positive where the bit is right -> [[bits, right, sum of the confidences] for each bin of EDGES]."""
    sure = torch.sigmoid(llrs.double().abs()).flatten()
    place = torch.bucketize(sure, torch.tensor(EDGES[1:-1], dtype=torch.float64), right=True)
    columns = (torch.ones_like(sure), (llrs.flatten() > 0).double(), sure)
    return [[float(v[place == k].sum()) for v in columns] for k in range(len(EDGES) - 1)]


def grid(quick: bool = False) -> list[tuple[Soi, str, Condition]]:
    """The (soi, interference, condition) of all cells, row by row."""
    sois, interferences = _QUICK if quick else (SOIS, tuple(INTERFERENCES))
    return [(s, i, c) for s in sois for i in interferences for line in CONDITIONS for c in line]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the rows say together: a dict. states: how many cells of each; rank_correlation: Spearman's, of the stated with the
    true BER of each window; quality_correlation: of -quality with it, mean over the SOIs, and quality_correlation_all, over all
    windows, where the true SINR's own, sinr_correlation_all, is a limit (in another alphabet the same dB mean another BER);
    calibration: of the bits whose confidence is 0.88 … 0.92, (bits,
    share that is right, mean confidence); reliability: (low, high, the same) for each bin."""
    there = [r for r in rows if r["state"] != "refused" and "quality" in r]         # rows of other kinds have no such figures
    table = np.sum([r["bins"] for r in there], 0) if there else np.zeros((len(EDGES) - 1, 3))
    per_soi = [_ranks([r for r in there if r["soi"] == name], "quality") for name in dict.fromkeys(r["soi"] for r in there)]
    shares = [(int(n), right / n, sure / n) if n else (0, None, None) for n, right, sure in table.tolist()]
    return dict(states={s: sum(r["state"] == s for r in rows) for s in STATES}, rank_correlation=_ranks(there, "stated"),
                quality_correlation=float(np.mean([r for r in per_soi if r is not None])) if any(per_soi) else None,
                quality_correlation_all=_ranks(there, "quality"), sinr_correlation_all=_ranks(there, "sinr"),
                calibration=shares[EDGES.index(0.88)], reliability=list(zip(EDGES, EDGES[1:], shares)))


def _ranks(rows, name):
    """Spearman's correlation of what was said of the windows with their true BER, None where there is none; of -dB, since these
    fall as the BER rises."""
    said = np.concatenate([r[name] for r in rows]) * (1 if name == "stated" else -1) if rows else []
    true = np.concatenate([np.array(r["wrong"]) * len(r["wrong"]) / r["bits"] for r in rows]) if rows else []
    return float(spearmanr(said, true).statistic) if len(set(true)) > 1 and len(set(said)) > 1 else None
