# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets, trainers, fits, and the reports that say how good they are."""
