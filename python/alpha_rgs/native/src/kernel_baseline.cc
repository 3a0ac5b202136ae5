/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#define LANES_NAMESPACE alpha_rgs_baseline

#include "burst_fit_whole.h"
#include "burst_window.h"
#include "detector.h"
#include "kernels.h"
#include "mixture_columns.h"
#include "mixture_system.h"

namespace alpha_rgs {

static void discard(void* table)
{
    LANES_NAMESPACE::discard((LANES_NAMESPACE::SearchTable*)table);
}

const Kernel baseline = { "baseline",
                          LANES_NAMESPACE::lanes,
                          LANES_NAMESPACE::bytes_needed,
                          LANES_NAMESPACE::detect,
                          discard,
                          { LANES_NAMESPACE::mixture_bytes,
                            LANES_NAMESPACE::mixture_build,
                            LANES_NAMESPACE::mixture_statistics,
                            LANES_NAMESPACE::mixture_waveform,
                            LANES_NAMESPACE::mixture_posterior },
                          { LANES_NAMESPACE::burst_bytes, LANES_NAMESPACE::burst_passes },
                          { LANES_NAMESPACE::fit_bytes,
                            LANES_NAMESPACE::fit_best,
                            LANES_NAMESPACE::whole_bytes,
                            LANES_NAMESPACE::fit_whole,
                            LANES_NAMESPACE::taps_shapes,
                            LANES_NAMESPACE::taps_response } };

} // namespace alpha_rgs
