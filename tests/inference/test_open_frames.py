# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of Gaussian carriers: the same as by eigenvectors and by dense algebra, without the one or the other's cost."""
import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.inference import kept as kept_tables
from alpha_rgs.inference.frame_family import FrameFamily
from alpha_rgs.inference.kept import kept
from alpha_rgs.inference.open_frames import OpenFrames
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import preset
from alpha_rgs.signals.carrier import carrier
from alpha_rgs.signals.framing import frame_pulses
from alpha_rgs.sources import LinearModulation, Ofdm
from alpha_rgs.synchronization.ofdm import noise_level

PILOTS = {"pilots": (-21, -7, 7, 21)}
SHAPES = [("802.11n", {}, {}), ("802.11n", {}, {"channel": (1, 0.3j)}), ("802.11n", {}, {"on": (300, 1500)}),
          ("802.11n", {}, {"resampled": True}), ("802.11a", PILOTS, {"delay_spread": 3}),
          ("802.11a", {**PILOTS, "pilot_values": (1, 1, 1, -1)}, {}), ("lte-3", {}, {})]


def mixture(name, change, more, samples=1600, batch=2, noise=0.1):
    """(y, SOI, OFDM), all known."""
    generator = torch.Generator().manual_seed(7)
    signal = OfdmSignal(**{**preset(name), **change})
    offset = torch.randint(0, signal.frame_length, (batch,), generator=generator)
    ofdm = Ofdm(signal, frame_offset=offset, phase=0.3, carrier_offset=1e-4, **more)
    soi = LinearModulation(LinearSignal("qpsk", 16, "rrc", 0.35, 8), timing=3.3, phase=0.2, gain=1.0, carrier_offset=1e-3)
    s, b = (source.draw(batch, samples, generator)[0] for source in (soi, ofdm))
    w = torch.randn(batch, samples, dtype=torch.complex64, generator=generator)
    return s + 10 ** 0.5 * b + noise * w, soi, ofdm


@pytest.mark.parametrize(("name", "change", "more"), SHAPES)
def test_frames_say_of_symbols_and_pilots_what_they_say_by_eigenvectors(name, change, more):
    y, soi, ofdm = mixture(name, change, more)
    plan = ofdm.plan(y.shape, soi)
    data = np.arange(len(ofdm.signal.data))
    pilots = np.setdiff1d(np.arange(ofdm.signal.unknowns), data)
    rows = torch.nonzero(plan.inside.any(-1).flatten())[:, 0]
    levels = torch.tensor([3.0, 2.0], dtype=torch.float64), torch.tensor([0.01, 0.03], dtype=torch.float64)
    seen = plan.cut(y.to(torch.complex128)).flatten(0, 1)
    for near, clean in ((pilots, data), (data[:0], data[:0])):
        two = [family(ofdm, plan, rows, seen, *levels, near, clean, 30.0) for family in (FrameFamily, OpenFrames)]
        for heat in (1.0, 50.0):
            for family in two:
                family.heated(heat)
            for slow, fast in zip(*(family.evidence() for family in two)):
                assert torch.allclose(slow, fast, rtol=1e-9, atol=1e-9 * float(slow.abs().max()))


@pytest.mark.parametrize(("name", "change", "more"), SHAPES)
def test_transforms_are_the_matrix(name, change, more):
    signal, channel = OfdmSignal(**{**preset(name), **change}), more.get("channel", (1.0,))
    matrix = torch.from_numpy(signal.through(channel))
    generator = torch.Generator().manual_seed(1)
    frames, symbols = (torch.randn(2, 3, n, dtype=torch.complex128, generator=generator) for n in matrix.shape)
    weight = torch.rand(signal.frame_length, dtype=torch.float64, generator=generator)
    assert torch.allclose(signal.matched(channel, frames), frames @ matrix.conj())
    assert torch.allclose(signal.made(channel, symbols), symbols @ matrix.mT)
    assert torch.allclose(torch.from_numpy(signal.gram(channel, weight.numpy())), (matrix * weight[:, None]).mH @ matrix)


@pytest.mark.parametrize(("name", "change", "more"), SHAPES)
def test_noise_is_what_is_left_beside_the_span_of_both(name, change, more):
    y, soi, ofdm = mixture(name, change, more)
    plan = ofdm.plan(y.shape, soi)
    frames = plan.cut(y * carrier(0.0, ofdm.carrier_offset, y).conj()).to(torch.complex128)
    power, count = torch.zeros(2, dtype=torch.float64), torch.zeros(2)
    for window, frame in torch.nonzero(plan.inside.all(-1)).tolist():
        *_, centre, first, stop, frequency = plan.classes[int(plan.index[window, frame])]
        pulses = frame_pulses(plan.pulse_key, (centre, first, stop, frequency), plan.length)
        span = np.hstack([ofdm.matrix, pulses])[ofdm.delay_spread:]
        values, vectors = np.linalg.eigh(span @ span.conj().T)
        free = vectors[:, values <= 1e-6 * values[-1]]
        power[window] += np.sum(abs(free.conj().T @ frames[window, frame, ofdm.delay_spread:].numpy()) ** 2)
        count[window] += free.shape[1]
    level, _ = noise_level(y, soi, ofdm)
    assert torch.allclose(level.double(), power / count, rtol=0.03)     # a vector or two lie on the border


def test_the_linear_estimate_of_a_frame_is_that_of_dense_algebra():
    for name, samples in (("802.11n", 160), ("lte-1.4", 300)):
        _, _, ofdm = mixture(name, {}, {}, samples, 1)
        ofdm = Ofdm(ofdm.signal, frame_offset=30, phase=0.0, carrier_offset=0.0)
        x = torch.randn(1, samples, dtype=torch.complex64, generator=torch.Generator().manual_seed(3))
        got, period = ofdm.denoise(x, 0.1), ofdm.signal.frame_length
        for start in range(30 - period, samples, period):
            low, high = max(start, 0), min(start + period, samples)
            matrix = torch.tensor(ofdm.matrix[low - start:high - start], dtype=torch.complex64)
            cover = matrix @ matrix.mH
            expected = cover @ torch.linalg.solve(cover + 0.1 * torch.eye(high - low), x[0, low:high])
            assert torch.allclose(got[0, low:high], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["lte-3", "lte-5"])
def test_a_search_under_long_frames_needs_no_eigenvectors_of_a_frame(name, monkeypatch):
    """Each of its starts moves the timing, and with it every frame's pulses: what they cost anew is what counts."""
    y, soi, ofdm = mixture(name, {}, {}, 2560, 1)
    sizes = []
    for module in (np.linalg, torch.linalg):
        def counted(matrix, *more, real=module.eigh):
            sizes.append(matrix.shape[-1])
            return real(matrix, *more)
        monkeypatch.setattr(module, "eigh", counted)
    unknown = LinearModulation(soi.signal, gain=1.0)
    out = separate(y, [unknown, Ofdm(ofdm.signal)])
    assert out.sources[0].waveform.shape == y.shape
    assert not sizes or max(sizes) < ofdm.signal.fft_size / 2


def test_kept_tables_are_made_once_and_leave_when_they_are_too_many(monkeypatch):
    made = []

    @kept
    def table(number):
        made.append(number)
        return [torch.zeros(1000)]

    for number in (1, 2, 1, 2):
        table(number)
    assert made == [1, 2]
    monkeypatch.setattr(kept_tables, "_BYTES", 6000)
    for number in (3, 3, 1):        # one fits
        table(number)
    assert made == [1, 2, 3, 1]
