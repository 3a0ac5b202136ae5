# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings in and out."""
