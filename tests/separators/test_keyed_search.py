# SPDX-License-Identifier: GPL-3.0-or-later
"""FSK and a linear source detected together: symbols searched, interference decided where the spectrum lets it be."""
from dataclasses import replace

import pytest
import torch
from alpha_rgs.separators import keyed_search
from alpha_rgs.separators.joint_keyed import by_keyed, keyed_pair
from alpha_rgs.separators.keyed_chains import means, recombined
from alpha_rgs.separators.keyed_nuisances import followed
from alpha_rgs.separators.keyed_search import Search, columns
from alpha_rgs.signals import Fsk as FskSignal
from alpha_rgs.signals import Gmsk as GmskSignal
from alpha_rgs.signals import LinearModulation as LinearSignal
from alpha_rgs.signals import Ofdm as OfdmSignal
from alpha_rgs.sources import Fsk, Gmsk, LinearModulation, Ofdm
from alpha_rgs.sources.mixtures import noise
from alpha_rgs.sources.trellis import Trellis

C4FM = FskSignal(8, 4, 0.25, "rc")
QPSK = LinearModulation(LinearSignal("qpsk", 10, "rrc", 0.35, 8), timing=3.3, phase=0.4, gain=1.0, carrier_offset=0.004)


def _mixture(other, sir_db, noise_var, samples=1280, seed=1000):
    """(y, waveforms, sources as they are, gains, noise)."""
    generator = torch.Generator().manual_seed(seed)
    s, own = Fsk(C4FM, carrier_offset=None).draw(2, samples, generator)
    b, beside = other.draw(2, samples, generator)
    gains = [torch.ones(2, dtype=torch.float64), torch.full((2,), 10 ** (-sir_db / 20), dtype=torch.float64)]
    b = gains[1][:, None].float() * b
    y = s + b + noise_var ** 0.5 * noise(s.shape, generator)
    return y, (s, b), [own, beside], gains, torch.full((2,), noise_var, dtype=torch.float64)


def test_viterbi_finds_symbols_and_phase():
    """In little noise the likeliest sequence, from the root at which it starts, is the waveform that was sent."""
    generator = torch.Generator().manual_seed(1000)
    for signal in (FskSignal(4, 2, 0.5, "gaussian"), FskSignal(8, 4, 0.25, "rc", span=4), FskSignal(4, 2, 0.35, "rect")):
        s, truth = Fsk(signal).draw(2, 400, generator)
        phase = truth.phase + 2 * torch.pi / signal.index.denominator       # a root later
        trellis = Trellis(signal, s.to(torch.complex128), torch.full((2,), 0.05), truth.timing, phase, signal.index.denominator)
        symbols, root = trellis.likeliest()
        first = trellis.numbers(truth.timing)[:, 0] - (signal.span - 1)
        angle = torch.pi * signal.half_turns * signal.turned(symbols, 400, truth.timing + first * signal.samples_per_symbol)
        angle = angle + (phase + 2 * torch.pi * root / signal.index.denominator)[:, None]
        wave = torch.polar(torch.ones_like(angle), angle)
        inner = slice(80, 320)          # tails of pulses outside the window are lost
        assert float((wave - s)[:, inner].abs().square().mean()) < 1e-2, signal


@pytest.mark.parametrize("other", [QPSK, Ofdm(OfdmSignal())])
def test_columns_are_the_source(other):
    """The unknowns of a waveform are read as they are, and give the waveform back."""
    generator = torch.Generator().manual_seed(1000)
    b, beside = other.draw(2, 1280, generator)
    linear = columns(beside.linear_model(b.shape), torch.ones(2, dtype=torch.float64), torch.full((2,), 1e-4), 1280)
    mean, square = linear.means(linear.seen(b)[1], linear.weight / 0.01)
    assert float((linear.waveform(mean) - b)[:, 160:-160].abs().square().mean()) < 3e-3
    assert float(linear.variance(mean, square).max()) < 0.1         # of frames that the window's ends cut


def test_which_pairs():
    """A source of keyed frequency beside one of nearly orthogonal unknowns, both known."""
    shape, known = (1, 1280), Fsk(C4FM, timing=1.0, phase=0.0)
    assert keyed_pair([known, QPSK], shape) == (0, 1)
    assert keyed_pair([Ofdm(OfdmSignal(), frame_offset=3, phase=0.0), known], shape) == (1, 0)
    assert keyed_pair([known, replace(known, timing=2.0)], shape) is None
    assert keyed_pair([known, Gmsk(GmskSignal(4, 0.3), timing=1.0, phase=0.0)], shape) is None       # Laurent's pulses overlap
    assert keyed_pair([known, QPSK, QPSK], shape) is None


