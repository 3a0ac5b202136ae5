# Copyright 2026 gr-scoresep developers
#
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placeholder until the separator block is written."""


def separator(**parameters):
    """The separator block; not written yet."""
    raise RuntimeError("the separator block is not written yet")
