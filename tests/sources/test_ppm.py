# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulse-position and on-off keyed bursts: waveform, posterior against brute force, bits, and bursts that are found."""
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators.base import joined
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ppm as Signal
from alpha_rgs.sources import LinearModulation, Ppm, from_dict
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.sources.ppm_bursts import Burst
from alpha_rgs.sources.toml import to_toml

MODE_S = Signal(4)
WIDTHS = Signal(40, "1111100000", ("100", "110"), (24,))
ON_OFF = Signal(20, "10101011", ("0", "1"), ())
FOUR = Signal(6.5, "101", ("1000", "0100", "0010", "0001"), (20,))
SAMPLES = 2560


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def decibels(error, s):
    return 10 * float(torch.log10(error.abs().square().mean() / s.abs().square().mean()))


def sent(source, symbols, samples):
    """The waveform of the symbols [rows, n] that the source's bursts carry."""
    return source.modulate(symbols, (len(source.bursts), samples))


# ---- waveform --------------------------------------------------------------------------------------------------------------

def test_mode_s_is_that_of_annex_10():
    """Pulses of 0.5 us at 0, 1, 3.5 and 4.5 us, then from 8 us on bits of 1 us, ones first: at 8 samples per microsecond."""
    bits = torch.tensor([[1, 0, 0, 1]])
    s = Signal(8).modulate(bits, 110, 5).real[0] / 2 ** 0.5
    expected = np.zeros(110)
    for at in (0, 1, 3.5, 4.5, 8, 9.5, 10.5, 11):
        expected[5 + int(8 * at):5 + int(8 * at) + 4] = 1
    assert np.allclose(s.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("signal", [MODE_S, Signal(2), Signal(4.8), WIDTHS, ON_OFF, FOUR])
@pytest.mark.parametrize("begin", [3.0, 7.37, -30.6])
def test_samples_are_means_over_their_duration(signal, begin):
    fine, samples = 500, 120
    symbols = torch.randint(0, len(signal.patterns), (1, 30), generator=generator())
    chips = signal.preamble + "".join(signal.patterns[k] for k in symbols[0])
    t = (np.arange(samples * fine) + 0.5) / fine - begin
    place = np.floor(t / signal.chip).astype(int)
    on = np.array([float(c) for c in chips])[place.clip(0, len(chips) - 1)] * ((place >= 0) & (place < len(chips)))
    expected = signal.amplitude * on.reshape(samples, fine).mean(1)
    assert np.allclose(signal.modulate(symbols, samples, begin).real[0].numpy(), expected, atol=2 * signal.amplitude / fine)
    assert signal.amplitude ** 2 * signal.table().mean() == pytest.approx(1)


@pytest.mark.parametrize(("change", "message"), [
    ({"samples_per_symbol": 1.5}, "samples_per_symbol: 1.5 must be 2 or more"),
    ({"preamble": "10x"}, "preamble: '10x' must be a text of chips"),
    ({"patterns": ["01"]}, "patterns: 1 given; they must be a power of two"),
    ({"patterns": ["01", "10", "11"]}, "patterns: 3 given"),
    ({"patterns": ["01", "1"]}, "patterns: .* must all have one number of chips"),
    ({"patterns": ["01", "01"]}, "patterns: .* must differ"),
    ({"patterns": [1, 10]}, "patterns: .* must be texts of chips"),
    ({"symbols": [0]}, r"symbols: \[0\] must be whole numbers"),
    ({"symbols": [5.5]}, r"symbols: \[5.5\] must be whole numbers"),
    ({"carrier_offset": 0.7}, "carrier_offset: 0.7 must lie within"),
    ({"gain": 0}, "gain: 0 must be positive"),
    ({"preambel": "1"}, "unknown key 'preambel' for kind 'ppm'; did you mean 'preamble'")])
def test_wrong_keys_are_refused_by_name(change, message):
    with pytest.raises(ParameterError, match=message):
        from_dict({"kind": "ppm", "samples_per_symbol": 4} | change)


@pytest.mark.parametrize("source", [Ppm(), Ppm(MODE_S, carrier_offset=0.01, gain=0.5), Ppm(WIDTHS), Ppm(ON_OFF),
                                    Ppm(replace(FOUR, preamble=""))])
def test_a_file_that_is_written_is_read_as_it_was(source):
    import tomllib
    assert from_dict(tomllib.loads(to_toml(source))) == source


def test_a_file_of_its_rate_alone_is_mode_s_with_all_else_unknown():
    source = from_dict({"kind": "ppm", "samples_per_symbol": 4})
    assert source.signal == MODE_S and source.unknown == ("bursts", "carrier_offset") and source.gain is None
    assert source.linear and not Ppm(FOUR).linear and Ppm(FOUR).signal.bits == 2


# ---- posterior -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("signal", "count", "begin"), [(MODE_S, 6, -30.0), (Signal(2.5), 7, -17.3), (Signal(2, "11"), 8, 1.4),
                                                        (ON_OFF, 4, -150.5), (WIDTHS, 4, -100.2), (FOUR, 4, -2.75)])
