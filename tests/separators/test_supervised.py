# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervised reference: networks that are shown mixtures, from their sizes to the row of the table."""
import pathlib
from dataclasses import replace

import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.io import recordings
from alpha_rgs.nets import build
from alpha_rgs.nets.supervised import UNet, WaveNet
from alpha_rgs.separators import separate
from alpha_rgs.sources import mixtures
from alpha_rgs.streaming import report as describe
from alpha_rgs.training import dataset_builder as corpus
from alpha_rgs.training import datasets as sources
from alpha_rgs.training.trainer import Settings, Trainer
from commands import fails, run, works
from safetensors.torch import load_file

from benchmarks.paper import table, units

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "priors"
SOI, OFDM = mixtures.paper_case("ofdm-qpsk")
ENDLESS = replace(SOI, symbols=None)
UNET = {"kind": "unet", "channels": 4, "halvings": 5, "kernel": 101}
SMALL = {"kind": "unet", "channels": 8, "halvings": 2, "kernel": 33}
WAVENET = {"kind": "wavenet", "channels": 8, "layers": 4, "cycle": 2}
TINY = ("--steps", 4, "--batch", 2, "--channels", 4, "--window", 128, "--device", "cpu", "--against", FOLDER / "rrc-qpsk.toml")


def shaken(sizes):
    """A network with random weights everywhere: the head too, which begins at zero."""
    torch.manual_seed(1)
    network = build(sizes)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return network.eval()


def waves(batch, samples, seed=1):
    return mixtures.noise((batch, samples), torch.Generator().manual_seed(seed))


def trainer(folder, sizes=SMALL, steps=6, **more):
    """Of OFDM under the signal of interest at 0 dB, 320 samples."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(more.pop("seed", 0))
    network, source = build(sizes), sources.Drawn(OFDM, 320)
    network.spectrum = source.spectrum(512)
    settings = Settings(steps=steps, batch=8, rate=3e-3, average=20.0, checkpoint=5)
    return Trainer(network, source, settings, folder, noise=corpus.Mixtures(ENDLESS, (0.0, 0.0)), **more)


# ---- the networks ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("samples", [1, 3, 31, 33, 101, 320])
@pytest.mark.parametrize("sizes", [UNET, SMALL, WAVENET])
def test_windows_of_any_length(sizes, samples):
    """Odd ones, and shorter than the deepest halving: as many samples out, complex64 and finite."""
    out = shaken(sizes)(waves(2, samples))
    assert out.shape == (2, samples) and out.dtype == torch.complex64
    assert bool(torch.isfinite(torch.view_as_real(out)).all())


@pytest.mark.parametrize("sizes", [SMALL, WAVENET])
def test_a_network_knows_the_mixture_alone(sizes):
    """Louder in, louder out by as much; levels and colours that denoisers are told change nothing; of silence, silence. Before
    it has learned, all is the other source's."""
    network, x = shaken(sizes), waves(3, 200)
    out = network(x)
    assert (out - x).abs().mean() > 0.01, "the weights do something"
    for gain in (1e-8, 1e4):
        assert torch.allclose(network(gain * x) / gain, out, atol=1e-4)
    mixed = network(torch.cat([x[:1], 100 * x[1:]]))
    assert torch.allclose(mixed[:1], out[:1], atol=1e-5) and torch.allclose(mixed[1:] / 100, out[1:], atol=1e-4)
    assert torch.equal(network(x, torch.full((3, 1), 9.0), torch.ones(3), torch.zeros(3, 200)), out)
    assert network(torch.zeros(1, 64, dtype=torch.complex64)).abs().max() == 0
    assert torch.equal(build(sizes)(x), x)


def test_the_challenges_sizes():
    """First layer of 101 taps, five halvings that double 32 channels; 30 layers of 128 with dilations to 512."""
    with torch.device("meta"):
        unet, wavenet = UNet(), WaveNet()
    assert unet.stem[0].kernel_size == (101,) and [d[0][0].out_channels for d in unet.down] == [64, 128, 256, 512, 1024]
    assert [u[0].out_channels for u in unet.up] == [32, 64, 128, 256, 512]
    assert {c.kernel_size for d in (*unet.down, *unet.join) for c in d.modules() if hasattr(c, "kernel_size")} == {(3,)}
    assert [m.dilation[0] for m in wavenet.mix] == [2 ** (i % 10) for i in range(30)]
    assert {(m.in_channels, m.out_channels, m.kernel_size) for m in wavenet.mix} == {(128, 256, (3,))}


