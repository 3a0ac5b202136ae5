# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of several blocks start from."""

import pytest
from flows import OFDM, QPSK


@pytest.fixture
def files(tmp_path):
    """Paths of the prior files of a SOI and of an interference, of which all is known."""
    paths = tmp_path / "soi.toml", tmp_path / "ofdm.toml"
    for path, text in zip(paths, (QPSK, OFDM)):
        path.write_text(text)
    return [str(path) for path in paths]
