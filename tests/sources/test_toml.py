# SPDX-License-Identifier: GPL-3.0-or-later
"""Source files: what is written is what is believed, and a mistake is named with its file and key."""
import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import CapabilityError, ParameterError
from alpha_rgs.separators import separate
from alpha_rgs.sources.mixtures import alone
from alpha_rgs.streaming import report as describe

QPSK = {"kind": '"linear-modulation"', "constellation": '"qpsk"', "samples_per_symbol": "16", "span": "4", "timing": "8.0",
        "phase": "0.0", "gain": "1.0"}
OFDM = {"kind": '"ofdm"', "fft_size": "64", "cyclic_prefix": "16"}


def write(folder, base, **changes):
    table = {key: value for key, value in {**base, **changes}.items() if value is not None}
    path = folder / "source.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in table.items()))
    return path




@pytest.mark.parametrize(("base", "changes", "words"), [
    (QPSK, {"rollof": "0.5"}, ["'rollof'", "did you mean 'rolloff'"]),
    (QPSK, {"zzz": "1"}, ["'zzz'", "known keys", "samples_per_symbol"]),
    (QPSK, {"fft_size": "64"}, ["'fft_size'", "linear-modulation"]),
    (QPSK, {"constellation": '"qspk"'}, ["constellation", "'qspk'", "qpsk, 8psk"]),
    (QPSK, {"constellation": '"gaussian"'}, ["constellation", "alphabet"]),
    (QPSK, {"samples_per_symbol": "0.5"}, ["samples_per_symbol", "0.5", "between 1 and"]),
    (QPSK, {"samples_per_symbol": '"16"'}, ["samples_per_symbol", "a number"]),
    (QPSK, {"samples_per_symbol": "0"}, ["samples_per_symbol"]),
    (QPSK, {"timing": "true"}, ["timing", "a number"]),
    (QPSK, {"span": "4.5"}, ["span", "whole"]),
    (QPSK, {"pulse": '"triangle"'}, ["pulse", "'triangle'", "rrc"]),
    (QPSK, {"rolloff": "1.5"}, ["rolloff", "1.5"]),
    (QPSK, {"gain": "-1.0"}, ["gain", "positive"]),
    (QPSK, {"carrier_offset": "100.0"}, ["carrier_offset", "cycles per sample"]),
    (QPSK, {"symbols": "0"}, ["symbols"]),
    (QPSK, {"kind": '"qpsk"'}, ["kind", "'qpsk'", "'linear-modulation'", "'ofdm'"]),
    (QPSK, {"kind": None}, ["kind", "'ofdm'"]),
    (OFDM, {"frame_offset": "80"}, ["frame_offset", "80", "79"]),
    (OFDM, {"guards": "[4]"}, ["guards"]),
    (OFDM, {"guards": "[40, 40]"}, ["guards"]),
    pytest.param(OFDM, {"guards": '["a", "b"]'}, ["guards"]),
    (OFDM, {"cyclic_prefix": "65"}, ["cyclic_prefix", "65"]),
    (OFDM, {"dc_null": "1"}, ["dc_null", "true or false"]),
    (OFDM, {"channel": "[0.0]"}, ["channel"]),
    pytest.param(OFDM, {"channel": '["a"]'}, ["channel"]),
    (OFDM, {"delay_spread": "17"}, ["delay_spread", "17"]),
    (OFDM, {"timing": "1.0"}, ["'timing'", "ofdm"]),
    pytest.param(QPSK, {"timing": "nan"}, ["timing"]),
    pytest.param(QPSK, {"phase": "inf"}, ["phase"]),
    pytest.param(QPSK, {"gain": "nan"}, ["gain"]),
    pytest.param(OFDM, {"carrier_offset": "nan"}, ["carrier_offset"]),
])
def test_a_wrong_key_or_value_is_named_with_its_file(tmp_path, base, changes, words):
    """Bad input: unknown keys and constellations, wrong types, values out of range."""
    path = write(tmp_path, base, **changes)
    with pytest.raises(ParameterError) as error:
        priors.load(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path):
    """Bad input: no such file, a folder, broken TOML, binary data."""
    for name, content, words in (("no.toml", None, "no such prior file"), ("broken.toml", b"kind = ", "not TOML"),
                                 ("binary.toml", b"\xff\xfe", "not TOML")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ParameterError, match=f"{name}: .*{words}"):
            priors.load(tmp_path / name)
    with pytest.raises(ParameterError, match="folder"):
        priors.load(tmp_path)


