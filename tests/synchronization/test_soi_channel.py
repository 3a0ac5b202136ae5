# SPDX-License-Identifier: GPL-3.0-or-later
"""A signal of interest that came through a channel: given, it is part of the pulse everywhere; else it is found."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict, mixtures
from alpha_rgs.sources.toml import to_toml
from alpha_rgs.streaming import separate_stream

KEYS = {"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8}
TAPS = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, [-0.5, 0.4]]
PLACE = {"timing": 5.3, "phase": 0.4, "gain": 1.0, "carrier_offset": 0.003}
OFDM = mixtures.paper_priors()[1]
GMSK = from_dict({"kind": "gmsk", "samples_per_symbol": 4, "bandwidth_time": 0.3})
BURSTS = from_dict({"kind": "ofdm", "preset": "802.11"})


def soi(**keys):
    return from_dict({**KEYS, **keys})


def errors(out, bits):
    """Wrong bits, as they stand."""
    return int((soi().signal.alphabet.slice(out.symbols) != bits).sum())


def likeness(a, b):
    """Of two pulses as received, 0 ... 1: the greatest correlation, wherever the one or the other begins."""
    n = np.arange(-160, 161)
    return max(abs(np.vdot(a.signal.pulse_at(n), b.signal.pulse_at(n - shift))) for shift in np.arange(-12, 12, 0.25)) / 16


@pytest.mark.parametrize("timing", [7.3, torch.tensor([7.3, 2.0])])
def test_the_waveform_is_the_pulses_convolved_with_the_channel(timing):
    """Of the bare pulse delayed and scaled, to unit power; correlate is the adjoint; the taps are kept in the key's own form."""
    bare, signal = soi().signal, soi(channel=TAPS).signal
    g = torch.Generator().manual_seed(1)
    a, x = (torch.randn(2, n, dtype=torch.complex64, generator=g) for n in (40, 700))
    taps = [complex(*t) if isinstance(t, list) else t for t in TAPS]
    wave = signal.modulate(a, 700, timing)
    sent = sum(tap * bare.modulate(a, 700, timing + delay) for delay, tap in enumerate(taps))
    scale = wave.abs().square().sum().sqrt() / sent.abs().square().sum().sqrt()
    assert torch.allclose(wave, scale * sent, atol=1e-4)
    assert np.sum(abs(signal.pulse_at(np.arange(-99, 99))) ** 2) == pytest.approx(16)
    assert torch.allclose((a.conj() * signal.correlate(x, 40, timing)).sum(), (wave.conj() * x).sum(), rtol=1e-4)
    assert "channel = [[1.0, 0.0], " in to_toml(soi(channel=TAPS)) and "channel" not in to_toml(soi(channel=[1.0]))
    assert soi(channel=[1.0]) == soi()


def test_second_moments_see_the_channel():
    """The autocorrelation is that of the waveform, and the density is the bare one's times the channel's."""
    prior = soi(**PLACE, channel=TAPS)
    taps = np.array([complex(*t) if isinstance(t, list) else t for t in TAPS])
    f = np.arange(256) / 256
    gain = abs(np.exp(-2j * np.pi * np.outer(f - 0.003, np.arange(len(taps)))) @ taps) ** 2
    expected = soi(**PLACE).psd(256) * gain
    assert np.allclose(prior.psd(256), expected / expected.mean(), atol=0.02)


