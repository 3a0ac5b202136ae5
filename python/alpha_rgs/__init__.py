# SPDX-License-Identifier: GPL-3.0-or-later
"""Score-based separation of two signals on one frequency: the engine of gr-scoresep.

Names are imported on first use, so that `import alpha_rgs` (and the command's --help) does not wait for torch.
"""
import importlib
from typing import Any

_HOME = {"AlphaRgsError": ".errors", "Engine": ".streaming", "Separation": ".separators", "separate": ".separators",
         "separate_stream": ".streaming"}
__all__ = ["AlphaRgsError", "Engine", "Separation", "priors", "separate", "separate_stream"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "priors":
        return importlib.import_module(".priors", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
