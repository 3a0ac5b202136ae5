# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""The separator block with learned priors, which are folders: where they are found, and that it separates."""

import math
import pathlib
import shutil

import numpy as np
import pytest
from gnuradio import blocks, gr, scoresep
from gnuradio.scoresep import settings
from gnuradio.scoresep.cutting import samples_per_symbol

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOI, DSSS = (ROOT / "priors" / name for name in ("rrc-qpsk.prior", "dsss.prior"))
SAMPLES, SPS, TIMING = 60_007, 16, 8

LEARNED = """
format = 1
kind = "diffusion"
sha256 = "of weights that nobody asks for yet"

[network]
kind = "fast"

[source]
kind = "linear-modulation"
samples_per_symbol = 20
"""


@pytest.fixture(scope="module")
def trained():
    """Paths of the two priors."""
    missing = [path.name for path in (SOI, DSSS) if not (path / "prior.toml").is_file()]
    if missing:
        pytest.skip(f"not trained yet: {', '.join(missing)} in {SOI.parent}")
    return str(SOI), str(DSSS)


def separate(mixture, *priors, **options):
    """Run a stream through a separator; (the separator, what its outputs gave)."""
    top = gr.top_block()
    block = scoresep.separator(*priors, **options)
    sinks = [blocks.vector_sink_c() for _ in range(3)]
    top.connect(blocks.vector_source_c(mixture.tolist()), block)
    for port, sink in enumerate(sinks):
        top.connect((block, port), sink)
    top.run()
    assert block.error is None
    return block, [np.array(sink.data()) for sink in sinks]


def error_rate(symbols, bits):
    """Of QPSK symbols."""
    return np.mean(np.stack([symbols.real < 0, symbols.imag < 0], 1).ravel() != bits.astype(bool))


# ---- folders ------------------------------------------------------------------------------------------
def test_folders_are_found_where_files_are(tmp_path, monkeypatch):
    """In the working directory, and among the installed examples; by the folder, or the prior.toml in it."""
    for name in "here", "installed":
        (tmp_path / name / f"{name}.prior").mkdir(parents=True)
        (tmp_path / name / f"{name}.prior" / "prior.toml").write_text(LEARNED)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(settings, "example_folders", lambda: [str(tmp_path / "installed")])
    assert scoresep.prior("here.prior") == "here.prior"
    assert scoresep.prior("installed.prior") == str(tmp_path / "installed" / "installed.prior")
    assert scoresep.prior("installed.prior/prior.toml") == str(tmp_path / "installed" / "installed.prior" / "prior.toml")
    (tmp_path / "here" / "empty.prior").mkdir()
    with pytest.raises(ValueError, match="empty.prior: no such prior file; give the path of a TOML file or of a prior's folder"):
        scoresep.prior("empty.prior")


def test_symbols_are_those_of_the_source(tmp_path):
    """What a folder says under [source] counts before the engine is loaded: it gives the symbols' output, and checks windows."""
    (tmp_path / "prior.toml").write_text(LEARNED)
    for path in str(tmp_path), str(tmp_path / "prior.toml"):
        assert samples_per_symbol(path) == 20
        with pytest.raises(ValueError, match=r"samples_per_symbol \(20\); near by are window 2560, hop 2040"):
            scoresep.separator(path, path, window=2560, hop=2048)
    (tmp_path / "prior.toml").write_text('kind = "diffusion"\nsource = 1\n')  # to be refused when it is loaded
    assert samples_per_symbol(str(tmp_path)) == 0


# ---- with the engine ----------------------------------------------------------------------------------
@pytest.mark.timeout(100)
def test_it_separates_with_learned_priors(trained):
    """A stream of QPSK under DSSS and noise: counts, symbols at the symbol rate, and hardly a wrong bit."""
    from alpha_rgs.sources import mixtures

    drawn = mixtures.draw(*stream(), 1, SAMPLES, sir_db=-12, snr_db=2, seed=3)
    mixture, bits = drawn.y[0].numpy(), drawn.bits[0].numpy()
    block, (soi, interference, symbols) = separate(mixture, *trained)
    assert len(soi) == len(interference) == SAMPLES
    assert len(symbols) == math.ceil((SAMPLES - TIMING) / SPS) == len(bits) // 2
    stats = block.stats()
    assert stats["method"] == "alpha_rgs" and stats["windows"] == 1 + math.ceil((SAMPLES - 2560) / 2048)
    assert set(stats["estimated"].split()) == {"kappa", "noise_var", "phase", "timing", "kappa_std", "noise_var_std"}
    assert abs(stats["sir_db"] + 12) < 0.3
    _, (_, _, before) = separate(mixture, *trained, method="matched_filter")
    assert error_rate(before, bits) > 0.1
    assert error_rate(symbols, bits) < 1e-3
    assert np.mean(abs(soi - drawn.s[0].numpy()) ** 2) < 0.01
    assert np.mean(abs(interference - drawn.kappa * drawn.b[0].numpy()) ** 2) < 0.01 * drawn.kappa**2


@pytest.mark.timeout(60)
def test_a_network_that_was_changed_ends_the_flowgraph_with_a_reason(trained, tmp_path):
    """Weights that differ from what prior.toml says of them."""
    shutil.copytree(trained[1], tmp_path / "cut.prior")
    weights = tmp_path / "cut.prior" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    top = gr.top_block()
    block = scoresep.separator(trained[0], str(tmp_path / "cut.prior"))
    top.connect(blocks.vector_source_c([0] * 5000), block, blocks.null_sink(gr.sizeof_gr_complex))
    top.run()
    assert isinstance(block.error, ValueError) and "cut.prior/weights.safetensors: differs from its sha256" in str(block.error)


def stream():
    """The sources' structure: the QPSK goes on before and after, the DSSS lies anywhere."""
    from alpha_rgs.sources import mixtures

    (soi, _), (_, interference) = mixtures.paper_priors(symbols=None), mixtures.paper_case("dsss-noise")
    return soi, interference
