# SPDX-License-Identifier: GPL-3.0-or-later
"""A signal of interest of which only alphabet and pulse are known, under interference that is always there: it is found."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.inference.frame_tiling import OfdmTiles
from alpha_rgs.separators import separate
from alpha_rgs.signals.constellations import constellation
from alpha_rgs.sources import from_dict, mixtures
from alpha_rgs.synchronization.evidence import rotation_likelihood, told_of_rotation
from alpha_rgs.synchronization.stationary import NUISANCES, candidates, refine_sync

from benchmarks.families import FAMILIES

UNKNOWN = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8})
PLACES = [(5.3, 0.4, 0.012, 1.0), (15.6, -2.0, -0.0071, 0.5), (0.2, 1.9, 0.0003, 3.0)]       # timing, phase, carrier offset, gain
OFDM = mixtures.paper_priors()[1]


def known(timing, phase, offset, gain, soi=UNKNOWN):
    return replace(soi, timing=timing, phase=phase, carrier_offset=offset, gain=gain)


def wrong(out, bits, soi):
    """Shares of wrong bits, of each window; the phase up to the alphabet's symmetry, the first symbol up to one."""
    alphabet, shares = soi.signal.alphabet, []
    for symbols, true in zip(out.symbols, bits):
        n = alphabet.bits_per_symbol
        turned = [alphabet.slice(symbols * torch.exp(torch.tensor(2j * torch.pi * k / alphabet.symmetry)))
                  for k in range(alphabet.symmetry)]
        tried = [(b[max(m, 0) * n:len(b) + min(m, 0) * n] != true[max(-m, 0) * n:len(true) - max(m, 0) * n]).float().mean()
                 for b in turned for m in (-1, 0, 1)]
        shares.append(float(min(tried)))
    return shares


@pytest.mark.parametrize(("constellation", "carriers"), [("qpsk", "qpsk"), ("bpsk", "qpsk"), ("qpsk", "bpsk")])
@pytest.mark.parametrize("place", [PLACES[0], *(pytest.param(place, marks=pytest.mark.slow) for place in PLACES[1:])])
def test_under_ofdm_nothing_need_be_known(place, constellation, carriers):
    """At -10 dB: timing to a quarter of a sample, offset to 2e-5, symbols right; both are told, with standard deviations."""
    soi, ofdm = replace(UNKNOWN, signal=replace(UNKNOWN.signal, constellation=constellation)), mixtures.paper_priors(carriers)[1]
    m = mixtures.draw(known(*place, soi), ofdm, 1, 2560, -10.0, 5.0, 3)
    out = separate(m.y, soi, ofdm)
    assert abs((float(out.estimated["timing"]) - place[0] + 8) % 16 - 8) < 0.5
    assert abs(float(out.estimated["carrier_offset"]) - place[2]) < 2e-5
    assert abs(float(out.estimated["gain"]) / place[3] - 1) < 0.1
    assert {f"{key}_std" for key in NUISANCES} <= out.estimated.keys()
    assert max(wrong(out, m.bits, soi)) < 0.02
    assert out.symbols.shape == (1, 160) and out.soi.shape == (1, 2560)


@pytest.mark.parametrize("name", ["LoRa, SF 7, 4 samples per chip", "3 tones", "QPSK, 5 samples per symbol"])
def test_under_other_families_nothing_need_be_known(name):
    """Strong interference is made out first. Windows of one batch may lie anywhere, and come out as each alone would."""
    interference, mixed = replace(from_dict(dict(FAMILIES[name])), gain=None), []
    for seed, place in enumerate(PLACES[:2]):
        mixed.append(mixtures.draw(known(*place), interference, 1, 2560, -10.0, 8.0, seed))
    out = separate(torch.cat([m.y for m in mixed]), UNKNOWN, interference)
    assert max(wrong(out, [m.bits[0] for m in mixed], UNKNOWN)) < 0.02
    assert out.estimated["carrier_offset"].tolist() == pytest.approx([place[2] for place in PLACES[:2]], abs=2e-5)


def test_what_is_given_is_not_looked_for():
    """A gain and an offset that the prior gives stay; only the others are told as found."""
    m = mixtures.draw(known(*PLACES[0]), OFDM, 1, 2560, -10.0, 5.0, 3)
    soi = replace(UNKNOWN, gain=1.0, carrier_offset=PLACES[0][2])
    out = separate(m.y, soi, OFDM)
    assert {"timing", "phase"} <= out.estimated.keys() and not {"gain", "carrier_offset"} & out.estimated.keys()
    assert max(wrong(out, m.bits, UNKNOWN)) < 0.02


def test_frames_show_more_than_a_spectrum_does():
    """At -20 dB the second look, with what the first told of the noise, finds what a spectrum alone has no trace of."""
    m = mixtures.draw(known(*PLACES[0]), OFDM, 1, 2560, -20.0, 10.0, 5)
    found = list(candidates(m.y[0], UNKNOWN, OFDM))[1]
    assert abs((found.timing - PLACES[0][0] + 8) % 16 - 8) < 1 and abs(found.carrier_offset - PLACES[0][2]) < 1e-4


