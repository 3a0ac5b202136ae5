# SPDX-License-Identifier: GPL-3.0-or-later
"""The network that knows OFDM's shape: what it learns from windows alone, and that it then denoises as the exact prior does."""
import functools
import pathlib
from dataclasses import replace

import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.nets import build
from alpha_rgs.separators import separate
from alpha_rgs.sources import from_dict, mixtures, with_network
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import alone, draw_case, paper_case
from alpha_rgs.training import datasets
from alpha_rgs.training.denoising_metrics import COLOUR, curve
from commands import fails, run

SHAPE = {"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16}


def ofdm(constellation, **keys):
    return from_dict(SHAPE | {"guards": [4, 3], "dc_null": True, "constellation": constellation} | keys)


@functools.cache
def network(constellation):
    """Untrained, but for what it takes from windows."""
    source = datasets.Drawn(ofdm(constellation), 2560)
    seen = build(SHAPE | {"points": 1})
    seen.spectrum = source.spectrum(512)
    points, fold, places = seen.learn(source.draw(64, torch.Generator().manual_seed(1)).s)
    denoiser = build(SHAPE | {"points": points} | ({"fold": fold} if fold else {}))
    denoiser.load_state_dict(denoiser.state_dict() | {"spectrum": seen.spectrum, "power": seen.power, "places": places})
    return denoiser.eval().requires_grad_(False)


def learned(constellation):
    """A prior that knows neither frames, phase nor constellation but by its network."""
    return with_network(ofdm("gaussian"), network(constellation))


@pytest.mark.parametrize(("constellation", "points", "fold"), [("bpsk", 2, 2), ("qpsk", 4, 4), ("16qam", 16, 4)])
def test_carriers_points_and_symmetry_are_learned_from_windows(constellation, points, fold):
    """Windows of any offset and phase tell which carriers there are, how strong, and their points."""
    net = network(constellation)
    number, power = net.carriers()
    assert number.tolist() == ofdm(constellation).signal.carriers.tolist()
    assert power.max() < 1.15 * power.min() and (len(net.places), net.fold) == (points, fold)
    found, sent = torch.view_as_complex(net.places), ofdm(constellation).signal.alphabet.points
    turn = sent * torch.polar(torch.ones(()), -torch.angle((sent ** fold).mean()) / fold)
    assert (found[:, None] - turn).abs().amin(1).max() < 0.05


def test_carriers_without_an_alphabet_are_taken_for_gaussian():
    """Carriers drawn from a Gaussian have neither points nor a phase; the answer is the linear estimate of each."""
    signal, net = ofdm("gaussian").signal, build(SHAPE | {"points": 1})
    x = signal.modulate(mixtures.noise((32, 33, 56), torch.Generator().manual_seed(1)))[:, 17:2577]
    points, fold, _ = net.learn(x)
    assert (points, fold) == (1, 0)
    mean = net(x + mixtures.noise(x.shape, torch.Generator().manual_seed(2)), torch.ones(1, 1))
    least = 1 / (1 + 64 / 56 * 1.25)        # a carrier's power over its noise, its prefix seen twice
    assert abs(10 * torch.log10((mean - x).abs().square().mean() / least)) < 0.3


@pytest.mark.parametrize("constellation", ["bpsk", "qpsk"])
def test_offset_and_phase_unknown_costs_little_in_white_noise(constellation):
    """Within 1 dB of the exact posterior mean, which is told both, at every level; where frames are seen within 0.2 dB."""
    source = datasets.Drawn(ofdm(constellation), 2560)
    for point in curve(network(constellation), source, source.prior, (30.0, 5.0, 1.2, 0.3, 0.1, 0.01), windows=16):
        assert point.gap < (0.2 if point.noise_var <= 1.2 else 1.0), point


@pytest.mark.parametrize("constellation", ["bpsk", "qpsk"])
def test_told_the_noise_of_pulses_it_is_as_good_as_the_exact_prior(constellation):
    """Noise in the span of a linear modulation's pulses: within 0.5 dB at every level, where one told the spectrum only would be
    4 dB short."""
    source = datasets.Drawn(ofdm(constellation), 2560)
    for point in curve(network(constellation), source, source.prior, (30.0, 3.0, 0.3, 0.03), windows=8, colour=COLOUR):
        assert point.gap < 0.5, point


def test_what_is_turned_or_begins_later_is_answered_alike():
    """A phase of the source turns the answer and changes nothing else; the frames' place is found, wherever it is."""
    s, truth = alone(ofdm("qpsk"), 8, 1600, torch.Generator().manual_seed(2))
    x = s + 0.5 * mixtures.noise(s.shape, torch.Generator().manual_seed(3))
    prior = learned("qpsk")
    mean, turn = prior.denoise(x, 0.25), torch.polar(torch.ones(8, 1), torch.linspace(0, 6, 8)[:, None])
    assert (prior.denoise(x * turn, 0.25) - mean * turn).abs().max() < 1e-3
    offset, sure = prior.network.aligned(x, torch.full((1, 1), 0.25))
    assert offset.tolist() == torch.as_tensor(truth.frame_offset).flatten().tolist() and sure.min() > 0.99
    told = replace(prior, frame_offset=truth.frame_offset)
    assert (told.denoise(x, 0.25) - mean).abs().max() < 1e-4


@pytest.mark.parametrize("colour", [None, COLOUR], ids=["white", "coloured"])
def test_levels_of_windows_and_kept_tables_change_nothing(colour):
    """A batch whose windows have levels of their own is answered as each window alone, and a second time as the first."""
    s, g = alone(ofdm("qpsk"), 3, 1600, torch.Generator().manual_seed(2))[0], torch.Generator().manual_seed(3)
    noise = mixtures.noise(s.shape, g) if colour is None else colour.modulate_overlapping(
        mixtures.noise((3, colour.overlapping_symbols(1600)[1]), g), 1600)
    prior, levels = learned("qpsk"), torch.tensor([0.3, 1.0, 3.0])
    x = s + levels.sqrt()[:, None] * noise

    def noisy(level):
        return level if colour is None else Noise(1e-4, colour, level)

    together = (prior.denoise(x, noisy(levels)) - s).abs().square().mean(1)
    for i in range(3):
        for _ in range(2):
            alone_ = (prior.denoise(x[i:i + 1], noisy(float(levels[i]))) - s[i]).abs().square().mean()
            assert abs(10 * torch.log10(alone_ / together[i])) < 0.3


@pytest.mark.parametrize("samples", [1, 79, 143, 144, 333])
def test_windows_of_any_length(samples):
    """As many samples come back; where no frame can be found it is the linear estimate, finite."""
    x = alone(ofdm("qpsk"), 2, samples, torch.Generator().manual_seed(2))[0]
    out = learned("qpsk").denoise(x, 0.1)
    assert out.shape == x.shape and bool(torch.isfinite(torch.view_as_real(out)).all())


def test_both_learned_separate_without_an_error(tmp_path):
    """QPSK under OFDM 12 dB stronger, both known by networks alone: at most 2 of 6400 bits wrong; written to a folder and read
    back, the prior knows neither constellation nor phase nor offset."""
    m = draw_case("ofdm-qpsk", 20, -12.0, seed=1)
    folder = pathlib.Path(__file__).resolve().parents[2] / "priors" / "rrc-qpsk.prior"
    soi = with_network(paper_case("ofdm-qpsk")[0], priors.load(folder).network)
    prior = learned("qpsk")
    priors.save(prior, tmp_path / "o.prior", {"command": "by hand"})
    back = priors.load(tmp_path / "o.prior")
    assert back.kind == "ofdm" and back.learned and back.signal.constellation == "gaussian" and back.frame_offset is None
    x = m.y[:2]
    assert torch.equal(back.denoise(x, 1.0), prior.denoise(x, 1.0))
    out = separate(m.y, soi, back)
    assert int((m.soi.signal.alphabet.slice(out.symbols) != m.bits).sum()) <= 2


def test_what_does_not_fit_is_refused(tmp_path):
    """A network of another numerology, of another kind, keys out of range, and recordings: one sentence each."""
    with pytest.raises(ParameterError, match="fft_size, 64.*128"):
        with_network(from_dict(SHAPE | {"fft_size": 128}), network("qpsk"))
    with pytest.raises(CapabilityError, match="kind ofdm"):
        with_network(ofdm("qpsk"), build({"kind": "diffwave", "channels": 4, "layers": 2, "cycle": 2}))
    with pytest.raises(ParameterError, match="cyclic_prefix: 65.*fft_size"):
        build(SHAPE | {"cyclic_prefix": 65, "points": 4})
    with pytest.raises(ParameterError, match="points is missing"):
        build(dict(SHAPE))
    fails(run("train", "x.sigmf-meta", "--network", "ofdm", "-o", tmp_path / "x.prior"), "--network", "--synthetic", "ofdm")
