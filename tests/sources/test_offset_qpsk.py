# SPDX-License-Identifier: GPL-3.0-or-later
"""Offset QPSK: its waveform, denoiser, demodulator, synchronization and files."""
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import OffsetQpsk as Signal
from alpha_rgs.sources import Ofdm, OffsetQpsk, from_dict
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import noise, paper_priors
from alpha_rgs.streaming import report, separate_stream
from scipy.special import erfc

RRC, ZIGBEE = Signal(8, "rrc", 0.5, 8), Signal(4, "half-sine")
SIGNALS = [RRC, ZIGBEE, Signal(7.3, "rrc", 0.35, 8), Signal(5.5, "half-sine"), Signal(32, "rrc", 0.35, 8)]
per_signal = pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: f"{s.pulse}-{s.samples_per_symbol}")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mse_db(got, truth):
    return 10 * float(torch.log10((got - truth).abs().square().mean()))


def signs(batch, count, seed=0):
    return 2 * torch.randint(0, 2, (batch, count), generator=generator(seed)) - 1


def drawn(signal, batch, samples, seed):
    """(signs of the bits that `overlapping` counts, waveform, source) of any timing, phase and carrier."""
    timing, phase, offset = torch.rand(3, batch, generator=generator(seed), dtype=torch.float64)
    truth = OffsetQpsk(signal, 5 * signal.samples_per_symbol * (timing - 0.4), 2 * torch.pi * phase, 0.04 * (offset - 0.5))
    a = signs(batch, truth.overlapping(samples)[1], seed + 1)
    return a, truth.modulate(a, samples), truth


def sent_bits(truth, a, at):
    """Bits 0, 1 of the symbols whose in-phase bits are centred on `at`, [batch, n, 2]."""
    first = truth.overlapping(1)[0][:, None]
    where = torch.round((at - truth.timing[:, None]) / truth.signal.half_symbol).nan_to_num().long() - first
    return torch.stack([a.gather(1, (where + k).clamp(0, a.shape[1] - 1)) < 0 for k in (0, 1)], -1)


# waveform

@per_signal
def test_the_waveform_is_its_definition(signal):
    a, timing = signs(3, 30), torch.tensor([2.3, -7.0, 31.9], dtype=torch.float64)
    x = signal.modulate(a, 77, timing)
    k, n = torch.arange(30), torch.arange(77)[:, None]
    pulses = signal.pulse_at((n - timing[:, None, None] - signal.samples_per_symbol / 2 * k).numpy())
    turns = torch.tensor([1, 1j])[k % 2].to(torch.complex128)
    expected = (torch.as_tensor(pulses) * (a * turns)[:, None]).sum(-1)
    assert x.dtype == torch.complex64 and torch.allclose(x.to(torch.complex128), expected, atol=1e-5)
    later = signal.modulate(a[:, 4:], 77, timing, torch.tensor([4, 4, 4]))
    assert torch.allclose(later, signal.modulate(torch.nn.functional.pad(a[:, 4:], (4, 0)), 77, timing), atol=1e-6)


def test_half_sines_have_a_constant_modulus_and_a_chip_turns_a_quarter():
    s, _ = OffsetQpsk(ZIGBEE, 0.0).draw(4, 400, generator())
    assert torch.allclose(s.abs(), torch.ones_like(s.abs()), atol=1e-6)
    assert torch.allclose((s[:, 1:] * s[:, :-1].conj()).angle().abs(), torch.tensor(torch.pi / 4), atol=1e-3)


@per_signal
def test_draws_have_unit_power_and_the_stated_density(signal):
    s, truth = OffsetQpsk(signal, carrier_offset=0.01).draw(64, 2048, generator())
    assert float(s.abs().square().mean()) == pytest.approx(1, abs=0.02)
    assert truth.timing.shape == truth.phase.shape == (64,) and float(truth.timing.max()) < signal.samples_per_symbol
    lags = np.arange(-20, 21)
    measured = [complex((s[:, 40 + lag:2000 + lag] * s[:, 40:2000].conj()).mean()) for lag in lags]
    assert np.allclose(truth.autocorrelation(lags), measured, atol=0.03)
    assert OffsetQpsk(signal, carrier_offset=None).draw(9, 64, generator())[1].carrier_offset.abs().max() <= 0.02


