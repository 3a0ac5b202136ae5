# SPDX-License-Identifier: GPL-3.0-or-later
"""Pilots of OFDM: what is believed of them, that they are no data, and which turn of the phase they leave open."""
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import ParameterError
from alpha_rgs.inference.linear_model import moments
from alpha_rgs.separators.joint_keyed import keyed_pair
from alpha_rgs.signals import Fsk as FskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import constellation, preset
from alpha_rgs.signals.mixed import mixed, subset
from alpha_rgs.signals.tree_search import list_mean
from alpha_rgs.sources import Fsk, LinearModulation, Ofdm, from_dict
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.sources.toml import to_toml
from alpha_rgs.streaming.report import assumptions

PILOTS, VALUES = (-21, -7, 7, 21), (1, 1, 1, -1)
WIFI = {"kind": "ofdm", "preset": "802.11a", "constellation": "qpsk", "pilots": list(PILOTS)}
SAMPLES = 2560


def signal(values=VALUES, data="qpsk", pilots=PILOTS):
    return OfdmSignal(**{**preset("802.11a"), "constellation": data}, pilots=pilots, pilot_values=values)


def packets(frame_offset, phase, seed=1, samples=SAMPLES):
    """(802.11a as IEEE 802.11-2020, 17.3.5, has it, by its formulas alone, complex64 [1, samples]; bits of the data carriers
    [frames, 48, 2] from the first whole frame on): QPSK data, pilots of one sign per frame."""
    rng = np.random.default_rng(seed)
    carriers = [k for k in range(-26, 27) if k]
    data = [k for k in carriers if k not in PILOTS]
    frames, n = samples // 80 + 2, np.arange(-16, 64)
    bits, wave = rng.integers(0, 2, (frames, 48, 2)), []
    for own in bits:
        level = dict(zip(data, ((1 - 2 * own[:, 0]) + 1j * (1 - 2 * own[:, 1])) / math.sqrt(2)))
        level.update(zip(PILOTS, rng.choice([-1, 1]) * np.array(VALUES)))
        wave.append(sum(level[k] * np.exp(2j * np.pi * k * n / 64) for k in carriers) / math.sqrt(52))
    x = np.concatenate(wave)[80 - frame_offset:][:samples] * np.exp(1j * phase)
    return torch.from_numpy(x.astype(np.complex64))[None], torch.from_numpy(bits[1:]).bool()


def qpsk(samples_per_symbol):
    return LinearModulation(LinearSignal("qpsk", samples_per_symbol, "rrc", 0.35, 8), timing=1.3, phase=0.4, gain=1.0)


@pytest.mark.parametrize("values", [VALUES, ()])
@pytest.mark.parametrize("phase", [0.3, 2.0, -1.2])
def test_bits_come_back_without_pilots_in_order_and_up_to_half_a_turn(values, phase):
    x, bits = packets(37, phase)
    x = x + 0.2 * noise(x.shape, torch.Generator().manual_seed(2))
    found, values = Ofdm(signal(values)).synchronize(x, 0.04)
    assert int(found.frame_offset) == 37
    turns = (float(values["phase"]) - phase) / math.pi
    assert abs(turns - round(turns)) < 0.02
    read = found.demodulator()(x, 0.04)
    there = ~read.at[0].isnan()
    got = (read.llrs[0, there] < 0).reshape(-1, 48, 2)
    assert len(got) >= SAMPLES // 80 - 1 and torch.equal(got ^ bool(round(turns) % 2), bits[:len(got)])
    assert found.demodulator().ambiguity == 2


@pytest.mark.parametrize("values", [VALUES, ()])
def test_gaussian_carriers_have_a_phase_by_their_pilots(values):
    x, _ = packets(5, 1.0)
    x = x + 0.2 * noise(x.shape, torch.Generator().manual_seed(2))
    found, told = Ofdm(signal(values, "gaussian"), frame_offset=5).synchronize(x, 0.04)
    assert math.sin(float(told["phase"]) - 1.0) == pytest.approx(0, abs=0.05) and found.demodulator() is None
    without = Ofdm(signal((), "gaussian", ()), frame_offset=5, phase=0.0)
    left = [float((source.denoise(x, 0.04) - packets(5, 1.0)[0]).abs().square().mean()) for source in (found, without)]
    assert left[0] < 0.95 * left[1] and not found.decided


