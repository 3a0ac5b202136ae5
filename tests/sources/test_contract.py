# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract that every kind of source keeps: state, later windows, rows, linear model, demodulator, density, noise."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.signals import Fsk as FskSignal
from alpha_rgs.signals import Gfsk as GfskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.signals import OffsetQpsk as OffsetSignal
from alpha_rgs.signals import Ppm as PpmSignal
from alpha_rgs.signals.carrier import carrier
from alpha_rgs.sources import Fsk, Gaussian, Gfsk, Gmsk, LinearModulation, Lora, Ofdm, OffsetQpsk, Ppm, Source, Sum, Tones
from alpha_rgs.sources.base import Noise, State, Structure
from alpha_rgs.sources.mixtures import alone, noise
from alpha_rgs.sources.ofdm_bursts import OfdmBursts
from alpha_rgs.sources.ppm_bursts import Burst

SAMPLES = 480
OFDM = Ofdm(OfdmSignal(64, 16, (4, 3)), 37, 0.4, 1e-3, (1.0, 0.3j), gain=0.5)
QPSK = LinearModulation(Signal("qpsk", 8, "rrc", 0.35, 6), 3.3, 0.4, 2.0, 3e-3)
SOURCES = {
    "qpsk": QPSK,
    "pi/4-dqpsk": replace(QPSK, signal=Signal("pi/4-dqpsk", 5, "rrc", 0.5, 4)),
    "ofdm": OFDM,
    "gmsk": Gmsk(GmskSignal(4, 0.3, 3), 1.3, 0.4, 1e-3, gain=0.5),
    "gfsk": Gfsk(GfskSignal(4, 0.5, 3, 1 / 3), 1.3, 0.4, 1e-3, gain=0.5),
    "oqpsk": OffsetQpsk(OffsetSignal(6.4, "rrc", 0.5, 6), 2.3, 0.4, 1e-3, gain=0.5),
    "msk": OffsetQpsk(OffsetSignal(4, "half-sine"), 2.3, 0.4, 1e-3, gain=0.5),
    "fsk": Fsk(FskSignal(4, 4, 0.25, "rc"), 1.3, 0.4, 1e-3, gain=0.5),
    "lora": Lora(LoraSignal(6, 1), 17.25, 0.4, 1e-3, gain=0.5),
    "ppm": Ppm(PpmSignal(4), ((Burst(-61.25, 56, 1.1j, 1e-3), Burst(190.5, 112, 0.9, 2e-3)),), 1e-3, gain=0.5),
    "tones": Tones(2, gain=0.5),
    "gaussian": Gaussian(OFDM.autocorrelation(np.arange(80))[None] * np.ones((80, 1)), 17, gain=0.5),
    "sum": Sum((Gmsk(GmskSignal(4), 1.3, 0.4), replace(OFDM, gain=None)), (1.0, 0.5), gain=0.5),
}
LINEAR = {name: SOURCES[name] for name in ("qpsk", "pi/4-dqpsk")} | {
    "bpsk": replace(QPSK, signal=Signal("bpsk", 8, "rrc", 0.35, 6)),
    "8psk": replace(QPSK, signal=Signal("8psk", 4, "rrc", 0.5, 8)),
    "echo": replace(QPSK, signal=Signal("qpsk", 8, "rrc", 0.35, 6, channel=(1.0, 0.0, 0.4j)), carrier_offset=0.0),
    "burst": replace(QPSK, timing=40.5, symbols=30)}
OFDMS = {"ofdm": OFDM, "null": Ofdm(OfdmSignal(32, 8, (2, 1), True, "bpsk"), 0, 0.0), "late": replace(OFDM, frame_offset=79)}
PHASES = {"gmsk": SOURCES["gmsk"], "wide": Gmsk(GmskSignal(8, 0.5, 2), 0.7, -1.0),
          "narrow": Gmsk(GmskSignal(5, 0.25, 4), 4.2, 2.0), "gfsk": SOURCES["gfsk"], "bluetooth": Gfsk(GfskSignal(8), 3.0, 0.5),
          "fsk": Fsk(FskSignal(4.4, 2, 0.35), 3.0, 0.5, 1e-3)}