@pytest.mark.parametrize(("sizes", "words"), [
    ({**UNET, "kernel": 100}, "kernel: 100 must be odd"), ({**UNET, "halvings": 15}, "halvings: 15 .* take fewer"),
    ({**UNET, "halvings": 60000}, "halvings: 60000"), ({**UNET, "channels": 6}, "channels: 6 must be a multiple"),
    ({**UNET, "stride": 4}, "unknown key 'stride' for kind 'unet'"), ({"kind": "unet", "channels": 4}, "halvings is missing"),
    ({**WAVENET, "cycle": 17}, "cycle: 17"), ({**WAVENET, "layers": True}, "layers: True"),
    ({"kind": "wavenet", "channels": 4, "cycle": 2}, "layers is missing")])
def test_sizes_that_cannot_be(sizes, words):
    """The key is named, before memory is asked for."""
    with pytest.raises(ParameterError, match=f"network: {words}"):
        build(sizes)


# ---- training -------------------------------------------------------------------------------------------------------------

def test_mixtures_have_the_signal_of_interest_where_its_file_lays_it():
    """By the matched filter at the file's timing and phase every symbol is one of the alphabet's; level and noise are what was
    asked for, and the density is their power."""
    g = torch.Generator().manual_seed(1)
    drawn, density, _ = corpus.Mixtures(ENDLESS, (-10.0, 5.0)).draw(6, 1280, g)
    scale = drawn.abs().square().mean(1, keepdim=True).sqrt()
    symbols = SOI.matched_filter(drawn / density.sqrt(), torch.ones(1, 1))[:, 4:-4]
    assert symbols.shape[1] > 60 and (symbols - SOI.signal.alphabet.nearest(symbols)).abs().max() < 0.2
    assert torch.allclose(density, scale.square(), rtol=0.1) and 10 ** -1 <= density.min() < density.max() <= 10 ** 0.5
    quiet = corpus.Mixtures(ENDLESS, (-200.0, -200.0), (-20.0, -10.0))
    drawn, density, _ = quiet.draw(64, 1280, g)
    assert torch.allclose(drawn.abs().square().mean(1, keepdim=True), density, rtol=0.2)
    assert 10 ** -2 <= density.min() < 10 ** -1.8 and 10 ** -1.2 < density.max() <= 10 ** -1 and quiet.floor == 10 ** -2
    free = replace(ENDLESS, timing=None, phase=None)
    drawn, density, _ = corpus.Mixtures(free, (0.0, 0.0)).draw(6, 1280, g)
    symbols = SOI.matched_filter(drawn, torch.ones(1, 1))[:, 4:-4]
    assert (symbols - SOI.signal.alphabet.nearest(symbols)).abs().max() > 0.5, "what the file lacks is drawn"


@pytest.mark.parametrize("sizes", [SMALL, WAVENET])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path, sizes):
    """The checkpoint holds all that there is of these networks: the same weights to the bit."""
    def stop(now):
        if now.step == 3:
            raise KeyboardInterrupt

    whole, part = trainer(tmp_path / "whole", sizes), trainer(tmp_path / "part", sizes)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        part.run(stop, every=1)
    last = trainer(tmp_path / "part", sizes, seed=5)
    assert last.step == 3
    last.run()
    a, b = whole.finished().state_dict(), last.finished().state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns(tmp_path):
    """In 120 steps more than a tenth of the signal of interest is found that the network had begun to know nothing of."""
    t = trainer(tmp_path, steps=120)
    t.run()
    g = torch.Generator().manual_seed(9)
    b = t.source.draw(32, g).s
    s = t.noise.draw(32, 320, g)[0]
    with torch.inference_mode():
        left = (t.finished()(b + s) - b).abs().square().mean() / s.abs().square().mean()
    assert left < 0.85


# ---- the command, the folder, separating ----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two trained priors, by the command: of OFDM, a U-Net; of DSSS, which lies anywhere too, a WaveNet, with noise."""
    folder = tmp_path_factory.mktemp("supervised")
    for case, more in (("ofdm-qpsk", ("unet",)), ("dsss", ("wavenet", "--blocks", 3, "--noise-db=-30,-10"))):
        works("train", "--synthetic", FOLDER / f"{case}.toml", "-o", folder / f"unet-{case}.prior", *TINY, "--network", *more)
    return folder


@pytest.mark.parametrize(("case", "sizes", "noise"), [
    ("ofdm-qpsk", UNET, "no noise"), ("dsss", WAVENET | {"channels": 4, "layers": 3, "cycle": 10}, "noise 30.0 dB below")])