@pytest.mark.parametrize("told", [True, False])
def test_bits_under_qpsk_are_no_worse_than_where_pilots_count_as_data(told):
    """QPSK of four samples per symbol covers two of the pilots."""
    x, bits = packets(37, 0.9, seed=3)
    pulses, generator = qpsk(4), torch.Generator().manual_seed(4)
    s = alone(pulses, 1, SAMPLES, generator)[0]
    y = s + x + 10 ** (-12 / 20) * noise(x.shape, generator)
    wrong = {}
    for pilots in (PILOTS, ()):
        known = Ofdm(signal(VALUES if pilots else (), pilots=pilots), 37, 0.9, gain=1.0)
        blank = replace(known, frame_offset=None, phase=None, gain=None)
        other = replace(pulses, timing=None, phase=None, gain=None, carrier_offset=None)
        out = separate(y, [known, pulses] if told else [blank, other], noise_var=10 ** -1.2 if told else None)
        reader = Ofdm(signal(), 37, 0.9).demodulator()
        read = reader(out.sources[0].cleaned, 0.06)
        there = ~read.at[0].isnan()
        got = (read.llrs[0, there] < 0).reshape(-1, 48, 2)
        wrong[pilots] = float((got ^ bits[:len(got)]).float().mean())
        if pilots:
            symbols = out.sources[0].symbols
            assert symbols.shape[1] % 48 == 0 and out.sources[0].llrs.shape == (*symbols.shape, 2)
    assert wrong[PILOTS] <= wrong[()] and wrong[PILOTS] < 1e-3


@pytest.mark.parametrize("data", ["qpsk", "gaussian"])
@pytest.mark.parametrize("samples_per_symbol", [16, 4])
def test_pilots_help_the_signal_over_them(data, samples_per_symbol):
    x, _ = packets(37, 0.9, seed=5)
    soi, generator = qpsk(samples_per_symbol), torch.Generator().manual_seed(6)
    s = alone(soi, 1, SAMPLES, generator)[0]
    y = s + 1.8 * x + 0.17 * noise(x.shape, generator)
    for method in ("joint", "lmmse", "alpha_rgs"):
        ofdm = [Ofdm(signal(VALUES if pilots else (), data, pilots)) for pilots in (PILOTS, ())]
        left = [float((separate(y, soi, own, method).soi - s).abs().square().mean()) for own in ofdm]
        assert left[0] <= 1.1 * left[1], method


def test_fsk_under_pilots_is_searched():
    """Pilots become points of the data's alphabet where a search knows one alphabet only."""
    x, _ = packets(37, 0.9, seed=7)
    generator = torch.Generator().manual_seed(8)
    s, truth = alone(Fsk(FskSignal(4, 2, 0.7, "gaussian"), gain=1.0), 1, SAMPLES, generator)
    y, sources = s + 1.2 * x + 0.1 ** 0.5 * noise(x.shape, generator), [truth, Ofdm(signal(), 37, 0.9, gain=1.2)]
    assert keyed_pair(sources, y.shape) == (0, 1)
    left = (separate(y, sources, noise_var=0.1).sources[0].waveform - s).abs().square().mean()
    assert float(left) < 2e-3


@pytest.mark.parametrize("values", [VALUES, ()])
def test_columns_and_unknowns_make_the_waveform(values):
    generator = torch.Generator().manual_seed(1)
    source = Ofdm(signal(values), frame_offset=11, phase=0.3)
    s, truth = source.draw(1, SAMPLES, generator)
    model = truth.linear_model(s.shape)
    assert model.columns.shape[1] % source.signal.unknowns == 0 and source.signal.unknowns == (49 if values else 52)
    gram = truth.matrix[16:].conj().T @ truth.matrix[16:]
    soft = truth.signal.of_unknowns(np.zeros((1, 52))).shape
    assert np.abs(gram - np.diag(gram.diagonal())).max() < 1e-9 and soft == (1, source.signal.unknowns)
    assert float(s.abs().square().mean()) == pytest.approx(1, abs=0.1)
    one = model.in_one_alphabet()
    signs = torch.ones(1, model.columns.shape[1], dtype=torch.complex128)
    points = signs.clone()
    points.unflatten(1, (-1, source.signal.unknowns))[..., 48:] *= one.alphabet.points[0]
    assert torch.allclose(model.waveform(signs, SAMPLES), one.waveform(points, SAMPLES), atol=1e-6)


def test_without_pilots_nothing_is_mixed():
    """So results without pilots stay what they are, bit by bit."""
    plain = Ofdm(signal((), pilots=()), 3, 0.1)
    assert plain.signal.unknown_alphabet is constellation("qpsk") and plain.signal.unknowns == 52
    assert np.array_equal(plain.signal.data, plain.signal.carriers) and plain.demodulator().ambiguity == 4
    assert plain.linear_model((1, 800)).alphabet is constellation("qpsk")
    for name in ("802.11a", "802.11n", "lte-5"):
        assert preset(name).get("pilots") is None


