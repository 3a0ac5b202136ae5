# SPDX-License-Identifier: GPL-3.0-or-later
"""Studies and tables: what `alpha-rgs evaluate` runs in a checkout. Not part of the installed package."""
