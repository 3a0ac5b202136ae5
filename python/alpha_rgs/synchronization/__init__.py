# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user did not give, found from the mixture itself."""
from .acquisition import acquire, offset_of_zero

__all__ = ["acquire", "offset_of_zero"]