per_kind = pytest.mark.parametrize("name", SOURCES)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def drawn(name, batch=3, samples=SAMPLES, seed=1):
    """(waveform, the source as it is): the Gaussian one from its covariance."""
    source = SOURCES[name]
    if name != "gaussian":
        return alone(source, batch, samples, generator(seed))
    root = np.linalg.cholesky(source.covariance(samples, 17) + 1e-6 * np.eye(samples))
    return noise((batch, samples), generator(seed)) @ torch.tensor(root.T, dtype=torch.complex64), source


def decibels(error, s):
    return 10 * float(torch.log10(error.abs().square().mean() / s.abs().square().mean()))


# ---- state ---------------------------------------------------------------------------------------------------------------

@per_kind
def test_a_state_goes_through_with_state(name):
    source = SOURCES[name]
    assert source.with_state(**source.state.known()).state == source.state
    assert source.state.gain == source.gain and source.scaled(4.0).state == replace(source.state, gain=4 * source.gain)
    assert replace(source, gain=None).scaled(4.0).state.gain is None
    for field, own in source.state_names.items():
        if field == "channel":
            continue
        value = 11 if field == "delay" else 0.125
        changed = source.with_state(**{field: value})
        assert changed.state == replace(source.state, **{field: value}) and getattr(changed, own) == value
        assert type(changed) is type(source)
        lacking = source.with_state(**{field: None})
        assert (own in lacking.unknown) == (field != "gain") and own not in source.unknown
    own = set(source.state_names.values()) | {"bursts"}         # of which State knows nothing
    assert set(source.estimable) | set(source.synchronizes) <= own and all(hasattr(source, n) for n in source.synchronizes)
    for field in set(State().__dataclass_fields__) - set(source.state_names):
        with pytest.raises(CapabilityError, match=f"{source.kind}: has no {field}; it has .*gain"):
            source.with_state(**{field: 0.0})


def test_bursts_have_no_state():
    with pytest.raises(CapabilityError, match="ofdm-bursts: has no gain; it has no nuisances"):
        OfdmBursts().with_state(gain=1.0)
    assert OfdmBursts().state == State() and OfdmBursts().unknown == ()


@per_kind
@pytest.mark.parametrize("start", [37, torch.tensor([0, 80, 131])])
def test_a_later_window_sees_the_same_source(name, start):
    """Far from the ends what is denoised there is what the whole window says, and what at() forgets is of no account."""
    s, truth = drawn(name)
    x, later = s + 0.2 * noise(s.shape, generator(2)), truth.at(start)
    assert type(later) is type(truth) and later.gain == truth.gain
    starts = torch.as_tensor(start).expand(3).tolist()
    cut = torch.stack([row[k:k + 340] for row, k in zip(x, starts)])
    if name == "tones":                                 # of a window, its lines are told by all of it
        assert later == truth
        return
    here = torch.stack([row[k:k + 340] for row, k in zip(truth.denoise(x, 0.04), starts)])
    assert decibels((later.denoise(cut, 0.04) - here)[:, 100:240], here) < -30
    if truth.state.delay is not None:
        moved = torch.as_tensor(truth.state.delay) - torch.as_tensor(start) - torch.as_tensor(later.state.delay)
        period = {"ofdm": 80, "lora": 64, "gaussian": 80}.get(name, 1e9)
        assert torch.all((moved - period * torch.round(moved / period)).abs() < 1e-6)


@per_kind
def test_some_windows_of_a_batch_are_selected(name):
    s, truth = drawn(name)
    if name == "gaussian":
        truth = replace(truth, period_offset=torch.tensor([17, 17, 17]))
    for index in (slice(1, 3), torch.tensor([2, 0])):
        few = truth.select(index)
        assert type(few) is type(truth)
        for value, whole in zip(few.state.known().values(), truth.state.known().values()):
            assert torch.equal(value, whole[index]) if torch.is_tensor(whole) and whole.ndim else value == whole
        assert torch.allclose(few.denoise(s[index], 0.1), truth.denoise(s, 0.1)[index], atol=1e-4)
    assert SOURCES[name].select(slice(1, 3)).state == SOURCES[name].state               # numbers are of all windows


