# SPDX-License-Identifier: GPL-3.0-or-later
"""What `alpha-rgs separate` prints and reports of sources by name: rates, carrier offsets in Hz, bits that are not there."""
import json

import numpy as np
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.io import recordings
from commands import works

RATE, OFFSETS = 192e3, (500.0, -300.0)      # Hz


@pytest.fixture(scope="module")
def separated(tmp_path_factory):
    """(what is printed, report, folder) of TETRA beside AIS, 12 dB apart, recorded at twelve times the bands' width."""
    folder = tmp_path_factory.mktemp("names")
    generator, n = torch.Generator().manual_seed(5), torch.arange(30_000)
    y = 0.03 * torch.randn(len(n), dtype=torch.complex64, generator=generator)
    for name, gain, offset in zip(("tetra", "ais"), (0.5, 2.0), OFFSETS):
        wave = priors.load(name).at_rate(RATE).with_state(carrier_offset=offset / RATE).draw(1, len(n), generator)[0][0]
        y = y + gain * wave
    recordings.save(folder / "mix", y.numpy().astype(np.complex64), RATE)
    out = works("separate", folder / "mix.sigmf-meta", "--source", "ais", "--source", "tetra", "-o", folder / "out").stdout
    return " ".join(out.replace("│", " ").split()), json.loads((folder / "out" / "report.json").read_text()), folder / "out"


def test_carrier_offsets_are_in_hertz_beside_their_sources(separated):
    """In the order of the command, whichever source is searched first, at the recording's rate though another is used inside."""
    printed, report, _ = separated
    inside = report["sample_rate_inside"]
    assert inside < RATE / 2 and f"at 192000 Hz in {report['windows']} window" in printed
    assert f"separated at {inside:.9g} Hz" in printed and f"(within ±{0.02 * inside:.6g} Hz)" in printed
    assert [row["carrier_reach_hz"] for row in report["sources"]] == pytest.approx([9600 / 4, 0.02 * inside])
    found = {row["name"]: row["carrier_offset_hz"] for row in report["sources"]}
    assert found == pytest.approx({"ais": OFFSETS[1], "tetra": OFFSETS[0]}, abs=5)
    assert f"carrier offset {found['ais']:+.6g} Hz" in printed


def test_what_is_printed_says_what_it_refers_to(separated):
    """Noise refers to a bandwidth; bits that are missing have a reason; a standard's pulse is no assumption."""
    printed, report, folder = separated
    assert "per sample, if it is white over all 192000 Hz" in printed and report["assumed"] == []
    for row in report["sources"]:
        assert (folder / f"{row['name']}.bits").exists() == row["bits"] == (row["no_bits"] is None)
        assert row["bits"] or f"no bits: {row['no_bits']}" in printed
