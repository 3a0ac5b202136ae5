# SPDX-License-Identifier: GPL-3.0-or-later
"""The network that decides the carriers of 802.11 bursts: alone, in joint detection, trained by the command, and as shipped."""
import functools
import math
import pathlib
from dataclasses import replace

import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError
from alpha_rgs.nets import build
from alpha_rgs.nets.bursts import WIDTH
from alpha_rgs.separators import joint_bursts as joint
from alpha_rgs.separators import separate
from alpha_rgs.signals.wifi import ALPHABETS, CARRIERS, Burst, received
from alpha_rgs.sources import Gmsk, from_dict, with_network
from alpha_rgs.sources.learned import LearnedBursts
from alpha_rgs.sources.mixtures import draw, noise
from alpha_rgs.synchronization.burst_channel import open_frames
from alpha_rgs.synchronization.burst_layout import slots
from alpha_rgs.training import datasets as sources
from alpha_rgs.training import denoising_metrics as yardstick
from commands import fails, run, works

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "priors"
KINDS = {"kind": "ofdm", "preset": "802.11"}
SOI = from_dict({"kind": "linear-modulation", "constellation": "qpsk", "samples_per_symbol": 16, "rolloff": 0.35, "span": 8,
                 "timing": 3.3, "phase": 0.7, "gain": 1.0, "carrier_offset": 0.0})
TINY = ("--network", "bursts", "--steps", 3, "--batch", 2, "--window", 1900, "--device", "cpu")


class Undecided(LearnedBursts):
    """Carriers stay Gaussian."""

    def deciding(self, tiles, rows):
        return None


@pytest.fixture(scope="module")
def shipped():
    return priors.load(FOLDER / "wifi.prior")


def carriers(frames, alphabet=None, seed=1, batch=8):
    """(carriers, gains) of bursts."""
    return sources.Carriers(frames).known(batch, torch.Generator().manual_seed(seed), alphabet)[:2]


def mixed(sir_db, samples=2560, seed=3, **kinds):
    """(mixture [1, samples], bits) of SOI under one burst that was there before the window and ends after it."""
    g = torch.Generator().manual_seed(seed)
    wifi = received([Burst(60, start=-900, phase=1.0, carrier_offset=0.001, taps=(0.9, 0.3j, 0.1), **kinds)], samples, g)
    m = draw(SOI, SOI, 1, samples, None, 20.0, seed)
    return m.y + 10 ** (-sir_db / 20) * (wifi / wifi.abs().square().mean().sqrt()).to(torch.complex64), m.bits


def wrong(out, bits):
    """Bits, of symbols that lie in the window as a whole."""
    found = SOI.signal.alphabet.slice(out.symbols)[:, 8:-8]
    return int((found != bits.reshape(1, -1)[:, 8:8 + found.shape[1]]).sum())


# ---- the network ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("alphabet", "short_db"), [("bpsk", 2.5), ("qpsk", 1.5), ("16qam", 1.0), ("64qam", 1.0)])
def test_it_finds_channel_phases_and_alphabet(shipped, alphabet, short_db):
    """At 5 dB on seven carriers that share noise, and with all others clear, it is short of the posterior mean that knows gains
    and alphabet by as much as 24 symbols leave open; the best linear estimate is worse."""
    point, = yardstick.carriers(shipped.network, alphabet, (0.3,), windows=32)
    assert point.exact < point.network < point.exact + short_db and point.network < point.linear - 0.5


def test_what_it_leaves_is_as_much_as_it_says(shipped):
    """Variances are those of its errors, on carriers in more and in less noise, in the mean."""
    g = torch.Generator().manual_seed(2)
    s = sources.Carriers(24).known(64, g)[0]
    _, var, _ = sources.CarrierNoise().draw(64, 24 * WIDTH, g)
    var = var.unflatten(1, (24, WIDTH))
    mean, left = shipped.network.posterior(s + var.sqrt() * noise(s.shape, g), var)
    for low, high in ((1e-2, 0.1), (0.1, 1.0), (1.0, 10.0)):
        rows = (var >= low) & (var < high)
        assert 0.5 < float((mean - s)[rows].abs().square().mean() / left[rows].mean()) < 2
    assert bool((left > 0).all())