@pytest.mark.parametrize("name", ["joint, OFDM", "lmmse, OFDM", "stationary, OFDM", "joint, QPSK", "bursts", "alpha_rgs, GMSK"])
def test_a_channel_that_is_given_is_used(name):
    """By every method that can: fewer errors, and more quality, than with a channel that is not told."""
    method, other = name.split(", ") if ", " in name else ("joint", name)
    interference = {"OFDM": OFDM, "GMSK": GMSK, "bursts": BURSTS, "QPSK": from_dict(
        {**KEYS, "samples_per_symbol": 5})}[other]
    sir_db = -10.0 if method in ("joint", "alpha_rgs") else -3.0
    m = mixtures.draw(soi(**PLACE, channel=TAPS), interference, 1, 2560, sir_db, 2.0, 3)
    options = {"covariance": "stationary"} if method == "stationary" else {}
    method = "lmmse" if options else method
    told, untold = (separate(m.y, prior, interference, method, **options) for prior in (soi(**PLACE, channel=TAPS), soi(**PLACE)))
    assert errors(told, m.bits) <= errors(untold, m.bits) and float(told.quality) > float(untold.quality) + 0.5
    assert errors(told, m.bits) < 0.05 * m.bits.numel()
    left, without = ((out.soi - m.s).abs().square().mean() for out in (told, untold))
    assert left < 0.8 * without


def test_white_denoising_equalises():
    """Symbols under an echo over a symbol late: the denoiser leaves far less than the noise, as it does without one."""
    prior = soi(**PLACE | {"timing": 1.3}, samples_per_symbol=4, channel=[1.0, 0, 0, 0, 0, [0.3, 0.4]])
    m = mixtures.draw(prior, OFDM, 1, 2560, None, 0.0, 1)
    inside = slice(100, -100)
    rest = (prior.denoise(m.y, 1.0) - m.s)[:, inside].abs().square().mean()
    flat = (soi(**PLACE | {"timing": 1.3}, samples_per_symbol=4).denoise(m.y, 1.0) - m.s)[:, inside].abs().square().mean()
    assert float(rest) < 0.25 and float(rest) < 0.6 * float(flat)


def test_a_channel_is_found():
    """Nothing known but its length: the pulse as received is found, and told; better than if none is looked for."""
    m = mixtures.draw(soi(**PLACE, channel=TAPS), OFDM, 1, 2560, -10.0, 0.0, 3)
    out, untold = (separate(m.y, soi(carrier_offset=0.003, **keys), OFDM) for keys in ({"channel_length": 8}, {}))
    taps, spread = (out.estimated[key] for key in ("channel", "channel_std"))
    assert taps.shape == spread.shape == (1, 8) and taps.dtype == torch.complex128 and bool((spread > 0).all())
    assert float(taps.abs().max()) == pytest.approx(1) and {"timing", "phase", "gain", "timing_std"} <= out.estimated.keys()
    found = soi(channel=[[float(t.real), float(t.imag)] for t in taps[0]])
    assert likeness(found, soi(channel=TAPS)) > 0.98 > likeness(soi(), soi(channel=TAPS))
    assert float(out.quality) > float(untold.quality) + 0.5
    assert float(out.estimated["gain"]) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_a_channel_is_found_under_other_interference():
    """Under GMSK, whose density alone tells first and which is taken off then."""
    m = mixtures.draw(soi(**PLACE, channel=TAPS), GMSK, 1, 2560, -10.0, 3.0, 3)
    out = separate(m.y, soi(channel_length=8, carrier_offset=0.003), GMSK)
    found = soi(channel=[[float(t.real), float(t.imag)] for t in out.estimated["channel"][0]])
    assert likeness(found, soi(channel=TAPS)) > 0.97


@pytest.mark.parametrize("known", [{}, pytest.param({"timing": 9.3, "phase": -1.0, "gain": 1.0}, marks=pytest.mark.slow)])
def test_a_channel_is_found_among_bursts(known):
    """By the joint fit, carriers following, in each window its own; timing and phase known or not."""
    m = mixtures.draw(soi(**PLACE | {"timing": 9.3}, channel=TAPS), BURSTS, 2, 1920, -5.0, 0.0, 1)
    out, untold = (separate(m.y, soi(**known, carrier_offset=0.003, **keys), BURSTS) for keys in ({"channel_length": 8}, {}))
    taps, spread = (out.estimated[key] for key in ("channel", "channel_std"))
    assert taps.shape == spread.shape == (2, 8) and taps.dtype == torch.complex128 and bool((spread > 0).all())
    assert {"timing", "phase", "gain", "carrier_offset"} <= out.estimated.keys()
    for row in taps:
        found = soi(channel=[[float(t.real), float(t.imag)] for t in row])
        assert likeness(found, soi(channel=TAPS)) > 0.95 > likeness(soi(), soi(channel=TAPS))
    assert bool((out.quality > untold.quality + 0.5).all())
    assert torch.allclose(out.estimated["gain"], torch.ones(2, dtype=torch.float64), atol=0.1)


