# SPDX-License-Identifier: GPL-3.0-or-later
"""separate(mixture, [source, ...]): any source in any place, small cases with known truth."""
import functools
from dataclasses import replace

import pytest
import torch
from alpha_rgs import separate
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import Lora as LoraSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Gaussian, Gmsk, LinearModulation, Lora, Ofdm, Source, Sum, Tones
from alpha_rgs.sources.mixtures import alone, noise

SAMPLES = 1280
QPSK = LinearModulation(Signal("qpsk", 16, "rrc", 0.5, 4), 8.0, 0.3)
OFDM = Ofdm(OfdmSignal(64, 16, (4, 3)), 37, 0.4)
GMSK = Gmsk(GmskSignal(4, 0.3, 3), 1.3, 0.4)
LORA = Lora(LoraSignal(7, 2), 17.0, 0.3)


def mixed(sources, gains, noise_var, batch=4, samples=SAMPLES, seed=1):
    """(mixture, [g·s of each], [each as it is, with its gain])."""
    g = torch.Generator().manual_seed(seed)
    parts, truths = zip(*(alone(source, batch, samples, g) for source in sources))
    waves = [gain * part for gain, part in zip(gains, parts)]
    y = sum(waves) + noise_var ** 0.5 * noise((batch, samples), g)
    return y, waves, [replace(truth, gain=gain) for truth, gain in zip(truths, gains)]


def error_rate(estimate, source, wave, inner=0):
    """Of the bits inside the window, those of the clean waveform being the truth."""
    sent = source.demodulator()(wave / source.gain, 1e-4)
    number = torch.round(sent.at).nan_to_num(-1).long()
    places = [{int(n): k for k, n in enumerate(row) if n >= inner and n < wave.shape[1] - inner} for row in number.tolist()]
    mine = torch.round(estimate.at).nan_to_num(-1).long().tolist()
    wrong, count = 0, 0
    for row, (at, there) in enumerate(zip(mine, places)):
        kept = [k for k, n in enumerate(at) if n in there] if source.kind != "ofdm" else [
            k for k in range(len(at)) if not bool(sent.at[row, k].isnan()) and not bool(estimate.at[row, k].isnan())]
        other = [there[at[k]] for k in kept] if source.kind != "ofdm" else kept
        wrong += int(((estimate.llrs[row, kept] < 0) != (sent.llrs[row, other] < 0)).sum())
        count += len(kept) * sent.llrs.shape[-1]
    assert count > 0
    return wrong / count


def assert_whole(out, y, waves):
    """What every result keeps: an Estimate each, the mixture less the others, finite numbers, and the first two names."""
    assert len(out.sources) == len(waves)
    total = sum(e.waveform for e in out.sources)
    for e in out.sources:
        assert e.waveform.shape == e.cleaned.shape == y.shape and e.sinr_db.shape == (len(y),)
        assert torch.allclose(e.cleaned + total - e.waveform, y, atol=1e-4 * float(y.abs().max()))
        assert bool(torch.isfinite(torch.view_as_real(e.waveform)).all()) and bool(torch.isfinite(e.quality).all())
    assert torch.equal(out.soi, out.sources[0].waveform)
    assert torch.allclose(out.interference, total - out.soi, atol=1e-4 * float(y.abs().max()))


def decibels(error, s):
    return 10 * float(torch.log10(error.abs().square().mean() / s.abs().square().mean()))


# ---- any source first --------------------------------------------------------------------------------------------------------

def test_gmsk_under_ofdm_is_separated():
    """SIR -10 dB, SNR 4 dB of the GMSK, all known: 8 windows, BER below 2e-3."""
    y, waves, (ofdm, gmsk) = mixed((OFDM, GMSK), (1.0, 10 ** -0.5), 10 ** -1.4, 8)
    out = separate(y, [gmsk, ofdm], noise_var=10 ** -1.4)
    assert out.method == "joint"
    assert_whole(out, y, waves[::-1])
    assert error_rate(out.sources[0], gmsk, waves[1]) < 2e-3 and error_rate(out.sources[1], ofdm, waves[0]) < 2e-3
    assert decibels(out.soi - waves[1], waves[1]) < -15 and out.sources[0].decided
    assert -6 < float(out.sources[0].sinr_db.mean()) + decibels(out.soi - waves[1], waves[1]) < 2     # rather too low
    assert torch.equal(out.symbols, out.sources[0].symbols) and torch.equal(out.llrs, out.sources[0].llrs)