def test_a_source_may_be_a_plain_class():
    """Two methods will do."""
    class Flat(Source):
        kind = "flat"

        def denoise(self, x, noise):
            return x / (1 + self.white(noise))

        def at(self, start):
            return self

    flat = Flat()
    assert flat.select(slice(0, 1)) is flat and flat.scaled(3.0) is flat and flat.state == State() and flat.unknown == ()
    assert flat.linear_model((1, 9)) is flat.demodulator() is flat.lines(torch.ones(1, 9)) is flat.blocks((1, 9)) is None
    assert flat.synchronize(torch.ones(1, 9), 0.1) == (flat, {}) and flat.structure is Structure.NONE
    with pytest.raises(CapabilityError, match="flat: has no gain; it has no nuisances"):
        flat.with_state(gain=1.0)
    with pytest.raises(CapabilityError, match="flat: .*autocorrelation"):
        flat.psd(8)
    with pytest.raises(TypeError, match="denoise"):
        type("Mute", (Source,), {"at": Flat.at})()


# ---- linear model ----------------------------------------------------------------------------------------------------------

def symbols_of(source, shape, seed=1):
    """(symbols, bits) of an alphabet, [*shape] and [*shape, bits]."""
    alphabet = source.signal.alphabet
    bits = torch.randint(0, 2, (shape[0], shape[1] * alphabet.bits_per_symbol), generator=generator(seed))
    return alphabet.map(bits), bits.reshape(*shape, -1)


def sent_linear(source, batch=2, samples=SAMPLES):
    """(waveform, symbols, their bits, number of the first one) of all that reach the window."""
    first, count = source.overlapping_symbols(samples)
    symbols, bits = symbols_of(source, (batch, count))
    exists = source.exists(first, count)
    symbols = symbols if exists is None else symbols * exists
    return source.modulate_overlapping(symbols, samples), symbols, bits, int(first[0])


