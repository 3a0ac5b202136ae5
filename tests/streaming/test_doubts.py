# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be separated is said to be so: signals that are not there or are others, and recordings that are spoiled."""
import functools
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from alpha_rgs.io.recordings import Recording
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict, mixtures
from alpha_rgs.streaming import reliability
from alpha_rgs.streaming import report as describe
from alpha_rgs.synchronization import offset_of_zero

UNKNOWN = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8})
TRUE = replace(UNKNOWN, timing=5.3, phase=0.4, gain=1.0, carrier_offset=0.004)
OFDM = mixtures.paper_priors()[1]
WIFI = from_dict({"kind": "ofdm", "preset": "802.11"})
N = torch.arange(2560)


def mixture(soi=TRUE, interference=OFDM):
    return mixtures.draw(soi, interference, 1, 2560, -10.0, 10.0, 7)


@functools.cache
def clean():
    """What mixture() is separated into, unspoiled."""
    return separate(mixture().y, UNKNOWN, OFDM)


def offset(y, frequency):
    return y * torch.polar(torch.ones(len(N), dtype=torch.float64), 2 * torch.pi * frequency * N.double()).to(torch.complex64)


WRONG = {
    "noise alone": lambda m: torch.randn(1, 2560, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)),
    "nothing": lambda m: torch.zeros(1, 2560, dtype=torch.complex64),
    "no signal of interest": lambda m: m.y - m.s,
    "a carrier offset out of range": lambda m: offset(m.y, 0.05),
    "another symbol rate": lambda m: mixture(replace(TRUE, signal=replace(TRUE.signal, samples_per_symbol=20))).y,
    "another alphabet": lambda m: mixture(replace(TRUE, signal=replace(TRUE.signal, constellation="8psk"))).y,
}


AT_ONCE = ("nothing", "no signal of interest", "a carrier offset out of range")


@pytest.mark.parametrize(("name", "interference"), [
    *(pytest.param(name, OFDM, marks=() if name in AT_ONCE else pytest.mark.slow) for name in WRONG), ("nothing", WIFI),
    ("no signal of interest", WIFI), pytest.param("another alphabet", WIFI, marks=pytest.mark.slow)])
def test_what_is_not_there_is_not_believed(name, interference):
    """Quality stays below what `doubts` believes: no confident wrong answer."""
    out = separate(WRONG[name](mixture(interference=interference)), UNKNOWN, interference)
    bad, _ = reliability.untrusted(UNKNOWN, interference, out.method, out.quality.numpy(), 1.0, out.noise_var.numpy())
    assert bad.all()


@pytest.mark.parametrize("level", [1.0, pytest.param(0.5, marks=pytest.mark.slow), pytest.param(3.2, marks=pytest.mark.slow)])
def test_a_receivers_dc_is_taken_off(level):
    """Not taken for the signal of interest, though it is stronger; and told."""
    m = mixture()
    out = separate(m.y + level, UNKNOWN, OFDM)
    assert abs(float(out.estimated["dc"][0]) - level) < 0.3 and float(clean().estimated["dc"][0]) < 0.3
    assert abs(float(out.estimated["carrier_offset"]) - 0.004) < 2e-5 and float(out.quality) > 12


def test_a_line_at_zero_is_told_from_signals():
    """None in a hundred mixtures stands out; a weak one under a strong signal does not."""
    y = torch.cat([mixtures.draw(TRUE, OFDM, 100, 2560, -10.0, 10.0, 3).y])
    assert int((offset_of_zero(y) != 0).sum()) <= 3
    assert torch.allclose(offset_of_zero(y + 2).abs(), torch.tensor(2.0), atol=0.4)


