# SPDX-License-Identifier: GPL-3.0-or-later
def alpha_rgs(*a, **k):
    raise SystemExit