def test_a_burst_is_denoised_by_the_mean_over_all_its_symbols(signal, count, begin):
    source = Ppm(signal, ((Burst(begin, count, 0.9 * np.exp(0.7j), 0.01),),))
    words = torch.tensor(list(itertools.product(range(len(signal.patterns)), repeat=count)))
    waves = torch.cat([sent(source, word[None], 60) for word in words]).to(torch.complex128)
    x = waves[[1, 11]] + 0.5 * noise((2, 60), generator())
    for noise_var in (0.3, 2.0):
        p = torch.softmax(-(x[:, None] - waves).abs().square().sum(-1) / noise_var, 1)
        mean = p.to(waves.dtype) @ waves
        post = source.posterior(x.to(torch.complex64), noise_var)
        assert torch.allclose(post.mean.to(torch.complex128), mean, atol=1e-5)
        left = (p[..., None] * (waves - mean[:, None]).abs().square()).sum(1).mean(1)
        shared = 0.05 if begin == round(begin) else 0.5         # that neighbours share a sample is not counted
        assert torch.allclose(post.variance.double(), left, rtol=shared, atol=1e-6)


def test_bursts_that_overlap_are_cancelled_from_each_other():
    source = Ppm(MODE_S, ((Burst(20.0, 56, 1.0, 0.002), Burst(121.5, 56, 2.0j, -0.006)),))
    symbols = torch.randint(0, 2, (2, 56), generator=generator())
    s = sent(source, symbols, 600)
    x = s + 0.1 * noise(s.shape, generator(2))
    assert decibels(source.denoise(x, 0.01) - s, s) < -40
    read = source.demodulator()(x, 0.01)
    assert read.at.shape == (1, 112) and (read.at.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("signal", [MODE_S, WIDTHS, ON_OFF, Signal(2.5, symbols=(30, 60))])
def test_columns_and_constant_make_the_waveform(signal):
    s, truth = Ppm(signal).draw(3, 700, generator(3))
    pulses = truth.pulses(s.shape)
    model = truth.linear_model(s.shape)
    index, there = pulses.ordered(pulses.exists)
    symbols = truth.denoise(s, 1e-4)
    assert decibels(symbols - s, s) < -100 and model.dimensions == 1 and (model.start.diff(dim=1) >= 0).all()
    log = pulses.posterior(s, torch.tensor(1e-4)).flatten(0, 1)
    u = torch.where(there, (1 - 2 * log.argmax(-1))[index], 0).double()
    order = torch.where(there, pulses.start.flatten()[index], 0)
    assert bool((order.diff(dim=1) >= 0)[there[:, 1:]].all())
    placed = torch.zeros(model.start.shape, dtype=torch.float64)
    placed[model.exists] = u[there]
    assert decibels(model.waveform(placed, 700) - s, s) < -100 and model.missing == 0


def test_windows_without_bursts_say_nothing():
    source = Ppm(MODE_S, ((), (Burst(30.0, 56),)), 0.0)
    x = noise((2, 300), generator())
    model, read = source.linear_model(x.shape), source.demodulator()(x, 1.0)
    assert not model.exists[0].any() and model.exists[1].sum() == 56 and not source.denoise(x, 1.0)[0].any()
    assert read.at[0].isnan().all() and (~read.at[1].isnan()).sum() == 56
    nothing = replace(source, bursts=((), ()))
    assert not nothing.linear_model(x.shape).exists.any() and nothing.demodulator()(x, 1.0).at.isnan().all()
    assert nothing.posterior(x, 1.0).variance.tolist() == [0, 0]


def test_what_more_than_two_patterns_have_is_a_denoiser():
    assert Ppm(FOUR, ((Burst(0.0, 20),),)).linear_model((1, 300)) is None


# ---- statistics and bits ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("signal", [MODE_S, WIDTHS, ON_OFF])
def test_draws_have_unit_power_while_on_and_the_density_that_is_stated(signal):
    source = Ppm(signal, carrier_offset=0.02)
    s, truth = source.draw(200, SAMPLES, generator(4))
    pulses = truth.pulses(s.shape)
    powers = [abs(b.amplitude) ** 2 for b in pulses.bursts]
    assert np.mean(powers) == pytest.approx(1, abs=0.1)
    on = pulses.envelopes(torch.full((*pulses.own.shape, len(signal.patterns[0])), 1.0).double(), heading=False)
    assert float(s.abs().square().sum() / pulses.summed(on).real.sum()) == pytest.approx(1, abs=0.15)
    whole = replace(source, bursts=((Burst(40.3, 56, 1.0, 0.02),),))
    count = max(signal.symbols) if signal.symbols else 64
    length = int(signal.length(count)) + 80
    waves = [replace(whole, bursts=((Burst(40 + k / 8, n, 1.0, 0.02),),)).draw(60, length, generator(k))[0]
             for k in range(8) for n in (signal.symbols or (64,))]
    measured = torch.fft.fft(torch.cat(waves), SAMPLES).abs().square().mean(0).numpy()
    density = whole.psd(SAMPLES)
    measured /= measured.mean()
    smooth = [np.convolve(v, np.ones(15) / 15, "same") for v in (measured, density)]
    assert np.abs(smooth[0] - smooth[1]).max() < 0.12 * smooth[1].max()


@pytest.mark.parametrize("signal", [MODE_S, Signal(2), WIDTHS, ON_OFF, FOUR])
def test_bits_are_read_at_their_centres(signal):
    count = (signal.symbols or (40,))[-1]
    begin = torch.tensor([-35.4, 12.0, 100.7])
    source = Ppm(signal, tuple((Burst(float(b), count, np.exp(2j * k), 0.004 * k),) for k, b in enumerate(begin)))
    symbols = torch.randint(0, len(signal.patterns), (3, count), generator=generator())
    read = source.demodulator()(sent(source, symbols, 700), 1e-2)
    for k, (at, found) in enumerate(zip(read.at, read.symbols)):
        there = ~at.isnan()
        number = torch.round((at[there] + 0.5 - begin[k] - signal.lead) / signal.samples_per_symbol - 0.5).long()
        assert torch.equal(found[there].real.long(), symbols[k, number])
        value = sum((read.llrs[k, there, bit] < 0).long() << (signal.bits - 1 - bit) for bit in range(signal.bits))
        assert torch.equal(value, symbols[k, number]) and len(number) >= min(
            count, int((min(float(begin[k]), 0) + signal.length(count)) / signal.samples_per_symbol),
            int((700 - float(begin[k]) - signal.lead) / signal.samples_per_symbol))


@pytest.mark.parametrize("noise_var", [4.0, 2.0, 1.0])
def test_llrs_are_calibrated(noise_var):
    source = Ppm(Signal(4.6), ((Burst(11.4, 112, 1.0, 0.003),),))
    symbols = torch.randint(0, 2, (1, 112), generator=generator())
    x = sent(source, symbols, 700) + noise_var ** 0.5 * noise((200, 700), generator(2))
    llrs = source.demodulator()(x.to(torch.complex64), noise_var).llrs[..., 0]
    wrong, told = float(((llrs < 0) != symbols.bool()).float().mean()), float(torch.sigmoid(-llrs.abs()).mean())
    assert 1e-3 < wrong < 0.2 and told / 1.3 < wrong < told * 1.3


# ---- bursts that are found -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("signal", [MODE_S, Signal(2), Signal(4.8), WIDTHS])
@pytest.mark.parametrize("carrier", [None, 0.1])
def test_bursts_are_found(signal, carrier):
    source = Ppm(signal, carrier_offset=carrier)
    s, truth = source.draw(6, SAMPLES, generator(5))
    x = s + 0.1 ** 0.5 * noise(s.shape, generator(6))
    found, new = source.synchronize(x, 0.2)                         # the level need not be right
    assert set(new) == ({"carrier_offset"} if carrier is None else set()) and not found.unknown
    for own, got in zip(truth.bursts, found.bursts):
        for b in own:
            if b.begin >= 0 and b.begin + signal.length(b.symbols) <= SAMPLES:
                near = min(got, key=lambda g: abs(g.begin - b.begin))
                assert abs(near.begin - b.begin) < 0.15 and near.symbols == b.symbols
                assert abs(near.amplitude - b.amplitude) < 0.25 and abs(near.carrier_offset - b.carrier_offset) < 5e-4
    middle = slice(600, SAMPLES - 600)
    assert decibels((found.denoise(x, 0.1) - s)[:, middle], s[:, middle]) < -17


def test_a_burst_is_found_on_any_scale_and_keeps_it():
    s, truth = Ppm(MODE_S).draw(3, SAMPLES, generator(7))
    x = s + 0.1 * noise(s.shape, generator(8))
    for scale in (1e-3, 1.0, 1e3):
        found = Ppm(MODE_S).synchronize(scale * x, scale ** 2 * 0.01)[0]
        assert decibels(found.denoise(scale * x, scale ** 2 * 0.01) / scale - s, s) < -15
        unit, factor = found.levelled()
        there = factor > 0
        powers = [np.mean([abs(b.amplitude) ** 2 for b in own]) for own in unit.bursts if own]
        assert np.allclose(powers, 1) and np.allclose(factor[there] / scale, 1, atol=0.5)
    assert Ppm(MODE_S).levelled()[1] is None


def test_noise_holds_no_bursts():
    """White, and of a colour that is stated."""
    for colour in (torch.ones(SAMPLES), 0.01 + (torch.fft.fftfreq(SAMPLES).abs() < 0.1).float()):
        x = torch.fft.ifft(torch.fft.fft(noise((60, SAMPLES), generator(9))) * colour.sqrt())
        for source in (Ppm(MODE_S), Ppm(ON_OFF)):
            found = source.synchronize(x, Noise(0.0, psd=colour[None].double()))[0]
            assert not any(found.bursts)


def test_a_strong_carrier_and_a_modulated_one_are_no_bursts():
    n = torch.arange(SAMPLES)
    tone = torch.polar(torch.ones(SAMPLES), 0.3 * n.float())[None]
    qpsk = LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8)).draw(6, SAMPLES, generator(10))[0]
    for s in (tone, qpsk):
        assert not any(Ppm(MODE_S).synchronize(s + 0.1 * noise(s.shape, generator(11)), 0.01)[0].bursts)


