# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRa that comes in packets, weaker than the noise of a sample and than what it lies under, of which only the kind is known."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as Signal
from alpha_rgs.sources import LinearModulation, Lora
from alpha_rgs.sources.lora_packet import Chirps, Packet
from alpha_rgs.sources.lora_search import find_packets, gaps
from alpha_rgs.sources.mixtures import noise

SIGNAL = Signal(7, 2)
LENGTH = SIGNAL.symbol_length
HEADER = [0] * 8 + [24, 32]


def sent(packet, values, samples, seed=0):
    """(a packet as sent, each chirp of a phase of its own, complex [samples]; places of the up-chirps' centres)."""
    draw, out, length = np.random.default_rng(seed), np.zeros(samples, complex), LENGTH
    chirps = [(start, value, 1, length) for start, value in zip(packet.ups(length), values)]
    chirps += [(start, 0, -1, size) for start, size in zip(packet.downs(length), (length, length, length // 4))]
    for start, value, sense, size in chirps:
        n = np.arange(max(0, int(np.ceil(start - 1e-9))), min(samples, int(np.ceil(start + size - 1e-9))))
        u = (n - start + value * SIGNAL.samples_per_chip) % length
        angle = np.pi / SIGNAL.samples_per_chip * (u * u / length - u)
        out[n] = np.exp(1j * (sense * angle + draw.uniform(0, 2 * np.pi)))
    turn = np.exp(2j * np.pi * packet.carrier_offset * np.arange(samples))
    return torch.from_numpy(packet.amplitude * out * turn), np.array(packet.ups(length)) + length / 2


def with_noise(x, variance, seed=3):
    return x + variance ** 0.5 * noise((1, len(x)), torch.Generator().manual_seed(seed))[0]


def values(count, seed=1):
    return np.random.default_rng(seed).integers(0, SIGNAL.chips, count).tolist()


def test_packets_of_two_senders_are_found_with_timing_amplitude_and_carrier():
    packets = Packet(420.3, 8, None, 1.0, 0.011), Packet(3301.8, 9, None, 0.7, -0.006)
    x = sum(sent(packet, values(packet.symbols, k), 6400, k)[0] for k, packet in enumerate(packets))
    found = find_packets(SIGNAL, with_noise(x, 1.0), None)
    assert [packet.symbols for packet in found] == [8, 9]
    for own, true in zip(found, packets):
        assert abs(own.begin - true.begin) < 0.5 and abs(own.carrier_offset - true.carrier_offset) < 2e-4
        assert abs(own.amplitude - true.amplitude) < 0.1


def test_the_grid_of_the_data_lies_a_quarter_of_a_symbol_behind_that_of_the_header():
    true = Packet(300.4, 22, 10, 1.0, -0.008)
    x, at = sent(true, HEADER + values(12), 7400)
    found = find_packets(SIGNAL, with_noise(x, 1.0), None)
    assert len(found) == 1 and found[0].header == 10 and found[0].symbols == 22
    source = Lora(SIGNAL, carrier_offset=None).in_packets()
    x = with_noise(x, 1.0).to(torch.complex64)[None]
    read = source.synchronize(x, 1.0)[0].demodulator()(x, 1.0)
    assert np.abs(read.at[0].numpy() - at).max() < 1
    assert read.symbols[0].real.int().tolist() == HEADER + values(12)


@pytest.mark.parametrize("seed", range(4))
def test_no_packet_is_found_in_noise_and_no_gap_in_endless_chirps(seed):
    generator = torch.Generator().manual_seed(seed)
    empty = noise((1, 3072), generator)[0]
    assert find_packets(SIGNAL, empty, None) == [] and gaps(SIGNAL, empty)
    s, _ = Lora(SIGNAL, carrier_offset=None).draw(1, 3072, generator)
    assert not gaps(SIGNAL, s[0] + empty)


def test_noise_that_is_stronger_in_a_part_of_the_window_is_no_packet():
    """What a separation that failed leaves of the others is uneven."""
    x = noise((1, 4096), torch.Generator().manual_seed(9))[0]
    x[1000:2200] *= 10
    assert find_packets(SIGNAL, x, None) == []


def test_the_mean_of_a_known_packet_is_the_packet():
    true = Packet(-100.6, 9, 3, 2.0, 0.004)
    x, _ = sent(true, [0, 24, 32, *values(6)], 2600)
    left = Chirps(SIGNAL, true, with_noise(x, 0.1)).mean(0.1) - x
    assert float(left.abs().square().mean()) < 0.01


def test_a_packet_under_a_linear_modulation_of_which_only_the_kinds_are_known():
    samples, true = 4096, Packet(1030.3, 8, None, 1.0, 0.006)
    x, at = sent(true, values(8), samples)
    other = LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8), carrier_offset=None)
    b, _ = replace(other, carrier_offset=0.003).draw(1, samples, torch.Generator().manual_seed(2))
    y = with_noise(x, 1.0).to(torch.complex64)[None] + 5.6 * b
    first, second = separate(y, [other, Lora(SIGNAL, carrier_offset=None)]).sources
    there = ~second.at[0].isnan()
    assert np.abs(second.at[0, there].numpy() - at).max() < 1
    assert second.symbols[0, there].real.int().tolist() == values(8)
    assert bool((second.waveform[0, :1030] == 0).all()) and bool((second.waveform[0, 3080:] == 0).all())
    assert abs(float(second.state.gain) - 1.0) < 0.1
    assert float((first.waveform - 5.6 * b)[0, 200:-200].abs().square().mean()) < 0.02


def test_a_window_without_packets_says_so():
    other = LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8), carrier_offset=None)
    b, _ = replace(other, carrier_offset=0.003).draw(1, 2560, torch.Generator().manual_seed(2))
    y = 5.6 * b + noise((1, 2560), torch.Generator().manual_seed(8))
    second = separate(y, [other, Lora(SIGNAL, carrier_offset=None)]).sources[1]
    assert float(second.state.gain) == 0 and bool((second.waveform == 0).all()) and bool(second.at.isnan().all())


def test_lora_whose_timing_is_known_is_always_on():
    assert Lora(SIGNAL, timing=3.0).in_packets() is None and Lora(SIGNAL).in_packets() is not None
