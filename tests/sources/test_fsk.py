# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency shift keying of two and four levels: waveform, denoiser, demodulator, synchronizer, any samples per symbol."""
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import ParameterError
from alpha_rgs.signals import Fsk as Signal
from alpha_rgs.signals import Gfsk as GfskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Fsk, Gfsk, Gmsk, Ofdm, cpm_detection, from_dict
from alpha_rgs.sources.base import Noise
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.streaming import report

C4FM, DMR = Signal(8, 4, 0.25, "rc"), Signal(8, 4, 0.27, "rrc")
SIGNALS = {"c4fm": C4FM, "dmr": DMR, "4gfsk": Signal(4, 4, 0.4), "4fsk": Signal(4, 4, 1.0, "rect"),
           "2fsk": Signal(5, 2, 1.0, "rect"), "gfsk": Signal(4, 2, 0.317, "gaussian", 0.5),
           "gmsk": Signal(4, 2, 0.5, "gaussian", 0.3)}
DIBITS = {-3: (1, 1), -1: (1, 0), 1: (0, 0), 3: (0, 1)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mse_db(got, truth):
    return 10 * float(torch.log10((got - truth).abs().square().mean() + 1e-30))


def pulse(signal, t):
    """The phase pulse, t symbols after its centre, by the definition of its spectrum: a sum over frequencies, a million symbols
    apart from its repetition."""
    f = np.arange(1, 6001) / 1e4                            # of the symbol rate
    low, high = (1 - signal.rolloff) / 2, (1 + signal.rolloff) / 2
    cosine = np.where(f <= low, 1, np.where(f >= high, 0, 0.5 + 0.5 * np.cos(np.pi * (f - low) / signal.rolloff)))
    shape = cosine * np.pi * f / np.sin(np.pi * f) if signal.pulse == "rc" else np.sqrt(cosine)
    t = np.asarray(t)[..., None]
    return 0.5 + t[..., 0] * 1e-4 + np.sum(shape * np.sin(2 * np.pi * f * t) / (np.pi * f), -1) * 1e-4


def sent(source, batch=2, samples=640, seed=3):
    """(waveform, its symbols, the number of the first of them before source.first())."""
    signal, early = source.signal, 8
    count = int(samples / signal.samples_per_symbol) + signal.span + 2 * early + 2
    symbols = 2 * torch.randint(0, signal.levels, (batch, count), generator=generator(seed)) - (signal.levels - 1)
    begin = torch.as_tensor(source.timing) + source.first() * signal.samples_per_symbol
    s = signal.modulate(symbols, samples, begin, early)
    turn = torch.as_tensor(source.phase, dtype=torch.float64).reshape(-1, 1) + 2 * math.pi * torch.as_tensor(
        source.carrier_offset).reshape(-1, 1) * torch.arange(samples)
    return s * torch.polar(torch.ones_like(turn), turn).to(s.dtype), symbols, early


def bits_of(source, symbols, early, read):
    """The bits that a demodulator should have read, [batch, n, bits], and which of them lie in the window."""
    there = ~read.at.isnan()
    number = torch.round((read.at - torch.as_tensor(source.timing).reshape(-1, 1)) / source.signal.samples_per_symbol)
    number = (number.nan_to_num().long() - source.first()[:, None] + early).clamp(0, symbols.shape[1] - 1)
    own = symbols.gather(1, number)
    if source.signal.levels == 2:
        return (own > 0)[..., None], there
    return torch.tensor([[DIBITS[int(v)] for v in row] for row in own]).bool(), there


# waveform

@pytest.mark.parametrize("signal", [C4FM, DMR])
def test_the_pulse_has_the_spectrum_of_its_standard(signal):
    t = np.linspace(-6, 6, 97)
    assert np.allclose(signal.full_pulse(torch.tensor(8 * t)).numpy(), pulse(signal, t), atol=2e-4)


def test_symbols_turn_the_phase_as_the_standards_say():
    """P25: +3 lies 1800 Hz above the carrier at 4800 Bd; DMR: 1944 Hz."""
    for signal, hertz in ((C4FM, 1800), (DMR, 1944), (Signal(8, 2, 0.5, "rect"), 1200)):
        x = signal.modulate(torch.full((1, 60), signal.levels - 1), 400, 0.0).to(torch.complex128)[0, 150:300]
        turn = torch.angle(x[1:] * x[:-1].conj()).mean() / (2 * math.pi) * 8 * 4800
        assert float(turn) == pytest.approx(hertz, rel=1e-3)
    # C4FM: at the middle between two symbols all the earlier ones have turned by whole eighths of a turn
    a = 2 * torch.randint(0, 4, (4, 80), generator=generator()) - 3
    x = C4FM.modulate(a, 640, 0.0).to(torch.complex128)[:, 100:500:8]
    eighths = torch.angle(x) / (math.pi / 4)
    assert (eighths - eighths.round()).abs().max() < 0.06


@pytest.mark.parametrize("signal", [C4FM, DMR])
def test_what_the_trellis_leaves_out_of_the_pulse_is_made_up_for(signal):
    """Span 3 alone would leave 2 % (rc) and 0.8 %; with the tails of the symbols found -33 dB are left."""
    source = Fsk(signal, 3.3, 0.4)
    s = sent(source)[0]
    assert mse_db(source.denoise(s, 1e-2)[:, 40:-40], s[:, 40:-40]) < -33


def test_two_levels_and_a_gaussian_pulse_are_gfsk():
    fsk, gfsk = Fsk(Signal(4, 2, 1 / 3, "gaussian", 0.5), 1.3, 0.4, 1e-3), Gfsk(GfskSignal(4, 0.5, 3, 1 / 3), 1.3, 0.4, 1e-3)
    gmsk, same = Gmsk(GmskSignal(4, 0.3, 3), 1.3, 0.4), Fsk(Signal(4, 2, 0.5, "gaussian", 0.3), 1.3, 0.4)
    for a, b in ((fsk, gfsk), (same, gmsk)):
        s = a.draw(3, 320, generator())[0]
        assert torch.equal(s, b.draw(3, 320, generator())[0])
        x = s + noise(s.shape, generator(1))
        assert torch.allclose(a.denoise(x, 1.0), b.denoise(x, 1.0), atol=1e-6)
        assert torch.allclose(a.demodulator()(x, 1.0).llrs, b.demodulator()(x, 1.0).llrs, atol=1e-5)
    assert same.linear and same.linear_model((1, 320)).missing == gmsk.linear_model((1, 320)).missing
    assert not Fsk(C4FM).linear and not Fsk(Signal(8, 4, 0.5)).linear and not Fsk(Signal(8, 2, 0.4999)).linear


# denoiser and demodulator

@pytest.mark.parametrize(("signal", "timing", "symmetry"), [
    (Signal(3, 4, 1 / 3, span=2), 0.7, 1), (Signal(3, 4, 0.25, "rect"), -2.0, 4), (Signal(2.5, 4, 0.5, span=2), 0.7, 1),
    (Signal(2.7, 2, 1 / 3, span=3), 1.1, 3), (Signal(3, 2, 0.317, span=3), 0.7, 1), (Signal(3, 4, 0.27, span=2), 0.7, 1)])
def test_denoise_is_the_posterior_mean(signal, timing, symmetry):
    """Against all sequences; a drift of the phase is each state's likeliest past's, which is the mean here but for little."""
    prior, samples = Fsk(signal, timing, 0.7, 0.01, symmetry), 11
    count = math.ceil(samples / signal.samples_per_symbol) + signal.span
    words = torch.tensor(list(itertools.product(range(1 - signal.levels, signal.levels, 2), repeat=count)))
    turns = torch.arange(symmetry)[:, None, None] * 2 * math.pi / symmetry
    waves = (prior.modulate(words, samples).to(torch.complex128) * torch.exp(1j * turns)).flatten(0, 1)
    x = prior.draw(6, samples, generator())[0] + noise((6, samples), generator(1))
    fit = -(x.to(torch.complex128)[:, None] - waves).abs().square().sum(-1) / 0.5
    exact = torch.softmax(fit, 1).to(waves.dtype) @ waves
    assert torch.allclose(prior.denoise(x, 0.5).to(torch.complex128), exact, atol=2e-5)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("sps", [None, 4.4, 2.7, 5.21])
def test_it_reads_its_own_waveform(name, sps):
    signal = SIGNALS[name] if sps is None else replace(SIGNALS[name], samples_per_symbol=sps)
    source = Fsk(signal, torch.tensor([1.3, 2.0]), torch.tensor([0.4, -2.0]), 2e-3)
    s, symbols, early = sent(source)
    read = source.demodulator()(s, 0.02)
    bits, there = bits_of(source, symbols, early, read)
    assert there.sum(1).min() >= 640 / signal.samples_per_symbol - signal.span
    assert torch.equal((read.llrs < 0)[there], bits[there])
    if signal.levels == 4:
        assert torch.equal(read.symbols.real[there].abs() > 2, bits[there][:, 1])
    assert mse_db(source.denoise(s, 0.02)[:, 20:-20], s[:, 20:-20]) < -30


@pytest.mark.parametrize(("signal", "es_n0_db"), [(C4FM, 8), (DMR, 8), (replace(C4FM, samples_per_symbol=4.4), 8),
                                                 (Signal(2.7, 2, 0.35), 6), (Signal(5.21, 4, 0.4), 7)])
def test_llrs_are_calibrated(signal, es_n0_db):
    source = Fsk(signal, 1.3, 0.4)
    s, symbols, early = sent(source, 16, 2560)
    level = signal.samples_per_symbol * 10 ** (-es_n0_db / 10)
    read = source.demodulator()(s + level ** 0.5 * noise(s.shape, generator(4)), level)
    bits, there = bits_of(source, symbols, early, read)
    wrong, said = ((read.llrs < 0) != bits)[there].double(), torch.sigmoid(-read.llrs.abs())[there].double()
    assert float(wrong.mean()) == pytest.approx(float(said.mean()), rel=0.3) and float(said.mean()) > 1e-3
    sure = said < 0.03
    assert wrong[sure].sum() < 2 * said[sure].sum() + 6


def test_an_index_that_is_no_fraction_costs_nothing():
    """DMR's 0.27 against its neighbour 3/11, which the trellis has whole."""
    rates = []
    for index in (0.27, 3 / 11):
        source = Fsk(replace(DMR, modulation_index=index), 1.3, 0.4)
        s, symbols, early = sent(source, 24, 2560)
        level = 8 * 10 ** -0.8
        read = source.demodulator()(s + level ** 0.5 * noise(s.shape, generator(5)), level)
        bits, there = bits_of(source, symbols, early, read)
        rates.append(float(((read.llrs < 0) != bits)[there].double().mean()))
    assert rates[0] < 1.2 * rates[1] and rates[1] > 5e-3


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("sps", [None, 4.4])
def test_its_autocorrelation_is_that_of_what_is_drawn(name, sps):
    source = Fsk(SIGNALS[name] if sps is None else replace(SIGNALS[name], samples_per_symbol=sps))
    x, lags = replace(source, carrier_offset=0.0).draw(96, 2048, generator())[0], np.arange(-40, 41)
    measured = [complex((x[:, 50 + lag:1990 + lag] * x[:, 50:1990].conj()).mean()) for lag in lags]
    assert np.allclose(source.autocorrelation(lags), measured, atol=0.02)
    assert float(x.abs().square().mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("start", [1, 37])
@pytest.mark.parametrize("name", ["c4fm", "dmr", "gfsk", "gmsk"])
def test_at_is_how_a_later_window_sees_the_signal(name, start):
    """An index that is no fraction leaves no phase known, which a denoiser then finds."""
    source = Fsk(SIGNALS[name], 1.3, 0.4, 1e-3)
    s = sent(source)[0]
    later = source.at(start)
    assert (later.phase is None) == (start > 8 and bool(source.signal.drift))
    x = s + 0.02 ** 0.5 * noise(s.shape, generator(6))
    assert mse_db(later.denoise(x[:, start:], 0.02)[:, 60:-60], s[:, start:][:, 60:-60]) < -28


# synchronizer

def test_it_finds_timing_carrier_and_phase():
    """Alone, Es/N0 10 dB."""
    for signal in (C4FM, Signal(8, 2, 0.7), Signal(4.4, 2, 0.35)):
        unknown = Fsk(signal, carrier_offset=None)
        drawn = 0.02 * (2 * torch.rand(2, generator=generator(7), dtype=torch.float64) - 1)
        sps = signal.samples_per_symbol
        source = Fsk(signal, sps * torch.rand(2, generator=generator(8), dtype=torch.float64), torch.arange(2.0).double(), drawn)
        s, symbols, early = sent(source, 2, 2560)
        level = sps * 0.1
        x = s + level ** 0.5 * noise(s.shape, generator(9))
        found, estimates = unknown.synchronize(x, level)
        assert set(estimates) == {"timing", "phase", "carrier_offset"} and not found.unknown
        off = (found.timing - source.timing) / sps
        assert (off - off.round()).abs().max() < 0.05 and (found.carrier_offset - drawn).abs().max() < 2e-5
        here, same = found.demodulator()(x, level), source.demodulator()(x, level)
        errors = []
        for read in (here, same):
            bits, there = bits_of(source, symbols, early, read)
            errors.append(int(((read.llrs < 0) != bits)[there].sum()))
        assert errors[0] <= 1.1 * errors[1] + 4
        assert mse_db(found.denoise(x, level)[:, 40:-40], s[:, 40:-40]) < -22


def test_it_finds_them_under_something_stronger():
    """OFDM 5 dB stronger, as Gaussian noise of its density."""
    signal = Signal(8, 2, 0.7)
    source, psd = Fsk(signal, 2.3, 0.4, 3e-3), torch.tensor(Ofdm(OfdmSignal(64, 16, (4, 3)), 0, 0.0).psd(2560))[None]
    s, level = sent(source, 4, 2560)[0], 10 ** -1.5
    other = torch.fft.ifft(torch.fft.fft(noise(s.shape, generator(10)).to(torch.complex128)) * (10 ** 0.5 * psd).sqrt())
    x = s + other.to(s.dtype) + level ** 0.5 * noise(s.shape, generator(11))
    found = Fsk(signal, carrier_offset=None).synchronize(x, Noise(level, psd=10 ** 0.5 * psd))[0]
    off = (found.timing - 2.3) / 8
    assert (off - off.round()).abs().max() < 0.1 and (found.carrier_offset - 3e-3).abs().max() < 2e-4


@pytest.mark.parametrize("signal", [Signal(8, 4, 0.25, "rc"), GmskSignal(4, 0.3), Signal(2, 2, 0.35, "rect"), GmskSignal(1, 0.3)])
def test_native_detection_is_the_torch_one(monkeypatch, signal):
    """Both find the same symbols, of the same likelihood."""
    pytest.importorskip("numba", reason="native kernels need numba")
    generator = torch.Generator().manual_seed(1000)
    source = Gmsk(signal, carrier_offset=None) if isinstance(signal, GmskSignal) else Fsk(signal, carrier_offset=None)
    s, own = source.draw(3, 600, generator)
    density = (0.3 + 4 * (torch.arange(600) / 600 - 0.5).abs()).double().expand(3, -1)
    seen = cpm_detection.whitened((s + 0.5 * noise(s.shape, generator)).to(torch.complex128), density)
    offset = torch.as_tensor(own.carrier_offset).double().expand(3)
    native = cpm_detection.Detection(signal, seen, own.timing, offset, 5.0)
    monkeypatch.setattr(cpm_detection, "kernels", lambda module, tensor: None)
    reference = cpm_detection.Detection(signal, seen, own.timing, offset, 5.0)
    assert torch.allclose(native.metric, reference.metric, rtol=1e-4)
    assert bool((native.first == reference.first).all()) and torch.equal(native.symbols, reference.symbols)


def test_what_is_known_stays():
    source = Fsk(C4FM, 2.3, 0.4, 1e-3)
    s = sent(source, 2, 1600)[0]
    assert source.synchronize(s, 0.1) == (source, {})
    for name in ("timing", "phase", "carrier_offset"):
        found, estimates = replace(source, **{name: None}).synchronize(s, 0.1)
        assert set(estimates) == {name} and all(getattr(found, other) == getattr(source, other)
                                                for other in {"timing", "phase", "carrier_offset"} - {name})
        assert mse_db(found.denoise(s, 0.01)[:, 40:-40], s[:, 40:-40]) < -22
    with pytest.raises(ParameterError, match="fsk: timing, phase of a window of 64 samples cannot be estimated; give .* or more"):
        Fsk(C4FM).synchronize(s[:, :64], 0.1)


# files

def test_a_prior_file_says_fsk(tmp_path):
    path = tmp_path / "p25.toml"
    for prior in (Fsk(C4FM, 1.5, -0.25, 1e-3), Fsk(DMR, carrier_offset=None), Fsk(Signal(4.4, 2, 0.7), 1.5, 0.2, gain=0.5)):
        path.write_text(report.to_toml(prior, "a comment"))
        assert priors.load(path) == prior
    assert from_dict({"kind": "fsk"}).carrier_offset is None
    assert from_dict({"kind": "fsk", "timing": 1.0, "phase": 0.0, "gain": 1.0}).carrier_offset is None
    assert Signal(8, 4, 0.25, "rc").span == 3 and Signal(pulse="rect").span == 1


@pytest.mark.parametrize(("table", "words"), [
    ({"levels": 3}, ["levels", "2 or 4"]),
    ({"levels": 8}, ["levels", "2 or 4"]),
    ({"pulse": "sinc"}, ["pulse", "'sinc'", "gaussian, rect, rc, rrc"]),
    ({"modulation_index": 0.0}, ["modulation_index", "above 0", "P25"]),
    ({"modulation_index": 5.0}, ["modulation_index", "4"]),
    ({"rolloff": 1.5}, ["rolloff", "1.5"]),
    ({"bandwidth_time": 0.0}, ["bandwidth_time"]),
    ({"levels": 4, "span": 5}, ["span", "1 to 4"]),
    ({"pulse": "rect", "span": 2}, ["span", "rect"]),
    ({"samples_per_symbol": 1.5}, ["samples_per_symbol", "1.5", "2 or more", "GNU Radio"]),
    ({"modulation_index": 0.25, "symmetry": 3, "timing": 0.0, "phase": 0.0, "carrier_offset": 0.0}, ["symmetry", "1, 4 or 8"]),
    ({"deviation": 600}, ["'deviation'", "modulation_index"]),
])
def test_bad_keys_are_named(table, words):
    with pytest.raises(ParameterError) as error:
        from_dict({"kind": "fsk", **table}, "p25.toml")
    for word in ("p25.toml", *words):
        assert word in str(error.value)
