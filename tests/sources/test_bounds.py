# SPDX-License-Identifier: GPL-3.0-or-later
"""What a prior file asks for is compared with what a machine can hold before anything is allocated."""
import hashlib
import tracemalloc

import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import ParameterError
from alpha_rgs.nets import build
from alpha_rgs.sources.keys import LEVELS
from alpha_rgs.sources.registry import KINDS
from safetensors.torch import save

MEMORY = 2**25          # bytes that a refusal may take


@pytest.mark.parametrize(("table", "words"), [
    ({"kind": "ofdm", "fft_size": 10**9}, ["fft_size", "no more than 16384"]),
    ({"kind": "ofdm", "channel": [0.1] * 10**6}, ["channel", "no more than 16384 entries"]),
    ({"kind": "ofdm", "gain": 10**400}, ["gain", "401 digits", "no more than"]),
    ({"kind": "ofdm", "guards": [[[1]]]}, ["guards"]),
    ({"kind": "ofdm", "guards": [10**12, 1]}, ["guards", "no more than 16384"]),
    ({"kind": "linear-modulation", "preamble": "01" * 5_000_000}, ["preamble", "no more than 16384 characters"]),
    ({"kind": "linear-modulation", "span": 10**9}, ["span", "no more than 1024"]),
    ({"kind": "linear-modulation", "symbols": 10**12}, ["symbols", "no more than 16777216"]),
    ({"kind": "linear-modulation", "timing": 1e300}, ["timing", "no more than"]),
    ({"kind": "linear-modulation", "samples_per_symbol": 1e300}, ["samples_per_symbol", "no more than 65536"]),
    ({"kind": "ppm", "patterns": ["10"] * 10**6}, ["patterns", "no more than 16 entries"]),
    ({"kind": "sum", "rounds": 10**12, "sources": [{"kind": "ofdm"}] * 2}, ["rounds", "no more than 64"]),
    ({"kind": "sum", "sources": [{"kind": "ofdm"}] * 10**6}, ["sources", "no more than 16 entries"])])
def test_a_number_beyond_all_reason_is_refused_at_once(table, words):
    """Each names its key and its bound, in a line that can be read."""
    tracemalloc.start()
    try:
        with pytest.raises(ParameterError) as error:
            priors.from_dict(table, "prior.toml")
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 300 and all(word in str(error.value) for word in ["prior.toml: ", *words])


def nested(depth):
    """A sum in a sum in a sum ..."""
    return {"kind": "sum", "sources": [nested(depth - 1) if depth else {"kind": "ofdm"}, {"kind": "ofdm"}]}


def test_sums_are_nested_a_few_deep(tmp_path):
    """A file that names itself, too."""
    assert len(priors.from_dict(nested(3)).sources) == 2
    with pytest.raises(ParameterError, match="more than 4 deep"):
        priors.from_dict(nested(4))
    (tmp_path / "own.toml").write_text('kind = "sum"\nsources = ["own.toml", "own.toml"]\n')
    with pytest.raises(ParameterError, match="more than 4 deep"):
        priors.load(tmp_path / "own.toml")


@pytest.mark.parametrize(("table", "words"), [
    ({"kind": "wavenet", "channels": 65528, "layers": 30, "cycle": 10}, "channels"),
    ({"kind": "wavenet", "channels": 64, "layers": 65528, "cycle": 10}, "layers"),
    ({"kind": "diffwave", "channels": 4096, "layers": 200}, "weights"),
    ({"kind": "bursts", "rounds": 65000}, "rounds")])
def test_a_network_is_measured_before_it_is_made(tmp_path, table, words):
    """A header of 200 bytes asked for 103 GB."""
    data = save({"x": torch.zeros(1)})
    (tmp_path / "weights.safetensors").write_bytes(data)
    rows = "\n".join(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in table.items())
    (tmp_path / "prior.toml").write_text(f'format = 1\nkind = "diffusion"\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
                                         f'[network]\n{rows}\n[source]\nkind = "ofdm"\n')
    with pytest.raises(ParameterError, match=words):
        priors.load(tmp_path)


def test_measuring_a_network_draws_no_random_numbers():
    """A training is the same from the same seed."""
    torch.manual_seed(1)
    build({"kind": "wavenet", "channels": 8, "layers": 2, "cycle": 2})
    one = torch.rand(1)
    torch.manual_seed(1)
    from alpha_rgs.nets.supervised import Supervised, WaveNet

    Supervised(WaveNet(channels=8, layers=2, cycle=2), torch.ones(512))
    assert torch.equal(one, torch.rand(1))


def test_every_number_of_every_kind_has_a_bound():
    """Declared with the key, so that a new kind has one too."""
    for cls in KINDS.values():
        for name, key in cls.keys.items():
            assert 0 < key.most <= LEVELS and 0 < key.longest <= 2**16, f"{cls.kind}: {name}"
            if int in key.types:
                assert key.problem(10**400) and key.problem(-10**400) and key.problem(True), f"{cls.kind}: {name}"


@pytest.mark.parametrize(("table", "words"), [
    ({"kind": "linear-modulation", "symbol_rate": 1e-320}, "symbol_rate"),
    ({"kind": "ofdm", "sample_rate": 1e-320}, "sample_rate"),
    ({"kind": "ofdm", "sample_rate": 1e-3}, "fft_size"), ({"kind": "ofdm", "preset": "x" * 5000}, "preset")])
def test_what_follows_from_a_rate_has_bounds_too(table, words):
    """Found by fuzzing: a billion carriers, a symbol without end, a message that quotes the file."""
    with pytest.raises(ParameterError, match=words) as error:
        priors.from_dict(table, "prior.toml").at_rate(1e6)
    assert len(str(error.value)) < 300