def test_bursts_that_overlap_are_both_found():
    truth = Ppm(MODE_S, ((Burst(300.3, 112, 1.0, 0.011), Burst(511.8, 112, 0.7j, -0.004)),))
    s = truth.draw(1, 1300, generator(12))[0]
    found = Ppm(MODE_S).synchronize(s + 0.1 * noise(s.shape, generator(13)), 0.01)[0].bursts[0]
    assert [round(b.begin, 0) for b in found] == [300, 512] and [b.symbols for b in found] == [112, 112]


def test_rounded_pulses_are_found_and_read():
    """A receiver's filter of a tenth of a pulse's band less than it needs: 80 % of the samples' band."""
    s, truth = Ppm(MODE_S).draw(6, SAMPLES, generator(14))
    band = 1 / (1 + (torch.fft.fftfreq(SAMPLES).abs() / 0.3) ** 8) ** 0.5
    x = torch.fft.ifft(torch.fft.fft(s) * band) + 0.03 * noise(s.shape, generator(15))
    found = Ppm(MODE_S).synchronize(x, 1e-3)[0]
    inside = [[b for b in own if b.begin >= 0 and b.begin + MODE_S.length(b.symbols) <= SAMPLES] for own in truth.bursts]
    for own, got in zip(inside, found.bursts):
        assert all(min(abs(g.begin - b.begin) for g in got) < 0.5 for b in own)
    assert sum(len(got) for got in found.bursts) <= sum(len(own) for own in truth.bursts)
    assert decibels((found.denoise(x, 0.05) - s)[:, 500:-500], s) < -10


