# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of learned priors: read, edited, replaced; and those that are spoilt refused with one sentence."""
import hashlib
import pathlib
import shutil

import pytest
import torch
from alpha_rgs import sources as priors
from alpha_rgs.errors import ParameterError, RecordingError
from alpha_rgs.nets.denoiser import CONDITIONS
from alpha_rgs.streaming import report
from learned_priors import QPSK, covariance, saved, waves
from safetensors.torch import load_file, save


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: folder}; not to be changed."""
    top = tmp_path_factory.mktemp("priors")
    return {"linear": saved(top / "linear.prior", QPSK), "gaussian": saved(top / "gaussian.prior", covariance()),
            "diffwave": saved(top / "diffwave.prior", covariance(), "diffwave")}


@pytest.fixture
def copy(folders, tmp_path):
    """A function that gives a copy of one of the folders, to be spoilt."""
    return lambda name: pathlib.Path(shutil.copytree(folders[name], tmp_path / f"{name}.prior"))


def test_the_header_can_be_read_and_edited_by_people(folders):
    """It tells what the network is and what of the source is known; nothing of where it was made."""
    text = (folders["linear"] / "prior.toml").read_text()
    for line in ('kind = "diffusion"', "[network]", 'kind = "fast"', "stride = 8", "[source]", 'kind = "linear-modulation"',
                 "samples_per_symbol = 8", "timing = 4.0", "[provenance]", 'command = "by hand"'):
        assert line in text.splitlines()
    assert "[source]" not in (folders["gaussian"] / "prior.toml").read_text()
    assert {"network", "source", "timing", "samples_per_symbol"} <= report.given_keys(folders["linear"])


def test_a_prior_that_is_there_is_not_replaced_unasked(copy):
    """--overwrite, or another place."""
    folder = copy("linear")
    with pytest.raises(RecordingError, match="exists already"):
        saved(folder, QPSK, seed=2)
    before = priors.load(folder)
    saved(folder, QPSK, seed=2, overwrite=True)
    assert not torch.equal(priors.load(folder).denoise(waves(1, 50), 1.0), before.denoise(waves(1, 50), 1.0))


def _line(old, new):
    """Replace a line of prior.toml."""
    def change(folder):
        file = folder / "prior.toml"
        lines = file.read_text().splitlines()
        assert old in lines
        file.write_text("\n".join(new if line == old else line for line in lines) + "\n")
    return change


def _checked(folder, data):
    """Put weights into a folder with their checksum."""
    (folder / "weights.safetensors").write_bytes(data)
    file = folder / "prior.toml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("sha256")]
    file.write_text("\n".join([f'sha256 = "{hashlib.sha256(data).hexdigest()}"', *lines]) + "\n")


def _tensors(**changes):
    """Set tensors of the weights (None: leave out), checksum and all."""
    def change(folder):
        tensors = load_file(folder / "weights.safetensors") | {k.replace("__", "."): v for k, v in changes.items()}
        _checked(folder, save({k: v for k, v in tensors.items() if v is not None}))
    return change


def _bytes(action):
    def change(folder):
        path = folder / "weights.safetensors"
        path.write_bytes(action(path.read_bytes()))
    return change


def _as_pickle(folder):
    (folder / "weights.safetensors").rename(folder / "weights.pt")


HEADER, WEIGHTS = "prior.toml", "weights.safetensors"
BAD_LINEAR = {
    "other sizes": (_line("channels = 4", "channels = 8"), [WEIGHTS, "another network", HEADER, "network.", "shape"]),
    "other kernel": (_line("kernel = 24", "kernel = 40"), [WEIGHTS, "network.net.head.weight", "[4, 2, 24]", "[4, 2, 40]"]),
    "more blocks": (_line("dilations = [1]", "dilations = [1, 1]"), [WEIGHTS, "no tensor named network.net.blocks.1."]),
    "fewer blocks": (_line("dilations = [1]", "dilations = []"), [WEIGHTS, "network.net.blocks.0.", "should be none"]),
    "other kind": (_line('kind = "fast"', 'kind = "diffwave"'), [HEADER, "network", "'kernel'", "'diffwave'"]),
    "tensor missing": (_tensors(network__net__stem__weight=None), [WEIGHTS, "no tensor named network.net.stem.weight"]),
    "tensor too many": (_tensors(network__extra=torch.ones(2)), [WEIGHTS, "network.extra", "should be none"]),
    "tensor of another shape": (_tensors(network__net__stem__bias=torch.ones(5)), [WEIGHTS, "net.stem.bias", "[5]", "[4]"]),
    "no spectrum": (_tensors(network__spectrum=None), [WEIGHTS, "no tensor named network.spectrum"]),
    "spectrum of two dimensions": (_tensors(network__spectrum=torch.ones(2, 4)), [WEIGHTS, "network.spectrum", "[bins]"]),
    "empty spectrum": (_tensors(network__spectrum=torch.ones(0)), [WEIGHTS, "network.spectrum"]),
    "negative spectrum": (_tensors(network__spectrum=-torch.ones(4)), [WEIGHTS, "network.spectrum", "not negative"]),
    "silent spectrum": (_tensors(network__spectrum=torch.zeros(4)), [WEIGHTS, "network.spectrum"]),
    "NaN": (_tensors(network__net__stem__bias=torch.full((4,), torch.nan)), [WEIGHTS, "NaN", "network.net.stem.bias"]),
    "infinite": (_tensors(network__net__stem__bias=torch.full((4,), torch.inf)), [WEIGHTS, "infinite", "network.net.stem.bias"]),
    "no safetensors": (lambda folder: _checked(folder, b"nonsense"), [WEIGHTS, "no safetensors"]),
    "newer": (_line("format = 1", "format = 2"), [HEADER, "format: 2", "newer", "update"]),
    "older": (_line("format = 1", "format = 0"), [HEADER, "format: 0"]),
    "cut": (_bytes(lambda data: data[:-10]), [WEIGHTS, "cut or changed"]),
    "changed": (_bytes(lambda data: data[:-1] + bytes([data[-1] ^ 1])), [WEIGHTS, "cut or changed"]),
    "empty": (_bytes(lambda data: b""), [WEIGHTS, "cut or changed"]),
    "gone": (lambda folder: (folder / WEIGHTS).unlink(), [WEIGHTS, "no such file"]),
    "pickle": (_as_pickle, ["weights.pt", "pickle", "runs"]),
    "no network": (_line("[network]", "[provenance.network]"), [HEADER, "network is missing"]),
    "network of another kind": (_line('kind = "fast"', 'kind = "magic"'), [HEADER, "network: kind", "'magic'", "fast, diffwave"]),
    "unknown network key": (_line("channels = 4", "channels = 4\nheads = 2"), [HEADER, "network", "'heads'", "channels"]),
    "network key missing": (_line("channels = 4", ""), [HEADER, "network", "channels is missing"]),
    "network key of another type": (_line("channels = 4", 'channels = "4"'), [HEADER, "network", "channels", "whole number"]),
    "network kernel": (_line("kernel = 24", "kernel = 23"), [HEADER, "network", "kernel: 23", "even"]),
    "conditions": (_line(f"conditions = {CONDITIONS}", "conditions = 5"), [HEADER, "network", "conditions: 5", "version"]),
    "stride": (_line("stride = 8", "stride = 4"), [HEADER, "network", "stride, 4", "samples_per_symbol, 8"]),
    "samples per symbol": (_line("samples_per_symbol = 8", "samples_per_symbol = 4"), [HEADER, "stride, 8", "symbol, 4"]),
    "unknown source key": (_line("timing = 4.0", "timming = 4.0"), [HEADER, "source", "'timming'", "'timing'"]),
    "source key of another type": (_line("timing = 4.0", 'timing = "4"'), [HEADER, "source", "timing", "a number"]),
    "source key out of range": (_line("rolloff = 0.5", "rolloff = 1.5"), [HEADER, "source", "rolloff", "between 0 and 1"]),
    "source of another kind": (_line('kind = "linear-modulation"', 'kind = "magic"'), [HEADER, "source", "kind", "'magic'"]),
    "unknown key": (_line("format = 1", "format = 1\nzzz = 1"), [HEADER, "'zzz'", "network"]),
}
BAD_GAUSSIAN = {
    "no period": (_line("period = 1", ""), [HEADER, "period is missing"]),
    "other lags": (_line("lags = 80", "lags = 40"), [WEIGHTS, "covariance", "[1, 40, 2]"]),
    "no covariance": (_tensors(covariance=None), [WEIGHTS, "covariance"]),
    "NaN covariance": (_tensors(covariance=torch.full((1, 80, 2), torch.nan)), [WEIGHTS, "covariance", "finite"]),
    "source that has no network": (lambda folder: (folder / HEADER).write_text(
        (folder / HEADER).read_text() + '[source]\nkind = "ofdm"\n'), [HEADER, "ofdm"]),
}


@pytest.mark.parametrize(("name", "case"), [*(("linear", case) for case in BAD_LINEAR),
                                            *(("gaussian", case) for case in BAD_GAUSSIAN)])
def test_a_bad_folder_is_refused_with_one_sentence(copy, name, case):
    """Of another network, not finite, newer, cut, changed, a pickle, or keys that are wrong: each names its file and the key or
    tensor, before anything is separated with it."""
    change, words = (BAD_LINEAR if name == "linear" else BAD_GAUSSIAN)[case]
    folder = copy(name)
    change(folder)
    with pytest.raises(ParameterError) as error:
        priors.load(folder)
    for word in (str(folder), *words):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_no_pickle_is_ever_opened(folders, monkeypatch):
    """Weights go through safetensors only."""
    import pickle

    def forbidden(*_, **__):
        raise AssertionError("a pickle was opened")

    for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(module, name, forbidden)
    assert all(priors.load(folder).learned for folder in folders.values())


def test_nuisances_in_the_header_may_be_edited(copy):
    """Timing, phase, gain and carrier offset are the user's to set: the loaded prior has them."""
    folder = copy("linear")
    for old, new in (("timing = 4.0", "timing = 6.25"), ("phase = 0.0", "phase = 0.5"), ("gain = 1.0", "gain = 2.0"),
                     ("carrier_offset = 0.0", "carrier_offset = 0.01\nsymbols = 30")):
        _line(old, new)(folder)
    prior = priors.load(folder)
    assert (prior.timing, prior.phase, prior.gain, prior.carrier_offset, prior.symbols) == (6.25, 0.5, 2.0, 0.01, 30)
