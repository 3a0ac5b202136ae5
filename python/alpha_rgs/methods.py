# SPDX-License-Identifier: GPL-3.0-or-later
"""The methods' names and those of their options, for whoever must know them before the engine is loaded: the command's help, the
block's choices."""

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
METHODS = tuple(OPTIONS)
OFFERED = ("auto", "joint", "alpha_rgs", "amortised", "lmmse", "matched_filter")        # others are references, for studies