@pytest.mark.parametrize("method", ["auto", "joint", "alpha_rgs"])
def test_ofdm_under_qpsk_is_separated(method):
    """The swapped pair: by the elimination of the pair, the linear modulation taking the other place."""
    y, waves, (ofdm, qpsk) = mixed((OFDM, QPSK), (1.0, 3.0), 1e-3)
    out = separate(y, ofdm, qpsk, method, noise_var=1e-3)
    assert out.method == ("alpha_rgs" if method == "alpha_rgs" else "joint")
    assert_whole(out, y, waves)
    assert error_rate(out.sources[0], ofdm, waves[0]) < 2e-3 and error_rate(out.sources[1], qpsk, waves[1], 64) == 0
    straight = separate(y, [qpsk, ofdm], method=method, noise_var=1e-3)
    assert torch.equal(straight.soi, out.interference) and torch.equal(straight.interference, out.soi)
    for one, other in zip(straight.sources[::-1], out.sources):
        assert torch.equal(one.llrs, other.llrs) and torch.equal(one.cleaned, other.cleaned)
    assert torch.allclose(out.kappa, torch.tensor(3.0)) and torch.allclose(straight.kappa, torch.tensor(1.0))


def test_the_interferences_gain_may_be_called_kappa():
    y, _, (ofdm, gmsk) = mixed((OFDM, GMSK), (1.0, 0.5), 0.01, 2)
    named = separate(y, ofdm, replace(gmsk, gain=None), kappa=0.5, noise_var=0.01)
    assert torch.equal(named.soi, separate(y, [ofdm, gmsk], noise_var=0.01).soi)


@pytest.mark.parametrize(("first", "second"), [(GMSK, LORA), (LORA, Tones(2)), (Gmsk(GmskSignal(8), 2.0, 1.0), QPSK),
                                               (OFDM, Tones(2))])
def test_sources_of_any_two_kinds_are_separated(first, second):
    """GMSK, LoRa, tones, OFDM, QPSK: errors of either waveform below -10 dB."""
    y, waves, truths = mixed((first, second), (1.0, 1.5), 0.01)
    out = separate(y, truths, noise_var=0.01)
    assert_whole(out, y, waves)
    for estimate, wave in zip(out.sources, waves):
        assert decibels(estimate.waveform - wave, wave) < -10
    assert (out.sources[1].symbols is None) == (truths[1].demodulator() is None)


# ---- more than two -----------------------------------------------------------------------------------------------------------

def test_three_sources_are_separated_in_any_order():
    y, waves, truths = mixed((OFDM, GMSK, QPSK), (1.0, 0.6, 2.0), 1e-3, 2)
    out = separate(y, truths, noise_var=1e-3)
    assert_whole(out, y, waves)
    for estimate, wave in zip(out.sources, waves):
        assert decibels(estimate.waveform - wave, wave) < -12
    assert error_rate(out.sources[1], truths[1], waves[1], 80) < 5e-3
    turned = separate(y, truths[::-1], noise_var=1e-3)
    for one, other in zip(turned.sources[::-1], out.sources):
        assert decibels(one.waveform - other.waveform, y) < -25


@pytest.mark.parametrize("sources", [(OFDM, GMSK), (GMSK, LORA), (OFDM, Tones(1))])
def test_gains_and_noise_are_estimated(sources):
    """Within 5 % and told by name; a gain that is given stays."""
    gains = (1.0, 0.5)
    y, waves, truths = mixed(sources, gains, 0.01, 2)
    out = separate(y, [replace(t, gain=None) for t in truths])
    assert_whole(out, y, waves)
    for k, gain in enumerate(gains):
        found = out.estimated[f"gain_{k + 1}"]
        assert torch.allclose(found, torch.full_like(found, gain), rtol=0.05), k
        assert torch.equal(out.sources[k].state.gain, found)
    assert torch.allclose(out.estimated["noise_var"], torch.tensor(0.01), rtol=0.5)
    part = separate(y, [replace(truths[0], gain=None), *truths[1:]], noise_var=0.01)
    assert set(part.estimated) == {"gain_1"}
    assert torch.allclose(part.estimated["gain_1"], torch.ones(len(y), dtype=torch.float64), rtol=0.05)