def test_a_row_of_alphabets_is_each_of_them():
    qam, bpsk, gaussian = (constellation(name) for name in ("16qam", "bpsk", "gaussian"))
    row, generator = mixed([qam, gaussian, bpsk, bpsk]), torch.Generator().manual_seed(1)
    x, var = noise((3, 8), generator), 0.1 + torch.rand(3, 8, generator=generator)
    mean, left = row.posterior(x, var)
    for at, own in ((0, qam), (4, qam), (1, gaussian), (7, bpsk)):
        for got, right in zip((mean, left), own.posterior(x[:, at], var[:, at])):
            assert torch.allclose(got[:, at], right)
    assert torch.equal(row.mean(x, var), mean) and row.symmetry == 2
    assert subset(row, [2, 3]) is bpsk and subset(row, []) is qam and mixed([qam, qam]) is qam
    parts = torch.view_as_real(x).double()
    soft, rest = moments(row, parts, torch.full_like(parts, 0.2))
    right = bpsk.posterior(x[:, 2], 0.4)[0]
    assert torch.allclose(soft[:, 2, 0].float(), right.real, atol=1e-5) and not soft[:, 2, 1].any() and not rest[:, 2, 1].any()


def test_gaussian_unknowns_beside_decided_ones_have_their_mean():
    """Against the sum over both signs, each with the mean of the others given it."""
    generator = torch.Generator().manual_seed(3)
    a, y = noise((4, 3), generator).to(torch.complex128), noise((1, 4), generator).to(torch.complex128)
    precision, stat = a.mH @ a, (a.mH @ y[0]).unsqueeze(0)
    factor = torch.linalg.cholesky(precision + torch.eye(3)).mH
    z = torch.linalg.solve_triangular(factor.mH, stat[..., None], upper=False)[..., 0]
    got = list_mean(z.to(torch.complex64), factor[None].to(torch.complex64), [None, None, constellation("bpsk").points], 8)
    means, logs = [], []
    for sign in (1.0, -1.0):
        rest = y[0] - a[:, 2] * sign
        covariance = a[:, :2] @ a[:, :2].mH + torch.eye(4)
        means.append(torch.cat([a[:, :2].mH @ torch.linalg.solve(covariance, rest), torch.tensor([sign])]))
        logs.append(-(rest.conj() @ torch.linalg.solve(covariance, rest)).real)
    weight = torch.softmax(torch.stack(logs), 0)
    assert torch.allclose(got[0].to(torch.complex128), (weight[:, None] * torch.stack(means)).sum(0), atol=1e-4)


def test_a_file_keeps_pilots_with_their_values_in_order():
    source = from_dict({**WIFI, "pilots": [21, -7, 7, -21], "pilot_values": [-1, 1, 1, 1]})
    assert (source.signal.pilots, source.signal.pilot_values) == (PILOTS, VALUES) and len(source.signal.data) == 48
    text = to_toml(source)
    assert "pilots = [-21, -7, 7, 21]" in text and "pilot_values = [1, 1, 1, -1]" in text
    assert "pilot" not in to_toml(from_dict({**WIFI, "pilots": []}))


@pytest.mark.parametrize(("keys", "words"), [
    ({"pilots": [-27, 7]}, "pilots: carrier -27 is not used; guards and dc_null leave -26 to 26 without 0"),
    ({"pilots": [0]}, "pilots: carrier 0 is not used"), ({"pilots": [7, 7]}, "pilots: .*each carrier once"),
    ({"pilots": [k for k in range(-26, 27) if k]}, "pilots: they leave no carrier for data"),
    ({"pilots": [7.5]}, "pilots: .*whole numbers"), ({"pilots": ["7"]}, "pilots: .*numbers"),
    ({"pilots": [[7]]}, "pilots: .*numbers"), ({"pilots": 7}, "pilots: 7 must be a list"),
    ({"pilot_values": [1, 1, 1]}, "pilot_values: .*one for each of 4 pilots"),
    ({"pilots": [], "pilot_values": [1]}, "pilot_values: .*one for each of 0 pilots"),
    ({"pilot_values": [1, 1, 1, 0]}, "pilot_values: .*1 or -1 each"),
    ({"pilot_values": [1, 1, 1, 2]}, "pilot_values: .*1 or -1 each"),
    ({"pilot_values": [1, 1, 1, 0.5]}, "pilot_values: .*whole numbers")])
def test_wrong_pilots_are_refused_with_the_key(keys, words):
    with pytest.raises(ParameterError, match=words):
        from_dict({**WIFI, **keys})


@pytest.mark.parametrize(("source", "turn"), [(Ofdm(signal()), "qpsk with pilots .a half turn"),
                                              (Ofdm(signal((), "gaussian")), "gaussian with pilots .a half turn"),
                                              (Ofdm(signal((), pilots=())), "qpsk .a quarter turn")])
def test_the_report_says_which_turn_is_open(source, turn):
    said = " ".join(assumptions(qpsk(4), source, (), (), ("phase",)))
    assert re.search(turn, said), said
