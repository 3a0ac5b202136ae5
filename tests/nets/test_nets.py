# SPDX-License-Identifier: GPL-3.0-or-later
"""Score networks: their shapes, how they are wrapped into denoisers, and the table that describes them."""
import numpy as np
import pytest
import torch
from alpha_rgs.cli.train import train
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.nets import Denoiser, Scheduled, build
from alpha_rgs.nets.denoiser import ALPHA_BAR, CONDITIONS, resampled
from alpha_rgs.nets.diffwave import DiffWave
from alpha_rgs.nets.fast import Fast, window
from alpha_rgs.sources.mixtures import noise

FAST = {"kind": "fast", "stride": 4, "kernel": 20, "channels": 8, "dilations": [1, 2], "conditions": CONDITIONS}
DIFFWAVE = {"kind": "diffwave", "channels": 8, "layers": 3, "cycle": 2}


def spectrum(bins=64):
    """Of a source in part of the band; mean 1."""
    density = 0.02 + torch.cos(2 * torch.pi * torch.arange(bins) / bins).clamp_min(0)
    return density / density.mean()


def coloured(rows=1, bins=64):
    """Densities of noise, each row another."""
    return 0.1 + torch.arange(1, rows + 1)[:, None] * torch.sin(torch.pi * torch.arange(bins) / bins).square()


def shaken(table):
    """A denoiser with random weights everywhere: the layers that begin at zero too."""
    torch.manual_seed(1)
    denoiser = build(table)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.05 * torch.randn_like(p))
    if table["kind"] == "fast":
        denoiser.spectrum = spectrum()
    return denoiser.eval()


def waves(batch, samples, seed=1):
    return noise((batch, samples), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [1, 3, 64, 101])
@pytest.mark.parametrize("table", [FAST, {**FAST, "stride": 1, "kernel": 1}, {**FAST, "kernel": 4, "dilations": [1, 1, 4]},
                                   {**FAST, "stride": 5, "kernel": 15}, DIFFWAVE])
def test_a_denoiser_gives_back_the_shape_that_it_got(table, samples):
    """Any window length, whether or not it is whole hops; finite, and complex64 also beyond the levels of training."""
    for level in (1e-7, 1.0, 1e7):
        out = shaken(table)(waves(2, samples), torch.tensor([[level]]))
        assert out.shape == (2, samples) and out.dtype == torch.complex64
        assert bool(torch.isfinite(torch.view_as_real(out)).all())


@pytest.mark.parametrize("density", [torch.tensor([[0.5]]), coloured(), coloured(3)])
def test_before_training_fast_is_the_linear_estimate(density):
    """Training starts from S/(S + N): written out with numpy on the window with its room of half a kernel."""
    denoiser, x = Denoiser(build(FAST).net, spectrum()), waves(3, 128)
    out = denoiser(x, density).detach().numpy()
    room, size = 8, 144                         # 20 taps, hops of 4: two hops at either end; 144 transforms fast
    y = np.pad(x.numpy(), ((0, 0), (room, size - 128 - room)))
    s = np.interp(np.arange(size) * 64 / size, np.arange(65), np.r_[spectrum().numpy(), spectrum()[0]])
    n = np.stack([np.interp(np.arange(size) * len(row) / size, np.arange(len(row) + 1), np.r_[row, row[0]])
                  for row in density.numpy()])
    want = np.fft.ifft(np.fft.fft(y) * s / (s + n))[:, room:room + 128]
    assert np.abs(out - want).max() < 1e-5


@pytest.mark.parametrize("table", [FAST, DIFFWAVE])
def test_a_row_alone_is_the_row_in_a_batch(table):
    """The engine batches the windows of many callers: none may change another's, whatever its level and colour."""
    denoiser, x = shaken(table), waves(4, 90)
    density = torch.tensor([[0.01], [0.3], [3.0], [50.0]])
    if table is FAST:
        density = density * coloured(4)
    fraction, presence = torch.tensor([0.1, -0.4, 0.0, 0.5]), torch.ones(4, 90)
    presence[1, :30], presence[2, 70:] = 0, -1
    with torch.no_grad():
        out = denoiser(x, density, fraction, presence)
        for row in range(4):
            part = slice(row, row + 1)
            assert torch.allclose(denoiser(x[part], density[part], fraction[part], presence[part]), out[part], atol=1e-5)
        one = denoiser(x, density[:1])
        assert torch.allclose(one, denoiser(x, density[:1].expand(4, -1)), atol=1e-5)


def test_the_network_hears_of_level_colour_alignment_and_presence():
    """Each condition reaches the answer: otherwise training on it were in vain."""
    denoiser, x = shaken(FAST), waves(1, 64)
    with torch.no_grad():
        known = {"density": coloured(), "fraction": torch.zeros(1), "presence": torch.ones(1, 64)}
        out = denoiser(x, **known)
        for key, value in (("density", 2 * coloured()), ("density", coloured().flip(1)), ("fraction", torch.tensor([0.3])),
                           ("presence", -torch.ones(1, 64))):
            assert (denoiser(x, **{**known, key: value}) - out).abs().max() > 1e-4, key


