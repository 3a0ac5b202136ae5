# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m alpha_rgs.cli, which torchrun needs."""
from .main import main

main()
