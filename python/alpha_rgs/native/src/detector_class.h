/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef INCLUDED_ALPHA_RGS_DETECTOR_CLASS_H
#define INCLUDED_ALPHA_RGS_DETECTOR_CLASS_H

#include <mutex>
#include <string>
#include <vector>

#include "kernels.h"

namespace alpha_rgs {

// Those that this machine can run, the fastest last.
std::vector<const Kernel*> kernels();

// The kernel of that name; "" for the fastest. Raises std::invalid_argument.
const Kernel& kernel_called(const std::string& name);

// A kernel with its tables and memory. Threads may share it.
class Detector
{
public:
    Detector(const Model& model, const Kernel& kernel);
    ~Detector();
    Detector(const Detector&) = delete;
    Detector& operator=(const Detector&) = delete;

    // Groups are shared out among threads; the result does not depend on how many there
    // are. Returns {stretches, frames} that were searched and how many stretches that
    // changed.
    std::vector<int64_t>
    run(const Job& job, const std::vector<Group>& groups, int threads);

private:
    struct Memory {
        void* base;
        size_t bytes;
    };
    Memory borrow(size_t bytes);
    void give_back(Memory memory);

    Model d_model;
    const Kernel& d_kernel;
    std::vector<void*> d_tables;
    std::vector<Memory> d_spare;
    std::mutex d_mutex;
};

} // namespace alpha_rgs

#endif
