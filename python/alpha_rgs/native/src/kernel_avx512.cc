/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Compiled with flags of its own, see setup.py.
#if defined(__x86_64__)
#define LANES_NAMESPACE alpha_rgs_avx512

#include "kernel_table.h"

namespace alpha_rgs {

const Kernel avx512 = LANES_NAMESPACE::kernel_of("avx512");

} // namespace alpha_rgs

#endif