@functools.cache
def of_unknown_gain():
    """(mixture of two sources, what is known of them, Separation)."""
    y, _, truths = mixed((OFDM, GMSK), (1.0, 0.5), 0.01, 2)
    return y, truths, separate(y, [truths[0], replace(truths[1], gain=None)])


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_recordings_level_means_nothing(scale):
    """Everything found scales with it: amplitudes, their squares, and nothing else."""
    y, truths, one = of_unknown_gain()
    y = (y.to(torch.complex128) * scale).to(torch.complex64)
    out = separate(y, [truths[0].scaled(scale), replace(truths[1], gain=None)])
    assert float((out.soi / scale - one.soi).abs().max()) < 1e-3
    assert torch.allclose(out.estimated["gain_2"] / scale, one.estimated["gain_2"], rtol=1e-3)
    assert torch.allclose(out.noise_var.double() / scale ** 2, one.noise_var.double(), rtol=1e-2)
    for mine, other in zip(out.sources, one.sources):
        assert torch.equal(mine.llrs < 0, other.llrs < 0) and torch.allclose(mine.sinr_db, other.sinr_db, atol=0.05)
        assert torch.allclose(torch.as_tensor(mine.state.gain) / scale, torch.as_tensor(other.state.gain), rtol=1e-3)


def test_windows_of_a_stream_use_their_start_and_not_their_neighbours():
    y, _, truths = mixed((replace(OFDM, carrier_offset=1e-3), GMSK), (1.0, 0.5), 0.01, 1, 1800)
    windows = torch.stack([y[0, :SAMPLES], y[0, 501:501 + SAMPLES]])
    out = separate(windows, truths, noise_var=0.01, start=torch.tensor([0, 501]))
    assert decibels(out.soi[0, 600:1200] - out.soi[1, 99:699], out.soi[0, 600:1200]) < -25
    alone_ = separate(windows[1:], truths, noise_var=0.01, start=501)
    assert decibels(out.soi[1:] - alone_.soi, alone_.soi) < -40


# ---- refusals ----------------------------------------------------------------------------------------------------------------

class Flat(Source):
    """Neither symbols nor linear model."""

    kind = "flat"

    def denoise(self, x, noise):
        return x / (1 + self.white(noise))

    def at(self, start):
        return self


def test_what_cannot_be_separated_is_refused_by_name():
    y = torch.ones(1, SAMPLES, dtype=torch.complex64)
    ofdm, gmsk, lora = (replace(source, gain=1.0) for source in (OFDM, GMSK, LORA))
    with pytest.raises(ParameterError, match="sources: 1 given; one source alone needs no separation, 2 to 6"):
        separate(y, [ofdm])
    with pytest.raises(ParameterError, match="sources: 7 given; 2 to 6 can be separated at once"):
        separate(y, [ofdm] * 7)
    with pytest.raises(ParameterError, match="sources: number 2 is dict, neither a source nor the path of one"):
        separate(y, [ofdm, {"kind": "gmsk"}])
    with pytest.raises(ParameterError, match="gmsk.toml: no such prior file"):
        separate(y, ofdm, "gmsk.toml")
    with pytest.raises(ParameterError, match="method: 'magic' is not known"):
        separate(y, [ofdm, gmsk], method="magic")
    with pytest.raises(CapabilityError, match="joint: none of the sources .lora and tones. has a linear model; use alpha_rgs"):
        separate(y, [lora, Tones(1, gain=1.0)], method="joint", noise_var=0.1)
    with pytest.raises(CapabilityError, match="lmmse: separates one linear-modulation .*ofdm and gmsk"):
        separate(y, [ofdm, gmsk], method="lmmse")
    with pytest.raises(CapabilityError, match="flat: this source gives no autocorrelation"):
        separate(y, [ofdm, Flat()], noise_var=0.1)          # its gain is unknown


def test_a_source_with_a_denoiser_alone_is_separated_by_it():
    """Beside one that is decided."""
    class Loud(Flat):
        state_names = {"gain": "gain"}
        gain = 0.3

    y, waves, (ofdm,) = mixed((OFDM,), (1.0,), 0.09, 2)
    out = separate(y, [ofdm, Loud()], noise_var=1e-3)
    assert out.method == "joint" and error_rate(out.sources[0], ofdm, waves[0]) < 2e-3
    assert out.sources[1].symbols is None and out.sources[1].quality is out.sources[1].sinr_db


