# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's linear mixture tells what torch's does, whatever its instructions, threads, and windows side by side."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs import native
from alpha_rgs.inference import mixture_native
from alpha_rgs.inference.linear_mixture import LinearMixture
from alpha_rgs.inference.sites import schedule
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Gmsk, LinearModulation, Ofdm, from_dict
from alpha_rgs.sources.mixtures import alone, noise

pytestmark = pytest.mark.skipif(not native.built(), reason="the extension is not built")
SAMPLES = 400


def drawn(scale, batch, g):
    return scale * torch.rand(batch, dtype=torch.float64, generator=g)


def sources_of(kind, batch, g):
    """Two sources whose windows have timings of their own."""
    qpsk = LinearModulation(Signal("qpsk", 16, "rrc", 0.5, 4), drawn(16, batch, g), drawn(6, batch, g), None, 0.001)
    oqpsk = from_dict({"kind": "oqpsk", "carrier_offset": 0.0})
    other = {"gmsk": Gmsk(timing=drawn(4, batch, g), phase=drawn(6, batch, g)),
             "8psk": replace(qpsk, signal=Signal("8psk", 5, "rrc", 0.5, 4), timing=drawn(5, batch, g)),
             "oqpsk": replace(oqpsk, timing=drawn(4, batch, g), phase=drawn(6, batch, g)),
             "ofdm": Ofdm(OfdmSignal(16, 4, (2, 1)), torch.randint(0, 20, (batch,), generator=g), drawn(6, batch, g))}
    return qpsk, other[kind]


def mixture_of(kind="gmsk", batch=3, seed=5, noise_var=0.03):
    g = torch.Generator().manual_seed(seed)
    sources = sources_of(kind, batch, g)
    y = sum(level * alone(replace(s, gain=None), batch, SAMPLES, g)[0] for s, level in zip(sources, (1.0, 3.0)))
    y = (y + noise_var ** 0.5 * noise((batch, SAMPLES), g)).to(torch.complex64)
    models = [source.linear_model((batch, SAMPLES)) for source in sources]
    return LinearMixture(y, models, [torch.ones(batch), torch.full((batch,), 3.0)], torch.full((batch,), noise_var))


def passed(mixture, passes=12):
    return [mixture.step(turn.heat, turn.damping) for turn in schedule(passes, 0.5, 30.0, 4)][-1]


def both(monkeypatch, told="1", **options):
    """(native Mixture, its Unknowns, torch's) of the same windows."""
    monkeypatch.setenv(native.VARIABLE, told)
    mine = mixture_of(**options)
    monkeypatch.setenv(native.VARIABLE, "0")
    reference = mixture_of(**options)
    assert mine.native is not None and reference.native is None
    return mine, passed(mine), passed(reference)


def same(found, wanted):
    """Where a symbol is known better than its alphabet alone says: errors are small beside what it is uncertain by."""
    for one, other in zip(found, wanted):
        told = other.var < 0.3
        assert not one.posterior.isnan().any() and told.float().mean() > 0.5
        assert torch.allclose(one.posterior[told], other.posterior[told], atol=2e-3)
        assert ((one.mean - other.mean).abs() < 0.25 * other.var.sqrt() + 1e-3)[told].all()
        assert torch.allclose(one.var[told], other.var[told], rtol=5e-2)


@pytest.mark.parametrize("batch", [1, 3, 17])
@pytest.mark.parametrize("kind", ["gmsk", "8psk", "oqpsk", "ofdm"])
def test_extension_and_torch_agree(kind, batch, monkeypatch):
    """Lanes that are used in part, and more windows than lanes; windows have timings of their own."""
    mine, found, wanted = both(monkeypatch, kind=kind, batch=batch)
    same(found, wanted)
    assert mine.not_sound == 0


