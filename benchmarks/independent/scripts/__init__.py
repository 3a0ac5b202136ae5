# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by the Python of the environment of peers, never imported here."""