def test_a_file_gives_the_prior_that_it_describes(tmp_path):
    """The keys of DESIGN's example mean what they say, and what is left out stays unknown."""
    soi = priors.load(write(tmp_path, QPSK, rolloff="0.25", carrier_offset="0.01"))
    assert (soi.signal.constellation, soi.signal.samples_per_symbol, soi.signal.rolloff, soi.signal.span) == ("qpsk", 16, 0.25, 4)
    assert (soi.timing, soi.phase, soi.gain, soi.carrier_offset, soi.symbols) == (8.0, 0.0, 1.0, 0.01, None)
    ofdm = priors.load(write(tmp_path, OFDM, guards="[6, 5]", dc_null="false", channel="[1.0, [0.0, 0.5]]", phase="0.5"))
    assert len(ofdm.signal.carriers) == 64 - 11
    assert (ofdm.channel, ofdm.phase, ofdm.frame_offset) == ((1, 0.5j), 0.5, None)


@pytest.mark.parametrize("text", [QPSK, {**QPSK, "symbols": "160", "phase": "-1e-05"},
                                  {**OFDM, "channel": "[1.0, [0.25, -0.5]]", "frame_offset": "3", "delay_spread": "4"}])
def test_a_prior_written_as_toml_is_read_back_the_same(tmp_path, text):
    """simulate writes prior files: they must describe what was simulated."""
    prior = priors.load(write(tmp_path, text))
    (tmp_path / "again.toml").write_text(describe.to_toml(prior, "a comment\nof two lines"))
    again = priors.load(tmp_path / "again.toml")
    assert again.signal == prior.signal
    assert describe.plain(again) == describe.plain(prior)


@pytest.mark.parametrize("method", ["lmmse", "matched_filter", "basis", "reverse_diffusion", "amortised"])
def test_a_prior_that_lacks_what_the_method_needs_is_refused_by_name(method):
    """Methods for a linear modulation refuse two OFDM signals with a CapabilityError, and do not crash inside."""
    ofdm = priors.from_dict({"kind": "ofdm", "frame_offset": 0, "phase": 0.0})
    with pytest.raises(CapabilityError, match=f"{method}: separates one linear-modulation .*ofdm and ofdm; use joint, alpha_rgs"):
        separate(torch.ones(1, 2560, dtype=torch.complex64), ofdm, ofdm, method, kappa=1.0, noise_var=0.1)


@pytest.mark.parametrize("method", ["auto", "joint", "alpha_rgs"])
def test_ofdm_as_the_signal_of_interest_is_separated(method):
    """From another OFDM signal on carriers of its own, without an error."""
    both = [priors.from_dict({"kind": "ofdm", "guards": guards, "frame_offset": offset, "phase": 0.4})
            for guards, offset in (([4, 33], 7), ([33, 4], 50))]
    (s, _), (b, _) = (alone(source, 2, 1280, torch.Generator().manual_seed(k)) for k, source in enumerate(both))
    out = separate(s + 2 * b, *both, method, kappa=2.0, noise_var=1e-3)
    reader = both[0].demodulator()
    sent, read = reader(s, 1e-3), out.sources[0]
    there = ~sent.at.isnan()
    assert out.method == ("alpha_rgs" if method == "alpha_rgs" else "joint")
    assert torch.equal(read.at[there], sent.at[there]) and torch.equal((read.llrs < 0)[there], (sent.llrs < 0)[there])
    inside = slice(160, -160)
    assert float((out.soi - s)[:, inside].abs().square().mean()) < 0.02
