# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of a stream that do not fit the others are separated once more with the others' carrier offset, and keep what is
better."""
from dataclasses import replace

import torch
from alpha_rgs.separators.base import Separation
from alpha_rgs.separators.estimate import Estimate
from alpha_rgs.sources import from_dict
from alpha_rgs.sources.base import State
from alpha_rgs.streaming.neighbours import mended

SAMPLES, TRUE = 2560, 0.004
SOURCES = [from_dict({"kind": "gmsk", "samples_per_symbol": 4, "carrier_offset": "unknown"}),
           from_dict({"kind": "ofdm", "fft_size": 64, "cyclic_prefix": 16, "constellation": "qpsk"})]


def separation(carriers, noise):
    """Of windows whose waveforms are their noise, so that what was taken of each shows."""
    count = len(carriers)
    wave = torch.tensor(noise).to(torch.complex64)[:, None].expand(count, 8)
    states = State(carrier_offset=torch.tensor(carriers, dtype=torch.float64)), State()
    sources = [Estimate(wave, wave, torch.zeros(count), state) for state in states]
    empty = torch.zeros(count, 0)
    return Separation(wave, wave, empty, empty, torch.zeros(count), 0, torch.ones(count), torch.tensor(noise),
                      estimated={"carrier_offset_1": states[0].carrier_offset}, sources=sources)


def asked(found, noise_again):
    """(the mended Separation, for which windows and carrier offsets the others were asked)."""
    calls = []

    def again(rows, carriers):
        calls.append((rows.tolist(), {k: v.tolist() for k, v in carriers.items()}))
        other = separation([float(v) for v in carriers[0]], [noise_again] * len(rows))
        return replace(other, estimated={})             # what is given is not found

    return mended(found, SOURCES, SAMPLES, lambda out, rows: out.noise_var, again), calls


def test_a_window_that_found_another_carrier_is_separated_as_the_others_are():
    found = separation([TRUE, -0.011, TRUE + 1e-5, TRUE], [0.5, 0.7, 0.51, 0.49])
    out, calls = asked(found, 0.5)
    assert len(calls) == 1 and calls[0][0] == [1] and abs(calls[0][1][0][0] - TRUE) < 1e-5
    assert torch.allclose(out.noise_var, torch.tensor([0.5, 0.5, 0.51, 0.49]))
    assert abs(float(out.sources[0].state.carrier_offset[1]) - TRUE) < 1e-5
    assert float(out.sources[0].waveform[1, 0].real) == 0.5 and float(out.sources[0].waveform[2, 0].real) == torch.tensor(0.51)
    assert abs(float(out.estimated["carrier_offset_1"][1]) - TRUE) < 1e-5


def test_what_is_no_better_is_not_taken():
    found = separation([TRUE, -0.011, TRUE, TRUE], [0.5, 0.7, 0.51, 0.49])
    assert asked(found, 0.75)[0] is found


def test_the_best_windows_say_how_others_are_separated_though_these_are_more():
    """Bursts that a carrier offset a little off costs: one window of five was separated well."""
    found = separation([TRUE + 1e-4, 0.02, TRUE, float("nan"), 0.013], [0.5, 0.7, 0.05, 0.6, 0.5])
    out, calls = asked(found, 0.051)
    assert calls[0][0] == [0, 1, 3, 4] and calls[0][1][0] == [TRUE] * 4
    assert torch.allclose(out.noise_var, torch.tensor([0.051, 0.051, 0.05, 0.051, 0.051]))


def test_nobody_is_asked_where_windows_agree_are_as_good_or_know_no_common_carrier():
    agree = separation([TRUE, TRUE + 1e-4, TRUE], [0.5, 0.7, 0.5])
    as_good = separation([TRUE, -0.011, TRUE], [0.5, 0.5, 0.5])
    scattered = separation([TRUE, -0.011, 0.013, 0.0], [0.5, 0.7, 0.5, 0.5])
    two = separation([TRUE, -0.011], [0.5, 0.7])
    for found in (agree, as_good, scattered, two):
        assert asked(found, 0.4) == (found, [])


def test_windows_that_differ_by_what_symbols_do_not_show_are_decided_together_not_by_majority():
    """A carrier offset off by the symbol rate over the alphabet's symmetry leaves symbols on its points; the right one leaves
    least of all windows together."""
    wrong = TRUE + 1 / (4 * 2)                              # 4 samples per symbol, half turns
    found = separation([wrong, wrong + 1e-5, TRUE, wrong], [0.52, 0.53, 0.5, 0.51])

    def again(rows, carriers):
        offsets = [float(v) for v in carriers[0]]
        return separation(offsets, [0.5 if abs(v - TRUE) < 1e-4 else 0.53 for v in offsets])

    out = mended(found, SOURCES, SAMPLES, lambda out, rows: out.noise_var[rows], again)
    assert out.noise_var.tolist() == [0.5] * 4
    assert torch.allclose(out.sources[0].state.carrier_offset, torch.full((4,), TRUE, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(out.estimated["carrier_offset_1"], torch.full((4,), TRUE, dtype=torch.float64), atol=1e-6)
