# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command's help and the blocks know of the engine before it is loaded: the names of methods and of their options, and
which kinds of sources ask for windows of whole symbols."""

OPTIONS = {
    "joint": ("passes", "damping", "heat", "search", "thorough", "undecided", "fits", "free", "callback"),
    "alpha_rgs": ("preset", "evaluations", "levels", "tones", "mend", "amortised", "steps", "iterations", "omega_ratio", "omega",
                  "step", "seed", "callback"),
    "amortised": (),
    "lmmse": ("covariance", "callback"),
    "matched_filter": ("callback",),
    "basis": ("variant", "inner_steps", "step", "levels", "seed", "init", "noise", "callback"),
    "reverse_diffusion": ("deterministic", "seed", "callback"),
}
WHOLE_SYMBOLS = {"linear-modulation": 16}       # samples per symbol where a file says none
METHODS = tuple(OPTIONS)
OFFERED = ("auto", "joint", "alpha_rgs", "amortised", "lmmse", "matched_filter")        # others are references, for studies
