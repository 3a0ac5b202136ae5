# SPDX-License-Identifier: GPL-3.0-or-later
"""The native detector decides as torch's joint detection does, whatever its instructions and threads."""
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from alpha_rgs import native, separate
from alpha_rgs.separators.joint_native import Pair, detect, native_joint, suits
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import LinearModulation, Ofdm
from alpha_rgs.sources.mixtures import draw, paper_priors

pytestmark = pytest.mark.skipif(not native.built(), reason="the native detector is not built")
SOI, OFDM = paper_priors(symbols=None)
KNOWN = replace(OFDM, frame_offset=37, phase=-1.1)
# (linear modulation, OFDM, SIR, SNR): the paper's; alphabets of many points and other numerologies; symbols that do not divide
# the frame; a rate that is no whole number
CASES = {
    "paper": (replace(SOI, phase=0.3), KNOWN, -12, None),
    "noise": (replace(SOI, phase=0.3), KNOWN, -12, 10),
    "weak interference": (replace(SOI, phase=0.3), KNOWN, 3, 11),
    "8psk under 16qam": (LinearModulation(LinearSignal("8psk", 10, "rrc", 0.35, 6), timing=3.3, phase=1.0, gain=1.0),
                         Ofdm(OfdmSignal(48, 6, (4, 3), True, "16qam"), 11, 2.0), -12, 25),
    "carrier offsets": (LinearModulation(LinearSignal("qpsk", 12, "rrc", 0.5, 8), timing=1.0, phase=0.3, gain=1.0,
                                         carrier_offset=0.003), replace(KNOWN, carrier_offset=-0.001), -9, 15),
    "7.3 samples per symbol": (LinearModulation(LinearSignal("bpsk", 7.3, "rrc", 0.5, 4), timing=2.2, phase=0.3, gain=1.0), KNOWN,
                               -9, 20),
}


def of(name, batch=3, seed=1):
    soi, ofdm, sir, snr = CASES[name]
    return draw(soi, ofdm, batch, 2520 if soi.symbols is None else 2560, sir, snr, seed=seed)


def detected(m):
    return separate(m.y, m.soi, m.interference, "joint", kappa=m.kappa, noise_var=m.noise_var)


@pytest.mark.parametrize("name", CASES)
def test_decisions_are_those_of_torch(name, monkeypatch):
    """Equal wherever either is sure of a bit; both waveforms to 25 dB below the signal or better."""
    m = of(name)
    assert suits(m.soi, m.interference)
    own = detected(m)
    monkeypatch.setenv(native.VARIABLE, "0")
    reference = detected(m)
    sure = torch.maximum(own.llrs.abs(), reference.llrs.abs()) > 1
    assert bool(((own.llrs > 0) == (reference.llrs > 0))[sure].float().mean() > 0.995 if m.noise_var else
                ((own.llrs > 0) == (reference.llrs > 0))[sure].all())
    wrong = [int((m.soi.signal.alphabet.slice(out.symbols) != m.bits[:, :out.symbols.shape[1] * out.llrs.shape[2]]).sum())
             for out in (own, reference)]
    assert wrong[0] <= wrong[1] + 4
    inside = slice(160, -160)
    assert float((own.soi - reference.soi)[:, inside].abs().square().mean()) < 10 ** -2.5
    assert float((own.interference - reference.interference)[:, inside].abs().square().mean()) < m.noise_var + 10 ** -2.5


def test_a_search_that_leaves_no_doubt_leaves_noise_alone(monkeypatch):
    """Symbols of searched frames had 15 dB, whatever the noise: windows without a wrong bit were named unreliable. A timing that
    is off makes passes err."""
    m = draw(replace(SOI, phase=0.3), KNOWN, 32, 2520, -10, 30, seed=1)
    m.soi = replace(m.soi, timing=m.soi.timing + 0.1)
    own = detected(m)
    monkeypatch.setenv(native.VARIABLE, "0")
    assert float((own.quality - detected(m).quality).min()) > -4


@pytest.mark.parametrize("instructions", native.instruction_sets())
def test_instruction_sets_agree(instructions, monkeypatch):
    """Lanes differ, and with them which windows lie side by side: no decision does."""
    m = of("noise", 5)
    reference = detected(m)
    monkeypatch.setenv(native.VARIABLE, instructions)
    out = detected(m)
    assert torch.equal(out.llrs > 0, reference.llrs > 0) and torch.allclose(out.soi, reference.soi, atol=1e-2)


def test_bursts_and_noise_in_which_torch_makes_fewer_errors_are_torchs():
    """Two passes are too few below Es/N0 of 22 dB: ten times as many bits were wrong at 14 dB. A burst whose first symbol is
    not centred on a whole sample ended in an error."""
    m = of("noise")
    assert native_joint(m.y, m.soi, m.interference, torch.full((3,), m.kappa), torch.full((3,), 10 ** -0.8)) is None
    burst = draw(replace(SOI, symbols=60, timing=100.5), KNOWN, 2, 2560, -6, 20, seed=1)
    assert not suits(burst.soi, burst.interference)
    assert int((burst.soi.signal.alphabet.slice(detected(burst).symbols) != burst.bits).sum()) == 0


