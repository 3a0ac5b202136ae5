# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks are trained on: windows of a source, of recordings and held-out parts of them, and the noise laid over them."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import LinearModulation, mixtures
from alpha_rgs.training import covariance_fit, datasets

QPSK = LinearModulation(Signal("qpsk", 8, "rrc", 0.5, 12), 4.0, 0.0, 1.0)      # long pulses: hardly any intersymbol interference
KERNEL = 40
QPSK_SPECTRUM = datasets.Linear(QPSK, 32, KERNEL).spectrum(512)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


# ---- windows -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["qpsk", "16qam"])
def test_windows_of_a_linear_modulation_lie_on_the_grid(name):
    """A symbol in the middle of each hop, but for the fraction that is told: the matched filter there meets the alphabet, and
    without the fraction it does not."""
    prior = replace(QPSK, signal=Signal(name, 8, "rrc", 0.5, 12), timing=123.4, phase=1.0, gain=3.0, symbols=7, carrier_offset=.1)
    batch = datasets.Linear(prior, 64, KERNEL).draw(8, generator(), exact=True)
    assert batch.s.shape == batch.presence.shape == (8, 512) and bool((batch.presence == 1).all())
    assert batch.fraction.shape == (8,) and bool((batch.fraction.abs() <= 0.5).all()) and batch.fraction.std() > 0.1
    assert batch.s.abs().square().mean() == pytest.approx(1, abs=0.1)

    def error_db(fraction):
        truth = LinearModulation(prior.signal, 4.0 + fraction.double(), 0.0, 1.0)
        z = truth.matched_filter(batch.s)[:, 7:-7]
        return float(10 * torch.log10((z - prior.signal.alphabet.nearest(z)).abs().square().mean()))

    assert error_db(batch.fraction) < -30
    assert error_db(0 * batch.fraction) > error_db(batch.fraction) + 10


def test_training_windows_err_a_little_in_timing_and_phase():
    """As acquisition does: a hundredth of a sample, half a hundredth of a radian; no more, or the network would blur."""
    source = datasets.Linear(QPSK, 64, KERNEL)
    exact, drawn = (source.draw(64, generator(), exact=exact) for exact in (True, False))
    off = drawn.fraction - exact.fraction         # of the same timings: they are drawn first
    assert 0 < off.std() < 0.05 and off.abs().max() < 0.1
    full = (drawn.presence == 1).all(1)
    assert 0.05 < full.float().mean() < 0.8
    for row in torch.nonzero(full)[:, 0]:
        angle = torch.angle(((drawn.s[row] * exact.s[row].conj())[100:-100]).sum())
        assert abs(float(angle)) < 0.05


