# SPDX-License-Identifier: GPL-3.0-or-later
"""Training: what the windows and the noise are, that it can be stopped and gone on with, and that it learns."""
import os
import pathlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from alpha_rgs import mixtures, priors, sources, yardstick
from alpha_rgs.errors import ParameterError, RecordingError
from alpha_rgs.nets import build
from alpha_rgs.nets.denoiser import CONDITIONS
from alpha_rgs.priors import LinearModulation
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.training import Settings, Trainer
from safetensors.torch import load_file, save_file

QPSK = LinearModulation(Signal("qpsk", 8, "rrc", 0.5, 12), 4.0, 0.0, 1.0)      # long pulses: hardly any intersymbol interference
KERNEL = 40
QPSK_SPECTRUM = sources.Linear(QPSK, 32, KERNEL).spectrum(512)
SMALL = Settings(steps=12, batch=4, checkpoint=5)


def table(stride, channels=4, blocks=1):
    return {"kind": "fast", "stride": stride, "kernel": 5 * stride, "channels": channels, "dilations": [1] * blocks,
            "conditions": CONDITIONS}


def untrained(source, seed=0, **sizes):
    torch.manual_seed(seed)
    denoiser = build(table(source.stride, **sizes))
    denoiser.spectrum = source.spectrum(512)
    return denoiser


def trainer(folder, settings=SMALL, seed=0, hops=16, **more):
    source = sources.Linear(QPSK, hops, KERNEL)
    folder.mkdir(exist_ok=True)
    return Trainer(untrained(source, seed), source, settings, folder, **more)


def state(t):
    """All that goes on from a checkpoint, name -> tensor."""
    out = {f"average.{k}": v for k, v in t.average.items()} | {f"weight.{k}": v for k, v in t.parameters.items()}
    for name, p in t.parameters.items():
        out |= {f"adam.{key}.{name}": v for key, v in t.optimizer.state[p].items()}
    return out | {"generator": t.generator.get_state(), "errors": t.errors.nan_to_num(-1.0), "step": torch.tensor(t.step)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def stop_at(step):
    def progress(now):
        if now.step == step:
            raise KeyboardInterrupt
    return progress


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


# ---- the loop ------------------------------------------------------------------------------------------------------------

def test_the_same_seed_gives_the_same_weights(tmp_path):
    """A training can be repeated to the bit; another seed of windows and noise gives other weights."""
    runs = [trainer(tmp_path / name, replace(SMALL, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for run in runs:
        run.run()
    assert same(state(runs[0]), state(runs[1]))
    assert not torch.equal(state(runs[0])["weight.net.stem.weight"], state(runs[2])["weight.net.stem.weight"])


@pytest.mark.parametrize("at", [1, 7, 10])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path, at):
    """After Ctrl-C, before, between and on checkpoints, and twice: weights, optimizer, average, generator and running errors
    are bit by bit those of an uninterrupted run, whatever weights the later processes began with."""
    whole = trainer(tmp_path / "whole")
    whole.run()
    for stop, seed in ((at, 0), (11, 9)):
        part = trainer(tmp_path / "part", seed=seed)
        with pytest.raises(KeyboardInterrupt):
            part.run(stop_at(stop), every=1)
    last = trainer(tmp_path / "part", seed=5)
    assert last.step == 11 and last.seconds > 0
    last.run()
    assert same(state(last), state(whole))
    finished, wanted = last.finished().state_dict(), whole.finished().state_dict()
    assert same(finished, wanted) and torch.equal(wanted["net.stem.weight"], whole.average["net.stem.weight"])
    assert [p.name for p in (tmp_path / "part").iterdir()] == ["checkpoint.safetensors"]


def test_a_finished_training_is_not_begun_anew(tmp_path):
    """The same command again, say after a full disk at the very end, finds all steps done."""
    first = trainer(tmp_path)
    first.run()
    again, seen = trainer(tmp_path, seed=3), []
    again.run(seen.append)
    assert again.step == SMALL.steps and not seen and same(state(again), state(first))


def test_progress_tells_of_every_step_once(tmp_path):
    """Reports come at every `every` and at the end, also where a checkpoint lies between; seconds grow."""
    seen = []
    trainer(tmp_path).run(seen.append, every=5)
    assert [p.step for p in seen] == [5, 10, 12]
    assert all(np.isfinite([p.loss, p.error_db]).all() for p in seen)
    assert 0 < seen[0].seconds < seen[1].seconds < seen[2].seconds


@pytest.mark.parametrize("other", [{"settings": replace(SMALL, rate=1e-3)}, {"settings": replace(SMALL, seed=1)},
                                   {"settings": replace(SMALL, coloured=False)}, {"about": "another source"}])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, other):
    """Going on from it would be neither training; the message names the file and the two ways out."""
    trainer(tmp_path).run()
    with pytest.raises(ParameterError, match="checkpoint.safetensors: is a checkpoint of other settings.*remove it"):
        trainer(tmp_path, **other)


def test_processes_that_were_stopped_at_different_steps_go_on_together(tmp_path, monkeypatch):
    """Ctrl-C meets one process a step later than another: all take the first one's weights, each its own windows; a process
    without a checkpoint of its own may join."""
    runs = []
    for rank, step in ((0, 6), (1, 7)):
        monkeypatch.setenv("RANK", str(rank))
        runs.append(trainer(tmp_path))
        with pytest.raises(KeyboardInterrupt):
            runs[-1].run(stop_at(step), every=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "checkpoint1.safetensors"]
    first, second = map(state, runs)
    for rank in (1, 2):
        monkeypatch.setenv("RANK", str(rank))
        again = state(trainer(tmp_path, seed=8))
        assert again["step"] == 6 and all(torch.equal(again[k], first[k]) for k in again if "." in k)
        assert not torch.equal(again["generator"], first["generator"])
        assert torch.equal(again["generator"], second["generator"]) == (rank == 1)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _without_a_tensor(path):
    from safetensors import safe_open
    tensors = load_file(path)
    with safe_open(path, "pt") as f:
        about = f.metadata()
    del tensors["weight.net.stem.weight"]
    save_file(tensors, path, about)


def _of_another_shape(path):
    from safetensors import safe_open
    tensors = load_file(path)
    with safe_open(path, "pt") as f:
        about = f.metadata()
    tensors["average.net.stem.weight"] = torch.zeros(3)
    save_file(tensors, path, about)


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"garbage"), lambda path: path.write_bytes(b""), _truncate,
                                   lambda path: save_file({"x": torch.zeros(3)}, path), _without_a_tensor, _of_another_shape])
