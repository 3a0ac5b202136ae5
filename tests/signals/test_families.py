# SPDX-License-Identifier: GPL-3.0-or-later
"""Families of signals: constellations, given pulses, OFDM presets, and the files of all of them."""
import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.signals import PRESETS, constellation, preset, root_raised_cosine
from alpha_rgs.signals import Gfsk as GfskSignal
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Gfsk, Gmsk, LinearModulation, Lora, Ofdm, Sum, Tones, from_dict
from alpha_rgs.sources.mixtures import alone, draw, paper_priors
from alpha_rgs.streaming import report


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_bits(*shape, seed=0):
    return torch.randint(0, 2, shape, generator=generator(seed))


def wrong(out, mixture):
    return float((mixture.soi.signal.alphabet.slice(out.symbols) != mixture.bits).float().mean())


# constellations

@pytest.mark.parametrize("name", ["16apsk", "32apsk", "pi/4-dqpsk"])
def test_bits_survive_and_the_posterior_is_the_sum_over_points(name):
    alphabet, k = constellation(name), constellation(name).bits_per_symbol
    assert float(alphabet.points.abs().square().mean()) == pytest.approx(1, abs=1e-6)
    bits = random_bits(3, 40 * k)
    symbols = alphabet.map(bits)
    x = symbols + 0.01 * torch.randn(symbols.shape, dtype=torch.complex64, generator=generator(1))
    assert torch.equal(alphabet.slice(x).long(), bits) and torch.equal(alphabet.nearest(x), symbols)
    assert torch.equal(alphabet.llrs(x, 1e-3).flatten(1) < 0, bits.bool())
    x = symbols + 0.5 * torch.randn(symbols.shape, dtype=torch.complex64, generator=generator(1))
    p = torch.softmax(-(x[..., None] - alphabet.points).abs().square() / 0.25, -1)
    mean, var = alphabet.posterior(x, 0.25)
    assert torch.allclose(mean, p.to(x.dtype) @ alphabet.points, atol=1e-5)
    assert torch.allclose(var, (p * (alphabet.points - mean[..., None]).abs().square()).sum(-1), atol=1e-5)
    turned = alphabet.points * np.exp(2j * np.pi / alphabet.symmetry)
    assert torch.allclose((turned[:, None] - alphabet.points).abs().min(1).values, torch.zeros(len(turned)), atol=1e-5)


def test_apsk_has_the_rings_and_labels_of_dvb_s2():
    for name, sizes, ratios in (("16apsk", (4, 12), (1, 3.15)), ("32apsk", (4, 12, 16), (1, 2.84, 5.27))):
        radii, counts = np.unique(np.round(constellation(name).points.abs().numpy(), 4), return_counts=True)
        assert tuple(counts) == sizes and np.allclose(radii / radii[0], ratios, atol=2e-3)
    points = constellation("16apsk").points
    distance = (points[:, None] - points).abs() + 9 * torch.eye(16)
    near = distance < distance.min(1, keepdim=True).values + 1e-4
    differ = (constellation("16apsk").labels[:, None] ^ constellation("16apsk").labels).sum(-1)
    assert (differ[near] == 1).all()                            # Gray within a ring
    angle = torch.angle(constellation("32apsk").points) / np.pi * 24
    wanted = {0: 6, 11: -12, 17: 6, 24: 0, 31: -18}    # EN 302 307-1, figure 12
    assert {label: round(float(angle[label])) for label in wanted} == wanted
    inner, outer = constellation("16apsk", (2.57,)).points.abs().min(), constellation("16apsk", (2.57,)).points.abs().max()
    assert float(outer / inner) == pytest.approx(2.57, abs=1e-4)


def test_pi_4_dqpsk_carries_its_bits_in_turns():
    signal = Signal("pi/4-dqpsk", 8)
    bits = random_bits(1, 40)
    sent = signal.alphabet.map(bits) * signal.turns(0, 20)
    turn = torch.angle(sent[0, 1:] * sent[0, :-1].conj()) / (np.pi / 4)
    wanted = {(0, 0): 1, (0, 1): 3, (1, 1): -3, (1, 0): -1}
    assert [round(float(t)) for t in turn] == [wanted[tuple(pair)] for pair in bits[0].reshape(-1, 2).tolist()[1:]]
    # soft bits are the sum over pairs of neighbours
    x, var = signal.alphabet.map(bits) + 0.6 * torch.randn(1, 20, dtype=torch.complex64, generator=generator(2)), 0.36
    p = torch.softmax(-(x[..., None] - signal.alphabet.points).abs().square() / var, -1)[0].double()
    llrs = signal.alphabet.llrs(x, var)[0]
    for k in (1, 7, 19):
        joint = torch.zeros(4, dtype=torch.float64)
        for a in range(4):
            for b in range(4):
                pair = signal.alphabet.slice(signal.alphabet.points[[a, b]][None])[0, 2:].tolist()
                joint[2 * pair[0] + pair[1]] += p[k - 1, a] * p[k, b]
        exact = [torch.log(joint[:2].sum() / joint[2:].sum()), torch.log(joint[::2].sum() / joint[1::2].sum())]
        assert torch.allclose(llrs[k].double(), torch.stack(exact), atol=1e-4)