# ---- separation ------------------------------------------------------------------------------------------------------------

def mixture(batch, seed=20):
    qpsk = LinearModulation(LinearSignal("qpsk", 8, "rrc", 0.35, 8), 3.3, 0.4, 10 ** 0.5)
    s, truth = Ppm(MODE_S, carrier_offset=0.01).draw(batch, SAMPLES, generator(seed))
    other = qpsk.draw(batch, SAMPLES, generator(seed + 1))[0]
    return s, s + 10 ** 0.5 * other + 0.03 ** 0.5 * noise(s.shape, generator(seed + 2)), truth, qpsk


def test_known_bursts_under_a_stronger_signal():
    """Windows by themselves, which hold more or fewer symbols, and joined as threads do."""
    s, y, truth, qpsk = mixture(2)
    out = joined([separate(y[k:k + 1], [replace(truth.select([k]), gain=1.0), qpsk], noise_var=0.03) for k in range(2)])
    assert (~out.sources[0].at.isnan()).sum(1).unique().numel() == 2 and out.error_rate.max() < 1e-3
    alone = truth.denoise(s + 0.03 ** 0.5 * noise(s.shape, generator(22)), 0.03)
    assert decibels(out.sources[0].waveform - s, s) < max(decibels(alone - s, s) + 3, -40)
    assert out.sources[0].decided and out.sources[0].llrs is not None


def test_bursts_under_a_stronger_signal_are_found():
    s, y, _, qpsk = mixture(2)
    for sources in ([Ppm(MODE_S), qpsk], [qpsk, Ppm(MODE_S)]):
        out = separate(y, sources)
        got = out.sources[[source.kind for source in sources].index("ppm")].waveform
        assert decibels((got - s)[:, 300:-300], s) < -20