def test_a_checkpoint_that_is_none_is_refused_by_name(tmp_path, spoil):
    """Garbage, empty, cut, another program's, incomplete: named, with the remedy; the training is not silently begun anew."""
    trainer(tmp_path).run()
    spoil(tmp_path / "checkpoint.safetensors")
    with pytest.raises(ParameterError, match="checkpoint.safetensors: .*remove it"):
        trainer(tmp_path)


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, step):
    """Half a file may have been written, or renaming may fail: the one before it can still be gone on from."""
    run = trainer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.run(stop_at(6), every=1)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    def half(self, data):
        with open(self, "wb") as f:
            f.write(data[:100])
        full()

    if step == "write":
        monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    else:
        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RecordingError, match="checkpoint.safetensors: cannot be written: No space left"):
        run.run()
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert trainer(tmp_path).step == 6


def test_a_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path):
    """Weights of NaN are no result: the message names the option, and no checkpoint of them is written."""
    run = trainer(tmp_path, replace(SMALL, rate=1e20))
    with pytest.raises(ParameterError, match="diverged.*--rate"):
        run.run()
    if run.path.exists():
        assert all(torch.isfinite(v).all() for k, v in load_file(run.path).items() if k.startswith("weight"))


def test_a_small_network_soon_beats_the_linear_estimate(tmp_path):
    """200 steps on RRC-QPSK: 0.9 dB better at noise variance 2 (measured, three seeds; exact: 12.7), nowhere worse by more than
    0.1 dB at levels that were trained on, and never better than the exact posterior mean."""
    qpsk = LinearModulation(Signal("qpsk", 16, "rrc", 0.5, 4), 8.0, 0.0, 1.0)
    source, settings = sources.Linear(qpsk, 16, 80), Settings(200, 16, 1e-2, average=30.0, checkpoint=10 ** 6)
    run = Trainer(untrained(source, channels=12, blocks=2), source, settings, tmp_path)
    run.run()
    points = yardstick.curve(run.finished(), sources.Linear(qpsk, 64, 80), qpsk, levels=(20.0, 5.0, 2.0, 1.0, 0.3), windows=16)
    by_level = {p.noise_var: p for p in points}
    assert by_level[2.0].network < by_level[2.0].linear - 0.5
    assert by_level[5.0].network < by_level[5.0].linear - 0.25
    for p in points:
        assert p.exact - 0.01 < p.network < p.linear + 0.1 and p.gap == p.network - p.exact


