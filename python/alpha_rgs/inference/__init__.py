# SPDX-License-Identifier: GPL-3.0-or-later
"""The algebra that methods share: elimination, chains, tiles, searches."""
