# SPDX-License-Identifier: GPL-3.0-or-later
"""A preamble settles in which of the alphabet's turns a stream's symbols are; and what cannot be one."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate_stream
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.io import recordings
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import noise, paper_priors
from alpha_rgs.streaming import report as describe
from alpha_rgs.streaming.symbol_tracker import Tracker
from commands import works

OFDM = paper_priors()[1]
BITS = "0110100110010110110010100011110100001011"      # twenty symbols of QPSK
KEYS = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.5, "span": 4}


def soi(**keys):
    return from_dict(KEYS | {"preamble": BITS} | keys)


def stream(places, samples=12_000, phase=2.0, seed=1, constellation="qpsk"):
    """(mixture under OFDM, bits sent): the preamble from each of those symbols on, other bits at random."""
    g = torch.Generator().manual_seed(seed)
    prior = soi(constellation=constellation, timing=5.3, phase=phase, gain=1.0)
    first, count = prior.overlapping_symbols(samples)
    alphabet = prior.signal.alphabet
    bits = torch.randint(0, 2, (count, alphabet.bits_per_symbol), generator=g)
    word = torch.tensor([int(bit) for bit in BITS]).reshape(-1, alphabet.bits_per_symbol)
    for place in places:
        bits[place - int(first):][:len(word)] = word
    s = prior.modulate_overlapping(alphabet.map(bits.flatten()[None]), samples)
    b = OFDM.signal.modulate(OFDM.signal.alphabet.map(torch.randint(0, 2, (1, samples // 80 + 1, 112), generator=g)))[:, :samples]
    y = s + 2 * b + 0.05 * noise(s.shape, g)
    return y[0].to(torch.complex64), bits[-int(first):]


def wrong(symbols, bits, alphabet):
    """Share of bits, the ends and a shift by a symbol left out."""
    found = alphabet.slice(torch.from_numpy(symbols)[None])[0].reshape(-1, alphabet.bits_per_symbol)
    n = min(len(found), len(bits)) - 8
    return min(float((torch.roll(found, k, 0)[8:n] != bits[8:n]).float().mean()) for k in (-1, 0, 1))


@pytest.mark.parametrize(("phase", "batch"), [(2.0, 1), (3.5, 1), (-1.2, 64)])
def test_a_preamble_settles_the_turn_of_the_whole_stream(phase, batch):
    """Whatever turn the windows begin in, and also of what came before, be it in the same batch or long delivered."""
    y, bits = stream([500], phase=phase)
    out = separate_stream(y.numpy(), soi(timing=5.3, carrier_offset=0.0), OFDM, batch=batch)
    assert out.settled is True and wrong(out.symbols, bits, soi().signal.alphabet) < 1e-3


def test_without_one_the_turn_stays_open():
    """And is told to be: not found where it is not sent, nothing claimed where none is known."""
    y, bits = stream([])
    assert separate_stream(y.numpy(), soi(timing=5.3, carrier_offset=0.0), OFDM).settled is False
    plain = separate_stream(y.numpy(), soi(preamble="", timing=5.3, carrier_offset=0.0), OFDM)
    given = separate_stream(y.numpy(), soi(timing=5.3, phase=2.0, gain=1.0), OFDM)
    assert plain.settled is None and given.settled is None
    assert wrong(given.symbols, bits, soi().signal.alphabet) < 1e-3


@pytest.mark.parametrize("constellation", ["bpsk", "qpsk", "8psk", "16qam"])
def test_the_word_is_found_in_any_turn_and_nowhere_else(constellation):
    """The angle is the one that turns it back; in a thousand windows of noise or of other symbols it is found in none."""
    prior = soi(constellation=constellation, preamble=(2 * BITS)[:48])
    alphabet, word, tracker = prior.signal.alphabet, prior.word, Tracker(prior)
    rng = np.random.default_rng(1)
    for turn in range(alphabet.symmetry):
        angle = 2 * np.pi * turn / alphabet.symmetry
        symbols = alphabet.points.numpy()[rng.integers(len(alphabet.points), size=160)].astype(complex)
        symbols[60:60 + len(word)] = word
        z = symbols * np.exp(1j * angle) + 0.15 * (rng.normal(size=160) + 1j * rng.normal(size=160))
        found = tracker.word_in(z)
        assert found is not None and abs(np.exp(1j * (angle + found)) - 1) < 1e-9
    for _ in range(1000):
        symbols = alphabet.points.numpy()[rng.integers(len(alphabet.points), size=160)]
        assert tracker.word_in(symbols) is None and tracker.word_in(rng.normal(size=160) + 1j * rng.normal(size=160)) is None
    assert tracker.word_in(np.zeros(160, complex)) is None and tracker.word_in(word[:5]) is None
    assert tracker.word_in(np.full(160, np.nan + 0j)) is None


def test_what_may_be_another_turn_settles_nothing():
    """A copy in another turn beside it, as alike, be it chance or a trick: neither is believed."""
    prior = soi()
    word, z = prior.word, prior.signal.alphabet.points.numpy()[np.random.default_rng(2).integers(4, size=160)].astype(complex)
    z[20:20 + len(word)], z[90:90 + len(word)] = word, 1j * word
    assert Tracker(prior).word_in(z) is None and Tracker(prior).word_in(z[:80]) == 0


def test_a_word_that_fits_in_no_window_is_refused():
    with pytest.raises(ParameterError, match="preamble: 200 symbols do not fit in a window of 2560 samples"):
        bits = "".join(map(str, np.random.default_rng(1).integers(2, size=400)))
        separate_stream(np.ones(4000, np.complex64), soi(preamble=bits, timing=5.3, carrier_offset=0.0), OFDM)


@pytest.mark.slow
def test_the_report_tells_whether_the_turn_is_known(tmp_path):
    y, _ = stream([100])
    mix = recordings.save(tmp_path / "mix", y.numpy(), 1e6)
    (tmp_path / "ofdm.toml").write_text(describe.to_toml(OFDM))
    for name, bits, words in (("with", BITS, "resolved by the preamble"), ("other", BITS[::-1], "preamble was not found"),
                              ("none", "", "up to a quarter turn")):
        prior = replace(soi(timing=5.3, carrier_offset=0.0), preamble=bits)
        (tmp_path / f"{name}.toml").write_text(describe.to_toml(prior))
        works("separate", mix, "--soi", tmp_path / f"{name}.toml", "--interference", tmp_path / "ofdm.toml", "-o",
              tmp_path / name)
        assumed = json.loads((tmp_path / name / "report.json").read_text())["assumed"]
        assert sum(words in line for line in assumed) == 1, assumed


@pytest.mark.parametrize(("keys", "message"), [
    ({"preamble": "0120" * 6}, "preamble: '0120.* 0 and 1"), ({"preamble": "01" * 11}, "preamble: 22 bits must be 12 sym.* of 2"),
    ({"preamble": "01" * 10, "constellation": "bpsk"}, "preamble: 20 bits must be 24 symbols of 1"),
    ({"preamble": "0" * 25}, "preamble: 25 bits .* whole"), ({"preamble": 110}, "preamble: 110 must be a text"),
    ({"preamble": "0110" * 12}, "preamble: shifted by 1 symbols .* turned"),
    ({"preamble": "01" * 12, "constellation": "bpsk"}, "preamble: shifted by 1 symbols .* turned"),
    ({"constellation": "pi/4-dqpsk"}, "preamble: constellation 'pi/4-dqpsk' turns")])
def test_what_cannot_be_a_preamble_is_refused(keys, message):
    with pytest.raises((ParameterError, CapabilityError), match=message):
        soi(**keys)