@pytest.mark.parametrize("instructions", native.instruction_sets())
def test_every_instruction_set_agrees(instructions, monkeypatch):
    """Whose vectors are of different lengths."""
    same(*both(monkeypatch, told=instructions, batch=5)[1:])


def test_the_number_of_threads_does_not_matter(monkeypatch):
    """Groups are independent."""
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(native, "threads_to_use", lambda threads=threads: threads)
        found.append(passed(mixture_of(batch=35)))
    for one, other in zip(*found):
        assert torch.equal(one.mean, other.mean) and torch.equal(one.var, other.var)


def test_one_pass_has_torchs_means_and_variances():
    """In noise of several levels, all unknowns: those too that nothing is told of."""
    mine = mixture_of(batch=3)
    mine.receive(mine.y, torch.tensor([0.02, 0.2, 2.0]))
    found = mine.step(1.5, None)
    mine.native = None
    for one, other in zip(found, mine.step(1.5, None)):
        assert torch.allclose(one.posterior, other.posterior, atol=2e-3) and torch.allclose(one.spread, other.spread, atol=2e-3)


def test_torch_mends_what_single_precision_cannot(monkeypatch):
    """Two sources that are the same one but for the noise: pivots lose their digits, and the windows count as not sound."""
    monkeypatch.setenv(native.VARIABLE, "1")
    g = torch.Generator().manual_seed(1)
    one = LinearModulation(Signal("qpsk", 4, "rrc", 0.5, 4), 1.0, 0.3)
    y = noise((2, SAMPLES), g)
    model = one.linear_model((2, SAMPLES))
    mine = LinearMixture(y, [model, model], [torch.ones(2)] * 2, torch.full((2,), 1e-8))
    found = mine.step(1.0, None)
    assert mine.not_sound == 2
    mine.native = None
    for told, wanted in zip(found, mine.step(1.0, None)):
        assert torch.equal(told.mean, wanted.mean)


@pytest.mark.parametrize("why", ["environment", "size", "extension"])
def test_torch_does_what_the_extension_may_not(why, monkeypatch):
    """The environment says so, a front has too many slots, or there is no extension."""
    if why == "environment":
        monkeypatch.setenv(native.VARIABLE, "0")
    elif why == "size":
        monkeypatch.setattr(mixture_native, "MOST_SLOTS", 10)
    else:
        monkeypatch.setattr(native, "instructions", lambda: None)
    mixture = mixture_of()
    assert mixture.native is None and not passed(mixture)[0].mean.isnan().any()


def test_other_samples_are_taken(monkeypatch):
    """receive: of other samples the extension has other statistics."""
    mine = mixture_of()
    y = mine.y.clone()
    first = mine.step(2.0, None)
    mine.receive(-y, mine.noise)
    for one, other in zip(first, mine.step(2.0, None)):
        assert torch.equal(one.mean, -other.mean)
    mine.receive(y, mine.noise)
    assert torch.equal(mine.step(2.0, None)[0].mean, first[0].mean)


def test_the_extension_refuses_what_reaches_beyond():
    """Slots that there are not, and arrays of other sizes."""
    mixture = mixture_of()
    module = mixture.native.module
    with pytest.raises(ValueError, match="samples"):
        module.statistics(mixture.y[:, 1:].to(torch.complex64).numpy(), 1)
    with pytest.raises(ValueError, match="slots"):
        module.posterior(*(torch.ones(2, 2).numpy() for _ in range(3)), 1)
    for name, value in (("slot", 10 ** 6), ("start", None)):
        source = mixture_native.arrays_of(mixture.models[0], mixture.gains[0], mixture.index[0])
        source[name] = source[name][..., ::-1].copy() if value is None else source[name] + value
        shape = {"local": mixture.local_slots, "chain": mixture.chain_slots, "segments": mixture.segments,
                 "samples": SAMPLES, "windows": 3, "sources": [source]}
        with pytest.raises(ValueError, match=name):
            native.extension().Mixture(shape, "", 1)
