/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What one translation unit, compiled for LANES_NAMESPACE, gives to the Kernel of its
// name.

#ifndef INCLUDED_ALPHA_RGS_KERNEL_TABLE_H
#define INCLUDED_ALPHA_RGS_KERNEL_TABLE_H

#include "burst_fit_whole.h"
#include "burst_window.h"
#include "detector.h"
#include "kernels.h"
#include "mixture_columns.h"
#include "mixture_system.h"

namespace LANES_NAMESPACE {

static void discard_table(void* table) { discard((SearchTable*)table); }

static constexpr alpha_rgs::Kernel kernel_of(const char* name)
{
    return {
        name,
        lanes,
        bytes_needed,
        detect,
        discard_table,
        { mixture_bytes,
          mixture_build,
          mixture_statistics,
          mixture_waveform,
          mixture_posterior },
        { burst_bytes, burst_passes },
        { fit_bytes, fit_best, whole_bytes, fit_whole, taps_shapes, taps_response }
    };
}

} // namespace LANES_NAMESPACE

#endif
