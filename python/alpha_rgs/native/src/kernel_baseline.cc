/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#define LANES_NAMESPACE alpha_rgs_baseline

#include "kernel_table.h"

namespace alpha_rgs {

const Kernel baseline = LANES_NAMESPACE::kernel_of("baseline");

} // namespace alpha_rgs
