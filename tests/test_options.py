# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever cannot be right is refused in the same words, by whichever way it comes."""
import inspect
from dataclasses import fields, replace

import commands
import numpy as np
import pytest
import torch
from alpha_rgs import Engine, options, separate, separate_stream
from alpha_rgs.errors import ParameterError
from alpha_rgs.methods import OPTIONS, WHOLE_SYMBOLS
from alpha_rgs.separators.api import METHODS
from alpha_rgs.separators.basis import Options as BasisOptions
from alpha_rgs.separators.joint import Options as JointOptions
from alpha_rgs.sources.base import Structure
from alpha_rgs.sources.mixtures import draw, paper_priors
from alpha_rgs.sources.registry import KINDS
from alpha_rgs.sources.toml import to_toml

SOI, OFDM = paper_priors(symbols=None)
Y = draw(SOI, OFDM, 1, 2560, -12, 20, seed=1).y[0].numpy()


def refused(words, call, *args, **kwargs):
    """The message of the ParameterError that a call raises, which begins with the option's name."""
    with pytest.raises(ParameterError) as error:
        call(*args, **kwargs)
    message = str(error.value)
    assert message.startswith(f"{words[0]}: ") and all(word in message for word in words), message
    return message


@pytest.mark.parametrize("call", [separate, separate_stream])
@pytest.mark.parametrize(("given", "words"), [
    ({"kappa": float("nan")}, ["kappa", "0 or more"]), ({"kappa": "abc"}, ["kappa", "'abc'"]),
    ({"kappa": -1.0}, ["kappa", "-1.0"]),
    ({"noise_var": float("inf")}, ["noise_var"]), ({"noise_var": np.array([[1.0]])}, ["noise_var"]),
    ({"method": "magic"}, ["method", "'magic'", "joint"]), ({"method": 3}, ["method"]), ({"method": None}, ["method"]),
    ({"bogus": 1}, ["bogus", "no option here", "passes"]), ({"bogus": 1, "method": "amortised"}, ["bogus", "none"])])
def test_what_both_calls_take_is_checked_by_both(call, given, words):
    refused(words, call, Y, SOI, OFDM, **given)


@pytest.mark.parametrize(("given", "words"), [
    ({"window": 2560.5}, ["window", "whole number"]), ({"window": "2560"}, ["window"]),
    ({"window": 2**40}, ["window", "16777216"]),
    ({"window": 0}, ["window"]), ({"hop": -1}, ["hop"]), ({"hop": float("nan")}, ["hop"]), ({"window": True}, ["window"]),
    ({"batch": 0}, ["batch"]), ({"batch": 10**9}, ["batch", "65536"]), ({"sample_rate": -1}, ["sample_rate", "Hz"]),
    ({"sample_rate": "a"}, ["sample_rate"])])
def test_how_a_stream_is_cut_is_checked(given, words):
    refused(words, separate_stream, Y, SOI, OFDM, **given)


def test_a_whole_number_may_be_written_with_a_point():
    """2048.0 is 2048 to whoever wrote it."""
    out = separate_stream(Y, SOI, OFDM, window=np.float64(2560.0), hop=np.int32(2048))
    assert (out.window, out.hop) == (2560, 2048) and isinstance(out.window, int)


@pytest.mark.parametrize("value", ["abc", None, np.array([object()]), Y[:0], Y[None, None], [["a"]], {}, np.array(1.0)])
def test_samples_are_an_array_of_numbers(value):
    """Of one dimension for a stream, of one or two for windows; some of them."""
    refused(["samples"], separate_stream, value, SOI, OFDM)
    refused(["mixture"], separate, value, SOI, OFDM)


@pytest.mark.parametrize("change", [list, torch.from_numpy, lambda y: y.astype(complex), lambda y: y[::-1][::-1]])
def test_samples_of_any_kind_are_taken(change):
    assert len(separate_stream(change(Y), SOI, OFDM, method="matched_filter").soi) == len(Y)
    assert separate(change(Y), SOI, OFDM, method="matched_filter").soi.shape == (1, len(Y))


def test_one_sample_is_too_few_for_a_window():
    """And a stream of one has one, where nothing is to be found in it."""
    refused(["window", "1 samples are shorter"], separate, Y[:1], SOI, OFDM)
    refused(["frame_offset", "too short"], separate_stream, Y[:1], SOI, OFDM)
    known = replace(OFDM, frame_offset=0, phase=0.0)
    assert len(separate_stream(Y[:1], SOI, known, method="matched_filter", kappa=1.0, noise_var=0.1).soi) == 1