class _Knows(torch.nn.Module):
    """Stands for a perfect network: tells the noise that is in √ᾱ·s + √(1-ᾱ)·n, whose level it takes from the step."""

    def __init__(self, s):
        super().__init__()
        self.s, self.told = s, []

    def forward(self, x, presence, t):
        self.told.append(t)
        bar = torch.tensor(np.interp(t.numpy(), np.arange(50), ALPHA_BAR))[:, None]
        return ((x - bar.sqrt() * self.s) / (1 - bar).sqrt()).to(torch.complex64), None


def test_scheduled_asks_for_the_step_of_each_level_and_takes_the_noise_off():
    """At all 50 levels, one window each: the step is the level's own, and a perfect network gives back the source."""
    s, n = waves(50, 40, 2), 2 ** 0.5 * waves(50, 40, 3)             # n: unit variance per real component
    v = torch.tensor(2 * (1 - ALPHA_BAR) / ALPHA_BAR, dtype=torch.float32)[:, None]
    net = _Knows(s)
    out = Scheduled(net)(s + (v / 2).sqrt() * n, v)
    assert torch.allclose(net.told[0], torch.arange(50.0), atol=1e-3)
    assert (out - s).abs().max() < 1e-3


def test_scheduled_goes_between_the_steps_and_stops_at_the_ends():
    """Between two levels the step lies between them; beyond the last one it stays there, and no more than its noise is taken
    off."""
    s, n = waves(1, 40, 2), 2 ** 0.5 * waves(1, 40, 3)
    levels = 2 * (1 - ALPHA_BAR) / ALPHA_BAR
    net = _Knows(s)
    Scheduled(net)(s, torch.tensor([[float(np.sqrt(levels[20] * levels[21]))]]))
    assert net.told[-1].item() == pytest.approx(20.5, abs=1e-3)
    for end, beyond in ((0, levels[0] / 1e3), (49, levels[49] * 1e3)):
        class Constant(torch.nn.Module):
            def forward(self, x, presence, t, end=end):
                assert t.tolist() == [end]
                return n, None

        x = s + (beyond / 2) ** 0.5 * n
        out = Scheduled(Constant())(x, torch.tensor([[beyond]], dtype=torch.float32))
        assert torch.allclose(out, x - n * (levels[end] / 2) ** 0.5, atol=1e-5)


def test_scheduled_refuses_coloured_noise():
    """It was trained on white noise only: say so, and what takes colour."""
    with pytest.raises(CapabilityError, match="diffwave.*white noise only.*fast"):
        build(DIFFWAVE)(waves(1, 40), coloured())
    assert not Scheduled.coloured and Denoiser.coloured


@pytest.mark.parametrize(("change", "words"), [
    ({"kind": "magic"}, ["kind", "'magic'", "fast", "diffwave"]),
    ({"kind": None}, ["kind", "None"]),
    ({"kind": ["fast"]}, ["kind", "['fast']", "fast"]),
    ({"layers": 30}, ["'layers'", "'fast'", "stride", "dilations"]),
    ({"channels": "8"}, ["channels", "'8'", "positive whole number"]),
    ({"channels": 8.0}, ["channels", "8.0"]),
    ({"channels": True}, ["channels", "True"]),
    ({"channels": 0}, ["channels", "0"]),
    ({"channels": -8}, ["channels", "-8"]),
    ({"channels": 10 ** 9}, ["channels", "1000000000"]),
    ({"dilations": 1}, ["dilations", "positive whole numbers"]),
    ({"dilations": [1, 0]}, ["dilations", "[1, 0]"]),
    ({"dilations": [1, [2]]}, ["dilations"]),
    ({"kernel": 3}, ["kernel", "3", "stride", "4"]),
    ({"kernel": 21}, ["kernel", "21", "even"]),
    ({"conditions": CONDITIONS - 1}, ["conditions", "version", str(CONDITIONS)]),
])
def test_a_table_that_describes_no_network_is_refused_by_key(change, words):
    """Unknown, of the wrong type, out of range, of the wrong parity: each message names its key and what is right."""
    with pytest.raises(ParameterError) as error:
        build({**FAST, **change})
    for word in ("network", *words):
        assert word in str(error.value)


@pytest.mark.parametrize("key", ["stride", "kernel", "channels", "dilations", "conditions"])
def test_a_key_that_is_missing_is_named(key):
    """A network of kind fast has no defaults: a file tells all of it."""
    with pytest.raises(ParameterError, match=f"network: {key} is missing"):
        build({k: v for k, v in FAST.items() if k != key})
    with pytest.raises(ParameterError, match="'kernel' for kind 'diffwave'"):
        build({**DIFFWAVE, "kernel": 1})