def test_presence_marks_what_is_unseen_and_where_nothing_is():
    """-1: no pulse reaches there, the truth is exactly zero; 0: there may be something, not to be looked at; both occur, and
    bursts begin and end where a window that is preceded by room has them."""
    source = datasets.Linear(QPSK, 32, KERNEL)
    batch = source.draw(400, generator())
    assert set(batch.presence.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert batch.s[batch.presence == -1].abs().max() == 0
    assert batch.s[batch.presence == 0].abs().max() > 0.1
    for row in (batch.presence[:, 0] == -1).nonzero()[:, 0]:            # no more than that is seen of what is zero
        begin = int((batch.presence[row] != -1).nonzero()[0])
        assert batch.s[row, begin:begin + 2].abs().max() > 0
    begins, ends = (batch.presence[:, column] == -1 for column in (0, -1))
    assert 0.05 < begins.float().mean() < 0.6 and 0.05 < ends.float().mean() < 0.6
    unseen = (batch.presence == 0).sum(1)
    assert 0 < (unseen > 0).float().mean() < 0.8 and unseen.max() <= 8
    # windows that begin between hops end between them too: a whole number of hops less one is seen
    inner = batch.presence[(unseen > 0) & (batch.presence != -1).all(1)]
    assert len(inner) > 5 and set((inner == 1).sum(1).tolist()) == {31 * 8}


def test_windows_too_short_for_a_burst_are_refused():
    """One symbol is no window: named, with the option."""
    with pytest.raises(ParameterError, match="--window"):
        datasets.Linear(QPSK, 1, KERNEL).draw(2, generator())
    assert datasets.Linear(QPSK, 2, KERNEL).draw(2, generator()).s.shape == (2, 16)


def test_drawn_sources_have_random_nuisances_where_the_prior_lacks_them():
    """Every window has another frame offset; one that is given stays."""
    ofdm = mixtures.paper_priors()[1]
    batch = datasets.Drawn(ofdm, 400).draw(8, generator())
    assert batch.s.shape == (8, 400) and bool((batch.presence == 1).all()) and bool((batch.fraction == 0).all())
    prefix = (batch.s[:, :-64] * batch.s[:, 64:].conj())[:, :320].reshape(8, 4, 80).sum(1).real
    assert len({int(np.convolve(np.tile(row, 2), np.ones(16), "valid").argmax()) % 80 for row in prefix.numpy()}) > 4


def ramp(samples=20_000):
    """A recording each sample of which is told by its modulus."""
    return (1 + np.arange(samples) / samples).astype(complex)


def places(batch, x):
    """Which samples of `ramp` windows hold, int64 [batch, samples]."""
    scale = np.sqrt(np.mean(abs(x) ** 2))
    return np.round((batch.s.abs().double().numpy() * scale - 1) * len(x)).astype(int)


@pytest.mark.parametrize("exact", [True, False])
def test_training_and_held_out_windows_never_overlap(exact):
    """Split by time, 80 to 20: as drawn, over the whole of both parts, turned or not; windows are consecutive samples."""
    x, found = ramp(), []
    for held_out in (False, True):
        batch = datasets.Recorded([x], ["r"], 100, held_out).draw(3000, generator(), exact)
        at = places(batch, x)
        assert (np.diff(at) == 1).all()
        found.append((at.min(), at.max()))
        if exact:
            assert np.abs(np.angle(batch.s.numpy())).max() < 1e-6
        else:
            assert np.ptp(np.angle(batch.s.numpy()[:, 0])) > 6
    (first, last), (begin, end) = found
    assert 0 <= first < 100 and 15_800 <= last < 16_000 <= begin < 16_100 and 19_900 < end < 20_000


def test_every_recording_is_split_by_itself_and_levels_are_evened_out():
    """Two recordings, one a hundred times weaker: both give windows of the same power, as often as they are long."""
    x = ramp()
    both = [x, 0.01j * x[:10_000]]
    batch = datasets.Recorded(both, ["a", "b"], 100).draw(2000, generator(), exact=True)
    second = np.abs(np.angle(batch.s[:, 0].numpy()) - np.pi / 2) < 0.1
    assert second.mean() == pytest.approx(1 / 3, abs=0.05)
    assert batch.s.abs().square().mean() == pytest.approx(1, abs=0.2)
    held = datasets.Recorded(both, ["a", "b"], 100, held_out=True).draw(500, generator(), exact=True)
    weak = np.abs(np.angle(held.s[:, 0].numpy()) - np.pi / 2) < 0.1
    scale = np.sqrt(np.mean(abs(x[:10_000]) ** 2))
    assert 0.2 < weak.mean() < 0.5 and (held.s[weak].abs().numpy() * scale - 1).min() * 20_000 > 7_990


def test_silence_between_bursts_is_not_trained_on():
    """Windows come from the bursts alone, and none crosses from one into the next."""
    x = np.concatenate([np.r_[(1 + k) * np.ones(1024), np.zeros(1024)] for k in range(12)])
    batch = datasets.Recorded([x], ["r"], 128).draw(500, generator(), exact=True)
    moduli = batch.s.abs()
    assert moduli.min() > 0.05 and (moduli.amax(1) - moduli.amin(1)).max() < 1e-5
    assert len(set(np.round(moduli[:, 0].numpy(), 3).tolist())) > 5


@pytest.mark.parametrize(("wave", "held_out", "words"), [
    (ramp(150), False, ["short.cf32", "150 samples", "100", "--window"]),
    (ramp(300), True, ["short.cf32", "last 20 %", "100", "--window"]),
    (np.zeros(2000), False, ["short.cf32", "silent"]),
    (np.tile(np.r_[np.ones(256), np.zeros(256)], 20), False, ["short.cf32", "first 80 %", "300", "silence"]),
])
def test_recordings_that_hold_no_window_are_refused_by_name(wave, held_out, words):
    """Too short, silent, or nothing but short bursts: the message tells which recording and what would do."""
    samples = 300 if "300" in words else 100
    with pytest.raises(ParameterError) as error:
        datasets.Recorded([ramp(), wave], ["good.cf32", "short.cf32"], samples, held_out)
    for word in words:
        assert word in str(error.value)


def test_spectra_are_of_mean_one_and_those_of_the_source():
    """What a network's windows are whitened by: of the prior, or averaged over the windows."""
    source = datasets.Linear(QPSK, 32, KERNEL)
    assert source.spectrum(64).mean() == pytest.approx(1, abs=1e-4) and source.spectrum(64).dtype == torch.float32
    recorded = datasets.Recorded([mixtures.alone(QPSK, 1, 40_000, generator())[0][0].numpy()], ["r"], 512)
    band = torch.arange(-4, 5)                          # within which it is flat
    for bins in (128, 256):
        s = recorded.spectrum(bins)
        assert s.mean() == pytest.approx(1, abs=1e-3) and s.min() > 0
        assert s[band].mean() == pytest.approx(float(source.spectrum(bins)[band].mean()), rel=0.1)
        assert s[bins // 2] < 1e-2
    assert datasets.averaged(torch.ones(2, 10, dtype=torch.complex64), 64).shape == (64,)      # windows shorter than the bins


def begins(batch, x):
    """Which sample of x, all of different angles, each window begins with; all its samples follow."""
    angle, out = np.angle(x), []
    for s in batch.s.numpy().astype(complex):
        near = np.flatnonzero(abs(np.angle(s[0] * np.exp(-1j * angle))) < 1e-4)
        fits = [i for i in near if i + len(s) <= len(x) and abs(np.angle(s * x[i:i + len(s)].conj())).max() < 1e-4]
        assert len(fits) == 1
        out.append(fits[0])
    return np.array(out)


def test_recorded_windows_begin_at_multiples_of_the_period():
    """Noise whose power repeats after 20 samples: every window begins with a period, of those held out too; also after the
    recorder has lost some samples, since that is looked for anew along the recording."""
    power = 0.1 + (np.arange(20) < 6) * np.linspace(1, 2, 20)
    x = mixtures.noise((1, 64_000), generator())[0].numpy().astype(complex) * np.tile(power, 3200)
    x = np.delete(x, np.arange(24_576, 24_579))                 # three less: periods begin 3 samples earlier
    prior = covariance_fit.fit([x[:24_000]], 20).prior
    train, held = (datasets.Recorded([x], ["r"], 128, held_out=held_out, prior=prior) for held_out in (False, True))
    assert train.stride == held.stride == 20
    at = begins(train.draw(300, generator(), exact=True), x)
    before, after = at[at < 24_000], at[at > 25_000]
    assert len(before) > 50 and len(after) > 50
    assert set(before % 20) == {0} and set(after % 20) == {17}
    last = begins(held.draw(100, generator(), exact=True), x)
    assert set(last % 20) == {17} and last.min() >= int(0.8 * len(x)) and at.max() + 128 <= int(0.8 * len(x))
    free = begins(datasets.Recorded([x], ["r"], 128).draw(200, generator(), exact=True), x)
    assert len(set(free % 20)) == 20


# ---- noise ------------------------------------------------------------------------------------------------------------------

def test_white_noise_has_levels_over_the_whole_range():
    """Log-uniform over LEVELS, one number each; none is flagged as coloured."""
    density, coloured = datasets.GaussianNoise(QPSK_SPECTRUM, False).densities(4000, generator())
    low, high = np.log10(datasets.LEVELS)
    level = np.log10(density.numpy().reshape(4000, -1))
    assert (np.ptp(level, axis=1) < 1e-6).all() and not coloured.any()
    assert low - 1e-6 <= level.min() < low + 0.1 and high - 0.1 < level.max() <= high + 1e-6
    assert level.mean() == pytest.approx((low + high) / 2, abs=0.1)


def test_half_of_the_noise_is_coloured_and_flagged():
    """Flags say which densities are flat; none leaves LEVELS but downwards by its floor; some have the source's own spectrum."""
    density, coloured = datasets.GaussianNoise(QPSK_SPECTRUM, True).densities(4000, generator())
    assert density.shape == (4000, 512) and bool((density > 0).all())
    low, high = datasets.LEVELS
    flat = density.amax(1) / density.amin(1) < 1 + 1e-5
    assert bool((flat == ~coloured).float().mean() > 0.99) and bool(flat[~coloured].all())
    assert coloured.float().mean() == pytest.approx(0.5, abs=0.05)
    assert density.max() <= high * (1 + 1e-5) and density[~coloured].min() >= low * (1 - 1e-5)
    assert density.min() >= low * 1e-4 * (1 - 1e-3)
    centred = density[coloured] - density[coloured].mean(1, keepdim=True)
    own = QPSK_SPECTRUM - QPSK_SPECTRUM.mean()
    likeness = (centred @ own) / (centred.norm(dim=1) * own.norm()).clamp_min(1e-12)
    assert 0.1 < (likeness > 0.999).float().mean() < 0.5


def normalised(noise, density):
    """Mean periodograms of noise, brought to one level, over the mean density asked for, in 8 bands: 1 where it is right."""
    samples, level = noise.shape[1], density.mean(1, keepdim=True)
    taper = torch.hann_window(samples)
    power = (torch.fft.fft(noise * taper).abs().square() / taper.square().sum() / level).mean(0)
    return (power / (datasets.resampled(density, samples) / level).mean(0)).reshape(8, -1).mean(1)


@pytest.mark.parametrize("coloured", [False, True])
def test_noise_has_the_density_asked_for(coloured):
    """At the network's frequencies and between them; level and colour both."""
    noise, density, flags = datasets.GaussianNoise(QPSK_SPECTRUM, coloured).draw(600, 256, generator())
    assert noise.shape == (600, 256) and noise.dtype == torch.complex64 and flags.any() == coloured
    assert (normalised(noise, density) - 1).abs().max() < 0.05
    assert noise.mean().abs() < 0.5


def test_another_signal_as_noise_has_the_density_that_is_told():
    """Mixtures to train on: the network is told the mean density of the other signal and the white noise under both."""
    soi = replace(QPSK, symbols=9, phase=0.3)
    other = datasets.SignalNoise(soi, (-10.0, 10.0))
    assert (other.prior.timing, other.prior.phase, other.prior.symbols) == (None, None, None)
    noise, density, flags = other.draw(600, 1024, generator())
    assert noise.shape == (600, 1024) and bool(flags.all()) and density.shape == (600, 512)
    assert (normalised(noise, density) - 1).abs().max() < 0.1
    power = noise.abs().square().mean(1)
    assert (power / density.mean(1) - 1).mean().abs() < 0.03