def test_coloured_noise_is_a_source_among_others():
    """A Gaussian source takes its place beside OFDM: nothing of it is decided."""
    shape = Gaussian(Tones(1).autocorrelation(range(4))[None], gain=0.5)
    y, waves, (ofdm,) = mixed((OFDM,), (1.0,), 0.25, 2)
    out = separate(y, [ofdm, shape], noise_var=1e-3)
    assert error_rate(out.sources[0], ofdm, waves[0]) < 0.01 and out.sources[1].llrs is None


def test_a_sum_is_taken_apart():
    """A file of kind "sum" beside another source: its parts are detected one by one, and told as one again."""
    y, waves, (gmsk, ofdm, lora) = mixed((GMSK, OFDM, LORA), (1.0, 2.0, 1.5), 0.05, 2)
    apart = separate(y, [gmsk, ofdm, lora], noise_var=0.05)
    both = Sum((ofdm, lora), (2.0, 1.5), gain=2.5)
    out = separate(y, [gmsk, both], noise_var=0.05)
    assert_whole(out, y, [waves[0], waves[1] + waves[2]])
    assert torch.allclose(out.soi, apart.soi, atol=1e-5)
    assert torch.allclose(out.sources[1].waveform, apart.sources[1].waveform + apart.sources[2].waveform, atol=1e-5)
    assert float(out.sources[1].state.gain.mean()) == pytest.approx(2.5)
    assert out.sources[1].symbols is None and out.estimated == {}


def test_a_sum_of_unknown_gain_is_found():
    y, _, (gmsk, ofdm, lora) = mixed((GMSK, OFDM, LORA), (1.0, 2.0, 1.5), 0.05, 2)
    out = separate(y, [gmsk, Sum((replace(ofdm, gain=None), replace(lora, gain=None)))], noise_var=0.05)
    assert list(out.estimated) == ["gain_2"]
    assert torch.allclose(out.estimated["gain_2"], torch.full((2,), 2.5, dtype=torch.float64), rtol=0.1)


# two linear modulations, the interference within the band of the signal of interest

def two_trains(second, sir_db, seed, samples=2560):
    """(y, both waveforms, both sources as they are): QPSK of 8 samples and a second train of 5, SNR of the weaker one 20 dB."""
    rng = torch.Generator().manual_seed(seed)
    waves, sources = [], []
    for constellation, sps, offset in (("qpsk", 8, -5e-4), (second, 5, 2e-4)):
        wave, truth = alone(LinearModulation(Signal(constellation, sps, "rrc", 0.35, 8), carrier_offset=offset), 1, samples, rng)
        waves.append(wave / wave.abs().square().mean().sqrt())
        sources.append(truth)
    waves[0] = waves[0] * 10 ** (sir_db / 20)
    return waves[0] + waves[1] + 0.1 * 10 ** (min(sir_db, 0) / 20) * noise((1, samples), rng), waves, sources


def unknown(source):
    return replace(source, timing=None, phase=None, carrier_offset=None, gain=None)


def error_db(out, waves):
    """Of each waveform, less its ends."""
    return [10 * float(((e.waveform - s)[:, 64:-64].abs().square().mean() / s.abs().square().mean()).log10())
            for e, s in zip(out.sources, waves)]


@pytest.mark.parametrize("known", [(), (0,), (1,), (0, 1)], ids=["nothing known", "first known", "second known", "gains unknown"])
def test_trains_of_one_band_are_told_apart_whatever_is_known(known):
    """Carriers that fit the other train's errors were believed, and told as sure, where one of the two was known; where neither
    was, they were refused."""
    y, waves, sources = two_trains("qpsk", -3.0, 31)
    given = [replace(s, gain=None) if k in known else unknown(s) for k, s in enumerate(sources)]
    assert max(error_db(separate(y, given), waves)) < -18


@pytest.mark.slow
def test_trains_that_lock_on_each_others_errors_are_found_by_pairs_of_guesses():
    y, waves, sources = two_trains("16qam", -3.0, 2101)
    assert max(error_db(separate(y, [unknown(s) for s in sources]), waves)) < -15
