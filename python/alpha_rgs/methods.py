# SPDX-License-Identifier: GPL-3.0-or-later
"""The methods' names, for whoever must know them before the engine is loaded: the command's help, the block's choices."""

METHODS = ("joint", "alpha_rgs", "amortised", "lmmse", "matched_filter", "basis", "reverse_diffusion")
OFFERED = ("auto", "joint", "alpha_rgs", "amortised", "lmmse", "matched_filter")        # others are references, for studies