def test_the_yardstick_has_the_exact_and_the_linear_error_right(tmp_path):
    """Before training the network is the linear estimate; at high noise that errs by the theory's ∫SN/(S+N)."""
    source = sources.Linear(QPSK, 128, KERNEL)
    denoiser = untrained(source)
    points = yardstick.curve(denoiser, source, QPSK, levels=(10.0, 1.0), windows=32)
    s = source.spectrum(512)
    for p in points:
        theory = 10 * np.log10(float((s * p.noise_var / (s + p.noise_var)).mean()))
        assert p.linear == pytest.approx(theory, abs=0.15) and p.network == pytest.approx(p.linear, abs=0.2)
        assert p.exact < p.linear
    recorded = sources.Recorded([mixtures.alone(QPSK, 1, 4000, generator())[0][0].numpy()], ["r"], 256)
    assert yardstick.curve(untrained(recorded), recorded, levels=(1.0,), windows=8)[0].gap is None


# ---- what is trained on -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["qpsk", "16qam"])
def test_windows_of_a_linear_modulation_lie_on_the_grid(name):
    """A symbol in the middle of each hop, but for the fraction that is told: the matched filter there meets the alphabet, and
    without the fraction it does not."""
    prior = replace(QPSK, signal=Signal(name, 8, "rrc", 0.5, 12), timing=123.4, phase=1.0, gain=3.0, symbols=7, carrier_offset=.1)
    batch = sources.Linear(prior, 64, KERNEL).draw(8, generator(), exact=True)
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
    source = sources.Linear(QPSK, 64, KERNEL)
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
    source = sources.Linear(QPSK, 32, KERNEL)
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
        sources.Linear(QPSK, 1, KERNEL).draw(2, generator())
    assert sources.Linear(QPSK, 2, KERNEL).draw(2, generator()).s.shape == (2, 16)


def test_drawn_sources_have_random_nuisances_where_the_prior_lacks_them():
    """Every window has another frame offset; one that is given stays."""
    ofdm = mixtures.paper_priors()[1]
    batch = sources.Drawn(ofdm, 400).draw(8, generator())
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
        batch = sources.Recorded([x], ["r"], 100, held_out).draw(3000, generator(), exact)
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
    batch = sources.Recorded(both, ["a", "b"], 100).draw(2000, generator(), exact=True)
    second = np.abs(np.angle(batch.s[:, 0].numpy()) - np.pi / 2) < 0.1
    assert second.mean() == pytest.approx(1 / 3, abs=0.05)
    assert batch.s.abs().square().mean() == pytest.approx(1, abs=0.2)
    held = sources.Recorded(both, ["a", "b"], 100, held_out=True).draw(500, generator(), exact=True)
    weak = np.abs(np.angle(held.s[:, 0].numpy()) - np.pi / 2) < 0.1
    scale = np.sqrt(np.mean(abs(x[:10_000]) ** 2))
    assert 0.2 < weak.mean() < 0.5 and (held.s[weak].abs().numpy() * scale - 1).min() * 20_000 > 7_990


def test_silence_between_bursts_is_not_trained_on():
    """Windows come from the bursts alone, and none crosses from one into the next."""
    x = np.concatenate([np.r_[(1 + k) * np.ones(1024), np.zeros(1024)] for k in range(12)])
    batch = sources.Recorded([x], ["r"], 128).draw(500, generator(), exact=True)
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
        sources.Recorded([ramp(), wave], ["good.cf32", "short.cf32"], samples, held_out)
    for word in words:
        assert word in str(error.value)


