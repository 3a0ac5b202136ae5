# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a recording's samples: DC, clipping, coarse quantization."""
import pathlib

import numpy as np

from .recordings import Recording

DC_SHARE, CLIPPED_SHARE = 0.01, 1e-3        # of power and of samples, above which there is a warning


def clipped_share(recording: Recording) -> float:
    """The share of the samples at full scale, 0 to 1.

    A float recording has no full scale: its peak counts as one where more than two samples reach it.
    """
    parts = np.abs(recording.samples.view(np.float32))
    peak, is_float = float(parts.max()), "f" in recording.datatype
    full_scale = peak if is_float else 1 - 2.0 ** (1 - _bits(recording))
    count = int((parts >= full_scale).reshape(-1, 2).any(1).sum()) if peak > 0 else 0
    return 0.0 if is_float and count <= 2 else count / len(recording.samples)


def peak_level(recording: Recording) -> int | None:
    """How many quantization levels of an integer recording lie between zero and its peak; None of a float recording."""
    if "f" in recording.datatype:
        return None
    return round(float(np.abs(recording.samples.view(np.float32)).max()) * 2 ** (_bits(recording) - 1))


def dc_share(recording: Recording) -> float:
    """The share of the power that is DC, 0 to 1."""
    x = recording.samples.astype(complex)
    power = float(np.mean(abs(x) ** 2))
    return abs(complex(np.mean(x))) ** 2 / power if power > 0 else 0.0


def source_warnings(recording: Recording) -> list[str]:
    """Warnings about a recording of one source alone, whole sentences without a full stop."""
    name, out = pathlib.Path(recording.path).name, []
    dc, clipped = dc_share(recording), clipped_share(recording)
    if dc > DC_SHARE:
        out.append(f"{name}: {100 * dc:.3g} % of the power is DC, and taken for a part of the source; remove it if it is the "
                   "receiver's")
    if clipped > CLIPPED_SHARE:
        out.append(f"{name}: {100 * clipped:.3g} % of the samples are clipped; record again at a lower gain")
    return out


def _bits(recording: Recording) -> int:
    """Bits of an integer sample's real part, by the datatype's name."""
    return int("".join(c for c in recording.datatype if c.isdigit()))
