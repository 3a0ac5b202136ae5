# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver that was tuned to another centre frequency: its samples are moved to where the sources' carriers are known or looked
for, and what is separated is moved back."""
from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from .live import Restored


class RetunedTask:
    """A Task whose windows are moved by `shift`, cycles per sample, before they are separated, and back afterwards."""

    def __init__(self, task: Any, shift: float) -> None:
        self.task, self.shift = task, shift

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def submit(self, windows: np.ndarray, start: Any = 0, block: bool = True, **more: Any) -> Restored:
        """See Task.submit."""
        windows = np.atleast_2d(np.asarray(windows, np.complex64))
        ramp = self._ramp(windows, start)
        with np.errstate(invalid="ignore", over="ignore"):         # of windows that hold unusable samples
            future = self.task.submit(windows * ramp, start=start, block=block, **more)
        return Restored(future, lambda out: _moved(out, ramp.conj(), self.shift))

    def offer(self, windows: np.ndarray, start: np.ndarray) -> None:
        """See Task.offer."""
        with np.errstate(invalid="ignore", over="ignore"):
            self.task.offer(windows * self._ramp(windows, start), start)

    def _ramp(self, windows: np.ndarray, start: Any) -> np.ndarray:
        first = np.broadcast_to(np.asarray(start, np.int64), len(windows)) * self.shift % 1.0
        phase = first[:, None] + self.shift * np.arange(windows.shape[1])
        return np.exp(2j * np.pi * phase).astype(np.complex64)


def _moved(out: Any, ramp: np.ndarray, shift: float) -> Any:
    """A Separation, or a Brief, at the receiver's frequencies."""
    def back(wave: Any) -> Any:
        return None if wave is None else wave * ramp[:, :wave.shape[1]]

    sources = []
    for e in out.sources:
        offset = e.state.carrier_offset
        state = e.state if offset is None else replace(e.state, carrier_offset=offset - shift)
        sources.append(replace(e, waveform=back(e.waveform), cleaned=back(e.cleaned), state=state))
    estimated = {name: value - shift if re.fullmatch(r"(interference_)?carrier_offset(_\d+)?", name) else value
                 for name, value in out.estimated.items()}
    return replace(out, soi=back(out.soi), interference=back(out.interference), sources=sources, estimated=estimated)