def test_a_later_window_sees_the_same_bits():
    a, s, truth = drawn(RRC, 5, 640, 3)
    later, start = truth.at(torch.tensor([0, 3, 64, 101, 200])), [0, 3, 64, 101, 200]
    cut = torch.stack([row[k:k + 400] for row, k in zip(s, start)])
    read = later.demodulator()(cut, 1e-3)
    first = truth.overlapping(640)[0] // 2
    symbol = torch.round((read.at - later.timing[:, None]) / 8).nan_to_num().long() - first[:, None]
    bits = torch.stack([a[:, ::2].gather(1, symbol), a[:, 1::2].gather(1, symbol)], -1) < 0
    there = ~read.at.isnan()
    assert int(there.sum()) >= 5 * 49 and torch.equal((read.llrs < 0)[there], bits[there])
    assert OffsetQpsk(RRC, 1.0, 0.5, None).at(3) == OffsetQpsk(RRC, -2.0, None, None)


# denoiser and demodulator

@pytest.mark.parametrize("signal", [ZIGBEE, Signal(5.5, "half-sine"), Signal(4, "rrc", 1.0, 1)])
def test_denoise_is_the_posterior_mean(signal):
    """By enumeration; of pulses that are orthogonal on their rail whatever the window cuts off."""
    prior = OffsetQpsk(signal, 1.2, 0.7, 0.01)
    samples = 13
    words = torch.tensor(list(itertools.product((-1, 1), repeat=prior.overlapping(samples)[1])))
    waves = prior.modulate(words, samples).to(torch.complex128)
    x = prior.draw(4, samples, generator(1))[0] + 0.8 * noise((4, samples), generator(2))
    fit = -(x.to(torch.complex128)[:, None] - waves).abs().square().sum(-1)
    for noise_var in (0.4, 2.0):
        exact = torch.softmax(fit / noise_var, 1).to(waves.dtype) @ waves
        assert mse_db(prior.denoise(x, noise_var), exact) < (-60 if signal.pulse == "half-sine" else -40)


@per_signal
def test_little_noise_leaves_the_signal_and_much_noise_nothing(signal):
    _, s, truth = drawn(signal, 8, 1280, 5)
    n = noise(s.shape, generator(6))
    cut = slice(int(signal.half_length), 1280 - int(signal.half_length)) if signal.pulse == "rrc" else slice(None)
    assert mse_db(truth.denoise(s + 1e-3 ** 0.5 * n, 1e-3)[:, cut], s[:, cut]) < -35
    assert mse_db(truth.denoise(s + 1e4 ** 0.5 * n, 1e4), 0) < -20
    for noise_var in (0.5 * signal.half_symbol, 2.0 * signal.half_symbol):
        mean = truth.denoise(s + noise_var ** 0.5 * n, noise_var)
        assert float((mean - s).abs().square().mean()) == pytest.approx(1 - float(mean.abs().square().mean()), abs=0.05)
    unknown = replace(truth, timing=None, phase=None, carrier_offset=None)
    assert mse_db(unknown.denoise(s + 0.1 * n, 0.01)[:, cut], s[:, cut]) < -30


