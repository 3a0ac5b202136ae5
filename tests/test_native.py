# SPDX-License-Identifier: GPL-3.0-or-later
"""Where compiled kernels cannot be used, torch does their work, and the user is warned."""
import sys
import warnings

import pytest
import torch
from alpha_rgs import native


def test_a_lack_of_kernels_is_said_once(monkeypatch):
    """Separation then takes several times as long: whoever waits must learn why. A GPU never uses them."""
    monkeypatch.setitem(sys.modules, "numba", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.kernels("alpha_rgs.first_kernel", torch.zeros(1, device="meta")) is None
    with pytest.warns(RuntimeWarning, match="four to eight times as long. Install numba"):
        assert native.kernels("alpha_rgs.first_kernel", torch.zeros(1)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.kernels("alpha_rgs.second_kernel", torch.zeros(1)) is None
