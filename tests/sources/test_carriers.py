# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrier offsets of OFDM and LoRa: found in noise and under others, and what a file says of them."""
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import ParameterError
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import LinearModulation, Lora, Ofdm, from_dict
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.sources.toml import to_toml


@pytest.mark.parametrize("alphabet, most", [("qpsk", 3e-6), ("bpsk", 5e-6), ("gaussian", 3e-4)])
def test_the_carrier_offset_of_ofdm_is_found(alphabet, most):
    """By prefixes and unused carriers, and exactly where the alphabet is known; with frames where they are."""
    generator = torch.Generator().manual_seed(21)
    sent = Ofdm(OfdmSignal(constellation="qpsk" if alphabet == "gaussian" else alphabet), carrier_offset=None)
    x, truth = sent.draw(8, 2560, generator)
    found, values = Ofdm(OfdmSignal(constellation=alphabet), carrier_offset=None).synchronize(
        x + 0.3 * noise(x.shape, generator), 0.09)
    assert {"carrier_offset", "frame_offset"} <= values.keys()
    assert float((found.carrier_offset - truth.carrier_offset).abs().max()) < most
    assert torch.equal(found.frame_offset, truth.frame_offset)


def test_the_carrier_offset_of_chirps_is_found_apart_from_their_timing():
    """A later chirp is one of lower frequency and of another symbol; the symbols' ends tell."""
    generator = torch.Generator().manual_seed(22)
    x, truth = Lora(LoraSignal(7, 2), carrier_offset=None).draw(4, 2048, generator)
    found, _ = Lora(LoraSignal(7, 2), carrier_offset=None).synchronize(x + 0.7 * noise(x.shape, generator), 0.49)
    late = (found.timing - truth.timing + 128) % 256 - 128
    assert float(late.abs().max()) < 0.3
    assert float((found.carrier_offset - truth.carrier_offset).abs().max()) < 0.1 / 256


def test_ofdm_of_unknown_carrier_under_a_stronger_train_of_pulses():
    """Each window has its own carrier; all nuisances of both sources are unknown."""
    generator = torch.Generator().manual_seed(23)
    ofdm = Ofdm(OfdmSignal(), carrier_offset=None)
    pulses = LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.35, 8), gain=1.0, carrier_offset=0.006)
    b, truth = alone(ofdm, 2, 2560, generator)
    y = b + 2 * alone(pulses, 2, 2560, generator)[0] + 0.1 * noise(b.shape, generator)
    out = separate(y, [ofdm, LinearModulation(pulses.signal, carrier_offset=None)])
    assert float((out.estimated["carrier_offset_1"] - truth.carrier_offset).abs().max()) < 5e-6
    left = (out.sources[0].cleaned - b).abs().square().mean(1)
    assert float(left.max()) < 0.02


def test_a_file_says_that_a_carrier_is_unknown():
    """`carrier_offset = "unknown"`; of a kind that does not find it, it is refused."""
    assert from_dict({"kind": "ofdm", "carrier_offset": "unknown"}).unknown.count("carrier_offset") == 1
    assert from_dict({"kind": "ofdm"}).carrier_offset == 0.0
    assert from_dict({"kind": "lora", "spreading_factor": 7, "samples_per_chip": 2}).carrier_offset is None
    assert from_dict({"kind": "lora", "spreading_factor": 7, "samples_per_chip": 2, "timing": 3.0}).carrier_offset is None
    with pytest.raises(ParameterError, match="carrier_offset"):
        from_dict({"kind": "tones", "carrier_offset": "unknown"})


def test_a_file_that_is_written_says_so_too():
    """What is written is read as it was."""
    assert 'carrier_offset = "unknown"' in to_toml(from_dict({"kind": "ofdm", "carrier_offset": "unknown"}))
    assert "carrier_offset" not in to_toml(from_dict({"kind": "lora", "spreading_factor": 7, "samples_per_chip": 2}))
