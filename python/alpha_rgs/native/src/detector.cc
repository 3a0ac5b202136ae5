/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "detector_class.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace alpha_rgs {

std::vector<const Kernel*> kernels()
{
    std::vector<const Kernel*> found = { &baseline };
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found.push_back(&avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        found.push_back(&avx512);
#endif
    return found;
}

const Kernel& kernel_called(const std::string& name)
{
    const std::vector<const Kernel*> known = kernels();
    for (const Kernel* kernel : known)
        if (name == kernel->name)
            return *kernel;
    if (!name.empty())
        throw std::invalid_argument("instruction set: this machine has no " + name);
    return *known.back();
}

Detector::Detector(const Model& model, const Kernel& kernel)
    : d_model(model), d_kernel(kernel)
{
    d_tables.assign((size_t)model.classes * (longest_search + 1) * 2, nullptr);
    d_model.search_tables = d_tables.data();
}

Detector::~Detector()
{
    for (void* table : d_tables)
        d_kernel.discard(table);
    for (const Memory& memory : d_spare)
        free(memory.base);
}

Detector::Memory Detector::borrow(size_t bytes)
{
    {
        std::lock_guard<std::mutex> lock(d_mutex);
        for (size_t k = 0; k < d_spare.size(); k++)
            if (d_spare[k].bytes >= bytes) {
                Memory memory = d_spare[k];
                d_spare.erase(d_spare.begin() + (long)k);
                return memory;
            }
    }
    bytes = (bytes + 63) / 64 * 64;
    void* base = aligned_alloc(64, bytes);
    if (!base)
        throw std::bad_alloc();
    return { base, bytes };
}

void Detector::give_back(Memory memory)
{
    std::lock_guard<std::mutex> lock(d_mutex);
    d_spare.push_back(memory);
}

std::vector<int64_t>
Detector::run(const Job& job, const std::vector<Group>& groups, int threads)
{
    size_t most = 0;
    for (const Group& group : groups) {
        const size_t bytes = d_kernel.bytes(d_model, job, group);
        most = bytes > most ? bytes : most;
    }
    std::atomic<size_t> next{ 0 };
    std::vector<std::vector<int64_t>> counts(groups.size(), std::vector<int64_t>(3));
    auto work = [&](Memory memory) {
        for (size_t g; (g = next++) < groups.size();)
            d_kernel.detect(
                d_model, job, groups[g], (char*)memory.base, counts[g].data());
        give_back(memory);
    };
    if ((size_t)threads > groups.size())
        threads = (int)groups.size();
    std::vector<Memory> memory;
    for (int t = 0; t < threads; t++)
        memory.push_back(borrow(most));
    std::vector<std::thread> others;
    for (int t = 1; t < threads; t++)
        others.emplace_back(work, memory[(size_t)t]);
    if (threads > 0)
        work(memory[0]);
    for (std::thread& thread : others)
        thread.join();
    std::vector<int64_t> total(3);
    for (const std::vector<int64_t>& count : counts)
        for (int k = 0; k < 3; k++)
            total[(size_t)k] += count[(size_t)k];
    return total;
}

} // namespace alpha_rgs
