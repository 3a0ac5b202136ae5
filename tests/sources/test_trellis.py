# SPDX-License-Identifier: GPL-3.0-or-later
"""The trellis' recursions: native kernels and the torch code tell the same, for every kind of state that a trellis has."""
import pytest
import torch
from alpha_rgs import native
from alpha_rgs.signals import Fsk, Gmsk
from alpha_rgs.sources import trellis

pytest.importorskip("numba", reason="native kernels need numba")
# roots ±1; a q-th root; a drift, each state with a phase of its own; one state; fractional samples per symbol
SIGNALS = {"gmsk": Gmsk(4, 0.3, 3), "c4fm": Fsk(8, 4, 0.25, "rc"), "dmr": Fsk(8, 4, 0.27, "rrc"), "2fsk": Fsk(5, 2, 1.0, "rect"),
           "fractional": Fsk(4.7, 2, 0.317, "gaussian", 0.5)}


def made(name, starts):
    signal, rng = SIGNALS[name], torch.Generator().manual_seed(7)
    count = 60 + signal.span
    symbols = 2 * torch.randint(0, signal.levels, (2, count), generator=rng) - (signal.levels - 1)
    timing = torch.tensor([0.3, 1.6], dtype=torch.float64)
    samples = int(40 * signal.samples_per_symbol)
    s = signal.modulate(symbols, samples, timing - 5 * signal.samples_per_symbol)
    x = s + 0.6 * torch.randn(s.shape, dtype=s.dtype, generator=rng)
    return trellis.Trellis(signal, x.to(torch.complex128), torch.full((2,), 0.36), timing,
                           torch.tensor([0.1, -0.4], dtype=torch.float64), starts)


@pytest.mark.parametrize("starts", [1, 0], ids=["phase known", "phase unknown"])
@pytest.mark.parametrize("name", SIGNALS)
def test_native_recursions_tell_what_the_torch_code_tells(name, starts, monkeypatch):
    own = made(name, starts or SIGNALS[name].index.denominator)
    native_found = own.odds().softmax(-1), own.mean(), own.evidence(), *own.likeliest()
    monkeypatch.setattr(trellis, "kernels", lambda module, tensor: None)
    for got, right in zip(native_found, (own.odds().softmax(-1), own.mean(), own.evidence(), *own.likeliest())):
        assert torch.allclose(got, right, rtol=1e-9, atol=1e-9)


def test_the_torch_code_stands_in_where_numba_or_the_cpu_is_missing():
    assert native.kernels("alpha_rgs.sources.trellis_kernel", torch.zeros(1)) is not None
    assert native.kernels("alpha_rgs.sources.trellis_kernel", torch.zeros(1, device="meta")) is None