def test_spectra_are_of_mean_one_and_those_of_the_source():
    """What a network's windows are whitened by: of the prior, or averaged over the windows."""
    source = sources.Linear(QPSK, 32, KERNEL)
    assert source.spectrum(64).mean() == pytest.approx(1, abs=1e-4) and source.spectrum(64).dtype == torch.float32
    recorded = sources.Recorded([mixtures.alone(QPSK, 1, 40_000, generator())[0][0].numpy()], ["r"], 512)
    band = torch.arange(-4, 5)                          # within which it is flat
    for bins in (128, 256):
        s = recorded.spectrum(bins)
        assert s.mean() == pytest.approx(1, abs=1e-3) and s.min() > 0
        assert s[band].mean() == pytest.approx(float(source.spectrum(bins)[band].mean()), rel=0.1)
        assert s[bins // 2] < 1e-2
    assert sources.averaged(torch.ones(2, 10, dtype=torch.complex64), 64).shape == (64,)      # windows shorter than the bins


# ---- noise ------------------------------------------------------------------------------------------------------------------

def test_white_noise_has_levels_over_the_whole_range():
    """Log-uniform over LEVELS, one number each; none is flagged as coloured."""
    density, coloured = sources.GaussianNoise(QPSK_SPECTRUM, False).densities(4000, generator())
    low, high = np.log10(sources.LEVELS)
    level = np.log10(density.numpy().reshape(4000, -1))
    assert (np.ptp(level, axis=1) < 1e-6).all() and not coloured.any()
    assert low - 1e-6 <= level.min() < low + 0.1 and high - 0.1 < level.max() <= high + 1e-6
    assert level.mean() == pytest.approx((low + high) / 2, abs=0.1)


def test_half_of_the_noise_is_coloured_and_flagged():
    """Flags say which densities are flat; none leaves LEVELS but downwards by its floor; some have the source's own spectrum."""
    density, coloured = sources.GaussianNoise(QPSK_SPECTRUM, True).densities(4000, generator())
    assert density.shape == (4000, 512) and bool((density > 0).all())
    low, high = sources.LEVELS
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
    return (power / (sources.resampled(density, samples) / level).mean(0)).reshape(8, -1).mean(1)


@pytest.mark.parametrize("coloured", [False, True])
def test_noise_has_the_density_asked_for(coloured):
    """At the network's frequencies and between them; level and colour both."""
    noise, density, flags = sources.GaussianNoise(QPSK_SPECTRUM, coloured).draw(600, 256, generator())
    assert noise.shape == (600, 256) and noise.dtype == torch.complex64 and flags.any() == coloured
    assert (normalised(noise, density) - 1).abs().max() < 0.05
    assert noise.mean().abs() < 0.5


def test_another_signal_as_noise_has_the_density_that_is_told():
    """Mixtures to train on: the network is told the mean density of the other signal and the white noise under both."""
    soi = replace(QPSK, symbols=9, phase=0.3)
    other = sources.SignalNoise(soi, (-10.0, 10.0))
    assert (other.prior.timing, other.prior.phase, other.prior.symbols) == (None, None, None)
    noise, density, flags = other.draw(600, 1024, generator())
    assert noise.shape == (600, 1024) and bool(flags.all()) and density.shape == (600, 512)
    assert (normalised(noise, density) - 1).abs().max() < 0.1
    power = noise.abs().square().mean(1)
    assert (power / density.mean(1) - 1).mean().abs() < 0.03


# ---- several processes --------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_and_write_one_prior(tmp_path):
    """torchrun on two processors: gradients are averaged, windows differ, the first writes the prior."""
    (tmp_path / "s.toml").write_text('kind = "linear-modulation"\nsamples_per_symbol = 8\n')
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "alpha_rgs.cli",
               "train", "--synthetic", tmp_path / "s.toml", "-o", tmp_path / "x.prior", "--steps", 6, "--batch", 2, "--channels",
               4, "--window", 128, "--white", "--device", "cpu"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    first, second = (load_file(tmp_path / f"x.prior.training/checkpoint{rank}.safetensors") for rank in ("", "1"))
    names = [name for name in first if name.startswith(("weight", "average", "adam"))]
    assert len(names) > 20 and all(torch.equal(first[name], second[name]) for name in names)
    assert not torch.equal(first["generator"], second["generator"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.toml", "x.prior", "x.prior.training"]
    assert sorted(p.name for p in (tmp_path / "x.prior").iterdir()) == ["denoising.png", "prior.toml", "report.md",
                                                                       "weights.safetensors"]
    assert "2 processes" in (tmp_path / "x.prior/report.md").read_text() and result.stdout.count("written to") == 1
    network = priors.load(tmp_path / "x.prior").network.state_dict()
    assert all(torch.equal(network[name.removeprefix("average.")], first[name]) for name in names if name.startswith("average"))