def test_diffwave_is_the_published_one():
    """Two channels in and out, 30 residual layers of 64 channels, dilations 1 to 512 three times, a step embedded in 512."""
    net = DiffWave()
    assert (net.stem.in_channels, net.head.out_channels, net.stem.out_channels) == (2, 2, 64)
    assert [layer.mix.dilation[0] for layer in net.layers] == 3 * [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert all(layer.mix.kernel_size == (3,) for layer in net.layers)
    assert [layer.out_features for layer in net.embed if hasattr(layer, "out_features")] == [512, 512]
    with torch.no_grad():
        assert net(waves(1, 33), None, torch.tensor([7.5]))[0].shape == (1, 33)
    assert build({"kind": "diffwave"}).state_dict().keys() == Scheduled(net).state_dict().keys()


@pytest.mark.parametrize("stride", [4, 16, 25])
def test_the_default_fast_network_is_small(stride):
    """Under a million weights for what `alpha-rgs train` makes by default, of a linear modulation and of a recording."""
    import inspect

    channels = inspect.signature(train).parameters["channels"].default
    for hops, dilations in ((5, [1, 1, 1]), (9, [2 ** (i % 5) for i in range(8)])):
        net = Fast(stride, stride * hops, channels, dilations, CONDITIONS)
        assert sum(p.numel() for p in net.parameters()) < 1e6


def test_fast_is_blind_beyond_its_kernel_and_dilations():
    """A sample changes the answer only as far as the layers reach: windows may be cut with that much context."""
    net = shaken(FAST).net
    x, presence, conditions = torch.zeros(1, 400, dtype=torch.complex64), torch.ones(1, 400), torch.zeros(1, CONDITIONS)
    with torch.no_grad():
        before = net(x, presence, conditions)[0]
        x[0, 200] = 1.0
        changed = (net(x, presence, conditions)[0] != before)[0].nonzero()[:, 0]
    reach = 2 * 20 + 4 * 3                       # the first and the last layer's kernels, three hops of dilations
    assert 200 - reach <= changed.min() < 200 < changed.max() <= 200 + reach


@pytest.mark.parametrize("samples", [5, 40])
@pytest.mark.parametrize("kernel", [5, 15, 25, 11])
def test_the_first_and_the_last_layer_are_the_convolutions_that_they_stand_for(kernel, samples):
    """However they are computed: one hop long, three, more, or no whole number of hops. Gains are 1 before training."""
    torch.manual_seed(2)
    net = Fast(5, kernel, 7, [1], CONDITIONS)
    torch.nn.init.normal_(net.head.weight)
    x, presence, conditions = waves(3, samples), torch.randn(3, samples), torch.randn(3, CONDITIONS)
    with torch.no_grad():
        h = net.stem(torch.stack([x.real, x.imag, presence], 1))
        for block in net.blocks:
            h = block(h, net.embed(conditions))
        out = net.head(h)
        assert torch.allclose(net(x, presence, conditions)[0], torch.complex(out[:, 0], out[:, 1]), atol=1e-5)


@pytest.mark.parametrize("size", [3, 8, 32, 100])
def test_resampled_keeps_the_density_at_its_frequencies(size):
    """Linear between the bins, and periodic: bin 0 follows the last one. A single bin is white and stays one."""
    density = torch.tensor([[0.0, 1.0, 4.0, 2.0, 0.0, 3.0, 1.0, 8.0], [1.0] * 8])
    out = resampled(density, size)
    want = np.interp(np.arange(size) * 8 / size, np.arange(9), np.r_[density[0].numpy(), 0.0])
    assert np.allclose(out[0].numpy(), want, atol=1e-5) and torch.equal(out[1], torch.ones(size))
    assert resampled(torch.tensor([[3.0]]), size).tolist() == [[3.0]]


@pytest.mark.parametrize(("stride", "kernel"), [(1, 1), (1, 9), (4, 4), (4, 6), (4, 20), (25, 75)])
@pytest.mark.parametrize("samples", [1, 24, 25, 101])
def test_a_window_is_padded_by_whole_hops(stride, kernel, samples):
    """Whole hops, at least half a kernel beyond a hop at either end, and the samples where the lead says."""
    x = torch.arange(1.0, samples + 1)[None]
    padded, lead = window(x, stride, kernel)
    assert padded.shape[1] % stride == 0 and lead % stride == 0
    assert torch.equal(padded[:, lead:lead + samples], x) and padded.sum() == x.sum()
    assert min(lead, padded.shape[1] - lead - samples) >= (kernel - stride) // 2 and lead < (kernel - stride) // 2 + stride


def test_a_diffwave_with_conditions_is_a_denoiser_that_takes_basis():
    """The published layers, told the noise's density: before training the linear estimate, and every condition reaches them."""
    denoiser = build({**DIFFWAVE, "stride": 4, "conditions": CONDITIONS})
    assert isinstance(denoiser, Denoiser) and denoiser.coloured and denoiser.stride == 4
    x = torch.randn(2, 102, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(denoiser(x, torch.ones(1, 1)), x / 2, atol=1e-5)
        torch.nn.init.normal_(denoiser.net.head.weight)
        one, other = denoiser(x, torch.ones(1, 1)), denoiser(x, torch.linspace(0.5, 2, 64)[None])
    assert one.shape == x.shape and not torch.allclose(one, other, atol=1e-3)