def test_a_path_is_taken_for_the_prior_in_it(tmp_path):
    """Where a source is wanted; a name, too."""
    paths = tmp_path / "soi.toml", tmp_path / "ofdm.toml"
    for path, source in zip(paths, (SOI, OFDM)):
        path.write_text(to_toml(source))
    for given in (paths, tuple(map(str, paths))):
        assert separate(Y, *given, method="matched_filter").soi.shape == (1, len(Y))
        assert len(separate_stream(Y, list(given), method="joint").sources) == 2
    refused(["sources", "number 2 is int"], separate, Y, SOI, 5)
    refused(["sources", "number 1 is NoneType"], separate_stream, Y, [None, OFDM])
    refused(["sources", "is one"], separate_stream, Y, str(paths[0]))
    with pytest.raises(ParameterError, match="no such prior file"):
        separate(Y, SOI, tmp_path / "nowhere.toml")


@pytest.mark.parametrize(("given", "words"), [
    ({"threads": -3}, ["threads", "from 1 to 256"]), ({"threads": 10**9}, ["threads"]), ({"threads": 1.5}, ["threads"]),
    ({"max_batch": 0}, ["max_batch"]), ({"max_pending": -1}, ["max_pending"]), ({"device": "quantum"}, ["device", "cuda:1"]),
    ({"device": "cuda:99"}, ["device", "this machine"])])
def test_an_engine_is_what_the_machine_can_be(given, words):
    refused(words, Engine, **given)


@pytest.mark.parametrize("value", ["nan", "-1e9"])
def test_the_command_says_the_same(tmp_path, value):
    """In the words of options.py, with the option's own name."""
    (tmp_path / "mix.cf32").write_bytes(Y.tobytes())
    for option in ("--sir-db", "--snr-db"):
        result = commands.run("separate", tmp_path / "mix.cf32", "--sample-rate", 1e6, "--soi", "dmr", "--interference", "ais",
                              "-o", tmp_path / "out", option, value)
        assert result.exit_code == 1 and "must be" in result.stderr, result.output
    message = refused(["--sir-db"], options.decibels, "--sir-db", float(value))
    result = commands.run("simulate", "-o", tmp_path / "out", "--sir-db", value)
    commands.fails(result, message)


def test_kinds_that_ask_for_whole_symbols_are_those_that_the_engine_separates_symbol_by_symbol():
    """They are written down once more for blocks, which must not load torch."""
    chains = {kind: cls() for kind, cls in KINDS.items() if cls.structure is Structure.CHAIN}
    assert WHOLE_SYMBOLS == {kind: source.signal.samples_per_symbol for kind, source in chains.items()}


def test_the_names_of_options_are_those_of_the_methods():
    """They are written down once more for whoever must not load torch."""
    assert set(OPTIONS) == set(METHODS)
    for name, method in METHODS.items():
        own = list(inspect.signature(method).parameters.values())[5:]
        names = {p.name for p in own if p.kind is not p.VAR_KEYWORD}
        names |= {f.name for f in fields(JointOptions)} if name == "joint" else set()
        names |= {f.name for f in fields(BasisOptions)} if name == "basis" else set()
        assert names <= set(OPTIONS[name]), name
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            assert names == set(OPTIONS[name]), name


@pytest.mark.parametrize(("check", "value", "words"), [
    (options.latency, -1, ["latency", "-1", "0 to 3600"]), (options.latency, float("nan"), ["latency"]),
    (options.latency, "1", ["latency"]), (options.latency, 4000, ["latency"]), (options.quality, "loud", ["quality", "'loud'"]),
    (options.quality, 201, ["quality", "-200 to 200"]),
    (options.flag, 1, ["flag", "True or False"]), (options.flag, None, ["flag"]), (options.frequency, "fm", ["frequency", "Hz"]),
    (options.frequency, float("inf"), ["frequency"]), (options.variance, -1, ["variance", "0 or more"]),
    (options.decibels, "loud", ["decibels", "'loud'"])])
def test_what_a_running_block_takes_is_checked(check, value, words):
    refused(words, check, check.__name__, value)


def test_no_limit_and_what_is_estimated_have_a_word():
    """0 is no limit of latency; "estimate" is None in place of a level."""
    assert options.latency("latency", 0) is options.latency("latency", None) is None and options.latency("latency", 2) == 2.0
    assert options.decibels("sir_db", "estimate") is options.variance("noise_var", "estimate") is None
    assert options.choice("how", "mute", options.GATE_ACTIONS) == "mute"
    refused(["how", "'cut' must be 'mute' or 'pass'"], options.choice, "how", "cut", options.GATE_ACTIONS)
