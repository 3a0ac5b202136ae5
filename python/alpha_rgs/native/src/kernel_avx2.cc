/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Compiled with flags of its own, see setup.py.
#if defined(__x86_64__)
#define LANES_NAMESPACE alpha_rgs_avx2

#include "kernel_table.h"

namespace alpha_rgs {

const Kernel avx2 = LANES_NAMESPACE::kernel_of("avx2");

} // namespace alpha_rgs

#endif
