# SPDX-License-Identifier: GPL-3.0-or-later
"""The command alpha-rgs."""
from .main import app, main

__all__ = ["app", "main"]