def test_pi_4_dqpsk_is_received_and_separated_by_its_bits():
    soi = LinearModulation(Signal("pi/4-dqpsk", 16, "rrc", 0.5, 4), timing=8.0, phase=0.3, gain=1.0, symbols=60)
    clean = draw(soi, paper_priors()[1], 3, 960, None, 20.0, seed=1)
    assert wrong(separate(clean.y, soi, clean.interference, "matched_filter", kappa=0.0, noise_var=0.01), clean) == 0
    later = soi.at(5 * 16)         # symbols keep their numbers, so their turns
    assert torch.allclose(soi.matched_filter(clean.y)[:, 8:], later.matched_filter(clean.y[:, 80:])[:, 3:], atol=1e-4)
    assert (soi.denoise(clean.y, 0.01) - clean.s).abs().square().mean() < 1e-3
    mixed = draw(soi, paper_priors()[1], 4, 960, -10.0, 25.0, seed=2)
    out = separate(mixed.y, soi, mixed.interference, kappa=mixed.kappa, noise_var=mixed.noise_var)
    plain = separate(mixed.y, soi, mixed.interference, "matched_filter", kappa=mixed.kappa, noise_var=mixed.noise_var)
    assert out.method == "alpha_rgs" and wrong(out, mixed) < 0.02 < 0.1 < wrong(plain, mixed)
    with pytest.raises(CapabilityError, match="pi/4-dqpsk.*alpha_rgs"):
        separate(mixed.y, soi, mixed.interference, "joint", kappa=1.0, noise_var=0.1)
    endless = LinearModulation(Signal("pi/4-dqpsk", 16), timing=8.0, phase=0.3, gain=1.0)
    x = draw(endless, paper_priors()[1], 2, 960, None, 30.0, seed=3)
    symbols = endless.matched_filter(x.y)[:, 8:-8]
    assert float((symbols - endless.signal.alphabet.nearest(symbols)).abs().square().mean()) < 1e-2
    out = separate(x.y, endless, x.interference, "matched_filter", kappa=0.0, noise_var=1e-3)
    assert wrong(out, x) < 0.04                 # the first symbol of 60


def test_bad_constellations_are_named():
    for table, words in (({"constellation": "16psk"}, "16apsk"), ({"radii": [2.0]}, "radii.*16apsk"),
                         ({"constellation": "32apsk", "radii": [2.0]}, "radii.*two"),
                         ({"constellation": "16apsk", "radii": [0.5]}, "radii.*above 1"),
                         ({"constellation": "16apsk", "radii": ["a"]}, "radii.*numbers")):
        with pytest.raises(ParameterError, match=words):
            from_dict({"kind": "linear-modulation", **table})
    with pytest.raises(ParameterError, match="linear modulation"):
        OfdmSignal(constellation="pi/4-dqpsk")


# any given pulse

def test_a_given_pulse_is_the_pulse():
    grid = np.arange(-32, 33)
    rrc = Signal("qpsk", 8, "rrc", 0.5, 8)
    given = Signal("qpsk", 8, "taps", taps=tuple(3 * root_raised_cosine(grid / 8, 0.5)))
    assert np.allclose(given.pulse_at(grid), rrc.pulse_at(grid), atol=1e-9)
    between = grid[4:-4] + 0.37
    assert np.sum((given.pulse_at(between) - rrc.pulse_at(between)) ** 2) < 1e-5 * 8
    assert np.sum(given.pulse_at(grid) ** 2) == pytest.approx(8) and not given.pulse_at(np.array([33.0, -40.0])).any()
    symbols = given.alphabet.map(random_bits(2, 40))
    assert torch.allclose(given.modulate(symbols, 160, 4.0), rrc.modulate(symbols, 160, 4.0), atol=1e-5)
    assert given.taps_count == 67


def test_a_given_pulse_in_a_file_is_drawn_and_received(tmp_path):
    prior = from_dict({"kind": "linear-modulation", "samples_per_symbol": 4, "pulse": "taps", "taps": [0, 1, 2, 1, 0.5, 0, 0],
                       "timing": 2.0, "phase": 0.0, "gain": 1.0})
    path = tmp_path / "pulse.toml"
    path.write_text(report.to_toml(prior))
    assert priors.load(path) == prior and "radii" not in path.read_text()
    assert float(alone(prior, 64, 800, generator())[0].abs().square().mean()) == pytest.approx(1, abs=0.02)
    for table, words in (({"pulse": "taps"}, "taps"), ({"pulse": "taps", "taps": [1.0, 1.0]}, "taps.*odd"),
                         ({"taps": [1.0]}, "taps"), ({"pulse": "taps", "taps": [0.0]}, "taps.*zero"),
                         ({"pulse": "taps", "taps": [[1.0, 0.0]]}, "taps.*real"),
                         ({"pulse": "taps", "taps": ["a"]}, "taps.*numbers")):
        with pytest.raises(ParameterError, match=words):
            from_dict({"kind": "linear-modulation", **table})


# presets