def test_a_turn_of_the_burst_turns_the_answer(shipped):
    """Nothing is known of a burst's phase; a quarter turn, which alphabets have, and any other."""
    s, _ = carriers(20, "qpsk")
    var = torch.full(s.shape, 0.1)
    r = s + 0.1 ** 0.5 * noise(s.shape, torch.Generator().manual_seed(1))
    mean, left = shipped.network.posterior(r, var)
    for angle in (math.pi / 2, 0.6):
        turn = torch.polar(torch.ones(()), torch.tensor(angle))
        again, other = shipped.network.posterior(r * turn, var)
        assert (again - mean * turn).abs().max() < 0.05 and torch.allclose(other, left, atol=0.05)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_few_frames_and_unseen_ones_tell_little_and_break_nothing(shipped, frames):
    s, _ = carriers(frames)
    for var in (0.01, 1000.0):
        mean, left = shipped.network.posterior(s, torch.full(s.shape, var))
        assert bool(torch.isfinite(torch.view_as_real(mean)).all()) and bool((left > 0).all())
    assert mean.abs().square().mean() < 0.1, "drowned: nothing is known"


def test_bad_sizes_and_sources_are_named():
    with pytest.raises(Exception, match="rounds: 0"):
        build({"kind": "bursts", "rounds": 0})
    network = build({"kind": "bursts", "rounds": 1})
    with pytest.raises(CapabilityError, match="bursts.*802.11.*not of a linear-modulation"):
        with_network(SOI, network)
    with pytest.raises(CapabilityError, match="no network but one of kind bursts"):
        with_network(from_dict(KINDS), build({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "points": 4}))


# ---- joint detection ------------------------------------------------------------------------------------------------------

def test_open_frames_know_where_how_strong_and_no_more():
    """Of three bursts: each frame's burst and number, its carrier offset and power; no carrier is decided."""
    g, sent = torch.Generator().manual_seed(1), []
    for start, offset, amplitude in ((-200, 0.001, 1.0), (1000, -0.002, 2.0)):
        sent.append(Burst(6, "16qam", start=start, carrier_offset=offset, amplitude=amplitude))
    y = (received(sent, 2560, g) + 0.01 * noise((2560,), g)).numpy()
    found = open_frames(y, slots(y, (-0.05, 0.05)), (-0.05, 0.05))
    assert len({f.burst for f in found if f.alphabet}) == 2
    for frame in found:
        own = sent[frame.start > 900]
        assert frame.alphabet in ("", "gaussian") and frame.decided is None and len(set(frame.gain)) == 1
        if frame.alphabet:
            assert abs(frame.carrier_offset - own.carrier_offset) < 1e-4
            assert 0.7 < frame.power * len(CARRIERS) / own.amplitude ** 2 < 1.4
    numbers = [f.number for f in found if f.burst == found[-1].burst]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("kinds", [{"alphabet": "bpsk"}, pytest.param({"alphabet": "16qam", "ht": True, "prefix": 8},
                                                                      marks=pytest.mark.slow)])
def test_a_signal_under_a_burst_is_found(shipped, kinds):
    """10 dB below: nothing but the network knows channel and alphabet. Without it, carriers Gaussian, there are more errors; the
    matched filter has many times as many."""
    y, bits = mixed(-10, **kinds)
    out = separate(y, SOI, shipped)
    assert out.method == "joint" and out.soi.shape == y.shape and "kappa" in out.estimated
    gaussian, plain = separate(y, SOI, Undecided(network=shipped.network)), separate(y, SOI, shipped, "matched_filter")
    assert wrong(out, bits) <= 8 and wrong(out, bits) < wrong(gaussian, bits) and 4 * wrong(out, bits) < wrong(plain, bits)


@pytest.mark.slow
def test_what_is_unknown_of_the_signal_is_found_too(shipped):
    y, bits = mixed(-5, alphabet="qpsk")
    out = separate(y, replace(SOI, timing=None, phase=None, gain=None, carrier_offset=None), shipped)
    turned = [wrong(replace(out, symbols=out.symbols * 1j ** k), bits) for k in range(4)]
    assert min(turned) <= 4 and abs(float(out.estimated["timing"]) % 16 - 3.3) < 0.3


