/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_CLASS_H
#define INCLUDED_ALPHA_RGS_MIXTURE_CLASS_H

#include <functional>
#include <vector>

#include "kernels.h"

namespace alpha_rgs {

// Memory, 64-byte aligned, out of a store that keeps what was given back: fresh memory
// would have to be mapped page by page for each batch of windows.
class Memory
{
public:
    explicit Memory(size_t bytes);
    ~Memory();
    Memory(Memory&& other) noexcept;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    char* data() const { return d_data; }

private:
    char* d_data;
    size_t d_bytes;
};

// Windows of a linear mixture in groups of lanes, with the memory that they need. For one
// thread at a time.
class Mixture
{
public:
    // The sources' arrays have to outlive it. Groups are shared out among threads; the
    // result does not depend on how many there are.
    Mixture(const MixtureShape& shape,
            const std::vector<MixtureColumns>& sources,
            int windows,
            const Kernel& kernel,
            int threads);

    // Those of windows, complex [windows][samples], of which posteriors are then.
    void statistics(const float* windows, int threads);

    // Of one source: complex [windows][count] -> [windows][samples].
    void waveform(int number, const float* unknowns, float* windows, int threads);

    void posterior(const MixtureSites& sites, int threads);

private:
    void each(int threads, size_t bytes, const std::function<void(size_t, char*)>& work);

    MixtureShape d_shape;
    std::vector<MixtureColumns> d_sources;
    const Kernel& d_kernel;
    int d_margin;
    std::vector<MixtureGroup> d_groups;
    std::vector<Memory> d_kept;    // of groups
    std::vector<Memory> d_scratch; // of threads
    size_t d_scratch_bytes = 0;
};

} // namespace alpha_rgs

#endif