def sent_ofdm(source, batch=2, samples=SAMPLES):
    """(waveform, carriers [batch, frames·carriers], their bits): the first frame ends at frame_offset."""
    period, count = source.signal.frame_length, len(source.signal.carriers)
    frames = -(-samples // period) + 1
    symbols, bits = symbols_of(source, (batch, frames * count))
    whole = (symbols.reshape(batch, frames, count) @ torch.tensor(source.matrix.T, dtype=torch.complex64)).flatten(1)
    s = whole[:, period - source.frame_offset:][:, :samples]
    return s * carrier(source.phase, source.carrier_offset, s), symbols, bits


def sent_phases(source, batch=2, samples=SAMPLES):
    """(waveform, symbols ±1 from source.first() on)."""
    count = int((samples - 1) // source.signal.samples_per_symbol) + source.signal.span + 2
    symbols = 2 * torch.randint(0, 2, (batch, count), generator=generator()) - 1
    return source.modulate(symbols, samples), symbols


def rebuilt(model, unknowns, samples):
    """Σ_k columns[k]·u_k, complex128 [batch, samples]."""
    n = (model.start[..., None] + torch.arange(model.width)).expand(len(unknowns), -1, -1)
    wave = model.columns * (unknowns * model.exists).to(torch.complex128)[..., None] * ((n >= 0) & (n < samples))
    out = torch.zeros(len(unknowns), samples, dtype=torch.complex128)
    return out.scatter_add_(1, n.clamp(0, samples - 1).flatten(1), wave.flatten(1))


@pytest.mark.parametrize("name", LINEAR)
def test_columns_of_a_linear_modulation_make_its_waveform(name):
    s, symbols, _, _ = sent_linear(LINEAR[name])
    model = LINEAR[name].linear_model(s.shape)
    assert decibels(rebuilt(model, symbols, SAMPLES) - s, s) < -100 and model.remainder is None
    assert (model.start.diff(dim=1) >= 0).all() and model.dimensions == (1 if name == "bpsk" else 2)


@pytest.mark.parametrize("name", OFDMS)
def test_columns_of_ofdm_make_its_waveform(name):
    s, symbols, _ = sent_ofdm(OFDMS[name])
    model = OFDMS[name].linear_model(s.shape)
    assert decibels(rebuilt(model, symbols, SAMPLES) - s, s) < -100
    assert model.frame[0] == OFDMS[name].signal.frame_length and (model.start.diff(dim=1) >= 0).all()


@pytest.mark.parametrize(("name", "most"), [("gmsk", -50), ("wide", -50), ("narrow", -45)])
def test_columns_and_remainder_of_gmsk_make_its_waveform(name, most):
    """The linear map leaves out what it says; with the remainder less than 1e-5 of the power is missing at bandwidth_time 0.3
    and above (pulses from the third on are left out)."""
    source = PHASES[name]
    s, symbols = sent_phases(source)
    model = source.linear_model(s.shape)
    signs = torch.nn.functional.pad(symbols.cumprod(1), (1, 0), value=1)[:, :model.start.shape[1]].double()
    linear = rebuilt(model, signs, SAMPLES)
    assert decibels(linear - s, s) == pytest.approx(10 * np.log10(model.missing), abs=1.5)
    assert decibels(linear + model.remainder(signs[..., None]) - s, s) < most
    assert model.dimensions == 1 and (model.start.diff(dim=1) >= 0).all()


@per_kind
def test_a_linear_model_of_some_windows_is_theirs(name):
    model = drawn(name)[1].linear_model((3, SAMPLES))
    assert (model is None) == (name not in ("qpsk", "pi/4-dqpsk", "ofdm", "gmsk", "oqpsk", "msk", "ppm"))
    if model is None:
        return
    few, count = model.select(slice(1, 3)), model.start.shape[1]
    mean = torch.randn(3, count, model.dimensions, dtype=torch.float64, generator=generator())
    var = torch.full_like(mean, 0.3)
    for part, whole in zip(few.decode(mean[1:], var[1:]), model.decode(mean, var)):
        assert torch.equal(part.nan_to_num(), whole[1:].nan_to_num())
    unknowns = mean.sum(-1)
    assert torch.allclose(rebuilt(few, unknowns[1:], SAMPLES), rebuilt(model, unknowns, SAMPLES)[1:])
    if model.constant is not None:
        assert torch.equal(few.constant, model.constant[1:])
    if model.remainder:
        assert torch.equal(few.remainder(mean[1:]), model.remainder(mean)[1:])


def test_gmsk_of_unknown_state_and_gfsk_of_another_index_have_no_linear_model():
    for source in (Gmsk(), Gmsk(timing=0.0), SOURCES["gfsk"]):
        assert source.linear_model((1, SAMPLES)) is None


# ---- demodulator -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [name for name in LINEAR if name != "echo"])
def test_a_linear_modulation_reads_its_own_waveform(name):
    source = LINEAR[name]
    s, _, bits, first = sent_linear(source)
    read, count = source.demodulator()(s, 1e-3), source.centred_symbols(SAMPLES)[1]
    assert read.symbols.shape == (2, count) and read.llrs.shape == (2, count, bits.shape[-1])
    number = torch.round((read.at - source.timing) / source.signal.samples_per_symbol).long()
    assert torch.allclose(source.timing + number.double() * source.signal.samples_per_symbol, read.at)
    assert read.at.min() >= 0 and read.at.max() < SAMPLES
    own = bits.gather(1, (number - first)[..., None].expand(-1, -1, bits.shape[-1])).bool()
    unseen = int(source.alphabet_rotation > 0)          # a step from a symbol before the window
    assert torch.equal((read.llrs < 0)[:, unseen:], own[:, unseen:])


@pytest.mark.parametrize("name", OFDMS)
def test_ofdm_reads_its_own_waveform(name):
    source = OFDMS[name]
    s, symbols, bits = sent_ofdm(source)
    read = source.demodulator()(s, 1e-3)
    there = ~read.at.isnan()
    frames = there.sum(1) / len(source.signal.carriers)
    assert (frames >= SAMPLES // source.signal.frame_length - 1).all()
    assert torch.equal((read.llrs < 0)[there], bits[there].bool())
    assert (read.symbols - symbols)[there].abs().max() < 1e-3
    body = (read.at[there] - source.frame_offset - source.signal.cyclic_prefix - source.signal.fft_size / 2)
    assert torch.all(body % source.signal.frame_length == 0)


@pytest.mark.parametrize("name", PHASES)
def test_gmsk_and_gfsk_read_their_own_waveform(name):
    source = PHASES[name]
    s, symbols = sent_phases(source)
    read = source.demodulator()(s, 1e-2)
    there = ~read.at.isnan()
    number = torch.round((read.at - source.timing) / source.signal.samples_per_symbol).nan_to_num().long()
    own = symbols.gather(1, (number - source.first()[:, None]).clamp(0, symbols.shape[1] - 1))
    assert there.sum(1).min() >= SAMPLES // source.signal.samples_per_symbol - 1
    assert torch.equal((read.llrs[..., 0] < 0)[there], (own > 0)[there])
    assert torch.equal(read.symbols.real[there] > 0, (own > 0)[there])


@pytest.mark.parametrize("source", [replace(QPSK, phase=None), replace(OFDM, frame_offset=None), Gmsk(), Gfsk(timing=0.0), Ppm(),
                                    OffsetQpsk(phase=0.0), Fsk(timing=0.0)])
def test_what_a_demodulator_lacks_is_named(source):
    with pytest.raises(ParameterError, match=f"{source.kind}: {source.unknown[0]} is unknown"):
        source.demodulator()(torch.ones(1, 400, dtype=torch.complex64), 0.1)


# ---- density and noise -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [*SOURCES, "bursts"])
@pytest.mark.parametrize("nfft", [64, 255, 512])
def test_a_density_has_mean_one(name, nfft):
    source = OfdmBursts() if name == "bursts" else SOURCES[name]
    density = source.psd(nfft)
    assert density.shape == (nfft,) and density.min() >= 0 and density.mean() == pytest.approx(1, abs=1e-6)
    assert source.autocorrelation(np.array(0)) == pytest.approx(1, abs=1e-6)
    lags = np.arange(1, 20)
    assert np.allclose(source.autocorrelation(-lags), source.autocorrelation(lags).conj())


@per_kind
def test_white_noise_is_its_variance(name):
    s, truth = drawn(name)
    x = s + 0.2 ** 0.5 * noise(s.shape, generator(2))
    mean = truth.denoise(x, 0.2)
    assert torch.equal(truth.denoise(x, Noise(0.2)), mean) and Noise.of(0.2) == Noise(0.2) == Noise.of(Noise(0.2))
    post = truth.posterior(x, Noise(0.2))
    assert torch.equal(post.mean, mean) and post.variance.shape == (3,) and post.variance.dtype == torch.float32
    assert float(post.variance.mean()) == pytest.approx(float((mean - s).abs().square().mean()), abs=0.05)
    assert torch.allclose(truth.score(x, 0.2), (mean - x) / 0.2)


@per_kind
def test_noise_with_a_basis_is_taken_or_refused_by_name(name):
    s, truth = drawn(name)
    if truth.takes_basis:
        mean = truth.denoise(s, Noise(1e-3, replace(QPSK, signal=Signal("qpsk", 16, "rrc", 0.35, 6), carrier_offset=0.0), 0.1))
        assert mean.shape == s.shape and decibels(mean - s, s) < -10
    else:
        with pytest.raises(CapabilityError, match=f"{truth.kind}: denoises in white noise only"):
            truth.denoise(s, Noise(1e-3, QPSK, 0.1))
    with pytest.raises(CapabilityError, match=f"{truth.kind}: .* span of a ofdm source; its basis must be a linear-modulation"):
        truth.denoise(s, Noise(1e-3, OFDM, 0.1))


def test_a_density_is_asked_for_at_any_frequencies():
    """Its mean stays, and where it is flat it stays flat; with the white part added."""
    psd = torch.tensor([[4.0, 1.0, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    for samples in (3, 6, 8, 24):
        density = Noise(0.5, psd=psd).density(samples)
        assert density.shape == (1, samples) and float(density.mean()) == pytest.approx(1.5)
        assert density.argmax() in (0, samples // 2, samples - 1) and float(density.min()) >= 0.5
    assert torch.allclose(Noise(torch.tensor([1.0, 2.0])).density(4), torch.tensor([[1.0], [2.0]]).double().expand(-1, 4))
    assert torch.allclose(torch.as_tensor(Noise(0.5, psd=psd).flat), torch.tensor([1.5]).double())