def test_unknown_instructions_are_refused(monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "sse9")
    with pytest.raises(ValueError, match="sse9"):
        native.instructions()


def stream(samples, threads):
    """(mixture, what is detected in it as one window)."""
    soi, ofdm, sir, snr = CASES["paper"]
    m = draw(soi, ofdm, 1, samples, sir, 20, seed=2)
    pair = Pair.of(m.soi, m.interference, m.kappa, m.noise_var, 1.0, 0.0, 0.0)
    nuisances = [np.array([float(v)]) for v in (m.soi.timing, m.soi.phase, m.interference.frame_offset, m.interference.phase)]
    return m, detect(m.y.numpy(), pair, nuisances, m.soi.centred_symbols(samples)[1], threads)


def test_long_windows_are_cut_into_stretches_without_an_error():
    """0 of 12 500 bits are wrong, whether or not a stretch ends beside them, and no sample is left out."""
    m, found = stream(100_000, 1)
    assert int((m.soi.signal.alphabet.slice(torch.from_numpy(found.symbols)) != m.bits).sum()) == 0
    left = m.y.numpy() - found.soi - found.interference
    assert np.abs(left).max() < 6 * m.noise_var ** 0.5


def test_the_result_does_not_depend_on_threads():
    one, three = stream(100_000, 1)[1], stream(100_000, 3)[1]
    assert all(np.array_equal(getattr(one, name), getattr(three, name)) for name in ("symbols", "var", "soi", "interference"))


def test_no_window_depends_on_its_batch():
    m = of("noise", 4)
    together = detected(m)
    alone = separate(m.y[2:3], m.soi, m.interference.select(slice(2, 3)), "joint", kappa=m.kappa, noise_var=m.noise_var)
    assert torch.equal(together.llrs[2] > 0, alone.llrs[0] > 0)


def test_windows_that_hardly_differ_share_tables(monkeypatch):
    """Levels 0.3 % apart and carriers that drift by 2e-6 cycles per sample from window to window: one call of the detector, and
    all that is decided and left over is as with each window's own values."""
    m, more = of("carrier offsets", 4), 2e-6 * torch.arange(4, dtype=torch.float64)
    y = m.y * torch.exp(2j * torch.pi * more[:, None] * torch.arange(m.y.shape[1])).to(torch.complex64)
    soi, ofdm = (replace(source, carrier_offset=source.carrier_offset + more) for source in (m.soi, m.interference))
    calls = []

    def counted(y, *rest, **more):
        calls.append(len(y))
        return detect(y, *rest, **more)

    monkeypatch.setattr("alpha_rgs.separators.joint_native.detect", counted)
    kappa = m.kappa * torch.tensor([1.0, 1.001, 0.999, 1.0], dtype=torch.float64)
    out = separate(y, soi, ofdm, "joint", kappa=kappa, noise_var=m.noise_var)
    assert sum(calls) == 4 and len(calls) <= 2
    inner = slice(16, -16)          # bits, and samples: none of a symbol that a window cuts
    assert int((m.soi.signal.alphabet.slice(out.symbols) != m.bits)[:, inner].sum()) == 0
    left = (y - out.soi - out.interference)[:, 160:-160].abs().square().mean(1)
    assert bool((left < 1.1 * m.noise_var).all()) and torch.allclose(out.kappa.double(), kappa)


def test_the_level_of_a_recording_changes_nothing():
    m = of("noise")
    out = detected(m)
    soft = separate(m.y * 1e-5, replace(m.soi, gain=1e-5), m.interference, "joint", kappa=m.kappa * 1e-5,
                    noise_var=m.noise_var * 1e-10)
    assert torch.allclose(out.llrs, soft.llrs, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("other", [
    dict(signal=OfdmSignal(pilots=(-21, -7, 7, 21))), dict(signal=OfdmSignal(constellation="gaussian")), dict(delay_spread=4),
    dict(resampled=True), dict(on=(0, 800))])
def test_what_it_does_not_know_is_left_to_torch(other):
    """Pilots, carriers of unknown constellation, echoes, a resampler's edges, bursts."""
    one = torch.ones(1, dtype=torch.float64)
    assert native_joint(torch.zeros(1, 2560, dtype=torch.complex64), SOI, replace(KNOWN, **other), one, one) is None


def test_what_it_leaves_in_doubt_is_done_by_torch(monkeypatch):
    """As if too much were left everywhere: the result is the reference's."""
    m = of("noise", 2)
    monkeypatch.setattr("alpha_rgs.separators.joint_native.detect", partial(detect, limit=0.0))
    doubted = detected(m)
    monkeypatch.setenv(native.VARIABLE, "0")
    assert torch.equal(doubted.llrs, detected(m).llrs)


def test_arrays_that_are_too_short_are_refused():
    """The extension never reaches beyond an array."""
    m = of("paper", 1)
    pair = Pair.of(m.soi, m.interference, m.kappa, 0.0, 1.0, 0.0, 0.0)
    module = native.extension()
    with pytest.raises(ValueError, match="gram: holds"):
        module.Detector(pair.tables.mapping([-24.0]) | {"gram": np.zeros(3, np.complex64), "passes": 2, "cut_passes": 2,
                                                        "damping": 0.7, "cut_damping": 0.6})