def test_presets_are_the_standards_numerologies():
    sizes = {"lte-1.4": (128, 9, 72), "lte-3": (256, 18, 180), "lte-5": (512, 36, 300), "lte-10": (1024, 72, 600),
             "lte-15": (1536, 108, 900), "lte-20": (2048, 144, 1200), "802.11a": (64, 16, 52), "802.11n": (64, 16, 56)}
    assert set(sizes) == set(PRESETS)
    for name, (fft, prefix, used) in sizes.items():
        signal = from_dict({"kind": "ofdm", "preset": name}).signal
        assert (signal.fft_size, signal.cyclic_prefix, len(signal.carriers)) == (fft, prefix, used)
        assert signal.carriers[0] == -signal.carriers[-1] and 0 not in signal.carriers and signal.constellation == "gaussian"
    short = from_dict({"kind": "ofdm", "preset": "802.11n", "cyclic_prefix": 8, "constellation": "16qam", "frame_offset": 3})
    assert short.signal == OfdmSignal(64, 8, (4, 3), True, "16qam") and short.frame_offset == 3
    assert OfdmSignal(**preset("802.11n")) == from_dict({"kind": "ofdm", "preset": "802.11n"}).signal
    for name in ("lte-7", 3, ["lte-5"]):
        with pytest.raises(ParameterError, match="preset"):
            from_dict({"kind": "ofdm", "preset": name})
    with pytest.raises(ParameterError, match="preset"):
        from_dict({"kind": "gmsk", "preset": "lte-5"})


# files

@pytest.mark.parametrize("prior", [
    Gfsk(), Gfsk(GfskSignal(8, 0.5, 3, 1 / 3), timing=1.5, symmetry=3), Tones(3), Lora(),
    Lora(LoraSignal(9, 4), 12.5, 0.25, 1e-3),
    Sum((Gmsk(), Tones(2)), (1.0, 0.5)), Sum((Lora(), Ofdm(OfdmSignal(), 3, 0.5), Sum((Tones(), Gfsk())))),
])
def test_a_prior_file_says_it(tmp_path, prior):
    path = tmp_path / "prior.toml"
    path.write_text(report.to_toml(prior, "a comment"))
    assert priors.load(path) == prior
    assert report.plain(prior)["kind"] == prior.kind and report.prior_table(prior, {"kind"})
    assert isinstance(report.assumptions(paper_priors()[0], prior, {"kind"}, {"kind"}, ()), list)


def test_a_sum_names_files_beside_its_own(tmp_path):
    (tmp_path / "a.toml").write_text(report.to_toml(Gmsk()))
    (tmp_path / "b.toml").write_text('kind = "tones"\ncount = 2\n')
    (tmp_path / "both.toml").write_text('kind = "sum"\nsources = ["a.toml", "b.toml"]\ngains = [1.0, 0.5]\n')
    assert priors.load(tmp_path / "both.toml") == Sum((Gmsk(), Tones(2)), (1.0, 0.5))


@pytest.mark.parametrize(("table", "words"), [
    ({"kind": "gfsk", "modulation_index": 0.3217}, "modulation_index.*0.3217.*nearest.*0.3"),
    ({"kind": "gfsk", "modulation_index": 0.0}, "modulation_index.*above 0"),
    ({"kind": "gfsk", "modulation_index": 0.25, "symmetry": 2}, "symmetry.*1, 4 or 8"),
    ({"kind": "gmsk", "modulation_index": 0.25}, "modulation_index"),
    ({"kind": "lora", "spreading_factor": 5}, "spreading_factor.*6 to 12"),
    ({"kind": "lora", "samples_per_chip": 1.5}, "samples_per_chip.*resample"),
    ({"kind": "lora", "carrier_offset": 0.7}, "carrier_offset"),
    ({"kind": "tones", "count": 0}, "count.*1 to 32"),
    ({"kind": "tones", "frequency": 0.1}, "frequency"),
    ({"kind": "sum"}, "sources"),
    ({"kind": "sum", "sources": [{"kind": "tones"}]}, "sources.*two"),
    ({"kind": "sum", "sources": ["nowhere.toml", "a.toml"]}, "nowhere.toml"),
    ({"kind": "sum", "sources": [3, 4]}, "sources.*file"),
    ({"kind": "sum", "sources": [{"kind": "tones"}, {"kind": "tones", "counts": 2}]}, r"sources\[1\].*count"),
    ({"kind": "sum", "sources": [{"kind": "tones"}, {"kind": "gmsk"}], "gains": [1.0]}, "gains.*2 positive"),
    ({"kind": "sum", "sources": [{"kind": "tones"}, {"kind": "gmsk"}], "gains": [1.0, -1.0]}, "gains.*positive"),
    ({"kind": "sum", "sources": [{"kind": "tones"}, {"kind": "gmsk"}], "gains": [1.0, "a"]}, "gains.*numbers"),
    ({"kind": "sum", "sources": [{"kind": "tones"}, {"kind": "gmsk"}], "rounds": 0}, "rounds"),
])
def test_bad_keys_are_named(table, words):
    with pytest.raises(ParameterError, match=words):
        from_dict(table, "prior.toml")