def test_tiles_of_ofdm_hold_every_sample_once_and_its_covariance():
    """Joined they are the window; in each, waves times their own transpose is the frame's covariance."""
    m = mixtures.draw(known(*PLACES[0]), OFDM, 2, 640, -10.0, 5.0, 3)
    tiles = OfdmTiles(m.y, m.interference, m.kappa, m.noise_var)
    assert torch.allclose(tiles.joined(tiles.received), m.y.to(torch.complex128))
    (rows, waves, alphabet, noise), = tiles.groups
    whole = int(tiles.inside.all(1).nonzero()[0])
    covariance = torch.tensor(OFDM.matrix @ OFDM.matrix.conj().T) * m.kappa ** 2
    assert torch.allclose(waves[whole] @ waves[whole].mH, covariance) and bool((noise == m.noise_var).all())
    assert len(rows) == len(tiles.start) and bool((alphabet < 0).all())


def test_a_step_of_refinement_goes_to_the_truth():
    """From a little off, in a mixture whose interference was taken off without fault; what is not free stays."""
    m = mixtures.draw(known(*PLACES[0]), OFDM, 1, 2560, -10.0, 20.0, 3)
    near = known(5.4, 0.45, 0.012 + 4e-6, 1.05)
    out = separate(m.y, m.soi, m.interference, kappa=m.kappa, noise_var=m.noise_var)
    moved, spread = refine_sync(m.y[0], near, out, ("timing", "phase", "carrier_offset"))
    assert abs(moved.timing - 5.3) < 0.04 and abs(moved.carrier_offset - 0.012) < 1e-6 and moved.gain == 1.05
    assert spread.keys() == {"timing", "phase", "carrier_offset"} and 0 < spread["timing"] < 0.1


def test_a_window_too_short_to_find_it_is_refused():
    """With the least length that will do."""
    with pytest.raises(ParameterError, match="timing.*240 samples.*256"):
        separate(torch.ones(1, 240, dtype=torch.complex64), UNKNOWN, from_dict({"kind": "gfsk", "samples_per_symbol": 8}))


@pytest.mark.parametrize(("name", "snr_db", "count"), [("bpsk", 5, 160), ("qpsk", 8, 160), ("8psk", 15, 200), ("16qam", 16, 640),
                                                      ("64qam", 20, 640), ("32apsk", 16, 640)])
def test_the_likelihood_of_a_rotation_peaks_at_the_truth(name, snr_db, count):
    """Its offset within a tenth of a cycle in all symbols, its phase within 0.08 rad."""
    alphabet, generator = constellation(name), torch.Generator().manual_seed(1)
    points = alphabet.points[torch.randint(len(alphabet.points), (1, count), generator=generator)].to(torch.complex128)
    noise = torch.randn(1, count, dtype=torch.complex128, generator=generator) * 10 ** (-snr_db / 20)
    offset, phase = 0.31 / alphabet.symmetry, 0.2 / alphabet.symmetry
    angle = phase + 2 * torch.pi * offset * (torch.arange(count) - count // 2)
    var = torch.full((1, count), 10 ** (-snr_db / 10), dtype=torch.float64)
    values, angles, step = rotation_likelihood(alphabet, (points + noise) * torch.polar(torch.ones_like(angle), angle), var, 0.5)
    at = int(values.argmax())
    assert abs((at - values.shape[1] // 2) * step - offset) * count < 0.1
    turn = 2 * torch.pi / alphabet.symmetry
    assert abs((float(angles[0, at]) - phase + turn / 2) % turn - turn / 2) < 0.08


def test_dense_symbols_in_noise_do_not_tell_their_rotation():
    """1 280 of QPSK at 6 dB do, of 32APSK not; at 16 dB those do too."""
    var = torch.full((1, 1280), 10 ** -0.6, dtype=torch.float64)
    assert float(told_of_rotation(constellation("qpsk"), var)) > 100
    assert abs(float(told_of_rotation(constellation("32apsk"), var))) < 2
    assert float(told_of_rotation(constellation("32apsk"), var / 10)) > 100


@pytest.mark.parametrize(("name", "seed", "told"), [("32apsk", 13, False), ("32apsk", 3, True), ("16qam", 3, True)])
def test_a_dense_alphabet_at_two_samples_is_found_or_said_not_to_be(name, seed, told):
    """SIR 0 dB, SNR 30 dB: 16QAM and most windows of 32APSK to 2e-5; of the others no carrier offset is claimed, and no
    symbol is believed."""
    soi = from_dict({"kind": "linear-modulation", "constellation": name, "samples_per_symbol": 2, "rolloff": 0.25, "span": 8})
    m = mixtures.draw(known(0.6, 0.4, 0.004, 1.0, soi), OFDM, 1, 1920, 0.0, 33.0, seed)
    out = separate(m.y, soi, OFDM)
    assert abs((float(out.estimated["timing"]) - 0.6 + 1) % 2 - 1) < 0.05
    if told:
        assert abs(float(out.estimated["carrier_offset"]) - 0.004) < 2e-5 and max(wrong(out, m.bits, soi)) < 0.25
        assert 0.25 * max(wrong(out, m.bits, soi)) < float(out.error_rate) < 0.4
    else:
        assert float(out.estimated["carrier_offset"]) == 0 and float(out.estimated["carrier_offset_std"]) > 0.01
        assert float(out.error_rate) > 0.4 and float(out.quality) < 0