def test_energy_follows_moves():
    """What moves add to c and z is what the waveform of the moved symbols has, but for tails of pulses beyond a move's reach,
    which the next sweep takes in."""
    y, (s, _), sources, gains, level = _mixture(QPSK, -5.0, 0.1)
    own, beside = sources
    linear = columns(beside.linear_model(y.shape), gains[1], level, y.shape[1])
    first = own.first()
    generator = torch.Generator().manual_seed(1)
    symbols = 2.0 * torch.randint(0, 4, (2, 164), generator=generator).double() - 3
    n = torch.arange(y.shape[1])
    angle = own.phase[:, None] + 2 * torch.pi * own.carrier_offset[:, None] * n
    search = Search(C4FM, y, linear, gains[0], level, own.timing, first, torch.polar(torch.ones_like(angle), angle), symbols)
    before = search.energy()
    least = torch.zeros(search.centre.shape)
    for _ in range(2):
        search.sweep(0.1, least, True, generator)
    kept = search.c.clone(), search.z.clone()
    assert bool((search.energy() < before - 100).all())
    search.refresh()
    for old, new in zip(kept, (search.c, search.z)):
        assert float((old - new).abs().max()) < 1e-2 * float(new.abs().max())


def _searched(signal, other, samples=640):
    """A Search of random symbols beside a linear source."""
    generator = torch.Generator().manual_seed(3)
    s, own = Fsk(signal, carrier_offset=None).draw(2, samples, generator)
    b, beside = other.draw(2, samples, generator)
    gain, level = torch.ones(2, dtype=torch.float64), torch.full((2,), 0.2, dtype=torch.float64)
    y = s + b + 0.2 ** 0.5 * noise(s.shape, generator)
    linear = columns(beside.linear_model(y.shape), gain, level, samples)
    count = int(samples / signal.samples_per_symbol) + 6
    symbols = 2.0 * torch.randint(0, signal.levels, (2, count), generator=generator).double() - (signal.levels - 1)
    angle = own.phase[:, None] + 2 * torch.pi * own.carrier_offset[:, None] * torch.arange(samples)
    factor = torch.polar(torch.ones_like(angle), angle)
    return Search(signal, y, linear, gain, level, own.timing, own.first(), factor, symbols)


_QAM = LinearModulation(LinearSignal("16qam", 10, "rrc", 0.35, 8), timing=3.3, phase=0.4, gain=1.0, carrier_offset=0.004)
_SEARCHED = [(FskSignal(8, 4, 0.25, "gaussian"), QPSK), (FskSignal(4, 2, 0.5, "gaussian"), Ofdm(OfdmSignal())),
             (FskSignal(4.6, 4, 0.27, "gaussian"), QPSK), (FskSignal(4, 2, 0.35, "rect"), _QAM)]


@pytest.mark.parametrize(("signal", "other"), _SEARCHED)
def test_native_sweeps_keep_their_state(signal, other):
    """What the sweep in machine code adds to s, r, c and z move after move is what the symbols that it leaves have."""
    pytest.importorskip("numba", reason="native kernels need numba")
    search = _searched(signal, other)
    generator, least = torch.Generator().manual_seed(1), torch.zeros(search.centre.shape)
    before, start = search.energy(), search.symbols.clone()
    search.sweep(1.0, least, True, generator)
    assert search.native is not None
    assert bool((search.energy() < before - 50).all()) and bool((search.symbols != start).any())
    assert bool((search.symbols.abs() <= signal.levels - 1).all()) and bool((search.symbols % 2 == 1).all())
    kept = [v.clone() for v in (search.s, search.r, search.c, search.z)]
    search.refresh()
    for old, new in zip(kept, (search.s, search.r, search.c, search.z)):
        assert float((old - new).abs().max()) < 1e-3 * float(new.abs().max())


