/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// The kernel for each instruction set that this file's compiler knows.

#ifndef INCLUDED_ALPHA_RGS_KERNELS_H
#define INCLUDED_ALPHA_RGS_KERNELS_H

#include <cstddef>

#include "model.h"

namespace alpha_rgs {

struct Kernel {
    const char* name;
    int lanes;
    // memory that `detect` needs, 64-byte aligned
    size_t (*bytes)(const Model&, const Job&, const Group&);
    void (*detect)(const Model&, const Job&, const Group&, char* memory, int64_t* count);
    void (*discard)(void* search_table);
};

extern const Kernel baseline;
#if defined(__x86_64__)
extern const Kernel avx2, avx512;
#endif

} // namespace alpha_rgs

#endif