@pytest.mark.parametrize("interference", [OFDM, BURSTS], ids=["OFDM", "bursts"])
def test_in_a_silent_window_there_is_no_channel(interference):
    """Nothing is told of it but that it is flat; the window is one without a signal, as any silent one."""
    out = separate(torch.zeros(1, 2560, dtype=torch.complex64), soi(channel_length=8, carrier_offset=0.003), interference)
    assert out.estimated["channel"][0].tolist() == [1, *[0] * 7] and float(out.quality) < -50


@pytest.mark.slow
@pytest.mark.parametrize("interference", ["OFDM", "bursts"])
def test_a_stream_of_windows_with_a_channel(interference):
    """Each window finds its own; the tracker lays them together in one phase."""
    interference, sir_db, seed, known = {"OFDM": (OFDM, -10.0, 5, {}), "bursts": (BURSTS, -3.0, 6, {
        "carrier_offset": 0.003})}[interference]
    m = mixtures.draw(soi(**PLACE, channel=TAPS), interference, 1, 9000, sir_db, 2.0, seed)
    out = separate_stream(m.y[0].numpy(), soi(**known, channel_length=8), interference)
    alphabet, sent, got = soi().signal.alphabet, m.bits[0].reshape(-1, 2), torch.from_numpy(out.symbols)
    shares = []
    for shift in (-1, 0, 1):
        for turn in range(4):
            decided = alphabet.slice((got * np.exp(0.5j * np.pi * turn)).to(torch.complex64)[None])[0].reshape(-1, 2)
            n = min(len(decided), len(sent)) - 32
            shares.append(float((torch.roll(decided, shift, 0)[16:n] != sent[16:n]).float().mean()))
    assert min(shares) < 0.02 and out.estimated["channel"].shape == (len(out.quality), 8)


@pytest.mark.parametrize(("keys", "message"), [
    ({"channel": []}, "channel: give at least one tap"), ({"channel": [0.0, [0.0, 0.0]]}, "channel: give at least one tap"),
    ({"channel": [1.0, float("nan")]}, "channel: .* must be finite"), ({"channel": [1.0, "a"]}, "channel: .* numbers"),
    ({"channel": [1.0, 0.5], "channel_length": 4}, "channel_length: the channel is given"),
    ({"channel_length": 1}, "channel_length: 1 .* 2 to 32"), ({"channel_length": 33}, "channel_length: 33 .* 2 to 32")])
def test_what_cannot_be_a_channel_is_refused(keys, message):
    """With the key's name and what would be right."""
    with pytest.raises(ParameterError, match=message):
        soi(**keys)


@pytest.mark.parametrize(("keys", "interference", "method", "message"), [
    ({"channel_length": 4}, BURSTS, "auto", "channel_length: among bursts carrier_offset must be given"),
    ({"channel_length": 4}, BURSTS, "matched_filter", "matched_filter: among bursts a channel is found by method joint"),
    ({**PLACE, "channel": [1.0, 0.5]}, OFDM, "basis", "basis: a channel .* needs method joint"),
    (PLACE, soi(samples_per_symbol=5, channel_length=4), "auto", "channel_length: of the interference")])
def test_what_cannot_be_done_with_a_channel_is_refused(keys, interference, method, message):
    """Before anything is estimated."""
    with pytest.raises((ParameterError, CapabilityError), match=message):
        separate(torch.ones(1, 2560, dtype=torch.complex64), soi(**keys), interference, method)


def test_turning_alphabets_have_none_yet():
    """They are not equalised."""
    with pytest.raises(CapabilityError, match="pi/4-dqpsk.*leave the channel out"):
        replace(soi(constellation="pi/4-dqpsk"), channel_length=4)
