# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows that are lost to samples which are no numbers, or out of all proportion."""
from __future__ import annotations

import numpy as np
import torch

from ..options import unusable
from ..separators.base import Separation, silenced


def filled(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(windows, which of them are lost, bool [n]): windows that hold unusable samples are replaced by another one of the batch,
    so that they change nothing for the others; by silence where there is no other."""
    lost = unusable(windows).any(1)
    if lost.any():
        windows = windows.copy()
        windows[lost] = windows[np.argmin(lost)] if not lost.all() else 0
    return windows, lost


def silent(windows: np.ndarray, lost: np.ndarray, part: Separation) -> Separation:
    """A Separation of windows that says nothing of the lost ones, bool [n]."""
    return silenced(part, torch.from_numpy(lost), torch.from_numpy(usable(windows))) if lost.any() else part


def usable(windows: np.ndarray) -> np.ndarray:
    """The windows, unusable samples of which are 0."""
    return np.where(unusable(windows), 0, windows).astype(np.complex64)
