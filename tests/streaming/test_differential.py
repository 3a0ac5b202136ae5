# SPDX-License-Identifier: GPL-3.0-or-later
"""Differential phase shift keying: bits in phase steps, in streams whose phase is not known."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate, separate_stream
from alpha_rgs import sources as priors
from alpha_rgs.errors import ParameterError
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import constellation
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.mixtures import noise, paper_priors
from alpha_rgs.streaming import report

OFDM = paper_priors()[1]
KEYS = {"kind": "linear-modulation", "samples_per_symbol": 16, "rolloff": 0.5, "span": 4}
each = pytest.mark.parametrize("name", ["bpsk", "qpsk", "8psk"])


def soi(name="qpsk", **keys):
    return from_dict(KEYS | {"constellation": name} | ({} if name == "pi/4-dqpsk" else {"differential": True}) | keys)


def stream(name="qpsk", samples=6_000, phase=2.0, seed=1, kappa=2.0):
    """(mixture under OFDM [samples], bits of the symbols from the first in the stream on [n, bits], the source as it is)."""
    g = torch.Generator().manual_seed(seed)
    truth = soi(name, timing=5.3, phase=phase, gain=1.0, carrier_offset=2e-3)
    first, count = truth.overlapping_symbols(samples)
    alphabet = truth.signal.alphabet
    bits = torch.randint(0, 2, (1, count * alphabet.bits_per_symbol), generator=g)
    s = truth.modulate_overlapping(alphabet.map(bits), samples)
    b = OFDM.draw(1, samples, g)[0]
    y = s + kappa * b + 0.1 * noise(s.shape, g)
    return y[0].to(torch.complex64), bits.reshape(count, -1)[-int(first):][:truth.centred_symbols(samples)[1]].numpy(), truth


@each
def test_bits_are_the_steps_of_independent_symbols(name):
    alphabet, plain = constellation(name, differential=True), constellation(name)
    bits = torch.randint(0, 2, (5, 60 * alphabet.bits_per_symbol), generator=torch.Generator().manual_seed(1))
    symbols = alphabet.map(bits)
    assert torch.equal(alphabet.slice(symbols), bits.to(torch.uint8)) and torch.equal(alphabet.points, plain.points)
    assert not alphabet.rotation and alphabet.differential and not plain.differential
    turn = np.exp(2j * np.pi / alphabet.symmetry)
    own = slice(alphabet.bits_per_symbol, None)
    assert torch.equal(alphabet.slice(symbols * turn)[:, own], bits.to(torch.uint8)[:, own])
    x = symbols + 0.2 * noise(symbols.shape, torch.Generator().manual_seed(2))
    llrs = alphabet.llrs(x, 0.04)
    assert torch.allclose(llrs[:, 1:], alphabet.llrs(x * turn, 0.04)[:, 1:], rtol=1e-3, atol=1e-3)
    step = {"bpsk": (np.pi,), "qpsk": (np.pi / 2, -np.pi / 2), "8psk": (np.pi / 4, np.pi * 3 / 4)}[name]
    for number, angle in enumerate(step):       # 1; 01, 10; 001, 010
        word = torch.zeros(1, 2 * alphabet.bits_per_symbol, dtype=torch.long)
        word[0, -1 - number] = 1
        first, second = alphabet.map(word)[0]
        assert abs(np.exp(1j * (np.angle(complex(second / first)) - angle)) - 1) < 1e-5


@each
def test_llrs_of_steps_are_calibrated(name):
    alphabet = constellation(name, differential=True)
    bits = torch.randint(0, 2, (1, 40_000 * alphabet.bits_per_symbol), generator=torch.Generator().manual_seed(3))
    var = {"bpsk": 0.5, "qpsk": 0.25, "8psk": 0.08}[name]
    x = alphabet.map(bits) + var ** 0.5 * noise((1, 40_000), torch.Generator().manual_seed(4))
    llrs = alphabet.llrs(x, var)[0, 1:].double()
    wrong = ((llrs < 0) != bits.reshape(40_000, -1)[1:].bool()).double().mean()
    assert 0.01 < float(wrong) < 0.2 and float(wrong) == pytest.approx(float(torch.sigmoid(-llrs.abs()).mean()), rel=0.05)
    hard = (alphabet.slice(x).reshape(40_000, -1)[1:] != bits.reshape(40_000, -1)[1:]).double().mean()
    assert float(wrong) <= float(hard) * 1.02


@pytest.mark.parametrize(("name", "phase"), [("qpsk", 2.0), pytest.param("qpsk", -0.7, marks=pytest.mark.slow), ("bpsk", 1.0)])
def test_a_stream_with_all_unknown_has_its_bits(name, phase):
    """No rotation to be tried; each step once, over the seams of windows too."""
    y, bits, truth = stream(name, phase=phase)
    out = separate_stream(y.numpy(), [soi(name), OFDM])
    found = out.sources[0].bits.reshape(-1, bits.shape[1])
    assert abs(len(found) - len(bits)) <= 1 and np.all(out.sources[0].llrs[0] == 0)
    wrong = {k: float((found[10:350] != bits[10 + k:350 + k]).mean()) for k in (-1, 0, 1)}
    assert min(wrong.values()) < 1e-3, wrong
    pair = separate_stream(y.numpy(), soi(name), OFDM)
    assert np.array_equal(pair.sources[0].bits[20:], out.sources[0].bits[20:])


def test_a_known_phase_gives_the_same_bits():
    y, bits, truth = stream()
    found = separate_stream(y.numpy(), [truth, OFDM], noise_var=0.01).sources[0].bits.reshape(-1, 2)
    assert len(found) == len(bits) and np.mean(found[1:] != bits[1:]) < 1e-3


def test_of_a_window_bits_are_decided_though_the_phase_is_estimated():
    y, bits, _ = stream(samples=2560)
    out = separate(y[None], [soi(), OFDM])
    assert out.sources[0].decided and not out.sources[0].ambiguous and "phase" in out.estimated
    plain = separate(y[None], [from_dict(KEYS | {"constellation": "qpsk"}), OFDM])
    assert not plain.sources[0].decided


def test_keys_of_differential_bits(tmp_path):
    prior = soi()
    assert prior.signal == Signal("qpsk", 16, "rrc", 0.5, 4, differential=True) and prior.differential
    assert "differential = true" in report.to_toml(prior) and "differential" not in report.to_toml(
        replace(prior, signal=replace(prior.signal, differential=False)))
    (tmp_path / "d.toml").write_text(report.to_toml(replace(prior, carrier_offset=0.0)))
    assert priors.load(tmp_path / "d.toml") == replace(prior, carrier_offset=0.0)
    assert prior.demodulator().ambiguity == 1 and soi("pi/4-dqpsk").demodulator().ambiguity == 1
    assert from_dict(KEYS).demodulator().ambiguity == 4
    for name in ("16qam", "pi/4-dqpsk"):
        with pytest.raises(ParameterError, match=f"differential: .*bpsk, qpsk, 8psk; '{name}'"):
            from_dict(KEYS | {"constellation": name, "differential": True})
    with pytest.raises(ParameterError, match="differential: 1 must be true or false"):
        from_dict(KEYS | {"differential": 1})
    with pytest.raises(ParameterError, match="preamble: differential bits do not depend on the phase"):
        soi(preamble="0110" * 10)


def test_pi_4_dqpsk_of_unknown_phase_has_its_bits():
    y, bits, _ = stream("pi/4-dqpsk", kappa=0.5)
    out = separate_stream(y.numpy(), soi("pi/4-dqpsk", carrier_offset=2e-3), OFDM)
    found = out.sources[0].bits.reshape(-1, 2)
    assert min(np.mean(found[20:300] != bits[20 + k:300 + k]) for k in (-1, 0, 1)) < 0.02