@per_signal
def test_columns_make_the_waveform_and_are_decoded(signal):
    a, s, truth = drawn(signal, 3, 640, 7)
    model = truth.linear_model(s.shape)
    assert mse_db(model.waveform(a.double(), 640), s) < -100 and model.dimensions == 1 and model.missing == 0
    assert (model.start.diff(dim=1) >= 0).all() and replace(truth, phase=None).linear_model(s.shape) is None
    mean = a.double()[..., None]
    symbols, llrs, at = model.decode(mean, torch.full_like(mean, 0.5))
    assert torch.allclose(llrs.flatten(1), 4.0 * a) and torch.allclose(symbols.abs(), torch.ones(()))
    read = truth.demodulator()(s, 1e-2)
    assert torch.equal(read.at.nan_to_num(), at.nan_to_num())
    there = ~at.isnan()
    assert int(there.sum()) >= 3 * (640 // signal.samples_per_symbol - 1)
    assert torch.equal((read.llrs < 0)[there], sent_bits(truth, a, read.at)[there])
    inner = (at > 2 * signal.half_length) & (at < 640 - 2 * signal.half_length)
    assert (read.symbols - symbols)[inner].abs().max() < 0.05
    assert torch.equal(read.symbols.real[inner] < 0, read.llrs[inner][:, 0] < 0)


def test_llrs_are_calibrated_and_errors_those_of_theory():
    a, s, truth = drawn(RRC, 100, 2560, 9)
    noise_var = 8 / 10 ** 0.4           # Es/N0 4 dB
    read = truth.demodulator()(s + noise_var ** 0.5 * noise(s.shape, generator(10)), noise_var)
    there = (read.at > 40) & (read.at < 2500)
    sent = sent_bits(truth, a, read.at)
    wrong = ((read.llrs < 0) != sent)[there].double().mean()
    expected = torch.sigmoid(-read.llrs[there].abs().double()).mean()
    assert float(wrong) == pytest.approx(0.5 * erfc(10 ** 0.2 / 2 ** 0.5), rel=0.06)
    assert float(wrong) == pytest.approx(float(expected), rel=0.06)


# synchronization

def turned_alike(truth, found, a, read):
    """Wrong bits of each window in the best of the four cases that are one waveform."""
    period = truth.signal.half_symbol
    turn = torch.round((found.phase - truth.phase) / (torch.pi / 2)).long() % 4
    shift = torch.round((found.timing - truth.timing) / period).long()
    first = truth.overlapping(2560)[0]
    number = torch.round((read.at - found.timing[:, None]) / period).nan_to_num().long() + shift[:, None]
    bits = torch.stack([a.gather(1, (number + k - first[:, None]).clamp(0, a.shape[1] - 1)) for k in (0, 1)], -1)
    carried = torch.stack([(number + k) % 2 - k for k in (0, 1)], -1)            # quarter turns from the rail where it is read
    return bits, (carried - turn[:, None, None]) % 4


@per_signal
def test_synchronized_bits_are_the_sent_ones_up_to_four_turns(signal):
    a, s, truth = drawn(signal, 20, 2560, 11)
    noise_var = signal.half_symbol / 10
    x = s + noise_var ** 0.5 * noise(s.shape, generator(12))
    found, values = OffsetQpsk(signal, carrier_offset=None).synchronize(x, noise_var)
    assert set(values) == {"timing", "phase", "carrier_offset"} and not found.unknown
    late = (found.timing - truth.timing) / signal.half_symbol
    assert (late - torch.round(late)).abs().max() < 0.1 and (found.carrier_offset - truth.carrier_offset).abs().max() < 2e-5
    read = found.demodulator()(x, noise_var)
    bits, turn = turned_alike(truth, found, a, read)
    there = (read.at > 2 * signal.half_length) & (read.at < 2560 - 2 * signal.half_length)
    assert (turn[there] % 2 == 0).all()
    assert ((read.llrs > 0) == (bits * (1 - turn) > 0))[there].float().mean() > 0.9995
    assert found.demodulator().coherent and found.demodulator().ambiguity == 4


@pytest.mark.parametrize("given", [("timing",), ("phase",), ("carrier_offset",), ("phase", "carrier_offset"),
                                   ("timing", "phase")])
def test_what_is_known_is_kept_and_a_known_phase_leaves_no_doubt(given):
    a, s, truth = drawn(RRC, 20, 1600, 13)
    truth = replace(truth, carrier_offset=truth.carrier_offset / 2)
    s = truth.modulate(a, 1600)
    x = s + 0.2 * noise(s.shape, generator(14))
    unknown = {name: None for name in ("timing", "phase", "carrier_offset") if name not in given}
    found, values = replace(truth, **unknown).synchronize(x, 0.04)
    assert set(values) == set(unknown) and all(torch.equal(getattr(found, name), getattr(truth, name)) for name in given)
    assert mse_db(found.denoise(x, 0.04), s) < -25
    read = found.demodulator()(x, 0.04)
    there = (read.at > 70) & (read.at < 1530)
    sent = sent_bits(truth, a, read.at)
    wrong = torch.stack([(((read.llrs < 0) != sent) & there[..., None])[k].sum() for k in range(20)])
    if "phase" in given:
        assert wrong.sum() == 0
    elif "timing" in given:                             # half a turn, in some
        assert ((wrong == 0) | (wrong == 2 * there.sum(1))).all() and 0 < int((wrong == 0).sum()) < 20


def test_a_stronger_signal_beside_it_is_whitened():
    _, s, truth = drawn(RRC, 40, 2560, 15)
    ofdm = Ofdm(OfdmSignal(64, 16, (4, 3)))
    x = s + 10 ** 0.25 * ofdm.draw(40, 2560, generator(16))[0] + 10 ** -0.75 * noise(s.shape, generator(17))
    noise_now = Noise(10 ** -1.5, psd=10 ** 0.5 * torch.from_numpy(ofdm.psd(2560))[None])
    found, _ = OffsetQpsk(RRC, carrier_offset=None).synchronize(x, noise_now)
    assert float(((found.carrier_offset - truth.carrier_offset).abs() < 1e-4).float().mean()) > 0.95


def test_separated_from_a_stronger_one_it_is_as_good_as_alone():
    """All nuisances known; 5 dB stronger OFDM: fewer errors than the demodulator makes without it at 3 dB less SNR."""
    ofdm = replace(Ofdm(OfdmSignal(64, 16, (4, 3))).draw(2, 2560, generator(18))[1], gain=10 ** 0.25)
    interference = ofdm.draw(2, 2560, generator(18))[0]
    a, s, truth = drawn(RRC, 2, 2560, 19)
    noise_var = 8 / 10 ** 1.3
    out = separate(s + 10 ** 0.25 * interference + noise_var ** 0.5 * noise(s.shape, generator(20)),
                   [replace(truth, gain=1.0), ofdm], noise_var=noise_var)
    read = out.sources[0]
    there = (read.at > 40) & (read.at < 2500)
    sent = sent_bits(truth, a, read.at)
    wrong = ((read.llrs < 0) != sent)[there].double().mean()
    assert read.decided and float(wrong) < 0.5 * erfc(10 ** 0.5 / 2 ** 0.5)


def test_bits_of_a_stream_come_once_each_over_seams_of_windows():
    signal = Signal(7.3, "rrc", 0.5, 8)
    truth = OffsetQpsk(signal, 2.5, 0.3, 1e-3, gain=1.0)
    a = signs(1, truth.overlapping(6000)[1], 21)
    ofdm = Ofdm(OfdmSignal(64, 16, (4, 3)), 11, 0.4, gain=1.0)
    y = truth.modulate(a, 6000) + ofdm.draw(1, 6000, generator(22))[0] + 0.1 * noise((1, 6000), generator(23))
    found = separate_stream(y[0].numpy(), [truth, ofdm], noise_var=0.01).sources[0]
    which = np.round((found.at - 2.5) / 7.3).astype(int)
    assert (np.diff(which) == 1).all() and which[0] == 0 and len(found.bits) == 2 * len(which)
    first = int(truth.overlapping(6000)[0])
    assert np.array_equal(found.bits, (a[0, -first:-first + len(found.bits)] < 0).numpy())


# files

def test_a_prior_file_says_oqpsk(tmp_path):
    path = tmp_path / "zigbee.toml"
    for prior in (OffsetQpsk(Signal(7.3, "rrc", 0.3, 6), 1.5, -0.25, 1e-3, 0.5), OffsetQpsk(ZIGBEE),
                  OffsetQpsk(carrier_offset=None)):
        path.write_text(report.to_toml(prior, "a comment"))
        assert priors.load(path) == prior
    assert from_dict({"kind": "oqpsk"}).unknown == ("timing", "phase", "carrier_offset")
    assert from_dict({"kind": "oqpsk", "timing": 2}).carrier_offset is None
    rows = {key: (value, meaning) for key, value, meaning in report.prior_table(from_dict({"kind": "oqpsk"}), {"kind"})}
    assert rows["timing"][0] == rows["phase"][0] == "estimated" and all(meaning for _, meaning in rows.values())


@pytest.mark.parametrize(("table", "words"), [
    ({"bandwidth_time": 0.3}, ["'bandwidth_time'", "oqpsk", "rolloff"]),
    ({"samples_per_symbol": 1.5}, ["samples_per_symbol", "1.5", "2 or more"]),
    ({"pulse": "sine"}, ["pulse", "'sine'", "rrc, half-sine"]),
    ({"rolloff": 1.5}, ["rolloff", "0 and 1"]),
    ({"span": 0}, ["span", "1 or more"]),
    ({"carrier_offset": 0.7}, ["carrier_offset", "cycles per sample"]),
    ({"gain": 0}, ["gain", "positive"]),
    ({"timing": "now"}, ["timing", "a number"]),
])
def test_bad_keys_are_named(table, words):
    with pytest.raises(ParameterError) as error:
        from_dict({"kind": "oqpsk", **table}, "zigbee.toml")
    for word in ("zigbee.toml", *words):
        assert word in str(error.value)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(CapabilityError, match="oqpsk: .* white noise only, not in the span"):
        OffsetQpsk(timing=0.0, phase=0.0).denoise(torch.zeros(1, 100), Noise(1e-4, paper_priors()[0], 1.0))
    with pytest.raises(ParameterError, match="oqpsk: phase is unknown; symbols cannot be read without it"):
        OffsetQpsk(timing=0.0).demodulator()(torch.zeros(1, 100), 0.1)
