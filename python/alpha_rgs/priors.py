# SPDX-License-Identifier: GPL-3.0-or-later
"""What is believed about one source, by the name that scripts use: everything of `alpha_rgs.sources`."""
from .sources import *  # noqa: F403
from .sources import __all__  # noqa: F401