@pytest.mark.parametrize("spoil", ["8 bits", "clipped"])
def test_coarse_and_clipped_recordings_are_separated_or_doubted(spoil):
    """8 bits over three times the effective value cost nothing; clipping at the effective value costs, and quality says so."""
    m = mixture()
    y, full = m.y, float(m.y.abs().square().mean().sqrt())
    if spoil == "8 bits":
        y = torch.complex(*(torch.round(v / (3 * full) * 127).clamp(-127, 127) * 3 * full / 127 for v in (y.real, y.imag)))
    else:
        y = torch.complex(y.real.clamp(-full, full), y.imag.clamp(-full, full))
    quality = [float(out.quality) for out in (clean(), separate(y, UNKNOWN, OFDM))]
    assert quality[1] > quality[0] - 1 if spoil == "8 bits" else quality[1] < quality[0] - 3


def test_kinds_that_are_swapped_are_separated():
    """Which of the two is called wanted changes nothing: WiFi is what the QPSK's separation leaves."""
    m = mixture()
    swapped, usual = separate(m.y, WIFI, UNKNOWN), separate(m.y, UNKNOWN, WIFI)
    assert torch.equal(swapped.soi, usual.interference) and torch.equal(swapped.interference, usual.soi)


def recording(x, datatype="ci8"):
    return Recording(samples=np.asarray(x, np.complex64), sample_rate=1e6, datatype=datatype, path="x.sigmf-meta")


def result(quality=(20.0,) * 4, sir=(-10.0,) * 4, **estimated):
    return SimpleNamespace(least_quality=reliability.least_quality(UNKNOWN), quality=np.array(quality), sir_db=np.array(sir),
                           estimated=estimated, warnings=[])


CASES = {
    "clipped": (127 / 128 * (-1.0) ** np.arange(100), {}, "clipped"),
    "coarse": (np.arange(-100, 100) / 100 * 5 / 128, {}, "5 levels"),
    "DC": (np.exp(1j * np.arange(400)) * 0.5 + 0.2, {}, "DC"),
    "DC, taken off": (np.exp(1j * np.arange(400)) * 0.5, {"dc": np.array([0.0, 0.25, 0.25, 0.0])}, "0.25.*subtracted"),
    "bad windows": (np.exp(1j * np.arange(400)) * 0.5, {"quality": (20, 3, float("nan"), 20)},
                    "^qpsk: .*in 2 of 4 windows.*hold qpsk and ofdm.*±20000 Hz$"),
    "no interference": (np.exp(1j * np.arange(400)) * 0.5, {"sir": (30, -5, 30, 30)},
                        "^ofdm: .*weaker than qpsk, in 3 of 4 windows$"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_doubt_is_one_sentence(case):
    """And a recording without a fault raises none."""
    x, given, words = CASES[case]
    names = ("qpsk", "ofdm")
    said, = describe.warnings(recording(x, "cf32" if "DC" in case else "ci8"), UNKNOWN, result(**given), names, 20e3)
    assert re.search(words, said) and "\n" not in said
    assert describe.warnings(recording(np.exp(1j * np.arange(400)) * 0.5), UNKNOWN, result(), names, 20e3) == []


def test_stretches_that_are_not_believed_are_told_in_samples():
    """Those that a stream took of the windows, neighbours as one; the alphabet decides how good is good enough."""
    def stretches(soi, quality, noise_var=1.0):
        where = reliability.spans(4, 2560, 2048, 2048 * 3 + 2560)
        bad, _ = reliability.untrusted(soi, OFDM, "joint", np.array(quality), 1.0, np.full(4, noise_var))
        return reliability.merged(bad, where)

    assert stretches(UNKNOWN, (1.0, 20.0, 2.0, float("nan"))) == [[0, 2304], [2 * 2048 + 256, 2048 * 3 + 2560]]
    qam = replace(UNKNOWN, signal=replace(UNKNOWN.signal, constellation="16qam"))
    assert stretches(qam, (9.0,) * 4) == [[0, 2048 * 3 + 2560]] and stretches(UNKNOWN, (9.0,) * 4) == []
    assert stretches(UNKNOWN, (15.0, 15.0, 30.0, 30.0), 0.01) == [[0, 2 * 2048 + 256]]      # 32 dB are promised