@pytest.mark.parametrize(("signal", "other"), _SEARCHED)
def test_native_and_torch_agree(monkeypatch, signal, other):
    """Where no move lowers the energy, both have the same cost for the best one at each position; from the same random symbols
    both find energies alike."""
    pytest.importorskip("numba", reason="native kernels need numba")
    search, reference = _searched(signal, other), _searched(signal, other)
    found = []
    for one, swept in ((search, keyed_search.native), (reference, lambda _: None)):
        monkeypatch.setattr(keyed_search, "native", swept)
        generator, least = torch.Generator().manual_seed(1), torch.zeros(one.centre.shape)
        for temperature in (4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 1e-3, 1e-3, 1e-3):
            one.sweep(temperature, least, True, generator)
        found.append(one.energy())
    assert search.native is not None and reference.native is None
    assert float((found[0] - found[1]).abs().max()) < 0.02 * float(found[1].abs().max())
    reference.symbols = search.symbols.clone()
    costs = [torch.zeros(search.centre.shape) for _ in range(2)]
    search.sweep(1e-4, costs[0], True, generator)
    reference.sweep(1e-4, costs[1], True, generator)
    assert torch.allclose(*costs, rtol=1e-3, atol=1e-2)


def test_chains_lose_nothing():
    """What several chains make together is as likely as each of them, and their means are those of its waveform."""
    y, (s, _), sources, gains, level = _mixture(QPSK, -5.0, 0.3, 640)
    own, beside = sources
    linear = columns(beside.linear_model(y.shape), gains[1], level, y.shape[1])
    generator = torch.Generator().manual_seed(2)
    symbols = 2.0 * torch.randint(0, 4, (2, 84), generator=generator).double() - 3
    angle = own.phase[:, None] + 2 * torch.pi * own.carrier_offset[:, None] * torch.arange(640)
    factor = torch.polar(torch.ones_like(angle), angle)
    search = Search(C4FM, y, linear, gains[0], level, own.timing, own.first(), factor, symbols)
    many = search.select(torch.tensor([0, 0, 0, 1, 1, 1]))
    least = torch.zeros(many.centre.shape)
    for temperature in (2.0, 1.0):
        many.sweep(temperature, least, True, generator, 3)
    each = many.energy().view(2, 3)
    best = search.select(torch.arange(2))
    best.symbols = recombined(many, 3)
    assert bool((best.energy() <= each.amin(1) + 1e-3).all())
    wave, _, _ = means(search, (2.0, 1.5, 1.0), 3)
    inner = slice(60, -60)
    assert float((wave - search.waveform())[:, inner].abs().square().mean()) < 0.2
    assert float((wave - s)[:, inner].abs().square().mean()) < 0.5


def test_guesses_lead_to_the_carrier():
    """From points of a grid, none of which is right, the likelihood of both sources leads to the right timing and carrier."""
    y, (_, b), sources, gains, level = _mixture(Ofdm(OfdmSignal()), -5.0, 10 ** -0.2, 960)
    own, beside = (source.select(torch.tensor([0])) for source in sources)
    lost = replace(own, timing=None, phase=None, carrier_offset=None)
    guesses = lost.guess(y[:1] - b[:1], level[:1])[2].select(0).select(slice(1, None))
    assert float((guesses.carrier - own.carrier_offset).abs().min()) > 1e-4
    model = beside.linear_model((1, y.shape[1]))
    found = followed(lost, y[:1], model, [g[:1] for g in gains], level[:1], guesses)
    period = C4FM.samples_per_symbol
    assert abs(float(found["carrier_offset"] - own.carrier_offset)) < 3e-5
    assert abs((float(found["timing"] - own.timing) + period / 2) % period - period / 2) < 0.4


@pytest.mark.parametrize(("other", "sir_db", "worst"), [(QPSK, -5.0, 0.005), (Ofdm(OfdmSignal()), -5.0, 0.16)])
def test_better_than_cancellation(other, sir_db, worst):
    """All known, Es/N0 11 dB: interference is found with a quarter of the error that soft cancellation leaves."""
    y, (_, b), sources, gains, level = _mixture(other, sir_db, 10 ** -0.2)
    with torch.inference_mode():
        parts = by_keyed(y, sources, gains, level, (0, 1), True)
        one = [source.select(slice(1, 2)) for source in sources]
        again = by_keyed(y[1:], one, [g[1:] for g in gains], level[1:], (0, 1), True)
    error = float((parts[1].waveform - b)[:, 160:-160].abs().square().mean())
    assert error < worst
    assert torch.allclose(parts[0].waveform[1:], again[0].waveform, atol=1e-4)      # no window depends on others