def test_a_prior_comes_out_of_training(made, tmp_path, case, sizes, noise):
    """Known besides: the covariance of drawn windows alone. The folder gives back what was saved; the report tells of
    mixtures."""
    folder = made / f"unet-{case}.prior"
    prior, report = priors.load(folder), (folder / "report.md").read_text()
    assert prior.kind == "gaussian" and prior.network.table == sizes and not prior.network.training
    assert "One pass over mixtures" in report and noise in report and "| -12 |" in report
    assert "--against rrc-qpsk.toml" in report and str(made) not in report
    priors.save(prior, tmp_path / "again.prior")
    first, again = (load_file(path / "weights.safetensors") for path in (folder, tmp_path / "again.prior"))
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)
    x = waves(2, 500)
    assert torch.equal(priors.load(tmp_path / "again.prior").network(x), prior.network(x))
    assert "weights" in works("info", folder).stdout


def test_separating_asks_the_network_once_and_tells_it_nothing(made):
    """Whatever amplitude and noise are said to be, the interference is the network's answer to the mixture itself."""
    prior, m = priors.load(made / "unet-ofdm-qpsk.prior"), mixtures.draw_case("ofdm-qpsk", 3, -6, seed=1)
    prior.network = shaken(UNET)
    wanted, asked = prior.network(m.y), []
    prior.network.register_forward_pre_hook(lambda *_: asked.append(1))
    for known in ({}, {"kappa": m.kappa, "noise_var": 1e-3}, {"kappa": 10 * m.kappa, "noise_var": 1.0}):
        out = separate(m.y, SOI, prior, **known)
        assert out.method == "amortised" and out.evaluations == 1
        assert torch.allclose(out.interference, wanted, atol=1e-3)
        assert bool(torch.isfinite(out.llrs).all()) and bool(torch.isfinite(out.quality).all())
    assert len(asked) == 3
    for method in ("alpha_rgs", "basis", "reverse_diffusion"):
        with pytest.raises(CapabilityError, match=f"{method}: .* one pass over mixtures.*use amortised"):
            separate(m.y, SOI, prior, method)


@pytest.mark.parametrize("case", ["ofdm-qpsk", "dsss"])
def test_the_row_of_the_table_is_measured_where_the_file_is(made, tmp_path, case):
    """On mixtures of the table, from the file alone; without it the reason is told."""
    row = next(row for row in table.ROWS if row.needs == ("unet",))
    assert table.trained(row, case, tmp_path) == ({}, f"no checkpoint (unet-{case}.prior)")
    (unit, *_), notes = table.plan([row], [case], (-12,), 2, 2, 1, made)
    found = units.measure(unit)
    assert not notes and unit.priors == {"interference": str(made / f"unet-{case}.prior")}
    assert "unavailable" not in found and len(found["errors"]) == 2 and found["evaluations"] == 1


def test_what_the_command_refuses(tmp_path):
    """In one line each, before anything is drawn."""
    recordings.save(tmp_path / "r", waves(1, 4000)[0].numpy(), 1e6)
    (tmp_path / "soi.toml").write_text(describe.to_toml(OFDM))
    source = ("train", "--synthetic", FOLDER / "ofdm-qpsk.toml", "-o", tmp_path / "x.prior")
    for kind in ("unet", "wavenet"):
        fails(run(*source, "--network", kind), f"--network: {kind}", "mixtures", "--against")
    fails(run(*source, *TINY, "--noise-db=-30,-10"), "--noise-db", "unet and wavenet")
    fails(run(*source, *TINY, "--network", "unet", "--noise-db=-10,-30"), "--noise-db: '-10,-30'", "least and the greatest")
    fails(run(*source, *TINY, "--network", "unet", "--sir-db", "x"), "--sir-db: 'x'", "two numbers")
    fails(run(*source, *TINY, "--network", "unet", "--white"), "--white")
    fails(run(*source, "--network", "unet", "--against", tmp_path / "soi.toml"), "soi.toml", "linear-modulation")
    fails(run(*source, "--network", "vnet"), "--network: 'vnet'", "unet, wavenet")
    assert not (tmp_path / "x.prior").exists()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("unet-*.prior")), ids=lambda path: path.name)
def test_a_shipped_one_is_better_than_the_matched_filter(path):
    """8 windows at -12 dB."""
    prior, m = priors.load(path), mixtures.draw_case(path.stem.removeprefix("unet-"), 8, -12, seed=1)

    def wrong(method, interference):
        out = separate(m.y, SOI, interference, method)
        return int((SOI.signal.alphabet.slice(out.symbols).reshape(8, -1) != m.bits).sum())

    assert wrong("amortised", prior) < 0.9 * wrong("matched_filter", m.interference)
