# SPDX-License-Identifier: GPL-3.0-or-later
"""One torch thread in each process, as in the engine: two that wait for each other on a busy machine cost tenfold. Hypothesis
draws the same examples in each run."""
import pytest
import torch
from alpha_rgs import native
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("fixed", derandomize=True, database=None)
settings.load_profile("fixed")


@pytest.fixture(params=["native", "torch"])
def detector(request, monkeypatch):
    """Joint detection under OFDM by the native detector, then by torch, its reference."""
    if request.param == "torch":
        monkeypatch.setenv(native.VARIABLE, "0")
    elif not native.instruction_sets():
        pytest.skip("the native detector is not built")