def test_of_several_beginnings_the_best_is_kept(monkeypatch):
    """Each window's by its quality, whatever the other windows do."""
    y = torch.cat([mixed(-10, seed=seed, alphabet="qpsk")[0] for seed in range(4)])
    found = []
    for heats in ((100.0,), (2.0,), (100.0, 2.0)):
        monkeypatch.setattr(joint, "_HEATS", (heats, heats))
        found.append(separate(y, SOI, from_dict(KINDS)).quality)
    assert (found[2] >= torch.maximum(*found[:2]) - 0.05).all() and (found[0] - found[1]).abs().max() > 0.01


def test_frames_that_the_network_does_not_know_are_refused(shipped):
    """As they truly are: with carriers that are none, and not numbered."""
    y, truth = from_dict(KINDS).draw(1, 2560, torch.Generator().manual_seed(1))
    with pytest.raises(CapabilityError, match="open_frames"):
        separate(y, SOI, replace(shipped, frames=truth.frames), noise_var=0.1)


def test_other_methods_say_what_it_cannot_do(shipped):
    y, _ = mixed(-10)
    with pytest.raises(CapabilityError, match="joint"):
        separate(y, SOI, shipped, "alpha_rgs")
    with pytest.raises(CapabilityError, match="ofdm-bursts: .*not a denoiser.* beside a linear-modulation"):
        separate(y, shipped, Gmsk(timing=0.3, phase=0.0, gain=1.0), noise_var=0.1)


@pytest.mark.slow
def test_bursts_named_first_are_separated_alike(shipped):
    y, _ = mixed(-10)
    straight, swapped = separate(y, SOI, shipped), separate(y, shipped, SOI)
    assert torch.equal(swapped.soi, straight.interference) and torch.equal(swapped.interference, straight.soi)
    assert torch.equal(swapped.sources[1].llrs, straight.llrs)


# ---- the command, the folder ----------------------------------------------------------------------------------------------

def test_a_prior_comes_out_of_training(tmp_path, monkeypatch):
    """The same command gives the same weights; the report has a table of each alphabet; info and load take the folder."""
    monkeypatch.setattr(yardstick, "carriers", functools.partial(yardstick.carriers, levels=(1.0,), windows=4))
    for name in ("a", "b"):
        works("train", "--synthetic", FOLDER / "wifi.toml", "-o", tmp_path / f"{name}.prior", *TINY)
    prior, again = (priors.load(tmp_path / f"{name}.prior") for name in "ab")
    assert prior.kind == "ofdm-bursts" and prior.network.table == {"kind": "bursts", "rounds": 3}
    for key, value in prior.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key
    report = (tmp_path / "a.prior" / "report.md").read_text()
    assert all(f"### {name.upper()}" in report for name in ALPHABETS) and str(tmp_path) not in report
    told = works("info", tmp_path / "a.prior").stdout
    assert "802.11" in told and "112 weights" in told and "joint" in told
    untrained = build(prior.network.table)
    assert any(not torch.equal(p, q) for p, q in zip(untrained.parameters(), prior.network.parameters()))


def test_what_the_command_refuses(tmp_path):
    out = ("-o", tmp_path / "x.prior")
    (tmp_path / "ofdm.toml").write_text((FOLDER / "ofdm-qpsk.toml").read_text())
    wifi = ("train", "--synthetic", FOLDER / "wifi.toml", *out)
    fails(run(*wifi), "--network: bursts", "802.11")
    fails(run("train", "--synthetic", tmp_path / "ofdm.toml", *out, "--network", "bursts"), "--network: bursts", "802.11")
    fails(run(*wifi, "--network", "bursts", "--stride", 4), "--stride", "leave it out")
    fails(run(*wifi, "--network", "bursts", "--window", 640), "--window: 640", "1280 or more")
    fails(run(*wifi, "--network", "bursts", "--white"), "--white", "leave it out")
    fails(run(*wifi, "--network", "bursts", "--against", FOLDER / "rrc-qpsk.toml"), "--network: bursts")
    assert not (tmp_path / "x.prior").exists()
