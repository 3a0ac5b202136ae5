# SPDX-License-Identifier: GPL-3.0-or-later
"""`alpha-rgs evaluate paper`: the table of arXiv 2306.14411 measured anew, with what goes beyond it.

units: what is measured and kept; table, sweeps: which units there are and what they add up to; report, text, figures: how it is
shown. curves.csv: the paper's own curves.
"""
